/*-------------------------------------------------------------------------
 *
 * acceptance.c
 *	  When runs are accepted.
 *
 * The time of acceptance tells the order of runs, so no two are the same on a
 * server.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "port/atomics.h"
#include "server/acceptance.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

/* What acceptance_time() gave last. Atomic, in shared memory. */
static pg_atomic_uint64 *last;

/*
 * For shmem_request_hook.
 */
void
acceptance_request_memory(void)
{
	RequestAddinShmemSpace(sizeof(pg_atomic_uint64));
}

/*
 * For shmem_startup_hook: create it, or find it.
 */
void
acceptance_startup(void)
{
	bool		found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	last = ShmemInitStruct("agno_bg acceptance", sizeof(pg_atomic_uint64),
						   &found);
	if (!found)
		pg_atomic_init_u64(last, 0);
	LWLockRelease(AddinShmemInitLock);
}

/*
 * When a run is accepted: the current time, but later than any that has been
 * given before, so that it tells the order.
 */
TimestampTz
acceptance_time(void)
{
	uint64		given = pg_atomic_read_u64(last);
	uint64		now = (uint64) GetCurrentTimestamp();
	uint64		time;

	do
	{
		time = Max(now, given + 1);
	} while (!pg_atomic_compare_exchange_u64(last, &given, time));
	return (TimestampTz) time;
}
