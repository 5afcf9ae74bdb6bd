/*-------------------------------------------------------------------------
 *
 * store_callbacks.c
 *	  The tables of agno_bg: runs whose on_complete is to be called.
 *
 * A run with on_complete that has ended keeps its status until a tool worker of
 * its owner has called the function, in the transaction that sets the status:
 * until then it has a row in agno.callbacks, and the state CALLBACK in the queue.
 * A run that a backend has cancelled while it waited is CANCELLED already; its
 * function is called afterwards.
 *
 * The first part is for runners, whose search_path is pg_catalog, the rest for tool
 * workers and backends, between store_enter() and store_leave(): there, every name
 * of a type, a function or an operator says its schema. A worker locks the row
 * of agno.callbacks first, and then that of agno.runs, if nobody else has it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/shard.h"
#include "store/store_callbacks.h"
#include "store/store_queue.h"
#include "utils/datum.h"

#define EQ " OPERATOR(pg_catalog.=) "

/* How large a column of a run is, without having it read. */
#define SIZE(column) "COALESCE(pg_catalog.pg_column_size(r." column "), 0)"
#define PLUS " OPERATOR(pg_catalog.+) "

/* How large the runs of a batch may be that are given to functions, in bytes. */
#define MAX_BATCH_SIZE (8 * 1024 * 1024)

/* The statuses of runs that have ended. */
#define ENDED "('COMPLETED', 'CANCELLED', 'ERROR')"

/*
 * The run is to be cancelled, though it is to be called back: a signal says so, or
 * the queue, when its runner has read that.
 */
#define IS_CANCELLED(run) \
		"(" run ".status" EQ \
		"ANY ('{PENDING,RUNNING,PAUSED}'::agno.run_status[])" \
		" AND (EXISTS (SELECT FROM agno.run_signals s" \
		" WHERE s.run_id" EQ run ".run_id AND s.owner" EQ run ".owner" \
		" AND s.kind" EQ "'c'::pg_catalog.\"char\")" \
		" OR EXISTS (SELECT FROM agno.run_queue q" \
		" WHERE q.run_id" EQ run ".run_id AND q.cancelled)))"

/* The last status of a run that has this row in agno.callbacks. */
#define LAST_STATUS(callback, run) \
		"CASE WHEN " IS_CANCELLED(run) " THEN 'CANCELLED'::agno.run_status" \
		" WHEN " run ".status" EQ \
		"ANY ('{COMPLETED,CANCELLED,ERROR}'::agno.run_status[])" \
		" THEN " run ".status ELSE " callback ".status END"

/* What a cancelled run says that has nothing else to say: run_cancelled_text(). */
#define CANCELLED_TEXT(run) \
		"pg_catalog.format('Run %s was cancelled', " run ".run_id)"

/* How long a callback that could not be made is left alone, at first. */
#define PUT_OFF "'200 ms'::interval"

/*-------------------------------------------------------------------------
 * For a runner
 *-------------------------------------------------------------------------
 */

/*
 * Of these runs, which end with these statuses, in sessions of these shards, queue
 * those that have on_complete. Returns the ids of those: their statuses are not to
 * be set. *owners gets their owners.
 */
List *
store_call_back(const Column *run_ids, const Column *statuses,
				const Column *shards, List **owners)
{
	static Statement statement = {
		"INSERT INTO agno.callbacks (run_id, owner, function, status, shard,"
		" queued_at) "
		"SELECT d.run_id, d.owner, d.on_complete, n.status::agno.run_status,"
		" n.shard, clock_timestamp() "
		"FROM unnest($1, $2, $3) AS n (run_id, status, shard)"
		" JOIN agno.run_requests d ON d.run_id = n.run_id"
		" WHERE d.on_complete IS NOT NULL AND NOT EXISTS"
		" (SELECT FROM agno.callbacks c WHERE c.run_id = n.run_id) "
		"ON CONFLICT (run_id) DO NOTHING "
		"RETURNING run_id, owner"
	};
	Arguments	args = {0};
	List	   *called = NIL;
	uint64		found;

	if (run_ids->count == 0)
		return NIL;
	bind_column(&args, run_ids);
	bind_column(&args, statuses);
	bind_column(&args, shards);
	found = store_execute(&statement, &args);
	for (uint64 n = 0; n < found; n++)
	{
		RowReader	row = row_reader(n);

		called = lappend(called, next_text(&row));
		*owners = list_append_unique_oid(*owners, next_oid(&row));
	}
	return called;
}

