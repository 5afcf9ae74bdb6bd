/*-------------------------------------------------------------------------
 *
 * flight.c
 *	  One run in flight: made of what the store read, back into what it stores.
 *
 * The whole conversation is put together here, before the first request.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "core/clock.h"
#include "core/json.h"
#include "core/prompt.h"
#include "core/usage.h"
#include "runner/conversation.h"
#include "runner/ended_run.h"
#include "runner/fleet.h"
#include "runner/flight.h"
#include "server/encoding.h"
#include "server/settings.h"
#include "server/time_zone.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"


/* What is shown in place of a key. */
#define HIDDEN "***"

/*
 * A key that is shorter, or a number of no more characters, may be said by
 * chance: times are such numbers.
 */
#define LEAST_SECRET 6
#define LONGEST_NUMBER 17

/* content of a streamed run is stored when it has grown by this part. */
#define CONTENT_GROWTH 8

/* An answer that goes on is told of in pieces of so many bytes at most. */
#define LARGEST_PIECE ((size_t) 256 * 1024)

static char *
copy_or_null(const char *string)
{
	return string != NULL ? pstrdup(string) : NULL;
}

/*
 * The current time as Python's str(datetime.now(tz)) prints it: of the server's
 * time zone and without an offset when there is no identifier, or none that is
 * known any more.
 */
static char *
python_now(const char *timezone_identifier)
{
	pg_tz	   *zone = NULL;
	struct pg_tm tm;
	fsec_t		fraction;
	int			offset;			/* seconds west of Greenwich */
	StringInfoData out;

	if (timezone_identifier != NULL)
		zone = time_zone_find(timezone_identifier);
	if (timestamp2tm(GetCurrentTimestamp(), &offset, &tm, &fraction, NULL,
					 zone != NULL ? zone : session_timezone) != 0)
		elog(ERROR, "the current time is out of range");

	initStringInfo(&out);
	appendStringInfo(&out, "%04d-%02d-%02d %02d:%02d:%02d", tm.tm_year,
					 tm.tm_mon, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
	if (fraction != 0)
		appendStringInfo(&out, ".%06d", (int) fraction);
	if (zone != NULL)
	{
		appendStringInfo(&out, "%c%02d:%02d", offset > 0 ? '-' : '+',
						 abs(offset) / SECS_PER_HOUR,
						 abs(offset) % SECS_PER_HOUR / SECS_PER_MINUTE);
	}
	return out.data;
}

/*
 * The conversation up to the first request.
 */
static void
begin_conversation(Flight *flight, const ReadyRun *ready, const Agent *agent)
{
	Run		   *run = &flight->run;
	PromptContext context = {
		.max_length = (size_t) agno_max_input_size * 1024,
		.agent = agent,
		.run_id = run->run_id,
		.session_id = flight->session_utf8,
		.user_id = ready->user_id,
		.session_state = ready->session_state,
		.metadata = ready->metadata,
		.structured = run->schema != NULL,
		.model_text = run->tools != NULL ? run->provider->tools_text : NULL,
	};
	char	   *system_message;

	if (agent != NULL && agent->add_datetime_to_context)
		context.now = python_now(agent->timezone_identifier);

	system_message = prompt_system_message(&context);
	if (system_message != NULL)
		run_add_message(run, MESSAGE_SYSTEM, system_message);
	conversation_add_history(run, ready);
	run_add_message(run, MESSAGE_USER,
					prompt_user_message(&context, ready->input));
	if (context.too_long)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("the prompt with its variables replaced is longer than agno_bg.max_input_size")));
}

static OutputSchema *
read_schema(const char *json)
{
	OutputSchema *schema = palloc0(sizeof(OutputSchema));
	char	   *problem = schema_read(json, schema);

	/* It was accepted when the run was enqueued. */
	if (problem != NULL)
		elog(ERROR, "invalid output_schema: %s", problem);
	return schema;
}

/*
 * Whether the options have "background": true.
 */
static bool
asks_for_background(const char *options)
{
	JsonMember	member;

	return json_find_member(options, "background", &member) &&
		strncmp(member.value, "true", 4) == 0;
}

/*
 * Whether this key is one that nobody would say by chance. Local servers are
 * given any word for a key, or a number.
 */
