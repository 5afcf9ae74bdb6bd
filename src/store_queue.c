/*-------------------------------------------------------------------------
 *
 * store_queue.c
 *	  The tables of agno_bg: what a runner does with the queue.
 *
 * Called by the runner between store_begin() and store_commit(). Statements
 * work on sets, so that a transaction with hundreds of runs has as many of
 * them as one with a single run.
 *
 * The runner never waits for a lock. Rows of agno.run_queue are touched by the
 * runner alone once they are there; rows of agno.runs, which a cancel may hold
 * locked for as long as its transaction likes, are locked with SKIP LOCKED
 * before they are changed. The search_path of the runner is pg_catalog.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/async.h"
#include "encoding.h"
#include "miscadmin.h"
#include "store.h"
#include "utils/builtins.h"

/* The channel that listeners learn of ends from. */
#define END_CHANNEL "agno_run"

/* Markers that met no run are removed after this. */
#define MARKER_LIFE "'1 day'::interval"

/* The rows that are for this runner; the two parameters are to be filled in. */
#define MINE(alias, runners, number) \
		alias ".shard::integer % " runners " = " number

/* Which runner this is, and of how many, as arguments of a statement. */
static Datum my_number = (Datum) 0;
static Datum runners = (Datum) 1;

/*
 * This process is the runner with this number. For each runner, all that
 * follows is about its own sessions.
 */
void
store_divide(int number, int count)
{
	my_number = Int32GetDatum(number);
	runners = Int32GetDatum(count);
}

/*
 * Everything that an earlier runner had in flight is ready again; what it had
 * found to be waiting is looked at anew. When it crashed because of one run,
 * this has been an attempt of that run, even if it was about to start it, and
 * of no other.
 */
void
store_recover(const char *culprit)
{
	static Statement blame = {
		"UPDATE agno.runs r SET attempt = r.attempt + 1 "
		"WHERE r.run_id = $1 AND r.status = 'PENDING'",
		1, {TEXTOID}
	};
	static Statement release = {
		"UPDATE agno.runs r SET status = 'PENDING', attempt = r.attempt -"
		" CASE WHEN r.run_id <> $3 THEN 1 ELSE 0 END "
		"FROM agno.run_queue q "
		"WHERE q.state = 'x' AND r.run_id = q.run_id "
		"AND r.status = 'RUNNING' AND " MINE("q", "$1", "$2"),
		3, {INT4OID, INT4OID, TEXTOID}
	};
	static Statement requeue = {
		"UPDATE agno.run_queue q SET state = 'r' "
		"WHERE q.state IN ('x', 'w', 'k', 'p') AND " MINE("q", "$1", "$2"),
		2, {INT4OID, INT4OID}
	};
	Datum		values[] = {runners, my_number, (Datum) 0};

	if (culprit != NULL)
	{
		values[2] = CStringGetTextDatum(culprit);
		store_execute(&blame, &values[2], NULL);
	}
	store_execute(&release, values, culprit != NULL ? "   " : "  n");
	store_execute(&requeue, values, NULL);
}

static List *
read_signals(uint64 count)
{
	List	   *signals = NIL;

	for (uint64 row = 0; row < count; row++)
	{
		Signal	   *signal = palloc(sizeof(Signal));
		bool		isnull;

		signal->run_id = store_text(row, 1);
		signal->owner = DatumGetObjectId(store_column(row, 2, &isnull));
		signal->shard = DatumGetInt16(store_column(row, 3, &isnull));
		signals = lappend(signals, signal);
	}
	return signals;
}

/*
 * Read and delete at most limit letters for this runner: a list of Signal.
 */
List *
store_take_signals(int limit)
{
	static Statement statement = {
		"DELETE FROM agno.run_signals s WHERE s.ctid = ANY (ARRAY("
		"SELECT l.ctid FROM agno.run_signals l"
		" WHERE " MINE("l", "$2", "$3") " LIMIT $1)) "
		"RETURNING s.run_id, s.owner, s.shard",
		3, {INT4OID, INT4OID, INT4OID}
	};
	Datum		values[] = {Int32GetDatum(limit), runners, my_number};

	return read_signals(store_execute(&statement, values, NULL));
}

