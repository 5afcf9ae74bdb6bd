/*
 * retry-after-ms, and after a NUL retry-after.
 */
#include "core/portable.h"

#include "fuzz.h"
#include "http/retry_after.h"

void
fuzz_one(const char *bytes, size_t length)
{
	char	   *millis = fuzz_text(bytes, length);
	size_t		end = strlen(millis);
	const char *seconds = end < length ? millis + end + 1 : NULL;

	require(retry_after_ms(millis, seconds, 1445412480) >= -1);
	require(retry_after_ms(NULL, seconds, 1445412480) >= -1);
}
