/*-------------------------------------------------------------------------
 *
 * runner.c
 *	  A process that executes the runs of one database, or with
 *	  agno_bg.runners its share of them.
 *
 * An event loop. It waits in one place for its latch, for the death of the
 * postmaster, and for the descriptor behind which libcurl's sockets are; with
 * nothing in flight it waits without a timeout. Each turn of the loop
 *
 *	1. advances the transfers, and lets each run whose request has ended decide
 *	   what to do next (dispatch.c);
 *	2. does all the table work that is due, in at most one short transaction
 *	   (turn.c);
 *	3. outside of any transaction, starts and aborts transfers accordingly.
 *
 * Memory: the runner and its fleet live as long as the process; each flight
 * has a context of its own; what a turn needs is in a context that is reset
 * before the next one.
 *
 * A turn that fails is tried again with half of its runs, until it is known
 * which of them cannot be stored or started; that one ends in ERROR. What the
 * system lacks is waited for instead. Nothing is forgotten: what is in flight when the process dies is found
 * in the queue by its successor.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "core/clock.h"
#include "core/version.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "runner/blame.h"
#include "runner/dispatch.h"
#include "runner/load_table.h"
#include "runner/patrol.h"
#include "runner/runner.h"
#include "runner/turn.h"
#include "server/runner_slots.h"
#include "server/settings.h"
#include "server/wait_event.h"
#include "server/waiters.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "store/store.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"


/*
 * What is due by the clock and could not be done is looked at again after this,
 * in microseconds; while no runs are started, after that.
 */
#define DUE_PAUSE (100 * US_PER_MS)
#define IDLE_DUE_PAUSE (1 * US_PER_S)

/*
 * How many runs are stored and started in one transaction at most. Others wait
 * for their turn meanwhile.
 */
#define BATCH 500

/* How many times the memory may be exhausted by one run. */
#define MAX_MEMORY_FAILURES 3

/*
 * How long nobody is notified after the queue of notifications was full, in
 * microseconds.
 */
#define MUTE_PAUSE (10 * US_PER_S)

/* How often events of streamed runs are stored, in microseconds. */
#define FLUSH_PAUSE (50 * US_PER_MS)

/* With so many runs in flight more, each stream waits once longer. */
#define STREAMS_PER_FLUSH 100

/*
 * How often runs are looked for that are old enough to be deleted, and the
 * pause between two steps of deleting them.
 */
#define EXPIRE_PAUSE (60 * US_PER_S)
#define EXPIRE_STEP_PAUSE (20 * US_PER_MS)

/* How often prepared transactions are looked for while there are some. */
#define PREPARED_PAUSE (1 * US_PER_S)

/* The pause after a turn that failed doubles from the first to the last. */
#define FIRST_FAILURE_PAUSE (US_PER_S / 4)
#define LAST_FAILURE_PAUSE (30 * US_PER_S)

/* Statistics are flushed before a sleep at least this long, in ms. */
#define LONG_SLEEP_MS 1000

/* All times are those of clock_now(). */
typedef struct Runner
{
	Oid			extension;		/* the extension that this runner serves */
	bool		first;			/* it deletes what is old, the others do not */
	Dispatch	dispatch;		/* the fleet, and its requests */
	WaitEventSet *wait_set;
	int64		turns;			/* how many there have been */
	int64		turned_at;		/* when the last one was */

	/* what the next transaction is to do */
	bool		patrolling;		/* take over from an earlier runner: */
	Patrol		patrol;			/* how far that is */
	PickOrder	order;			/* whose runs are next */
	bool		more;			/* the last one left ready runs */
	bool		more_signals;	/* the last one left signals: */
	char		signals_after[256]; /* about runs after this id */
	uint64		wakes_seen;		/* runner_slot_wakes() before the last one */
	int64		paced_at;		/* when there may be room for parked runs */
	int64		flushed_at;		/* when events were stored last */
	int64		expire_at;		/* when to look for runs that are old enough */
	RunPlace	expire_after;	/* where; run_id is in expire_run */
	char		expire_run[256];
	int64		clock_at;		/* when the clock alone gives it work */
	int64		prepared_at;	/* when to look for prepared transactions */

	/* after a transaction that failed */
	int			failures;		/* in a row */
	int64		not_before;		/* the next one */
	int			limit;			/* store and start no more runs at once */
	char	   *memory_culprit; /* the run that the memory was exhausted by, or
								 * NULL */
	int			memory_failures;	/* how many times */
	int64		mute_until;		/* nobody is notified before */
} Runner;

