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

/* What Agno keeps the parts of an answer in. */
#define ITEMS_NAME "content_blocks"

/* As Agno's Claude. */
#define DEFAULT_MAX_TOKENS 8192
#define TOOLS_TEXT \
	"Do not reflect on the quality of the returned search results in your response\n\n"

/*
 * How many strict tools a request may have, and in how many places their schemas
 * may have a choice of types.
 */
#define MAX_STRICT_TOOLS 20
#define MAX_STRICT_CHOICES 16

static const char *const reserved_options[] = {
	"model", "messages", "system", "stream", NULL
};

/*
 * An answer with calls, as it came or put together again.
 */
static void
append_calls(StringInfo body, const Message *message)
{
	appendStringInfoString(body, "{\"role\":\"assistant\",\"content\":");
	if (message->items != NULL &&
		strcmp(message->items_name, ITEMS_NAME) == 0)
	{
		appendStringInfo(body, "%s}", message->items);
		return;
	}
	appendStringInfoChar(body, '[');
	if (message->content != NULL && message->content[0] != '\0')
	{
		appendStringInfoString(body, "{\"type\":\"text\"");
		json_append_member(body, "text", message->content);
		appendStringInfoString(body, "},");
	}
	for (int i = 0; i < message->tool_call_count; i++)
	{
		const ToolCall *call = &message->tool_calls[i];
		const char *given = provider_arguments(call);
		const char *arguments = json_scrub(given, strlen(given));
		bool		usable = arguments[strspn(arguments, " \t\r\n")] == '{' &&
			json_is_jsonb(arguments);

		appendStringInfoString(body, i > 0 ? ",{" : "{");
		json_append_member(body, "type", "tool_use");
		json_append_member(body, "id", call->call_id);
		json_append_member(body, "name", call->name);
		json_append_key(body, "input");
		appendStringInfoString(body, usable ? arguments : "{}");
		appendStringInfoChar(body, '}');
	}
	appendStringInfoString(body, "]}");
}

/*
 * The results of the tools from this message on, as one message of the user.
 * Returns how many there are.
 */
static int
append_results(StringInfo body, const Message *messages, int count)
{
	int			n = 0;

	appendStringInfoString(body, "{\"role\":\"user\",\"content\":[");
	for (; n < count && messages[n].role == MESSAGE_TOOL; n++)
	{
		const Message *message = &messages[n];

		appendStringInfoString(body, n > 0 ? ",{" : "{");
		json_append_member(body, "type", "tool_result");
		json_append_member(body, "tool_use_id", message->call_id);
		json_append_member(body, "content",
						   message->content != NULL ? message->content : "");
		if (message->tool_call_error || !message->executed)
			appendStringInfoString(body, ",\"is_error\":true");
		appendStringInfoChar(body, '}');
	}
	appendStringInfoString(body, "]}");
	return n;
}

static void
append_messages(StringInfo body, const ModelRequest *request)
{
	StringInfoData system;
	const char *comma = "";

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
		if (content[0] == '\0' && message->tool_call_count == 0 &&
			message->role != MESSAGE_TOOL)
			continue;
		appendStringInfoString(body, comma);
		comma = ",";
		if (message->tool_call_count > 0)
			append_calls(body, message);
		else if (message->role == MESSAGE_TOOL)
			i += append_results(body, message, request->message_count - i) - 1;
		else
		{
			appendStringInfoChar(body, '{');
			json_append_member(body, "role",
							   message->role == MESSAGE_ASSISTANT ?
							   "assistant" : "user");
			json_append_member(body, "content", content);
			appendStringInfoChar(body, '}');
		}
	}
	appendStringInfoChar(body, ']');
	if (system.len > 0)
	{
		json_append_key(body, "system");
		json_append_string(body, system.data);
	}
}

/* What strict schemas may not say here: the arguments are checked in any case. */
static const char *const unknown_keywords[] = {
	"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
	"minLength", "maxLength", "minItems", "maxItems", NULL
};

/*
 * Write the schemas of the strict tools as this API takes them. Returns false if it
 * refuses a request with so many, or with so much of it in them.
 */
static bool
write_strict_schemas(const ToolList *tools, char **schemas)
{
	int			choices = MAX_STRICT_CHOICES;
	int			count = 0;

	for (int i = 0; i < tools->count; i++)
	{
		StringInfoData schema;

		if (!tools->tools[i].strict)
			continue;
		if (count == MAX_STRICT_TOOLS)
			return false;
		initStringInfo(&schema);
		if (!schema_append_without(&schema, tools->tools[i].parameters,
								   unknown_keywords, &choices))
			return false;
		schemas[count++] = schema.data;
	}
	return true;
}

/*
 * None is strict if not all are that ask for it: the schemas are whole then.
 */
