/*-------------------------------------------------------------------------
 *
 * store_queue.c
 *	  The tables of agno_bg: what a runner does with the queue.
 *
 * For a runner, between store_begin() and store_commit(). The states are in
 * store_queue.h. Statements work on sets, so that a transaction with hundreds
 * of runs has as many of them as one with a single run. They never wait for a
 * lock. The search_path of a runner is pg_catalog.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/shard.h"
#include "server/encoding.h"
#include "server/json_merge.h"
#include "store/store.h"
#include "store/store_queue.h"
#include "utils/jsonb.h"

/* The channel that listeners learn of ends from. */
#define END_CHANNEL "agno_run"

/*
 * What cannot be had is looked at again after a pause that doubles from a
 * second to this, in seconds.
 */
#define LONGEST_LOOK_PAUSE "16"

ThisRunner	this_runner = {.runners = 1};

/*
 * This process is the runner with this number, from 0, of count runners. From
 * now on, the functions of the queue are about the sessions of this runner.
 * Its predecessor crashed at the run crashed_at, unless that is NULL.
 */
void
store_divide(int number, int count, const char *crashed_at)
{
	this_runner.number = number;
	this_runner.runners = count;
	this_runner.culprit = crashed_at;
}

/*
 * The first two arguments of a statement with MINE().
 */
void
bind_mine(Arguments *args)
{
	Assert(args->count == 0);
	bind_int(args, this_runner.runners);
	bind_int(args, this_runner.number);
}

/*-------------------------------------------------------------------------
 * Runs by their ids
 *-------------------------------------------------------------------------
 */

static void *
read_lock(RowReader *row)
{
	RunLock    *lock = palloc(sizeof(RunLock));

	lock->run_id = next_text(row);
	lock->session_id = next_text(row);
	lock->status = next_status(row);
	lock->owner = next_oid(row);
	lock->attempt = next_int(row);
	lock->row = next_tid(row);
	lock->mine = shard_runner(shard_of_session(lock->session_id),
							  this_runner.runners) == this_runner.number;
	return lock;
}

/*
 * Lock those of these runs that nobody else has locked, until the end of the
 * transaction: a list of RunLock.
 */
List *
store_lock_runs(char *const *run_ids, int count)
{
	static Statement statement = {
		"SELECT r.run_id, r.session_id, r.status, r.owner, r.attempt, r.ctid "
		"FROM agno.runs r WHERE r.run_id = ANY ($1) "
		"FOR NO KEY UPDATE SKIP LOCKED"
	};
	Arguments	args = {0};

	bind_ids(&args, run_ids, count);
	return store_read_list(&statement, &args, read_lock);
}

/*
 * Which of these runs there are, locked or not: a list of ids.
 */
List *
store_existing_runs(char *const *run_ids, int count)
{
	static Statement statement = {
		"SELECT r.run_id FROM agno.runs r WHERE r.run_id = ANY ($1)"
	};
	Arguments	args = {0};

	bind_ids(&args, run_ids, count);
	return store_read_list(&statement, &args, read_id);
}

/*
 * Which of these runs are in the queue, for this runner: a list of ids.
 */
List *
store_queued_runs(char *const *run_ids, int count)
{
	static Statement statement = {
		"SELECT q.run_id FROM agno.run_queue q WHERE q.run_id = ANY ($3)"
		" AND " MINE("q")
	};
	Arguments	args = {0};

	bind_mine(&args);
	bind_ids(&args, run_ids, count);
	return store_read_list(&statement, &args, read_id);
}

/*-------------------------------------------------------------------------
 * Becoming ready
 *-------------------------------------------------------------------------
 */

/*
 * Let the first run of each of these sessions go ahead, if it waits for
 * another.
 */
void
store_advance(const Column *session_ids)
{
	static Statement statement = {
		"UPDATE agno.run_queue q "
		"SET state = " SCHEDULED_OR_READY("q.run_at") " "
		"FROM (SELECT DISTINCT s.id FROM unnest($1) AS s (id)) s, "
		"LATERAL (SELECT w.run_id, w.state FROM agno.run_queue w"
		" WHERE w.session_id = s.id ORDER BY w.accepted_at LIMIT 1) next "
		"WHERE q.run_id = next.run_id AND next.state = " WAITING
	};
	Arguments	args = {0};

	bind_column(&args, session_ids);
	store_execute(&statement, &args);
}

/*
 * The first runs whose time has come are ready. Returns whether there may be
 * more than limit of them.
 */
bool
store_promote_due(int limit)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET state = " READY
		" WHERE q.ctid = ANY (ARRAY("
		"SELECT s.ctid FROM agno.run_queue s"
		" WHERE s.state = " SCHEDULED " AND s.run_at <= clock_timestamp()"
		" AND " MINE("s") " ORDER BY s.run_at LIMIT $3))"
	};
	Arguments	args = {0};

	bind_mine(&args);
	bind_int(&args, limit);
	return store_execute(&statement, &args) == (uint64) limit;
}

