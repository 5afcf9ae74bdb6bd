/*-------------------------------------------------------------------------
 *
 * run.c
 *	  The life of one run within one attempt.
 *
 * Pure: what happens comes in as a call, what is to be done next goes out as
 * Run.step. The runner carries the steps out.
 *
 *				  run_sent			run_answered: whole answer, or failure
 *	   STEP_SEND ──────────▶ STEP_AWAIT ─────────────────────────▶ STEP_STORE
 *		   ▲ ◀──────────────────┤ run_answered: does not fit the schema
 *		   ▲					│ run_answered: worth a repetition	  ▲
 *		   └──────────── STEP_BACK_OFF ───────────────────────────────────┘
 *			  run_woken					run_woken: past the deadline
 *
 * run_cancelled() and run_failed() lead from any step to STEP_STORE, and
 * run_cancelled() even from there: what has not been stored can be cancelled.
 *
 * An answer with calls of tools leads to STEP_STORE as well, with the status
 * RUNNING: it is stored, the tools are called elsewhere, and then a run of the
 * same attempt is put together from all that is stored, and run_resumed(). If
 * somebody is to decide about some of the calls, that leads to STEP_STORE again,
 * with the status PAUSED, and once all is decided, there is another run.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include "core/clock.h"
#include "core/id.h"
#include "core/json.h"
#include "core/run.h"
#include "core/run_internal.h"

/* The first pause before a repetition doubles up to the last, in ms. */
#define FIRST_PAUSE_MS 500
#define LAST_PAUSE_MS 8000

/* The pause when there was nothing to open a connection with. */
#define RESOURCES_PAUSE_US (1000 * US_PER_MS)

/* How often a response in the background is asked for, in ms: up to this. */
#define FIRST_POLL_MS 250
#define LAST_POLL_MS 2000

/*
 * A server that asks for a longer pause than this gets it, but the run does
 * not wait for it here.
 */
#define LONGEST_PAUSE_MS (120 * 1000)

/*
 * Make room for one more message in the conversation.
 */
static Message *
add_message(Run *run)
{
	if (run->message_count == run->message_size)
	{
		int			larger = Max(2, run->message_size * 2);
		Message    *messages = palloc(sizeof(Message) * larger);

		if (run->message_count > 0)
			memcpy(messages, run->messages,
				   sizeof(Message) * run->message_count);
		run->messages = messages;
		run->message_size = larger;
	}
	return &run->messages[run->message_count++];
}

/*
 * Append a message to the conversation, which keeps a pointer to content.
 */
Message *
run_add_message(Run *run, MessageRole role, char *content)
{
	Message    *message = add_message(run);

	message_init(message, role, content);
	return message;
}

/*
 * Which tool is to be called. Who is forced to call one each time never ends.
 */
static const char *
tool_choice(const Run *run)
{
	if (run->tool_choice == NULL || run->turns == 0 ||
		strcmp(run->tool_choice, "none") == 0 ||
		strcmp(run->tool_choice, "auto") == 0)
		return run->tool_choice;
	return NULL;
}

/*
 * Append the body of the next request.
 */
void
run_write_request(const Run *run, StringInfo body)
{
	ModelRequest request = {
		.model = run->model,
		.messages = run->messages,
		.message_count = run->message_count,
		.options = run->options,
		.schema = run->schema,
		.stream = run->streamed,
		.tells_usage = run->tells_usage,
		.tools = run->tools,
		.tool_choice = tool_choice(run),
		.no_more_tools = run->no_more_tools,
	};

	run->provider->write_request(body, &request);
}

/*
 * The request is on its way.
 */
void
run_sent(Run *run)
{
	Assert(run->step == STEP_SEND);
	run->step = STEP_AWAIT;
	if (run->streamed)
	{
		run->stream = model_stream_create(run->provider);
		run->streamed_bytes = 0;
		run->streamed_text = NULL;
	}
}

