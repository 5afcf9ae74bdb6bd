/*-------------------------------------------------------------------------
 *
 * patrol.h
 *	  Taking over the queue from an earlier runner.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_PATROL_H
#define AGNO_PATROL_H

#include "core/id.h"
#include "store/store.h"

/* A patrol that is under way, or over. Lives as long as the process. */
typedef struct Patrol
{
	bool		begun;
	bool		over;
	bool		only_strays;	/* it is not the first one */
	bool		queue_done;		/* every row of the queue has been looked at */
	char		queue_after[ID_SIZE];	/* the id of the last one */
	bool		all_runs;		/* look for runs that are not in the queue */
	TimestampTz started_at;
	TimestampTz run_time;		/* of the last run that was looked at */
	char		run_after[ID_SIZE]; /* its id */
} Patrol;

extern void patrol_create(Patrol *patrol, bool all_runs);
extern void patrol_repeat(Patrol *patrol);
extern bool patrol_step(Patrol *patrol, char *const *own, int count,
						bool *lost);

#endif							/* AGNO_PATROL_H */
