/*-------------------------------------------------------------------------
 *
 * provider_openai_responses.c
 *	  OpenAI's Responses API: POST /responses.
 *
 * Pure. The format is that of OpenAI's OpenAPI description; servers that
 * imitate it leave most members out, so nearly every one is optional here.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include "core/json.h"
#include "core/model_stream.h"

/* What an answer has its items in. */
#define ITEMS_NAME "output"

/* "system" became "developer" with this API. */
static const char *const role_names[MESSAGE_ROLES] = {
	[MESSAGE_SYSTEM] = "developer",
	[MESSAGE_USER] = "user",
	[MESSAGE_ASSISTANT] = "assistant",
	[MESSAGE_TOOL] = "tool",
};

static const char *const reserved_options[] = {
	"model", "input", "stream", "conversation",
	"previous_response_id", NULL
};

/*
 * "text" says what the answer is to look like: the schema, and what the options
 * say of it.
 */
static void
append_text(StringInfo body, const OutputSchema *schema, const char *options)
{
	JsonMember	member;

	json_append_key(body, "text");
	appendStringInfoChar(body, '{');
	json_append_key(body, "format");
	appendStringInfoString(body, "{\"type\":\"json_schema\"");
	provider_append_schema(body, schema);
	appendStringInfoChar(body, '}');
	if (json_find_member(options, "text", &member) && member.value[0] == '{')
		provider_append_options(body, member.value, "format");
	appendStringInfoChar(body, '}');
}

/*
 * Whether the options ask for work in the background and do not say that the
 * response is to be kept, without which it could not be fetched for long.
 */
static bool
keeps_nothing(const char *options)
{
	return json_has_member(options, "background") &&
		!json_has_member(options, "store");
}

static void
append_plain(StringInfo body, const char *role, const char *content)
{
	appendStringInfoChar(body, '{');
	json_append_member(body, "role", role);
	json_append_member(body, "content", content);
	appendStringInfoChar(body, '}');
}

/*
 * An answer with calls, as it came or put together again.
 */
static void
append_calls(StringInfo body, const Message *message)
{
	if (message->items != NULL &&
		strcmp(message->items_name, ITEMS_NAME) == 0)
	{
		const char *at = message->items;
		bool		first = true;

		while (json_next_element(&at))
		{
			const char *end = json_skip_value(at);

			appendStringInfo(body, "%s%.*s", first ? "" : ",",
							 (int) (end - at), at);
			first = false;
			at = end;
		}
		if (!first)
			return;
	}
	if (message->content != NULL && message->content[0] != '\0')
	{
		append_plain(body, "assistant", message->content);
		appendStringInfoChar(body, ',');
	}
	for (int i = 0; i < message->tool_call_count; i++)
	{
		const ToolCall *call = &message->tool_calls[i];

		appendStringInfoString(body, i > 0 ? ",{" : "{");
		json_append_member(body, "type", "function_call");
		json_append_member(body, "call_id", call->call_id);
		json_append_member(body, "name", call->name);
		json_append_member(body, "arguments", provider_arguments(call));
		appendStringInfoChar(body, '}');
	}
}

static void
append_result(StringInfo body, const Message *message)
{
	appendStringInfoChar(body, '{');
	json_append_member(body, "type", "function_call_output");
	json_append_member(body, "call_id", message->call_id);
	json_append_member(body, "output",
					   message->content != NULL ? message->content : "");
	appendStringInfoChar(body, '}');
}

static void
append_input(StringInfo body, const ModelRequest *request)
{
	json_append_key(body, "input");
	appendStringInfoChar(body, '[');
	for (int i = 0; i < request->message_count; i++)
	{
		const Message *message = &request->messages[i];

		if (i > 0)
			appendStringInfoChar(body, ',');
		if (message->tool_call_count > 0)
			append_calls(body, message);
		else if (message->role == MESSAGE_TOOL)
			append_result(body, message);
		else
			append_plain(body, role_names[message->role],
						 message->content != NULL ? message->content : "");
	}
	appendStringInfoChar(body, ']');
}

/*
 * The tools, and which of them is to be called. Here, tools are strict unless it
 * is said that they are not.
 */
