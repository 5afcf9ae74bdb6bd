/*-------------------------------------------------------------------------
 *
 * pacing.c
 *	  How fast each model server may be asked.
 *
 * A server has limits of its own (max_concurrency, requests_per_minute,
 * tokens_per_minute), and it may ask to be left alone for a while (status 429).
 * A run that may not start now is parked in the queue, where it holds nothing
 * and stands in nobody's way; it is fetched from there when there is room.
 *
 * An account with a server has limits of its own. So requests, tokens and status
 * 429 are counted for each key to a server (a Pace, pace_table.c), and only the runs in flight
 * (places.c), and whether it can be reached (reach.c), for the server as a whole (a
 * Target). Keys to a server take turns, and so do owners whose runs are parked.
 *
 * A server that says for how long it is to be left alone is, with that key; what comes then,
 * and what where it does not say, is the business of doubts.c.
 *
 * Requests are spread evenly, so that there are never more than the limit in a
 * minute. Tokens are known only afterwards: no run starts while those of the
 * last minute, forgotten at an even pace, are above the limit.
 *
 * Runs of a server that cannot be reached are parked until it is, or until they
 * have waited long enough.
 *
 * The limits are for all runners of the database together. Where there are
 * several, what they need to know of each other is in a Load in shared memory. A
 * load starts from nothing with the server; what a runner had in flight is
 * forgotten when another takes over.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/clock.h"
#include "runner/pacing.h"
#include "utils/memutils.h"

/* Requests that were due in this time may be made up for, in microseconds. */
#define CATCH_UP INT64CONST(100000)

/*
 * How many runs start before one may come back to a server, in turn with them, for which
 * there is no room.
 */
#define STARTS_PER_RETURN 3

/*
 * How long a run may pause that keeps its place at a server which has not many, in
 * microseconds.
 */
#define KEPT_PAUSE (100 * US_PER_MS)

/* How often a parked run asks all the same: limits may have changed. */
#define PROBE_PAUSE US_PER_S

static void
set_parked(PaceTable *paces, Pace *pace, bool parked)
{
	Target	   *target = pace->target;

	if (pace->parked != parked)
		target->parked += parked ? 1 : -1;
	pace->parked = parked;
	pace->rests_until = 0;
	pace->sweep.idle_until = 0;
	if (!parked)
	{
		pace->give_up_at = NEVER;
		pace->deserted = false;
	}
	places_wait(&target->places, paces->number, target->parked > 0);
}

static void
end_stall(PaceTable *paces, Target *target)
{
	dlist_iter	iter;

	if (!target->stalled)
		return;
	target->stalled = false;
	dlist_foreach(iter, &paces->all)
	{
		Pace	   *pace = dlist_container(Pace, node, iter.cur);

		if (pace->target == target)
			pace->stalled = false;
	}
}

/*
 * A run of this owner starts at the server: he has had his turn. One that has been fetched
 * has not, as it may be to find out whether it can start, or another may be faster.
 */
void
pacing_note_start(Pace *pace, Oid owner)
{
	places_note_start(&pace->target->places, owner);
	pace->last_owner = owner;
	pace->hidden_first = !list_member_oid(pace->crowd.hidden, owner);
	circle_note_start(&pace->circle, owner);
}

/*
 * A turn has fetched runs of these owners, and none of them has asked whether it may
 * start: they cannot be started for other reasons, and would come first each time. So
 * that was their turn.
 */
static void
pass_untried(PaceTable *paces, Pace *pace)
{
	ListCell   *owner;

	if (pace->untried == NIL)
		return;
	foreach(owner, pace->untried)
		pacing_note_start(pace, lfirst_oid(owner));
	list_free(pace->untried);
	pace->untried = NIL;
	pace_table_end_turn(paces, pace);
}

static int64
request_pause(const Pace *pace)
{
	return Max(US_PER_MINUTE / pace->requests_per_minute, 1);
}

/*
 * A request that was about to be sent for this owner, and paid for so, is not.
 */
