/*-------------------------------------------------------------------------
 *
 * tool_slots.c
 *	  The tool workers of all databases and roles, in shared memory.
 *
 * A tool worker is connected to one database as one role for all its life. When
 * there is a turn of calls to be made for a role, its runner says so: a worker of
 * the role that rests is woken, and if there is none, one more is asked for. The
 * launcher starts them, as long as there are no more than
 * agno_bg.max_tool_workers. A role in one database and the same role in another
 * are two.
 *
 * When all places are taken, roles, and databases, take turns:
 *
 *	1. A worker that rests gives its place up at once.
 *	2. A worker that has made a call gives it up if its role has more workers than
 *	   one that waits. Those of the role with the most come first, but nobody
 *	   relies on them: whoever is done first leaves.
 *	3. A call that takes longer than agno_bg.tool_timeout, since its tool has been
 *	   given more time, is for when nobody else waits. It is interrupted, its
 *	   transaction is undone, and it is made again later; a few times, and then it
 *	   has failed.
 *	4. While several roles have calls, none takes the last places: who comes now
 *	   and then finds one.
 *
 * A worker that leaves though there is work wants another at the end of the line.
 * Whoever was asked to leave and is still there a moment later does not count as
 * leaving: the next one is asked. Nobody relies on what users' code does when it is
 * interrupted: if it goes on, its process is ended.
 *
 * All is gone after a crash of the server, and rebuilt: each runner finds the
 * calls that are to be made in agno.tool_queue.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
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

/* How many calls it is remembered of that they have been put off. */
#define MAX_PUT_OFF_CALLS 256

/* How often a call may be put off for others. */
#define MAX_PUT_OFFS 3

/* How many transactions may keep tool workers away at once. */
#define MAX_HOLDS 64

/* How long a worker that others wait for may go on with its role, in ms. */
#define TURN_MS 200

/* When those are to leave, too, who do not have the most workers, in ms. */
#define SHORT_WAIT_MS (2 * TURN_MS)

/* Nobody is interrupted for a role that has not waited for so long, in ms. */
#define PATIENCE_MS 1000

/* A worker that is still there so long after it was asked does not leave, in ms. */
#define LEAVE_MS 1000

/* So long after several roles had calls, none takes the last places, in ms. */
#define SEVERAL_MS 60000

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
	TimestampTz since;			/* when it was asked for, started, or died */
	int			failures;		/* starts for its role that failed before */
	TimestampTz turn_since;		/* when it was last given to its role */
	uint64		wakes;			/* how often it was woken */
	bool		resting;		/* it has found nothing to do since, and
								 * nobody has told it of more */
	TimestampTz look_again_at;	/* at what it has put off; 0: at nothing */
	bool		leave;			/* it is to leave after its call */
	TimestampTz asked_at;		/* when it was asked to */
	char		run_id[ID_SIZE];	/* of the call that it makes, or has made */
	TimestampTz call_since;		/* when that began */
	TimestampTz call_ends;		/* when its time is over; 0: not known yet */
	ToolInterrupt told;			/* why it was told to end the call */
	bool		ended;			/* it did not: its process was */
	uint64		completed;		/* calls */
	uint64		failed;
} ToolSlot;

/* Guarded by the lock. */
typedef struct ToolDemand
{
	Oid			database;		/* invalid: there is none */
	Oid			role;
	int			count;			/* how many workers */
	uint64		number;			/* the lowest comes first */
	TimestampTz since;			/* when that number was given */
	TimestampTz not_before;		/* no start before */
	int			failures;		/* starts that failed in a row */
} ToolDemand;

/* Guarded by the lock. */
typedef struct PutOffCall
{
	Oid			database;		/* invalid: there is none */
	char		run_id[ID_SIZE];	/* whose next call it is */
	int			times;			/* how often it has been put off */
	TimestampTz since;			/* when it was last */
} PutOffCall;

/* Guarded by the lock. */
typedef struct ToolHold
{
	int			count;			/* of transactions; 0: there is none */
	Oid			database;		/* invalid: all */
	Oid			role;			/* invalid: all */
} ToolHold;

