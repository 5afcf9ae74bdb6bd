/*-------------------------------------------------------------------------
 *
 * chores.c
 *	  Getting the table work done whose time has come.
 *
 * Each kind of table work is a Chore; when it is due is for chore_times.c to say. Most
 * are done together, in the transaction of a turn (turn.c). What follows from one that fails is
 * for faults.c to say. Nothing is forgotten: what is in flight when the process dies is
 * found in the queue by its successor.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/clock.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "runner/apart.h"
#include "runner/chores_internal.h"
#include "runner/deadline.h"
#include "runner/faults.h"
#include "runner/retention.h"
#include "runner/turn.h"
#include "runner/turn_size.h"
#include "server/blame.h"
#include "server/runner_slots.h"
#include "server/settings.h"
#include "server/tool_slots.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/*
 * For how many times as long as it took it is not looked at what is due, if that took
 * long; but for no longer than this.
 */
#define LONG_CLOCK_LOOK (50 * US_PER_MS)
#define CLOCK_RESTS 10
#define LONGEST_CLOCK_REST (1 * US_PER_S)

/*
 * How many turns a runner has that stops, to store what has ended; and how much time,
 * in microseconds, for more than two.
 */
#define LAST_TURNS 12
#define LAST_TURNS_TIME (3 * US_PER_S)

/*
 * How long what the clock of the database will say is known by that of the runner,
 * which does not jump when it is set, and stands still while a machine is suspended.
 */
#define CLOCK_TRUST (60 * US_PER_S)

/* How often prepared transactions are looked for while there are some. */
#define PREPARED_PAUSE (1 * US_PER_S)

/* How much the clock of another server may be ahead of this one's, where they may be from. */
#define CLOCKS_APART USECS_PER_MINUTE

/*-------------------------------------------------------------------------
 * After a turn
 *-------------------------------------------------------------------------
 */

/*
 * Execute a turn, and report and survive its errors. Returns whether it
 * succeeded.
 */
static bool
try_turn(Chores *chores, Turn *turn)
{
	MemoryContext caller = CurrentMemoryContext;
	ErrorData  *volatile error = NULL;
	bool		at_commit;

	PG_TRY();
	{
		turn_execute(turn);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();

		turn_end_clock(turn);
		turn->overdue &= error->sqlerrcode == ERRCODE_QUERY_CANCELED;

		if (faults_is_news(&chores->faults, turn))
			EmitErrorReport();
		FlushErrorState();
	}
	PG_END_TRY();

	if (error == NULL)
		return true;
	at_commit = store_failed_at_commit();
	store_abort();
	MemoryContextSwitchTo(caller);
	turn_note_time(turn);
	turn->shared = turn_size_note_owners(&chores->size, turn);
	faults_note(&chores->faults, turn, error, at_commit);
	return false;
}

/*
 * For how long it is not looked at what is due after a look that took so long.
 */
static int64
clock_rest(int64 took)
{
	return took > LONG_CLOCK_LOOK ?
		Min(took * CLOCK_RESTS, LONGEST_CLOCK_REST) : 0;
}

/*
 * The clock of the runner, for a time of the database's.
 */
static int64
from_timestamp(TimestampTz time)
{
	return clock_now() + Max(time - GetCurrentTimestamp(), 0);
}

/*
 * Note, after a turn that began then, what is known of the clock.
 */
static void
note_clock(Chores *chores, const Turn *turn, int64 began)
{
	chores->clock_from = 0;
	if ((turn->todo & CHORE_BIT(CHORE_CLOCK)) != 0)
	{
		chores->clock_at = NEVER;
		/* What is due and could not be done now is for later. */
		if ((turn->again & CHORE_BIT(CHORE_CLOCK)) == 0)
			chores->clock_from = began +
				Max((turn->todo & CHORE_BIT(CHORE_START)) != 0 ?
					DUE_PAUSE : IDLE_DUE_PAUSE, clock_rest(turn->clock_took));
	}
	if ((turn->todo & CHORE_BIT(CHORE_SWEEP)) != 0 &&
		(turn->again & CHORE_BIT(CHORE_SWEEP)) == 0)
		sweep_put_off(&chores->order.sweeps[OPEN_DUE], began + DUE_PAUSE);
	chores->unclear_since = Min(chores->unclear_since, began);
}

