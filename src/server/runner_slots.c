/*-------------------------------------------------------------------------
 *
 * runner_slots.c
 *	  The runners of all databases, in shared memory.
 *
 * A database has agno_bg.runners runners, numbered from 0, each with a slot. The
 * launcher starts a process for each slot that wants one; backends wake those
 * that are there and ask for those that are not. Every wake-up bumps a counter
 * that the runner compares before it sleeps, so none is lost and none is
 * suppressed.
 *
 * All is gone after a crash, when the postmaster starts over, and rebuilt: the
 * launcher looks into every database again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/clock.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "server/process.h"
#include "server/runner_slots.h"
#include "server/settings.h"
#include "server/wait_event.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#define LOCK_TRANCHE "agno_bg runners"

/* How long at most runners stay away after the last COPY, in milliseconds. */
#define LONGEST_RESTORE_PAUSE (60 * 60 * 1000)

typedef struct RunnerSlot
{
	/* guarded by the runners lock */
	Oid			database;		/* whose slot this is; invalid when free */
	int			number;			/* of the runner in its database */
	RunnerState state;
	int			process;		/* the runner's number, or NO_PROCESS */
	int			holds;			/* how many backends want no runner here */
	int			restorers;		/* how many sessions have copied into the
								 * tables */
	int64		restoring_until;	/* while there are any: no runner before,
									 * as of clock_now() */
	bool		stepped_aside;	/* the last one left because of them, or of
								 * runner_slot_leave() */
	int			pid;			/* of the process, 0 when there is none */
	TimestampTz since;			/* when the process started, else 0 */

	/* atomic, written by the runner alone */
	pg_atomic_uint64 counts[RUNNER_COUNTS];

	/* atomic, written by backends that hold the lock at least shared */
	pg_atomic_uint64 wakes;		/* how often the runner was woken */
	pg_atomic_uint32 prepared;	/* 1: a prepared transaction may hold work
								 * that nobody will wake the runner for */
} RunnerSlot;

typedef struct SharedState
{
	int			launcher;		/* the launcher's number, or NO_PROCESS;
								 * guarded by the runners lock */
	ConditionVariable runner_left;	/* signalled when a runner says goodbye */
	RunnerSlot	runners[MAX_RUNNERS];
} SharedState;

static SharedState *shared;
static LWLock *runners_lock;

/* The slot of this runner. */
static int	my_slot = -1;

/*-------------------------------------------------------------------------
 * Start-up
 *-------------------------------------------------------------------------
 */

/*
 * For shmem_request_hook.
 */
void
runner_slots_request_memory(void)
{
	RequestAddinShmemSpace(sizeof(SharedState));
	RequestNamedLWLockTranche(LOCK_TRANCHE, 1);
}

/*
 * For shmem_startup_hook: create the state, or find it.
 */
void
runner_slots_startup(void)
{
	bool		found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("agno_bg runners", sizeof(SharedState), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(SharedState));
		shared->launcher = NO_PROCESS;
		ConditionVariableInit(&shared->runner_left);
		for (int i = 0; i < MAX_RUNNERS; i++)
		{
			shared->runners[i].process = NO_PROCESS;
			for (int c = 0; c < RUNNER_COUNTS; c++)
				pg_atomic_init_u64(&shared->runners[i].counts[c], 0);
			pg_atomic_init_u64(&shared->runners[i].wakes, 0);
			pg_atomic_init_u32(&shared->runners[i].prepared, 0);
		}
	}
	runners_lock = &GetNamedLWLockTranche(LOCK_TRANCHE)[0].lock;
	LWLockRelease(AddinShmemInitLock);
}

/*
 * The slot of this runner, or NULL. The caller holds the runners lock.
 */
static RunnerSlot *
find_slot(Oid database, int number)
{
	for (int i = 0; i < MAX_RUNNERS; i++)
	{
		RunnerSlot *slot = &shared->runners[i];

		if (slot->database == database && slot->number == number)
			return slot;
	}
	return NULL;
}

/*
 * The slot of any runner of the database, or NULL; a free one for no database.
 * The caller holds the runners lock.
 */
static RunnerSlot *
find_any_slot(Oid database)
{
	for (int i = 0; i < MAX_RUNNERS; i++)
	{
		if (shared->runners[i].database == database)
			return &shared->runners[i];
	}
	return NULL;
}

/*-------------------------------------------------------------------------
 * Backends
 *-------------------------------------------------------------------------
 */

/*
 * Have this runner started unless it is there. Called where no error may be
 * raised. False if there is no slot left.
 */
