/*-------------------------------------------------------------------------
 *
 * store_runs.c
 *	  The tables of agno_bg: what backends do with runs for their users.
 *
 * For a backend, between store_enter() and store_leave(). The statements run
 * with the rights of the tables' owner: every name of a type, a function or an
 * operator in them says its schema, and a test looks after it. Who may do what
 * is for the callers to check, but for what only a locked row can tell.
 *
 * This never touches a row of agno.run_queue that is there: those are their
 * runner's, which is told by a signal.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "core/shard.h"
#include "miscadmin.h"
#include "server/settings.h"
#include "store/store.h"
#include "store/store_queue.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#define EQ " OPERATOR(pg_catalog.=) "

/* How often a session is tried to be opened that others delete. */
#define MAX_SESSION_TRIES 10

/*-------------------------------------------------------------------------
 * Looking at runs and agents
 *-------------------------------------------------------------------------
 */

/* The columns that read_run() reads. */
#define RUN_COLUMNS \
	" r.run_id, r.session_id, r.status, r.owner, r.content, r.xmin "

/*
 * Read RUN_COLUMNS into the current memory context.
 */
static void
read_run(RowReader *row, RunRow *run)
{
	bool		isnull;
	Datum		xmin;

	run->run_id = next_text(row);
	run->session_id = next_text(row);
	run->status = next_status(row);
	run->owner = next_oid(row);
	run->content = next_text(row);
	xmin = next_datum(row, &isnull);
	run->mine =
		TransactionIdIsCurrentTransactionId(DatumGetTransactionId(xmin));
}

/*
 * Look at a run as it is now. False when there is none. Leaves no snapshot
 * behind, as a statement that may write would do in a procedure.
 */
bool
store_find_run(const char *run_id, RunRow *run)
{
	static Statement statement = {
		"SELECT" RUN_COLUMNS "FROM agno.runs r WHERE r.run_id" EQ "$1",
		.read_only = true
	};
	Arguments	args = {0};
	bool		found;

	bind_text(&args, run_id);
	PushActiveSnapshot(GetTransactionSnapshot());
	found = store_execute(&statement, &args) > 0;
	if (found)
	{
		RowReader	row = row_reader(0);

		read_run(&row, run);
	}
	PopActiveSnapshot();
	return found;
}

/*
 * Lock a run until the end of the transaction, and look at it then. False when
 * there is none. Waits for those who have it locked.
 */
bool
store_lock_run(const char *run_id, RunRow *run)
{
	static Statement statement = {
		"SELECT" RUN_COLUMNS "FROM agno.runs r WHERE r.run_id" EQ "$1 "
		"FOR NO KEY UPDATE"
	};
	Arguments	args = {0};
	RowReader	row;

	bind_text(&args, run_id);
	if (store_execute(&statement, &args) == 0)
		return false;
	row = row_reader(0);
	read_run(&row, run);
	return true;
}

/*
 * A whole row of agno.runs, or NULL when there is none of this owner.
 */
HeapTuple
store_copy_run(const char *run_id, Oid owner)
{
	static Statement statement = {
		"SELECT r FROM agno.runs r WHERE r.run_id" EQ "$1"
		" AND r.owner" EQ "$2::pg_catalog.regrole"
	};
	Arguments	args = {0};
	RowReader	row;
	HeapTupleHeader header;
	HeapTupleData tuple;
	bool		isnull;

	bind_text(&args, run_id);
	bind_oid(&args, owner);
	if (store_execute(&statement, &args) == 0)
		return NULL;
	row = row_reader(0);
	header = DatumGetHeapTupleHeader(next_datum(&row, &isnull));
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	return heap_copytuple(&tuple);
}

/*
 * Look at the run that the owner has enqueued with this key, a text, before;
 * hash, a bytea, is that of the request now. False when there is none. Errors:
 * unique_violation if that request had another hash.
 */
