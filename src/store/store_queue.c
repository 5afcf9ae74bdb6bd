/*-------------------------------------------------------------------------
 *
 * store_queue.c
 *	  The tables of agno_bg: what a runner does with the queue.
 *
 * Called by the runner between store_begin() and store_commit(). Statements
 * work on sets, so that a transaction with hundreds of runs has as many of
 * them as one with a single run.
 *
 *	  agno_arun ──▶ scheduled ── its time has come ──▶ ready ◀── agno_arun
 *						▲							   │  ▲
 *	   its server asks	│	 behind a run of its session│  │ that has left,
 *	   for it			│		or not to be had or    │  │ or is put off
 *						│	   its server has no room  │  │
 *						│							   ▼  │
 *	  ended ◀────── executing ◀────────── waiting, locked, parked
 *						  ▲──────────────────── ready
 *
 * Whatever leaves the state "executing" lets the first run of its session go
 * ahead (advance): else runs that wait for it would wait for ever. That, and
 * store_recover() for what was done by hand, keeps the invariant: the first run
 * of a session that is in the queue never waits for another, unless one of the
 * session is executing.
 *
 * The runner never waits for a lock. Rows of agno.run_queue are touched by the
 * runner alone once they are there; rows of agno.runs, which a cancel may hold
 * locked for as long as its transaction likes, are locked with SKIP LOCKED
 * before they are changed. The search_path of the runner is pg_catalog.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "core/shard.h"
#include "miscadmin.h"
#include "server/encoding.h"
#include "server/json_merge.h"
#include "server/settings.h"
#include "store/store.h"
#include "store/store_internal.h"
#include "utils/builtins.h"

/* The channel that listeners learn of ends from. */
#define END_CHANNEL "agno_run"

/* Markers that met no run are removed after this. */
#define MARKER_LIFE "'1 day'::interval"

/*
 * What cannot be had is looked at again after a pause that doubles from a
 * second to this, in seconds.
 */
#define LONGEST_LOOK_PAUSE "16"

/* The most runs of a session that are read for its history. */
#define MAX_HISTORY_RUNS 1000

/*
 * The rows that are for this runner, as shard_runner() has it; the two parameters
 * are to be filled in.
 */
#define MINE(alias, runners, number) \
		alias ".shard::integer % " runners " = " number

/* Which runner this is, and of how many, as arguments of a statement. */
static Datum my_number = (Datum) 0;
static Datum runners = (Datum) 1;

/* The run that this runner's predecessor crashed at, or NULL. */
static const char *culprit;

/* Until the next transaction, nobody is notified. */
static bool muted;

/*
 * This process is the runner with this number. For each runner, all that
 * follows is about its own sessions. Its predecessor crashed at the run
 * crashed_at, unless that is NULL.
 */
void
store_divide(int number, int count, const char *crashed_at)
{
	my_number = Int32GetDatum(number);
	runners = Int32GetDatum(count);
	culprit = crashed_at;
}

/*
 * Whether to leave listeners alone: they cannot be told right now.
 */
void
store_mute(bool mute)
{
	muted = mute;
}

/*
 * Tell listeners at the commit.
 */
void
store_notify(const char *channel, const char *run_id)
{
	if (agno_notify && !muted)
		Async_Notify(channel, run_id);
}

static ItemPointerData
store_row(uint64 row, int column)
{
	bool		isnull;

	return *(ItemPointer) DatumGetPointer(store_column(row, column, &isnull));
}

static Oid
store_oid(uint64 row, int column)
{
	bool		isnull;

	return DatumGetObjectId(store_column(row, column, &isnull));
}

static bool
store_bool(uint64 row, int column)
{
	bool		isnull;
	Datum		value = store_column(row, column, &isnull);

	return !isnull && DatumGetBool(value);
}

/*
 * Let the first run of each of these sessions go ahead, if it waits for
 * another.
 */
static void
advance(char *const *session_ids, int count)
{
	static Statement statement = {
		"UPDATE agno.run_queue q "
		"SET state = CASE WHEN q.run_at > clock_timestamp()"
		" THEN 's'::pg_catalog.\"char\" ELSE 'r'::pg_catalog.\"char\" END "
		"FROM (SELECT DISTINCT s.id FROM unnest($1) AS s (id)) s, "
		"LATERAL (SELECT w.run_id, w.state FROM agno.run_queue w"
		" WHERE w.session_id = s.id ORDER BY w.accepted_at LIMIT 1) next "
		"WHERE q.run_id = next.run_id AND next.state = 'w'",
		1, {TEXTARRAYOID}
	};
	Datum		values[] = {store_text_array(session_ids, count)};

	store_execute(&statement, values, NULL);
}

/*-------------------------------------------------------------------------
 * Taking over
 *-------------------------------------------------------------------------
 */

/*
 * Before store_recover() is called for the first time: when the predecessor
 * crashed because of a run that it was about to start, this has been an attempt
 * of that run.
 */
void
store_blame(void)
{
	static Statement statement = {
		"UPDATE agno.runs r SET attempt = r.attempt + 1 "
		"FROM (SELECT l.run_id FROM agno.runs l"
		" WHERE l.run_id = $1 AND l.status = 'PENDING'"
		" FOR NO KEY UPDATE SKIP LOCKED) l "
		"WHERE r.run_id = l.run_id",
		1, {TEXTOID}
	};
	Datum		values[1];

	if (culprit == NULL)
		return;
	values[0] = CStringGetTextDatum(culprit);
	store_execute(&statement, values, NULL);
}

