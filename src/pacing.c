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
 * All of this is the runner's own memory, and starts from nothing with it.
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

struct Pacing
{
	List	   *paces;			/* of every server that runs have asked for */
};

/*
 * Create it; it lives as long as the process.
 */
Pacing *
pacing_create(void)
{
	return MemoryContextAllocZero(TopMemoryContext, sizeof(Pacing));
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
	pacing->paces = lappend(pacing->paces, pace);
	MemoryContextSwitchTo(old);
	return pace;
}

/*
 * What a turn that failed has reserved is free again.
 */
void
pacing_begin_turn(Pacing *pacing)
{
	ListCell   *cell;

	foreach(cell, pacing->paces)
		((Pace *) lfirst(cell))->reserved = 0;
}

static void
forget_tokens(Pace *pace, int64 now)
{
	pace->tokens -= (double) pace->tokens_per_minute *
		(now - pace->tokens_at) / US_PER_MINUTE;
	pace->tokens = Max(pace->tokens, 0);
	pace->tokens_at = now;
}

/*
 * How many runs of the server may start now.
 */
static int
room_at(Pace *pace, int64 now)
{
	int64		room = INT_MAX;

	if (pace->blocked_until > now)
		return 0;
	if (pace->max_concurrency > 0)
		room = pace->max_concurrency - pace->in_flight - pace->reserved;
	if (pace->requests_per_minute > 0)
	{
		int64		pause = US_PER_MINUTE / pace->requests_per_minute;
		int64		next = Max(pace->next_request, now - CATCH_UP);

		room = Min(room, next > now ? 0 :
				   1 + (now - next) / Max(pause, 1) - pace->reserved);
	}
	if (pace->tokens_per_minute > 0)
	{
		forget_tokens(pace, now);
		if (pace->tokens >= pace->tokens_per_minute)
			room = 0;
	}
	return (int) Max(room, 0);
}

/*
 * How many parked runs of the server are to ask now whether they may start.
 */
int
pacing_unparkable(Pace *pace, int64 now)
{
	int			room = room_at(pace, now);

	if (room == 0 && pace->blocked_until <= now && pace->probe_at <= now)
		room = 1;
	if (room > 0)
		pace->probe_at = now + PROBE_PAUSE;
	return room;
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

	pace->max_concurrency = server->max_concurrency;
	pace->requests_per_minute = server->requests_per_minute;
	pace->tokens_per_minute = server->tokens_per_minute;
	if (room_at(pace, now) == 0)
	{
		if (!pace->parked)
			pace->probe_at = now + PROBE_PAUSE;
		pace->parked = true;
		return false;
	}
	pace->reserved++;
	return true;
}

/*
 * A turn has failed: nobody knows any more for whom runs are parked.
 */
void
pacing_recheck(Pacing *pacing)
{
	ListCell   *cell;

	foreach(cell, pacing->paces)
		((Pace *) lfirst(cell))->parked = true;
}

/*
 * A run has been started, and the turn that did so is committed.
 */
void
pacing_started(Pacing *pacing, const char *name, int64 now)
{
	Pace	   *pace = find_pace(pacing, name);

	pace->in_flight++;
	if (pace->requests_per_minute > 0)
		pace->next_request = Max(pace->next_request, now - CATCH_UP) +
			US_PER_MINUTE / pace->requests_per_minute;
}

/*
 * A run that had been started is over, and cost so many tokens.
 */
void
pacing_ended(Pacing *pacing, const char *name, int64 tokens, int64 now)
{
	Pace	   *pace = find_pace(pacing, name);

	pace->in_flight--;
	forget_tokens(pace, now);
	pace->tokens += tokens;
}

/*
 * The server asks to be left alone until then.
 */
void
pacing_block(Pacing *pacing, const char *name, int64 until)
{
	Pace	   *pace = find_pace(pacing, name);

	pace->blocked_until = Max(pace->blocked_until, until);
}

int64
pacing_blocked_until(Pacing *pacing, const char *name)
{
	return find_pace(pacing, name)->blocked_until;
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
 * When there may be room for parked runs; PG_INT64_MAX when none are.
 */
int64
pacing_next_at(Pacing *pacing, int64 now)
{
	int64		next = PG_INT64_MAX;
	ListCell   *cell;

	foreach(cell, pacing->paces)
	{
		Pace	   *pace = lfirst(cell);
		int64		at = pace->probe_at;

		if (!pace->parked)
			continue;
		if (room_at(pace, now) > 0)
			return now;
		if (pace->blocked_until > now)
			at = pace->blocked_until;
		else if (pace->requests_per_minute > 0 && pace->next_request > now)
			at = Min(at, pace->next_request);
		next = Min(next, at);
	}
	return next;
}
