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
#include "core/id.h"
#include "core/json.h"
#include "core/run_event.h"
#include "core/shard.h"
#include "miscadmin.h"
#include "server/encoding.h"
#include "server/settings.h"
#include "store/store_decisions.h"
#include "store/store.h"
#include "store/store_queue.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

#define EQ " OPERATOR(pg_catalog.=) "

/* Agents cannot call each other as deeply as this, whatever parent_run_id says. */
#define MOST_LEVELS "1000"

/*
 * How long a run is left alone whose calls have waited for too long, and that
 * somebody has locked.
 */
#define LOCKED_PAUSE "'1 s'::interval"

/*-------------------------------------------------------------------------
 * Looking
 *-------------------------------------------------------------------------
 */

/* What the index of a family has. */
typedef struct FamilyEntry
{
	char		run_id[MAX_ID + 1];
	PausedRun  *run;
} FamilyEntry;

static Family *
family_create(void)
{
	Family	   *family = palloc0(sizeof(Family));
	HASHCTL		control = {
		.keysize = MAX_ID + 1,
		.entrysize = sizeof(FamilyEntry),
		.hcxt = CurrentMemoryContext,
	};

	family->index = hash_create("agno_bg family", 64, &control,
								HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	return family;
}

static void
family_add(Family *family, PausedRun *run)
{
	FamilyEntry *entry;
	bool		found;

	entry = hash_search(family->index, run->run_id, HASH_ENTER, &found);
	entry->run = run;
	family->runs = lappend(family->runs, run);
}

/*
 * In a statement: the run $1, and the PAUSED runs that wait for it, with how many
 * there are in between.
 */
#define UP \
	"up (run_id, parent_run_id, n) AS" \
	" (SELECT r.run_id, r.parent_run_id, 0 FROM agno.runs r" \
	" WHERE r.run_id" EQ "$1" \
	" UNION ALL SELECT p.run_id, p.parent_run_id," \
	" u.n OPERATOR(pg_catalog.+) 1 FROM up u JOIN agno.tool_calls w" \
	" ON w.run_id" EQ "u.parent_run_id AND w.child_run_id" EQ "u.run_id" \
	" AND w.status" EQ "'waiting' AND u.n OPERATOR(pg_catalog.<) " MOST_LEVELS \
	" JOIN agno.runs p ON p.run_id" EQ "u.parent_run_id" \
	" AND p.status" EQ "'PAUSED'::agno.run_status" \
	" AND p.owner" EQ "(SELECT o.owner FROM agno.runs o" \
	" WHERE o.run_id" EQ "$1))"

/*
 * Read the runs that a statement about this one finds, each after its parent.
 */
static Family *
read_family(Statement *statement, const char *run_id)
{
	Arguments	args = {0};
	Family	   *family = family_create();
	uint64		found;

	bind_text(&args, run_id);
	found = store_execute(statement, &args);
	for (uint64 n = 0; n < found; n++)
	{
		RowReader	row = row_reader(n);
		PausedRun  *run = palloc0(sizeof(PausedRun));
		char	   *parent;

		run->run_id = next_text(&row);
		run->session_id = next_text(&row);
		run->owner = next_oid(&row);
		parent = next_text(&row);
		if (parent != NULL)
			run->parent = store_family_member(family, parent);
		family_add(family, run);
	}
	return family;
}

/*
 * The PAUSED runs that wait for each other, of which this is one: agents that have
 * called it, and that it has called.
 */
Family *
store_paused_family(const char *run_id)
{
	static Statement statement = {
		"WITH RECURSIVE " UP ", "
		"down (run_id, parent_run_id, depth) AS"
		" (SELECT t.run_id, NULL::pg_catalog.text COLLATE pg_catalog.\"C\", 0"
		" FROM (SELECT u.run_id FROM up u ORDER BY u.n DESC LIMIT 1) t"
		" UNION ALL SELECT k.run_id, d.run_id,"
		" d.depth OPERATOR(pg_catalog.+) 1 FROM down d"
		" JOIN agno.tool_calls w ON w.run_id" EQ "d.run_id"
		" AND w.status" EQ "'waiting'"
		" AND d.depth OPERATOR(pg_catalog.<) " MOST_LEVELS
		" JOIN agno.runs k ON k.run_id" EQ "w.child_run_id"
		" AND k.status" EQ "'PAUSED'::agno.run_status) "
		"SELECT r.run_id, r.session_id, r.owner, d.parent_run_id "
		"FROM down d JOIN agno.runs r ON r.run_id" EQ "d.run_id "
		"ORDER BY d.depth, r.run_id"
	};

	return read_family(&statement, run_id);
}

/*
 * Of this family only the run itself, the last one, and those above it. However many
 * others wait with it, these are few.
 */
static Family *
paused_line(const char *run_id)
{
	static Statement statement = {
		"WITH RECURSIVE " UP
		" SELECT r.run_id, r.session_id, r.owner, u.parent_run_id "
		"FROM up u JOIN agno.runs r ON r.run_id" EQ "u.run_id "
		"ORDER BY u.n DESC"
	};

	return read_family(&statement, run_id);
}

/*
 * The run of this id among them; NULL if it is none of them.
 */
PausedRun *
store_family_member(const Family *family, const char *run_id)
{
	FamilyEntry *entry = hash_search(family->index, run_id, HASH_FIND, NULL);

	return entry != NULL ? entry->run : NULL;
}

/*
 * Whether a run is another one, or has been called by it, directly or not.
 */
bool
store_family_is_below(const PausedRun *run, const PausedRun *top)
{
	for (; run != NULL; run = run->parent)
	{
		if (run == top)
			return true;
	}
	return false;
}

static void *
read_gated(RowReader *row)
{
	GatedCall  *call = palloc0(sizeof(GatedCall));
	Requirement *requirement = &call->requirement;
	NullableDatum approver;

	call->run_id = next_text(row);
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
	requirement->decision = decision_parse(next_text(row));
	requirement->note = next_utf8(row);
	requirement->answer = next_utf8(row);
	return call;
}

/*
 * The calls of these PausedRuns of a family that require something, or did: a list of
 * GatedCall, the earliest of a run first.
 */
static List *
read_gated_calls(const Family *family, const Column *run_ids)
{
	static Statement statement = {
		"SELECT q.run_id, q.turn, q.call_no, c.tool_call_id, c.model_call_id, c.tool,"
		" c.arguments::pg_catalog.text, q.approver::pg_catalog.oid,"
		" q.expires_after::pg_catalog.text,"
		" COALESCE(q.expires_at OPERATOR(pg_catalog.<=)"
		" pg_catalog.clock_timestamp(), false),"
		" q.decision IS NULL AND c.status" EQ "'paused',"
		" q.requirement_id, q.kind, q.input_schema, q.decision,"
		" q.note, q.answer "
		"FROM agno.requirements q "
		"JOIN agno.tool_calls c ON c.run_id" EQ "q.run_id"
		" AND c.turn" EQ "q.turn AND c.call_no" EQ "q.call_no "
		"WHERE q.run_id" EQ "ANY ($1) ORDER BY q.run_id, q.turn, q.call_no"
	};
	Arguments	args = {0};
	List	   *calls;
	ListCell   *cell;

	bind_column(&args, run_ids);
	calls = store_read_list(&statement, &args, read_gated);
	foreach(cell, calls)
	{
		GatedCall  *call = lfirst(cell);

		call->run = store_family_member(family, call->run_id);
	}
	return calls;
}

static Column
ids_of(List *runs)
{
	Column		ids = {TEXTOID};
	ListCell   *cell;

	foreach(cell, runs)
		add_text(&ids, ((PausedRun *) lfirst(cell))->run_id);
	return ids;
}

/*
 * The same of all of them.
 */
List *
store_gated_calls(const Family *family)
{
	Column		ids = ids_of(family->runs);

	return family->runs != NIL ? read_gated_calls(family, &ids) : NIL;
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
update_requirements(List *calls, Oid decider)
{
	static Statement statement = {
		"UPDATE agno.requirements q SET decision = d.decision, note = d.note,"
		" answer = d.answer, decided_by = $7::pg_catalog.regrole,"
		" decided_at = pg_catalog.clock_timestamp() "
		"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2),"
		" pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5),"
		" pg_catalog.unnest($6))"
		" AS d (run_id, turn, call_no, decision, note, answer) "
		"WHERE q.run_id" EQ "d.run_id AND q.turn" EQ "d.turn"
		" AND q.call_no" EQ "d.call_no"
	};
	Arguments	args = {0};
	Column		run_ids = {TEXTOID};
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
		add_text(&run_ids, call->run_id);
		add_int(&turns, call->turn);
		add_int(&numbers, call->call_no);
		add_text(&decisions, requirement->decision != DECISION_NONE ?
				 decision_name(requirement->decision) : NULL);
		add_utf8(&notes, requirement->note);
		add_utf8(&answers, requirement->answer);
	}
	bind_column(&args, &run_ids);
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
update_calls(List *calls)
{
	static Statement statement = {
		"UPDATE agno.tool_calls c SET status = d.status, result = d.result,"
		" shown = d.shown, error = d.error,"
		" xid = CASE WHEN d.status" EQ "'completed'"
		" THEN pg_catalog.pg_current_xact_id() END,"
		" finished_at = CASE WHEN d.status OPERATOR(pg_catalog.<>) 'pending'"
		" THEN pg_catalog.clock_timestamp() END "
		"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2),"
		" pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5),"
		" pg_catalog.unnest($6), pg_catalog.unnest($7))"
		" AS d (run_id, turn, call_no, status, result, shown, error) "
		"WHERE c.run_id" EQ "d.run_id AND c.turn" EQ "d.turn"
		" AND c.call_no" EQ "d.call_no"
	};
	Arguments	args = {0};
	Column		run_ids = {TEXTOID};
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
		add_text(&run_ids, call->run_id);
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
	bind_column(&args, &run_ids);
	bind_column(&args, &turns);
	bind_column(&args, &numbers);
	bind_column(&args, &statuses);
	bind_column(&args, &results);
	bind_column(&args, &shown);
	bind_column(&args, &errors);
	store_execute(&statement, &args);
}

/*
 * What the decisions about these calls change in agno.runs.requirements: an object of
 * patches by the ids of requirements.
 */
static Jsonb *
patches_of(List *calls)
{
	StringInfoData out;
	ListCell   *cell;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	foreach(cell, calls)
	{
		GatedCall  *call = lfirst(cell);
		Requirement *requirement = &call->requirement;

		json_append_key(&out, requirement->id);
		appendStringInfo(&out, "[%s,%s]",
						 requirement_patch(requirement, call->arguments),
						 requirement_execution_patch(requirement,
													 call->arguments));
	}
	appendStringInfoChar(&out, '}');
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
											  CStringGetDatum(encoding_to_server(out.data))));
}