bool
runner_slots_want(Oid database, int number)
{
	RunnerSlot *slot;

	LWLockAcquire(runners_lock, LW_EXCLUSIVE);
	slot = find_slot(database, number);
	if (slot == NULL)
	{
		RunnerSlot *sibling = find_any_slot(database);

		slot = find_any_slot(InvalidOid);
		if (slot != NULL && sibling != NULL)
		{
			slot->holds = sibling->holds;
			slot->restorers = sibling->restorers;
			slot->restoring_until = sibling->restoring_until;
		}
	}
	if (slot != NULL)
	{
		slot->database = database;
		slot->number = number;
		if (slot->state == RUNNER_NONE)
			slot->state = RUNNER_WANTED;
		pg_atomic_fetch_add_u64(&slot->wakes, 1);
	}
	wake_process(shared->launcher);
	LWLockRelease(runners_lock);

	return slot != NULL;
}

/*
 * The same, where nobody else looks after it: say so if there is no slot left.
 */
void
runner_slots_demand(Oid database, int number)
{
	if (!runner_slots_want(database, number))
		ereport(LOG,
				(errmsg("no runner for the database with OID %u: agno_bg has at most %d runners",
						database, MAX_RUNNERS)));
}

/*
 * Wake these runners of this database, or ask for them: a bit for each number.
 * prepared: a prepared transaction has work for them. Called where no error may
 * be raised.
 */
void
runner_slots_wake(uint32 numbers, bool prepared)
{
	uint32		unknown = 0;

	LWLockAcquire(runners_lock, LW_SHARED);
	for (int number = 0; number < agno_runners; number++)
	{
		RunnerSlot *slot;

		if ((numbers & (1U << number)) == 0)
			continue;
		slot = find_slot(MyDatabaseId, number);
		if (slot == NULL)
		{
			unknown |= 1U << number;
			continue;
		}
		if (prepared)
			pg_atomic_write_u32(&slot->prepared, 1);
		pg_atomic_fetch_add_u64(&slot->wakes, 1);
		wake_process(slot->process);
	}
	LWLockRelease(runners_lock);

	for (int number = 0; number < agno_runners; number++)
	{
		if ((unknown & (1U << number)) != 0)
			runner_slots_demand(MyDatabaseId, number);
	}
}

/*
 * Whether a runner of the database is at work.
 */
bool
runner_slots_has_runner(Oid database)
{
	bool		found = false;

	LWLockAcquire(runners_lock, LW_SHARED);
	for (int i = 0; i < MAX_RUNNERS; i++)
		found |= shared->runners[i].database == database &&
			shared->runners[i].state == RUNNER_RUNNING;
	LWLockRelease(runners_lock);
	return found;
}

/*
 * Wake the launcher: there is something for it to see to.
 */
void
runner_slots_wake_launcher(void)
{
	LWLockAcquire(runners_lock, LW_SHARED);
	wake_process(shared->launcher);
	LWLockRelease(runners_lock);
}

static int64
end_of_restore(void)
{
	return clock_now() + LONGEST_RESTORE_PAUSE * US_PER_MS;
}

/*
 * Whether a slot is to have no process now.
 */
static bool
is_held(const RunnerSlot *slot)
{
	return slot->holds > 0 ||
		(slot->restorers > 0 && clock_now() < slot->restoring_until);
}

/*
 * Have the runners of the database step aside, until runner_slots_unhold().
 * Returns whether it may have any.
 */
bool
runner_slots_hold(Oid database)
{
	bool		any = false;

	LWLockAcquire(runners_lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_RUNNERS; i++)
	{
		RunnerSlot *slot = &shared->runners[i];

		if (slot->database != database)
			continue;
		slot->holds++;
		any = true;
		wake_process(slot->process);
	}
	LWLockRelease(runners_lock);
	return any;
}

/*
 * Let the database have its runners again. The launcher finds out whether it is
 * still there.
 */
void
runner_slots_unhold(Oid database)
{
	LWLockAcquire(runners_lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_RUNNERS; i++)
	{
		RunnerSlot *slot = &shared->runners[i];

		if (slot->database == database && slot->holds > 0)
			slot->holds--;
		if (slot->database == database && slot->restorers > 0)
			slot->restoring_until = end_of_restore();
	}
	wake_process(shared->launcher);
	LWLockRelease(runners_lock);
}

/*
 * A session restores a dump into this database: no runners until
 * runner_slots_end_restore(), but for no longer than an hour after the last
 * runner_slots_unhold().
 */
void
runner_slots_begin_restore(void)
{
	LWLockAcquire(runners_lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_RUNNERS; i++)
	{
		RunnerSlot *slot = &shared->runners[i];

		if (slot->database != MyDatabaseId)
			continue;
		slot->restorers++;
		slot->restoring_until = end_of_restore();
	}
	LWLockRelease(runners_lock);
}

