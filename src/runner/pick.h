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
#include "runner/rests.h"
#include "runner/shares.h"

/* Whose turn it is. Its own memory; lives as long as the process. */
typedef struct PickOrder
{
	Oid			last_owner;		/* who came last */
	int			waiting;		/* how many owners were seen to have ready
								 * runs last time */
	Rests	   *rests;			/* owners whose turn it is not */
} PickOrder;

extern List *pick_runs(PickOrder *order, Shares *shares, int room, int most,
					   bool *more);
extern List *pick_newcomers(PickOrder *order, Shares *shares, int most);

#endif							/* AGNO_PICK_H */