/*
 * Note how long a turn took that began then.
 */
static void
note_turn_time(Chores *chores, const Turn *turn, int64 began)
{
	int64		now = clock_now();
	bool		shared = turn_size_note_owners(&chores->size, turn);

	turn_keep_times(turn, shared, now);
	shares_note_commit(chores->dispatch->fleet->shares,
					   now - began - turn->took);
	if (shared && turn->mixed > OWNER_SLICE)
		faults_measure(&chores->faults);
	turn_size_note_time(&chores->size, turn, now - began);
}

/*
 * The runs whose tools' processes have died, until a turn has taken note of it.
 */
static List *
find_dead_tools(Chores *chores, int64 now)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	int			next;

	chores->dead_tools = list_concat(chores->dead_tools,
									 tool_slots_take_dead(MyDatabaseId, &next));
	chores->dead_at = next >= 0 ? now + next * INT64CONST(1000) : NEVER;
	MemoryContextSwitchTo(old);
	return chores->dead_tools;
}

/*
 * Keep up to where signals have been read.
 */
static void
keep_signals(Chores *chores, const Turn *turn)
{
	MemoryContext old;
	ListCell   *cell;

	chores->many_signals = turn->more_signals;
	chores->signals_after = NIL;
	MemoryContextReset(chores->signals_context);
	old = MemoryContextSwitchTo(chores->signals_context);
	foreach(cell, turn->last_signals)
	{
		Signal	   *signal = palloc(sizeof(Signal));

		*signal = *(Signal *) lfirst(cell);
		signal->run_id = pstrdup(signal->run_id);
		chores->signals_after = lappend(chores->signals_after, signal);
	}
	MemoryContextSwitchTo(old);
}

/*
 * What the next turn is to do, which begins now. *patrol and *turn are the caller's.
 */
static void
prepare_turn(Chores *chores, Turn *turn, uint32 todo, Patrol *patrol, int64 now)
{
	static const Chore in_turn[] = {CHORE_STORE, CHORE_START, CHORE_FLUSH};
	int			slow_count;

	memset(turn, 0, sizeof(Turn));
	turn->todo = todo;
	turn->number = ++chores->turns;
	turn->dispatch = chores->dispatch;
	turn->order = &chores->order;
	chores->order.now = now;
	*patrol = chores->patrol;
	turn->patrol = patrol;
	turn->extension = chores->extension;
	turn->dead_tools = find_dead_tools(chores, now);
	turn->asks = tool_slots_asks();
	turn->asked = turn->asks != chores->asks_seen;
	turn->many_signals = chores->many_signals;
	turn->signals_after = chores->signals_after;
	turn->shared = turn_size_begin(&chores->size, turn, now);
	chores->order.shared = turn->shared;
	chores->dispatch->shared = turn->shared;
	turn->limit = chores->faults.limit;
	if (!ShutdownRequestPending)
		turn->limit = Min(turn->limit,
						  turn_size_limit(&chores->size, turn->shared));
	turn->own_limit = chores->faults.limit;
	turn->signal_limit = Min(chores->faults.limit, chores->faults.signal_limit);
	faults_narrow(&chores->faults, turn, now);
	turn->room = chores_room_for_runs(chores);
	turn->newcomers = chores_room_for_newcomers(chores);

	(void) rests_owners(chores->order.rests, REST_SLOW, now, &slow_count);
	turn->slow = slow_count > 0 && !ShutdownRequestPending;
	turn->own = turn->slow && !chores->was_own;
	turn->only_runs = turn->own && chores->only_signals;
	turn->measured = faults_measures(&chores->faults, turn->own, now);
	turn->large_first = turn->measured && !turn->own && !chores->was_large;
	/* None is to wait for all of another kind. */
	if (turn->limit == 1 || turn->own)
		turn->first = in_turn[++chores->singles % (int) lengthof(in_turn)];
	else if (turn->large_first)
		turn->first = ++chores->measures % 2 == 0 ? CHORE_STORE : CHORE_FLUSH;
	else
		turn->first = CHORE_STORE;
}