/*
 * Take over the next rows of the queue, in the order of their ids, from an
 * earlier runner: what it had in flight is ready again, and so is what it had
 * parked, and what waits for no other run any more. Attempts that the crash
 * interrupted count, but if it is known whose fault that was, for that run
 * only. A run that somebody has locked stays RUNNING, and is treated likewise
 * when it is started.
 *
 * *after is the id to go on after: "" at first. Returns whether there may be
 * more.
 */
bool
store_recover(char **after, int limit)
{
	static Statement page = {
		"SELECT max(p.run_id), count(*) FROM"
		" (SELECT q.run_id FROM agno.run_queue q WHERE q.run_id > $1"
		" ORDER BY q.run_id LIMIT $2) p",
		2, {TEXTOID, INT4OID}
	};
	static Statement release = {
		"UPDATE agno.runs r SET status = 'PENDING', attempt = r.attempt -"
		" CASE WHEN r.run_id <> $5 THEN 1 ELSE 0 END "
		"FROM (SELECT l.run_id FROM agno.run_queue q"
		" JOIN agno.runs l ON l.run_id = q.run_id"
		" WHERE q.run_id > $3 AND q.run_id <= $4 AND q.state = 'x'"
		" AND " MINE("q", "$1", "$2") " AND l.status = 'RUNNING'"
		" FOR NO KEY UPDATE OF l SKIP LOCKED) l "
		"WHERE r.run_id = l.run_id",
		5, {INT4OID, INT4OID, TEXTOID, TEXTOID, TEXTOID}
	};
	static Statement requeue = {
		"UPDATE agno.run_queue q SET runner = $2,"
		" state = CASE WHEN n.ready THEN 'r'::pg_catalog.\"char\" ELSE q.state END "
		"FROM (SELECT w.run_id, w.state IN ('x', 'p')"
		" OR (w.state = 'k' AND w.run_at IS NULL)"
		" OR (w.state = 'w' AND NOT EXISTS (SELECT FROM agno.run_queue e"
		" WHERE e.session_id = w.session_id"
		" AND e.accepted_at < w.accepted_at)) AS ready"
		" FROM agno.run_queue w WHERE w.run_id > $3 AND w.run_id <= $4"
		" AND " MINE("w", "$1", "$2") ") n "
		"WHERE q.run_id = n.run_id AND (n.ready OR q.runner <> $2)",
		4, {INT4OID, INT4OID, TEXTOID, TEXTOID}
	};
	Datum		values[5];
	char	   *last;
	int64		found;

	values[0] = CStringGetTextDatum(*after);
	values[1] = Int32GetDatum(limit);
	store_execute(&page, values, NULL);
	last = store_text(0, 1);
	found = store_number(0, 2);
	if (found == 0)
		return false;

	values[0] = runners;
	values[1] = my_number;
	values[2] = CStringGetTextDatum(*after);
	values[3] = CStringGetTextDatum(last);
	values[4] = culprit != NULL ? CStringGetTextDatum(culprit) : (Datum) 0;
	store_execute(&release, values, culprit != NULL ? "     " : "    n");
	store_execute(&requeue, values, NULL);
	*after = last;
	return found == limit;
}

/*
 * The place before all runs.
 */
RunPlace
store_first_place(void)
{
	RunPlace	place = {DT_NOBEGIN, ""};

	return place;
}

/*
 * Up to when it is known that no run is lost: the beginning if it is not.
 */
TimestampTz
store_checked_until(void)
{
	static Statement statement = {
		"SELECT c.checked_until FROM agno.queue_check c",
		0, {0}
	};
	bool		isnull;

	if (store_execute(&statement, NULL, NULL) == 0)
		return DT_NOBEGIN;
	return DatumGetTimestampTz(store_column(0, 1, &isnull));
}

/*
 * Keep it.
 */
void
store_set_checked(TimestampTz until)
{
	static Statement delete = {
		"DELETE FROM agno.queue_check",
		0, {0}
	};
	static Statement insert = {
		"INSERT INTO agno.queue_check (checked_until) VALUES ($1)",
		1, {TIMESTAMPTZOID}
	};
	Datum		values[] = {TimestampTzGetDatum(until)};

	store_execute(&delete, NULL, NULL);
	store_execute(&insert, values, NULL);
}

static void
insert_lost(uint64 count)
{
	static Statement statement = {
		"INSERT INTO agno.run_queue (run_id, session_id, state, priority,"
		" run_at, accepted_at, shard, runner, owner) "
		"SELECT r.run_id, r.session_id,"
		" CASE WHEN r.run_at > clock_timestamp()"
		" THEN 's'::pg_catalog.\"char\" ELSE 'r'::pg_catalog.\"char\" END, r.priority, r.run_at,"
		" r.created_at, d.shard, d.shard % $3, r.owner "
		"FROM unnest($1, $2) AS d (run_id, shard)"
		" JOIN agno.runs r ON r.run_id = d.run_id "
		"ON CONFLICT (run_id) DO NOTHING",
		3, {TEXTARRAYOID, INT4ARRAYOID, INT4OID}
	};
	char	  **run_ids = palloc(sizeof(char *) * count);
	int		   *shards = palloc(sizeof(int) * count);
	Datum		values[3];

	for (uint64 row = 0; row < count; row++)
	{
		run_ids[row] = store_text(row, 1);
		shards[row] = shard_of_session(store_text(row, 2));
	}
	values[0] = store_text_array(run_ids, (int) count);
	values[1] = store_int_array(shards, (int) count);
	values[2] = runners;
	store_execute(&statement, values, NULL);
}