static void
give_request_back(Pace *pace, Oid owner, Ask ask)
{
	if (pace->requests_per_minute > 0)
		pace->load->next_request -= request_pause(pace);
	doubts_take_ask_back(&pace->doubts, owner, ask);
}

/*
 * A run of this owner is about to be started, whose request is paid for so.
 */
static void
reserve(Pace *pace, Oid owner, Ask ask)
{
	Reservation *reserved = MemoryContextAlloc(TopMemoryContext,
											   sizeof(Reservation));
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	reserved->owner = owner;
	reserved->ask = ask;
	pace->reserved = lappend(pace->reserved, reserved);
	MemoryContextSwitchTo(old);
}

/*
 * It is started, or is not after all.
 */
static void
end_reservation(Pace *pace, Oid owner, Ask ask)
{
	ListCell   *cell;

	foreach(cell, pace->reserved)
	{
		Reservation *reserved = lfirst(cell);

		if (reserved->owner != owner || reserved->ask != ask)
			continue;
		pace->reserved = foreach_delete_current(pace->reserved, cell);
		pfree(reserved);
		return;
	}
}

/*
 * What a turn that failed has reserved is free again.
 */
void
pacing_begin_turn(PaceTable *paces)
{
	dlist_mutable_iter iter;

	paces->turn++;
	pace_table_lock(paces);
	dlist_foreach_modify(iter, &paces->all)
	{
		Pace	   *pace = dlist_container(Pace, node, iter.cur);
		ListCell   *cell;

		foreach(cell, pace->reserved)
		{
			Reservation *reserved = lfirst(cell);

			places_free(&pace->target->places, paces->number, reserved->owner);
			give_request_back(pace, reserved->owner, reserved->ask);
		}
		list_free_deep(pace->reserved);
		pace->reserved = NIL;
		pass_untried(paces, pace);
		pace->target->places.fetched = 0;
		reach_begin_turn(&pace->target->reach);
	}
	pace_table_unlock(paces);
}

/*
 * A request is sent for this owner, or is about to be. Returns what pays for it.
 */
static Ask
take_request(Pace *pace, Oid owner, int64 now)
{
	if (pace->requests_per_minute > 0)
		pace->load->next_request = request_pause(pace) +
			Max(pace->load->next_request, now - CATCH_UP);
	return doubts_note_ask(&pace->doubts, owner, now);
}

/*
 * How many runs may start now, as far as requests and tokens go.
 */
static int64
requests_left(Pace *pace, int64 now)
{
	int64		next = Max(pace->load->next_request, now - CATCH_UP);

	if (pace->tokens_per_minute > 0)
	{
		pace_forget_tokens(pace, now);
		if (pace->load->tokens >= pace->tokens_per_minute)
			return 0;
	}
	if (pace->requests_per_minute == 0)
		return PG_INT32_MAX;
	return next > now ? 0 : 1 + (now - next) / request_pause(pace);
}

/*
 * How many runs may start now, of owners who may have more.
 */
static int
room_at(Pace *pace, int64 now)
{
	Target	   *target = pace->target;

	if (pace->load->blocked_until > now)
		return 0;
	if (reach_is_lost(&target->reach))
		return reach_may_try(&target->reach, now) ? 1 : 0;
	return (int) Min(places_room(&target->places, now),
					 requests_left(pace, now));
}

/*
 * How many runs of this owner may start now, if there is room. The loads must be locked.
 */
static int
owner_room(const Pace *pace, Oid owner, int64 now)
{
	return places_owner_may(&pace->target->places, owner) ?
		doubts_asks_left(&pace->doubts, owner, now) : 0;
}

/*
 * Likewise. *ask is what pays for the first of them.
 */
int
pacing_owner_room(PaceTable *paces, const Pace *pace, Oid owner, int64 now,
				  Ask *ask)
{
	int			room;

	pace_table_lock(paces);
	room = owner_room(pace, owner, now);
	*ask = doubts_next_ask(&pace->doubts, owner, now);
	pace_table_unlock(paces);
	return room;
}