static void
append_tools(StringInfo body, const ModelRequest *request)
{
	const char *choice = request->tool_choice;

	if (request->tools == NULL || request->no_more_tools)
		return;
	if (choice != NULL)
	{
		json_append_key(body, "tool_choice");
		if (tools_find(request->tools, choice) == NULL)
			json_append_string(body, choice);
		else
		{
			appendStringInfoChar(body, '{');
			json_append_member(body, "type", "function");
			json_append_member(body, "name", choice);
			appendStringInfoChar(body, '}');
		}
	}
	json_append_key(body, "tools");
	for (int i = 0; i < request->tools->count; i++)
	{
		const Tool *tool = &request->tools->tools[i];

		appendStringInfoString(body, i > 0 ? ",{" : "[{");
		json_append_member(body, "type", "function");
		json_append_member(body, "name", tool->name);
		json_append_member(body, "description", tool->description);
		json_append_key(body, "parameters");
		appendStringInfoString(body, tool->parameters);
		json_append_key(body, "strict");
		appendStringInfoString(body, tool->strict ? "true}" : "false}");
	}
	appendStringInfoChar(body, ']');
}

/*
 * Whether the options say that the server keeps nothing: then what it is to be
 * reminded of has to be in its answers.
 */
static bool
is_not_stored(const char *options)
{
	JsonMember	member;

	return json_find_member(options, "store", &member) &&
		strncmp(member.value, "false", 5) == 0;
}

/*
 * {"model": …, "input": [{"role": …, "content": …}, …], "text": …, "tools": …,
 * options…}
 */
static void
write_request(StringInfo body, const ModelRequest *request)
{
	appendStringInfoChar(body, '{');
	json_append_key(body, "model");
	json_append_string(body, request->model);
	append_input(body, request);
	if (request->schema != NULL)
		append_text(body, request->schema, request->options);
	append_tools(body, request);
	if (request->tools != NULL && is_not_stored(request->options) &&
		!json_has_member(request->options, "include"))
		appendStringInfoString(body, ",\"include\":[\"reasoning.encrypted_content\"]");
	if (request->stream)
		appendStringInfoString(body, ",\"stream\":true");
	if (keeps_nothing(request->options))
		appendStringInfoString(body, ",\"store\":true");
	provider_append_options(body, request->options,
							request->schema != NULL ? "text" : NULL);
	appendStringInfoChar(body, '}');
}

/*
 * Append the text of each part of the array, one after the other. A refusal
 * is an answer, too.
 */
static void
append_parts(StringInfo out, const cJSON *parts)
{
	const cJSON *part;

	cJSON_ArrayForEach(part, parts)
	{
		const char *piece = json_string(part, "text");

		if (piece == NULL)
			piece = json_string(part, "refusal");
		if (piece != NULL)
			appendStringInfoString(out, piece);
	}
}

/*
 * Reasoning is summed up in parts, each a paragraph.
 */
static void
append_summary(StringInfo out, const cJSON *parts)
{
	const cJSON *part;

	cJSON_ArrayForEach(part, parts)
	{
		const char *piece = json_string(part, "text");

		if (piece == NULL || piece[0] == '\0')
			continue;
		if (out->len > 0)
			appendStringInfoString(out, "\n\n");
		appendStringInfoString(out, piece);
	}
}

static void
add_tool_call(Message *message, const cJSON *item)
{
	ToolCall   *call = message_add_tool_call(message);

	if (call == NULL)
		return;
	call->id = json_copy_string(item, "id");
	call->call_id = json_copy_string(item, "call_id");
	call->name = json_copy_string(item, "name");
	call->arguments = json_copy_string(item, "arguments");
}

/*
 * Read the array of output items.
 */
static void
read_output(const cJSON *output, Message *message)
{
	const cJSON *item;
	StringInfoData content;
	StringInfoData reasoning;

	initStringInfo(&content);
	initStringInfo(&reasoning);
	cJSON_ArrayForEach(item, output)
	{
		const char *type = json_string(item, "type");

		if (type == NULL)
			continue;
		if (strcmp(type, "message") == 0)
			append_parts(&content,
						 cJSON_GetObjectItemCaseSensitive(item, "content"));
		else if (strcmp(type, "reasoning") == 0)
			append_summary(&reasoning,
						   cJSON_GetObjectItemCaseSensitive(item, "summary"));
		else if (strcmp(type, "function_call") == 0)
			add_tool_call(message, item);
	}
	message->content = content.data;
	message->reasoning = reasoning.len > 0 ? reasoning.data : NULL;
}