/*
 * When the clock alone gives the runner work: a run is due, or to be looked at
 * again, or a marker is too old. False when there is no such time.
 */
bool
store_next_time(TimestampTz *next)
{
	static Statement statement = {
		"SELECT least("
		"(SELECT min(q.run_at) FROM agno.run_queue q"
		" WHERE q.state = " SCHEDULED " AND " MINE("q") "),"
		"(SELECT min(q.run_at) FROM agno.run_queue q"
		" WHERE q.state = " LOCKED " AND " MINE("q") "),"
		"(SELECT min(c.requested_at) + " MARKER_LIFE
		" FROM agno.cancellations c WHERE $2 = 0))"
	};
	Arguments	args = {0};
	RowReader	row;

	bind_mine(&args);
	store_execute(&statement, &args);
	row = row_reader(0);
	*next = next_time_or(&row, 0);
	return *next != 0;
}

/*-------------------------------------------------------------------------
 * Runs that were picked
 *-------------------------------------------------------------------------
 */

/*
 * These runs wait for an earlier one of their session.
 */
void
store_set_waiting(char *const *run_ids, int count)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET state = " WAITING
		" WHERE q.run_id = ANY ($1)"
	};
	Arguments	args = {0};

	if (count == 0)
		return;
	bind_ids(&args, run_ids, count);
	store_execute(&statement, &args);
}

/*
 * These runs could not be had: they are looked at again, after a pause that
 * doubles from one time to the next.
 */
void
store_set_locked(char *const *run_ids, int count)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET state = " LOCKED ","
		" looks = least(q.looks + 1, 1000), run_at = clock_timestamp() +"
		" make_interval(secs => least(" LONGEST_LOOK_PAUSE ","
		" power(2, least(q.looks, 10)))) "
		"WHERE q.run_id = ANY ($1)"
	};
	Arguments	args = {0};

	if (count == 0)
		return;
	bind_ids(&args, run_ids, count);
	store_execute(&statement, &args);
}

static void
set_executing(ReadyRun **runs, int count)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET state = " EXECUTING ", looks = 0"
		" WHERE q.ctid = ANY ($1)"
	};
	Arguments	args = {0};
	Column		rows = {TIDOID};

	for (int i = 0; i < count; i++)
		add_tid(&rows, &runs[i]->queue_row);
	bind_column(&args, &rows);
	store_execute(&statement, &args);
}

/*
 * These runs, all of them locked, start their next attempt.
 */
void
store_start(ReadyRun **runs, int count)
{
	static Statement statement = {
		"UPDATE agno.runs r SET status = 'RUNNING', attempt = d.attempt,"
		" error = NULL, started_at = clock_timestamp() "
		"FROM unnest($1, $2) AS d (row, attempt) WHERE r.ctid = d.row"
	};
	Arguments	args = {0};
	Column		rows = {TIDOID};
	Column		attempts = {INT4OID};

	if (count == 0)
		return;
	for (int i = 0; i < count; i++)
	{
		add_tid(&rows, &runs[i]->row);
		add_int(&attempts, runs[i]->attempt + 1);
	}
	bind_column(&args, &rows);
	bind_column(&args, &attempts);
	store_execute(&statement, &args);
	set_executing(runs, count);
}

/*-------------------------------------------------------------------------
 * Runs that were executing, or have ended
 *-------------------------------------------------------------------------
 */

static void
set_ready(const Column *run_ids)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET state = " READY
		" WHERE q.run_id = ANY ($1)"
	};
	Arguments	args = {0};

	bind_column(&args, run_ids);
	store_execute(&statement, &args);
}

/*
 * The server stops: what these runs have begun does not count as an attempt.
 * attempts are those that they were in; a run that is in another by now, or is
 * locked, is left alone.
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
		"WHERE r.run_id = l.run_id RETURNING r.run_id, r.session_id"
	};
	Arguments	args = {0};
	Column		own_attempts = {INT4OID};
	Column		released_ids = {TEXTOID};
	Column		session_ids = {TEXTOID};
	uint64		released;

	for (int i = 0; i < count; i++)
		add_int(&own_attempts, attempts[i]);
	bind_ids(&args, run_ids, count);
	bind_column(&args, &own_attempts);
	released = store_execute(&statement, &args);
	for (uint64 n = 0; n < released; n++)
	{
		RowReader	row = row_reader(n);

		add_text(&released_ids, next_text(&row));
		add_text(&session_ids, next_text(&row));
	}
	set_ready(&released_ids);
	store_advance(&session_ids);
}

static void
set_scheduled(const char *run_id, TimestampTz run_at)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET state = " SCHEDULED ", run_at = $2,"
		" waits_since = NULL WHERE q.run_id = $1"
	};
	Arguments	args = {0};

	bind_text(&args, run_id);
	bind_time(&args, run_at);
	store_execute(&statement, &args);
}

static void
keep_retries(const char *run_id, Oid owner, int retries)
{
	static Statement statement = {
		"INSERT INTO agno.run_requests AS d (run_id, owner, retries) "
		"VALUES ($1, $2::pg_catalog.regrole, $3) "
		"ON CONFLICT (run_id) DO UPDATE SET retries = excluded.retries"
	};
	Arguments	args = {0};

	bind_text(&args, run_id);
	bind_oid(&args, owner);
	bind_int(&args, retries);
	store_execute(&statement, &args);
}

/*
 * Put runs back, all of them locked, that are to be started again later: their
 * servers have asked for it. That does not count as an attempt, but the
 * repetition is used up.
 */