/* Guarded by the lock. */
typedef struct ToolState
{
	int			allowed;		/* agno_bg.max_tool_workers as the launcher
								 * knows it */
	int			demand_count;	/* how many demands there are */
	uint64		demands_made;	/* the number of the last demand */
	ToolDemand	demands[MAX_DEMANDS];
	ToolHold	holds[MAX_HOLDS];
	int			put_off_count;	/* how many notes there are */
	PutOffCall	put_off_calls[MAX_PUT_OFF_CALLS];
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

/*-------------------------------------------------------------------------
 * What is there; the caller of each holds the lock
 *-------------------------------------------------------------------------
 */

static bool
is_there(const ToolSlot *slot)
{
	return slot->state != TOOL_WORKER_NONE && slot->state != TOOL_WORKER_DEAD;
}

static bool
is_of(const ToolSlot *slot, Oid database, Oid role)
{
	return is_there(slot) && slot->database == database && slot->role == role;
}

static int
count_all(void)
{
	int			count = 0;

	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
		count += is_there(&shared->slots[i]);
	return count;
}

/*
 * How many workers a pair has.
 */
static int
count_workers(Oid database, Oid role)
{
	int			count = 0;

	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
		count += is_of(&shared->slots[i], database, role);
	return count;
}

/*
 * How many workers those have who have the most.
 */
static int
count_most(void)
{
	int			most = 0;

	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
	{
		const ToolSlot *slot = &shared->slots[i];

		if (is_there(slot))
			most = Max(most, count_workers(slot->database, slot->role));
	}
	return most;
}

static void
free_slot(ToolSlot *slot)
{
	memset(slot, 0, sizeof(ToolSlot));
	slot->process = NO_PROCESS;
}

static void
ask_to_leave(ToolSlot *slot, TimestampTz now)
{
	slot->leave = true;
	slot->asked_at = now;
	wake_process(slot->process);
}

/*
 * Whether the worker is about to leave: it has been asked to a moment ago, and
 * makes no call, or has been told to end it.
 */
static bool
is_leaving(const ToolSlot *slot, TimestampTz now)
{
	return slot->leave && slot->pid != 0 &&
		(slot->state == TOOL_WORKER_IDLE ||
		 (slot->state == TOOL_WORKER_BUSY &&
		  slot->told != TOOL_NOT_INTERRUPTED)) &&
		now < TimestampTzPlusMilliseconds(slot->asked_at, LEAVE_MS);
}

static int
count_leaving(TimestampTz now)
{
	int			count = 0;

	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
		count += is_leaving(&shared->slots[i], now);
	return count;
}

/*
 * Whether this database and role are to have no workers now.
 */
static bool
is_held(Oid database, Oid role)
{
	for (int i = 0; i < MAX_HOLDS; i++)
	{
		const ToolHold *hold = &shared->holds[i];

		if (hold->count > 0 &&
			(!OidIsValid(hold->database) || hold->database == database) &&
			(!OidIsValid(hold->role) || hold->role == role))
			return true;
	}
	return runner_slots_held(database);
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
 * The pair is to have one more worker. Returns its demand, or NULL if there is no
 * room for one: then its calls wait for a worker of their role. The caller holds
 * the lock.
 */
static ToolDemand *
demand(Oid database, Oid role)
{
	ToolDemand *found = find_demand(database, role);

	if (found != NULL)
	{
		found->count = Min(found->count + 1, MAX_TOOL_WORKERS);
		return found;
	}
	found = find_demand(InvalidOid, InvalidOid);
	if (found == NULL)
		return NULL;
	found->database = database;
	found->role = role;
	found->count = 1;
	found->number = ++shared->demands_made;
	found->since = GetCurrentTimestamp();
	shared->demand_count++;
	return found;
}

/*
 * The same, but no sooner than then. failures: how often a start has failed.
 */
static void
demand_at(Oid database, Oid role, TimestampTz not_before, int failures)
{
	ToolDemand *wanted = demand(database, role);

	if (wanted == NULL)
		return;
	wanted->number = ++shared->demands_made;
	wanted->since = wanted->not_before = not_before;
	wanted->failures = failures;
}

static void
demand_later(Oid database, Oid role, int pause, int failures)
{
	demand_at(database, role,
			  TimestampTzPlusMilliseconds(GetCurrentTimestamp(), pause),
			  failures);
}

static void
drop_demand(ToolDemand *wanted)
{
	memset(wanted, 0, sizeof(ToolDemand));
	shared->demand_count--;
}

/*
 * Tell a worker of the pair that rests of work. False if none does. The caller
 * holds the lock.
 */
static bool
rouse(Oid database, Oid role)
{
	ToolSlot   *chosen = NULL;

	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
	{
		ToolSlot   *slot = &shared->slots[i];

		if (!is_of(slot, database, role))
			continue;

		/* What it has seen until now may be too old. */
		slot->wakes++;
		if (chosen == NULL && slot->state == TOOL_WORKER_IDLE &&
			slot->resting && !slot->leave)
			chosen = slot;
	}
	if (chosen == NULL)
		return false;
	chosen->resting = false;
	wake_process(chosen->process);
	return true;
}

/*
 * There is one more turn of calls to be made in this database for this role: wake
 * a worker that rests, or else ask for one.
 */
void
tool_slots_add_work(Oid database, Oid role)
{
	bool		roused;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	roused = rouse(database, role);
	if (!roused)
		(void) demand(database, role);
	LWLockRelease(lock);
	if (!roused)
		runner_slots_wake_launcher();
}

/*
 * There are calls to be made in this database for this role: see to it that a
 * worker looks that does not make one already.
 */
void
tool_slots_want(Oid database, Oid role)
{
	bool		coming;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	coming = rouse(database, role) || find_demand(database, role) != NULL;
	for (int i = 0; i < MAX_TOOL_WORKERS && !coming; i++)
		coming = shared->slots[i].state == TOOL_WORKER_STARTING &&
			is_of(&shared->slots[i], database, role);
	if (!coming)
		(void) demand(database, role);
	LWLockRelease(lock);
	if (!coming)
		runner_slots_wake_launcher();
}

/*-------------------------------------------------------------------------
 * Interrupting calls
 *-------------------------------------------------------------------------
 */

/*
 * Tell the worker to end its call. If it does not, supervise() ends its process.
 * The caller holds the lock: whoever has the pid is there until it is released, and
 * begins no other call.
 */
static void
interrupt(ToolSlot *slot, ToolInterrupt reason)
{
	slot->told = reason;
	slot->asked_at = GetCurrentTimestamp();
	(void) kill(slot->pid, SIGINT);
}

/*
 * A run of this database has been cancelled: whoever calls a tool for it is
 * interrupted.
 */
void
tool_slots_cancel(const char *run_id)
{
	bool		any = false;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
	{
		ToolSlot   *slot = &shared->slots[i];

		if (slot->state != TOOL_WORKER_BUSY ||
			slot->database != MyDatabaseId ||
			slot->told == TOOL_CANCELLED ||
			strcmp(slot->run_id, run_id) != 0)
			continue;
		interrupt(slot, TOOL_CANCELLED);
		any = true;
	}
	LWLockRelease(lock);
	if (any)
		runner_slots_wake_launcher();
}

/*
 * The note that the next call of this run has been put off, or NULL. The caller
 * holds the lock.
 */
static PutOffCall *
find_put_off(const ToolSlot *slot)
{
	for (int i = 0; i < MAX_PUT_OFF_CALLS && shared->put_off_count > 0; i++)
	{
		PutOffCall *call = &shared->put_off_calls[i];

		if (call->database == slot->database &&
			strcmp(call->run_id, slot->run_id) == 0)
			return call;
	}
	return NULL;
}

/*
 * Whether the call of this worker may be put off once more: note that it is. If
 * there is no room, the oldest note goes. The caller holds the lock.
 */
static bool
may_put_off(const ToolSlot *slot, TimestampTz now)
{
	PutOffCall *call = find_put_off(slot);

	if (call == NULL)
	{
		call = &shared->put_off_calls[0];
		for (int i = 1; i < MAX_PUT_OFF_CALLS; i++)
		{
			if (shared->put_off_calls[i].since < call->since)
				call = &shared->put_off_calls[i];
		}
		shared->put_off_count += !OidIsValid(call->database);
		call->database = slot->database;
		strlcpy(call->run_id, slot->run_id, sizeof(call->run_id));
		call->times = 0;
	}
	call->since = now;
	return call->times++ < MAX_PUT_OFFS;
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

/*-------------------------------------------------------------------------
 * Commands that want them gone
 *-------------------------------------------------------------------------
 */

/*
 * Have the workers of this database, of this role in it, or of this role in any,
 * terminated, but for this process: a call that is under way is made again. The
 * caller holds the lock.
 */
static void
send_home(Oid database, Oid role)
{
	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
	{
		ToolSlot   *slot = &shared->slots[i];

		if (slot->pid == 0 || slot->pid == MyProcPid ||
			(OidIsValid(database) && slot->database != database) ||
			(OidIsValid(role) && slot->role != role))
			continue;
		slot->leave = true;
		slot->asked_at = GetCurrentTimestamp();
		if (slot->told == TOOL_TOOK_TOO_LONG)
			slot->told = TOOL_PUT_OFF;
		(void) kill(slot->pid, SIGTERM);
	}
}

/*
 * This database, this role in it, or this role in any (InvalidOid: all) is to have
 * no workers until tool_slots_unhold(). False if too many are held already: then
 * those that are there are sent home, and that is all.
 */
bool
tool_slots_hold(Oid database, Oid role)
{
	ToolHold   *hold = NULL;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_HOLDS; i++)
	{
		ToolHold   *other = &shared->holds[i];

		if (other->count > 0 && other->database == database &&
			other->role == role)
		{
			hold = other;
			break;
		}
		if (other->count == 0 && hold == NULL)
			hold = other;
	}
	if (hold != NULL)
	{
		hold->count++;
		hold->database = database;
		hold->role = role;
	}
	send_home(database, role);
	LWLockRelease(lock);
	return hold != NULL;
}

void
tool_slots_unhold(Oid database, Oid role)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_HOLDS; i++)
	{
		ToolHold   *hold = &shared->holds[i];

		if (hold->count > 0 && hold->database == database &&
			hold->role == role)
		{
			hold->count--;
			break;
		}
	}
	LWLockRelease(lock);
	runner_slots_wake_launcher();
}