/*
 * These runs leave the queue when their functions have been called.
 */
void
store_await_callbacks(const Column *run_ids)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET state = " CALLBACK ", continues = false,"
		" looks = 0, run_at = clock_timestamp() + " LOOK_AGAIN ","
		" " GOES_FIRST ", waits_since = NULL "
		"WHERE q.run_id = ANY ($1)"
	};
	Arguments	args = {0};

	if (run_ids->count == 0)
		return;
	bind_column(&args, run_ids);
	store_execute(&statement, &args);
}

/*
 * Have runs end whose functions nobody can call, since their owner is gone or may not
 * connect; and have called again what is not to be called any more, and has not ended:
 * a hand has deleted its row, unless the runner has not been told all of it yet: it may have
 * been called, and the run be to be executed again. Looks at limit runs that wait; returns
 * how many there were.
 */
uint64
store_give_up_callbacks(int limit)
{
	static Statement statement = {
		"WITH late AS (SELECT q.run_id, q.owner, q.shard FROM agno.run_queue q"
		" WHERE q.state = " CALLBACK " AND q.runner = $2"
		" AND q.run_at <= " THIS_TURN " AND " MINE("q")
		" ORDER BY q.run_at LIMIT $3), "
		"locked AS (SELECT c.run_id, l.owner, l.shard,"
		" " LAST_STATUS("c", "r") " AS status FROM late l"
		" JOIN agno.callbacks c ON c.run_id = l.run_id AND c.owner = l.owner"
		" JOIN agno.runs r ON r.run_id = l.run_id AND r.owner = l.owner"
		" WHERE NOT EXISTS (SELECT FROM pg_roles o"
		" WHERE o.oid = l.owner::pg_catalog.oid AND (o.rolcanlogin OR $4)"
		" AND (o.rolsuper OR o.rolconnlimit <> 0"
		" AND has_database_privilege(o.oid, current_database(), 'CONNECT')))"
		" FOR UPDATE OF c, r SKIP LOCKED), "
		"ended AS (UPDATE agno.runs r SET status = k.status,"
		" content = CASE WHEN k.status = 'CANCELLED'"
		" THEN coalesce(r.content, " CANCELLED_TEXT("r") ") ELSE r.content END,"
		" finished_at = coalesce(r.finished_at, clock_timestamp()),"
		" error = coalesce(r.error, '{}') || CASE WHEN r.error IS NULL"
		" THEN d.error ELSE jsonb_build_object('on_complete', d.error) END"
		" FROM locked k, (SELECT jsonb_build_object('type', 'on_complete',"
		" 'message', 'the owner of the run cannot connect any more') AS error) d"
		" WHERE r.run_id = k.run_id RETURNING r.run_id), "
		"gone AS (DELETE FROM agno.callbacks c USING locked k"
		" WHERE c.run_id = k.run_id), "
		"missing AS (INSERT INTO agno.callbacks (run_id, owner, function, status,"
		" shard, queued_at) SELECT l.run_id, l.owner, d.on_complete,"
		" CASE WHEN r.error IS NULL THEN 'COMPLETED'::agno.run_status"
		" ELSE 'ERROR'::agno.run_status END, l.shard, clock_timestamp()"
		" FROM late l JOIN agno.runs r ON r.run_id = l.run_id"
		" JOIN agno.run_requests d ON d.run_id = l.run_id"
		" WHERE d.on_complete IS NOT NULL AND r.status NOT IN " ENDED
		" AND NOT EXISTS (SELECT FROM agno.callbacks c"
		" WHERE c.run_id = l.run_id) AND NOT EXISTS"
		" (SELECT FROM agno.run_signals s WHERE s.run_id = l.run_id"
		" AND s.owner = l.owner) ON CONFLICT (run_id) DO NOTHING), "
		"told AS (INSERT INTO agno.run_signals (run_id, owner, shard, kind)"
		" SELECT l.run_id, l.owner, l.shard, $5 FROM late l"
		" LEFT JOIN agno.runs r ON r.run_id = l.run_id"
		" WHERE l.run_id IN (SELECT k.run_id FROM locked k)"
		" OR (r.status IN " ENDED " OR r.run_id IS NULL)"
		" AND NOT EXISTS (SELECT FROM agno.callbacks c"
		" WHERE c.run_id = l.run_id)) "
		"UPDATE agno.run_queue q SET run_at = clock_timestamp() + " LOOK_AGAIN
		" FROM late l WHERE q.run_id = l.run_id"
	};
	Arguments	args = {0};

	bind_mine(&args);
	bind_int(&args, limit);
	bind_bool(&args, PG_VERSION_NUM >= 170000);
	bind_char(&args, (char) SIGNAL_CALLED_BACK);
	return store_execute(&statement, &args);
}

