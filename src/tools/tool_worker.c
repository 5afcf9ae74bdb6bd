/*-------------------------------------------------------------------------
 *
 * tool_worker.c
 *	  A process that calls the tools of one role, in one database.
 *
 * It is connected as the role, and as nobody else: whatever the code of a tool
 * does, now or when the transaction commits, it does with the rights of its own
 * session. Our tables are touched as their owner between store_enter() and
 * store_leave(), when no code of the role can run: what the tool has deferred is
 * executed before.
 *
 * A call is one transaction:
 *
 *	1. take the turn: its row in agno.tool_queue is locked, so that nobody else
 *	   makes a call of it;
 *	2. in a subtransaction, call the function, have all happen that it has put off
 *	   until the commit, and close its cursors. An error undoes that, and is what
 *	   the model is told;
 *	3. lock the run, unless it is over or has been cancelled: then nothing has
 *	   happened;
 *	4. store what came of the call, and commit.
 *
 * Of a call whose preview is wanted, the subtransaction is undone, and what it did
 * is stored for who decides about the call. A call that somebody has approved is
 * made only of the function that was meant.
 *
 * So effect and record are there together or not at all, and a call is made again
 * only if there is nothing of it. Serialization failures, deadlocks and locks that
 * are not to be had undo the whole transaction, which is tried again.
 *
 * Memory: what a call needs is in a context that is reset before the next one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>
#include <signal.h>

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/prepare.h"
#include "commands/trigger.h"
#include "common/pg_prng.h"
#include "core/json.h"
#include "core/run_event.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "server/blame.h"
#include "server/encoding.h"
#include "server/read_only.h"
#include "server/runner_slots.h"
#include "server/session_user.h"
#include "server/settings.h"
#include "server/tool_fingerprint.h"
#include "server/tool_slots.h"
#include "server/wait_event.h"
#include "server/wake.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "store/store.h"
#include "store/store_tools.h"
#include "tcop/tcopprot.h"
#include "tools/callback_batch.h"
#include "tools/delegate.h"
#include "tools/tool_call.h"
#include "tools/tool_worker.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

/* How long a worker stays that has nothing to do, in milliseconds. */
#define IDLE_MS 10000

/* After so many calls, runs that have ended are called back. */
#define CALLS_PER_BATCH 16

/* How often a call is tried again that was in others' way. */
#define MAX_TRIES 5

/* What is known of the worker; lives as long as the process. */
typedef struct ToolWorker
{
	Oid			role;
	MemoryContext context;		/* for one call */
	TimeoutId	last_resort;	/* the timeout after TOOL_GRACE_MS */
	HeldTurn	held;			/* what it keeps of its last call */
	int			tries;			/* of the call that is tried again */
	int			most;			/* how long its call may take, in milliseconds */
	const char *limit;			/* what says so */
	char		tried[ID_SIZE]; /* its tool_call_id */
} ToolWorker;

static ToolWorker worker;

/* There is a transaction: the process cannot just leave. */
static volatile sig_atomic_t working = false;

/* The call that is being made writes nothing of its own. */
static bool reads_only = false;

/* When to look at a turn again that has been put off; 0: there is none. */
static TimestampTz look_again_at = 0;

/* What earlier transactions changed has been reported to the statistics. */
static bool counts_reported = false;

/* What to do after a call. */
typedef enum CallOutcome
{
	CALL_STORED,				/* it is made */
	CALL_DROPPED,				/* its run is over */
	CALL_INTERRUPTED,			/* somebody cancels its run, or has tried */
	CALL_CANCELS,				/* it has cancelled its own run */
	CALL_LOCKED,				/* somebody has its run locked */
	CALL_PUT_OFF				/* it is to be made later */
} CallOutcome;

/*-------------------------------------------------------------------------
 * Signals
 *-------------------------------------------------------------------------
 */

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

/*
 * The tool has been told to end, and has not.
 */
static void
end_process(void)
{
	(void) kill(MyProcPid, SIGTERM);
}

static void
close_blame(int code, Datum arg)
{
	blame_close();
}

/*-------------------------------------------------------------------------
 * Transactions
 *-------------------------------------------------------------------------
 */

/*
 * Begin a transaction that may write, whatever the settings of the role say.
 */
static void
begin(void)
{
	/* Only tools may be cancelled. */
	QueryCancelHoldoffCount = 1;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	XactIsoLevel = XACT_READ_COMMITTED;
	XactReadOnly = false;
	XactDeferrable = false;
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(worker.context);
}

