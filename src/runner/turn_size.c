/*-------------------------------------------------------------------------
 *
 * turn_size.c
 *	  How much a turn may do.
 *
 * What a turn does for one owner, the others wait for. So as long as several have runs,
 * and for a while after, a turn is to work no longer than a few milliseconds, or than its
 * commit takes, or than what is done between turns did, but for some runs: fewer would
 * cost more than they spare. How many runs that are is known from turns that were.
 *
 * What failed makes turns smaller, too: that is for faults.c to say.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/clock.h"
#include "runner/turn_size.h"

/* How long a turn may work where the runner is shared, and its commit is fast. */
#define SHARED_TURN_TIME (2 * US_PER_MS)

/* For how long a runner counts as shared after it has been. */
#define SHARED_PAUSE (1 * US_PER_S)

/* The runs that a turn may do in any case. */
#define LEAST_BATCH 20

/*
 * Whether several owners have runs, or had just now.
 */
static bool
is_shared(TurnSize *size, const Turn *turn, int64 now)
{
	if (shares_owners(turn->dispatch->fleet->shares) > 1 ||
		turn->order->waiting > 1)
		size->shared_until = now + SHARED_PAUSE;
	return now < size->shared_until;
}

/*
 * A turn begins. Returns whether the runner is shared.
 */
bool
turn_size_begin(TurnSize *size, const Turn *turn, int64 now)
{
	size->used_elsewhere = clock_processor() - size->used;
	return is_shared(size, turn, now);
}

/*
 * How many runs a turn is to store, and to start, at most.
 */
int
turn_size_limit(const TurnSize *size, bool shared)
{
	double		other = Max(size->commit_time,
							Min(size->used_elsewhere, OWNER_SLICE));
	double		time = Max(SHARED_TURN_TIME, Min(other, TURN_MOST / 2));

	if (!shared || size->run_time == 0)
		return MOST_AT_ONCE;
	/* It stores as many as it starts. */
	return Max((int) Min(time / (2 * size->run_time), MOST_AT_ONCE),
			   LEAST_BATCH);
}

/*
 * It has ended.
 */
void
turn_size_end(TurnSize *size)
{
	size->used = clock_processor();
}

/*
 * Note for whom a turn has worked: if that was somebody else just now, they share the
 * runner, though none of them may have a run in flight. Returns whether it is shared, or
 * was when the turn began.
 */
bool
turn_size_note_owners(TurnSize *size, const Turn *turn)
{
	int64		now = clock_now();
	ListCell   *cell;

	foreach(cell, turn->times)
	{
		Oid			owner = ((OwnerTime *) lfirst(cell))->owner;

		if (owner != size->worked_for &&
			turn->order->now - size->worked_at < SHARED_PAUSE)
			size->shared_until = now + SHARED_PAUSE;
		size->worked_for = owner;
		size->worked_at = now;
	}
	if (turn->mixed > 0)
		size->shared_until = now + SHARED_PAUSE;
	return is_shared(size, turn, now) || turn->shared;
}

static void
note_average(double *average, double value)
{
	*average = *average == 0 ? value : 0.75 * *average + 0.25 * value;
}

/*
 * Note how long a turn took with its commit, in microseconds, if that says something of
 * others.
 */
void
turn_size_note_time(TurnSize *size, const Turn *turn, int64 all)
{
	if (turn->tried < LEAST_BATCH || turn->own || turn->measured)
		return;
	note_average(&size->run_time,
				 (double) (turn->took - turn->signals_took) / turn->tried);
	note_average(&size->commit_time, all - turn->took);
}
