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
 * 429 are counted for each key to a server (a Pace), and only the runs in flight
 * (places.c), and whether it can be reached (reach.c), for the server as a whole (a
 * Target). Keys to a server take turns, and so do owners whose runs are parked.
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

#include <limits.h>

#include "core/clock.h"
#include "runner/pacing.h"
#include "utils/memutils.h"

/* Requests that were due in this time may be made up for, in microseconds. */
#define CATCH_UP INT64CONST(100000)

/*
 * How long a run may pause that keeps its place at a server which has not many, in
 * microseconds.
 */
#define KEPT_PAUSE (100 * US_PER_MS)

/* How often a parked run asks all the same: limits may have changed. */
#define PROBE_PAUSE US_PER_S

/*
 * When the runners have more paces than this, those that nothing depends on are
 * forgotten: a role may use any number of user mappings, one after the other. There
 * is room for so many in the table.
 */
#define KEPT_PACES 1000

/*
 * The longest time that a server is left alone for, whatever it says: after
 * that one run asks again.
 */
#define LONGEST_BLOCK (2 * US_PER_MINUTE)

/* A target by the name of its server. */
typedef struct NamedTarget
{
	char	   *name;
	Target		target;
} NamedTarget;

struct Pacing
{
	int			number;			/* of this runner */
	int64		turn;			/* number of the turn that is under way */
	const LoadTable *table;		/* NULL: there are no other runners */
	dlist_head	paces;			/* of everything that runs have asked for */
	int			pace_count;
	List	   *targets;		/* NamedTargets: their servers */
};

/*
 * Create it, for the runner with this number; table is NULL when it is alone.
 * It lives as long as the process.
 */
Pacing *
pacing_create(int number, const LoadTable *table)
{
	Pacing	   *pacing = MemoryContextAllocZero(TopMemoryContext,
												sizeof(Pacing));

	pacing->number = number;
	pacing->table = table;
	dlist_init(&pacing->paces);
	return pacing;
}

static void
lock_loads(Pacing *pacing)
{
	if (pacing->table != NULL)
		pacing->table->lock();
}

static void
unlock_loads(Pacing *pacing)
{
	if (pacing->table != NULL)
		pacing->table->unlock();
}

/*
 * The load of this name; *own tells whether it is in our own memory.
 */
static Load *
find_load(Pacing *pacing, const char *name, bool *own)
{
	Load	   *load = NULL;

	if (pacing->table != NULL)
		load = pacing->table->find(name, pacing->number);
	*own = load == NULL;
	if (load == NULL)
		load = palloc0(sizeof(Load));
	return load;
}

/*
 * This load is not needed any more. The loads must be locked.
 */
static void
release_load(Pacing *pacing, Load *load, bool own)
{
	if (own)
		pfree(load);
	else
		pacing->table->release(load, pacing->number);
}

/*
 * The target of this server, made if there is none.
 */
static Target *
find_target(Pacing *pacing, const char *server)
{
	ListCell   *cell;
	NamedTarget *named;
	Load	   *load;
	bool		own_load;
	MemoryContext old;

	foreach(cell, pacing->targets)
	{
		named = lfirst(cell);
		if (strcmp(named->name, server) == 0)
			return &named->target;
	}
	old = MemoryContextSwitchTo(TopMemoryContext);
	named = palloc0(sizeof(NamedTarget));
	named->name = pstrdup(server);
	/* no key looks like this */
	load = find_load(pacing, psprintf("%s/*", server), &own_load);
	places_init(&named->target.places, load, own_load);
	pacing->targets = lappend(pacing->targets, named);
	MemoryContextSwitchTo(old);
	return &named->target;
}

static Pace *
find_pace(Pacing *pacing, const char *key)
{
	dlist_iter	iter;

	dlist_foreach(iter, &pacing->paces)
	{
		Pace	   *pace = dlist_container(Pace, node, iter.cur);

		if (strcmp(pace->key, key) == 0)
			return pace;
	}
	return NULL;
}