/*
 * Whether there is a member of this name that is not null.
 */
static bool
is_given(const cJSON *tree, const char *name)
{
	const cJSON *member = cJSON_GetObjectItemCaseSensitive(tree, name);

	return member != NULL && !cJSON_IsNull(member);
}

/*
 * How the response ended, with the reason in *error when not well.
 */
static AnswerOutcome
read_outcome(const cJSON *tree, const cJSON *output, const char **error)
{
	const char *status = json_string(tree, "status");
	const char *reason;
	bool		none = status == NULL && !is_given(tree, "status");

	/* Servers that imitate OpenAI may leave the status out. */
	if (none ? cJSON_IsArray(output) :
		status != NULL && strcmp(status, "completed") == 0)
		return ANSWER_COMPLETE;

	if (status != NULL && strcmp(status, "incomplete") == 0)
	{
		reason = json_string(cJSON_GetObjectItemCaseSensitive(tree,
															  "incomplete_details"),
							 "reason");
		*error = psprintf("the answer is incomplete: %s",
						  reason != NULL ? reason : "no reason given");
		return ANSWER_INCOMPLETE;
	}

	if (status != NULL && (strcmp(status, "failed") == 0 ||
						   strcmp(status, "cancelled") == 0))
	{
		reason = json_string(cJSON_GetObjectItemCaseSensitive(tree, "error"),
							 "message");
		*error = reason != NULL ? pstrdup(reason) :
			psprintf("the model server reports the response as %s", status);
		return ANSWER_FAILED;
	}

	if (status != NULL && (strcmp(status, "queued") == 0 ||
						   strcmp(status, "in_progress") == 0) &&
		json_string(tree, "id") != NULL)
		return ANSWER_PENDING;

	*error = status != NULL ?
		psprintf("the model server left the response %s", status) :
		"the answer of the model server is not a response";
	return ANSWER_INVALID;
}

static bool
is_error(const cJSON *tree)
{
	return cJSON_GetObjectItemCaseSensitive(tree, "status") == NULL &&
		is_given(tree, "error");
}

/*
 * Servers that imitate OpenAI may write arguments as an object, not as a string: find
 * those in the items.
 */
static void
read_objects(Message *message, const char *items)
{
	int			n = 0;

	while (n < message->tool_call_count && json_next_element(&items))
	{
		JsonMember	member;
		char	   *type = NULL;

		if (json_find_member(items, "type", &member) && member.value[0] == '"')
			type = json_decode_string(member.value, member.value_length);
		if (type != NULL && strcmp(type, "function_call") == 0)
		{
			ToolCall   *call = &message->tool_calls[n++];

			if (call->arguments == NULL &&
				json_find_member(items, "arguments", &member) &&
				member.value[0] != 'n')
				call->arguments = pnstrdup(member.value, member.value_length);
		}
		if (type != NULL)
			pfree(type);
		items = json_skip_value(items);
	}
}

/*
 * Keep the items of an answer with calls as they came, reasoning and all.
 */
static void
keep_items(Message *message, char *items)
{
	read_objects(message, items);
	if (message->tool_call_count > 0)
		message_keep_items(message, items, ITEMS_NAME);
}

/*
 * Read a response object. One that is worked on is asked for again and again: of what it
 * says meanwhile, nothing is kept.
 */
static void
read_response(const cJSON *tree, ModelAnswer *answer)
{
	const cJSON *output = cJSON_GetObjectItemCaseSensitive(tree, "output");

	answer->outcome = read_outcome(tree, output, &answer->error);
	message_init(&answer->message, MESSAGE_ASSISTANT, NULL);
	answer->message.response_id = json_copy_string(tree, "id");
	if (answer->outcome == ANSWER_PENDING)
		return;
	read_output(output, &answer->message);
	token_usage_read_openai(cJSON_GetObjectItemCaseSensitive(tree, "usage"),
							"input", "output", &answer->message.usage);
}

