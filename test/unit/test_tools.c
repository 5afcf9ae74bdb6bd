/*
 * tool.c, history.c, run_calls.c and the loop of run.c: tools as a run keeps them, what becomes of
 * calls, which of them are sent along later, and calls in pieces.
 */
#include "core/portable.h"

#include "core/history.h"
#include "core/json.h"
#include "core/run.h"
#include "core/run_event.h"
#include "unit.h"

static pg_prng_state random_state;

static const char tools_json[] =
"[{\"name\":\"a\",\"function\":\"s.a(integer)\",\"description\":\"A \\\"tool\\\"\",\"parameters\":{\"type\":\"object\"},"
"\"bind\":{\"x\":\"user_id\"},\"read_only\":true,\"strict\":true,\"stop_after_call\":true,\"timeout_ms\":5},"
"{\"name\":\"b\",\"function\":\"s.b()\",\"description\":\"\",\"parameters\":{}}]";

static void
test_list(void)
{
	ToolList	list;
	StringInfoData out;

	tools_read(tools_json, &list);
	check(list.count == 2);
	initStringInfo(&out);
	for (int i = 0; i < list.count; i++)
	{
		appendStringInfoChar(&out, i > 0 ? ',' : '[');
		tool_append(&out, &list.tools[i]);
	}
	appendStringInfoChar(&out, ']');
	check_text(out.data, tools_json);
	check(tools_find(&list, "b") == &list.tools[1]);
	check(tools_find(&list, "c") == NULL);
	check(tools_find(&list, NULL) == NULL);
	tools_read(NULL, &list);
	check(list.count == 0);
	tools_read("[]", &list);
	check(list.count == 0);

	check(tool_name_is_valid("aZ_-9"));
	check(!tool_name_is_valid(""));
	check(!tool_name_is_valid("a b"));
	check(!tool_name_is_valid("s.a"));
	check(tool_name_is_valid("0123456789012345678901234567890123456789012345678901234567890123"));
	check(!tool_name_is_valid("01234567890123456789012345678901234567890123456789012345678901234"));
}

static void
test_shown(void)
{
	check_text(tool_result_shown("abc", 3), "abc");
	check_text(tool_result_shown("abcd", 3), "abc\n(1 more bytes are not shown)");
	check_text(tool_result_shown("a\xc3\xa4\xc3\xa4", 2), "a\n(4 more bytes are not shown)");
	check_text(tool_result_shown("[1,22,333]", 10), "[1,22,333]");
	check_text(tool_result_shown("[1,22,333]", 9), "[1,22]\n(1 more rows are not shown)");
	check_text(tool_result_shown("[1,22,333]", 4), "[1]\n(2 more rows are not shown)");
	check_text(tool_result_shown("[{\"a\":\"],[\"},{\"b\":2}]", 14), "[{\"a\":\"],[\"}]\n(1 more rows are not shown)");
	/* not even one fits */
	check_text(tool_result_shown("[123456]", 4), "[123\n(4 more bytes are not shown)");
}

/* A run with the tools a and b that has been sent. */
static Run
sent_run(ToolList *list, int limit)
{
	Run			run = {0};

	tools_read(tools_json, list);
	run.run_id = "r1";
	run.model = "m";
	run.provider = &provider_openai_responses;
	run.tools = list;
	run.call_limit = limit;
	run.tool_choice = "a";
	run.attempt = 1;
	run.deadline = 60 * INT64CONST(1000000);
	run.step = STEP_SEND;
	run_add_message(&run, MESSAGE_USER, "Hello");
	run_sent(&run);
	return run;
}

static void
receive(Run *run, const char *body)
{
	HttpResult	result = {HTTP_OK, "", 200, body, strlen(body), -1, -1, 0.5, 0.75};

	run_answered(run, &result, 1, &random_state);
}

#define CALL(id, name, arguments) \
	"{\"type\":\"function_call\",\"id\":\"fc_" id "\",\"call_id\":\"call_" id "\",\"name\":\"" name "\",\"arguments\":\"" arguments "\"}"
#define ANSWER(items) \
	"{\"status\":\"completed\",\"id\":\"r\",\"output\":[{\"type\":\"message\",\"content\":[{\"text\":\"Hi. \"}]}," items "]," \
	"\"usage\":{\"input_tokens\":1,\"output_tokens\":2,\"total_tokens\":3}}"

