/*
 * Answers of model servers: the first byte chooses the API, the second the
 * status, the rest is the body.
 */
#include "core/portable.h"

#include "fuzz.h"
#include "fuzz_run.h"

void
fuzz_one(const char *bytes, size_t length)
{
	static const int statuses[] = {200, 200, 200, 400, 429, 503};
	pg_prng_state random = {1, 2};
	HttpResult	result = {.failure = HTTP_OK,.retry_after_ms = -1,
	.should_retry = -1};
	Run			run;

	if (length < 2)
		return;
	fuzz_start_run(&run, fuzz_provider(bytes[0]));
	run.background = bytes[0] & 0x40;
	result.status = statuses[(unsigned char) bytes[1] % lengthof(statuses)];
	result.body = fuzz_text(bytes + 2, length - 2);
	result.body_length = length - 2;
	run_answered(&run, &result, 1, &random);
	fuzz_check_run(&run);
}
