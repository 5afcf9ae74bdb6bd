/*-------------------------------------------------------------------------
 *
 * turn_flights.c
 *	  What a turn stores of the runs in flight.
 *
 * A flight that is stored is over when the turn commits. What goes wrong with the
 * turn changes nothing about it, but when it is tried again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/clock.h"
#include "postmaster/interrupt.h"
#include "server/blame.h"
#include "runner/ended_run.h"
#include "runner/turn_internal.h"

/*
 * How long a run that was found locked is left alone: the pause doubles from the
 * first to the last.
 */
#define FIRST_LOCKED_PAUSE US_PER_S
#define LAST_LOCKED_PAUSE (16 * US_PER_S)

/*
 * How much is stored in one turn of what has arrived of streamed answers, in bytes,
 * but of one answer at least.
 */
#define FLUSH_BYTES (INT64CONST(8) * 1024 * 1024)

/* What one owner has of a turn is large from so many bytes on. */
#define LARGE_GROUP (256 * 1024)

/*
 * The pause after the last one, which is 0 if there was none.
 */
static int64
next_locked_pause(int64 last)
{
	return last == 0 ? FIRST_LOCKED_PAUSE : Min(last * 2, LAST_LOCKED_PAUSE);
}

/*
 * Whether this turn is for those of this owner, who does not rest.
 */
static bool
is_for(Turn *turn, Oid owner)
{
	Rests	   *rests = turn->order->rests;
	int64		now = turn->order->now;

	if (ShutdownRequestPending)
		return true;
	return !rests_has(rests, owner, now) &&
		rests_is_slow(rests, owner, now) == turn->own;
}

/*
 * When it is measured who takes how long, what is large may take too long, and is to undo
 * nothing that is small: so a turn has one or the other. Whether this one may have what
 * has so many bytes: if it is to have what is large, and there is none, the rest.
 */
static bool
may_have(const Turn *turn, int64 bytes)
{
	return !turn->measured || turn->own || turn->large_first ||
		ShutdownRequestPending || bytes <= LARGE_GROUP;
}

static Oid
owner_of(List *flights)
{
	return ((Flight *) linitial(flights))->owner;
}

/*
 * Of these flights those of the next owner, by OID, after the last one, who is the last
 * one then.
 */
static List *
of_next_owner(List *flights, Oid *last)
{
	Oid			next = InvalidOid;
	List	   *its = NIL;
	ListCell   *cell;

	foreach(cell, flights)
	{
		Oid			owner = ((Flight *) lfirst(cell))->owner;

		/* how far it is from the last one, round the end */
		if (next == InvalidOid || owner - *last - 1 < next - *last - 1)
			next = owner;
	}
	foreach(cell, flights)
	{
		if (((Flight *) lfirst(cell))->owner == next)
			its = lappend(its, lfirst(cell));
	}
	*last = next;
	return its;
}

/*
 * Of these flights those for which this turn has room: the first ones, but if there are
 * too many, or they are larger than that in all, owners get equal parts, in several turns
 * if need be. The very first is among them however large it is.
 */
static List *
take_parts(Turn *turn, OwnerWork work, List *flights,
		   int64 (*size) (const Flight *), int64 most)
{
	Shares	   *shares = turn->dispatch->fleet->shares;
	int64	   *round = &turn->order->rounds[work];
	int			owners = turn->own ? 1 : Max(shares_owners(shares), 1);
	int			limit = turn->limit;
	int			part;
	int64		bytes = 0;
	List	   *taken = NIL;
	List	   *others = NIL;
	ListCell   *cell;

	if (turn->own && flights != NIL)
		limit = rests_limit(turn->order->rests, owner_of(flights), work,
							turn->own_limit);
	part = Max(limit / owners, 1);
	foreach(cell, flights)
	{
		Flight	   *flight = lfirst(cell);
		int64		its = size(flight);

		if (list_length(taken) == limit)
			return taken;
		if (shares_take(shares, flight->owner, work, *round + 1, its, part,
						most / owners) || taken == NIL)
		{
			taken = lappend(taken, flight);
			bytes += its;
		}
		else if (list_length(others) < limit)
			others = lappend(others, flight);
	}
	/* All have had their parts. */
	(*round)++;
	foreach(cell, others)
	{
		bytes += size(lfirst(cell));
		if (list_length(taken) == limit || bytes > most)
			break;
		taken = lappend(taken, lfirst(cell));
	}
	return taken;
}

