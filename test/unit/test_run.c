/*
 * run.c: the steps of a run, with a clock of our own.
 */
#include "core/portable.h"

#include "core/json.h"
#include "core/run.h"
#include "unit.h"

#define SECOND INT64CONST(1000000)

static pg_prng_state random_state;

static const char good[] =
"{\"status\":\"completed\",\"id\":\"r\",\"output\":[{\"type\":\"message\",\"content\":[{\"text\":\"Hi\"}]}],"
"\"usage\":{\"input_tokens\":1,\"output_tokens\":2,\"total_tokens\":3}}";

/* A run that has just been sent, at second 0, with 60 seconds to live. */
static Run
sent_run(int retries)
{
	Run			run = {0};

	run.run_id = "r1";
	run.model = "m";
	run.provider = &provider_openai_responses;
	run.attempt = 1;
	run.deadline = 60 * SECOND;
	run.retries = retries;
	run.step = STEP_SEND;
	run_add_message(&run, MESSAGE_USER, "Hello");
	run_sent(&run);
	return run;
}

static HttpResult
answer(int status, const char *body)
{
	HttpResult	result = {HTTP_OK, "", status, body, strlen(body), -1, -1, 0.5, 0.75};

	return result;
}

static HttpResult
failure(HttpFailure kind)
{
	HttpResult	result = {kind, "because", 0, "", 0, -1, -1, 0, 0};

	return result;
}

static void
receive(Run *run, HttpResult result, int64 now)
{
	run_answered(run, &result, now, &random_state);
}

/* Whether this result is worth another request. */
static bool
repeated(HttpResult result)
{
	Run			run = sent_run(1);

	receive(&run, result, SECOND);
	return run.step == STEP_BACK_OFF;
}

static void
test_completed(void)
{
	Run			run = sent_run(2);
	char	   *messages;

	check(run.step == STEP_AWAIT);
	receive(&run, answer(200, good), 2 * SECOND);
	check(run.step == STEP_STORE);
	check(run.outcome.status == RUN_COMPLETED);
	check_text(run.outcome.content, "Hi");
	check_text(run_outcome_error_json(&run.outcome), NULL);
	check_text(run_outcome_metrics_json(&run.outcome),
			   "{\"input_tokens\":1,\"output_tokens\":2,\"total_tokens\":3,"
			   "\"cache_read_tokens\":0,\"reasoning_tokens\":0,"
			   "\"time_to_first_token\":0.500000,\"duration\":2.000000}");
	messages = run_messages_json(&run);
	check(json_parse(messages, strlen(messages)) != NULL);
	check(strstr(messages, "\"role\":\"assistant\",\"content\":\"Hi\"") != NULL);
	check(strstr(messages, "\"provider_data\":{\"response_id\":\"r\"}") != NULL);
}

/* More of a streamed answer; whether that is not needed any more. */
static bool
take_piece(Run *run, const char *piece)
{
	HttpResult	result = answer(200, piece);

	return run_received(run, &result);
}

static void
test_pieces(void)
{
	static const char event[] = "data: {\"type\":\"response.output_text.delta\",\"output_index\":0,\"delta\":\"Hi\"}\n\n";
	char	   *start = pnstrdup(event, 20);
	Run			run = sent_run(2);

	/* of events, what has been read is let go, and what comes next is all */
	run.streamed = true;
	run.step = STEP_SEND;
	run_sent(&run);
	check(!take_piece(&run, ": wait\n\n"));
	check(!take_piece(&run, psprintf(": wait\n\n%s", start)));
	check(take_piece(&run, psprintf(": wait\n\n%sdata:", event)));
	check(take_piece(&run, "{\"type\":\"response.output_text.delta\",\"output_index\":0,\"delta\":\"!\"}\n\n"));
	receive(&run, answer(200, "data: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\"output\":[]}}\n\n"), SECOND);
	check(run.outcome.status == RUN_COMPLETED);
	check_text(run.outcome.content, "Hi!");

	/* a server that does not stream: all is kept */
	run.step = STEP_SEND;
	run_sent(&run);
	start = pnstrdup(good, 20);
	check(!take_piece(&run, start));
	receive(&run, answer(200, good), SECOND);
	check_text(run.outcome.content, "Hi");

	/* nothing is left of a stream that does not count */
	run.step = STEP_SEND;
	run_sent(&run);
	check(take_piece(&run, event));
	receive(&run, failure(HTTP_CROWDED), SECOND);
	check(run.step == STEP_BACK_OFF);
	check(run.stream == NULL);
}

