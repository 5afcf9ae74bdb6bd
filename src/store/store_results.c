/*-------------------------------------------------------------------------
 *
 * store_results.c
 *	  The tables of agno_bg: what a runner stores of the runs it executes.
 *
 * For a runner, between store_begin() and store_commit(), about rows of
 * agno.runs that it has locked. Statements work on sets. The search_path of a
 * runner is pg_catalog.
 *
 * This never changes the state of a run in the queue, but for those that leave
 * it (store_leave_queue).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/shard.h"
#include "server/encoding.h"
#include "store/store.h"
#include "store/store_queue.h"

/* The channel that listeners learn of new events from. */
#define EVENT_CHANNEL "agno_run_event"

/*-------------------------------------------------------------------------
 * While runs are in flight
 *-------------------------------------------------------------------------
 */

/*
 * Keep the id of the response, in UTF-8, that a model server works on for a
 * run, so that whoever takes over asks for that and not for another.
 */
void
store_response_id(const char *run_id, Oid owner, const char *response_id)
{
	static Statement statement = {
		"INSERT INTO agno.run_requests AS d (run_id, owner, response_id) "
		"VALUES ($1, $2::pg_catalog.regrole, $3) "
		"ON CONFLICT (run_id) DO UPDATE SET response_id = excluded.response_id"
	};
	Arguments	args = {0};

	bind_text(&args, run_id);
	bind_oid(&args, owner);
	bind_utf8(&args, response_id);
	store_execute(&statement, &args);
}

/*
 * Append events to those of streamed runs, all of them locked. Events of a run are next
 * to each other, and are numbered here: who else has told of the run, and when, need not
 * be known. Nobody is notified: a transaction that somebody prepares may not do that, so
 * the runner that hears of it is to (store_notify_watchers).
 */
void
store_append_events_quietly(const EventRow *rows, int count)
{
	static Statement statement = {
		"INSERT INTO agno.run_events (run_id, seq, event, data, created_at) "
		"SELECT d.run_id, COALESCE((SELECT pg_catalog.max(e.seq)"
		" FROM agno.run_events e WHERE e.run_id OPERATOR(pg_catalog.=)"
		" d.run_id), 0) OPERATOR(pg_catalog.+) pg_catalog.row_number()"
		" OVER (PARTITION BY d.run_id ORDER BY d.n), d.event,"
		" d.data::pg_catalog.jsonb, pg_catalog.clock_timestamp() "
		"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2),"
		" pg_catalog.unnest($3)) WITH ORDINALITY AS d (run_id, event, data, n)"
	};
	Arguments	args = {0};
	Column		run_ids = {TEXTOID};
	Column		events = {TEXTOID};
	Column		data = {TEXTOID};

	if (count == 0)
		return;
	for (int i = 0; i < count; i++)
	{
		add_text(&run_ids, rows[i].run_id);
		add_text(&events, rows[i].event);
		add_utf8(&data, rows[i].data);
	}
	bind_column(&args, &run_ids);
	bind_column(&args, &events);
	bind_column(&args, &data);
	store_execute(&statement, &args);
}

/*
 * Append events likewise, and notify listeners that there are more.
 */
void
store_append_events(const EventRow *rows, int count)
{
	store_append_events_quietly(rows, count);
	for (int i = 0; i < count; i++)
	{
		if (i == 0 || strcmp(rows[i].run_id, rows[i - 1].run_id) != 0)
			store_notify(EVENT_CHANNEL, rows[i].run_id);
	}
}

/*
 * Show what has arrived of the answers of these runs, all of them locked.
 */
void
store_show_content(PartialRun *runs, int count)
{
	static Statement statement = {
		"UPDATE agno.runs r SET content = d.content "
		"FROM unnest($1, $2) AS d (row, content) WHERE r.ctid = d.row"
	};
	Arguments	args = {0};
	Column		rows = {TIDOID};
	Column		contents = {TEXTOID};

	if (count == 0)
		return;
	for (int i = 0; i < count; i++)
	{
		add_tid(&rows, &runs[i].row);
		add_utf8(&contents, runs[i].content);
	}
	bind_column(&args, &rows);
	bind_column(&args, &contents);
	store_execute(&statement, &args);
}

