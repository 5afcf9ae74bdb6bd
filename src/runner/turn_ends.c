/*-------------------------------------------------------------------------
 *
 * turn_ends.c
 *	  The runs that end in a turn without being in flight.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "runner/ended_run.h"
#include "runner/error_kinds.h"
#include "runner/turn_internal.h"
#include "server/blame.h"
#include "server/encoding.h"
#include "server/subtransaction.h"

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
	if (count == 1)
		blame_begin(ended[0].run_id);
	store_finish(ended, count, &turn->tool_owners);
	blame_end();
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
 * What has been said and done of those of these runs that have called tools: a
 * ReadyRun of each, of which nothing else is known. Of one that this runner's predecessor has
 * crashed at, nothing is: that may have been done here.
 */
static ReadyRun **
read_steps(const Turn *turn, RunLock **runs, int count)
{
	ReadyRun  **stubs = palloc(sizeof(ReadyRun *) * count);
	List	   *list = NIL;

	for (int i = 0; i < count; i++)
	{
		stubs[i] = palloc0(sizeof(ReadyRun));
		stubs[i]->context = CurrentMemoryContext;
		stubs[i]->run_id = runs[i]->run_id;
		stubs[i]->turns = 1;
		if (!turn->barely && !store_is_culprit(runs[i]->run_id))
			list = lappend(list, stubs[i]);
	}
	/* What is too large for a turn is read alone. */
	if (count == 1)
		blame_begin(runs[0]->run_id);
	store_read_steps(list);
	blame_end();
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
	{
		blame_begin(lock->run_id);
		ended_run_put_together(ended, outcome, steps, elapsed_ms);
		blame_end();
	}
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
	ReadyRun  **stubs;

	if (kept == 0)
		return;
	stubs = read_steps(turn, runs, kept);
	for (int i = 0; i < kept; i++)
	{
		fill_locked(&ended[i], runs[i], &outcomes[i], stubs[i]->steps);
		if (turn->barely || store_is_culprit(runs[i]->run_id))
			ended[i].has_steps = ended[i].leaves_nothing = true;
	}
	turn_end_runs(turn, ended, kept);
}

/*
 * Whether a run was CANCELLED by somebody while it waited, and has something to leave.
 */
static bool
is_to_complete(const RunLock *lock, const ReadyRun *stub)
{
	return lock->status == RUN_CANCELLED && stub->steps != NIL;
}

/*
 * Store what is known of these runs, as far as they are to be completed, and what they leave
 * to their sessions: those of one session one after the other.
 */
static void
complete_some(RunLock **runs, ReadyRun **stubs, int count)
{
	for (int i = 0; i < count; i++)
	{
		RunOutcome	outcome =
			run_outcome_cancelled(runs[i]->attempt,
								  encoding_from_server(runs[i]->run_id));
		EndedRun	ended;

		if (!is_to_complete(runs[i], stubs[i]))
			continue;
		fill_locked(&ended, runs[i], &outcome, stubs[i]->steps);
		store_complete_ended(&ended);
	}
}

/*
 * Likewise, in a part of the transaction. Returns what it was refused for, by a constraint of
 * a DBA, say; NULL if it was not.
 */
static ErrorData *
try_to_complete(RunLock **runs, ReadyRun **stubs, int count)
{
	ErrorData  *volatile error = NULL;
	SubTransaction sub = subtransaction_begin();

	PG_TRY();
	{
		complete_some(runs, stubs, count);
		subtransaction_end(&sub, true);
	}
	PG_CATCH();
	{
		error = subtransaction_catch(&sub);
	}
	PG_END_TRY();

	if (error != NULL && error_is_passing(error))
		ReThrowError(error);
	return error;
}

/*
 * Complete those of these runs that are to be. What is refused is lost: they have ended all
 * the same.
 */
static void
complete_cancelled(RunLock **runs, ReadyRun **stubs, int count)
{
	bool		any = false;

	for (int i = 0; i < count; i++)
		any |= is_to_complete(runs[i], stubs[i]);
	if (!any || try_to_complete(runs, stubs, count) == NULL)
		return;
	for (int i = 0; i < count; i++)
	{
		ErrorData  *error = is_to_complete(runs[i], stubs[i]) ?
			try_to_complete(runs + i, stubs + i, 1) : NULL;

		if (error != NULL)
			ereport(LOG,
					(errmsg("agno_bg cannot store what run \"%s\" leaves, which has been cancelled: %s",
							runs[i]->run_id, error->message)));
	}
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
	ReadyRun  **stubs;

	if (kept == 0)
		return 0;
	stubs = read_steps(turn, runs, kept);
	complete_cancelled(runs, stubs, kept);
	for (int i = 0; i < kept; i++)
	{
		RunOutcome	outcome;

		if (stubs[i]->steps == NIL || runs[i]->status == RUN_CANCELLED)
		{
			others[other_count++] = runs[i];
			run_keys_add(&keys, runs[i]->run_id, runs[i]->session_id);
			turn->ended_ids = lappend(turn->ended_ids, runs[i]->run_id);
			continue;
		}
		outcome = run_outcome_cancelled(runs[i]->attempt,
										encoding_from_server(runs[i]->run_id));
		fill_locked(&ended[ended_count++], runs[i], &outcome, stubs[i]->steps);
	}
	if (other_count > 0)
	{
		store_end_cancelled(others, other_count, &turn->tool_owners);
		ended_runs_tell(keys.run_ids, keys.count);
	}
	turn_end_runs(turn, ended, ended_count);
	return kept;
}
