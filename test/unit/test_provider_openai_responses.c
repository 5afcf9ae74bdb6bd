/*
 * provider_openai_responses.c and provider.c: JSON in and out.
 */
#include "core/portable.h"

#include "core/json.h"
#include "core/provider.h"
#include "unit.h"

static const Provider *provider = &provider_openai_responses;

static ModelAnswer
read_text(const char *text)
{
	ModelAnswer answer;

	provider->read_answer(text, strlen(text), &answer);
	return answer;
}

static char *
write_request(const Message *messages, int count, const char *options)
{
	StringInfoData body;
	ModelRequest request = {"gpt-5-mini", messages, count, options};

	initStringInfo(&body);
	provider->write_request(&body, &request);
	return body.data;
}

static char *
write_structured(const char *options)
{
	OutputSchema schema = {"s", "{}", true};
	ModelRequest request = {
		.model = "gpt-5-mini",
		.options = options,
		.schema = &schema,
	};
	StringInfoData body;

	initStringInfo(&body);
	provider->write_request(&body, &request);
	return body.data;
}

static void
test_requests(void)
{
	Message		messages[3];

	message_init(&messages[0], MESSAGE_SYSTEM, "Be brief.");
	message_init(&messages[1], MESSAGE_USER, "Say \"hi\"\n");
	message_init(&messages[2], MESSAGE_ASSISTANT, "hi");

	check_text(write_request(&messages[1], 1, NULL),
			   "{\"model\":\"gpt-5-mini\",\"input\":[{\"role\":\"user\","
			   "\"content\":\"Say \\\"hi\\\"\\n\"}]}");
	check_text(write_request(messages, 3, NULL),
			   "{\"model\":\"gpt-5-mini\",\"input\":["
			   "{\"role\":\"developer\",\"content\":\"Be brief.\"},"
			   "{\"role\":\"user\",\"content\":\"Say \\\"hi\\\"\\n\"},"
			   "{\"role\":\"assistant\",\"content\":\"hi\"}]}");

	/* options are merged as they are: no number is read and printed again */
	check_text(write_request(messages, 0,
							 "{\"temperature\": 0.10, \"seed\": 9007199254740993}"),
			   "{\"model\":\"gpt-5-mini\",\"input\":[],"
			   "\"temperature\":0.10,\"seed\":9007199254740993}");
	check_text(write_structured("{\"text\": {\"verbosity\": \"low\", \"format\": 1}, \"top_p\": 1}"),
			   "{\"model\":\"gpt-5-mini\",\"input\":[],\"text\":{\"format\":"
			   "{\"type\":\"json_schema\",\"name\":\"s\",\"schema\":{},"
			   "\"strict\":true},\"verbosity\":\"low\"},\"top_p\":1}");
	check_text(write_structured(NULL),
			   "{\"model\":\"gpt-5-mini\",\"input\":[],\"text\":{\"format\":"
			   "{\"type\":\"json_schema\",\"name\":\"s\",\"schema\":{},"
			   "\"strict\":true}}}");
	check_text(write_request(messages, 0, "{}"),
			   "{\"model\":\"gpt-5-mini\",\"input\":[]}");
	check_text(write_request(messages, 0, " { } "),
			   "{\"model\":\"gpt-5-mini\",\"input\":[]}");

	check(provider_option_reserved(provider, "model"));
	check(provider_option_reserved(provider, "stream"));
	check(!provider_option_reserved(provider, "temperature"));
}

static void
test_complete(void)
{
	ModelAnswer answer = read_text(
								   "{\"id\":\"resp_1\",\"object\":\"response\",\"status\":\"completed\",\"error\":null,"
								   "\"output\":["
								   "{\"type\":\"reasoning\",\"summary\":[{\"type\":\"summary_text\",\"text\":\"One.\"},{\"text\":\"Two.\"}]},"
								   "{\"type\":\"message\",\"role\":\"assistant\",\"content\":["
								   "{\"type\":\"output_text\",\"text\":\"Hello\",\"annotations\":[]},"
								   "{\"type\":\"output_text\",\"text\":\" world\"}]},"
								   "{\"type\":\"vendor:other\",\"x\":1},"
								   "{\"type\":\"message\",\"content\":[{\"type\":\"refusal\",\"refusal\":\"!\"}]},"
								   "{\"type\":\"function_call\",\"id\":\"fc_1\",\"call_id\":\"call_1\",\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}],"
								   "\"usage\":{\"input_tokens\":11,\"input_tokens_details\":{\"cached_tokens\":2},"
								   "\"output_tokens\":7,\"output_tokens_details\":{\"reasoning_tokens\":3},\"total_tokens\":18}}");

	check(answer.outcome == ANSWER_COMPLETE);
	check_text(answer.error, NULL);
	check_text(answer.message.content, "Hello world!");
	check_text(answer.message.reasoning, "One.\n\nTwo.");
	check_text(answer.message.response_id, "resp_1");
	check(answer.message.tool_call_count == 1);
	check_text(answer.message.tool_calls[0].call_id, "call_1");
	check_text(answer.message.tool_calls[0].arguments, "{\"a\":1}");
	check(answer.message.usage.input == 11);
	check(answer.message.usage.output == 7);
	check(answer.message.usage.total == 18);
	check(answer.message.usage.cache_read == 2);
	check(answer.message.usage.reasoning == 3);

	/* the least that servers which imitate the API send */
	answer = read_text("{\"output\":[{\"type\":\"message\",\"content\":[{\"text\":\"x\"}]}]}");
	check(answer.outcome == ANSWER_COMPLETE);
	check_text(answer.message.content, "x");
	check_text(answer.message.reasoning, NULL);
	check(answer.message.usage.total == 0);

	answer = read_text("{\"status\":\"completed\",\"output\":[]}");
	check(answer.outcome == ANSWER_COMPLETE);
	check_text(answer.message.content, "");

	/* members of the wrong type are as good as missing */
	answer = read_text("{\"status\":\"completed\",\"id\":7,\"output\":[1,null,{\"type\":3},"
					   "{\"type\":\"message\",\"content\":\"text\"},{\"type\":\"message\",\"content\":[7]},"
					   "{\"type\":\"function_call\"}],\"usage\":[]}");
	check(answer.outcome == ANSWER_COMPLETE);
	check_text(answer.message.content, "");
	check_text(answer.message.response_id, NULL);
	check(answer.message.tool_call_count == 1);
	check_text(answer.message.tool_calls[0].name, NULL);
}