/*
 * How many runs may start now, if there is room, of all owners together, whose requests are
 * paid for so: of each Ask.
 */
void
pacing_shared_rooms(PaceTable *paces, const Pace *pace, int64 now,
					int rooms[ASK_KINDS])
{
	pace_table_lock(paces);
	for (int ask = 0; ask < ASK_KINDS; ask++)
		rooms[ask] = doubts_room(&pace->doubts, ask, now);
	pace_table_unlock(paces);
}

/*
 * The owners who may ask now, of those who have been answered or told anything with this key:
 * *count of them, in palloc'd memory.
 */
Oid *
pacing_who_may(PaceTable *paces, const Pace *pace, int64 now, int *count)
{
	Oid		   *owners;

	pace_table_lock(paces);
	owners = doubts_who_may(&pace->doubts, now, count);
	pace_table_unlock(paces);
	return owners;
}

/*
 * How many of them may not.
 */
int
pacing_held(PaceTable *paces, const Pace *pace, int64 now)
{
	int			held;

	pace_table_lock(paces);
	held = doubts_held(&pace->doubts, now);
	pace_table_unlock(paces);
	return held;
}

/*
 * Whether there are only parked runs, or were when somebody looked, of owners who may not
 * have more in flight.
 */
static bool
is_stalled(const Pace *pace, int64 now)
{
	return pace->stalled && pace->stalled_until > now;
}

/*
 * Whether a run that pauses leaves its place, and its turn, to others: at a server, or with a
 * key, that has a limit. Where requests are counted, each is asked for.
 */
bool
pacing_leaves(const Pace *pace, int64 pause)
{
	if (pace->requests_per_minute > 0)
		return true;
	return pause > KEPT_PAUSE && (pace->tokens_per_minute > 0 ||
								  pace->target->places.max_concurrency > 0);
}

/*
 * How many parked runs are to ask now whether they may start. A place that is free at a
 * server is for one of them, not for one of each key to it.
 */
int
pacing_unparkable(PaceTable *paces, Pace *pace, int64 now)
{
	Places	   *places = &pace->target->places;
	int			room;

	if (pace->rests_until > now)
		return 0;
	pace_table_lock(paces);
	room = is_stalled(pace, now) ? 0 : room_at(pace, now);
	/* Whoever is only to find out does not race for what is free. */
	if (room == 0 && pace->deserted)
	{
		pace->deserted = false;
		pace_table_unlock(paces);
		return PG_INT32_MAX;
	}
	if (places->max_concurrency > 0 && room > 0)
		room = Max(Min(room, places_left(places) - places->fetched), 0);
	if (room == 0 && places->fetched == 0 &&
		pace->load->blocked_until <= now &&
		!reach_is_lost(&pace->target->reach) && pace->probe_at <= now)
		room = 1;
	pace_table_unlock(paces);
	if (room > 0)
		pace->probe_at = now + PROBE_PAUSE;
	return room;
}

/*
 * A run of this owner that was parked for this has been fetched.
 */
void
pacing_note_fetched(Pace *pace, Oid owner)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	pace->untried = list_append_unique_oid(pace->untried, owner);
	MemoryContextSwitchTo(old);
}

/*
 * There is room, but only such owners have parked runs as may not have more: when somebody
 * looked, not before now.
 */
void
pacing_stall(PaceTable *paces, Pace *pace, int64 now)
{
	pace_table_lock(paces);
	pace->stalled_until = doubts_next_change(&pace->doubts, now);
	pace_table_unlock(paces);
	pace->stalled = true;
	pace->target->stalled = true;
}

/*
 * No runs are parked for this any more.
 */
void
pacing_none_parked(PaceTable *paces, Pace *pace)
{
	pace_table_lock(paces);
	set_parked(paces, pace, false);
	pace_table_unlock(paces);
}