/*
 * Show the decisions about these calls in agno.runs.requirements. If the run goes
 * on, it is PENDING.
 */
static void
update_run(const char *run_id, List *calls, bool goes_on)
{
	static Statement statement = {
		"UPDATE agno.runs r SET status = CASE WHEN $3"
		" THEN 'PENDING'::agno.run_status ELSE r.status END,"
		" requirements = (SELECT pg_catalog.jsonb_agg("
		"CASE WHEN d.patch IS NULL THEN e.v ELSE e.v"
		" OPERATOR(pg_catalog.||) (d.patch OPERATOR(pg_catalog.->) 0)"
		" OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object("
		"'tool_execution', (e.v OPERATOR(pg_catalog.->) 'tool_execution')"
		" OPERATOR(pg_catalog.||) (d.patch OPERATOR(pg_catalog.->) 1))"
		" END ORDER BY e.n)"
		" FROM pg_catalog.jsonb_array_elements(r.requirements)"
		" WITH ORDINALITY AS e (v, n), LATERAL (SELECT $2"
		" OPERATOR(pg_catalog.->) (e.v OPERATOR(pg_catalog.->>) 'id')"
		" OFFSET 0) AS d (patch)) "
		"WHERE r.run_id" EQ "$1"
	};
	Arguments	args = {0};

	bind_text(&args, run_id);
	bind_datum(&args, JSONBOID, JsonbPGetDatum(patches_of(calls)));
	bind_bool(&args, goes_on);
	store_execute(&statement, &args);
}

