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
 * Who is wanted is in tool_demands.c, and who gets a place when all are taken in
 * tool_places.c.
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
#include "server/tool_slots_internal.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#define LOCK_TRANCHE "agno_bg tool workers"

/* How often a call may be put off for others. */
#define MAX_PUT_OFFS 3

/* How long a worker that others wait for may go on with its role, in ms. */
#define TURN_MS 200

/* When those are to leave, too, who do not have the most workers, in ms. */
#define SHORT_WAIT_MS (2 * TURN_MS)

/*
 * After this time it is known that a process has not died since all of the server
 * stops, in ms.
 */
#define DEATH_MS 1000

ToolState  *tool_state;
LWLock	   *tool_state_lock;

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
	tool_state = ShmemInitStruct("agno_bg tool workers", sizeof(ToolState), &found);
	if (!found)
	{
		memset(tool_state, 0, sizeof(ToolState));
		for (int i = 0; i < MAX_TOOL_WORKERS; i++)
			tool_state->slots[i].process = NO_PROCESS;
	}
	tool_state_lock = &GetNamedLWLockTranche(LOCK_TRANCHE)[0].lock;
	LWLockRelease(AddinShmemInitLock);
}

/*
 * What is in this slot.
 */
ToolWorkerView
tool_slots_view(int number)
{
	ToolSlot   *slot = &tool_state->slots[number];
	ToolWorkerView view;

	LWLockAcquire(tool_state_lock, LW_SHARED);
	view.database = slot->database;
	view.role = slot->role;
	view.state = slot->state;
	view.pid = slot->pid;
	view.since = slot->since;
	view.state_since = slot->state_since;
	view.completed = slot->completed;
	view.failed = slot->failed;
	LWLockRelease(tool_state_lock);
	return view;
}

/*-------------------------------------------------------------------------
 * What is there; the caller of each holds the lock
 *-------------------------------------------------------------------------
 */

bool
tool_slot_is_there(const ToolSlot *slot)
{
	return slot->state != TOOL_WORKER_NONE && slot->state != TOOL_WORKER_DEAD;
}

bool
tool_slot_is_of(const ToolSlot *slot, Oid database, Oid role)
{
	return tool_slot_is_there(slot) && slot->database == database && slot->role == role;
}

/*
 * How many places are taken. Those that are lost never take the last one, however
 * many they are: so one can be started beside them.
 */
int
tool_slots_count_all(void)
{
	int			count = 0;
	int			lost = 0;

	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
	{
		const ToolSlot *slot = &tool_state->slots[i];

		if (!tool_slot_is_there(slot))
			continue;
		if (slot->lost)
			lost++;
		else
			count++;
	}
	return count + Min(lost, Max(tool_state->allowed - 1, 0));
}

/*
 * Whether a role has a worker that is lost, in whatever database.
 */
bool
tool_slots_has_lost(Oid role)
{
	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
	{
		const ToolSlot *slot = &tool_state->slots[i];

		if (tool_slot_is_there(slot) && slot->lost && slot->role == role)
			return true;
	}
	return false;
}

/*
 * How many workers a pair has. Those that are lost count against their role, in
 * whatever database: it is not to get one after the other.
 */
int
tool_slots_count_of(Oid database, Oid role)
{
	int			count = 0;

	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
	{
		const ToolSlot *slot = &tool_state->slots[i];

		count += tool_slot_is_there(slot) && slot->role == role &&
			(slot->lost || slot->database == database);
	}
	return count;
}

/*
 * How many workers those have who have the most.
 */
int
tool_slots_count_most(void)
{
	int			most = 0;

	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
	{
		const ToolSlot *slot = &tool_state->slots[i];

		if (tool_slot_is_there(slot))
			most = Max(most, tool_slots_count_of(slot->database, slot->role));
	}
	return most;
}

void
tool_slot_free(ToolSlot *slot)
{
	memset(slot, 0, sizeof(ToolSlot));
	slot->process = NO_PROCESS;
}

void
tool_slot_ask_to_leave(ToolSlot *slot, int64 now)
{
	slot->leave = true;
	slot->asked_at = now;
	wake_process(slot->process);
}