static void
commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(worker.context);
}

/*
 * After an error, or to undo all.
 */
static void
undo(void)
{
	AbortCurrentTransaction();
	MemoryContextSwitchTo(worker.context);
}

/*
 * Act as the owner of our tables until store_leave(). The role's own wishes about
 * locks, plans and triggers do not count there.
 */
static StoreUser
enter(void)
{
	static const char *const settings[][2] = {
		{"lock_timeout", "0"},
		{"plan_cache_mode", "force_generic_plan"},
		{"enable_indexscan", "on"},
		{"enable_nestloop", "on"},
		{"enable_seqscan", "off"},
		{"enable_bitmapscan", "off"},
		{"enable_hashjoin", "off"},
		{"enable_mergejoin", "off"},
	};
	StoreUser	user = store_enter();

	for (int i = 0; i < (int) lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
								 false);
	if (SessionReplicationRole != SESSION_REPLICATION_ROLE_ORIGIN)
		(void) set_config_option("session_replication_role", "origin",
								 PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE,
								 true, 0, false);
	return user;
}

/*
 * Leave nothing of a call to the next one: neither settings, nor locks, nor
 * prepared statements, nor temporary tables. What a language keeps for itself
 * stays, but for nobody than its own role.
 */
static void
clean_up(void)
{
	Oid			temp;
	Oid			toast;

	ResetAllOptions();
	DropAllPreparedStatements();
	LockReleaseAll(USER_LOCKMETHOD, true);
	GetTempNamespaceState(&temp, &toast);
	if (!OidIsValid(temp) && GetUserId() == worker.role)
		return;

	begin();
	(void) set_config_option("session_authorization", NULL, PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SET, true, 0, false);
	(void) set_config_option("role", NULL, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SET, true, 0, false);
	if (OidIsValid(temp))
		ResetTempTableNamespace();
	commit();
}

/*-------------------------------------------------------------------------
 * One call
 *-------------------------------------------------------------------------
 */

static RunContext
context_of(const ToolWork *work)
{
	RunContext	context = {
		.run_id = work->run_id,
		.session_id = work->run->session_id,
		.user_id = work->run->user_id,
		.agent_id = work->run->agent_id,
		.tool_call_id = work->tool_call_id,
	};

	return context;
}

/*
 * The tool as the run knows it. Errors: undefined_function.
 */
static Tool
find_tool(const ToolWork *work)
{
	ToolList	list;
	const Tool *found;
	Tool		tool;

	tools_read(encoding_from_server(work->run->tools), &list);
	found = tools_find(&list, encoding_from_server(work->tool));
	if (found == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("tool \"%s\" does not exist", work->tool)));
	tool = *found;
	if (tool.function != NULL)
		tool.function = encoding_to_server(tool.function);
	if (tool.agent != NULL)
		tool.agent = encoding_to_server(tool.agent);
	tool.parameters = encoding_to_server(tool.parameters);
	if (tool.bind != NULL)
		tool.bind = encoding_to_server(tool.bind);
	return tool;
}

/*
 * Find out how long the call may take, and what says so.
 */
static void
limit_time(const Tool *tool, const ToolWork *work)
{
	int64		most = tool->timeout_ms > 0 ?
		tool->timeout_ms : agno_tool_timeout;

	worker.limit = tool->timeout_ms > 0 ?
		"timeout in agno.tools" : "agno_bg.tool_timeout";
	if (StatementTimeout > 0 && StatementTimeout < most)
	{
		most = StatementTimeout;
		worker.limit = "statement_timeout";
	}
	if (work->left_ms < most)
	{
		most = Max(work->left_ms, 1);
		worker.limit = "the timeout of the run";
	}

	/* Timers count in an int. */
	worker.most = (int) Min(most, INT_MAX - TOOL_GRACE_MS);
	tool_slot_set_time(worker.most);
}

/*
 * Call the tool, and let all that it has put off until the commit happen now: then
 * nothing of the role's is executed any more.
 */
static char *
call_function(const Tool *tool, const ToolWork *work)
{
	RunContext	context = context_of(work);
	char	   *result;

	result = tool_call(tool, work->arguments, work->answer, &context,
					   work->session_state, true);
	AfterTriggerFireDeferred();
	PortalHashTableDeleteAll();
	return result;
}

/*
 * What the model is told of an error: the message and what else helps, with the
 * SQLSTATE.
 */
