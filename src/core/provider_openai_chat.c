/*-------------------------------------------------------------------------
 *
 * provider_openai_chat.c
 *	  Chat Completions: POST /chat/completions.
 *
 * Pure. OpenAI's older API, which nearly every other server speaks, each with
 * differences of its own: reasoning is called reasoning_content or reasoning,
 * errors come with a status of 200, content may be an array of parts, and
 * nearly everything may be missing.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include "core/json.h"
#include "core/model_stream.h"

/* What is kept beside the calls: an object of the message, and one of each call. */
#define ITEMS_NAME "beside_calls"

/* What is kept of a message and of a call: DeepSeek and Gemini demand it back. */
#define BESIDE_MESSAGE "reasoning_content"
#define BESIDE_CALL "extra_content"

/* Other servers than OpenAI's do not know the role "developer". */
static const char *const role_names[MESSAGE_ROLES] = {
	[MESSAGE_SYSTEM] = "system",
	[MESSAGE_USER] = "user",
	[MESSAGE_ASSISTANT] = "assistant",
	[MESSAGE_TOOL] = "tool",
};

static const char *const reserved_options[] = {
	"model", "messages", "stream", "stream_options", "n", NULL
};

static void
append_response_format(StringInfo body, const OutputSchema *schema)
{
	json_append_key(body, "response_format");
	appendStringInfoString(body, "{\"type\":\"json_schema\","
						   "\"json_schema\":{");
	provider_append_schema(body, schema);
	appendStringInfoString(body, "}}");
}

/*
 * Append the next of the objects that were kept, if there is one, to the object that is
 * open in body.
 */
static void
append_beside(StringInfo body, const char **at)
{
	if (!json_next_element(at))
		return;
	provider_append_options(body, *at, NULL);
	*at = json_skip_value(*at);
}

/*
 * The calls, and what the model has told beside them: some servers demand it back, others
 * refuse what they do not know. So it goes to who has told it.
 */
static void
append_calls(StringInfo body, const Message *message, const char *model)
{
	const char *at = NULL;

	if (message->items != NULL &&
		strcmp(message->items_name, ITEMS_NAME) == 0 &&
		message->items_model != NULL &&
		strcmp(message->items_model, model) == 0)
		at = message->items;
	append_beside(body, &at);
	json_append_key(body, "tool_calls");
	appendStringInfoChar(body, '[');
	for (int i = 0; i < message->tool_call_count; i++)
	{
		const ToolCall *call = &message->tool_calls[i];

		appendStringInfoString(body, i > 0 ? ",{" : "{");
		json_append_member(body, "id", call->call_id);
		json_append_member(body, "type", "function");
		json_append_key(body, "function");
		appendStringInfoChar(body, '{');
		json_append_member(body, "name", call->name);
		json_append_member(body, "arguments", provider_arguments(call));
		appendStringInfoChar(body, '}');
		append_beside(body, &at);
		appendStringInfoChar(body, '}');
	}
	appendStringInfoChar(body, ']');
}

static void
append_messages(StringInfo body, const ModelRequest *request)
{
	json_append_key(body, "messages");
	appendStringInfoChar(body, '[');
	for (int i = 0; i < request->message_count; i++)
	{
		const Message *message = &request->messages[i];

		appendStringInfoString(body, i > 0 ? ",{" : "{");
		json_append_member(body, "role", role_names[message->role]);
		json_append_member(body, "content",
						   message->content != NULL ? message->content : "");
		if (message->tool_call_count > 0)
			append_calls(body, message, request->model);
		if (message->role == MESSAGE_TOOL)
			json_append_member(body, "tool_call_id", message->call_id);
		appendStringInfoChar(body, '}');
	}
	appendStringInfoChar(body, ']');
}

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
			appendStringInfoString(body, "{\"type\":\"function\",\"function\":{");
			json_append_member(body, "name", choice);
			appendStringInfoString(body, "}}");
		}
	}
	json_append_key(body, "tools");
	for (int i = 0; i < request->tools->count; i++)
	{
		const Tool *tool = &request->tools->tools[i];

		appendStringInfoString(body, i > 0 ? "," : "[");
		appendStringInfoString(body, "{\"type\":\"function\",\"function\":{");
		json_append_member(body, "name", tool->name);
		json_append_member(body, "description", tool->description);
		json_append_key(body, "parameters");
		appendStringInfoString(body, tool->parameters);
		if (tool->strict)
			appendStringInfoString(body, ",\"strict\":true");
		appendStringInfoString(body, "}}");
	}
	appendStringInfoChar(body, ']');
}

