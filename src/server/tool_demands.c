/*-------------------------------------------------------------------------
 *
 * tool_demands.c
 *	  Who wants a tool worker: pairs of a database and a role, in shared memory.
 *
 * A runner that has work for tool workers of a role says so: one that rests is woken,
 * or else there is a demand for one more. Who gets one, and when, is for
 * tool_places.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "server/process.h"
#include "server/runner_slots.h"
#include "server/tool_slots_internal.h"

/* Runners are asked who wants workers no more often than this, in ms. */
#define ASK_PAUSE_MS 1000

/*
 * The demand of this pair, or NULL. The caller holds the lock.
 */
ToolDemand *
tool_demand_find(Oid database, Oid role)
{
	for (int i = 0; i < MAX_DEMANDS; i++)
	{
		ToolDemand *demand = &tool_state->demands[i];

		if (demand->database == database && demand->role == role)
			return demand;
	}
	return NULL;
}

/*
 * There is work for the pair now: a demand for what has been put off is due at once, but
 * one after a start that failed is not.
 */
static void
hasten(ToolDemand *demand)
{
	int64		now = clock_now();

	if (demand->failures == 0 && demand->not_before > now)
		demand->since = demand->not_before = now;
}

/*
 * The demand of this pair, made if there is none: for one worker more. NULL if there is no
 * room for one: then the runners are asked later.
 */
static ToolDemand *
demand_more(Oid database, Oid role)
{
	ToolDemand *found = tool_demand_find(database, role);

	if (found != NULL)
	{
		found->count = Min(found->count + 1, MAX_TOOL_WORKERS);
		return found;
	}
	found = tool_demand_find(InvalidOid, InvalidOid);
	if (found == NULL)
	{
		tool_state->crowded_out = true;
		return NULL;
	}
	found->database = database;
	found->role = role;
	found->count = 1;
	found->number = ++tool_state->demands_made;
	found->since = clock_now();
	tool_state->demand_count++;
	return found;
}

/*
 * The pair is to have one more worker now. The caller holds the lock.
 */
void
tool_demand_add(Oid database, Oid role)
{
	ToolDemand *wanted = demand_more(database, role);

	if (wanted != NULL)
		hasten(wanted);
}

/*
 * The same, but no sooner than then. failures: how often a start has failed; 0: whoever
 * comes sooner does for that as well.
 */
void
tool_demand_at(Oid database, Oid role, int64 not_before, int failures)
{
	ToolDemand *wanted = tool_demand_find(database, role);

	if (wanted != NULL && failures == 0 && wanted->not_before <= not_before)
		return;
	wanted = demand_more(database, role);
	if (wanted == NULL)
		return;
	wanted->number = ++tool_state->demands_made;
	wanted->since = wanted->not_before = not_before;
	wanted->failures = failures;
}

void
tool_demand_later(Oid database, Oid role, int pause, int failures)
{
	tool_demand_at(database, role, clock_now() + pause * US_PER_MS, failures);
}

void
tool_demand_drop(ToolDemand *wanted)
{
	memset(wanted, 0, sizeof(ToolDemand));
	tool_state->demand_count--;
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
		ToolSlot   *slot = &tool_state->slots[i];

		if (!tool_slot_is_of(slot, database, role))
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

	LWLockAcquire(tool_state_lock, LW_EXCLUSIVE);
	roused = rouse(database, role);
	if (!roused)
		tool_demand_add(database, role);
	LWLockRelease(tool_state_lock);
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
	ToolDemand *wanted;
	bool		coming;

	LWLockAcquire(tool_state_lock, LW_EXCLUSIVE);
	coming = rouse(database, role);
	wanted = tool_demand_find(database, role);
	if (!coming && wanted != NULL)
		hasten(wanted);
	for (int i = 0; i < MAX_TOOL_WORKERS && !coming && wanted == NULL; i++)
		coming = tool_state->slots[i].state == TOOL_WORKER_STARTING &&
			tool_slot_is_of(&tool_state->slots[i], database, role);
	if (!coming && wanted == NULL)
		tool_demand_add(database, role);
	LWLockRelease(tool_state_lock);
	if (!coming)
		runner_slots_wake_launcher();
}

/*
 * Whether there is room for demands, and was not for some: then all runners are to say
 * once more who wants workers. Nobody knows whose they were. *next is when to look again,
 * if that is earlier.
 */
bool
tool_slots_ask_runners(int64 *next)
{
	int64		now = clock_now();
	bool		ask = false;

	LWLockAcquire(tool_state_lock, LW_EXCLUSIVE);
	if (tool_state->crowded_out && tool_state->demand_count < MAX_DEMANDS)
	{
		int64		at = tool_state->asked_at + ASK_PAUSE_MS * US_PER_MS;

		ask = at <= now;
		if (ask)
		{
			tool_state->crowded_out = false;
			tool_state->asked_at = now;
			tool_state->asks++;
		}
		else
			*next = Min(*next, at);
	}
	LWLockRelease(tool_state_lock);
	return ask;
}

/*
 * How often runners were asked who wants workers.
 */
uint64
tool_slots_asks(void)
{
	uint64		asks;

	LWLockAcquire(tool_state_lock, LW_SHARED);
	asks = tool_state->asks;
	LWLockRelease(tool_state_lock);
	return asks;
}