static char *
error_text(const ErrorData *error)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfo(&out, "%s (SQLSTATE %s)",
					 error->message != NULL ? error->message : "error",
					 unpack_sql_state(error->sqlerrcode));
	if (error->detail != NULL)
		appendStringInfo(&out, "\nDetail: %s", error->detail);
	if (error->hint != NULL)
		appendStringInfo(&out, "\nHint: %s", error->hint);
	return out.data;
}

/*
 * Whether the same call may succeed a moment later.
 */
static bool
is_worth_a_try(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE ||
		error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED ||
		error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
}

/*
 * Find out whether the function of a call that somebody decides about is the one
 * that was meant. One that is gone is an error of the call.
 */
static void
check_function(const ToolWork *work, const Tool *tool, ToolResult *result)
{
	if (!work->gated || tool->function == NULL)
		return;
	AcceptInvalidationMessages();
	result->fingerprint = tool_fingerprint(tool->function);
	result->stale = !work->preview && result->fingerprint != NULL &&
		(work->fingerprint == NULL ||
		 strcmp(result->fingerprint, work->fingerprint) != 0);
}

/*
 * The rows that the call has changed. No code of the role is executed meanwhile.
 */
static char *
find_changes(void)
{
	StoreUser	user = enter();
	char	   *changes = store_changes();

	store_leave(user);
	return changes;
}

/*
 * Call the tool in a subtransaction, which is undone if the call is not to have
 * happened. Returns what went wrong, or NULL.
 */