void
store_postpone(EndedRun *runs, int count)
{
	static Statement statement = {
		"UPDATE agno.runs r SET status = 'PENDING', attempt = r.attempt - 1,"
		" started_at = NULL, run_at = clock_timestamp() +"
		" make_interval(secs => $2 / 1000.0) WHERE r.ctid = $1 "
		"RETURNING r.run_at"
	};
	Column		session_ids = {TEXTOID};

	for (int i = 0; i < count; i++)
	{
		EndedRun   *run = &runs[i];
		Arguments	args = {0};
		RowReader	row;

		add_text(&session_ids, run->session_id);
		bind_tid(&args, &run->row);
		bind_int(&args, (int) Min(run->postpone_ms, INT_MAX));
		if (store_execute(&statement, &args) == 0)
			continue;
		row = row_reader(0);
		set_scheduled(run->run_id, next_time(&row));
		keep_retries(run->run_id, run->owner, run->retries);
	}
	if (count > 0)
		store_advance(&session_ids);
}

/*
 * These runs have ended, or have been deleted: remove them from the queue,
 * notify listeners when the transaction commits, and let the next run of each
 * session go ahead.
 */
void
store_leave_queue(char *const *run_ids, char *const *session_ids,
				  int count)
{
	static Statement statement = {
		"DELETE FROM agno.run_queue q WHERE q.run_id = ANY ($1) "
		"RETURNING q.run_id"
	};
	Arguments	args = {0};
	Column		sessions = {TEXTOID};
	uint64		left;

	bind_ids(&args, run_ids, count);
	left = store_execute(&statement, &args);
	for (uint64 n = 0; n < left; n++)
	{
		RowReader	row = row_reader(n);

		store_notify(END_CHANNEL, next_text(&row));
	}
	for (int i = 0; i < count; i++)
		add_text(&sessions, session_ids[i]);
	store_advance(&sessions);
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
		"WHERE r.run_id = l.run_id"
	};
	Arguments	args = {0};

	if (this_runner.culprit == NULL)
		return;
	bind_text(&args, this_runner.culprit);
	store_execute(&statement, &args);
}

/*
 * Find the next rows of the queue after this id. *last is the id of the last
 * one. Returns how many there are, at most limit.
 */
static int64
next_page(const char *after, int limit, char **last)
{
	static Statement statement = {
		"SELECT max(p.run_id), count(*) FROM"
		" (SELECT q.run_id FROM agno.run_queue q WHERE q.run_id > $1"
		" ORDER BY q.run_id LIMIT $2) p"
	};
	Arguments	args = {0};
	RowReader	row;

	bind_text(&args, after);
	bind_int(&args, limit);
	store_execute(&statement, &args);
	row = row_reader(0);
	*last = next_text(&row);
	return next_int64(&row);
}

/*
 * What an earlier runner was executing, among the runs after an id up to
 * another, is PENDING.
 */
static void
release_page(const char *after, const char *last)
{
	static Statement statement = {
		"UPDATE agno.runs r SET status = 'PENDING', attempt = r.attempt -"
		" CASE WHEN r.run_id <> $5 THEN 1 ELSE 0 END "
		"FROM (SELECT l.run_id FROM agno.run_queue q"
		" JOIN agno.runs l ON l.run_id = q.run_id"
		" WHERE q.run_id > $3 AND q.run_id <= $4"
		" AND q.state = " EXECUTING " AND " MINE("q")
		" AND l.status = 'RUNNING'"
		" FOR NO KEY UPDATE OF l SKIP LOCKED) l "
		"WHERE r.run_id = l.run_id"
	};
	Arguments	args = {0};

	bind_mine(&args);
	bind_text(&args, after);
	bind_text(&args, last);
	bind_text(&args, this_runner.culprit);
	store_execute(&statement, &args);
}

/*
 * And what of them may start is ready, and all of them are this runner's.
 */
static void
requeue_page(const char *after, const char *last)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET runner = $2,"
		" state = CASE WHEN n.ready THEN " READY " ELSE q.state END "
		"FROM (SELECT w.run_id, w.state IN (" EXECUTING ", " PARKED ")"
		" OR (w.state = " LOCKED " AND w.run_at IS NULL)"
		" OR (w.state = " WAITING
		" AND NOT EXISTS (SELECT FROM agno.run_queue e"
		" WHERE e.session_id = w.session_id"
		" AND e.accepted_at < w.accepted_at)) AS ready"
		" FROM agno.run_queue w WHERE w.run_id > $3 AND w.run_id <= $4"
		" AND " MINE("w") ") n "
		"WHERE q.run_id = n.run_id AND (n.ready OR q.runner <> $2)"
	};
	Arguments	args = {0};

	bind_mine(&args);
	bind_text(&args, after);
	bind_text(&args, last);
	store_execute(&statement, &args);
}