/*
 * Take from these flights those of the owner of the first.
 */
static List *
take_owner(List **flights)
{
	List	   *taken = NIL;
	List	   *rest = NIL;
	ListCell   *cell;

	foreach(cell, *flights)
	{
		if (((Flight *) lfirst(cell))->owner == owner_of(*flights))
			taken = lappend(taken, lfirst(cell));
		else
			rest = lappend(rest, lfirst(cell));
	}
	*flights = rest;
	return taken;
}

static bool
are_large(List *flights, int64 (*size) (const Flight *))
{
	int64		bytes = 0;
	ListCell   *cell;

	foreach(cell, flights)
		bytes += size(lfirst(cell));
	return bytes > LARGE_GROUP;
}

/*
 * These flights in groups that are done at once: all of them, or when it is measured who
 * takes how long, those of each owner; and of them, those that are large or those that
 * are not.
 */
static List *
group(Turn *turn, List *flights, int64 (*size) (const Flight *))
{
	List	   *small = NIL;
	List	   *large = NIL;

	if (flights == NIL)
		return NIL;
	if (!turn->measured || turn->own || ShutdownRequestPending)
		return list_make1(flights);
	while (flights != NIL)
	{
		List	   *taken = take_owner(&flights);

		if (are_large(taken, size))
			large = lappend(large, taken);
		else
			small = lappend(small, taken);
	}
	if (large == NIL || !turn->large_first || turn->tried > 0)
		return small;
	turn->only_large = true;
	return large;
}

/*
 * Do this work on these flights, group by group. Nobody is to wait for all that is large.
 */
static void
do_groups(Turn *turn, List *flights, int64 (*size) (const Flight *),
		  void (*work) (Turn *, List *))
{
	List	   *groups = group(turn, flights, size);
	int64		began = clock_now();
	ListCell   *cell;

	foreach(cell, groups)
	{
		if (turn->only_large && clock_now() - began > OWNER_SLICE)
			return;
		work(turn, lfirst(cell));
	}
}

/*
 * The turn is about these flights now.
 */
static void
begin_group(Turn *turn, OwnerWork work, List *group,
			int64 (*size) (const Flight *))
{
	bool		mixed = false;
	ListCell   *cell;

	if (turn->tried_flight == NULL)
		turn->tried_flight = linitial(group);
	foreach(cell, group)
		mixed |= ((Flight *) lfirst(cell))->owner != owner_of(group);
	turn_begin_runs(turn, work, mixed ? InvalidOid : owner_of(group),
					list_length(group));
	if (!mixed)
		return;
	foreach(cell, group)
		turn_weighs(turn, ((Flight *) lfirst(cell))->owner, size(lfirst(cell)));
}

/*-------------------------------------------------------------------------
 * Flights that go on
 *-------------------------------------------------------------------------
 */

/*
 * Store the events of these flights, whose rows are locked.
 */
static void
store_events(List *flights)
{
	EventRow   *rows;
	int			most = 0;
	int			count = 0;
	ListCell   *cell;

	foreach(cell, flights)
		most += flight_count_events(lfirst(cell));
	rows = palloc(sizeof(EventRow) * Max(most, 1));
	foreach(cell, flights)
		count += flight_event_rows(lfirst(cell), rows + count);
	store_append_events(rows, count);
}

/*
 * The flights whose events are to be stored in this turn. For those of others, there is
 * to be one without a pause.
 */
