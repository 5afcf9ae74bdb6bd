/*-------------------------------------------------------------------------
 *
 * store_decisions.c
 *	  The tables of agno_bg: decisions about calls that wait for them.
 *
 * For backends, between store_enter() and store_leave(), and for a runner, which
 * rejects what has waited for too long: about runs that are PAUSED, and locked.
 * The statements run with the rights of the tables' owner, so every name of a
 * type, a function or an operator in them says its schema. Who may decide is for
 * the callers to check.
 *
 * A decision changes what is decided, and nothing else of the call: neither the
 * tool nor the arguments that the model gave.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/run_event.h"
#include "core/shard.h"
#include "server/encoding.h"
#include "server/settings.h"
#include "store/store_decisions.h"
#include "store/store_queue.h"

#define EQ " OPERATOR(pg_catalog.=) "

/*
 * How long a run is left alone whose calls have waited for too long, and that
 * somebody has locked.
 */
#define LOCKED_PAUSE "'1 s'::interval"

/*-------------------------------------------------------------------------
 * Looking
 *-------------------------------------------------------------------------
 */

static void *
read_gated(RowReader *row)
{
	GatedCall  *call = palloc0(sizeof(GatedCall));
	Requirement *requirement = &call->requirement;
	NullableDatum approver;

	call->turn = next_int(row);
	call->call_no = next_int(row);
	call->tool_call_id = next_utf8(row);
	call->model_call_id = next_utf8(row);
	call->tool = next_utf8(row);
	call->arguments = next_utf8(row);
	approver = next_nullable(row);
	call->has_approver = !approver.isnull;
	call->approver = approver.isnull ?
		InvalidOid : DatumGetObjectId(approver.value);
	call->expires_after = next_utf8(row);
	call->expired = next_bool(row);
	call->waits = next_bool(row);
	requirement->id = next_utf8(row);
	requirement->kind = requirement_kind_parse(next_text(row));
	requirement->input_schema = next_utf8(row);
	requirement->preview = next_utf8(row);
	requirement->decision = decision_parse(next_text(row));
	requirement->note = next_utf8(row);
	requirement->answer = next_utf8(row);
	return call;
}

/*
 * The calls of a run that require something, or did: a list of GatedCall, the
 * earliest first.
 */
List *
store_gated_calls(const char *run_id)
{
	static Statement statement = {
		"SELECT q.turn, q.call_no, c.tool_call_id, c.model_call_id, c.tool,"
		" c.arguments::pg_catalog.text, q.approver::pg_catalog.oid,"
		" q.expires_after::pg_catalog.text,"
		" COALESCE(q.expires_at OPERATOR(pg_catalog.<=)"
		" pg_catalog.clock_timestamp(), false),"
		" q.decision IS NULL AND c.status" EQ "'paused',"
		" q.requirement_id, q.kind, q.input_schema, q.preview, q.decision,"
		" q.note, q.answer "
		"FROM agno.requirements q "
		"JOIN agno.tool_calls c ON c.run_id" EQ "q.run_id"
		" AND c.turn" EQ "q.turn AND c.call_no" EQ "q.call_no "
		"WHERE q.run_id" EQ "$1 ORDER BY q.turn, q.call_no"
	};
	Arguments	args = {0};

	bind_text(&args, run_id);
	return store_read_list(&statement, &args, read_gated);
}

/*
 * agno.runs.requirements of a run, as JSON in UTF-8; or NULL.
 */
char *
store_requirements(const char *run_id)
{
	static Statement statement = {
		"SELECT r.requirements::pg_catalog.text FROM agno.runs r"
		" WHERE r.run_id" EQ "$1"
	};
	Arguments	args = {0};
	RowReader	row;

	bind_text(&args, run_id);
	if (store_execute(&statement, &args) == 0)
		return NULL;
	row = row_reader(0);
	return next_utf8(&row);
}

/*-------------------------------------------------------------------------
 * Deciding
 *-------------------------------------------------------------------------
 */

static void
update_requirements(const char *run_id, List *calls, Oid decider)
{
	static Statement statement = {
		"UPDATE agno.requirements q SET decision = d.decision, note = d.note,"
		" answer = d.answer, decided_by = $7::pg_catalog.regrole,"
		" decided_at = pg_catalog.clock_timestamp() "
		"FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3),"
		" pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6))"
		" AS d (turn, call_no, decision, note, answer) "
		"WHERE q.run_id" EQ "$1 AND q.turn" EQ "d.turn"
		" AND q.call_no" EQ "d.call_no"
	};
	Arguments	args = {0};
	Column		turns = {INT4OID};
	Column		numbers = {INT4OID};
	Column		decisions = {TEXTOID};
	Column		notes = {TEXTOID};
	Column		answers = {TEXTOID};
	ListCell   *cell;

	foreach(cell, calls)
	{
		GatedCall  *call = lfirst(cell);
		Requirement *requirement = &call->requirement;

		if (!call->changed)
			continue;
		add_int(&turns, call->turn);
		add_int(&numbers, call->call_no);
		add_text(&decisions, requirement->decision != DECISION_NONE ?
				 decision_name(requirement->decision) : NULL);
		add_utf8(&notes, requirement->note);
		add_utf8(&answers, requirement->answer);
	}
	bind_text(&args, run_id);
	bind_column(&args, &turns);
	bind_column(&args, &numbers);
	bind_column(&args, &decisions);
	bind_column(&args, &notes);
	bind_column(&args, &answers);
	bind_oid(&args, decider);
	store_execute(&statement, &args);
}

