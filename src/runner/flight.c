/*-------------------------------------------------------------------------
 *
 * flight.c
 *	  One run in flight: made of what the store read, back into what it stores.
 *
 * The whole conversation is put together here, before the first request. What is told
 * of it while it flies is in flight_news.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/clock.h"
#include "core/json.h"
#include "core/known_servers.h"
#include "core/prompt.h"
#include "core/usage.h"
#include "runner/conversation.h"
#include "runner/ended_run.h"
#include "runner/flight.h"
#include "server/encoding.h"
#include "server/settings.h"
#include "server/time_zone.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

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
	flight_hide_key(flight);
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
	run->tells_usage = known_server_tells_usage(server->base_url);
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
