/*-------------------------------------------------------------------------
 *
 * flight.c
 *	  One run in flight: made of what the store read, back into what it stores.
 *
 * The whole conversation is put together here, before the first request.
 * Called by turn.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "encoding.h"
#include "fleet.h"
#include "flight.h"
#include "json.h"
#include "pgtime.h"
#include "prompt.h"
#include "settings.h"
#include "usage.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define US_PER_MS INT64CONST(1000)

static char *
copy_or_null(const char *string)
{
	return string != NULL ? pstrdup(string) : NULL;
}

/*
 * The current time as Python's str(datetime.now(tz)) prints it: of the server's
 * time zone and without an offset when there is no identifier.
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
		zone = pg_tzset(timezone_identifier);
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
 * Add the messages of earlier runs, but for their system messages and for what
 * was history to them; the last ones only, when there is a limit. As
 * AgentSession.get_messages() of Agno.
 */
static void
add_history(Run *run, const ReadyRun *ready)
{
	List	   *messages = NIL;
	ListCell   *cell;
	int			skip = 0;

	foreach(cell, ready->history)
	{
		const char *json = lfirst(cell);
		cJSON	   *tree = json_parse(json, strlen(json));
		const cJSON *item;

		cJSON_ArrayForEach(item, tree)
		{
			Message    *message = palloc(sizeof(Message));

			if (message_read(item, message) && !message->from_history &&
				message->role != MESSAGE_SYSTEM)
				messages = lappend(messages, message);
		}
		cJSON_Delete(tree);
	}

	if (ready->history_messages >= 0)
		skip = Max(list_length(messages) - ready->history_messages, 0);
	/* The result of a tool makes no sense without the call. */
	while (ready->history_messages >= 0 && skip < list_length(messages) &&
		   ((Message *) list_nth(messages, skip))->role == MESSAGE_TOOL)
		skip++;
	for (int i = skip; i < list_length(messages); i++)
	{
		Message    *message = list_nth(messages, i);

		message->from_history = true;
		*run_add_message(run, message->role, NULL) = *message;
	}
}

/*
 * The conversation up to the first request.
 */
static void
begin_conversation(Flight *flight, const ReadyRun *ready)
{
	Run		   *run = &flight->run;
	Agent	   *agent = ready->agent ? agent_read(ready->agent) : NULL;
	PromptContext context = {
		.agent = agent,
		.run_id = run->run_id,
		.session_id = encoding_from_server(ready->session_id),
		.user_id = ready->user_id,
		.session_state = ready->session_state,
		.metadata = ready->metadata,
		.structured = run->schema != NULL,
	};
	char	   *system_message;

	flight->agent_name = agent != NULL ? agent->name : NULL;
	if (agent != NULL && agent->add_datetime_to_context)
		context.now = python_now(agent->timezone_identifier);

	system_message = prompt_system_message(&context);
	if (system_message != NULL)
		run_add_message(run, MESSAGE_SYSTEM, system_message);
	add_history(run, ready);
	run_add_message(run, MESSAGE_USER,
					prompt_user_message(&context, ready->input));
}

static OutputSchema *
read_schema(const char *json)
{
	OutputSchema *schema = palloc(sizeof(OutputSchema));
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

	while (options != NULL && json_next_member(&options, &member))
	{
		if (strcmp(member.key, "background") == 0)
			return strncmp(member.value, "true", 4) == 0;
	}
	return false;
}

/*
 * A flight of a run that is to be started now, in memory of its own below the
 * current context.
 */
Flight *
flight_create(const ReadyRun *ready, const ModelServer *server)
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
	flight->run_id = pstrdup(ready->run_id);
	flight->session_id = pstrdup(ready->session_id);
	flight->agent_id = copy_or_null(ready->agent_id);
	flight->last_event = ready->last_event;
	flight->pace_name = pstrdup(ready->model_server);
	flight->server_name = pstrdup(encoding_from_server(ready->model_server));
	flight->session_state = copy_or_null(ready->session_state);
	flight->session_metrics = copy_or_null(ready->session_metrics);
	flight->owner = ready->owner;
	flight->server = *server;
	flight->server.base_url = pstrdup(server->base_url);
	flight->server.key = copy_or_null(server->key);
	flight->server.organization = copy_or_null(server->organization);
	flight->server.project = copy_or_null(server->project);
	flight->server.ca_file = copy_or_null(server->ca_file);

	run->run_id = encoding_from_server(flight->run_id);
	run->model = pstrdup(ready->model);
	run->options = copy_or_null(ready->options);
	run->schema = ready->schema != NULL ? read_schema(ready->schema) : NULL;
	run->provider = server->provider;
	run->background = server->provider->background &&
		asks_for_background(run->options);
	run->streamed = ready->stream && !run->background;
	run->response_id = run->background ? copy_or_null(ready->response_id) : NULL;
	flight->id_stored = run->response_id != NULL;
	run->attempt = ready->attempt + 1;
	run->started_at = fleet_now();
	run->deadline = run->started_at + timeout_ms * US_PER_MS;
	run->retries = ready->retries >= 0 ? ready->retries : server->retries;
	run->step = RUN_SEND;
	begin_conversation(flight, ready);
	if (run->streamed)
		flight_started(flight);

	MemoryContextSwitchTo(old);
	return flight;
}