static void
test_what_is_repeated(void)
{
	static const int yes[] = {408, 409, 429, 500, 502, 503, 504, 529};
	static const int no[] = {301, 307, 400, 401, 403, 404, 413, 422};
	HttpResult	result;

	for (int i = 0; i < (int) lengthof(yes); i++)
		check(repeated(answer(yes[i], "{}")));
	for (int i = 0; i < (int) lengthof(no); i++)
		check(!repeated(answer(no[i], "{}")));
	check(repeated(failure(HTTP_NO_CONNECTION)));
	check(repeated(failure(HTTP_INTERRUPTED)));
	check(repeated(failure(HTTP_TIMED_OUT)));
	check(repeated(failure(HTTP_CROWDED)));
	check(!repeated(failure(HTTP_TOO_LARGE)));
	check(!repeated(failure(HTTP_REFUSED)));
	check(!repeated(answer(200, "not JSON")));
	check(!repeated(answer(200, "{\"status\":\"failed\"}")));

	/* the server may know better */
	result = answer(400, "{}");
	result.should_retry = 1;
	check(repeated(result));
	result = answer(500, "{}");
	result.should_retry = 0;
	check(!repeated(result));
}

static void
test_pauses(void)
{
	Run			run = sent_run(6);
	static const double longest[] = {0.5, 1, 2, 4, 8, 8};
	int64		now = SECOND;
	HttpResult	asked = answer(429, "{}");

	for (int i = 0; i < (int) lengthof(longest); i++)
	{
		receive(&run, answer(500, "{}"), now);
		check(run.step == STEP_BACK_OFF);
		check(run.wake_at - now <= longest[i] * SECOND);
		check(run.wake_at - now >= 0.75 * longest[i] * SECOND);
		now = run.wake_at;
		run_woken(&run, now);
		check(run.step == STEP_SEND);
		run_sent(&run);
	}
	receive(&run, answer(500, "{\"error\":\"Boom\"}"), now);
	check(run.outcome.status == RUN_ERROR);
	check_text(run.outcome.content, "Boom");
	check_text(run_outcome_error_json(&run.outcome),
			   "{\"type\":\"provider\",\"message\":\"Boom\",\"http_status\":500,\"attempt\":1}");

	/* what the server asks for */
	run = sent_run(1);
	asked.retry_after_ms = 1234;
	receive(&run, asked, SECOND);
	check(run.wake_at == SECOND + 1234000);
	run = sent_run(1);
	asked.retry_after_ms = 0;
	receive(&run, asked, SECOND);
	check(run.wake_at == SECOND);
}

/* A pause that is too long is waited for in the queue. */
static void
test_postponed(void)
{
	Run			run = sent_run(2);
	HttpResult	asked = answer(429, "{}");

	run.deadline = 200 * SECOND;
	asked.retry_after_ms = 121 * 1000;
	receive(&run, asked, SECOND);
	check(run.step == STEP_STORE);
	check(run.outcome.status == RUN_PENDING);
	check(run.postpone_ms == 121 * 1000);
	check(run.retries == 1);

	/* one that is longer than the run may take is not waited for at all */
	run = sent_run(2);
	run.deadline = 200 * SECOND;
	asked.retry_after_ms = INT64CONST(24) * 24 * 3600 * 1000;
	receive(&run, asked, SECOND);
	check(run.step == STEP_STORE);
	check(run.outcome.status == RUN_ERROR);
	check(run.outcome.http_status == 429);

	run = sent_run(2);
	receive(&run, answer(429, "{\"error\":{\"code\":\"insufficient_quota\"}}"), SECOND);
	check(run.outcome.status == RUN_ERROR);
}

static const char queued[] = "{\"status\":\"queued\",\"id\":\"resp_1\"}";

/* What the server works on in the background is asked for until it is done. */
static void
test_background(void)
{
	Run			run = sent_run(2);

	run.background = true;
	receive(&run, answer(200, queued), SECOND);
	check(run.step == STEP_BACK_OFF);
	check(run.wake_at == SECOND + SECOND / 4);
	check_text(run.response_id, "resp_1");
	run_woken(&run, run.wake_at);
	run_sent(&run);
	receive(&run, answer(200, queued), 2 * SECOND);
	check(run.wake_at == 2 * SECOND + SECOND / 2);
	run_woken(&run, run.wake_at);
	run_sent(&run);
	receive(&run, answer(200, good), 3 * SECOND);
	check(run.outcome.status == RUN_COMPLETED);
	check_text(run.response_id, NULL);

	run = sent_run(2);
	receive(&run, answer(200, queued), SECOND);
	check(run.outcome.status == RUN_ERROR);
}

/* The id of a response becomes a part of a URL. */
static void
test_long_id(void)
{
	char		id[257];

	for (int length = 255; length <= 256; length++)
	{
		Run			run = sent_run(2);

		memset(id, 'x', length);
		id[length] = '\0';
		run.background = true;
		receive(&run, answer(200, psprintf("{\"id\":\"%s\",\"status\":\"queued\"}", id)), SECOND);
		check(run.step == (length == 255 ? STEP_BACK_OFF : STEP_STORE));
		check_text(run.response_id, length == 255 ? id : NULL);
		check_text(run.outcome.error_type, length == 255 ? NULL : "invalid_response");
	}
}

