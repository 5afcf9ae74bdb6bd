/*
 * Streamed answers: the first byte chooses the API, the second into what
 * pieces the rest is cut as it arrives. However that is, the outcome is the
 * same as in one piece.
 */
#include "core/portable.h"

#include "fuzz.h"
#include "fuzz_run.h"

static char *
receive(const Provider *provider, const char *body, size_t length, size_t piece)
{
	pg_prng_state random = {1, 2};
	HttpResult	result = {
		.failure = HTTP_OK,
		.retry_after_ms = -1,
		.should_retry = -1,
		.status = 200,
		.body = body,
	};
	Run			run;

	fuzz_start_run(&run, provider);
	run.streamed = true;
	for (size_t end = piece; end < length; end += piece)
	{
		result.body_length = body + end - result.body;
		if (run_received(&run, &result))
			result.body = body + end;
	}
	result.body_length = body + length - result.body;
	run_answered(&run, &result, 1, &random);
	fuzz_check_run(&run);
	return run.step == STEP_STORE && run.outcome.content != NULL ? run.outcome.content : "";
}

void
fuzz_one(const char *bytes, size_t length)
{
	const Provider *provider;
	char	   *body;

	if (length < 2)
		return;
	provider = fuzz_provider(bytes[0]);
	body = fuzz_text(bytes + 2, length - 2);
	require(strcmp(receive(provider, body, length - 2, length),
				   receive(provider, body, length - 2,
						   (unsigned char) bytes[1] % 32 + 1)) == 0);
}