/*
 * Read and delete the letters for this runner about these runs: a list of
 * Signal.
 */
List *
store_take_signals_of(char *const *run_ids, int count)
{
	static Statement statement = {
		"DELETE FROM agno.run_signals s WHERE s.run_id = ANY ($1)"
		" AND " MINE("s", "$2", "$3") " RETURNING s.run_id, s.owner, s.shard",
		3, {TEXTARRAYOID, INT4OID, INT4OID}
	};
	Datum		values[] = {
		store_text_array(run_ids, count), runners, my_number
	};

	return read_signals(store_execute(&statement, values, NULL));
}

/*
 * Write letters again that could not be followed yet.
 */
void
store_resend_signals(Signal **signals, int count)
{
	static Statement statement = {
		"INSERT INTO agno.run_signals (run_id, owner, shard) "
		"SELECT s.run_id, s.owner::oid, s.shard "
		"FROM unnest($1, $2, $3) AS s (run_id, owner, shard)",
		3, {TEXTARRAYOID, INT4ARRAYOID, INT4ARRAYOID}
	};
	char	  **run_ids = palloc(sizeof(char *) * count);
	int		   *owners = palloc(sizeof(int) * count);
	int		   *shards = palloc(sizeof(int) * count);
	Datum		values[3];

	for (int i = 0; i < count; i++)
	{
		run_ids[i] = signals[i]->run_id;
		owners[i] = (int) signals[i]->owner;
		shards[i] = signals[i]->shard;
	}
	values[0] = store_text_array(run_ids, count);
	values[1] = store_int_array(owners, count);
	values[2] = store_int_array(shards, count);
	store_execute(&statement, values, NULL);
}

/*
 * Lock those of these runs that nobody else has locked: a list of RunLock.
 */
List *
store_lock_runs(char *const *run_ids, int count)
{
	static Statement statement = {
		"SELECT r.run_id, r.session_id, r.status, r.owner, r.attempt, r.ctid "
		"FROM agno.runs r WHERE r.run_id = ANY ($1) "
		"FOR NO KEY UPDATE SKIP LOCKED",
		1, {TEXTARRAYOID}
	};
	Datum		values[] = {store_text_array(run_ids, count)};
	uint64		locked = store_execute(&statement, values, NULL);
	List	   *locks = NIL;

	for (uint64 row = 0; row < locked; row++)
	{
		RunLock    *lock = palloc(sizeof(RunLock));
		bool		isnull;

		lock->run_id = store_text(row, 1);
		lock->session_id = store_text(row, 2);
		lock->status = run_status_parse(store_text(row, 3));
		lock->owner = DatumGetObjectId(store_column(row, 4, &isnull));
		lock->attempt = DatumGetInt32(store_column(row, 5, &isnull));
		lock->row = *(ItemPointer) DatumGetPointer(store_column(row, 6, &isnull));
		locks = lappend(locks, lock);
	}
	return locks;
}

/*
 * Which of these runs there are, locked or not: a list of ids.
 */
List *
store_existing_runs(char *const *run_ids, int count)
{
	static Statement statement = {
		"SELECT r.run_id FROM agno.runs r WHERE r.run_id = ANY ($1)",
		1, {TEXTARRAYOID}
	};
	Datum		values[] = {store_text_array(run_ids, count)};
	uint64		found = store_execute(&statement, values, NULL);
	List	   *ids = NIL;

	for (uint64 row = 0; row < found; row++)
		ids = lappend(ids, store_text(row, 1));
	return ids;
}

/*
 * Which of these runs are in the queue, for this runner: a list of ids.
 */
List *
store_queued_runs(char *const *run_ids, int count)
{
	static Statement statement = {
		"SELECT q.run_id FROM agno.run_queue q WHERE q.run_id = ANY ($1)"
		" AND " MINE("q", "$2", "$3"),
		3, {TEXTARRAYOID, INT4OID, INT4OID}
	};
	Datum		values[] = {
		store_text_array(run_ids, count), runners, my_number
	};
	uint64		found = store_execute(&statement, values, NULL);
	List	   *ids = NIL;

	for (uint64 row = 0; row < found; row++)
		ids = lappend(ids, store_text(row, 1));
	return ids;
}

