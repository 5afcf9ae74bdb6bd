/*-------------------------------------------------------------------------
 *
 * store_tools.c
 *	  The tables of agno_bg: definitions of tools, and their calls.
 *
 * For backends and tool workers, between store_enter() and store_leave(): the
 * statements run with the rights of the tables' owner, so every name of a type,
 * a function or an operator in them says its schema.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "server/json_merge.h"
#include "store/store.h"
#include "store/store_statement.h"
#include "store/store_tools.h"

#define EQ " OPERATOR(pg_catalog.=) "

/*
 * Look at the row of agno.tools of this name. False when there is none.
 */
bool
store_find_tool(const char *tool, ToolRow *result)
{
	static Statement statement = {
		"SELECT t.owner::pg_catalog.oid, t.function, t.description,"
		" t.parameters::pg_catalog.text, t.bind::pg_catalog.text,"
		" t.read_only::integer,"
		" t.requires_confirmation OR t.external_execution OR t.preview"
		" OR t.requires_user_input IS NOT NULL OR t.approver IS NOT NULL"
		" OR t.expires_after IS NOT NULL,"
		" t.stop_after_call,"
		" (pg_catalog.date_part('epoch', t.timeout)"
		" OPERATOR(pg_catalog.*) 1000.0::pg_catalog.float8)::bigint "
		"FROM agno.tools t WHERE t.tool" EQ "$1"
	};
	Arguments	args = {0};
	RowReader	row;

	bind_text(&args, tool);
	if (store_execute(&statement, &args) == 0)
		return false;
	row = row_reader(0);
	result->owner = next_oid(&row);
	result->function = next_text(&row);
	result->description = next_text(&row);
	result->parameters = next_text(&row);
	result->bind = next_text(&row);
	result->read_only = next_int_or(&row, -1);
	result->pauses = next_bool(&row);
	result->stop_after_call = next_bool(&row);
	result->timeout_ms = next_int64_or(&row, -1);
	return true;
}

/*-------------------------------------------------------------------------
 * For tool workers
 *-------------------------------------------------------------------------
 */

/*
 * Lock the turn of this role that has waited longest and that nobody else has
 * locked. False if there is none.
 */
static bool
lock_turn(Oid role, ToolWork *work)
{
	static Statement statement = {
		"SELECT q.run_id, q.turn, q.attempt, q.shard::integer,"
		" (pg_catalog.date_part('epoch', q.deadline OPERATOR(pg_catalog.-)"
		" pg_catalog.clock_timestamp())"
		" OPERATOR(pg_catalog.*) 1000.0::pg_catalog.float8)::bigint "
		"FROM agno.tool_queue q"
		" WHERE q.owner" EQ "$1::pg_catalog.regrole"
		" AND q.deadline OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp()"
		" AND q.queued_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp()"
		" ORDER BY q.queued_at LIMIT 1 FOR UPDATE SKIP LOCKED"
	};
	Arguments	args = {0};
	RowReader	row;

	bind_oid(&args, role);
	if (store_execute(&statement, &args) == 0)
		return false;
	row = row_reader(0);
	work->run_id = next_text(&row);
	work->turn = next_int(&row);
	work->attempt = next_int(&row);
	work->shard = next_int(&row);
	work->left_ms = next_int64(&row);
	return true;
}

/*
 * Take the next call that is to be made for this role: until the end of the
 * transaction, nobody else takes one of its turn. last is a call that is known to
 * have been made, and those before it in its turn. False if there is none.
 */
