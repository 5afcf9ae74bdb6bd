/*-------------------------------------------------------------------------
 *
 * run_json.c
 *	  A run as JSON, for the columns of agno.runs.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include "core/json.h"
#include "core/run.h"

static char *
messages_json(const Run *run, int first)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = first; i < run->message_count; i++)
	{
		appendStringInfoChar(&out, i > first ? ',' : '[');
		message_append_json(&out, &run->messages[i]);
	}
	appendStringInfoChar(&out, ']');
	return out.data;
}

/*
 * The conversation for agno.runs.messages; NULL when none has begun.
 */
char *
run_messages_json(const Run *run)
{
	return run->message_count > 0 ? messages_json(run, 0) : NULL;
}

/*
 * What has been said since the last answer with calls was stored.
 */
char *
run_step_json(const Run *run)
{
	return messages_json(run, run->stored_messages);
}

/*
 * Append an execution to an array, which is begun if out is empty.
 */
static void
append_execution(StringInfo out, const Message *execution)
{
	appendStringInfoChar(out, out->len > 0 ? ',' : '[');
	message_append_execution(out, execution);
}

/*
 * The executions for agno.runs.tools; NULL when there have been none.
 */
char *
run_tools_json(const Run *run)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < run->message_count; i++)
	{
		const Message *message = &run->messages[i];

		if (message->role == MESSAGE_TOOL && !message->from_history &&
			message->executed)
			append_execution(&out, message);
	}
	for (int i = 0; i < run->waiting_count; i++)
		append_execution(&out, &run->waiting[i]);
	if (out.len == 0)
		return NULL;
	appendStringInfoChar(&out, ']');
	return out.data;
}

/*
 * Append what a call requires to an array, if it requires something.
 */
static void
append_requirement(StringInfo out, const Message *execution)
{
	StringInfoData tool;
	const char *members = execution->member_requirements;

	while (members != NULL && json_next_element(&members))
	{
		const char *end = json_skip_value(members);

		appendStringInfoChar(out, out->len > 0 ? ',' : '[');
		appendBinaryStringInfo(out, members, end - members);
		members = end;
	}
	if (execution->requirement == NULL)
		return;
	initStringInfo(&tool);
	message_append_execution(&tool, execution);
	appendStringInfoChar(out, out->len > 0 ? ',' : '[');
	requirement_append(out, execution->requirement, execution->tool_args,
					   tool.data);
	pfree(tool.data);
}

/*
 * What the run waits for, or has waited for, for agno.runs.requirements; NULL:
 * nothing.
 */
char *
run_requirements_json(const Run *run)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < run->message_count; i++)
	{
		if (!run->messages[i].from_history)
			append_requirement(&out, &run->messages[i]);
	}
	for (int i = 0; i < run->waiting_count; i++)
		append_requirement(&out, &run->waiting[i]);
	if (out.len == 0)
		return NULL;
	appendStringInfoChar(&out, ']');
	return out.data;
}
