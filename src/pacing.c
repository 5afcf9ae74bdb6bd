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
 * Requests are spread evenly, so that there are never more than the limit in a
 * minute. Tokens are known only afterwards: no run starts while those of the
 * last minute, forgotten at an even pace, are above the limit.
 *
 * The limits are for all runners of the database together. Where there are
 * several, what they need to know of each other is in a Load in shared memory.
 * A runner that has freed a place for which others wait leaves it to them for
 * a moment, so that none is starved. A load starts from nothing with the
 * server; what a runner had in flight is forgotten when another takes over.
 *
 * Called by turn.c and runner.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "nodes/pg_list.h"
#include "pacing.h"
#include "utils/memutils.h"

#define US_PER_MINUTE INT64CONST(60000000)

/* Requests that were due in this time may be made up for, in microseconds. */
#define CATCH_UP INT64CONST(100000)

/* How often a parked run asks in any case: limits may have changed. */
#define PROBE_PAUSE INT64CONST(1000000)

/* How long a place is left to other runners. */
#define YIELD_PAUSE INT64CONST(20000)

struct Pacing
{
	int			number;			/* of this runner */
	const LoadHome *home;		/* NULL: there are no other runners */
	List	   *paces;			/* of every server that runs have asked for */
};

/*
 * Create it, for the runner with this number; home is NULL when it is alone.
 * It lives as long as the process.
 */
Pacing *
pacing_create(int number, const LoadHome *home)
{
	Pacing	   *pacing = MemoryContextAllocZero(TopMemoryContext,
												sizeof(Pacing));

	pacing->number = number;
	pacing->home = home;
	return pacing;
}

static void
lock_loads(Pacing *pacing)
{
	if (pacing->home != NULL)
		pacing->home->lock();
}

static void
unlock_loads(Pacing *pacing)
{
	if (pacing->home != NULL)
		pacing->home->unlock();
}

static Pace *
find_pace(Pacing *pacing, const char *name)
{
	ListCell   *cell;
	MemoryContext old;
	Pace	   *pace;

	foreach(cell, pacing->paces)
	{
		pace = lfirst(cell);
		if (strcmp(pace->server, name) == 0)
			return pace;
	}
	old = MemoryContextSwitchTo(TopMemoryContext);
	pace = palloc0(sizeof(Pace));
	pace->server = pstrdup(name);
	if (pacing->home != NULL)
		pace->load = pacing->home->find(name);
	if (pace->load == NULL)
		pace->load = palloc0(sizeof(Load));
	pacing->paces = lappend(pacing->paces, pace);
	MemoryContextSwitchTo(old);
	return pace;
}

static void
set_parked(Pacing *pacing, Pace *pace, bool parked)
{
	pace->parked = parked;
	if (parked)
		pace->load->waiting |= 1U << pacing->number;
	else
		pace->load->waiting &= ~(1U << pacing->number);
}

/*
 * What a turn that failed has reserved is free again.
 */
void
pacing_begin_turn(Pacing *pacing)
{
	ListCell   *cell;

	lock_loads(pacing);
	foreach(cell, pacing->paces)
	{
		Pace	   *pace = lfirst(cell);

		pace->load->in_flight[pacing->number] -= pace->reserved;
		pace->reserved = 0;
	}
	unlock_loads(pacing);
}

static void
forget_tokens(Pace *pace, int64 now)
{
	Load	   *load = pace->load;

	load->tokens -= (double) pace->tokens_per_minute *
		(now - load->tokens_at) / US_PER_MINUTE;
	load->tokens = Max(load->tokens, 0);
	load->tokens_at = now;
}