/*-------------------------------------------------------------------------
 * The launcher
 *-------------------------------------------------------------------------
 */

/*
 * How many workers one pair may have while others have calls, too: nine tenths,
 * and not the last one.
 */
static int
share_of_one(void)
{
	return Max(shared->allowed - Max(shared->allowed / 10, 1), 1);
}

/*
 * Whether calls of several pairs are, or are to be, made. The caller holds the
 * lock.
 */
static bool
are_several(void)
{
	Oid			database = InvalidOid;
	Oid			role = InvalidOid;

	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
	{
		const ToolSlot *slot = &shared->slots[i];

		if (!is_there(slot))
			continue;
		if (OidIsValid(database) &&
			(slot->database != database || slot->role != role))
			return true;
		database = slot->database;
		role = slot->role;
	}
	for (int i = 0; i < MAX_DEMANDS && shared->demand_count > 0; i++)
	{
		const ToolDemand *wanted = &shared->demands[i];

		/* Not of those who cannot have a worker: they may be there for ever. */
		if (!OidIsValid(wanted->database) || wanted->failures > 0)
			continue;
		if (OidIsValid(database) &&
			(wanted->database != database || wanted->role != role))
			return true;
		database = wanted->database;
		role = wanted->role;
	}
	return false;
}

/*
 * How many workers one pair may have now. *next is when that may change. The
 * caller holds the lock.
 */
