/*-------------------------------------------------------------------------
 *
 * dispatch.c
 *	  The requests of the runs in flight, on their way and back.
 *
 * Sends what the runs want to send, as far as their model servers may be asked,
 * and hands the answers to the runs, which decide what is next. Outside of any
 * transaction; what goes wrong with a run costs this run and no other.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/clock.h"
#include "core/stopwatch.h"
#include "postmaster/interrupt.h"
#include "runner/dispatch.h"
#include "runner/model_request.h"
#include "server/blame.h"
#include "server/encoding.h"
#include "server/runner_slots.h"
#include "utils/memutils.h"

/* How long no connection must have failed before that is logged again. */
#define STARVED_PAUSE (60 * US_PER_S)

/*
 * How much memory an owner's runs may take that have ended and are not stored yet, in
 * bytes, before the next answer is read.
 */
#define ENDED_BYTES (INT64CONST(64) * 1024 * 1024)

/* How long it may take to tell a server that a response is not wanted. */
#define CANCEL_TIMEOUT (10 * US_PER_S)

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
 * Whether a flight pauses, and leaves its server to others meanwhile. One that works on a
 * response for it is not idle.
 */
static bool
is_to_pause(const Flight *flight)
{
	return flight->run.step == STEP_BACK_OFF &&
		flight->run.response_id == NULL &&
		pacing_leaves(flight->pace, flight->run.wake_at - clock_now());
}

/*
 * The flight asks nothing of its server for a while: others may.
 */
static void
pause_flight(Dispatch *dispatch, Flight *flight)
{
	int64		tokens = flight->run.outcome.usage.total -
		flight->run.earlier_usage.total;

	if (!flight->admitted || flight->pauses)
		return;
	runner_slot_wake_siblings(pacing_pause(dispatch->paces, flight->pace,
										   flight->owner, flight->trying,
										   tokens - flight->tokens_told,
										   clock_now()));
	flight->tokens_told = tokens;
	flight->pauses = true;
	flight->trying = false;
	dispatch->pacing_changed = true;
}

/*
 * The request that *ask has paid for is not sent.
 */
static void
take_unsent_back(Dispatch *dispatch, Flight *flight, Ask *ask)
{
	pacing_note_unsent(dispatch->paces, flight->pace, flight->owner, *ask,
					   clock_now());
	*ask = ASK_NONE;
}

/*
 * It asks nothing any more.
 */
static void
leave_server(Dispatch *dispatch, Flight *flight)
{
	pause_flight(dispatch, flight);
	take_unsent_back(dispatch, flight, &flight->ask);
	if (!flight->admitted)
		return;
	pacing_leave(dispatch->paces, flight->pace, flight->owner, clock_now());
	flight->admitted = false;
	dispatch->pacing_changed = true;
}

/*
 * Put the flight where its step belongs. Call this after every step.
 */
static void
place(Dispatch *dispatch, Flight *flight)
{
	fleet_place(dispatch->fleet, flight);
	if (flight->run.step == STEP_STORE)
		leave_server(dispatch, flight);
	else if (is_to_pause(flight))
		pause_flight(dispatch, flight);
}

/*-------------------------------------------------------------------------
 * Steps
 *-------------------------------------------------------------------------
 */

/*
 * Something that happens to a flight, and may change the step that its run is at.
 */
typedef void (*FlightStep) (Dispatch *dispatch, Flight *flight);

/*
 * Something went wrong with this run that is not its server's fault: it fails, unless
 * it has been cancelled. The message is of the database's encoding.
 */
void
dispatch_fail(Dispatch *dispatch, Flight *flight, const char *type,
			  const char *message)
{
	bool		cancelled = flight->run.step == STEP_STORE &&
		flight->run.outcome.status == RUN_CANCELLED;
	MemoryContext old = MemoryContextSwitchTo(flight->context);

	run_failed(&flight->run, type, pstrdup(encoding_from_server(message)),
			   clock_now());
	if (cancelled)
		run_cancelled(&flight->run, clock_now());
	place(dispatch, flight);
	MemoryContextSwitchTo(old);
}

/*
 * There is too little memory for this run: it fails likewise, and gives back what it has.
 */