static void
test_planning(void)
{
	ToolList	list;
	Run			run = sent_run(&list, 6);

	receive(&run, ANSWER(CALL("1", "a", "{\\\"x\\\":1}") "," CALL("2", "c", "{}") "," CALL("3", "b", "")
						 "," CALL("4", "b", "[]") "," CALL("5", "b", "[1]") "," CALL("6", "b", "{") "," CALL("7", "b", "{}")));
	check(run.step == STEP_STORE);
	check(run.outcome.status == RUN_RUNNING);
	check(run.planned_count == 7);
	check(run.planned[0].tool == &list.tools[0]);
	check_text(run.planned[0].arguments, "{\"x\":1}");
	check_text(run.planned[1].refusal, "Error: The requested tool does not exist or is not available.");
	check_text(run.planned[2].arguments, "{}");
	check_text(run.planned[3].arguments, "{}");
	check_text(run.planned[4].refusal, "Function arguments are not a valid JSON object.\n\n Please fix and retry.");
	check(run.planned[5].tool == NULL && run.planned[5].refusal != NULL);
	check_text(run.planned[6].refusal,
			   "Tool call limit reached. Tool call b not executed. Don't try to execute it again.");
	check_text(run.outcome.content, "Hi. ");
	check(strstr(run_step_json(&run), "\"output\":[{\"type\":\"message\"") != NULL);

	/* a cancel comes before that is stored */
	run_cancelled(&run, 2);
	check(run.outcome.status == RUN_CANCELLED && run.planned_count == 0);
	check_text(run.outcome.content, "Hi. ");

	/* what is said of arguments that people give is kept for each call */
	run = sent_run(&list, 6);
	list.tools[0].input_schema = psprintf("{\"properties\":{\"y\":{\"description\":\"%*s\"}}}", 400000, "");
	receive(&run, ANSWER(CALL("1", "a", "{}") "," CALL("2", "a", "{\\\"y\\\":1}") "," CALL("3", "a", "{}") "," CALL("4", "b", "{}")));
	check(run.planned[0].tool != NULL);
	check(strstr(run.planned[1].refusal, "\"y\" is not to be given") != NULL);
	check_text(run.planned[2].refusal,
			   "Tool call limit reached. People are asked for too many arguments in this run. Tool call a not executed. Don't try to execute it again.");
	check(run.planned[3].tool != NULL);

	/* no ids, no names, and absurd numbers of calls */
	run = sent_run(&list, 6);
	receive(&run, "{\"status\":\"completed\",\"output\":[{\"type\":\"function_call\"}]}");
	check(run.outcome.status == RUN_RUNNING && run.planned_count == 1);
	check(run.planned[0].call->id != NULL && strncmp(run.planned[0].call->id, "call_", 5) == 0);
	check(run.planned[0].tool == NULL);

	/* who has been told that there are no tools may call none */
	run = sent_run(&list, 6);
	run.no_more_tools = true;
	receive(&run, ANSWER(CALL("1", "a", "{}")));
	check_text(run.outcome.error_type, "tool_call_limit");
	check_text(run.outcome.content, "Hi. ");
}

/* Put a run together again that has called tools; the results are these. */
static Run
resumed_run(ToolList *list, int limit, bool stop, bool error, int64 now)
{
	Run			run = sent_run(list, limit);
	Message    *message;

	receive(&run, ANSWER(CALL("1", "a", "{}") "," CALL("2", "b", "{}")));
	run.step = STEP_SEND;
	run.calls = 0;
	memset(&run.outcome, 0, sizeof(RunOutcome));
	for (int i = 1; i <= 2; i++)
	{
		message = run_add_message(&run, MESSAGE_TOOL, i == 1 ? "one" : "two");
		message->tool_call_id = i == 1 ? "fc_1" : "fc_2";
		message->executed = true;
		message->tool_call_error = error;
		message->stop_after_call = stop && i == 1;
	}
	run.turns = 1;
	run_resumed(&run, now);
	return run;
}