/*
 * Take over the next rows of the queue, at most limit in the order of their
 * ids, from an earlier runner: what it had in flight is ready again, and so is
 * what it had parked, and what waits for no other run any more. Attempts that
 * the crash interrupted do not count, but for that of the run whose fault it
 * was; if nobody knows whose, all of them count. A run that somebody has
 * locked stays RUNNING, and is treated likewise when it is started.
 *
 * *after is the id to go on after: "" at first. Returns whether there may be
 * more.
 */
bool
store_recover(char **after, int limit)
{
	char	   *last;
	int64		found = next_page(*after, limit, &last);

	if (found == 0)
		return false;
	release_page(*after, last);
	requeue_page(*after, last);
	*after = last;
	return found == limit;
}

/*
 * Whether there are prepared transactions in this database.
 */
bool
store_prepared_transactions(void)
{
	static Statement statement = {
		"SELECT FROM pg_prepared_xacts p WHERE p.database = current_database()"
		" LIMIT 1"
	};

	return store_execute(&statement, NULL) > 0;
}

/*-------------------------------------------------------------------------
 * Lost runs
 *-------------------------------------------------------------------------
 */

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
 * Up to which time of acceptance it is known that no run is lost: the
 * beginning of time if that is not known of any.
 */
TimestampTz
store_checked_until(void)
{
	static Statement statement = {
		"SELECT c.checked_until FROM agno.queue_check c"
	};
	RowReader	row;

	if (store_execute(&statement, NULL) == 0)
		return DT_NOBEGIN;
	row = row_reader(0);
	return next_time(&row);
}

/*
 * No run that was accepted until then is lost: what store_checked_until() is
 * to return from now on.
 */
void
store_set_checked(TimestampTz until)
{
	static Statement delete = {
		"DELETE FROM agno.queue_check"
	};
	static Statement insert = {
		"INSERT INTO agno.queue_check (checked_until) VALUES ($1)"
	};
	Arguments	args = {0};

	store_execute(&delete, NULL);
	bind_time(&args, until);
	store_execute(&insert, &args);
}

/*
 * Put these runs, with the shards of their sessions, into the queue.
 */
static void
insert_lost(const Column *run_ids, const Column *shards)
{
	static Statement statement = {
		"INSERT INTO agno.run_queue (run_id, session_id, state, priority,"
		" run_at, accepted_at, shard, runner, owner) "
		"SELECT r.run_id, r.session_id, " SCHEDULED_OR_READY("r.run_at") ","
		" r.priority, r.run_at, r.created_at, d.shard, d.shard % $3, r.owner "
		"FROM unnest($1, $2) AS d (run_id, shard)"
		" JOIN agno.runs r ON r.run_id = d.run_id "
		"ON CONFLICT (run_id) DO NOTHING"
	};
	Arguments	args = {0};

	bind_column(&args, run_ids);
	bind_column(&args, shards);
	bind_int(&args, this_runner.runners);
	store_execute(&statement, &args);
}

/*
 * Go on to the last of the next runs in the order of their acceptance, at most
 * limit. Returns how many there are.
 */
static int64
next_runs(RunPlace *place, int limit)
{
	static Statement statement = {
		"SELECT p.created_at, p.run_id, p.n FROM"
		" (SELECT r.created_at, r.run_id, row_number() OVER () AS n"
		" FROM agno.runs r WHERE r.created_at >= $1"
		" AND (r.created_at, r.run_id) > ($1, $2)"
		" ORDER BY r.created_at, r.run_id LIMIT $3) p"
		" ORDER BY p.created_at DESC, p.run_id DESC LIMIT 1"
	};
	Arguments	args = {0};
	RowReader	row;

	bind_time(&args, place->created_at);
	bind_text(&args, place->run_id);
	bind_int(&args, limit);
	if (store_execute(&statement, &args) == 0)
		return 0;
	row = row_reader(0);
	place->created_at = next_time(&row);
	place->run_id = next_text(&row);
	return next_int64(&row);
}

/*
 * Look at the next runs, at most limit, in the order of their acceptance, and
 * put those that have not ended into the queue if they are not there: a
 * restore or a hand has lost them. *after is the place to go on after: at
 * first, a time and "". *lost tells whether there were any. Returns whether
 * there may be more.
 */