static List *
flights_to_flush(Turn *turn)
{
	List	   *due = NIL;
	int			all = 0;
	int64		now = clock_now();
	dlist_iter	iter;

	dlist_foreach(iter, &turn->dispatch->fleet->with_news)
	{
		Flight	   *flight = dlist_container(Flight, news.node, iter.cur);

		if (flight->run.step == STEP_STORE || flight->news.due_at > now ||
			rests_has(turn->order->rests, flight->owner, turn->order->now))
			continue;
		all++;
		if (is_for(turn, flight->owner) &&
			may_have(turn, flight_news_size(flight)))
			due = lappend(due, flight);
	}
	if (turn->own || turn->limit == 1)
		due = of_next_owner(due, &turn->order->last_flushed);
	if (list_length(due) < all)
		turn_again(turn, CHORE_FLUSH);
	return take_parts(turn, WORK_FLUSH, due, flight_news_size, FLUSH_BYTES);
}

/*
 * Store what has arrived of these streamed answers. Runs that somebody has locked,
 * to cancel them most likely, are left alone for a while.
 */
static void
flush_some(Turn *turn, List *flights)
{
	RunKeys		keys = run_keys(list_length(flights));
	List	   *flushed = NIL;
	PartialRun *partial;
	List	   *locks;
	int			count = 0;
	ListCell   *cell;

	foreach(cell, flights)
		run_keys_add(&keys, ((Flight *) lfirst(cell))->run_id, NULL);
	locks = store_lock_runs(keys.run_ids, keys.count);
	partial = palloc(sizeof(PartialRun) * Max(list_length(locks), 1));
	foreach(cell, locks)
	{
		RunLock    *lock = lfirst(cell);
		Flight	   *flight = fleet_find(turn->dispatch->fleet, lock->run_id);

		if (lock->status != RUN_RUNNING || lock->attempt != flight->run.attempt)
			continue;
		partial[list_length(flushed)].row = lock->row;
		flushed = lappend(flushed, flight);
	}
	foreach(cell, list_difference_ptr(flights, flushed))
	{
		Flight	   *flight = lfirst(cell);

		fleet_put_off_news(turn->dispatch->fleet, flight,
						   next_locked_pause(flight->news.locked_pause));
	}
	if (flushed == NIL)
		return;
	begin_group(turn, WORK_FLUSH, flushed, flight_news_size);
	store_events(flushed);
	foreach(cell, flushed)
	{
		const char *content = flight_partial_content(lfirst(cell));

		if (content == NULL)
			continue;
		partial[count].row = partial[foreach_current_index(cell)].row;
		partial[count++].content = content;
	}
	store_show_content(partial, count);
	turn->flushed = list_concat(turn->flushed, flushed);
	turn_note_time(turn);
}

/*
 * Store what has arrived of streamed answers.
 */
void
turn_flush_events(Turn *turn)
{
	if (turn->measured)
		turn_again(turn, CHORE_FLUSH);
	do_groups(turn, flights_to_flush(turn), flight_news_size, flush_some);
}

/*-------------------------------------------------------------------------
 * Flights that have ended
 *-------------------------------------------------------------------------
 */

/*
 * The flights that are to be stored in this turn: those that ended first.
 */
static List *
flights_to_store(Turn *turn)
{
	List	   *due = NIL;
	int64		now = clock_now();
	dlist_iter	iter;

	dlist_foreach(iter, &turn->dispatch->fleet->ended)
	{
		Flight	   *flight = dlist_container(Flight, node, iter.cur);

		if (flight->store_after <= now && is_for(turn, flight->owner) &&
			may_have(turn, flight_size(flight)))
			due = lappend(due, flight);
	}
	if (turn->own || turn->limit == 1)
		due = of_next_owner(due, &turn->order->last_stored);
	return take_parts(turn, WORK_STORE, due, flight_size, TURN_BYTES);
}