static void
test_resumed(void)
{
	ToolList	list;
	Run			run = resumed_run(&list, 2, false, false, 1);
	StringInfoData body;

	check(run.step == STEP_SEND);
	check(run.calls == 2 && !run.no_more_tools);
	check_text(run.messages[2].call_id, "call_1");
	check(run.outcome.usage.total == 3);
	initStringInfo(&body);
	run_write_request(&run, &body);
	check(strstr(body.data, "\"tools\":[") != NULL);
	check(strstr(body.data, "tool_choice") == NULL);
	check(strstr(body.data, "{\"type\":\"function_call_output\",\"call_id\":\"call_2\",\"output\":\"two\"}") != NULL);
	run_sent(&run);
	receive(&run, "{\"status\":\"completed\",\"output\":[{\"type\":\"message\",\"content\":[{\"text\":\"End.\"}]}]}");
	check(run.outcome.status == RUN_COMPLETED);
	check_text(run.outcome.content, "Hi. End.");

	run = resumed_run(&list, 1, false, false, 1);
	check(run.no_more_tools);
	resetStringInfo(&body);
	run_write_request(&run, &body);
	check(strstr(body.data, "\"tools\"") == NULL);

	run = resumed_run(&list, 2, true, false, 1);
	check(run.outcome.status == RUN_COMPLETED);
	check_text(run.outcome.content, "Hi. one");
	run = resumed_run(&list, 2, true, true, 1);
	check(run.step == STEP_SEND);
	run = resumed_run(&list, 2, false, false, INT64CONST(61000000));
	check_text(run.outcome.error_type, "timeout");
}

/* There may be many calls in one run, but not without end. */
static void
test_many_calls(void)
{
	ToolList	list;
	Run			run = sent_run(&list, 1000000);

	run.calls = MAX_RUN_CALLS - 1;
	receive(&run, ANSWER(CALL("1", "c", "{}")));
	check(run.outcome.status == RUN_RUNNING && run.planned_count == 1);
	run = sent_run(&list, 1000000);
	run.calls = MAX_RUN_CALLS - 1;
	receive(&run, ANSWER(CALL("1", "c", "{}") "," CALL("2", "c", "{}")));
	check(run.outcome.status == RUN_ERROR && run.planned_count == 0);
	check_text(run.outcome.error_type, "tool_call_limit");
	check_text(run.outcome.error_message, "the model calls tools more than 10000 times");
}

static Message
tool_message(const char *id)
{
	Message		message;

	message_init(&message, MESSAGE_TOOL, "r");
	message.tool_call_id = pstrdup(id);
	return message;
}

static Message
calling_message(const char *content, const char *first, const char *second)
{
	Message		message;

	message_init(&message, MESSAGE_ASSISTANT, unconstify(char *, content));
	message_add_tool_call(&message)->id = pstrdup(first);
	message.tool_calls[0].call_id = pstrdup(first);
	if (second != NULL)
	{
		message_add_tool_call(&message)->id = pstrdup(second);
		message.tool_calls[1].call_id = pstrdup(second);
	}
	message.items = "[]";
	message.items_name = "output";
	return message;
}

static void
test_history(void)
{
	Message		messages[8];
	int			count;

	for (int results = -1; results <= 3; results++)
	{
		messages[0] = tool_message("lost");
		messages[1] = calling_message("", "1", "2");
		messages[2] = tool_message("1");
		messages[3] = tool_message("2");
		messages[4] = calling_message("text", "3", "unanswered");
		messages[5] = tool_message("3");
		messages[6] = calling_message("", "interrupted", NULL);
		message_init(&messages[7], MESSAGE_ASSISTANT, "end");
		count = history_select(messages, 8, results);
		if (results == 0)
		{
			check(count == 2);
			check(messages[0].tool_call_count == 0);
			check_text(messages[0].content, "text");
		}
		else if (results == 1)
		{
			check(count == 3);
			check(messages[0].tool_call_count == 1 && messages[0].items == NULL);
			check_text(messages[0].tool_calls[0].id, "3");
			check_text(messages[1].tool_call_id, "3");
		}
		else if (results == 2)
		{
			check(count == 5);
			check(messages[0].tool_call_count == 1);
			check_text(messages[0].tool_calls[0].id, "2");
		}
		else
		{
			check(count == 6);
			check(messages[0].tool_call_count == 2 && messages[0].items != NULL);
		}
		check_text(messages[count - 1].content, "end");
	}
}