/*
 * These runs have ended, or have been deleted: remove them from the queue,
 * announce it when the transaction commits, and let the next run of each
 * session go ahead.
 */
void
store_leave_queue(char *const *run_ids, char *const *session_ids,
				  int count)
{
	static Statement delete = {
		"DELETE FROM agno.run_queue q WHERE q.run_id = ANY ($1) "
		"RETURNING q.run_id",
		1, {TEXTARRAYOID}
	};
	static Statement advance = {
		"UPDATE agno.run_queue q "
		"SET state = CASE WHEN q.run_at > clock_timestamp()"
		" THEN 's'::\"char\" ELSE 'r'::\"char\" END "
		"FROM (SELECT DISTINCT s.id FROM unnest($1) AS s (id)) s, "
		"LATERAL (SELECT w.run_id, w.state FROM agno.run_queue w"
		" WHERE w.session_id = s.id ORDER BY w.accepted_at LIMIT 1) next "
		"WHERE q.run_id = next.run_id AND next.state = 'w'",
		1, {TEXTARRAYOID}
	};
	Datum		values[1];
	uint64		left;

	values[0] = store_text_array(run_ids, count);
	left = store_execute(&delete, values, NULL);
	for (uint64 row = 0; row < left; row++)
		Async_Notify(END_CHANNEL, store_text(row, 1));
	values[0] = store_text_array(session_ids, count);
	store_execute(&advance, values, NULL);
}

/*
 * Runs whose time has come are ready.
 */
void
store_promote_due(void)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET state = 'r' "
		"WHERE q.state = 's' AND q.run_at <= clock_timestamp()"
		" AND " MINE("q", "$1", "$2"),
		2, {INT4OID, INT4OID}
	};
	Datum		values[] = {runners, my_number};

	store_execute(&statement, values, NULL);
}

/*
 * Runs that a cancel had locked are ready to be looked at again.
 */
void
store_promote_locked(void)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET state = 'r' WHERE q.state = 'k'"
		" AND " MINE("q", "$1", "$2"),
		2, {INT4OID, INT4OID}
	};
	Datum		values[] = {runners, my_number};

	store_execute(&statement, values, NULL);
}

/*
 * The next ready runs: a list of at most limit PickedRuns.
 */
List *
store_pick(int limit)
{
	static Statement statement = {
		"SELECT q.run_id, q.session_id,"
		" EXISTS (SELECT FROM agno.run_queue e"
		" WHERE e.session_id = q.session_id"
		" AND e.accepted_at < q.accepted_at), q.ctid "
		"FROM agno.run_queue q WHERE q.state = 'r'"
		" AND " MINE("q", "$2", "$3")
		" ORDER BY q.priority DESC, q.accepted_at LIMIT $1",
		3, {INT4OID, INT4OID, INT4OID}
	};
	Datum		values[] = {Int32GetDatum(limit), runners, my_number};
	uint64		count = store_execute(&statement, values, NULL);
	List	   *picked = NIL;

	for (uint64 row = 0; row < count; row++)
	{
		PickedRun  *run = palloc(sizeof(PickedRun));
		bool		isnull;

		run->run_id = store_text(row, 1);
		run->session_id = store_text(row, 2);
		run->behind = DatumGetBool(store_column(row, 3, &isnull));
		run->row = *(ItemPointer) DatumGetPointer(store_column(row, 4, &isnull));
		picked = lappend(picked, run);
	}
	return picked;
}

/*
 * Give these runs another state in the queue.
 */
void
store_set_state(char *const *run_ids, int count, char state)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET state = $2 WHERE q.run_id = ANY ($1)",
		2, {TEXTARRAYOID, CHAROID}
	};
	Datum		values[2];

	if (count == 0)
		return;
	values[0] = store_text_array(run_ids, count);
	values[1] = CharGetDatum(state);
	store_execute(&statement, values, NULL);
}

