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
 * What PostgreSQL's table of locks says, in a moment, and of whom. Lives as long as the look
 * at it.
 */
typedef struct Locks
{
	LockData   *all;			/* of all processes */
	List	   *behind;			/* those of this process, and of those who
								 * wait for it, or for one of them */
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
 * Whether somebody who waits does so because of this lock, which another one has, or has
 * been waiting for for longer.
 */
static bool
waits_for(const LockInstanceData *waiter, const LockInstanceData *lock)
{
	if (memcmp(&waiter->locktag, &lock->locktag, sizeof(LOCKTAG)) != 0)
		return false;
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

/*
 * Add the locks of this process, or group of them, to those behind.
 */
static void
add_behind(Locks *locks, int leader)
{
	for (int i = 0; i < locks->all->nelements; i++)
	{
		if (locks->all->locks[i].leaderPid == leader)
			locks->behind = lappend(locks->behind, &locks->all->locks[i]);
	}
}

static bool
is_behind(const Locks *locks, const LockInstanceData *waiter)
{
	ListCell   *cell;

	foreach(cell, locks->behind)
	{
		const LockInstanceData *lock = lfirst(cell);

		if (waiter->leaderPid != lock->leaderPid && waits_for(waiter, lock))
			return true;
	}
	return false;
}

/*
 * Find who waits for this process, or for one who does.
 */
static void
find_behind(Locks *locks)
{
	List	   *found = list_make1_int(MyProcPid);
	int			before;

	add_behind(locks, MyProcPid);
	do
	{
		before = list_length(found);
		for (int i = 0; i < locks->all->nelements; i++)
		{
			const LockInstanceData *lock = &locks->all->locks[i];

			if (lock->waitLockMode == NoLock ||
				list_member_int(found, lock->leaderPid) || !is_behind(locks, lock))
				continue;
			found = lappend_int(found, lock->leaderPid);
			add_behind(locks, lock->leaderPid);
		}
	} while (list_length(found) > before);
}

/*
 * Whether somebody who may do as the owner of this table does, has this lock or waits for
 * it. Others may lock some tables, too, but what they do is not to end what others do.
 */
static bool
is_of_owner(const LockInstanceData *lock)
{
	PGPROC	   *proc = BackendPidGetProc(lock->pid);
	HeapTuple	tuple = SearchSysCache1(RELOID,
										ObjectIdGetDatum(lock->locktag.locktag_field2));
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
		is_of_owner(lock);
}

/*
 * Whether one of those who wait for this process keeps others out.
 */
static bool
is_in_the_way(void)
{
	Oid			schema = get_namespace_oid("agno", true);
	Locks		locks = {GetLockStatusData()};
	ListCell   *cell;

	find_behind(&locks);
	foreach(cell, locks.behind)
	{
		const LockInstanceData *lock = lfirst(cell);

		if (lock->leaderPid != MyProcPid && keeps_others_out(lock, schema))
			return true;
	}
	return false;
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
