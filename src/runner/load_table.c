/*-------------------------------------------------------------------------
 *
 * load_table.c
 *	  The loads of model servers that the runners of a database share.
 *
 * A table in shared memory, there only if agno_bg.runners is above 1. A place
 * in it belongs to the first load that asks for it, until PostgreSQL is
 * restarted. When all are taken, each runner counts for itself.
 *
 * What the loads mean is the business of pacing.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "runner/load_table.h"
#include "server/settings.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#define LOCK_TRANCHE "agno_bg paces"

#define MAX_LOADS 1024

typedef struct SharedLoad
{
	/* guarded by the lock of the tranche */
	Oid			database;		/* invalid: free, and so are all that follow */
	char		name[LOAD_NAME_SIZE];
	Load		load;
} SharedLoad;

static SharedLoad *loads;
static LWLock *lock;

/*
 * For shmem_request_hook.
 */
void
load_table_request_memory(void)
{
	if (agno_runners == 1)
		return;
	RequestAddinShmemSpace(sizeof(SharedLoad) * MAX_LOADS);
	RequestNamedLWLockTranche(LOCK_TRANCHE, 1);
}

/*
 * For shmem_startup_hook: create the table, or find it.
 */
void
load_table_startup(void)
{
	bool		found;

	if (agno_runners == 1)
		return;
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	loads = ShmemInitStruct(LOCK_TRANCHE, sizeof(SharedLoad) * MAX_LOADS,
							&found);
	if (!found)
		memset(loads, 0, sizeof(SharedLoad) * MAX_LOADS);
	lock = &GetNamedLWLockTranche(LOCK_TRANCHE)[0].lock;
	LWLockRelease(AddinShmemInitLock);
}

static void
lock_table(void)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
}

static void
unlock_table(void)
{
	LWLockRelease(lock);
}

static Load *
find_load(const char *name)
{
	Load	   *load = NULL;

	lock_table();
	for (int i = 0; i < MAX_LOADS && load == NULL; i++)
	{
		SharedLoad *place = &loads[i];

		if (!OidIsValid(place->database))
		{
			place->database = MyDatabaseId;
			strlcpy(place->name, name, LOAD_NAME_SIZE);
		}
		if (place->database == MyDatabaseId &&
			strcmp(place->name, name) == 0)
			load = &place->load;
	}
	unlock_table();
	return load;
}

/*
 * What the last runner of this database with this number had in flight is not
 * in flight any more.
 */
void
load_table_forget_runner(int number)
{
	if (loads == NULL)
		return;
	lock_table();
	for (int i = 0; i < MAX_LOADS; i++)
	{
		if (loads[i].database != MyDatabaseId)
			continue;
		loads[i].load.in_flight[number] = 0;
		loads[i].load.waiting &= ~(1U << number);
	}
	unlock_table();
}

const LoadTable shared_loads = {find_load, lock_table, unlock_table};