static bool
is_secret(const char *key)
{
	size_t		length = strlen(key);
	bool		word = true;
	bool		number = true;

	for (const char *at = key; *at != '\0'; at++)
	{
		word &= isalpha((unsigned char) *at) != 0;
		number &= isdigit((unsigned char) *at) ||
			strchr("+-.eE", *at) != NULL;
	}
	return length >= LEAST_SECRET && !word &&
		(!number || length > LONGEST_NUMBER);
}

/*
 * From now on, nothing that has this key in it is stored.
 */
static void
hide_key(Flight *flight, char *key)
{
	StringInfoData out;

	flight->secret = key;
	initStringInfo(&out);
	json_append_string(&out, key);
	if (strlen(key) + 2 < (size_t) out.len)
		flight->escaped_secret = pnstrdup(out.data + 1, out.len - 2);
}

/*
 * A flight of a run that is to be started now, in memory of its own below the
 * current context. conversation is what is known of its answers, or NULL.
 */
Flight *
flight_create(const ReadyRun *ready, const ModelServer *server, Pace *pace,
			  Conversation *conversation)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "agno_bg run",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Flight	   *flight = palloc0(sizeof(Flight));
	Run		   *run = &flight->run;
	int64		timeout_ms = ready->timeout_ms >= 0 ?
		ready->timeout_ms : agno_run_timeout;

	flight->context = context;
	flight->work = AllocSetContextCreate(context, "agno_bg run's work",
										 ALLOCSET_SMALL_SIZES);
	flight->run_id = pstrdup(ready->run_id);
	flight->session_id = pstrdup(ready->session_id);
	flight->session_utf8 = pstrdup(encoding_from_server(ready->session_id));
	flight->agent_id = copy_or_null(ready->agent_id);
	flight->news.begun = ready->has_events;
	flight->pace = pace;
	flight->bytes = ready->bytes;
	MemoryContextSetParent(ready->context, flight->work);
	flight->ready = ready;
	flight->conversation = conversation;
	if (conversation != NULL)
		MemoryContextSetParent(conversation->context, flight->work);
	flight->server_name = pstrdup(encoding_from_server(ready->model_server));
	flight->session_state = copy_or_null(ready->session_state);
	flight->session_metrics = copy_or_null(ready->session_metrics);
	flight->owner = ready->owner;
	flight->server = *server;
	flight->server.base_url = pstrdup(server->base_url);
	flight->server.key = copy_or_null(server->key);
	if (server->key != NULL && is_secret(server->key))
		hide_key(flight, flight->server.key);
	flight->server.organization = copy_or_null(server->organization);
	flight->server.project = copy_or_null(server->project);
	flight->server.ca_file = copy_or_null(server->ca_file);

	run->run_id = encoding_from_server(flight->run_id);
	run->model = pstrdup(ready->model);
	run->options = copy_or_null(ready->options);
	run->provider = server->provider;
	run->background = server->provider->background &&
		asks_for_background(run->options);
	run->streamed = ready->stream && !run->background;
	run->response_id = run->background ? copy_or_null(ready->response_id) : NULL;
	flight->id_stored = run->response_id != NULL;
	flight->continues = ready->picked->continues;
	flight->calls_back = ready->calls_back;
	run->attempt = ready->attempt + (flight->continues ? 0 : 1);
	run->started_at = clock_now();
	if (flight->continues)
		run->started_at -= ready->elapsed_ms * US_PER_MS;
	run->deadline = run->started_at + timeout_ms * US_PER_MS;
	run->retries = ready->retries >= 0 ? ready->retries : server->retries;
	run->repetitions = flight->earlier_repetitions = ready->repetitions;
	run->patient = server->patience_ms > 0;
	run->step = STEP_SEND;
	MemoryContextSwitchTo(old);
	return flight;
}

/*
 * What a flight takes in memory, in bytes: some multiple of what is to be stored of
 * it.
 */
int64
flight_size(const Flight *flight)
{
	return (int64) MemoryContextMemAllocated(flight->context, true);
}

/*
 * Each run of a session may add to its state: what has become too long is not
 * kept, or the state would grow without end.
 */
static void
check_session_state(Flight *flight)
{
	const char *state = flight->session_state;

	if (state == NULL || strlen(state) <= (size_t) agno_max_input_size * 1024)
		return;
	flight->session_state = NULL;
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("the session state, with what the run adds to it, is longer than agno_bg.max_input_size")));
}

/*
 * Put the conversation together, once the start of the run is committed, of what the
 * store has read, which is gone then. In flight->work. Errors are this run's fault.
 */