/*
 * Look at the next runs in the order of their acceptance, and put those that
 * have not ended into the queue if they are not there: a restore or a hand has
 * lost them. *after is the place to go on after: at first, a time and "". *lost
 * tells whether there were any. Returns whether there may be more.
 */
bool
store_find_lost(RunPlace *after, int limit, bool *lost)
{
	static Statement page = {
		"SELECT p.created_at, p.run_id, p.n FROM"
		" (SELECT r.created_at, r.run_id, row_number() OVER () AS n"
		" FROM agno.runs r WHERE r.created_at >= $1"
		" AND (r.created_at, r.run_id) > ($1, $2)"
		" ORDER BY r.created_at, r.run_id LIMIT $3) p"
		" ORDER BY p.created_at DESC, p.run_id DESC LIMIT 1",
		3, {TIMESTAMPTZOID, TEXTOID, INT4OID}
	};
	static Statement find = {
		"SELECT r.run_id, r.session_id FROM agno.runs r"
		" WHERE r.created_at >= $1 AND r.created_at <= $3"
		" AND (r.created_at, r.run_id) > ($1, $2)"
		" AND (r.created_at, r.run_id) <= ($3, $4)"
		" AND r.status IN ('PENDING', 'RUNNING')"
		" AND NOT EXISTS (SELECT FROM agno.run_queue q"
		" WHERE q.run_id = r.run_id)",
		4, {TIMESTAMPTZOID, TEXTOID, TIMESTAMPTZOID, TEXTOID}
	};
	Datum		values[4];
	bool		isnull;
	int64		found;
	uint64		count;

	values[0] = TimestampTzGetDatum(after->created_at);
	values[1] = CStringGetTextDatum(after->run_id);
	values[2] = Int32GetDatum(limit);
	if (store_execute(&page, values, NULL) == 0)
		return false;
	after->created_at = DatumGetTimestampTz(store_column(0, 1, &isnull));
	after->run_id = store_text(0, 2);
	found = store_number(0, 3);

	values[2] = TimestampTzGetDatum(after->created_at);
	values[3] = CStringGetTextDatum(after->run_id);
	count = store_execute(&find, values, NULL);
	if (count > 0)
		insert_lost(count);
	*lost = count > 0;
	return found == limit;
}

/*-------------------------------------------------------------------------
 * Signals
 *-------------------------------------------------------------------------
 */

static List *
read_signals(uint64 count)
{
	List	   *signals = NIL;

	for (uint64 row = 0; row < count; row++)
	{
		Signal	   *signal = palloc(sizeof(Signal));

		signal->run_id = store_text(row, 1);
		signal->owner = store_oid(row, 2);
		signals = lappend(signals, signal);
	}
	return signals;
}

/*
 * Read and delete at most limit signals for this runner about runs whose ids
 * come after this one: a list of Signal, in the order of these ids.
 */
List *
store_take_signals(const char *after, int limit)
{
	static Statement statement = {
		"WITH taken AS (DELETE FROM agno.run_signals s"
		" WHERE s.ctid = ANY (ARRAY("
		"SELECT l.ctid FROM agno.run_signals l"
		" WHERE l.run_id > $4 AND " MINE("l", "$2", "$3")
		" ORDER BY l.run_id LIMIT $1)) "
		"RETURNING s.run_id, s.owner) "
		"SELECT t.run_id, t.owner FROM taken t ORDER BY t.run_id",
		4, {INT4OID, INT4OID, INT4OID, TEXTOID}
	};
	Datum		values[] = {
		Int32GetDatum(limit), runners, my_number, CStringGetTextDatum(after)
	};

	return read_signals(store_execute(&statement, values, NULL));
}

/*
 * Read and delete the signals for this runner about these runs: a list of
 * Signal.
 */
List *
store_take_signals_of(char *const *run_ids, int count)
{
	static Statement statement = {
		"DELETE FROM agno.run_signals s WHERE s.run_id = ANY ($1)"
		" AND " MINE("s", "$2", "$3") " RETURNING s.run_id, s.owner",
		3, {TEXTARRAYOID, INT4OID, INT4OID}
	};
	Datum		values[] = {
		store_text_array(run_ids, count), runners, my_number
	};

	return read_signals(store_execute(&statement, values, NULL));
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
		lock->owner = store_oid(row, 4);
		lock->attempt = DatumGetInt32(store_column(row, 5, &isnull));
		lock->row = store_row(row, 6);
		lock->mine = shard_runner(shard_of_session(lock->session_id),
								  DatumGetInt32(runners)) ==
			DatumGetInt32(my_number);
		locks = lappend(locks, lock);
	}
	return locks;
}

static List *
read_ids(uint64 count)
{
	List	   *ids = NIL;

	for (uint64 row = 0; row < count; row++)
		ids = lappend(ids, store_text(row, 1));
	return ids;
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

	return read_ids(store_execute(&statement, values, NULL));
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

	return read_ids(store_execute(&statement, values, NULL));
}

/*
 * The runs of these signals, which somebody has locked, are to be cancelled as
 * soon as they can be had. What is not in the queue for this runner has ended,
 * or is not ours; and a signal is for a run of its own role only.
 */
