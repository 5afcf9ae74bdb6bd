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

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "store/store.h"
#include "utils/array.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"

/* Of how many processes that wait for locks it is found out whom they wait for. */
#define MOST_LOOKED_AT 200

/* A process that waits for a lock. */
typedef struct LockWaiter
{
	int			pid;
	List	   *blockers;		/* PIDs of those whom it waits for */
} LockWaiter;

/*
 * The processes whom this one waits for.
 */
static List *
blockers_of(int pid)
{
	ArrayType  *array = DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids,
															   Int32GetDatum(pid)));
	Datum	   *elements;
	int			count;
	List	   *blockers = NIL;

	deconstruct_array(array, INT4OID, sizeof(int32), true, TYPALIGN_INT,
					  &elements, NULL, &count);
	for (int i = 0; i < count; i++)
		blockers = lappend_int(blockers, DatumGetInt32(elements[i]));
	return blockers;
}

/*
 * The processes that wait for locks: a list of LockWaiters. That one waits is looked at without
 * a lock, and one that does so for long is seen the next time at the latest.
 */
static List *
find_waiters(void)
{
	List	   *waiters = NIL;

	for (uint32 i = 0; i < ProcGlobal->allProcCount; i++)
	{
		PGPROC	   *proc = &ProcGlobal->allProcs[i];
		int			pid = proc->pid;
		LockWaiter *waiter;

		if (proc->waitLock == NULL || pid == 0 || pid == MyProcPid)
			continue;
		waiter = palloc(sizeof(LockWaiter));
		waiter->pid = pid;
		waiter->blockers = blockers_of(pid);
		waiters = lappend(waiters, waiter);
		if (list_length(waiters) == MOST_LOOKED_AT)
			break;
	}
	return waiters;
}

/*
 * This process, and those that wait for it, or for one of them: a list of PIDs.
 */
static List *
find_behind(void)
{
	List	   *behind = list_make1_int(MyProcPid);
	List	   *waiters = find_waiters();
	bool		more = waiters != NIL;

	while (more)
	{
		ListCell   *cell;

		more = false;
		foreach(cell, waiters)
		{
			LockWaiter *waiter = lfirst(cell);

			if (list_intersection_int(waiter->blockers, behind) == NIL)
				continue;
			behind = lappend_int(behind, waiter->pid);
			waiters = foreach_delete_current(waiters, cell);
			more = true;
		}
	}
	return behind;
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
		get_rel_namespace(lock->locktag.locktag_field2) == schema;
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
 * Whether somebody waits for this process, maybe for one that waits for it, who keeps
 * others, or will, from writing a table of agno_bg: so runners wait for it, too.
 */
bool
store_is_in_the_way(void)
{
	Oid			schema = get_namespace_oid("agno", true);
	List	   *behind = find_behind();
	LockData   *locks;

	if (list_length(behind) == 1)
		return false;
	locks = GetLockStatusData();
	for (int i = 0; i < locks->nelements; i++)
	{
		const LockInstanceData *lock = &locks->locks[i];

		if (lock->pid != MyProcPid && list_member_int(behind, lock->pid) &&
			keeps_others_out(lock, schema))
			return true;
	}
	return false;
}