void
flight_begin(Flight *flight)
{
	const ReadyRun *ready = flight->ready;
	Run		   *run = &flight->run;
	Agent	   *agent = ready->agent ? agent_read(ready->agent) : NULL;

	flight->ready = NULL;
	check_session_state(flight);
	if (agent != NULL && agent->name != NULL)
		flight->agent_name = MemoryContextStrdup(flight->context, agent->name);
	if (run->streamed && !flight->continues)
		flight_started(flight);
	run->schema = ready->schema != NULL ? read_schema(ready->schema) : NULL;
	if (ready->tools != NULL)
	{
		ToolList   *tools = palloc(sizeof(ToolList));

		tools_read(ready->tools, tools);
		if (run->provider->fit_tools != NULL)
			run->provider->fit_tools(tools);
		run->tools = tools;
		run->tool_choice = copy_or_null(ready->tool_choice);
		run->call_limit = ready->tool_call_limit >= 0 ?
			ready->tool_call_limit : agno_tool_call_limit;
	}
	if (ready->steps != NIL)
	{
		if (flight->conversation == NULL)
			flight->conversation = conversation_create(flight->run_id);
		conversation_resume(run, ready->steps, flight->conversation);
	}
	else
		begin_conversation(flight, ready, agent);
	if (flight->cancelled)
		run_cancelled(run, clock_now());
	MemoryContextDelete(ready->context);
}

/*
 * The text without the secret; the text itself where there is nothing to hide,
 * NULL for NULL.
 */
static char *
cut_out(const char *text, const char *secret)
{
	const char *found = text != NULL && secret != NULL ?
		strstr(text, secret) : NULL;
	StringInfoData out;

	if (found == NULL)
		return unconstify(char *, text);
	initStringInfo(&out);
	for (; found != NULL; found = strstr(text, secret))
	{
		appendBinaryStringInfo(&out, text, found - text);
		appendStringInfoString(&out, HIDDEN);
		text = found + strlen(secret);
	}
	appendStringInfoString(&out, text);
	return out.data;
}

/*
 * The text without the key of the flight's server, which may have repeated it:
 * others than the owner of the key may see what is stored.
 */
char *
flight_clean(const Flight *flight, const char *text)
{
	return cut_out(cut_out(text, flight->secret), flight->escaped_secret);
}

/*
 * The text without the beginning of the secret at its end, or before the dots that
 * say that the text has been cut; the text itself where there is nothing to hide. A
 * few characters do not matter, and may be there by chance.
 */
static const char *
cut_off(const char *text, const char *secret)
{
	size_t		end = text != NULL ? strlen(text) : 0;
	size_t		part = secret != NULL ? strlen(secret) - 1 : 0;
	bool		dots = end >= 3 && strcmp(text + end - 3, "...") == 0;

	if (dots)
		end -= 3;
	for (part = Min(part, end); part >= LEAST_SECRET; part--)
	{
		if (memcmp(text + end - part, secret, part) == 0)
			return psprintf("%.*s%s", (int) (end - part), text,
							dots ? "..." : HIDDEN);
	}
	return text;
}

static char *
trim(const Flight *flight, const char *text)
{
	return unconstify(char *, cut_off(cut_off(text, flight->secret),
									  flight->escaped_secret));
}

/*
 * What a run that has ended badly has of an answer, and the text of an error, which
 * is cut when it is long, may end within the key: flight_clean() would not know
 * what there is of it. In the memory context of the flight.
 */
void
flight_trim(Flight *flight)
{
	Run		   *run = &flight->run;
	RunOutcome *outcome = &run->outcome;
	Message    *last = run->message_count > 0 ?
		&run->messages[run->message_count - 1] : NULL;

	if (flight->secret == NULL || run->step != STEP_STORE ||
		(outcome->status != RUN_ERROR && outcome->status != RUN_CANCELLED))
		return;
	outcome->content = trim(flight, outcome->content);
	outcome->reasoning = trim(flight, outcome->reasoning);
	outcome->error_message = trim(flight, outcome->error_message);
	if (last != NULL && last->role == MESSAGE_ASSISTANT)
		last->content = trim(flight, last->content);
}

/*
 * How much of this much of an answer that goes on may be shown: not its end if that
 * may become the key, or is a part of a character.
 */
static size_t
presentable_length(const Flight *flight, const char *answer, size_t length)
{
	size_t		part = flight->secret != NULL ? strlen(flight->secret) - 1 : 0;

	while (length > 0 && ((unsigned char) answer[length] & 0xc0) == 0x80)
		length--;
	for (part = Min(part, length); part > 0; part--)
	{
		if (memcmp(answer + length - part, flight->secret, part) == 0)
			return length - part;
	}
	return length;
}

