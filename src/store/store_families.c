/*-------------------------------------------------------------------------
 *
 * store_families.c
 *	  The tables of agno_bg: runs that other runs have enqueued.
 *
 * For a runner, between store_begin() and store_commit(). A child that ends, or
 * pauses, tells its parent's runner by a signal, in the transaction in which it does
 * so; that runner puts what came of the child into the parent's call. A parent that
 * ends has its children cancelled likewise, so none is left in flight whatever
 * crashes. The search_path of a runner is pg_catalog.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/shard.h"
#include "server/encoding.h"
#include "server/settings.h"
#include "store/store.h"
#include "store/store_decisions.h"
#include "store/store_queue.h"

/* The runners that signals are for: a bit each. Forgotten by store_told_runners(). */
static uint32 told_runners = 0;

/*
 * Which runners have been told something since this was called last: they are to be
 * woken when that is committed.
 */
uint32
store_told_runners(void)
{
	uint32		told = told_runners;

	told_runners = 0;
	return told;
}

/*
 * These PausedRuns go on, and signals say so.
 */
void
store_note_told(List *runs)
{
	ListCell   *cell;

	foreach(cell, runs)
		told_runners |= 1U << shard_runner(shard_of_session(((PausedRun *)
															 lfirst(cell))->session_id),
										   this_runner.runners);
}

/*
 * Put signals of one kind about these runs of these owners, for the runners of these
 * shards.
 */
static void
put_signals(const Column *run_ids, const Column *owners, const Column *shards,
			SignalKind kind)
{
	static Statement statement = {
		"INSERT INTO agno.run_signals (run_id, owner, shard, kind) "
		"SELECT d.run_id, d.owner::pg_catalog.oid::pg_catalog.regrole, d.shard,"
		" $4 FROM unnest($1, $2, $3) AS d (run_id, owner, shard)"
	};
	Arguments	args = {0};

	if (run_ids->count == 0)
		return;
	bind_column(&args, run_ids);
	bind_column(&args, owners);
	bind_column(&args, shards);
	bind_char(&args, (char) kind);
	store_execute(&statement, &args);
	for (int i = 0; i < shards->count; i++)
		told_runners |= 1U << shard_runner(DatumGetInt32(shards->values[i]),
										   this_runner.runners);
}

/*
 * Tell these parents, of these owners and shards, that a child of theirs has ended
 * or paused.
 */
void
store_tell_parents(const Column *run_ids, const Column *owners,
				   const Column *shards)
{
	put_signals(run_ids, owners, shards, SIGNAL_CHILD);
}

/*
 * Put signals of one kind about the runs that have been found, which are rows of
 * run_id, owner and session_id.
 */
static void
signal_found(uint64 found, SignalKind kind)
{
	Column		run_ids = {TEXTOID};
	Column		owners = {INT4OID};
	Column		shards = {INT4OID};

	for (uint64 n = 0; n < found; n++)
	{
		RowReader	row = row_reader(n);

		add_text(&run_ids, next_text(&row));
		add_int(&owners, (int) next_oid(&row));
		add_int(&shards, shard_of_session(next_text(&row)));
	}
	put_signals(&run_ids, &owners, &shards, kind);
}

/*
 * These runs have ended: cancel what they have enqueued and not ended.
 */
void
store_cancel_children(const Column *parent_ids)
{
	static Statement statement = {
		"SELECT r.run_id, r.owner, r.session_id FROM agno.runs r"
		" WHERE r.parent_run_id = ANY ($1)"
		" AND r.status IN ('PENDING', 'RUNNING', 'PAUSED')"
	};
	Arguments	args = {0};

	if (parent_ids->count == 0)
		return;
	bind_column(&args, parent_ids);
	signal_found(store_execute(&statement, &args), SIGNAL_CANCEL);
}

/*
 * What the model is shown of results that are too long.
 */
static void
set_shown(const Column *run_ids, const Column *turns, const Column *numbers,
		  const Column *shown)
{
	static Statement statement = {
		"UPDATE agno.tool_calls c SET shown = d.shown "
		"FROM unnest($1, $2, $3, $4) AS d (run_id, turn, call_no, shown) "
		"WHERE c.run_id = d.run_id AND c.turn = d.turn"
		" AND c.call_no = d.call_no"
	};
	Arguments	args = {0};

	if (run_ids->count == 0)
		return;
	bind_column(&args, run_ids);
	bind_column(&args, turns);
	bind_column(&args, numbers);
	bind_column(&args, shown);
	store_execute(&statement, &args);
}

static void *
read_settled(RowReader *row)
{
	SettledCall *call = palloc(sizeof(SettledCall));

	call->run_id = next_text(row);
	call->turn = next_int(row);
	call->call_no = next_int(row);
	call->model_call_id = next_utf8(row);
	call->tool = next_utf8(row);
	call->arguments = next_utf8(row);
	call->child_run_id = next_utf8(row);
	call->failed = next_bool(row);
	call->result = next_utf8(row);
	call->started = next_int64_or(row, 0) / 1e6;
	call->duration = next_int64_or(row, 0) / 1e6;
	call->bytes = next_int64(row);
	return call;
}

