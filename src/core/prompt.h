/*-------------------------------------------------------------------------
 *
 * prompt.h
 *	  What a model is told, assembled as Agno does it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_PROMPT_H
#define AGNO_PROMPT_H

#include "core/agent.h"

/* What a template may name; prompt.c's own. */
typedef struct PromptVariables PromptVariables;

/* The run that is to be prompted. All strings are UTF-8. */
typedef struct PromptContext
{
	const Agent *agent;			/* NULL: none */
	const char *run_id;
	const char *session_id;
	const char *user_id;		/* or NULL */
	const char *session_state;	/* a JSON object, or NULL: an empty one */
	const char *metadata;		/* likewise */
	const char *now;			/* the time as text, when the agent tells it */
	bool		structured;		/* there is an output schema */
	const char *model_text;		/* what the model is told besides, or NULL */
	size_t		max_length;		/* bytes that a text may grow to when its
								 * variables are replaced; 0: any number */

	/* set by prompt.c */
	PromptVariables *variables; /* NULL: not needed yet */
	bool		too_long;		/* a text would have grown longer */
} PromptContext;

extern char *prompt_system_message(PromptContext *context);
extern char *prompt_user_message(PromptContext *context,
								 const char *input);

#endif							/* AGNO_PROMPT_H */
