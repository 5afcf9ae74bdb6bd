/*-------------------------------------------------------------------------
 *
 * tool_places.c
 *	  Who gets a tool worker: the places for their processes, for the launcher.
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
 *	4. No role takes the last places, even if it is alone: who comes finds one,
 *	   whatever the calls of others are like.
 *
 * A worker that leaves though there is work wants another at the end of the line.
 * Whoever was asked to leave and is still there a moment later does not count as
 * leaving: the next one is asked. Nobody relies on what users' code does when it is
 * interrupted: if it goes on, its process is ended. And if that cannot be, since
 * code in C never looks whether it is to end, the worker is lost: its role gets no
 * other until it is gone, and lost ones leave a place in any case.
 *
 * This starts no process itself, and never waits for one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "server/settings.h"
#include "server/tool_slots_internal.h"

/* Nobody is interrupted for a role that has not waited for so long, in ms. */
#define PATIENCE_MS 1000

/*
 * How many workers one pair may have: nine tenths, and not the last one. That is for
 * others even if there are none now: its calls may be such that nobody can end them.
 */
static int
share_of_one(void)
{
	return Max(tool_state->allowed - Max(tool_state->allowed / 10, 1), 1);
}

/*
 * The demand that is to be met next, or NULL: of those who have the fewest workers,
 * whoever has waited longest. *next is when to look again. The caller holds the
 * lock.
 */