/*
 * Put what came of children that have ended into the calls of these runs, which wait
 * for them: a list of SettledCall, the calls of a run next to each other. A call
 * that somebody has locked is left for later, and so may be those beyond *left bytes,
 * which is what is left of them then, 0 at least: the first calls of all runs come
 * first. Those of a run that has ended wait until it is requeued, if it is: it has told
 * all that it is to tell.
 */
List *
store_settle_children(char *const *run_ids, int count, int64 *left)
{
	static Statement statement = {
		"WITH settled AS (UPDATE agno.tool_calls c SET"
		" status = CASE WHEN l.answered THEN 'completed' ELSE 'error' END,"
		" result = CASE WHEN l.answered THEN l.content END,"
		" error = CASE WHEN NOT l.answered THEN l.content END,"
		" child_metrics = l.metrics,"
		" xid = pg_current_xact_id(), finished_at = l.finished_at "
		"FROM (SELECT b.*, sum(b.bytes) OVER (ORDER BY b.n, b.run_id) - b.bytes"
		" AS before FROM (SELECT a.*, row_number() OVER"
		" (PARTITION BY a.run_id ORDER BY a.turn, a.call_no) AS n,"
		" (octet_length(a.content) + octet_length(a.arguments))::bigint"
		" AS bytes FROM (SELECT w.run_id, w.turn, w.call_no,"
		" coalesce(w.arguments::pg_catalog.text, '') AS arguments,"
		" r.status IS NOT DISTINCT FROM 'COMPLETED' AS answered,"
		" coalesce(r.content, CASE WHEN r.run_id IS NULL THEN"
		" 'the run of the agent is not there any more' ELSE '' END) AS content,"
		" coalesce(r.finished_at, clock_timestamp()) AS finished_at, r.metrics"
		" FROM agno.tool_calls w JOIN agno.runs p ON p.run_id = w.run_id"
		" LEFT JOIN agno.runs r ON r.run_id = w.child_run_id"
		" AND r.owner = p.owner"
		" WHERE w.run_id = ANY ($1) AND w.status = 'waiting'"
		" AND p.status NOT IN ('COMPLETED', 'CANCELLED', 'ERROR')"
		" AND coalesce(r.status IN ('COMPLETED', 'CANCELLED', 'ERROR'), true)"
		" FOR NO KEY UPDATE OF w, p SKIP LOCKED) a) b) l "
		"WHERE c.run_id = l.run_id AND c.turn = l.turn"
		" AND c.call_no = l.call_no AND l.before < $2 "
		"RETURNING c.run_id, c.turn, c.call_no, c.model_call_id, c.tool,"
		" c.arguments, c.child_run_id, c.status = 'error',"
		" coalesce(c.result, c.error),"
		" (extract(epoch FROM c.started_at) * 1000000)::bigint AS started,"
		" (extract(epoch FROM c.finished_at - c.started_at)"
		" * 1000000)::bigint AS duration, l.bytes) "
		"SELECT * FROM settled s ORDER BY s.run_id, s.turn, s.call_no"
	};
	Arguments	args = {0};
	Column		ids = {TEXTOID};
	Column		turns = {INT4OID};
	Column		numbers = {INT4OID};
	Column		shown = {TEXTOID};
	List	   *settled;
	ListCell   *cell;

	if (count == 0)
		return NIL;
	bind_ids(&args, run_ids, count);
	bind_datum(&args, INT8OID, Int64GetDatum(*left));
	settled = store_read_list(&statement, &args, read_settled);
	foreach(cell, settled)
	{
		SettledCall *call = lfirst(cell);
		char	   *part = tool_result_shown(call->result,
											 agno_max_tool_result_size * 1024);

		*left = Max(*left - call->bytes, 0);
		if (part == call->result)
			continue;
		add_text(&ids, call->run_id);
		add_int(&turns, call->turn);
		add_int(&numbers, call->call_no);
		add_utf8(&shown, part);
		call->result = part;
	}
	set_shown(&ids, &turns, &numbers, &shown);
	return settled;
}

/*
 * Those of these runs that have calls which store_settle_children() is to settle.
 */
List *
store_unsettled_runs(char *const *run_ids, int count)
{
	static Statement statement = {
		"SELECT DISTINCT w.run_id FROM agno.tool_calls w"
		" JOIN agno.runs p ON p.run_id = w.run_id"
		" LEFT JOIN agno.runs r ON r.run_id = w.child_run_id"
		" AND r.owner = p.owner"
		" WHERE w.run_id = ANY ($1) AND w.status = 'waiting'"
		" AND coalesce(r.status IN ('COMPLETED', 'CANCELLED', 'ERROR'), true)"
	};
	Arguments	args = {0};

	bind_ids(&args, run_ids, count);
	return store_read_list(&statement, &args, read_id);
}