static void
fit_tools(ToolList *tools)
{
	char	   *schemas[MAX_STRICT_TOOLS];
	bool		strict = write_strict_schemas(tools, schemas);
	int			count = 0;

	for (int i = 0; i < tools->count; i++)
	{
		Tool	   *tool = &tools->tools[i];

		if (tool->strict && strict)
			tool->parameters = schemas[count++];
		tool->strict &= strict;
	}
}

static const char *
tools_header(const ToolList *tools)
{
	for (int i = 0; i < tools->count; i++)
	{
		if (tools->tools[i].strict)
			return "anthropic-beta: structured-outputs-2025-11-13";
	}
	return NULL;
}

/*
 * The tools. They stay when no more may be called: a conversation with calls is
 * refused without them.
 */
static void
append_tools(StringInfo body, const ModelRequest *request)
{
	const char *choice = request->no_more_tools ? "none" : request->tool_choice;

	if (request->tools == NULL)
		return;
	json_append_key(body, "tools");
	for (int i = 0; i < request->tools->count; i++)
	{
		const Tool *tool = &request->tools->tools[i];

		appendStringInfoString(body, i > 0 ? ",{" : "[{");
		json_append_member(body, "name", tool->name);
		json_append_member(body, "description", tool->description);
		json_append_key(body, "input_schema");
		appendStringInfoString(body, tool->parameters);
		if (tool->strict)
			appendStringInfoString(body, ",\"strict\":true");
		appendStringInfoChar(body, '}');
	}
	appendStringInfoChar(body, ']');
	if (choice == NULL)
		return;
	json_append_key(body, "tool_choice");
	appendStringInfoChar(body, '{');
	if (tools_find(request->tools, choice) != NULL)
	{
		json_append_member(body, "type", "tool");
		json_append_member(body, "name", choice);
	}
	else
		json_append_member(body, "type",
						   strcmp(choice, "required") == 0 ? "any" : choice);
	appendStringInfoChar(body, '}');
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
	if (json_find_member(options, "output_config", &member) &&
		member.value[0] == '{')
		provider_append_options(body, member.value, "format");
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
	if (!json_has_member(request->options, "max_tokens"))
		appendStringInfo(body, ",\"max_tokens\":%d", DEFAULT_MAX_TOKENS);
	append_messages(body, request);
	append_tools(body, request);
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
add_tool_call(Message *message, const cJSON *block, char *input)
{
	ToolCall   *call = message_add_tool_call(message);

	if (call == NULL)
		return;
	call->id = json_copy_string(block, "id");
	call->call_id = call->id;
	call->name = json_copy_string(block, "name");
	call->arguments = input;
}

/*
 * Read the calls among the blocks, and keep all blocks as they came.
 */
static void
read_calls(const cJSON *blocks, char *raw, Message *message)
{
	const cJSON *block;
	const char *at = raw;

	cJSON_ArrayForEach(block, blocks)
	{
		const char *type = json_string(block, "type");
		const char *end;

		if (!json_next_element(&at))
			break;
		end = json_skip_value(at);
		if (type != NULL && strcmp(type, "tool_use") == 0)
			add_tool_call(message, block,
						  provider_raw_member(at, end - at, NULL, "input"));
		at = end;
	}
	message_keep_items(message, raw, ITEMS_NAME);
}

/*
 * Read text and reasoning. Returns whether there are calls as well.
 */
static bool
read_blocks(const cJSON *blocks, Message *message)
{
	bool		calls = false;
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
			calls = true;
	}
	message->content = content.data;
	message->reasoning = reasoning.len > 0 ? reasoning.data : NULL;
	return calls;
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
		if (read_blocks(blocks, &answer->message))
			read_calls(blocks, provider_raw_member(body, length, NULL,
												   "content"),
					   &answer->message);
		answer->outcome = read_stop(json_string(tree, "stop_reason"),
									&answer->error);
		read_usage(cJSON_GetObjectItemCaseSensitive(tree, "usage"),
				   &answer->message.usage);
		answer->message.response_id = json_copy_string(tree, "id");
	}
	json_free(tree);
}

/*
 * A block begins.
 */
static void
start_block(ModelStream *stream, const cJSON *tree, const char *data,
			size_t length)
{
	const cJSON *block = cJSON_GetObjectItemCaseSensitive(tree, "content_block");
	StreamPart *part = model_stream_add_part(stream,
											 json_int64(tree, "index"));

	if (part == NULL)
		return;
	part->type = json_copy_string(block, "type");
	part->id = json_copy_string(block, "id");
	part->name = json_copy_string(block, "name");
	part->start = provider_raw_member(data, length, NULL, "content_block");
}

/*
 * A piece of a block.
 */