/*
 * A run that was parked for this is for another key by now. Let others find out,
 * too, whatever holds them back; those of this key are parked again, and held back
 * as before. That was the turn of this key, whether the run starts or not.
 */
void
pacing_desert(PaceTable *paces, const char *key)
{
	Pace	   *pace = pace_table_named(paces, key);

	if (pace == NULL)
		return;
	pace->deserted = pace->parked;
	pace_table_end_turn(paces, pace);
}

/*
 * Whether this owner may have parked runs that nobody has found yet: they have been
 * waiting for longer than any new one.
 */
static bool
may_have_parked(const Pace *pace, Oid owner)
{
	return pace->parked && pace->sweep.idle_until == 0 &&
		list_member_oid(pace->crowd.hidden, owner);
}

/*
 * Whether a run of this owner, which is new, or has been parked for this, may start in this
 * turn; if not, it is to be parked. Sets what pays for its request.
 */
bool
pacing_admit(PaceTable *paces, Pace *pace, const ModelServer *server, Oid owner,
			 bool is_new, int64 now, Ask *ask)
{
	Target	   *target = pace->target;
	bool		admitted;

	pace->untried = list_delete_oid(pace->untried, owner);
	target->places.max_concurrency = server->max_concurrency;
	target->reach.patience_ms = server->patience_ms;
	pace->requests_per_minute = server->requests_per_minute;
	pace->tokens_per_minute = server->tokens_per_minute;
	pace_table_lock(paces);
	admitted = room_at(pace, now) > 0 &&
		owner_room(pace, owner, now) > 0 &&
		!(is_new && may_have_parked(pace, owner));
	if (admitted)
	{
		*ask = take_request(pace, owner, now);
		reserve(pace, owner, *ask);
		pacing_note_start(pace, owner);
		pace_table_end_turn(paces, pace);
		places_take(&target->places, paces->number, owner);
		target->starts++;
		reach_reserve_try(&target->reach);
	}
	else
	{
		if (!pace->parked)
			pace->probe_at = now + PROBE_PAUSE;
		if (owner_room(pace, owner, now) > 0)
			pace->stalled = false;
		if (list_member_oid(pace->crowd.hidden, owner))
			circle_note_parked(&pace->circle);
		set_parked(paces, pace, true);
	}
	pace_table_unlock(paces);
	return admitted;
}

/*
 * A turn has failed: nobody knows any more for what runs are parked.
 */
void
pacing_recheck(PaceTable *paces)
{
	dlist_iter	iter;

	pace_table_lock(paces);
	dlist_foreach(iter, &paces->all)
	{
		Pace	   *pace = dlist_container(Pace, node, iter.cur);

		set_parked(paces, pace, true);
		pace->give_up_at = 0;
	}
	pace_table_unlock(paces);
}

/*
 * A run of this owner has been started, and the turn that did so is committed.
 * Returns whether it is the one that tries a server which could not be reached.
 */
bool
pacing_started(PaceTable *paces, Pace *pace, Oid owner, Ask ask)
{
	end_reservation(pace, owner, ask);
	return reach_start_try(&pace->target->reach);
}

/*
 * A run of this owner that has been admitted in this turn does not start in it: what
 * it was given is for others.
 */
void
pacing_give_back(PaceTable *paces, Pace *pace, Oid owner, Ask ask)
{
	pace_table_lock(paces);
	end_reservation(pace, owner, ask);
	places_free(&pace->target->places, paces->number, owner);
	give_request_back(pace, owner, ask);
	pace_table_unlock(paces);
}

/*
 * Whether runs are parked for this server that may start as soon as there is room.
 */
static bool
has_waiting(PaceTable *paces, const Target *target, int64 now)
{
	dlist_iter	iter;

	dlist_foreach(iter, &paces->all)
	{
		Pace	   *pace = dlist_container(Pace, node, iter.cur);

		if (pace->target == target && pace->parked && !is_stalled(pace, now))
			return true;
	}
	return false;
}

/*
 * Whether a run that cannot give way comes back now, where others wait: there is room, and
 * none of them has started since it looked last, when *seen was set; or else after some have
 * started, room or not.
 */