/*
 * Which of the runs that a PAUSED run waits for are to be shown by it: their ids.
 */
static Column
members_to_show(const char *run_id)
{
	static Statement statement = {
		"SELECT k.run_id, k.requirements, d.agent"
		" FROM agno.tool_calls c JOIN agno.runs k ON k.run_id = c.child_run_id"
		" LEFT JOIN agno.run_requests d ON d.run_id = k.run_id"
		" WHERE c.run_id = $1 AND c.status = 'waiting' AND k.status = 'PAUSED'"
		" ORDER BY c.turn, c.call_no"
	};
	Arguments	args = {0};
	Column		members = {TEXTOID};
	int64		shown = 0;
	uint64		found;

	bind_text(&args, run_id);
	found = store_execute(&statement, &args);
	for (uint64 n = 0; n < found; n++)
	{
		RowReader	row = row_reader(n);
		char	   *member = next_text(&row);

		if (shows_member(&row, &shown))
			add_text(&members, member);
	}
	return members;
}

/*
 * Whether a run is PAUSED, and shows no more than it may; then it is locked. What
 * somebody else has locked is left as it is.
 */
static bool
lock_to_show(const char *run_id)
{
	static Statement statement = {
		"SELECT p.requirements FROM agno.runs p"
		" WHERE p.run_id = $1 AND p.status = 'PAUSED'"
		" FOR NO KEY UPDATE SKIP LOCKED"
	};
	Arguments	args = {0};
	RowReader	row;

	bind_text(&args, run_id);
	if (store_execute(&statement, &args) == 0)
		return false;
	row = row_reader(0);
	return skip_bytes(&row) <= SHOWN_BYTES;
}

/*
 * Add to the requirements of a run, if it is PAUSED, what its children require, as
 * that may have changed since it paused. Returns its parent, if there is one, when it
 * shows more than before; else NULL.
 */
static char *
show_requirements(const char *run_id)
{
	static Statement statement = {
		"UPDATE agno.runs r SET requirements = l.requirements || n.added "
		"FROM (SELECT coalesce(p.requirements, '[]') AS requirements,"
		" (SELECT jsonb_object_agg(o.v ->> 'id', 1)"
		" FILTER (WHERE o.v ->> 'id' IS NOT NULL)"
		" FROM jsonb_array_elements(p.requirements) o (v)) AS ids"
		" FROM agno.runs p WHERE p.run_id = $1 OFFSET 0) l, "
		"LATERAL (SELECT jsonb_agg(" MEMBER_REQUIREMENT
		" ORDER BY m.n, e.n) AS added"
		" FROM unnest($2) WITH ORDINALITY AS m (run_id, n)"
		" JOIN agno.runs k ON k.run_id = m.run_id"
		" LEFT JOIN agno.run_requests d ON d.run_id = k.run_id,"
		" jsonb_array_elements(k.requirements) WITH ORDINALITY e (v, n)"
		" WHERE NOT coalesce(l.ids ? (e.v ->> 'id'), false)) n "
		"WHERE r.run_id = $1 AND n.added IS NOT NULL "
		"RETURNING r.parent_run_id"
	};
	Arguments	args = {0};
	Column		members;
	RowReader	row;

	if (!lock_to_show(run_id))
		return NULL;
	members = members_to_show(run_id);
	if (members.count == 0)
		return NULL;
	bind_text(&args, run_id);
	bind_column(&args, &members);
	if (store_execute(&statement, &args) == 0)
		return NULL;
	row = row_reader(0);
	return next_text(&row);
}

/*
 * Add to the requirements of those of these runs that are PAUSED what their children
 * require, and so on upwards. Those that there is no time for are signalled again:
 * then true is returned.
 */
bool
store_show_requirements(char *const *run_ids, int count)
{
	static Statement statement = {
		"SELECT r.run_id, r.owner, r.session_id FROM agno.runs r"
		" WHERE r.run_id = ANY ($1)"
	};
	TimestampTz start = GetCurrentTimestamp();
	List	   *todo = NIL;
	Column		rest = {TEXTOID};
	Arguments	args = {0};
	ListCell   *cell;

	for (int i = 0; i < count; i++)
		todo = lappend(todo, run_ids[i]);
	foreach(cell, todo)
	{
		char	   *parent = NULL;

		if (foreach_current_index(cell) > 0 && slice_is_over(start))
			add_text(&rest, lfirst(cell));
		else
			parent = show_requirements(lfirst(cell));
		if (parent != NULL)
			todo = lappend(todo, parent);
	}
	if (rest.count == 0)
		return false;
	bind_column(&args, &rest);
	signal_found(store_execute(&statement, &args), SIGNAL_CHILD);
	return true;
}
