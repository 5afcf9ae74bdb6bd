/*-------------------------------------------------------------------------
 *
 * stopwatch.c
 *	  How much of the processor a piece of work takes.
 *
 * Only the kernel knows, and to ask it takes as long as many a piece of work. So what is
 * done in no time by the clock of the machine counts as long as that: others may have had
 * the processor for some of it. What takes longer counts as what this thread has had since
 * a moment that was at most as long before. For one thread of a process.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include "core/clock.h"
#include "core/stopwatch.h"

/* What is done in no time, in microseconds. */
#define NO_TIME (1 * US_PER_MS)

/* When the kernel was asked last, and what it said. This process's own. */
static Stopwatch asked;

/*
 * A piece of work begins.
 */
Stopwatch
stopwatch_start(void)
{
	Stopwatch	watch = {clock_now(), asked.used};

	if (asked.start == 0 || watch.start - asked.start > NO_TIME)
	{
		watch.used = clock_processor();
		asked = watch;
	}
	return watch;
}

/*
 * How long it has taken, in microseconds.
 */
int64
stopwatch_read(const Stopwatch *watch)
{
	int64		took = clock_now() - watch->start;

	return took <= NO_TIME ? took :
		Min(took, clock_processor() - watch->used);
}
