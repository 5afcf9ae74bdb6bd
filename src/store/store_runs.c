/*-------------------------------------------------------------------------
 *
 * store_runs.c
 *	  The tables of agno_bg: what backends do with runs for their users.
 *
 * Called by api.c and enqueue.c between store_enter() and store_leave(). The
 * statements run with the rights of the tables' owner: every name of a type, a
 * function or an operator in them says its schema, and a test looks after it.
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
#include "store/store_internal.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/snapmgr.h"

#define EQ " OPERATOR(pg_catalog.=) "

/* How often a session is tried to be opened that others delete. */
#define MAX_SESSION_TRIES 10

/* The columns that read_state() reads. */
#define STATE_COLUMNS \
	" r.run_id, r.session_id, r.status, r.owner, r.content, r.xmin "

/*
 * Read a row of STATE_COLUMNS into the current memory context.
 */
static void
read_state(RunRow *state)
{
	bool		isnull;
	Datum		xmin;

	state->run_id = store_text(0, 1);
	state->session_id = store_text(0, 2);
	state->status = run_status_parse(store_text(0, 3));
	state->owner = DatumGetObjectId(store_column(0, 4, &isnull));
	state->content = store_text(0, 5);
	xmin = store_column(0, 6, &isnull);
	state->mine =
		TransactionIdIsCurrentTransactionId(DatumGetTransactionId(xmin));
}

/*
 * Look at a run as it is now. False when there is none. Leaves no snapshot
 * behind, as a statement that may write would do in a procedure.
 */
bool
store_find_run(const char *run_id, RunRow *state)
{
	static Statement statement = {
		"SELECT" STATE_COLUMNS "FROM agno.runs r WHERE r.run_id" EQ "$1",
		1, {TEXTOID}, true
	};
	Datum		values[] = {CStringGetTextDatum(run_id)};
	bool		found;

	PushActiveSnapshot(GetTransactionSnapshot());
	found = store_execute(&statement, values, NULL) > 0;
	if (found)
		read_state(state);
	PopActiveSnapshot();
	return found;
}

/*
 * Lock a run until the end of the transaction, and look at it then.
 */
bool
store_lock_run(const char *run_id, RunRow *state)
{
	static Statement statement = {
		"SELECT" STATE_COLUMNS "FROM agno.runs r WHERE r.run_id" EQ "$1 "
		"FOR NO KEY UPDATE",
		1, {TEXTOID}
	};
	Datum		values[] = {CStringGetTextDatum(run_id)};

	if (store_execute(&statement, values, NULL) == 0)
		return false;
	read_state(state);
	return true;
}

/*
 * A whole row of agno.runs, or NULL when there is none.
 */
HeapTuple
store_copy_run(const char *run_id)
{
	static Statement statement = {
		"SELECT r FROM agno.runs r WHERE r.run_id" EQ "$1",
		1, {TEXTOID}
	};
	Datum		values[] = {CStringGetTextDatum(run_id)};
	HeapTupleHeader row;
	HeapTupleData tuple;
	bool		isnull;

	if (store_execute(&statement, values, NULL) == 0)
		return NULL;
	row = DatumGetHeapTupleHeader(store_column(0, 1, &isnull));
	tuple.t_len = HeapTupleHeaderGetDatumLength(row);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = row;
	return heap_copytuple(&tuple);
}

/*
 * The run that the owner has enqueued with this key before. Errors:
 * unique_violation if that request had another hash.
 */
bool
store_find_idempotent(Oid owner, Datum key, Datum hash, RunRow *state)
{
	static Statement statement = {
		"SELECT" STATE_COLUMNS ", q.request_hash" EQ "$3 "
		"FROM agno.run_requests q "
		"JOIN agno.runs r ON r.run_id" EQ "q.run_id "
		"WHERE q.owner" EQ "$1::pg_catalog.regrole "
		"AND q.idempotency_key" EQ "$2",
		3, {OIDOID, TEXTOID, BYTEAOID}
	};
	Datum		values[] = {ObjectIdGetDatum(owner), key, hash};
	bool		isnull;
	bool		same;

	if (store_execute(&statement, values, NULL) == 0)
		return false;
	read_state(state);
	/* That of a run which an older version has accepted is not known. */
	same = DatumGetBool(store_column(0, 7, &isnull)) || isnull;
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("idempotency_key \"%s\" has been used for another request",
						TextDatumGetCString(key)),
				 errdetail("Run \"%s\" was enqueued with it.", state->run_id),
				 errhint("Repeat the call with the same arguments to get that run back, or use another key.")));
	return true;
}