/*
 * What becomes of the calls: they are to be made, have their result, or are
 * rejected.
 */
static void
update_calls(const char *run_id, List *calls)
{
	static Statement statement = {
		"UPDATE agno.tool_calls c SET status = d.status, result = d.result,"
		" shown = d.shown, error = d.error,"
		" xid = CASE WHEN d.status" EQ "'completed'"
		" THEN pg_catalog.pg_current_xact_id() END,"
		" finished_at = CASE WHEN d.status OPERATOR(pg_catalog.<>) 'pending'"
		" THEN pg_catalog.clock_timestamp() END "
		"FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3),"
		" pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7))"
		" AS d (turn, call_no, status, result, shown, error) "
		"WHERE c.run_id" EQ "$1 AND c.turn" EQ "d.turn"
		" AND c.call_no" EQ "d.call_no"
	};
	Arguments	args = {0};
	Column		turns = {INT4OID};
	Column		numbers = {INT4OID};
	Column		statuses = {TEXTOID};
	Column		results = {TEXTOID};
	Column		shown = {TEXTOID};
	Column		errors = {TEXTOID};
	ListCell   *cell;

	foreach(cell, calls)
	{
		GatedCall  *call = lfirst(cell);
		Requirement *requirement = &call->requirement;
		bool		rejected = requirement->decision == DECISION_REJECTED;
		bool		has_result = !rejected &&
			requirement->kind == REQUIRES_EXTERNAL_EXECUTION;
		char	   *result;
		char	   *part;

		if (!call->changed || requirement->decision == DECISION_NONE)
			continue;
		result = has_result ? requirement->answer : NULL;
		part = has_result ?
			tool_result_shown(result, agno_max_tool_result_size * 1024) : NULL;
		add_int(&turns, call->turn);
		add_int(&numbers, call->call_no);
		add_text(&statuses, rejected ? "rejected" :
				 has_result ? "completed" : "pending");
		add_utf8(&results, result);
		add_utf8(&shown, part != result ? part : NULL);
		add_utf8(&errors, rejected ?
				 requirement_rejection(requirement->note) : NULL);
	}
	if (turns.count == 0)
		return;
	bind_text(&args, run_id);
	bind_column(&args, &turns);
	bind_column(&args, &numbers);
	bind_column(&args, &statuses);
	bind_column(&args, &results);
	bind_column(&args, &shown);
	bind_column(&args, &errors);
	store_execute(&statement, &args);
}

/*
 * Show the decisions in agno.runs.requirements. If the run goes on, it is PENDING.
 */
static void
update_run(const char *run_id, List *calls, bool goes_on)
{
	static Statement statement = {
		"UPDATE agno.runs r SET status = CASE WHEN $5"
		" THEN 'PENDING'::agno.run_status ELSE r.status END,"
		" requirements = (SELECT pg_catalog.jsonb_agg("
		"CASE WHEN d.id IS NULL THEN e.v ELSE e.v"
		" OPERATOR(pg_catalog.||) d.patch::pg_catalog.jsonb"
		" OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object("
		"'tool_execution', (e.v OPERATOR(pg_catalog.->) 'tool_execution')"
		" OPERATOR(pg_catalog.||) d.execution::pg_catalog.jsonb)"
		" END ORDER BY e.n)"
		" FROM pg_catalog.jsonb_array_elements(r.requirements)"
		" WITH ORDINALITY AS e (v, n)"
		" LEFT JOIN ROWS FROM (pg_catalog.unnest($2),"
		" pg_catalog.unnest($3), pg_catalog.unnest($4)) AS d (id, patch, execution)"
		" ON d.id" EQ "(e.v OPERATOR(pg_catalog.->>) 'id')) "
		"WHERE r.run_id" EQ "$1"
	};
	Arguments	args = {0};
	Column		ids = {TEXTOID};
	Column		patches = {TEXTOID};
	Column		executions = {TEXTOID};
	ListCell   *cell;

	foreach(cell, calls)
	{
		GatedCall  *call = lfirst(cell);
		Requirement *requirement = &call->requirement;

		if (!call->changed)
			continue;
		add_utf8(&ids, requirement->id);
		add_utf8(&patches, requirement_patch(requirement, call->arguments));
		add_utf8(&executions,
				 requirement_execution_patch(requirement, call->arguments));
	}
	bind_text(&args, run_id);
	bind_column(&args, &ids);
	bind_column(&args, &patches);
	bind_column(&args, &executions);
	bind_bool(&args, goes_on);
	store_execute(&statement, &args);
}