void
dispatch_shed(Dispatch *dispatch, Flight *flight, const char *type,
			  const char *message)
{
	MemoryContext old = MemoryContextSwitchTo(flight->context);

	flight_shed(flight);
	dispatch_fail(dispatch, flight, type, message);
	MemoryContextSwitchTo(old);
}

/*
 * Try a step, in the memory of the flight; a crash is blamed on its run. Returns the
 * error that it raises, or NULL.
 */
static ErrorData *
try_step(Dispatch *dispatch, Flight *flight, FlightStep step)
{
	MemoryContext caller = CurrentMemoryContext;
	ErrorData  *volatile error = NULL;

	MemoryContextSwitchTo(flight->work);
	blame_begin(flight->run_id);
	PG_TRY();
	{
		step(dispatch, flight);
		flight_trim(flight);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(dispatch->turn_context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	blame_end();
	MemoryContextSwitchTo(caller);
	return error;
}

/*
 * Take a step: an error fails this run and no other. Then the flight is put where it
 * belongs.
 */
static void
take_step(Dispatch *dispatch, Flight *flight, FlightStep step)
{
	ErrorData  *error = try_step(dispatch, flight, step);

	if (error == NULL)
		place(dispatch, flight);
	else if (error->sqlerrcode == ERRCODE_OUT_OF_MEMORY)
		dispatch_shed(dispatch, flight, "internal", error->message);
	else
		dispatch_fail(dispatch, flight, "internal", error->message);
}

/*
 * Work on a flight, for something that is large, or not. Returns 0, or when to try again
 * if it is not the turn of its owner: he may have had his time since dispatch->turn has
 * become another number, or leave it to others. His time is that of the processor: others
 * may have had it meanwhile.
 */
static int64
work_on(Dispatch *dispatch, Flight *flight, bool large, FlightStep work)
{
	Shares	   *shares = dispatch->fleet->shares;
	Heavies    *heavies = dispatch->heavies;
	Oid			owner = flight->owner;
	Stopwatch	watch = stopwatch_start();
	int64		start = watch.start;
	int64		took;
	int64		next_turn;
	bool		heavy = large || heavies_has(heavies, owner, start);

	if (heavy)
	{
		next_turn = heavies_next_turn(heavies, owner, start);
		if (next_turn != 0)
			return next_turn;
	}
	/* A turn of the heavy is his, or it would be nobody's. */
	else if (!shares_has_time(shares, owner, dispatch->turn))
		return start;
	work(dispatch, flight);
	took = stopwatch_read(&watch);
	shares_spend(shares, owner, took);
	heavies_spend(heavies, owner, took, heavy, large, dispatch->shared,
				  clock_now());
	return 0;
}

/*-------------------------------------------------------------------------
 * Requests
 *-------------------------------------------------------------------------
 */

/*
 * Start a request of a flight that is over at the deadline. Whoever owns it hears of its end.
 */
static HttpTransfer *
start_request(Dispatch *dispatch, Flight *flight, RequestKind kind,
			  int64 deadline, void *owner)
{
	/* libcurl copies what is put together. */
	MemoryContext old = MemoryContextSwitchTo(dispatch->turn_context);
	HttpTransfer *transfer = model_request_start(dispatch->http, flight, kind,
												 deadline, owner);

	MemoryContextSwitchTo(old);
	return transfer;
}

/*
 * Put the conversation together.
 */
static void
begin_step(Dispatch *dispatch, Flight *flight)
{
	flight_begin(flight);
	if (flight->news.events != NIL)
		fleet_has_news(dispatch->fleet, flight);
}

/*
 * Send the next request of a run.
 */
static void
send_step(Dispatch *dispatch, Flight *flight)
{
	RequestKind kind = REQUEST_FETCH;

	if (flight->run.response_id == NULL)
	{
		kind = REQUEST_CREATE;
		/* libcurl needs it, whatever becomes of the run */
		MemoryContextSwitchTo(flight->context);
		initStringInfo(&flight->body);
		MemoryContextSwitchTo(flight->work);
		run_write_request(&flight->run, &flight->body);
	}
	flight->size_sent = flight_size(flight);
	flight->transfer = start_request(dispatch, flight, kind,
									 flight->run.deadline, flight);
	flight->sent_at = clock_now();
	flight->sent_ask = flight->ask;
	flight->ask = ASK_NONE;
	flight->delayed = false;
	run_sent(&flight->run);
}

/*
 * The place for a cancel request of this owner, or NULL: runs that are cancelled have
 * no slot any more, so nobody gets more places than he leaves to others.
 */
static Oid *
place_of_cancel(Dispatch *dispatch, Oid owner)
{
	Oid		   *place = NULL;
	int			own = 0;
	int			left = 0;

	for (int i = 0; i < MAX_CANCELS; i++)
	{
		if (dispatch->cancels[i] == owner)
			own++;
		else if (!OidIsValid(dispatch->cancels[i]))
		{
			place = &dispatch->cancels[i];
			left++;
		}
	}
	return own < left ? place : NULL;
}

/*
 * Whether a transfer is a cancel request: its owner is a place.
 */
static bool
is_cancel(const Dispatch *dispatch, const void *owner)
{
	return (const Oid *) owner >= dispatch->cancels &&
		(const Oid *) owner < dispatch->cancels + MAX_CANCELS;
}

static void
cancel_response_step(Dispatch *dispatch, Flight *flight)
{
	Oid		   *place = place_of_cancel(dispatch, flight->owner);

	if (place == NULL)
		return;
	(void) start_request(dispatch, flight, REQUEST_CANCEL,
						 clock_now() + CANCEL_TIMEOUT, place);
	*place = flight->owner;
}

/*
 * Nobody wants the response any more that the server works on: say so, unless too
 * many servers are being told. What comes of it does not matter, nor that it cannot
 * be sent: that is no error of the run.
 */
static void
cancel_response(Dispatch *dispatch, Flight *flight)
{
	if (flight->run.response_id == NULL ||
		flight->run.outcome.status == RUN_PENDING)
		return;
	(void) try_step(dispatch, flight, cancel_response_step);
	flight->run.response_id = NULL;
}

static void
cancel_step(Dispatch *dispatch, Flight *flight)
{
	flight->cancelled = true;
	if (flight->ready != NULL)
		return;
	run_cancelled(&flight->run, clock_now());
	fleet_put_on(dispatch->fleet, flight);
}

/*
 * The run is cancelled.
 */
void
dispatch_cancel(Dispatch *dispatch, Flight *flight)
{
	take_step(dispatch, flight, cancel_step);
}

/*-------------------------------------------------------------------------
 * Answers
 *-------------------------------------------------------------------------
 */

/*
 * The answer of a streamed run starts anew: subscribers are to know.
 */
static void
restart_step(Dispatch *dispatch, Flight *flight)
{
	flight_restarted(flight);
	if (flight->news.events != NIL)
		fleet_has_news(dispatch->fleet, flight);
}

/*
 * The server works on a response: its id is to be stored as soon as possible.
 */
static void
keep_response_id(Dispatch *dispatch, Flight *flight)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	dispatch->new_responses = lappend(dispatch->new_responses, flight);
	flight->run.response_id = MemoryContextStrdup(flight->context,
												  flight->run.response_id);
	flight->id_stored = true;
	MemoryContextSwitchTo(old);
}

/*
 * The server does not work on the response any more: its id need not be stored.
 */
static void
drop_response_id(Dispatch *dispatch, Flight *flight)
{
	if (flight->id_stored)
		dispatch->new_responses = list_delete_ptr(dispatch->new_responses,
												  flight);
	flight->id_stored = false;
}

/*
 * Whether nobody has tried to reach the server.
 */
static bool
is_untried(const HttpResult *result)
{
	return result->failure == HTTP_NO_RESOURCES ||
		result->failure == HTTP_NOT_SENT || result->untried;
}

/*
 * Whether the server asks to be left alone.
 */
static bool
has_had_too_much(const HttpResult *result)
{
	return result->status == 429 ||
		(result->status >= 500 && result->retry_after_ms >= 0);
}

/*
 * A server that has had too much is left alone: by all runs, where it says for how long. One
 * that answers has not, whatever else it refuses.
 */
static void
heed_server(Dispatch *dispatch, Flight *flight)
{
	const HttpResult *result = http_result(flight->transfer);
	int64		now = clock_now();
	int64		until = 0;

	if (result->retry_after_ms >= 0)
		until = flight->run.step == STEP_BACK_OFF ? flight->run.wake_at :
			now + result->retry_after_ms * US_PER_MS;
	if (has_had_too_much(result))
	{
		pacing_block(dispatch->paces, flight->pace, flight->owner, until, now);
		dispatch->pacing_changed = true;
	}
	else if (result->status >= 200 && result->status < 300)
		pacing_answered(dispatch->paces, flight->pace, flight->owner,
						flight->sent_ask, flight->sent_at, now);
	else if (is_untried(result))
		take_unsent_back(dispatch, flight, &flight->sent_ask);
	flight->sent_ask = ASK_NONE;
}

/*
 * The server of this flight has been reached, if there was doubt: it may take its
 * time to answer, which is no reason for others to wait.
 */
static void
note_sent(Dispatch *dispatch, Flight *flight)
{
	Reach	   *reach = &flight->pace->target->reach;

	if (!http_is_sent(flight->transfer) || !reach_is_lost(reach))
		return;
	reach_succeeded(reach);
	flight->trying = false;
	dispatch->pacing_changed = true;
}

/*
 * Note whether the server could be reached.
 */
static void
note_reach(Dispatch *dispatch, Flight *flight)
{
	const HttpResult *result = http_result(flight->transfer);
	Reach	   *reach = &flight->pace->target->reach;

	/* Who has not tried tells nothing, nor a run whose own time is over. */
	if (is_untried(result))
		return;
	if (result->failure != HTTP_NO_CONNECTION)
		reach_succeeded(reach);
	else if (flight->server.patience_ms > 0)
		reach_failed(reach, flight->trying, result->reason,
					 flight->server.patience_ms, clock_now());
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
 * Let the run decide what to do about the answer to its request.
 */
static void
answer_step(Dispatch *dispatch, Flight *flight)
{
	run_answered(&flight->run, http_result(flight->transfer), clock_now(),
				 &pg_global_prng_state);
}

/*
 * Whether what has been read of answers to this owner is to be stored before more is.
 */
static bool
has_read_much(Dispatch *dispatch, Oid owner)
{
	return http_kept(dispatch->http, owner) >= ENDED_BYTES;
}

/*
 * A piece of a streamed answer has arrived: as much of it is read as is at once.
 */
static void
piece_step(Dispatch *dispatch, Flight *flight)
{
	if (run_received(&flight->run, http_result(flight->transfer)))
	{
		http_let_go(flight->transfer);
		http_charge(flight->transfer,
					Max(flight_size(flight) - flight->size_sent, 0));
	}
	if (run_is_told_all(&flight->run))
		http_end_soon(flight->transfer);
	fleet_has_news(dispatch->fleet, flight);
}

/*
 * How much has arrived of a streamed answer that has not been read.
 */
static size_t
unread(Flight *flight)
{
	return flight->run.step == STEP_AWAIT ?
		run_unread(&flight->run, http_result(flight->transfer)) : 0;
}

/*
 * The request of a flight has ended. An answer is not read while those of its owner
 * take much memory that have been, and are not stored yet.
 */
static void
receive_answer(Dispatch *dispatch, Flight *flight)
{
	const HttpResult *result = http_result(flight->transfer);
	bool		error = result->status < 200 || result->status >= 300;

	/* A piece of it may have failed the run. */
	if (flight->run.step != STEP_AWAIT)
		return;
	if (!error && has_read_much(dispatch, flight->owner))
	{
		fleet_leave_unread(dispatch->fleet, flight);
		return;
	}
	/* Others may have their turn before the rest. */
	if (unread(flight) > 0)
		take_step(dispatch, flight, piece_step);
	if (flight->run.step != STEP_AWAIT)
		return;
	if (unread(flight) > 0)
	{
		http_return_done(dispatch->http, flight->transfer, 0);
		return;
	}
	/* What is streamed has been read in part. */
	if (flight->secret != NULL && (error || !flight->run.streamed))
		http_hide(flight->transfer, flight->secret);
	note_resources(dispatch, result);
	note_reach(dispatch, flight);
	take_step(dispatch, flight, answer_step);
	heed_server(dispatch, flight);
	end_transfer(dispatch, flight);
	if (flight->run.step == STEP_SEND)
		flight->ask = pacing_note_request(dispatch->paces, flight->pace,
										  flight->owner, clock_now());
	/* After an answer that does not fit, there is another response. */
	if (flight->run.response_id == NULL)
		drop_response_id(dispatch, flight);
	else if (!flight->id_stored)
		keep_response_id(dispatch, flight);
	if (flight->run.streamed && flight->run.step != STEP_STORE)
		take_step(dispatch, flight, restart_step);
}

/*
 * More of an answer has arrived, or the request has been sent.
 */
static void
receive_piece(Dispatch *dispatch, Flight *flight)
{
	note_sent(dispatch, flight);
	if (flight->run.streamed && flight->run.step == STEP_AWAIT)
		take_step(dispatch, flight, piece_step);
	if (unread(flight) > 0)
		http_return_fresh(dispatch->http, flight->transfer, 0);
}

/*
 * Whether what has arrived for a flight may take long to be read, as far as its length
 * says.
 */
static bool
has_much_to_read(const Flight *flight)
{
	return http_result(flight->transfer)->body_length > RUN_PIECE_BYTES;
}

/*
 * Advance the transfers, and hand to the runs what has arrived. An answer may take a
 * second to be read: an owner of many has the others wait for one, not for all. What
 * is left over has its turn next, without a pause, and a stop does not wait for it.
 */
void
dispatch_advance(Dispatch *dispatch)
{
	HttpTransfer *transfer;

	heavies_begin_round(dispatch->heavies, clock_now());
	http_advance(dispatch->http);
	dispatch->turn++;
	while (!ShutdownRequestPending &&
		   (transfer = http_next_fresh(dispatch->http)) != NULL)
	{
		Flight	   *flight = http_owner(transfer);
		int64		next_turn = work_on(dispatch, flight,
										has_much_to_read(flight),
										receive_piece);

		if (next_turn != 0)
			http_return_fresh(dispatch->http, transfer, next_turn);
	}
	/* Whose pieces are left over is left with his answers, too. */
	while (!ShutdownRequestPending &&
		   (transfer = http_next_done(dispatch->http)) != NULL)
	{
		Flight	   *flight = http_owner(transfer);
		int64		next_turn;

		if (is_cancel(dispatch, flight))
		{
			*(Oid *) http_owner(transfer) = InvalidOid;
			http_release(dispatch->http, transfer);
			continue;
		}
		next_turn = work_on(dispatch, flight, has_much_to_read(flight),
							receive_answer);
		if (next_turn != 0)
			http_return_done(dispatch->http, transfer, next_turn);
	}
}

static void
wake_step(Dispatch *dispatch, Flight *flight)
{
	run_woken(&flight->run, clock_now());
}

/*
 * Wake the runs that have backed off for long enough.
 */
void
dispatch_wake(Dispatch *dispatch)
{
	int64		now = clock_now();
	Flight	   *flight;

	while ((flight = fleet_first_to_wake(dispatch->fleet)) != NULL &&
		   flight->run.wake_at <= now)
		take_step(dispatch, flight, wake_step);
}

/*-------------------------------------------------------------------------
 * Sending
 *-------------------------------------------------------------------------
 */

/*
 * Whether there is something of an answer already to what a flight has asked: it would be
 * lost if the run were started again.
 */
static bool
has_part(const Flight *flight)
{
	return flight->run.response_id != NULL || flight->run.corrected;
}

/*
 * Whether a request that is to be sent must wait for its server: if there is a part of an
 * answer to it already, for once, as it would not come to ask while others are told to
 * wait again and again. Else the run is to wait with those that are parked, in turn.
 */
static bool
has_to_wait(Dispatch *dispatch, Flight *flight)
{
	bool		is_to_pay = flight->admitted && !flight->pauses &&
		flight->ask == ASK_NONE && !has_part(flight);

	return !flight->delayed &&
		!pacing_may_ask(dispatch->paces, flight->pace, flight->owner,
						clock_now(), is_to_pay ? &flight->ask : NULL);
}

static void
delay_step(Dispatch *dispatch, Flight *flight)
{
	int64		until = pacing_closed_until(dispatch->paces, flight->pace,
											flight->owner);

	/* Not all at once then. */
	run_hold(&flight->run, until +
			 (int64) (pg_prng_double(&pg_global_prng_state) * US_PER_S / 5));
	flight->delayed = true;
}

/*
 * There is no room for the next request: see again soon.
 */
static void
wait_step(Dispatch *dispatch, Flight *flight)
{
	run_hold(&flight->run, clock_now() +
			 (int64) ((1 + pg_prng_double(&pg_global_prng_state)) * US_PER_S / 10));
}

static void
give_way_step(Dispatch *dispatch, Flight *flight)
{
	run_give_way(&flight->run, clock_now());
}

/*
 * Whether the flight has a place at its server, or gets one.
 */
static bool
has_place(Dispatch *dispatch, Flight *flight)
{
	int64	   *seen = has_part(flight) ? &flight->starts_seen : NULL;

	if (flight->pauses)
	{
		take_unsent_back(dispatch, flight, &flight->ask);
		flight->pauses = !pacing_come_back(dispatch->paces, flight->pace,
										   flight->owner, seen, clock_now(),
										   &flight->ask);
	}
	return flight->admitted && !flight->pauses;
}

/*
 * Begin a run that has not begun, and send its request, or have it wait for its
 * server.
 */
static void
begin_and_send(Dispatch *dispatch, Flight *flight)
{
	if (flight->ready != NULL)
		take_step(dispatch, flight, begin_step);
	if (flight->run.step != STEP_SEND)
		return;
	if (has_to_wait(dispatch, flight))
		take_step(dispatch, flight, has_part(flight) ? delay_step : give_way_step);
	else if (has_place(dispatch, flight))
		take_step(dispatch, flight, send_step);
	else
		take_step(dispatch, flight, has_part(flight) ? wait_step : give_way_step);
}

/*
 * Answers that have been left unread are to be read, if their owners' have been stored.
 */
static void
take_up_unread(Dispatch *dispatch)
{
	Fleet	   *fleet = dispatch->fleet;
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &fleet->unread)
	{
		Flight	   *flight = dlist_container(Flight, node, iter.cur);

		if (has_read_much(dispatch, flight->owner))
			continue;
		fleet_place(fleet, flight);
		http_return_done(dispatch->http, flight->transfer, 0);
	}
}

/*
 * Those whose owners have left the time to others are to be sent, in their order.
 */
static void
take_up_held(Dispatch *dispatch)
{
	Fleet	   *fleet = dispatch->fleet;

	if (dispatch->held_until > clock_now())
		return;
	dispatch->held_until = NEVER;
	while (!dlist_is_empty(&fleet->held))
	{
		dlist_node *last = dlist_tail_node(&fleet->held);

		dlist_delete(last);
		dlist_push_head(&fleet->to_send, last);
	}
}

/*
 * Send what is to be sent, and abort what has been cancelled. A run may take a second
 * to begin, or to be sent: those of an owner that are left over keep their order, and
 * have their turn next, or when he has left others the time.
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
	take_up_unread(dispatch);
	take_up_held(dispatch);

	dispatch->turn++;
	dlist_foreach_modify(iter, &dispatch->fleet->to_send)
	{
		Flight	   *flight = dlist_container(Flight, node, iter.cur);
		int64		next_turn;

		if (ShutdownRequestPending)
			break;
		next_turn = work_on(dispatch, flight, flight->bytes > RUN_PIECE_BYTES,
							begin_and_send);
		if (next_turn <= clock_now())
			continue;
		dlist_delete(&flight->node);
		dlist_push_tail(&dispatch->fleet->held, &flight->node);
		dispatch->held_until = Min(dispatch->held_until, next_turn);
	}
}

/*
 * When to send next: NEVER if nothing is to be sent.
 */
int64
dispatch_next_send(const Dispatch *dispatch)
{
	if (!dlist_is_empty(&dispatch->fleet->to_send))
		return 0;
	return dlist_is_empty(&dispatch->fleet->held) ? NEVER : dispatch->held_until;
}

/*
 * The flight is over, and what came of it is stored: nothing of it is left here.
 */
void
dispatch_forget(Dispatch *dispatch, Flight *flight)
{
	end_transfer(dispatch, flight);
	cancel_response(dispatch, flight);
	leave_server(dispatch, flight);
	drop_response_id(dispatch, flight);
}