static bool
is_turn_to_return(Pace *pace, bool room, int64 *seen)
{
	Target	   *target = pace->target;
	bool		may = room && *seen == target->starts;

	*seen = target->starts;
	if (may || target->starts < target->returned_at + STARTS_PER_RETURN)
		return may;
	target->returned_at = target->starts;
	return true;
}

/*
 * A run of this owner that pauses is to ask its server again: whether it may. If others wait
 * for that, it is not before them. seen is for one that does not give way if it may not, else
 * NULL. A server that cannot be reached it may ask, to be held back as others are. Sets what
 * pays for its request.
 */
bool
pacing_come_back(PaceTable *paces, Pace *pace, Oid owner, int64 *seen, int64 now,
				 Ask *ask)
{
	Target	   *target = pace->target;
	Places	   *places = &target->places;
	bool		lost = reach_is_lost(&target->reach);
	bool		room;
	bool		may;

	pace_table_lock(paces);
	room = places_room(places, now) > 0 && requests_left(pace, now) > 0 &&
		doubts_asks_left(&pace->doubts, owner, now) > 0;
	may = lost ||
		(room && places_others(places, paces->number) == 0 &&
		 !has_waiting(paces, target, now));
	if (!may && seen != NULL)
		may = is_turn_to_return(pace, room, seen);
	if (may)
		places_take_back(places, paces->number);
	if (may && !lost)
		*ask = take_request(pace, owner, now);
	pace_table_unlock(paces);
	return may;
}

/*
 * A run of this owner that is in flight asks its server once more: those who start later
 * wait for that. Returns what pays for it.
 */
Ask
pacing_note_request(PaceTable *paces, Pace *pace, Oid owner, int64 now)
{
	Ask			ask;

	pace_table_lock(paces);
	ask = take_request(pace, owner, now);
	pace_table_unlock(paces);
	return ask;
}

/*
 * It does not ask after all.
 */
void
pacing_note_unsent(PaceTable *paces, Pace *pace, Oid owner, Ask ask, int64 now)
{
	if (ask == ASK_NONE)
		return;
	pace_table_lock(paces);
	give_request_back(pace, owner, ask);
	pace_table_unlock(paces);
	pace->stalled_until = Min(pace->stalled_until, now);
}

/*
 * There is room for others. Returns which other runners wait for it: the bit of each number.
 */
static uint32
let_others(PaceTable *paces, Pace *pace, Oid owner, int64 now)
{
	Target	   *target = pace->target;
	uint32		others = places_others(&target->places, paces->number);

	end_stall(paces, target);
	if (list_member_oid(pace->crowd.hidden, owner))
		pace->rests_until = 0;
	if (others != 0)
		places_yield(&target->places, now);
	return others;
}

/*
 * A run of this owner pauses, or is over, and has cost so many tokens. trying is what
 * pacing_started() said, unless reach_failed() has been told of it since. Returns which other
 * runners wait for its place.
 */
uint32
pacing_pause(PaceTable *paces, Pace *pace, Oid owner, bool trying,
			 int64 tokens, int64 now)
{
	uint32		others;

	if (trying)
		reach_end_try(&pace->target->reach);
	pace_table_lock(paces);
	places_lend(&pace->target->places, paces->number);
	pace_forget_tokens(pace, now);
	pace->load->tokens += tokens;
	others = let_others(paces, pace, owner, now);
	pace_table_unlock(paces);
	return others;
}

/*
 * A run of this owner that pauses is over: it does not ask its server any more.
 */
void
pacing_leave(PaceTable *paces, Pace *pace, Oid owner, int64 now)
{
	pace_table_lock(paces);
	places_give_up(&pace->target->places, owner);
	(void) let_others(paces, pace, owner, now);
	pace_table_unlock(paces);
}

/*
 * The server has told a run of this owner that it is to be left alone until then; 0: it has
 * not said for how long.
 */