bool
store_find_lost(RunPlace *after, int limit, bool *lost)
{
	static Statement statement = {
		"SELECT r.run_id, r.session_id FROM agno.runs r"
		" WHERE r.created_at >= $1 AND r.created_at <= $3"
		" AND (r.created_at, r.run_id) > ($1, $2)"
		" AND (r.created_at, r.run_id) <= ($3, $4)"
		" AND r.status IN ('PENDING', 'RUNNING')"
		" AND NOT EXISTS (SELECT FROM agno.run_queue q"
		" WHERE q.run_id = r.run_id)"
	};
	Arguments	args = {0};
	Column		run_ids = {TEXTOID};
	Column		shards = {INT4OID};
	RunPlace	from = *after;
	int64		seen = next_runs(after, limit);
	uint64		found;

	if (seen == 0)
		return false;
	bind_time(&args, from.created_at);
	bind_text(&args, from.run_id);
	bind_time(&args, after->created_at);
	bind_text(&args, after->run_id);
	found = store_execute(&statement, &args);
	for (uint64 n = 0; n < found; n++)
	{
		RowReader	row = row_reader(n);

		add_text(&run_ids, next_text(&row));
		add_int(&shards, shard_of_session(next_text(&row)));
	}
	if (found > 0)
		insert_lost(&run_ids, &shards);
	*lost = found > 0;
	return seen == limit;
}

static void *
read_signal(RowReader *row)
{
	Signal	   *signal = palloc(sizeof(Signal));

	signal->run_id = next_text(row);
	signal->owner = next_oid(row);
	return signal;
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
		" WHERE l.run_id > $3 AND " MINE("l")
		" ORDER BY l.run_id LIMIT $4)) "
		"RETURNING s.run_id, s.owner) "
		"SELECT t.run_id, t.owner FROM taken t ORDER BY t.run_id"
	};
	Arguments	args = {0};

	bind_mine(&args);
	bind_text(&args, after);
	bind_int(&args, limit);
	return store_read_list(&statement, &args, read_signal);
}

/*
 * Read and delete the signals for this runner about these runs: a list of
 * Signal.
 */
List *
store_take_signals_of(char *const *run_ids, int count)
{
	static Statement statement = {
		"DELETE FROM agno.run_signals s WHERE s.run_id = ANY ($3)"
		" AND " MINE("s") " RETURNING s.run_id, s.owner"
	};
	Arguments	args = {0};

	bind_mine(&args);
	bind_ids(&args, run_ids, count);
	return store_read_list(&statement, &args, read_signal);
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
		"UPDATE agno.run_queue q SET state = " LOCKED ","
		" cancelled = true, looks = 0,"
		" run_at = clock_timestamp() + '1 s'::interval "
		"FROM unnest($3, $4) AS d (run_id, owner)"
		" JOIN agno.runs r ON r.run_id = d.run_id"
		" AND r.owner::pg_catalog.oid = d.owner::pg_catalog.oid "
		"WHERE q.run_id = d.run_id AND " MINE("q")
	};
	Arguments	args = {0};
	Column		run_ids = {TEXTOID};
	Column		owners = {INT4OID};

	for (int i = 0; i < count; i++)
	{
		add_text(&run_ids, signals[i]->run_id);
		add_int(&owners, (int) signals[i]->owner);
	}
	bind_mine(&args);
	bind_column(&args, &run_ids);
	bind_column(&args, &owners);
	store_execute(&statement, &args);
}

/*
 * Remove the first markers, at most limit, that met no run in their life.
 */
void
store_expire_markers(int limit)
{
	static Statement statement = {
		"DELETE FROM agno.cancellations c WHERE (c.run_id, c.owner) IN"
		" (SELECT o.run_id, o.owner FROM agno.cancellations o"
		" WHERE o.requested_at <= clock_timestamp() - " MARKER_LIFE
		" ORDER BY o.requested_at LIMIT $1 FOR UPDATE SKIP LOCKED)"
	};
	Arguments	args = {0};

	bind_int(&args, limit);
	store_execute(&statement, &args);
}

/* The most runs of a session that are read for its history. */
#define MAX_HISTORY_RUNS 1000

/*-------------------------------------------------------------------------
 * Picking
 *-------------------------------------------------------------------------
 */

/* The columns that read_picked() reads. */
#define PICKED_COLUMNS \
		"SELECT q.run_id, q.session_id, q.owner," \
		" EXISTS (SELECT FROM agno.run_queue e" \
		" WHERE e.session_id = q.session_id" \
		" AND e.accepted_at < q.accepted_at), q.cancelled, q.looks," \
		" q.parked_for, q.ctid " \
		"FROM agno.run_queue q "

