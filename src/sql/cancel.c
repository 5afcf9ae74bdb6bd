/*-------------------------------------------------------------------------
 *
 * cancel.c
 *	  Cancelling a run.
 *
 * A cancel takes effect when its transaction commits. Until then this process
 * remembers what it has cancelled: a process that waits for such a run is woken at the
 * commit, also where there is no runner to do it; and the transaction itself
 * must not wait for it, since the runner waits for the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "core/id.h"
#include "core/shard.h"
#include "miscadmin.h"
#include "server/sql_function.h"
#include "server/waiters.h"
#include "server/wake.h"
#include "sql/arguments.h"
#include "sql/cancel.h"
#include "store/store.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

SQL_FUNCTION(agno_cancel_run);

/* How many markers a role may leave; superusers may leave more. */
#define MAX_MARKERS 10000

/* Of the room for more, this part is taken before they are counted again. */
#define ROOM_PART 16

/* A run that the current transaction has cancelled, or left a marker for. */
typedef struct CancelledRun
{
	char		run_id[ID_SIZE];	/* the key */
	SubTransactionId subtransaction;	/* that has done it, or its parent
										 * once that has committed */
	bool		is_marker;
} CancelledRun;

/* All of them, in TopTransactionContext; NULL: there are none. */
static HTAB *cancelled_runs = NULL;

static void
end_transaction(XactEvent event, void *arg)
{
	HASH_SEQ_STATUS all;
	CancelledRun *run;

	switch (event)
	{
		case XACT_EVENT_COMMIT:
			if (cancelled_runs == NULL)
				break;
			hash_seq_init(&all, cancelled_runs);
			while ((run = hash_seq_search(&all)) != NULL)
			{
				char	   *run_id = run->run_id;

				if (!run->is_marker)
					waiters_wake(&run_id, 1);
			}
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			break;
		default:
			return;
	}
	cancelled_runs = NULL;
}

/*
 * What a subtransaction has cancelled is its parent's when it commits, and
 * nobody's when it aborts.
 */
static void
end_subtransaction(SubXactEvent event, SubTransactionId my_id,
				   SubTransactionId parent_id, void *arg)
{
	HASH_SEQ_STATUS all;
	CancelledRun *run;

	if (cancelled_runs == NULL || (event != SUBXACT_EVENT_COMMIT_SUB &&
								   event != SUBXACT_EVENT_ABORT_SUB))
		return;
	hash_seq_init(&all, cancelled_runs);
	while ((run = hash_seq_search(&all)) != NULL)
	{
		if (run->subtransaction != my_id)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			run->subtransaction = parent_id;
		else
			hash_search(cancelled_runs, run->run_id, HASH_REMOVE, NULL);
	}
}

static HTAB *
create_table(void)
{
	HASHCTL		ctl = {
		.keysize = ID_SIZE,
		.entrysize = sizeof(CancelledRun),
		.hcxt = TopTransactionContext,
	};

	return hash_create("agno_bg cancelled runs", 16, &ctl,
					   HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

static void
remember(const char *run_id, bool is_marker)
{
	static bool registered;
	CancelledRun *run;
	bool		found;

	if (!registered)
	{
		RegisterXactCallback(end_transaction, NULL);
		RegisterSubXactCallback(end_subtransaction, NULL);
		registered = true;
	}
	if (cancelled_runs == NULL)
		cancelled_runs = create_table();
	run = hash_search(cancelled_runs, run_id, HASH_ENTER, &found);
	run->subtransaction = GetCurrentSubTransactionId();
	run->is_marker = is_marker;
}

/*
 * Whether the current transaction has cancelled this run, or left a marker for it. One
 * signal for that is enough.
 */
static bool
is_ours(const char *run_id, bool is_marker)
{
	CancelledRun *run = cancelled_runs == NULL ? NULL :
		hash_search(cancelled_runs, run_id, HASH_FIND, NULL);

	return run != NULL && run->is_marker == is_marker;
}

/*
 * Whether the current transaction has cancelled this run.
 */
bool
cancel_is_ours(const char *run_id)
{
	return is_ours(run_id, false);
}

/*
 * Cancel a run that is locked. Returns whether it will end CANCELLED.
 */
static bool
cancel_locked(const RunRow *state)
{
	switch (state->status)
	{
		case RUN_PENDING:
		case RUN_PAUSED:
			store_cancel_waiting(state->run_id,
								 run_cancelled_text(state->run_id),
								 !requirement_is_pause_text(state->content));
			break;
		case RUN_RUNNING:
			if (cancel_is_ours(state->run_id))
				return true;
			break;
		default:
			return false;
	}
	store_put_signal(state->run_id, state->owner,
					 shard_of_session(state->session_id), SIGNAL_CANCEL);
	remember(state->run_id, false);
	return true;
}

/*
 * Keep a marker for a run that is unknown to the caller. Errors:
 * configuration_limit_exceeded.
 */
static void
put_marker(const char *run_id, Oid caller)
{
	/* Who has found plenty of room may take a part of it before counting. */
	static Oid	counted_owner;
	static Oid	counted_database;
	static int64 left;

	if (is_ours(run_id, true))
		return;
	if (superuser_arg(caller))
		left = 1;
	else if (left <= 0 || counted_owner != caller ||
			 counted_database != MyDatabaseId)
	{
		left = (MAX_MARKERS - store_count_markers(caller, MAX_MARKERS) +
				ROOM_PART - 1) / ROOM_PART;
		counted_owner = caller;
		counted_database = MyDatabaseId;
	}
	if (left-- <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many cancels of runs that do not exist"),
				 errdetail("Role \"%s\" has %d markers in agno.cancellations.",
						   GetUserNameFromId(caller, false), MAX_MARKERS),
				 errhint("Cancel ids that agno_arun has returned, or is about to be given. A marker that meets no run is removed after a day.")));
	store_put_marker(run_id, caller);
	store_put_signal(run_id, caller, ALL_SHARDS, SIGNAL_CANCEL);
	wake_at_commit(ALL_SHARDS);
	remember(run_id, true);
}

/*
 * agno_cancel_run(run_id text) returns boolean
 *
 * Cancels a run when the transaction commits; keeps a marker for a run that
 * does not exist. Agno's counterpart is Agent.cancel_run(). The lock on the
 * run, kept until the end of the transaction, makes sure that the runner
 * stores nothing behind our back; see turn.c. Errors: invalid_parameter_value,
 * configuration_limit_exceeded.
 */
Datum
agno_cancel_run(PG_FUNCTION_ARGS)
{
	char	   *run_id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid			caller = GetUserId();
	StoreUser	user;
	RunRow		state;
	bool		cancelled = false;

	check_may_write("agno_cancel_run()");
	if (run_id[0] == '\0' || strlen(run_id) > MAX_ID)
		argument_error(psprintf("run_id must have from 1 to %d bytes",
								MAX_ID), NULL);

	user = store_enter();
	/* A run of somebody else is unknown to the caller, and not locked. */
	if (store_find_run(run_id, &state) &&
		has_privs_of_role(caller, state.owner))
	{
		cancelled = store_lock_run(run_id, &state) && cancel_locked(&state);
		wake_at_end(shard_of_session(state.session_id));
	}
	else
		put_marker(run_id, caller);
	store_leave(user);
	PG_RETURN_BOOL(cancelled);
}