/*
 * How much there is, in bytes, of a streamed answer that has not been read. There is less
 * of an answer than has been if it has been let go for want of memory.
 */
size_t
run_unread(const Run *run, const HttpResult *result)
{
	if (run->stream == NULL || result->status < 200 || result->status >= 300 ||
		result->body_length < run->streamed_bytes)
		return 0;
	return result->body_length - run->streamed_bytes;
}

/*
 * More of the answer has arrived: as much of it is read as is at once. result->body is all
 * there is of it since this last returned true: then that is not needed any more. A body
 * that has an event in it is no answer as a whole.
 */
bool
run_received(Run *run, const HttpResult *result)
{
	size_t		length = Min(run_unread(run, result), RUN_PIECE_BYTES);

	if (length == 0)
		return false;
	model_stream_feed(run->stream, result->body + run->streamed_bytes, length);
	run->streamed_bytes += length;
	if (!run->stream->has_events || run->streamed_bytes < result->body_length)
		return false;
	run->streamed_bytes = 0;
	return true;
}

/*
 * Whether an answer has been streamed to its end: nothing that comes after that, or
 * befalls the connection, matters.
 */
bool
run_is_told_all(const Run *run)
{
	return run->stream != NULL && run->stream->ended;
}

/*
 * What has arrived of a streamed answer does not count.
 */
static void
drop_stream(Run *run)
{
	if (run->stream != NULL)
		model_stream_free(run->stream);
	run->stream = NULL;
}

/*
 * A server that does not stream answers as if it had not been asked to.
 */
static void
end_stream(Run *run, const HttpResult *result, ModelAnswer *answer)
{
	while (run_unread(run, result) > 0 && !run_received(run, result))
		;
	model_stream_end(run->stream, answer);
	if (answer->outcome == ANSWER_INVALID && !run->stream->has_events)
	{
		ModelAnswer plain;

		run->provider->read_answer(result->body, result->body_length, &plain);
		if (plain.outcome != ANSWER_INVALID)
			*answer = plain;
	}
	run->streamed_text = run->stream->content.data;
	run->stream = NULL;
}

/*
 * What the model has said in all of the run's answers, of which this is the last.
 */
static char *
all_said(const Run *run, char *content)
{
	if (run->earlier == NULL)
		return content;
	return psprintf("%s%s", run->earlier, content != NULL ? content : "");
}

static void
end(Run *run, RunStatus status, int64 now)
{
	run->step = STEP_STORE;
	run->outcome.status = status;
	run->outcome.attempt = run->attempt;
	run->outcome.duration = (now - run->started_at) / 1e6;
}

/*
 * The run ends in ERROR. content keeps what the model said, if it did.
 */
static void
fail(Run *run, const char *type, const char *message, int http_status,
	 int64 now)
{
	end(run, RUN_ERROR, now);
	if (run->stream != NULL && run->stream->content.len > 0)
		run->outcome.content = all_said(run, run->stream->content.data);
	run->stream = NULL;
	run->outcome.error_type = type;
	run->outcome.error_message = message;
	run->outcome.http_status = http_status;
	if (run->outcome.content == NULL || run->outcome.content[0] == '\0')
		run->outcome.content = pstrdup(message);
}

static void
fail_by_deadline(Run *run, int64 now)
{
	fail(run, "timeout",
		 psprintf("the run did not end within its timeout of %.3f s",
				  (run->deadline - run->started_at) / 1e6),
		 0, now);
}

/*
 * The answer does not fit the schema: tell the model, once.
 */
static void
ask_again(Run *run, const char *problem, int64 now)
{
	if (run->corrected)
	{
		fail(run, "output_schema",
			 psprintf("the answer does not fit the output schema: %s", problem),
			 0, now);
		return;
	}
	if (now >= run->deadline)
	{
		fail_by_deadline(run, now);
		return;
	}
	run->corrected = true;
	run->outcome.content = NULL;
	run_add_message(run, MESSAGE_USER,
					psprintf("Your answer does not fit the required JSON schema: %s. "
							 "Answer again, with nothing but JSON that fits the schema.",
							 problem));
	run->step = STEP_SEND;
}

