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

typedef struct Rests Rests;

extern Rests *rests_create(void);
extern void rests_note(Rests *rests, Oid owner, int things, int64 took,
					   bool too_long, int64 now);
extern void rests_begin(Rests *rests, Oid owner, int64 took, int64 now);
extern bool rests_has(Rests *rests, Oid owner, int64 now);
extern bool rests_is_slow(Rests *rests, Oid owner, int64 now);
extern int	rests_limit(Rests *rests, Oid owner, int most);
extern Oid *rests_owners(Rests *rests, int64 now, int *count);
extern Oid *rests_slow_owners(Rests *rests, int64 now, int *count);
extern int64 rests_next_end(Rests *rests, int64 now);

#endif							/* AGNO_RESTS_H */
