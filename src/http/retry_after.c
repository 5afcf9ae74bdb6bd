/*-------------------------------------------------------------------------
 *
 * retry_after.c
 *	  How long a server asks to be left alone.
 *
 * Pure but for the dates of HTTP, which libcurl reads.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include <curl/curl.h>

#include "http/retry_after.h"

/* What is longer is not meant seriously. */
#define LONGEST_MS 1e12

/*
 * A number that is not negative; -1: this is none, or there is no text.
 */
static double
read_number(const char *text)
{
	char	   *end;
	double		number;

	if (text == NULL)
		return -1;
	number = strtod(text, &end);
	return end != text && number >= 0 ? number : -1;
}

/*
 * How long, in milliseconds, or -1: from the values of the headers
 * retry-after-ms, which goes first as in OpenAI's client libraries, and
 * retry-after; NULL for one that is not there. No pause, or one that is over, is
 * none, as there: a server rounds down, or its clock is late.
 */
int64
retry_after_ms(const char *millis, const char *seconds_or_date, time_t now)
{
	double		wait = read_number(millis);
	time_t		when;

	if (wait < 0)
	{
		wait = read_number(seconds_or_date);
		if (wait >= 0)
			wait *= 1000;
		else if (seconds_or_date != NULL)
		{
			when = curl_getdate(seconds_or_date, NULL);
			if (when >= 0)
				wait = difftime(when, now) * 1000;
		}
	}
	return wait >= 1 && wait < LONGEST_MS ? (int64) wait : -1;
}
