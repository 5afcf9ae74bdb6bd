/*-------------------------------------------------------------------------
 *
 * launcher.c
 *	  The process that keeps a runner in each database with the extension.
 *
 * The launcher is connected to no database. It cannot see which of them have
 * the extension, so when it starts it has a runner started in each, one after
 * the other; those that find no extension leave again, the others ask for the
 * rest of agno_bg.runners. From then on a database asks for runners itself, when a transaction that created the
 * extension or enqueued a run commits; and for a new database, or one that has been
 * changed, whoever did that asks.
 *
 * The runner's slot in shared memory says who is to act next:
 *
 *	  NONE ──── a database asks ────▶ WANTED ── launcher ──▶ STARTING
 *	    ▲								▲						 │
 *	    │ no extension, no database		│ it died, or no process │ runner
 *	    └──────────────────────────── RUNNING ◀──────────────────┘
 *
 * A runner that dies is replaced at once; one that dies again soon, or cannot
 * be started, after a pause that doubles from a second to a minute.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "core/clock.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "runner/launcher.h"
#include "runner/runner.h"
#include "server/runner_slots.h"
#include "server/tool_slots.h"
#include "server/wait_event.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/procsignal.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* A runner that lived shorter than this has failed. */
#define SHORT_LIFE_MS 10000

/* The pause before the next start doubles from the first to the last. */
#define FIRST_PAUSE_MS 1000
#define LAST_PAUSE_MS 60000

/* How long the process of a tool worker that has left may be there still, in ms. */
#define LONGEST_END_MS 1000

/* A database that allows no connections is looked at again after this. */
#define CLOSED_PAUSE_MS 10000

/* A process that has not come to run after this is given up. */
#define START_TIMEOUT_MS 30000

/* How many starts may be under way at once. */
#define MAX_STARTING 2

/* What the launcher remembers of a slot; in its own memory. */
typedef struct RunnerRecord
{
	Oid			database;		/* which runner the rest is about */
	int			number;
	BackgroundWorkerHandle *handle; /* of the process last asked for, or NULL */
	int64		asked_at;		/* when that was, as of clock_now(); 0: what
								 * came of it has been counted */
	int64		next_start;		/* no start before, likewise */
	int			failures;		/* short lives in a row */
	bool		closed;			/* the database allowed no connections when it
								 * was last looked at */
} RunnerRecord;

static RunnerRecord records[MAX_RUNNERS];

/* Databases that no runner has looked into since the launcher started. */
static List *unseen = NIL;

/* Starts have been failing for lack of a process since the last success. */
static bool out_of_workers;

/* The same for tool workers. */
static bool out_of_tool_workers;

PGDLLEXPORT void agno_bg_launcher_main(Datum arg);

/*
 * Describe a process of this type, with this main function, to the postmaster.
 * Neither kind starts on a standby before it is promoted.
 */
static void
describe_worker(BackgroundWorker *worker, const char *type,
				const char *function, int restart_time)
{
	memset(worker, 0, sizeof(BackgroundWorker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = restart_time;
	strlcpy(worker->bgw_library_name, "agno_bg",
			sizeof(worker->bgw_library_name));
	strlcpy(worker->bgw_function_name, function,
			sizeof(worker->bgw_function_name));
	strlcpy(worker->bgw_name, type, sizeof(worker->bgw_name));
	strlcpy(worker->bgw_type, type, sizeof(worker->bgw_type));
}

/*
 * Register the launcher. For _PG_init().
 */
void
launcher_register(void)
{
	BackgroundWorker worker;

	describe_worker(&worker, LAUNCHER_TYPE, "agno_bg_launcher_main", 1);
	RegisterBackgroundWorker(&worker);
}

/*
 * Ask for a runner in the databases that have not been looked into, as far as
 * there are slots: those of databases without the extension are free again soon.
 */
static void
look_into_unseen(void)
{
	ListCell   *cell;

	foreach(cell, unseen)
	{
		if (!runner_slots_want(lfirst_oid(cell), 0))
			return;
		unseen = foreach_delete_current(unseen, cell);
	}
}

/*
 * Find every database. Templates are left alone: a process in them would be in the
 * way of CREATE DATABASE.
 */
static void
look_into_every_database(void)
{
	Relation	relation;
	TableScanDesc scan;
	HeapTuple	tuple;

	pgstat_report_activity(STATE_RUNNING, "looking for databases");
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);

		MemoryContext old;

		if (database->datistemplate)
			continue;
		old = MemoryContextSwitchTo(TopMemoryContext);
		unseen = lappend_oid(unseen, database->oid);
		MemoryContextSwitchTo(old);
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/*
 * Whether the database may have a runner: it is there, and no template. It may have
 * none while it is *closed, which allows no connections.
 */
static bool
may_have_runner(Oid database, bool *closed)
{
	HeapTuple	tuple;
	bool		result = false;

	StartTransactionCommand();
	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_database row = (Form_pg_database) GETSTRUCT(tuple);

		result = !row->datistemplate;
		*closed = !row->datallowconn;
		ReleaseSysCache(tuple);
	}
	CommitTransactionCommand();
	return result;
}

static void
log_no_process(Oid database)
{
	char	   *name;

	StartTransactionCommand();
	name = get_database_name(database);
	ereport(LOG,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("no process left for the agno_bg runner of database \"%s\"; its runs stay PENDING until there is one",
					name != NULL ? name : psprintf("%u", database)),
			 errhint("Consider increasing max_worker_processes.")));
	CommitTransactionCommand();
}