static int
most_for_one(TimestampTz now, TimestampTz *next)
{
	static TimestampTz several_until;

	if (are_several())
		several_until = TimestampTzPlusMilliseconds(now, SEVERAL_MS);
	if (now >= several_until)
		return shared->allowed;
	if (shared->demand_count > 0)
		*next = Min(*next, several_until);
	return share_of_one();
}

/*
 * The demand that is to be met next, or NULL: of those who have the fewest workers,
 * whoever has waited longest. *next is when to look again. The caller holds the
 * lock.
 */
static ToolDemand *
first_demand(TimestampTz now, TimestampTz *next)
{
	ToolDemand *first = NULL;
	int			most = most_for_one(now, next);
	int			fewest = 0;

	for (int i = 0; i < MAX_DEMANDS && shared->demand_count > 0; i++)
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
		if (count < most &&
			(first == NULL || count < fewest ||
			 (count == fewest && found->number < first->number)) &&
			!is_held(found->database, found->role))
		{
			first = found;
			fewest = count;
		}
	}
	return first;
}

/*
 * A worker of others that rests: of those who have the most. NULL if none does.
 * The caller holds the lock.
 */
static ToolSlot *
find_resting(const ToolDemand *wanted)
{
	ToolSlot   *best = NULL;
	int			most = 0;

	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
	{
		ToolSlot   *slot = &shared->slots[i];
		int			count;

		if (slot->state != TOOL_WORKER_IDLE || !slot->resting ||
			slot->leave || is_of(slot, wanted->database, wanted->role))
			continue;
		count = count_workers(slot->database, slot->role);
		if (count > most)
		{
			best = slot;
			most = count;
		}
	}
	return best;
}