/*
 * Forget tokens that were used some time ago; and, of those of which a server says
 * that there were very many, all that would block its key for longer than anything
 * else that it says.
 */
static void
forget_tokens(Pace *pace, int64 now)
{
	Load	   *load = pace->load;
	double		per_minute = pace->tokens_per_minute;

	if (per_minute > 0)
		load->tokens = Min(load->tokens,
						   per_minute * (1 + LONGEST_BLOCK / US_PER_MINUTE));
	load->tokens -= per_minute * (now - load->tokens_at) / US_PER_MINUTE;
	load->tokens = Max(load->tokens, 0);
	load->tokens_at = now;
}

/*
 * Whether one that began anew would be like this pace, and nobody has it now.
 */
static bool
is_idle(const Pacing *pacing, Pace *pace, int64 now)
{
	forget_tokens(pace, now);
	return pace->used_in != pacing->turn && pace->in_flight == 0 && pace->reserved == NIL && !pace->parked &&
		pace->load->next_request <= now && pace->load->blocked_until <= now &&
		(pace->tokens_per_minute == 0 || pace->load->tokens == 0);
}

/*
 * Nobody knows this server any more.
 */
static void
forget_target(Pacing *pacing, Target *target)
{
	ListCell   *cell;

	foreach(cell, pacing->targets)
	{
		NamedTarget *named = lfirst(cell);

		if (&named->target != target)
			continue;
		pacing->targets = foreach_delete_current(pacing->targets, cell);
		release_load(pacing, target->places.load, target->places.own_load);
		places_forget(&target->places);
		reach_forget(&target->reach);
		pfree(named->name);
		pfree(named);
		return;
	}
}

static void
forget_idle(Pacing *pacing, int64 now)
{
	dlist_mutable_iter iter;

	lock_loads(pacing);
	dlist_foreach_modify(iter, &pacing->paces)
	{
		Pace	   *pace = dlist_container(Pace, node, iter.cur);

		if (!is_idle(pacing, pace, now))
			continue;
		dlist_delete(&pace->node);
		pacing->pace_count--;
		if (--pace->target->paces == 0)
			forget_target(pacing, pace->target);
		release_load(pacing, pace->load, pace->own_load);
		list_free(pace->untried);
		crowd_forget(&pace->crowd);
		circle_forget(&pace->circle);
		pfree(pace->key);
		pfree(pace);
	}
	unlock_loads(pacing);
}

/*
 * The pace of a server as used with this user mapping; invalid: with none.
 */
Pace *
pacing_find(Pacing *pacing, const char *server, Oid mapping)
{
	char	   *key = psprintf("%s/%u", server, mapping);
	Pace	   *pace = find_pace(pacing, key);
	int			most = KEPT_PACES / (pacing->table != NULL ? agno_runners : 1);
	MemoryContext old;

	if (pace != NULL)
	{
		pace->used_in = pacing->turn;
		return pace;
	}
	if (pacing->pace_count >= most)
		forget_idle(pacing, clock_now());
	old = MemoryContextSwitchTo(TopMemoryContext);
	pace = palloc0(sizeof(Pace));
	pace->key = pstrdup(key);
	pace->target = find_target(pacing, server);
	pace->load = find_load(pacing, key, &pace->own_load);
	crowd_init(&pace->crowd, OPEN_PARKED, pace->key);
	pace->give_up_at = NEVER;
	pace->used_in = pacing->turn;
	pace->target->paces++;
	dlist_push_tail(&pacing->paces, &pace->node);
	pacing->pace_count++;
	MemoryContextSwitchTo(old);
	return pace;
}

/*
 * A flight has this pace.
 */
void
pacing_keep(Pace *pace)
{
	pace->in_flight++;
}

/*
 * It has not any more.
 */
void
pacing_let_go(Pace *pace)
{
	pace->in_flight--;
}

static void
set_parked(Pacing *pacing, Pace *pace, bool parked)
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
	places_wait(&target->places, pacing->number, target->parked > 0);
}

