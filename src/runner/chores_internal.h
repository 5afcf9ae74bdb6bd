/*-------------------------------------------------------------------------
 *
 * chores_internal.h
 *	  What is known of the table work: for chores.c and chore_times.c only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_CHORES_INTERNAL_H
#define AGNO_CHORES_INTERNAL_H

#include "runner/chores.h"
#include "runner/faults.h"
#include "runner/patrol.h"
#include "runner/pick.h"
#include "runner/retention.h"
#include "runner/turn_size.h"

/*
 * What is due by the clock and could not be done is looked at again after this,
 * in microseconds; while no runs are started, after that.
 */
#define DUE_PAUSE (100 * US_PER_MS)
#define IDLE_DUE_PAUSE (1 * US_PER_S)

/*
 * All times are those of clock_now(). A runner's own memory; lives as long as the
 * process.
 */
struct Chores
{
	Dispatch   *dispatch;		/* the fleet, its pacing and its requests */
	Oid			extension;		/* the extension that the runner serves */
	bool		first;			/* it deletes what is old, others do not */
	int64		turns;			/* how many there have been */
	int64		turned_at;		/* when the last one was */
	int64		singles;		/* how many were about one thing at a time, or
								 * one owner's runs */
	bool		was_own;		/* the last one was for an owner who is slow */
	bool		only_signals;	/* the last one of those had nothing but
								 * signals */
	bool		was_large;		/* the last one of others had something large,
								 * to find out how long it takes */
	int64		measures;		/* how many were to do that */

	/* what is due */
	uint32		again;			/* chores of which the last turn left some */
	List	   *dead_tools;		/* ids of runs whose tools' processes died; in
								 * TopMemoryContext */
	int64		dead_at;		/* when to look for more of them */
	uint64		asks_seen;		/* tool_slots_asks() when that was answered */
	bool		to_blame;		/* the predecessor crashed at a run: that is
								 * to be stored */
	Patrol		patrol;			/* how far it is */
	PickOrder	order;			/* whose runs are next */
	bool		many_signals;	/* the last turn did not read all signals, */
	List	   *signals_after;	/* but those up to these; in signals_context */
	MemoryContext signals_context;
	uint64		wakes_seen;		/* runner_slot_wakes() before the last turn */
	int64		rested_at;		/* when the next owner has rested enough */
	int64		paced_at;		/* when there may be room for parked runs */
	int64		flushed_at;		/* when events were stored last */
	int64		clock_at;		/* when the clock alone gives work */
	int64		clock_from;		/* but not before this */
	int64		unclear_since;	/* turns may have brought that nearer; NEVER:
								 * there was none */
	int64		clear_after;	/* it is not looked how near before this */
	int64		prepared_at;	/* when to look for prepared transactions */
	int			old_prepared;	/* how many are older than this runner */
	TurnSize	size;			/* how much turns may do */
	Retention	retention;		/* what is old is deleted: how far that is */

	Faults		faults;			/* what failed */
};

extern int	chores_room_for_runs(Chores *chores);
extern int	chores_room_for_newcomers(Chores *chores);
extern int64 chores_due_at(Chores *chores, Chore chore);
extern int64 chores_next_turn_at(Chores *chores);
extern uint32 chores_due(Chores *chores, int64 now);

#endif							/* AGNO_CHORES_INTERNAL_H */
