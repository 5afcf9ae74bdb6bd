/*-------------------------------------------------------------------------
 *
 * store_read_steps.c
 *	  The tables of agno_bg: reading answers with calls of tools that are stored.
 *
 * For a runner, between store_begin() and store_commit(), of runs that it has locked.
 * How much that would be is measured before. Changes nothing. The search_path of a
 * runner is pg_catalog.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "server/settings.h"
#include "store/store.h"
#include "store/store_queue.h"
#include "utils/memutils.h"

/*
 * Whether a run shows what one of those that it waits for requires: the next two
 * columns, its requirements and its agent, are left out. *shown is how much the run
 * shows.
 */
bool
shows_member(RowReader *row, int64 *shown)
{
	int64		requirements = skip_bytes(row);
	int64		agent = skip_bytes(row);

	if (requirements == 0 || requirements > SHOWN_OF_CHILD ||
		*shown + requirements > SHOWN_BYTES)
		return false;
	*shown += requirements + agent;
	return true;
}

/*
 * How much a run shows at most that has so many previews, and waits for so many others.
 */
int64
bytes_shown(int64 previews, int64 children)
{
	int64		bytes = previews * agno_max_tool_result_size * 1024 +
		children * SHOWN_OF_CHILD;

	return Min(bytes, SHOWN_BYTES);
}

/*
 * The next column, a preview, if the run shows it.
 */
static char *
next_preview(RowReader *row, int64 *shown)
{
	RowReader	after = *row;
	int64		bytes = skip_bytes(&after);

	if (*shown + bytes > SHOWN_BYTES)
	{
		*row = after;
		return NULL;
	}
	*shown += bytes;
	return next_utf8(row);
}

/*
 * Read what a call requires; NULL: nothing.
 */
static Requirement *
read_requirement(RowReader *row, int64 *shown)
{
	Requirement *requirement = palloc(sizeof(Requirement));

	requirement->id = next_utf8(row);
	requirement->kind = requirement_kind_parse(next_text(row));
	requirement->created_at = next_utf8(row);
	requirement->input_schema = next_utf8(row);
	requirement->preview = next_preview(row, shown);
	requirement->decision = decision_parse(next_text(row));
	requirement->note = next_utf8(row);
	requirement->answer = next_utf8(row);
	return requirement->id != NULL ? requirement : NULL;
}

static StoredCall *
read_call(RowReader *row, int64 *shown)
{
	StoredCall *call = palloc0(sizeof(StoredCall));

	call->model_call_id = next_utf8(row);
	call->tool = next_utf8(row);
	call->arguments = next_utf8(row);
	call->executed = next_bool(row);
	call->failed = next_bool(row);
	call->result = next_utf8(row);
	call->started = next_int64_or(row, 0) / 1e6;
	call->duration = next_int64_or(row, 0) / 1e6;
	call->waits = next_bool(row);
	call->pending = next_bool(row);
	call->requirement = read_requirement(row, shown);
	call->child_run_id = next_utf8(row);
	call->child_metrics = next_utf8(row);
	call->child_waits = next_bool(row);
	return call;
}

/*
 * Read what the children of these calls require; children has their ids.
 */
static void
read_members(List *calls, const Column *children)
{
	static Statement statement = {
		"SELECT p.n::integer, (SELECT jsonb_agg(" MEMBER_REQUIREMENT
		" ORDER BY e.n) FROM jsonb_array_elements(k.requirements)"
		" WITH ORDINALITY e (v, n)) "
		"FROM unnest($1) WITH ORDINALITY AS p (run_id, n)"
		" JOIN agno.runs k ON k.run_id = p.run_id"
		" LEFT JOIN agno.run_requests d ON d.run_id = k.run_id"
	};
	Arguments	args = {0};
	uint64		found;

	if (calls == NIL)
		return;
	bind_column(&args, children);
	found = store_execute(&statement, &args);
	for (uint64 n = 0; n < found; n++)
	{
		RowReader	row = row_reader(n);
		StoredCall *call = list_nth(calls, next_int(&row) - 1);
		MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(call));

		call->member_requirements = next_utf8(&row);
		MemoryContextSwitchTo(old);
	}
}

