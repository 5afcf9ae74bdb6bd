/*-------------------------------------------------------------------------
 *
 * circle.c
 *	  The turns of owners whose runs are found by sweeps.
 *
 * A step of a sweep takes what it finds in its piece of the table. Where there is a
 * place for one run now and then, others would have one for each piece that there is,
 * before what is in a single one is found: owners whose runs need not be looked for, and
 * those who have some in each piece. So now and then, when it is the turn of those who
 * are hidden, a place is kept for them while a sweep goes through the whole table,
 * wherever it begins, for all but who came last, and whoever has come since: a circle.
 * Between circles everybody's are taken, for so many times as long as it took to look; so
 * what there is of others is hardly slower.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/clock.h"
#include "runner/circle.h"
#include "utils/memutils.h"

/*
 * For how many times as long as the steps of a circle took there is no other; and if
 * there was nothing to be found.
 */
#define FREE_TIMES 4
#define IDLE_TIMES 20

/* What is free is kept for those who are hidden while its steps have taken less. */
#define LONGEST_HOLD (300 * US_PER_MS)

static void
end(Circle *circle)
{
	circle->left = 0;
	circle->ended_at = clock_now();
	list_free(circle->served);
	circle->served = NIL;
}

/*
 * A run of this owner starts.
 */
void
circle_note_start(Circle *circle, Oid owner)
{
	MemoryContext old;

	circle->last = owner;
	if (circle->left == 0)
		return;
	old = MemoryContextSwitchTo(TopMemoryContext);
	circle->served = list_append_unique_oid(circle->served, owner);
	MemoryContextSwitchTo(old);
}

/*
 * When the next one may begin.
 */
static int64
next_at(const Circle *circle)
{
	return circle->ended_at +
		circle->took * (circle->found ? FREE_TIMES : IDLE_TIMES);
}

/*
 * A step begins, for these owners: if a circle is under way, or begins with it, leave out
 * those who have had their turn. Returns whether it is: then the step is to be about the
 * next piece.
 */
bool
circle_begin_step(Circle *circle, OpenRows place, TablePiece *piece)
{
	Oid		   *others = palloc(sizeof(Oid) * (piece->count + 1));
	int			count = 0;

	if (circle->left == 0)
	{
		if (clock_now() < next_at(circle))
			return false;
		circle->left = Max(store_blocks(place), 1);
		circle->took = 0;
		circle->found = false;
		circle_note_start(circle, circle->last);
	}
	for (int i = 0; i < piece->count; i++)
	{
		if (!list_member_oid(circle->served, piece->owners[i]))
			others[count++] = piece->owners[i];
	}
	if (count == 0)
	{
		end(circle);
		return false;
	}
	piece->owners = others;
	piece->count = count;
	return true;
}

/*
 * That step has come to its end, and took so long.
 */
void
circle_end_step(Circle *circle, const TablePiece *piece, int64 took)
{
	circle->left = Max(circle->left - (piece->end - piece->first), 0);
	circle->took += took;
	if (circle->left == 0)
		end(circle);
}

/*
 * Whether what is free is kept for those who are hidden.
 */
bool
circle_holds(const Circle *circle)
{
	return circle->left > 0 && circle->took < LONGEST_HOLD;
}

/*
 * A run of somebody who is hidden waits: there is something to be found.
 */
void
circle_note_parked(Circle *circle)
{
	circle->found = true;
}

/*
 * Nobody asks any more.
 */
void
circle_forget(Circle *circle)
{
	list_free(circle->served);
	memset(circle, 0, sizeof(Circle));
}
