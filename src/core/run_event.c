/*-------------------------------------------------------------------------
 *
 * run_event.c
 *	  What subscribers of a streamed run are told.
 *
 * Names and fields are those of the run events of Agno (agno/run/agent.py),
 * and RunRetried, which Agno has not: what was shown before it does not count.
 *
 * Pure. Called by flight.c.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include <time.h>

#include "core/json.h"
#include "core/run_event.h"

static void
append_member(StringInfo out, const char *name, const char *value)
{
	if (value == NULL)
		return;
	json_append_key(out, name);
	json_append_string(out, value);
}

/*
 * Begin the data of an event with the fields that each has.
 */
static void
begin(StringInfo out, const RunEventSource *source, const char *name)
{
	initStringInfo(out);
	appendStringInfoChar(out, '{');
	json_append_key(out, "created_at");
	appendStringInfo(out, INT64_FORMAT, (int64) time(NULL));
	append_member(out, "event", name);
	append_member(out, "agent_id", source->agent_id);
	append_member(out, "agent_name", source->agent_name);
	append_member(out, "run_id", source->run_id);
	append_member(out, "session_id", source->session_id);
}

static RunEvent
finish(StringInfo out, const char *name)
{
	RunEvent	event = {name, NULL};

	/* The last byte may move the buffer. */
	appendStringInfoChar(out, '}');
	event.data = out->data;
	return event;
}

RunEvent
run_event_started(const RunEventSource *source)
{
	StringInfoData out;

	begin(&out, source, "RunStarted");
	append_member(&out, "model", source->model);
	append_member(&out, "model_provider", source->model_provider);
	return finish(&out, "RunStarted");
}

/*
 * The answer starts anew, in this attempt.
 */
RunEvent
run_event_retried(const RunEventSource *source, int attempt)
{
	StringInfoData out;

	begin(&out, source, "RunRetried");
	json_append_key(&out, "attempt");
	appendStringInfo(&out, "%d", attempt);
	return finish(&out, "RunRetried");
}

/*
 * A piece of the answer.
 */
RunEvent
run_event_content(const RunEventSource *source, const char *piece)
{
	StringInfoData out;

	begin(&out, source, "RunContent");
	append_member(&out, "content", piece);
	append_member(&out, "content_type", "str");
	return finish(&out, "RunContent");
}

static RunEvent
completed(const RunEventSource *source, const Run *run)
{
	StringInfoData out;

	begin(&out, source, "RunCompleted");
	if (run->structured)
	{
		json_append_key(&out, "content");
		appendStringInfoString(&out, run->content);
	}
	else
		append_member(&out, "content", run->content);
	append_member(&out, "content_type", run->structured ? "dict" : "str");
	append_member(&out, "reasoning_content", run->reasoning);
	json_append_key(&out, "metrics");
	appendStringInfoString(&out, run_metrics_json(run));
	return finish(&out, "RunCompleted");
}

/*
 * How a run ended: RunCompleted; RunError; or, as in Agno, RunCancelled and
 * then RunCompleted. Returns how many events there are.
 */
int
run_event_end(const RunEventSource *source, const Run *run, RunEvent *events)
{
	StringInfoData out;

	if (run->status == RUN_COMPLETED)
	{
		events[0] = completed(source, run);
		return 1;
	}
	if (run->status == RUN_CANCELLED)
	{
		begin(&out, source, "RunCancelled");
		append_member(&out, "reason", run_cancelled_text(run->run_id));
		events[0] = finish(&out, "RunCancelled");
		events[1] = completed(source, run);
		return 2;
	}
	begin(&out, source, "RunError");
	append_member(&out, "content", run->error_message);
	append_member(&out, "error_type", run->error_type);
	events[0] = finish(&out, "RunError");
	return 1;
}