bool
store_take_work(Oid role, const LastCall *last, ToolWork *work)
{
	static Statement statement = {
		"SELECT COALESCE(c.call_no, 0), c.tool_call_id, c.model_call_id,"
		" c.tool, c.arguments::pg_catalog.text,"
		" r.status" EQ "'RUNNING'::agno.run_status AND r.attempt" EQ "$2,"
		" r.session_id, r.user_id, r.agent_id,"
		" d.agent OPERATOR(pg_catalog.->>) 'name', r.model, r.model_provider,"
		" d.tools::pg_catalog.text, COALESCE(d.stream, false),"
		" agno.merge_json(COALESCE(s.session_state, '{}'),"
		" COALESCE(d.session_state, '{}'))::pg_catalog.text "
		"FROM agno.runs r "
		"JOIN agno.run_requests d ON d.run_id" EQ "r.run_id "
		"LEFT JOIN agno.sessions s ON s.session_id" EQ "r.session_id"
		" AND s.owner" EQ "r.owner "
		"LEFT JOIN LATERAL (SELECT c.* FROM agno.tool_calls c"
		" WHERE c.run_id" EQ "r.run_id AND c.turn" EQ "$3"
		" AND c.call_no OPERATOR(pg_catalog.>) $5 AND c.status" EQ "'pending' ORDER BY c.call_no LIMIT 1) c ON true "
		"WHERE r.run_id" EQ "$1 AND r.owner" EQ "$4::pg_catalog.regrole"
	};
	Arguments	args = {0};
	RowReader	row;

	memset(work, 0, sizeof(ToolWork));
	if (!lock_turn(role, work))
		return false;
	bind_text(&args, work->run_id);
	bind_int(&args, work->attempt);
	bind_int(&args, work->turn);
	bind_oid(&args, role);
	bind_int(&args, last->call_no > 0 && last->turn == work->turn &&
			 strcmp(last->run_id, work->run_id) == 0 ? last->call_no : 0);
	if (store_execute(&statement, &args) == 0)
		return true;
	row = row_reader(0);
	work->call_no = next_int(&row);
	work->tool_call_id = next_text(&row);
	work->model_call_id = next_text(&row);
	work->tool = next_text(&row);
	work->arguments = next_text(&row);
	work->runs = next_bool(&row);
	work->session_id = next_text(&row);
	work->user_id = next_text(&row);
	work->agent_id = next_text(&row);
	work->agent_name = next_text(&row);
	work->model = next_text(&row);
	work->model_provider = next_text(&row);
	work->tools = next_text(&row);
	work->stream = next_bool(&row);
	work->session_state = next_text(&row);
	return true;
}

/*
 * Whether there is other work for this role that has been waiting for a while:
 * somebody may be at it.
 */
bool
store_has_more_work(Oid role, const ToolWork *work)
{
	static Statement statement = {
		"SELECT FROM agno.tool_queue q"
		" WHERE q.owner" EQ "$1::pg_catalog.regrole"
		" AND q.run_id OPERATOR(pg_catalog.<>) $2"
		" AND q.queued_at OPERATOR(pg_catalog.<) (pg_catalog.clock_timestamp()"
		" OPERATOR(pg_catalog.-) '20 ms'::interval) LIMIT 1"
	};
	Arguments	args = {0};

	bind_oid(&args, role);
	bind_text(&args, work->run_id);
	return store_execute(&statement, &args) > 0;
}

/*
 * Lock the run of a call, to store what came of it, unless it is not in its
 * attempt any more or has been cancelled. A cancel that has been committed is
 * seen, since who cancels has the run locked until then.
 */
ToolFence
store_lock_for_result(const ToolWork *work, Oid role)
{
	static Statement lock = {
		"SELECT r.status" EQ "'RUNNING'::agno.run_status AND r.attempt" EQ "$2 "
		"FROM agno.runs r WHERE r.run_id" EQ "$1 "
		"FOR NO KEY UPDATE SKIP LOCKED"
	};
	static Statement exists = {
		"SELECT FROM agno.runs r WHERE r.run_id" EQ "$1"
	};
	static Statement signals = {
		"SELECT FROM agno.run_signals s WHERE s.run_id" EQ "$1"
		" AND s.owner" EQ "$2::pg_catalog.regrole"
		" AND s.kind" EQ "'c'::pg_catalog.\"char\" LIMIT 1"
	};
	Arguments	args = {0};
	Arguments	id = {0};
	Arguments	signal = {0};
	RowReader	row;

	bind_text(&id, work->run_id);
	bind_text(&args, work->run_id);
	bind_int(&args, work->attempt);
	if (store_execute(&lock, &args) == 0)
		return store_execute(&exists, &id) > 0 ? FENCE_LOCKED : FENCE_CLOSED;
	row = row_reader(0);
	if (!next_bool(&row))
		return FENCE_CLOSED;
	bind_text(&signal, work->run_id);
	bind_oid(&signal, role);
	return store_execute(&signals, &signal) > 0 ? FENCE_CLOSED : FENCE_OPEN;
}

/*
 * Store what came of a call, in the transaction that made it. Returns whether
 * there are more calls to be made in the turn.
 */
