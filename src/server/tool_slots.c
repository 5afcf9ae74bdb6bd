/*-------------------------------------------------------------------------
 *
 * tool_slots.c
 *	  The tool workers of all databases and roles, in shared memory.
 *
 * A tool worker is connected to one database as one role for all its life. When
 * there are calls to be made for a role, its runner wants a worker: one that is
 * there is woken, and if none is idle, one more is asked for. The launcher starts
 * them, as long as there are fewer than agno_bg.max_tool_workers. When there are
 * not, whoever has the most gives one up: at once if it is idle, after its call
 * if it is busy. A worker that leaves though there is work wants another at the
 * end of the line. So roles, and databases, take turns.
 *
 * All is gone after a crash of the server, and rebuilt: each runner finds the
 * calls that are to be made in agno.tool_queue.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>
#include <signal.h>

#include "miscadmin.h"
#include "server/process.h"
#include "server/runner_slots.h"
#include "server/tool_slots.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#define LOCK_TRANCHE "agno_bg tool workers"

/* How many pairs of a database and a role may want a worker at once. */
#define MAX_DEMANDS 1024

/* How long a worker that others wait for may go on with its role, in ms. */
#define TURN_MS 200

/* The pause after a start that failed doubles from the first to the last. */
#define FIRST_PAUSE_MS 1000
#define LAST_PAUSE_MS 60000

/*
 * After this time it is known that a process has not died since all of the server
 * stops, in ms.
 */
#define DEATH_MS 1000

/* Guarded by the lock, all of it. */
typedef struct ToolSlot
{
	Oid			database;		/* whose worker it is */
	Oid			role;
	ToolWorkerState state;
	int			process;		/* the worker's number, or NO_PROCESS */
	int			pid;			/* 0: there is no process */
	TimestampTz since;			/* when it started, or died */
	TimestampTz turn_since;		/* when it was last given to its role */
	uint64		wakes;			/* how often it was woken */
	bool		leave;			/* it is to leave after its call */
	bool		cancelled;		/* its run has been cancelled */
	char		run_id[ID_SIZE];	/* of the call that it makes */
	uint64		completed;		/* calls */
	uint64		failed;
} ToolSlot;

typedef struct ToolDemand
{
	Oid			database;		/* invalid: there is none */
	Oid			role;
	uint64		number;			/* the lowest comes first */
	TimestampTz not_before;		/* no start before */
	int			failures;		/* starts that failed in a row */
} ToolDemand;

typedef struct ToolState
{
	uint64		demands_made;	/* the number of the last demand */
	ToolDemand	demands[MAX_DEMANDS];
	ToolSlot	slots[MAX_TOOL_WORKERS];
} ToolState;

static ToolState *shared;
static LWLock *lock;

/* The slot of this tool worker. */
static int	my_slot = -1;

/*-------------------------------------------------------------------------
 * Start-up
 *-------------------------------------------------------------------------
 */

/*
 * For shmem_request_hook.
 */
void
tool_slots_request_memory(void)
{
	RequestAddinShmemSpace(sizeof(ToolState));
	RequestNamedLWLockTranche(LOCK_TRANCHE, 1);
}

/*
 * For shmem_startup_hook: create the state, or find it.
 */
void
tool_slots_startup(void)
{
	bool		found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("agno_bg tool workers", sizeof(ToolState), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(ToolState));
		for (int i = 0; i < MAX_TOOL_WORKERS; i++)
			shared->slots[i].process = NO_PROCESS;
	}
	lock = &GetNamedLWLockTranche(LOCK_TRANCHE)[0].lock;
	LWLockRelease(AddinShmemInitLock);
}

/*
 * What is in this slot.
 */
ToolWorkerView
tool_slots_view(int number)
{
	ToolSlot   *slot = &shared->slots[number];
	ToolWorkerView view;

	LWLockAcquire(lock, LW_SHARED);
	view.database = slot->database;
	view.role = slot->role;
	view.state = slot->state;
	view.pid = slot->pid;
	view.since = slot->since;
	view.completed = slot->completed;
	view.failed = slot->failed;
	LWLockRelease(lock);
	return view;
}

static bool
is_of(const ToolSlot *slot, Oid database, Oid role)
{
	return slot->state != TOOL_WORKER_NONE &&
		slot->state != TOOL_WORKER_DEAD && slot->database == database &&
		slot->role == role;
}