/*
 * Ask the postmaster for the process of the runner in this slot. Returns
 * false when it has none to give.
 */
static bool
ask_for_process(int slot, Oid database)
{
	BackgroundWorker worker;
	RunnerRecord *record = &records[slot];
	MemoryContext old;
	bool		registered;

	describe_worker(&worker, RUNNER_TYPE, "agno_bg_runner_main",
					BGW_NEVER_RESTART);
	worker.bgw_main_arg = Int32GetDatum(slot);
	memcpy(worker.bgw_extra, &database, sizeof(database));
	worker.bgw_notify_pid = MyProcPid;

	/* The handle lives until the next one of this slot. */
	if (record->handle != NULL)
		pfree(record->handle);
	record->handle = NULL;
	old = MemoryContextSwitchTo(TopMemoryContext);
	registered = RegisterDynamicBackgroundWorker(&worker, &record->handle);
	MemoryContextSwitchTo(old);

	if (!registered)
	{
		record->handle = NULL;
		if (!out_of_workers)
			log_no_process(database);
		out_of_workers = true;
	}
	else
		out_of_workers = false;
	return registered;
}

/*
 * The runner of this slot is not there although it should be: no start before
 * a pause, unless it is the first time.
 */
static void
count_failure(RunnerRecord *record, int64 now)
{
	int			pause = FIRST_PAUSE_MS;

	for (int i = 0; i < record->failures && pause < LAST_PAUSE_MS; i++)
		pause *= 2;
	record->failures++;
	record->asked_at = 0;
	record->next_start = now + Min(pause, LAST_PAUSE_MS) * US_PER_MS;
}

/*
 * Start the runner that is wanted in this slot, unless it is too early.
 */
static void
start_runner(int slot, const RunnerView *view, int64 now)
{
	RunnerRecord *record = &records[slot];
	Oid			database = view->database;

	/* A life has ended since: was it a short one? */
	if (record->asked_at != 0)
	{
		if (!view->stepped_aside &&
			now - record->asked_at < SHORT_LIFE_MS * US_PER_MS)
			count_failure(record, now);
		else
			record->failures = 0;
		record->asked_at = 0;
	}
	if (now < record->next_start)
		return;

	if (!may_have_runner(database, &record->closed))
	{
		runner_slots_not_started(slot, false);
		return;
	}
	if (record->closed)
	{
		record->next_start = now + CLOSED_PAUSE_MS * US_PER_MS;
		return;
	}
	if (!runner_slots_starting(slot))
		return;
	record->asked_at = now;
	if (!ask_for_process(slot, database))
	{
		/* A tool worker gives its process up, sooner or later. */
		runner_slots_not_started(slot, true);
		tool_slots_yield();
		record->asked_at = 0;
		record->next_start = now + FIRST_PAUSE_MS * US_PER_MS;
	}
}

/*
 * Look after a start that is under way. Returns whether it still is.
 */
