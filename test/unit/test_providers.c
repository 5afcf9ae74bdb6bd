/*
 * provider_openai_chat.c, provider_anthropic.c, and the streams of all three.
 */
#include "core/portable.h"

#include <time.h>

#include "core/known_servers.h"
#include "core/model_stream.h"
#include "unit.h"

/* Of the address sanitizer, with which these tests are built. */
extern size_t __sanitizer_get_current_allocated_bytes(void);

static Message messages[3];

static char *
request_of(const Provider *provider, const char *options, bool stream,
		   bool structured)
{
	OutputSchema schema = {"s", "{}", true};
	ModelRequest request = {"m", messages, 3, options,
	structured ? &schema : NULL, stream};
	StringInfoData body;

	initStringInfo(&body);
	provider->write_request(&body, &request);
	return body.data;
}

static ModelAnswer
answer_of(const Provider *provider, const char *body)
{
	ModelAnswer answer;

	provider->read_answer(body, strlen(body), &answer);
	return answer;
}

static ModelAnswer
stream_of(const Provider *provider, const char *body)
{
	ModelStream *stream = model_stream_create(provider);
	ModelAnswer answer;

	model_stream_feed(stream, body, strlen(body));
	model_stream_end(stream, &answer);
	return answer;
}

static void
test_chat(void)
{
	const Provider *chat = &provider_openai_chat;
	const ModelRequest told = {.model = "m",.stream = true,.tells_usage = true};
	StringInfoData body;
	ModelAnswer answer;

	check_text(request_of(chat, "{\"temperature\": 0.50}", false, false),
			   "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"S\"},"
			   "{\"role\":\"user\",\"content\":\"U\"},"
			   "{\"role\":\"assistant\",\"content\":\"A\"}],\"temperature\":0.50}");
	check_text(strstr(request_of(chat, "{\"response_format\": 1, \"seed\": 2}", true, true), "],") + 2,
			   "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":"
			   "{\"name\":\"s\",\"schema\":{},\"strict\":true}},"
			   "\"stream\":true,\"stream_options\":{\"include_usage\":true},\"seed\":2}");

	/* Mistral refuses to be asked for the tokens */
	check(known_server_tells_usage("https://api.mistral.ai/v1"));
	check(!known_server_tells_usage("https://api.openai.com/v1"));
	initStringInfo(&body);
	chat->write_request(&body, &told);
	check_text(body.data, "{\"model\":\"m\",\"messages\":[],\"stream\":true}");

	/* DeepSeek sends empty lines while one waits */
	answer = answer_of(chat, "\n\n{\"id\":\"c\",\"choices\":[{\"message\":{\"content\":\"Hi\","
					   "\"reasoning\":\"Hm\",\"tool_calls\":[{\"id\":\"t\",\"function\":"
					   "{\"name\":\"f\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"stop\"}],"
					   "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3,"
					   "\"prompt_tokens_details\":{\"cached_tokens\":4},"
					   "\"completion_tokens_details\":{\"reasoning_tokens\":5}}}");
	check(answer.outcome == ANSWER_COMPLETE);
	check_text(answer.message.content, "Hi");
	check_text(answer.message.reasoning, "Hm");
	check_text(answer.message.tool_calls[0].name, "f");
	check(answer.message.usage.input == 1 && answer.message.usage.cache_read == 4);
	check(answer.message.usage.reasoning == 5);
	answer = answer_of(chat, "{\"choices\":[{\"message\":{\"content\":[{\"text\":\"a\"},{\"text\":\"b\"}]},"
					   "\"finish_reason\":\"length\"}]}");
	check(answer.outcome == ANSWER_INCOMPLETE);
	check_text(answer.message.content, "ab");
	/* OpenRouter's errors come with a status of 200 */
	answer = answer_of(chat, "{\"error\":{\"code\":402,\"message\":\"No credits\"}}");
	check(answer.outcome == ANSWER_FAILED);
	check_text(answer.error, "No credits");
	check(answer_of(chat, "{\"choices\":[]}").outcome == ANSWER_INVALID);
	check(answer_of(chat, "[]").outcome == ANSWER_INVALID);
	check(answer_of(chat, "<html>").outcome == ANSWER_INVALID);

	answer = stream_of(chat, "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\n\n"
					   ": OPENROUTER PROCESSING\n\n"
					   "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"Hm\"}}]}\n\n"
					   "data: {\"choices\":[{\"delta\":{\"content\":\"H\"}}]}\n\n"
					   "data: {\"choices\":[{\"delta\":{\"content\":\"i\"}}]}\n\n"
					   "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
					   "data: {\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\n"
					   "data: [DONE]\n\n");
	check(answer.outcome == ANSWER_COMPLETE);
	check_text(answer.message.content, "Hi");
	check_text(answer.message.reasoning, "Hm");
	check(answer.message.usage.total == 3);
	/* Azure's first chunk */
	check(stream_of(chat, "data: {\"choices\":[],\"prompt_filter_results\":[{\"prompt_index\":0}]}\n\n"
					"data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\n").outcome == ANSWER_COMPLETE);
	/* OpenRouter's error in the middle */
	answer = stream_of(chat, "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n"
					   "data: {\"error\":{\"code\":502,\"message\":\"Upstream\"},\"choices\":[{\"delta\":"
					   "{\"content\":\"\"},\"finish_reason\":\"error\"}]}\n\n");
	check(answer.outcome == ANSWER_FAILED);
	check_text(answer.error, "Upstream");
	/* no [DONE] */
	check(stream_of(chat, "data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\n").outcome == ANSWER_COMPLETE);
	/* no finish_reason */
	check(stream_of(chat, "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\ndata: [DONE]\n\n").outcome == ANSWER_INVALID);
	answer = stream_of(chat, "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\ndata: {\"error\":\"broke\"}\n\n");
	check(answer.outcome == ANSWER_FAILED);
	check_text(answer.error, "broke");
	check(stream_of(chat, "data: nonsense\n\n").outcome == ANSWER_INVALID);
}