/*-------------------------------------------------------------------------
 * Table work
 *-------------------------------------------------------------------------
 */

/*
 * How many more runs may be in flight; below 0 if there are more already.
 */
static int
room_for_runs(Runner *runner)
{
	Fleet	   *fleet = runner->dispatch.fleet;
	int			most = Min(agno_max_concurrent_runs,
						   http_capacity(runner->dispatch.http));

	return most - (fleet->count - fleet->put_off);
}

/*
 * How many more there may be when all slots are taken, for owners who have
 * none: as many as there can be connections.
 */
static int
room_for_newcomers(Runner *runner)
{
	return Max(http_capacity(runner->dispatch.http) -
			   runner->dispatch.fleet->count, 0);
}

/*
 * When a run that has ended can be stored: at once, or after a pause when its
 * row was found locked.
 */
static int64
next_store_at(Runner *runner)
{
	int64		next = NEVER;
	dlist_iter	iter;

	dlist_foreach(iter, &runner->dispatch.fleet->ended)
	{
		Flight	   *flight = dlist_container(Flight, node, iter.cur);

		next = Min(next, flight->store_after);
		if (next == 0)
			break;
	}
	return next;
}

/*
 * When events of streamed runs are to be stored. Many streams take turns: none
 * is shown more often than the runner can store them all.
 */
static int64
next_flush_at(Runner *runner)
{
	int64		next = NEVER;
	dlist_iter	iter;

	dlist_foreach(iter, &runner->dispatch.fleet->with_news)
	{
		Flight	   *flight = dlist_container(Flight, news_node, iter.cur);

		if (flight->run.step != STEP_STORE)
			next = Min(next, flight->flush_at);
	}
	return next == NEVER ? NEVER : Max(next, runner->flushed_at + FLUSH_PAUSE);
}

/*
 * When there is table work to do: 0 for now, NEVER for none.
 */
static int64
next_turn_at(Runner *runner)
{
	int64		next = next_store_at(runner);
	bool		can_start = !agno_paused && room_for_runs(runner) > 0;

	if (runner->dispatch.pacing_changed)
	{
		runner->dispatch.pacing_changed = false;
		runner->paced_at = pacing_next_at(runner->dispatch.pacing, clock_now());
	}
	if (runner->patrolling || runner->more_signals ||
		(runner->more && can_start) ||
		runner_slot_wakes() != runner->wakes_seen)
		next = 0;
	next = Min(next, runner->clock_at);
	next = Min(next, next_flush_at(runner));
	if (runner->dispatch.new_responses != NIL)
		next = 0;
	if (can_start)
		next = Min(next, runner->paced_at);
	else if (!agno_paused && runner->paced_at != NEVER)
		next = Min(next, Max(runner->paced_at,
							 runner->turned_at + IDLE_DUE_PAUSE));
	if (runner_slot_prepared())
		next = Min(next, runner->prepared_at);
	return Max(next, runner->not_before);
}

/*
 * When runs that are old enough are to be looked for.
 */
static int64
next_expiry_at(Runner *runner)
{
	return agno_retention > 0 && runner->first ? runner->expire_at : NEVER;
}

/*
 * The database has no use for this runner any more, or it does not fit. If the
 * extension has been replaced by another, that one needs a runner of its own.
 */
static void
exit_unwanted(Runner *runner, bool replaced)
{
	ereport(DEBUG1,
			(errmsg_internal("agno_bg runner leaves: the extension is not there")));
	if (!replaced)
		runner_slot_unwanted(runner->wakes_seen);
	proc_exit(0);
}