/* Results of calls with one id belong to them in their order. */
static void
test_same_ids(void)
{
	Message		messages[] = {
		calling_message("x", "a", "a"),
		tool_message("a"),
		tool_message("a"),
		tool_message("b"),
		tool_message("a"),
		calling_message("x", "b", "a"),
		tool_message("a"),
	};

	messages[0].tool_calls[0].call_id = "first";
	messages[0].tool_calls[1].call_id = "second";
	messages_link(messages, lengthof(messages));
	check_text(messages[1].call_id, "first");
	check_text(messages[2].call_id, "second");
	check_text(messages[3].call_id, "b");
	check_text(messages[4].call_id, "first");
	check_text(messages[6].call_id, "a");
}

/* Calls as Agno keeps them: with a call_id if it is not the id. */
static void
test_kept_calls(void)
{
	Message		message = calling_message("", "toolu_1", "fc_2");
	Message		read;
	StringInfoData out;
	cJSON	   *tree;

	message.items = NULL;
	message.tool_calls[1].call_id = "call_2";
	initStringInfo(&out);
	message_append_json(&out, &message);
	check(strstr(out.data, "\"tool_calls\":[{\"id\":\"toolu_1\",\"type\":\"function\"") != NULL);
	check(strstr(out.data, "{\"id\":\"fc_2\",\"call_id\":\"call_2\",") != NULL);
	tree = json_parse(out.data, out.len);
	check(message_read(tree, out.data, &read));
	check_text(read.tool_calls[0].id, "toolu_1");
	check_text(read.tool_calls[0].call_id, "toolu_1");
	check_text(read.tool_calls[1].call_id, "call_2");
	json_free(tree);
}

/* What subscribers are told of a call. */
static void
test_events(void)
{
	static const struct
	{
		const char *name;
		const char *arguments;
		const char *text;
	}			cases[] = {
		{"order_status", "{\"order_id\": 5}", "order_status(order_id=5)"},
		{"f", NULL, "f()"},
		{"f", "{}", "f()"},
		{"f", "{\"a\":\"x y\",\"b\":null,\"c\":true,\"d\":[\"x\",1.50],\"e\":{\"k\":null}}",
		"f(a=x y, b=None, c=True, d=['x', 1.5], e={'k': None})"},
		/* half of a terminal's width is the most for a string, ... */
		{"f", "{\"a\":\"0123456789012345678901234567890123456\"}", "f(a=0123456789012345678901234567890123456)"},
		{"f", "{\"a\":\"01234567890123456789012345678901234567\"}", "f(a=...)"},
		{"f", "{\"a\":\"\xc3\xa9" "123456789012345678901234567890123456\"}", "f(a=\xc3\xa9" "123456789012345678901234567890123456)"},
		/* and all of it for the call */
		{"f", "{\"a\":[10000000,10000000,10000000,10000000,10000000,10000000,10000000,100000]}",
		"f(...)"},
		{"f", "{\"a\":[10000000,10000000,10000000,10000000,10000000,10000000,10000000,1]}",
		"f(a=[10000000, 10000000, 10000000, 10000000, 10000000, 10000000, 10000000, 1])"},
	};
	RunEventSource source = {.run_id = "r",.session_id = "s"};
	RunEvent	events[2];
	RunEvent	started;
	Message		execution = tool_message("1");

	execution.executed = true;
	execution.tool_started = 10;
	execution.tool_duration = 0.00052;
	for (int i = 0; i < (int) lengthof(cases); i++)
	{
		cJSON	   *tree;

		execution.tool_name = unconstify(char *, cases[i].name);
		execution.tool_args = unconstify(char *, cases[i].arguments);
		check(run_event_tool_ended(&source, &execution, events) == 1);
		tree = json_parse(events[0].data, strlen(events[0].data));
		check_text(json_string(tree, "content"),
				   psprintf("%s completed in 0.0005s. ", cases[i].text));
		json_free(tree);
	}
	started = run_event_tool_started(&source, &execution);
	check(strstr(started.data, "\"tool_call_error\":null,\"result\":null,\"metrics\":null") != NULL);
	check(strstr(events[0].data, "\"tool_call_error\":false,\"result\":\"r\",\"metrics\":{\"start_time\":10.000000") != NULL);
}