/*
 * Those of the runs of these signals that wait for their functions to be called are
 * to be CANCELLED then: their ids. A signal is for a run of its own role only.
 */
List *
store_cancel_called_back(Signal **signals, int count)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET cancelled = true "
		"FROM unnest($3, $4) AS d (run_id, owner) "
		"WHERE q.run_id = d.run_id AND q.state = " CALLBACK
		" AND q.owner::pg_catalog.oid = d.owner::pg_catalog.oid"
		" AND " MINE("q") " RETURNING q.run_id"
	};
	Arguments	args = {0};

	bind_mine(&args);
	bind_signals(&args, signals, count);
	return store_read_list(&statement, &args, read_id);
}

/*
 * Somebody has requeued these runs, of these sessions, since they ended: their
 * places are behind those that have come since.
 */
static void
execute_again(const Column *run_ids, const Column *session_ids)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET " BECOMES_READY ", run_at = NULL,"
		" continues = false, cancelled = false,"
		" accepted_at = clock_timestamp() WHERE q.run_id = ANY ($1)"
	};
	Arguments	args = {0};

	if (run_ids->count == 0)
		return;
	bind_column(&args, run_ids);
	store_execute(&statement, &args);
	store_advance(session_ids);
}

/*
 * These runs, whose functions have been called, are to leave the queue in another turn.
 */
static void
leave_later(const Column *run_ids)
{
	static Statement statement = {
		"INSERT INTO agno.run_signals (run_id, owner, shard, kind) "
		"SELECT q.run_id, q.owner, q.shard, $2 FROM agno.run_queue q"
		" WHERE q.run_id = ANY ($1)"
	};
	Arguments	args = {0};

	bind_column(&args, run_ids);
	bind_char(&args, (char) SIGNAL_CALLED_BACK);
	store_execute(&statement, &args);
}

/*
 * The functions of these runs have been called: they leave the queue, unless they
 * are to be executed again. requeued: those that somebody has requeued; one of them that
 * is CANCELLED has been cancelled since, and is to be called back for that. Returns the
 * ids of those that leave: whose answers are at most this many bytes long in all, or
 * one. The others do in another turn; *more says whether there are any.
 */
List *
store_called_back(char *const *run_ids, int count, char *const *requeued,
				  int requeued_count, int64 most, bool *more)
{
	static Statement statement = {
		"SELECT q.run_id, q.session_id,"
		" coalesce(r.status = 'PENDING' OR r.status = 'CANCELLED'"
		" AND q.run_id = ANY ($2), false),"
		" coalesce(octet_length(r.content), 0)::bigint +"
		" coalesce(octet_length(r.reasoning_content), 0) FROM agno.run_queue q"
		" LEFT JOIN agno.runs r ON r.run_id = q.run_id"
		" WHERE q.run_id = ANY ($1) AND q.state = " CALLBACK
		" AND NOT EXISTS (SELECT FROM agno.callbacks c"
		" WHERE c.run_id = q.run_id)"
	};
	Arguments	args = {0};
	Column		again = {TEXTOID};
	Column		again_sessions = {TEXTOID};
	Column		later = {TEXTOID};
	int			leaving = 0;
	int64		bytes = 0;
	List	   *ids = NIL;
	char	  **left;
	char	  **session_ids;
	uint64		found;

	*more = false;
	if (count == 0)
		return NIL;
	bind_ids(&args, run_ids, count);
	bind_ids(&args, requeued, requeued_count);
	found = store_execute(&statement, &args);
	left = palloc(sizeof(char *) * Max(found, 1));
	session_ids = palloc(sizeof(char *) * Max(found, 1));
	for (uint64 n = 0; n < found; n++)
	{
		RowReader	row = row_reader(n);

		left[leaving] = next_text(&row);
		session_ids[leaving] = next_text(&row);
		if (next_bool(&row))
		{
			add_text(&again, left[leaving]);
			add_text(&again_sessions, session_ids[leaving]);
			continue;
		}
		bytes += next_int64(&row);
		if (leaving > 0 && bytes > most)
		{
			add_text(&later, left[leaving]);
			continue;
		}
		ids = lappend(ids, left[leaving++]);
	}
	if (leaving > 0)
		store_leave_queue(left, session_ids, leaving);
	execute_again(&again, &again_sessions);
	*more = later.count > 0;
	if (*more)
		leave_later(&later);
	return ids;
}