/*
 * When something may be done for somebody for whom it is not now: NEVER if there is nobody.
 */
static int64
next_end_of_rests(const Chores *chores, int64 now)
{
	int64		next = rests_next_end(chores->order.rests, now);

	for (OpenRows place = 0; place < OPEN_PARKED; place++)
		next = Min(next, sweep_next_at(&chores->order.sweeps[place], now));
	return next;
}

/*
 * A turn that began then has succeeded: carry out what it has decided, and note what it
 * says about the next ones.
 */
static void
end_turn(Chores *chores, Turn *turn, int64 began)
{
	uint32		todo = turn->todo;
	Dispatch   *dispatch = chores->dispatch;

	if (!turn_leaves_out(turn, PART_RESPONSES))
	{
		list_free(dispatch->new_responses);
		dispatch->new_responses = NIL;
	}
	if ((todo & CHORE_BIT(CHORE_FLUSH)) != 0)
		chores->flushed_at = began;
	faults_none(&chores->faults, turn);
	/* A patrol that was not due is not done. */
	chores->again = (turn->again & ~CHORE_BIT(CHORE_CLOCK)) |
		(chores->again & CHORE_BIT(CHORE_PATROL) & ~todo);
	if ((todo & CHORE_BIT(CHORE_START)) == 0)
		chores->again |= CHORE_BIT(CHORE_START);
	chores->patrol = *turn->patrol;
	if ((todo & CHORE_BIT(CHORE_SIGNALS)) != 0)
		keep_signals(chores, turn);
	note_clock(chores, turn, began);
	note_turn_time(chores, turn, began);
	chores->rested_at = next_end_of_rests(chores, began);
	turn_carry_out(turn);
	if (!turn_leaves_out(turn, PART_DEAD_TOOLS))
	{
		list_free_deep(chores->dead_tools);
		chores->dead_tools = NIL;
		chores->asks_seen = turn->asks;
	}
	chores->paced_at = pacing_next_at(chores->dispatch->paces, clock_now());
	if (turn->unflushed)
		store_flush();
}

/*
 * A turn that began then has failed. What has come due stays so, until one has
 * succeeded.
 */
static void
end_failed_turn(Chores *chores, const Turn *turn, Oid last_owner, int64 began)
{
	if (chores->rested_at > began)
		chores->rested_at = next_end_of_rests(chores, began);
	/* Those who crowded may have gone just now, and nobody else says so. */
	if (crowds_look_failed(&chores->order.crowds))
		chores->again |= CHORE_BIT(CHORE_SIGNALS) | CHORE_BIT(CHORE_START);
	/* All of them are to be done; a single one that fails is passed over. */
	if (turn->limit > 1)
		chores->order.last_owner = last_owner;
}

/*
 * What a turn was about, that was to be for an owner who is slow or not: the next one of
 * its kind is about something else.
 */
static void
note_kind(Chores *chores, const Turn *turn, bool own, bool done)
{
	chores->was_own = own;
	if (own)
		chores->only_signals = done ? turn->only_signals :
			turn->at_signals && !turn->only_runs;
	else
		chores->was_large = turn->only_large;
}

/*
 * Do the table work. Returns false when the database has no use for this runner
 * any more.
 */