void
runner_slots_end_restore(void)
{
	LWLockAcquire(runners_lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_RUNNERS; i++)
	{
		RunnerSlot *slot = &shared->runners[i];

		if (slot->database == MyDatabaseId && slot->restorers > 0)
			slot->restorers--;
	}
	wake_process(shared->launcher);
	LWLockRelease(runners_lock);
}

/*
 * Whether the database is to have no runners now.
 */
bool
runner_slots_held(Oid database)
{
	RunnerSlot *slot;
	bool		held;

	LWLockAcquire(runners_lock, LW_SHARED);
	slot = find_any_slot(database);
	held = slot != NULL && is_held(slot);
	LWLockRelease(runners_lock);
	return held;
}

/*
 * Whether no runner is in the database.
 */
static bool
runners_gone(Oid database)
{
	bool		gone = true;

	LWLockAcquire(runners_lock, LW_SHARED);
	for (int i = 0; i < MAX_RUNNERS; i++)
	{
		if (shared->runners[i].database == database &&
			shared->runners[i].process != NO_PROCESS)
			gone = false;
	}
	LWLockRelease(runners_lock);
	return gone;
}

/*
 * Wait until the runners of a database that is held have stepped aside.
 */
void
runner_slots_wait_gone(Oid database)
{
	while (!runners_gone(database))
	{
		/* The timeout is for the case that a slot changes hands. */
		(void) ConditionVariableTimedSleep(&shared->runner_left, 1000,
										   wait_event(WAIT_FOR_RUNNERS));
	}
	ConditionVariableCancelSleep();
}

/*-------------------------------------------------------------------------
 * The launcher
 *-------------------------------------------------------------------------
 */

static void
launcher_detach(int code, Datum arg)
{
	LWLockAcquire(runners_lock, LW_EXCLUSIVE);
	shared->launcher = NO_PROCESS;
	LWLockRelease(runners_lock);
}

/*
 * This process is the launcher. A start that its predecessor had asked for
 * may or may not happen; asking once more does no harm.
 */
void
runner_slots_attach_launcher(void)
{
	LWLockAcquire(runners_lock, LW_EXCLUSIVE);
	shared->launcher = my_process();
	for (int i = 0; i < MAX_RUNNERS; i++)
	{
		if (shared->runners[i].state == RUNNER_STARTING)
			shared->runners[i].state = RUNNER_WANTED;
	}
	LWLockRelease(runners_lock);
	before_shmem_exit(launcher_detach, 0);
}

/*
 * What is in this slot.
 */
RunnerView
runner_slots_view(int slot)
{
	RunnerSlot *runner = &shared->runners[slot];
	RunnerView	view;

	LWLockAcquire(runners_lock, LW_SHARED);
	view.database = runner->database;
	view.number = runner->number;
	view.state = runner->state;
	view.held = is_held(runner);
	view.stepped_aside = runner->stepped_aside;
	view.restoring_until = runner->restorers > 0 ? runner->restoring_until : 0;
	view.pid = runner->pid;
	view.since = runner->since;
	for (int c = 0; c < RUNNER_COUNTS; c++)
		view.counts[c] = pg_atomic_read_u64(&runner->counts[c]);
	LWLockRelease(runners_lock);
	return view;
}

/*
 * The launcher is about to ask for a process. False when none is wanted.
 */
bool
runner_slots_starting(int slot)
{
	bool		wanted;

	LWLockAcquire(runners_lock, LW_EXCLUSIVE);
	wanted = shared->runners[slot].state == RUNNER_WANTED &&
		!is_held(&shared->runners[slot]);
	if (wanted)
		shared->runners[slot].state = RUNNER_STARTING;
	LWLockRelease(runners_lock);
	return wanted;
}

static void
free_slot(RunnerSlot *slot)
{
	slot->database = InvalidOid;
	slot->number = 0;
	slot->state = RUNNER_NONE;
	slot->process = NO_PROCESS;
	slot->pid = 0;
	slot->since = 0;
	slot->holds = 0;
	slot->restorers = 0;
	slot->restoring_until = 0;
	slot->stepped_aside = false;
	pg_atomic_write_u64(&slot->wakes, 0);
	pg_atomic_write_u32(&slot->prepared, 0);
}

/*
 * The process that the launcher asked for did not come to run; or, unless one
 * is still wanted, the database is gone.
 */
void
runner_slots_not_started(int slot, bool still_wanted)
{
	RunnerSlot *runner = &shared->runners[slot];

	LWLockAcquire(runners_lock, LW_EXCLUSIVE);
	if (runner->state == RUNNER_STARTING || runner->state == RUNNER_WANTED)
	{
		if (still_wanted)
			runner->state = RUNNER_WANTED;
		else
			free_slot(runner);
	}
	LWLockRelease(runners_lock);
}

/*-------------------------------------------------------------------------
 * Runners
 *-------------------------------------------------------------------------
 */

