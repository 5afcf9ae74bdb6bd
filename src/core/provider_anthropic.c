/*-------------------------------------------------------------------------
 *
 * provider_anthropic.c
 *	  Anthropic's Messages API: POST /messages.
 *
 * Pure. The system message is no message here, max_tokens must be given, and
 * input_tokens counts only what did not come from the cache.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include "core/json.h"
#include "core/model_stream.h"

/* As Agno's Claude. */
#define DEFAULT_MAX_TOKENS 8192

static const char *const reserved_options[] = {
	"model", "messages", "system", "stream", NULL
};

static bool
has_option(const char *options, const char *name)
{
	JsonMember	member;

	while (options != NULL && json_next_member(&options, &member))
	{
		if (strcmp(member.key, name) == 0)
			return true;
	}
	return false;
}

static void
append_messages(StringInfo body, const ModelRequest *request)
{
	StringInfoData system;
	bool		first = true;

	initStringInfo(&system);
	json_append_key(body, "messages");
	appendStringInfoChar(body, '[');
	for (int i = 0; i < request->message_count; i++)
	{
		const Message *message = &request->messages[i];
		const char *content = message->content ? message->content : "";

		if (message->role == MESSAGE_SYSTEM)
		{
			appendStringInfo(&system, "%s%s", system.len > 0 ? "\n\n" : "",
							 content);
			continue;
		}
		/* Empty messages are refused. */
		if (content[0] == '\0')
			continue;
		appendStringInfoString(body, first ? "{" : ",{");
		first = false;
		json_append_key(body, "role");
		json_append_string(body, message->role == MESSAGE_ASSISTANT ?
						   "assistant" : "user");
		json_append_key(body, "content");
		json_append_string(body, content);
		appendStringInfoChar(body, '}');
	}
	appendStringInfoChar(body, ']');
	if (system.len > 0)
	{
		json_append_key(body, "system");
		json_append_string(body, system.data);
	}
}

/*
 * output_config, with the schema and what the options say of it.
 */
static void
append_output_config(StringInfo body, const ModelRequest *request)
{
	const char *options = request->options;
	JsonMember	member;

	json_append_key(body, "output_config");
	appendStringInfo(body, "{\"format\":{\"type\":\"json_schema\",\"schema\":%s}",
					 request->schema->schema);
	while (options != NULL && json_next_member(&options, &member))
	{
		if (strcmp(member.key, "output_config") == 0 && member.value[0] == '{')
			provider_append_options(body, member.value, "format");
	}
	appendStringInfoChar(body, '}');
}

/*
 * {"model": …, "max_tokens": …, "messages": […], "system": …, options…}
 */
static void
write_request(StringInfo body, const ModelRequest *request)
{
	appendStringInfoChar(body, '{');
	json_append_key(body, "model");
	json_append_string(body, request->model);
	if (!has_option(request->options, "max_tokens"))
		appendStringInfo(body, ",\"max_tokens\":%d", DEFAULT_MAX_TOKENS);
	append_messages(body, request);
	if (request->schema != NULL)
		append_output_config(body, request);
	if (request->stream)
		appendStringInfoString(body, ",\"stream\":true");
	provider_append_options(body, request->options,
							request->schema != NULL ? "output_config" : NULL);
	appendStringInfoChar(body, '}');
}

/*
 * Counts that are there replace those before: those of a stream are told twice,
 * and the second time in full.
 */
static void
read_usage(const cJSON *usage, TokenUsage *out)
{
	int64		fresh = token_count(usage, "input_tokens");
	int64		written = token_count(usage, "cache_creation_input_tokens");
	int64		read = token_count(usage, "cache_read_input_tokens");
	int64		output = token_count(usage, "output_tokens");

	if (fresh + written + read > 0)
	{
		out->input = fresh + written + read;
		out->cache_read = read;
	}
	if (output > 0)
		out->output = output;
	out->total = out->input + out->output;
}

static AnswerOutcome
read_stop(const char *reason, const char **error)
{
	static const char *const cut[] = {
		"max_tokens", "model_context_window_exceeded", "pause_turn", "refusal"
	};

	for (int i = 0; reason != NULL && i < (int) lengthof(cut); i++)
	{
		if (strcmp(reason, cut[i]) == 0)
		{
			*error = psprintf("the answer is incomplete: %s", reason);
			return ANSWER_INCOMPLETE;
		}
	}
	return ANSWER_COMPLETE;
}