bool
store_find_idempotent(Oid owner, Datum key, Datum hash, RunRow *run)
{
	static Statement statement = {
		/* The hash of a run that an older version has accepted is not known. */
		"SELECT" RUN_COLUMNS ", COALESCE(q.request_hash" EQ "$3, true) "
		"FROM agno.run_requests q "
		"JOIN agno.runs r ON r.run_id" EQ "q.run_id "
		"WHERE q.owner" EQ "$1::pg_catalog.regrole "
		"AND q.idempotency_key" EQ "$2"
	};
	Arguments	args = {0};
	RowReader	row;

	bind_oid(&args, owner);
	bind_datum(&args, TEXTOID, key);
	bind_datum(&args, BYTEAOID, hash);
	if (store_execute(&statement, &args) == 0)
		return false;
	row = row_reader(0);
	read_run(&row, run);
	if (!next_bool(&row))
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("idempotency_key \"%s\" has been used for another request",
						TextDatumGetCString(key)),
				 errdetail("Run \"%s\" was enqueued with it.", run->run_id),
				 errhint("Repeat the call with the same arguments to get that run back, or use another key.")));
	return true;
}

/*
 * Look at the agent of this id. False when there is none.
 */
bool
store_find_agent(const char *agent_id, AgentRow *agent)
{
	static Statement statement = {
		"SELECT a.owner::pg_catalog.oid, a.model,"
		" a.tools, a.requires_confirmation, a.tool_choice, a.tool_call_limit,"
		" a.max_tool_calls_from_history, a.on_complete, a.stream,"
		" a.timeout, a.retries, a.output_schema, a.model_options, a.metadata,"
		" a.session_state,"
		" CASE WHEN a.add_history_to_context"
		"  AND a.num_history_messages IS NULL"
		"  THEN COALESCE(a.num_history_runs, 3) END,"
		" CASE WHEN a.add_history_to_context"
		"  THEN a.num_history_messages END,"
		" pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object("
		"  'name', a.name, 'description', a.description, 'role', a.role,"
		"  'instructions', a.instructions,"
		"  'use_instruction_tags', a.use_instruction_tags,"
		"  'expected_output', a.expected_output,"
		"  'additional_context', a.additional_context,"
		"  'system_message', a.system_message, 'markdown', a.markdown,"
		"  'add_name_to_context', a.add_name_to_context,"
		"  'add_datetime_to_context', a.add_datetime_to_context,"
		"  'timezone_identifier', a.timezone_identifier,"
		"  'add_session_state_to_context', a.add_session_state_to_context,"
		"  'resolve_in_context', a.resolve_in_context)) "
		"FROM agno.agents a WHERE a.agent_id" EQ "$1"
	};
	Arguments	args = {0};
	RowReader	row;

	bind_text(&args, agent_id);
	if (store_execute(&statement, &args) == 0)
		return false;
	row = row_reader(0);
	agent->owner = next_oid(&row);
	agent->model = next_text(&row);
	agent->tools = next_nullable(&row);
	agent->requires_confirmation = next_nullable(&row);
	agent->tool_choice = next_nullable(&row);
	agent->tool_call_limit = next_nullable(&row);
	agent->max_tool_calls_from_history = next_nullable(&row);
	agent->on_complete = next_text(&row);
	agent->stream = next_nullable(&row);
	agent->timeout = next_nullable(&row);
	agent->retries = next_nullable(&row);
	agent->output_schema = next_nullable(&row);
	agent->model_options = next_nullable(&row);
	agent->metadata = next_nullable(&row);
	agent->session_state = next_nullable(&row);
	agent->num_history_runs = next_nullable(&row);
	agent->num_history_messages = next_nullable(&row);
	agent->definition = next_nullable(&row);
	return true;
}

/*
 * How many runs there are now that have not ended, whatever this transaction sees of them,
 * of this owner or, if it is invalid, of all; no more than limit are counted.
 */
int64
store_count_queue(Oid owner, int limit)
{
	static Statement of_all = {
		"SELECT pg_catalog.count(*) FROM"
		" (SELECT FROM agno.run_queue LIMIT $1) q",
		.read_only = true
	};

	/* By their index, however many of all are his. */
	static Statement of_owner = {
		"SELECT pg_catalog.count(*) FROM"
		" (SELECT FROM agno.run_queue q WHERE q.owner"
		" OPERATOR(pg_catalog.>=) $2::pg_catalog.regrole AND q.owner"
		" OPERATOR(pg_catalog.<=) $2::pg_catalog.regrole"
		" ORDER BY q.owner USING OPERATOR(pg_catalog.<) LIMIT $1) q",
		.read_only = true
	};
	Arguments	args = {0};
	RowReader	row;

	bind_int(&args, limit);
	if (OidIsValid(owner))
		bind_oid(&args, owner);
	PushActiveSnapshot(GetLatestSnapshot());
	store_execute(OidIsValid(owner) ? &of_owner : &of_all, &args);
	PopActiveSnapshot();
	row = row_reader(0);
	return next_int64(&row);
}