/*
 * {"model": …, "messages": [{"role": …, "content": …}, …], "tools": …, options…}
 */
static void
write_request(StringInfo body, const ModelRequest *request)
{
	appendStringInfoChar(body, '{');
	json_append_key(body, "model");
	json_append_string(body, request->model);
	append_messages(body, request);
	if (request->schema != NULL)
		append_response_format(body, request->schema);
	append_tools(body, request);
	if (request->stream)
		appendStringInfoString(body, ",\"stream\":true");
	if (request->stream && !request->tells_usage)
		appendStringInfoString(body,
							   ",\"stream_options\":{\"include_usage\":true}");
	provider_append_options(body, request->options,
							request->schema != NULL ? "response_format" : NULL);
	appendStringInfoChar(body, '}');
}

/*
 * Append what is a string, or an array of parts with a text each.
 */
static void
append_content(StringInfo out, const cJSON *content)
{
	const cJSON *part;

	if (cJSON_IsString(content))
		appendStringInfoString(out, content->valuestring);
	cJSON_ArrayForEach(part, content)
	{
		const char *piece = json_string(part, "text");

		if (piece != NULL)
			appendStringInfoString(out, piece);
	}
}

/*
 * Append what a message, or a delta of one, says.
 */
static void
append_message(StringInfo content, StringInfo reasoning, const cJSON *message)
{
	const char *thought = json_string(message, BESIDE_MESSAGE);
	const char *refusal = json_string(message, "refusal");

	if (thought == NULL)
		thought = json_string(message, "reasoning");
	if (thought != NULL)
		appendStringInfoString(reasoning, thought);
	append_content(content,
				   cJSON_GetObjectItemCaseSensitive(message, "content"));
	if (refusal != NULL)
		appendStringInfoString(content, refusal);
}

/*
 * Where the value of this member of an object starts, or NULL.
 */
static const char *
find_value(const char *object, const char *name)
{
	JsonMember	member;

	if (!json_find_member(object, name, &member))
		return NULL;
	pfree(member.key);
	return member.value;
}

/*
 * Where the calls of a message, or a delta, are in a scrubbed document; or NULL.
 */
static const char *
find_calls(const char *document, const char *message)
{
	const char *at = find_value(document, "choices");

	return json_next_element(&at) ?
		find_value(find_value(at, message), "tool_calls") : NULL;
}

/*
 * The arguments of a call, which is here in a document, as the model wrote them: a string,
 * or, from servers that imitate, the object itself. Or NULL: an empty object may come before
 * pieces of a string.
 */
static char *
copy_arguments(const cJSON *function, const char *call)
{
	const cJSON *arguments = cJSON_GetObjectItemCaseSensitive(function,
															  "arguments");

	if (cJSON_IsString(arguments))
		return pstrdup(arguments->valuestring);
	if (arguments == NULL || cJSON_IsNull(arguments) ||
		(cJSON_IsObject(arguments) && arguments->child == NULL))
		return NULL;
	return json_raw_member(find_value(call, "function"), "arguments");
}

/*
 * What a call has beside it, as it is written; or NULL.
 */
static char *
copy_beside(const cJSON *item, const char *call)
{
	if (cJSON_GetObjectItemCaseSensitive(item, BESIDE_CALL) == NULL)
		return NULL;
	return json_raw_member(call, BESIDE_CALL);
}

/*
 * Keep what the answer has told beside its calls, if there is something: reasoning, or
 * NULL, and what is in beside for each call.
 */
static void
keep_beside(Message *message, const char *reasoning, char **beside)
{
	bool		some = reasoning != NULL;
	StringInfoData items;

	initStringInfo(&items);
	appendStringInfoString(&items, "[{");
	json_append_member(&items, BESIDE_MESSAGE, reasoning);
	for (int i = 0; i < message->tool_call_count; i++)
	{
		appendStringInfoString(&items, "},{");
		if (beside[i] == NULL)
			continue;
		some = true;
		json_append_key(&items, BESIDE_CALL);
		appendStringInfoString(&items, beside[i]);
	}
	appendStringInfoString(&items, "}]");
	if (some)
		message_keep_items(message, items.data, ITEMS_NAME);
	else
		pfree(items.data);
}

/*
 * Read the calls of a message, which is in a document of this many bytes.
 */
