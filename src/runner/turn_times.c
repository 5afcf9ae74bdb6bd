/*-------------------------------------------------------------------------
 *
 * turn_times.c
 *	  For whom a turn works, and how long.
 *
 * When a turn takes long for several owners, it is the one whose things are the largest,
 * if somebody has most of that; or else it is to be measured, in turns that do what is
 * for each owner by itself.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/clock.h"
#include "runner/deadline.h"
#include "runner/turn_internal.h"

/* Smaller things do not count, in bytes: anybody may have them. */
#define SMALL (64 * 1024)

/*
 * The turn is at so many things now, of this owner; InvalidOid: of several.
 */
void
turn_is_about(Turn *turn, OwnerWork work, Oid owner, int things)
{
	turn->work = work;
	turn->owner = owner;
	turn->things = things;
	turn->began = clock_now();
	turn->largest = InvalidOid;
	turn->largest_by = 0;
	turn->bytes = 0;
}

/*
 * One of these things has so many bytes. Finds who has most of all, by a vote in which
 * the votes for others count against each other.
 */
void
turn_weighs(Turn *turn, Oid owner, int64 bytes)
{
	bytes = Max(bytes - SMALL, 0);
	turn->bytes += bytes;
	if (owner == turn->largest)
		turn->largest_by += bytes;
	else if (bytes <= turn->largest_by)
		turn->largest_by -= bytes;
	else
	{
		turn->largest = owner;
		turn->largest_by = bytes - turn->largest_by;
	}
}

/*
 * Note how long what the turn is at has taken until now: it is done, or the turn has
 * failed.
 */
void
turn_note_time(Turn *turn)
{
	OwnerTime  *time;
	int64		took = clock_now() - turn->began;

	if (turn->things == 0)
		return;
	if (OidIsValid(turn->owner) ||
		(turn->bytes > 0 && turn->largest_by >= turn->bytes / 2))
	{
		time = palloc(sizeof(OwnerTime));
		time->owner = OidIsValid(turn->owner) ? turn->owner : turn->largest;
		time->things = OidIsValid(turn->owner) ? turn->things : 1;
		time->work = turn->work;
		time->took = took;
		turn->times = lappend(turn->times, time);
	}
	else if (!turn->at_signals || took > turn->things * SLOW_THING)
		turn->mixed = Max(turn->mixed, took);
	turn->things = 0;
}

/*
 * The turn is about so many runs now, all of this owner, or of several (InvalidOid). A
 * single one, of an owner who is slow, cannot be cut any smaller: it has all the time
 * that it takes.
 */
void
turn_begin_runs(Turn *turn, OwnerWork work, Oid owner, int count)
{
	turn->tried += count;
	turn_is_about(turn, work, owner, count);
	if (turn->own && count == 1)
		(void) deadline_end();
}

/*
 * Those for whom the turn has worked for long are slow, or are no more; and rest, if it
 * was shared with others. Who is alone need not be found out unless the turn was undone,
 * but may become quicker.
 */
void
turn_keep_times(const Turn *turn, bool shared, int64 now)
{
	Rests	   *rests = turn->order->rests;
	ListCell   *cell;

	foreach(cell, turn->times)
	{
		OwnerTime  *time = lfirst(cell);

		if (shared || turn->own || turn->overdue)
			rests_note(rests, time->owner, time->work, time->things, time->took,
					   turn->overdue && time->took > OWNER_SLICE, now);
		if (shared)
			rests_begin(rests, time->owner, time->took, now);
	}
}