void
store_cancel_later(Signal **signals, int count)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET state = 'k', cancelled = true, looks = 0,"
		" run_at = clock_timestamp() + '1 s'::interval "
		"FROM unnest($1, $2) AS d (run_id, owner)"
		" JOIN agno.runs r ON r.run_id = d.run_id"
		" AND r.owner::pg_catalog.oid = d.owner::pg_catalog.oid "
		"WHERE q.run_id = d.run_id AND " MINE("q", "$3", "$4"),
		4, {TEXTARRAYOID, INT4ARRAYOID, INT4OID, INT4OID}
	};
	char	  **run_ids = palloc(sizeof(char *) * count);
	int		   *owners = palloc(sizeof(int) * count);
	Datum		values[4];

	for (int i = 0; i < count; i++)
	{
		run_ids[i] = signals[i]->run_id;
		owners[i] = (int) signals[i]->owner;
	}
	values[0] = store_text_array(run_ids, count);
	values[1] = store_int_array(owners, count);
	values[2] = runners;
	values[3] = my_number;
	store_execute(&statement, values, NULL);
}

/*-------------------------------------------------------------------------
 * Runs that leave the queue
 *-------------------------------------------------------------------------
 */

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
	Datum		values[1];
	uint64		left;

	values[0] = store_text_array(run_ids, count);
	left = store_execute(&delete, values, NULL);
	for (uint64 row = 0; row < left; row++)
		store_notify(END_CHANNEL, store_text(row, 1));
	advance(session_ids, count);
}

/*-------------------------------------------------------------------------
 * Runs that may start
 *-------------------------------------------------------------------------
 */

/*
 * The first runs whose time has come are ready. Returns whether there may be
 * more than limit of them.
 */
bool
store_promote_due(int limit)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET state = 'r' WHERE q.ctid = ANY (ARRAY("
		"SELECT s.ctid FROM agno.run_queue s"
		" WHERE s.state = 's' AND s.run_at <= clock_timestamp()"
		" AND " MINE("s", "$1", "$2") " ORDER BY s.run_at LIMIT $3))",
		3, {INT4OID, INT4OID, INT4OID}
	};
	Datum		values[] = {runners, my_number, Int32GetDatum(limit)};

	return store_execute(&statement, values, NULL) == (uint64) limit;
}

#define PICKED_COLUMNS \
		"SELECT q.run_id, q.session_id, q.owner," \
		" EXISTS (SELECT FROM agno.run_queue e" \
		" WHERE e.session_id = q.session_id" \
		" AND e.accepted_at < q.accepted_at), q.cancelled, q.looks," \
		" q.parked_for, q.ctid " \
		"FROM agno.run_queue q "

static List *
read_picked(uint64 count)
{
	List	   *picked = NIL;

	for (uint64 row = 0; row < count; row++)
	{
		PickedRun  *run = palloc(sizeof(PickedRun));
		bool		isnull;

		run->run_id = store_text(row, 1);
		run->session_id = store_text(row, 2);
		run->owner = store_oid(row, 3);
		run->behind = store_bool(row, 4);
		run->cancelled = store_bool(row, 5);
		run->looks = DatumGetInt16(store_column(row, 6, &isnull));
		run->parked_for = store_text(row, 7);
		run->row = store_row(row, 8);
		run->had = false;
		picked = lappend(picked, run);
	}
	return picked;
}

/*
 * The next ready runs of the owners from this OID up to that, both inclusive:
 * a list of at most limit PickedRuns, one owner after the other.
 */
List *
store_pick(Oid from, Oid to, int limit)
{
	static Statement statement = {
		PICKED_COLUMNS
		"WHERE q.state = 'r' AND q.runner = $3 AND " MINE("q", "$2", "$3")
		" AND q.owner >= $4::pg_catalog.regrole AND q.owner <= $5::pg_catalog.regrole"
		" ORDER BY q.owner, q.priority DESC, q.accepted_at LIMIT $1",
		5, {INT4OID, INT4OID, INT4OID, OIDOID, OIDOID}
	};
	Datum		values[] = {
		Int32GetDatum(limit), runners, my_number, ObjectIdGetDatum(from),
		ObjectIdGetDatum(to)
	};

	return read_picked(store_execute(&statement, values, NULL));
}

/*
 * The runs that could not be had and are to be looked at again: a list of at
 * most limit PickedRuns.
 */
List *
store_pick_locked(int limit)
{
	static Statement statement = {
		PICKED_COLUMNS
		"WHERE q.state = 'k' AND q.run_at <= clock_timestamp()"
		" AND " MINE("q", "$2", "$3") " ORDER BY q.run_at LIMIT $1",
		3, {INT4OID, INT4OID, INT4OID}
	};
	Datum		values[] = {Int32GetDatum(limit), runners, my_number};

	return read_picked(store_execute(&statement, values, NULL));
}

/*
 * These runs wait for an earlier one of their session.
 */
void
store_set_waiting(char *const *run_ids, int count)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET state = 'w' WHERE q.run_id = ANY ($1)",
		1, {TEXTARRAYOID}
	};
	Datum		values[] = {store_text_array(run_ids, count)};

	if (count > 0)
		store_execute(&statement, values, NULL);
}

/*
 * These runs could not be had: they are looked at again, after a pause that
 * doubles from one time to the next.
 */
void
store_set_locked(char *const *run_ids, int count)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET state = 'k',"
		" looks = least(q.looks + 1, 1000), run_at = clock_timestamp() +"
		" make_interval(secs => least(" LONGEST_LOOK_PAUSE ","
		" power(2, least(q.looks, 10)))) "
		"WHERE q.run_id = ANY ($1)",
		1, {TEXTARRAYOID}
	};
	Datum		values[] = {store_text_array(run_ids, count)};

	if (count > 0)
		store_execute(&statement, values, NULL);
}

