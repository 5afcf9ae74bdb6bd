/*-------------------------------------------------------------------------
 *
 * store_queue.c
 *	  The tables of agno_bg: how runs change their states in the queue.
 *
 * For a runner, between store_begin() and store_commit(). The states are in
 * store_queue.h. Statements work on sets, so that a transaction with hundreds
 * of runs has as many of them as one with a single run. They never wait for a
 * lock. The search_path of a runner is pg_catalog.
 *
 * How runs are picked and read is in store_ready.c, what becomes of those that
 * their servers hold up in store_parked.c, and how the queue is put right
 * after a crash in store_patrol.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/shard.h"
#include "store/store.h"
#include "store/store_queue.h"

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
	lock->started_at = next_time_or(row, 0);
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
		"SELECT r.run_id, r.session_id, r.status, r.owner, r.attempt, r.ctid,"
		" r.started_at "
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
		"SET state = " SCHEDULED_OR_READY("CASE WHEN NOT q.continues"
										  " THEN q.run_at END") ", claimed = false "
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
 * Execute a statement that returns is_last of DUE_BY_OWNER(), with these arguments.
 * Returns whether there may be more.
 */
static bool
promote(Statement *statement, Arguments *args)
{
	uint64		promoted = store_execute(statement, args);
	bool		more = false;

	for (uint64 n = 0; n < promoted; n++)
	{
		RowReader	row = row_reader(n);

		more |= next_bool(&row);
	}
	return more;
}

/*
 * The first runs of each owner whose time has come are ready, but for these owners, count
 * of them. Returns whether there may be more than about limit of them.
 */
bool
store_promote_due(int limit, const Oid *others, int count)
{
	static Statement statement = {
		DUE_BY_OWNER(SCHEDULED, "$3", "$4", "$5")
		"UPDATE agno.run_queue q SET " BECOMES_READY
		" FROM due d WHERE q.ctid = d.row RETURNING d.is_last"
	};
	Arguments	args = {0};

	bind_mine(&args);
	bind_int(&args, limit);
	bind_all_but(&args, others, count);
	return promote(&statement, &args);
}

/*
 * Likewise, those in this piece of agno.run_queue, whether they are first or not. *found
 * tells whether there were any.
 */
bool
store_promote_due_of(const TablePiece *piece, int limit, bool *found)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET " BECOMES_READY
		" WHERE q.ctid = ANY (ARRAY(SELECT l.row FROM "
		OF_PIECE("agno.run_queue") " AND l.state = " SCHEDULED
		" AND l.run_at <= " THIS_TURN " LIMIT $6))"
	};
	Arguments	args = {0};
	uint64		promoted;

	bind_mine(&args);
	bind_piece(&args, piece);
	bind_int(&args, limit);
	promoted = store_execute(&statement, &args);
	*found = promoted > 0;
	return promoted == limit;
}

#define PROMOTE_LATE(state_) \
		DUE_BY_OWNER(state_, "$3", "$4", "$5") \
		"UPDATE agno.run_queue q SET " BECOMES_READY ", continues = true" \
		" FROM due d WHERE q.ctid = d.row RETURNING d.is_last"

/*
 * The time of these runs is over while their tools are called, or when they have been and
 * the run waits for its server: they are ready, to be ended. Returns whether there may be
 * more than about limit of them.
 */
bool
store_promote_late(int limit)
{
	static Statement at_tools = {PROMOTE_LATE(TOOLS)};
	static Statement parked = {PROMOTE_LATE(PARKED_TO_GO_ON)};
	Arguments	args = {0};
	bool		more;

	bind_mine(&args);
	bind_int(&args, limit);
	bind_all_but(&args, NULL, 0);
	more = promote(&at_tools, &args);
	return promote(&parked, &args) || more;
}

