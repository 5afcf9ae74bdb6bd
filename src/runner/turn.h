/*-------------------------------------------------------------------------
 *
 * turn.h
 *	  The table work of one turn of the runner's loop.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_TURN_H
#define AGNO_TURN_H

#include "core/clock.h"
#include "nodes/pg_list.h"
#include "runner/chore.h"
#include "runner/dispatch.h"
#include "runner/patrol.h"
#include "runner/pick.h"
#include "store/store.h"
#include "utils/timestamp.h"

/* How many runs are stored, and started, in one transaction at most. */
#define MOST_AT_ONCE 500

/* How often events of streamed runs are stored, in microseconds. */
#define FLUSH_PAUSE (50 * US_PER_MS)

/*
 * How long a turn may work that does several things, in microseconds: if it takes
 * longer it is undone, and fewer are done at once.
 */
#define TURN_MOST (200 * US_PER_MS)

/*
 * What a turn consists of, in this order, apart from the runs that it stores and
 * starts. What fails of that without it being known whose fault it is is left out for
 * a while, for the others' sake.
 */
typedef enum TurnPart
{
	PART_NONE,					/* it is about runs */
	PART_PATROL,				/* the queue is taken over */
	PART_DEAD_TOOLS,			/* tools have brought processes down */
	PART_DUE,					/* scheduled runs are due */
	PART_LATE,					/* tools have been called for too long */
	PART_EXPIRED,				/* nobody has decided in time */
	PART_GIVE_UP,				/* servers could not be reached for too long */
	PART_UNPARK,				/* runs have waited for their servers */
	PART_SETTLE,				/* runs have been in flight for a moment */
	PART_RESPONSES,				/* servers have begun to work on responses */
	PART_MARKERS,				/* markers of cancels met no run */
	PART_CALLBACKS,				/* nobody can call runs back any more */
	TURN_PARTS
} TurnPart;

/*
 * What a turn is about while it is not known what fails when turns are committed: one thing,
 * of this kind if there is one.
 */
typedef enum TurnScope
{
	SCOPE_ALL,					/* it is known, or nothing fails */
	SCOPE_RUN,					/* a run that is stored or started */
	SCOPE_SIGNAL,				/* a signal, or else a run */
	SCOPE_GIVE_UP,				/* a run that is given up, or else another */
	SCOPE_PART					/* a part, and no run */
} TurnScope;

/* How long something of one owner has taken in a turn. */
typedef struct OwnerTime
{
	Oid			owner;
	OwnerWork	work;
	int			things;			/* how many */
	int64		took;			/* in microseconds */
} OwnerTime;

/*
 * A turn. Lives in the memory of the loop's turn.
 */
