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
 * Add a call to a message. Returns it, for the caller to fill; NULL: there are more
 * than MAX_TOOL_CALLS, no matter how many.
 */
ToolCall *
message_add_tool_call(Message *message)
{
	int			count = message->tool_call_count;

	if (count > MAX_TOOL_CALLS)
		return NULL;
	message->tool_call_count++;
	/* There is room up to the next power of two. */
	if (count == 0)
		message->tool_calls = palloc(sizeof(ToolCall));
	else if ((count & (count - 1)) == 0)
		message->tool_calls = repalloc(message->tool_calls,
									   sizeof(ToolCall) * count * 2);
	memset(&message->tool_calls[count], 0, sizeof(ToolCall));
	return &message->tool_calls[count];
}

/* What the APIs call the parts of an answer that are sent back. */
const char *const message_items_names[] = {"output", "content_blocks", "beside_calls", NULL};

static void
append_tool_calls(StringInfo out, const Message *message)
{
	json_append_key(out, "tool_calls");
	appendStringInfoChar(out, '[');
	for (int i = 0; i < message->tool_call_count; i++)
	{
		const ToolCall *call = &message->tool_calls[i];
		const char *id = call->id != NULL ? call->id : call->call_id;

		appendStringInfoString(out, i > 0 ? ",{" : "{");
		json_append_member(out, "id", id);
		/* Only the Responses API has two of them. */
		if (call->call_id != NULL && strcmp(call->call_id, id) != 0)
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
	if (message->content != NULL &&
		(message->content[0] != '\0' || message->tool_call_count == 0))
		json_append_member(out, "content", message->content);
	json_append_member(out, "reasoning_content", message->reasoning);
	if (message->tool_call_count > 0)
		append_tool_calls(out, message);
	if (message->role == MESSAGE_TOOL)
	{
		json_append_member(out, "tool_call_id", message->tool_call_id);
		json_append_member(out, "tool_name", message->tool_name);
		if (message->tool_args != NULL && strcmp(message->tool_args, "{}") != 0)
		{
			json_append_key(out, "tool_args");
			appendStringInfoString(out, message->tool_args);
		}
		if (message->executed || message->tool_call_error)
		{
			json_append_key(out, "tool_call_error");
			appendStringInfoString(out, message->tool_call_error ?
								   "true" : "false");
		}
	}
	if (message->response_id != NULL || message->items != NULL)
	{
		json_append_key(out, "provider_data");
		appendStringInfoChar(out, '{');
		json_append_member(out, "response_id", message->response_id);
		if (message->items != NULL)
		{
			json_append_member(out, "model", message->items_model);
			json_append_key(out, message->items_name);
			appendStringInfoString(out, message->items);
		}
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
	json_append_key(out, "stop_after_tool_call");
	appendStringInfoString(out, message->stop_after_call ? "true" : "false");
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

		if (call == NULL)
			return;
		call->id = json_copy_string(item, "id");
		call->call_id = json_copy_string(item, "call_id");
		if (call->call_id == NULL)
			call->call_id = call->id;
		call->name = json_copy_string(function, "name");
		call->arguments = json_copy_string(function, "arguments");
	}
}

/*
 * A tool's message as ToolExecution.to_dict() of Agno has the execution.
 */
void
message_append_execution(StringInfo out, const Message *message)
{
	static const char *const unset[] = {
		"user_feedback_schema", "external_execution_silent",
		"approval_type", "approval_id", "parent_tool_call_id"
	};
	const Requirement *requirement = message->requirement;
	bool		rejected = requirement != NULL &&
		requirement->decision == DECISION_REJECTED;
	char	   *arguments = message->tool_args;

	if (message->executed && requirement != NULL)
		arguments = requirement_arguments(requirement, arguments);
	appendStringInfoChar(out, '{');
	json_append_member(out, "tool_call_id", message->tool_call_id);
	json_append_member(out, "tool_name", message->tool_name);
	json_append_key(out, "tool_args");
	appendStringInfoString(out, arguments != NULL ? arguments : "{}");
	json_append_key(out, "tool_call_error");
	appendStringInfoString(out, message->tool_call_error ? "true" :
						   message->executed ? "false" : "null");
	json_append_key(out, "result");
	if (message->content != NULL && !rejected)
		json_append_string(out, message->content);
	else
		appendStringInfoString(out, "null");
	json_append_key(out, "metrics");
	if (message->tool_started > 0)
		appendStringInfo(out, "{\"start_time\":%.6f,\"end_time\":%.6f,\"duration\":%.6f}",
						 message->tool_started,
						 message->tool_started + message->tool_duration,
						 message->tool_duration);
	else
		appendStringInfoString(out, "null");
	json_append_key(out, "stop_after_tool_call");
	appendStringInfoString(out, message->stop_after_call ? "true" : "false");
	json_append_key(out, "created_at");
	appendStringInfo(out, INT64_FORMAT, message->tool_started > 0 ?
					 (int64) message->tool_started : message->created_at);
	requirement_append_execution(out, requirement, message->tool_args,
								 message->executed);
	json_append_key(out, "child_run_id");
	if (message->child_run_id != NULL)
		json_append_string(out, message->child_run_id);
	else
		appendStringInfoString(out, "null");
	for (int i = 0; i < (int) lengthof(unset); i++)
	{
		json_append_key(out, unset[i]);
		appendStringInfoString(out, "null");
	}
	appendStringInfoChar(out, '}');
}

/*
 * Keep the parts of an answer as they came, under this name of the API's, to be
 * sent back. They are stored as jsonb: what cannot be is not kept, since calls and
 * text are known without.
 */
void
message_keep_items(Message *message, char *items, const char *name)
{
	if (items == NULL || items[0] != '[' || !json_is_jsonb(items) ||
		json_has_large_object(items))
		return;
	message->items = items;
	message->items_name = name;
}

/*
 * Results of tools name the call by its id: find out what the API is to be told. They
 * come in the order of the calls, of which several may have the same id.
 */
void
messages_link(Message *messages, int count)
{
	const Message *asked = NULL;
	int			next = 0;

	for (int i = 0; i < count; i++)
	{
		Message    *message = &messages[i];
		int			calls = asked != NULL ? asked->tool_call_count : 0;

		if (message->role == MESSAGE_ASSISTANT)
		{
			asked = message;
			next = 0;
		}
		if (message->role != MESSAGE_TOOL || message->call_id != NULL)
			continue;
		for (int c = 0; c < calls; c++)
		{
			const ToolCall *call = &asked->tool_calls[(next + c) % calls];
			const char *id = call->id != NULL ? call->id : call->call_id;

			if (id == NULL || message->tool_call_id == NULL ||
				strcmp(id, message->tool_call_id) != 0)
				continue;
			message->call_id = call->call_id;
			next = (next + c + 1) % calls;
			break;
		}
		if (message->call_id == NULL)
			message->call_id = message->tool_call_id;
	}
}

/*
 * Read what is kept as it is written.
 */
static void
read_raw(const char *json, Message *message)
{
	char	   *data = json_raw_member(json, "provider_data");

	message->tool_args = json_raw_member(json, "tool_args");
	for (const char *const *name = message_items_names;
		 data != NULL && message->items == NULL && *name != NULL; name++)
	{
		message->items = json_raw_member(data, *name);
		message->items_name = *name;
		if (message->items != NULL && message->items[0] != '[')
			message->items = NULL;
	}
}

/*
 * Read what message_append_json() has written: json is the same as object. False
 * when it is no message.
 */
bool
message_read(const cJSON *object, const char *json, Message *message)
{
	const char *role = json_string(object, "role");
	const char *id = json_string(object, "id");
	const cJSON *metrics = cJSON_GetObjectItemCaseSensitive(object, "metrics");
	const cJSON *data = cJSON_GetObjectItemCaseSensitive(object,
														 "provider_data");
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
	message->response_id = json_copy_string(data, "response_id");
	message->items_model = json_copy_string(data, "model");
	read_tool_calls(cJSON_GetObjectItemCaseSensitive(object, "tool_calls"),
					message);
	message->tool_call_id = json_copy_string(object, "tool_call_id");
	message->tool_name = json_copy_string(object, "tool_name");
	message->executed =
		cJSON_GetObjectItemCaseSensitive(object, "tool_call_error") != NULL;
	message->tool_call_error =
		cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object,
													  "tool_call_error"));
	if (message->tool_call_count > 0 || message->role == MESSAGE_TOOL)
		read_raw(json, message);
	message->created_at = json_int64(object, "created_at");
	message->from_history =
		cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, "from_history"));
	token_usage_read(metrics, &message->usage);
	message->duration = json_double(metrics, "duration");
	message->time_to_first_token = json_double(metrics, "time_to_first_token");
	return true;
}