/*
 * Tell those who follow a streamed run that it goes on.
 */
static void
tell_continued(const char *run_id)
{
	char	   *id = unconstify(char *, run_id);
	ListCell   *cell;

	foreach(cell, store_read_grounded(&id, 1))
	{
		GroundedRun *run = lfirst(cell);
		RunEventSource source = {
			.run_id = run->run_id_utf8,
			.session_id = run->session_id,
			.agent_id = run->agent_id,
			.agent_name = run->agent_name,
			.model = run->model,
			.model_provider = run->model_provider,
		};
		RunEvent	event = run_event_continued(&source);
		EventRow	row = {
			.run_id = run->run_id,
			.seq = run->last_event + 1,
			.event = event.name,
			.data = event.data,
		};

		store_append_events(&row, 1);
	}
}

/*
 * Store what has been decided about those of these calls, all of the run's, that
 * are changed; InvalidOid decides what has expired. Returns whether nothing is
 * waited for any more: then the run is PENDING, and its runner is to be told.
 */
bool
store_decide(const RunRow *run, List *calls, Oid decider)
{
	bool		goes_on = true;
	ListCell   *cell;

	foreach(cell, calls)
	{
		GatedCall  *call = lfirst(cell);

		if (call->waits && call->requirement.decision == DECISION_NONE)
			goes_on = false;
	}
	update_requirements(run->run_id, calls, decider);
	update_calls(run->run_id, calls);
	update_run(run->run_id, calls, goes_on);
	if (goes_on)
		tell_continued(run->run_id);
	return goes_on;
}

/*
 * The call is rejected, with this note, or NULL.
 */
void
store_reject(GatedCall *call, const char *note)
{
	call->requirement.decision = DECISION_REJECTED;
	call->requirement.note = note != NULL ? pstrdup(note) : NULL;
	call->changed = true;
}

/*-------------------------------------------------------------------------
 * What has waited for too long: for a runner
 *-------------------------------------------------------------------------
 */

/*
 * Reject those calls of a locked run that have expired. Returns whether it goes
 * on.
 */
static bool
reject_expired_of(const RunLock *lock)
{
	RunRow		run = {
		.run_id = lock->run_id,
		.session_id = lock->session_id,
		.owner = lock->owner,
	};
	List	   *calls = store_gated_calls(lock->run_id);
	ListCell   *cell;

	foreach(cell, calls)
	{
		GatedCall  *call = lfirst(cell);

		if (call->waits && call->expired)
			store_reject(call, psprintf("Nobody decided within %s.",
										call->expires_after));
	}
	return store_decide(&run, calls, InvalidOid);
}

/*
 * When these runs, which wait still, are to be looked at next: when a call
 * expires, or in a moment if that is over already.
 */
static void
wait_on(char *const *run_ids, int count)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET run_at = greatest(clock_timestamp() +"
		" " LOCKED_PAUSE ", (SELECT min(p.expires_at) FROM agno.requirements p"
		" WHERE p.run_id = q.run_id AND p.decision IS NULL)) "
		"WHERE q.run_id = ANY ($1)"
	};
	Arguments	args = {0};

	if (count == 0)
		return;
	bind_ids(&args, run_ids, count);
	store_execute(&statement, &args);
}

/*
 * Reject calls that have expired, of at most limit runs. Returns whether there may
 * be more.
 */
bool
store_reject_expired(int limit)
{
	static Statement statement = {
		"SELECT q.run_id FROM agno.run_queue q"
		" WHERE q.state = " DECISION " AND q.runner = $2"
		" AND q.run_at <= " THIS_TURN " AND " MINE("q")
		" ORDER BY q.run_at LIMIT $3"
	};
	Arguments	args = {0};
	List	   *due;
	char	  **ids;
	char	  **decided;
	int			count = 0;
	int			decided_count = 0;
	ListCell   *cell;

	bind_mine(&args);
	bind_int(&args, limit);
	due = store_read_list(&statement, &args, read_id);
	if (due == NIL)
		return false;
	ids = palloc(sizeof(char *) * list_length(due));
	decided = palloc(sizeof(char *) * list_length(due));
	foreach(cell, due)
		ids[count++] = lfirst(cell);
	foreach(cell, store_lock_runs(ids, count))
	{
		RunLock    *lock = lfirst(cell);

		if (lock->status == RUN_PAUSED && reject_expired_of(lock))
			decided[decided_count++] = lock->run_id;
	}
	wait_on(ids, count);
	store_run_decided(decided, decided_count);
	return count == limit;
}