static void *
read_picked(RowReader *row)
{
	PickedRun  *run = palloc(sizeof(PickedRun));

	run->run_id = next_text(row);
	run->session_id = next_text(row);
	run->owner = next_oid(row);
	run->behind = next_bool(row);
	run->cancelled = next_bool(row);
	run->looks = next_int(row);
	run->parked_for = next_text(row);
	run->row = next_tid(row);
	run->had = false;
	return run;
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
		"WHERE q.state = " READY " AND q.runner = $2 AND " MINE("q")
		" AND q.owner >= $3::pg_catalog.regrole"
		" AND q.owner <= $4::pg_catalog.regrole"
		" ORDER BY q.owner, q.priority DESC, q.accepted_at LIMIT $5"
	};
	Arguments	args = {0};

	bind_mine(&args);
	bind_oid(&args, from);
	bind_oid(&args, to);
	bind_int(&args, limit);
	return store_read_list(&statement, &args, read_picked);
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
		"WHERE q.state = " LOCKED " AND q.run_at <= clock_timestamp()"
		" AND " MINE("q") " ORDER BY q.run_at LIMIT $3"
	};
	Arguments	args = {0};

	bind_mine(&args);
	bind_int(&args, limit);
	return store_read_list(&statement, &args, read_picked);
}

/*
 * The runs that are parked for this key, and have been waiting for their
 * server to be reached for so many milliseconds: a list of at most limit
 * PickedRuns.
 */
List *
store_pick_given_up(const char *key, int patience_ms, int limit)
{
	static Statement statement = {
		PICKED_COLUMNS
		"WHERE q.state = " PARKED " AND q.parked_for = $3"
		" AND q.waits_since <= clock_timestamp() -"
		" make_interval(secs => $4 / 1000.0)"
		" AND " MINE("q") " ORDER BY q.waits_since LIMIT $5"
	};
	Arguments	args = {0};

	bind_mine(&args);
	bind_text(&args, key);
	bind_int(&args, patience_ms);
	bind_int(&args, limit);
	return store_read_list(&statement, &args, read_picked);
}

/*-------------------------------------------------------------------------
 * Reading what it takes to execute runs
 *-------------------------------------------------------------------------
 */

static Jsonb *
next_jsonb(RowReader *row)
{
	bool		isnull;
	Datum		datum = next_datum(row, &isnull);

	return isnull ? NULL : DatumGetJsonbP(datum);
}

/*
 * Read two columns, the state of a session and what a run adds to it: both
 * together as JSON in UTF-8, or NULL.
 */
static char *
next_merged_state(RowReader *row)
{
	Jsonb	   *of_session = next_jsonb(row);
	Jsonb	   *of_run = next_jsonb(row);
	Jsonb	   *state = of_session != NULL ? of_session : of_run;

	if (state == NULL)
		return NULL;
	if (of_session != NULL && of_run != NULL)
		state = json_merge(of_session, of_run);
	return encoding_from_server(JsonbToCString(NULL, &state->root,
											   VARSIZE(state)));
}

/*
 * Read what is of small size, and how long the rest is.
 */
static ReadyRun *
read_ready(RowReader *row, PickedRun **picked)
{
	ReadyRun   *run = palloc0(sizeof(ReadyRun));
	PickedRun  *its = picked[next_int(row) - 1];

	its->had = true;
	run->picked = its;
	run->run_id = its->run_id;
	run->queue_row = its->row;
	run->row = next_tid(row);
	run->session_id = next_text(row);
	run->status = next_status(row);
	run->owner = next_oid(row);
	run->attempt = next_int(row);
	/* As store_recover() would have done, had it not been locked. */
	if (run->status == RUN_RUNNING && this_runner.culprit != NULL &&
		strcmp(run->run_id, this_runner.culprit) != 0)
		run->attempt--;
	run->marked = next_bool(row) || its->cancelled;
	run->model_server = next_text(row);
	run->model = next_utf8(row);
	run->agent_id = next_utf8(row);
	run->response_id = next_utf8(row);
	run->timeout_ms = next_int64_or(row, -1);
	run->max_attempts = next_int_or(row, -1);
	run->retries = next_int_or(row, -1);
	run->history_runs = next_int_or(row, -1);
	run->history_messages = next_int_or(row, -1);
	run->stream = next_bool(row);
	run->last_event = next_int64_or(row, 0);
	run->bytes = unread_bytes(row);
	return run;
}

/*
 * Read the rest.
 */
static void
read_rest(RowReader *row, ReadyRun *run)
{
	run->input = next_utf8(row);
	run->user_id = next_utf8(row);
	run->metadata = next_utf8(row);
	run->options = next_utf8(row);
	run->schema = next_utf8(row);
	run->agent = next_utf8(row);
	run->session_metrics = next_utf8(row);
	run->session_state = next_merged_state(row);
}

/*
 * Lock those of these runs that nobody else has locked, and read what it takes
 * to execute them: a list of ReadyRun. No more is read than max_bytes, but one
 * run at least; the others are in the list without their input and whatever
 * else may be long (deferred).
 */