/*
 * A process has come to its end while it called the functions of these runs.
 */
void
store_callback_crashed(char *const *run_ids, int count)
{
	static Statement statement = {
		"UPDATE agno.callbacks c SET tries = LEAST(c.tries, 32766) + 1"
		" FROM (SELECT l.run_id FROM agno.callbacks l"
		" WHERE l.run_id = ANY ($1) FOR UPDATE SKIP LOCKED) l"
		" WHERE c.run_id = l.run_id"
	};
	Arguments	args = {0};

	if (count == 0)
		return;
	bind_ids(&args, run_ids, count);
	store_execute(&statement, &args);
}

/*-------------------------------------------------------------------------
 * For a tool worker
 *-------------------------------------------------------------------------
 */

static void *
read_work(RowReader *row)
{
	CallbackWork *work = palloc0(sizeof(CallbackWork));

	work->run_id = next_text(row);
	work->function = next_text(row);
	work->shard = next_int(row);
	work->tries = next_int(row);
	work->gone = next_bool(row);
	work->size = next_int(row);
	return work;
}

/*
 * Take callbacks of this role, those that have waited longest: a list of
 * CallbackWork. One that came to nothing is taken alone,
 * as is one that is very large.
 */
List *
store_take_callbacks(Oid role, int limit)
{
	static Statement statement = {
		"SELECT c.run_id, c.function, c.shard::integer, c.tries::integer,"
		" NOT EXISTS (SELECT FROM agno.runs r WHERE r.run_id" EQ "c.run_id"
		" AND r.owner" EQ "c.owner),"
		" COALESCE((SELECT " SIZE("input") PLUS SIZE("content")
		PLUS SIZE("reasoning_content") PLUS SIZE("messages")
		PLUS SIZE("tools") PLUS SIZE("session_state") PLUS SIZE("requirements")
		PLUS SIZE("metadata")
		" FROM agno.runs r WHERE r.run_id" EQ "c.run_id), 0) "
		"FROM agno.callbacks c"
		" WHERE c.owner" EQ "$1::pg_catalog.regrole"
		" AND c.queued_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp()"
		" ORDER BY c.queued_at LIMIT $2 FOR UPDATE SKIP LOCKED"
	};
	static const char *const written[] = {"callbacks", "runs"};
	Arguments	args = {0};
	List	   *batch;
	ListCell   *cell;
	int64		size = 0;

	store_lock_to_write(written, lengthof(written));
	bind_oid(&args, role);
	bind_int(&args, limit);
	batch = store_read_list(&statement, &args, read_work);
	foreach(cell, batch)
	{
		int			at = foreach_current_index(cell);

		size += ((CallbackWork *) lfirst(cell))->size;
		if (((CallbackWork *) lfirst(cell))->tries > 0 ||
			size > MAX_BATCH_SIZE)
			return list_truncate(batch, Max(at, 1));
	}
	return batch;
}

/*
 * Give those of these runs of a role that nobody else has locked their last status.
 * Returns the CallbackWork of those that have it, with their rows as they are then.
 */