/*-------------------------------------------------------------------------
 * When runs end
 *-------------------------------------------------------------------------
 */

/*
 * These runs have been cancelled: markers for them have done their work.
 */
static void
drop_markers(const Column *run_ids)
{
	static Statement statement = {
		"DELETE FROM agno.cancellations c"
		" USING (SELECT m.run_id, m.owner FROM agno.cancellations m"
		" JOIN agno.runs r ON r.run_id = m.run_id AND r.owner = m.owner"
		" WHERE m.run_id = ANY ($1) FOR UPDATE OF m SKIP LOCKED) d "
		"WHERE c.run_id = d.run_id AND c.owner = d.owner"
	};
	Arguments	args = {0};

	bind_column(&args, run_ids);
	store_execute(&statement, &args);
}

static void
update_runs(EndedRun *runs, int count)
{
	static Statement statement = {
		"UPDATE agno.runs r SET status = CASE WHEN d.calls_back = 1"
		" THEN r.status ELSE d.status::agno.run_status END,"
		" content = d.content, content_type = d.content_type,"
		" reasoning_content = d.reasoning,"
		" messages = d.messages::pg_catalog.jsonb,"
		" metrics = d.metrics::pg_catalog.jsonb,"
		" error = d.error::pg_catalog.jsonb,"
		" tools = d.tools::pg_catalog.jsonb,"
		" session_state = coalesce(d.session_state::pg_catalog.jsonb,"
		" r.session_state), finished_at = CASE WHEN d.status <> 'PAUSED'"
		" AND d.calls_back = 0 THEN clock_timestamp() END,"
		" requirements = coalesce(d.requirements::pg_catalog.jsonb,"
		" r.requirements) "
		"FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
		" AS d (row, attempt, status, content, content_type, reasoning,"
		" messages, metrics, error, session_state, tools, requirements,"
		" calls_back) "
		"WHERE r.ctid = d.row AND r.attempt = d.attempt"
	};
	Arguments	args = {0};
	Column		rows = {TIDOID};
	Column		attempts = {INT4OID};
	Column		statuses = {TEXTOID};
	Column		contents = {TEXTOID};
	Column		content_types = {TEXTOID};
	Column		reasonings = {TEXTOID};
	Column		messages = {TEXTOID};
	Column		metrics = {TEXTOID};
	Column		errors = {TEXTOID};
	Column		session_states = {TEXTOID};
	Column		tools = {TEXTOID};
	Column		requirements = {TEXTOID};
	Column		calls_back = {INT4OID};

	for (int i = 0; i < count; i++)
	{
		EndedRun   *run = &runs[i];

		add_tid(&rows, &run->row);
		add_int(&attempts, run->attempt);
		add_text(&statuses, run_status_name(run->status));
		add_utf8(&contents, run->content);
		add_text(&content_types, run->content_type);
		add_utf8(&reasonings, run->reasoning);
		add_utf8(&messages, run->messages);
		add_utf8(&metrics, run->metrics);
		add_utf8(&errors, run->error);
		add_utf8(&session_states, run->session_state);
		add_utf8(&tools, run->tools);
		add_utf8(&requirements, run->requirements);
		add_int(&calls_back, run->calls_back);
	}
	bind_column(&args, &rows);
	bind_column(&args, &attempts);
	bind_column(&args, &statuses);
	bind_column(&args, &contents);
	bind_column(&args, &content_types);
	bind_column(&args, &reasonings);
	bind_column(&args, &messages);
	bind_column(&args, &metrics);
	bind_column(&args, &errors);
	bind_column(&args, &session_states);
	bind_column(&args, &tools);
	bind_column(&args, &requirements);
	bind_column(&args, &calls_back);
	store_execute(&statement, &args);
}

