/*-------------------------------------------------------------------------
 *
 * store_decisions.h
 *	  The tables of agno_bg: decisions about calls that wait for them.
 *
 * For backends, between store_enter() and store_leave(), and for a runner.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_STORE_DECISIONS_H
#define AGNO_STORE_DECISIONS_H

#include "store/store.h"
#include "utils/hsearch.h"

/*
 * A PAUSED run among those that wait for each other: agents call agents.
 */
typedef struct PausedRun
{
	char	   *run_id;
	char	   *session_id;
	Oid			owner;
	struct PausedRun *parent;	/* or NULL */

	/* of store_decide() */
	List	   *changed;		/* GatedCalls, of it and of those below it */
	bool		waits;			/* somebody has to decide yet, about one of
								 * them */
} PausedRun;

/* PAUSED runs that wait for each other; each stands after its parent. */
typedef struct Family
{
	List	   *runs;			/* of PausedRun */
	HTAB	   *index;			/* the same by their ids */
} Family;

/*
 * A call for which somebody has to decide, or has decided. Strings are UTF-8, but
 * for run_id, which is of the database's encoding.
 */
typedef struct GatedCall
{
	char	   *run_id;
	PausedRun  *run;			/* the same */
	int			turn;
	int			call_no;
	char	   *tool_call_id;	/* ours */
	char	   *model_call_id;
	char	   *tool;
	char	   *arguments;		/* JSON: those that the model gave */
	bool		has_approver;	/* the members of one role decide; */
	Oid			approver;		/* invalid if that does not exist any more */
	char	   *expires_after;	/* how long it may wait, or NULL */
	bool		expired;		/* it has waited for longer */
	bool		waits;			/* nobody has decided yet */
	Requirement requirement;	/* but for its preview */

	bool		changed;		/* store_decide() is to store requirement */
} GatedCall;

extern Family *store_paused_family(const char *run_id);
extern PausedRun *store_family_member(const Family *family, const char *run_id);
extern bool store_family_is_below(const PausedRun *run, const PausedRun *top);
extern List *store_gated_calls(const Family *family);
extern char *store_requirements(const char *run_id);
extern List *store_decide(const Family *family, List *calls, Oid decider);
extern void store_reject(GatedCall *call, const char *note);
extern bool store_reject_expired(int limit, char **tried);
extern void store_put_off_expired(char *run_id);

#endif							/* AGNO_STORE_DECISIONS_H */
