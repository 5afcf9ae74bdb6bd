/*-------------------------------------------------------------------------
 *
 * tool_worker.c
 *	  A process that calls the tools of one role, in one database.
 *
 * It makes calls as long as there are some, and every now and then calls back runs
 * that have ended. With nothing to do for a while it leaves, and at once if others
 * want its place.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "core/clock.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "server/blame.h"
#include "server/runner_slots.h"
#include "server/tool_slots.h"
#include "server/wait_event.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "store/store.h"
#include "tcop/tcopprot.h"
#include "tools/callback_batch.h"
#include "tools/tool_execution.h"
#include "tools/tool_session.h"
#include "tools/tool_worker.h"
#include "utils/guc.h"

/* How long a worker stays that has nothing to do, in milliseconds. */
#define IDLE_MS 10000

/* After so many calls, runs that have ended are called back. */
#define CALLS_PER_BATCH 16

/* There is a transaction: the process cannot just leave. */
static volatile sig_atomic_t working = false;

/*
 * The server stops, or somebody wants the worker gone: at once, even if it calls a
 * tool, which is called again by another.
 */
static void
handle_termination(SIGNAL_ARGS)
{
	int			save_errno = errno;

	ShutdownRequestPending = true;
	SetLatch(MyLatch);
	if (working)
		die(postgres_signal_arg);
	errno = save_errno;
}

static void
exit_at_once(SIGNAL_ARGS)
{
	blame_end();
	SignalHandlerForCrashExit(postgres_signal_arg);
}

static void
close_blame(int code, Datum arg)
{
	blame_close();
}

/*
 * Whether there is an extension that fits in this database.
 */
static bool
has_extension(void)
{
	bool		fits;

	tool_session_begin();
	(void) store_find_extension(&fits, false);
	tool_session_commit();
	return fits;
}

static void
initialize(int slot, Oid database, Oid role)
{
	uint64		wakes;
	uint32		flags = 0;

#if PG_VERSION_NUM >= 170000
	flags |= BGWORKER_BYPASS_ROLELOGINCHECK;
#endif
	BackgroundWorkerInitializeConnectionByOid(database, role, flags);
	pgstat_report_appname(TOOL_WORKER_TYPE);

	/* What would end the process, if the role, or the database, has it. */
	SetConfigOption("exit_on_error", "off", PGC_SUSET, PGC_S_OVERRIDE);
#if PG_VERSION_NUM >= 170000
	SetConfigOption("transaction_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
#endif
	tool_session_open(role);
	if (!tool_slot_attach(slot, database, role))
		proc_exit(0);
	wakes = tool_slot_wakes();
	if (!has_extension())
	{
		/* Nor is anybody else to come for what is asked for. */
		tool_slot_rest(wakes, 0);
		proc_exit(0);
	}
	tool_execution_open();
	(void) blame_open(BLAME_TOOL_WORKERS + slot);
	on_proc_exit(close_blame, 0);
}

/*
 * How long to sleep when there is nothing to do, in milliseconds.
 */
static long
sleep_ms(void)
{
	int64		until = tool_session.look_again_at - clock_now();

	if (tool_session.look_again_at == 0)
		return IDLE_MS;
	return Min(Max(until, 0) / US_PER_MS + 1, IDLE_MS);
}

/*
 * The main function of a tool worker; arg is its slot in shared memory.
 */
void
agno_bg_tool_worker_main(Datum arg)
{
	Oid			ids[2];
	int64		idle_since = 0;
	uint32		calls = 0;		/* since there was none */

	memcpy(ids, MyBgworkerEntry->bgw_extra, sizeof(ids));
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, handle_termination);
	pqsignal(SIGINT, StatementCancelHandler);
	pqsignal(SIGQUIT, exit_at_once);
	BackgroundWorkerUnblockSignals();
	initialize(DatumGetInt32(arg), ids[0], ids[1]);

	for (;;)
	{
		uint64		wakes = tool_slot_wakes();
		TimestampTz began;
		bool		made;

		QueryCancelPending = false;
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		if (ShutdownRequestPending || tool_slot_is_to_leave())
			proc_exit(0);
		if (tool_session.look_again_at <= clock_now())
			tool_session.look_again_at = 0;
		working = true;
		began = GetCurrentTimestamp();
		made = tool_execution_next();
		calls = made ? calls + 1 : 0;
		if (calls % CALLS_PER_BATCH == 0)
			made |= callback_batch();
		if (!made)
			tool_session_find_put_off(began);
		working = false;
		if (!made)
			tool_slot_rest(wakes, tool_session.look_again_at);
		if (made)
		{
			idle_since = 0;
			continue;
		}

		if (idle_since == 0)
			idle_since = clock_now();
		if (clock_now() - idle_since >= IDLE_MS * US_PER_MS &&
			tool_slot_try_leave(wakes))
			proc_exit(0);
		if (tool_slot_wakes() != wakes || ShutdownRequestPending)
			continue;
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 sleep_ms(), wait_event(WAIT_IN_TOOL_WORKER));
		ResetLatch(MyLatch);
	}
}