/*
 * What some servers demand back with their calls goes back to the model that told it,
 * and to no other.
 */
static void
test_beside_calls(void)
{
	const Provider *chat = &provider_openai_chat;
	ModelRequest request = {.model = "m",.message_count = 1};
	ModelAnswer answers[2];
	StringInfoData body;

	answers[0] = answer_of(chat, "{\"choices\":[{\"message\":{\"content\":\"\",\"reasoning_content\":\"Hm\",\"tool_calls\":["
						   "{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"},\"extra_content\":{\"g\":1.50}},"
						   "{\"id\":\"b\",\"function\":{\"name\":\"g\",\"arguments\":{\"k\":1.50}}}]}}]}");
	answers[1] = stream_of(chat, "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"H\"}}]}\n\n"
						   "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"m\",\"tool_calls\":["
						   "{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"},\"extra_content\":{\"g\":1.50}}]}}]}\n\n"
						   "data: {\"choices\":[{\"delta\":{\"tool_calls\":["
						   "{\"index\":1,\"id\":\"b\",\"function\":{\"name\":\"g\",\"arguments\":{\"k\":1.50}}}]},"
						   "\"finish_reason\":\"tool_calls\"}]}\n\n");
	for (int i = 0; i < 2; i++)
	{
		Message    *message = &answers[i].message;

		check_text(message->items, "[{\"reasoning_content\":\"Hm\"},{\"extra_content\":{\"g\":1.50}},{}]");
		request.messages = message;
		message->items_model = "m";
		initStringInfo(&body);
		chat->write_request(&body, &request);
		check_text(body.data, "{\"model\":\"m\",\"messages\":[{\"role\":\"assistant\",\"content\":\"\","
				   "\"reasoning_content\":\"Hm\",\"tool_calls\":["
				   "{\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"},\"extra_content\":{\"g\":1.50}},"
				   "{\"id\":\"b\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{\\\"k\\\":1.50}\"}}]}]}");
		message->items_model = "another";
		resetStringInfo(&body);
		chat->write_request(&body, &request);
		check(strstr(body.data, "reasoning") == NULL && strstr(body.data, "extra") == NULL);
	}
	/* of reasoning by another name, nothing is demanded */
	answers[0] = answer_of(chat, "{\"choices\":[{\"message\":{\"reasoning\":\"Hm\",\"tool_calls\":[{\"id\":\"a\"}]}}]}");
	check(answers[0].message.tool_call_count == 1 && answers[0].message.items == NULL);
}

