/*-------------------------------------------------------------------------
 *
 * retention.h
 *	  Deleting runs that have ended long ago.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_RETENTION_H
#define AGNO_RETENTION_H

#include "core/id.h"
#include "store/store.h"

/*
 * How far it is. A runner's own memory; lives as long as the process, and is not to be
 * moved.
 */
typedef struct Retention
{
	int64		next_at;		/* when to look for runs that are old enough,
								 * by clock_now() */
	RunPlace	after;			/* where; run_id is in after_run */
	char		after_run[ID_SIZE];
	int			stayed;			/* how many of the next runs cannot be
								 * deleted: it goes on after them */
	int			kept;			/* how many could not be, since it has begun
								 * with the first ones */
	bool		more;			/* there are more of them */
	int			limit;			/* how many of them, with their families, a
								 * step deletes at most */
	bool		failed;			/* the last step */
} Retention;

extern void retention_init(Retention *retention);
extern void retention_step(Retention *retention);
extern void retention_look_now(Retention *retention);

#endif							/* AGNO_RETENTION_H */