/* When the clock gives the runner work, but for what is scheduled. */
#define OTHER_TIMES \
		"(SELECT min(q.run_at) FROM agno.run_queue q" \
		" WHERE q.state = " LOCKED " AND q.runner = $2" \
		" AND " MINE("q") ")," \
		"(SELECT min(q.run_at) FROM agno.run_queue q" \
		" WHERE q.state = " TOOLS " AND q.runner = $2" \
		" AND " MINE("q") ")," \
		"(SELECT min(q.run_at) FROM agno.run_queue q" \
		" WHERE q.state = " PARKED_TO_GO_ON " AND q.runner = $2" \
		" AND " MINE("q") ")," \
		"(SELECT min(q.run_at) FROM agno.run_queue q" \
		" WHERE q.state = " DECISION " AND q.runner = $2" \
		" AND " MINE("q") ")," \
		"(SELECT min(q.run_at) FROM agno.run_queue q" \
		" WHERE q.state = " CALLBACK " AND q.runner = $2" \
		" AND " MINE("q") ")," \
		"(SELECT min(c.requested_at) + " MARKER_LIFE \
		" FROM agno.cancellations c WHERE $2 = 0)"

/*
 * When the clock alone gives the runner work: a run is due, or to be looked at
 * again, or a marker is too old. False when there is no such time. Of these owners, count
 * of them, nothing is looked at that is scheduled.
 */
bool
store_next_time(const Oid *others, int count, TimestampTz *next)
{
	static Statement of_all = {
		"SELECT least("
		"(SELECT min(q.run_at) FROM agno.run_queue q"
		" WHERE q.state = " SCHEDULED " AND q.runner = $2"
		" AND " MINE("q") ")," OTHER_TIMES ")"
	};
	static Statement by_owner = {
		OWNERS_BUT(SCHEDULED, "$3", "$4")
		"n (run_at) AS (SELECT e.run_at FROM o, LATERAL"
		" (SELECT q.run_at FROM agno.run_queue q"
		" WHERE q.state = " SCHEDULED " AND q.runner = $2"
		" AND q.owner = o.owner AND " MINE("q")
		" ORDER BY q.run_at LIMIT 1) e) "
		"SELECT least((SELECT min(n.run_at) FROM n)," OTHER_TIMES ")"
	};
	Arguments	args = {0};
	RowReader	row;

	bind_mine(&args);
	if (count > 0)
		bind_all_but(&args, others, count);
	store_execute(count > 0 ? &by_owner : &of_all, &args);
	row = row_reader(0);
	*next = next_time_or(&row, 0);
	return *next != 0;
}

/*-------------------------------------------------------------------------
 * Runs that were picked
 *-------------------------------------------------------------------------
 */

/*
 * These runs, which could not be had before, are ready.
 */
void
store_set_ready(char *const *run_ids, int count)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET " BECOMES_READY
		" WHERE q.run_id = ANY ($1)"
	};
	Arguments	args = {0};

	if (count == 0)
		return;
	bind_ids(&args, run_ids, count);
	store_execute(&statement, &args);
}

/*
 * Those of these runs that are behind an earlier run of their session wait for it: a list
 * of their ids.
 */
List *
store_set_behind(char *const *run_ids, int count)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET state = " WAITING
		" WHERE q.run_id = ANY ($1) AND EXISTS (SELECT FROM agno.run_queue e"
		" WHERE e.session_id = q.session_id"
		" AND e.accepted_at < q.accepted_at) RETURNING q.run_id"
	};
	Arguments	args = {0};

	if (count == 0)
		return NIL;
	bind_ids(&args, run_ids, count);
	return store_read_list(&statement, &args, read_id);
}

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
		" " GOES_FIRST_IF(IS_EXECUTING("q")) ","
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
		"UPDATE agno.run_queue q SET claimed = true, looks = 0,"
		" continues = false, state = CASE WHEN q.state = " READY
		" THEN q.state ELSE " EXECUTING " END WHERE q.ctid = ANY ($1)"
	};
	Arguments	args = {0};
	Column		rows = {TIDOID};

	for (int i = 0; i < count; i++)
		add_tid(&rows, &runs[i]->queue_row);
	bind_column(&args, &rows);
	store_execute(&statement, &args);
}

/*
 * These runs have been executing for a moment: their rows say so in full.
 */
void
store_settle(char *const *run_ids, int count)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET state = " EXECUTING
		" WHERE q.run_id = ANY ($1) AND q.state = " READY " AND q.claimed"
	};
	Arguments	args = {0};

	if (count == 0)
		return;
	bind_ids(&args, run_ids, count);
	store_execute(&statement, &args);
}

