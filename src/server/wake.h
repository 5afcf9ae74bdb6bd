/*-------------------------------------------------------------------------
 *
 * wake.h
 *	  Waking runners at the end of a transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_WAKE_H
#define AGNO_WAKE_H

extern void wake_at_commit(int shard);
extern void wake_at_end(int shard);
extern void want_runner_at_commit(Oid database);

#endif							/* AGNO_WAKE_H */
