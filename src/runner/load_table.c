/*-------------------------------------------------------------------------
 *
 * load_table.c
 *	  The loads of model servers that the runners of a database share.
 *
 * A table in shared memory, there only if agno_bg.runners is above 1. A place in it
 * belongs to a load as long as a runner uses it. When all are taken, each runner
 * counts for itself.
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
	Oid			database;		/* whose load it is, or was */
	uint32		users;			/* runners that use it: a bit each; 0: the
								 * place is free */
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
find_load(const char *name, int runner)
{
	SharedLoad *found = NULL;
	SharedLoad *free = NULL;

	lock_table();
	for (int i = 0; i < MAX_LOADS && found == NULL; i++)
	{
		SharedLoad *place = &loads[i];

		/* One whose runner has been replaced still knows something. */
		if (place->database == MyDatabaseId && strcmp(place->name, name) == 0)
			found = place;
		else if (place->users == 0 && free == NULL)
			free = place;
	}
	if (found == NULL && free != NULL)
	{
		found = free;
		memset(found, 0, sizeof(SharedLoad));
		found->database = MyDatabaseId;
		strlcpy(found->name, name, LOAD_NAME_SIZE);
	}
	if (found != NULL)
		found->users |= 1U << runner;
	unlock_table();
	return found != NULL ? &found->load : NULL;
}

static void
release_load(Load *load, int runner)
{
	SharedLoad *place = (SharedLoad *) ((char *) load - offsetof(SharedLoad, load));

	place->users &= ~(1U << runner);
}

/*
 * What the runner of this database with this number had in flight is not in flight
 * any more, and it uses no load.
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
		loads[i].users &= ~(1U << number);
	}
	unlock_table();
}

const LoadTable shared_loads = {find_load, release_load, lock_table, unlock_table};
