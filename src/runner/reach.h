/*-------------------------------------------------------------------------
 *
 * reach.h
 *	  Whether a model server can be reached.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_REACH_H
#define AGNO_REACH_H

/*
 * What a runner knows of one server; all zero: nothing yet. Its own memory. Times are
 * those of clock_now().
 */
typedef struct Reach
{
	int64		lost_since;		/* it cannot be reached; 0: it can, as far as
								 * is known */
	int			failures;		/* tries in a row that failed */
	int64		try_at;			/* when a run is to try it */
	bool		trying;			/* one does, or is about to */
	bool		try_reserved;	/* by the turn that is under way */
	char	   *problem;		/* why it cannot be reached, in UTF-8; in
								 * TopMemoryContext */
	int			patience_ms;	/* how long a run waits for it */
} Reach;

extern bool reach_is_lost(const Reach *reach);
extern bool reach_may_try(const Reach *reach, int64 now);
extern int64 reach_next_try(const Reach *reach);
extern void reach_reserve_try(Reach *reach);
extern bool reach_start_try(Reach *reach);
extern void reach_begin_turn(Reach *reach);
extern void reach_end_try(Reach *reach);
extern void reach_failed(Reach *reach, bool trying, const char *problem,
						 int patience_ms, int64 now);
extern void reach_succeeded(Reach *reach);
extern const char *reach_problem(const Reach *reach);
extern void reach_forget(Reach *reach);

#endif							/* AGNO_REACH_H */