/*
 * The worker of others whose call is to be interrupted for this demand, or NULL. A
 * call that soon ends by itself is not. *next is when to look again. The caller
 * holds the lock.
 */
static ToolSlot *
find_interruptible(const ToolDemand *wanted, TimestampTz now,
				   TimestampTz *next)
{
	ToolSlot   *best = NULL;
	int			own = count_workers(wanted->database, wanted->role);
	int			most = 0;

	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
	{
		ToolSlot   *slot = &shared->slots[i];
		TimestampTz patience =
			TimestampTzPlusMilliseconds(wanted->since, PATIENCE_MS);
		TimestampTz guaranteed =
			TimestampTzPlusMilliseconds(slot->call_since, agno_tool_timeout);
		TimestampTz at = Max(patience, guaranteed);
		int			count = count_workers(slot->database, slot->role);

		if (slot->state != TOOL_WORKER_BUSY ||
			slot->told != TOOL_NOT_INTERRUPTED || count <= own ||
			is_of(slot, wanted->database, wanted->role))
			continue;
		if (slot->call_ends == 0)
			at = TimestampTzPlusMilliseconds(now, PATIENCE_MS);
		else if (slot->call_ends <= at)
			continue;
		if (at > now)
			*next = Min(*next, at);
		else if (count > most ||
				 (count == most && slot->call_since < best->call_since))
		{
			best = slot;
			most = count;
		}
	}
	return best;
}

/*
 * All places are taken: get one for this demand, unless somebody is about to leave
 * anyway. Those that are busy look themselves, after their calls. *next is when to
 * look again. The caller holds the lock.
 */
static void
make_room(const ToolDemand *wanted, TimestampTz now, TimestampTz *next)
{
	ToolSlot   *slot;

	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
	{
		slot = &shared->slots[i];
		if (!is_leaving(slot, now))
			continue;
		*next = Min(*next, TimestampTzPlusMilliseconds(slot->asked_at,
													   LEAVE_MS));
		return;
	}
	slot = find_resting(wanted);
	if (slot == NULL)
	{
		slot = find_interruptible(wanted, now, next);
		if (slot == NULL)
			return;
		interrupt(slot, may_put_off(slot, now) ? TOOL_PUT_OFF :
				  TOOL_TOOK_TOO_LONG);
		*next = Min(*next, TimestampTzPlusMilliseconds(now, TOOL_GRACE_MS));
	}
	ask_to_leave(slot, now);
	*next = Min(*next, TimestampTzPlusMilliseconds(now, LEAVE_MS));
}

/*
 * End the processes of calls that go on though they were told to end, and send
 * those home that rest and are too many. *next is when to look again, if that is
 * earlier.
 */
