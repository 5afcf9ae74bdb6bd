/*-------------------------------------------------------------------------
 *
 * turn.h
 *	  The table work of one turn of the runner's loop.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_TURN_H
#define AGNO_TURN_H

#include "nodes/pg_list.h"
#include "runner/fleet.h"
#include "runner/pacing.h"
#include "runner/patrol.h"
#include "runner/pick.h"
#include "store/store.h"
#include "utils/timestamp.h"

typedef struct Turn
{
	/* what to do: set by the runner */
	int64		number;			/* of the turn, from 1 */
	Fleet	   *fleet;
	Pacing	   *pacing;
	PickOrder  *order;
	Oid			extension;		/* the extension that the runner serves */
	List	   *new_responses;	/* Flights whose response_id is to be stored */
	Patrol	   *patrol;			/* what of the queue is to be taken over, or
								 * NULL: nothing */
	bool		signals;		/* somebody may have written signals */
	const char *signals_after;	/* read those about runs after this id */
	bool		clock;			/* next_time of an earlier turn has come */
	int			limit;			/* store and start no more runs than this */
	bool		flush;			/* store the events of streamed runs */
	bool		start;			/* start runs */
	int			room;			/* how many, apart from the room that those
								 * leave which are stored */
	int			newcomers;		/* how many more, of owners with none */

	/* what it was about, if it fails */
	int			tried;			/* how many runs it was to store or start */
	Flight	   *tried_flight;	/* if that is one: the one to be stored, */
	PickedRun  *tried_start;	/* or else the one to be started */

	/* what came of it: in the turn's memory, valid if it succeeded */
	bool		unwanted;		/* the extension is gone, or does not fit:
								 * nothing was done */
	bool		replaced;		/* and there is another one */
	List	   *left;			/* Flights that are stored, or were overtaken */
	bool		picking;		/* just now, they do not count as in flight, */
	List	   *again;			/* but these PickedRuns do: those that could
								 * not be had before and are to start now */
	List	   *flushed;		/* Flights whose events are stored, which go
								 * on */
	List	   *started;		/* new Flights */
	List	   *ended_ids;		/* ids of runs that have ended */
	List	   *held_back;		/* Paces of runs that wait for their server to
								 * be reached */
	bool		more;			/* there may be more to do of the same */
	bool		more_signals;	/* there may be more signals */
	char	   *last_signal;	/* then: about runs after this id */
	bool		more_due;		/* there may be more runs whose time has come */
	bool		more_patrol;	/* the patrol goes on */
	bool		lost;			/* runs were found that nobody knew of */
	bool		timed;			/* the clock alone will give work */
	TimestampTz next_time;		/* when, if timed */
} Turn;

extern void turn_execute(Turn *turn);
extern void turn_end_picking(Turn *turn);
extern void turn_refuse(const PickedRun *picked, const char *message);

#endif							/* AGNO_TURN_H */