static void
end_stall(Pacing *pacing, Target *target)
{
	dlist_iter	iter;

	if (!target->stalled)
		return;
	target->stalled = false;
	dlist_foreach(iter, &pacing->paces)
	{
		Pace	   *pace = dlist_container(Pace, node, iter.cur);

		if (pace->target == target)
			pace->stalled = false;
	}
}

/*
 * This key has had its turn: the others to its server come first.
 */
static void
end_turn(Pacing *pacing, Pace *pace)
{
	dlist_delete(&pace->node);
	dlist_push_tail(&pacing->paces, &pace->node);
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
pass_untried(Pacing *pacing, Pace *pace)
{
	ListCell   *owner;

	if (pace->untried == NIL)
		return;
	foreach(owner, pace->untried)
		pacing_note_start(pace, lfirst_oid(owner));
	list_free(pace->untried);
	pace->untried = NIL;
	end_turn(pacing, pace);
}

static int64
request_pause(const Pace *pace)
{
	return Max(US_PER_MINUTE / pace->requests_per_minute, 1);
}

/*
 * What a turn that failed has reserved is free again.
 */
void
pacing_begin_turn(Pacing *pacing)
{
	dlist_mutable_iter iter;

	pacing->turn++;
	lock_loads(pacing);
	dlist_foreach_modify(iter, &pacing->paces)
	{
		Pace	   *pace = dlist_container(Pace, node, iter.cur);
		ListCell   *owner;

		foreach(owner, pace->reserved)
		{
			places_free(&pace->target->places, pacing->number, lfirst_oid(owner));
			if (pace->requests_per_minute > 0)
				pace->load->next_request -= request_pause(pace);
		}
		list_free(pace->reserved);
		pace->reserved = NIL;
		pass_untried(pacing, pace);
		pace->target->places.fetched = 0;
		reach_begin_turn(&pace->target->reach);
	}
	unlock_loads(pacing);
}

/*
 * A request is sent, or is about to be.
 */
static void
take_request(Pace *pace, int64 now)
{
	if (pace->requests_per_minute > 0)
		pace->load->next_request = request_pause(pace) +
			Max(pace->load->next_request, now - CATCH_UP);
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
		forget_tokens(pace, now);
		if (pace->load->tokens >= pace->tokens_per_minute)
			return 0;
	}
	if (pace->requests_per_minute == 0)
		return INT_MAX;
	return next > now ? 0 : 1 + (now - next) / request_pause(pace);
}

/*
 * How many runs may start now.
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
pacing_unparkable(Pacing *pacing, Pace *pace, int64 now)
{
	Places	   *places = &pace->target->places;
	int			room;

	if (pace->rests_until > now)
		return 0;
	lock_loads(pacing);
	room = pace->stalled ? 0 : room_at(pace, now);
	/* Whoever is only to find out does not race for what is free. */
	if (room == 0 && pace->deserted)
	{
		pace->deserted = false;
		unlock_loads(pacing);
		return INT_MAX;
	}
	if (places->max_concurrency > 0 && room > 0)
		room = Max(Min(room, places_left(places) - places->fetched), 0);
	if (room == 0 && places->fetched == 0 &&
		pace->load->blocked_until <= now &&
		!reach_is_lost(&pace->target->reach) && pace->probe_at <= now)
		room = 1;
	unlock_loads(pacing);
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
 * There is room, but only such owners have parked runs as may not have more.
 */
void
pacing_stall(Pacing *pacing, Pace *pace)
{
	pace->stalled = true;
	pace->target->stalled = true;
}

/*
 * No runs are parked for this any more.
 */
void
pacing_none_parked(Pacing *pacing, Pace *pace)
{
	lock_loads(pacing);
	set_parked(pacing, pace, false);
	unlock_loads(pacing);
}

/*
 * A run that was parked for this is for another key by now. Let others find out,
 * too, whatever holds them back; those of this key are parked again, and held back
 * as before. That was the turn of this key, whether the run starts or not.
 */