static Datum
or_null(NullableDatum datum, char *null)
{
	*null = datum.isnull ? 'n' : ' ';
	return datum.value;
}

/*
 * A column of the first row that store_execute() found, of its own memory.
 */
static NullableDatum
copy_column(int column)
{
	Form_pg_attribute attribute = TupleDescAttr(SPI_tuptable->tupdesc,
												column - 1);
	NullableDatum datum;

	datum.value = store_column(0, column, &datum.isnull);
	if (!datum.isnull)
		datum.value = datumCopy(datum.value, attribute->attbyval,
								attribute->attlen);
	return datum;
}

/*
 * The agent of this id. False when there is none.
 */
bool
store_find_agent(const char *agent_id, AgentRow *agent)
{
	static Statement statement = {
		"SELECT a.owner::pg_catalog.oid, a.model,"
		" pg_catalog.cardinality(a.tools) OPERATOR(pg_catalog.>) 0, a.stream,"
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
		"FROM agno.agents a WHERE a.agent_id" EQ "$1",
		1, {TEXTOID}
	};
	Datum		values[] = {CStringGetTextDatum(agent_id)};
	bool		isnull;

	if (store_execute(&statement, values, NULL) == 0)
		return false;
	agent->owner = DatumGetObjectId(store_column(0, 1, &isnull));
	agent->model = store_text(0, 2);
	agent->has_tools = DatumGetBool(store_column(0, 3, &isnull)) && !isnull;
	agent->stream = copy_column(4);
	agent->timeout = copy_column(5);
	agent->retries = copy_column(6);
	agent->output_schema = copy_column(7);
	agent->model_options = copy_column(8);
	agent->metadata = copy_column(9);
	agent->session_state = copy_column(10);
	agent->num_history_runs = copy_column(11);
	agent->num_history_messages = copy_column(12);
	agent->definition = copy_column(13);
	return true;
}

/*
 * Keep what agno_arun was told beyond the columns of agno.runs. False when
 * the owner has used the idempotency key, if only a moment ago.
 */
bool
store_insert_request(const NewRun *run)
{
	static Statement statement = {
		"INSERT INTO agno.run_requests (run_id, owner, idempotency_key,"
		" timeout, max_attempts, retries, model_options, output_schema,"
		" session_state, agent, num_history_runs, num_history_messages,"
		" stream, request_hash) "
		"VALUES ($1, $2::pg_catalog.regrole, $3, $4, $5, $6, $7, $8, $9, $10,"
		" $11, $12, $13, $14) "
		"ON CONFLICT (owner, idempotency_key) "
		"WHERE idempotency_key IS NOT NULL DO NOTHING",
		14, {TEXTOID, OIDOID, TEXTOID, INTERVALOID, INT4OID, INT4OID,
			JSONBOID, JSONBOID, JSONBOID, JSONBOID, INT4OID, INT4OID,
		BOOLOID, BYTEAOID}
	};
	const NullableDatum given[] = {
		run->idempotency_key, run->timeout, run->max_attempts, run->retries,
		run->model_options, run->output_schema, run->session_state,
		run->agent, run->num_history_runs, run->num_history_messages,
		run->stream, run->request_hash
	};
	char		nulls[] = "              ";
	Datum		values[14];
	bool		any = false;

	for (int i = 0; i < (int) lengthof(given); i++)
	{
		values[i + 2] = or_null(given[i], &nulls[i + 2]);
		any |= !given[i].isnull;
	}
	if (!any)
		return true;
	values[0] = CStringGetTextDatum(run->run_id);
	values[1] = ObjectIdGetDatum(run->owner);
	return store_execute(&statement, values, nulls) > 0;
}

/*
 * How many runs there are that have not ended, of this owner or, if it is
 * invalid, of all; no more than limit are counted.
 */