static void
free_slot(ToolSlot *slot)
{
	memset(slot, 0, sizeof(ToolSlot));
	slot->process = NO_PROCESS;
}

/*-------------------------------------------------------------------------
 * Demands
 *-------------------------------------------------------------------------
 */

/*
 * The demand of this pair, or NULL. The caller holds the lock.
 */
static ToolDemand *
find_demand(Oid database, Oid role)
{
	for (int i = 0; i < MAX_DEMANDS; i++)
	{
		ToolDemand *demand = &shared->demands[i];

		if (demand->database == database && demand->role == role)
			return demand;
	}
	return NULL;
}

/*
 * The pair is to have one more worker. The caller holds the lock.
 */
static void
demand(Oid database, Oid role)
{
	ToolDemand *found = find_demand(database, role);

	if (found != NULL)
		return;
	/* If there is no room, the calls wait for a worker of their role. */
	found = find_demand(InvalidOid, InvalidOid);
	if (found == NULL)
		return;
	found->database = database;
	found->role = role;
	found->number = ++shared->demands_made;
}

static void
drop_demand(Oid database, Oid role)
{
	ToolDemand *found = find_demand(database, role);

	if (found != NULL)
		memset(found, 0, sizeof(ToolDemand));
}

/*
 * There are calls to be made in this database for this role: wake its workers, and
 * ask for another if none is idle.
 */
void
tool_slots_want(Oid database, Oid role)
{
	bool		idle = false;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
	{
		ToolSlot   *slot = &shared->slots[i];

		if (!is_of(slot, database, role))
			continue;
		idle |= slot->state == TOOL_WORKER_IDLE && !slot->leave;
		idle |= slot->state == TOOL_WORKER_STARTING;
		slot->wakes++;
		if (slot->state == TOOL_WORKER_IDLE)
			wake_process(slot->process);
	}
	if (!idle)
		demand(database, role);
	LWLockRelease(lock);
	if (!idle)
		runner_slots_wake_launcher();
}

/*
 * The run has been cancelled: whoever calls a tool for it is interrupted.
 */
void
tool_slots_cancel(const char *run_id)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
	{
		ToolSlot   *slot = &shared->slots[i];

		if (slot->state != TOOL_WORKER_BUSY ||
			strcmp(slot->run_id, run_id) != 0)
			continue;
		slot->cancelled = true;
		/* The process waits for this lock before it begins another call. */
		(void) kill(slot->pid, SIGINT);
	}
	LWLockRelease(lock);
}

/*
 * Whether the process has died that called a tool for this run in this database,
 * and its runner has not taken note of that yet.
 */
bool
tool_slots_is_dead(const char *run_id)
{
	bool		dead = false;

	LWLockAcquire(lock, LW_SHARED);
	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
		dead |= shared->slots[i].state == TOOL_WORKER_DEAD &&
			shared->slots[i].database == MyDatabaseId &&
			strcmp(shared->slots[i].run_id, run_id) == 0;
	LWLockRelease(lock);
	return dead;
}

/*
 * The runs whose tools' processes have died in this database since this was last
 * called: a list of ids. Those of the last moment are left for later: *next is then
 * how many milliseconds later, else -1.
 */
List *
tool_slots_take_dead(Oid database, int *next)
{
	TimestampTz now = GetCurrentTimestamp();
	List	   *run_ids = NIL;

	*next = -1;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
	{
		ToolSlot   *slot = &shared->slots[i];

		if (slot->state != TOOL_WORKER_DEAD || slot->database != database)
			continue;
		if (now < TimestampTzPlusMilliseconds(slot->since, DEATH_MS) &&
			now >= slot->since)
			*next = DEATH_MS;
		else
		{
			run_ids = lappend(run_ids, pstrdup(slot->run_id));
			free_slot(slot);
		}
	}
	LWLockRelease(lock);
	return run_ids;
}

/*
 * Have the workers of this database, or of this role in any (InvalidOid: all),
 * terminated: a call that is under way is made again by others.
 */
void
tool_slots_send_home(Oid database, Oid role)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
	{
		ToolSlot   *slot = &shared->slots[i];

		if (slot->pid == 0 ||
			(OidIsValid(database) && slot->database != database) ||
			(OidIsValid(role) && slot->role != role))
			continue;
		slot->leave = true;
		(void) kill(slot->pid, SIGTERM);
	}
	LWLockRelease(lock);
}