/* Servers that imitate OpenAI's write arguments as objects, and give all calls one number. */
static void
test_odd_calls(void)
{
	ModelAnswer answer;

	answer = answer_of(&provider_openai_responses,
					   "{\"status\":\"completed\",\"output\":[{\"type\":\"reasoning\"},"
					   "{\"type\":\"function_call\",\"call_id\":\"a\",\"name\":\"f\",\"arguments\":null},"
					   "{\"type\":\"function_call\",\"call_id\":\"b\",\"name\":\"g\",\"arguments\":{\"k\":1.50}}]}");
	check(answer.message.tool_call_count == 2 && answer.message.tool_calls[0].arguments == NULL);
	check_text(answer.message.tool_calls[1].arguments, "{\"k\":1.50}");
	answer = stream_of(&provider_openai_chat,
					   "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}}]}}]}\n\n"
					   "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":2}\"}}]}}]}\n\n"
					   "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"g\",\"arguments\":\"\"}}]}}]}\n\n"
					   "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"g\",\"arguments\":\"{\"}}]}}]}\n\n"
					   "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"}\"}}]},\"finish_reason\":\"stop\"}]}\n\n");
	check(answer.message.tool_call_count == 3);
	check_text(answer.message.tool_calls[1].arguments, "{\"a\":2}");
	check_text(answer.message.tool_calls[2].name, "g");
	check_text(answer.message.tool_calls[2].arguments, "{}");
	/* and leave out the sum of the tokens */
	answer = answer_of(&provider_openai_chat, "{\"choices\":[{\"message\":{\"content\":\"\"}}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}");
	check(answer.message.usage.total == 3);
}

static void
test_anthropic(void)
{
	const Provider *anthropic = &provider_anthropic;
	ModelAnswer answer;

	check_text(request_of(anthropic, NULL, false, false),
			   "{\"model\":\"m\",\"max_tokens\":8192,\"messages\":["
			   "{\"role\":\"user\",\"content\":\"U\"},"
			   "{\"role\":\"assistant\",\"content\":\"A\"}],\"system\":\"S\"}");
	check_text(strstr(request_of(anthropic, "{\"max_tokens\": 5, \"output_config\": {\"effort\": \"low\"}}", true, true), "\"system\""),
			   "\"system\":\"S\",\"output_config\":{\"format\":{\"type\":\"json_schema\","
			   "\"schema\":{}},\"effort\":\"low\"},\"stream\":true,\"max_tokens\":5}");

	answer = answer_of(anthropic, "{\"id\":\"m\",\"type\":\"message\",\"content\":["
					   "{\"type\":\"thinking\",\"thinking\":\"Hm\",\"signature\":\"s\"},"
					   "{\"type\":\"text\",\"text\":\"H\"},{\"type\":\"text\",\"text\":\"i\"},"
					   "{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{}}],"
					   "\"stop_reason\":\"end_turn\",\"usage\":{\"input_tokens\":1,"
					   "\"cache_creation_input_tokens\":2,\"cache_read_input_tokens\":3,\"output_tokens\":4}}");
	check(answer.outcome == ANSWER_COMPLETE);
	check_text(answer.message.content, "Hi");
	check_text(answer.message.reasoning, "Hm");
	check_text(answer.message.tool_calls[0].name, "f");
	check(answer.message.usage.input == 6 && answer.message.usage.cache_read == 3);
	check(answer.message.usage.total == 10);
	check(answer_of(anthropic, "{\"type\":\"message\",\"content\":[],\"stop_reason\":\"refusal\"}").outcome == ANSWER_INCOMPLETE);
	answer = answer_of(anthropic, "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}");
	check(answer.outcome == ANSWER_FAILED);
	check_text(answer.error, "Overloaded");
	check(answer_of(anthropic, "{}").outcome == ANSWER_INVALID);

	answer = stream_of(anthropic, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\","
					   "\"usage\":{\"input_tokens\":1,\"cache_read_input_tokens\":3,\"output_tokens\":1}}}\n\n"
					   "event: ping\ndata: {\"type\":\"ping\"}\n\n"
					   "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"Hm\"}}\n\n"
					   "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n"
					   "data: {\"type\":\"something_new\"}\n\n"
					   "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":9}}\n\n"
					   "data: {\"type\":\"message_stop\"}\n\n");
	check(answer.outcome == ANSWER_COMPLETE);
	check_text(answer.message.content, "Hi");
	check_text(answer.message.response_id, "m");
	check(answer.message.usage.input == 4 && answer.message.usage.output == 9);
	answer = stream_of(anthropic, "data: {\"type\":\"error\",\"error\":{\"message\":\"Overloaded\"}}\n\n");
	check(answer.outcome == ANSWER_FAILED);
	check(stream_of(anthropic, "data: {\"type\":\"message_stop\"}\n\n").outcome == ANSWER_INVALID);
}