static void
read_answer(const char *body, size_t length, ModelAnswer *answer)
{
	cJSON	   *tree = json_parse(body, length);

	memset(answer, 0, sizeof(ModelAnswer));
	if (!cJSON_IsObject(tree))
	{
		answer->outcome = ANSWER_INVALID;
		answer->error = provider_invalid_answer(tree, body, length,
												"a response");
	}
	else if (is_error(tree))
	{
		answer->outcome = ANSWER_FAILED;
		answer->error = provider_error_message(0, body, length);
	}
	else
	{
		read_response(tree, answer);
		if (answer->message.tool_call_count > 0)
			keep_items(&answer->message,
					   provider_raw_member(body, length, NULL, ITEMS_NAME));
	}
	json_free(tree);
}

/*
 * An item is whole: needed only if the last event does not have it.
 */
static void
read_item(ModelStream *stream, const cJSON *item, const char *data,
		  size_t length)
{
	const char *type = json_string(item, "type");
	char	   *raw;

	if (type == NULL || (strcmp(type, "function_call") != 0 &&
						 strcmp(type, "reasoning") != 0 &&
						 strcmp(type, "message") != 0))
		return;
	if (strcmp(type, "function_call") == 0)
		add_tool_call(&stream->answer.message, item);
	raw = provider_raw_member(data, length, NULL, "item");
	if (raw == NULL)
		return;
	appendStringInfo(&stream->items, "%s%s", stream->items.len > 0 ? "," : "",
					 raw);
	pfree(raw);
}

/*
 * The response is whole in the event that ends it; what came before is only
 * for subscribers. Some servers leave the output out of it, though.
 */
static void
end_stream(ModelStream *stream, const cJSON *response, const char *data,
		   size_t length)
{
	StringInfo	reasoning = &stream->reasoning;
	Message    *message = &stream->answer.message;
	Message		seen = *message;

	read_response(response, &stream->answer);
	if (message->tool_call_count > 0)
		keep_items(message, provider_raw_member(data, length, "response",
												ITEMS_NAME));
	else if (seen.tool_call_count > 0)
	{
		message->tool_calls = seen.tool_calls;
		message->tool_call_count = seen.tool_call_count;
		keep_items(message, psprintf("[%s]", stream->items.data));
	}
	if (message->reasoning != NULL)
	{
		resetStringInfo(reasoning);
		appendStringInfoString(reasoning, message->reasoning);
	}
	stream->ended = true;
}

static void
read_event(ModelStream *stream, const char *data, size_t length)
{
	static const char *const ends[] = {
		"response.completed", "response.incomplete", "response.failed",
		"response.cancelled"
	};
	cJSON	   *tree = json_parse(data, length);
	const char *type = json_string(tree, "type");
	const char *delta = json_string(tree, "delta");
	const cJSON *response = cJSON_GetObjectItemCaseSensitive(tree, "response");

	if ((type != NULL && strcmp(type, "error") == 0) ||
		(type == NULL && is_error(tree)))
	{
		stream->answer.outcome = ANSWER_FAILED;
		stream->answer.error = provider_error_message(0, data, length);
		stream->ended = true;
	}
	else if (type != NULL && delta != NULL &&
			 (strcmp(type, "response.output_text.delta") == 0 ||
			  strcmp(type, "response.refusal.delta") == 0))
		appendStringInfoString(&stream->content, delta);
	else if (type != NULL && delta != NULL &&
			 strcmp(type, "response.reasoning_summary_text.delta") == 0)
		appendStringInfoString(&stream->reasoning, delta);
	else if (type != NULL && strcmp(type, "response.output_item.done") == 0)
		read_item(stream, cJSON_GetObjectItemCaseSensitive(tree, "item"), data,
				  length);
	for (int i = 0; type != NULL && i < (int) lengthof(ends); i++)
	{
		if (strcmp(type, ends[i]) == 0)
			end_stream(stream, response, data, length);
	}
	json_free(tree);
}

const Provider provider_openai_responses = {
	.api = "openai-responses",
	.default_base_url = "https://api.openai.com/v1",
	.path = "/responses",
	.background = true,
	.key_header = "Authorization: Bearer ",
	.reserved_options = reserved_options,
	.write_request = write_request,
	.read_answer = read_answer,
	.read_event = read_event,
};
