/*-------------------------------------------------------------------------
 *
 * chore_times.c
 *	  When there is table work to do.
 *
 * chores_due_at() alone says when a Chore is due: the loop sleeps until the first, and
 * chores.c does those whose time has come.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/clock.h"
#include "postmaster/interrupt.h"
#include "runner/chores_internal.h"
#include "server/runner_slots.h"
#include "server/settings.h"

/*
 * How many more runs may be in flight; below 0 if there are more already.
 */
int
chores_room_for_runs(Chores *chores)
{
	Fleet	   *fleet = chores->dispatch->fleet;
	int			most = Min(agno_max_concurrent_runs,
						   http_capacity(chores->dispatch->http));

	return most - (fleet->count - fleet->put_off);
}

/*
 * How many more there may be when all slots are taken, for owners who have
 * none: as many as there can be connections.
 */
int
chores_room_for_newcomers(Chores *chores)
{
	return Max(http_capacity(chores->dispatch->http) -
			   chores->dispatch->fleet->count, 0);
}

/*
 * When a run that has ended can be stored: at once, or after a pause when its
 * row was found locked.
 */
static int64
next_store_at(Chores *chores)
{
	int64		next = NEVER;
	int64		now = clock_now();
	dlist_iter	iter;

	dlist_foreach(iter, &chores->dispatch->fleet->ended)
	{
		Flight	   *flight = dlist_container(Flight, node, iter.cur);

		if (rests_has(chores->order.rests, flight->owner, now))
			continue;
		next = Min(next, flight->store_after);
		if (next == 0)
			break;
	}
	return next;
}

/*
 * When events of streamed runs are to be stored. Many streams take turns: none
 * is shown more often than the runner can store them all. With those that the last turn
 * was not about (again), there is no pause.
 */
static int64
next_flush_at(Chores *chores, bool again)
{
	int64		next = NEVER;
	int64		now = clock_now();
	dlist_iter	iter;

	dlist_foreach(iter, &chores->dispatch->fleet->with_news)
	{
		Flight	   *flight = dlist_container(Flight, news.node, iter.cur);

		if (flight->run.step != STEP_STORE &&
			!rests_has(chores->order.rests, flight->owner, now))
			next = Min(next, flight->news.due_at);
	}
	return next == NEVER || again ? next :
		Max(next, chores->flushed_at + FLUSH_PAUSE);
}

static bool
may_start(Chores *chores, int64 now)
{
	return !agno_paused && !ShutdownRequestPending && !runner_slot_held() &&
		!faults_memory_is_scarce(&chores->faults, now);
}

/*
 * When parked runs are to be looked at: they may wait for slots, too, but not to
 * be given up.
 */
static int64
next_unpark_at(Chores *chores)
{
	Dispatch   *dispatch = chores->dispatch;

	if (dispatch->pacing_changed)
	{
		dispatch->pacing_changed = false;
		chores->paced_at = pacing_next_at(dispatch->paces, clock_now());
	}
	if (agno_paused)
		return NEVER;
	if (chores_room_for_runs(chores) > 0 || chores->paced_at == NEVER)
		return chores->paced_at;
	return Max(chores->paced_at, chores->turned_at + IDLE_DUE_PAUSE);
}

/*
 * When a chore is due: 0 for now, NEVER while it is not.
 */
int64
chores_due_at(Chores *chores, Chore chore)
{
	bool		again = (chores->again & CHORE_BIT(chore)) != 0;

	switch (chore)
	{
		case CHORE_PATROL:
			return again ? chores->faults.left_out_until[PART_PATROL] : NEVER;
		case CHORE_SIGNALS:
			if (again || runner_slot_wakes() != chores->wakes_seen ||
				crowds_next_check(&chores->order.crowds) <= clock_now())
				return 0;
			return chores->dead_tools == NIL ? chores->dead_at :
				chores->faults.left_out_until[PART_DEAD_TOOLS];
		case CHORE_STORE:
			return next_store_at(chores);
		case CHORE_RESPONSES:
			return chores->dispatch->new_responses != NIL ?
				chores->faults.left_out_until[PART_RESPONSES] : NEVER;
		case CHORE_FLUSH:
			return next_flush_at(chores, again);
		case CHORE_CLOCK:
			return chores->clock_at;
		case CHORE_SWEEP:
			return chores->order.crowds.places[OPEN_DUE].hidden != NIL ?
				sweep_due_at(&chores->order.sweeps[OPEN_DUE]) : NEVER;
		case CHORE_UNPARK:
			return Max(Max(next_unpark_at(chores), chores->faults.scarce_until),
					   Max(chores->faults.left_out_until[PART_GIVE_UP],
						   chores->faults.left_out_until[PART_UNPARK]));
		case CHORE_START:
			/* Newcomers need no room. */
			return again && !agno_paused &&
				(chores_room_for_runs(chores) > 0 || chores_room_for_newcomers(chores) > 0) ?
				chores->faults.scarce_until : NEVER;
		case CHORE_PREPARED:
			return runner_slot_prepared() ? chores->prepared_at : NEVER;
		case CHORE_EXPIRE:
			return agno_retention > 0 && chores->first ?
				chores->retention.next_at : NEVER;
		case CHORES:
			break;
	}
	return NEVER;
}

/*
 * When a turn is due, because of any chore but CHORE_EXPIRE.
 */
int64
chores_next_turn_at(Chores *chores)
{
	int64		next = NEVER;

	for (Chore chore = 0; chore < CHORE_EXPIRE; chore++)
		next = Min(next, chores_due_at(chores, chore));
	next = Min(next, chores->rested_at);
	next = Min(next, crowds_next_check(&chores->order.crowds));
	return Max(next, chores->faults.not_before);
}

/*
 * When there is something to do: NEVER, as far as is known now.
 */
int64
chores_next_at(Chores *chores)
{
	int64		next = Min(chores_next_turn_at(chores), chores_due_at(chores, CHORE_EXPIRE));

	return chores->unclear_since != NEVER ? Min(next, chores->clear_after) : next;
}

/*
 * What a turn is to do now: a bit for each chore.
 */
uint32
chores_due(Chores *chores, int64 now)
{
	uint32		todo = 0;

	for (Chore chore = 0; chore < CHORE_EXPIRE; chore++)
	{
		if (chores_due_at(chores, chore) <= now)
			todo |= CHORE_BIT(chore);
	}

	/* Those who have rested have something to do most likely. */
	if (chores->rested_at <= now)
		todo |= CHORE_BIT(CHORE_SIGNALS) | CHORE_BIT(CHORE_STORE);

	/* Whoever takes over, or may have overlooked something, looks everywhere. */
	if ((todo & CHORE_BIT(CHORE_PATROL)) != 0)
		todo |= CHORE_BIT(CHORE_SIGNALS) | CHORE_BIT(CHORE_CLOCK);
	if ((todo & CHORE_BIT(CHORE_PREPARED)) != 0)
		todo |= CHORE_BIT(CHORE_SIGNALS);

	/* Whatever a turn is for, it starts what there is. */
	if (may_start(chores, now))
		todo |= CHORE_BIT(CHORE_START);
	else
		todo &= ~CHORE_BIT(CHORE_START);
	return todo;
}
