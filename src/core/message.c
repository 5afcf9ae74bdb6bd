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
#include "core/portable.h"

#include <time.h>

#include "core/json.h"
#include "core/message.h"
#include "core/uuid.h"

static const char *const role_names[MESSAGE_ROLES] = {
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
 * Add a call to a message. Returns it, for the caller to fill.
 */
ToolCall *
message_add_tool_call(Message *message)
{
	int			count = message->tool_call_count++;

	/* There is room up to the next power of two. */
	if (count == 0)
		message->tool_calls = palloc(sizeof(ToolCall));
	else if ((count & (count - 1)) == 0)
		message->tool_calls = repalloc(message->tool_calls,
									   sizeof(ToolCall) * count * 2);
	memset(&message->tool_calls[count], 0, sizeof(ToolCall));
	return &message->tool_calls[count];
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
		json_append_member(out, "id", call->id ? call->id : call->call_id);
		json_append_member(out, "call_id", call->call_id);
		json_append_member(out, "type", "function");
		json_append_key(out, "function");
		appendStringInfoChar(out, '{');
		json_append_member(out, "name", call->name);
		json_append_member(out, "arguments", call->arguments);
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
	json_append_member(out, "id", message->id);
	json_append_member(out, "role", role_names[message->role]);
	json_append_member(out, "content", message->content);
	json_append_member(out, "reasoning_content", message->reasoning);
	if (message->tool_call_count > 0)
		append_tool_calls(out, message);
	if (message->response_id != NULL)
	{
		json_append_key(out, "provider_data");
		appendStringInfoChar(out, '{');
		json_append_member(out, "response_id", message->response_id);
		appendStringInfoChar(out, '}');
	}
	if (message->role == MESSAGE_ASSISTANT)
	{
		json_append_key(out, "metrics");
		appendStringInfoChar(out, '{');
		token_usage_append(out, &message->usage, false);
		json_append_key(out, "duration");
		appendStringInfo(out, "%.6f", message->duration);
		json_append_key(out, "time_to_first_token");
		appendStringInfo(out, "%.6f", message->time_to_first_token);
		appendStringInfoChar(out, '}');
	}
	json_append_key(out, "from_history");
	appendStringInfoString(out, message->from_history ? "true" : "false");
	appendStringInfoString(out, ",\"stop_after_tool_call\":false");
	json_append_key(out, "created_at");
	appendStringInfo(out, INT64_FORMAT, message->created_at);
	appendStringInfoChar(out, '}');
}

static void
read_tool_calls(const cJSON *calls, Message *message)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, calls)
	{
		const cJSON *function =
			cJSON_GetObjectItemCaseSensitive(item, "function");
		ToolCall   *call = message_add_tool_call(message);

		call->id = json_copy_string(item, "id");
		call->call_id = json_copy_string(item, "call_id");
		call->name = json_copy_string(function, "name");
		call->arguments = json_copy_string(function, "arguments");
	}
}

/*
 * Read what message_append_json() has written. False when it is no message.
 */
bool
message_read(const cJSON *object, Message *message)
{
	const char *role = json_string(object, "role");
	const char *id = json_string(object, "id");
	const cJSON *metrics = cJSON_GetObjectItemCaseSensitive(object, "metrics");
	int			r = 0;

	while (r < (int) lengthof(role_names) &&
		   (role == NULL || strcmp(role, role_names[r]) != 0))
		r++;
	if (r == (int) lengthof(role_names))
		return false;

	memset(message, 0, sizeof(Message));
	message->role = (MessageRole) r;
	if (id != NULL)
		strlcpy(message->id, id, sizeof(message->id));
	message->content = json_copy_string(object, "content");
	message->reasoning = json_copy_string(object, "reasoning_content");
	message->response_id =
		json_copy_string(cJSON_GetObjectItemCaseSensitive(object, "provider_data"),
						 "response_id");
	read_tool_calls(cJSON_GetObjectItemCaseSensitive(object, "tool_calls"),
					message);
	message->created_at = json_int64(object, "created_at");
	message->from_history =
		cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, "from_history"));
	token_usage_read(metrics, &message->usage);
	message->duration = json_double(metrics, "duration");
	message->time_to_first_token = json_double(metrics, "time_to_first_token");
	return true;
}