/*
 * Count how a run ended, for agno.workers.
 */
static void
count_end(const Run *run)
{
	runner_slot_count(COUNT_RETRIED, run->repetitions);
	if (run->status == RUN_COMPLETED)
		runner_slot_count(COUNT_COMPLETED, 1);
	else if (run->status == RUN_ERROR)
		runner_slot_count(COUNT_FAILED, 1);
	else if (run->status == RUN_CANCELLED)
		runner_slot_count(COUNT_CANCELLED, 1);
}

/*
 * Carry out what a turn has decided, now that it is committed.
 */
static void
carry_out(Runner *runner, Turn *turn)
{
	char	  **ids = palloc(sizeof(char *) *
							 Max(list_length(turn->ended_ids), 1));
	int			count = 0;
	uint32		others = 0;
	ListCell   *cell;

	foreach(cell, turn->ended_ids)
		ids[count++] = lfirst(cell);
	waiters_wake(ids, count);

	foreach(cell, turn->flushed)
	{
		Flight	   *flight = lfirst(cell);
		int64		pause = FLUSH_PAUSE *
			(1 + runner->dispatch.fleet->count / STREAMS_PER_FLUSH);

		flight_events_stored(flight);
		fleet_told_news(flight);
		flight->flush_at = clock_now() + pause;
	}
	foreach(cell, turn->held_back)
		pacing_held_back(runner->dispatch.pacing, lfirst(cell), clock_now());
	foreach(cell, turn->left)
	{
		Flight	   *flight = lfirst(cell);

		dispatch_forget(&runner->dispatch, flight);
		count_end(&flight->run);
		others |= pacing_ended(runner->dispatch.pacing, flight->pace,
							   flight->owner, flight->trying,
							   flight->run.usage.total, clock_now());
		fleet_remove(runner->dispatch.fleet, flight);
		MemoryContextDelete(flight->context);
	}
	runner_slot_count(COUNT_CLAIMED, list_length(turn->started));
	runner_slot_count(COUNT_IN_FLIGHT,
				 list_length(turn->started) - list_length(turn->left));
	foreach(cell, turn->started)
	{
		Flight	   *flight = lfirst(cell);

		MemoryContextSetParent(flight->context, TopMemoryContext);
		fleet_add(runner->dispatch.fleet, flight);
		flight->trying = pacing_started(runner->dispatch.pacing, flight->pace,
										flight->owner);
		dispatch_begin(&runner->dispatch, flight);
	}
	if (turn->lost)
		others = PG_UINT32_MAX;
	runner_slot_wake_siblings(others);
	runner->paced_at = pacing_next_at(runner->dispatch.pacing, clock_now());
}

/*
 * Whether an error says nothing about the run that was being stored: the
 * system lacks something, somebody stops it, or holds a lock.
 */
static bool
is_passing(int sqlstate)
{
	int			category = ERRCODE_TO_CATEGORY(sqlstate);

	return category == ERRCODE_INSUFFICIENT_RESOURCES ||
		category == ERRCODE_OPERATOR_INTERVENTION ||
		category == ERRCODE_SYSTEM_ERROR ||
		category == ERRCODE_TRANSACTION_ROLLBACK ||
		sqlstate == ERRCODE_LOCK_NOT_AVAILABLE;
}

/*
 * The memory does not suffice for a turn that is about this run alone. Returns
 * whether that has happened too often.
 */
static bool
exhausts_memory(Runner *runner, const char *run_id)
{
	if (runner->memory_culprit == NULL ||
		strcmp(runner->memory_culprit, run_id) != 0)
	{
		if (runner->memory_culprit != NULL)
			pfree(runner->memory_culprit);
		runner->memory_culprit = MemoryContextStrdup(TopMemoryContext, run_id);
		runner->memory_failures = 0;
	}
	return ++runner->memory_failures >= MAX_MEMORY_FAILURES;
}

/*
 * This run can be neither stored nor started as it is.
 */
