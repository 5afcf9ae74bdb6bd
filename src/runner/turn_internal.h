/*-------------------------------------------------------------------------
 *
 * turn_internal.h
 *	  The parts of a turn, for one another.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_TURN_INTERNAL_H
#define AGNO_TURN_INTERNAL_H

#include "runner/run_keys.h"
#include "runner/turn.h"

/* Signals, and runs that have waited too long, are handled so many at a time. */
#define TURN_BATCH 500

/*
 * How much is read of what was handed in with runs, and how large the runs are in
 * memory that are stored, in bytes: in one turn, but one run at least.
 */
#define TURN_BYTES (INT64CONST(32) * 1024 * 1024)

/* turn_signals.c */
extern void turn_read_signals(Turn *turn);
extern void turn_follow_signals(Turn *turn, List *signals);

/* turn_families.c */
extern void turn_children_ended(Turn *turn, char *const *parent_ids,
								int count);
extern void turn_settle_children(Turn *turn, List *ready);

/* turn_ends.c */
extern void turn_end_runs(Turn *turn, EndedRun *ended, int count);
extern void turn_end_failed(Turn *turn, RunLock **runs,
							const RunOutcome *outcomes, int count);
extern int	turn_end_cancelled(Turn *turn, RunLock **runs, int count);

/* turn_flights.c */
extern void turn_store_flights(Turn *turn);
extern void turn_keep_cancels(Turn *turn);
extern void turn_flush_events(Turn *turn);

/* turn_parked.c */
extern void turn_give_up(Turn *turn);
extern void turn_unpark(Turn *turn);

/* turn_starts.c */
extern void turn_start_runs(Turn *turn);

/* turn_times.c */
extern void turn_is_about(Turn *turn, OwnerWork work, Oid owner, int things);
extern void turn_weighs(Turn *turn, Oid owner, int64 bytes);
extern void turn_begin_runs(Turn *turn, OwnerWork work, Oid owner,
							int count);

/*
 * Whether this turn is to do that.
 */
static inline bool
turn_is_to(const Turn *turn, Chore chore)
{
	return (turn->todo & CHORE_BIT(chore)) != 0;
}

/*
 * There is more to do of that than this turn could.
 */
static inline void
turn_again(Turn *turn, Chore chore)
{
	turn->again |= CHORE_BIT(chore);
}

#endif							/* AGNO_TURN_INTERNAL_H */
