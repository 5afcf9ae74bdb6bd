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
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "commands/dbcommands.h"
#include "core/clock.h"
#include "core/version.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "server/blame.h"
#include "runner/chores.h"
#include "runner/load_table.h"
#include "runner/runner.h"
#include "server/runner_slots.h"
#include "server/session_user.h"
#include "server/settings.h"
#include "server/wait_event.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/pmsignal.h"
#include "store/store.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"

/* Statistics are flushed before a sleep at least this long, in ms. */
#define LONG_SLEEP_MS 1000

typedef struct Runner
{
	Dispatch	dispatch;		/* the fleet, and its requests */
	Chores	   *chores;			/* the table work */
	WaitEventSet *wait_set;
} Runner;

/*
 * The server stops, somebody terminates this runner, or it is in the way of a
 * command.
 */
static void
stop(Runner *runner)
{
	chores_finish(runner->chores);
	proc_exit(0);
}

static void
handle_termination(SIGNAL_ARGS)
{
	SignalHandlerForShutdownRequest(postgres_signal_arg);
	store_stop_waiting();
}

/*
 * The database has no use for this runner any more, or it does not fit.
 */
static void
exit_unwanted(void)
{
	ereport(DEBUG1,
			(errmsg_internal("agno_bg runner leaves: the extension is not there")));
	runner_slot_leave();
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
		{"row_security", "off"},
		{"statement_timeout", "0"},

		/*
		 * less than deadlock_timeout: in a deadlock, others win; and than the
		 * time of a turn, so that it is known what has taken long
		 */
		{"lock_timeout", "150ms"},
		/* these would end the process */
		{"exit_on_error", "off"},
#if PG_VERSION_NUM >= 170000
		{"transaction_timeout", "0"},
#endif
		/* what has arrived has a limit of its own */
		{"temp_file_limit", "-1"},
		{"jit", "off"},
		{"geqo", "off"},
		/* so that planning executes no constraint of a table's owner */
		{"constraint_exclusion", "off"},
		{"plan_cache_mode", "force_generic_plan"},
		{"hash_mem_multiplier", "2"},
		{"recursive_worktable_factor", "10"},

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
	int64		wake_at;
	int64		http_ms = http_timeout_ms(runner->dispatch.http);
	Flight	   *sleeper = fleet_first_to_wake(runner->dispatch.fleet);
	int64		timeout_ms = -1;

	/* Whoever waits for a lock in a turn resets the latch. */
	if (ShutdownRequestPending || ConfigReloadPending || runner_slot_held())
		return 0;
	wake_at = Min(chores_next_at(runner->chores),
				  dispatch_next_send(&runner->dispatch));
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

	store_begin_to_look("agno_bg: looking for the extension");
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
 * For before_shmem_exit(): the loads of model servers are for other runners.
 */
static void
forget_loads(int code, Datum number)
{
	load_table_forget_runner(DatumGetInt32(number));
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

/*
 * Make a runner of this process, or leave.
 */
static void
initialize(Runner *runner, int slot, Oid database)
{
	Dispatch   *dispatch = &runner->dispatch;
	uint64		wakes;
	Oid			extension;
	char	   *culprit;
	int			number;

	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	pgstat_report_appname(RUNNER_TYPE);
	session_user_pin(GetAuthenticatedUserId());
	pin_settings();
	store_plan_for_large_tables();

	/* The database may have its runner already. */
	if (!runner_slot_attach(slot, database))
		proc_exit(0);
	number = runner_slot_number();

	dispatch->turn_context = AllocSetContextCreate(TopMemoryContext,
												   "agno_bg turn",
												   ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(dispatch->turn_context);

	/* Read before looking: a wake-up that comes meanwhile is not lost. */
	wakes = runner_slot_wakes();
	extension = find_extension();
	if (!OidIsValid(extension))
	{
		runner_slot_unwanted(wakes);
		exit_unwanted();
	}
	runner_slot_want_siblings();

	/* What the last runner of this number had in flight is not any more. */
	load_table_forget_runner(number);
	before_shmem_exit(forget_loads, Int32GetDatum(number));

	/* If that one crashed at a run, this one is told which. */
	MemoryContextSwitchTo(TopMemoryContext);
	culprit = blame_open(number);
	store_divide(number, agno_runners, culprit);
	MemoryContextSwitchTo(dispatch->turn_context);
	on_proc_exit(close_blame, 0);

	dispatch->http = http_create();
	dispatch->fleet = fleet_create(dispatch->http);
	dispatch->conversations = conversation_cache_create();
	dispatch->heavies = heavies_create();
	dispatch->held_until = NEVER;
	dispatch->paces = pace_table_create(number,
										agno_runners > 1 ? &shared_loads : NULL);
	runner->chores = chores_create(dispatch, extension, wakes, number == 0);
	create_wait_set(runner);
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
	pqsignal(SIGTERM, handle_termination);
	pqsignal(SIGINT, StatementCancelHandler);
	pqsignal(SIGQUIT, exit_at_once);
	BackgroundWorkerUnblockSignals();
	initialize(&runner, DatumGetInt32(arg), database);

	for (;;)
	{
		MemoryContextReset(runner.dispatch.turn_context);
		MemoryContextSwitchTo(runner.dispatch.turn_context);

		/* A latch that is set all the time would hide that from the sleep. */
		if (!PostmasterIsAlive())
			proc_exit(1);

		/* There is no statement here that a user could cancel. */
		QueryCancelPending = false;
		CHECK_FOR_INTERRUPTS();
		if (ShutdownRequestPending || runner_slot_held())
			stop(&runner);
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			chores_reloaded(runner.chores);
		}

		dispatch_advance(&runner.dispatch);
		dispatch_wake(&runner.dispatch);
		if (!chores_do(runner.chores))
			exit_unwanted();
		dispatch_send(&runner.dispatch);

		sleep_until_event(&runner);
	}
}
