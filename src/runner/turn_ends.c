/*-------------------------------------------------------------------------
 *
 * turn_ends.c
 *	  The runs that end in a turn without being in flight.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "runner/ended_run.h"
#include "runner/turn_internal.h"
#include "server/encoding.h"

/*
 * End these runs, which are locked and not in flight, and tell subscribers.
 */
void
turn_end_runs(Turn *turn, EndedRun *ended, int count)
{
	RunKeys		keys = run_keys(count);

	if (count == 0)
		return;
	for (int i = 0; i < count; i++)
	{
		run_keys_add(&keys, ended[i].run_id, ended[i].session_id);
		turn->ended_ids = lappend(turn->ended_ids, ended[i].run_id);
	}
	store_finish(ended, count, &turn->tool_owners);
	ended_runs_tell(keys.run_ids, count);
}

/*
 * How many of these runs are ended in this turn: as many as can be read of, from the
 * first, and that one in any case.
 */
static int
keep_in_budget(RunLock **runs, int count)
{
	int64		bytes = 0;

	if (count <= 1)
		return count;
	for (int kept = 0; kept < count; kept++)
	{
		bytes += store_measure_steps(runs[kept]);
		if (kept > 0 && bytes > TURN_BYTES)
			return kept;
	}
	return count;
}

/*
 * What has been said and done of those of these runs that have called tools and
 * are not CANCELLED yet: a list of ReadyRuns, of which nothing else is known.
 */
static List *
read_steps(RunLock **runs, int count)
{
	List	   *stubs = NIL;

	for (int i = 0; i < count; i++)
	{
		ReadyRun   *stub = palloc0(sizeof(ReadyRun));

		stub->context = CurrentMemoryContext;
		stub->run_id = runs[i]->run_id;
		stub->turns = runs[i]->status != RUN_CANCELLED ? 1 : 0;
		stubs = lappend(stubs, stub);
	}
	store_read_steps(stubs);
	return stubs;
}

/*
 * End these runs, which are locked and not in flight, since they have been or are
 * to be cancelled, and tell subscribers: the first ones, as many as a turn may read
 * of. Returns how many those are.
 */
int
turn_end_cancelled(Turn *turn, RunLock **runs, int count)
{
	int			kept = keep_in_budget(runs, count);
	RunLock   **others = palloc(sizeof(RunLock *) * Max(kept, 1));
	EndedRun   *ended = palloc(sizeof(EndedRun) * Max(kept, 1));
	RunKeys		keys = run_keys(kept);
	int			other_count = 0;
	int			ended_count = 0;
	ListCell   *cell;

	if (kept == 0)
		return 0;
	foreach(cell, read_steps(runs, kept))
	{
		RunLock    *lock = runs[foreach_current_index(cell)];
		List	   *steps = ((ReadyRun *) lfirst(cell))->steps;
		RunOutcome	outcome;
		int64		elapsed_ms = lock->started_at == 0 ? 0 :
			Max(GetCurrentTimestamp() - lock->started_at, 0) / 1000;

		if (steps == NIL)
		{
			others[other_count++] = lock;
			run_keys_add(&keys, lock->run_id, lock->session_id);
			turn->ended_ids = lappend(turn->ended_ids, lock->run_id);
			continue;
		}
		outcome = run_outcome_cancelled(lock->attempt,
										encoding_from_server(lock->run_id));
		ended_run_fill(&ended[ended_count], &outcome, lock->run_id,
					   lock->session_id);
		ended[ended_count].row = lock->row;
		ended[ended_count].owner = lock->owner;
		ended_run_put_together(&ended[ended_count++], &outcome, steps,
							   elapsed_ms);
	}
	if (other_count > 0)
	{
		store_end_cancelled(others, other_count, &turn->tool_owners);
		ended_runs_tell(keys.run_ids, keys.count);
	}
	turn_end_runs(turn, ended, ended_count);
	return kept;
}