static void
refuse(Runner *runner, Turn *turn, ErrorData *error)
{
	Flight	   *flight = turn->tried_flight;

	runner->limit = BATCH;
	if (flight == NULL)
	{
		turn_refuse(turn->tried_start, error->message);
		return;
	}
	flight->store_failures++;
	if (flight->store_failures == 1)
		dispatch_fail(&runner->dispatch, flight, "storage", error->message);
	else
		flight->store_after = clock_now() + LAST_FAILURE_PAUSE;
	/* to the end of the list, for the others' sake */
	fleet_place(runner->dispatch.fleet, flight);
}

/*
 * A turn has failed. If it was about one run only, that run cannot be stored
 * as it is.
 */
static void
note_failure(Runner *runner, Turn *turn, ErrorData *error, bool at_commit)
{
	const char *tried = turn->tried != 1 ? NULL :
		turn->tried_flight != NULL ? turn->tried_flight->run_id :
		turn->tried_start->run_id;
	int64		pause = FIRST_FAILURE_PAUSE;
	int64		now = clock_now();

	pacing_recheck(runner->dispatch.pacing);
	turn_end_picking(turn);
	if (at_commit && error->sqlerrcode == ERRCODE_PROGRAM_LIMIT_EXCEEDED)
	{
		/* The queue of notifications is full: that is no run's fault. */
		if (now >= runner->mute_until)
			runner->not_before = now;
		else
			runner->not_before = now + FIRST_FAILURE_PAUSE;
		runner->mute_until = now + MUTE_PAUSE;
		runner->failures++;
		return;
	}
	if (tried != NULL &&
		(!is_passing(error->sqlerrcode) ||
		 (error->sqlerrcode == ERRCODE_OUT_OF_MEMORY &&
		  exhausts_memory(runner, tried))))
	{
		refuse(runner, turn, error);
		return;
	}
	if (turn->tried > 1 && !is_passing(error->sqlerrcode))
	{
		runner->limit = Max(Min(turn->limit, turn->tried) / 2, 1);
		return;
	}

	runner->limit = Max(Min(turn->limit, turn->tried) / 2, 1);
	for (int i = 0; i < runner->failures && pause < LAST_FAILURE_PAUSE; i++)
		pause *= 2;
	runner->failures++;
	runner->not_before = now + Min(pause, LAST_FAILURE_PAUSE);
}

/*
 * Execute a turn, and report and survive its errors. Returns whether it
 * succeeded.
 */