bool
store_tool_result(const ToolWork *work, Oid role, const ToolResult *result)
{
	static Statement update = {
		"UPDATE agno.tool_calls c SET"
		" status = CASE WHEN $5 IS NULL THEN 'completed' ELSE 'error' END,"
		" result = $4, error = $5, sqlstate = $6, attempt = $7,"
		" xid = pg_catalog.pg_current_xact_id(), started_at = $8,"
		" finished_at = $9, shown = $10 "
		"WHERE c.run_id" EQ "$1 AND c.turn" EQ "$2 AND c.call_no" EQ "$3"
	};
	static Statement more = {
		"SELECT FROM agno.tool_calls c WHERE c.run_id" EQ "$1"
		" AND c.turn" EQ "$2 AND c.call_no OPERATOR(pg_catalog.>) $3"
		" AND c.status" EQ "'pending' LIMIT 1"
	};
	Arguments	args = {0};
	Arguments	turn = {0};

	bind_text(&args, work->run_id);
	bind_int(&args, work->turn);
	bind_int(&args, work->call_no);
	bind_text(&args, result->result);
	bind_text(&args, result->error);
	bind_text(&args, result->sqlstate);
	bind_int(&args, work->attempt);
	bind_time(&args, result->started_at);
	bind_time(&args, result->finished_at);
	bind_text(&args, result->shown);
	store_execute(&update, &args);
	bind_text(&turn, work->run_id);
	bind_int(&turn, work->turn);
	bind_int(&turn, work->call_no);
	return store_execute(&more, &turn) > 0;
}

/*
 * The number of the last event of a run, or 0.
 */
int64
store_last_event(const char *run_id)
{
	static Statement statement = {
		"SELECT COALESCE(pg_catalog.max(e.seq), 0) FROM agno.run_events e"
		" WHERE e.run_id" EQ "$1"
	};
	Arguments	args = {0};
	RowReader	row;

	bind_text(&args, run_id);
	store_execute(&statement, &args);
	row = row_reader(0);
	return next_int64(&row);
}

/*
 * The turn needs no tool worker any more.
 */
void
store_drop_turn(const ToolWork *work)
{
	static Statement statement = {
		"DELETE FROM agno.tool_queue q WHERE q.run_id" EQ "$1"
		" AND q.attempt" EQ "$2 AND q.turn" EQ "$3"
	};
	Arguments	args = {0};

	bind_text(&args, work->run_id);
	bind_int(&args, work->attempt);
	bind_int(&args, work->turn);
	store_execute(&statement, &args);
}

/*
 * All calls of the turn have been made: its runner is to hear of that.
 */
void
store_end_turn(const ToolWork *work, Oid role)
{
	store_drop_turn(work);
	store_put_signal(work->run_id, role, work->shard, SIGNAL_TOOLS);
}

/*
 * The turn could not be gone on with: others come first, for a moment.
 */
void
store_put_off_turn(const ToolWork *work)
{
	static Statement statement = {
		"UPDATE agno.tool_queue q SET queued_at ="
		" pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) '200 ms'::interval"
		" WHERE q.run_id" EQ "$1 AND q.attempt" EQ "$2 AND q.turn" EQ "$3"
	};
	Arguments	args = {0};

	bind_text(&args, work->run_id);
	bind_int(&args, work->attempt);
	bind_int(&args, work->turn);
	store_execute(&statement, &args);
}

/*-------------------------------------------------------------------------
 * The state of a session, for tools
 *-------------------------------------------------------------------------
 */

/*
 * The state of the session of a run, with what the run adds to it; NULL if there
 * is no such run.
 */
Jsonb *
store_session_state(const char *run_id)
{
	static Statement statement = {
		"SELECT agno.merge_json(COALESCE(s.session_state, '{}'),"
		" COALESCE(d.session_state, '{}')) "
		"FROM agno.runs r "
		"LEFT JOIN agno.run_requests d ON d.run_id" EQ "r.run_id "
		"LEFT JOIN agno.sessions s ON s.session_id" EQ "r.session_id"
		" AND s.owner" EQ "r.owner "
		"WHERE r.run_id" EQ "$1"
	};
	Arguments	args = {0};
	RowReader	row;
	NullableDatum state;

	bind_text(&args, run_id);
	if (store_execute(&statement, &args) == 0)
		return NULL;
	row = row_reader(0);
	state = next_nullable(&row);
	return state.isnull ? NULL : DatumGetJsonbP(state.value);
}

/*
 * What the run adds to the state of its session gets this besides.
 */
void
store_set_session_state(const char *run_id, Oid owner, Jsonb *patch)
{
	static Statement statement = {
		"INSERT INTO agno.run_requests AS d (run_id, owner, session_state) "
		"VALUES ($1, $2::pg_catalog.regrole, $3) "
		"ON CONFLICT (run_id) DO UPDATE SET session_state ="
		" agno.merge_json(COALESCE(d.session_state, '{}'),"
		" excluded.session_state)"
	};
	Arguments	args = {0};

	bind_text(&args, run_id);
	bind_oid(&args, owner);
	bind_datum(&args, JSONBOID, JsonbPGetDatum(patch));
	store_execute(&statement, &args);
}