static void
add_tool_call(Message *message, const cJSON *block)
{
	ToolCall   *call = message_add_tool_call(message);

	call->id = json_copy_string(block, "id");
	call->call_id = json_copy_string(block, "id");
	call->name = json_copy_string(block, "name");
}

static void
read_blocks(const cJSON *blocks, Message *message)
{
	const cJSON *block;
	StringInfoData content;
	StringInfoData reasoning;

	initStringInfo(&content);
	initStringInfo(&reasoning);
	cJSON_ArrayForEach(block, blocks)
	{
		const char *type = json_string(block, "type");
		const char *piece;

		if (type == NULL)
			continue;
		if (strcmp(type, "text") == 0)
		{
			piece = json_string(block, "text");
			appendStringInfoString(&content, piece != NULL ? piece : "");
		}
		else if (strcmp(type, "thinking") == 0)
		{
			piece = json_string(block, "thinking");
			appendStringInfoString(&reasoning, piece != NULL ? piece : "");
		}
		else if (strcmp(type, "tool_use") == 0)
			add_tool_call(message, block);
	}
	message->content = content.data;
	message->reasoning = reasoning.len > 0 ? reasoning.data : NULL;
}

static void
read_answer(const char *body, size_t length, ModelAnswer *answer)
{
	cJSON	   *tree = json_parse(body, length);
	const cJSON *blocks = cJSON_GetObjectItemCaseSensitive(tree, "content");
	const char *type = json_string(tree, "type");

	memset(answer, 0, sizeof(ModelAnswer));
	if (type != NULL && strcmp(type, "error") == 0)
	{
		answer->outcome = ANSWER_FAILED;
		answer->error = provider_error_message(0, body, length);
	}
	else if (!cJSON_IsArray(blocks))
	{
		answer->outcome = ANSWER_INVALID;
		answer->error = provider_invalid_answer(tree, body, length,
												"a message");
	}
	else
	{
		message_init(&answer->message, MESSAGE_ASSISTANT, NULL);
		read_blocks(blocks, &answer->message);
		answer->outcome = read_stop(json_string(tree, "stop_reason"),
									&answer->error);
		read_usage(cJSON_GetObjectItemCaseSensitive(tree, "usage"),
				   &answer->message.usage);
		answer->message.response_id = json_copy_string(tree, "id");
	}
	cJSON_Delete(tree);
}

/*
 * message_start, content_block_delta, message_delta, message_stop and error;
 * others say nothing that is needed.
 */
static void
read_event(ModelStream *stream, const char *data, size_t length)
{
	cJSON	   *tree = json_parse(data, length);
	const char *type = json_string(tree, "type");
	const cJSON *message = cJSON_GetObjectItemCaseSensitive(tree, "message");
	const cJSON *delta = cJSON_GetObjectItemCaseSensitive(tree, "delta");
	const char *piece;

	if (type == NULL)
		type = "";
	if (strcmp(type, "message_start") == 0)
	{
		stream->answer.message.response_id = json_copy_string(message, "id");
		read_usage(cJSON_GetObjectItemCaseSensitive(message, "usage"),
				   &stream->answer.message.usage);
	}
	else if (strcmp(type, "content_block_delta") == 0)
	{
		piece = json_string(delta, "text");
		if (piece != NULL)
			appendStringInfoString(&stream->content, piece);
		piece = json_string(delta, "thinking");
		if (piece != NULL)
			appendStringInfoString(&stream->reasoning, piece);
	}
	else if (strcmp(type, "message_delta") == 0)
	{
		stream->answer.outcome = read_stop(json_string(delta, "stop_reason"),
										   &stream->answer.error);
		stream->finished = json_string(delta, "stop_reason") != NULL;
		read_usage(cJSON_GetObjectItemCaseSensitive(tree, "usage"),
				   &stream->answer.message.usage);
	}
	else if (strcmp(type, "message_stop") == 0)
		stream->ended = stream->finished;
	else if (strcmp(type, "error") == 0)
	{
		stream->answer.outcome = ANSWER_FAILED;
		stream->answer.error = provider_error_message(0, data, length);
		stream->ended = true;
	}
	cJSON_Delete(tree);
}

static const char *const headers[] = {"anthropic-version: 2023-06-01", NULL};

const Provider provider_anthropic = {
	.api = "anthropic",
	.default_base_url = "https://api.anthropic.com/v1",
	.path = "/messages",
	.key_header = "x-api-key: ",
	.headers = headers,
	.reserved_options = reserved_options,
	.write_request = write_request,
	.read_answer = read_answer,
	.read_event = read_event,
};
