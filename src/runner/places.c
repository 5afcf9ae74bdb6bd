/*-------------------------------------------------------------------------
 *
 * places.c
 *	  The places at a model server, and whose turn it is to have one.
 *
 * A server with max_concurrency has as many places for runs in flight, whatever their
 * keys. They are for all runners of the database together: what each has taken is in a
 * Load. A runner that has freed a place for which others wait leaves it to them for a
 * moment, so that none is starved. Of the owners whoever has had no place for longest
 * comes first, and none has all of them. A run that pauses lends its place to others.
 *
 * Functions that take or free a place, or tell how many there are, are called while the
 * loads are locked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "core/clock.h"
#include "runner/places.h"
#include "utils/memutils.h"

/* How long a place is left to other runners. */
#define YIELD_PAUSE INT64CONST(20000)

/*
 * In the memory context that is current; the load is used by it until places_forget().
 */
void
places_init(Places *places, Load *load, bool own_load)
{
	memset(places, 0, sizeof(Places));
	places->shares = shares_create();
	places->load = load;
	places->own_load = own_load;
}

/*
 * Nobody asks any more; the load is the caller's.
 */
void
places_forget(Places *places)
{
	shares_free(places->shares);
	list_free(places->started);
}

/*
 * How many more runs may be in flight, where there is a limit for that; less than 0 if it
 * has become lower.
 */
int
places_left(const Places *places)
{
	int			left = places->max_concurrency;

	for (int i = 0; i < MAX_RUNNERS_PER_DATABASE; i++)
		left -= places->load->in_flight[i];
	return left;
}

/*
 * How many may start now.
 */
int
places_room(const Places *places, int64 now)
{
	if (places->max_concurrency == 0)
		return INT_MAX;
	return places->yield_until > now ? 0 : Max(places_left(places), 0);
}

/*
 * How many runs one owner may have in flight: nine tenths of all, but one less than all
 * at most, where there are two.
 */
static int
owner_limit(const Places *places)
{
	int			all = places->max_concurrency;

	return Max(1, all - Max(1, all / 10));
}

/*
 * Whether an owner may have more runs in flight.
 */
bool
places_owner_may(const Places *places, Oid owner)
{
	return places->max_concurrency == 0 ||
		!shares_is_full(places->shares, owner, owner_limit(places));
}

/*
 * A run of this owner is in flight from now on, or is about to be.
 */
void
places_take(Places *places, int runner, Oid owner)
{
	places->load->in_flight[runner]++;
	shares_add(places->shares, owner, 0);
}

/*
 * It is not any more.
 */
void
places_free(Places *places, int runner, Oid owner)
{
	places->load->in_flight[runner]--;
	shares_remove(places->shares, owner, 0);
}

/*
 * A run that is in flight pauses: others may have its place, but it counts as one of its
 * owner's. Else he would have more and more that pause, and each fails in the end, while a
 * server does not work.
 */
void
places_lend(Places *places, int runner)
{
	places->load->in_flight[runner]--;
}

/*
 * It goes on.
 */
void
places_take_back(Places *places, int runner)
{
	places->load->in_flight[runner]++;
}

/*
 * One that pauses is over.
 */
void
places_give_up(Places *places, Oid owner)
{
	shares_remove(places->shares, owner, 0);
}

/*
 * Which runners but this one wait for a place: the bit of each number.
 */
uint32
places_others(const Places *places, int runner)
{
	return places->load->waiting & ~(1U << runner);
}

/*
 * What is free is left to them for a moment.
 */
void
places_yield(Places *places, int64 now)
{
	places->yield_until = now + YIELD_PAUSE;
}

/*
 * The runner waits for a place, or does not.
 */
void
places_wait(Places *places, int runner, bool waits)
{
	uint32		mine = 1U << runner;

	if (waits)
		places->load->waiting |= mine;
	else
		places->load->waiting &= ~mine;
}

/*
 * So many runs that were parked for a place have been fetched by this turn.
 */
void
places_note_fetched(Places *places, int count)
{
	places->fetched += count;
}

/*
 * A run of this owner starts: he has had his turn.
 */
void
places_note_start(Places *places, Oid owner)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	places->started = lappend_oid(list_delete_oid(places->started, owner),
								  owner);
	MemoryContextSwitchTo(old);
}

/*
 * When a run of this owner has been started last: a number that is higher the later it was,
 * and -1 if none has.
 */
int
places_started_at(const Places *places, Oid owner)
{
	ListCell   *cell;

	foreach(cell, places->started)
	{
		if (lfirst_oid(cell) == owner)
			return foreach_current_index(cell);
	}
	return -1;
}
