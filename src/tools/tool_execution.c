/*-------------------------------------------------------------------------
 *
 * tool_execution.c
 *	  Making calls of tools, each in one transaction with its record.
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

#include "commands/trigger.h"
#include "core/json.h"
#include "core/run_event.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "server/blame.h"
#include "server/encoding.h"
#include "server/read_only.h"
#include "server/settings.h"
#include "server/tool_fingerprint.h"
#include "server/tool_slots.h"
#include "server/wake.h"
#include "storage/proc.h"
#include "store/store_tools.h"
#include "tools/delegate.h"
#include "tools/tool_arguments.h"
#include "tools/tool_call.h"
#include "tools/tool_execution.h"
#include "tools/tool_session.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/timestamp.h"

/* How often a call is tried that is in others' way. */
#define MAX_TRIES 5

/* The call that is made. */
typedef struct CurrentCall
{
	int			most;			/* how long it may take, in milliseconds */
	const char *limit;			/* what says so */
} CurrentCall;

static CurrentCall current;

/* What is kept of the last call. */
static HeldTurn held;

/* The call that is being made writes nothing of its own. */
static bool reads_only = false;

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
	CALL_PUT_OFF,				/* it is to be made later */
	CALL_TRIED					/* so it is, as it has come to nothing */
} CallOutcome;

/*
 * To be called once, before tool_execution_next().
 */
void
tool_execution_open(void)
{
	store_init_held(&held);
}