/*
 * All that is to be stored of a run that has ended, whether it has been in
 * flight or not.
 */
void
ended_run_fill(EndedRun *ended, const Run *run, const char *run_id,
			   const char *session_id)
{
	memset(ended, 0, sizeof(EndedRun));
	ended->run_id = unconstify(char *, run_id);
	ended->session_id = unconstify(char *, session_id);
	ended->attempt = run->attempt;
	ended->status = run->status;
	ended->content = run->content;
	ended->content_type = run->structured ? "dict" : "str";
	ended->reasoning = run->reasoning;
	ended->messages = run_messages_json(run);
	ended->metrics = run_metrics_json(run);
	ended->error = run_error_json(run);
	ended->postpone_ms = run->postpone_ms;
	ended->retries = run->retries;
}

/*
 * The same of a flight, with what it leaves to its session.
 */
void
flight_fill_ended(const Flight *flight, EndedRun *ended)
{
	const Run  *run = &flight->run;

	ended_run_fill(ended, run, flight->run_id, flight->session_id);
	ended->session_state = flight->session_state;
	if (!token_usage_is_zero(&run->usage))
		ended->session_metrics = session_usage_add(flight->session_metrics,
												   run->model,
												   flight->server_name,
												   &run->usage);
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
		.session_id = encoding_from_server(flight->session_id),
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
	flight->events = lappend(flight->events, copy);
}

/*
 * Tell of the start, or that what an earlier attempt showed does not count. In
 * the memory context of the flight.
 */
void
flight_started(Flight *flight)
{
	RunEventSource source = event_source(flight);

	add_event(flight, flight->last_event == 0 ? run_event_started(&source) :
			  run_event_retried(&source, flight->run.attempt));
}

/*
 * The answer starts anew within the attempt. In the memory context of the
 * flight.
 */
void
flight_restarted(Flight *flight)
{
	RunEventSource source = event_source(flight);

	if (flight->shown > 0)
		add_event(flight, run_event_retried(&source, flight->run.attempt));
	flight->shown = 0;
}

/*
 * How many rows flight_event_rows() fills at most.
 */
int
flight_count_events(const Flight *flight)
{
	return list_length(flight->events) + 1 + RUN_EVENT_MAX_END;
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
	if (run->step != RUN_STORE || run->status == RUN_ERROR ||
		(run->status == RUN_CANCELLED &&
		 strcmp(run->content, run_cancelled_text(run->run_id)) == 0))
		return NULL;
	return run->content;
}

/*
 * What is to be stored now of a streamed flight's events, numbered: those that
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
	RunEvent	events[RUN_EVENT_MAX_END];
	ListCell   *cell;
	int			ends = 0;
	int			count = 0;

	foreach(cell, flight->events)
	{
		RunEvent   *event = lfirst(cell);

		rows[count].event = event->name;
		rows[count++].data = event->data;
	}
	flight->flush_shown = flight->shown;
	if (answer != NULL && strlen(answer) > flight->shown)
	{
		RunEvent	piece = run_event_content(&source, answer + flight->shown);

		flight->flush_shown = strlen(answer);
		rows[count].event = piece.name;
		rows[count++].data = piece.data;
	}
	if (run->step == RUN_STORE)
		ends = run_event_end(&source, run, events);
	for (int i = 0; i < ends; i++)
	{
		rows[count].event = events[i].name;
		rows[count++].data = events[i].data;
	}
	for (int i = 0; i < count; i++)
	{
		rows[i].run_id = flight->run_id;
		rows[i].seq = flight->last_event + i + 1;
	}
	flight->flush_events = count;
	return count;
}

/*
 * The rows of flight_event_rows() have been committed.
 */
void
flight_events_stored(Flight *flight)
{
	ListCell   *cell;

	foreach(cell, flight->events)
	{
		RunEvent   *event = lfirst(cell);

		pfree(event->data);
		pfree(event);
	}
	list_free(flight->events);
	flight->events = NIL;
	flight->last_event += flight->flush_events;
	flight->shown = flight->flush_shown;
}