/* This runner has nothing to do here, which is no failure. */
static bool leaving;

/*
 * This runner is about to exit, since the extension is not there any more.
 */
void
runner_slot_leave(void)
{
	leaving = true;
}

/*
 * A runner says goodbye; the launcher is to start another, unless
 * runner_slot_unwanted() has freed the slot.
 */
static void
runner_detach(int code, Datum arg)
{
	RunnerSlot *slot = &shared->runners[my_slot];

	LWLockAcquire(runners_lock, LW_EXCLUSIVE);
	if (slot->process == my_process())
	{
		slot->process = NO_PROCESS;
		slot->pid = 0;
		slot->since = 0;
		slot->state = RUNNER_WANTED;
		slot->stepped_aside = leaving || is_held(slot);
	}
	wake_process(shared->launcher);
	LWLockRelease(runners_lock);
	ConditionVariableBroadcast(&shared->runner_left);
}

/*
 * This process is the runner of the database. False when it has one already,
 * or none is wanted any more.
 */
bool
runner_slot_attach(int slot, Oid database)
{
	RunnerSlot *runner = &shared->runners[slot];
	bool		mine;

	LWLockAcquire(runners_lock, LW_EXCLUSIVE);
	mine = runner->database == database && !is_held(runner) &&
		(runner->state == RUNNER_STARTING || runner->state == RUNNER_WANTED);
	if (mine)
	{
		runner->state = RUNNER_RUNNING;
		runner->process = my_process();
		runner->pid = MyProcPid;
		runner->since = GetCurrentTimestamp();
		for (int c = 0; c < RUNNER_COUNTS; c++)
			pg_atomic_write_u64(&runner->counts[c], 0);
		/* there may be prepared transactions from before a restart */
		pg_atomic_write_u32(&runner->prepared, 1);
	}
	wake_process(shared->launcher);
	LWLockRelease(runners_lock);

	if (mine)
	{
		my_slot = slot;
		before_shmem_exit(runner_detach, 0);
	}
	return mine;
}

/*
 * The database has no use for a runner, as far as this one knew when the
 * counter stood at wakes_seen. Unless it was woken since, free the slot.
 */
void
runner_slot_unwanted(uint64 wakes_seen)
{
	RunnerSlot *slot = &shared->runners[my_slot];

	LWLockAcquire(runners_lock, LW_EXCLUSIVE);
	if (pg_atomic_read_u64(&slot->wakes) == wakes_seen)
		free_slot(slot);
	LWLockRelease(runners_lock);
}

/*
 * The number of this runner in its database.
 */
int
runner_slot_number(void)
{
	/* It does not change while the slot is ours. */
	return shared->runners[my_slot].number;
}

/*
 * The database has a use for runners: have the others started, too.
 */
void
runner_slot_want_siblings(void)
{
	for (int number = 0; number < agno_runners; number++)
	{
		if (number != runner_slot_number())
			runner_slots_demand(MyDatabaseId, number);
	}
}

/*
 * Wake other runners of this database.
 */
void
runner_slot_wake_siblings(uint32 numbers)
{
	if (numbers != 0)
		runner_slots_wake(numbers, false);
}

/*
 * Wake the runners of all databases.
 */
void
runner_slots_wake_all(void)
{
	LWLockAcquire(runners_lock, LW_SHARED);
	for (int i = 0; i < MAX_RUNNERS; i++)
	{
		RunnerSlot *slot = &shared->runners[i];

		if (slot->state != RUNNER_RUNNING)
			continue;
		pg_atomic_fetch_add_u64(&slot->wakes, 1);
		wake_process(slot->process);
	}
	LWLockRelease(runners_lock);
}

/*
 * How often this runner was woken.
 */
uint64
runner_slot_wakes(void)
{
	return pg_atomic_read_u64(&shared->runners[my_slot].wakes);
}

/*
 * Count something that this runner has done.
 */
void
runner_slot_count(RunnerCount count, int64 more)
{
	pg_atomic_fetch_add_u64(&shared->runners[my_slot].counts[count], more);
}

/*
 * Whether this runner is to step aside.
 */
bool
runner_slot_held(void)
{
	/* An int is read in one go, and the latch is set after it changes. */
	return is_held(&shared->runners[my_slot]);
}

/*
 * Whether a prepared transaction may hold work for this runner.
 */
bool
runner_slot_prepared(void)
{
	return pg_atomic_read_u32(&shared->runners[my_slot].prepared) != 0;
}

/*
 * Whether there are prepared transactions. Clear this before looking for
 * them, so that one that comes meanwhile is not forgotten.
 */
void
runner_slot_set_prepared(bool prepared)
{
	pg_atomic_write_u32(&shared->runners[my_slot].prepared, prepared ? 1 : 0);
}