static void
test_responses(void)
{
	const Provider *responses = &provider_openai_responses;
	ModelAnswer answer;

	answer = stream_of(responses, "data: {\"type\":\"response.output_text.delta\",\"delta\":\"H\"}\n\n"
					   "data: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"status\":\"completed\","
					   "\"output\":[{\"type\":\"message\",\"content\":[{\"text\":\"Hi\"}]}],\"usage\":{\"total_tokens\":3}}}\n\n");
	check(answer.outcome == ANSWER_COMPLETE);
	check_text(answer.message.content, "Hi");
	check(answer.message.usage.total == 3);
	/* the last event without the output */
	answer = stream_of(responses, "data: {\"type\":\"response.output_text.delta\",\"delta\":\"Hi\"}\n\n"
					   "data: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\"}}\n\n");
	check_text(answer.message.content, "Hi");
	answer = stream_of(responses, "data: {\"type\":\"response.output_text.delta\",\"delta\":\"H\"}\n\n"
					   "data: {\"type\":\"response.incomplete\",\"response\":{\"status\":\"incomplete\"}}\n\n");
	check(answer.outcome == ANSWER_INCOMPLETE);
	check_text(answer.message.content, "H");
	answer = stream_of(responses, "data: {\"type\":\"error\",\"code\":\"x\",\"message\":\"broke\"}\n\n");
	check(answer.outcome == ANSWER_FAILED);
	check_text(answer.error, "broke");
	check(stream_of(responses, "data: {\"type\":\"response.output_text.delta\",\"delta\":\"H\"}\n\n").outcome == ANSWER_INVALID);
}

/*
 * What cJSON takes for white space, and skips at the start, is nothing to those
 * either who look for the text of what it has found.
 */
static void
test_odd_space(void)
{
	static const char *const starts[] = {"", "\xef\xbb\xbf", "\xef\xbb\xbf\xef\xbb\xbf", "\v\x01", NULL};
	static const char *const spaces[] = {"\x01", "\f", "\x1f ", NULL};
	ModelAnswer answer;

	for (int i = 0; starts[i] != NULL; i++)
	{
		for (int j = 0; spaces[j] != NULL; j++)
		{
			answer = stream_of(&provider_openai_responses,
							   psprintf("data:x\n\ndata: %s{\"type\":\"response.output_item.done\",%s\"item\"%s:%s"
										"{\"type\":\"function_call\",\"call_id\":\"a\",\"name\":\"n\"}%s}\n\n"
										"data: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\"}}\n\n",
										starts[i], spaces[j], spaces[j], spaces[j], spaces[j]));
			check(answer.outcome == ANSWER_COMPLETE);
			check(answer.message.tool_call_count == 1);
			check_text(answer.message.items, "[{\"type\":\"function_call\",\"call_id\":\"a\",\"name\":\"n\"}]");
			answer = answer_of(&provider_anthropic,
							   psprintf("%s{%s\"content\"%s:%s[{%s\"type\":\"tool_use\",%s\"input\":{\"k\":1}}]}",
										starts[i], spaces[j], spaces[j], spaces[j], spaces[j], spaces[j]));
			check(answer.message.tool_call_count == 1);
			check_text(answer.message.tool_calls[0].arguments, "{\"k\":1}");
		}
	}
}

/*
 * What is read of an answer takes no more memory than some multiple of it, and what
 * is looked at and not kept takes none: each of these once left a kB behind, for a
 * few bytes.
 */
