/*-------------------------------------------------------------------------
 *
 * dispatch.c
 *	  The requests of the runs in flight, on their way and back.
 *
 * Sends what the runs want to send, as far as their model servers may be asked,
 * and hands the answers to the runs, which decide what is next. Outside of any
 * transaction; what goes wrong with a run costs this run and no other.
 *
 * Called by runner.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "core/clock.h"
#include "runner/blame.h"
#include "runner/dispatch.h"
#include "server/encoding.h"
#include "server/settings.h"
#include "utils/memutils.h"


/* How long no connection must have failed before that is logged again. */
#define STARVED_PAUSE (60 * US_PER_S)

static void
end_transfer(Dispatch *dispatch, Flight *flight)
{
	if (flight->transfer != NULL)
		http_release(dispatch->http, flight->transfer);
	flight->transfer = NULL;
	if (flight->body.data != NULL)
		pfree(flight->body.data);
	flight->body.data = NULL;
}

/*
 * Something went wrong with this run that is not its server's fault. The
 * message is of the database's encoding.
 */
void
dispatch_fail(Dispatch *dispatch, Flight *flight, const char *type,
			  const char *message)
{
	MemoryContext old = MemoryContextSwitchTo(flight->context);

	run_failed(&flight->run, type, pstrdup(encoding_from_server(message)),
			   clock_now());
	fleet_place(dispatch->fleet, flight);
	MemoryContextSwitchTo(old);
}

/*
 * For PG_CATCH(): the error costs this run, and no other.
 */
static void
fail_by_error(Dispatch *dispatch, Flight *flight)
{
	ErrorData  *error;

	MemoryContextSwitchTo(dispatch->turn_context);
	error = CopyErrorData();
	FlushErrorState();
	dispatch_fail(dispatch, flight, "internal", error->message);
}

/*
 * An id that a server has given, as a part of a path.
 */
static char *
escape_path(const char *id)
{
	StringInfoData out;

	initStringInfo(&out);
	for (; *id != '\0'; id++)
	{
		if (((unsigned char) *id & 0x80) == 0 &&
			(isalnum((unsigned char) *id) || strchr("-_.~", *id) != NULL))
			appendStringInfoChar(&out, *id);
		else
			appendStringInfo(&out, "%%%02X", (unsigned char) *id);
	}
	return out.data;
}

/*
 * Start a request to the server of a flight; what is after its path, if not
 * NULL, names a response that the server works on. headers and URL are of the
 * current memory context, as libcurl copies them.
 */
static HttpTransfer *
start_request(Dispatch *dispatch, Flight *flight, const char *response_id,
			  const char *action, void *owner)
{
	const ModelServer *server = &flight->server;
	const char *headers[8];
	int			count = 0;
	int64		left_us = flight->run.deadline - clock_now();
	HttpRequest request = {0};

	headers[count++] = "Content-Type: application/json";
	headers[count++] = "Accept: application/json";
	if (server->key != NULL)
		headers[count++] = psprintf("%s%s", server->provider->key_header,
									server->key);
	for (const char *const *header = server->provider->headers;
		 header != NULL && *header != NULL; header++)
		headers[count++] = *header;
	if (server->organization != NULL)
		headers[count++] = psprintf("OpenAI-Organization: %s",
									server->organization);
	if (server->project != NULL)
		headers[count++] = psprintf("OpenAI-Project: %s", server->project);
	headers[count] = NULL;

	request.url = psprintf("%s%s", server->base_url, server->provider->path);
	if (response_id != NULL)
		request.url = psprintf("%s/%s%s", request.url,
							   escape_path(response_id), action);
	request.headers = headers;
	request.get = response_id != NULL && action[0] == '\0';
	request.body = flight->body.data != NULL && response_id == NULL ?
		flight->body.data : "";
	request.body_length = strlen(request.body);
	/* one more, so that the deadline has passed when libcurl gives up */
	request.timeout_ms = Min(server->timeout_ms, left_us / US_PER_MS + 1);
	request.timeout_ms = Max(request.timeout_ms, 1);
	request.connect_timeout_ms = server->connect_timeout_ms;
	request.max_response = (int64) agno_max_response_size * 1024;
	request.ca_file = server->ca_file;
	request.stream = flight->run.streamed;
	return http_start(dispatch->http, &request, owner);
}

/*
 * The start of the run is committed: put its conversation together. What goes
 * wrong is this run's fault.
 */
