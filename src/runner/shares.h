/*-------------------------------------------------------------------------
 *
 * shares.h
 *	  Whose runs are in flight.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_SHARES_H
#define AGNO_SHARES_H

#include "runner/rests.h"

typedef struct Shares Shares;

extern Shares *shares_create(void);
extern void shares_free(Shares *shares);
extern void shares_add(Shares *shares, Oid owner, int64 bytes);
extern void shares_remove(Shares *shares, Oid owner, int64 bytes);
extern int	shares_count(Shares *shares, Oid owner);
extern bool shares_take(Shares *shares, Oid owner, OwnerWork work, int64 round,
						int64 bytes, int part, int64 part_bytes);
extern void shares_note_commit(Shares *shares, int64 took);
extern bool shares_has_time(Shares *shares, Oid owner, int64 turn);
extern void shares_spend(Shares *shares, Oid owner, int64 time);
extern int	shares_owners(Shares *shares);
extern int	shares_limit(void);
extern bool shares_is_full(Shares *shares, Oid owner, int bound);
extern Oid *shares_full_owners(Shares *shares, int bound, int *count);

#endif							/* AGNO_SHARES_H */
