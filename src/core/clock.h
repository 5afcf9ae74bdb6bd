/*-------------------------------------------------------------------------
 *
 * clock.h
 *	  The clock of a machine.
 *
 * Microseconds of a clock that never jumps: it is that of all processes of this machine,
 * and means nothing to others. Times of the database are TimestampTz instead. What somebody
 * has had of a processor is counted by a clock of its own, which stands still while others
 * have it.
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

/*
 * How much of the processors the calling thread has had, in microseconds.
 */
static inline int64
clock_processor(void)
{
	struct timespec used;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (int64) used.tv_sec * US_PER_S + used.tv_nsec / 1000;
}

#endif							/* AGNO_CLOCK_H */