/*
 * Lock those of these runs that nobody else has locked, and read what it
 * takes to execute them: a list of ReadyRun. The state of a session is read
 * with what the run adds to it.
 */
List *
store_read_ready(char *const *run_ids, ItemPointer *queue_rows, int count)
{
	static Statement statement = {
		"SELECT r.run_id, r.session_id, r.status, r.owner, r.attempt,"
		" r.model_provider, r.model, r.input, r.user_id, r.metadata,"
		" d.model_options, d.output_schema, d.agent,"
		" CASE WHEN d.session_state IS NULL THEN s.session_state"
		" ELSE agno.merge_json(s.session_state, d.session_state) END,"
		" s.session_metrics, (extract(epoch FROM d.timeout) * 1000)::bigint,"
		" d.max_attempts::bigint, d.retries::bigint,"
		" d.num_history_runs::bigint, d.num_history_messages::bigint,"
		" coalesce(d.stream, false), CASE WHEN d.stream THEN"
		" (SELECT max(e.seq) FROM agno.run_events e"
		" WHERE e.run_id = r.run_id) END, r.agent_id, d.response_id,"
		" EXISTS (SELECT FROM agno.cancellations c"
		" WHERE c.run_id = r.run_id AND c.owner = r.owner), r.ctid,"
		" p.queue_row "
		"FROM unnest($1, $2) AS p (run_id, queue_row) "
		"JOIN agno.runs r ON r.run_id = p.run_id "
		"LEFT JOIN agno.sessions s ON s.session_id = r.session_id "
		"LEFT JOIN agno.run_requests d ON d.run_id = r.run_id "
		"FOR NO KEY UPDATE OF r SKIP LOCKED",
		2, {TEXTARRAYOID, TIDARRAYOID}
	};
	Datum		values[] = {
		store_text_array(run_ids, count), store_row_array(queue_rows, count)
	};
	uint64		found = store_execute(&statement, values, NULL);
	List	   *ready = NIL;

	for (uint64 row = 0; row < found; row++)
	{
		ReadyRun   *run = palloc0(sizeof(ReadyRun));
		bool		isnull;

		run->run_id = store_text(row, 1);
		run->session_id = store_text(row, 2);
		run->status = run_status_parse(store_text(row, 3));
		run->owner = DatumGetObjectId(store_column(row, 4, &isnull));
		run->attempt = DatumGetInt32(store_column(row, 5, &isnull));
		run->model_server = store_text(row, 6);
		run->model = store_utf8(row, 7);
		run->input = store_utf8(row, 8);
		run->user_id = store_utf8(row, 9);
		run->metadata = store_utf8(row, 10);
		run->options = store_utf8(row, 11);
		run->schema = store_utf8(row, 12);
		run->agent = store_utf8(row, 13);
		run->session_state = store_utf8(row, 14);
		run->session_metrics = store_utf8(row, 15);
		run->timeout_ms = store_number(row, 16);
		run->max_attempts = (int) store_number(row, 17);
		run->retries = (int) store_number(row, 18);
		run->history_runs = (int) store_number(row, 19);
		run->history_messages = (int) store_number(row, 20);
		run->stream = DatumGetBool(store_column(row, 21, &isnull));
		run->last_event = Max(store_number(row, 22), 0);
		run->agent_id = store_utf8(row, 23);
		run->response_id = store_utf8(row, 24);
		run->marked = DatumGetBool(store_column(row, 25, &isnull));
		run->row = *(ItemPointer) DatumGetPointer(store_column(row, 26, &isnull));
		run->queue_row =
			*(ItemPointer) DatumGetPointer(store_column(row, 27, &isnull));
		ready = lappend(ready, run);
	}
	return ready;
}

/*
 * Read what earlier runs of their sessions have said, for those of these
 * ReadyRuns that are to send it along. Agno's rules: runs that are PAUSED,
 * CANCELLED or ERROR do not count, and none that another run has started.
 */
