/*-------------------------------------------------------------------------
 *
 * retry_after.h
 *	  How long a server asks to be left alone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_RETRY_AFTER_H
#define AGNO_RETRY_AFTER_H

#include <time.h>

extern int64 retry_after_ms(const char *millis, const char *seconds_or_date,
							time_t now);

#endif							/* AGNO_RETRY_AFTER_H */