static bool
check_start(int slot, int64 now)
{
	RunnerRecord *record = &records[slot];
	pid_t		pid;
	BgwHandleStatus status = BGWH_STOPPED;

	if (record->handle != NULL)
		status = GetBackgroundWorkerPid(record->handle, &pid);

	/* Look again: it may have come to run, and gone, in the meantime. */
	if (runner_slots_view(slot).state != RUNNER_STARTING)
		return false;
	if (status != BGWH_STOPPED &&
		now - record->asked_at < START_TIMEOUT_MS * US_PER_MS)
		return true;

	if (status != BGWH_STOPPED)
		TerminateBackgroundWorker(record->handle);
	runner_slots_not_started(slot, true);
	count_failure(record, now);
	return false;
}

/*
 * Do what is to be done for every slot. Returns when to look again even if
 * nobody asks, or NEVER.
 */
static TimestampTz
look_after_runners(void)
{
	int64		now = clock_now();
	int64		next = NEVER;
	int			starting = 0;
	bool		wanted = false;

	for (int slot = 0; slot < MAX_RUNNERS; slot++)
	{
		RunnerView	view = runner_slots_view(slot);

		if (view.state == RUNNER_STARTING && check_start(slot, now))
		{
			starting++;
			next = Min(next, records[slot].asked_at + START_TIMEOUT_MS * US_PER_MS);
		}
	}

	for (int slot = 0; slot < MAX_RUNNERS; slot++)
	{
		RunnerRecord *record = &records[slot];
		RunnerView	view = runner_slots_view(slot);

		if (record->database != view.database ||
			record->number != view.number)
		{
			if (record->handle != NULL)
				pfree(record->handle);
			memset(record, 0, sizeof(RunnerRecord));
			record->database = view.database;
			record->number = view.number;
		}
		if (view.state != RUNNER_WANTED)
			continue;

		if (starting < MAX_STARTING)
		{
			start_runner(slot, &view, now);
			if (runner_slots_view(slot).state == RUNNER_STARTING)
				starting++;
		}
		wanted |= runner_slots_view(slot).state == RUNNER_WANTED &&
			!view.held && !record->closed;
		if (runner_slots_view(slot).state == RUNNER_WANTED &&
			record->next_start > now)
			next = Min(next, record->next_start);
		if (view.restoring_until > now)
			next = Min(next, view.restoring_until);
	}
	out_of_workers &= wanted;
	return next;
}

/* The processes of tool workers that were asked for, by slot; NULL: none. */
static BackgroundWorkerHandle *tool_handles[MAX_TOOL_WORKERS];

/* Since when one that has left is waited for; 0: none is. */
static int64 tool_end_since;

/*
 * Ask the postmaster for a tool worker. Returns false when it has no process to
 * give.
 */
static bool
ask_for_tool_worker(int slot, Oid database, Oid role)
{
	BackgroundWorker worker;
	BackgroundWorkerHandle *handle;
	MemoryContext old;
	Oid			ids[2] = {database, role};
	bool		registered;

	describe_worker(&worker, TOOL_WORKER_TYPE, "agno_bg_tool_worker_main",
					BGW_NEVER_RESTART);
	worker.bgw_main_arg = Int32GetDatum(slot);
	memcpy(worker.bgw_extra, ids, sizeof(ids));
	worker.bgw_notify_pid = MyProcPid;
	old = MemoryContextSwitchTo(TopMemoryContext);
	registered = RegisterDynamicBackgroundWorker(&worker, &handle);
	MemoryContextSwitchTo(old);
	if (registered)
	{
		if (tool_handles[slot] != NULL)
			pfree(tool_handles[slot]);
		tool_handles[slot] = handle;
		tool_end_since = 0;
		out_of_tool_workers = false;
		return true;
	}
	return false;
}

/*
 * Why there is no process for the tool worker of this slot. Who has left a slot may be
 * there still, for a moment: its process is the next one to be had.
 */
