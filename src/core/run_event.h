/*-------------------------------------------------------------------------
 *
 * run_event.h
 *	  What subscribers of a streamed run are told.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_RUN_EVENT_H
#define AGNO_RUN_EVENT_H

#include "core/message.h"
#include "core/run_outcome.h"

/* An event that has not been stored; its number comes with its place. */
typedef struct RunEvent
{
	const char *name;			/* Agno's word */
	char	   *data;			/* JSON in UTF-8 */
} RunEvent;

/* Whose events they are. Strings are UTF-8. */
typedef struct RunEventSource
{
	const char *run_id;
	const char *session_id;
	const char *agent_id;		/* or NULL */
	const char *agent_name;		/* or NULL */
	const char *model;
	const char *model_provider;
} RunEventSource;

extern RunEvent run_event_started(const RunEventSource *source);
extern RunEvent run_event_retried(const RunEventSource *source, int attempt);
extern RunEvent run_event_content(const RunEventSource *source,
								  const char *piece);
extern RunEvent run_event_tool_started(const RunEventSource *source,
									   const Message *execution);
extern int	run_event_tool_ended(const RunEventSource *source,
								 const Message *execution, RunEvent *events);
extern RunEvent run_event_paused(const RunEventSource *source,
								 const RunOutcome *outcome, const char *tools,
								 const char *requirements);
extern RunEvent run_event_continued(const RunEventSource *source);
extern int	run_event_end(const RunEventSource *source, const RunOutcome *outcome,
						  RunEvent *events);

/* How many events run_event_end() may make. */
#define RUN_EVENT_MAX_END 2

#endif							/* AGNO_RUN_EVENT_H */
