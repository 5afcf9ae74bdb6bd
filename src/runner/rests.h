/*-------------------------------------------------------------------------
 *
 * rests.h
 *	  Owners whose things take long.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_RESTS_H
#define AGNO_RESTS_H

#include "core/clock.h"

/*
 * How long the runner works for one owner at a time, in microseconds, while others have
 * runs.
 */
#define OWNER_SLICE (20 * US_PER_MS)

/* What takes no longer than this is not slow, however much of it there is. */
#define SLOW_THING (1 * US_PER_MS)

/* Kinds of things that are done for owners, each of which takes as long as it does. */
typedef enum OwnerWork
{
	WORK_SIGNALS,				/* to follow signals */
	WORK_STORE,					/* to store runs that have ended */
	WORK_FLUSH,					/* to store what has arrived of streams */
	WORK_START,					/* to start runs */
	OWNER_WORKS
} OwnerWork;

/* How it is with an owner whose things take long. */
typedef enum RestState
{
	REST_RESTING,				/* nothing is done for him now */
	REST_SLOW					/* his things have turns of their own */
} RestState;

typedef struct Rests Rests;

extern Rests *rests_create(void);
extern void rests_note(Rests *rests, Oid owner, OwnerWork work, int things,
					   int64 took, bool too_long, int64 now);
extern void rests_begin(Rests *rests, Oid owner, int64 took, int64 now);
extern bool rests_has(Rests *rests, Oid owner, int64 now);
extern bool rests_is_slow(Rests *rests, Oid owner, int64 now);
extern int	rests_limit(Rests *rests, Oid owner, OwnerWork work, int most);
extern Oid *rests_owners(Rests *rests, RestState state, int64 now, int *count);
extern int64 rests_next_end(Rests *rests, int64 now);

#endif							/* AGNO_RESTS_H */
