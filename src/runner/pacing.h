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
#include "runner/crowds.h"
#include "runner/shares.h"
#include "runner/sweep.h"
#include "server/model_server.h"
#include "server/settings.h"

/*
 * What a server, or a key to it, has had to do, by all runners of the database.
 * Guarded by the lock of its table. Times are those of clock_now().
 */
typedef struct Load
{
	int			in_flight[MAX_RUNNERS_PER_DATABASE];	/* runs that each runner
														 * has started, or is
														 * about to */
	uint32		waiting;		/* runners with parked runs: a bit each */
	int64		next_request;	/* when the next run may start, as far as
								 * requests_per_minute goes */
	double		tokens;			/* used and not yet forgotten */
	int64		tokens_at;		/* when tokens was true */
	int64		blocked_until;	/* the server has asked to be left alone */
} Load;

/* The longest name of a load, in bytes, with its NUL. */
#define LOAD_NAME_SIZE (NAMEDATALEN + 16)

/* Where the loads are that several runners share. */
typedef struct LoadTable
{
	/*
	 * The load of this name in this database, for the runner with this
	 * number; NULL: there is no room.
	 */
	Load	   *(*find) (const char *name, int runner);

	/* The runner does not need it any more. While the table is locked. */
	void		(*release) (Load *load, int runner);
	void		(*lock) (void);
	void		(*unlock) (void);
} LoadTable;

/* What a runner knows of one server. Its own memory. */
typedef struct Target
{
	int			paces;			/* how many there are of it */
	int			parked;			/* how many of them have parked runs */
	bool		stalled;		/* some of them may be stalled */
	int			max_concurrency;	/* 0: any number */
	int			fetched;		/* parked runs, by the turn that is under way */
	List	   *started;		/* owners in the order in which runs of theirs
								 * have been started last, with any key; in
								 * TopMemoryContext */
	Shares	   *shares;			/* whose runs are in flight there */
	Load	   *load;			/* of its table, or our own: in_flight and
								 * waiting */
	bool		own_load;		/* it is our own */
	int64		yield_until;	/* what is free is for other runners */

	/* while it cannot be reached */
	int64		unreachable_since;	/* 0: it can, as far as is known */
	int			failures;		/* tries in a row that failed */
	int64		try_at;			/* when a run is to try it */
	bool		trying;			/* one does, or is about to */
	bool		try_reserved;	/* by the turn that is under way */
	char	   *problem;		/* why it cannot be reached, in UTF-8 */
	int			patience_ms;	/* how long a run waits for it */
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
	Sweep		sweep;			/* and how far it is with them: */
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
extern uint32 pacing_ended(Pacing *pacing, Pace *pace, Oid owner,
						   bool trying, int64 tokens, int64 now);
extern int64 pacing_repeat(Pacing *pacing, Pace *pace, int64 now);
extern void pacing_block(Pacing *pacing, Pace *pace, int64 until,
						 int64 now);
extern int64 pacing_blocked_until(Pacing *pacing, Pace *pace);

extern void pacing_unreachable(Pacing *pacing, Pace *pace, bool trying,
							   const char *problem, int patience_ms,
							   int64 now);
extern void pacing_reached(Pacing *pacing, Pace *pace);
extern const char *pacing_problem(Pacing *pacing, Pace *pace);
extern void pacing_held_back(Pacing *pacing, Pace *pace, int64 now);

extern Pace *pacing_next_parked(Pacing *pacing, Pace *after);
extern void pacing_fetched(Pace *pace, int count);
extern void pacing_note_start(Pace *pace, Oid owner);
extern int	pacing_started_at(const Pace *pace, Oid owner);
extern bool pacing_owner_may(Pace *pace, Oid owner);
extern void pacing_begin_after(Pacing *pacing, Pace *pace);
extern void pacing_stall(Pacing *pacing, Pace *pace);
extern int	pacing_unparkable(Pacing *pacing, Pace *pace, int64 now);
extern void pacing_none_parked(Pacing *pacing, Pace *pace);
extern void pacing_desert(Pacing *pacing, const char *key);
extern int64 pacing_next_at(Pacing *pacing, int64 now);

#endif							/* AGNO_PACING_H */
