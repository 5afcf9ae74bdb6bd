/*-------------------------------------------------------------------------
 *
 * callback_batch.c
 *	  Calling the functions of runs that have ended, many in a transaction.
 *
 * For a tool worker. One transaction gives a batch of runs their last status and
 * calls their functions, each in a subtransaction, which is undone if the function
 * fails: the run says so, and keeps its status. If something else goes wrong, or
 * one of them takes its time, nothing of the batch has happened, and they are called
 * one by one, so that each only keeps itself waiting.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "core/json.h"
#include "core/tool.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "server/blame.h"
#include "server/encoding.h"
#include "server/read_only.h"
#include "server/settings.h"
#include "server/tool_slots.h"
#include "server/wake.h"
#include "storage/proc.h"
#include "store/store_callbacks.h"
#include "tools/callback.h"
#include "tools/callback_batch.h"
#include "tools/tool_session.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* How many are called in a transaction, and how long that may last. */
#define MAX_BATCH 64
#define BATCH_MS 250

/* How often a call is tried that comes to nothing. */
#define MAX_TRIES 5

/* How many may be called in the next transaction. */
static int	limit = 1;

/*
 * How many may ever be: one that leaves something in the session which the next one
 * of the transaction would find is called alone, as are all that come after it.
 */
static int	most_at_once = MAX_BATCH;

/*
 * An error as JSON in the database's encoding.
 */
static char *
error_json(const char *message, const char *sqlstate)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	json_append_member(&out, "type", "on_complete");
	json_append_member(&out, "message",
					   tool_result_shown(encoding_from_server(message != NULL ?
															  message : "error"),
										 agno_max_tool_result_size * 1024));
	if (sqlstate != NULL)
		json_append_member(&out, "sqlstate", sqlstate);
	appendStringInfoChar(&out, '}');
	return encoding_to_server(out.data);
}

/*
 * Whether the same call may succeed a moment later, or the process is to end.
 */
static bool
is_passing(const ErrorData *error)
{
	return error->elevel > ERROR ||
		error->sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE ||
		error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED ||
		error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
}

/*
 * How long a function may take, in milliseconds.
 */
static int
time_for_call(void)
{
	int			most = Min(agno_tool_timeout, INT_MAX - TOOL_GRACE_MS);

	if (StatementTimeout > 0)
		most = Min(most, StatementTimeout);
	return Max(most, 1);
}

/*
 * Call the function of a run, with its settings undone.
 */
static bool
call_function(void *arg)
{
	CallbackWork *work = arg;
	int			level = NewGUCNestLevel();
	bool		reads_only = DefaultXactReadOnly;

	tool_session_allow_cancel(time_for_call());
	PushActiveSnapshot(GetTransactionSnapshot());
	if (reads_only)
		read_only_begin();
	callback_call(work->function, work->run_id, work->run);
	PopActiveSnapshot();
	tool_session_end_cancel();
	if (reads_only)
		read_only_check();

	/* What it has set, as its role, is not for the next one. */
	AtEOXact_GUC(false, level);
	return true;
}

/*
 * Call the function of a run in a subtransaction. Returns what went wrong, after
 * that has been undone; or NULL.
 */
static ErrorData *
call(CallbackWork *work)
{
	ErrorData  *error;

	tool_slot_begin_call(work->run_id);
	tool_slot_set_time(time_for_call());
	blame_begin(work->run_id);
	error = tool_session_try(call_function, work);
	tool_session_spare_process();
	blame_end();
	return error;
}

/*
 * Whether a call has left, or met, what is dropped after the transaction only:
 * temporary tables and prepared statements.
 */
static bool
leaves_something(const ErrorData *error)
{
	Oid			temp;
	Oid			toast;

	GetTempNamespaceState(&temp, &toast);
	return OidIsValid(temp) ||
		(error != NULL && error->sqlerrcode == ERRCODE_DUPLICATE_PSTATEMENT);
}

/* What becomes of a batch. */
typedef enum BatchEnd
{
	BATCH_DONE,
	BATCH_SPLIT,				/* nothing has happened: they are called one
								 * by one, now */
	BATCH_PUT_OFF				/* nothing has happened: others come first */
} BatchEnd;

/*
 * Call the functions of these runs, and note what went wrong with each.
 */