/*-------------------------------------------------------------------------
 * Accepting runs
 *-------------------------------------------------------------------------
 */

/*
 * Keep what agno_arun was told beyond the columns of agno.runs. False when
 * the owner has used the idempotency key before, or somebody the run_id, even
 * a moment ago.
 */
bool
store_insert_request(const NewRun *run)
{
	static Statement statement = {
		"INSERT INTO agno.run_requests (run_id, owner, idempotency_key,"
		" timeout, max_attempts, retries, model_options, output_schema,"
		" session_state, agent, num_history_runs, num_history_messages,"
		" stream, request_hash, tools, tool_choice, tool_call_limit,"
		" max_tool_calls_from_history, depth, on_complete) "
		"VALUES ($1, $2::pg_catalog.regrole, $3, $4, $5, $6, $7, $8, $9, $10,"
		" $11, $12, $13, $14, $15::pg_catalog.json, $16, $17, $18,"
		" COALESCE($19, 0), $20) "
		"ON CONFLICT DO NOTHING"
	};
	Arguments	args = {0};
	NullableDatum depth;
	int			required;

	bind_text(&args, run->run_id);
	bind_oid(&args, run->owner);
	required = args.count;
	bind_nullable(&args, TEXTOID, run->idempotency_key);
	bind_nullable(&args, INTERVALOID, run->timeout);
	bind_nullable(&args, INT4OID, run->max_attempts);
	bind_nullable(&args, INT4OID, run->retries);
	bind_nullable(&args, JSONBOID, run->model_options);
	bind_nullable(&args, JSONBOID, run->output_schema);
	bind_nullable(&args, JSONBOID, run->session_state);
	bind_nullable(&args, JSONBOID, run->agent);
	bind_nullable(&args, INT4OID, run->num_history_runs);
	bind_nullable(&args, INT4OID, run->num_history_messages);
	bind_nullable(&args, BOOLOID, run->stream);
	bind_nullable(&args, BYTEAOID, run->request_hash);
	bind_text(&args, run->tools);
	bind_nullable(&args, TEXTOID, run->tool_choice);
	bind_nullable(&args, INT4OID, run->tool_call_limit);
	bind_nullable(&args, INT4OID, run->max_tool_calls_from_history);
	depth.value = Int32GetDatum(run->depth);
	depth.isnull = run->depth == 0;
	bind_nullable(&args, INT4OID, depth);
	bind_text(&args, run->on_complete);
	if (all_null_but(&args, required))
		return true;
	return store_execute(&statement, &args) > 0;
}

/*
 * Insert the session of the run. False when there is one of this id.
 */
static bool
insert_session(const NewRun *run)
{
#define INSERT_SESSION \
		"INSERT INTO agno.sessions (session_id, user_id, metadata, owner," \
		" agent_id, session_state, created_at, updated_at) " \
		"VALUES ($1, $2, $3, $4::pg_catalog.regrole, $5, $6, $7, $7) "
	static Statement insert_new = {
		INSERT_SESSION
	};
	static Statement insert = {
		INSERT_SESSION "ON CONFLICT (session_id) DO NOTHING"
	};
	Arguments	args = {0};

	bind_text(&args, run->session_id);
	bind_nullable(&args, TEXTOID, run->user_id);
	bind_nullable(&args, JSONBOID, run->metadata);
	bind_oid(&args, run->owner);
	bind_nullable(&args, TEXTOID, run->agent_id);
	bind_nullable(&args, JSONBOID, run->first_state);
	bind_time(&args, run->created_at);
	return store_execute(run->new_session ? &insert_new : &insert, &args) > 0;
}

/*
 * Read a row of the owner of the run's session, its user_id, and whether that
 * is the run's. False when there is no such session.
 */