/*
 * Whether the worker is about to leave: it has been asked to a moment ago, and
 * makes no call, or has been told to end it.
 */
bool
tool_slot_is_leaving(const ToolSlot *slot, int64 now)
{
	return slot->leave && slot->pid != 0 && !slot->lost &&
		(slot->state == TOOL_WORKER_IDLE ||
		 (slot->state == TOOL_WORKER_BUSY &&
		  slot->told != TOOL_NOT_INTERRUPTED)) &&
		now < slot->asked_at + LEAVE_MS * US_PER_MS;
}

int
tool_slots_count_leaving(int64 now)
{
	int			count = 0;

	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
		count += tool_slot_is_leaving(&tool_state->slots[i], now);
	return count;
}

/*
 * Whether this database and role are to have no workers now.
 */
bool
tool_slots_are_held(Oid database, Oid role)
{
	for (int i = 0; i < MAX_HOLDS; i++)
	{
		const ToolHold *hold = &tool_state->holds[i];

		if (hold->count > 0 &&
			(!OidIsValid(hold->database) || hold->database == database) &&
			(!OidIsValid(hold->role) || hold->role == role))
			return true;
	}
	return runner_slots_held(database);
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
void
tool_slot_interrupt(ToolSlot *slot, ToolInterrupt reason)
{
	slot->told = reason;
	slot->asked_at = clock_now();
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

	LWLockAcquire(tool_state_lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
	{
		ToolSlot   *slot = &tool_state->slots[i];

		if (slot->state != TOOL_WORKER_BUSY ||
			slot->database != MyDatabaseId ||
			slot->told == TOOL_CANCELLED ||
			strcmp(slot->run_id, run_id) != 0)
			continue;
		tool_slot_interrupt(slot, TOOL_CANCELLED);
		any = true;
	}
	LWLockRelease(tool_state_lock);
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
	for (int i = 0; i < MAX_PUT_OFF_CALLS && tool_state->put_off_count > 0; i++)
	{
		PutOffCall *call = &tool_state->put_off_calls[i];

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
bool
tool_slot_may_put_off(const ToolSlot *slot, int64 now)
{
	PutOffCall *call = find_put_off(slot);

	if (call == NULL)
	{
		call = &tool_state->put_off_calls[0];
		for (int i = 1; i < MAX_PUT_OFF_CALLS; i++)
		{
			if (tool_state->put_off_calls[i].since < call->since)
				call = &tool_state->put_off_calls[i];
		}
		tool_state->put_off_count += !OidIsValid(call->database);
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

	LWLockAcquire(tool_state_lock, LW_SHARED);
	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
		dead |= tool_state->slots[i].state == TOOL_WORKER_DEAD &&
			tool_state->slots[i].database == MyDatabaseId &&
			strcmp(tool_state->slots[i].run_id, run_id) == 0;
	LWLockRelease(tool_state_lock);
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
	int64		now = clock_now();
	List	   *run_ids = NIL;

	*next = -1;
	LWLockAcquire(tool_state_lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
	{
		ToolSlot   *slot = &tool_state->slots[i];

		if (slot->state != TOOL_WORKER_DEAD || slot->database != database)
			continue;
		if (now < slot->state_since + DEATH_MS * US_PER_MS)
			*next = DEATH_MS;
		else
		{
			run_ids = lappend(run_ids, pstrdup(slot->run_id));
			tool_slot_free(slot);
		}
	}
	LWLockRelease(tool_state_lock);
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
		ToolSlot   *slot = &tool_state->slots[i];

		if (slot->pid == 0 || slot->pid == MyProcPid ||
			(OidIsValid(database) && slot->database != database) ||
			(OidIsValid(role) && slot->role != role))
			continue;
		slot->leave = true;
		slot->asked_at = clock_now();
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

	LWLockAcquire(tool_state_lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_HOLDS; i++)
	{
		ToolHold   *other = &tool_state->holds[i];

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
	LWLockRelease(tool_state_lock);
	return hold != NULL;
}

void
tool_slots_unhold(Oid database, Oid role)
{
	LWLockAcquire(tool_state_lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_HOLDS; i++)
	{
		ToolHold   *hold = &tool_state->holds[i];

		if (hold->count > 0 && hold->database == database &&
			hold->role == role)
		{
			hold->count--;
			break;
		}
	}
	LWLockRelease(tool_state_lock);
	runner_slots_wake_launcher();
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
	ToolSlot   *slot = &tool_state->slots[my_slot];
	bool		died;
	Oid			database = slot->database;
	Oid			role = slot->role;

	/* Its turn is to be there for others when they look. */
	AbortOutOfAnyTransaction();

	LWLockAcquire(tool_state_lock, LW_EXCLUSIVE);
	died = slot->state == TOOL_WORKER_BUSY && slot->told != TOOL_CANCELLED &&
		(!slot->leave || slot->told == TOOL_TOOK_TOO_LONG);
	if (!died && (slot->state == TOOL_WORKER_BUSY || !slot->resting ||
				  slot->look_again_at != 0))
	{
		/* It has not done all that it was to do; not at once, if it failed. */
		if (!slot->leave)
			tool_demand_later(database, role, FIRST_PAUSE_MS, 0);
		else if (slot->look_again_at != 0)
			tool_demand_at(database, role, slot->look_again_at, 0);
		else
			tool_demand_add(database, role);
	}
	if (died)
	{
		slot->state = TOOL_WORKER_DEAD;
		slot->state_since = clock_now();
		slot->process = NO_PROCESS;
		slot->pid = 0;
	}
	else
		tool_slot_free(slot);
	LWLockRelease(tool_state_lock);
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
	ToolSlot   *slot = &tool_state->slots[number];
	bool		mine;

	LWLockAcquire(tool_state_lock, LW_EXCLUSIVE);
	mine = slot->state == TOOL_WORKER_STARTING && slot->database == database &&
		slot->role == role;
	if (mine && tool_slots_are_held(database, role))
	{
		tool_demand_add(database, role);
		tool_slot_free(slot);
		mine = false;
	}
	if (mine)
	{
		slot->state = TOOL_WORKER_IDLE;
		slot->process = my_process();
		slot->pid = MyProcPid;
		slot->failures = 0;
		slot->since = GetCurrentTimestamp();
		slot->state_since = slot->turn_since = clock_now();
	}
	LWLockRelease(tool_state_lock);
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

	LWLockAcquire(tool_state_lock, LW_SHARED);
	wakes = tool_state->slots[my_slot].wakes;
	LWLockRelease(tool_state_lock);
	return wakes;
}

/*
 * This worker has found nothing to do, as far as it knew when it was woken that
 * often. Unless it was woken since, nobody else is needed for its role either.
 * What has been put off is to be looked at again at that time; 0: nothing has.
 */
void
tool_slot_rest(uint64 wakes_seen, int64 look_again_at)
{
	ToolSlot   *slot = &tool_state->slots[my_slot];
	ToolDemand *wanted;
	bool		others;

	LWLockAcquire(tool_state_lock, LW_EXCLUSIVE);
	slot->look_again_at = look_again_at;
	if (slot->wakes == wakes_seen)
	{
		slot->resting = true;
		wanted = tool_demand_find(slot->database, slot->role);
		if (wanted != NULL && wanted->not_before <= clock_now())
			tool_demand_drop(wanted);
	}
	others = tool_state->demand_count > 0;
	LWLockRelease(tool_state_lock);

	/* They may have the place. */
	if (others)
		runner_slots_wake_launcher();
}

/*
 * Whether somebody who waits has more of a right to the place of this worker, and
 * gets it if the worker leaves. The caller holds the lock.
 */
static bool
is_to_make_room(const ToolSlot *slot, int64 now)
{
	int			mine = tool_slots_count_of(slot->database, slot->role);
	bool		most;

	if (now - slot->turn_since < TURN_MS * US_PER_MS)
		return false;
	most = mine == tool_slots_count_most();
	for (int i = 0; i < MAX_DEMANDS; i++)
	{
		ToolDemand *wanted = &tool_state->demands[i];

		if (!OidIsValid(wanted->database) || wanted->not_before > now ||
			tool_slot_is_of(slot, wanted->database, wanted->role))
			continue;
		if (tool_slots_count_of(wanted->database, wanted->role) < mine &&
			(most || now - wanted->since >= SHORT_WAIT_MS * US_PER_MS) &&
			!tool_slots_has_lost(wanted->role) &&
			!tool_slots_are_held(wanted->database, wanted->role))
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
	ToolSlot   *slot = &tool_state->slots[my_slot];
	bool		leave;

	LWLockAcquire(tool_state_lock, LW_EXCLUSIVE);
	if (!slot->leave && !slot->resting)
	{
		int64		now = clock_now();
		int			leaving = tool_slots_count_leaving(now);
		int			surplus = tool_slots_count_all() - leaving - tool_state->allowed;

		if (surplus > 0 ||
			(surplus == 0 && leaving == 0 && tool_state->demand_count > 0 &&
			 is_to_make_room(slot, now)))
			tool_slot_ask_to_leave(slot, now);
	}
	leave = slot->leave;
	LWLockRelease(tool_state_lock);
	return leave;
}

/*
 * This worker has nothing to do, as far as it knew when it was woken that often.
 * Returns whether it may leave: from then on, nobody counts on it.
 */
bool
tool_slot_try_leave(uint64 wakes_seen)
{
	ToolSlot   *slot = &tool_state->slots[my_slot];
	bool		may;

	LWLockAcquire(tool_state_lock, LW_EXCLUSIVE);
	may = slot->wakes == wakes_seen;
	if (may)
		tool_slot_ask_to_leave(slot, clock_now());
	LWLockRelease(tool_state_lock);
	return may;
}

/*
 * From here on this worker calls a tool for this run.
 */
void
tool_slot_begin_call(const char *run_id)
{
	ToolSlot   *slot = &tool_state->slots[my_slot];

	LWLockAcquire(tool_state_lock, LW_EXCLUSIVE);
	strlcpy(slot->run_id, run_id, sizeof(slot->run_id));
	slot->call_since = clock_now();
	slot->call_ends = 0;
	slot->told = TOOL_NOT_INTERRUPTED;
	slot->resting = false;
	slot->look_again_at = 0;
	slot->state = TOOL_WORKER_BUSY;
	LWLockRelease(tool_state_lock);
}

/*
 * The call ends by itself after so many milliseconds.
 */
void
tool_slot_set_time(int ms)
{
	ToolSlot   *slot = &tool_state->slots[my_slot];

	LWLockAcquire(tool_state_lock, LW_EXCLUSIVE);
	slot->call_ends = slot->call_since + ms * US_PER_MS;
	LWLockRelease(tool_state_lock);
}

/*
 * Whether the call has been told to end, and why.
 */
ToolInterrupt
tool_slot_told(void)
{
	ToolInterrupt told;

	LWLockAcquire(tool_state_lock, LW_SHARED);
	told = tool_state->slots[my_slot].told;
	LWLockRelease(tool_state_lock);
	return told;
}

/*
 * The call is over.
 */
void
tool_slot_end_call(void)
{
	ToolSlot   *slot = &tool_state->slots[my_slot];

	LWLockAcquire(tool_state_lock, LW_EXCLUSIVE);
	slot->state = TOOL_WORKER_IDLE;
	slot->ended = slot->lost = false;
	LWLockRelease(tool_state_lock);
}

/*
 * Count a call that has been made.
 */
void
tool_slot_count(bool failed)
{
	ToolSlot   *slot = &tool_state->slots[my_slot];
	PutOffCall *call;

	LWLockAcquire(tool_state_lock, LW_EXCLUSIVE);
	if (failed)
		slot->failed++;
	else
		slot->completed++;
	call = find_put_off(slot);
	if (call != NULL)
	{
		memset(call, 0, sizeof(PutOffCall));
		tool_state->put_off_count--;
	}
	LWLockRelease(tool_state_lock);
}
