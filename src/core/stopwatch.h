/*-------------------------------------------------------------------------
 *
 * stopwatch.h
 *	  How much of the processor a piece of work takes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_STOPWATCH_H
#define AGNO_STOPWATCH_H

/* A piece of work that is measured. */
typedef struct Stopwatch
{
	int64		start;			/* by clock_now() */
	int64		used;			/* clock_processor() then, or a little before */
} Stopwatch;

extern Stopwatch stopwatch_start(void);
extern int64 stopwatch_read(const Stopwatch *watch);

#endif							/* AGNO_STOPWATCH_H */
