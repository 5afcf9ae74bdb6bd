/*-------------------------------------------------------------------------
 *
 * pacing.h
 *	  How fast each model server may be asked.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_PACING_H
#define AGNO_PACING_H

#include "model_server.h"
#include "settings.h"

/*
 * What a server has had to do, by all runners of the database. Guarded by the
 * lock of its home. Times are those of fleet_now().
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

/* Where the loads are that several runners share. */
typedef struct LoadHome
{
	/* the load of a server of this database; NULL: there is no room */
	Load	   *(*find) (const char *server);
	void		(*lock) (void);
	void		(*unlock) (void);
} LoadHome;

/* What a runner knows of one server. Its own memory. */
typedef struct Pace
{
	char	   *server;			/* its name, of the database's encoding */
	int			max_concurrency;	/* its limits when a run last asked, each
									 * 0 */
	int			requests_per_minute;	/* when there is none */
	int			tokens_per_minute;
	int			reserved;		/* runs that this turn is to start */
	bool		parked;			/* there may be runs that wait for it */
	int64		probe_at;		/* when one of them is to ask in any case, to
								 * find out about other limits */
	int64		yield_until;	/* what is free is for other runners */
	Load	   *load;			/* of its home, or our own */
} Pace;

typedef struct Pacing Pacing;

extern Pacing *pacing_create(int number, const LoadHome *home);
extern void pacing_begin_turn(Pacing *pacing);
extern bool pacing_admit(Pacing *pacing, const char *name,
						 const ModelServer *server, int64 now);
extern void pacing_recheck(Pacing *pacing);
extern void pacing_started(Pacing *pacing, const char *name);
extern uint32 pacing_ended(Pacing *pacing, const char *name, int64 tokens,
						   int64 now);
extern int64 pacing_repeat(Pacing *pacing, const char *name, int64 now);
extern void pacing_block(Pacing *pacing, const char *name, int64 until);
extern int64 pacing_blocked_until(Pacing *pacing, const char *name);
extern Pace *pacing_next_parked(Pacing *pacing, Pace *after);
extern int	pacing_unparkable(Pacing *pacing, Pace *pace, int64 now);
extern void pacing_none_parked(Pacing *pacing, Pace *pace);
extern int64 pacing_next_at(Pacing *pacing, int64 now);

#endif							/* AGNO_PACING_H */