static bool
try_turn(Runner *runner, Turn *turn)
{
	volatile bool done = false;
	bool		at_commit;

	PG_TRY();
	{
		turn_execute(turn);
		done = true;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(runner->dispatch.turn_context);
		error = CopyErrorData();

		at_commit = store_failed_at_commit();

		/* One line for a fault, not one for each turn. */
		if (runner->failures == 0 && turn->limit == BATCH)
			EmitErrorReport();
		FlushErrorState();
		store_abort();
		MemoryContextSwitchTo(runner->dispatch.turn_context);
		RESUME_INTERRUPTS();

		/* An error in here would reset what HOLD_INTERRUPTS() counts. */
		note_failure(runner, turn, error, at_commit);
	}
	PG_END_TRY();
	return done;
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
 * Look for prepared transactions: as long as there are some, there may be
 * work that nobody wakes this runner for.
 */
static void
look_for_prepared(Runner *runner)
{
	runner_slot_set_prepared(false);
	store_begin("agno_bg: looking for prepared transactions");
	if (store_prepared_transactions())
		runner_slot_set_prepared(true);
	store_commit();
	runner->prepared_at = clock_now() + PREPARED_PAUSE;
}

/*
 * When the clock alone gives the next turn something to do.
 */
static int64
next_clock_at(Runner *runner, const Turn *turn, int64 now)
{
	int64		next = NEVER;

	if (turn->timed)
		next = from_timestamp(turn->next_time);
	/* What is due and could not be done now is for later. */
	if (turn->clock && !turn->more_due)
		next = Max(next, now + (turn->start ? DUE_PAUSE : IDLE_DUE_PAUSE));
	return next;
}

/*
 * Do the table work.
 */
static void
do_turn(Runner *runner)
{
	int64		now = clock_now();
	uint64		wakes = runner_slot_wakes();
	bool		woken = wakes != runner->wakes_seen;
	bool		sweep = runner_slot_prepared() && runner->prepared_at <= now;
	Patrol		patrol = runner->patrol;
	Turn		turn = {0};

	if (sweep)
		look_for_prepared(runner);

	turn.number = ++runner->turns;
	runner->turned_at = now;
	turn.fleet = runner->dispatch.fleet;
	turn.pacing = runner->dispatch.pacing;
	turn.order = &runner->order;
	turn.new_responses = runner->dispatch.new_responses;
	pacing_begin_turn(runner->dispatch.pacing);
	turn.extension = runner->extension;
	turn.patrol = runner->patrolling ? &patrol : NULL;
	turn.signals = woken || sweep || runner->patrolling ||
		runner->more_signals;
	turn.signals_after = runner->signals_after;
	turn.clock = runner->clock_at <= now || runner->patrolling;
	turn.limit = runner->limit;
	turn.room = room_for_runs(runner);
	turn.newcomers = room_for_newcomers(runner);
	turn.flush = next_flush_at(runner) <= now;
	turn.start = !agno_paused && !ShutdownRequestPending && !runner_slot_held();

	store_mute(now < runner->mute_until);
	if (!try_turn(runner, &turn))
		return;
	runner->wakes_seen = wakes;
	if (turn.unwanted)
		exit_unwanted(runner, turn.replaced);

	list_free(runner->dispatch.new_responses);
	runner->dispatch.new_responses = NIL;
	if (turn.flush)
		runner->flushed_at = now;
	runner->failures = 0;
	runner->not_before = 0;
	runner->limit = Min(runner->limit * 2, BATCH);
	runner->patrolling = turn.more_patrol;
	runner->patrol = patrol;
	runner->more = turn.more || !turn.start;
	runner->more_signals = turn.more_signals;
	if (turn.signals)
		strlcpy(runner->signals_after, turn.last_signal,
				sizeof(runner->signals_after));
	runner->clock_at = next_clock_at(runner, &turn, now);
	carry_out(runner, &turn);
}

/*
 * Delete a part of what is old enough, in a transaction of its own: that it
 * fails is no run's fault.
 */
static void
expire_runs(Runner *runner)
{
	static bool failed;			/* the last one, which has been reported */
	RunPlace	after = runner->expire_after;
	volatile bool more = false;
	MemoryContext caller = CurrentMemoryContext;

	PG_TRY();
	{
		store_begin("agno_bg: deleting old runs");
		more = store_expire_runs(&after, BATCH, agno_retention);
		store_commit();
		failed = false;
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(caller);
		if (!failed)
			EmitErrorReport();
		failed = true;
		FlushErrorState();
		store_abort();
		MemoryContextSwitchTo(caller);
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();

	runner->expire_after.created_at = after.created_at;
	if (after.run_id != runner->expire_run)
		strlcpy(runner->expire_run, after.run_id, sizeof(runner->expire_run));
	runner->expire_at = clock_now() +
		(more ? EXPIRE_STEP_PAUSE :
		 Min(EXPIRE_PAUSE, agno_retention * US_PER_S));
}

/*-------------------------------------------------------------------------
 * The process
 *-------------------------------------------------------------------------
 */

/*
 * The server stops, somebody terminates this runner, or it is in the way of a
 * command: store what has ended, and put back the rest, without counting what
 * was begun as an attempt.
 */
static void
stop(Runner *runner)
{
	Fleet	   *fleet = runner->dispatch.fleet;

	if (!dlist_is_empty(&fleet->ended))
		do_turn(runner);
	if (fleet->count > 0)
	{
		Flight	  **flights = fleet_all(fleet);
		char	  **ids = palloc(sizeof(char *) * fleet->count);
		int		   *attempts = palloc(sizeof(int) * fleet->count);

		for (int i = 0; i < fleet->count; i++)
		{
			ids[i] = unconstify(char *, flights[i]->run_id);
			attempts[i] = flights[i]->run.attempt;
		}
		store_begin("agno_bg: putting runs back");
		store_release(ids, attempts, fleet->count);
		store_commit();
	}
	proc_exit(0);
}

/*
 * The settings under which the statements of the store work, whatever the
 * configuration says for users of this database.
 */
static void
pin_settings(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_isolation", "read committed"},
		{"session_replication_role", "origin"},
		{"role", "none"},
		{"row_security", "off"},
		{"statement_timeout", "0"},
		/* less than deadlock_timeout: in a deadlock, others win */
		{"lock_timeout", "250ms"},
		{"jit", "off"},
		{"plan_cache_mode", "force_generic_plan"},

		/* The queue may be empty or huge: never trust its statistics. */
		{"enable_indexscan", "on"},
		{"enable_indexonlyscan", "on"},
		{"enable_nestloop", "on"},
		{"enable_sort", "on"},
		{"enable_seqscan", "off"},
		{"enable_bitmapscan", "off"},
		{"enable_hashjoin", "off"},
		{"enable_mergejoin", "off"},
	};

	for (int i = 0; i < (int) lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET,
						PGC_S_OVERRIDE);
}

static void
create_wait_set(Runner *runner)
{
#if PG_VERSION_NUM >= 170000
	runner->wait_set = CreateWaitEventSet(NULL, 3);
#else
	runner->wait_set = CreateWaitEventSet(TopMemoryContext, 3);
#endif
	AddWaitEventToSet(runner->wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch,
					  NULL);
	AddWaitEventToSet(runner->wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET,
					  NULL, NULL);
	AddWaitEventToSet(runner->wait_set, WL_SOCKET_READABLE,
					  http_descriptor(runner->dispatch.http), NULL, NULL);
}

/*
 * How long to sleep, in milliseconds; -1: until something happens.
 */
static long
sleep_ms(Runner *runner)
{
	int64		wake_at = Min(next_turn_at(runner), next_expiry_at(runner));
	int64		http_ms = http_timeout_ms(runner->dispatch.http);
	Flight	   *sleeper = fleet_first_to_wake(runner->dispatch.fleet);
	int64		timeout_ms = -1;

	if (sleeper != NULL)
		wake_at = Min(wake_at, sleeper->run.wake_at);
	if (wake_at != NEVER)
	{
		/* round up: the loop is not to turn for nothing until then */
		timeout_ms = (wake_at - clock_now() + US_PER_MS - 1) / US_PER_MS;
		timeout_ms = Max(timeout_ms, 0);
	}
	if (http_ms >= 0 && (timeout_ms < 0 || http_ms < timeout_ms))
		timeout_ms = http_ms;
	return (long) Min(timeout_ms, INT_MAX);
}

/*
 * Say in pg_stat_activity how much is in flight.
 */
static void
report_idle(Runner *runner)
{
	static int	reported = -1;
	char		activity[64];

	if (reported == runner->dispatch.fleet->count)
		pgstat_report_activity(STATE_IDLE, NULL);
	else
	{
		reported = runner->dispatch.fleet->count;
		snprintf(activity, sizeof(activity), "agno_bg: %d runs in flight",
				 reported);
		/* only a running process may give a text */
		pgstat_report_activity(STATE_RUNNING, activity);
		pgstat_report_activity(STATE_IDLE, NULL);
	}
}

static void
sleep_until_event(Runner *runner)
{
	long		timeout_ms = sleep_ms(runner);
	WaitEvent	events[3];

	if (timeout_ms != 0)
	{
		report_idle(runner);
		if (timeout_ms < 0 || timeout_ms >= LONG_SLEEP_MS)
			pgstat_report_stat(true);
	}
	(void) WaitEventSetWait(runner->wait_set, timeout_ms, events,
							lengthof(events), wait_event(WAIT_IN_RUNNER));
	ResetLatch(MyLatch);
}

/*
 * The extension of this database, or InvalidOid. One that does not fit is not
 * served: say so.
 */
static Oid
find_extension(void)
{
	Oid			extension;
	bool		fits;

	store_begin("agno_bg: looking for the extension");
	extension = store_find_extension(&fits, false);
	if (OidIsValid(extension) && !fits)
	{
		ereport(LOG,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("agno_bg executes no runs in database \"%s\": the extension there is not of the library's version, %s",
						get_database_name(MyDatabaseId), AGNO_VERSION),
				 errhint("Run ALTER EXTENSION agno_bg UPDATE.")));
		extension = InvalidOid;
	}
	store_commit();
	return extension;
}