static void
update_sessions(EndedRun *runs, int count)
{
	static Statement statement = {
		"UPDATE agno.sessions s SET updated_at = clock_timestamp(),"
		" session_state = coalesce(d.state::pg_catalog.jsonb,"
		" s.session_state),"
		" session_metrics = coalesce(d.metrics::pg_catalog.jsonb,"
		" s.session_metrics) "
		"FROM unnest($1, $2, $3, $4)"
		" AS d (session_id, state, metrics, owner) "
		"WHERE s.session_id = d.session_id"
		" AND s.owner::pg_catalog.oid = d.owner::pg_catalog.oid"
	};
	Arguments	args = {0};
	Column		session_ids = {TEXTOID};
	Column		states = {TEXTOID};
	Column		metrics = {TEXTOID};
	Column		owners = {INT4OID};

	for (int i = 0; i < count; i++)
	{
		if (runs[i].leaves_nothing)
			continue;
		add_text(&session_ids, runs[i].session_id);
		add_utf8(&states, runs[i].session_state);
		add_utf8(&metrics, runs[i].session_metrics);
		add_int(&owners, (int) runs[i].owner);
	}
	if (session_ids.count == 0)
		return;
	bind_column(&args, &session_ids);
	bind_column(&args, &states);
	bind_column(&args, &metrics);
	bind_column(&args, &owners);
	store_execute(&statement, &args);
}

/*
 * What these runs have added to the states of their sessions is there now: it is not to be
 * added again, over what comes later, if they are requeued. A call that goes on adding may
 * have it locked.
 */
static void
forget_added_states(EndedRun *runs, int count)
{
	static Statement statement = {
		"UPDATE agno.run_requests d SET session_state = NULL"
		" FROM (SELECT q.run_id FROM agno.run_requests q"
		" WHERE q.run_id = ANY ($1) AND q.session_state IS NOT NULL"
		" FOR NO KEY UPDATE SKIP LOCKED) l "
		"WHERE d.run_id = l.run_id"
	};
	Arguments	args = {0};
	Column		run_ids = {TEXTOID};

	for (int i = 0; i < count; i++)
	{
		if (runs[i].session_state != NULL)
			add_text(&run_ids, runs[i].run_id);
	}
	if (run_ids.count == 0)
		return;
	bind_column(&args, &run_ids);
	store_execute(&statement, &args);
}

