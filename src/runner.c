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
 * A turn that fails is tried again after a pause, runs that have ended one by
 * one, until it is known which of them cannot be stored; that one ends in
 * ERROR. Nothing is forgotten: what is in flight when the process dies is found
 * in the queue by its successor.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/xact.h"
#include "blame.h"
#include "commands/extension.h"
#include "dispatch.h"
#include "miscadmin.h"
#include "pace_home.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "runner.h"
#include "settings.h"
#include "shared.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "store.h"
#include "tcop/tcopprot.h"
#include "turn.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "wait_event.h"
#include "waiters.h"

#define US_PER_MS INT64CONST(1000)
#define US_PER_S INT64CONST(1000000)

/* How often runs that were found locked are tried again, in microseconds. */
#define LOCKED_PAUSE (1 * US_PER_S)

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

/* No time. */
#define NEVER PG_INT64_MAX

/* All times are those of fleet_now(). */
typedef struct Runner
{
	Oid			extension;		/* the extension that this runner serves */
	bool		first;			/* it deletes what is old, the others do not */
	Dispatch	dispatch;		/* the fleet, and its requests */
	WaitEventSet *events;
	int64		turns;			/* how many there have been */

	/* what the next transaction is to do */
	bool		recover;		/* take over from an earlier runner */
	char	   *culprit;		/* the run that it was at when it crashed, or
								 * NULL */
	bool		more;			/* the last one left ready runs */
	bool		more_signals;	/* the last one left letters */
	uint64		wakes_seen;		/* shared_wakes() before the last one */
	int64		paced_at;		/* when there may be room for parked runs */
	int64		flushed_at;		/* when events were stored last */
	int64		expire_at;		/* when to look for runs that are old enough */
	int64		clock_at;		/* when the clock alone gives it work */
	int64		locked_at;		/* when to try again what was locked */
	int64		prepared_at;	/* when to look for prepared transactions */

	/* after a transaction that failed */
	int			failures;		/* in a row */
	int64		not_before;		/* the next one */
	bool		alone;			/* runs are stored and started one by one */
} Runner;

/*-------------------------------------------------------------------------
 * Table work
 *-------------------------------------------------------------------------
 */

/*
 * How many more runs may be in flight.
 */
