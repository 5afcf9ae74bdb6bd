/*-------------------------------------------------------------------------
 *
 * run_event.c
 *	  What subscribers of a streamed run are told.
 *
 * Names and fields are those of the run events of Agno (agno/run/agent.py),
 * and RunRetried, which Agno has not: what was shown before it does not count.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include <time.h>

#include "core/json.h"
#include "core/python.h"
#include "core/run_event.h"

/* What Agno's texts of calls are made for. */
#define TERMINAL_WIDTH 80
#define SHORTEST_ARGUMENT 20

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
	json_append_member(out, "event", name);
	json_append_member(out, "agent_id", source->agent_id);
	json_append_member(out, "agent_name", source->agent_name);
	json_append_member(out, "run_id", source->run_id);
	json_append_member(out, "session_id", source->session_id);
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
	json_append_member(&out, "model", source->model);
	json_append_member(&out, "model_provider", source->model_provider);
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
	json_append_member(&out, "content", piece);
	json_append_member(&out, "content_type", "str");
	return finish(&out, "RunContent");
}

static void
append_tool(StringInfo out, const Message *execution)
{
	json_append_key(out, "tool");
	message_append_execution(out, execution);
}

/*
 * A tool is about to be called: nothing has come of it yet.
 */
RunEvent
run_event_tool_started(const RunEventSource *source, const Message *execution)
{
	StringInfoData out;
	Message		beginning = *execution;

	beginning.content = NULL;
	beginning.tool_call_error = false;
	beginning.executed = false;
	beginning.tool_started = 0;
	begin(&out, source, "ToolCallStarted");
	append_tool(&out, &beginning);
	return finish(&out, "ToolCallStarted");
}

/*
 * How many characters a text in UTF-8 has.
 */
static int
count_characters(const char *text)
{
	int			count = 0;

	for (; *text != '\0'; text++)
		count += ((unsigned char) *text & 0xc0) != 0x80;
	return count;
}

/*
 * A call as FunctionCall.get_call_str() of Agno writes it, for a terminal of 80
 * columns: name(a=1, b=x), with dots for what is long.
 */
static char *
call_text(const Message *execution)
{
	const char *name = execution->tool_name;
	const char *arguments = execution->tool_args;
	int			most = Max(SHORTEST_ARGUMENT,
						   (TERMINAL_WIDTH - count_characters(name) - 4) / 2);
	StringInfoData out;
	StringInfoData value;
	JsonMember	member;
	const char *comma = "";

	initStringInfo(&out);
	initStringInfo(&value);
	appendStringInfo(&out, "%s(", name);
	while (arguments != NULL && json_next_member(&arguments, &member))
	{
		resetStringInfo(&value);
		python_append_str(&value, member.value, member.value_length);
		appendStringInfo(&out, "%s%s=%s", comma, member.key,
						 member.value[0] == '"' &&
						 count_characters(value.data) > most ? "..." : value.data);
		comma = ", ";
	}
	appendStringInfoChar(&out, ')');
	return count_characters(out.data) > TERMINAL_WIDTH ?
		psprintf("%s(...)", name) : out.data;
}

/*
 * A tool has been called: ToolCallCompleted, and ToolCallError if that failed.
 * Returns how many events there are.
 */
int
run_event_tool_ended(const RunEventSource *source, const Message *execution,
					 RunEvent *events)
{
	StringInfoData out;
	char	   *summary = psprintf("%s completed in %.4fs. ",
								   call_text(execution),
								   execution->tool_duration);

	begin(&out, source, "ToolCallCompleted");
	json_append_member(&out, "content", summary);
	append_tool(&out, execution);
	events[0] = finish(&out, "ToolCallCompleted");
	if (!execution->tool_call_error)
		return 1;
	begin(&out, source, "ToolCallError");
	json_append_member(&out, "error", execution->content);
	append_tool(&out, execution);
	events[1] = finish(&out, "ToolCallError");
	return 2;
}

/*
 * The run waits for decisions. tools and requirements are those of agno.runs.
 */
RunEvent
run_event_paused(const RunEventSource *source, const RunOutcome *outcome,
				 const char *tools, const char *requirements)
{
	StringInfoData out;

	begin(&out, source, "RunPaused");
	json_append_member(&out, "content", outcome->content);
	json_append_member(&out, "content_type", "str");
	json_append_key(&out, "tools");
	appendStringInfoString(&out, tools != NULL ? tools : "[]");
	json_append_key(&out, "requirements");
	appendStringInfoString(&out, requirements != NULL ? requirements : "[]");
	return finish(&out, "RunPaused");
}

/*
 * All has been decided, and the run goes on.
 */
RunEvent
run_event_continued(const RunEventSource *source)
{
	StringInfoData out;

	begin(&out, source, "RunContinued");
	return finish(&out, "RunContinued");
}

static RunEvent
completed(const RunEventSource *source, const RunOutcome *outcome)
{
	StringInfoData out;

	begin(&out, source, "RunCompleted");
	if (outcome->structured)
	{
		json_append_key(&out, "content");
		appendStringInfoString(&out, outcome->content);
	}
	else
		json_append_member(&out, "content", outcome->content);
	json_append_member(&out, "content_type", outcome->structured ? "dict" : "str");
	json_append_member(&out, "reasoning_content", outcome->reasoning);
	json_append_key(&out, "metrics");
	appendStringInfoString(&out, run_outcome_metrics_json(outcome));
	return finish(&out, "RunCompleted");
}

/*
 * How a run ended: RunCompleted; RunError; or, as in Agno, RunCancelled and
 * then RunCompleted. Returns how many events there are.
 */
int
run_event_end(const RunEventSource *source, const RunOutcome *outcome,
			  RunEvent *events)
{
	StringInfoData out;

	if (outcome->status == RUN_COMPLETED)
	{
		events[0] = completed(source, outcome);
		return 1;
	}
	if (outcome->status == RUN_CANCELLED)
	{
		begin(&out, source, "RunCancelled");
		json_append_member(&out, "reason", run_cancelled_text(source->run_id));
		events[0] = finish(&out, "RunCancelled");
		events[1] = completed(source, outcome);
		return 2;
	}
	begin(&out, source, "RunError");
	json_append_member(&out, "content", outcome->error_message);
	json_append_member(&out, "error_type", outcome->error_type);
	events[0] = finish(&out, "RunError");
	return 1;
}