static int
compare_ids(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/*
 * Whether an id is among these, which are sorted.
 */
static bool
is_among(char *run_id, const List *sorted)
{
	ListCell	key = {.ptr_value = run_id};

	return sorted != NIL &&
		bsearch(&key, sorted->elements, list_length(sorted), sizeof(ListCell),
				(int (*) (const void *, const void *)) compare_ids) != NULL;
}

/*
 * Find out which of these runs are to be called back, and queue that. *owners gets
 * the owners of those.
 */
static void
call_back(EndedRun *runs, int count, List **owners)
{
	Column		ids = {TEXTOID};
	Column		statuses = {TEXTOID};
	Column		shards = {INT4OID};
	List	   *called;

	for (int i = 0; i < count; i++)
	{
		if (!runs[i].calls_back)
			continue;
		add_text(&ids, runs[i].run_id);
		add_text(&statuses, run_status_name(runs[i].status));
		add_int(&shards, shard_of_session(runs[i].session_id));
	}
	called = store_call_back(&ids, &statuses, &shards, owners);
	list_sort(called, compare_ids);
	for (int i = 0; i < count; i++)
		runs[i].calls_back = is_among(runs[i].run_id, called);
}

/*
 * Store what came of these runs, all of them locked, and announce their ends.
 * A write for another attempt than the current one changes nothing. *owners gets
 * the owners of those that are to be called back: these end then.
 */
void
store_finish(EndedRun *runs, int count, List **owners)
{
	Column		called = {TEXTOID};
	int			left = 0;
	char	  **run_ids = palloc(sizeof(char *) * Max(count, 1));
	char	  **session_ids = palloc(sizeof(char *) * Max(count, 1));
	Column		cancelled = {TEXTOID};
	Column		stepped = {TEXTOID};
	Column		failed = {TEXTOID};

	call_back(runs, count, owners);
	for (int i = 0; i < count; i++)
	{
		if (runs[i].has_steps)
			add_text(runs[i].status == RUN_ERROR ? &failed : &stepped,
					 runs[i].run_id);
		if (runs[i].status == RUN_CANCELLED)
			add_text(&cancelled, runs[i].run_id);
		if (runs[i].calls_back)
		{
			add_text(&called, runs[i].run_id);
			continue;
		}
		run_ids[left] = runs[i].run_id;
		session_ids[left++] = runs[i].session_id;
	}
	update_runs(runs, count);
	update_sessions(runs, count);
	forget_added_states(runs, count);
	if (left > 0)
		store_leave_queue(run_ids, session_ids, left);
	store_await_callbacks(&called);
	if (cancelled.count > 0)
		drop_markers(&cancelled);
	store_forget_steps(&stepped, true);
	store_forget_steps(&failed, false);
	store_cancel_children(&stepped);
	store_cancel_children(&failed);
}

/*
 * Somebody has ended this run, which is locked, while it waited: store what it has said and
 * done, of which there may be more than when it was PAUSED, and what it leaves to its session.
 */
void
store_complete_ended(EndedRun *run)
{
	static Statement statement = {
		"UPDATE agno.runs r SET"
		" messages = coalesce($2::pg_catalog.jsonb, r.messages),"
		" metrics = coalesce($3::pg_catalog.jsonb, r.metrics),"
		" tools = coalesce($4::pg_catalog.jsonb, r.tools),"
		" session_state = coalesce($5::pg_catalog.jsonb, r.session_state) "
		"WHERE r.run_id = $1"
	};
	Arguments	args = {0};

	bind_text(&args, run->run_id);
	bind_utf8(&args, run->messages);
	bind_utf8(&args, run->metrics);
	bind_utf8(&args, run->tools);
	bind_utf8(&args, run->session_state);
	store_execute(&statement, &args);
	update_sessions(run, 1);
	forget_added_states(run, 1);
}

/*
 * These runs, all of them locked, wait for somebody to decide: store what there is
 * of them, and announce it. They keep their places in their sessions.
 */
void
store_pause(EndedRun *runs, int count)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET state = " DECISION ", continues = false,"
		" looks = 0, paused_at = clock_timestamp(), waits_since = NULL,"
		" " GOES_FIRST ","
		" run_at = (SELECT min(p.expires_at) FROM agno.requirements p"
		" WHERE p.run_id = q.run_id AND p.decision IS NULL) "
		"WHERE q.run_id = ANY ($1) "
		"RETURNING q.parent_run_id, q.owner, q.parent_shard"
	};
	Arguments	args = {0};
	Column		run_ids = {TEXTOID};
	Column		parents = {TEXTOID};
	Column		owners = {INT4OID};
	Column		shards = {INT4OID};
	uint64		paused;
	char	  **paused_ids = palloc(sizeof(char *) * Max(count, 1));

	if (count == 0)
		return;
	for (int i = 0; i < count; i++)
		runs[i].calls_back = false;
	update_runs(runs, count);
	for (int i = 0; i < count; i++)
	{
		paused_ids[i] = runs[i].run_id;
		add_text(&run_ids, runs[i].run_id);
		store_notify(END_CHANNEL, runs[i].run_id);
	}
	bind_column(&args, &run_ids);
	paused = store_execute(&statement, &args);
	for (uint64 n = 0; n < paused; n++)
	{
		RowReader	row = row_reader(n);

		add_parent(&row, &parents, &owners, &shards);
	}
	store_tell_parents(&parents, &owners, &shards);
	/* A child may have ended since it was seen to be PAUSED. */
	store_children_ended((char *const *) paused_ids, count);
}

/*
 * These runs, all of them locked, have been or are to be cancelled without
 * having been started by this runner: end them, and announce it. *owners gets the
 * owners of those that are to be called back; what is CANCELLED has ended.
 */