static bool
lock_session(const NewRun *run, RowReader *row)
{
	/* Locked, so that it is not deleted before this run is visible. */
	static Statement statement = {
		"SELECT s.owner::pg_catalog.oid, s.user_id, s.user_id" EQ "$2 "
		"FROM agno.sessions s WHERE s.session_id" EQ "$1 FOR KEY SHARE"
	};
	Arguments	args = {0};

	bind_text(&args, run->session_id);
	bind_nullable(&args, TEXTOID, run->user_id);
	if (store_execute(&statement, &args) == 0)
		return false;
	*row = row_reader(0);
	return true;
}

/*
 * Check that the run may join its session, of which this is what
 * lock_session() read.
 */
static void
join_session(NewRun *run, RowReader *row)
{
	NullableDatum user_id;

	if (next_oid(row) != run->owner)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for session \"%s\"",
						run->session_id),
				 errdetail("The session belongs to another role.")));
	user_id = next_nullable(row);
	if (user_id.isnull)
		return;
	if (run->user_id.isnull)
		run->user_id = user_id;
	else if (!next_bool(row))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for session \"%s\"",
						run->session_id),
				 errdetail("The session belongs to another user_id.")));
}

/*
 * Open the session of the run, or check that the run may join it: a session
 * belongs to its owner, and to its user_id when it has one. A run without a
 * user_id gets that of its session. Errors: insufficient_privilege,
 * t_r_serialization_failure.
 */