/*-------------------------------------------------------------------------
 * Reading what it takes to execute runs
 *-------------------------------------------------------------------------
 */

/*
 * How many bytes a value of the last result has when it is read.
 */
static int64
raw_size(uint64 row, int column)
{
	bool		isnull;
	Datum		value = store_column(row, column, &isnull);

	return isnull ? 0 : (int64) toast_raw_datum_size(value);
}

/*
 * The state of a session with what a run adds to it, or NULL.
 */
static char *
merged_state(uint64 row, int session_column, int run_column)
{
	bool		session_null;
	bool		run_null;
	Datum		session = store_column(row, session_column, &session_null);
	Datum		run = store_column(row, run_column, &run_null);
	Jsonb	   *merged;

	if (session_null || run_null)
		return store_utf8(row, session_null ? run_column : session_column);
	merged = json_merge(DatumGetJsonbP(session), DatumGetJsonbP(run));
	return encoding_from_server(JsonbToCString(NULL, &merged->root,
											   VARSIZE(merged)));
}

/*
 * Lock those of these runs that nobody else has locked, and read what it takes
 * to execute them: a list of ReadyRun. No more is read than max_bytes, but one
 * run at least; the others are in the list without it (deferred).
 */
List *
store_read_ready(PickedRun **picked, int count, int64 max_bytes)
{
	enum
	{
		N = 1, RUN_ID, SESSION_ID, STATUS, OWNER, ATTEMPT, MODEL_PROVIDER,
		MODEL, INPUT, USER_ID, METADATA, OPTIONS, SCHEMA, AGENT, STATE,
		RUN_STATE, SESSION_METRICS, TIMEOUT, MAX_ATTEMPTS, RETRIES,
		HISTORY_RUNS, HISTORY_MESSAGES, STREAM, LAST_EVENT, AGENT_ID,
		RESPONSE_ID, MARKED, ROW
	};
	static Statement statement = {
		"SELECT p.n, r.run_id, r.session_id, r.status, r.owner, r.attempt,"
		" r.model_provider, r.model, r.input, r.user_id, r.metadata,"
		" d.model_options, d.output_schema, d.agent, s.session_state,"
		" d.session_state, s.session_metrics,"
		" (extract(epoch FROM d.timeout) * 1000)::bigint,"
		" d.max_attempts::bigint, d.retries::bigint,"
		" d.num_history_runs::bigint, d.num_history_messages::bigint,"
		" coalesce(d.stream, false), CASE WHEN d.stream THEN"
		" (SELECT max(e.seq) FROM agno.run_events e"
		" WHERE e.run_id = r.run_id) END, r.agent_id, d.response_id,"
		" EXISTS (SELECT FROM agno.cancellations c"
		" WHERE c.run_id = r.run_id AND c.owner = r.owner), r.ctid "
		"FROM unnest($1) WITH ORDINALITY AS p (run_id, n) "
		"JOIN agno.runs r ON r.run_id = p.run_id "
		"LEFT JOIN agno.sessions s ON s.session_id = r.session_id"
		" AND s.owner = r.owner "
		"LEFT JOIN agno.run_requests d ON d.run_id = r.run_id "
		"FOR NO KEY UPDATE OF r SKIP LOCKED",
		1, {TEXTARRAYOID}
	};
	char	  **run_ids = palloc(sizeof(char *) * Max(count, 1));
	Datum		values[1];
	uint64		found;
	int64		bytes = 0;
	List	   *ready = NIL;

	for (int i = 0; i < count; i++)
		run_ids[i] = picked[i]->run_id;
	values[0] = store_text_array(run_ids, count);
	found = store_execute(&statement, values, NULL);

	for (uint64 row = 0; row < found; row++)
	{
		ReadyRun   *run = palloc0(sizeof(ReadyRun));
		PickedRun  *its = picked[store_number(row, N) - 1];
		bool		isnull;

		its->had = true;
		run->picked = its;
		run->run_id = its->run_id;
		run->session_id = store_text(row, SESSION_ID);
		run->status = run_status_parse(store_text(row, STATUS));
		run->owner = store_oid(row, OWNER);
		run->queue_row = its->row;
		run->row = store_row(row, ROW);
		run->attempt = DatumGetInt32(store_column(row, ATTEMPT, &isnull));
		/* As store_recover() would have done, had it not been locked. */
		if (run->status == RUN_RUNNING && culprit != NULL &&
			strcmp(run->run_id, culprit) != 0)
			run->attempt--;
		run->marked = its->cancelled || store_bool(row, MARKED);
		for (int c = INPUT; c <= SESSION_METRICS; c++)
			run->bytes += raw_size(row, c);
		ready = lappend(ready, run);

		if (bytes > 0 && bytes + run->bytes > max_bytes)
		{
			run->deferred = true;
			continue;
		}
		bytes += run->bytes;
		run->model_server = store_text(row, MODEL_PROVIDER);
		run->model = store_utf8(row, MODEL);
		run->input = store_utf8(row, INPUT);
		run->user_id = store_utf8(row, USER_ID);
		run->metadata = store_utf8(row, METADATA);
		run->options = store_utf8(row, OPTIONS);
		run->schema = store_utf8(row, SCHEMA);
		run->agent = store_utf8(row, AGENT);
		run->session_state = merged_state(row, STATE, RUN_STATE);
		run->session_metrics = store_utf8(row, SESSION_METRICS);
		run->timeout_ms = store_number(row, TIMEOUT);
		run->max_attempts = (int) store_number(row, MAX_ATTEMPTS);
		run->retries = (int) store_number(row, RETRIES);
		run->history_runs = (int) store_number(row, HISTORY_RUNS);
		run->history_messages = (int) store_number(row, HISTORY_MESSAGES);
		run->stream = store_bool(row, STREAM);
		run->last_event = Max(store_number(row, LAST_EVENT), 0);
		run->agent_id = store_utf8(row, AGENT_ID);
		run->response_id = store_utf8(row, RESPONSE_ID);
	}
	return ready;
}