/*
 * For on_proc_exit(): this is no crash.
 */
static void
close_blame(int code, Datum arg)
{
	blame_close();
}

/*
 * The postmaster has everyone exit at once: neither is this the fault of a run.
 */
static void
exit_at_once(SIGNAL_ARGS)
{
	blame_end();
	SignalHandlerForCrashExit(postgres_signal_arg);
}

static void
initialize(Runner *runner, int slot, Oid database)
{
	uint64		wakes;
	char	   *culprit;

	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	pgstat_report_appname(RUNNER_TYPE);
	pin_settings();

	if (!runner_slot_attach(slot, database))
		proc_exit(0);

	runner->dispatch.turn_context = AllocSetContextCreate(TopMemoryContext,
														  "agno_bg turn",
														  ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(runner->dispatch.turn_context);
	wakes = runner_slot_wakes();
	runner->extension = find_extension();
	runner->wakes_seen = wakes;
	if (!OidIsValid(runner->extension))
		exit_unwanted(runner, false);
	runner_slot_want_siblings();
	runner->first = runner_slot_number() == 0;
	load_table_forget_runner(runner_slot_number());
	MemoryContextSwitchTo(TopMemoryContext);
	culprit = blame_open(runner_slot_number());
	store_divide(runner_slot_number(), agno_runners, culprit);
	MemoryContextSwitchTo(runner->dispatch.turn_context);
	on_proc_exit(close_blame, 0);
	runner->dispatch.fleet = fleet_create();
	runner->dispatch.http = http_create();
	runner->dispatch.pacing = pacing_create(runner_slot_number(),
											agno_runners > 1 ? &shared_loads : NULL);
	create_wait_set(runner);
	runner->limit = BATCH;
	runner->patrolling = true;
	patrol_create(&runner->patrol, runner->first);
	runner->expire_after = store_first_place();
	strlcpy(runner->expire_run, runner->expire_after.run_id,
			sizeof(runner->expire_run));
	runner->expire_after.run_id = runner->expire_run;
	runner->clock_at = NEVER;
	runner->paced_at = NEVER;
}

/*
 * The main function of a runner; arg is its slot in shared memory.
 */
void
agno_bg_runner_main(Datum arg)
{
	static Runner runner;
	Oid			database;

	memcpy(&database, MyBgworkerEntry->bgw_extra, sizeof(database));
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGINT, StatementCancelHandler);
	pqsignal(SIGQUIT, exit_at_once);
	BackgroundWorkerUnblockSignals();
	initialize(&runner, DatumGetInt32(arg), database);

	for (;;)
	{
		MemoryContextReset(runner.dispatch.turn_context);
		MemoryContextSwitchTo(runner.dispatch.turn_context);

		/* There is no statement here that a user could cancel. */
		QueryCancelPending = false;
		CHECK_FOR_INTERRUPTS();
		if (ShutdownRequestPending || runner_slot_held())
			stop(&runner);
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}

		dispatch_advance(&runner.dispatch);
		dispatch_wake(&runner.dispatch);
		if (next_turn_at(&runner) <= clock_now())
			do_turn(&runner);
		if (next_expiry_at(&runner) <= clock_now())
			expire_runs(&runner);
		dispatch_send(&runner.dispatch);

		/* What has just been added to libcurl starts now. */
		if (http_timeout_ms(runner.dispatch.http) == 0)
			continue;
		sleep_until_event(&runner);
	}
}
