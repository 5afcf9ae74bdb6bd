/*-------------------------------------------------------------------------
 *
 * process.h
 *	  Finding and waking another process through shared memory.
 *
 * A process is known by its number, never by a pointer to its latch. A latch
 * that is set for nothing, since another process has the number now, does no
 * harm: everyone looks again before it acts.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_PROCESS_H
#define AGNO_PROCESS_H

#include "storage/latch.h"
#include "storage/proc.h"

/* No process. */
#define NO_PROCESS (-1)

/*
 * The number of this process, below MaxBackends.
 */
static inline int
my_process(void)
{
#if PG_VERSION_NUM >= 170000
	return MyProcNumber;
#else
	return MyProc->pgprocno;
#endif
}

static inline void
wake_process(int process)
{
	if (process != NO_PROCESS)
		SetLatch(&ProcGlobal->allProcs[process].procLatch);
}

#endif							/* AGNO_PROCESS_H */