/*-------------------------------------------------------------------------
 * The launcher
 *-------------------------------------------------------------------------
 */

/*
 * How many workers a pair has. The caller holds the lock.
 */
static int
count_workers(Oid database, Oid role)
{
	int			count = 0;

	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
	{
		if (is_of(&shared->slots[i], database, role))
			count++;
	}
	return count;
}

/*
 * The demand that is to be met next, or NULL: of those who have the fewest workers,
 * whoever has waited longest. *next is when to look again. The caller holds the
 * lock.
 */
static ToolDemand *
first_demand(TimestampTz *next)
{
	TimestampTz now = GetCurrentTimestamp();
	ToolDemand *first = NULL;
	int			fewest = 0;

	for (int i = 0; i < MAX_DEMANDS; i++)
	{
		ToolDemand *found = &shared->demands[i];
		int			count;

		if (!OidIsValid(found->database))
			continue;
		if (found->not_before > now)
		{
			*next = Min(*next, found->not_before);
			continue;
		}
		count = count_workers(found->database, found->role);
		if (first == NULL || count < fewest ||
			(count == fewest && found->number < first->number))
		{
			first = found;
			fewest = count;
		}
	}
	return first;
}

/*
 * All places are taken: ask the worker for its own that is idle, or else belongs to
 * those who have the most, if that is more than the demand's pair has. Returns
 * when to look again, or DT_NOEND.
 */
static TimestampTz
make_room(const ToolDemand *wanted)
{
	TimestampTz now = GetCurrentTimestamp();
	ToolSlot   *best = NULL;
	int			most = 0;
	int			own = 0;

	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
	{
		ToolSlot   *slot = &shared->slots[i];

		if (is_of(slot, wanted->database, wanted->role))
		{
			own++;
			continue;
		}
		if (slot->leave && slot->pid != 0)
			return DT_NOEND;	/* somebody is about to */
		if (slot->state == TOOL_WORKER_IDLE && most < INT_MAX)
		{
			best = slot;
			most = INT_MAX;
		}
		else if (slot->state == TOOL_WORKER_BUSY && count_workers(slot->database, slot->role) > most)
		{
			best = slot;
			most = count_workers(slot->database, slot->role);
		}
	}
	if (best == NULL || (most < INT_MAX && most <= own))
		return DT_NOEND;
	if (most < INT_MAX &&
		!TimestampDifferenceExceeds(best->turn_since, now, TURN_MS))
		return TimestampTzPlusMilliseconds(best->turn_since, TURN_MS);
	best->leave = true;
	wake_process(best->process);
	return DT_NOEND;
}

/*
 * Whether the launcher is to start a worker now: in this slot, for this database
 * and role. If not, *next is when to look again, if that is earlier.
 */
bool
tool_slots_next_start(int *slot, Oid *database, Oid *role, TimestampTz *next)
{
	ToolDemand *wanted;
	int			taken = 0;
	int			number = -1;
	bool		start;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	wanted = first_demand(next);
	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
	{
		if (shared->slots[i].state == TOOL_WORKER_NONE && number < 0)
			number = i;
		if (shared->slots[i].state != TOOL_WORKER_NONE &&
			shared->slots[i].state != TOOL_WORKER_DEAD)
			taken++;
	}
	start = wanted != NULL && number >= 0 && taken < agno_max_tool_workers;
	if (start)
	{
		ToolSlot   *free_one = &shared->slots[number];

		*slot = number;
		*database = wanted->database;
		*role = wanted->role;
		free_slot(free_one);
		free_one->database = wanted->database;
		free_one->role = wanted->role;
		free_one->state = TOOL_WORKER_STARTING;
		free_one->since = GetCurrentTimestamp();
	}
	else if (wanted != NULL && agno_max_tool_workers > 0)
		*next = Min(*next, make_room(wanted));
	LWLockRelease(lock);
	return start;
}

/*
 * The process that was asked for has not come to run. failed: it died, else there
 * was none to be had. The demand stays, behind others and for later.
 */
void
tool_slots_not_started(int number, bool failed)
{
	ToolSlot   *slot = &shared->slots[number];

	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (slot->state == TOOL_WORKER_STARTING)
	{
		ToolDemand *wanted = find_demand(slot->database, slot->role);
		int			pause = FIRST_PAUSE_MS;

		if (wanted != NULL)
		{
			for (int i = 0; failed && i < wanted->failures && pause < LAST_PAUSE_MS; i++)
				pause *= 2;
			wanted->failures += failed;
			wanted->number = ++shared->demands_made;
			wanted->not_before =
				TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
											Min(pause, LAST_PAUSE_MS));
		}
		free_slot(slot);
	}
	LWLockRelease(lock);
}

