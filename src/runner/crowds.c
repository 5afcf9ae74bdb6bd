/*-------------------------------------------------------------------------
 *
 * crowds.c
 *	  Owners whose rows are in the way.
 *
 * Who has enqueued, or cancelled, very many runs in a transaction that is still open makes
 * every look for what is ready, or signalled, long; so do rows that are dead, while an old
 * snapshot keeps them. As soon as a look has taken long, it is found out who that is, and
 * he is passed by until that has ended, for several times as long as a look takes that does
 * not: so there is such a look now and then, for what else he has.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/clock.h"
#include "runner/crowds.h"
#include "runner/rests.h"
#include "utils/memutils.h"

/* How long it is watched who crowds, after a look that took long, or somebody who did. */
#define WATCH_TIME (5 * US_PER_S)

/*
 * For how many times as long as a look took nobody looks like that again, and after one
 * that others notice.
 */
#define PASSED_TIMES 3
#define LONG_PASSED_TIMES 10
#define LONG_LOOK (100 * US_PER_MS)

/* For no longer than this. */
#define LONGEST_PASSED (10 * US_PER_S)

/*
 * How long what has been found out is taken to be so; or so many times as long as that
 * took, if that is longer.
 */
#define CHECK_PAUSE (US_PER_S / 4)
#define CHECK_TIMES 10

/*
 * Somebody looks into this place now.
 */
void
crowds_begin_look(Crowds *crowds, OpenRows place)
{
	crowds->places[place].began = clock_now();
}

/*
 * The look has come to its end.
 */
void
crowds_end_look(Crowds *crowds, OpenRows place)
{
	Crowd	   *crowd = &crowds->places[place];
	int64		now = clock_now();
	int64		took = now - crowd->began;

	crowd->began = 0;
	if (took <= OWNER_SLICE)
		return;
	if (now >= crowd->watched_until)
		crowd->checked_until = 0;
	crowd->watched_until = now + WATCH_TIME;
	took *= took > LONG_LOOK ? LONG_PASSED_TIMES : PASSED_TIMES;
	crowd->passed_until = now + Min(took, LONGEST_PASSED);
}

/*
 * Nobody is known to crowd this place.
 */
static void
forget(Crowd *crowd)
{
	crowd->count = 0;
	crowd->next = InvalidOid;
}

/*
 * Find out who crowds this place: of the owners from crowd->next on, as far as the time
 * allows. Of others it is known.
 */
static void
check(Crowd *crowd, OpenRows place)
{
	int64		began = clock_now();
	Oid			first = crowd->next;
	List	   *found = store_crowding_owners(place, &crowd->next);
	int64		now = clock_now();
	Oid		   *owners = MemoryContextAlloc(TopMemoryContext, sizeof(Oid) *
											(list_length(found) + crowd->count + 1));
	int			count = 0;
	ListCell   *cell;

	foreach(cell, found)
		owners[count++] = lfirst_oid(cell);
	for (int i = 0; i < crowd->count; i++)
	{
		Oid			owner = crowd->owners[i];

		if (owner < first || (OidIsValid(crowd->next) && owner >= crowd->next))
			owners[count++] = owner;
	}
	if (crowd->owners != NULL)
		pfree(crowd->owners);
	crowd->owners = owners;
	crowd->count = count;
	crowd->checked_until = now + Max(CHECK_PAUSE, (now - began) * CHECK_TIMES);
	if (crowd->count > 0)
		crowd->watched_until = crowd->checked_until + WATCH_TIME;
}

/*
 * To these owners, *count of them, add those who crowd this place, and are to be passed by
 * now: both in palloc'd memory.
 */
Oid *
crowds_add(Crowds *crowds, OpenRows place, Oid *owners, int *count)
{
	Crowd	   *crowd = &crowds->places[place];
	int64		now = clock_now();
	Oid		   *all;

	/* A look that has not come to its end took too long, too. */
	if (crowd->began != 0)
		crowds_end_look(crowds, place);
	if (now >= crowd->watched_until)
		forget(crowd);
	else if (now >= crowd->checked_until)
		check(crowd, place);
	all = palloc(sizeof(Oid) * (*count + crowd->count + 1));
	if (*count > 0)
		memcpy(all, owners, sizeof(Oid) * *count);
	for (int i = 0; i < crowd->count && now < crowd->passed_until; i++)
		all[(*count)++] = crowd->owners[i];
	return all;
}

/*
 * Whether a look has not come to its end, as is seen after a turn that failed.
 */
bool
crowds_look_failed(const Crowds *crowds)
{
	for (int place = 0; place < OPEN_ROWS; place++)
	{
		if (crowds->places[place].began != 0)
			return true;
	}
	return false;
}

/*
 * A turn has come to its end. Where it has not looked though that was due, as nothing is
 * started just now say, nobody is known to crowd until somebody looks again.
 */
void
crowds_end_turn(Crowds *crowds)
{
	int64		now = clock_now();

	for (int place = 0; place < OPEN_ROWS; place++)
	{
		if (crowds->places[place].checked_until <= now)
			forget(&crowds->places[place]);
	}
}

/*
 * When to look whether those who crowd still do: NEVER if there are none.
 */
int64
crowds_next_check(const Crowds *crowds)
{
	int64		next = NEVER;

	for (int place = 0; place < OPEN_ROWS; place++)
	{
		if (crowds->places[place].count > 0)
			next = Min(next, crowds->places[place].checked_until);
	}
	return next;
}
