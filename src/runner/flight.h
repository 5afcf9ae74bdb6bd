/*-------------------------------------------------------------------------
 *
 * flight.h
 *	  One run in flight.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_FLIGHT_H
#define AGNO_FLIGHT_H

#include "core/run_event.h"
#include "http/http.h"
#include "lib/ilist.h"
#include "lib/pairingheap.h"
#include "runner/conversation.h"
#include "runner/pacing.h"
#include "server/model_server.h"
#include "store/store.h"

/*
 * What subscribers of a streamed run have been told, and are to be told.
 */
typedef struct FlightNews
{
	bool		begun;			/* some of its events have been stored */
	List	   *events;			/* RunEvents that are not stored */
	size_t		shown;			/* how much of the answer has been stored as
								 * events, in bytes */
	size_t		content_shown;	/* how much of it stood in content when that
								 * was last stored */
	int64		due_at;			/* nothing is stored before, as of clock_now() */
	int64		locked_pause;	/* the last pause because of a lock; 0: none */
	dlist_node	node;			/* in Fleet.with_news */
	bool		listed;			/* node is in it */

	/* of what the turn that is under way stores */
	int			flushing_events;	/* how many events there are, */
	size_t		flushing_shown; /* what shown will be, */
	size_t		flushing_content;	/* and content_shown; */
	bool		flushing_part;	/* there is more of the answer */
} FlightNews;

/* Where the step of a flight has put it. */
typedef enum FlightPlace
{
	NOWHERE,					/* its request is on its way */
	IN_LIST,					/* node is in a list */
	IN_HEAP						/* timer is in a heap */
} FlightPlace;

/*
 * A run in flight. All of it, but the transfer, is in its own memory context.
 */
typedef struct Flight
{
	MemoryContext context;
	MemoryContext work;			/* below it: what the run was given, and what
								 * its steps have made of that */
	const char *run_id;			/* of the database's encoding */
	const char *session_id;		/* of the database's encoding */
	const char *session_utf8;	/* the same in UTF-8 */
	const char *server_name;	/* of the model server, in UTF-8 */
	Pace	   *pace;			/* of the server, as used with this key */
	bool		continues;		/* it goes on with its attempt */
	bool		calls_back;		/* it has on_complete */
	bool		cancelled;		/* it is to be ended as soon as it has begun */
	bool		admitted;		/* to its model server, by pacing_admit(), and
								 * it has not left; one that only waits asks
								 * nothing of it */
	bool		pauses;			/* but others may have its place */
	Ask			ask;			/* what pays for the request that is about to
								 * be sent */
	Ask			sent_ask;		/* what has paid for the one on its way */
	int64		starts_seen;	/* Target.starts when it looked last whether
								 * it may come back */
	int64		sent_at;		/* when it has sent its last request; 0: none */
	bool		delayed;		/* its next request has waited for its server */
	int64		tokens_told;	/* what pacing_pause() has been told of */
	int			earlier_repetitions;	/* of run.repetitions: before it was
										 * put back */
	bool		trying;			/* it finds out whether its server can be
								 * reached */
	int64		bytes;			/* of what was handed in with the run */
	const ReadyRun *ready;		/* owned; NULL once the run has begun */
	Conversation *conversation; /* owned: what the run has said with calls of
								 * tools; NULL: nothing, or it is in ready */
	char	   *secret;			/* the key, as long as it may be told from
								 * ordinary words, or NULL */
	char	   *escaped_secret; /* as it stands in JSON, if that differs */
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
	int64		size_sent;		/* flight_size() when that was sent */
	bool		id_stored;		/* run.response_id has been stored, or is in
								 * Dispatch.new_responses */

	/* while its row in the queue is only claimed */
	dlist_node	unsettled;		/* in Fleet.unsettled */
	bool		settled;		/* it is not there any more */
	int64		claimed_at;		/* as of clock_now() */

	/* where fleet_place() has put it */
	FlightPlace place;
	dlist_node	node;			/* in Fleet.to_send, Fleet.unread or
								 * Fleet.ended */
	pairingheap_node timer;		/* in Fleet.backing_off */

	FlightNews	news;			/* of a streamed one */

	/* of one that has ended */
	int64		ended_size;		/* flight_size(), as http_keep() was told; 0:
								 * it has not */
	int			store_failures; /* how often storing it alone has failed */
	bool		stripped;		/* nothing is left of it but how it ended */
	int64		store_after;	/* no try before, as of clock_now() */
	int64		locked_pause;	/* the last pause because of a lock; 0: none */
	bool		put_off;		/* it waits for somebody's lock */
	int64		leaving;		/* number of the turn that stores it */
} Flight;

extern Flight *flight_create(const ReadyRun *ready, const ModelServer *server,
							 Pace *pace, Conversation *conversation);
extern void flight_begin(Flight *flight);
extern int64 flight_size(const Flight *flight);
extern int64 flight_news_size(const Flight *flight);
extern void flight_hide_key(Flight *flight);
extern char *flight_clean(const Flight *flight, const char *text);
extern void flight_trim(Flight *flight);
extern const char *flight_partial_content(Flight *flight);
extern void flight_shed(Flight *flight);
extern void flight_strip(Flight *flight);
extern void flight_fill_ended(const Flight *flight, EndedRun *ended);
extern void flight_fill_step(const Flight *flight, NewStep *step);
extern void flight_started(Flight *flight);
extern void flight_restarted(Flight *flight);
extern int	flight_count_events(const Flight *flight);
extern int	flight_event_rows(Flight *flight, EventRow *rows);
extern void flight_events_stored(Flight *flight);

#endif							/* AGNO_FLIGHT_H */
