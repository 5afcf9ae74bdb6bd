/*-------------------------------------------------------------------------
 *
 * pace_table.h
 *	  What a runner knows of the model servers, and of the keys to them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_PACE_TABLE_H
#define AGNO_PACE_TABLE_H

#include "lib/ilist.h"
#include "nodes/pg_list.h"
#include "runner/circle.h"
#include "runner/crowds.h"
#include "runner/doubts.h"
#include "runner/places.h"
#include "runner/reach.h"
#include "runner/sweep.h"

/*
 * The longest time that a server is left alone for, whatever it says: after
 * that one run asks again.
 */
#define LONGEST_BLOCK (2 * US_PER_MINUTE)

/* What a runner knows of one server. Its own memory. */
typedef struct Target
{
	int			paces;			/* how many there are of it */
	int			parked;			/* how many of them have parked runs */
	bool		stalled;		/* some of them may be stalled */
	int64		starts;			/* how many runs have started there, */
	int64		returned_at;	/* and had when one came back in turn with
								 * them */
	Places		places;			/* for its runs, with any key */
	Reach		reach;
} Target;

/* A run that a turn is to start. */
typedef struct Reservation
{
	Oid			owner;			/* of the run */
	Ask			ask;			/* what pays for its request */
} Reservation;

/* What a runner knows of one server as used with one key. Its own memory. */
typedef struct Pace
{
	dlist_node	node;			/* in PaceTable.all: who has had his turn last
								 * is last, of those of a server */
	char	   *key;			/* of the server's name and the user mapping,
								 * of the database's encoding */
	Target	   *target;			/* the server */
	int			requests_per_minute;	/* its limits when a run last asked, */
	int			tokens_per_minute;	/* each 0 when there is none */
	List	   *reserved;		/* Reservations: of the runs that this turn is
								 * to start */
	List	   *untried;		/* owners of parked runs that this turn has
								 * fetched, none of which has asked whether it
								 * may start */
	int			in_flight;		/* flights that have it */
	bool		parked;			/* there may be runs that wait for it */
	bool		stalled;		/* but only of owners who may not have more in
								 * flight at the server, */
	int64		stalled_until;	/* or not before then */
	Doubts		doubts;			/* whose runs may not ask, or not all at once */
	int64		used_in;		/* number of the turn that last asked for it */
	bool		deserted;		/* some of them may be for another key by now,
								 * and have to find that out */
	Oid			last_owner;		/* of whom a run has been started last: those
								 * who come after him are asked */
	Crowd		crowd;			/* owners whose parked runs are hidden, */
	Sweep		sweep;			/* how far it is with them, */
	Circle		circle;			/* and whose turn it is: */
	bool		hidden_first;	/* their runs are to be fetched before others,
								 * of which one has been started last */
	int64		rests_until;	/* there are no others that may start, and
								 * nobody looks until then */
	int64		probe_at;		/* when one of them is to ask all the same, to
								 * find out about other limits */
	int64		give_up_at;		/* when the first of them has waited long
								 * enough for a server that cannot be reached;
								 * NEVER: none waits for that */
	Load	   *load;			/* of its table, or our own: the rest */
	bool		own_load;		/* it is our own */
} Pace;

/* What a runner knows of all servers. Lives as long as the process. */
typedef struct PaceTable
{
	int			number;			/* of this runner */
	int64		turn;			/* number of the turn that is under way */
	const LoadTable *table;		/* NULL: there are no other runners */
	dlist_head	all;			/* the Paces of everything that runs have
								 * asked for */
	int			count;			/* how many these are */
	List	   *targets;		/* NamedTargets: their servers */
} PaceTable;

extern PaceTable *pace_table_create(int number, const LoadTable *table);
extern void pace_table_lock(PaceTable *paces);
extern void pace_table_unlock(PaceTable *paces);
extern Pace *pace_table_find(PaceTable *paces, const char *server,
							 Oid mapping);
extern Pace *pace_table_named(PaceTable *paces, const char *key);
extern void pace_table_keep(Pace *pace);
extern void pace_table_let_go(Pace *pace);
extern void pace_table_end_turn(PaceTable *paces, Pace *pace);
extern Pace *pace_table_next_parked(PaceTable *paces, Pace *after);
extern void pace_table_begin_after(PaceTable *paces, Pace *pace);
extern void pace_forget_tokens(Pace *pace, int64 now);

#endif							/* AGNO_PACE_TABLE_H */