static int64
request_pause(const Pace *pace)
{
	return Max(US_PER_MINUTE / pace->requests_per_minute, 1);
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
 * How many runs of the server may start now.
 */
static int
room_at(Pace *pace, int64 now)
{
	Load	   *load = pace->load;
	int64		room = INT_MAX;

	if (load->blocked_until > now)
		return 0;
	if (pace->max_concurrency > 0)
	{
		room = pace->yield_until > now ? 0 : pace->max_concurrency;
		for (int i = 0; i < MAX_RUNNERS_PER_DATABASE; i++)
			room -= load->in_flight[i];
	}
	if (pace->requests_per_minute > 0)
	{
		int64		next = Max(load->next_request, now - CATCH_UP);

		room = Min(room, next > now ? 0 :
				   1 + (now - next) / request_pause(pace));
	}
	if (pace->tokens_per_minute > 0)
	{
		forget_tokens(pace, now);
		if (load->tokens >= pace->tokens_per_minute)
			room = 0;
	}
	return (int) Max(room, 0);
}

/*
 * How many parked runs of the server are to ask now whether they may start.
 */
int
pacing_unparkable(Pacing *pacing, Pace *pace, int64 now)
{
	int			room;

	lock_loads(pacing);
	room = room_at(pace, now);
	if (room == 0 && pace->load->blocked_until <= now && pace->probe_at <= now)
		room = 1;
	unlock_loads(pacing);
	if (room > 0)
		pace->probe_at = now + PROBE_PAUSE;
	return room;
}

/*
 * No runs are parked for the server any more.
 */
void
pacing_none_parked(Pacing *pacing, Pace *pace)
{
	lock_loads(pacing);
	set_parked(pacing, pace, false);
	unlock_loads(pacing);
}

/*
 * Whether a run of this server may start in this turn; if not, it is to be
 * parked.
 */
bool
pacing_admit(Pacing *pacing, const char *name, const ModelServer *server,
			 int64 now)
{
	Pace	   *pace = find_pace(pacing, name);
	bool		admitted;

	pace->max_concurrency = server->max_concurrency;
	pace->requests_per_minute = server->requests_per_minute;
	pace->tokens_per_minute = server->tokens_per_minute;
	lock_loads(pacing);
	admitted = room_at(pace, now) > 0;
	if (admitted)
	{
		pace->load->in_flight[pacing->number]++;
		pace->reserved++;
		take_request(pace, now);
	}
	else
	{
		if (!pace->parked)
			pace->probe_at = now + PROBE_PAUSE;
		set_parked(pacing, pace, true);
	}
	unlock_loads(pacing);
	return admitted;
}

/*
 * A turn has failed: nobody knows any more for whom runs are parked.
 */
void
pacing_recheck(Pacing *pacing)
{
	ListCell   *cell;

	lock_loads(pacing);
	foreach(cell, pacing->paces)
		set_parked(pacing, lfirst(cell), true);
	unlock_loads(pacing);
}

/*
 * A run has been started, and the turn that did so is committed.
 */
void
pacing_started(Pacing *pacing, const char *name)
{
	find_pace(pacing, name)->reserved--;
}

/*
 * A run that had been started is over, and cost so many tokens. Returns which
 * other runners wait for its place: the bit of each number.
 */
uint32
pacing_ended(Pacing *pacing, const char *name, int64 tokens, int64 now)
{
	Pace	   *pace = find_pace(pacing, name);
	uint32		others;

	lock_loads(pacing);
	pace->load->in_flight[pacing->number]--;
	forget_tokens(pace, now);
	pace->load->tokens += tokens;
	others = pace->load->waiting & ~(1U << pacing->number);
	unlock_loads(pacing);
	if (others != 0)
		pace->yield_until = now + YIELD_PAUSE;
	return others;
}

/*
 * A request is to be sent again. Returns when; it has its place from now on, so
 * that runs that are parked cannot go before it for ever.
 */
int64
pacing_repeat(Pacing *pacing, const char *name, int64 now)
{
	Pace	   *pace = find_pace(pacing, name);
	int64		at = now;

	lock_loads(pacing);
	if (pace->requests_per_minute > 0)
		at = Max(pace->load->next_request, now);
	take_request(pace, now);
	unlock_loads(pacing);
	return at;
}

/*
 * The server asks to be left alone until then.
 */
void
pacing_block(Pacing *pacing, const char *name, int64 until)
{
	Pace	   *pace = find_pace(pacing, name);

	lock_loads(pacing);
	pace->load->blocked_until = Max(pace->load->blocked_until, until);
	unlock_loads(pacing);
}

int64
pacing_blocked_until(Pacing *pacing, const char *name)
{
	Pace	   *pace = find_pace(pacing, name);
	int64		until;

	lock_loads(pacing);
	until = pace->load->blocked_until;
	unlock_loads(pacing);
	return until;
}

/*
 * The next server after this one, or the first after NULL, that runs may be
 * parked for; NULL when there is none.
 */
Pace *
pacing_next_parked(Pacing *pacing, Pace *after)
{
	ListCell   *cell;

	foreach(cell, pacing->paces)
	{
		Pace	   *pace = lfirst(cell);

		if (after == pace)
			after = NULL;
		else if (after == NULL && pace->parked)
			return pace;
	}
	return NULL;
}

/*
 * When there may be room for parked runs of this server.
 */
static int64
room_from(Pace *pace, int64 now)
{
	int64		at = pace->probe_at;

	if (room_at(pace, now) > 0)
		return now;
	if (pace->load->blocked_until > now)
		return pace->load->blocked_until;
	if (pace->requests_per_minute > 0 && pace->load->next_request > now)
		at = Min(at, pace->load->next_request);
	if (pace->yield_until > now)
		at = Min(at, pace->yield_until);
	return at;
}

/*
 * When there may be room for parked runs; PG_INT64_MAX when none are.
 */
int64
pacing_next_at(Pacing *pacing, int64 now)
{
	int64		next = PG_INT64_MAX;
	ListCell   *cell;

	lock_loads(pacing);
	foreach(cell, pacing->paces)
	{
		Pace	   *pace = lfirst(cell);

		if (pace->parked)
		{
			int64		at = room_from(pace, now);

			next = Min(next, at);
		}
	}
	unlock_loads(pacing);
	return next;
}
