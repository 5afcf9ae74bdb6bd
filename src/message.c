/*-------------------------------------------------------------------------
 *
 * message.c
 *	  The messages of a conversation with a model.
 *
 * Pure. Writes messages in the shape of Agno's Message.to_dict() (agno 2.9,
 * models/message.py): keys without a value are left out.
 *
 *-------------------------------------------------------------------------
 */
#include "portable.h"

#include <time.h>

#include "json.h"
#include "message.h"
#include "uuid.h"

static const char *const role_names[] = {
	[MESSAGE_SYSTEM] = "system",
	[MESSAGE_USER] = "user",
	[MESSAGE_ASSISTANT] = "assistant",
	[MESSAGE_TOOL] = "tool",
};

/*
 * Start a message of this role and content, which it keeps a pointer to.
 */
void
message_init(Message *message, MessageRole role, char *content)
{
	memset(message, 0, sizeof(Message));
	message->role = role;
	message->content = content;
	message->created_at = (int64) time(NULL);
	if (!uuid_v7(message->id))
		message->id[0] = '\0';
}

/*
 * Append the counts as members of an object.
 */
void
token_usage_append_json(StringInfo out, const TokenUsage *usage)
{
	const struct
	{
		const char *name;
		int64		count;
	}			counts[] = {
		{"input_tokens", usage->input},
		{"output_tokens", usage->output},
		{"total_tokens", usage->total},
		{"cache_read_tokens", usage->cache_read},
		{"reasoning_tokens", usage->reasoning},
	};

	for (int i = 0; i < (int) lengthof(counts); i++)
	{
		json_append_key(out, counts[i].name);
		appendStringInfo(out, INT64_FORMAT, counts[i].count);
	}
}

/*
 * Add what one more call cost.
 */
void
token_usage_add(TokenUsage *sum, const TokenUsage *usage)
{
	sum->input += usage->input;
	sum->output += usage->output;
	sum->total += usage->total;
	sum->cache_read += usage->cache_read;
	sum->reasoning += usage->reasoning;
}

static void
append_string_member(StringInfo out, const char *name, const char *value)
{
	if (value == NULL)
		return;
	json_append_key(out, name);
	json_append_string(out, value);
}

static void
append_tool_calls(StringInfo out, const Message *message)
{
	json_append_key(out, "tool_calls");
	appendStringInfoChar(out, '[');
	for (int i = 0; i < message->tool_call_count; i++)
	{
		const ToolCall *call = &message->tool_calls[i];

		appendStringInfoString(out, i > 0 ? ",{" : "{");
		append_string_member(out, "id", call->id ? call->id : call->call_id);
		append_string_member(out, "call_id", call->call_id);
		append_string_member(out, "type", "function");
		json_append_key(out, "function");
		appendStringInfoChar(out, '{');
		append_string_member(out, "name", call->name);
		append_string_member(out, "arguments", call->arguments);
		appendStringInfoString(out, "}}");
	}
	appendStringInfoChar(out, ']');
}

/*
 * Append the message as a JSON object.
 */
void
message_append_json(StringInfo out, const Message *message)
{
	appendStringInfoChar(out, '{');
	append_string_member(out, "id", message->id);
	append_string_member(out, "role", role_names[message->role]);
	append_string_member(out, "content", message->content);
	append_string_member(out, "reasoning_content", message->reasoning);
	if (message->tool_call_count > 0)
		append_tool_calls(out, message);
	if (message->response_id != NULL)
	{
		json_append_key(out, "provider_data");
		appendStringInfoChar(out, '{');
		append_string_member(out, "response_id", message->response_id);
		appendStringInfoChar(out, '}');
	}
	if (message->role == MESSAGE_ASSISTANT)
	{
		json_append_key(out, "metrics");
		appendStringInfoChar(out, '{');
		token_usage_append_json(out, &message->usage);
		json_append_key(out, "duration");
		appendStringInfo(out, "%.6f", message->duration);
		json_append_key(out, "time_to_first_token");
		appendStringInfo(out, "%.6f", message->time_to_first_token);
		appendStringInfoChar(out, '}');
	}
	appendStringInfoString(out, ",\"from_history\":false"
						   ",\"stop_after_tool_call\":false");
	json_append_key(out, "created_at");
	appendStringInfo(out, INT64_FORMAT, message->created_at);
	appendStringInfoChar(out, '}');
}
