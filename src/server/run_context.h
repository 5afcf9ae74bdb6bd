/*-------------------------------------------------------------------------
 *
 * run_context.h
 *	  What a tool can know of the run that it is called for.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_RUN_CONTEXT_H
#define AGNO_RUN_CONTEXT_H

/* Of the database's encoding; NULL where there is none. */
typedef struct RunContext
{
	const char *run_id;
	const char *session_id;
	const char *user_id;
	const char *agent_id;
	const char *tool_call_id;
	int			attempt;		/* of the run; no setting */
} RunContext;

extern void run_context_define(void);
extern bool run_context_is_set(void);
extern const char *run_context_user_id(void);
extern int	run_context_attempt(void);
extern void run_context_set(const RunContext *context);
extern void run_context_clear(void);

#endif							/* AGNO_RUN_CONTEXT_H */