void
store_read_history(List *ready)
{
	static Statement statement = {
		"SELECT d.n, h.messages "
		"FROM unnest($1, $2, $3) WITH ORDINALITY"
		" AS d (run_id, session_id, runs, n), "
		"LATERAL (SELECT r.messages, r.created_at, r.run_id FROM agno.runs r"
		" WHERE r.session_id = d.session_id AND r.run_id <> d.run_id"
		" AND r.status = 'COMPLETED' AND r.parent_run_id IS NULL"
		" AND r.messages IS NOT NULL"
		" ORDER BY r.created_at DESC, r.run_id DESC LIMIT d.runs) h "
		"ORDER BY d.n, h.created_at, h.run_id",
		3, {TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID}
	};
	int			size = Max(list_length(ready), 1);
	ReadyRun  **runs = palloc(sizeof(ReadyRun *) * size);
	char	  **run_ids = palloc(sizeof(char *) * size);
	char	  **session_ids = palloc(sizeof(char *) * size);
	int		   *limits = palloc(sizeof(int) * size);
	int			count = 0;
	Datum		values[3];
	uint64		found;
	ListCell   *cell;

	foreach(cell, ready)
	{
		ReadyRun   *run = lfirst(cell);

		if (run->history_runs < 0 && run->history_messages < 0)
			continue;
		runs[count] = run;
		run_ids[count] = run->run_id;
		session_ids[count] = run->session_id;
		/* No run has fewer messages than one. */
		limits[count++] = run->history_runs >= 0 ?
			run->history_runs : run->history_messages;
	}
	if (count == 0)
		return;

	values[0] = store_text_array(run_ids, count);
	values[1] = store_text_array(session_ids, count);
	values[2] = store_int_array(limits, count);
	found = store_execute(&statement, values, NULL);
	for (uint64 row = 0; row < found; row++)
	{
		bool		isnull;
		ReadyRun   *run = runs[DatumGetInt64(store_column(row, 1, &isnull)) - 1];

		run->history = lappend(run->history, store_utf8(row, 2));
	}
}

/*
 * These runs, all of them locked, start their next attempt.
 */
void
store_start(ReadyRun **runs, int count)
{
	static Statement statement = {
		"UPDATE agno.runs r SET status = 'RUNNING', attempt = r.attempt + 1,"
		" started_at = clock_timestamp() WHERE r.ctid = ANY ($1)",
		1, {TIDARRAYOID}
	};
	static Statement claim = {
		"UPDATE agno.run_queue q SET state = 'x' WHERE q.ctid = ANY ($1)",
		1, {TIDARRAYOID}
	};
	ItemPointer *rows = palloc(sizeof(ItemPointer) * Max(count, 1));
	ItemPointer *queue_rows = palloc(sizeof(ItemPointer) * Max(count, 1));
	Datum		values[1];

	if (count == 0)
		return;
	for (int i = 0; i < count; i++)
	{
		rows[i] = &runs[i]->row;
		queue_rows[i] = &runs[i]->queue_row;
	}
	values[0] = store_row_array(rows, count);
	store_execute(&statement, values, NULL);
	values[0] = store_row_array(queue_rows, count);
	store_execute(&claim, values, NULL);
}

/*
 * The server stops: what these runs have begun does not count as an attempt.
 */
void
store_release(char *const *run_ids, const int *attempts, int count)
{
	static Statement statement = {
		"UPDATE agno.runs r SET status = 'PENDING', attempt = r.attempt - 1,"
		" started_at = NULL "
		"FROM (SELECT l.run_id FROM agno.runs l"
		" JOIN unnest($1, $2) AS d (run_id, attempt)"
		" ON l.run_id = d.run_id AND l.attempt = d.attempt"
		" WHERE l.status = 'RUNNING' FOR NO KEY UPDATE OF l SKIP LOCKED) l "
		"WHERE r.run_id = l.run_id RETURNING r.run_id",
		2, {TEXTARRAYOID, INT4ARRAYOID}
	};
	Datum		values[2];
	uint64		released;
	char	  **released_ids;

	values[0] = store_text_array(run_ids, count);
	values[1] = store_int_array(attempts, count);
	released = store_execute(&statement, values, NULL);
	released_ids = palloc(sizeof(char *) * Max(released, 1));
	for (uint64 row = 0; row < released; row++)
		released_ids[row] = store_text(row, 1);
	store_set_state(released_ids, (int) released, 'r');
}

