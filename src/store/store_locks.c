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
#include "storage/lock.h"
#include "store/store.h"
#include "utils/array.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"

/*
 * Whether somebody waits for this lock, on a table of this schema, with which nobody else
 * could write there.
 */
static bool
is_waited_for(const LockInstanceData *lock, Oid schema)
{
	return lock->waitLockMode >= ShareLock &&
		lock->locktag.locktag_type == LOCKTAG_RELATION &&
		lock->locktag.locktag_field1 == MyDatabaseId &&
		get_rel_namespace(lock->locktag.locktag_field2) == schema;
}

/*
 * Whether this process is one of those that another one waits for.
 */
static bool
blocks(int waiter)
{
	ArrayType  *array = DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids,
															   Int32GetDatum(waiter)));
	Datum	   *elements;
	int			count;
	bool		found = false;

	deconstruct_array(array, INT4OID, sizeof(int32), true, TYPALIGN_INT,
					  &elements, NULL, &count);
	for (int i = 0; i < count; i++)
		found |= DatumGetInt32(elements[i]) == MyProcPid;
	return found;
}

/*
 * Whether this transaction has locked one of the tables that runners write, and users may
 * read.
 */
bool
store_has_locked(void)
{
	static const char *const names[] = {
		"runs", "sessions", "run_events", "tool_calls", "requirements"
	};
	Oid			schema = get_namespace_oid("agno", true);

	for (int i = 0; i < (int) lengthof(names); i++)
	{
		LOCKTAG		tag;

		SET_LOCKTAG_RELATION(tag, MyDatabaseId, get_relname_relid(names[i], schema));
		for (LOCKMODE mode = AccessShareLock; mode <= MaxLockMode; mode++)
		{
#if PG_VERSION_NUM >= 170000
			if (LockHeldByMe(&tag, mode, false))
#else
			if (LockHeldByMe(&tag, mode))
#endif
				return true;
		}
	}
	return false;
}

/*
 * Whether somebody waits for this process who wants one of the tables for himself: so do
 * runners, behind him.
 */
bool
store_is_in_the_way(void)
{
	Oid			schema = get_namespace_oid("agno", true);
	LockData   *locks = GetLockStatusData();

	for (int i = 0; i < locks->nelements; i++)
	{
		if (is_waited_for(&locks->locks[i], schema) &&
			blocks(locks->locks[i].pid))
			return true;
	}
	return false;
}
