/*-------------------------------------------------------------------------
 *
 * wait.c
 *	  Waiting until a run has settled: agno_wait_run and agno_run.
 *
 * Who waits holds no lock of his own making: a command that needs agno.runs for
 * itself would wait for him, the runner for that command, and he for the runner.
 * Where he has locked something all the same, he finds out whether he is in the way
 * of himself. Nor does he hold a snapshot, but that of the statement which calls
 * agno_wait_run. This never changes a run.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

/* libpq.h would want the headers of GSSAPI, of which nothing is used here. */
#undef ENABLE_GSS

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "core/clock.h"
#include "funcapi.h"
#include "libpq/libpq.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "server/sql_function.h"
#include "server/subtransaction.h"
#include "server/wait_event.h"
#include "server/waiters.h"
#include "sql/arguments.h"
#include "sql/cancel.h"
#include "sql/enqueue.h"
#include "sql/run_ref.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "store/store.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

SQL_FUNCTION(agno_wait_run);
SQL_FUNCTION(agno_run);

/* How long it is waited until a run can be looked at that cannot be now. */
#define LOOK_PAUSE_MS 50

/*
 * The transaction that has waited last, by when it began, and when to look whether it is in
 * the way, as of clock_now(). A backend's own.
 */
static TimestampTz checked_transaction;
static int64 check_at;

/* A run that somebody waits for. */
typedef struct Wait
{
	const char *run_id;
	Oid			caller;			/* the role that waits */
	int64		deadline;		/* until when, as of clock_now(); 0: none */
	bool		wants_row;		/* of agno.runs, at the end */

	/* as look_at_run() found it, in the memory of the last look: */
	bool		found;			/* there is such a run that it may see */
	bool		over;			/* nothing is left to wait for */
	RunRow		state;			/* if found */
	HeapTuple	row;			/* if it is over and wanted; or NULL */
} Wait;

static void
look_at_run(Wait *wait)
{
	StoreUser	user = store_enter();

	wait->found = store_find_run(wait->run_id, &wait->state) &&
		has_privs_of_role(wait->caller, wait->state.owner);
	wait->over = !wait->found || run_status_is_settled(wait->state.status) ||
		(wait->deadline != 0 && clock_now() >= wait->deadline);
	if (wait->found && wait->over && wait->wants_row)
		wait->row = store_copy_run(wait->run_id, wait->state.owner);
	store_leave(user);
}

/*
 * Look at it in a subtransaction that is undone, so that nothing is kept locked: a
 * command that needs agno.runs for itself would wait for the caller, the runner for that
 * command, and the caller for the runner.
 */
static void
glance(Wait *wait)
{
	ErrorData  *volatile error = NULL;
	SubTransaction sub;

	sub = subtransaction_begin();
	PG_TRY();
	{
		look_at_run(wait);
		subtransaction_end(&sub, false);
	}
	PG_CATCH();
	{
		error = subtransaction_catch(&sub);
	}
	PG_END_TRY();
	if (error != NULL)
		ReThrowError(error);
}

/*
 * This transaction waits, and has locked something: it is looked whether it is in the way
 * as often as PostgreSQL looks for deadlocks, however short its waits are.
 */
static void
begin_checks(void)
{
	TimestampTz start = GetCurrentTransactionStartTimestamp();

	if (checked_transaction == start)
		return;
	checked_transaction = start;
	check_at = clock_now() + DeadlockTimeout * US_PER_MS;
}

/*
 * Complain, when it is time to look, if this transaction itself keeps the run from being
 * stored.
 */
static void
check_way(const char *run_id)
{
	int64		now = clock_now();

	if (now < check_at)
		return;
	check_at = now + DeadlockTimeout * US_PER_MS;
	if (store_is_in_the_way())
		ereport(ERROR,
				(errcode(ERRCODE_T_R_DEADLOCK_DETECTED),
				 errmsg("cannot wait for run \"%s\" any longer", run_id),
				 errdetail("A command that keeps a table of agno_bg to itself waits for a lock of this transaction, and runs wait for that command."),
				 errhint("Wait in a transaction, and a statement, that has read no table before.")));
}

/*
 * Complain if waiting for this run could never end.
 */
static void
check_wait(const RunRow *state)
{
	if (state->mine)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("run \"%s\" was enqueued by this transaction",
						state->run_id),
				 errdetail("It starts when the transaction commits."),
				 errhint("Commit first, or use CALL agno_run(...).")));
	if (cancel_is_ours(state->run_id))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("run \"%s\" was cancelled by this transaction",
						state->run_id),
				 errdetail("It ends when the transaction commits."),
				 errhint("Commit first.")));
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("cannot wait for a run in a transaction of isolation level REPEATABLE READ or SERIALIZABLE"),
				 errdetail("The snapshot of the transaction would never see the run end."),
				 errhint("Wait in a transaction of isolation level READ COMMITTED.")));
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot wait for a run during recovery"),
				 errhint("Poll with agno_get_run_output, or wait on the primary server.")));
}

/*
 * Sleep until the latch is set or the time is over; -1: no time. Returns whether
 * somebody has set it. A client that goes away ends its session, as with
 * client_connection_check_interval but without looking again and again: to wait on would
 * keep a connection for as long as the run takes.
 */
