/*-------------------------------------------------------------------------
 *
 * store_locks.c
 *	  The tables of agno_bg: who keeps others from them.
 *
 * For a runner that has been locked out, between store_begin_to_look() and store_commit().
 * This locks no table itself, so it asks PostgreSQL's table of locks, and no view.
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
 * Add the processes that this one waits for.
 */
static List *
add_blockers(List *pids, int waiter)
{
	ArrayType  *array = DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids,
															   Int32GetDatum(waiter)));
	Datum	   *elements;
	int			count;

	deconstruct_array(array, INT4OID, sizeof(int32), true, TYPALIGN_INT,
					  &elements, NULL, &count);
	for (int i = 0; i < count; i++)
		pids = list_append_unique_int(pids, DatumGetInt32(elements[i]));
	return pids;
}

/*
 * The processes that somebody waits for who wants one of the tables for himself: a list of
 * PIDs.
 */
List *
store_in_the_way(void)
{
	Oid			schema = get_namespace_oid("agno", true);
	LockData   *locks = GetLockStatusData();
	List	   *pids = NIL;

	for (int i = 0; i < locks->nelements; i++)
	{
		if (is_waited_for(&locks->locks[i], schema))
			pids = add_blockers(pids, locks->locks[i].pid);
		CHECK_FOR_INTERRUPTS();
	}
	return pids;
}