/*-------------------------------------------------------------------------
 * Tool workers
 *-------------------------------------------------------------------------
 */

/*
 * A worker ends. If it was calling a tool, nobody knows whose fault that is: the
 * runner is to count an attempt, unless the worker was asked to leave.
 */
static void
detach(int code, Datum arg)
{
	ToolSlot   *slot = &shared->slots[my_slot];
	bool		died;
	Oid			database = slot->database;
	Oid			role = slot->role;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	died = slot->state == TOOL_WORKER_BUSY && !slot->leave && !slot->cancelled;
	if (!died && (slot->state == TOOL_WORKER_BUSY || !slot->leave))
	{
		ToolDemand *wanted;

		/* It has not done all that it was to do; not at once, if it failed. */
		demand(database, role);
		wanted = find_demand(database, role);
		if (wanted != NULL && !slot->leave)
			wanted->not_before =
				TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
											FIRST_PAUSE_MS);
	}
	if (died)
	{
		slot->state = TOOL_WORKER_DEAD;
		slot->since = GetCurrentTimestamp();
		slot->process = NO_PROCESS;
		slot->pid = 0;
	}
	else
		free_slot(slot);
	LWLockRelease(lock);
	runner_slots_wake_launcher();
	if (died)
		runner_slots_wake(PG_UINT32_MAX, false);
}

/*
 * This process is the tool worker of this slot. False when it has been given up.
 */
bool
tool_slot_attach(int number, Oid database, Oid role)
{
	ToolSlot   *slot = &shared->slots[number];
	bool		mine;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	mine = slot->state == TOOL_WORKER_STARTING && slot->database == database &&
		slot->role == role;
	if (mine)
	{
		slot->state = TOOL_WORKER_IDLE;
		slot->process = my_process();
		slot->pid = MyProcPid;
		slot->since = slot->turn_since = GetCurrentTimestamp();
		drop_demand(database, role);
	}
	LWLockRelease(lock);
	if (mine)
	{
		my_slot = number;
		before_shmem_exit(detach, 0);
	}
	runner_slots_wake_launcher();
	return mine;
}

/*
 * How often this worker was woken.
 */
uint64
tool_slot_wakes(void)
{
	uint64		wakes;

	LWLockAcquire(lock, LW_SHARED);
	wakes = shared->slots[my_slot].wakes;
	LWLockRelease(lock);
	return wakes;
}

/*
 * Whether this worker is to leave.
 */
bool
tool_slot_is_to_leave(void)
{
	return shared->slots[my_slot].leave;
}

/*
 * This worker has nothing to do, as far as it knew when it was woken that often.
 * Returns whether it may leave: from then on, nobody counts on it.
 */
bool
tool_slot_try_leave(uint64 wakes_seen)
{
	ToolSlot   *slot = &shared->slots[my_slot];
	bool		may;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	may = slot->wakes == wakes_seen;
	if (may)
		slot->leave = true;
	LWLockRelease(lock);
	return may;
}

/*
 * From here on this worker calls a tool for this run.
 */
void
tool_slot_begin_call(const char *run_id)
{
	ToolSlot   *slot = &shared->slots[my_slot];

	LWLockAcquire(lock, LW_EXCLUSIVE);
	strlcpy(slot->run_id, run_id, sizeof(slot->run_id));
	slot->cancelled = false;
	slot->state = TOOL_WORKER_BUSY;
	LWLockRelease(lock);
}

/*
 * Whether somebody has wanted the call to end since it began.
 */
bool
tool_slot_is_cancelled(void)
{
	bool		cancelled;

	LWLockAcquire(lock, LW_SHARED);
	cancelled = shared->slots[my_slot].cancelled;
	LWLockRelease(lock);
	return cancelled;
}

/*
 * The call is over.
 */
void
tool_slot_end_call(void)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	shared->slots[my_slot].state = TOOL_WORKER_IDLE;
	LWLockRelease(lock);
}

/*
 * Count a call that has been made.
 */
void
tool_slot_count(bool failed)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (failed)
		shared->slots[my_slot].failed++;
	else
		shared->slots[my_slot].completed++;
	LWLockRelease(lock);
}
