/*-------------------------------------------------------------------------
 *
 * store_patrol.c
 *	  The tables of agno_bg: taking over from a runner that has crashed, and
 *	  finding runs that the queue has lost.
 *
 * For a runner, between store_begin() and store_commit(). Tables of any size
 * are gone through in steps, each in a transaction of its own. The search_path
 * of a runner is pg_catalog.
 *
 * This never ends a run, and never waits for a lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/shard.h"
#include "store/store.h"
#include "store/store_queue.h"

/*-------------------------------------------------------------------------
 * Taking over
 *-------------------------------------------------------------------------
 */

/*
 * The run that the predecessor was at, in flight or about to go on, begins another attempt.
 */
static void
interrupt_culprit(void)
{
	static Statement runs = {
		"UPDATE agno.runs r SET status = 'PENDING' "
		"FROM (SELECT l.run_id FROM agno.runs l"
		" JOIN agno.run_queue q ON q.run_id = l.run_id"
		" WHERE l.run_id = $3 AND l.status = 'RUNNING'"
		" AND q.state <> " CALLBACK " AND " MINE("q")
		" FOR NO KEY UPDATE OF l SKIP LOCKED) l "
		"WHERE r.run_id = l.run_id"
	};
	static Statement queue = {
		"UPDATE agno.run_queue q SET " BECOMES_READY ", continues = false,"
		" run_at = NULL, " GOES_FIRST " WHERE q.run_id = $3 AND " MINE("q")
	};
	Arguments	args = {0};

	bind_mine(&args);
	bind_text(&args, this_runner.culprit);
	if (store_execute(&runs, &args) > 0)
		store_execute(&queue, &args);
}

/*
 * Before anything is done about runs: the predecessor has crashed at one, which has been an
 * attempt of that run, whether it was about to be started, or ended, was in flight, or about to
 * go on. (That it goes on need not be on disk when that begins.) This is to be committed before it
 * is tried again, or each crash would be the first.
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

	bind_text(&args, this_runner.culprit);
	store_execute(&statement, &args);
	interrupt_culprit();
}

/*
 * Whether the predecessor has crashed at a run, as far as is known.
 */
bool
store_has_culprit(void)
{
	return this_runner.culprit != NULL;
}

/*
 * Whether it has crashed at this run.
 */
bool
store_is_culprit(const char *run_id)
{
	return store_has_culprit() &&
		strcmp(this_runner.culprit, run_id) == 0;
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
 * Runs that nobody works on any more. Those whose tools are called go on, unless
 * their time was over while nobody was there: then it begins anew.
 */
#define INTERRUPTED(alias) "(" IS_EXECUTING(alias) " OR (" alias \
		".state = " TOOLS " AND " alias ".run_at <= clock_timestamp()))"

/*
 * What an earlier runner was executing, among the runs after an id up to
 * another, is PENDING; own are those that this one is executing. An attempt at tools, whose
 * time was over, is another one from now on: its calls are to be made again.
 */
static void
release_page(const char *after, const char *last, const Column *own)
{
	static Statement statement = {
		"UPDATE agno.runs r SET status = 'PENDING', attempt = r.attempt -"
		" CASE WHEN r.run_id <> $5 AND NOT l.at_tools THEN 1 ELSE 0 END "
		"FROM (SELECT l.run_id, q.state = " TOOLS " AS at_tools FROM agno.run_queue q"
		" JOIN agno.runs l ON l.run_id = q.run_id"
		" WHERE q.run_id > $3 AND q.run_id <= $4"
		" AND " INTERRUPTED("q") " AND " MINE("q")
		" AND l.status = 'RUNNING' AND q.run_id <> ALL ($6)"
		" FOR NO KEY UPDATE OF l SKIP LOCKED) l "
		"WHERE r.run_id = l.run_id"
	};
	Arguments	args = {0};

	bind_mine(&args);
	bind_text(&args, after);
	bind_text(&args, last);
	bind_text(&args, this_runner.culprit);
	bind_column(&args, own);
	store_execute(&statement, &args);
}

/*
 * And what of them may start is ready, and all of them are this runner's.
 */
static void
requeue_page(const char *after, const char *last, const Column *own)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET runner = $2,"
		" continues = q.continues AND NOT n.interrupted,"
		" claimed = q.claimed AND NOT n.ready,"
		" run_at = CASE WHEN NOT n.interrupted THEN q.run_at END,"
		" state = CASE WHEN n.ready THEN " READY " ELSE q.state END,"
		" " GOES_FIRST_IF("n.interrupted") " "
		"FROM (SELECT w.run_id, " INTERRUPTED("w") " AS interrupted,"
		" " INTERRUPTED("w") " OR w.state = " PARKED
		" OR (w.state = " LOCKED " AND w.run_at IS NULL)"
		" OR (w.state IN (" DECISION ", " SCHEDULED ")"
		" AND EXISTS (SELECT FROM agno.runs r"
		" WHERE r.run_id = w.run_id AND r.status = 'CANCELLED'))"
		" OR (w.state = " WAITING
		" AND NOT EXISTS (SELECT FROM agno.run_queue e"
		" WHERE e.session_id = w.session_id"
		" AND e.accepted_at < w.accepted_at)) AS ready"
		" FROM agno.run_queue w WHERE w.run_id > $3 AND w.run_id <= $4"
		" AND w.run_id <> ALL ($5) AND " MINE("w") ") n "
		"WHERE q.run_id = n.run_id AND (n.ready OR q.runner <> $2)"
	};
	Arguments	args = {0};

	bind_mine(&args);
	bind_text(&args, after);
	bind_text(&args, last);
	bind_column(&args, own);
	store_execute(&statement, &args);
}