/*
 * Keep the id of the response that a model server works on for a run, so that
 * whoever takes over asks for that and not for another.
 */
void
store_response_id(const char *run_id, Oid owner, const char *response_id)
{
	static Statement statement = {
		"INSERT INTO agno.run_requests AS d (run_id, owner, response_id) "
		"VALUES ($1, $2::regrole, $3) "
		"ON CONFLICT (run_id) DO UPDATE SET response_id = excluded.response_id",
		3, {TEXTOID, OIDOID, TEXTOID}
	};
	Datum		values[] = {
		CStringGetTextDatum(run_id), ObjectIdGetDatum(owner),
		CStringGetTextDatum(encoding_to_server(response_id))
	};

	store_execute(&statement, values, NULL);
}

/*
 * Set these runs aside until their model servers have room.
 */
void
store_park(ReadyRun **runs, int count)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET state = 'p', parked_for = d.server "
		"FROM unnest($1, $2) AS d (row, server) WHERE q.ctid = d.row",
		2, {TIDARRAYOID, TEXTARRAYOID}
	};
	ItemPointer *rows = palloc(sizeof(ItemPointer) * Max(count, 1));
	char	  **servers = palloc(sizeof(char *) * Max(count, 1));
	Datum		values[2];

	if (count == 0)
		return;
	for (int i = 0; i < count; i++)
	{
		rows[i] = &runs[i]->queue_row;
		servers[i] = runs[i]->model_server;
	}
	values[0] = store_row_array(rows, count);
	values[1] = store_text_array(servers, count);
	store_execute(&statement, values, NULL);
}

/*
 * The first runs that are parked for this server are ready. Returns how many.
 */
int
store_unpark(const char *server, int limit)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET state = 'r' WHERE q.ctid = ANY (ARRAY("
		"SELECT p.ctid FROM agno.run_queue p"
		" WHERE p.state = 'p' AND p.parked_for = $1"
		" AND " MINE("p", "$3", "$4")
		" ORDER BY p.priority DESC, p.accepted_at LIMIT $2))",
		4, {TEXTOID, INT4OID, INT4OID, INT4OID}
	};
	Datum		values[] = {
		CStringGetTextDatum(server), Int32GetDatum(limit), runners, my_number
	};

	return (int) store_execute(&statement, values, NULL);
}

/*
 * Put runs back, all of them locked, that are to be started again later: their
 * servers have asked for it. That does not count as an attempt, but the
 * repetition is used up.
 */
void
store_postpone(EndedRun *runs, int count)
{
	static Statement update = {
		"UPDATE agno.runs r SET status = 'PENDING', attempt = r.attempt - 1,"
		" started_at = NULL, run_at = clock_timestamp() +"
		" make_interval(secs => $2 / 1000.0) WHERE r.ctid = $1 "
		"RETURNING r.run_at",
		2, {TIDOID, INT4OID}
	};
	static Statement requests = {
		"INSERT INTO agno.run_requests AS d (run_id, owner, retries) "
		"VALUES ($1, $2::regrole, $3) "
		"ON CONFLICT (run_id) DO UPDATE SET retries = excluded.retries",
		3, {TEXTOID, OIDOID, INT4OID}
	};
	static Statement queue = {
		"UPDATE agno.run_queue q SET state = 's', run_at = $2 "
		"WHERE q.run_id = $1",
		2, {TEXTOID, TIMESTAMPTZOID}
	};

	for (int i = 0; i < count; i++)
	{
		Datum		values[3];
		Datum		run_at;
		bool		isnull;

		values[0] = PointerGetDatum(&runs[i].row);
		values[1] = Int32GetDatum((int32) Min(runs[i].postpone_ms, INT_MAX));
		if (store_execute(&update, values, NULL) == 0)
			continue;
		run_at = store_column(0, 1, &isnull);
		values[0] = CStringGetTextDatum(runs[i].run_id);
		values[1] = run_at;
		store_execute(&queue, values, NULL);
		values[1] = ObjectIdGetDatum(runs[i].owner);
		values[2] = Int32GetDatum(runs[i].retries);
		store_execute(&requests, values, NULL);
	}
}