/*
 * The answer has calls: they are to be stored, and then the tools called.
 */
static void
plan_calls(Run *run, Message *message, int64 now)
{
	if (run->no_more_tools)
	{
		fail(run, "tool_call_limit",
			 "the model calls tools though it has been told that it may call none any more",
			 0, now);
		return;
	}
	if (run->calls + message->tool_call_count > MAX_RUN_CALLS)
	{
		fail(run, "tool_call_limit",
			 psprintf("the model calls tools more than %d times",
					  MAX_RUN_CALLS),
			 0, now);
		return;
	}
	message->items_model = run->model;
	run->planned = palloc(sizeof(PlannedCall) * message->tool_call_count);
	for (int i = 0; i < message->tool_call_count; i++)
	{
		ToolCall   *call = &message->tool_calls[i];

		/* Servers that imitate others may have no ids. */
		if (call->id == NULL && call->call_id == NULL)
		{
			char		id[UUID_TEXT_SIZE];

			call->id = psprintf("call_%s", uuid_v7(id) ? id : "");
		}
		if (call->call_id == NULL)
		{
			/* Nothing in it is what the result will refer to. */
			message->items = NULL;
			call->call_id = call->id;
		}
		if (call->id == NULL)
			call->id = call->call_id;
		if (call->name == NULL)
			call->name = pstrdup("");
		if (call->arguments != NULL)
			call->arguments = json_scrub(call->arguments,
										 strlen(call->arguments));
		run_plan_call(run, call, &run->planned[i]);
	}
	run->planned_count = message->tool_call_count;
	end(run, RUN_RUNNING, now);
}

/*
 * A whole answer with a status of 2xx has arrived.
 */
static void
read_answer(Run *run, const HttpResult *result, int64 now)
{
	ModelAnswer answer;
	Message    *message;
	char	   *json;
	char	   *problem;
	int64		pause_ms;

	if (run->stream != NULL)
		end_stream(run, result, &answer);
	else
		run->provider->read_answer(result->body, result->body_length,
								   &answer);
	if (answer.outcome == ANSWER_INVALID)
	{
		fail(run, "invalid_response", answer.error, result->status, now);
		return;
	}
	if (answer.outcome == ANSWER_FAILED)
	{
		run->response_id = NULL;
		fail(run, "provider", answer.error, result->status, now);
		return;
	}
	if (answer.message.tool_call_count > MAX_TOOL_CALLS)
	{
		fail(run, "invalid_response",
			 psprintf("the answer has more than %d calls of tools",
					  MAX_TOOL_CALLS),
			 result->status, now);
		return;
	}

	if (answer.outcome == ANSWER_PENDING &&
		strlen(answer.message.response_id) > MAX_ID)
	{
		fail(run, "invalid_response",
			 psprintf("the id of the response is longer than %d bytes", MAX_ID),
			 result->status, now);
		return;
	}
	if (answer.outcome == ANSWER_PENDING && run->background)
	{
		if (run->response_id == NULL)
			run->response_id = answer.message.response_id;
		else
			pfree(answer.message.response_id);
		pause_ms = FIRST_POLL_MS << Min(run->polls, 10);
		pause_ms = Min(pause_ms, LAST_POLL_MS);
		run->polls++;
		run->wake_at = Min(now + pause_ms * US_PER_MS, run->deadline);
		run->step = STEP_BACK_OFF;
		return;
	}
	if (answer.outcome == ANSWER_PENDING)
	{
		fail(run, "invalid_response",
			 "the model server works in the background without having been asked to",
			 result->status, now);
		return;
	}
	run->response_id = NULL;

	answer.message.duration = result->duration;
	answer.message.time_to_first_token = result->time_to_first_byte;
	if (run->outcome.usage.total == 0)
		run->outcome.time_to_first_token = result->time_to_first_byte;
	token_usage_add(&run->outcome.usage, &answer.message.usage);
	run->outcome.content = all_said(run, answer.message.content);
	if (answer.message.reasoning != NULL)
		run->outcome.reasoning = answer.message.reasoning;
	message = add_message(run);
	*message = answer.message;

	if (answer.outcome == ANSWER_INCOMPLETE)
	{
		fail(run, "incomplete", answer.error, result->status, now);
		return;
	}
	if (message->tool_call_count > 0 && run->tools != NULL)
	{
		plan_calls(run, message, now);
		return;
	}
	if (run->schema != NULL)
	{
		json = schema_answer(run->schema, message->content, &problem);
		if (json == NULL)
		{
			ask_again(run, problem, now);
			return;
		}
		run->outcome.content = json;
		run->outcome.structured = true;
	}
	end(run, RUN_COMPLETED, now);
}