static ReadyRun *
find_ready(List *ready, const char *run_id)
{
	ListCell   *cell;

	foreach(cell, ready)
	{
		ReadyRun   *run = lfirst(cell);

		if (strcmp(run->run_id, run_id) == 0)
			return run;
	}
	return NULL;
}

/*
 * The answer of this turn, among those that have been read, which follow each other.
 */
static StoredStep *
find_step(const ReadyRun *run, int turn)
{
	int			first = run->steps != NIL ?
		((StoredStep *) linitial(run->steps))->turn : 0;

	return turn >= first && turn - first < list_length(run->steps) ?
		list_nth(run->steps, turn - first) : NULL;
}

/*
 * Read the calls of the turns of these runs, but for those that are known.
 */
static void
read_calls(List *ready, const Column *run_ids, const Column *known)
{
	static Statement statement = {
		"SELECT c.run_id, c.turn, c.model_call_id, c.tool, c.arguments,"
		" c.status IN ('completed', 'error', 'rejected'),"
		" c.status IN ('error', 'rejected')"
		" OR c.error LIKE 'Tool call limit reached.%',"
		" coalesce(c.shown, c.result, c.error, ''),"
		" (extract(epoch FROM c.started_at) * 1000000)::bigint,"
		" (extract(epoch FROM c.finished_at - c.started_at) * 1000000)::bigint,"
		" c.status IN ('paused', 'waiting'), c.status IN ('pending', 'preview'),"
		" q.requirement_id, q.kind, to_char(q.requested_at AT TIME ZONE 'UTC',"
		" 'YYYY-MM-DD\"T\"HH24:MI:SS.US+00:00'), q.input_schema, q.preview,"
		" q.decision, q.note, q.answer, c.child_run_id, c.child_metrics,"
		" c.status = 'waiting' AND k.status = 'PAUSED', k.run_id,"
		" k.requirements, d.agent "
		"FROM unnest($1, $2) AS p (run_id, known)"
		" JOIN agno.tool_calls c ON c.run_id = p.run_id AND c.turn > p.known"
		" LEFT JOIN agno.requirements q"
		" ON q.run_id = c.run_id AND q.turn = c.turn AND q.call_no = c.call_no"
		" LEFT JOIN agno.runs k ON k.run_id = c.child_run_id"
		" LEFT JOIN agno.run_requests d ON d.run_id = k.run_id"
		" ORDER BY c.run_id, c.turn, c.call_no"
	};
	Arguments	args = {0};
	ReadyRun   *run = NULL;
	int64		shown = 0;
	List	   *members = NIL;
	Column		children = {TEXTOID};
	uint64		found;

	bind_column(&args, run_ids);
	bind_column(&args, known);
	found = store_execute(&statement, &args);
	for (uint64 n = 0; n < found; n++)
	{
		RowReader	row = row_reader(n);
		char	   *run_id = next_text(&row);
		int			turn = next_int(&row);
		StoredStep *step;
		StoredCall *call;
		MemoryContext old;
		char	   *child;

		if (run == NULL || strcmp(run->run_id, run_id) != 0)
		{
			run = find_ready(ready, run_id);
			shown = 0;
		}
		step = find_step(run, turn);
		if (step == NULL)
			continue;
		old = MemoryContextSwitchTo(run->context);
		call = read_call(&row, &shown);
		step->calls = lappend(step->calls, call);
		MemoryContextSwitchTo(old);
		child = next_text(&row);
		if (call->child_waits && shows_member(&row, &shown))
		{
			members = lappend(members, call);
			add_text(&children, child);
		}
	}
	read_members(members, &children);
}