List *
store_read_ready(PickedRun **picked, int count, int64 max_bytes)
{
	static Statement statement = {
		"SELECT p.n, r.ctid, r.session_id, r.status, r.owner, r.attempt,"
		" EXISTS (SELECT FROM agno.cancellations c"
		" WHERE c.run_id = r.run_id AND c.owner = r.owner),"
		" r.model_provider, r.model, r.agent_id, d.response_id,"
		" (extract(epoch FROM d.timeout) * 1000)::bigint,"
		" d.max_attempts, d.retries,"
		" d.num_history_runs, d.num_history_messages,"
		" coalesce(d.stream, false), CASE WHEN d.stream THEN"
		" (SELECT max(e.seq) FROM agno.run_events e"
		" WHERE e.run_id = r.run_id) END,"
		" r.input, r.user_id, r.metadata,"
		" d.model_options, d.output_schema, d.agent,"
		" s.session_metrics, s.session_state, d.session_state "
		"FROM unnest($1) WITH ORDINALITY AS p (run_id, n) "
		"JOIN agno.runs r ON r.run_id = p.run_id "
		"LEFT JOIN agno.sessions s ON s.session_id = r.session_id"
		" AND s.owner = r.owner "
		"LEFT JOIN agno.run_requests d ON d.run_id = r.run_id "
		"FOR NO KEY UPDATE OF r SKIP LOCKED"
	};
	Arguments	args = {0};
	Column		run_ids = {TEXTOID};
	uint64		found;
	int64		bytes = 0;
	List	   *ready = NIL;

	for (int i = 0; i < count; i++)
		add_text(&run_ids, picked[i]->run_id);
	bind_column(&args, &run_ids);
	found = store_execute(&statement, &args);
	for (uint64 n = 0; n < found; n++)
	{
		RowReader	row = row_reader(n);
		ReadyRun   *run = read_ready(&row, picked);

		ready = lappend(ready, run);
		if (bytes > 0 && bytes + run->bytes > max_bytes)
		{
			run->deferred = true;
			continue;
		}
		bytes += run->bytes;
		read_rest(&row, run);
	}
	return ready;
}

/*-------------------------------------------------------------------------
 * History
 *-------------------------------------------------------------------------
 */

/*
 * How many earlier runs this one may be told about.
 */
static int
history_limit(const ReadyRun *run)
{
	/* No run has fewer messages than one. */
	int			limit = run->history_runs >= 0 ?
		run->history_runs : run->history_messages;

	return Min(limit, MAX_HISTORY_RUNS);
}

/*
 * Find the messages of earlier runs, the latest first, for these runs, as rows
 * of the number of the run, from 1, and the messages. Agno's rules: runs that
 * are PAUSED, CANCELLED or ERROR do not count, and none that another run has
 * started. Returns how many rows there are.
 */
static uint64
find_history(ReadyRun **runs, int count)
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
		"ORDER BY d.n, h.created_at DESC, h.run_id DESC"
	};
	Arguments	args = {0};
	Column		run_ids = {TEXTOID};
	Column		session_ids = {TEXTOID};
	Column		limits = {INT4OID};
	Column		owners = {INT4OID};

	for (int i = 0; i < count; i++)
	{
		add_text(&run_ids, runs[i]->run_id);
		add_text(&session_ids, runs[i]->session_id);
		add_int(&limits, history_limit(runs[i]));
		add_int(&owners, (int) runs[i]->owner);
	}
	bind_column(&args, &run_ids);
	bind_column(&args, &session_ids);
	bind_column(&args, &limits);
	bind_column(&args, &owners);
	return store_execute(&statement, &args);
}

/*
 * Read what earlier runs of their sessions have said, for those of these
 * ReadyRuns that are to send it along; of each, as many of the last ones as
 * have at most max_bytes. When all that is read reaches max_total bytes, the
 * rest of the list is deferred.
 */
void
store_read_history(List *ready, int64 max_bytes, int64 max_total)
{
	int			size = Max(list_length(ready), 1);
	ReadyRun  **runs = palloc(sizeof(ReadyRun *) * size);
	int64	   *bytes = palloc0(sizeof(int64) * size);
	int64		total = 0;
	int			first = -1;		/* the first run with a history */
	int			count = 0;
	uint64		found;
	ListCell   *cell;

	foreach(cell, ready)
	{
		ReadyRun   *run = lfirst(cell);

		if (!run->deferred &&
			(run->history_runs >= 0 || run->history_messages >= 0))
			runs[count++] = run;
	}
	if (count == 0)
		return;

	found = find_history(runs, count);
	for (uint64 n = 0; n < found; n++)
	{
		RowReader	row = row_reader(n);
		int			i = next_int(&row) - 1;
		ReadyRun   *run = runs[i];
		int64		length = unread_bytes(&row);

		if (i > first && total >= max_total)
			run->deferred = true;
		bytes[i] += length;
		if (run->deferred || bytes[i] > max_bytes)
			continue;
		run->history = lcons(next_utf8(&row), run->history);
		run->bytes += length;
		total += length;
		if (first < 0)
			first = i;
	}
}

/*
 * Show why these runs, all of them locked, have not been started.
 */
static void
show_errors(const Column *rows, const Column *errors)
{
	static Statement statement = {
		"UPDATE agno.runs r SET error = d.error::pg_catalog.jsonb "
		"FROM unnest($1, $2) AS d (row, error) WHERE r.ctid = d.row"
	};
	Arguments	args = {0};

	bind_column(&args, rows);
	bind_column(&args, errors);
	store_execute(&statement, &args);
}