static int
room_for_runs(Runner *runner)
{
	int			most = Min(agno_max_concurrent_runs, http_capacity(runner->dispatch.http));

	return Max(most - runner->dispatch.fleet->count, 0);
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

	dlist_foreach(iter, &runner->dispatch.fleet->pieces)
	{
		Flight	   *flight = dlist_container(Flight, piece_node, iter.cur);

		if (flight->run.step != RUN_STORE)
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
	int64		next = Min(next_store_at(runner), runner->locked_at);
	bool		can_start = !agno_paused && room_for_runs(runner) > 0;

	if (runner->recover || runner->more_signals ||
		(runner->more && can_start) ||
		shared_wakes() != runner->wakes_seen)
		next = 0;
	next = Min(next, runner->clock_at);
	next = Min(next, next_flush_at(runner));
	if (runner->dispatch.new_responses != NIL)
		next = 0;
	if (can_start)
		next = Min(next, runner->paced_at);
	if (agno_retention > 0 && runner->first)
		next = Min(next, runner->expire_at);
	if (shared_prepared())
		next = Min(next, runner->prepared_at);
	return Max(next, runner->not_before);
}

/*
 * The database has no use for this runner any more. If the extension has been
 * replaced by another, that one needs a runner of its own.
 */
static void
leave(Runner *runner, bool replaced)
{
	ereport(DEBUG1,
			(errmsg_internal("agno_bg runner leaves: the extension is not there")));
	if (!replaced)
		shared_runner_unwanted(runner->wakes_seen);
	proc_exit(0);
}

/*
 * Count how a run ended, for agno.workers.
 */
static void
count_end(const Run *run)
{
	shared_count(COUNT_RETRIED, run->requests);
	if (run->status == RUN_COMPLETED)
		shared_count(COUNT_COMPLETED, 1);
	else if (run->status == RUN_ERROR)
		shared_count(COUNT_FAILED, 1);
	else if (run->status == RUN_CANCELLED)
		shared_count(COUNT_CANCELLED, 1);
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
		fleet_remove_piece(flight);
		flight->flush_at = fleet_now() + pause;
	}
	foreach(cell, turn->left)
	{
		Flight	   *flight = lfirst(cell);

		dispatch_forget(&runner->dispatch, flight);
		count_end(&flight->run);
		others |= pacing_ended(runner->dispatch.pacing, flight->pace_name,
							   flight->run.usage.total, fleet_now());
		fleet_remove(runner->dispatch.fleet, flight);
		MemoryContextDelete(flight->context);
	}
	shared_count(COUNT_CLAIMED, list_length(turn->started));
	shared_count(COUNT_IN_FLIGHT,
				 list_length(turn->started) - list_length(turn->left));
	foreach(cell, turn->started)
	{
		Flight	   *flight = lfirst(cell);

		MemoryContextSetParent(flight->context, TopMemoryContext);
		fleet_add(runner->dispatch.fleet, flight);
		pacing_started(runner->dispatch.pacing, flight->pace_name);
	}
	shared_wake_siblings(others);
	runner->paced_at = pacing_next_at(runner->dispatch.pacing, fleet_now());
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
 * A turn has failed. If it was about one run only, that run cannot be stored
 * as it is.
 */
static void
note_failure(Runner *runner, Turn *turn, ErrorData *error)
{
	int64		pause = FIRST_FAILURE_PAUSE;
	int64		now = fleet_now();

	runner->alone = true;
	pacing_recheck(runner->dispatch.pacing);
	if (turn->tried_start != NULL && !is_passing(error->sqlerrcode))
	{
		turn_refuse(turn->tried_start, error->message);
		runner->locked_at = now + LOCKED_PAUSE;
		return;
	}
	if (turn->tried != NULL && !is_passing(error->sqlerrcode))
	{
		Flight	   *flight = turn->tried;

		flight->store_failures++;
		if (flight->store_failures == 1)
			dispatch_fail(&runner->dispatch, flight, "storage", error->message);
		else
			flight->store_after = now + LAST_FAILURE_PAUSE;
		/* to the end of the list, for the others' sake */
		fleet_place(runner->dispatch.fleet, flight);
		return;
	}

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

		/* One line for a fault, not one for each turn. */
		if (runner->failures == 0)
			EmitErrorReport();
		FlushErrorState();
		store_abort();
		MemoryContextSwitchTo(runner->dispatch.turn_context);
		RESUME_INTERRUPTS();

		/* An error in here would reset what HOLD_INTERRUPTS() counts. */
		note_failure(runner, turn, error);
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
	return fleet_now() + Max(time - GetCurrentTimestamp(), 0);
}

/*
 * Look for prepared transactions: as long as there are some, there may be
 * work that nobody wakes this runner for.
 */
static void
look_for_prepared(Runner *runner)
{
	shared_prepared_set(false);
	store_begin("agno_bg: looking for prepared transactions");
	if (store_prepared_transactions())
		shared_prepared_set(true);
	store_commit();
	runner->prepared_at = fleet_now() + PREPARED_PAUSE;
}

/*
 * Do the table work.
 */
static void
do_turn(Runner *runner)
{
	int64		now = fleet_now();
	uint64		wakes = shared_wakes();
	bool		woken = wakes != runner->wakes_seen;
	bool		sweep = shared_prepared() && runner->prepared_at <= now;
	Turn		turn = {0};

	if (sweep)
		look_for_prepared(runner);

	turn.number = ++runner->turns;
	turn.fleet = runner->dispatch.fleet;
	turn.pacing = runner->dispatch.pacing;
	turn.new_responses = runner->dispatch.new_responses;
	pacing_begin_turn(runner->dispatch.pacing);
	turn.extension = runner->extension;
	turn.recover = runner->recover;
	turn.culprit = runner->culprit;
	turn.signals = woken || sweep || runner->recover || runner->more_signals ||
		runner->locked_at <= now;
	turn.clock = runner->clock_at <= now;
	turn.retry_locked = turn.signals && runner->locked_at != NEVER;
	turn.alone = runner->alone;
	turn.room = room_for_runs(runner);
	turn.expire = agno_retention > 0 && runner->first &&
		runner->expire_at <= now;
	turn.flush = next_flush_at(runner) <= now;
	turn.start = !agno_paused && !ShutdownRequestPending && !shared_held();

	if (!try_turn(runner, &turn))
		return;
	runner->wakes_seen = wakes;
	if (turn.unwanted)
		leave(runner, turn.replaced);

	list_free(runner->dispatch.new_responses);
	runner->dispatch.new_responses = NIL;
	if (turn.flush)
		runner->flushed_at = now;
	if (turn.expire)
		runner->expire_at = now + (turn.more_expired ? EXPIRE_STEP_PAUSE :
								   Min(EXPIRE_PAUSE,
									   agno_retention * US_PER_S));
	runner->failures = 0;
	runner->not_before = 0;
	runner->recover = false;
	runner->alone = turn.alone && turn.more;
	runner->more = turn.more || !turn.start;
	runner->more_signals = turn.more_signals;
	if (turn.retry_locked && turn.start)
		runner->locked_at = NEVER;
	if (turn.locked || runner->locked_at <= now)
		runner->locked_at = fleet_now() + LOCKED_PAUSE;
	runner->clock_at = NEVER;
	if (turn.timed)
	{
		runner->clock_at = from_timestamp(turn.next_time);
		/* What is due and could not be done now is for later. */
		if (turn.clock)
			runner->clock_at = Max(runner->clock_at, now + LOCKED_PAUSE);
	}
	carry_out(runner, &turn);
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
		{"statement_timeout", "0"},
		{"lock_timeout", "1s"},
		{"jit", "off"},
		{"plan_cache_mode", "force_generic_plan"},

		/* The queue may be empty or huge: never trust its statistics. */
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
create_events(Runner *runner)
{
#if PG_VERSION_NUM >= 170000
	runner->events = CreateWaitEventSet(NULL, 3);
#else
	runner->events = CreateWaitEventSet(TopMemoryContext, 3);
#endif
	AddWaitEventToSet(runner->events, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch,
					  NULL);
	AddWaitEventToSet(runner->events, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET,
					  NULL, NULL);
	AddWaitEventToSet(runner->events, WL_SOCKET_READABLE,
					  http_descriptor(runner->dispatch.http), NULL, NULL);
}

/*
 * How long to sleep, in milliseconds; -1: until something happens.
 */
static long
sleep_ms(Runner *runner)
{
	int64		wake_at = next_turn_at(runner);
	int64		http_ms = http_timeout_ms(runner->dispatch.http);
	Flight	   *paused = fleet_first_paused(runner->dispatch.fleet);
	int64		timeout_ms = -1;

	if (paused != NULL)
		wake_at = Min(wake_at, paused->run.wake_at);
	if (wake_at != NEVER)
	{
		/* up, lest the loop turns for nothing in the last millisecond */
		timeout_ms = (wake_at - fleet_now() + US_PER_MS - 1) / US_PER_MS;
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
	(void) WaitEventSetWait(runner->events, timeout_ms, events,
							lengthof(events), wait_event(WAIT_IN_RUNNER));
	ResetLatch(MyLatch);
}

/*
 * The extension of this database, or InvalidOid.
 */
static Oid
find_extension(void)
{
	Oid			extension;

	store_begin("agno_bg: looking for the extension");
	extension = get_extension_oid("agno_bg", true);
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

	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	pgstat_report_appname(RUNNER_TYPE);
	pin_settings();

	if (!shared_runner_attach(slot, database))
		proc_exit(0);

	runner->dispatch.turn_context = AllocSetContextCreate(TopMemoryContext,
														  "agno_bg turn",
														  ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(runner->dispatch.turn_context);
	wakes = shared_wakes();
	runner->extension = find_extension();
	runner->wakes_seen = wakes;
	if (!OidIsValid(runner->extension))
		leave(runner, false);
	shared_want_siblings();
	runner->first = shared_my_number() == 0;
	store_divide(shared_my_number(), agno_runners);

	pace_home_forget(shared_my_number());
	MemoryContextSwitchTo(TopMemoryContext);
	runner->culprit = blame_open(shared_my_number());
	MemoryContextSwitchTo(runner->dispatch.turn_context);
	on_proc_exit(close_blame, 0);
	runner->dispatch.fleet = fleet_create();
	runner->dispatch.http = http_create();
	runner->dispatch.pacing = pacing_create(shared_my_number(),
											agno_runners > 1 ? &shared_pace_home : NULL);
	create_events(runner);
	runner->recover = true;
	runner->clock_at = NEVER;
	runner->locked_at = NEVER;
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
		if (ShutdownRequestPending || shared_held())
			stop(&runner);
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}

		dispatch_advance(&runner.dispatch);
		dispatch_wake_paused(&runner.dispatch);
		if (next_turn_at(&runner) <= fleet_now())
			do_turn(&runner);
		dispatch_send(&runner.dispatch);

		/* What has just been added to libcurl starts now. */
		if (http_timeout_ms(runner.dispatch.http) == 0)
			continue;
		sleep_until_event(&runner);
	}
}
