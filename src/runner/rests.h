/*-------------------------------------------------------------------------
 *
 * rests.h
 *	  Owners who let others go first for a while.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_RESTS_H
#define AGNO_RESTS_H

typedef struct Rests Rests;

extern Rests *rests_create(void);
extern void rests_begin(Rests *rests, Oid owner, int64 until);
extern void rests_note(Rests *rests, Oid owner, int things, int64 took,
					   int64 slice, int64 now);
extern int	rests_limit(Rests *rests, Oid owner, int most);
extern bool rests_has(Rests *rests, Oid owner, int64 now);
extern Oid *rests_owners(Rests *rests, int64 now, int *count);
extern int64 rests_next_end(Rests *rests, int64 now);

#endif							/* AGNO_RESTS_H */