static bool
do_turn(Chores *chores, uint32 todo)
{
	int64		now = clock_now();
	uint64		wakes = runner_slot_wakes();
	Oid			last_owner = chores->order.last_owner;
	Patrol		patrol;
	Turn		turn;
	bool		own;
	bool		done;

	prepare_turn(chores, &turn, todo, &patrol, now);
	own = turn.own;
	chores->turned_at = now;
	pacing_begin_turn(chores->dispatch->paces);
	store_mute(now < chores->faults.mute_until);
	done = try_turn(chores, &turn);
	crowds_end_turn(&chores->order.crowds);
	note_kind(chores, &turn, own, done);
	turn_size_end(&chores->size);
	if (!done)
	{
		end_failed_turn(chores, &turn, last_owner, now);
		return true;
	}

	/* Who has woken the runner since it looked what is due is not forgotten. */
	if ((todo & CHORE_BIT(CHORE_SIGNALS)) != 0)
		chores->wakes_seen = wakes;
	if (turn.unwanted)
	{
		/* If another extension is there, that one needs a runner of its own. */
		if (!turn.replaced)
			runner_slot_unwanted(wakes);
		return false;
	}
	end_turn(chores, &turn, now);
	return true;
}

/*-------------------------------------------------------------------------
 * Beside turns
 *-------------------------------------------------------------------------
 */

/*
 * Find out when the clock alone gives a turn something to do; or when to find that out
 * again.
 */
static void
read_clock(void *arg)
{
	Chores	   *chores = arg;
	Crowd	   *crowd = &chores->order.crowds.places[OPEN_DUE];
	int			count = 0;
	Oid		   *crowding = crowd_add(crowd, NULL, &count);
	TimestampTz next;

	crowding = crowd_add_hidden(crowd, crowding, &count);
	crowd_begin_look(crowd);
	chores->clock_at = store_next_time(crowding, count, &next) ?
		Max(Min(from_timestamp(next), clock_now() + CLOCK_TRUST),
			chores->clock_from) : NEVER;
	crowd_end_look(crowd);
}

static void
look_at_clock(Chores *chores)
{
	static bool failed;
	int64		began = clock_now();
	int64		now;

	chores->unclear_since = NEVER;
	if (!apart_do("agno_bg: looking for what is due next", read_clock, chores,
				  &failed))
		chores->clock_at = clock_now() + IDLE_DUE_PAUSE;
	now = clock_now();
	chores->clear_after = now + clock_rest(now - began);
}

/*
 * Look for prepared transactions: as long as there are some, there may be
 * work that nobody wakes this runner for.
 */
static void
find_prepared(void *arg)
{
	Chores	   *chores = arg;
	TimestampTz began = chores->patrol.started_at + CLOCKS_APART;
	int			old;

	if (store_prepared_transactions(began, &old))
		runner_slot_set_prepared(true);
	if (old < chores->old_prepared)
	{
		patrol_repeat(&chores->patrol);
		chores->again |= CHORE_BIT(CHORE_PATROL);
	}
	chores->old_prepared = old;
}

static void
look_for_prepared(Chores *chores)
{
	static bool failed;

	runner_slot_set_prepared(false);
	if (!apart_do("agno_bg: looking for prepared transactions", find_prepared,
				  chores, &failed))
	{
		runner_slot_set_prepared(true);
		chores->old_prepared = PG_INT32_MAX;
	}
	chores->prepared_at = clock_now() + PREPARED_PAUSE;
}

/*
 * The server has crashed, or been restarted: if that was the fault of tools, or
 * while they were called, their runs are told.
 */
static void
find_blamed_tools(Chores *chores)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	for (int slot = 0; slot < MAX_TOOL_WORKERS; slot++)
	{
		ToolWorkerView view = tool_slots_view(slot);
		char	   *run_id;

		/* what there is of a worker of this database is its own */
		if (view.pid != 0 && view.database == MyDatabaseId)
			continue;
		run_id = blame_take(BLAME_TOOL_WORKERS + slot);
		if (run_id != NULL)
			chores->dead_tools = lappend(chores->dead_tools, run_id);
	}
	MemoryContextSwitchTo(old);
}

/*-------------------------------------------------------------------------
 * For the loop
 *-------------------------------------------------------------------------
 */