/*
 * Take over the next rows of the queue, at most limit in the order of their
 * ids, from an earlier runner: what it had in flight is ready again, and so is
 * what it had parked, and what waits for no other run any more, or has been CANCELLED
 * without a signal (by a hand). Attempts that
 * the crash interrupted do not count, but for that of the run whose fault it
 * was; if nobody knows whose, all of them count. A run that somebody has
 * locked stays RUNNING, and is treated likewise when it is started. Those of this
 * runner, own (count of them), stay as they are.
 *
 * *after is the id to go on after: "" at first. Returns whether there may be
 * more.
 */
bool
store_recover(char **after, int limit, char *const *own, int count)
{
	char	   *last;
	int64		found = next_page(*after, limit, &last);
	Column		here = {TEXTOID};

	if (found == 0)
		return false;
	for (int i = 0; i < count; i++)
	{
		if (strcmp(own[i], *after) > 0 && strcmp(own[i], last) <= 0)
			add_text(&here, own[i]);
	}
	release_page(*after, last, &here);
	requeue_page(*after, last, &here);
	*after = last;
	return found == limit;
}

/*
 * Whether there are prepared transactions in this database; *old is how many of them had
 * been prepared before this time.
 */
bool
store_prepared_transactions(TimestampTz before, int *old)
{
	static Statement statement = {
		"SELECT count(*), count(*) FILTER (WHERE p.prepared < $1)"
		" FROM pg_prepared_xacts p WHERE p.database = current_database()"
	};
	Arguments	args = {0};
	RowReader	row;
	bool		any;

	bind_time(&args, before);
	store_execute(&statement, &args);
	row = row_reader(0);
	any = next_int64(&row) > 0;
	*old = (int) next_int64(&row);
	return any;
}

/*
 * Of the next rows of the queue, as store_recover() has them, take those that are for this
 * runner and have the number of another: what was prepared when there was another number
 * of runners. Whoever has been cancelled likewise is told to this runner: others may have
 * been.
 */