#define THOUGHT(text) "{\"type\":\"reasoning\",\"summary\":[{\"text\":\"" text "\"}]}"

/* The last reasoning of a run is kept, whichever answer it came with. */
static void
test_reasoning(void)
{
	ToolList	list;
	Run			run = sent_run(&list, 6);

	receive(&run, ANSWER(THOUGHT("Hm.") "," CALL("1", "a", "{}")));
	check_text(run.outcome.reasoning, "Hm.");
	run.step = STEP_SEND;
	memset(&run.outcome, 0, sizeof(RunOutcome));
	run_resumed(&run, 1);
	check_text(run.outcome.reasoning, "Hm.");
	run_sent(&run);
	receive(&run, "{\"status\":\"completed\",\"output\":[{\"type\":\"message\",\"content\":[{\"text\":\"End.\"}]}]}");
	check(run.outcome.status == RUN_COMPLETED);
	check_text(run.outcome.reasoning, "Hm.");

	/* not that of an earlier run */
	run = sent_run(&list, 6);
	receive(&run, ANSWER(THOUGHT("Hm.") "," CALL("1", "a", "{}")));
	run.messages[run.message_count - 1].from_history = true;
	run.step = STEP_SEND;
	memset(&run.outcome, 0, sizeof(RunOutcome));
	run_resumed(&run, 1);
	check_text(run.outcome.reasoning, NULL);
}

#define STRICT_SCHEMA(its) "{\"type\":\"object\",\"properties\":{" its "},\"required\":[\"a\"],\"additionalProperties\":false}"

/* A request to Anthropic with so many tools of this schema, some of them strict. */
static char *
anthropic_request(ToolList *list, const char *schema, int count, int strict)
{
	Message		message;
	ModelRequest request = {.model = "m",.messages = &message,.message_count = 1,.tools = list};
	StringInfoData body;

	message_init(&message, MESSAGE_USER, "U");
	list->tools = palloc0(sizeof(Tool) * count);
	list->count = count;
	for (int i = 0; i < count; i++)
	{
		list->tools[i].name = "t";
		list->tools[i].description = "";
		list->tools[i].parameters = unconstify(char *, schema);
		list->tools[i].strict = i < strict;
	}
	provider_anthropic.fit_tools(list);
	initStringInfo(&body);
	provider_anthropic.write_request(&body, &request);
	return body.data;
}

/* A strict schema with so many schemas in each other. */
static char *
nested_schema(int depth)
{
	StringInfoData schema;

	initStringInfo(&schema);
	appendStringInfoString(&schema, "\"a\":");
	for (int i = 1; i < depth; i++)
		appendStringInfoString(&schema, "{\"type\":\"array\",\"items\":");
	appendStringInfoString(&schema, "{\"type\":\"string\"");
	for (int i = 0; i < depth; i++)
		appendStringInfoChar(&schema, '}');
	return psprintf(STRICT_SCHEMA("%s"), schema.data);
}