/*
 * How much of an answer, of which so much has been shown, is to be shown next; *more:
 * there is more of it.
 */
static size_t
next_length(const Flight *flight, const char *answer, size_t shown, bool *more)
{
	size_t		length = strlen(answer);
	size_t		most = shown + LARGEST_PIECE;

	*more = flight->run.step != STEP_STORE && length > most;
	if (flight->run.step == STEP_STORE)
		return length;
	return presentable_length(flight, answer, Min(length, most));
}

/*
 * Whether content is to be stored when so much of the answer has been shown: all of it
 * is stored each time, so it must have grown by a fraction. What is written in all is
 * no more than a multiple of the answer.
 */
static bool
content_has_grown(const Flight *flight, size_t length)
{
	size_t		earlier = flight->run.earlier_length;
	size_t		shown = earlier + flight->news.content_shown;

	return earlier + length > shown + shown / CONTENT_GROWTH;
}

/*
 * How much is to be stored next of the answer of a streamed flight that goes on, as
 * a piece and as content, in bytes.
 */
int64
flight_news_size(const Flight *flight)
{
	const ModelStream *stream = flight->run.stream;
	size_t		length = stream != NULL ? stream->content.len : 0;
	size_t		piece = length > flight->news.shown ?
		length - flight->news.shown : 0;

	if (piece > LARGEST_PIECE)
		return LARGEST_PIECE;
	return piece + (content_has_grown(flight, length) ?
					flight->run.earlier_length + length : 0);
}

/*
 * Let go of all that the run was given and has said, for lack of memory. It is to end
 * with no more than an error then.
 */
void
flight_shed(Flight *flight)
{
	Run		   *run = &flight->run;

	run->messages = NULL;
	run->message_count = 0;
	run->message_size = 0;
	run->stored_messages = 0;
	run->stream = NULL;
	run->streamed_text = NULL;
	run->planned = NULL;
	run->planned_count = 0;
	run->waiting = NULL;
	run->waiting_count = 0;
	run->earlier = NULL;
	run->earlier_length = 0;
	run->tools = NULL;
	run->tool_choice = NULL;
	run->schema = NULL;
	run->outcome.content = NULL;
	run->outcome.reasoning = NULL;
	if (!flight->id_stored)
		run->response_id = NULL;
	flight->news.events = NIL;
	flight->ready = NULL;
	flight->conversation = NULL;
	MemoryContextReset(flight->work);
}

/*
 * What came of the run cannot be stored, and not even as an error: leave nothing
 * but that, so that it comes to an end.
 */
void
flight_strip(Flight *flight)
{
	Run		   *run = &flight->run;
	MemoryContext old = MemoryContextSwitchTo(flight->context);

	flight_shed(flight);
	run->outcome = run->outcome.status == RUN_CANCELLED ?
		run_outcome_cancelled(run->attempt, run->run_id) :
		run_outcome_failed(run->attempt, "storage",
						   "what came of the run could not be stored");
	flight->stripped = true;
	flight->session_state = NULL;
	flight->secret = NULL;
	flight->escaped_secret = NULL;
	MemoryContextSwitchTo(old);
}

/*
 * What is to be stored of a flight, with what it leaves to its session.
 */
void
flight_fill_ended(const Flight *flight, EndedRun *ended)
{
	const Run  *run = &flight->run;
	const TokenUsage *usage = &run->outcome.usage;

	ended_run_fill_run(ended, run, flight->run_id, flight->session_id);
	ended->owner = flight->owner;
	ended->calls_back = flight->calls_back;
	ended->leaves_nothing = flight->stripped;
	ended->content = flight_clean(flight, ended->content);
	ended->reasoning = flight_clean(flight, ended->reasoning);
	ended->messages = flight_clean(flight, ended->messages);
	ended->error = flight_clean(flight, ended->error);
	ended->tools = flight_clean(flight, ended->tools);
	ended->requirements = flight_clean(flight, ended->requirements);
	ended->postpone_ms = run->postpone_ms;
	ended->retries = run->retries;
	ended->repetitions = run->repetitions;
	if (run->outcome.status == RUN_PENDING ||
		run->outcome.status == RUN_PAUSED)
		return;
	ended->session_state = flight->session_state;
	if (!token_usage_is_zero(usage))
		ended->session_metrics = session_usage_add(flight->session_metrics,
												   run->model,
												   flight->server_name,
												   usage);
}