static void
read_tool_calls(const cJSON *source, Message *message, const char *body,
				size_t length)
{
	const cJSON *calls = cJSON_GetObjectItemCaseSensitive(source, "tool_calls");
	char	   *beside[MAX_TOOL_CALLS + 1];
	const cJSON *item;
	char	   *document;
	const char *at;

	if (calls == NULL || calls->child == NULL)
		return;
	document = json_scrub(body, length);
	at = find_calls(document, "message");
	cJSON_ArrayForEach(item, calls)
	{
		const cJSON *function =
			cJSON_GetObjectItemCaseSensitive(item, "function");
		ToolCall   *call = json_next_element(&at) ?
			message_add_tool_call(message) : NULL;

		if (call == NULL)
			break;
		call->id = json_copy_string(item, "id");
		call->call_id = json_copy_string(item, "id");
		call->name = json_copy_string(function, "name");
		call->arguments = copy_arguments(function, at);
		beside[message->tool_call_count - 1] = copy_beside(item, at);
		at = json_skip_value(at);
	}
	pfree(document);
	if (message->tool_call_count > 0 &&
		message->tool_call_count <= MAX_TOOL_CALLS)
		keep_beside(message, json_string(source, BESIDE_MESSAGE), beside);
}

static AnswerOutcome
read_finish(const char *reason, const char **error)
{
	if (reason != NULL && (strcmp(reason, "length") == 0 ||
						   strcmp(reason, "content_filter") == 0))
	{
		*error = psprintf("the answer is incomplete: %s", reason);
		return ANSWER_INCOMPLETE;
	}
	if (reason != NULL && strcmp(reason, "error") == 0)
	{
		*error = "the model server reports an error in the middle of the answer";
		return ANSWER_FAILED;
	}
	return ANSWER_COMPLETE;
}

static bool
is_error(const cJSON *tree)
{
	const cJSON *error = cJSON_GetObjectItemCaseSensitive(tree, "error");

	return error != NULL && !cJSON_IsNull(error);
}

static void
read_answer(const char *body, size_t length, ModelAnswer *answer)
{
	cJSON	   *tree = json_parse(body, length);
	const cJSON *choice =
		cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(tree, "choices"), 0);
	const cJSON *message = cJSON_GetObjectItemCaseSensitive(choice, "message");
	StringInfoData content;
	StringInfoData reasoning;

	memset(answer, 0, sizeof(ModelAnswer));
	if (is_error(tree))
	{
		answer->outcome = ANSWER_FAILED;
		answer->error = provider_error_message(0, body, length);
	}
	else if (!cJSON_IsObject(message))
	{
		answer->outcome = ANSWER_INVALID;
		answer->error = provider_invalid_answer(tree, body, length,
												"a chat completion");
	}
	else
	{
		initStringInfo(&content);
		initStringInfo(&reasoning);
		append_message(&content, &reasoning, message);
		answer->outcome = read_finish(json_string(choice, "finish_reason"),
									  &answer->error);
		message_init(&answer->message, MESSAGE_ASSISTANT, content.data);
		answer->message.reasoning = reasoning.len > 0 ? reasoning.data : NULL;
		read_tool_calls(message, &answer->message, body, length);
		token_usage_read_openai(cJSON_GetObjectItemCaseSensitive(tree, "usage"),
								"prompt", "completion",
								&answer->message.usage);
		answer->message.response_id = json_copy_string(tree, "id");
	}
	json_free(tree);
}

/*
 * Whether a piece begins another call than this part: it has the same number, and no id,
 * but a name of its own, or it is whole as that one is.
 */
static bool
begins_another(const StreamPart *part, const char *name, const char *piece)
{
	if (name == NULL || name[0] == '\0' || part->name == NULL)
		return false;
	return strcmp(part->name, name) != 0 ||
		(part->text.len > 0 && part->text.data[part->text.len - 1] == '}' &&
		 piece != NULL && piece[0] == '{');
}

/*
 * Pieces of calls: the first has the id and the name, all have a piece of the
 * arguments. Some servers send calls whole, and without a number, or all with the same.
 */