void
dispatch_begin(Dispatch *dispatch, Flight *flight)
{
	MemoryContext old = MemoryContextSwitchTo(flight->context);

	blame_begin(flight->run_id);
	PG_TRY();
	{
		flight_begin(flight);
		if (flight->events != NIL)
			fleet_has_news(dispatch->fleet, flight);
	}
	PG_CATCH();
	{
		fail_by_error(dispatch, flight);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	blame_end();
}

/*
 * Send the next request of a run.
 */
static void
send_request(Dispatch *dispatch, Flight *flight)
{
	MemoryContext old = MemoryContextSwitchTo(flight->context);

	if (flight->run.response_id == NULL)
	{
		initStringInfo(&flight->body);
		run_write_request(&flight->run, &flight->body);
	}
	MemoryContextSwitchTo(old);

	flight->transfer = start_request(dispatch, flight, flight->run.response_id,
									 "", flight);
	old = MemoryContextSwitchTo(flight->context);
	run_sent(&flight->run);
	MemoryContextSwitchTo(old);
	fleet_place(dispatch->fleet, flight);
}

/*
 * Nobody wants the response any more that the server works on: say so. What
 * comes of it does not matter, so the transfer has no owner.
 */
static void
cancel_response(Dispatch *dispatch, Flight *flight)
{
	char	   *response_id = flight->run.response_id;

	if (response_id == NULL || flight->run.status == RUN_PENDING)
		return;
	flight->run.response_id = NULL;
	flight->run.deadline = clock_now() + 10 * US_PER_S;
	(void) start_request(dispatch, flight, response_id, "/cancel", NULL);
}

/*
 * The answer of a streamed run starts anew: subscribers are to know.
 */
static void
tell_of_restart(Dispatch *dispatch, Flight *flight)
{
	MemoryContext old = MemoryContextSwitchTo(flight->context);

	flight_restarted(flight);
	if (flight->events != NIL)
		fleet_has_news(dispatch->fleet, flight);
	MemoryContextSwitchTo(old);
}

/*
 * The server works on a response: its id is to be stored as soon as possible.
 */
static void
keep_response_id(Dispatch *dispatch, Flight *flight)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	dispatch->new_responses = lappend(dispatch->new_responses, flight);
	flight->id_stored = true;
	MemoryContextSwitchTo(old);
}

/*
 * A server that has had too much is left alone, by all runs.
 */
static void
heed_server(Dispatch *dispatch, Flight *flight)
{
	const HttpResult *result = http_result(flight->transfer);
	int64		until = clock_now();

	if (result->status != 429 &&
		(result->status < 500 || result->retry_after_ms < 0))
		return;
	if (flight->run.step == STEP_BACK_OFF)
		until = flight->run.wake_at;
	else if (result->retry_after_ms >= 0)
		until += result->retry_after_ms * US_PER_MS;
	else
		until += US_PER_S;
	pacing_block(dispatch->pacing, flight->pace, until, clock_now());
	dispatch->pacing_changed = true;
}

/*
 * Note whether the server could be reached.
 */
static void
note_reach(Dispatch *dispatch, Flight *flight)
{
	const HttpResult *result = http_result(flight->transfer);

	/* A run whose own time is over tells nothing. */
	if (result->failure == HTTP_NO_RESOURCES ||
		result->failure == HTTP_NOT_SENT)
		return;
	if (result->failure != HTTP_NO_CONNECTION)
		pacing_reached(dispatch->pacing, flight->pace);
	else if (flight->server.patience_ms > 0)
		pacing_unreachable(dispatch->pacing, flight->pace, flight->trying,
						   result->reason, flight->server.patience_ms,
						   clock_now());
	flight->trying = false;
	dispatch->pacing_changed = true;
}

/*
 * Say when this process lacks what a connection takes: once, until it has
 * been well for a while.
 */
static void
note_resources(Dispatch *dispatch, const HttpResult *result)
{
	bool		known = clock_now() < dispatch->starved_until;

	if (result->failure != HTTP_NO_RESOURCES)
		return;
	dispatch->starved_until = clock_now() + STARVED_PAUSE;
	if (known)
		return;
	ereport(LOG,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("could not open a connection to a model server for lack of file descriptors or memory; runs wait until there are some"),
			 errdetail("%d runs are in flight.", dispatch->fleet->count),
			 errhint("Consider a higher limit of open files for the server, or a lower agno_bg.max_concurrent_runs.")));
}

/*
 * Let the run decide what to do about the answer to its request. An answer
 * that cannot be read for whatever reason fails this run and no other.
 */