/*
 * These runs, all of them locked, are in their next attempt, or go on with the one
 * that they are in. That one started later, by the time for which it was paused.
 */
void
store_set_running(ReadyRun **runs, int count)
{
	static Statement statement = {
		"UPDATE agno.runs r SET status = 'RUNNING', attempt = d.attempt,"
		" error = NULL, started_at = clock_timestamp()"
		" - d.elapsed_ms::bigint * '1 ms'::interval "
		"FROM unnest($1, $2, $3) AS d (row, attempt, elapsed_ms)"
		" WHERE r.ctid = d.row"
	};
	Arguments	args = {0};
	Column		rows = {TIDOID};
	Column		attempts = {INT4OID};
	Column		elapsed = {TEXTOID};

	for (int i = 0; i < count; i++)
	{
		bool		continues = runs[i]->picked->continues;

		if (continues && runs[i]->status == RUN_RUNNING)
			continue;
		add_tid(&rows, &runs[i]->row);
		add_int(&attempts, runs[i]->attempt + (continues ? 0 : 1));
		add_text(&elapsed, psprintf(INT64_FORMAT,
									continues ? runs[i]->elapsed_ms : 0));
	}
	if (rows.count == 0)
		return;
	bind_column(&args, &rows);
	bind_column(&args, &attempts);
	bind_column(&args, &elapsed);
	store_execute(&statement, &args);
}

/*
 * These runs, all of them locked, are executed now.
 */
void
store_start(ReadyRun **runs, int count)
{
	if (count == 0)
		return;
	store_set_running(runs, count);
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
		"UPDATE agno.run_queue q SET " BECOMES_READY ", " GOES_FIRST
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

/*
 * What this run, which is put back, has of repetitions, for its next start.
 */
void
store_keep_retries(const EndedRun *run)
{
	static Statement statement = {
		"INSERT INTO agno.run_requests AS d (run_id, owner, retries,"
		" repetitions) VALUES ($1, $2::pg_catalog.regrole, $3, $4) "
		"ON CONFLICT (run_id) DO UPDATE SET retries = excluded.retries,"
		" repetitions = excluded.repetitions"
	};
	Arguments	args = {0};

	bind_text(&args, run->run_id);
	bind_oid(&args, run->owner);
	bind_int(&args, run->retries);
	bind_int(&args, run->repetitions);
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
		store_keep_retries(run);
	}
	if (count > 0)
		store_advance(&session_ids);
}

/*
 * Read the columns parent_run_id, owner and parent_shard, and add what they say of
 * the parent, if there is one.
 */
void
add_parent(RowReader *row, Column *parents, Column *owners, Column *shards)
{
	char	   *parent = next_text(row);
	Oid			owner = next_oid(row);
	int			shard = next_int(row);

	if (parent == NULL)
		return;
	add_text(parents, parent);
	add_int(owners, (int) owner);
	add_int(shards, shard);
}

/*
 * These runs have ended, or have been deleted: remove them from the queue,
 * notify listeners when the transaction commits, tell their parents, and let the
 * next run of each session go ahead.
 */
void
store_leave_queue(char *const *run_ids, char *const *session_ids,
				  int count)
{
	static Statement statement = {
		"DELETE FROM agno.run_queue q WHERE q.run_id = ANY ($1) "
		"RETURNING q.run_id, q.parent_run_id, q.owner, q.parent_shard"
	};
	Arguments	args = {0};
	Column		sessions = {TEXTOID};
	Column		parents = {TEXTOID};
	Column		owners = {INT4OID};
	Column		shards = {INT4OID};
	uint64		left;

	bind_ids(&args, run_ids, count);
	left = store_execute(&statement, &args);
	for (uint64 n = 0; n < left; n++)
	{
		RowReader	row = row_reader(n);

		store_notify(END_CHANNEL, next_text(&row));
		add_parent(&row, &parents, &owners, &shards);
	}
	store_tell_parents(&parents, &owners, &shards);
	for (int i = 0; i < count; i++)
		add_text(&sessions, session_ids[i]);
	store_advance(&sessions);
}
