/*-------------------------------------------------------------------------
 *
 * clock.h
 *	  The clock of a machine.
 *
 * Microseconds of a clock that never jumps: it is that of all processes of this machine,
 * and means nothing to others. Times of the database are TimestampTz instead.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_CLOCK_H
#define AGNO_CLOCK_H

#include <time.h>

#define US_PER_MS INT64CONST(1000)
#define US_PER_S INT64CONST(1000000)
#define US_PER_MINUTE INT64CONST(60000000)

/* No time. */
#define NEVER PG_INT64_MAX

/*
 * The time now.
 */
static inline int64
clock_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * US_PER_S + now.tv_nsec / 1000;
}

#endif							/* AGNO_CLOCK_H */
