/*-------------------------------------------------------------------------
 *
 * circle.h
 *	  The turns of owners whose runs are found by sweeps.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_CIRCLE_H
#define AGNO_CIRCLE_H

#include "nodes/pg_list.h"
#include "store/store.h"

/* All zero: there has been none. Lives as long as the process. */
typedef struct Circle
{
	int64		left;			/* how many blocks it has to go; 0: none is
								 * under way */
	int64		took;			/* the steps of this one, or of the last, in
								 * microseconds */
	bool		found;			/* there was something to be found, or is */
	List	   *served;			/* owners who have had their turn for it; in
								 * TopMemoryContext */
	Oid			last;			/* of whom a run has been started last */
	int64		ended_at;		/* the last one, as of clock_now() */
} Circle;

extern bool circle_begin_step(Circle *circle, OpenRows place,
							  TablePiece *piece);
extern void circle_end_step(Circle *circle, const TablePiece *piece,
							int64 took);
extern bool circle_holds(const Circle *circle);
extern void circle_note_start(Circle *circle, Oid owner);
extern void circle_note_parked(Circle *circle);
extern void circle_forget(Circle *circle);

#endif							/* AGNO_CIRCLE_H */