List *
store_end_called_back(List *batch, Oid role)
{
	static Statement lock = {
		"SELECT r.run_id FROM agno.runs r WHERE r.run_id" EQ "ANY ($1)"
		" AND r.owner" EQ "$2::pg_catalog.regrole"
		" FOR NO KEY UPDATE SKIP LOCKED"
	};
	static Statement end = {
		"UPDATE agno.runs r SET status = d.status,"
		" content = CASE WHEN d.cancelled"
		" THEN COALESCE(r.content, " CANCELLED_TEXT("r") ") ELSE r.content END,"
		" error = CASE WHEN d.cancelled THEN NULL"
		" WHEN r.error OPERATOR(pg_catalog.->>) 'type'" EQ "'on_complete'"
		" THEN NULL ELSE r.error OPERATOR(pg_catalog.-) 'on_complete' END,"
		" finished_at = COALESCE(r.finished_at, pg_catalog.clock_timestamp()) "
		"FROM (SELECT c.run_id, " IS_CANCELLED("u") " AS cancelled,"
		" " LAST_STATUS("c", "u") " AS status"
		" FROM agno.callbacks c JOIN agno.runs u ON u.run_id" EQ "c.run_id"
		" WHERE c.run_id" EQ "ANY ($1)) d "
		"WHERE r.run_id" EQ "d.run_id "
		"RETURNING r.run_id, r"
	};
	Arguments	args = {0};
	Arguments	end_args = {0};
	Column		ids = {TEXTOID};
	Column		locked = {TEXTOID};
	List	   *ended = NIL;
	ListCell   *cell;
	uint64		found;

	foreach(cell, batch)
		add_text(&ids, ((CallbackWork *) lfirst(cell))->run_id);
	bind_column(&args, &ids);
	bind_oid(&args, role);
	found = store_execute(&lock, &args);
	for (uint64 n = 0; n < found; n++)
	{
		RowReader	row = row_reader(n);

		add_text(&locked, next_text(&row));
	}
	if (found == 0)
		return NIL;
	bind_column(&end_args, &locked);
	found = store_execute(&end, &end_args);
	for (uint64 n = 0; n < found; n++)
	{
		RowReader	row = row_reader(n);
		char	   *run_id = next_text(&row);
		bool		isnull;
		Datum		run = next_datum(&row, &isnull);

		foreach(cell, batch)
		{
			CallbackWork *work = lfirst(cell);

			if (strcmp(work->run_id, run_id) != 0)
				continue;
			work->run = datumCopy(run, false, -1);
			ended = lappend(ended, work);
		}
	}
	return ended;
}

static Column
ids_of(List *batch)
{
	Column		ids = {TEXTOID};
	ListCell   *cell;

	foreach(cell, batch)
		add_text(&ids, ((CallbackWork *) lfirst(cell))->run_id);
	return ids;
}

/*
 * What went wrong is told by the runs, which keep their answers.
 */
static void
set_errors(List *batch)
{
	static Statement statement = {
		"UPDATE agno.runs r SET error = CASE WHEN r.error IS NULL THEN d.error"
		" ELSE r.error OPERATOR(pg_catalog.||)"
		" pg_catalog.jsonb_build_object('on_complete', d.error) END "
		"FROM (SELECT u.run_id, u.error::pg_catalog.jsonb AS error"
		" FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2))"
		" AS u (run_id, error)) d "
		"WHERE r.run_id" EQ "d.run_id"
	};
	Arguments	args = {0};
	Column		ids = {TEXTOID};
	Column		errors = {TEXTOID};
	ListCell   *cell;

	foreach(cell, batch)
	{
		CallbackWork *work = lfirst(cell);

		if (work->error == NULL)
			continue;
		add_text(&ids, work->run_id);
		add_text(&errors, work->error);
	}
	if (ids.count == 0)
		return;
	bind_column(&args, &ids);
	bind_column(&args, &errors);
	store_execute(&statement, &args);
}

/*
 * The functions of these runs have been called, as this role: their runners are to
 * hear of that.
 */