static ErrorData *
call_in_subtransaction(const ToolWork *work, ToolResult *result)
{
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;
	RunContext	context = context_of(work);

	reads_only = false;
	run_context_set(&context);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(worker.context);
	PG_TRY();
	{
		Tool		tool = find_tool(work);

		limit_time(&tool, work);
		reads_only = tool.read_only || DefaultXactReadOnly;
		if (reads_only)
			read_only_begin();
		check_function(work, &tool, result);
		if (!result->stale)
		{
			enable_timeout_after(STATEMENT_TIMEOUT, worker.most);
			enable_timeout_after(worker.last_resort,
								 worker.most + TOOL_GRACE_MS);
			QueryCancelHoldoffCount = 0;
			if (tool.agent != NULL)
				result->child_run_id = delegate(&tool, work);
			else
				result->result = call_function(&tool, work);
			CHECK_FOR_INTERRUPTS();
			QueryCancelHoldoffCount = 1;
			disable_timeout(STATEMENT_TIMEOUT, false);
			if (reads_only)
				read_only_check();

			/* It may have been replaced just before it was called. */
			check_function(work, &tool, result);
		}
		if (work->preview)
			result->changes = find_changes();
		if (work->preview || result->stale)
			RollbackAndReleaseCurrentSubTransaction();
		else
			ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(worker.context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		QueryCancelHoldoffCount = 1;
		disable_timeout(STATEMENT_TIMEOUT, false);
		MemoryContextSwitchTo(worker.context);
		error = CopyErrorData();
		FlushErrorState();
		RESUME_INTERRUPTS();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(worker.context);
		CurrentResourceOwner = owner;
	}
	PG_END_TRY();
	run_context_clear();
	QueryCancelPending = false;
	return error;
}

/*
 * What the model is shown of a text, of the database's encoding; the text itself
 * if that is all of it.
 */
static const char *
shown_of(const char *text)
{
	char	   *utf8 = encoding_from_server(text);
	char	   *shown = tool_result_shown(utf8, agno_max_tool_result_size * 1024);

	return shown == utf8 ? text : encoding_to_server(shown);
}

/*
 * The arguments with which the tool is called, but for those that are bound.
 */
static char *
arguments_of(const ToolWork *work)
{
	Requirement given = {.kind = REQUIRES_USER_INPUT};
	char	   *arguments = encoding_from_server(work->arguments);

	if (work->answer == NULL)
		return arguments;
	given.answer = encoding_from_server(work->answer);
	return requirement_arguments(&given, arguments);
}

/*
 * The result as a message for the model, for events.
 */
static Message
execution_of(const ToolWork *work, const ToolResult *result)
{
	Message		message;
	const char *text = result->error != NULL ? result->error :
		result->shown != NULL ? result->shown : result->result;

	message_init(&message, MESSAGE_TOOL,
				 text != NULL ? encoding_from_server(text) : NULL);
	if (result->child_run_id != NULL)
		message.child_run_id = encoding_from_server(result->child_run_id);
	message.tool_call_id = encoding_from_server(work->model_call_id);
	message.tool_name = encoding_from_server(work->tool);
	message.tool_args = arguments_of(work);
	message.tool_call_error = result->error != NULL;
	message.executed = true;
	message.tool_started = (double) result->started_at / USECS_PER_SEC +
		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;
	message.tool_duration = (double) (result->finished_at - result->started_at) /
		USECS_PER_SEC;
	return message;
}

/*
 * Tell those who follow a streamed run.
 */
static void
tell(const ToolWork *work, const ToolResult *result)
{
	RunEventSource source = {
		.run_id = encoding_from_server(work->run_id),
		.session_id = encoding_from_server(work->run->session_id),
		.agent_id = work->run->agent_id != NULL ?
		encoding_from_server(work->run->agent_id) : NULL,
		.agent_name = work->run->agent_name != NULL ?
		encoding_from_server(work->run->agent_name) : NULL,
	};
	Message		execution = execution_of(work, result);
	RunEvent	events[3];
	EventRow	rows[3];
	int			count = 0;

	/* Of other calls, their runner has told that already. */
	if (work->gated)
		events[count++] = run_event_tool_started(&source, &execution);
	if (result->child_run_id == NULL)
		count += run_event_tool_ended(&source, &execution, events + count);

	for (int i = 0; i < count; i++)
	{
		rows[i].run_id = work->run_id;
		rows[i].event = events[i].name;
		rows[i].data = events[i].data;
	}
	store_append_events(rows, count);
}

/*
 * What a call would do, as JSON in the database's encoding.
 */
static char *
preview_json(const ToolResult *result)
{
	StringInfoData out;
	const char *text = result->shown != NULL ? result->shown : result->result;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	if (result->error != NULL)
		json_append_member(&out, "error", encoding_from_server(result->error));
	else if (text != NULL)
		json_append_member(&out, "result", encoding_from_server(text));
	json_append_key(&out, "changes");
	appendStringInfo(&out, "%s}", result->changes != NULL ?
					 encoding_from_server(result->changes) : "[]");
	return encoding_to_server(out.data);
}

/*
 * Store what came of the call, whose run is locked. False if somebody else has made
 * it.
 */
static bool
store_outcome(const ToolWork *work, ToolResult *result)
{
	bool		stored;

	if (result->stale)
		stored = store_ask_again(work, result->fingerprint);
	else if (work->preview)
		stored = store_preview(work, preview_json(result), result->fingerprint);
	else
		stored = store_tool_result(work, result);
	if (!stored)
		return false;

	result->more = work->more || store_more_calls(work);
	if (!result->more)
	{
		store_end_turn(work, worker.role);
		wake_at_commit(work->shard);
	}
	if (work->run->stream && !work->preview && !result->stale)
		tell(work, result);
	return true;
}

/*
 * Store what came of the call, if its run is still there for it. Nothing of the
 * role's is executed here, and nobody may interrupt it.
 */
static CallOutcome
store_result(const ToolWork *work, ToolResult *result)
{
	StoreUser	user;
	ToolFence	fence;
	bool		stored;

	user = enter();

	/*
	 * Whatever relies on the record of a call that wrote nothing is flushed
	 * after it.
	 */
	if (reads_only)
		(void) set_config_option("synchronous_commit", "off", PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0,
								 false);
	fence = store_lock_for_result(work, worker.role);
	stored = fence == FENCE_OPEN && store_outcome(work, result);
	store_leave(user);
	switch (fence)
	{
		case FENCE_OPEN:
			return stored ? CALL_STORED : CALL_PUT_OFF;
		case FENCE_LOCKED:
			return CALL_LOCKED;
		case FENCE_OWN_CANCEL:
			return CALL_CANCELS;
		case FENCE_CLOSED:
			break;
	}
	return CALL_DROPPED;
}

/*
 * A call has failed so that nothing of its transaction is left. Note how often,
 * and return whether it is to be tried once more.
 */
static bool
try_again(const ToolWork *work)
{
	if (strcmp(worker.tried, work->tool_call_id) != 0)
	{
		strlcpy(worker.tried, work->tool_call_id, sizeof(worker.tried));
		worker.tries = 0;
	}
	return ++worker.tries < MAX_TRIES;
}

static void
pause_before_try(void)
{
	long		most = 10L << Min(worker.tries, 5);

	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 1 + (long) (pg_prng_double(&pg_global_prng_state) * most),
					 wait_event(WAIT_IN_TOOL_WORKER));
	ResetLatch(MyLatch);
}

