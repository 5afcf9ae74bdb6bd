/*-------------------------------------------------------------------------
 *
 * waiters.c
 *	  Backends that sleep until a run has ended.
 *
 * A backend that waits for a run puts the hash of the run's id into its place
 * in shared memory, and only then looks at the run. The runner stores runs,
 * and only then sets the latches of those who wait for them. So a process that looks
 * too early is woken, and nobody polls. Two runs of one hash wake somebody for
 * nothing, who looks and sleeps on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "server/process.h"
#include "server/waiters.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#define LOCK_TRANCHE "agno_bg waiters"

typedef struct Waiter
{
	/* guarded by the lock of the tranche */
	Oid			database;		/* invalid: this process does not wait */
	uint64		run_hash;		/* of the id of the run it waits for */

	/* of its own */
	pg_atomic_uint32 woken;		/* somebody has woken it */
} Waiter;

typedef struct Waiters
{
	pg_atomic_uint32 count;		/* how many are in use */
	Waiter		waiters[FLEXIBLE_ARRAY_MEMBER]; /* one for each process */
} Waiters;

static Waiters *shared;
static LWLock *lock;

/*
 * The subtransaction in which this process has taken its waiter into use;
 * InvalidSubTransactionId: it has not.
 */
static SubTransactionId waiting_in = InvalidSubTransactionId;

static Size
shared_size(void)
{
	return add_size(offsetof(Waiters, waiters),
					mul_size(sizeof(Waiter), MaxBackends));
}

/*
 * For shmem_request_hook.
 */
void
waiters_request_memory(void)
{
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche(LOCK_TRANCHE, 1);
}

/*
 * For shmem_startup_hook: create the state, or find it.
 */
void
waiters_startup(void)
{
	bool		found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct(LOCK_TRANCHE, shared_size(), &found);
	if (!found)
	{
		memset(shared, 0, shared_size());
		pg_atomic_init_u32(&shared->count, 0);
		for (int process = 0; process < MaxBackends; process++)
			pg_atomic_init_u32(&shared->waiters[process].woken, 0);
	}
	lock = &GetNamedLWLockTranche(LOCK_TRANCHE)[0].lock;
	LWLockRelease(AddinShmemInitLock);
}

static uint64
hash_run_id(const char *run_id)
{
	return hash_bytes_extended((const unsigned char *) run_id,
							   (int) strlen(run_id), 0);
}

/*-------------------------------------------------------------------------
 * Backends
 *-------------------------------------------------------------------------
 */

static void
end_at_exit(int code, Datum arg)
{
	waiters_end();
}

static void
end_at_abort(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT)
		waiters_end();
}

static void
end_at_subabort(SubXactEvent event, SubTransactionId my_id,
				SubTransactionId parent_id, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && my_id == waiting_in)
		waiters_end();
}

static void
register_callbacks(void)
{
	static bool registered;

	if (registered)
		return;
	before_shmem_exit(end_at_exit, 0);
	RegisterXactCallback(end_at_abort, NULL);
	RegisterSubXactCallback(end_at_subabort, NULL);
	registered = true;
}

/*
 * From now on, this process's latch is set when the run ends. Look at the run
 * only after this call. An error ends the waiting, too.
 */
void
waiters_begin(const char *run_id)
{
	Waiter	   *waiter = &shared->waiters[my_process()];

	register_callbacks();
	LWLockAcquire(lock, LW_EXCLUSIVE);
	waiter->database = MyDatabaseId;
	waiter->run_hash = hash_run_id(run_id);
	LWLockRelease(lock);
	pg_atomic_fetch_add_u32(&shared->count, 1);
	waiting_in = GetCurrentSubTransactionId();
}

/*
 * Whether somebody has woken this process since it asked. The latch does not tell: whoever
 * waits for a lock resets it.
 */
bool
waiters_woken(void)
{
	return pg_atomic_exchange_u32(&shared->waiters[my_process()].woken, 0) != 0;
}

/*
 * Wait no more. Does nothing in a process that does not wait.
 */
void
waiters_end(void)
{
	if (waiting_in == InvalidSubTransactionId)
		return;
	waiting_in = InvalidSubTransactionId;
	pg_atomic_fetch_sub_u32(&shared->count, 1);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	shared->waiters[my_process()].database = InvalidOid;
	LWLockRelease(lock);
}

/*-------------------------------------------------------------------------
 * Runners
 *-------------------------------------------------------------------------
 */

static int
compare_hashes(const void *a, const void *b)
{
	uint64		left = *(const uint64 *) a;
	uint64		right = *(const uint64 *) b;

	return left < right ? -1 : left > right;
}

/*
 * Wake every backend that waits for one of these runs of this database.
 */
void
waiters_wake(char *const *run_ids, int count)
{
	uint64		one;
	uint64	   *hashes = &one;

	if (count == 0 || pg_atomic_read_u32(&shared->count) == 0)
		return;

	/* A backend that has just committed must not fail for lack of memory. */
	if (count > 1)
		hashes = palloc(sizeof(uint64) * count);
	for (int i = 0; i < count; i++)
		hashes[i] = hash_run_id(run_ids[i]);
	qsort(hashes, count, sizeof(uint64), compare_hashes);

	LWLockAcquire(lock, LW_SHARED);
	for (int process = 0; process < MaxBackends; process++)
	{
		Waiter	   *waiter = &shared->waiters[process];

		if (waiter->database == MyDatabaseId &&
			bsearch(&waiter->run_hash, hashes, count, sizeof(uint64),
					compare_hashes) != NULL)
		{
			pg_atomic_write_u32(&waiter->woken, 1);
			wake_process(process);
		}
	}
	LWLockRelease(lock);
	if (count > 1)
		pfree(hashes);
}
