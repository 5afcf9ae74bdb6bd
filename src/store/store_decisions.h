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

/*
 * A call for which somebody has to decide, or has decided. Strings are UTF-8.
 */
typedef struct GatedCall
{
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
	Requirement requirement;

	bool		changed;		/* store_decide() is to store requirement */
} GatedCall;

extern List *store_gated_calls(const char *run_id);
extern char *store_requirements(const char *run_id);
extern bool store_decide(const RunRow *run, List *calls, Oid decider);
extern void store_reject(GatedCall *call, const char *note);
extern bool store_reject_expired(int limit);

#endif							/* AGNO_STORE_DECISIONS_H */