bool
store_take_strays(char **after, int limit)
{
	static Statement take = {
		"UPDATE agno.run_queue q SET runner = $2"
		" WHERE q.run_id > $3 AND q.run_id <= $4 AND q.runner <> $2"
		" AND " MINE("q")
	};
	static Statement tell = {
		"INSERT INTO agno.run_signals (run_id, owner, kind, shard) "
		"SELECT q.run_id, q.owner, $5, q.shard FROM agno.run_queue q"
		" JOIN agno.cancellations c ON c.run_id = q.run_id AND c.owner = q.owner"
		" WHERE q.run_id > $3 AND q.run_id <= $4 AND " MINE("q")
	};
	Arguments	args = {0};
	char	   *last;
	int64		found = next_page(*after, limit, &last);

	if (found == 0)
		return false;
	bind_mine(&args);
	bind_text(&args, *after);
	bind_text(&args, last);
	store_execute(&take, &args);
	bind_char(&args, (char) SIGNAL_CANCEL);
	store_execute(&tell, &args);
	*after = last;
	return found == limit;
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
 * Runs may be lost, however long ago they were accepted.
 */
void
store_unset_checked(void)
{
	static Statement statement = {
		"DELETE FROM agno.queue_check"
	};

	store_execute(&statement, NULL);
}

/*
 * Whether a logical subscription puts runs into agno.runs: they are executed where
 * they come from.
 */
bool
store_receives_runs(void)
{
	static Statement statement = {
		"SELECT FROM pg_subscription_rel s WHERE s.srrelid = 'agno.runs'::regclass"
	};

	return store_execute(&statement, NULL) > 0;
}

/*
 * No run that was accepted until then is lost: what store_checked_until() is
 * to return from now on.
 */
void
store_set_checked(TimestampTz until)
{
	static Statement insert = {
		"INSERT INTO agno.queue_check (checked_until) VALUES ($1)"
	};
	Arguments	args = {0};

	store_unset_checked();
	bind_time(&args, until);
	store_execute(&insert, &args);
}

/*
 * Put runs into the queue: found rows of the last statement have their ids, and
 * the sessions of them and of their parents. behind: behind those that have been
 * accepted meanwhile.
 */
static void
insert_lost(uint64 found, bool behind)
{
	static Statement statement = {
		"INSERT INTO agno.run_queue (run_id, session_id, state, priority,"
		" run_at, paused_at, accepted_at, shard, runner, owner, parent_run_id,"
		" parent_shard) "
		"SELECT r.run_id, r.session_id, CASE WHEN k.ended THEN "
		CALLBACK " WHEN r.status = 'PAUSED' THEN " DECISION " ELSE " SCHEDULED_OR_READY("r.run_at") " END, r.priority,"
		" CASE WHEN k.ended THEN clock_timestamp() + " LOOK_AGAIN
		" WHEN r.status = 'PAUSED' THEN"
		" (SELECT min(p.expires_at) FROM agno.requirements p"
		" WHERE p.run_id = r.run_id AND p.decision IS NULL)"
		" ELSE r.run_at END,"
		" CASE WHEN r.status = 'PAUSED' THEN clock_timestamp() END,"
		" CASE WHEN $5 THEN clock_timestamp()"
		" WHEN r.status IN ('RUNNING', 'PAUSED') OR EXISTS"
		" (SELECT FROM agno.run_steps t WHERE t.run_id = r.run_id) THEN " EARLY_PLACE("r.created_at")
		" ELSE r.created_at END,"
		" d.shard, d.shard % $3, r.owner, r.parent_run_id,"
		" d.parent_shard "
		"FROM unnest($1, $2, $4) AS d (run_id, shard, parent_shard)"
		" JOIN agno.runs r ON r.run_id = d.run_id, LATERAL"
		" (SELECT EXISTS (SELECT FROM agno.callbacks c"
		" WHERE c.run_id = r.run_id) AS ended) k "
		"ON CONFLICT (run_id) DO NOTHING"
	};
	Arguments	args = {0};
	Column		run_ids = {TEXTOID};
	Column		shards = {INT4OID};
	Column		parent_shards = {INT4OID};

	for (uint64 n = 0; n < found; n++)
	{
		RowReader	row = row_reader(n);
		char	   *parent;

		add_text(&run_ids, next_text(&row));
		add_int(&shards, shard_of_session(next_text(&row)));
		parent = next_text(&row);
		add_int(&parent_shards, parent != NULL ? shard_of_session(parent) : 0);
	}
	if (found == 0)
		return;
	bind_column(&args, &run_ids);
	bind_column(&args, &shards);
	bind_int(&args, this_runner.runners);
	bind_column(&args, &parent_shards);
	bind_bool(&args, behind);
	store_execute(&statement, &args);
}

/*
 * Somebody has requeued these runs, which have on_complete. Those that had left the
 * queue by then, since their functions had just been called, are put back, even if
 * they have been cancelled since: that is an end of its own.
 */
void
store_queue_requeued(char *const *run_ids, int count)
{
	static Statement statement = {
		"SELECT r.run_id, r.session_id, p.session_id FROM agno.runs r"
		" LEFT JOIN agno.runs p ON p.run_id = r.parent_run_id"
		" WHERE r.run_id = ANY ($1) AND r.status IN ('PENDING', 'CANCELLED')"
		" AND NOT EXISTS (SELECT FROM agno.run_queue q"
		" WHERE q.run_id = r.run_id)"
	};
	Arguments	args = {0};

	if (count == 0 || store_receives_runs())
		return;
	bind_ids(&args, run_ids, count);
	insert_lost(store_execute(&statement, &args), true);
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
		"SELECT r.run_id, r.session_id, p.session_id FROM agno.runs r"
		" LEFT JOIN agno.runs p ON p.run_id = r.parent_run_id"
		" WHERE r.created_at >= $1 AND r.created_at <= $3"
		" AND (r.created_at, r.run_id) > ($1, $2)"
		" AND (r.created_at, r.run_id) <= ($3, $4)"
		" AND r.status IN ('PENDING', 'RUNNING', 'PAUSED')"
		" AND NOT EXISTS (SELECT FROM agno.run_queue q"
		" WHERE q.run_id = r.run_id)"
	};
	Arguments	args = {0};
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
	insert_lost(found, false);
	*lost = found > 0;
	return seen == limit;
}