/*
 * Read what earlier runs of their sessions have said, for those of these
 * ReadyRuns that are to send it along; of each, as many of the last ones as
 * have at most max_bytes. When all that is read reaches max_total, the rest of
 * the list is deferred. Agno's rules: runs that are PAUSED, CANCELLED or
 * ERROR do not count, and none that another run has started.
 */
void
store_read_history(List *ready, int64 max_bytes, int64 max_total)
{
	static Statement statement = {
		"SELECT d.n, h.messages "
		"FROM unnest($1, $2, $3, $4) WITH ORDINALITY"
		" AS d (run_id, session_id, runs, owner, n), "
		"LATERAL (SELECT r.messages, r.created_at, r.run_id FROM agno.runs r"
		" WHERE r.session_id = d.session_id AND r.run_id <> d.run_id"
		" AND r.owner::pg_catalog.oid = d.owner::pg_catalog.oid"
		" AND r.status = 'COMPLETED' AND r.parent_run_id IS NULL"
		" AND r.messages IS NOT NULL"
		" ORDER BY r.created_at DESC, r.run_id DESC LIMIT d.runs) h "
		"ORDER BY d.n, h.created_at DESC, h.run_id DESC",
		4, {TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID, INT4ARRAYOID}
	};
	int			size = Max(list_length(ready), 1);
	ReadyRun  **runs = palloc(sizeof(ReadyRun *) * size);
	char	  **run_ids = palloc(sizeof(char *) * size);
	char	  **session_ids = palloc(sizeof(char *) * size);
	int		   *limits = palloc(sizeof(int) * size);
	int		   *owners = palloc(sizeof(int) * size);
	int64	   *bytes = palloc0(sizeof(int64) * size);
	int64		total = 0;
	int			first = -1;		/* the first run with a history */
	int			count = 0;
	Datum		values[4];
	uint64		found;
	ListCell   *cell;

	foreach(cell, ready)
	{
		ReadyRun   *run = lfirst(cell);
		int			limit;

		if (run->deferred ||
			(run->history_runs < 0 && run->history_messages < 0))
			continue;
		/* No run has fewer messages than one. */
		limit = run->history_runs >= 0 ?
			run->history_runs : run->history_messages;
		runs[count] = run;
		run_ids[count] = run->run_id;
		session_ids[count] = run->session_id;
		owners[count] = (int) run->owner;
		limits[count++] = Min(limit, MAX_HISTORY_RUNS);
	}
	if (count == 0)
		return;

	values[0] = store_text_array(run_ids, count);
	values[1] = store_text_array(session_ids, count);
	values[2] = store_int_array(limits, count);
	values[3] = store_int_array(owners, count);
	found = store_execute(&statement, values, NULL);
	for (uint64 row = 0; row < found; row++)
	{
		int			n = (int) store_number(row, 1) - 1;
		ReadyRun   *run = runs[n];
		int64		size = raw_size(row, 2);

		if (n > first && total >= max_total)
			run->deferred = true;
		bytes[n] += size;
		if (run->deferred || bytes[n] > max_bytes)
			continue;
		run->history = lcons(store_utf8(row, 2), run->history);
		run->bytes += size;
		total += size;
		if (first < 0)
			first = n;
	}
}

/*-------------------------------------------------------------------------
 * Runs that start, or are put back
 *-------------------------------------------------------------------------
 */

/*
 * These runs, all of them locked, start their next attempt.
 */
void
store_start(ReadyRun **runs, int count)
{
	static Statement statement = {
		"UPDATE agno.runs r SET status = 'RUNNING', attempt = d.attempt,"
		" error = NULL, started_at = clock_timestamp() "
		"FROM unnest($1, $2) AS d (row, attempt) WHERE r.ctid = d.row",
		2, {TIDARRAYOID, INT4ARRAYOID}
	};
	static Statement claim = {
		"UPDATE agno.run_queue q SET state = 'x', looks = 0"
		" WHERE q.ctid = ANY ($1)",
		1, {TIDARRAYOID}
	};
	ItemPointer *rows = palloc(sizeof(ItemPointer) * Max(count, 1));
	ItemPointer *queue_rows = palloc(sizeof(ItemPointer) * Max(count, 1));
	int		   *attempts = palloc(sizeof(int) * Max(count, 1));
	Datum		values[2];

	if (count == 0)
		return;
	for (int i = 0; i < count; i++)
	{
		rows[i] = &runs[i]->row;
		queue_rows[i] = &runs[i]->queue_row;
		attempts[i] = runs[i]->attempt + 1;
	}
	values[0] = store_row_array(rows, count);
	values[1] = store_int_array(attempts, count);
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
		"WHERE r.run_id = l.run_id RETURNING r.run_id, r.session_id",
		2, {TEXTARRAYOID, INT4ARRAYOID}
	};
	static Statement queue = {
		"UPDATE agno.run_queue q SET state = 'r' WHERE q.run_id = ANY ($1)",
		1, {TEXTARRAYOID}
	};
	Datum		values[2];
	uint64		released;
	char	  **ids;
	char	  **session_ids;

	values[0] = store_text_array(run_ids, count);
	values[1] = store_int_array(attempts, count);
	released = store_execute(&statement, values, NULL);
	ids = palloc(sizeof(char *) * Max(released, 1));
	session_ids = palloc(sizeof(char *) * Max(released, 1));
	for (uint64 row = 0; row < released; row++)
	{
		ids[row] = store_text(row, 1);
		session_ids[row] = store_text(row, 2);
	}
	values[0] = store_text_array(ids, (int) released);
	store_execute(&queue, values, NULL);
	advance(session_ids, (int) released);
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
		"VALUES ($1, $2::pg_catalog.regrole, $3) "
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
 * Show why these runs, all of them locked, have not been started.
 */