/*
 * Whether the same request may succeed later: as OpenAI's and Anthropic's
 * client libraries decide it.
 */
static bool
worth_repeating(const HttpResult *result)
{
	switch (result->failure)
	{
		case HTTP_NO_CONNECTION:
		case HTTP_INTERRUPTED:
		case HTTP_NOT_SENT:
		case HTTP_TIMED_OUT:
		case HTTP_CROWDED:
			return true;
		case HTTP_NO_RESOURCES:
		case HTTP_TOO_LARGE:
		case HTTP_UNREADABLE:
		case HTTP_REFUSED:
			return false;
		case HTTP_OK:
			break;
	}
	if (result->should_retry >= 0)
		return result->should_retry == 1;
	if (result->status == 429 &&
		provider_quota_is_used_up(result->body, result->body_length))
		return false;
	return result->status == 408 || result->status == 409 ||
		result->status == 429 || result->status >= 500;
}

/*
 * Whether the server asks for a pause that takes longer than the run may. One that
 * would be waited for in the queue is not worth it then.
 */
static bool
asks_too_much(const Run *run, const HttpResult *result, int64 now)
{
	return result->retry_after_ms > LONGEST_PAUSE_MS &&
		result->retry_after_ms >= (run->deadline - now) / US_PER_MS;
}

/*
 * How long to pause before the next repetition, in microseconds: what the
 * server asks for, else 0.5 s doubling to 8 s, less up to a quarter.
 */
static int64
pause_before_repetition(const Run *run, const HttpResult *result,
						pg_prng_state *random)
{
	double		millis;

	if (result->retry_after_ms >= 0)
		return result->retry_after_ms * US_PER_MS;

	millis = FIRST_PAUSE_MS * (double) (1 << Min(run->repetitions, 10));
	millis = Min(millis, LAST_PAUSE_MS);
	millis *= 1.0 - 0.25 * pg_prng_double(random);
	return (int64) (millis * US_PER_MS);
}

/*
 * The run ends in ERROR because of what came of its last request.
 */
