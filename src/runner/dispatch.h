/*-------------------------------------------------------------------------
 *
 * dispatch.h
 *	  The requests of the runs in flight, on their way and back.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_DISPATCH_H
#define AGNO_DISPATCH_H

#include "nodes/pg_list.h"
#include "runner/conversation_cache.h"
#include "runner/fleet.h"
#include "runner/heavies.h"
#include "runner/pacing.h"

/* How many servers may be told at once that nobody wants a response any more. */
#define MAX_CANCELS 200

typedef struct Dispatch
{
	Fleet	   *fleet;
	HttpClient *http;
	PaceTable  *paces;
	ConversationCache *conversations;	/* of runs whose tools are called */
	MemoryContext turn_context; /* reset before each turn of the loop */
	List	   *new_responses;	/* Flights whose response_id is to be stored */
	int64		starved_until;	/* that connections could not be opened has
								 * been logged, and need not be before, as of
								 * clock_now() */
	int64		turn;			/* for shares_has_time(): how often all owners
								 * have been given time */
	Oid			cancels[MAX_CANCELS];	/* owners of cancelled responses whose
										 * servers are being told; InvalidOid:
										 * the place is free */
	bool		pacing_changed; /* there may be room for parked runs now */
	bool		shared;			/* several owners have work */
	Heavies    *heavies;		/* owners whose requests take long */
	int64		held_until;		/* when the flights of fleet->held are to be
								 * sent, as of clock_now(); NEVER: there are
								 * none */
} Dispatch;

extern void dispatch_advance(Dispatch *dispatch);
extern void dispatch_wake(Dispatch *dispatch);
extern void dispatch_send(Dispatch *dispatch);
extern int64 dispatch_next_send(const Dispatch *dispatch);
extern void dispatch_fail(Dispatch *dispatch, Flight *flight, const char *type,
						  const char *message);
extern void dispatch_shed(Dispatch *dispatch, Flight *flight, const char *type,
						  const char *message);
extern void dispatch_cancel(Dispatch *dispatch, Flight *flight);
extern void dispatch_forget(Dispatch *dispatch, Flight *flight);

#endif							/* AGNO_DISPATCH_H */