void
store_callbacks_done(List *batch, Oid role)
{
	static Statement delete = {
		"DELETE FROM agno.callbacks c WHERE c.run_id" EQ "ANY ($1)"
	};
	static Statement signal = {
		"INSERT INTO agno.run_signals (run_id, owner, shard, kind) "
		"SELECT d.run_id, $3::pg_catalog.regrole, d.shard, $4 "
		"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2))"
		" AS d (run_id, shard)"
	};
	Arguments	args = {0};
	Arguments	signal_args = {0};
	Column		ids = ids_of(batch);
	Column		shards = {INT4OID};
	ListCell   *cell;

	if (batch == NIL)
		return;
	foreach(cell, batch)
		add_int(&shards, ((CallbackWork *) lfirst(cell))->shard);
	set_errors(batch);
	bind_column(&args, &ids);
	store_execute(&delete, &args);
	bind_column(&signal_args, &ids);
	bind_column(&signal_args, &shards);
	bind_oid(&signal_args, role);
	bind_char(&signal_args, (char) SIGNAL_CALLED_BACK);
	store_execute(&signal, &signal_args);
}

/*
 * These could not be called: others come first, for a moment. counts: that was their
 * own fault; else somebody has their runs locked, and the pause doubles up to some
 * seconds. Returns how long the shortest pause is, in milliseconds.
 */
int
store_put_off_callbacks(List *batch, bool counts)
{
	static Statement statement = {
		"UPDATE agno.callbacks c SET queued_at = pg_catalog.clock_timestamp()"
		" OPERATOR(pg_catalog.+) (" PUT_OFF " OPERATOR(pg_catalog.*)"
		" pg_catalog.power(2.0::pg_catalog.float8, CASE WHEN $2 THEN 0"
		" ELSE LEAST(c.looks, 5) END::pg_catalog.float8)),"
		" looks = CASE WHEN $2 THEN 0::smallint"
		" ELSE LEAST(c.looks, 5::smallint) OPERATOR(pg_catalog.+) 1::smallint END,"
		" tries = CASE WHEN $2 THEN"
		" LEAST(c.tries, 32766::smallint) OPERATOR(pg_catalog.+) 1::smallint"
		" ELSE c.tries END "
		"FROM (SELECT l.run_id FROM agno.callbacks l"
		" WHERE l.run_id" EQ "ANY ($1) FOR UPDATE SKIP LOCKED) l "
		"WHERE c.run_id" EQ "l.run_id RETURNING c.looks"
	};
	Arguments	args = {0};
	Column		ids = ids_of(batch);
	uint64		found;
	int			looks = PG_INT16_MAX;

	if (batch == NIL)
		return 0;
	bind_column(&args, &ids);
	bind_bool(&args, counts);
	found = store_execute(&statement, &args);
	for (uint64 n = 0; n < found; n++)
	{
		RowReader	row = row_reader(n);
		int			its_looks = next_int(&row);

		looks = Min(looks, its_looks);
	}
	return STORE_PUT_OFF_MS << Min(Max(looks - 1, 0), 5);
}

/*-------------------------------------------------------------------------
 * For a backend
 *-------------------------------------------------------------------------
 */

/*
 * Have the function of a run that has ended, and is locked, called again. False if
 * it has none.
 */
bool
store_requeue_callback(const char *run_id)
{
	static Statement statement = {
		"INSERT INTO agno.callbacks AS c (run_id, owner, function, status, shard,"
		" queued_at) "
		"SELECT r.run_id, r.owner, d.on_complete, r.status, $2,"
		" pg_catalog.clock_timestamp() "
		"FROM agno.runs r JOIN agno.run_requests d ON d.run_id" EQ "r.run_id"
		" WHERE r.run_id" EQ "$1 AND d.on_complete IS NOT NULL "
		"ON CONFLICT (run_id) DO UPDATE SET tries = 0 "
		"RETURNING c.run_id"
	};
	static Statement session = {
		"SELECT r.session_id FROM agno.runs r WHERE r.run_id" EQ "$1"
	};
	Arguments	args = {0};
	Arguments	session_args = {0};
	RowReader	row;

	bind_text(&session_args, run_id);
	if (store_execute(&session, &session_args) == 0)
		return false;
	row = row_reader(0);
	bind_text(&args, run_id);
	bind_int16(&args, shard_of_session(next_text(&row)));
	return store_execute(&statement, &args) > 0;
}

/*
 * A run is executed again: what was to be called is not.
 */
void
store_drop_callback(const char *run_id)
{
	static Statement statement = {
		"DELETE FROM agno.callbacks c WHERE c.run_id" EQ "$1"
	};
	Arguments	args = {0};

	bind_text(&args, run_id);
	store_execute(&statement, &args);
}
