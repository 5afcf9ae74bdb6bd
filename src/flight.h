/*-------------------------------------------------------------------------
 *
 * flight.h
 *	  One run in flight.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_FLIGHT_H
#define AGNO_FLIGHT_H

#include "http.h"
#include "lib/ilist.h"
#include "lib/pairingheap.h"
#include "model_server.h"
#include "run_event.h"
#include "store.h"

/*
 * A run in flight. All of it, but the transfer, is in its own memory context.
 */
typedef struct Flight
{
	MemoryContext context;
	const char *run_id;			/* of the database's encoding */
	const char *session_id;		/* of the database's encoding */
	const char *server_name;	/* of the model server, in UTF-8 */
	const char *pace_name;		/* the same, of the database's encoding */
	const char *session_state;	/* JSON in UTF-8: with what the run brought
								 * along; NULL: none */
	const char *session_metrics;	/* JSON in UTF-8: before the run, or NULL */
	const char *agent_id;		/* in UTF-8, or NULL */
	const char *agent_name;		/* in UTF-8, or NULL */
	Oid			owner;
	Run			run;
	ModelServer server;
	StringInfoData body;		/* of the request on its way; data may be NULL */
	HttpTransfer *transfer;		/* owned; NULL when no request is on its way */
	bool		id_stored;		/* run.response_id has been stored */
	int64		repeat_at;		/* when its request may be sent again, as
								 * pacing.c has it; 0: not asked */

	/* where fleet_place() has put it */
	dlist_node	node;			/* in Fleet.to_send or Fleet.ended */
	pairingheap_node timer;		/* in Fleet.paused */
	bool		listed;			/* node is in use */
	bool		timed;			/* timer is in use */

	/* of a streamed one: what those who watch it have been told */
	int64		last_event;		/* the number of the last event stored */
	List	   *events;			/* RunEvents that are not stored */
	size_t		shown;			/* how much of the answer has been stored as
								 * events */
	int64		flush_at;		/* no events before, as of fleet_now() */
	dlist_node	piece_node;		/* in Fleet.pieces */
	bool		has_piece;		/* piece_node is in it */
	int			flush_events;	/* of the rows that a turn stores: how many
								 * there are, */
	size_t		flush_shown;	/* and what shown will be */

	/* of one that has ended */
	int			store_failures; /* how often storing it alone has failed */
	int64		store_after;	/* no try before, as of fleet_now() */
	int64		leaving;		/* number of the turn that stores it */
} Flight;

extern Flight *flight_create(const ReadyRun *ready, const ModelServer *server);
extern void ended_run_fill(EndedRun *ended, const Run *run, const char *run_id,
						   const char *session_id);
extern void flight_fill_ended(const Flight *flight, EndedRun *ended);
extern void flight_started(Flight *flight);
extern void flight_restarted(Flight *flight);
extern int	flight_count_events(const Flight *flight);
extern int	flight_event_rows(Flight *flight, EventRow *rows);
extern void flight_events_stored(Flight *flight);

#endif							/* AGNO_FLIGHT_H */