/*
 * Set these runs, all of them locked, aside until their model servers have
 * room, or can be reached: then error says why not.
 */
void
store_park(ParkedRun *runs, int count)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET state = " PARKED ","
		" parked_for = d.key,"
		" waits_since = CASE WHEN d.unreachable = 1 THEN"
		" coalesce(q.waits_since, clock_timestamp()) END "
		"FROM unnest($1, $2, $3) AS d (row, key, unreachable) "
		"WHERE q.ctid = d.row"
	};
	Arguments	args = {0};
	Column		queue_rows = {TIDOID};
	Column		keys = {TEXTOID};
	Column		unreachable = {INT4OID};
	Column		rows = {TIDOID};
	Column		errors = {TEXTOID};

	if (count == 0)
		return;
	for (int i = 0; i < count; i++)
	{
		ParkedRun  *parked = &runs[i];

		add_tid(&queue_rows, &parked->run->queue_row);
		add_text(&keys, parked->key);
		add_int(&unreachable, parked->error != NULL ? 1 : 0);
		if (parked->error == NULL)
			continue;
		add_tid(&rows, &parked->run->row);
		add_utf8(&errors, parked->error);
	}
	bind_column(&args, &queue_rows);
	bind_column(&args, &keys);
	bind_column(&args, &unreachable);
	store_execute(&statement, &args);
	if (errors.count > 0)
		show_errors(&rows, &errors);
}

static void
park_executing(const Column *run_ids, const Column *keys)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET state = " PARKED ","
		" parked_for = d.key,"
		" waits_since = coalesce(q.waits_since, clock_timestamp()) "
		"FROM unnest($1, $2) AS d (run_id, key) WHERE q.run_id = d.run_id"
	};
	Arguments	args = {0};

	bind_column(&args, run_ids);
	bind_column(&args, keys);
	store_execute(&statement, &args);
}

/*
 * Put runs back, all of them locked, whose servers could not be reached, and
 * let them wait until they can. That does not count as an attempt.
 */
void
store_hold_back(EndedRun *runs, int count)
{
	static Statement statement = {
		"UPDATE agno.runs r SET status = 'PENDING', attempt = r.attempt - 1,"
		" started_at = NULL, error = d.error::pg_catalog.jsonb "
		"FROM unnest($1, $2) AS d (row, error) WHERE r.ctid = d.row"
	};
	Arguments	args = {0};
	Column		rows = {TIDOID};
	Column		errors = {TEXTOID};
	Column		run_ids = {TEXTOID};
	Column		session_ids = {TEXTOID};
	Column		keys = {TEXTOID};

	if (count == 0)
		return;
	for (int i = 0; i < count; i++)
	{
		EndedRun   *run = &runs[i];

		add_tid(&rows, &run->row);
		add_utf8(&errors, run->error);
		add_text(&run_ids, run->run_id);
		add_text(&session_ids, run->session_id);
		add_text(&keys, run->parked_for);
	}
	bind_column(&args, &rows);
	bind_column(&args, &errors);
	store_execute(&statement, &args);
	park_executing(&run_ids, &keys);
	store_advance(&session_ids);
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
		" WHERE q.state = " PARKED " AND q.parked_for = $3"
		" AND q.owner >= $4::pg_catalog.regrole"
		" AND " MINE("q") " ORDER BY q.owner LIMIT 1"
	};
	Arguments	args = {0};
	RowReader	row;

	bind_mine(&args);
	bind_text(&args, key);
	bind_oid(&args, from);
	if (store_execute(&statement, &args) == 0)
		return false;
	row = row_reader(0);
	*owner = next_oid(&row);
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
 * The first runs of this owner that are parked for this are ready, at most
 * limit of them; with reached, they are not waiting for their server to be
 * reached any more. Returns how many.
 */
int
store_unpark(const char *key, Oid owner, bool reached, int limit)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET state = " READY ","
		" waits_since = CASE WHEN NOT $3 THEN q.waits_since END "
		"WHERE q.ctid = ANY (ARRAY("
		"SELECT p.ctid FROM agno.run_queue p"
		" WHERE p.state = " PARKED " AND p.parked_for = $4"
		" AND p.owner = $5::pg_catalog.regrole"
		" AND " MINE("p")
		" ORDER BY p.priority DESC, p.accepted_at LIMIT $6))"
	};
	Arguments	args = {0};

	bind_mine(&args);
	bind_bool(&args, reached);
	bind_text(&args, key);
	bind_oid(&args, owner);
	bind_int(&args, limit);
	return (int) store_execute(&statement, &args);
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
		" WHERE q.state = " PARKED " AND q.parked_for = $3"
		" AND q.waits_since IS NOT NULL AND " MINE("q")
	};
	Arguments	args = {0};
	RowReader	row;

	bind_mine(&args);
	bind_text(&args, key);
	store_execute(&statement, &args);
	row = row_reader(0);
	return next_time_or(&row, 0);
}
