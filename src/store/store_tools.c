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

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "server/json_merge.h"
#include "store/store.h"
#include "store/store_statement.h"
#include "store/store_tools.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define EQ " OPERATOR(pg_catalog.=) "

/* Tool workers have something to do for this row of agno.tool_calls. */
#define TO_BE_CALLED(alias) \
	" AND " alias ".status" EQ "ANY ('{pending,preview}'::pg_catalog.text[])"

/*
 * Read an array of text: its elements, and a NULL.
 */
static const char *const *
read_names(RowReader *row)
{
	NullableDatum array = next_nullable(row);
	Datum	   *values = NULL;
	bool	   *nulls;
	const char **names;
	int			count = 0;

	if (!array.isnull)
		deconstruct_array(DatumGetArrayTypeP(array.value), TEXTOID, -1, false,
						  TYPALIGN_INT, &values, &nulls, &count);
	names = palloc(sizeof(char *) * (count + 1));
	for (int i = 0; i < count; i++)
		names[i] = nulls[i] ? "" : TextDatumGetCString(values[i]);
	names[count] = NULL;
	return names;
}

/*
 * Look at the row of agno.tools of this name. False when there is none that the role
 * may use: others may be of any length.
 */
bool
store_find_tool(const char *tool, Oid role, ToolRow *result)
{
	static Statement statement = {
		"SELECT t.owner::pg_catalog.oid, t.function, t.description,"
		" t.parameters::pg_catalog.text, t.bind::pg_catalog.text,"
		" t.read_only::integer,"
		" t.requires_confirmation, t.external_execution, t.preview,"
		" t.requires_user_input, t.approver::pg_catalog.oid,"
		" (pg_catalog.date_part('epoch', t.expires_after)"
		" OPERATOR(pg_catalog.*) 1000.0::pg_catalog.float8)::bigint,"
		" t.stop_after_call,"
		" (pg_catalog.date_part('epoch', t.timeout)"
		" OPERATOR(pg_catalog.*) 1000.0::pg_catalog.float8)::bigint "
		"FROM agno.tools t WHERE t.tool" EQ "$1"
		" AND pg_catalog.pg_has_role($2, t.owner::pg_catalog.oid, 'USAGE')"
	};
	Arguments	args = {0};
	RowReader	row;
	NullableDatum approver;

	bind_text(&args, tool);
	bind_oid(&args, role);
	if (store_execute(&statement, &args) == 0)
		return false;
	row = row_reader(0);
	result->owner = next_oid(&row);
	result->function = next_text(&row);
	result->description = next_text(&row);
	result->parameters = next_text(&row);
	result->bind = next_text(&row);
	result->read_only = next_int_or(&row, -1);
	result->requires_confirmation = next_bool(&row);
	result->external_execution = next_bool(&row);
	result->preview = next_bool(&row);
	result->inputs = read_names(&row);
	approver = next_nullable(&row);
	result->has_approver = !approver.isnull;
	result->approver = approver.isnull ?
		InvalidOid : DatumGetObjectId(approver.value);
	result->expires_ms = next_int64_or(&row, 0);
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
 * locked. Its time is not over, unless its run is: whoever ended that could not have the
 * turn. False if there is none.
 */
static bool
lock_turn(Oid role, ToolWork *work)
{
	static Statement statement = {
		"SELECT q.run_id, q.turn, q.attempt, q.shard::integer,"
		" (pg_catalog.date_part('epoch', q.deadline OPERATOR(pg_catalog.-)"
		" pg_catalog.clock_timestamp())"
		" OPERATOR(pg_catalog.*) 1000.0::pg_catalog.float8)::bigint,"
		" q.holder, q.tried_call, q.tries::integer "
		"FROM agno.tool_queue q"
		" WHERE q.owner" EQ "$1::pg_catalog.regrole"
		" AND (q.deadline OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp()"
		" OR NOT EXISTS (SELECT FROM agno.runs r WHERE r.run_id" EQ "q.run_id"
		" AND r.status" EQ "'RUNNING'::agno.run_status"
		" AND r.attempt" EQ "q.attempt))"
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
	work->holder = next_int_or(&row, 0);
	work->tried_call = next_int(&row);
	work->tries = next_int(&row);
	return true;
}

/*
 * The key of a turn in agno.tool_queue: $1 to $3.
 */
static void
bind_turn(Arguments *args, const ToolWork *work)
{
	bind_text(args, work->run_id);
	bind_int(args, work->attempt);
	bind_int(args, work->turn);
}

/*
 * Note that this process has read calls of the turn: others who make some say so,
 * too.
 */
static void
hold_turn(const ToolWork *work)
{
	static Statement statement = {
		"UPDATE agno.tool_queue q SET holder = $4 WHERE q.run_id" EQ "$1"
		" AND q.attempt" EQ "$2 AND q.turn" EQ "$3"
	};
	Arguments	args = {0};

	bind_turn(&args, work);
	bind_int(&args, MyProcPid);
	store_execute(&statement, &args);
}

/*
 * Read the calls of a turn that are to be made first of those after this number:
 * held->calls. *runs: its run is in the attempt. False if the run is not there.
 */
static bool
read_calls(Oid role, const ToolWork *work, int after, HeldTurn *held,
		   bool *runs, TimestampTz *created_at)
{
	static Statement statement = {
		"SELECT r.status" EQ "'RUNNING'::agno.run_status AND r.attempt" EQ "$2,"
		" r.created_at, COALESCE(c.call_no, 0), c.tool_call_id,"
		" c.model_call_id, c.tool, COALESCE(c.arguments::pg_catalog.text, '{}'),"
		" COALESCE(c.status" EQ "'preview', false), p.requirement_id IS NOT NULL,"
		" p.fingerprint, p.answer "
		"FROM agno.runs r "
		"LEFT JOIN LATERAL (SELECT c.* FROM agno.tool_calls c"
		" WHERE c.run_id" EQ "$1 AND c.turn" EQ "$3"
		" AND c.call_no OPERATOR(pg_catalog.>) $5" TO_BE_CALLED("c")
		" ORDER BY c.call_no LIMIT $6) c ON true "
		"LEFT JOIN agno.requirements p ON p.run_id" EQ "$1"
		" AND p.turn" EQ "$3 AND p.call_no" EQ "c.call_no "
		"WHERE r.run_id" EQ "$1 AND r.owner" EQ "$4::pg_catalog.regrole "
		"ORDER BY c.call_no"
	};
	Arguments	args = {0};
	MemoryContext caller = CurrentMemoryContext;
	uint64		count;

	bind_turn(&args, work);
	bind_oid(&args, role);
	bind_int(&args, after);
	bind_int(&args, HELD_CALLS);
	held->count = 0;
	held->next = 0;
	MemoryContextReset(held->call_context);
	count = store_execute(&statement, &args);
	MemoryContextSwitchTo(held->call_context);
	for (uint64 n = 0; n < count; n++)
	{
		RowReader	row = row_reader(n);
		ToolWork   *call = &held->calls[n];

		memset(call, 0, sizeof(ToolWork));
		*runs = next_bool(&row);
		*created_at = next_time(&row);
		call->call_no = next_int(&row);
		if (call->call_no == 0)
			break;
		call->tool_call_id = next_text(&row);
		call->model_call_id = next_text(&row);
		call->tool = next_text(&row);
		call->arguments = next_text(&row);
		call->preview = next_bool(&row);
		call->gated = next_bool(&row);
		call->fingerprint = next_text(&row);
		call->answer = next_text(&row);
		call->more = n + 1 < count;
		held->count++;
	}
	MemoryContextSwitchTo(caller);
	return count > 0;
}

/*
 * Keep what calls need to know of their run. False if it is not there.
 */
static bool
hold_run(HeldTurn *held, const char *run_id, TimestampTz created_at)
{
	static Statement statement = {
		"SELECT r.session_id, r.user_id, r.agent_id,"
		" d.agent OPERATOR(pg_catalog.->>) 'name',"
		" d.tools::pg_catalog.text, COALESCE(d.stream, false), r.priority,"
		" d.depth "
		"FROM agno.runs r "
		"JOIN agno.run_requests d ON d.run_id" EQ "r.run_id "
		"WHERE r.run_id" EQ "$1 AND d.tools IS NOT NULL"
	};
	Arguments	args = {0};
	ToolRun    *run = &held->run;
	MemoryContext caller;
	RowReader	row;

	if (strcmp(held->run_id, run_id) == 0 && held->created_at == created_at)
		return true;
	memset(run, 0, sizeof(ToolRun));
	held->run_id[0] = '\0';
	MemoryContextReset(held->context);
	bind_text(&args, run_id);
	if (store_execute(&statement, &args) == 0)
		return false;
	row = row_reader(0);
	caller = MemoryContextSwitchTo(held->context);
	run->session_id = next_text(&row);
	run->user_id = next_text(&row);
	run->agent_id = next_text(&row);
	run->agent_name = next_text(&row);
	run->tools = next_text(&row);
	run->stream = next_bool(&row);
	run->priority = next_int(&row);
	run->depth = next_int(&row);
	run->reads_state = strstr(run->tools, "\"state.") != NULL;
	MemoryContextSwitchTo(caller);
	held->created_at = created_at;
	strlcpy(held->run_id, run_id, ID_SIZE);
	return true;
}

/*
 * The session's state as JSON, for a run one of whose tools gets it.
 */
static char *
state_text(const ToolWork *work)
{
	Jsonb	   *state = work->run->reads_state ?
		store_session_state(work->run_id) : NULL;

	return state != NULL ?
		JsonbToCString(NULL, &state->root, VARSIZE(state)) : NULL;
}

/*
 * A tool worker that has made no call yet; what it keeps lives as long as the
 * process.
 */
void
store_init_held(HeldTurn *held)
{
	memset(held, 0, sizeof(HeldTurn));
	held->context = AllocSetContextCreate(TopMemoryContext,
										  "agno_bg run of tool calls",
										  ALLOCSET_SMALL_SIZES);
	held->call_context = AllocSetContextCreate(TopMemoryContext,
											   "agno_bg tool calls",
											   ALLOCSET_SMALL_SIZES);
}

/*
 * The call that was taken has been made; or else it is not known what has been made
 * of its turn.
 */
void
store_hold_call(HeldTurn *held, const ToolWork *work, bool made)
{
	held->attempt = work->attempt;
	held->turn = work->turn;
	held->call_no = made ? work->call_no : 0;
	if (made)
		held->next++;
	else
		held->next = held->count = 0;
}

/*
 * Have the next calls of this turn read, whose run is in its attempt. False if it is
 * not.
 */
static bool
fill_held(Oid role, HeldTurn *held, const ToolWork *work, int after)
{
	TimestampTz created_at;
	bool		runs;

	if (!read_calls(role, work, after, held, &runs, &created_at))
		return false;

	/*
	 * One before the last may have been decided about since, or the run is
	 * another one.
	 */
	if (after > 0 && (held->count == 0 || created_at != held->created_at) &&
		!read_calls(role, work, 0, held, &runs, &created_at))
		return false;
	if (!runs || !hold_run(held, work->run_id, created_at))
		return false;
	if (work->holder != MyProcPid && (work->holder != 0 || held->count > 1))
		hold_turn(work);
	return true;
}

/*
 * Take the next call that is to be made for this role: until the end of the
 * transaction, nobody else takes one of its turn. False if there is none.
 */
bool
store_take_work(Oid role, HeldTurn *held, ToolWork *work)
{
	static const char *const written[] = {
		"tool_queue", "tool_calls", "requirements", "run_requests"
	};
	ToolWork	turn = {0};
	bool		same;

	*work = turn;
	store_lock_to_write(written, lengthof(written));
	if (!lock_turn(role, &turn))
		return false;
	same = strcmp(held->run_id, turn.run_id) == 0 &&
		held->attempt == turn.attempt && held->turn == turn.turn;
	if (!same)
		store_hold_call(held, &turn, false);
	if ((!same || turn.holder != MyProcPid || held->next == held->count) &&
		!fill_held(role, held, &turn,
				   turn.holder == MyProcPid ? held->call_no : 0))
	{
		store_hold_call(held, &turn, false);
		*work = turn;
		return true;
	}
	if (held->next < held->count)
		*work = held->calls[held->next];
	work->run_id = turn.run_id;
	work->turn = turn.turn;
	work->attempt = turn.attempt;
	work->shard = turn.shard;
	work->left_ms = turn.left_ms;
	work->tries = turn.tried_call == work->call_no ? turn.tries : 0;
	work->runs = true;
	work->run = &held->run;
	work->session_state = state_text(work);
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
 * Whether the run of a call is to be cancelled: a signal says so that its runner
 * has not read yet, or the queue, if the runner could not have it. *own: the
 * current transaction alone says so.
 */
static bool
is_cancelled(const ToolWork *work, Oid role, bool *own)
{
	static Statement statement = {
		"SELECT s.xmin FROM agno.run_signals s WHERE s.run_id" EQ "$1"
		" AND s.owner" EQ "$2::pg_catalog.regrole"
		" AND s.kind" EQ "'c'::pg_catalog.\"char\" "
		"UNION ALL SELECT '0'::pg_catalog.xid FROM agno.run_queue q"
		" WHERE q.run_id" EQ "$1 AND q.cancelled"
	};
	Arguments	args = {0};
	uint64		count;

	bind_text(&args, work->run_id);
	bind_oid(&args, role);
	count = store_execute(&statement, &args);
	*own = count > 0;
	for (uint64 n = 0; n < count; n++)
	{
		RowReader	row = row_reader(n);
		bool		isnull;
		Datum		xmin = next_datum(&row, &isnull);

		*own &= TransactionIdIsCurrentTransactionId(DatumGetTransactionId(xmin));
	}
	return count > 0;
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
	Arguments	args = {0};
	Arguments	id = {0};
	RowReader	row;
	bool		own;

	bind_text(&id, work->run_id);
	bind_text(&args, work->run_id);
	bind_int(&args, work->attempt);
	if (store_execute(&lock, &args) == 0)
		return store_execute(&exists, &id) > 0 ? FENCE_LOCKED : FENCE_CLOSED;
	row = row_reader(0);
	if (!next_bool(&row))
		return FENCE_CLOSED;
	if (is_cancelled(work, role, &own))
		return own ? FENCE_OWN_CANCEL : FENCE_CLOSED;
	return FENCE_OPEN;
}

/*
 * Whether the run of a call is still in its attempt and not cancelled, as far as
 * that has been committed.
 */
bool
store_still_wanted(const ToolWork *work, Oid role)
{
	static Statement statement = {
		"SELECT FROM agno.runs r WHERE r.run_id" EQ "$1"
		" AND r.status" EQ "'RUNNING'::agno.run_status AND r.attempt" EQ "$2"
	};
	Arguments	args = {0};
	bool		own;

	bind_text(&args, work->run_id);
	bind_int(&args, work->attempt);
	return store_execute(&statement, &args) > 0 &&
		!is_cancelled(work, role, &own);
}

/*
 * Store what came of a call, in the transaction that made it. False if it has been
 * made already.
 */
bool
store_tool_result(const ToolWork *work, const ToolResult *result)
{
	static Statement update = {
		"UPDATE agno.tool_calls c SET"
		" status = CASE WHEN $5 IS NOT NULL THEN 'error'"
		" WHEN $11 IS NOT NULL THEN 'waiting' ELSE 'completed' END,"
		" child_run_id = $11,"
		" result = $4, error = $5, sqlstate = $6, attempt = $7,"
		" xid = pg_catalog.pg_current_xact_id(), started_at = $8,"
		" finished_at = CASE WHEN $11 IS NULL OR $5 IS NOT NULL THEN $9 END,"
		" shown = $10 "
		"WHERE c.run_id" EQ "$1 AND c.turn" EQ "$2 AND c.call_no" EQ "$3"
		" AND c.tool_call_id" EQ "$12" TO_BE_CALLED("c")
	};
	Arguments	args = {0};

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
	bind_text(&args, result->child_run_id);
	bind_text(&args, work->tool_call_id);
	return store_execute(&update, &args) > 0;
}

/*
 * Whether tool workers have to do more for the turn, from this call on.
 */
bool
store_more_calls(const ToolWork *work)
{
	static Statement statement = {
		"SELECT FROM agno.tool_calls c WHERE c.run_id" EQ "$1"
		" AND c.turn" EQ "$2 AND c.call_no OPERATOR(pg_catalog.>=) $3"
		TO_BE_CALLED("c") " LIMIT 1"
	};
	Arguments	args = {0};

	bind_text(&args, work->run_id);
	bind_int(&args, work->turn);
	bind_int(&args, work->call_no);
	return store_execute(&statement, &args) > 0;
}

/*-------------------------------------------------------------------------
 * Calls that somebody decides about
 *-------------------------------------------------------------------------
 */

static bool
set_call_status(const ToolWork *work, const char *status)
{
	static Statement statement = {
		"UPDATE agno.tool_calls c SET status = $4 WHERE c.run_id" EQ "$1"
		" AND c.turn" EQ "$2 AND c.call_no" EQ "$3"
		" AND c.tool_call_id" EQ "$5" TO_BE_CALLED("c")
	};
	Arguments	args = {0};

	bind_text(&args, work->run_id);
	bind_int(&args, work->turn);
	bind_int(&args, work->call_no);
	bind_text(&args, status);
	bind_text(&args, work->tool_call_id);
	return store_execute(&statement, &args) > 0;
}

/*
 * Keep what the call would do, JSON, for who decides about it. False if that is not
 * wanted any more.
 */
bool
store_preview(const ToolWork *work, const char *preview,
			  const char *fingerprint)
{
	static Statement statement = {
		"UPDATE agno.requirements q SET preview = $4::pg_catalog.jsonb,"
		" fingerprint = $5 WHERE q.run_id" EQ "$1"
		" AND q.turn" EQ "$2 AND q.call_no" EQ "$3"
	};
	Arguments	args = {0};

	bind_text(&args, work->run_id);
	bind_int(&args, work->turn);
	bind_int(&args, work->call_no);
	bind_text(&args, preview);
	bind_text(&args, fingerprint);
	store_execute(&statement, &args);
	return set_call_status(work, "paused");
}

/*
 * The function of a call has been replaced since somebody approved of it: ask once
 * more, and if there was a preview, make another one. False if it has been made
 * already.
 */
bool
store_ask_again(const ToolWork *work, const char *fingerprint)
{
	static Statement statement = {
		"UPDATE agno.requirements q SET decision = NULL, note = NULL,"
		" answer = NULL, decided_by = NULL, decided_at = NULL,"
		" requirement_id = pg_catalog.gen_random_uuid()::pg_catalog.text,"
		" requested_at = pg_catalog.clock_timestamp(),"
		" expires_at = pg_catalog.clock_timestamp()"
		" OPERATOR(pg_catalog.+) q.expires_after, fingerprint = $4 "
		"WHERE q.run_id" EQ "$1 AND q.turn" EQ "$2"
		" AND q.call_no" EQ "$3 RETURNING q.preview IS NOT NULL"
	};
	Arguments	args = {0};
	RowReader	row;

	bind_text(&args, work->run_id);
	bind_int(&args, work->turn);
	bind_int(&args, work->call_no);
	bind_text(&args, fingerprint);
	if (store_execute(&statement, &args) == 0)
		return false;
	row = row_reader(0);
	return set_call_status(work, next_bool(&row) ? "preview" : "paused");
}

/*
 * How many rows of each table the current transaction has inserted, updated and
 * deleted, as a JSON array; NULL if none. Tables that only agno_bg reads are left
 * out. What earlier transactions of the process did must have been reported.
 */
char *
store_changes(void)
{
	static Statement statement = {
		"SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object("
		"'table', pg_catalog.format('%I.%I', n.nspname, c.relname),"
		" 'inserted', pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid),"
		" 'updated', pg_catalog.pg_stat_get_xact_tuples_updated(c.oid),"
		" 'deleted', pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid))"
		" ORDER BY n.nspname, c.relname)::pg_catalog.text "
		"FROM pg_catalog.pg_class c"
		" JOIN pg_catalog.pg_namespace n ON n.oid" EQ "c.relnamespace"
		" WHERE c.relkind" EQ "ANY ('{r,m}'::pg_catalog.\"char\"[])"
		" AND n.nspname OPERATOR(pg_catalog.<>) 'pg_catalog'::pg_catalog.name"
		" AND NOT (n.nspname" EQ "'agno'::pg_catalog.name"
		" AND c.relname" EQ "ANY ('{callbacks,queue_check,run_queue,"
		"run_requests,run_signals,run_steps,tool_queue}'::pg_catalog.name[]))"
		" AND (pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid)"
		" OPERATOR(pg_catalog.>) 0"
		" OR pg_catalog.pg_stat_get_xact_tuples_updated(c.oid)"
		" OPERATOR(pg_catalog.>) 0"
		" OR pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid)"
		" OPERATOR(pg_catalog.>) 0)"
	};
	RowReader	row;

	store_execute(&statement, NULL);
	row = row_reader(0);
	return next_text(&row);
}

/*
 * This turn, as l, if nobody else has it locked: who has decides what becomes of it.
 */
#define FREE_TURN \
	"(SELECT w.run_id, w.attempt, w.turn FROM agno.tool_queue w" \
	" WHERE w.run_id" EQ "$1 AND w.attempt" EQ "$2 AND w.turn" EQ "$3" \
	" FOR UPDATE SKIP LOCKED) l WHERE q.run_id" EQ "l.run_id" \
	" AND q.attempt" EQ "l.attempt AND q.turn" EQ "l.turn"

/*
 * The turn needs no tool worker any more.
 */
void
store_drop_turn(const ToolWork *work)
{
	static Statement statement = {
		"DELETE FROM agno.tool_queue q USING " FREE_TURN
	};
	Arguments	args = {0};

	bind_turn(&args, work);
	store_execute(&statement, &args);
}

/*
 * All calls of the turn, which is locked, have been made: its runner is to hear of
 * that.
 */
void
store_end_turn(const ToolWork *work, Oid role)
{
	static Statement statement = {
		"DELETE FROM agno.tool_queue q WHERE q.run_id" EQ "$1"
		" AND q.attempt" EQ "$2 AND q.turn" EQ "$3"
	};
	Arguments	args = {0};

	bind_turn(&args, work);
	store_execute(&statement, &args);
	store_put_signal(work->run_id, role, work->shard, SIGNAL_TOOLS);
}

/*
 * The turn could not be gone on with: others come first, for a while; longer: that
 * doubles up to some seconds. Returns how long that is, in milliseconds.
 */
int
store_put_off_turn(const ToolWork *work, bool longer)
{
	static Statement statement = {
		"UPDATE agno.tool_queue q SET looks ="
		" CASE WHEN $4 THEN LEAST(q.looks, 5) OPERATOR(pg_catalog.+) 1 ELSE 1 END,"
		" queued_at = pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+)"
		" ('200 ms'::interval OPERATOR(pg_catalog.*)"
		" pg_catalog.power(2.0::pg_catalog.float8,"
		" CASE WHEN $4 THEN LEAST(q.looks, 5) ELSE 0 END"
		"::pg_catalog.float8)), tried_call = $5, tries = $6::smallint "
		"FROM " FREE_TURN " "
		"RETURNING q.looks"
	};
	Arguments	args = {0};
	RowReader	row;
	int			looks;

	bind_turn(&args, work);
	bind_bool(&args, longer);
	bind_int(&args, work->call_no);
	bind_int(&args, work->tries);
	if (store_execute(&statement, &args) == 0)
		return 0;
	row = row_reader(0);
	looks = next_int(&row);
	return 200 << Min(looks - 1, 5);
}

/* The first of the rows of this role, of this table, that were not due at that time. */
#define NEXT_OF(table) \
	"(SELECT q.queued_at FROM agno." table " q" \
	" WHERE q.owner" EQ "$1::pg_catalog.regrole" \
	" AND q.queued_at OPERATOR(pg_catalog.>) $2" \
	" ORDER BY q.queued_at LIMIT 1)"

/*
 * When the first of what has been put off for this role is due, and was not at that time:
 * turns, and the functions of runs that have ended. 0: there is nothing.
 */
TimestampTz
store_next_put_off(Oid role, TimestampTz after)
{
	static Statement statement = {
		"SELECT LEAST(" NEXT_OF("tool_queue") ", " NEXT_OF("callbacks") ")"
	};
	Arguments	args = {0};
	RowReader	row;

	bind_oid(&args, role);
	bind_time(&args, after);
	store_execute(&statement, &args);
	row = row_reader(0);
	return next_time_or(&row, 0);
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
 * What the run adds to the state of its session gets this besides, if it is RUNNING in
 * this attempt: else who has it in flight would wait for the caller's transaction. Returns
 * whether it is.
 */
bool
store_set_session_state(const char *run_id, Oid owner, int attempt,
						Jsonb *patch)
{
	static Statement statement = {
		"INSERT INTO agno.run_requests AS d (run_id, owner, session_state) "
		"SELECT r.run_id, $2::pg_catalog.regrole, $3 FROM agno.runs r"
		" WHERE r.run_id" EQ "$1 AND r.attempt" EQ "$4"
		" AND r.status" EQ "'RUNNING'::agno.run_status "
		"ON CONFLICT (run_id) DO UPDATE SET session_state ="
		" agno.merge_json(COALESCE(d.session_state, '{}'),"
		" excluded.session_state)"
	};
	Arguments	args = {0};

	bind_text(&args, run_id);
	bind_oid(&args, owner);
	bind_datum(&args, JSONBOID, JsonbPGetDatum(patch));
	bind_int(&args, attempt);
	return store_execute(&statement, &args) > 0;
}