static ToolStartProblem
find_tool_start_problem(int slot)
{
	int64		now = clock_now();
	bool		ends = false;
	pid_t		pid;

	for (int i = 0; i < MAX_TOOL_WORKERS && !ends; i++)
	{
		ToolWorkerState state = tool_slots_view(i).state;

		ends = tool_handles[i] != NULL &&
			(i == slot || state == TOOL_WORKER_NONE || state == TOOL_WORKER_DEAD) &&
			GetBackgroundWorkerPid(tool_handles[i], &pid) != BGWH_STOPPED;
	}
	if (!ends || tool_end_since == 0)
		tool_end_since = ends ? now : 0;
	return ends && now < tool_end_since + LONGEST_END_MS * US_PER_MS ?
		TOOL_PROCESS_ENDS : TOOL_NO_PROCESS;
}

static void
report_no_tool_process(void)
{
	if (!out_of_tool_workers)
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no process left for an agno_bg tool worker; runs that call tools wait until there is one"),
				 errhint("Consider increasing max_worker_processes.")));
	out_of_tool_workers = true;
}

/*
 * Whether there still are this database and this role.
 */
static bool
may_have_tool_workers(Oid database, Oid role)
{
	bool		result;

	StartTransactionCommand();
	result = SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(database)) &&
		SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role));
	CommitTransactionCommand();
	return result;
}

/*
 * Look after the start of a tool worker that is under way since then.
 */
static void
check_tool_start(int slot, int64 since, int64 *next)
{
	int64		give_up = since + START_TIMEOUT_MS * US_PER_MS;
	BgwHandleStatus status = BGWH_STOPPED;
	pid_t		pid;

	if (tool_handles[slot] != NULL)
		status = GetBackgroundWorkerPid(tool_handles[slot], &pid);

	/* Look again: it may have come to run, and gone, in the meantime. */
	if (tool_slots_view(slot).state != TOOL_WORKER_STARTING)
		return;
	if (status != BGWH_STOPPED && clock_now() < give_up)
	{
		*next = Min(*next, give_up);
		return;
	}
	if (status != BGWH_STOPPED)
		TerminateBackgroundWorker(tool_handles[slot]);
	tool_slots_not_started(slot, TOOL_START_FAILED);
}

/*
 * Start the tool workers that are wanted, and look after those that were asked
 * for. Returns when to look again even if nobody asks, or NEVER.
 */
static TimestampTz
look_after_tool_workers(void)
{
	int64		next = NEVER;
	int			slot;
	Oid			database;
	Oid			role;

	for (slot = 0; slot < MAX_TOOL_WORKERS; slot++)
	{
		ToolWorkerView view = tool_slots_view(slot);

		if (view.state == TOOL_WORKER_STARTING)
			check_tool_start(slot, view.state_since, &next);
	}
	tool_slots_supervise(&next);

	/* Runners come first: without one, nothing happens in its database. */
	while (!out_of_workers &&
		   tool_slots_next_start(&slot, &database, &role, &next))
	{
		if (!may_have_tool_workers(database, role))
			tool_slots_unwanted(slot);
		else if (ask_for_tool_worker(slot, database, role))
			check_tool_start(slot, clock_now(), &next);
		else
		{
			ToolStartProblem problem = find_tool_start_problem(slot);

			if (problem == TOOL_NO_PROCESS)
				report_no_tool_process();
			tool_slots_not_started(slot, problem);
		}
	}
	if (tool_slots_ask_runners(&next))
		runner_slots_wake_all();
	return next;
}

/*
 * The main function of the launcher.
 */
void
agno_bg_launcher_main(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname(LAUNCHER_TYPE);

	runner_slots_attach_launcher();
	look_into_every_database();

	for (;;)
	{
		int64		next;
		int64		tools_next;
		long		timeout_ms = -1;
		int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();

		/* Not 0: that would be the end of the launcher until a restart. */
		if (ShutdownRequestPending)
			proc_exit(1);
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}

		look_into_unseen();
		next = look_after_runners();
		tools_next = look_after_tool_workers();
		next = Min(next, tools_next);

		/* Whoever waits for a lock resets the latch. */
		if (ShutdownRequestPending || ConfigReloadPending)
			continue;
		if (next != NEVER)
		{
			timeout_ms = Max(next - clock_now(), 0) / US_PER_MS + 1;
			timeout_ms = Min(timeout_ms, INT_MAX);
			events |= WL_TIMEOUT;
		}
		(void) WaitLatch(MyLatch, events, timeout_ms,
						 wait_event(WAIT_IN_LAUNCHER));
	}
}