/*
 * The flight is over when the turn commits. Until then it is in the fleet, but
 * in nobody's way.
 */
static void
release_at_commit(Turn *turn, Flight *flight)
{
	turn->left = lappend(turn->left, flight);
	flight->leaving = turn->number;
}

/*
 * Flights whose rows could not be locked: those that are locked by somebody
 * else are tried again later, those that have been deleted are over.
 */
static void
put_off(Turn *turn, List *flights)
{
	RunKeys		keys = run_keys(list_length(flights));
	RunKeys		gone = run_keys(list_length(flights));
	RunIdSet	existing;
	ListCell   *cell;

	foreach(cell, flights)
		run_keys_add(&keys, ((Flight *) lfirst(cell))->run_id, NULL);
	existing = run_id_set(store_existing_runs(keys.run_ids, keys.count));

	foreach(cell, flights)
	{
		Flight	   *flight = lfirst(cell);

		if (run_id_set_has(&existing, flight->run_id))
			fleet_put_off(turn->dispatch->fleet, flight,
						  next_locked_pause(flight->locked_pause));
		else
		{
			run_keys_add(&gone, flight->run_id, flight->session_id);
			release_at_commit(turn, flight);
		}
	}
	if (gone.count > 0)
		store_leave_queue(gone.run_ids, gone.session_ids, gone.count);
}

/*
 * What is to be stored of flights that have ended, by what becomes of their runs.
 */
typedef struct Ends
{
	EndedRun   *ended;			/* for good */
	int			ended_count;
	EndedRun   *paused;			/* until somebody has decided */
	int			paused_count;
	EndedRun   *postponed;		/* to be started again at a known time */
	int			postponed_count;
	NewStep    *steps;			/* whose tools are to be called */
	int			step_count;
	EndedRun   *held_back;		/* to be started again when their server has
								 * room, or can be reached */
	int			held_back_count;
	List	   *streamed;		/* Flights that have subscribers */
	PartialRun *partial;		/* what streamed runs whose tools are to be
								 * called have said */
	int			partial_count;
	RunKeys		over;			/* runs that somebody else has ended */
	RunKeys		others;			/* runs that somebody else has taken over */
} Ends;

/*
 * This flight has ended, and its row is locked.
 */
static void
store_end(Turn *turn, Flight *flight, const RunLock *lock, Ends *ends)
{
	EndedRun   *ended;

	release_at_commit(turn, flight);

	/* One writer for an attempt: has somebody else taken the run over? */
	if (lock->status != RUN_RUNNING || lock->attempt != flight->run.attempt)
	{
		run_keys_add(lock->status == RUN_PENDING ||
					 lock->status == RUN_RUNNING ? &ends->others : &ends->over,
					 lock->run_id, lock->session_id);
		return;
	}

	if (flight->run.outcome.status == RUN_RUNNING)
	{
		if (flight->run.streamed)
		{
			ends->streamed = lappend(ends->streamed, flight);
			ends->partial[ends->partial_count].row = lock->row;
			ends->partial[ends->partial_count++].content =
				flight_clean(flight, flight->run.outcome.content);
		}
		blame_begin(flight->run_id);
		flight_fill_step(flight, &ends->steps[ends->step_count]);
		blame_end();
		if (ends->steps[ends->step_count++].has_work)
			turn->stepped = lappend(turn->stepped, flight);
		return;
	}
	if (flight->run.outcome.status != RUN_PENDING)
	{
		ended = flight->run.outcome.status == RUN_PAUSED ?
			&ends->paused[ends->paused_count++] :
			&ends->ended[ends->ended_count++];
		turn->ended_ids = lappend(turn->ended_ids, pstrdup(flight->run_id));
		if (flight->run.streamed)
			ends->streamed = lappend(ends->streamed, flight);
	}
	else if (flight->run.postpone_ms > 0)
		ended = &ends->postponed[ends->postponed_count++];
	else
	{
		ended = &ends->held_back[ends->held_back_count++];
		turn->held_back = lappend(turn->held_back, flight->pace);
	}
	blame_begin(flight->run_id);
	flight_fill_ended(flight, ended);
	blame_end();
	ended->row = lock->row;
	ended->parked_for = flight->pace->key;
}

