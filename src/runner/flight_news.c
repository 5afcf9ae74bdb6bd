/*-------------------------------------------------------------------------
 *
 * flight_news.c
 *	  What the subscribers of a streamed run are told: its events, and its content
 *	  as far as it is known.
 *
 * Keeps what has been told of (FlightNews), and makes rows of what has not. Stores
 * nothing itself.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/run_event.h"
#include "runner/flight.h"

/* content of a streamed run is stored when it has grown by this part. */
#define CONTENT_GROWTH 8

/* An answer that goes on is told of in pieces of so many bytes at most. */
#define LARGEST_PIECE ((size_t) 256 * 1024)

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