static void
receive_answer(Dispatch *dispatch, Flight *flight)
{
	MemoryContext old = MemoryContextSwitchTo(flight->context);

	if (flight->secret != NULL && !flight->run.streamed)
		http_hide(flight->transfer, flight->secret);
	blame_begin(flight->run_id);
	PG_TRY();
	{
		run_answered(&flight->run, http_result(flight->transfer), clock_now(),
					 &pg_global_prng_state);
	}
	PG_CATCH();
	{
		fail_by_error(dispatch, flight);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	blame_end();

	note_resources(dispatch, http_result(flight->transfer));
	note_reach(dispatch, flight);
	heed_server(dispatch, flight);
	end_transfer(dispatch, flight);
	if (flight->run.response_id != NULL && !flight->id_stored)
		keep_response_id(dispatch, flight);
	fleet_place(dispatch->fleet, flight);
	if (flight->run.streamed && flight->run.step != STEP_STORE)
		tell_of_restart(dispatch, flight);
}

/*
 * A piece of a streamed answer has arrived. One that cannot be read fails this
 * run and no other.
 */
static void
receive_piece(Dispatch *dispatch, Flight *flight)
{
	MemoryContext old = MemoryContextSwitchTo(flight->context);

	blame_begin(flight->run_id);
	PG_TRY();
	{
		run_received(&flight->run, http_result(flight->transfer));
		if (flight->trying)
			note_reach(dispatch, flight);
		fleet_has_news(dispatch->fleet, flight);
	}
	PG_CATCH();
	{
		fail_by_error(dispatch, flight);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	blame_end();
}

void
dispatch_advance(Dispatch *dispatch)
{
	HttpTransfer *transfer;

	http_advance(dispatch->http);
	while ((transfer = http_next_fresh(dispatch->http)) != NULL)
	{
		Flight	   *flight = http_owner(transfer);

		if (flight->run.step == STEP_AWAIT)
			receive_piece(dispatch, flight);
	}
	while ((transfer = http_next_done(dispatch->http)) != NULL)
	{
		if (http_owner(transfer) != NULL)
			receive_answer(dispatch, http_owner(transfer));
		else
			http_release(dispatch->http, transfer);
	}
}

/*
 * Wake the runs whose pause is over.
 */
void
dispatch_wake(Dispatch *dispatch)
{
	int64		now = clock_now();
	Flight	   *flight;

	while ((flight = fleet_first_to_wake(dispatch->fleet)) != NULL &&
		   flight->run.wake_at <= now)
	{
		MemoryContext old = MemoryContextSwitchTo(flight->context);

		run_woken(&flight->run, now);
		fleet_place(dispatch->fleet, flight);
		MemoryContextSwitchTo(old);
	}
}

/*
 * Until when a request that is to be sent must wait for its server; 0: it need
 * not.
 */
static int64
hold_until(Dispatch *dispatch, Flight *flight)
{
	int64		now = clock_now();
	int64		until = pacing_blocked_until(dispatch->pacing, flight->pace);

	/* Not all at once then. */
	if (until > now)
		return until +
			(int64) (pg_prng_double(&pg_global_prng_state) * US_PER_S / 5);
	if (flight->run.repetitions == 0 || flight->run.response_id != NULL)
		return 0;
	if (flight->repeat_at == 0)
		flight->repeat_at = pacing_repeat(dispatch->pacing, flight->pace, now);
	if (flight->repeat_at > now)
		return flight->repeat_at;
	flight->repeat_at = 0;
	return 0;
}

/*
 * Send what is to be sent, and abort what has been cancelled.
 */
void
dispatch_send(Dispatch *dispatch)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &dispatch->fleet->ended)
	{
		Flight	   *flight = dlist_container(Flight, node, iter.cur);

		end_transfer(dispatch, flight);
		cancel_response(dispatch, flight);
	}

	dlist_foreach_modify(iter, &dispatch->fleet->to_send)
	{
		Flight	   *flight = dlist_container(Flight, node, iter.cur);
		int64		hold = hold_until(dispatch, flight);

		if (hold != 0)
		{
			run_hold(&flight->run, hold);
			fleet_place(dispatch->fleet, flight);
			continue;
		}
		blame_begin(flight->run_id);
		PG_TRY();
		{
			send_request(dispatch, flight);
		}
		PG_CATCH();
		{
			fail_by_error(dispatch, flight);
		}
		PG_END_TRY();
		blame_end();
	}
}

/*
 * The flight is over, and what came of it is stored: nothing of it is left here.
 */
void
dispatch_forget(Dispatch *dispatch, Flight *flight)
{
	end_transfer(dispatch, flight);
	cancel_response(dispatch, flight);
	dispatch->new_responses = list_delete_ptr(dispatch->new_responses, flight);
}