static void
show_errors(ItemPointer *rows, char *const *errors, int count)
{
	static Statement statement = {
		"UPDATE agno.runs r SET error = d.error::pg_catalog.jsonb "
		"FROM unnest($1, $2) AS d (row, error) WHERE r.ctid = d.row",
		2, {TIDARRAYOID, TEXTARRAYOID}
	};
	Datum		values[] = {
		store_row_array(rows, count), store_text_array(errors, count)
	};

	store_execute(&statement, values, NULL);
}

/*
 * Set these runs, all of them locked, aside until their model servers have
 * room, or can be reached: then error says why not.
 */
void
store_park(ParkedRun *runs, int count)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET state = 'p', parked_for = d.key,"
		" waits_since = CASE WHEN d.unreachable = 1 THEN"
		" coalesce(q.waits_since, clock_timestamp()) END "
		"FROM unnest($1, $2, $3) AS d (row, key, unreachable) "
		"WHERE q.ctid = d.row",
		3, {TIDARRAYOID, TEXTARRAYOID, INT4ARRAYOID}
	};
	ItemPointer *queue_rows = palloc(sizeof(ItemPointer) * Max(count, 1));
	ItemPointer *rows = palloc(sizeof(ItemPointer) * Max(count, 1));
	char	  **keys = palloc(sizeof(char *) * Max(count, 1));
	char	  **errors = palloc(sizeof(char *) * Max(count, 1));
	int		   *unreachable = palloc(sizeof(int) * Max(count, 1));
	int			error_count = 0;
	Datum		values[3];

	if (count == 0)
		return;
	for (int i = 0; i < count; i++)
	{
		queue_rows[i] = &runs[i].run->queue_row;
		keys[i] = unconstify(char *, runs[i].key);
		unreachable[i] = runs[i].error != NULL ? 1 : 0;
		if (runs[i].error == NULL)
			continue;
		rows[error_count] = &runs[i].run->row;
		errors[error_count++] = encoding_to_server(runs[i].error);
	}
	values[0] = store_row_array(queue_rows, count);
	values[1] = store_text_array(keys, count);
	values[2] = store_int_array(unreachable, count);
	store_execute(&statement, values, NULL);
	if (error_count > 0)
		show_errors(rows, errors, error_count);
}

/*
 * The next owner, from this OID on, with runs that are parked for this; false
 * if there is none.
 */
static bool
next_parked_owner(const char *key, Oid from, Oid *owner)
{
	static Statement statement = {
		"SELECT q.owner FROM agno.run_queue q"
		" WHERE q.state = 'p' AND q.parked_for = $1 AND q.owner >= $2::pg_catalog.regrole"
		" AND " MINE("q", "$3", "$4") " ORDER BY q.owner LIMIT 1",
		4, {TEXTOID, OIDOID, INT4OID, INT4OID}
	};
	Datum		values[] = {
		CStringGetTextDatum(key), ObjectIdGetDatum(from), runners, my_number
	};

	if (store_execute(&statement, values, NULL) == 0)
		return false;
	*owner = store_oid(0, 1);
	return true;
}

/*
 * The owners with runs that are parked for this, starting after one of them
 * and going round: a list of at most limit OIDs.
 */
List *
store_parked_owners(const char *key, Oid after, int limit)
{
	List	   *owners = NIL;
	Oid			from = after + 1;
	bool		wrapped = false;

	while (list_length(owners) < limit)
	{
		Oid			owner;

		if (!next_parked_owner(key, from, &owner) ||
			(wrapped && owner > after))
		{
			if (wrapped || after == InvalidOid)
				break;
			wrapped = true;
			from = InvalidOid;
			continue;
		}
		owners = lappend_oid(owners, owner);
		if (owner == PG_UINT32_MAX)
			break;
		from = owner + 1;
	}
	return owners;
}

/*
 * The first runs of this owner that are parked for this are ready; with
 * reached, they have not been waiting for their server. Returns how many.
 */
int
store_unpark(const char *key, Oid owner, bool reached, int limit)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET state = 'r',"
		" waits_since = CASE WHEN NOT $6 THEN q.waits_since END "
		"WHERE q.ctid = ANY (ARRAY("
		"SELECT p.ctid FROM agno.run_queue p"
		" WHERE p.state = 'p' AND p.parked_for = $1 AND p.owner = $5::pg_catalog.regrole"
		" AND " MINE("p", "$3", "$4")
		" ORDER BY p.priority DESC, p.accepted_at LIMIT $2))",
		6, {TEXTOID, INT4OID, INT4OID, INT4OID, OIDOID, BOOLOID}
	};
	Datum		values[] = {
		CStringGetTextDatum(key), Int32GetDatum(limit), runners, my_number,
		ObjectIdGetDatum(owner), BoolGetDatum(reached)
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
		"VALUES ($1, $2::pg_catalog.regrole, $3) "
		"ON CONFLICT (run_id) DO UPDATE SET retries = excluded.retries",
		3, {TEXTOID, OIDOID, INT4OID}
	};
	static Statement queue = {
		"UPDATE agno.run_queue q SET state = 's', run_at = $2,"
		" waits_since = NULL WHERE q.run_id = $1",
		2, {TEXTOID, TIMESTAMPTZOID}
	};
	char	  **session_ids = palloc(sizeof(char *) * Max(count, 1));

	for (int i = 0; i < count; i++)
	{
		Datum		values[3];
		Datum		run_at;
		bool		isnull;

		session_ids[i] = runs[i].session_id;
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
	if (count > 0)
		advance(session_ids, count);
}

