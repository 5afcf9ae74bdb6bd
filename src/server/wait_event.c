/*-------------------------------------------------------------------------
 *
 * wait_event.c
 *	  What pg_stat_activity shows of those who wait.
 *
 * Extensions have names for that from PostgreSQL 17 on; before, all that they
 * wait for is "Extension".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#if PG_VERSION_NUM >= 170000
#include "utils/wait_event.h"
#else
#include "pgstat.h"
#endif

#include "server/wait_event.h"

/*
 * The wait event for this reason.
 */
uint32
wait_event(WaitReason reason)
{
#if PG_VERSION_NUM >= 170000
	static const char *const names[WAIT_REASONS] = {
		[WAIT_IN_LAUNCHER] = "AgnoBgLauncher",
		[WAIT_IN_RUNNER] = "AgnoBgRunner",
		[WAIT_IN_TOOL_WORKER] = "AgnoBgToolWorker",
		[WAIT_FOR_RUN] = "AgnoWaitRun",
		[WAIT_FOR_RUNNERS] = "AgnoBgStepAside",
	};
	static uint32 events[WAIT_REASONS];

	if (events[reason] == 0)
		events[reason] = WaitEventExtensionNew(names[reason]);
	return events[reason];
#else
	return PG_WAIT_EXTENSION;
#endif
}