typedef struct Turn
{
	/* what to do: set by chores.c */
	uint32		todo;			/* a bit for each chore */
	int64		number;			/* of the turn, from 1 */
	Dispatch   *dispatch;		/* the fleet, its pacing and its requests */
	PickOrder  *order;			/* whose runs are next */
	Patrol	   *patrol;			/* how far the patrol is */
	Oid			extension;		/* the extension that the runner serves */
	List	   *dead_tools;		/* ids of runs whose tools' processes died */
	uint64		asks;			/* what tool_slots_asks() said before it */
	bool		asked;			/* that is more than it was: who wants tool
								 * workers is to be said */
	bool		many_signals;	/* there are many signals: owners take turns, */
	List	   *signals_after;	/* from where these Signals are on */
	int			limit;			/* store and start no more runs than this */
	bool		shared;			/* several owners have runs */
	bool		slow;			/* there are owners who are slow (rests.h): it
								 * is about the others or, */
	bool		own;			/* if this is true, about one of those: what
								 * it stores, or shows, or starts */
	int			own_limit;		/* no more runs than this then */
	bool		only_runs;		/* and no signals of those who are slow: the
								 * last such turn had nothing else */
	bool		measured;		/* what is for each owner is done by itself,
								 * to find out how long it takes: of what is
								 * large, */
	bool		large_first;	/* if there is any, or of what is not */
	Chore		first;			/* one at a time: which of these comes first */
	int			signal_limit;	/* read no more signals than this */
	int			room;			/* how many to start, apart from the room that
								 * those leave which are stored */
	int			newcomers;		/* how many more, of owners with none */
	uint32		left_out;		/* parts that are not done, a bit each */
	TurnScope	scope;			/* what it is about; */
	TurnPart	only_part;		/* this part, if it is about one at once */
	bool		barely;			/* runs that end leave nothing: what they
								 * would leave could not be stored */
	bool		readied;		/* those that are due are ready */

	/* what it was about, if it fails */
	int			tried;			/* how many runs it was to store or start */
	Flight	   *tried_flight;	/* if that is one: the one to be stored, */
	PickedRun  *tried_start;	/* or else the one to be started */
	Signal	   *tried_signal;	/* the only signal, if it was to store and
								 * start no run */
	char	   *tried_expired;	/* the run whose expired calls it was to
								 * reject, if that is one; or NULL */
	int			given_up;		/* how many runs it was to end that had waited
								 * too long for their servers, */
	PickedRun  *tried_end;		/* and if that is one at once, the last one */
	TurnPart	part;			/* the part that it was at */
	OwnerWork	work;			/* of what kind it was, */
	int			things;			/* at how many things, */
	Oid			owner;			/* whose these are; InvalidOid: several
								 * owners', */
	int64		began;			/* and since when; */
	Oid			largest;		/* who has most of their bytes, most likely, */
	int64		largest_by;		/* by so many, */
	int64		bytes;			/* of so many */
	bool		at_signals;		/* it was following what it had read */
	bool		overdue;		/* it has taken too long, and is undone */

	/* what came of it: valid if it succeeded */
	int64		took;			/* before its commit, in microseconds */
	List	   *times;			/* OwnerTimes: if it failed, too */
	int64		mixed;			/* the longest of that for several owners */
	uint32		again;			/* chores of which there is more, a bit each */
	bool		unwanted;		/* the extension is gone, or does not fit:
								 * nothing was done */
	bool		replaced;		/* and there is another one */
	List	   *left;			/* Flights that are stored, or were overtaken */
	bool		picking;		/* just now, they do not count as in flight, */
	List	   *retried;		/* but these PickedRuns do: those that could
								 * not be had before and are to start now */
	List	   *stepped;		/* Flights, among those, whose tools are to be
								 * called */
	List	   *tool_owners;	/* OIDs of owners of other runs with tools */
	List	   *cancelled;		/* Flights that signals have cancelled */
	List	   *cancelled_ids;	/* ids of runs whose tools are to end */
	List	   *flushed;		/* Flights whose events are stored, which go
								 * on */
	List	   *started;		/* new Flights */
	List	   *settled;		/* Flights whose rows in the queue say so */
	List	   *ended_ids;		/* ids of runs that have ended */
	List	   *held_back;		/* Paces of runs that wait for their server to
								 * be reached */
	int			signals;		/* how many signals it has read, */
	int64		signals_took;	/* and how long it was at them: */
	bool		only_signals;	/* long, for somebody who is slow: it does
								 * nothing else */
	bool		only_large;		/* it has done something large, to find out
								 * how long it takes: likewise */
	int64		clock_took;		/* how long it has looked at what is due */
	bool		more_signals;	/* there may be more signals: */
	List	   *last_signals;	/* after these, of owners who have more */
	bool		unflushed;		/* it is to be flushed once tools are called */
	bool		lost;			/* runs were found that nobody knew of */
} Turn;

extern void turn_execute(Turn *turn);
extern void turn_end_clock(Turn *turn);
extern void turn_end_picking(Turn *turn);

/* turn_refusals.c */
extern bool turn_drop_signals(const Turn *turn, Signal *signal);
extern bool turn_put_off_expired(char *run_id);
extern bool turn_refuse(const PickedRun *picked, const char *message);

/* turn_outcome.c */
extern void turn_tell(const Turn *turn);
extern void turn_carry_out(const Turn *turn);

/* turn_times.c */
extern void turn_note_time(Turn *turn);
extern void turn_keep_times(const Turn *turn, bool shared, int64 now);

/*
 * Whether this turn does not do that part.
 */
static inline bool
turn_leaves_out(const Turn *turn, TurnPart part)
{
	return (turn->left_out & (1U << part)) != 0;
}

#endif							/* AGNO_TURN_H */