/*
 * The chores of a runner that begins: first of all, to take the queue over.
 * wakes_seen is what runner_slot_wakes() said before the extension was found;
 * first: it is the first one of the database.
 */
Chores *
chores_create(Dispatch *dispatch, Oid extension, uint64 wakes_seen, bool first)
{
	Chores	   *chores = MemoryContextAllocZero(TopMemoryContext,
												sizeof(Chores));

	chores->dispatch = dispatch;
	chores->extension = extension;
	chores->first = first;
	chores->wakes_seen = wakes_seen;
	faults_init(&chores->faults);
	chores->again = CHORE_BIT(CHORE_PATROL);
	deadline_prepare();
	if (first)
		find_blamed_tools(chores);
	chores->to_blame = store_has_culprit();
	patrol_create(&chores->patrol, first);
	retention_init(&chores->retention);
	chores->order.rests = rests_create();
	crowds_init(&chores->order.crowds);
	chores->signals_context = AllocSetContextCreate(TopMemoryContext,
													"agno_bg signals",
													ALLOCSET_SMALL_SIZES);
	chores->rested_at = NEVER;
	chores->dead_at = NEVER;
	chores->clock_at = NEVER;
	chores->unclear_since = NEVER;
	chores->paced_at = NEVER;
	return chores;
}

static void
blame(void *arg)
{
	store_blame();
}

/*
 * The predecessor has crashed at a run. If it cannot be stored whose fault that was, it is
 * not counted: once there have been turns, the run may be in flight.
 */
static void
blame_culprit(Chores *chores)
{
	bool		failed = false;

	(void) apart_do("agno_bg: counting an attempt", blame, NULL, &failed);
	chores->to_blame = false;
}

/*
 * Do what is due. Returns false when the database has no use for this runner any
 * more: it is to leave.
 */
bool
chores_do(Chores *chores)
{
	int64		now = clock_now();
	bool		due = chores_next_turn_at(chores) <= now;

	if (due)
	{
		uint32		todo = chores_due(chores, now);

		if (chores->to_blame)
			blame_culprit(chores);
		if ((todo & CHORE_BIT(CHORE_PREPARED)) != 0)
			look_for_prepared(chores);
		if (!do_turn(chores, todo))
			return false;
	}
	/* Requests that a turn has begun are sent first. */
	if (chores->unclear_since != NEVER && chores->clear_after <= now &&
		(!due || clock_now() - chores->unclear_since > DUE_PAUSE))
		look_at_clock(chores);
	if (chores_due_at(chores, CHORE_EXPIRE) <= clock_now())
		retention_step(&chores->retention);
	return true;
}

/*
 * The configuration has been read again.
 */
void
chores_reloaded(Chores *chores)
{
	retention_look_now(&chores->retention);
}

/*
 * The runner stops: store what has ended, and put back the rest, without counting
 * what was begun as an attempt.
 */
void
chores_finish(Chores *chores)
{
	Fleet	   *fleet = chores->dispatch->fleet;
	int64		until = clock_now() + LAST_TURNS_TIME;
	Flight	  **flights;
	char	  **ids;
	int		   *attempts;

	/* again if nobody could be notified, or one of them cannot be stored */
	ShutdownRequestPending = true;
	chores->faults.limit = MOST_AT_ONCE;
	for (int i = 0; i < LAST_TURNS && !dlist_is_empty(&fleet->ended) &&
		 (i < 2 || clock_now() < until); i++)
		(void) do_turn(chores, CHORE_BIT(CHORE_STORE));
	if (fleet->count == 0)
		return;
	flights = fleet_all(fleet);
	ids = palloc(sizeof(char *) * fleet->count);
	attempts = palloc(sizeof(int) * fleet->count);
	for (int i = 0; i < fleet->count; i++)
	{
		ids[i] = unconstify(char *, flights[i]->run_id);
		attempts[i] = flights[i]->run.attempt;
	}
	store_begin("agno_bg: putting runs back");
	store_release(ids, attempts, fleet->count);
	store_commit();
}