static void
read_piece(ModelStream *stream, const cJSON *tree)
{
	const cJSON *delta = cJSON_GetObjectItemCaseSensitive(tree, "delta");
	StreamPart *part = model_stream_part(stream, json_int64(tree, "index"));
	const char *text = json_string(delta, "text");
	const char *thinking = json_string(delta, "thinking");
	const char *signature = json_string(delta, "signature");
	const char *input = json_string(delta, "partial_json");

	if (text != NULL)
		appendStringInfoString(&stream->content, text);
	if (thinking != NULL)
		appendStringInfoString(&stream->reasoning, thinking);
	if (part == NULL)
		return;
	if (text != NULL)
		appendStringInfoString(&part->text, text);
	if (thinking != NULL)
		appendStringInfoString(&part->text, thinking);
	if (input != NULL)
		appendStringInfoString(&part->text, input);
	if (signature != NULL)
		appendStringInfoString(&part->signature, signature);
}

/*
 * The arguments of a call: what came in pieces, or else at once.
 */
static char *
block_input(const StreamPart *part)
{
	char	   *input = NULL;

	if (part->text.len == 0 && part->start != NULL)
		input = provider_raw_member(part->start, strlen(part->start), NULL,
									"input");
	return input != NULL ? input : part->text.data;
}

/*
 * Append a block as the server would have sent it in one go.
 */
static void
append_block(StringInfo out, const StreamPart *part)
{
	const char *type = part->type != NULL ? part->type : "";
	bool		is_text = strcmp(type, "text") == 0;
	char	   *raw;
	cJSON	   *input;

	if (!is_text && strcmp(type, "thinking") != 0 &&
		strcmp(type, "tool_use") != 0)
	{
		appendStringInfoString(out, part->start != NULL ? part->start : "{}");
		return;
	}
	appendStringInfoChar(out, '{');
	json_append_member(out, "type", type);
	if (strcmp(type, "tool_use") != 0)
	{
		json_append_member(out, is_text ? "text" : "thinking", part->text.data);
		if (!is_text)
			json_append_member(out, "signature", part->signature.data);
		appendStringInfoChar(out, '}');
		return;
	}
	json_append_member(out, "id", part->id);
	json_append_member(out, "name", part->name);
	json_append_key(out, "input");
	raw = block_input(part);
	input = json_parse(raw, strlen(raw));
	appendStringInfoString(out, cJSON_IsObject(input) ?
						   json_scrub(raw, strlen(raw)) : "{}");
	appendStringInfoChar(out, '}');
	json_free(input);
}

/*
 * The stream is over: if there are calls in it, its blocks are kept.
 */
static void
end_stream(ModelStream *stream)
{
	Message    *message = &stream->answer.message;
	StringInfoData items;

	initStringInfo(&items);
	for (int i = 0; i < stream->part_count; i++)
	{
		StreamPart *part = &stream->parts[i];
		ToolCall   *call;

		/* Empty text is refused when it is sent back. */
		if (part->type == NULL ||
			(strcmp(part->type, "text") == 0 && part->text.len == 0))
			continue;
		appendStringInfoChar(&items, items.len > 0 ? ',' : '[');
		append_block(&items, part);
		if (strcmp(part->type, "tool_use") != 0)
			continue;
		call = message_add_tool_call(message);
		if (call == NULL)
			break;
		call->id = part->id;
		call->call_id = part->id;
		call->name = part->name;
		call->arguments = block_input(part);
	}
	if (message->tool_call_count == 0)
		return;
	appendStringInfoChar(&items, ']');
	message_keep_items(message, items.data, ITEMS_NAME);
}

/*
 * message_start, content_block_start, content_block_delta, message_delta,
 * message_stop and error; others say nothing that is needed.
 */
static void
read_event(ModelStream *stream, const char *data, size_t length)
{
	cJSON	   *tree = json_parse(data, length);
	const char *type = json_string(tree, "type");
	const cJSON *message = cJSON_GetObjectItemCaseSensitive(tree, "message");
	const cJSON *delta = cJSON_GetObjectItemCaseSensitive(tree, "delta");

	if (type == NULL)
		type = "";
	if (strcmp(type, "message_start") == 0)
	{
		stream->answer.message.response_id = json_copy_string(message, "id");
		read_usage(cJSON_GetObjectItemCaseSensitive(message, "usage"),
				   &stream->answer.message.usage);
	}
	else if (strcmp(type, "content_block_start") == 0)
		start_block(stream, tree, data, length);
	else if (strcmp(type, "content_block_delta") == 0)
		read_piece(stream, tree);
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
	json_free(tree);
}

static const char *const headers[] = {"anthropic-version: 2023-06-01", NULL};

const Provider provider_anthropic = {
	.api = "anthropic",
	.default_base_url = "https://api.anthropic.com/v1",
	.path = "/messages",
	.key_header = "x-api-key: ",
	.headers = headers,
	.tools_text = TOOLS_TEXT,
	.calls_need_tools = true,
	.reserved_options = reserved_options,
	.fit_tools = fit_tools,
	.tools_header = tools_header,
	.write_request = write_request,
	.read_answer = read_answer,
	.read_event = read_event,
	.end_stream = end_stream,
};