/*
 * What a call of this tool requires.
 */
static void
fill_requirement(NewCall *call, const Tool *tool)
{
	call->requires = tool->requires;
	call->preview = tool->preview;
	call->approver = tool->approver;
	call->expires_ms = tool->expires_ms;
	call->input_schema = tool->input_schema;
	call->fingerprint = tool->fingerprint;
}

/*
 * What is to be stored of a flight whose tools are to be called.
 */
void
flight_fill_step(const Flight *flight, NewStep *step)
{
	const Run  *run = &flight->run;

	memset(step, 0, sizeof(NewStep));
	step->run_id = unconstify(char *, flight->run_id);
	step->session_id = unconstify(char *, flight->session_id);
	step->owner = flight->owner;
	step->attempt = run->attempt;
	step->turn = run->turns + 1;
	step->messages = flight_clean(flight, run_step_json(run));
	step->left_ms = (run->deadline - clock_now()) / US_PER_MS;
	step->request_kept = run->background || flight->earlier_repetitions > 0;
	step->call_count = run->planned_count;
	step->calls = palloc0(sizeof(NewCall) * Max(run->planned_count, 1));
	for (int i = 0; i < run->planned_count; i++)
	{
		const PlannedCall *planned = &run->planned[i];
		NewCall    *call = &step->calls[i];

		call->model_call_id = flight_clean(flight, planned->call->id);
		call->tool = flight_clean(flight, planned->call->name);
		call->arguments = flight_clean(flight, planned->arguments);
		call->refusal = flight_clean(flight, planned->refusal);
		if (planned->tool != NULL)
			fill_requirement(call, planned->tool);
		step->has_work |= call->refusal == NULL &&
			(call->requires == REQUIRES_NOTHING || call->preview);
	}
}

/*-------------------------------------------------------------------------
 * Events
 *-------------------------------------------------------------------------
 */

static RunEventSource
event_source(const Flight *flight)
{
	RunEventSource source = {
		.run_id = flight->run.run_id,
		.session_id = flight->session_utf8,
		.agent_id = flight->agent_id,
		.agent_name = flight->agent_name,
		.model = flight->run.model,
		.model_provider = flight->server_name,
	};

	return source;
}

static void
add_event(Flight *flight, RunEvent event)
{
	RunEvent   *copy = palloc(sizeof(RunEvent));

	*copy = event;
	flight->news.events = lappend(flight->news.events, copy);
}

/*
 * Tell of the start, or that what an earlier attempt showed does not count. In
 * the memory context of the flight.
 */
void
flight_started(Flight *flight)
{
	RunEventSource source = event_source(flight);

	add_event(flight, flight->news.begun ?
			  run_event_retried(&source, flight->run.attempt) :
			  run_event_started(&source));
}

/*
 * The answer starts anew within the attempt. In the memory context of the
 * flight.
 */
void
flight_restarted(Flight *flight)
{
	RunEventSource source = event_source(flight);

	if (flight->news.shown > 0)
		add_event(flight, run_event_retried(&source, flight->run.attempt));
	flight->news.shown = 0;
}

/*
 * How many rows flight_event_rows() fills at most.
 */
int
flight_count_events(const Flight *flight)
{
	return list_length(flight->news.events) + 2 + RUN_EVENT_MAX_END +
		flight->run.planned_count;
}

/*
 * The answer as far as it is known, or NULL: that of a run which ended badly
 * is no answer.
 */
static const char *
known_answer(const Run *run)
{
	if (run->stream != NULL)
		return run->stream->content.data;
	if (run->step != STEP_STORE || run->outcome.status == RUN_ERROR ||
		(run->outcome.status == RUN_PAUSED && run->earlier == NULL) ||
		(run->outcome.status == RUN_CANCELLED &&
		 strcmp(run->outcome.content, run_cancelled_text(run->run_id)) == 0))
		return NULL;
	/* Earlier answers have been shown. */
	if (run->earlier != NULL && run->outcome.content != NULL &&
		strncmp(run->outcome.content, run->earlier, strlen(run->earlier)) == 0)
		return run->outcome.content + strlen(run->earlier);
	return run->outcome.content;
}

/*
 * Whether the answer does not begin as it has been shown: what is stored of it may be
 * without what stood around it, or the server may have said another thing at the end.
 */
