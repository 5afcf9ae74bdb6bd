/*
 * usage.c: sums of tokens, in the shape of Agno.
 */
#include "core/portable.h"

#include "core/usage.h"
#include "unit.h"

static void
test_session(void)
{
	TokenUsage	usage = {.input = 11,.output = 7,.total = 18};
	char	   *metrics;

	metrics = session_usage_add(NULL, "m", "p", &usage);
	check_text(metrics, "{\"input_tokens\":11,\"output_tokens\":7,"
			   "\"total_tokens\":18,\"details\":{\"model\":["
			   "{\"input_tokens\":11,\"output_tokens\":7,\"total_tokens\":18,"
			   "\"id\":\"m\",\"provider\":\"p\"}]}}");
	metrics = session_usage_add(metrics, "m", "p", &usage);
	metrics = session_usage_add(metrics, "n", "p", &usage);
	check_text(metrics, "{\"input_tokens\":33,\"output_tokens\":21,"
			   "\"total_tokens\":54,\"details\":{\"model\":["
			   "{\"input_tokens\":22,\"output_tokens\":14,\"total_tokens\":36,"
			   "\"id\":\"m\",\"provider\":\"p\"},"
			   "{\"input_tokens\":11,\"output_tokens\":7,\"total_tokens\":18,"
			   "\"id\":\"n\",\"provider\":\"p\"}]}}");
}

int
main(void)
{
	TokenUsage	zero = {0};

	check(token_usage_is_zero(&zero));
	zero.reasoning = 1;
	check(!token_usage_is_zero(&zero));
	test_session();
	return unit_done();
}