static void
test_deadline(void)
{
	Run			run = sent_run(2);
	HttpResult	asked = answer(429, "{}");

	/* a pause ends at the deadline */
	asked.retry_after_ms = 100 * 1000;
	receive(&run, asked, SECOND);
	check(run.wake_at == 60 * SECOND);
	run_woken(&run, run.wake_at);
	check(run.step == STEP_STORE);
	check(run.outcome.status == RUN_ERROR);
	check_text(run.outcome.error_type, "timeout");
	check_text(run.outcome.content, "the run did not end within its timeout of 60.000 s");

	/* a request that has used up all the time */
	run = sent_run(2);
	receive(&run, failure(HTTP_TIMED_OUT), 60 * SECOND);
	check(run.step == STEP_STORE);
	check_text(run.outcome.error_type, "timeout");

	/* an answer that comes at the last moment counts */
	run = sent_run(2);
	receive(&run, answer(200, good), 60 * SECOND);
	check(run.outcome.status == RUN_COMPLETED);
}

static void
test_cancel(void)
{
	Run			run = sent_run(0);

	run_cancelled(&run, SECOND);
	check(run.step == STEP_STORE);
	check(run.outcome.status == RUN_CANCELLED);
	check_text(run.outcome.content, "Run r1 was cancelled");
	check_text(run_outcome_metrics_json(&run.outcome), "{\"duration\":1.000000}");

	/* an answer that is not stored yet is kept */
	run = sent_run(0);
	receive(&run, answer(200, good), SECOND);
	run_cancelled(&run, 2 * SECOND);
	check(run.outcome.status == RUN_CANCELLED);
	check_text(run.outcome.content, "Hi");
	run_cancelled(&run, 3 * SECOND);
	check_text(run.outcome.content, "Hi");
	check(run.outcome.duration == 2);

	/* an error is not */
	run = sent_run(0);
	receive(&run, answer(400, "{\"error\":\"Bad\"}"), SECOND);
	run_cancelled(&run, 2 * SECOND);
	check(run.outcome.status == RUN_CANCELLED);
	check_text(run.outcome.content, "Run r1 was cancelled");
	check_text(run_outcome_error_json(&run.outcome), NULL);
}

static void
test_failures(void)
{
	Run			run;

	run = sent_run(0);
	receive(&run, failure(HTTP_NO_CONNECTION), SECOND);
	check_text(run.outcome.error_type, "connection");
	check_text(run.outcome.content, "could not reach the model server: because");
	run = sent_run(0);
	receive(&run, failure(HTTP_INTERRUPTED), SECOND);
	check_text(run.outcome.content, "the connection to the model server broke: because");
	run = sent_run(0);
	receive(&run, failure(HTTP_TOO_LARGE), SECOND);
	check_text(run.outcome.error_type, "too_large");
	run = sent_run(0);
	receive(&run, answer(302, ""), SECOND);
	check(strstr(run.outcome.content, "redirect") != NULL);
	run = sent_run(0);
	receive(&run, answer(200, "{\"status\":\"incomplete\",\"output\":[{\"type\":\"message\",\"content\":[{\"text\":\"Hal\"}]}]}"), SECOND);
	check(run.outcome.status == RUN_ERROR);
	check_text(run.outcome.error_type, "incomplete");
	check_text(run.outcome.content, "Hal");
	check(run.message_count == 2);

	/* a run that ends without being started */
	run.outcome = run_outcome_failed(0, "configuration", "no such server");
	check_text(run.outcome.content, "no such server");
	check_text(run_outcome_metrics_json(&run.outcome),
			   "{\"duration\":0.000000}");
	check_text(run_outcome_error_json(&run.outcome),
			   "{\"type\":\"configuration\",\"message\":\"no such server\",\"http_status\":null,\"attempt\":0}");
}

/* A call without what its result is to refer to is not sent back as it came. */
static void
test_call_without_call_id(void)
{
	ToolList	none = {0};
	Run			run = sent_run(0);
	const Message *message;

	run.tools = &none;
	receive(&run, answer(200, "{\"status\":\"completed\",\"output\":[{\"type\":\"function_call\","
						 "\"id\":\"fc_1\",\"name\":\"f\",\"arguments\":\"{}\"}]}"), SECOND);
	message = &run.messages[run.message_count - 1];
	check(message->tool_call_count == 1 && message->items == NULL);
	check_text(message->tool_calls[0].call_id, "fc_1");
}

int
main(void)
{
	pg_prng_seed(&random_state, 42);
	test_completed();
	test_pieces();
	test_what_is_repeated();
	test_pauses();
	test_postponed();
	test_background();
	test_long_id();
	test_deadline();
	test_cancel();
	test_failures();
	for (int i = RUN_PENDING; i <= RUN_ERROR; i++)
		check(run_status_parse(run_status_name(i)) == (RunStatus) i);
	test_call_without_call_id();
	return unit_done();
}