void
tool_slots_supervise(TimestampTz *next)
{
	TimestampTz now = GetCurrentTimestamp();
	int			surplus;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	shared->allowed = agno_max_tool_workers;
	surplus = count_all() - count_leaving(now) - shared->allowed;
	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
	{
		ToolSlot   *slot = &shared->slots[i];
		TimestampTz at = TimestampTzPlusMilliseconds(slot->asked_at,
													 TOOL_GRACE_MS);

		if (slot->state == TOOL_WORKER_IDLE && slot->resting &&
			!slot->leave && surplus > 0)
		{
			ask_to_leave(slot, now);
			surplus--;
		}
		if (slot->state != TOOL_WORKER_BUSY || slot->ended ||
			slot->told == TOOL_NOT_INTERRUPTED)
			continue;
		if (at > now)
		{
			*next = Min(*next, at);
			continue;
		}
		slot->ended = true;
		ask_to_leave(slot, now);
		(void) kill(slot->pid, SIGTERM);
	}
	LWLockRelease(lock);
}

/*
 * Whether the launcher is to start a worker now: in this slot, for this database
 * and role. If not, *next is when to look again, if that is earlier.
 */
bool
tool_slots_next_start(int *slot, Oid *database, Oid *role, TimestampTz *next)
{
	TimestampTz now = GetCurrentTimestamp();
	ToolDemand *wanted;
	int			number = 0;
	bool		start;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	wanted = first_demand(now, next);
	while (number < MAX_TOOL_WORKERS &&
		   shared->slots[number].state != TOOL_WORKER_NONE)
		number++;
	start = wanted != NULL && number < MAX_TOOL_WORKERS &&
		count_all() < shared->allowed;
	if (start)
	{
		ToolSlot   *free_one = &shared->slots[number];

		*slot = number;
		*database = wanted->database;
		*role = wanted->role;
		free_slot(free_one);
		free_one->database = wanted->database;
		free_one->role = wanted->role;
		free_one->failures = wanted->failures;
		free_one->state = TOOL_WORKER_STARTING;
		free_one->since = now;

		/* It is met, or else comes back. */
		wanted->number = ++shared->demands_made;
		wanted->since = now;
		if (--wanted->count == 0)
			drop_demand(wanted);
	}
	else if (wanted != NULL && shared->allowed > 0)
		make_room(wanted, now, next);
	LWLockRelease(lock);
	return start;
}

/*
 * The process that was asked for has not come to run. failed: it died, else there
 * was none to be had. The demand is back, behind others and for later.
 */
void
tool_slots_not_started(int number, bool failed)
{
	ToolSlot   *slot = &shared->slots[number];

	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (slot->state == TOOL_WORKER_STARTING)
	{
		int			pause = FIRST_PAUSE_MS;

		for (int i = 0; failed && i < slot->failures && pause < LAST_PAUSE_MS; i++)
			pause *= 2;
		demand_later(slot->database, slot->role, Min(pause, LAST_PAUSE_MS),
					 slot->failures + failed);
		free_slot(slot);
	}
	LWLockRelease(lock);
}

/*
 * There is no such database, or no such role: nobody is to be started for them.
 */