static BatchEnd
call_all(List *batch)
{
	TimestampTz start = GetCurrentTimestamp();
	ListCell   *cell;

	foreach(cell, batch)
	{
		CallbackWork *work = lfirst(cell);
		ErrorData  *error;
		ToolInterrupt told;

		if (work->tries >= MAX_TRIES)
		{
			work->error = error_json("the call has come to nothing several times",
									 NULL);
			continue;
		}
		error = call(work);
		told = tool_slot_told();
		tool_slot_end_call();
		if (error != NULL && (told == TOOL_CANCELLED || told == TOOL_PUT_OFF))
			return BATCH_PUT_OFF;
		if (list_length(batch) > 1 && leaves_something(error))
		{
			most_at_once = 1;
			return BATCH_SPLIT;
		}
		if (error != NULL && is_passing(error) &&
			(error->elevel > ERROR || list_length(batch) > 1 ||
			 work->tries < MAX_TRIES - 1))
			ReThrowError(error);
		if (error != NULL)
			work->error = error_json(error->message,
									 unpack_sql_state(error->sqlerrcode));
		tool_slot_count(error != NULL);
		if (list_length(batch) > 1 &&
			TimestampDifferenceExceeds(start, GetCurrentTimestamp(), BATCH_MS))
			return BATCH_SPLIT;
	}
	return BATCH_DONE;
}

static void
wake_runners(List *batch)
{
	ListCell   *cell;

	foreach(cell, batch)
		wake_at_commit(((CallbackWork *) lfirst(cell))->shard);
}

/*
 * The runs of a batch that are not there any more.
 */
static List *
gone_of(List *batch)
{
	List	   *gone = NIL;
	ListCell   *cell;

	foreach(cell, batch)
	{
		if (((CallbackWork *) lfirst(cell))->gone)
			gone = lappend(gone, lfirst(cell));
	}
	return gone;
}

/*
 * Nothing of the batch has happened: others come first.
 */
static void
put_off(List *batch, bool counts)
{
	StoreUser	user;
	int			pause;

	tool_session_begin();
	user = tool_session_enter();
	pause = store_put_off_callbacks(batch, counts);
	store_leave(user);
	tool_session_commit();
	tool_session_look_again(pause);
}

/*
 * Make the calls of a batch, whose rows in agno.callbacks are locked. If that is done, it
 * is to be committed.
 */
static BatchEnd
make_calls(List *batch)
{
	StoreUser	user = tool_session_enter();
	List	   *gone = gone_of(batch);
	List	   *ended = store_end_called_back(batch, tool_session.role);
	List	   *locked = list_difference_ptr(list_difference_ptr(batch, ended),
											 gone);
	List	   *done;
	BatchEnd	end;

	store_leave(user);
	end = call_all(ended);
	if (end != BATCH_DONE)
		return end;
	user = tool_session_enter();

	/*
	 * Somebody has the others locked. (Not before the calls: until the
	 * commit, a runner would have to wait for the rows that this changes.)
	 */
	if (locked != NIL)
		tool_session_look_again(store_put_off_callbacks(locked, false));
	done = list_concat_copy(ended, gone);
	store_callbacks_done(done, tool_session.role);
	wake_runners(done);
	store_leave(user);
	return BATCH_DONE;
}

/*
 * Call the functions of a batch. Returns whether there were any to be called.
 */
static bool
do_batch(void)
{
	StoreUser	user;
	List	   *volatile batch = NIL;
	volatile BatchEnd end = BATCH_DONE;
	volatile bool failed = false;
	TimestampTz start = GetCurrentTimestamp();

	tool_session_begin();
	user = tool_session_enter();
	batch = store_take_callbacks(tool_session.role, limit);
	store_leave(user);
	if (batch == NIL)
	{
		tool_session_commit();
		return false;
	}
	PG_TRY();
	{
		end = make_calls(batch);
		if (end == BATCH_DONE)
			tool_session_commit();
		else
			tool_session_undo();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(tool_session.context);
		FlushErrorState();
		failed = true;
		end = list_length(batch) > 1 ? BATCH_SPLIT : BATCH_PUT_OFF;
	}
	PG_END_TRY();
	if (failed)
	{
		tool_session_undo();
		tool_slot_end_call();
	}

	if (end == BATCH_DONE)
	{
		if (!TimestampDifferenceExceeds(start, GetCurrentTimestamp(),
										BATCH_MS / 4))
			limit = Min(limit * 2, most_at_once);
		return true;
	}
	limit = 1;
	if (end == BATCH_PUT_OFF)
		put_off(batch, failed);
	return true;
}

/*
 * Call the functions of the runs of the role that have waited longest. Returns
 * whether there were any.
 */
bool
callback_batch(void)
{
	MemoryContextReset(tool_session.context);
	if (!do_batch())
		return false;
	tool_session_clean_up();
	pgstat_report_stat(false);
	return true;
}