static void
fail_by_result(Run *run, const HttpResult *result, int64 now)
{
	const char *reason = result->reason;

	switch (result->failure)
	{
		case HTTP_NO_RESOURCES:
		case HTTP_NO_CONNECTION:
			fail(run, "connection",
				 psprintf("could not reach the model server: %s", reason),
				 0, now);
			break;
		case HTTP_INTERRUPTED:
			fail(run, "connection",
				 psprintf("the connection to the model server broke: %s",
						  reason),
				 result->status, now);
			break;
		case HTTP_NOT_SENT:
		case HTTP_TIMED_OUT:
			fail(run, "timeout",
				 psprintf("the model server did not answer in time: %s",
						  reason),
				 result->status, now);
			break;
		case HTTP_TOO_LARGE:
			fail(run, "too_large",
				 result->long_headers ?
				 "the headers of the answer are longer than 256 kB" :
				 "the answer is longer than agno_bg.max_response_size",
				 result->status, now);
			break;
		case HTTP_CROWDED:
			fail(run, "too_large",
				 "the answers that the runs of this role receive at once take too much memory",
				 result->status, now);
			break;
		case HTTP_UNREADABLE:
			fail(run, "invalid_response",
				 psprintf("the answer of the model server cannot be read: %s",
						  reason),
				 result->status, now);
			break;
		case HTTP_REFUSED:
			fail(run, "connection",
				 psprintf("could not send to the model server: %s", reason),
				 0, now);
			break;
		case HTTP_OK:
			if (result->status >= 300 && result->status < 400)
				fail(run, "provider",
					 psprintf("the model server answers with a redirect (HTTP status %d), which is not followed",
							  result->status),
					 result->status, now);
			else
				fail(run, "provider",
					 provider_error_message(result->status, result->body,
											result->body_length),
					 result->status, now);
			break;
	}
}

/*
 * This came of the request. Strings that are kept are allocated in the
 * current memory context.
 */
void
run_answered(Run *run, const HttpResult *result, int64 now,
			 pg_prng_state *random)
{
	Assert(run->step == STEP_AWAIT);

	if ((result->failure == HTTP_OK || run_is_told_all(run)) &&
		result->status >= 200 && result->status < 300)
	{
		read_answer(run, result, now);
		return;
	}
	if (now >= run->deadline)
	{
		fail_by_deadline(run, now);
		return;
	}
	if (result->failure == HTTP_NO_RESOURCES)
	{
		/* Nothing was asked, so nothing is repeated. */
		drop_stream(run);
		run->step = STEP_SEND;
		run_hold(run, now + RESOURCES_PAUSE_US);
		return;
	}
	if (result->failure == HTTP_NO_CONNECTION && run->patient)
	{
		/* Nothing was sent: the server's runs wait, until it is reached. */
		drop_stream(run);
		end(run, RUN_PENDING, now);
		run->postpone_ms = 0;
		run->outcome.error_type = "connection";
		run->outcome.error_message =
			psprintf("could not reach the model server: %s", result->reason);
		return;
	}
	if (run->retries > 0 && worth_repeating(result) &&
		!asks_too_much(run, result, now))
	{
		drop_stream(run);
		if (result->retry_after_ms > LONGEST_PAUSE_MS)
		{
			end(run, RUN_PENDING, now);
			run->postpone_ms = result->retry_after_ms;
			run->retries--;
			run->repetitions++;
			return;
		}
		run->wake_at = now + pause_before_repetition(run, result, random);
		run->wake_at = Min(run->wake_at, run->deadline);
		run->retries--;
		run->repetitions++;
		run->step = STEP_BACK_OFF;
		return;
	}
	fail_by_result(run, result, now);
}

/*
 * The next request is not to be sent before then, for the server's sake.
 */
void
run_hold(Run *run, int64 until)
{
	Assert(run->step == STEP_SEND);
	run->wake_at = Min(until, run->deadline);
	run->step = STEP_BACK_OFF;
}

/*
 * The next request is not to be sent now: others are to have the place at the server
 * first. The run is to be started again when it is its turn, as what was sent before
 * came to nothing.
 */
void
run_give_way(Run *run, int64 now)
{
	Assert(run->step == STEP_SEND);
	end(run, RUN_PENDING, now);
	run->postpone_ms = 0;
	run->outcome.error_type = NULL;
	run->outcome.error_message = NULL;
}

/*
 * The pause is over.
 */
void
run_woken(Run *run, int64 now)
{
	Assert(run->step == STEP_BACK_OFF);
	if (now >= run->deadline)
		fail_by_deadline(run, now);
	else
		run->step = STEP_SEND;
}

