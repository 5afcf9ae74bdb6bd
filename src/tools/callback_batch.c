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
#include "executor/spi.h"
#include "miscadmin.h"
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
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
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
	int			most = agno_tool_timeout;

	if (StatementTimeout > 0)
		most = Min(most, StatementTimeout);
	return Max(most, 1);
}

/*
 * Call the function of a run in a subtransaction. Returns what went wrong, after
 * that has been undone; or NULL.
 */
static ErrorData *
call(const CallbackHost *host, CallbackWork *work)
{
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;
	int			most = time_for_call();
	int			level;

	tool_slot_begin_call(work->run_id);
	tool_slot_set_time(most);
	blame_begin(work->run_id);
	BeginInternalSubTransaction(NULL);
	level = NewGUCNestLevel();
	MemoryContextSwitchTo(host->context);
	PG_TRY();
	{
		enable_timeout_after(STATEMENT_TIMEOUT, most);
		enable_timeout_after(host->last_resort, most + TOOL_GRACE_MS);
		QueryCancelHoldoffCount = 0;
		PushActiveSnapshot(GetTransactionSnapshot());
		if (DefaultXactReadOnly)
			read_only_begin();
		callback_call(work->function, work->run_id, work->run);
		PopActiveSnapshot();
		CHECK_FOR_INTERRUPTS();
		QueryCancelHoldoffCount = 1;
		if (DefaultXactReadOnly)
			read_only_check();
		disable_timeout(STATEMENT_TIMEOUT, false);

		/* What it has set, as its role, is not for the next one. */
		AtEOXact_GUC(false, level);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(host->context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		QueryCancelHoldoffCount = 1;
		disable_timeout(STATEMENT_TIMEOUT, false);
		MemoryContextSwitchTo(host->context);
		error = CopyErrorData();
		FlushErrorState();
		RESUME_INTERRUPTS();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(host->context);
		CurrentResourceOwner = owner;
	}
	PG_END_TRY();
	disable_timeout(host->last_resort, false);
	QueryCancelPending = false;
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

/*
 * Call the functions of these runs, and note what went wrong with each. False if
 * nothing of that is to have happened.
 */
static bool
call_all(const CallbackHost *host, List *batch)
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
		error = call(host, work);
		told = tool_slot_told();
		tool_slot_end_call();
		if (error != NULL && (told == TOOL_CANCELLED || told == TOOL_PUT_OFF))
			return false;
		if (list_length(batch) > 1 && leaves_something(error))
		{
			most_at_once = 1;
			return false;
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
			return false;
	}
	return true;
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
put_off(const CallbackHost *host, List *batch, bool counts)
{
	StoreUser	user;
	int			pause;

	host->begin();
	user = host->enter();
	pause = store_put_off_callbacks(batch, counts);
	store_leave(user);
	host->commit();
	host->look_again(pause);
}

/*
 * Make the calls of a batch, whose rows in agno.callbacks are locked. Returns
 * whether that is to be committed.
 */
static bool
make_calls(const CallbackHost *host, List *batch)
{
	StoreUser	user = host->enter();
	List	   *gone = gone_of(batch);
	List	   *ended = store_end_called_back(batch, host->role);
	List	   *locked = list_difference_ptr(list_difference_ptr(batch, ended),
											 gone);
	List	   *done;

	store_leave(user);
	if (!call_all(host, ended))
		return false;
	user = host->enter();

	/*
	 * Somebody has the others locked. (Not before the calls: until the
	 * commit, a runner would have to wait for the rows that this changes.)
	 */
	if (locked != NIL)
		host->look_again(store_put_off_callbacks(locked, false));
	done = list_concat_copy(ended, gone);
	store_callbacks_done(done, host->role);
	wake_runners(done);
	store_leave(user);
	return true;
}

/*
 * Call the functions of the runs of the role that have waited longest. Returns
 * whether there were any.
 */
bool
callback_batch(const CallbackHost *host)
{
	StoreUser	user;
	List	   *volatile batch = NIL;
	volatile bool made = false;
	volatile bool failed = false;
	TimestampTz start = GetCurrentTimestamp();

	host->begin();
	user = host->enter();
	batch = store_take_callbacks(host->role, limit);
	store_leave(user);
	if (batch == NIL)
	{
		host->commit();
		return false;
	}
	PG_TRY();
	{
		made = make_calls(host, batch);
		if (made)
			host->commit();
		else
			host->undo();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(host->context);
		FlushErrorState();
		failed = true;
	}
	PG_END_TRY();
	if (failed)
	{
		host->undo();
		tool_slot_end_call();
	}

	if (made && !failed)
	{
		if (!TimestampDifferenceExceeds(start, GetCurrentTimestamp(),
										BATCH_MS / 4))
			limit = Min(limit * 2, most_at_once);
		return true;
	}
	limit = 1;
	put_off(host, batch, failed && list_length(batch) == 1);
	return true;
}