void
pacing_desert(Pacing *pacing, const char *key)
{
	Pace	   *pace = find_pace(pacing, key);

	if (pace == NULL)
		return;
	pace->deserted = pace->parked;
	end_turn(pacing, pace);
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
 * turn; if not, it is to be parked.
 */
bool
pacing_admit(Pacing *pacing, Pace *pace, const ModelServer *server, Oid owner,
			 bool is_new, int64 now)
{
	Target	   *target = pace->target;
	bool		admitted;

	pace->untried = list_delete_oid(pace->untried, owner);
	target->places.max_concurrency = server->max_concurrency;
	target->reach.patience_ms = server->patience_ms;
	pace->requests_per_minute = server->requests_per_minute;
	pace->tokens_per_minute = server->tokens_per_minute;
	lock_loads(pacing);
	admitted = room_at(pace, now) > 0 &&
		places_owner_may(&target->places, owner) &&
		!(is_new && may_have_parked(pace, owner));
	if (admitted)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		pace->reserved = lappend_oid(pace->reserved, owner);
		MemoryContextSwitchTo(old);
		pacing_note_start(pace, owner);
		end_turn(pacing, pace);
		places_take(&target->places, pacing->number, owner);
		reach_reserve_try(&target->reach);
		take_request(pace, now);
	}
	else
	{
		if (!pace->parked)
			pace->probe_at = now + PROBE_PAUSE;
		if (places_owner_may(&target->places, owner))
			pace->stalled = false;
		if (list_member_oid(pace->crowd.hidden, owner))
			circle_note_parked(&pace->circle);
		set_parked(pacing, pace, true);
	}
	unlock_loads(pacing);
	return admitted;
}

/*
 * A turn has failed: nobody knows any more for what runs are parked.
 */
void
pacing_recheck(Pacing *pacing)
{
	dlist_iter	iter;

	lock_loads(pacing);
	dlist_foreach(iter, &pacing->paces)
	{
		Pace	   *pace = dlist_container(Pace, node, iter.cur);

		set_parked(pacing, pace, true);
		pace->give_up_at = 0;
	}
	unlock_loads(pacing);
}

/*
 * A run of this owner has been started, and the turn that did so is committed.
 * Returns whether it is the one that tries a server which could not be reached.
 */
bool
pacing_started(Pacing *pacing, Pace *pace, Oid owner)
{
	pace->reserved = list_delete_oid(pace->reserved, owner);
	return reach_start_try(&pace->target->reach);
}

/*
 * A run of this owner that has been admitted in this turn does not start in it: what
 * it was given is for others.
 */
void
pacing_give_back(Pacing *pacing, Pace *pace, Oid owner)
{
	lock_loads(pacing);
	pace->reserved = list_delete_oid(pace->reserved, owner);
	places_free(&pace->target->places, pacing->number, owner);
	if (pace->requests_per_minute > 0)
		pace->load->next_request -= request_pause(pace);
	unlock_loads(pacing);
}

/*
 * Whether runs are parked for this server that may start as soon as there is room.
 */
static bool
has_waiting(Pacing *pacing, const Target *target)
{
	dlist_iter	iter;

	dlist_foreach(iter, &pacing->paces)
	{
		Pace	   *pace = dlist_container(Pace, node, iter.cur);

		if (pace->target == target && pace->parked && !pace->stalled)
			return true;
	}
	return false;
}

/*
 * A run that pauses is to ask its server again: whether it may. If others wait for that, it
 * is not before them. A server that cannot be reached it may ask, to be held back as others
 * are.
 */
bool
pacing_come_back(Pacing *pacing, Pace *pace, int64 now)
{
	Target	   *target = pace->target;
	Places	   *places = &target->places;
	bool		lost = reach_is_lost(&target->reach);
	bool		may;

	lock_loads(pacing);
	may = lost ||
		(places_room(places, now) > 0 && requests_left(pace, now) > 0 &&
		 places_others(places, pacing->number) == 0 &&
		 !has_waiting(pacing, target));
	if (may)
		places_take_back(places, pacing->number);
	if (may && !lost)
		take_request(pace, now);
	unlock_loads(pacing);
	return may;
}