static bool
turned_out_otherwise(const Flight *flight, const char *answer)
{
	const Run  *run = &flight->run;

	return answer != NULL && run->step == STEP_STORE &&
		run->streamed_text != NULL &&
		strncmp(answer, run->streamed_text, flight->news.shown) != 0;
}

/*
 * A call that is about to be made.
 */
static RunEvent
call_started(const RunEventSource *source, const PlannedCall *planned)
{
	Message		execution;

	message_init(&execution, MESSAGE_TOOL, NULL);
	execution.tool_call_id = planned->call->id;
	execution.tool_name = planned->call->name;
	execution.tool_args = planned->arguments;
	return run_event_tool_started(source, &execution);
}

/*
 * What is to be stored now of a streamed flight's events: those that
 * wait, the piece of the answer that has arrived since, and the end when it
 * has come. Returns how many rows there are; once they are committed,
 * flight_events_stored() is to be called.
 */
int
flight_event_rows(Flight *flight, EventRow *rows)
{
	RunEventSource source = event_source(flight);
	const Run  *run = &flight->run;
	const char *answer = known_answer(run);
	size_t		shown = flight->news.shown;
	size_t		length;
	RunEvent	events[RUN_EVENT_MAX_END];
	ListCell   *cell;
	int			ends = 0;
	int			count = 0;

	foreach(cell, flight->news.events)
	{
		RunEvent   *event = lfirst(cell);

		rows[count].event = event->name;
		rows[count++].data = event->data;
	}
	if (turned_out_otherwise(flight, answer))
	{
		RunEvent	retried = run_event_retried(&source, run->attempt);

		rows[count].event = retried.name;
		rows[count++].data = retried.data;
		shown = 0;
	}
	flight->news.flushing_shown = shown;
	flight->news.flushing_part = false;
	length = answer != NULL ?
		next_length(flight, answer, shown, &flight->news.flushing_part) : 0;
	if (length > shown)
	{
		char	   *text = pnstrdup(answer + shown, length - shown);
		RunEvent	piece = run_event_content(&source, text);

		flight->news.flushing_shown = length;
		rows[count].event = piece.name;
		rows[count++].data = piece.data;
	}
	for (int i = 0; i < run->planned_count; i++)
	{
		RunEvent	started;

		if (run->planned[i].tool == NULL ||
			run->planned[i].tool->requires != REQUIRES_NOTHING)
			continue;
		started = call_started(&source, &run->planned[i]);
		rows[count].event = started.name;
		rows[count++].data = started.data;
	}
	if (run->step == STEP_STORE && run->outcome.status == RUN_PAUSED)
	{
		events[0] = run_event_paused(&source, &run->outcome,
									 run_tools_json(run),
									 run_requirements_json(run));
		ends = 1;
	}
	else if (run->step == STEP_STORE && run->outcome.status != RUN_RUNNING &&
			 !flight->calls_back)
		ends = run_event_end(&source, &run->outcome, events);
	for (int i = 0; i < ends; i++)
	{
		rows[count].event = events[i].name;
		rows[count++].data = events[i].data;
	}
	for (int i = 0; i < count; i++)
	{
		rows[i].run_id = flight->run_id;
		rows[i].data = flight_clean(flight, rows[i].data);
	}
	flight->news.flushing_events = count;
	return count;
}

/*
 * What is to be shown in content once the rows of flight_event_rows() are; NULL if that
 * need not be stored again yet.
 */
const char *
flight_partial_content(Flight *flight)
{
	const ModelStream *stream = flight->run.stream;
	size_t		length = flight->news.flushing_shown;

	flight->news.flushing_content = flight->news.content_shown;
	if (stream == NULL || flight->news.flushing_part ||
		!content_has_grown(flight, length))
		return NULL;
	flight->news.flushing_content = length;
	return flight_clean(flight,
						psprintf("%s%.*s", flight->run.earlier != NULL ?
								 flight->run.earlier : "", (int) length,
								 stream->content.data));
}

/*
 * The rows of flight_event_rows() have been committed.
 */
void
flight_events_stored(Flight *flight)
{
	ListCell   *cell;

	foreach(cell, flight->news.events)
	{
		RunEvent   *event = lfirst(cell);

		pfree(event->data);
		pfree(event);
	}
	list_free(flight->news.events);
	flight->news.events = NIL;
	flight->news.begun |= flight->news.flushing_events > 0;
	flight->news.shown = flight->news.flushing_shown;
	flight->news.content_shown = flight->news.flushing_content;
	flight->news.locked_pause = 0;
}
