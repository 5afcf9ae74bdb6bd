/*-------------------------------------------------------------------------
 *
 * store_locks.c
 *	  The tables of agno_bg: who keeps others from them.
 *
 * For a backend that waits for something that a runner is to do. This locks no table
 * itself, so it asks PostgreSQL's table of locks, and no view.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "store/store.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

/*
 * A process, or group of them, that waits for a lock.
 */
typedef struct Waiter
{
	const LockInstanceData *lock;	/* which one, and how */
	bool		keeps_others_out;	/* it has a table of agno_bg to itself, or
									 * is to */
	bool		visited;		/* it, or one that does, waits for it */
} Waiter;

/*
 * What PostgreSQL's table of locks says, in a moment. Lives as long as the look at it.
 */
typedef struct Locks
{
	const LockInstanceData **all;	/* of all processes, by what is locked */
	int			count;			/* of these */
	Waiter	   *waiters;		/* by the process */
	int			waiter_count;	/* of these */
} Locks;

/*
 * Whether any process waits for a lock. That is looked at without one: who waits for long
 * is seen the next time at the latest.
 */
static bool
anybody_waits(void)
{
	for (uint32 i = 0; i < ProcGlobal->allProcCount; i++)
	{
		if (ProcGlobal->allProcs[i].waitLock != NULL)
			return true;
	}
	return false;
}

/*
 * Whether somebody who waits does so because of this lock of the same object, which another
 * one has, or has been waiting for for longer.
 */
static bool
waits_for(const LockInstanceData *waiter, const LockInstanceData *lock)
{
	for (LOCKMODE mode = AccessShareLock; mode <= MaxLockMode; mode++)
	{
		bool		is_before = mode == lock->waitLockMode &&
			lock->waitStart < waiter->waitStart;

		if (((lock->holdMask & LOCKBIT_ON(mode)) != 0 || is_before) &&
			DoLockModesConflict(waiter->waitLockMode, mode))
			return true;
	}
	return false;
}

static int
compare_tags(const void *a, const void *b)
{
	const LockInstanceData *const *left = a;
	const LockInstanceData *const *right = b;

	return memcmp(&(*left)->locktag, &(*right)->locktag, sizeof(LOCKTAG));
}

static int
compare_waiters(const void *a, const void *b)
{
	int			left = ((const Waiter *) a)->lock->leaderPid;
	int			right = ((const Waiter *) b)->lock->leaderPid;

	return left < right ? -1 : left > right;
}

static void
read_locks(Locks *locks)
{
	LockData   *data = GetLockStatusData();

	locks->count = data->nelements;
	locks->all = palloc(sizeof(locks->all[0]) * (data->nelements + 1));
	locks->waiters = palloc(sizeof(Waiter) * (data->nelements + 1));
	locks->waiter_count = 0;
	for (int i = 0; i < data->nelements; i++)
	{
		locks->all[i] = &data->locks[i];
		if (data->locks[i].waitLockMode != NoLock)
			locks->waiters[locks->waiter_count++] = (Waiter)
		{
			.lock = &data->locks[i]
		};
	}
	qsort(locks->waiters, locks->waiter_count, sizeof(Waiter), compare_waiters);
}

/*
 * The first one of this process, or group, that waits; its others follow. Or NULL.
 */
static Waiter *
first_waiter(const Locks *locks, const LockInstanceData *of)
{
	Waiter		key = {.lock = of};
	Waiter	   *found = bsearch(&key, locks->waiters, locks->waiter_count,
								sizeof(Waiter), compare_waiters);

	while (found != NULL && found > locks->waiters &&
		   compare_waiters(found - 1, &key) == 0)
		found--;
	return found;
}

/*
 * Whether somebody may do as the owner of this table does. Others may lock some tables,
 * too, but what they do is not to end what others do.
 */
static bool
is_owner(int pid, Oid table)
{
	PGPROC	   *proc = BackendPidGetProc(pid);
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	bool		result = false;

	if (!HeapTupleIsValid(tuple))
		return false;
	if (proc != NULL)
		result = has_privs_of_role(proc->roleId,
								   ((Form_pg_class) GETSTRUCT(tuple))->relowner);
	ReleaseSysCache(tuple);
	return result;
}

/*
 * Whether this lock, of somebody who has it or waits for it, is one with which nobody else
 * can write a table of this schema.
 */