/*
 * How much there is to do about a run that is to be cancelled, or has been: in bytes,
 * how long what store_read_steps(), store_read_session_share() and store_read_grounded() read
 * of it is, and that all of its calls end.
 */
int64
store_measure_steps(const RunLock *run)
{
	static Statement statement = {
		"SELECT ARRAY[(SELECT sum(octet_length(s.messages))"
		" FROM agno.run_steps s WHERE s.run_id = $1),"
		" c.bytes, c.calls, c.waiting, q.bytes, q.previews,"
		" (SELECT octet_length(coalesce(r.content, '')) +"
		" octet_length(coalesce(r.reasoning_content, ''))"
		" FROM agno.runs r JOIN agno.run_requests d ON d.run_id = r.run_id"
		" WHERE r.run_id = $1 AND d.stream),"
		" (SELECT coalesce(octet_length(s.session_state::pg_catalog.text), 0) +"
		" octet_length(d.session_state::pg_catalog.text)"
		" FROM agno.runs r JOIN agno.sessions s ON s.session_id = r.session_id"
		" JOIN agno.run_requests d ON d.run_id = r.run_id"
		" WHERE r.run_id = $1 AND d.session_state IS NOT NULL AND EXISTS (SELECT FROM agno.run_steps t"
		" WHERE t.run_id = r.run_id))]::bigint[] FROM"
		" (SELECT sum(octet_length(coalesce(c.shown, c.result, c.error))), count(*),"
		" count(*) FILTER (WHERE c.status = 'waiting')"
		" FROM agno.tool_calls c WHERE c.run_id = $1) c (bytes, calls, waiting),"
		" (SELECT sum(" BYTES_GIVEN("q") "), count(q.preview)"
		" FROM agno.requirements q WHERE q.run_id = $1) q (bytes, previews)"
	};
	Arguments	args = {0};
	RowReader	row;
	int64		of[8];

	bind_text(&args, run->run_id);
	store_execute(&statement, &args);
	row = row_reader(0);
	next_int64s(&row, of, lengthof(of));
	return of[0] + of[1] + of[2] * CALL_WEIGHT + of[4] +
		bytes_shown(of[5], of[3]) + of[6] + of[7];
}

/*
 * Read what is stored of those of these ReadyRuns that have turns; of those whose first
 * ones are known, the last one that is known, without its calls, and what follows.
 */
void
store_read_steps(List *ready)
{
	static Statement statement = {
		"SELECT s.run_id, s.turn, s.messages"
		" FROM unnest($1, $2) AS p (run_id, known)"
		" JOIN agno.run_steps s ON s.run_id = p.run_id AND s.turn >= p.known"
		" ORDER BY s.run_id, s.turn"
	};
	Arguments	args = {0};
	Column		run_ids = {TEXTOID};
	Column		known = {INT4OID};
	ReadyRun   *run = NULL;
	uint64		found;
	ListCell   *cell;

	foreach(cell, ready)
	{
		ReadyRun   *its = lfirst(cell);

		if (its->turns == 0)
			continue;
		add_text(&run_ids, its->run_id);
		add_int(&known, its->known_turns);
	}
	if (run_ids.count == 0)
		return;
	bind_column(&args, &run_ids);
	bind_column(&args, &known);
	found = store_execute(&statement, &args);
	for (uint64 n = 0; n < found; n++)
	{
		RowReader	row = row_reader(n);
		char	   *run_id = next_text(&row);
		StoredStep *step;
		MemoryContext old;

		if (run == NULL || strcmp(run->run_id, run_id) != 0)
			run = find_ready(ready, run_id);
		old = MemoryContextSwitchTo(run->context);
		step = palloc0(sizeof(StoredStep));
		step->turn = next_int(&row);
		step->messages = next_utf8(&row);
		run->steps = lappend(run->steps, step);
		MemoryContextSwitchTo(old);
	}
	read_calls(ready, &run_ids, &known);
}