static void
test_failures(void)
{
	ModelAnswer answer;

	answer = read_text("{\"status\":\"incomplete\",\"incomplete_details\":{\"reason\":\"max_output_tokens\"},"
					   "\"output\":[{\"type\":\"message\",\"content\":[{\"text\":\"Hal\"}]}],\"usage\":{\"total_tokens\":5}}");
	check(answer.outcome == ANSWER_INCOMPLETE);
	check_text(answer.error, "the answer is incomplete: max_output_tokens");
	check_text(answer.message.content, "Hal");
	check(answer.message.usage.total == 5);

	answer = read_text("{\"status\":\"incomplete\"}");
	check_text(answer.error, "the answer is incomplete: no reason given");

	answer = read_text("{\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"It broke.\"}}");
	check(answer.outcome == ANSWER_FAILED);
	check_text(answer.error, "It broke.");
	answer = read_text("{\"status\":\"failed\",\"error\":null}");
	check_text(answer.error, "the model server reports the response as failed");
	answer = read_text("{\"status\":\"cancelled\"}");
	check(answer.outcome == ANSWER_FAILED);

	answer = read_text("{\"error\":{\"message\":\"No credits\",\"code\":402}}");
	check(answer.outcome == ANSWER_FAILED);
	check_text(answer.error, "No credits");
	answer = read_text("{\"error\":\"just text\"}");
	check_text(answer.error, "just text");

	answer = read_text("{\"id\":\"r1\",\"status\":\"in_progress\",\"output\":"
					   "[{\"type\":\"message\",\"content\":[{\"type\":"
					   "\"output_text\",\"text\":\"so far\"}]}]}");
	check(answer.outcome == ANSWER_PENDING);
	check_text(answer.message.response_id, "r1");
	check(answer.message.content == NULL);

	answer = read_text("{\"status\":\"queued\"}");
	check(answer.outcome == ANSWER_INVALID);
	check_text(answer.error, "the model server left the response queued");
	answer = read_text("{\"status\":{},\"output\":[{\"type\":\"message\","
					   "\"content\":[{\"type\":\"output_text\",\"text\":\"hi\"}]}]}");
	check(answer.outcome == ANSWER_INVALID);
	check_text(answer.error, "the answer of the model server is not a response");
	answer = read_text("{}");
	check(answer.outcome == ANSWER_INVALID);
	answer = read_text("[]");
	check(answer.outcome == ANSWER_INVALID);
	answer = read_text("");
	check(answer.outcome == ANSWER_INVALID);
	answer = read_text("<html>");
	check(answer.outcome == ANSWER_INVALID);
	check_text(answer.error, "invalid answer of the model server: not a JSON answer: <html>");
}

static char *
error_message(int status, const char *body)
{
	return provider_error_message(status, body, strlen(body));
}

static void
test_error_messages(void)
{
	StringInfoData long_body;

	check_text(error_message(400, "{\"error\":{\"message\":\"Bad\",\"type\":\"t\"}}"), "Bad");
	check_text(error_message(400, "{\"error\":\"Bad\"}"), "Bad");
	check_text(error_message(400, "{\"message\":\"Bad\"}"), "Bad");
	check_text(error_message(400, "{\"detail\":\"Bad\"}"), "Bad");
	check_text(error_message(529, "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}"), "Overloaded");
	check_text(error_message(502, "<html>x</html>"), "HTTP status 502: <html>x</html>");
	check_text(error_message(500, ""), "HTTP status 500");
	check_text(error_message(500, "{\"error\":{}}"), "HTTP status 500: {\"error\":{}}");
	check_text(error_message(500, "a\xff"), "HTTP status 500: a\xef\xbf\xbd");

	/* what is too long is not read */
	initStringInfo(&long_body);
	appendStringInfo(&long_body, "{\"error\":{\"code\":\"insufficient_quota\",\"message\":\"Bad\"}%*s}", 60000, "");
	check_text(error_message(400, long_body.data), "Bad");
	check(provider_quota_is_used_up(long_body.data, long_body.len));
	appendStringInfoSpaces(&long_body, 60000);
	check(strncmp(error_message(400, long_body.data), "HTTP status 400: {\"error\":", 26) == 0);
	check(!provider_quota_is_used_up(long_body.data, long_body.len));

	/* long texts are cut between characters */
	initStringInfo(&long_body);
	for (int i = 0; i < 4000; i++)
		appendStringInfoString(&long_body, "\xc3\xa9");
	check(strlen(error_message(500, long_body.data)) <= 4000);
	check(strcmp(text_scrub(error_message(500, long_body.data),
							strlen(error_message(500, long_body.data))),
				 error_message(500, long_body.data)) == 0);
}

int
main(void)
{
	test_requests();
	test_complete();
	test_failures();
	test_error_messages();
	check(provider_find("openai-responses") == provider);
	check(provider_find("soap") == NULL);
	return unit_done();
}
