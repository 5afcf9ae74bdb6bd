/*-------------------------------------------------------------------------
 *
 * turn_outcome.c
 *	  What follows for the fleet from a turn that has been committed.
 *
 * Runs are in flight that it has started, and others are not any more; those who wait
 * for a run are woken, and other processes that have something to do. Touches no table.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/clock.h"
#include "miscadmin.h"
#include "runner/turn.h"
#include "server/runner_slots.h"
#include "server/tool_slots.h"
#include "server/waiters.h"
#include "utils/memutils.h"

/* With so many runs in flight more, each stream waits once longer. */
#define STREAMS_PER_FLUSH 100

/*
 * Count how a run ended, for agno.workers.
 */
static void
count_end(const Flight *flight)
{
	const Run  *run = &flight->run;

	runner_slot_count(COUNT_RETRIED,
					  run->repetitions - flight->earlier_repetitions);
	if (run->outcome.status == RUN_COMPLETED)
		runner_slot_count(COUNT_COMPLETED, 1);
	else if (run->outcome.status == RUN_ERROR)
		runner_slot_count(COUNT_FAILED, 1);
	else if (run->outcome.status == RUN_CANCELLED)
		runner_slot_count(COUNT_CANCELLED, 1);
}

/*
 * What streams have said is stored.
 */
static void
note_flushed(const Turn *turn)
{
	Fleet	   *fleet = turn->dispatch->fleet;
	int64		pause = FLUSH_PAUSE * (1 + fleet->count / STREAMS_PER_FLUSH);
	ListCell   *cell;

	foreach(cell, turn->flushed)
	{
		Flight	   *flight = lfirst(cell);

		flight_events_stored(flight);
		fleet_told_news(flight);
		if (flight->news.flushing_part)
			fleet_has_news(fleet, flight);
		flight->news.due_at = clock_now() + pause;
	}
}

/*
 * Runs are stored, or others have them: they are not in flight any more.
 */
static void
let_go(const Turn *turn)
{
	Dispatch   *dispatch = turn->dispatch;
	ListCell   *cell;

	/* These are among them. */
	foreach(cell, turn->stepped)
	{
		Flight	   *flight = lfirst(cell);

		tool_slots_add_work(MyDatabaseId, flight->owner);
		if (flight->conversation != NULL)
			conversation_cache_put(dispatch->conversations,
								   flight->conversation);
	}
	foreach(cell, turn->left)
	{
		Flight	   *flight = lfirst(cell);

		dispatch_forget(dispatch, flight);
		count_end(flight);
		pace_table_let_go(flight->pace);
		fleet_remove(dispatch->fleet, flight);
		MemoryContextDelete(flight->context);
	}
}

/*
 * Runs are started: their memory lives as long as they are in flight.
 */
static void
take_off(const Turn *turn)
{
	Dispatch   *dispatch = turn->dispatch;
	ListCell   *cell;

	foreach(cell, turn->started)
	{
		Flight	   *flight = lfirst(cell);

		MemoryContextSetParent(flight->context, TopMemoryContext);
		fleet_add(dispatch->fleet, flight);
		pace_table_keep(flight->pace);
		if (flight->admitted)
			flight->trying = pacing_started(dispatch->paces, flight->pace,
											flight->owner, flight->ask);
	}
}

/*
 * Wake those who wait for runs that have ended.
 */
static void
wake_waiters(const Turn *turn)
{
	char	  **ids = palloc(sizeof(char *) *
							 Max(list_length(turn->ended_ids), 1));
	ListCell   *cell;

	foreach(cell, turn->ended_ids)
		ids[foreach_current_index(cell)] = lfirst(cell);
	waiters_wake(ids, list_length(turn->ended_ids));
}

/*
 * Tell those who wait for runs that have ended, and the tool workers, now that the turn is
 * committed.
 */
void
turn_tell(const Turn *turn)
{
	ListCell   *cell;

	wake_waiters(turn);
	foreach(cell, turn->tool_owners)
		tool_slots_want(MyDatabaseId, lfirst_oid(cell));
	foreach(cell, turn->cancelled_ids)
		tool_slots_cancel(lfirst(cell));
}

/*
 * Carry out what a turn has decided, now that it is committed.
 */
void
turn_carry_out(const Turn *turn)
{
	uint32		siblings;
	ListCell   *cell;

	note_flushed(turn);
	foreach(cell, turn->settled)
		fleet_settled(lfirst(cell));
	foreach(cell, turn->held_back)
		pacing_held_back(turn->dispatch->paces, lfirst(cell), clock_now());
	let_go(turn);
	turn_tell(turn);
	take_off(turn);
	runner_slot_count(COUNT_CLAIMED, list_length(turn->started));
	runner_slot_count(COUNT_IN_FLIGHT,
					  list_length(turn->started) - list_length(turn->left));
	siblings = store_told_runners();
	/* It may have been their runs that were lost, or whose tools have died. */
	if (turn->lost || turn->dead_tools != NIL)
		siblings = PG_UINT32_MAX;
	runner_slot_wake_siblings(siblings);
}