static bool
keeps_others_out(const LockInstanceData *lock, Oid schema)
{
	return (lock->waitLockMode >= ShareLock ||
			lock->holdMask >= LOCKBIT_ON(ShareLock)) &&
		lock->locktag.locktag_type == LOCKTAG_RELATION &&
		lock->locktag.locktag_field1 == MyDatabaseId &&
		get_rel_namespace(lock->locktag.locktag_field2) == schema &&
		is_owner(lock->pid, lock->locktag.locktag_field2);
}

/*
 * Find those who keep others out, and wait themselves. Is there one?
 */
static bool
find_those_who_keep_out(Locks *locks)
{
	Oid			schema = get_namespace_oid("agno", true);
	bool		found = false;

	for (int i = 0; i < locks->count; i++)
	{
		Waiter	   *waiter;

		if (locks->all[i]->leaderPid == MyProcPid ||
			!keeps_others_out(locks->all[i], schema))
			continue;
		waiter = first_waiter(locks, locks->all[i]);
		if (waiter != NULL)
			found = waiter->keeps_others_out = true;
	}
	return found;
}

/*
 * The first lock of what this one is for; its others follow. (It is there itself.)
 */
static int
first_of_tag(const Locks *locks, const LockInstanceData *lock)
{
	int			low = 0;
	int			high = locks->count;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (compare_tags(&locks->all[middle], &lock) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/*
 * Add this process, or group, to those who are waited for: they follow each other in
 * found, whose length this returns.
 */
static int
visit(const Locks *locks, const LockInstanceData *of, Waiter **found, int length)
{
	Waiter	   *end = locks->waiters + locks->waiter_count;

	for (Waiter *waiter = first_waiter(locks, of);
		 waiter != NULL && waiter < end &&
		 waiter->lock->leaderPid == of->leaderPid && !waiter->visited; waiter++)
	{
		waiter->visited = true;
		found[length++] = waiter;
	}
	return length;
}

/*
 * Whether one of those who keep others out waits for this process, or for one who does.
 */
static bool
do_they_wait_for_us(Locks *locks)
{
	Waiter	  **found = palloc(sizeof(Waiter *) * locks->waiter_count);
	int			length = 0;

	qsort(locks->all, locks->count, sizeof(locks->all[0]), compare_tags);
	for (int i = 0; i < locks->waiter_count; i++)
	{
		if (locks->waiters[i].keeps_others_out)
			length = visit(locks, locks->waiters[i].lock, found, length);
	}
	for (int i = 0; i < length; i++)
	{
		const LockInstanceData *waiter = found[i]->lock;

		for (int j = first_of_tag(locks, waiter);
			 j < locks->count && compare_tags(&locks->all[j], &waiter) == 0; j++)
		{
			const LockInstanceData *lock = locks->all[j];

			if (lock->leaderPid == waiter->leaderPid || !waits_for(waiter, lock))
				continue;
			if (lock->leaderPid == MyProcPid)
				return true;
			length = visit(locks, lock, found, length);
		}
	}
	return false;
}

static bool
is_in_the_way(void)
{
	Locks		locks;

	read_locks(&locks);
	return find_those_who_keep_out(&locks) && do_they_wait_for_us(&locks);
}

/*
 * Whether this transaction has locked anything: nobody waits for it otherwise.
 */
bool
store_has_locked(void)
{
#if PG_VERSION_NUM >= 180000
	for (int i = 0; i < FastPathLockGroupsPerBackend; i++)
	{
		if (MyProc->fpLockBits[i] != 0)
			return true;
	}
#else
	if (MyProc->fpLockBits != 0)
		return true;
#endif
	for (int i = 0; i < NUM_LOCK_PARTITIONS; i++)
	{
#if PG_VERSION_NUM >= 160000
		if (!dlist_is_empty(&MyProc->myProcLocks[i]))
#else
		if (!SHMQueueEmpty(&MyProc->myProcLocks[i]))
#endif
			return true;
	}
	return false;
}

/*
 * Whether agno.runs can be read without waiting for somebody who has it to himself.
 */
bool
store_can_read_runs(void)
{
	Oid			runs = get_relname_relid("runs", get_namespace_oid("agno", true));

	if (!ConditionalLockRelationOid(runs, AccessShareLock))
		return false;
	UnlockRelationOid(runs, AccessShareLock);
	return true;
}

/*
 * Whether somebody who keeps others from writing a table of agno_bg, or is to, waits for
 * this process, maybe for one that waits for it: so do runners then.
 */
bool
store_is_in_the_way(void)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context;
	bool		result;

	if (!anybody_waits())
		return false;
	context = AllocSetContextCreate(caller, "agno_bg locks",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	result = is_in_the_way();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return result;
}