void
store_open_session(NewRun *run)
{
	/*
	 * In a transaction with one snapshot, as those of routers are, INSERT
	 * fails if the session has been changed since; to lock it does not.
	 */
	bool		lock_first = IsolationUsesXactSnapshot() && !run->new_session;

	for (int tries = 1;; tries++)
	{
		RowReader	row;

		if (!lock_first && insert_session(run))
			return;
		if (lock_session(run, &row))
		{
			join_session(run, &row);
			return;
		}
		if (lock_first && insert_session(run))
			return;

		/* It has been deleted in between, or this snapshot is too old. */
		if (IsolationUsesXactSnapshot() || tries == MAX_SESSION_TRIES)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not serialize access due to concurrent update")));
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Put the run into the queue, where the runner of this shard finds it.
 */
static void
insert_queue(const NewRun *run, int shard)
{
	static Statement statement = {
		"INSERT INTO agno.run_queue (run_id, session_id, state, priority,"
		" run_at, accepted_at, shard, runner, owner, parent_run_id,"
		" parent_shard) "
		"VALUES ($1, $2, " SCHEDULED_OR_READY("$4") ", $3, $4, $5, $6, $7,"
		" $8::pg_catalog.regrole, $9, $10)"
	};
	Arguments	args = {0};
	NullableDatum parent_shard = {0, true};

	bind_text(&args, run->run_id);
	bind_text(&args, run->session_id);
	bind_int(&args, run->priority);
	bind_nullable(&args, TIMESTAMPTZOID, run->run_at);
	bind_time(&args, run->created_at);
	bind_int16(&args, shard);
	bind_int16(&args, shard_runner(shard, agno_runners));
	bind_oid(&args, run->owner);
	bind_text(&args, run->parent_run_id);
	if (run->parent_session_id != NULL)
	{
		parent_shard.isnull = false;
		parent_shard.value =
			Int16GetDatum(shard_of_session(run->parent_session_id));
	}
	bind_nullable(&args, INT2OID, parent_shard);
	store_execute(&statement, &args);
}

/*
 * Insert the run and put it into the queue, where the runner finds it. Even a
 * run that is cancelled already goes there, since the runner announces ends.
 * False when somebody has the run's id, which the caller chose if it is given.
 */
bool
store_insert_run(const NewRun *run, bool id_given)
{
	/* $4 is what a cancelled run says, and null for others. */
#define INSERT_RUN \
		"INSERT INTO agno.runs (run_id, session_id, user_id, status, input," \
		" content, model, model_provider, metadata, owner, priority," \
		" created_at, run_at, agent_id, session_state, finished_at," \
		" parent_run_id) " \
		"VALUES ($1, $2, $3, CASE WHEN $4 IS NULL" \
		" THEN 'PENDING'::agno.run_status" \
		" ELSE 'CANCELLED'::agno.run_status END, $5, $4, $6, $7, $8," \
		" $9::pg_catalog.regrole, $10, $14, $11, $12, $13," \
		" CASE WHEN $4 IS NOT NULL THEN pg_catalog.clock_timestamp() END, $15) "
	static Statement insert_new = {
		INSERT_RUN
	};
	static Statement insert = {
		INSERT_RUN "ON CONFLICT (run_id) DO NOTHING"
	};
	Arguments	args = {0};
	int			shard = shard_of_session(run->session_id);

	bind_text(&args, run->run_id);
	bind_text(&args, run->session_id);
	bind_nullable(&args, TEXTOID, run->user_id);
	bind_text(&args,
			  run->cancelled ? run_cancelled_text(run->run_id) : NULL);
	bind_datum(&args, TEXTOID, run->input);
	bind_text(&args, run->model);
	bind_text(&args, run->model_server);
	bind_nullable(&args, JSONBOID, run->metadata);
	bind_oid(&args, run->owner);
	bind_int(&args, run->priority);
	bind_nullable(&args, TIMESTAMPTZOID, run->run_at);
	bind_nullable(&args, TEXTOID, run->agent_id);
	bind_nullable(&args, JSONBOID, run->session_state);
	bind_time(&args, run->created_at);
	bind_text(&args, run->parent_run_id);
	if (store_execute(id_given ? &insert : &insert_new, &args) == 0)
		return false;
	insert_queue(run, shard);
	if (run->cancelled)
		store_put_signal(run->run_id, run->owner, shard, SIGNAL_CANCEL);
	return true;
}

/*-------------------------------------------------------------------------
 * Requeueing
 *-------------------------------------------------------------------------
 */

/*
 * The run may be started as often again as it could be at first, and its requests repeated.
 */
static void
allow_attempts(const char *run_id)
{
	static Statement statement = {
		"INSERT INTO agno.run_requests AS d (run_id, owner, attempts_before) "
		"SELECT r.run_id, r.owner, r.attempt "
		"FROM agno.runs r WHERE r.run_id" EQ "$1 "
		"ON CONFLICT (run_id) DO UPDATE SET response_id = NULL,"
		" retries = d.retries OPERATOR(pg_catalog.+) COALESCE(d.repetitions, 0),"
		" repetitions = NULL, attempts_before = excluded.attempts_before"
	};
	Arguments	args = {0};

	bind_text(&args, run_id);
	store_execute(&statement, &args);
}

/*
 * The shard of the run that has enqueued this one; null if there is none.
 */
static NullableDatum
shard_of_parent(const char *run_id)
{
	static Statement statement = {
		"SELECT p.session_id FROM agno.runs r JOIN agno.runs p"
		" ON p.run_id" EQ "r.parent_run_id WHERE r.run_id" EQ "$1"
	};
	Arguments	args = {0};
	NullableDatum shard = {0, true};
	RowReader	row;

	bind_text(&args, run_id);
	if (store_execute(&statement, &args) == 0)
		return shard;
	row = row_reader(0);
	shard.value = Int16GetDatum(shard_of_session(next_text(&row)));
	shard.isnull = false;
	return shard;
}

/*
 * Whether this run is in the queue.
 */
bool
store_is_queued(const char *run_id)
{
	static Statement statement = {
		"SELECT FROM agno.run_queue q WHERE q.run_id" EQ "$1",
		.read_only = true
	};
	Arguments	args = {0};

	bind_text(&args, run_id);
	return store_execute(&statement, &args) > 0;
}

/*
 * Put a run that ended in ERROR, and is locked, back into the queue, with this
 * time of acceptance.
 */
void
store_requeue(const char *run_id, Oid owner, const char *session_id,
			  TimestampTz accepted_at)
{
	static Statement reset = {
		"UPDATE agno.runs r SET status = 'PENDING'::agno.run_status,"
		" content = NULL, content_type = NULL, reasoning_content = NULL,"
		" messages = NULL, metrics = NULL, error = NULL, run_at = NULL,"
		" started_at = NULL, finished_at = NULL "
		"WHERE r.run_id" EQ "$1"
	};
	static Statement queue = {
		"INSERT INTO agno.run_queue (run_id, session_id, state, priority,"
		" accepted_at, shard, runner, owner, parent_run_id, parent_shard) "
		"SELECT r.run_id, r.session_id, " READY ","
		" r.priority, $2, $3, $4, r.owner,"
		" CASE WHEN $5 IS NOT NULL THEN r.parent_run_id END, $5 "
		"FROM agno.runs r WHERE r.run_id" EQ "$1 "
		"ON CONFLICT (run_id) DO NOTHING"
	};
	Arguments	reset_args = {0};
	Arguments	args = {0};
	NullableDatum parent_shard = shard_of_parent(run_id);
	int			shard = shard_of_session(session_id);

	allow_attempts(run_id);
	store_drop_callback(run_id);
	bind_text(&reset_args, run_id);
	store_execute(&reset, &reset_args);
	bind_text(&args, run_id);
	bind_time(&args, accepted_at);
	bind_int16(&args, shard);
	bind_int16(&args, shard_runner(shard, agno_runners));
	bind_nullable(&args, INT2OID, parent_shard);
	if (store_execute(&queue, &args) > 0)
		return;

	/*
	 * It is being called back, or has been a moment ago: its runner is to
	 * see.
	 */
	store_put_signal(run_id, owner, shard, SIGNAL_REQUEUED);
}

/*-------------------------------------------------------------------------
 * Cancelling
 *-------------------------------------------------------------------------
 */

/*
 * End a run that is PENDING or PAUSED, and locked, in CANCELLED. content is
 * what it says then, unless it is to keep what it says already.
 */
void
store_cancel_waiting(const char *run_id, const char *content, bool keep)
{
	static Statement statement = {
		"UPDATE agno.runs r SET status = 'CANCELLED'::agno.run_status,"
		" content = COALESCE(CASE WHEN $3 THEN r.content END, $2),"
		" finished_at = pg_catalog.clock_timestamp() "
		"WHERE r.run_id" EQ "$1"
	};
	Arguments	args = {0};

	bind_text(&args, run_id);
	bind_text(&args, content);
	bind_bool(&args, keep);
	store_execute(&statement, &args);
}

/*
 * Tell the runner of this shard, or with ALL_SHARDS every runner, something about
 * a run.
 */
void
store_put_signal(const char *run_id, Oid owner, int shard, SignalKind kind)
{
	static Statement statement = {
		"INSERT INTO agno.run_signals (run_id, owner, kind, shard) "
		"SELECT $1, $2::pg_catalog.regrole, $3, s "
		"FROM pg_catalog.generate_series($4, $5) s"
	};
	bool		all = shard == ALL_SHARDS;
	Arguments	args = {0};

	bind_text(&args, run_id);
	bind_oid(&args, owner);
	bind_char(&args, (char) kind);
	bind_int(&args, all ? 0 : shard);
	bind_int(&args, all ? agno_runners - 1 : shard);
	store_execute(&statement, &args);
}

/*
 * Keep a cancel for a run that does not exist yet.
 */
void
store_put_marker(const char *run_id, Oid owner)
{
	static Statement statement = {
		"INSERT INTO agno.cancellations AS c (run_id, owner, requested_at) "
		"VALUES ($1, $2::pg_catalog.regrole, pg_catalog.clock_timestamp()) "
		"ON CONFLICT (run_id, owner) DO UPDATE "
		"SET requested_at = excluded.requested_at"
	};
	Arguments	args = {0};

	bind_text(&args, run_id);
	bind_oid(&args, owner);
	store_execute(&statement, &args);
}

/*
 * Whether a cancel has been waiting for a run of this id and owner. If so,
 * its marker has done its work and is gone.
 */
bool
store_take_marker(const char *run_id, Oid owner)
{
	static Statement statement = {
		"DELETE FROM agno.cancellations c WHERE c.run_id" EQ "$1 "
		"AND c.owner" EQ "$2::pg_catalog.regrole"
	};
	Arguments	args = {0};

	bind_text(&args, run_id);
	bind_oid(&args, owner);
	return store_execute(&statement, &args) > 0;
}

/*
 * How many markers this role has; no more than limit are counted.
 */
int64
store_count_markers(Oid owner, int limit)
{
	static Statement statement = {
		"SELECT pg_catalog.count(*) FROM"
		" (SELECT FROM agno.cancellations c"
		" WHERE c.owner" EQ "$1::pg_catalog.regrole LIMIT $2) c"
	};
	Arguments	args = {0};
	RowReader	row;

	bind_oid(&args, owner);
	bind_int(&args, limit);
	store_execute(&statement, &args);
	row = row_reader(0);
	return next_int64(&row);
}