static RunContext
context_of(const ToolWork *work)
{
	RunContext	context = {
		.run_id = work->run_id,
		.session_id = work->run->session_id,
		.user_id = work->run->user_id,
		.agent_id = work->run->agent_id,
		.tool_call_id = work->tool_call_id,
		.attempt = work->attempt,
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
	if (tool.input_schema != NULL)
		tool.input_schema = encoding_to_server(tool.input_schema);
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

	current.limit = tool->timeout_ms > 0 ?
		"timeout in agno.tools" : "agno_bg.tool_timeout";
	if (StatementTimeout > 0 && StatementTimeout < most)
	{
		most = StatementTimeout;
		current.limit = "statement_timeout";
	}
	if (work->left_ms < most)
	{
		most = Max(work->left_ms, 1);
		current.limit = "the timeout of the run";
	}

	/* Timers count in an int. */
	current.most = (int) Min(most, INT_MAX - TOOL_GRACE_MS);
	tool_slot_set_time(current.most);
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
 * Whether a call that has failed so is tried again: it may succeed a moment later.
 */
static bool
is_tried_again(const ToolWork *work, const ErrorData *error)
{
	return work->tries + 1 < MAX_TRIES &&
		(error->sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE ||
		 error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED ||
		 error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE);
}

/*
 * Whether this is the fingerprint of what was meant, with or without what the session's
 * state has for the call: without a preview, nobody has seen that.
 */
static bool
was_meant(const ToolWork *work, const Tool *tool, const char *fingerprint)
{
	const char *meant = work->fingerprint;
	const char *alone;

	if (meant == NULL || strcmp(fingerprint, meant) == 0)
		return meant != NULL;
	alone = tool_fingerprint(tool->function, NULL);
	return alone != NULL && strcmp(alone, meant) == 0;
}

/*
 * Find out whether the function of a call that somebody decides about is the one
 * that was meant. One that is gone is an error of the call. A preview is of the function
 * before it: if that is replaced meanwhile, the preview is of neither.
 */
static void
check_function(const ToolWork *work, const Tool *tool, ToolResult *result)
{
	char	   *fingerprint;

	if (!work->gated || tool->function == NULL)
		return;
	AcceptInvalidationMessages();
	fingerprint = tool_fingerprint(tool->function,
								   tool_bound_state(tool, work->session_state));
	if (!work->preview || result->fingerprint == NULL)
		result->fingerprint = fingerprint;
	result->stale = !work->preview && fingerprint != NULL &&
		!was_meant(work, tool, fingerprint);
}

/*
 * The rows that the call has changed. No code of the role is executed meanwhile.
 */
static char *
find_changes(void)
{
	StoreUser	user = tool_session_enter();
	char	   *changes = store_changes();

	store_leave(user);
	return changes;
}

/* A call in its subtransaction. */
typedef struct TriedCall
{
	const ToolWork *work;
	ToolResult *result;
} TriedCall;

/*
 * Call the tool. False if that is to be undone.
 */
static bool
try_call(void *arg)
{
	const ToolWork *work = ((TriedCall *) arg)->work;
	ToolResult *result = ((TriedCall *) arg)->result;
	Tool		tool = find_tool(work);

	limit_time(&tool, work);
	reads_only = tool.read_only || DefaultXactReadOnly;
	if (reads_only)
		read_only_begin();
	check_function(work, &tool, result);
	if (!result->stale)
	{
		tool_session_allow_cancel(current.most);
		if (tool.agent != NULL)
			result->child_run_id = delegate(&tool, work);
		else
			result->result = call_function(&tool, work);
		tool_session_end_cancel();
		if (reads_only)
			read_only_check();

		/* It may have been replaced just before it was called. */
		check_function(work, &tool, result);
	}
	if (work->preview)
		result->changes = find_changes();
	return !work->preview && !result->stale;
}

/*
 * Call the tool in a subtransaction, which is undone if the call is not to have
 * happened. Returns what went wrong, or NULL.
 */
static ErrorData *
call_in_subtransaction(const ToolWork *work, ToolResult *result)
{
	TriedCall	tried = {work, result};
	RunContext	context = context_of(work);
	ErrorData  *error;

	reads_only = false;
	run_context_set(&context);
	error = tool_session_try(try_call, &tried);
	run_context_clear();
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
		store_end_turn(work, tool_session.role);
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

	user = tool_session_enter();

	/*
	 * Whatever relies on the record of a call that wrote nothing is flushed
	 * after it.
	 */
	if (reads_only)
		(void) set_config_option("synchronous_commit", "off", PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0,
								 false);
	fence = store_lock_for_result(work, tool_session.role);
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
			 TimestampTzPlusMilliseconds(result->started_at, current.most))
		error->detail = psprintf("It took longer than %s allows, %d ms.",
								 current.limit, current.most);
	if (error != NULL && is_tried_again(work, error))
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

	tool_session_begin();
	set_error(result, error);
	outcome = store_result(work, result);
	if (outcome == CALL_STORED)
		tool_session_commit();
	else
		tool_session_undo();
	return outcome;
}

/*
 * What is to become of a turn whose call has not been stored.
 */
static void
settle_turn(ToolWork *work, CallOutcome outcome)
{
	StoreUser	user;

	if (outcome == CALL_TRIED)
		work->tries++;
	tool_session_begin();
	user = tool_session_enter();
	if (outcome == CALL_INTERRUPTED && !store_still_wanted(work, tool_session.role))
		outcome = CALL_DROPPED;
	switch (outcome)
	{
		case CALL_CANCELS:
			store_put_signal(work->run_id, tool_session.role, work->shard,
							 SIGNAL_CANCEL);
			wake_at_commit(work->shard);
			store_drop_turn(work);
			break;
		case CALL_DROPPED:
			store_drop_turn(work);
			break;
		default:
			tool_session_look_again(store_put_off_turn(work,
													   outcome == CALL_LOCKED));
			break;
	}
	store_leave(user);
	tool_session_commit();
}

/*
 * The call is over, with its transaction.
 */
static void
end_call(void)
{
	tool_session_spare_process();
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
			tool_session_commit();
		else
			tool_session_undo();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(tool_session.context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	if (error != NULL)
		tool_session_undo();
	end_call();
	if (error == NULL)
		return outcome;

	if (is_tried_again(work, error))
		return CALL_TRIED;
	return store_failure(work, result, error);
}

/*
 * Take the next call, and make it. Returns false if there is none.
 */
bool
tool_execution_next(void)
{
	ToolWork	work;
	ToolResult	result = {0};
	StoreUser	user;
	CallOutcome outcome;
	bool		found;
	bool		more;

	MemoryContextReset(tool_session.context);
	tool_session_begin();
	user = tool_session_enter();
	found = store_take_work(tool_session.role, &held, &work);
	if (found && work.runs && work.call_no == 0)
	{
		store_end_turn(&work, tool_session.role);
		store_hold_call(&held, &work, false);
		wake_at_commit(work.shard);
	}
	else if (found && !work.runs)
		store_drop_turn(&work);
	more = found && work.call_no <= 1 &&
		store_has_more_work(tool_session.role, &work);
	store_leave(user);
	if (!found || !work.runs || work.call_no == 0)
	{
		tool_session_commit();
		return found;
	}

	/* The changes of a preview are counted from here on. */
	if (work.preview && !counts_reported)
	{
		tool_session_undo();
		pgstat_report_stat(true);
		counts_reported = true;
		return true;
	}
	counts_reported = false;

	/* That may be the tool's fault: its runner is to say whether to go on. */
	if (tool_slots_is_dead(work.run_id))
	{
		tool_session_undo();
		settle_turn(&work, CALL_PUT_OFF);
		return false;
	}

	/* Others may do that meanwhile. */
	if (more)
		tool_slots_want(MyDatabaseId, tool_session.role);

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
	store_hold_call(&held, &work,
					outcome == CALL_STORED && result.more && !result.stale &&
					!work.preview);
	tool_session_clean_up();
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	return true;
}
