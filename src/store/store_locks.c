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

/* So many processes are asked whom they wait for. */
#define MOST_ASKED 1000

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
 * To these processes, a list of PIDs, add those whom this one waits for.
 */
static List *
add_blockers(List *pids, int pid)
{
	ArrayType  *array = DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids,
															   Int32GetDatum(pid)));
	Datum	   *elements;
	int			count;

	deconstruct_array(array, INT4OID, sizeof(int32), true, TYPALIGN_INT,
					  &elements, NULL, &count);
	for (int i = 0; i < count; i++)
		pids = list_append_unique_int(pids, DatumGetInt32(elements[i]));
	return pids;
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
 * Those who have such locks, or wait for one: a list of PIDs.
 */
static List *
find_exclusive(void)
{
	Oid			schema = get_namespace_oid("agno", true);
	LockData   *locks = GetLockStatusData();
	List	   *pids = NIL;

	for (int i = 0; i < locks->nelements; i++)
	{
		if (locks->locks[i].pid != MyProcPid &&
			keeps_others_out(&locks->locks[i], schema))
			pids = list_append_unique_int(pids, locks->locks[i].pid);
	}
	return pids;
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
	List	   *pids;

	if (!anybody_waits())
		return false;
	pids = find_exclusive();
	for (int i = 0; i < Min(list_length(pids), MOST_ASKED); i++)
	{
		pids = add_blockers(pids, list_nth_int(pids, i));
		if (list_member_int(pids, MyProcPid))
			return true;
	}
	return false;
}
