/*-------------------------------------------------------------------------
 *
 * wait_event.h
 *	  What pg_stat_activity shows of those who wait.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_WAIT_EVENT_H
#define AGNO_WAIT_EVENT_H

typedef enum WaitReason
{
	WAIT_IN_LAUNCHER,			/* the launcher has nothing to do */
	WAIT_IN_RUNNER,				/* a runner has nothing to do */
	WAIT_IN_TOOL_WORKER,		/* a tool worker has nothing to do */
	WAIT_FOR_RUN,				/* agno_wait_run and agno_run */
	WAIT_FOR_RUNNERS,			/* a command, for runners to step aside */
	WAIT_REASONS
} WaitReason;

extern uint32 wait_event(WaitReason reason);

#endif							/* AGNO_WAIT_EVENT_H */