static void
test_memory(void)
{
	static const struct
	{
		const Provider *provider;
		bool		stream;
		const char *start;
		const char *again;
		const char *end;
	}			answers[] = {
		{&provider_openai_responses, false, "{",
		"\"\":1,", "\"output\":[{\"type\":\"function_call\"}]}"},
		{&provider_anthropic, false, "{\"content\":[{\"type\":\"tool_use\",", "\"\":1,", "\"input\":{}}]}"},
		{&provider_openai_chat, false, "{\"choices\":[{\"message\":{\"tool_calls\":[", "1,", "1]}}]}"},
		{&provider_openai_chat, true, "", "data:{\"usage\":{}}\n\n", "data:[DONE]\n\n"},
		{&provider_openai_responses, true, "",
			"data:{\"type\":\"response.output_item.done\",\"item\":{\"type\":\"message\"}}\n\n",
		"data:{\"type\":\"response.completed\"}\n\n"},
	};
	const int	count = 20000;

	for (int i = 0; i < (int) lengthof(answers); i++)
	{
		StringInfoData body;
		size_t		before;

		initStringInfo(&body);
		appendStringInfoString(&body, answers[i].start);
		for (int n = 0; n < count; n++)
			appendStringInfoString(&body, answers[i].again);
		appendStringInfoString(&body, answers[i].end);
		before = __sanitizer_get_current_allocated_bytes();
		if (answers[i].stream)
			(void) stream_of(answers[i].provider, body.data);
		else
			(void) answer_of(answers[i].provider, body.data);
		check(__sanitizer_get_current_allocated_bytes() - before <
			  4 * (size_t) body.len + 64 * 1024);
	}
}

/*
 * An answer of many calls, where once each of them took as long as all: an
 * answer of 16 MB would have kept the runner busy for hours.
 */
static void
test_many_calls(void)
{
	static const struct
	{
		const Provider *provider;
		const char *start;
		const char *call;
		const char *end;
	}			answers[] = {
		{&provider_openai_responses, "{\"output\":[",
		"{\"type\":\"function_call\"}", "]}"},
		{&provider_openai_chat, "{\"choices\":[{\"message\":{\"tool_calls\":[",
		"{}", "]}}]}"},
		{&provider_anthropic, "{\"content\":[", "{\"type\":\"tool_use\"}", "]}"},
	};
	const int	calls = 200000;

	for (int i = 0; i < (int) lengthof(answers); i++)
	{
		clock_t		start = clock();
		StringInfoData body;

		initStringInfo(&body);
		appendStringInfoString(&body, answers[i].start);
		for (int n = 0; n < calls; n++)
			appendStringInfo(&body, "%s%s", n > 0 ? "," : "", answers[i].call);
		appendStringInfoString(&body, answers[i].end);
		check(answer_of(answers[i].provider, body.data).message.tool_call_count ==
			  MAX_TOOL_CALLS + 1);
		check((clock() - start) / CLOCKS_PER_SEC < 10);
	}
}

/* Pieces of many parts, in any order, at a cost that does not grow with them. */
static void
test_many_parts(void)
{
	ModelStream *stream = model_stream_create(&provider_openai_chat);
	StreamPart *part = NULL;

	check(model_stream_part(stream, 0) == NULL);
	for (int i = 0; i < MAX_STREAM_PARTS - 1; i++)
		part = model_stream_add_part(stream, (i * INT64CONST(7919)) % 1999);
	check(part != NULL && part->index == (1998 * INT64CONST(7919)) % 1999);
	for (int64 i = 0; i < 1999; i++)
	{
		part = model_stream_part(stream, i);
		check(part != NULL && part->index == i);
	}
	check(model_stream_part(stream, -1) == NULL);
	check(model_stream_part(stream, 1999) == NULL);

	/* of two with the same number, the last */
	part = model_stream_add_part(stream, 7);
	check(model_stream_part(stream, 7) == part);
	check(model_stream_part(stream, 8) != NULL);
	check(model_stream_add_part(stream, 9) == NULL);

	for (int i = 0; i < 1000 * 1000; i++)
		part = model_stream_part(stream, 0);
	check(part != NULL);
}

int
main(void)
{
	message_init(&messages[0], MESSAGE_SYSTEM, "S");
	message_init(&messages[1], MESSAGE_USER, "U");
	message_init(&messages[2], MESSAGE_ASSISTANT, "A");
	test_chat();
	test_beside_calls();
	test_odd_calls();
	test_anthropic();
	test_responses();
	test_odd_space();
	test_memory();
	test_many_calls();
	test_many_parts();
	return unit_done();
}