static bool
sleep_on_latch(long timeout_ms)
{
	WaitEvent	event;

	/* a process without a client */
	if (FeBeWaitSet == NULL || !WaitEventSetCanReportClosed())
	{
		int			events = WaitLatch(MyLatch, WL_LATCH_SET |
									   WL_EXIT_ON_PM_DEATH |
									   (timeout_ms >= 0 ? WL_TIMEOUT : 0),
									   timeout_ms, wait_event(WAIT_FOR_RUN));

		return (events & WL_LATCH_SET) != 0;
	}
	ModifyWaitEvent(FeBeWaitSet, FeBeWaitSetSocketPos, WL_SOCKET_CLOSED, NULL);
	if (WaitEventSetWait(FeBeWaitSet, timeout_ms, &event, 1,
						 wait_event(WAIT_FOR_RUN)) == 0)
		return false;
	if (event.events & WL_POSTMASTER_DEATH)
		proc_exit(1);
	if (event.events & WL_SOCKET_CLOSED)
	{
		ClientConnectionLost = true;
		InterruptPending = true;
	}
	return true;
}

/*
 * Sleep until the run has settled, or until the deadline. Leaves no snapshot behind.
 */
static void
wait_for_run(Wait *wait)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext look = AllocSetContextCreate(caller, "agno_bg wait",
											   ALLOCSET_SMALL_SIZES);
	bool		has_locked = store_has_locked();
	bool		woken = false;
	bool		was_woken = false;

	if (has_locked)
		begin_checks();
	waiters_begin(wait->run_id);
	for (;;)
	{
		long		timeout_ms = -1;
		bool		may_look;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		(void) waiters_woken();

		/*
		 * It may come to be in the way as long as it has locked something;
		 * but a run that has ended comes first. (Who listens is woken again
		 * and again.)
		 */
		if (has_locked && (!woken || was_woken))
			check_way(wait->run_id);
		was_woken = woken;

		/*
		 * Nor is it to wait for somebody who will wait for it, and who would
		 * be the one to be told of the deadlock.
		 */
		may_look = !has_locked || !wait->found || store_can_read_runs();
		if (may_look)
		{
			MemoryContextReset(look);
			MemoryContextSwitchTo(look);
			glance(wait);
			MemoryContextSwitchTo(caller);
			if (wait->found && !run_status_is_settled(wait->state.status))
				check_wait(&wait->state);
			if (wait->over)
				break;
		}

		if (wait->deadline != 0)
		{
			int64		left = Max(wait->deadline - clock_now(), 0);

			timeout_ms = Min(left / US_PER_MS + 1, INT_MAX);
		}
		if (has_locked)
		{
			long		left = Max(check_at - clock_now(), 0) / US_PER_MS + 1;

			timeout_ms = timeout_ms < 0 ? left : Min(timeout_ms, left);
		}
		if (!may_look)
			timeout_ms = LOOK_PAUSE_MS;

		/* Looking at the run left a snapshot of the catalogs behind. */
		InvalidateCatalogSnapshotConditionally();
		woken = waiters_woken() || sleep_on_latch(timeout_ms);
	}
	waiters_end();
}

/*
 * agno_wait_run(run_id text, timeout interval) returns setof agno.runs
 *
 * Errors: object_not_in_prerequisite_state for a run of this transaction and
 * on a standby, active_sql_transaction with a snapshot that is too old,
 * deadlock_detected if the transaction itself keeps the run from being stored.
 */
Datum
agno_wait_run(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Wait		wait = {.caller = GetUserId(),.wants_row = true};

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	wait.run_id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (!PG_ARGISNULL(1))
	{
		double		ms = argument_interval_ms(PG_GETARG_DATUM(1));

		/* Beyond that, it is no timeout. */
		if (ms < ARGUMENT_MAX_MS)
			wait.deadline = clock_now() + (int64) (Max(ms, 0) * US_PER_MS);
	}

	wait_for_run(&wait);
	if (wait.row != NULL)
		tuplestore_puttuple(result->setResult, wait.row);
	PG_RETURN_NULL();
}

/*
 * CALL agno_run(…the arguments of agno_arun…, INOUT status, INOUT content)
 *
 * Enqueues, commits, and waits in a new transaction, without a snapshot, which is READ
 * COMMITTED; if that is not the session's default, there is another one after it.
 * Errors: those of agno_arun; invalid_transaction_termination within a
 * transaction block.
 */
Datum
agno_run(PG_FUNCTION_ARGS)
{
	CallContext *context = castNode(CallContext, fcinfo->context);
	Wait		wait = {.caller = GetUserId()};
	RunRow		state;
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3] = {false};
	bool		isolated;

	if (context->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("agno_run cannot run inside a transaction block"),
				 errhint("Use agno_arun, and agno_wait_run after the transaction has committed.")));

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = CreateTupleDescCopy(desc);
	enqueue_run(fcinfo, &state);
	wait.run_id = pstrdup(state.run_id);

	store_commit_call();

	/*
	 * The run is to be seen to end, whatever default_transaction_isolation
	 * is.
	 */
	isolated = IsolationUsesXactSnapshot();
	if (isolated)
		XactIsoLevel = XACT_READ_COMMITTED;
	wait_for_run(&wait);
	values[0] = CStringGetTextDatum(wait.run_id);
	nulls[1] = nulls[2] = !wait.found;
	if (wait.found)
	{
		values[1] = run_ref_status(wait.state.status,
								   TupleDescAttr(desc, 1)->atttypid);
		nulls[2] = wait.state.content == NULL;
		if (wait.state.content != NULL)
			values[2] = CStringGetTextDatum(wait.state.content);
	}
	/* And what the caller does next is isolated as it expects. */
	if (isolated)
		store_commit_call();
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}