void
tool_slots_unwanted(int number)
{
	ToolSlot   *slot = &shared->slots[number];

	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (slot->state == TOOL_WORKER_STARTING)
	{
		ToolDemand *wanted = find_demand(slot->database, slot->role);

		if (wanted != NULL)
			drop_demand(wanted);
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

	/* Its turn is to be there for others when they look. */
	AbortOutOfAnyTransaction();

	LWLockAcquire(lock, LW_EXCLUSIVE);
	died = slot->state == TOOL_WORKER_BUSY && slot->told != TOOL_CANCELLED &&
		(!slot->leave || slot->told == TOOL_TOOK_TOO_LONG);
	if (!died && (slot->state == TOOL_WORKER_BUSY || !slot->resting))
	{
		/* It has not done all that it was to do; not at once, if it failed. */
		if (!slot->leave)
			demand_later(database, role, FIRST_PAUSE_MS, 0);
		else if (slot->look_again_at != 0)
			demand_at(database, role, slot->look_again_at, 0);
		else
			(void) demand(database, role);
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
 * This process is the tool worker of this slot. False when it has been given up,
 * or the database or the role is to have none now.
 */
bool
tool_slot_attach(int number, Oid database, Oid role)
{
	ToolSlot   *slot = &shared->slots[number];
	bool		mine;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	mine = slot->state == TOOL_WORKER_STARTING && slot->database == database &&
		slot->role == role;
	if (mine && is_held(database, role))
	{
		(void) demand(database, role);
		free_slot(slot);
		mine = false;
	}
	if (mine)
	{
		slot->state = TOOL_WORKER_IDLE;
		slot->process = my_process();
		slot->pid = MyProcPid;
		slot->failures = 0;
		slot->since = slot->turn_since = GetCurrentTimestamp();
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
 * This worker has found nothing to do, as far as it knew when it was woken that
 * often. Unless it was woken since, nobody else is needed for its role either.
 * What has been put off is to be looked at again at that time; 0: nothing has.
 */
void
tool_slot_rest(uint64 wakes_seen, TimestampTz look_again_at)
{
	ToolSlot   *slot = &shared->slots[my_slot];
	ToolDemand *wanted;
	bool		others;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot->look_again_at = look_again_at;
	if (look_again_at == 0 && slot->wakes == wakes_seen)
	{
		slot->resting = true;
		wanted = find_demand(slot->database, slot->role);
		if (wanted != NULL && wanted->not_before <= GetCurrentTimestamp())
			drop_demand(wanted);
	}
	others = shared->demand_count > 0;
	LWLockRelease(lock);

	/* They may have the place. */
	if (others)
		runner_slots_wake_launcher();
}

/*
 * Whether somebody who waits has more of a right to the place of this worker, and
 * gets it if the worker leaves. The caller holds the lock.
 */
static bool
is_to_make_room(const ToolSlot *slot, TimestampTz now)
{
	int			mine = count_workers(slot->database, slot->role);
	bool		most;

	if (!TimestampDifferenceExceeds(slot->turn_since, now, TURN_MS))
		return false;
	most = mine == count_most();
	for (int i = 0; i < MAX_DEMANDS; i++)
	{
		ToolDemand *wanted = &shared->demands[i];

		if (!OidIsValid(wanted->database) || wanted->not_before > now ||
			is_of(slot, wanted->database, wanted->role))
			continue;
		if (count_workers(wanted->database, wanted->role) < mine &&
			(most || TimestampDifferenceExceeds(wanted->since, now,
												SHORT_WAIT_MS)) &&
			!is_held(wanted->database, wanted->role))
			return true;
	}
	return false;
}

/*
 * Whether this worker is to leave. One that rests is asked to by the launcher.
 */
bool
tool_slot_is_to_leave(void)
{
	ToolSlot   *slot = &shared->slots[my_slot];
	bool		leave;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (!slot->leave && !slot->resting)
	{
		TimestampTz now = GetCurrentTimestamp();
		int			leaving = count_leaving(now);
		int			surplus = count_all() - leaving - shared->allowed;

		if (surplus > 0 ||
			(surplus == 0 && leaving == 0 && shared->demand_count > 0 &&
			 is_to_make_room(slot, now)))
			ask_to_leave(slot, now);
	}
	leave = slot->leave;
	LWLockRelease(lock);
	return leave;
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
		ask_to_leave(slot, GetCurrentTimestamp());
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
	slot->call_since = GetCurrentTimestamp();
	slot->call_ends = 0;
	slot->told = TOOL_NOT_INTERRUPTED;
	slot->resting = false;
	slot->look_again_at = 0;
	slot->state = TOOL_WORKER_BUSY;
	LWLockRelease(lock);
}

/*
 * The call ends by itself after so many milliseconds.
 */
void
tool_slot_set_time(int ms)
{
	ToolSlot   *slot = &shared->slots[my_slot];

	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot->call_ends = TimestampTzPlusMilliseconds(slot->call_since, ms);
	LWLockRelease(lock);
}

/*
 * Whether the call has been told to end, and why.
 */
ToolInterrupt
tool_slot_told(void)
{
	ToolInterrupt told;

	LWLockAcquire(lock, LW_SHARED);
	told = shared->slots[my_slot].told;
	LWLockRelease(lock);
	return told;
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
	ToolSlot   *slot = &shared->slots[my_slot];
	PutOffCall *call;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (failed)
		slot->failed++;
	else
		slot->completed++;
	call = find_put_off(slot);
	if (call != NULL)
	{
		memset(call, 0, sizeof(PutOffCall));
		shared->put_off_count--;
	}
	LWLockRelease(lock);
}
