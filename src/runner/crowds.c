/*-------------------------------------------------------------------------
 *
 * crowds.c
 *	  Owners whose rows are in the way.
 *
 * Who has enqueued, or cancelled, very many runs in a transaction that is still open makes
 * every look for what is ready, or signalled, long. As soon as a look has taken long, it
 * is found out who that is, and he is passed by until the transaction has ended, for ten
 * times as long as a look takes that does not: so there is such a look now and then, for
 * what else he has.
 *
 * While an old snapshot keeps what is dead, dead rows do that as well. Nobody has chosen
 * those, and their owner may have others: he is hidden, and sweep.c finds what he has.
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

/* For how many times as long as a look took nobody looks like that again. */
#define PASSED_TIMES 10

/* For no longer than this. */
#define LONGEST_PASSED (10 * US_PER_S)

/*
 * How long what has been found out is taken to be so; or so many times as long as that
 * took, if that is longer. Who is hidden stays so for long, and loses less by it.
 */
#define CHECK_PAUSE (US_PER_S / 4)
#define CHECK_TIMES 10
#define HIDDEN_CHECK_TIMES 30

/*
 * Nothing is known of this place.
 */
void
crowd_init(Crowd *crowd, OpenRows place, const char *key)
{
	memset(crowd, 0, sizeof(Crowd));
	crowd->place = place;
	crowd->key = key;
}

/*
 * Somebody looks into this place now.
 */
void
crowd_begin_look(Crowd *crowd)
{
	crowd->began = clock_now();
}

/*
 * The look has come to its end.
 */
void
crowd_end_look(Crowd *crowd)
{
	int64		now = clock_now();
	int64		took = now - crowd->began;

	crowd->began = 0;
	if (took <= OWNER_SLICE)
		return;
	if (now >= crowd->watched_until)
		crowd->checked_until = 0;
	crowd->watched_until = now + WATCH_TIME;
	crowd->passed_until = now + Min(took * PASSED_TIMES, LONGEST_PASSED);
}

/*
 * Nobody is known to crowd this place.
 */
void
crowd_forget(Crowd *crowd)
{
	list_free(crowd->owners);
	list_free(crowd->hidden);
	crowd->owners = NIL;
	crowd->hidden = NIL;
	crowd->next = InvalidOid;
}

/*
 * What is known of owners when those from this one on, up to crowd->next, have been looked
 * at: what was known of the others, and what has been found.
 */
static List *
update(const Crowd *crowd, List *known, Oid first, List *found)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	List	   *result = list_copy(found);
	ListCell   *cell;

	foreach(cell, known)
	{
		Oid			owner = lfirst_oid(cell);

		if (owner < first || (OidIsValid(crowd->next) && owner >= crowd->next))
			result = lappend_oid(result, owner);
	}
	list_free(known);
	MemoryContextSwitchTo(old);
	return result;
}

static bool
is_known(const Crowd *crowd)
{
	return crowd->owners != NIL || crowd->hidden != NIL;
}

/*
 * Find out who crowds this place: of the owners from crowd->next on, as far as the time
 * allows.
 */
static void
check(Crowd *crowd)
{
	int64		began = clock_now();
	Oid			first = crowd->next;
	List	   *hidden;
	List	   *found = store_crowding_owners(crowd->place, crowd->key,
											  &crowd->next, &hidden);
	int64		now = clock_now();
	int			times = found == NIL && hidden != NIL ? HIDDEN_CHECK_TIMES :
		CHECK_TIMES;

	crowd->owners = update(crowd, crowd->owners, first, found);
	crowd->hidden = update(crowd, crowd->hidden, first, hidden);
	crowd->checked_until = now + Max(CHECK_PAUSE, (now - began) * times);
	if (is_known(crowd))
		crowd->watched_until = crowd->checked_until + WATCH_TIME;
}

/*
 * To these owners, *count of them, add those of this list: all in palloc'd memory.
 */
static Oid *
add_owners(const Oid *owners, int *count, const List *added)
{
	Oid		   *all = palloc(sizeof(Oid) * (*count + list_length(added) + 1));
	ListCell   *cell;

	if (*count > 0)
		memcpy(all, owners, sizeof(Oid) * *count);
	foreach(cell, added)
		all[(*count)++] = lfirst_oid(cell);
	return all;
}

/*
 * To these owners, *count of them, add those who crowd this place, and are to be passed by
 * now: both in palloc'd memory.
 */
Oid *
crowd_add(Crowd *crowd, Oid *owners, int *count)
{
	int64		now = clock_now();

	/* A look that has not come to its end took too long, too. */
	if (crowd->began != 0)
		crowd_end_look(crowd);
	if (now >= crowd->watched_until)
		crowd_forget(crowd);
	else if (now >= crowd->checked_until)
		check(crowd);
	return add_owners(owners, count, now < crowd->passed_until ? crowd->owners : NIL);
}

/*
 * Those who have too many dead rows in this place to see whether they crowd it, as is known
 * by crowd_add(), but for these owners: *count of them, in palloc'd memory.
 */
Oid *
crowd_hidden_but(const Crowd *crowd, const Oid *but, int but_count, int *count)
{
	Oid		   *owners = palloc(sizeof(Oid) * (list_length(crowd->hidden) + 1));
	ListCell   *cell;

	*count = 0;
	foreach(cell, crowd->hidden)
	{
		Oid			owner = lfirst_oid(cell);
		bool		found = false;

		for (int i = 0; i < but_count && !found; i++)
			found = but[i] == owner;
		if (!found)
			owners[(*count)++] = owner;
	}
	return owners;
}

/*
 * To these owners, *count of them, add those who are hidden in this place: both in palloc'd
 * memory.
 */
Oid *
crowd_add_hidden(const Crowd *crowd, Oid *owners, int *count)
{
	return add_owners(owners, count, crowd->hidden);
}

void
crowds_init(Crowds *crowds)
{
	for (OpenRows place = 0; place < OPEN_PARKED; place++)
		crowd_init(&crowds->places[place], place, NULL);
}

/*
 * Whether a look has not come to its end, as is seen after a turn that failed.
 */
bool
crowds_look_failed(const Crowds *crowds)
{
	for (OpenRows place = 0; place < OPEN_PARKED; place++)
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

	for (OpenRows place = 0; place < OPEN_PARKED; place++)
	{
		if (crowds->places[place].checked_until <= now)
			crowd_forget(&crowds->places[place]);
	}
}

/*
 * When to look whether those who crowd still do: NEVER if there are none.
 */
int64
crowds_next_check(const Crowds *crowds)
{
	int64		next = NEVER;

	for (OpenRows place = 0; place < OPEN_PARKED; place++)
	{
		if (is_known(&crowds->places[place]))
			next = Min(next, crowds->places[place].checked_until);
	}
	return next;
}