void
pacing_block(PaceTable *paces, Pace *pace, Oid owner, int64 until, int64 now)
{
	until = Min(until, now + LONGEST_BLOCK);
	pace_table_lock(paces);
	doubts_tell(&pace->doubts, owner, until, now);
	pace->load->blocked_until = Max(pace->load->blocked_until, until);
	pace_table_unlock(paces);
}

/*
 * The server has answered what was sent for this owner then, and paid for so.
 */
void
pacing_answered(PaceTable *paces, Pace *pace, Oid owner, Ask ask, int64 sent_at,
				int64 now)
{
	pace_table_lock(paces);
	doubts_answer(&pace->doubts, owner, ask, sent_at, now);
	pace_table_unlock(paces);
	pace->stalled_until = Min(pace->stalled_until, now);
}

/*
 * Until when the server is not to be asked for this owner, by whoever has been admitted. The
 * loads must be locked.
 */
static int64
closed_until(const Pace *pace, Oid owner)
{
	return Max(pace->load->blocked_until,
			   doubts_pause_end(&pace->doubts, owner));
}

int64
pacing_closed_until(PaceTable *paces, Pace *pace, Oid owner)
{
	int64		until;

	pace_table_lock(paces);
	until = closed_until(pace, owner);
	pace_table_unlock(paces);
	return until;
}

/*
 * Whether the server may be asked now by a run of this owner that is in flight. Where ask is
 * not NULL, it has asked before, and is to pay for this, too: it sets with what.
 */
bool
pacing_may_ask(PaceTable *paces, Pace *pace, Oid owner, int64 now, Ask *ask)
{
	bool		may;

	pace_table_lock(paces);
	may = closed_until(pace, owner) <= now &&
		(ask == NULL || doubts_asks_left(&pace->doubts, owner, now) > 0);
	if (may && ask != NULL)
		*ask = doubts_note_ask(&pace->doubts, owner, now);
	pace_table_unlock(paces);
	return may;
}

/*
 * A run waits for the server of this key to be reached.
 */
void
pacing_held_back(PaceTable *paces, Pace *pace, int64 now)
{
	pace_table_lock(paces);
	set_parked(paces, pace, true);
	pace_table_unlock(paces);
	pace->stalled = false;

	/* It may have been waiting before: find out soon. */
	pace->give_up_at = Min(pace->give_up_at,
						   now + Min(pace->target->reach.patience_ms * US_PER_MS,
									 PROBE_PAUSE));
}

/*
 * When there may be room for parked runs of this pace, or they have waited long
 * enough.
 */
static int64
room_from(Pace *pace, int64 now)
{
	Target	   *target = pace->target;
	int64		at = pace->probe_at;

	if (pace->deserted || (!is_stalled(pace, now) && room_at(pace, now) > 0))
		return now;
	if (pace->load->blocked_until > now)
		return !reach_is_lost(&target->reach) ? pace->load->blocked_until :
			Min(pace->load->blocked_until, pace->give_up_at);
	if (reach_is_lost(&target->reach))
		return Min(reach_next_try(&target->reach), pace->give_up_at);
	if (pace->stalled)
		at = Min(at, pace->stalled_until);
	if (pace->requests_per_minute > 0 && pace->load->next_request > now)
		at = Min(at, pace->load->next_request);
	if (target->places.yield_until > now)
		at = Min(at, target->places.yield_until);
	return at;
}

/*
 * When there may be something to do about parked runs; NEVER when there are
 * none.
 */
int64
pacing_next_at(PaceTable *paces, int64 now)
{
	int64		next = NEVER;
	dlist_iter	iter;

	pace_table_lock(paces);
	dlist_foreach(iter, &paces->all)
	{
		Pace	   *pace = dlist_container(Pace, node, iter.cur);

		if (pace->parked)
		{
			int64		at = room_from(pace, now);

			next = Min(next, Max(at, Min(pace->rests_until, pace->give_up_at)));
		}
	}
	pace_table_unlock(paces);
	return next;
}