static void
test_strict_anthropic(void)
{
	const char *schema = STRICT_SCHEMA("\"a\":{\"type\":\"integer\",\"minimum\":-5,\"maximum\":5.50},"
									   "\"minimum\":{\"type\":[\"array\",\"null\"],\"items\":{\"type\":\"integer\",\"minimum\":1},\"maxItems\":3},"
									   "\"b\":{\"anyOf\":[{\"type\":\"number\",\"multipleOf\":2},{\"type\":\"null\"}],\"enum\":[{\"minimum\":1}]}");
	const char *sent = STRICT_SCHEMA("\"a\":{\"type\":\"integer\"},"
									 "\"minimum\":{\"type\":[\"array\",\"null\"],\"items\":{\"type\":\"integer\"}},"
									 "\"b\":{\"anyOf\":[{\"type\":\"number\"},{\"type\":\"null\"}],\"enum\":[{\"minimum\":1}]}");
	ToolList	list;
	char	   *body;

	/* its API refuses bounds in strict schemas */
	body = anthropic_request(&list, schema, 2, 1);
	check(strstr(body, psprintf("\"input_schema\":%s,\"strict\":true},{", sent)) != NULL);
	check(strstr(body, psprintf("\"input_schema\":%s}]", schema)) != NULL);
	check_text(provider_anthropic.tools_header(&list),
			   "anthropic-beta: structured-outputs-2025-11-13");

	/* and too many of them: then none is strict */
	body = anthropic_request(&list, schema, 8, 8);
	check(strstr(body, "\"strict\"") != NULL);
	body = anthropic_request(&list, schema, 9, 9);
	check(strstr(body, "\"strict\"") == NULL);
	check_text(provider_anthropic.tools_header(&list), NULL);
	body = anthropic_request(&list, STRICT_SCHEMA("\"a\":{\"type\":\"string\"}"), 20, 20);
	check(strstr(body, "\"strict\"") != NULL);
	body = anthropic_request(&list, STRICT_SCHEMA("\"a\":{\"type\":\"string\"}"), 21, 21);
	check(strstr(body, "\"strict\"") == NULL);
	body = anthropic_request(&list, schema, 2, 0);
	check(strstr(body, "\"strict\"") == NULL);

	/* or if one nests too deep */
	body = anthropic_request(&list, nested_schema(20), 2, 2);
	check(strstr(body, "\"strict\"") != NULL);
	body = anthropic_request(&list, nested_schema(21), 2, 2);
	check(strstr(body, "\"strict\"") == NULL);
	check(strstr(body, psprintf("\"input_schema\":%s}]", nested_schema(21))) != NULL);
	check_text(provider_anthropic.tools_header(&list), NULL);
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
test_pieces(void)
{
	StringInfoData body;
	ModelAnswer answer;

	/* whole calls without numbers, as some servers send them */
	answer = stream_of(&provider_openai_chat,
					   "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"id\":\"x\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}},"
					   "{\"id\":\"y\",\"function\":{\"name\":\"g\",\"arguments\":\"{\"}}]}}]}\n\n"
					   "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"function\":{\"arguments\":\"}\"}}]},\"finish_reason\":\"tool_calls\"}]}\n\n");
	check(answer.message.tool_call_count == 2);
	check_text(answer.message.tool_calls[1].id, "y");
	check_text(answer.message.tool_calls[1].arguments, "{}");

	/* one number for two calls, and another id */
	answer = stream_of(&provider_openai_chat,
					   "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"x\",\"function\":{\"name\":\"f\"}}]}}]}\n\n"
					   "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"y\",\"function\":{\"name\":\"g\"}}]},\"finish_reason\":\"tool_calls\"}]}\n\n");
	check(answer.message.tool_call_count == 2);

	/* more parts than anybody needs */
	initStringInfo(&body);
	for (int i = 0; i < MAX_STREAM_PARTS + 1; i++)
		appendStringInfo(&body, "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":%d,\"id\":\"%d\"}]}}]}\n\n", i, i);
	appendStringInfoString(&body, "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n");
	answer = stream_of(&provider_openai_chat, body.data);
	check(answer.outcome == ANSWER_INVALID);

	/*
	 * Anthropic: input at once, a block that nobody knows, and one that never
	 * began
	 */
	answer = stream_of(&provider_anthropic,
					   "data: {\"type\":\"message_start\",\"message\":{\"id\":\"m\"}}\n\n"
					   "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"redacted_thinking\",\"data\":\"D\"}}\n\n"
					   "data: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{\"a\":1.50}}}\n\n"
					   "data: {\"type\":\"content_block_delta\",\"index\":7,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"x\"}}\n\n"
					   "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"}}\n\ndata: {\"type\":\"message_stop\"}\n\n");
	check(answer.message.tool_call_count == 1);
	check_text(answer.message.tool_calls[0].arguments, "{\"a\":1.50}");
	check_text(answer.message.items,
			   "[{\"type\":\"redacted_thinking\",\"data\":\"D\"},{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{\"a\":1.50}}]");
}

int
main(void)
{
	pg_prng_seed(&random_state, 42);
	test_list();
	test_shown();
	test_planning();
	test_resumed();
	test_many_calls();
	test_same_ids();
	test_history();
	test_kept_calls();
	test_events();
	test_reasoning();
	test_strict_anthropic();
	test_pieces();
	return unit_done();
}
