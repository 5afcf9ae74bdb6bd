/*-------------------------------------------------------------------------
 *
 * sweep.c
 *	  Looking for rows that are hidden behind dead ones.
 *
 * While somebody has an old snapshot, an index is full of what is dead, and who looks for
 * the rows of an owner in it passes all of that, each time, and cannot say beforehand how
 * long it takes. So the rows of such owners are looked for in the table itself, so many
 * blocks at a time as take a slice of time, round and round; and where others have work,
 * or there is nothing, it rests for three times as long. Half of the time is for a piece
 * in which there was more than could be taken, and for ever less of it: what there is much
 * of is found soon, and nobody waits for longer than two rounds, however much there is in
 * other pieces.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/clock.h"
#include "runner/rests.h"
#include "runner/sweep.h"

/* How many blocks are looked at in the first step, and at most. */
#define FIRST_BLOCKS 128
#define MOST_BLOCKS 65536

/* For how many times as long as it took it rests; but for so long. */
#define RESTS 3
#define LEAST_REST (5 * US_PER_MS)

/*
 * After a round without anything nobody is woken for the next one for so many times as long
 * as it took; but for so long.
 */
#define IDLE_RESTS 10
#define IDLE_PAUSE (1 * US_PER_S)

/*
 * A step begins: it is about this piece of the table of that place; with on, about the
 * next one in any case.
 */
void
sweep_begin(Sweep *sweep, OpenRows place, bool on, TablePiece *piece)
{
	int64		blocks = store_blocks(place);

	if (sweep->blocks == 0)
		sweep->blocks = FIRST_BLOCKS;
	/* One that has not come to its end took too long. */
	else if (sweep->began != 0)
	{
		sweep->blocks = Max(sweep->blocks / 4, 1);
		sweep->kept_end = 0;
	}
	if (sweep->next >= blocks)
		sweep->next = 0;
	sweep->at_kept = !on && sweep->kept_end != 0 && sweep->kept_time > 0;
	if (sweep->at_kept)
	{
		piece->first = sweep->kept_first;
		piece->end = sweep->kept_end;
	}
	else
	{
		piece->first = sweep->next;
		piece->end = Min(sweep->next + sweep->blocks, blocks);
	}
	piece->is_last = piece->end == blocks;
	sweep->began = clock_now();
}

/*
 * The step about this piece has come to its end, and has found something, or not, and all
 * that there was, or not. After the last piece comes the first, however much has been added
 * meanwhile. The runner is shared by several owners, or not. Returns whether to go on at
 * once.
 */
bool
sweep_end(Sweep *sweep, const TablePiece *piece, bool found, bool all,
		  bool shared)
{
	int64		now = clock_now();
	int64		took = now - sweep->began;
	int64		rest = shared ? took : 0;
	bool		round_ends = piece->is_last && !sweep->at_kept;

	sweep->began = 0;
	sweep->took += took;
	sweep->found |= found;
	if (took > OWNER_SLICE)
		sweep->blocks = Max(sweep->blocks / 2, 1);
	else if (took < OWNER_SLICE / 2)
		sweep->blocks = Min(sweep->blocks * 2, MOST_BLOCKS);
	if (!sweep->at_kept)
		sweep->next = piece->is_last ? 0 : piece->end;
	sweep->kept_time = sweep->at_kept ? sweep->kept_time - took : took;
	if (!all)
	{
		/* What has been taken, and has to wait again, is at the end. */
		sweep->kept_first = sweep->at_kept ?
			(piece->first + piece->end) / 2 : piece->first;
		sweep->kept_end = piece->end;
	}
	else if (sweep->at_kept)
		sweep->kept_end = 0;
	if (round_ends)
	{
		if (!sweep->found)
			sweep->idle_until = now + Max(sweep->took * IDLE_RESTS, IDLE_PAUSE);
		if (!shared && !sweep->found)
			rest = sweep->took;
		sweep->took = 0;
		sweep->found = false;
	}
	if (rest > 0)
		sweep->rests_until = now + Max(rest * RESTS, LEAST_REST);
	return rest == 0;
}

/*
 * When somebody is to look.
 */
int64
sweep_due_at(const Sweep *sweep)
{
	return Max(sweep->rests_until, sweep->idle_until);
}

/*
 * When that comes: NEVER if it has come.
 */
int64
sweep_next_at(const Sweep *sweep, int64 now)
{
	int64		due_at = sweep_due_at(sweep);

	return due_at > now ? due_at : NEVER;
}