/*
 * There is room for others. Returns which other runners wait for it: the bit of each number.
 */
static uint32
let_others(Pacing *pacing, Pace *pace, Oid owner, int64 now)
{
	Target	   *target = pace->target;
	uint32		others = places_others(&target->places, pacing->number);

	end_stall(pacing, target);
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
pacing_pause(Pacing *pacing, Pace *pace, Oid owner, bool trying,
			 int64 tokens, int64 now)
{
	uint32		others;

	if (trying)
		reach_end_try(&pace->target->reach);
	lock_loads(pacing);
	places_lend(&pace->target->places, pacing->number);
	forget_tokens(pace, now);
	pace->load->tokens += tokens;
	others = let_others(pacing, pace, owner, now);
	unlock_loads(pacing);
	return others;
}

/*
 * A run of this owner that pauses is over: it does not ask its server any more.
 */
void
pacing_leave(Pacing *pacing, Pace *pace, Oid owner, int64 now)
{
	lock_loads(pacing);
	places_give_up(&pace->target->places, owner);
	(void) let_others(pacing, pace, owner, now);
	unlock_loads(pacing);
}

/*
 * The server asks to be left alone until then.
 */
void
pacing_block(Pacing *pacing, Pace *pace, int64 until, int64 now)
{

	until = Min(until, now + LONGEST_BLOCK);
	lock_loads(pacing);
	pace->load->blocked_until = Max(pace->load->blocked_until, until);
	unlock_loads(pacing);
}

int64
pacing_blocked_until(Pacing *pacing, Pace *pace)
{
	int64		until;

	lock_loads(pacing);
	until = pace->load->blocked_until;
	unlock_loads(pacing);
	return until;
}

/*
 * A run waits for the server of this key to be reached.
 */
void
pacing_held_back(Pacing *pacing, Pace *pace, int64 now)
{

	lock_loads(pacing);
	set_parked(pacing, pace, true);
	unlock_loads(pacing);
	pace->stalled = false;

	/* It may have been waiting before: find out soon. */
	pace->give_up_at = Min(pace->give_up_at,
						   now + Min(pace->target->reach.patience_ms * US_PER_MS,
									 PROBE_PAUSE));
}

/*
 * The next pace after this one, or the first after NULL, that runs may be
 * parked for; NULL when there is none.
 */
Pace *
pacing_next_parked(Pacing *pacing, Pace *after)
{
	dlist_node *node = after != NULL ? &after->node : &pacing->paces.head;

	while (node->next != &pacing->paces.head)
	{
		Pace	   *pace = dlist_container(Pace, node, node->next);

		if (pace->parked)
			return pace;
		node = node->next;
	}
	return NULL;
}

/*
 * pacing_next_parked() begins after this pace, and comes to it last.
 */
void
pacing_begin_after(Pacing *pacing, Pace *pace)
{
	dlist_node *head = &pacing->paces.head;

	/* The list is a ring, in which the head stands before the first one. */
	dlist_delete(head);
	dlist_insert_after(&pace->node, head);
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

	if (pace->deserted || (!pace->stalled && room_at(pace, now) > 0))
		return now;
	if (pace->load->blocked_until > now)
		return !reach_is_lost(&target->reach) ? pace->load->blocked_until :
			Min(pace->load->blocked_until, pace->give_up_at);
	if (reach_is_lost(&target->reach))
		return Min(reach_next_try(&target->reach), pace->give_up_at);
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
pacing_next_at(Pacing *pacing, int64 now)
{
	int64		next = NEVER;
	dlist_iter	iter;

	lock_loads(pacing);
	dlist_foreach(iter, &pacing->paces)
	{
		Pace	   *pace = dlist_container(Pace, node, iter.cur);

		if (pace->parked)
		{
			int64		at = room_from(pace, now);

			next = Min(next, Max(at, Min(pace->rests_until, pace->give_up_at)));
		}
	}
	unlock_loads(pacing);
	return next;
}
