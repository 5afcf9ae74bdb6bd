/*-------------------------------------------------------------------------
 *
 * pick.h
 *	  Which ready runs are started next.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_PICK_H
#define AGNO_PICK_H

#include "nodes/pg_list.h"
#include "runner/crowds.h"
#include "runner/rests.h"
#include "runner/shares.h"
#include "runner/sweep.h"

/* Whose turn it is. Its own memory; lives as long as the process. */
typedef struct PickOrder
{
	Oid			last_owner;		/* who came last, */
	Oid			last_hidden;	/* and of those who are hidden */
	int			waiting;		/* how many owners were seen to have ready
								 * runs last time, when all were looked at */
	Rests	   *rests;			/* owners whose turn it is not */
	Crowds		crowds;			/* owners who are passed by, and those of them
								 * who are hidden: */
	Sweep		sweeps[OPEN_PARKED];	/* how far it is with their rows, by
										 * places */
	bool		shared;			/* several owners have runs */
	int64		now;			/* when the turn began: who rests then does so
								 * in all of it, as of clock_now() */
	int64		rounds[OWNER_WORKS];	/* how many times all owners had their
										 * parts of that, of shares_take() */
	/* of owners who are slow (rests.h), who came last: */
	Oid			last_started;	/* whose runs were started, */
	Oid			last_stored;	/* whose ends were stored, */
	Oid			last_flushed;	/* and whose events */
	int			kept;			/* how many slots the others leave for them,
								 * but for shares */
} PickOrder;

extern List *pick_runs(PickOrder *order, Shares *shares, int room, int most,
					   bool own, bool *more);
extern List *pick_newcomers(PickOrder *order, Shares *shares, int most,
							bool own, bool *more);

#endif							/* AGNO_PICK_H */