/*
 * Put runs back, all of them locked, whose servers could not be reached, and
 * let them wait until they can. That does not count as an attempt.
 */
void
store_hold_back(EndedRun *runs, int count)
{
	static Statement update = {
		"UPDATE agno.runs r SET status = 'PENDING', attempt = r.attempt - 1,"
		" started_at = NULL, error = d.error::pg_catalog.jsonb "
		"FROM unnest($1, $2) AS d (row, error) WHERE r.ctid = d.row",
		2, {TIDARRAYOID, TEXTARRAYOID}
	};
	static Statement queue = {
		"UPDATE agno.run_queue q SET state = 'p', parked_for = d.key,"
		" waits_since = coalesce(q.waits_since, clock_timestamp()) "
		"FROM unnest($1, $2) AS d (run_id, key) WHERE q.run_id = d.run_id",
		2, {TEXTARRAYOID, TEXTARRAYOID}
	};
	ItemPointer *rows = palloc(sizeof(ItemPointer) * Max(count, 1));
	char	  **run_ids = palloc(sizeof(char *) * Max(count, 1));
	char	  **session_ids = palloc(sizeof(char *) * Max(count, 1));
	char	  **keys = palloc(sizeof(char *) * Max(count, 1));
	char	  **errors = palloc(sizeof(char *) * Max(count, 1));
	Datum		values[2];

	if (count == 0)
		return;
	for (int i = 0; i < count; i++)
	{
		rows[i] = &runs[i].row;
		run_ids[i] = runs[i].run_id;
		session_ids[i] = runs[i].session_id;
		keys[i] = unconstify(char *, runs[i].parked_for);
		errors[i] = encoding_to_server(runs[i].error);
	}
	values[0] = store_row_array(rows, count);
	values[1] = store_text_array(errors, count);
	store_execute(&update, values, NULL);
	values[0] = store_text_array(run_ids, count);
	values[1] = store_text_array(keys, count);
	store_execute(&queue, values, NULL);
	advance(session_ids, count);
}

/*
 * The runs that have been waiting for their server to be reached for so many
 * milliseconds: a list of at most limit PickedRuns.
 */
List *
store_pick_given_up(const char *key, int patience_ms, int limit)
{
	static Statement statement = {
		PICKED_COLUMNS
		"WHERE q.state = 'p' AND q.parked_for = $4"
		" AND q.waits_since <= clock_timestamp() -"
		" make_interval(secs => $5 / 1000.0)"
		" AND " MINE("q", "$2", "$3") " ORDER BY q.waits_since LIMIT $1",
		5, {INT4OID, INT4OID, INT4OID, TEXTOID, INT4OID}
	};
	Datum		values[] = {
		Int32GetDatum(limit), runners, my_number, CStringGetTextDatum(key),
		Int32GetDatum(patience_ms)
	};

	return read_picked(store_execute(&statement, values, NULL));
}

/*
 * Since when the first of the runs that are parked for this has been waiting
 * for its server to be reached; 0 if none has.
 */
TimestampTz
store_waits_since(const char *key)
{
	static Statement statement = {
		"SELECT min(q.waits_since) FROM agno.run_queue q"
		" WHERE q.state = 'p' AND q.parked_for = $1"
		" AND q.waits_since IS NOT NULL AND " MINE("q", "$2", "$3"),
		3, {TEXTOID, INT4OID, INT4OID}
	};
	Datum		values[] = {CStringGetTextDatum(key), runners, my_number};
	bool		isnull;
	Datum		since;

	store_execute(&statement, values, NULL);
	since = store_column(0, 1, &isnull);
	return isnull ? 0 : DatumGetTimestampTz(since);
}

/*-------------------------------------------------------------------------
 * The clock
 *-------------------------------------------------------------------------
 */

/*
 * When the clock alone gives the runner work: a run is due, or to be looked at
 * again, or a marker is too old. False when there is no such time.
 */
bool
store_next_time(TimestampTz *next)
{
	static Statement statement = {
		"SELECT least("
		"(SELECT min(q.run_at) FROM agno.run_queue q WHERE q.state = 's'"
		" AND " MINE("q", "$1", "$2") "),"
		"(SELECT min(q.run_at) FROM agno.run_queue q WHERE q.state = 'k'"
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
 * Remove the first markers that met no run in their life.
 */
void
store_expire_markers(int limit)
{
	static Statement statement = {
		"DELETE FROM agno.cancellations c WHERE (c.run_id, c.owner) IN"
		" (SELECT o.run_id, o.owner FROM agno.cancellations o"
		" WHERE o.requested_at <= clock_timestamp() - " MARKER_LIFE
		" ORDER BY o.requested_at LIMIT $1 FOR UPDATE SKIP LOCKED)",
		1, {INT4OID}
	};
	Datum		values[] = {Int32GetDatum(limit)};

	store_execute(&statement, values, NULL);
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
