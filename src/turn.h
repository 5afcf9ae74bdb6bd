/*-------------------------------------------------------------------------
 *
 * turn.h
 *	  The table work of one turn of the runner's loop.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_TURN_H
#define AGNO_TURN_H

#include "fleet.h"
#include "nodes/pg_list.h"
#include "pacing.h"
#include "store.h"
#include "utils/timestamp.h"

typedef struct Turn
{
	/* what to do: set by the runner */
	int64		number;			/* of the turn, from 1 */
	Fleet	   *fleet;
	Pacing	   *pacing;
	Oid			extension;		/* the extension that the runner serves */
	List	   *new_responses;	/* Flights whose response_id is to be stored */
	bool		recover;		/* first, take over from an earlier runner */
	const char *culprit;		/* the run that it was at when it crashed, or
								 * NULL */
	bool		signals;		/* somebody may have written letters */
	bool		clock;			/* next_time of an earlier turn has come */
	bool		retry_locked;	/* try runs again that were locked */
	bool		alone;			/* store or start no more than one run */
	bool		expire;			/* delete runs that are old enough */
	bool		flush;			/* store the events of streamed runs */
	bool		start;			/* start runs */
	int			room;			/* how many, apart from the room that those
								 * leave which are stored */

	/* the run that it was about if it fails, when alone; else both NULL */
	Flight	   *tried;			/* to store it */
	PickedRun  *tried_start;	/* to start it */

	/* what came of it: in the turn's memory, valid if it succeeded */
	bool		unwanted;		/* the extension is gone: nothing was done */
	bool		replaced;		/* and there is another one */
	List	   *left;			/* Flights that are stored, or were overtaken */
	List	   *flushed;		/* Flights whose events are stored, which go
								 * on */
	List	   *started;		/* new Flights */
	List	   *ended_ids;		/* ids of runs that have ended */
	bool		more;			/* there may be more to do of the same */
	bool		more_signals;	/* there may be more letters */
	bool		more_expired;	/* there may be more runs that are old enough */
	bool		locked;			/* some runs were found locked */
	bool		timed;			/* the clock alone will give work */
	TimestampTz next_time;		/* when, if timed */
} Turn;

extern void turn_execute(Turn *turn);
extern void turn_refuse(const PickedRun *picked, const char *message);

#endif							/* AGNO_TURN_H */