void
store_end_cancelled(RunLock **runs, int count, List **owners)
{
	static Statement statement = {
		"UPDATE agno.runs r SET status = 'CANCELLED',"
		" content = coalesce(r.content, d.content),"
		" finished_at = clock_timestamp() "
		"FROM unnest($1, $2) AS d (run_id, content) "
		"WHERE r.run_id = d.run_id AND r.status <> 'CANCELLED'"
	};
	Arguments	args = {0};
	Column		ids = {TEXTOID};
	Column		statuses = {TEXTOID};
	Column		shards = {INT4OID};
	Column		ending = {TEXTOID};
	Column		called = {TEXTOID};
	List	   *called_ids;
	int			left = 0;
	Column		contents = {TEXTOID};
	char	  **run_ids = palloc(sizeof(char *) * Max(count, 1));
	char	  **session_ids = palloc(sizeof(char *) * Max(count, 1));

	for (int i = 0; i < count; i++)
	{
		add_text(&ids, runs[i]->run_id);
		add_text(&statuses, run_status_name(RUN_CANCELLED));
		add_int(&shards, shard_of_session(runs[i]->session_id));
	}
	called_ids = store_call_back(&ids, &statuses, &shards, owners);
	list_sort(called_ids, compare_ids);
	for (int i = 0; i < count; i++)
	{
		if (runs[i]->status != RUN_CANCELLED &&
			is_among(runs[i]->run_id, called_ids))
		{
			add_text(&called, runs[i]->run_id);
			continue;
		}
		run_ids[left] = runs[i]->run_id;
		session_ids[left++] = runs[i]->session_id;
		add_text(&ending, runs[i]->run_id);
		add_text(&contents, run_cancelled_text(runs[i]->run_id));
	}
	if (left > 0)
	{
		bind_column(&args, &ending);
		bind_column(&args, &contents);
		store_execute(&statement, &args);
		store_leave_queue(run_ids, session_ids, left);
	}
	store_await_callbacks(&called);
	drop_markers(&ids);
	store_forget_steps(&ids, true);
	store_cancel_children(&ids);
}

static void
read_source(RowReader *row, WatchedRun *run)
{
	run->run_id = next_text(row);
	run->source.run_id = encoding_from_server(run->run_id);
	run->source.session_id = next_utf8(row);
	run->source.agent_id = next_utf8(row);
	run->source.agent_name = next_utf8(row);
	run->source.model = next_utf8(row);
	run->source.model_provider = next_utf8(row);
}

static void *
read_watched(RowReader *row)
{
	WatchedRun *run = palloc(sizeof(WatchedRun));

	read_source(row, run);
	return run;
}

static void *
read_grounded(RowReader *row)
{
	GroundedRun *run = palloc(sizeof(GroundedRun));

	read_source(row, &run->watched);
	run->status = next_status(row);
	run->content = next_utf8(row);
	run->reasoning = next_utf8(row);
	run->error_type = next_utf8(row);
	run->error_message = next_utf8(row);
	return run;
}

/* The columns that read_source() reads, and of which runs. */
#define SOURCE_COLUMNS \
		"SELECT r.run_id, r.session_id, r.agent_id, d.agent ->> 'name'," \
		" r.model, r.model_provider"
#define FROM_WATCHED \
		" FROM agno.runs r JOIN agno.run_requests d ON d.run_id = r.run_id" \
		" WHERE r.run_id = ANY ($1) AND d.stream"

/*
 * Those of these runs that somebody may be watching: a list of WatchedRun.
 */
List *
store_read_watched(char *const *run_ids, int count)
{
	static Statement statement = {SOURCE_COLUMNS FROM_WATCHED};
	Arguments	args = {0};

	bind_ids(&args, run_ids, count);
	return store_read_list(&statement, &args, read_watched);
}

/*
 * Notify listeners of those of these runs that somebody may be watching: there are more
 * events of them. (store_read_watched() would read their agents, which may be large and
 * many, for nothing.)
 */
void
store_notify_watchers(char *const *run_ids, int count)
{
	static Statement statement = {
		"SELECT d.run_id FROM agno.run_requests d"
		" WHERE d.run_id = ANY ($1) AND d.stream"
	};
	Arguments	args = {0};
	ListCell   *cell;

	if (count == 0)
		return;
	bind_ids(&args, run_ids, count);
	foreach(cell, store_read_list(&statement, &args, read_id))
		store_notify(EVENT_CHANNEL, lfirst(cell));
}

/*
 * Those of these runs, which have ended, that somebody may be watching, with all that
 * they have said: a list of GroundedRun.
 */
List *
store_read_grounded(char *const *run_ids, int count)
{
	static Statement statement = {
		SOURCE_COLUMNS ", r.status, r.content, r.reasoning_content,"
		" r.error ->> 'type', r.error ->> 'message'" FROM_WATCHED
	};
	Arguments	args = {0};

	bind_ids(&args, run_ids, count);
	return store_read_list(&statement, &args, read_grounded);
}
