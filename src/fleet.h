/*-------------------------------------------------------------------------
 *
 * fleet.h
 *	  The runs that a runner has in flight.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_FLEET_H
#define AGNO_FLEET_H

#include "http.h"
#include "lib/ilist.h"
#include "lib/pairingheap.h"
#include "model_server.h"
#include "run.h"

/*
 * A run in flight. All of it, but the transfer, is in its own memory context.
 */
typedef struct Flight
{
	MemoryContext context;
	const char *run_id;			/* of the database's encoding */
	const char *session_id;		/* of the database's encoding */
	Oid			owner;
	Run			run;
	ModelServer server;
	StringInfoData body;		/* of the request on its way; data may be NULL */
	HttpTransfer *transfer;		/* owned; NULL when no request is on its way */

	/* where fleet_place() has put it */
	dlist_node	node;			/* in Fleet.to_send or Fleet.ended */
	pairingheap_node timer;		/* in Fleet.paused */
	bool		listed;			/* node is in use */
	bool		timed;			/* timer is in use */

	/* of one that has ended */
	int			store_failures; /* how often storing it alone has failed */
	int64		store_after;	/* no try before, as of fleet_now() */
	int64		leaving;		/* number of the turn that stores it */
} Flight;

struct flights_by_run_hash;
struct flights_by_session_hash;

typedef struct Fleet
{
	struct flights_by_run_hash *by_run;
	struct flights_by_session_hash *by_session;
	int			count;			/* of all flights */
	dlist_head	to_send;		/* flights at RUN_SEND */
	dlist_head	ended;			/* flights at RUN_STORE */
	pairingheap *paused;		/* flights at RUN_PAUSE, the first to wake on
								 * top */
} Fleet;

extern int64 fleet_now(void);
extern Fleet *fleet_create(void);
extern void fleet_add(Fleet *fleet, Flight *flight);
extern void fleet_remove(Fleet *fleet, Flight *flight);
extern void fleet_place(Fleet *fleet, Flight *flight);
extern Flight *fleet_find(Fleet *fleet, const char *run_id);
extern Flight *fleet_find_session(Fleet *fleet, const char *session_id);
extern Flight *fleet_first_paused(Fleet *fleet);
extern Flight **fleet_all(Fleet *fleet);

#endif							/* AGNO_FLEET_H */