/*
 * Tell those who follow a streamed run that it goes on; its runner notifies them.
 */
static void
tell_continued(const char *run_id)
{
	char	   *id = unconstify(char *, run_id);
	ListCell   *cell;

	foreach(cell, store_read_watched(&id, 1))
	{
		WatchedRun *run = lfirst(cell);
		RunEvent	event = run_event_continued(&run->source);
		EventRow	row = {
			.run_id = run->run_id,
			.event = event.name,
			.data = event.data,
		};

		store_append_events_quietly(&row, 1);
	}
}

/*
 * Note for each run what is changed, or waits, of its own calls and of those below it.
 */
static void
tell_upwards(List *calls)
{
	ListCell   *cell;

	foreach(cell, calls)
	{
		GatedCall  *call = lfirst(cell);
		bool		waits = call->waits &&
			call->requirement.decision == DECISION_NONE;

		for (PausedRun *run = call->run; run != NULL; run = run->parent)
		{
			run->waits |= waits;
			if (call->changed)
				run->changed = lappend(run->changed, call);
		}
	}
}

/*
 * Whether what has been given to one of these PausedRuns, notes and answers, is longer
 * than agno_bg.max_input_size in all: its runner reads that at once.
 */
static bool
is_too_much(List *runs)
{
	static Statement statement = {
		"SELECT FROM agno.requirements q WHERE q.run_id" EQ "ANY ($1)"
		" GROUP BY q.run_id HAVING pg_catalog.sum("
		"pg_catalog.octet_length(pg_catalog.concat(q.note, q.answer)))"
		" OPERATOR(pg_catalog.>) $2 LIMIT 1"
	};
	Arguments	args = {0};
	Column		ids = ids_of(runs);

	bind_column(&args, &ids);
	bind_datum(&args, INT8OID,
			   Int64GetDatum(agno_max_input_size * INT64CONST(1024)));
	return store_execute(&statement, &args) > 0;
}