/*
 * Flights have been cancelled by signals that are gone when this turn commits: those
 * that it does not store must not forget that.
 */
void
turn_keep_cancels(Turn *turn)
{
	RunKeys		keys = run_keys(list_length(turn->cancelled));
	ListCell   *cell;

	foreach(cell, turn->cancelled)
	{
		Flight	   *flight = lfirst(cell);

		if (flight->leaving != turn->number)
			run_keys_add(&keys, flight->run_id, flight->session_id);
	}
	turn->at_signals = true;
	store_keep_cancels(keys.run_ids, keys.count);
	turn->at_signals = false;
}

/*
 * Tell of the ends of those of these flights that have on_complete, and are not to
 * be called back any more.
 */
static void
tell_ended(List *flights)
{
	RunKeys		keys = run_keys(list_length(flights));
	ListCell   *cell;

	foreach(cell, flights)
	{
		Flight	   *flight = lfirst(cell);

		if (flight->calls_back)
			run_keys_add(&keys, flight->run_id, flight->session_id);
	}
	ended_runs_tell(keys.run_ids, keys.count);
}

/*
 * Store these flights, which have ended.
 */
static void
store_some(Turn *turn, List *flights)
{
	int			size = list_length(flights);
	RunKeys		keys = run_keys(size);
	Oid		   *owners = palloc(sizeof(Oid) * Max(size, 1));
	List	   *locks;
	Ends		ends = {0};
	ListCell   *cell;

	begin_group(turn, WORK_STORE, flights, flight_size);
	foreach(cell, flights)
	{
		Flight	   *flight = lfirst(cell);

		owners[keys.count] = flight->owner;
		run_keys_add(&keys, flight->run_id, NULL);
	}
	locks = store_lock_runs(keys.run_ids, keys.count);
	turn_follow_signals(turn, store_take_signals_of(keys.run_ids, owners,
													keys.count));

	ends.ended = palloc(sizeof(EndedRun) * size);
	ends.paused = palloc(sizeof(EndedRun) * size);
	ends.postponed = palloc(sizeof(EndedRun) * size);
	ends.held_back = palloc(sizeof(EndedRun) * size);
	ends.steps = palloc(sizeof(NewStep) * size);
	ends.partial = palloc(sizeof(PartialRun) * size);
	ends.over = run_keys(size);
	ends.others = run_keys(size);
	foreach(cell, locks)
	{
		RunLock    *lock = lfirst(cell);

		store_end(turn, fleet_find(turn->dispatch->fleet, lock->run_id), lock,
				  &ends);
	}

	if (ends.ended_count > 0)
		store_finish(ends.ended, ends.ended_count, &turn->tool_owners);
	store_pause(ends.paused, ends.paused_count);
	store_keep_steps(ends.steps, ends.step_count);
	store_show_content(ends.partial, ends.partial_count);
	store_postpone(ends.postponed, ends.postponed_count);
	store_hold_back(ends.held_back, ends.held_back_count);
	store_events(ends.streamed);
	tell_ended(ends.streamed);
	if (ends.over.count > 0)
		store_leave_queue(ends.over.run_ids, ends.over.session_ids,
						  ends.over.count);
	store_set_locked(ends.others.run_ids, ends.others.count);
	if (list_length(locks) < size)
		put_off(turn, list_difference_ptr(flights, turn->left));
	turn_note_time(turn);
}

/*
 * Store the flights that have ended.
 */
void
turn_store_flights(Turn *turn)
{
	do_groups(turn, flights_to_store(turn), flight_size, store_some);
}