static void
set_error(ToolResult *result, const ErrorData *error)
{
	result->result = NULL;
	result->child_run_id = NULL;
	result->shown = NULL;
	result->error = shown_of(error_text(error));
	result->sqlstate = pstrdup(unpack_sql_state(error->sqlerrcode));
	result->finished_at = GetCurrentTimestamp();
}

/*
 * Make the call that has been taken, within its transaction. What goes wrong is
 * stored, but for what is to be tried again: that is raised.
 */
static CallOutcome
make_call(const ToolWork *work, ToolResult *result)
{
	ErrorData  *error;
	ToolInterrupt told;

	result->started_at = GetCurrentTimestamp();
	error = call_in_subtransaction(work, result);
	result->finished_at = GetCurrentTimestamp();
	told = tool_slot_told();
	if (error != NULL && told == TOOL_CANCELLED)
		return CALL_INTERRUPTED;
	if (error != NULL && told == TOOL_PUT_OFF)
		return CALL_PUT_OFF;
	if (error != NULL && told == TOOL_TOOK_TOO_LONG &&
		error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		error->message = "canceling statement since other roles wait for a tool worker";
	else if (error != NULL && error->sqlerrcode == ERRCODE_QUERY_CANCELED &&
			 error->detail == NULL &&
			 result->finished_at >=
			 TimestampTzPlusMilliseconds(result->started_at, worker.most))
		error->detail = psprintf("It took longer than %s allows, %d ms.",
								 worker.limit, worker.most);
	if (error != NULL && is_worth_a_try(error) && try_again(work))
		ReThrowError(error);
	if (error != NULL)
		set_error(result, error);
	else if (result->result != NULL)
	{
		const char *shown = shown_of(result->result);

		result->shown = shown != result->result ? shown : NULL;
	}
	return store_result(work, result);
}

/*
 * The transaction of the call has failed as a whole, when it committed most likely:
 * that is the result then.
 */
static CallOutcome
store_failure(const ToolWork *work, ToolResult *result, ErrorData *error)
{
	CallOutcome outcome;

	begin();
	set_error(result, error);
	outcome = store_result(work, result);
	if (outcome == CALL_STORED)
		commit();
	else
		undo();
	return outcome;
}

/*
 * There is something that has been put off for so many milliseconds.
 */
static void
look_again_after(int pause)
{
	TimestampTz again = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													pause + 1);

	if (look_again_at == 0 || again < look_again_at)
		look_again_at = again;
}

/*
 * What is to become of a turn whose call has not been stored.
 */
static void
settle_turn(const ToolWork *work, CallOutcome outcome)
{
	StoreUser	user;

	begin();
	user = enter();
	if (outcome == CALL_INTERRUPTED && !store_still_wanted(work, worker.role))
		outcome = CALL_DROPPED;
	switch (outcome)
	{
		case CALL_CANCELS:
			store_put_signal(work->run_id, worker.role, work->shard,
							 SIGNAL_CANCEL);
			wake_at_commit(work->shard);
			store_drop_turn(work);
			break;
		case CALL_DROPPED:
			store_drop_turn(work);
			break;
		default:
			look_again_after(store_put_off_turn(work,
												outcome == CALL_LOCKED));
			break;
	}
	store_leave(user);
	commit();
}

/*
 * The call is over, with its transaction.
 */
static void
end_call(void)
{
	disable_timeout(worker.last_resort, false);
	blame_end();
	tool_slot_end_call();
	QueryCancelPending = false;
}

/*
 * Make the call, and commit: until that is done, whatever happens is the call's
 * fault. Returns what came of it; the transaction is over.
 */
