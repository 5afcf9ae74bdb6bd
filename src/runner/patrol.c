/*-------------------------------------------------------------------------
 *
 * patrol.c
 *	  Taking over the queue from an earlier runner.
 *
 * A runner that starts goes through the whole queue, step by step, and makes
 * ready what its predecessor has left in any other state. The first runner of
 * the database then goes through agno.runs as well, and puts unfinished runs
 * that are not in the queue into it: a restore, or a hand, may have lost them.
 * It need not look at runs that an earlier patrol has seen; those of the last
 * day it sees anyway.
 *
 * What a transaction has enqueued that was prepared before there was this runner may have the
 * number of another, where agno_bg.runners was another one then. So when one of these has come
 * to its end, the queue is gone through again for such strays.
 *
 * Each turn takes one step, so that new runs do not wait for its end.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "runner/patrol.h"

/* How many rows a step looks at. */
#define STEP 2000

/* How much of the past is always looked at, in microseconds. */
#define ALWAYS_SEEN USECS_PER_DAY

/*
 * A patrol of this runner, with or without a search for lost runs.
 */
void
patrol_create(Patrol *patrol, bool all_runs)
{
	memset(patrol, 0, sizeof(Patrol));
	patrol->all_runs = all_runs;
	patrol->started_at = GetCurrentTimestamp();
}

/*
 * There may be strays: the patrol begins again.
 */
void
patrol_repeat(Patrol *patrol)
{
	patrol->only_strays |= patrol->over;
	patrol->over = false;
	patrol->queue_done = false;
	patrol->queue_after[0] = '\0';
}

/*
 * Go through the next part of the queue.
 */
static void
step_in_queue(Patrol *patrol, char *const *own, int count)
{
	char	   *after = patrol->queue_after;

	if (patrol->only_strays)
		patrol->queue_done = !store_take_strays(&after, STEP);
	else
		patrol->queue_done = !store_recover(&after, STEP, own, count);
	if (after != patrol->queue_after)
		strlcpy(patrol->queue_after, after, sizeof(patrol->queue_after));
}

/*
 * Take the next step; own are the ids of the runs, count of them, that this runner
 * has in flight already. *lost tells whether runs were found that were not in the
 * queue. Returns whether there is another step. If the transaction fails, the
 * step is taken again: the caller keeps a copy.
 */
bool
patrol_step(Patrol *patrol, char *const *own, int count, bool *lost)
{
	bool		all_runs = patrol->all_runs && !patrol->only_strays;

	*lost = false;
	if (!patrol->begun)
	{
		patrol->run_time = store_checked_until();
		patrol->begun = true;
	}
	if (!patrol->queue_done)
	{
		step_in_queue(patrol, own, count);
		patrol->over = patrol->queue_done && !all_runs;
		return !patrol->over;
	}
	if (all_runs && store_receives_runs())
	{
		/* They are for the first runner after the subscription. */
		store_unset_checked();
		patrol->over = true;
		return false;
	}
	if (all_runs)
	{
		RunPlace	after = {patrol->run_time, patrol->run_after};
		bool		more = store_find_lost(&after, STEP, lost);

		patrol->run_time = after.created_at;
		if (after.run_id != patrol->run_after)
			strlcpy(patrol->run_after, after.run_id,
					sizeof(patrol->run_after));
		if (more)
			return true;
		store_set_checked(patrol->started_at - ALWAYS_SEEN);
	}
	patrol->over = true;
	return false;
}
