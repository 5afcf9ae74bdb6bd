/*-------------------------------------------------------------------------
 *
 * pacing.h
 *	  How fast each model server may be asked.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_PACING_H
#define AGNO_PACING_H

#include "lib/ilist.h"
#include "nodes/pg_list.h"
#include "runner/circle.h"
#include "runner/crowds.h"
#include "runner/places.h"
#include "runner/reach.h"
#include "runner/sweep.h"
#include "server/model_server.h"

/* What a runner knows of one server. Its own memory. */
typedef struct Target
{
	int			paces;			/* how many there are of it */
	int			parked;			/* how many of them have parked runs */
	bool		stalled;		/* some of them may be stalled */
	Places		places;			/* for its runs, with any key */
	Reach		reach;
} Target;

/* What a runner knows of one server as used with one key. Its own memory. */
typedef struct Pace
{
	dlist_node	node;			/* in Pacing.paces: who has had his turn last
								 * is last, of those of a server */
	char	   *key;			/* of the server's name and the user mapping,
								 * of the database's encoding */
	Target	   *target;			/* the server */
	int			requests_per_minute;	/* its limits when a run last asked, */
	int			tokens_per_minute;	/* each 0 when there is none */
	List	   *reserved;		/* owners of the runs that this turn is to
								 * start */
	List	   *untried;		/* owners of parked runs that this turn has
								 * fetched, none of which has asked whether it
								 * may start */
	int			in_flight;		/* flights that have it */
	bool		parked;			/* there may be runs that wait for it */
	bool		stalled;		/* but only of owners who may not have more in
								 * flight at the server */
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

typedef struct Pacing Pacing;

extern Pacing *pacing_create(int number, const LoadTable *table);
extern Pace *pacing_find(Pacing *pacing, const char *server, Oid mapping);
extern void pacing_keep(Pace *pace);
extern void pacing_let_go(Pace *pace);
extern void pacing_begin_turn(Pacing *pacing);
extern bool pacing_admit(Pacing *pacing, Pace *pace,
						 const ModelServer *server, Oid owner, bool is_new,
						 int64 now);
extern void pacing_recheck(Pacing *pacing);
extern void pacing_give_back(Pacing *pacing, Pace *pace, Oid owner);
extern bool pacing_started(Pacing *pacing, Pace *pace, Oid owner);
extern bool pacing_come_back(Pacing *pacing, Pace *pace, int64 now);
extern uint32 pacing_pause(Pacing *pacing, Pace *pace, Oid owner,
						   bool trying, int64 tokens, int64 now);
extern void pacing_leave(Pacing *pacing, Pace *pace, Oid owner, int64 now);
extern bool pacing_leaves(const Pace *pace, int64 pause);
extern void pacing_block(Pacing *pacing, Pace *pace, int64 until,
						 int64 now);
extern int64 pacing_blocked_until(Pacing *pacing, Pace *pace);

extern void pacing_held_back(Pacing *pacing, Pace *pace, int64 now);

extern Pace *pacing_next_parked(Pacing *pacing, Pace *after);
extern void pacing_note_fetched(Pace *pace, Oid owner);
extern void pacing_note_start(Pace *pace, Oid owner);
extern void pacing_begin_after(Pacing *pacing, Pace *pace);
extern void pacing_stall(Pacing *pacing, Pace *pace);
extern int	pacing_unparkable(Pacing *pacing, Pace *pace, int64 now);
extern void pacing_none_parked(Pacing *pacing, Pace *pace);
extern void pacing_desert(Pacing *pacing, const char *key);
extern int64 pacing_next_at(Pacing *pacing, int64 now);

#endif							/* AGNO_PACING_H */