static CallOutcome
execute_call(const ToolWork *work, ToolResult *result)
{
	ErrorData  *volatile error = NULL;
	volatile CallOutcome outcome = CALL_DROPPED;

	tool_slot_begin_call(work->run_id);
	blame_begin(work->run_id);
	PG_TRY();
	{
		outcome = make_call(work, result);
		if (outcome == CALL_STORED)
			commit();
		else
			undo();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(worker.context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	if (error != NULL)
		undo();
	end_call();
	if (error == NULL)
		return outcome;

	if (is_worth_a_try(error) && worker.tries < MAX_TRIES)
	{
		pause_before_try();
		return CALL_PUT_OFF;
	}
	return store_failure(work, result, error);
}

/*
 * Take the next call, and make it. Returns false if there is none.
 */
static bool
do_next_call(void)
{
	ToolWork	work;
	ToolResult	result = {0};
	StoreUser	user;
	CallOutcome outcome;
	bool		found;
	bool		more;

	MemoryContextReset(worker.context);
	begin();
	user = enter();
	found = store_take_work(worker.role, &worker.held, &work);
	if (found && work.runs && work.call_no == 0)
	{
		store_end_turn(&work, worker.role);
		store_hold_call(&worker.held, &work, false);
		wake_at_commit(work.shard);
	}
	else if (found && !work.runs)
		store_drop_turn(&work);
	more = found && work.call_no <= 1 &&
		store_has_more_work(worker.role, &work);
	store_leave(user);
	if (!found || !work.runs || work.call_no == 0)
	{
		commit();
		return found;
	}

	/* The changes of a preview are counted from here on. */
	if (work.preview && !counts_reported)
	{
		undo();
		pgstat_report_stat(true);
		counts_reported = true;
		return true;
	}
	counts_reported = false;

	/* That may be the tool's fault: its runner is to say whether to go on. */
	if (tool_slots_is_dead(work.run_id))
	{
		undo();
		settle_turn(&work, CALL_PUT_OFF);
		return false;
	}

	/* Others may do that meanwhile. */
	if (more)
		tool_slots_want(MyDatabaseId, worker.role);

	pgstat_report_activity(STATE_RUNNING, psprintf("agno_bg: tool %s", work.tool));
	outcome = execute_call(&work, &result);
	if (outcome != CALL_STORED)
		settle_turn(&work, outcome);
	else
		tool_slot_count(result.error != NULL);

	/*
	 * What was tried only, or not at all, may still have to be made; and when
	 * there is no more, what comes has been decided about since.
	 */
	store_hold_call(&worker.held, &work,
					outcome == CALL_STORED && result.more && !result.stale &&
					!work.preview);
	clean_up();
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	return true;
}

/*
 * Call back runs that have ended. Returns false if there are none.
 */
static bool
do_callbacks(void)
{
	CallbackHost host = {
		.role = worker.role,
		.context = worker.context,
		.last_resort = worker.last_resort,
		.begin = begin,
		.commit = commit,
		.undo = undo,
		.enter = enter,
		.look_again = look_again_after,
	};

	MemoryContextReset(worker.context);
	if (!callback_batch(&host))
		return false;
	clean_up();
	pgstat_report_stat(false);
	return true;
}

/*-------------------------------------------------------------------------
 * The process
 *-------------------------------------------------------------------------
 */

static void
initialize(int slot, Oid database, Oid role)
{
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
	session_user_pin(role);
	if (!tool_slot_attach(slot, database, role))
		proc_exit(0);
	worker.role = role;
	worker.context = AllocSetContextCreate(TopMemoryContext, "agno_bg tool call",
										   ALLOCSET_DEFAULT_SIZES);
	store_init_held(&worker.held);
	worker.last_resort = RegisterTimeout(USER_TIMEOUT, end_process);
	MemoryContextSwitchTo(worker.context);
	(void) blame_open(BLAME_TOOL_WORKERS + slot);
	on_proc_exit(close_blame, 0);
}

/*
 * How long to sleep when there is nothing to do, in milliseconds.
 */
static long
sleep_ms(void)
{
	long		until;

	if (look_again_at == 0)
		return IDLE_MS;
	until = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
											look_again_at);
	return Min(until + 1, IDLE_MS);
}

/*
 * The main function of a tool worker; arg is its slot in shared memory.
 */
void
agno_bg_tool_worker_main(Datum arg)
{
	Oid			ids[2];
	TimestampTz idle_since = 0;
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
		if (look_again_at <= GetCurrentTimestamp())
			look_again_at = 0;
		working = true;
		made = do_next_call();
		calls = made ? calls + 1 : 0;
		if (calls % CALLS_PER_BATCH == 0)
			made |= do_callbacks();
		working = false;
		if (!made || look_again_at != 0)
			tool_slot_rest(wakes, look_again_at);
		if (made)
		{
			idle_since = 0;
			continue;
		}

		if (idle_since == 0)
			idle_since = GetCurrentTimestamp();
		if (TimestampDifferenceExceeds(idle_since, GetCurrentTimestamp(),
									   IDLE_MS) &&
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
