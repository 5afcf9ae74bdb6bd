/*-------------------------------------------------------------------------
 *
 * store_runs.c
 *	  The tables of agno_bg: what backends do with runs for their users.
 *
 * Called by api.c between store_enter() and store_leave(). The search_path is
 * the user's, and the statements run with the rights of the tables' owner: so
 * every name and every operator in them says its schema.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "store.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/snapmgr.h"

#define EQ " OPERATOR(pg_catalog.=) "

/* The columns that read_state() reads. */
#define STATE_COLUMNS \
	" r.run_id, r.session_id, r.status, r.owner, r.content, r.xmin "

/*
 * Read a row of STATE_COLUMNS into the current memory context.
 */
static void
read_state(RunState *state)
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
store_find_run(const char *run_id, RunState *state)
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
store_lock_run(const char *run_id, RunState *state)
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
		"SELECT r.* FROM agno.runs r WHERE r.run_id" EQ "$1",
		1, {TEXTOID}
	};
	Datum		values[] = {CStringGetTextDatum(run_id)};

	if (store_execute(&statement, values, NULL) == 0)
		return NULL;
	return SPI_copytuple(SPI_tuptable->vals[0]);
}

/*
 * The run that the owner has enqueued with this key before.
 */
bool
store_find_idempotent(Oid owner, Datum key, RunState *state)
{
	static Statement statement = {
		"SELECT" STATE_COLUMNS "FROM agno.run_requests q "
		"JOIN agno.runs r ON r.run_id" EQ "q.run_id "
		"WHERE q.owner" EQ "$1::pg_catalog.regrole "
		"AND q.idempotency_key" EQ "$2",
		2, {OIDOID, TEXTOID}
	};
	Datum		values[] = {ObjectIdGetDatum(owner), key};

	if (store_execute(&statement, values, NULL) == 0)
		return false;
	read_state(state);
	return true;
}

static Datum
or_null(NullableDatum datum, char *null)
{
	*null = datum.isnull ? 'n' : ' ';
	return datum.value;
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
		" timeout, max_attempts, model_options) "
		"VALUES ($1, $2::pg_catalog.regrole, $3, $4, $5, $6) "
		"ON CONFLICT (owner, idempotency_key) "
		"WHERE idempotency_key IS NOT NULL DO NOTHING",
		6, {TEXTOID, OIDOID, TEXTOID, INTERVALOID, INT4OID, JSONBOID}
	};
	char		nulls[] = "      ";
	Datum		values[6];

	if (run->idempotency_key.isnull && run->timeout.isnull &&
		run->max_attempts.isnull && run->model_options.isnull)
		return true;

	values[0] = CStringGetTextDatum(run->run_id);
	values[1] = ObjectIdGetDatum(run->owner);
	values[2] = or_null(run->idempotency_key, &nulls[2]);
	values[3] = or_null(run->timeout, &nulls[3]);
	values[4] = or_null(run->max_attempts, &nulls[4]);
	values[5] = or_null(run->model_options, &nulls[5]);
	return store_execute(&statement, values, nulls) > 0;
}

/*
 * Open the session of the run, or check that the run may join it: a session
 * belongs to its owner, and to its user_id when it has one. A run without a
 * user_id gets that of its session. Errors: insufficient_privilege.
 */
void
store_open_session(NewRun *run)
{
	static Statement insert = {
		"INSERT INTO agno.sessions (session_id, user_id, metadata, owner,"
		" created_at, updated_at) "
		"VALUES ($1, $2, $3, $4::pg_catalog.regrole,"
		" pg_catalog.clock_timestamp(), pg_catalog.clock_timestamp()) "
		"ON CONFLICT (session_id) DO NOTHING",
		4, {TEXTOID, TEXTOID, JSONBOID, OIDOID}
	};
	static Statement select = {
		"SELECT s.owner::pg_catalog.oid, s.user_id, s.user_id" EQ "$2 "
		"FROM agno.sessions s WHERE s.session_id" EQ "$1",
		2, {TEXTOID, TEXTOID}
	};
	char		nulls[] = "    ";
	Datum		values[4];
	Datum		user_id;
	bool		same_user;
	bool		isnull;

	values[0] = CStringGetTextDatum(run->session_id);
	values[1] = or_null(run->user_id, &nulls[1]);
	values[2] = or_null(run->metadata, &nulls[2]);
	values[3] = ObjectIdGetDatum(run->owner);
	if (store_execute(&insert, values, nulls) > 0)
		return;

	if (store_execute(&select, values, nulls) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent update")));

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
		" created_at, run_at, finished_at) "
		"VALUES ($1, $2, $3, CASE WHEN $4 IS NULL"
		" THEN 'PENDING'::agno.run_status"
		" ELSE 'CANCELLED'::agno.run_status END, $5, $4, $6, $7, $8,"
		" $9::pg_catalog.regrole, $10, pg_catalog.clock_timestamp(), $11,"
		" CASE WHEN $4 IS NOT NULL THEN pg_catalog.clock_timestamp() END)",
		11, {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
		JSONBOID, OIDOID, INT4OID, TIMESTAMPTZOID}
	};
	static Statement insert_queue = {
		"INSERT INTO agno.run_queue (run_id, session_id, state, priority,"
		" run_at) "
		"VALUES ($1, $2, CASE WHEN $4 OPERATOR(pg_catalog.>)"
		" pg_catalog.clock_timestamp() THEN 's'::\"char\""
		" ELSE 'r'::\"char\" END, $3, $4)",
		4, {TEXTOID, TEXTOID, INT4OID, TIMESTAMPTZOID}
	};
	char		nulls[] = "           ";
	Datum		values[11];
	Datum		queue_values[4];
	char		queue_nulls[] = "    ";

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
	store_execute(&insert_run, values, nulls);

	queue_values[0] = values[0];
	queue_values[1] = values[1];
	queue_values[2] = values[9];
	queue_values[3] = values[10];
	queue_nulls[3] = nulls[10];
	store_execute(&insert_queue, queue_values, queue_nulls);
	if (run->cancelled)
		store_put_signal(run->run_id, run->owner);
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
 * Tell the runner that this run is to be cancelled, or has been.
 */
void
store_put_signal(const char *run_id, Oid owner)
{
	static Statement statement = {
		"INSERT INTO agno.run_signals (run_id, owner) "
		"VALUES ($1, $2::pg_catalog.regrole)",
		2, {TEXTOID, OIDOID}
	};
	Datum		values[] = {
		CStringGetTextDatum(run_id), ObjectIdGetDatum(owner)
	};

	store_execute(&statement, values, NULL);
}