/*
 * Store what has been decided about those of these calls, all of these PausedRuns',
 * that are changed; InvalidOid decides what has expired. Returns the PausedRuns of
 * which nothing is waited for any more: they are PENDING, and signals for their
 * runners are there, who are to be woken. Errors: configuration_limit_exceeded.
 */
List *
store_decide(const Family *family, List *calls, Oid decider)
{
	List	   *go_on = NIL;
	ListCell   *cell;

	update_requirements(calls, decider);
	if (OidIsValid(decider) && is_too_much(family->runs))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("the notes and answers of the run are too long"),
				 errdetail("Those of all its calls may have " INT64_FORMAT " bytes, which agno_bg.max_input_size allows.",
						   agno_max_input_size * INT64CONST(1024)),
				 errhint("Write less: a note for several calls is kept for each.")));
	update_calls(calls);
	tell_upwards(calls);
	foreach(cell, family->runs)
	{
		PausedRun  *run = lfirst(cell);

		CHECK_FOR_INTERRUPTS();
		if (run->changed == NIL)
			continue;
		update_run(run->run_id, run->changed, !run->waits);
		if (run->waits)
			continue;
		tell_continued(run->run_id);
		store_put_signal(run->run_id, run->owner,
						 shard_of_session(run->session_id), SIGNAL_DECIDED);
		go_on = lappend(go_on, run);
	}
	return go_on;
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
 * Note which of these PausedRuns, each of them the parent of the next one, wait for
 * something besides: for runs that are not among them, or for decisions about calls of
 * theirs, of which those of the last one are not looked at.
 */
static void
note_what_waits(const Family *line)
{
	static Statement statement = {
		"SELECT p.run_id FROM unnest($1) WITH ORDINALITY AS p (run_id, n)"
		" WHERE EXISTS (SELECT FROM agno.tool_calls c"
		" LEFT JOIN agno.runs k ON k.run_id = c.child_run_id"
		" WHERE c.run_id = p.run_id AND CASE WHEN c.status = 'paused'"
		" THEN p.n < cardinality($1) ELSE c.status = 'waiting'"
		" AND k.status = 'PAUSED' AND k.run_id <> ALL ($1) END)"
	};
	Arguments	args = {0};
	Column		ids = ids_of(line->runs);
	ListCell   *cell;

	bind_column(&args, &ids);
	foreach(cell, store_read_list(&statement, &args, read_id))
		store_family_member(line, lfirst(cell))->waits = true;
}