/*
 * When the clock alone gives the runner work: a run is due, or a marker is too
 * old. False when there is no such time.
 */
bool
store_next_time(TimestampTz *next)
{
	static Statement statement = {
		"SELECT least("
		"(SELECT min(q.run_at) FROM agno.run_queue q WHERE q.state = 's'"
		" AND " MINE("q", "$1", "$2") "),"
		"(SELECT min(c.requested_at) + " MARKER_LIFE
		" FROM agno.cancellations c WHERE $2 = 0))",
		2, {INT4OID, INT4OID}
	};
	Datum		values[] = {runners, my_number};
	Datum		datum;
	bool		isnull;

	store_execute(&statement, values, NULL);
	datum = store_column(0, 1, &isnull);
	*next = isnull ? 0 : DatumGetTimestampTz(datum);
	return !isnull;
}

/*
 * Remove markers that met no run in their life.
 */
void
store_expire_markers(void)
{
	static Statement statement = {
		"DELETE FROM agno.cancellations c WHERE (c.run_id, c.owner) IN"
		" (SELECT o.run_id, o.owner FROM agno.cancellations o"
		" WHERE o.requested_at <= clock_timestamp() - " MARKER_LIFE
		" FOR UPDATE SKIP LOCKED)",
		0, {0}
	};

	store_execute(&statement, NULL, NULL);
}

/*
 * Delete at most limit runs that ended so many seconds ago, the sessions that
 * have none left, and what belongs to them. Returns whether there may be more.
 */
bool
store_expire_runs(int limit, int age)
{
	static Statement expire = {
		"DELETE FROM agno.runs r WHERE r.ctid = ANY (ARRAY("
		"SELECT o.ctid FROM agno.runs o"
		" WHERE o.created_at < clock_timestamp() - make_interval(secs => $2)"
		" AND o.finished_at < clock_timestamp() - make_interval(secs => $2)"
		" AND o.status IN ('COMPLETED', 'CANCELLED', 'ERROR')"
		" ORDER BY o.created_at LIMIT $1 FOR UPDATE SKIP LOCKED)) "
		"RETURNING r.run_id, r.session_id",
		2, {INT4OID, INT4OID}
	};
	static Statement requests = {
		"DELETE FROM agno.run_requests d WHERE d.run_id = ANY ($1)",
		1, {TEXTARRAYOID}
	};
	static Statement events = {
		"DELETE FROM agno.run_events e WHERE e.run_id = ANY ($1)",
		1, {TEXTARRAYOID}
	};
	static Statement sessions = {
		"DELETE FROM agno.sessions s WHERE s.session_id = ANY ($1)"
		" AND s.updated_at < clock_timestamp() - make_interval(secs => $2)"
		" AND NOT EXISTS (SELECT FROM agno.runs r"
		" WHERE r.session_id = s.session_id)",
		2, {TEXTARRAYOID, INT4OID}
	};
	Datum		values[2];
	uint64		count;
	char	  **run_ids;
	char	  **session_ids;

	values[0] = Int32GetDatum(limit);
	values[1] = Int32GetDatum(age);
	count = store_execute(&expire, values, NULL);
	if (count == 0)
		return false;
	run_ids = palloc(sizeof(char *) * count);
	session_ids = palloc(sizeof(char *) * count);
	for (uint64 row = 0; row < count; row++)
	{
		run_ids[row] = store_text(row, 1);
		session_ids[row] = store_text(row, 2);
	}
	values[0] = store_text_array(run_ids, (int) count);
	store_execute(&requests, values, NULL);
	store_execute(&events, values, NULL);
	values[0] = store_text_array(session_ids, (int) count);
	store_execute(&sessions, values, NULL);
	return count == (uint64) limit;
}

/*
 * Whether there are prepared transactions in this database.
 */
bool
store_prepared_transactions(void)
{
	static Statement statement = {
		"SELECT FROM pg_prepared_xacts p WHERE p.database = current_database()"
		" LIMIT 1",
		0, {0}
	};

	return store_execute(&statement, NULL, NULL) > 0;
}