static void
read_call_pieces(ModelStream *stream, const cJSON *delta, const char *data,
				 size_t length)
{
	const cJSON *calls = cJSON_GetObjectItemCaseSensitive(delta, "tool_calls");
	const cJSON *item;
	char	   *document;
	const char *at;

	if (json_string(delta, BESIDE_MESSAGE) != NULL)
		stream->reasoning_goes_back = true;
	if (calls == NULL || calls->child == NULL)
		return;
	document = json_scrub(data, length);
	at = find_calls(document, "delta");
	cJSON_ArrayForEach(item, calls)
	{
		const cJSON *function =
			cJSON_GetObjectItemCaseSensitive(item, "function");
		const cJSON *index = cJSON_GetObjectItemCaseSensitive(item, "index");
		const char *id = json_string(item, "id");
		const char *name = json_string(function, "name");
		char	   *piece;
		char	   *beside;
		int64		number = cJSON_IsNumber(index) ?
			json_int64(item, "index") : stream->part_count;
		StreamPart *part = model_stream_part(stream, number);

		if (!json_next_element(&at))
			break;
		piece = copy_arguments(function, at);
		beside = copy_beside(item, at);
		at = json_skip_value(at);
		if (id != NULL && id[0] == '\0')
			id = NULL;
		if (part == NULL && !cJSON_IsNumber(index) && id == NULL &&
			name == NULL && stream->part_count > 0)
			part = &stream->parts[stream->part_count - 1];
		if (part != NULL && id != NULL && part->id != NULL &&
			strcmp(part->id, id) != 0)
			part = NULL;
		if (part != NULL && id == NULL && begins_another(part, name, piece))
			part = NULL;
		if (part == NULL)
			part = model_stream_add_part(stream, number);
		if (part == NULL)
			break;
		if (id != NULL && part->id == NULL)
			part->id = pstrdup(id);
		if (name != NULL && name[0] != '\0' && part->name == NULL)
			part->name = pstrdup(name);
		if (piece != NULL)
		{
			appendStringInfoString(&part->text, piece);
			pfree(piece);
		}
		if (beside != NULL)
		{
			if (part->start != NULL)
				pfree(part->start);
			part->start = beside;
		}
	}
	pfree(document);
}

static void
end_stream(ModelStream *stream)
{
	Message    *message = &stream->answer.message;
	char	   *beside[MAX_TOOL_CALLS + 1];

	for (int i = 0; i < stream->part_count; i++)
	{
		StreamPart *part = &stream->parts[i];
		ToolCall   *call = message_add_tool_call(message);

		if (call == NULL)
			return;
		beside[i] = part->start;
		call->id = part->id;
		call->call_id = part->id;
		call->name = part->name;
		call->arguments = part->text.data;
	}
	if (message->tool_call_count > 0)
		keep_beside(message, stream->reasoning_goes_back ?
					stream->reasoning.data : NULL, beside);
}

/*
 * {"choices": [{"delta": {"content": …}, "finish_reason": …}], "usage": …}, and
 * [DONE] at the end, which not all servers send. The usage comes after the
 * finish_reason, or never.
 */
static void
read_event(ModelStream *stream, const char *data, size_t length)
{
	cJSON	   *tree;
	const cJSON *choice;
	const cJSON *delta;
	const cJSON *usage;
	const char *reason;

	if (length == 6 && memcmp(data, "[DONE]", 6) == 0)
	{
		stream->ended = stream->finished;
		return;
	}
	tree = json_parse(data, length);
	if (is_error(tree))
	{
		stream->answer.outcome = ANSWER_FAILED;
		stream->answer.error = provider_error_message(0, data, length);
		stream->ended = true;
	}
	choice =
		cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(tree, "choices"), 0);
	delta = cJSON_GetObjectItemCaseSensitive(choice, "delta");
	append_message(&stream->content, &stream->reasoning, delta);
	read_call_pieces(stream, delta, data, length);
	reason = json_string(choice, "finish_reason");
	if (reason != NULL && !stream->ended)
	{
		stream->finished = true;
		stream->answer.outcome = read_finish(reason, &stream->answer.error);
	}
	usage = cJSON_GetObjectItemCaseSensitive(tree, "usage");
	if (cJSON_IsObject(usage))
		token_usage_read_openai(usage, "prompt", "completion",
								&stream->answer.message.usage);
	if (stream->answer.message.response_id == NULL)
		stream->answer.message.response_id = json_copy_string(tree, "id");
	json_free(tree);
}

const Provider provider_openai_chat = {
	.api = "openai-chat",
	.default_base_url = "https://api.openai.com/v1",
	.path = "/chat/completions",
	.key_header = "Authorization: Bearer ",
	.reserved_options = reserved_options,
	.write_request = write_request,
	.read_answer = read_answer,
	.read_event = read_event,
	.end_stream = end_stream,
};
