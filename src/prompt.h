/*-------------------------------------------------------------------------
 *
 * prompt.h
 *	  What a model is told, assembled as Agno does it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_PROMPT_H
#define AGNO_PROMPT_H

#include "agent.h"

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
} PromptContext;

extern char *prompt_system_message(const PromptContext *context);
extern char *prompt_user_message(const PromptContext *context,
								 const char *input);

#endif							/* AGNO_PROMPT_H */