int64
store_count_queue(Oid owner, int limit)
{
	static Statement all = {
		"SELECT pg_catalog.count(*) FROM"
		" (SELECT FROM agno.run_queue LIMIT $1) q",
		1, {INT4OID}
	};
	static Statement its = {
		"SELECT pg_catalog.count(*) FROM"
		" (SELECT FROM agno.run_queue q"
		" WHERE q.owner" EQ "$2::pg_catalog.regrole LIMIT $1) q",
		2, {INT4OID, OIDOID}
	};
	Datum		values[] = {Int32GetDatum(limit), ObjectIdGetDatum(owner)};

	store_execute(OidIsValid(owner) ? &its : &all, values, NULL);
	return store_number(0, 1);
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
		" WHERE c.owner" EQ "$1::pg_catalog.regrole LIMIT $2) c",
		2, {OIDOID, INT4OID}
	};
	Datum		values[] = {ObjectIdGetDatum(owner), Int32GetDatum(limit)};

	store_execute(&statement, values, NULL);
	return store_number(0, 1);
}

/*
 * Put a run that ended in ERROR, and is locked, back into the queue. It may be
 * started as often again as it could be at first.
 */
void
store_requeue(const char *run_id, const char *session_id,
			  TimestampTz accepted_at)
{
	static Statement allow = {
		"INSERT INTO agno.run_requests AS d (run_id, owner, max_attempts) "
		"SELECT r.run_id, r.owner, r.attempt OPERATOR(pg_catalog.+) $2 "
		"FROM agno.runs r WHERE r.run_id" EQ "$1 "
		"ON CONFLICT (run_id) DO UPDATE SET response_id = NULL, max_attempts ="
		" excluded.max_attempts OPERATOR(pg_catalog.-) $2"
		" OPERATOR(pg_catalog.+) COALESCE(d.max_attempts, $2)",
		2, {TEXTOID, INT4OID}
	};
	static Statement reset = {
		"UPDATE agno.runs r SET status = 'PENDING'::agno.run_status,"
		" content = NULL, content_type = NULL, reasoning_content = NULL,"
		" messages = NULL, metrics = NULL, error = NULL, run_at = NULL,"
		" started_at = NULL, finished_at = NULL "
		"WHERE r.run_id" EQ "$1",
		1, {TEXTOID}
	};
	static Statement queue = {
		"INSERT INTO agno.run_queue (run_id, session_id, state, priority,"
		" accepted_at, shard, runner, owner) "
		"SELECT r.run_id, r.session_id, 'r'::pg_catalog.\"char\","
		" r.priority, $2, $3, $4, r.owner "
		"FROM agno.runs r WHERE r.run_id" EQ "$1",
		4, {TEXTOID, TIMESTAMPTZOID, INT2OID, INT2OID}
	};
	Datum		values[4];
	int			shard = shard_of_session(session_id);

	values[0] = CStringGetTextDatum(run_id);
	values[1] = Int32GetDatum(agno_max_attempts);
	store_execute(&allow, values, NULL);
	store_execute(&reset, values, NULL);
	values[1] = TimestampTzGetDatum(accepted_at);
	values[2] = Int16GetDatum(shard);
	values[3] = Int16GetDatum(shard_runner(shard, agno_runners));
	store_execute(&queue, values, NULL);
}

/*
 * Open the session of the run, or check that the run may join it: a session
 * belongs to its owner, and to its user_id when it has one. A run without a
 * user_id gets that of its session. Errors: insufficient_privilege.
 */
