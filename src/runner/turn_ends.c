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
	store_finish(ended, count);
	ended_runs_tell(keys.run_ids, count);
}

/*
 * End these runs, which are locked and not in flight, since they have been or are
 * to be cancelled, and tell subscribers.
 */
void
turn_end_cancelled(Turn *turn, RunLock **runs, int count)
{
	RunKeys		keys = run_keys(count);

	if (count == 0)
		return;
	for (int i = 0; i < count; i++)
	{
		run_keys_add(&keys, runs[i]->run_id, runs[i]->session_id);
		turn->ended_ids = lappend(turn->ended_ids, runs[i]->run_id);
	}
	store_end_cancelled(runs, count);
	ended_runs_tell(keys.run_ids, count);
}
