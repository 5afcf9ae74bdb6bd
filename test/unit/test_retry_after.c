/*
 * retry_after.c: what servers write into retry-after-ms and retry-after.
 */
#include "core/portable.h"

#include "http/retry_after.h"
#include "unit.h"

int
main(void)
{
	time_t		now = 1445412480;	/* Wed, 21 Oct 2015 07:28:00 GMT */

	check(retry_after_ms(NULL, NULL, now) == -1);
	check(retry_after_ms("250", NULL, now) == 250);
	check(retry_after_ms("250.9", "3", now) == 250);
	check(retry_after_ms(NULL, "3", now) == 3000);
	check(retry_after_ms(NULL, "0", now) == -1);
	check(retry_after_ms(NULL, " 1.5", now) == 1500);
	check(retry_after_ms("soon", "3", now) == 3000);
	check(retry_after_ms("", "", now) == -1);
	check(retry_after_ms("-1", NULL, now) == -1);
	check(retry_after_ms("nan", NULL, now) == -1);
	check(retry_after_ms("inf", NULL, now) == -1);
	check(retry_after_ms("1e300", NULL, now) == -1);
	check(retry_after_ms(NULL, "Wed, 21 Oct 2015 07:28:05 GMT", now) == 5000);
	check(retry_after_ms(NULL, "Wed, 21 Oct 2015 07:27:00 GMT", now) == -1);
	check(retry_after_ms(NULL, "tomorrow", now) == -1);
	return unit_done();
}