/*
 * The run has been cancelled. What the model has said is kept.
 */
void
run_cancelled(Run *run, int64 now)
{
	bool		answered = run->step == STEP_STORE &&
		(run->outcome.status == RUN_COMPLETED ||
		 run->outcome.status == RUN_RUNNING);

	if (run->step == STEP_STORE && run->outcome.status == RUN_CANCELLED)
		return;
	if (run->stream != NULL && run->stream->content.len > 0)
	{
		run->outcome.content = all_said(run, run->stream->content.data);
		run_add_message(run, MESSAGE_ASSISTANT, run->stream->content.data);
		answered = true;
	}
	else if (!answered && run->earlier != NULL)
	{
		run->outcome.content = run->earlier;
		answered = true;
	}
	run->planned_count = 0;
	run->stream = NULL;
	end(run, RUN_CANCELLED, now);
	run->outcome.error_type = NULL;
	run->outcome.structured &= answered;
	if (!answered || run->outcome.content == NULL || run->outcome.content[0] == '\0')
		run->outcome.content = run_cancelled_text(run->run_id);
}

/*
 * The run ends in ERROR for a reason that lies with us.
 */
void
run_failed(Run *run, const char *type, const char *message, int64 now)
{
	run->outcome.content = NULL;
	run->outcome.structured = false;
	fail(run, type, message, 0, now);
}

/*
 * Some calls wait for decisions.
 */
static void
pause_run(Run *run, int64 now)
{
	const Message *last = &run->waiting[run->waiting_count - 1];

	run->outcome.content = run->earlier != NULL ? run->earlier :
		requirement_pause_text(last->requirement != NULL ?
							   last->requirement->kind : REQUIRES_CONFIRMATION);
	end(run, RUN_PAUSED, now);
}

/*
 * The run goes on with a conversation that has been put together from what was
 * stored of it: turns answers with calls, and the results of the calls.
 */
void
run_resumed(Run *run, int64 now)
{
	StringInfoData said;
	StringInfoData results;
	bool		first = true;
	bool		stop = false;

	initStringInfo(&said);
	initStringInfo(&results);
	for (int i = 0; i < run->message_count; i++)
	{
		Message    *message = &run->messages[i];

		if (message->from_history)
			continue;
		if (message->role == MESSAGE_ASSISTANT)
		{
			if (first)
				run->outcome.time_to_first_token = message->time_to_first_token;
			first = false;
			token_usage_add(&run->outcome.usage, &message->usage);
			if (message->content != NULL)
				appendStringInfoString(&said, message->content);
			if (message->reasoning != NULL)
				run->outcome.reasoning = message->reasoning;
			run->calls += message->tool_call_count;
			stop = false;
			resetStringInfo(&results);
		}
		if (message->role == MESSAGE_TOOL)
			token_usage_add(&run->outcome.usage, &message->child_usage);
		if (message->requirement != NULL &&
			message->requirement->input_schema != NULL)
			run->input_schema_bytes +=
				strlen(message->requirement->input_schema);
		if (message->role == MESSAGE_TOOL && message->stop_after_call &&
			message->executed && !message->tool_call_error)
		{
			stop = true;
			appendStringInfoString(&results, message->content);
		}
	}
	messages_link(run->messages, run->message_count);
	run->earlier_usage = run->outcome.usage;
	run->earlier = said.len > 0 ? said.data : NULL;
	run->earlier_length = said.len;
	run->stored_messages = run->message_count;
	run->no_more_tools = run->calls > run->call_limit;
	if (run->waiting_count > 0 && now < run->deadline)
		pause_run(run, now);
	else if (stop && run->waiting_count == 0)
	{
		run->outcome.content = all_said(run, results.data);
		end(run, RUN_COMPLETED, now);
	}
	else if (now >= run->deadline)
	{
		run->outcome.content = run->earlier;
		fail_by_deadline(run, now);
	}
}