void
store_open_session(NewRun *run)
{
#define INSERT_SESSION \
		"INSERT INTO agno.sessions (session_id, user_id, metadata, owner," \
		" agent_id, session_state, created_at, updated_at) " \
		"VALUES ($1, $2, $3, $4::pg_catalog.regrole, $5, $6, $7, $7) "
	static Statement insert_new = {
		INSERT_SESSION,
		7, {TEXTOID, TEXTOID, JSONBOID, OIDOID, TEXTOID, JSONBOID,
		TIMESTAMPTZOID}
	};
	static Statement insert = {
		INSERT_SESSION "ON CONFLICT (session_id) DO NOTHING",
		7, {TEXTOID, TEXTOID, JSONBOID, OIDOID, TEXTOID, JSONBOID,
		TIMESTAMPTZOID}
	};
	/* Locked, so that it is not deleted before this run is visible. */
	static Statement select = {
		"SELECT s.owner::pg_catalog.oid, s.user_id, s.user_id" EQ "$2 "
		"FROM agno.sessions s WHERE s.session_id" EQ "$1 FOR KEY SHARE",
		2, {TEXTOID, TEXTOID}
	};
	char		nulls[] = "       ";
	Datum		values[7];
	Datum		user_id;
	bool		same_user;
	bool		isnull;

	values[0] = CStringGetTextDatum(run->session_id);
	values[1] = or_null(run->user_id, &nulls[1]);
	values[2] = or_null(run->metadata, &nulls[2]);
	values[3] = ObjectIdGetDatum(run->owner);
	values[4] = or_null(run->agent_id, &nulls[4]);
	values[5] = or_null(run->first_state, &nulls[5]);
	values[6] = TimestampTzGetDatum(run->created_at);
	for (int tries = 1;; tries++)
	{
		if (store_execute(run->new_session ? &insert_new : &insert, values,
						  nulls) > 0)
			return;
		if (store_execute(&select, values, nulls) > 0)
			break;

		/* It has been deleted in between, or this snapshot is too old. */
		if (IsolationUsesXactSnapshot() || tries == MAX_SESSION_TRIES)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not serialize access due to concurrent update")));
		CHECK_FOR_INTERRUPTS();
	}

	if (DatumGetObjectId(store_column(0, 1, &isnull)) != run->owner)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for session \"%s\"",
						run->session_id),
				 errdetail("The session belongs to another role.")));

	user_id = store_column(0, 2, &isnull);
	if (isnull)
		return;
	if (run->user_id.isnull)
	{
		run->user_id.value = datumCopy(user_id, false, -1);
		run->user_id.isnull = false;
		return;
	}
	same_user = DatumGetBool(store_column(0, 3, &isnull));
	if (!same_user)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for session \"%s\"",
						run->session_id),
				 errdetail("The session belongs to another user_id.")));
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
		"AND c.owner" EQ "$2::pg_catalog.regrole",
		2, {TEXTOID, OIDOID}
	};
	Datum		values[] = {
		CStringGetTextDatum(run_id), ObjectIdGetDatum(owner)
	};

	return store_execute(&statement, values, NULL) > 0;
}

/*
 * Insert the run and put it into the queue, where the runner finds it. Even a
 * run that is cancelled already goes there, since the runner announces ends.
 */