static ToolDemand *
first_demand(int64 now, int64 *next)
{
	ToolDemand *first = NULL;
	int			most = share_of_one();
	int			fewest = 0;

	for (int i = 0; i < MAX_DEMANDS && tool_state->demand_count > 0; i++)
	{
		ToolDemand *found = &tool_state->demands[i];
		int			count;

		if (!OidIsValid(found->database))
			continue;
		if (found->not_before > now)
		{
			*next = Min(*next, found->not_before);
			continue;
		}
		count = tool_slots_count_of(found->database, found->role);
		if (count < most && !tool_slots_has_lost(found->role) &&
			(first == NULL || count < fewest ||
			 (count == fewest && found->number < first->number)) &&
			!tool_slots_are_held(found->database, found->role))
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
		ToolSlot   *slot = &tool_state->slots[i];
		int			count;

		if (slot->state != TOOL_WORKER_IDLE || !slot->resting ||
			slot->leave || tool_slot_is_of(slot, wanted->database, wanted->role))
			continue;
		count = tool_slots_count_of(slot->database, slot->role);
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
find_interruptible(const ToolDemand *wanted, int64 now, int64 *next)
{
	ToolSlot   *best = NULL;
	int			own = tool_slots_count_of(wanted->database, wanted->role);
	int			most = 0;

	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
	{
		ToolSlot   *slot = &tool_state->slots[i];
		int64		patience = wanted->since + PATIENCE_MS * US_PER_MS;
		int64		guaranteed = slot->call_since + agno_tool_timeout * US_PER_MS;
		int64		at = Max(patience, guaranteed);
		int			count = tool_slots_count_of(slot->database, slot->role);

		if (slot->state != TOOL_WORKER_BUSY || slot->lost ||
			slot->told != TOOL_NOT_INTERRUPTED || count <= own ||
			tool_slot_is_of(slot, wanted->database, wanted->role))
			continue;
		if (slot->call_ends == 0)
			at = now + PATIENCE_MS * US_PER_MS;
		else if (slot->call_ends <= at)
			continue;
		if (at > now)
			*next = Min(*next, at);
		else if (best == NULL || count > most ||
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
make_room(const ToolDemand *wanted, int64 now, int64 *next)
{
	ToolSlot   *slot;

	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
	{
		slot = &tool_state->slots[i];
		if (!tool_slot_is_leaving(slot, now))
			continue;
		*next = Min(*next, slot->asked_at + LEAVE_MS * US_PER_MS);
		return;
	}
	slot = find_resting(wanted);
	if (slot == NULL)
	{
		slot = find_interruptible(wanted, now, next);
		if (slot == NULL)
			return;
		tool_slot_interrupt(slot, tool_slot_may_put_off(slot, now) ? TOOL_PUT_OFF :
							TOOL_TOOK_TOO_LONG);
		*next = Min(*next, now + TOOL_GRACE_MS * US_PER_MS);
	}
	tool_slot_ask_to_leave(slot, now);
	*next = Min(*next, now + LEAVE_MS * US_PER_MS);
}

/*
 * When this worker is lost, if its call still goes on then: some time after its
 * process was to end, for others or because the time of the call was over.
 */
static int64
lost_at(const ToolSlot *slot)
{
	int64		at = NEVER;

	if (slot->ended)
		at = slot->asked_at + LEAVE_MS * US_PER_MS;
	if (slot->call_ends != 0)
		at = Min(at, slot->call_ends + (TOOL_GRACE_MS + LEAVE_MS) * US_PER_MS);
	return at;
}

/*
 * Give up the next worker that is lost, and say whose it is. False if there is none;
 * *next is when to look again, if that is earlier.
 */
static bool
lose_next(ToolWorkerView *lost, int64 *next)
{
	int64		now = clock_now();
	bool		found = false;

	LWLockAcquire(tool_state_lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_TOOL_WORKERS && !found; i++)
	{
		ToolSlot   *slot = &tool_state->slots[i];

		if (slot->state != TOOL_WORKER_BUSY || slot->lost)
			continue;
		found = lost_at(slot) <= now;
		if (found)
		{
			slot->lost = true;
			lost->pid = slot->pid;
			lost->database = slot->database;
			lost->role = slot->role;
		}
		else
			*next = Min(*next, lost_at(slot));
	}
	LWLockRelease(tool_state_lock);
	return found;
}

/*
 * A runner lacks a process: have one worker leave that has none of its own to do, or
 * else, after its call, one of those who have the most. One that was asked before,
 * and whose tool has been given more time than agno_bg.tool_timeout, is interrupted
 * after that.
 */
void
tool_slots_yield(void)
{
	int64		now = clock_now();
	ToolSlot   *best = NULL;

	LWLockAcquire(tool_state_lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
	{
		ToolSlot   *slot = &tool_state->slots[i];

		if (slot->state == TOOL_WORKER_BUSY && slot->leave && !slot->lost &&
			slot->told == TOOL_NOT_INTERRUPTED && slot->call_ends != 0 &&
			now >= slot->call_since + agno_tool_timeout * US_PER_MS)
			tool_slot_interrupt(slot, tool_slot_may_put_off(slot, now) ?
								TOOL_PUT_OFF : TOOL_TOOK_TOO_LONG);
		if (slot->pid == 0 || slot->leave || slot->lost ||
			(slot->state != TOOL_WORKER_IDLE && slot->state != TOOL_WORKER_BUSY))
			continue;
		if (best == NULL ||
			(slot->state == TOOL_WORKER_IDLE &&
			 best->state != TOOL_WORKER_IDLE) ||
			(slot->state == best->state &&
			 tool_slots_count_of(slot->database, slot->role) >
			 tool_slots_count_of(best->database, best->role)))
			best = slot;
	}
	if (best != NULL)
		tool_slot_ask_to_leave(best, now);
	LWLockRelease(tool_state_lock);
}

/*
 * End the processes of calls that go on though they were told to end, give those up
 * that cannot be ended, and send those home that rest and are too many. *next is
 * when to look again, if that is earlier.
 */
void
tool_slots_supervise(int64 *next)
{
	int64		now = clock_now();
	ToolWorkerView lost;
	int			surplus;

	LWLockAcquire(tool_state_lock, LW_EXCLUSIVE);
	tool_state->allowed = agno_max_tool_workers;
	if (now < tool_state->scarce_until)
	{
		tool_state->allowed = Min(tool_state->allowed, tool_state->processes);
		*next = Min(*next, tool_state->scarce_until);
	}
	surplus = tool_slots_count_all() - tool_slots_count_leaving(now) - tool_state->allowed;
	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
	{
		ToolSlot   *slot = &tool_state->slots[i];
		int64		at = slot->asked_at + TOOL_GRACE_MS * US_PER_MS;

		if (slot->state == TOOL_WORKER_IDLE && slot->resting &&
			!slot->leave && surplus > 0)
		{
			tool_slot_ask_to_leave(slot, now);
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
		tool_slot_ask_to_leave(slot, now);
		(void) kill(slot->pid, SIGTERM);
	}
	LWLockRelease(tool_state_lock);

	while (lose_next(&lost, next))
		ereport(WARNING,
				(errmsg("agno_bg tool worker with PID %d cannot be ended",
						lost.pid),
				 errdetail("It calls a tool as the role with OID %u in the database with OID %u, and does not check for interrupts there.",
						   lost.role, lost.database),
				 errhint("The role gets no other tool worker until the process has gone. Have it call something else; a process that does not end by itself is ended by an immediate shutdown of the server.")));
}

/*
 * The slot for another worker, or MAX_TOOL_WORKERS if there is none. If need be, the
 * one whose process died first: with its database, those are gone who are to take
 * note of that. The caller holds the lock.
 */
static int
find_free(void)
{
	int			found = MAX_TOOL_WORKERS;

	for (int i = 0; i < MAX_TOOL_WORKERS; i++)
	{
		ToolSlot   *slot = &tool_state->slots[i];

		if (slot->state == TOOL_WORKER_NONE)
			return i;
		if (slot->state == TOOL_WORKER_DEAD &&
			(found == MAX_TOOL_WORKERS ||
			 slot->state_since < tool_state->slots[found].state_since))
			found = i;
	}
	return found;
}

/*
 * Whether the launcher is to start a worker now: in this slot, for this database
 * and role. If not, *next is when to look again, if that is earlier.
 */
bool
tool_slots_next_start(int *slot, Oid *database, Oid *role, int64 *next)
{
	int64		now = clock_now();
	ToolDemand *wanted;
	int			number;
	bool		start;

	LWLockAcquire(tool_state_lock, LW_EXCLUSIVE);
	wanted = first_demand(now, next);
	number = find_free();
	start = wanted != NULL && number < MAX_TOOL_WORKERS &&
		tool_slots_count_all() < tool_state->allowed;
	if (start)
	{
		ToolSlot   *free_one = &tool_state->slots[number];

		*slot = number;
		*database = wanted->database;
		*role = wanted->role;
		tool_slot_free(free_one);
		free_one->database = wanted->database;
		free_one->role = wanted->role;
		free_one->failures = wanted->failures;
		free_one->state = TOOL_WORKER_STARTING;
		free_one->since = GetCurrentTimestamp();
		free_one->state_since = now;

		/* It is met, or else comes back. */
		wanted->number = ++tool_state->demands_made;
		wanted->since = now;
		if (--wanted->count == 0)
			tool_demand_drop(wanted);
	}
	else if (wanted != NULL && tool_state->allowed > 0)
		make_room(wanted, now, next);
	LWLockRelease(tool_state_lock);
	return start;
}

/*
 * The process that was asked for has not come to run. The demand is back, behind others
 * and for later.
 */
void
tool_slots_not_started(int number, ToolStartProblem problem)
{
	ToolSlot   *slot = &tool_state->slots[number];
	bool		failed = problem == TOOL_START_FAILED;

	LWLockAcquire(tool_state_lock, LW_EXCLUSIVE);
	if (slot->state == TOOL_WORKER_STARTING)
	{
		int			pause = problem == TOOL_PROCESS_ENDS ? END_PAUSE_MS : FIRST_PAUSE_MS;

		for (int i = 0; failed && i < slot->failures && pause < LAST_PAUSE_MS; i++)
			pause *= 2;
		tool_demand_later(slot->database, slot->role, Min(pause, LAST_PAUSE_MS),
						  slot->failures + failed);
		tool_slot_free(slot);
		if (problem == TOOL_NO_PROCESS)
		{
			/* So those who wait take turns with those who have one. */
			tool_state->processes = Max(tool_slots_count_all(), 1);
			tool_state->scarce_until = clock_now() + SCARCE_MS * US_PER_MS;
		}
	}
	LWLockRelease(tool_state_lock);
}

/*
 * There is no such database, or no such role: nobody is to be started for them.
 */
void
tool_slots_unwanted(int number)
{
	ToolSlot   *slot = &tool_state->slots[number];

	LWLockAcquire(tool_state_lock, LW_EXCLUSIVE);
	if (slot->state == TOOL_WORKER_STARTING)
	{
		ToolDemand *wanted = tool_demand_find(slot->database, slot->role);

		if (wanted != NULL)
			tool_demand_drop(wanted);
		tool_slot_free(slot);
	}
	LWLockRelease(tool_state_lock);
}
