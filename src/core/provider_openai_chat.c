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
 * {"model": …, "messages": [{"role": …, "content": …}, …], options…}
 */
static void
write_request(StringInfo body, const ModelRequest *request)
{
	appendStringInfoChar(body, '{');
	json_append_key(body, "model");
	json_append_string(body, request->model);
	provider_append_messages(body, "messages", request, role_names);
	if (request->schema != NULL)
		append_response_format(body, request->schema);
	if (request->stream)
		appendStringInfoString(body, ",\"stream\":true,"
							   "\"stream_options\":{\"include_usage\":true}");
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
	const char *thought = json_string(message, "reasoning_content");
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
		call->call_id = json_copy_string(item, "id");
		call->name = json_copy_string(function, "name");
		call->arguments = json_copy_string(function, "arguments");
	}
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
		read_tool_calls(cJSON_GetObjectItemCaseSensitive(message, "tool_calls"),
						&answer->message);
		token_usage_read_openai(cJSON_GetObjectItemCaseSensitive(tree, "usage"),
								"prompt", "completion",
								&answer->message.usage);
		answer->message.response_id = json_copy_string(tree, "id");
	}
	cJSON_Delete(tree);
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
	append_message(&stream->content, &stream->reasoning,
				   cJSON_GetObjectItemCaseSensitive(choice, "delta"));
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
	cJSON_Delete(tree);
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
};