void
store_insert_run(const NewRun *run)
{
	static Statement insert_run = {
		"INSERT INTO agno.runs (run_id, session_id, user_id, status, input,"
		" content, model, model_provider, metadata, owner, priority,"
		" created_at, run_at, agent_id, session_state, finished_at) "
		"VALUES ($1, $2, $3, CASE WHEN $4 IS NULL"
		" THEN 'PENDING'::agno.run_status"
		" ELSE 'CANCELLED'::agno.run_status END, $5, $4, $6, $7, $8,"
		" $9::pg_catalog.regrole, $10, $14, $11, $12, $13,"
		" CASE WHEN $4 IS NOT NULL THEN pg_catalog.clock_timestamp() END)",
		14, {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
			JSONBOID, OIDOID, INT4OID, TIMESTAMPTZOID, TEXTOID, JSONBOID,
		TIMESTAMPTZOID}
	};
	static Statement insert_queue = {
		"INSERT INTO agno.run_queue (run_id, session_id, state, priority,"
		" run_at, accepted_at, shard, runner, owner) "
		"VALUES ($1, $2, CASE WHEN $4 OPERATOR(pg_catalog.>)"
		" pg_catalog.clock_timestamp() THEN 's'::pg_catalog.\"char\""
		" ELSE 'r'::pg_catalog.\"char\" END, $3, $4, $5, $6, $7,"
		" $8::pg_catalog.regrole)",
		8, {TEXTOID, TEXTOID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID,
		INT2OID, INT2OID, OIDOID}
	};
	char		nulls[] = "              ";
	Datum		values[14];
	Datum		queue_values[8];
	char		queue_nulls[] = "        ";
	int			shard = shard_of_session(run->session_id);

	values[0] = CStringGetTextDatum(run->run_id);
	values[1] = CStringGetTextDatum(run->session_id);
	values[2] = or_null(run->user_id, &nulls[2]);
	nulls[3] = run->cancelled ? ' ' : 'n';
	values[3] = run->cancelled ?
		CStringGetTextDatum(run_cancelled_text(run->run_id)) : (Datum) 0;
	values[4] = run->input;
	values[5] = CStringGetTextDatum(run->model);
	values[6] = CStringGetTextDatum(run->model_server);
	values[7] = or_null(run->metadata, &nulls[7]);
	values[8] = ObjectIdGetDatum(run->owner);
	values[9] = Int32GetDatum(run->priority);
	values[10] = or_null(run->run_at, &nulls[10]);
	values[11] = or_null(run->agent_id, &nulls[11]);
	values[12] = or_null(run->session_state, &nulls[12]);
	values[13] = TimestampTzGetDatum(run->created_at);
	store_execute(&insert_run, values, nulls);

	queue_values[0] = values[0];
	queue_values[1] = values[1];
	queue_values[2] = values[9];
	queue_values[3] = values[10];
	queue_nulls[3] = nulls[10];
	queue_values[4] = values[13];
	queue_values[5] = Int16GetDatum(shard);
	queue_values[6] = Int16GetDatum(shard_runner(shard, agno_runners));
	queue_values[7] = values[8];
	store_execute(&insert_queue, queue_values, queue_nulls);
	if (run->cancelled)
		store_put_signal(run->run_id, run->owner, shard);
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
		"SET requested_at = excluded.requested_at",
		2, {TEXTOID, OIDOID}
	};
	Datum		values[] = {
		CStringGetTextDatum(run_id), ObjectIdGetDatum(owner)
	};

	store_execute(&statement, values, NULL);
}

/*
 * End a run that is PENDING or PAUSED, and locked, in CANCELLED.
 */
void
store_cancel_waiting(const char *run_id, const char *content)
{
	static Statement statement = {
		"UPDATE agno.runs r SET status = 'CANCELLED'::agno.run_status,"
		" content = COALESCE(r.content, $2),"
		" finished_at = pg_catalog.clock_timestamp() "
		"WHERE r.run_id" EQ "$1",
		2, {TEXTOID, TEXTOID}
	};
	Datum		values[] = {
		CStringGetTextDatum(run_id), CStringGetTextDatum(content)
	};

	store_execute(&statement, values, NULL);
}

/*
 * Tell the runner of this shard, or all, that this run is to be cancelled, or
 * has been.
 */
void
store_put_signal(const char *run_id, Oid owner, int shard)
{
	static Statement statement = {
		"INSERT INTO agno.run_signals (run_id, owner, shard) "
		"SELECT $1, $2::pg_catalog.regrole, s "
		"FROM pg_catalog.generate_series($3, $4) s",
		4, {TEXTOID, OIDOID, INT4OID, INT4OID}
	};
	bool		all = shard == ALL_SHARDS;
	Datum		values[] = {
		CStringGetTextDatum(run_id), ObjectIdGetDatum(owner),
		Int32GetDatum(all ? 0 : shard),
		Int32GetDatum(all ? agno_runners - 1 : shard)
	};

	store_execute(&statement, values, NULL);
}

/*
 * Change how full the pages of a table of the schema agno are written, from now
 * on in this transaction.
 */
void
store_set_fillfactor(const char *table, int fillfactor)
{
	StoreUser	user = store_enter();
	char	   *sql = psprintf("ALTER TABLE agno.%s SET (fillfactor = %d)",
							   quote_identifier(table), fillfactor);

	if (SPI_execute(sql, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not execute \"%s\"", sql);
	store_leave(user);
}

/*
 * Somebody writes into our tables: the next patrol is to look at all runs.
 */
void
store_forget_check(void)
{
	static Statement statement = {
		"DELETE FROM agno.queue_check",
		0, {0}
	};
	StoreUser	user = store_enter();

	store_execute(&statement, NULL, NULL);
	store_leave(user);
}

/*
 * Commit the transaction of a procedure that has been called outside of a
 * transaction block, and go on in a new one.
 */
void
store_commit_call(void)
{
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	SPI_commit();
	SPI_finish();
}