/*
 * Lock these PausedRuns. False when somebody else has locked one of them, or they are
 * not PAUSED any more.
 */
static bool
lock_paused(const Family *line)
{
	int			count = list_length(line->runs);
	char	  **ids = palloc(sizeof(char *) * Max(count, 1));
	List	   *locks;
	ListCell   *cell;

	foreach(cell, line->runs)
		ids[foreach_current_index(cell)] = ((PausedRun *) lfirst(cell))->run_id;
	locks = store_lock_runs(ids, count);
	foreach(cell, locks)
	{
		if (((RunLock *) lfirst(cell))->status != RUN_PAUSED)
			return false;
	}
	return list_length(locks) == count && count > 0;
}

/*
 * Reject those calls of a run that have expired, unless somebody has locked it, or one
 * of those above it, which show them.
 */
static void
reject_expired_of(char *run_id)
{
	Family	   *line = paused_line(run_id);
	Column		id = {TEXTOID};
	List	   *calls;
	bool		any = false;
	ListCell   *cell;

	if (!lock_paused(line))
		return;
	add_text(&id, run_id);
	calls = read_gated_calls(line, &id);
	foreach(cell, calls)
	{
		GatedCall  *call = lfirst(cell);

		if (!call->waits || !call->expired)
			continue;
		store_reject(call, psprintf("Nobody decided within %s.",
									call->expires_after));
		any = true;
	}
	if (!any)
		return;
	note_what_waits(line);
	store_note_told(store_decide(line, calls, InvalidOid));
}

/*
 * When these runs, which wait still, are to be looked at next: when a call
 * expires, or in a moment if that is over already.
 */
static void
wait_on(char *const *run_ids, int count)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET run_at = (SELECT greatest(min(p.expires_at),"
		" CASE WHEN min(p.expires_at) IS NOT NULL"
		" THEN clock_timestamp() + " LOCKED_PAUSE " END)"
		" FROM agno.requirements p"
		" WHERE p.run_id = q.run_id AND p.decision IS NULL) "
		"WHERE q.run_id = ANY ($1) AND q.state = " DECISION
	};
	Arguments	args = {0};

	if (count == 0)
		return;
	bind_ids(&args, run_ids, count);
	store_execute(&statement, &args);
}

/*
 * Reject calls that have expired, of at most limit runs, of which those of all owners
 * come in no order, and as many as there is time for. Returns whether there may be more.
 * If it fails because of a run, *tried is the id of that, or else NULL; if it does not, and
 * was about one run, the id of that.
 */
bool
store_reject_expired(int limit, char **tried)
{
	static Statement statement = {
		DUE_BY_OWNER(DECISION, "$3", "$4", "$5")
		"SELECT q.run_id FROM agno.run_queue q"
		" WHERE q.ctid = ANY (ARRAY(SELECT d.row FROM due d))"
		" ORDER BY row_number() OVER (PARTITION BY q.owner ORDER BY q.run_at),"
		" random()"
	};
	TimestampTz start = GetCurrentTimestamp();
	Arguments	args = {0};
	List	   *due;
	char	  **ids;
	int			count = 0;
	ListCell   *cell;

	bind_mine(&args);
	bind_int(&args, limit);
	bind_all_but(&args, NULL, 0);
	due = store_read_list(&statement, &args, read_id);
	if (due == NIL)
		return false;
	ids = palloc(sizeof(char *) * list_length(due));
	foreach(cell, due)
	{
		if (count > 0 && slice_is_over(start))
			break;
		*tried = lfirst(cell);
		reject_expired_of(lfirst(cell));
		ids[count++] = lfirst(cell);
	}
	if (count > 1)
		*tried = NULL;
	wait_on(ids, count);
	store_children_ended(ids, count);
	return true;
}

/*
 * The calls of this run that have expired cannot be rejected: they are looked at again
 * in an hour.
 */
void
store_put_off_expired(char *run_id)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET run_at = clock_timestamp() + '1 h'::interval"
		" WHERE q.run_id = ANY ($1) AND q.state = " DECISION
	};
	Arguments	args = {0};

	bind_ids(&args, &run_id, 1);
	store_execute(&statement, &args);
}
