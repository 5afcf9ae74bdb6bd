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
 * What has been said and done of those of these runs that have called tools: a list of
 * ReadyRuns, of which nothing else is known.
 */
static List *
read_steps(const Turn *turn, RunLock **runs, int count)
{
	List	   *stubs = NIL;

	for (int i = 0; i < count; i++)
	{
		ReadyRun   *stub = palloc0(sizeof(ReadyRun));

		stub->context = CurrentMemoryContext;
		stub->run_id = runs[i]->run_id;
		stub->turns = 1;
		stubs = lappend(stubs, stub);
	}
	if (!turn->barely)
		store_read_steps(stubs);
	return stubs;
}

/*
 * What is to be stored of a run that ended like this, and has said and done so far what is in
 * its steps.
 */
static void
fill_locked(EndedRun *ended, const RunLock *lock, const RunOutcome *outcome,
			List *steps)
{
	int64		elapsed_ms = lock->started_at == 0 ? 0 :
		Max(GetCurrentTimestamp() - lock->started_at, 0) / 1000;

	ended_run_fill(ended, outcome, lock->run_id, lock->session_id);
	ended->row = lock->row;
	ended->owner = lock->owner;
	if (steps != NIL)
		ended_run_put_together(ended, outcome, steps, elapsed_ms);
	ended->attempt = lock->attempt;
}

/*
 * End these runs, which are locked and not in flight, and have failed each with its outcome:
 * the first ones, as many as a turn may read of.
 */
void
turn_end_failed(Turn *turn, RunLock **runs, const RunOutcome *outcomes, int count)
{
	int			kept = keep_in_budget(runs, count);
	EndedRun   *ended = palloc(sizeof(EndedRun) * Max(kept, 1));
	ListCell   *cell;

	if (kept == 0)
		return;
	foreach(cell, read_steps(turn, runs, kept))
	{
		int			i = foreach_current_index(cell);

		fill_locked(&ended[i], runs[i], &outcomes[i],
					((ReadyRun *) lfirst(cell))->steps);
		if (turn->barely)
			ended[i].has_steps = ended[i].leaves_nothing = true;
	}
	turn_end_runs(turn, ended, kept);
}

/*
 * What is known of a run that was CANCELLED while it waited, and what it leaves to its
 * session.
 */
static void
complete_cancelled(const RunLock *lock, List *steps)
{
	RunOutcome	outcome =
		run_outcome_cancelled(lock->attempt, encoding_from_server(lock->run_id));
	EndedRun	ended;

	fill_locked(&ended, lock, &outcome, steps);
	store_complete_ended(&ended);
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
	List	   *stubs;
	ListCell   *cell;

	if (kept == 0)
		return 0;
	stubs = read_steps(turn, runs, kept);

	/* Runs of one session leave it something one after the other. */
	foreach(cell, stubs)
	{
		RunLock    *lock = runs[foreach_current_index(cell)];
		List	   *steps = ((ReadyRun *) lfirst(cell))->steps;

		if (steps != NIL && lock->status == RUN_CANCELLED)
			complete_cancelled(lock, steps);
	}
	foreach(cell, stubs)
	{
		RunLock    *lock = runs[foreach_current_index(cell)];
		List	   *steps = ((ReadyRun *) lfirst(cell))->steps;
		RunOutcome	outcome;

		if (steps == NIL || lock->status == RUN_CANCELLED)
		{
			others[other_count++] = lock;
			run_keys_add(&keys, lock->run_id, lock->session_id);
			turn->ended_ids = lappend(turn->ended_ids, lock->run_id);
			continue;
		}
		outcome = run_outcome_cancelled(lock->attempt,
										encoding_from_server(lock->run_id));
		fill_locked(&ended[ended_count++], lock, &outcome, steps);
	}
	if (other_count > 0)
	{
		store_end_cancelled(others, other_count, &turn->tool_owners);
		ended_runs_tell(keys.run_ids, keys.count);
	}
	turn_end_runs(turn, ended, ended_count);
	return kept;
}
