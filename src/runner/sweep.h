/*-------------------------------------------------------------------------
 *
 * sweep.h
 *	  Looking for rows that are hidden behind dead ones.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_SWEEP_H
#define AGNO_SWEEP_H

#include "store/store.h"

/*
 * How far it is. Times are those of clock_now(), in microseconds. Lives as long as the
 * process.
 */
typedef struct Sweep
{
	int64		next;			/* the block that the round goes on with */
	int64		kept_first;		/* a piece with more than has been taken: its */
	int64		kept_end;		/* first block, and the one after it; 0: none */
	int64		kept_time;		/* how long that is looked at first */
	bool		at_kept;		/* the step is, or was, about that one */
	int64		blocks;			/* how many are looked at in a step */
	int64		began;			/* a step that has not come to its end, or 0 */
	int64		took;			/* all steps of the round */
	bool		found;			/* one of them has found something */
	int64		rests_until;	/* nobody looks until then, */
	int64		idle_until;		/* or, but who looks for other things as well,
								 * until then */
} Sweep;

extern void sweep_begin(Sweep *sweep, OpenRows place, bool on,
						TablePiece *piece);
extern bool sweep_end(Sweep *sweep, const TablePiece *piece, bool found,
					  bool all, bool shared);
extern int64 sweep_due_at(const Sweep *sweep);
extern int64 sweep_next_at(const Sweep *sweep, int64 now);

/*
 * Nobody looks before this time.
 */
static inline void
sweep_put_off(Sweep *sweep, int64 until)
{
	sweep->rests_until = Max(sweep->rests_until, until);
}

static inline bool
sweep_rests(const Sweep *sweep, int64 now)
{
	return sweep->rests_until > now;
}

#endif							/* AGNO_SWEEP_H */
