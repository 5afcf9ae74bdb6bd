/*-------------------------------------------------------------------------
 *
 * store_steps.c
 *	  The tables of agno_bg: answers with calls of tools.
 *
 * For a runner, between store_begin() and store_commit(). An answer with calls is
 * stored, once, before any tool is called; the calls are made by tool workers
 * (store_tools.c), who signal when all of an answer are done. What a run of n
 * answers writes is linear in what was said. The search_path of a runner is
 * pg_catalog.
 *
 * This never waits for a tool worker: rows that one has locked are left to it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/shard.h"
#include "core/uuid.h"
#include "store/store.h"
#include "store/store_queue.h"

/*-------------------------------------------------------------------------
 * Storing an answer
 *-------------------------------------------------------------------------
 */

static void
insert_steps(NewStep *steps, int count)
{
	static Statement statement = {
		"INSERT INTO agno.run_steps (run_id, turn, messages) "
		"SELECT d.run_id, d.turn, d.messages"
		" FROM unnest($1, $2, $3) AS d (run_id, turn, messages)"
	};
	Arguments	args = {0};
	Column		run_ids = {TEXTOID};
	Column		turns = {INT4OID};
	Column		messages = {TEXTOID};

	for (int i = 0; i < count; i++)
	{
		add_text(&run_ids, steps[i].run_id);
		add_int(&turns, steps[i].turn);
		add_utf8(&messages, steps[i].messages);
	}
	bind_column(&args, &run_ids);
	bind_column(&args, &turns);
	bind_column(&args, &messages);
	store_execute(&statement, &args);
}

/*
 * What becomes of a call first of all.
 */
static const char *
first_status(const NewCall *call)
{
	if (call->refusal != NULL)
		return "refused";
	if (call->requires == REQUIRES_NOTHING)
		return "pending";
	return call->preview ? "preview" : "paused";
}

static void
insert_calls(NewStep *steps, int count)
{
	static Statement statement = {
		"INSERT INTO agno.tool_calls (run_id, turn, call_no, tool_call_id,"
		" model_call_id, tool, arguments, status, error, attempt) "
		"SELECT d.run_id, d.turn, d.call_no, d.id, d.model_id, d.tool,"
		" d.arguments::pg_catalog.jsonb,"
		" d.status, d.refusal, d.attempt "
		"FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
		" AS d (run_id, turn, call_no, id, model_id, tool, arguments, refusal,"
		" status, attempt)"
	};
	Arguments	args = {0};
	Column		run_ids = {TEXTOID};
	Column		turns = {INT4OID};
	Column		numbers = {INT4OID};
	Column		ids = {TEXTOID};
	Column		model_ids = {TEXTOID};
	Column		tools = {TEXTOID};
	Column		arguments = {TEXTOID};
	Column		refusals = {TEXTOID};
	Column		statuses = {TEXTOID};
	Column		attempts = {INT4OID};

	for (int i = 0; i < count; i++)
	{
		for (int c = 0; c < steps[i].call_count; c++)
		{
			NewCall    *call = &steps[i].calls[c];
			char		id[UUID_TEXT_SIZE];

			if (!uuid_v7(id))
				elog(ERROR, "could not generate random values");
			add_text(&run_ids, steps[i].run_id);
			add_int(&turns, steps[i].turn);
			add_int(&numbers, c + 1);
			add_text(&ids, id);
			add_utf8(&model_ids, call->model_call_id);
			add_utf8(&tools, call->tool);
			add_utf8(&arguments, call->arguments);
			add_utf8(&refusals, call->refusal);
			add_text(&statuses, first_status(call));
			add_int(&attempts, steps[i].attempt);
		}
	}
	bind_column(&args, &run_ids);
	bind_column(&args, &turns);
	bind_column(&args, &numbers);
	bind_column(&args, &ids);
	bind_column(&args, &model_ids);
	bind_column(&args, &tools);
	bind_column(&args, &arguments);
	bind_column(&args, &refusals);
	bind_column(&args, &statuses);
	bind_column(&args, &attempts);
	store_execute(&statement, &args);
}

/*
 * What calls of these answers require. An approver that does not exist any more
 * is nobody.
 */
static void
insert_requirements(NewStep *steps, int count)
{
	static Statement statement = {
		"INSERT INTO agno.requirements (run_id, turn, call_no, requirement_id,"
		" kind, approver, requested_at, expires_after, expires_at,"
		" input_schema, fingerprint) "
		"SELECT d.run_id, d.turn, d.call_no, d.id, d.kind,"
		" CASE WHEN d.approver IS NOT NULL THEN coalesce("
		"to_regrole(d.approver), 0::pg_catalog.oid::pg_catalog.regrole) END,"
		" t.now, d.expires_ms::bigint * '1 ms'::interval,"
		" t.now + d.expires_ms::bigint * '1 ms'::interval,"
		" d.input_schema, d.fingerprint "
		"FROM (SELECT clock_timestamp()) AS t (now),"
		" unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)"
		" AS d (run_id, turn, call_no, id, kind, approver, expires_ms,"
		" input_schema, fingerprint)"
	};
	Arguments	args = {0};
	Column		run_ids = {TEXTOID};
	Column		turns = {INT4OID};
	Column		numbers = {INT4OID};
	Column		ids = {TEXTOID};
	Column		kinds = {TEXTOID};
	Column		approvers = {TEXTOID};
	Column		expiries = {TEXTOID};
	Column		schemas = {TEXTOID};
	Column		fingerprints = {TEXTOID};

	for (int i = 0; i < count; i++)
	{
		for (int c = 0; c < steps[i].call_count; c++)
		{
			NewCall    *call = &steps[i].calls[c];
			char		id[UUID_TEXT_SIZE];

			if (call->refusal != NULL || call->requires == REQUIRES_NOTHING)
				continue;
			if (!uuid_v7(id))
				elog(ERROR, "could not generate random values");
			add_text(&run_ids, steps[i].run_id);
			add_int(&turns, steps[i].turn);
			add_int(&numbers, c + 1);
			add_text(&ids, id);
			add_text(&kinds, requirement_kind_name(call->requires));
			add_utf8(&approvers, call->approver);
			add_text(&expiries, call->expires_ms > 0 ?
					 psprintf(INT64_FORMAT, call->expires_ms) : NULL);
			add_utf8(&schemas, call->input_schema);
			add_text(&fingerprints, call->fingerprint);
		}
	}
	if (run_ids.count == 0)
		return;
	bind_column(&args, &run_ids);
	bind_column(&args, &turns);
	bind_column(&args, &numbers);
	bind_column(&args, &ids);
	bind_column(&args, &kinds);
	bind_column(&args, &approvers);
	bind_column(&args, &expiries);
	bind_column(&args, &schemas);
	bind_column(&args, &fingerprints);
	store_execute(&statement, &args);
}

/*
 * What tool workers are to do: of each turn the run, the number, the attempt, the
 * owner, the shard, and how many milliseconds there are.
 */
typedef struct Work
{
	Column		run_ids;
	Column		turns;
	Column		attempts;
	Column		owners;
	Column		shards;
	Column		left;
} Work;

static Work
no_work(void)
{
	Work		work = {
		{TEXTOID}, {INT4OID}, {INT4OID}, {INT4OID}, {INT4OID}, {TEXTOID}
	};

	return work;
}

static void
add_work(Work *work, const char *run_id, const char *session_id, int turn,
		 int attempt, Oid owner, int64 left_ms)
{
	add_text(&work->run_ids, run_id);
	add_int(&work->turns, turn);
	add_int(&work->attempts, attempt);
	add_int(&work->owners, (int) owner);
	add_int(&work->shards, shard_of_session(session_id));
	add_text(&work->left, psprintf(INT64_FORMAT, Max(left_ms, 0)));
}

/*
 * Give the work to tool workers, and have the runs wait for them.
 */
static void
give_work(const Work *work)
{
	static Statement insert = {
		"INSERT INTO agno.tool_queue (run_id, turn, attempt, owner, shard,"
		" queued_at, deadline) "
		"SELECT d.run_id, d.turn, d.attempt,"
		" d.owner::pg_catalog.oid::pg_catalog.regrole, d.shard,"
		" clock_timestamp(), clock_timestamp() +"
		" d.left_ms::bigint * '1 ms'::interval "
		"FROM unnest($1, $2, $3, $4, $5, $6)"
		" AS d (run_id, turn, attempt, owner, shard, left_ms) "
		"ON CONFLICT DO NOTHING"
	};
	static Statement update = {
		"UPDATE agno.run_queue q SET state = " TOOLS ", continues = false,"
		" looks = 0, waits_since = NULL, " GOES_FIRST ","
		" run_at = clock_timestamp() + d.left_ms::bigint * '1 ms'::interval "
		"FROM unnest($1, $2) AS d (run_id, left_ms) WHERE q.run_id = d.run_id"
	};
	Arguments	args = {0};

	if (work->run_ids.count == 0)
		return;
	bind_column(&args, &work->run_ids);
	bind_column(&args, &work->turns);
	bind_column(&args, &work->attempts);
	bind_column(&args, &work->owners);
	bind_column(&args, &work->shards);
	bind_column(&args, &work->left);
	store_execute(&insert, &args);
	memset(&args, 0, sizeof(args));
	bind_column(&args, &work->run_ids);
	bind_column(&args, &work->left);
	store_execute(&update, &args);
}

/*
 * What these runs have asked is answered: for the next request there is no response yet,
 * and it may be repeated as often as the first.
 */
static void
forget_requests(const Column *run_ids)
{
	static Statement statement = {
		"UPDATE agno.run_requests d SET response_id = NULL,"
		" retries = d.retries + coalesce(d.repetitions, 0),"
		" repetitions = NULL "
		"WHERE d.run_id = ANY ($1) AND"
		" (d.response_id IS NOT NULL OR d.repetitions IS NOT NULL)"
	};
	Arguments	args = {0};

	if (run_ids->count == 0)
		return;
	bind_column(&args, run_ids);
	store_execute(&statement, &args);
}

/*
 * Those of these runs, in this state, go on of whose last answers all calls have been
 * made or refused, or wait for somebody to decide. (Children tell one by one: what is
 * said of a run that is in flight again is old.)
 */
static void
set_continuing(const Column *run_ids, QueueState state)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET " BECOMES_READY ", continues = true,"
		" looks = 0, run_at = NULL, " GOES_FIRST " WHERE q.run_id = ANY ($3)"
		" AND (q.state = $4 OR ($4 = " EXECUTING
		" AND " IS_EXECUTING("q") ")) AND " MINE("q")
		" AND NOT EXISTS (SELECT FROM agno.tool_calls c"
		" LEFT JOIN agno.runs k ON k.run_id = c.child_run_id"
		" WHERE c.run_id = q.run_id AND c.turn = (SELECT max(s.turn)"
		" FROM agno.run_steps s WHERE s.run_id = q.run_id)"
		" AND CASE WHEN c.status IN ('pending', 'preview')"
		" THEN EXISTS (SELECT FROM agno.tool_queue w WHERE w.run_id = q.run_id)"
		" ELSE c.status = 'waiting' AND k.status IN ('PENDING', 'RUNNING')"
		" AND NOT " BEHIND_PAUSED_SIBLING("k") " END)"
	};
	Arguments	args = {0};

	if (run_ids->count == 0)
		return;
	bind_mine(&args);
	bind_column(&args, run_ids);
	bind_char(&args, (char) state);
	store_execute(&statement, &args);
}

/*
 * Store answers with calls of runs that are locked, and have tool workers make
 * the calls. Those with nothing for tool workers go on.
 */
void
store_keep_steps(NewStep *steps, int count)
{
	Work		work = no_work();
	Column		ready = {TEXTOID};
	Column		kept = {TEXTOID};

	if (count == 0)
		return;
	insert_steps(steps, count);
	insert_calls(steps, count);
	insert_requirements(steps, count);
	for (int i = 0; i < count; i++)
	{
		NewStep    *step = &steps[i];

		if (step->request_kept)
			add_text(&kept, step->run_id);
		if (step->has_work)
			add_work(&work, step->run_id, step->session_id, step->turn,
					 step->attempt, step->owner, step->left_ms);
		else
			add_text(&ready, step->run_id);
	}
	forget_requests(&kept);
	give_work(&work);
	set_continuing(&ready, QUEUE_EXECUTING);
}

/*
 * These runs, all of them locked, begin their next attempt where the last one has
 * ended, or go on: with calls that have not been made. Of each, left_ms is what is
 * left of its time.
 */
void
store_await_tools(ReadyRun **runs, int count)
{
	Work		work = no_work();

	if (count == 0)
		return;
	for (int i = 0; i < count; i++)
		add_work(&work, runs[i]->run_id, runs[i]->session_id, runs[i]->turns,
				 runs[i]->attempt + (runs[i]->picked->continues ? 0 : 1),
				 runs[i]->owner, runs[i]->left_ms);
	store_set_running(runs, count);
	give_work(&work);
}

/*-------------------------------------------------------------------------
 * What tool workers signal, and the end
 *-------------------------------------------------------------------------
 */

/*
 * Those of these PAUSED runs go on for which nobody has anything to decide any more:
 * children that they waited for have ended undecided, or work again. One that somebody
 * has locked is looked at again in a moment.
 */
static void
resume_paused(const Column *run_ids)
{
#define NOTHING_TO_DECIDE(alias) \
	" AND NOT EXISTS (SELECT FROM agno.tool_calls c" \
	" LEFT JOIN agno.runs k ON k.run_id = c.child_run_id" \
	" WHERE c.run_id = " alias ".run_id AND (c.status = 'paused'" \
	" OR (c.status = 'waiting' AND k.status = 'PAUSED')))"
	static Statement resume = {
		"UPDATE agno.runs r SET status = 'PENDING' "
		"FROM (SELECT l.run_id FROM agno.runs l"
		" JOIN agno.run_queue q ON q.run_id = l.run_id"
		" WHERE l.run_id = ANY ($3) AND l.status = 'PAUSED'"
		" AND q.state = " DECISION " AND " MINE("q") NOTHING_TO_DECIDE("l")
		" FOR NO KEY UPDATE OF l SKIP LOCKED) l "
		"WHERE r.run_id = l.run_id RETURNING r.run_id"
	};
	static Statement later = {
		"UPDATE agno.run_queue q SET"
		" run_at = clock_timestamp() + '1 s'::interval "
		"FROM agno.runs r WHERE q.run_id = ANY ($3)"
		" AND r.run_id = q.run_id AND r.status = 'PAUSED'"
		" AND q.state = " DECISION " AND " MINE("q") NOTHING_TO_DECIDE("q")
	};
	Arguments	args = {0};
	uint64		found;
	char	  **ids;

	if (run_ids->count == 0)
		return;
	bind_mine(&args);
	bind_column(&args, run_ids);
	found = store_execute(&resume, &args);
	ids = palloc(sizeof(char *) * Max(found, 1));
	for (uint64 n = 0; n < found; n++)
	{
		RowReader	row = row_reader(n);

		ids[n] = next_text(&row);
	}
	store_run_decided(ids, (int) found);
	store_execute(&later, &args);
}

/*
 * Tool workers have made all calls of these runs' last answers: they go on, if they
 * wait for that.
 */
void
store_tools_called(char *const *run_ids, int count)
{
	Column		column = {TEXTOID};

	for (int i = 0; i < count; i++)
		add_text(&column, run_ids[i]);
	set_continuing(&column, QUEUE_TOOLS);
}

/*
 * Children of these runs have ended or paused: they go on, if they wait for that,
 * PAUSED ones as well.
 */
void
store_children_ended(char *const *run_ids, int count)
{
	Column		column = {TEXTOID};

	store_tools_called(run_ids, count);
	for (int i = 0; i < count; i++)
		add_text(&column, run_ids[i]);
	resume_paused(&column);
}

/*
 * All that these runs have waited for has been decided: they go on. Their parents are
 * told: one that became PAUSED while it was decided has nobody else to tell it.
 */
void
store_run_decided(char *const *run_ids, int count)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET " BECOMES_READY ", continues = true,"
		" looks = 0, run_at = NULL "
		"FROM agno.runs r WHERE q.run_id = ANY ($3) AND q.state = " DECISION
		" AND r.run_id = q.run_id AND r.status = 'PENDING' AND " MINE("q")
		" RETURNING q.parent_run_id, q.owner, q.parent_shard"
	};
	Arguments	args = {0};
	Column		parents = {TEXTOID};
	Column		owners = {INT4OID};
	Column		shards = {INT4OID};
	uint64		found;

	if (count == 0)
		return;
	bind_mine(&args);
	bind_ids(&args, run_ids, count);
	found = store_execute(&statement, &args);
	for (uint64 n = 0; n < found; n++)
	{
		RowReader	row = row_reader(n);

		add_parent(&row, &parents, &owners, &shards);
	}
	store_tell_parents(&parents, &owners, &shards);
}

/*
 * The processes are gone that made calls of these runs, and nobody knows why:
 * that was an attempt of each.
 */
void
store_tool_crashed(char *const *run_ids, int count)
{
	static Statement runs = {
		"UPDATE agno.runs r SET status = 'PENDING' "
		"FROM (SELECT l.run_id FROM agno.runs l"
		" JOIN agno.run_queue q ON q.run_id = l.run_id"
		" WHERE l.run_id = ANY ($1) AND l.status = 'RUNNING'"
		" AND q.state = " TOOLS " FOR NO KEY UPDATE OF l SKIP LOCKED) l "
		"WHERE r.run_id = l.run_id RETURNING r.run_id"
	};
	static Statement queue = {
		"UPDATE agno.run_queue q SET " BECOMES_READY ", continues = false,"
		" run_at = NULL WHERE q.run_id = ANY ($1)"
	};
	Arguments	args = {0};
	Column		changed = {TEXTOID};
	uint64		found;

	if (count == 0)
		return;
	bind_ids(&args, run_ids, count);
	found = store_execute(&runs, &args);
	for (uint64 n = 0; n < found; n++)
	{
		RowReader	row = row_reader(n);

		add_text(&changed, next_text(&row));
	}
	if (found == 0)
		return;
	memset(&args, 0, sizeof(args));
	bind_column(&args, &changed);
	store_execute(&queue, &args);
}

/*
 * These runs have ended: no tool is to be called for them any more, and what is
 * stored of them is not needed but for those that may be requeued.
 */
void
store_forget_steps(const Column *run_ids, bool finally)
{
	static Statement queue = {
		"DELETE FROM agno.tool_queue q USING (SELECT l.run_id, l.attempt, l.turn"
		" FROM agno.tool_queue l WHERE l.run_id = ANY ($1)"
		" FOR UPDATE SKIP LOCKED) l WHERE q.run_id = l.run_id"
		" AND q.attempt = l.attempt AND q.turn = l.turn"
	};
	static Statement steps = {
		"DELETE FROM agno.run_steps s WHERE s.run_id = ANY ($1)"
	};
	static Statement calls = {
		"UPDATE agno.tool_calls c SET status = 'cancelled'"
		" FROM (SELECT l.run_id, l.turn, l.call_no FROM agno.tool_calls l"
		" WHERE l.run_id = ANY ($1)"
		" AND l.status IN ('pending', 'preview', 'paused', 'waiting')"
		" FOR NO KEY UPDATE SKIP LOCKED) l WHERE c.run_id = l.run_id"
		" AND c.turn = l.turn AND c.call_no = l.call_no"
	};
	Arguments	args = {0};

	if (run_ids->count == 0)
		return;
	bind_column(&args, run_ids);
	store_execute(&queue, &args);
	if (!finally)
		return;
	store_execute(&steps, &args);
	store_execute(&calls, &args);
}

static void *
read_owner(RowReader *row)
{
	Oid		   *owner = palloc(sizeof(Oid));

	*owner = next_oid(row);
	return owner;
}

/*
 * The roles for which there are calls to be made: a list of pointers to OIDs.
 */
List *
store_tool_owners(void)
{
	static Statement statement = {
		"WITH RECURSIVE o (owner) AS ("
		"(SELECT q.owner FROM agno.tool_queue q ORDER BY q.owner LIMIT 1)"
		" UNION ALL SELECT (SELECT q.owner FROM agno.tool_queue q"
		" WHERE q.owner > o.owner ORDER BY q.owner LIMIT 1)"
		" FROM o WHERE o.owner IS NOT NULL), "
		"b (owner) AS ("
		"(SELECT q.owner FROM agno.callbacks q ORDER BY q.owner LIMIT 1)"
		" UNION ALL SELECT (SELECT q.owner FROM agno.callbacks q"
		" WHERE q.owner > b.owner ORDER BY q.owner LIMIT 1)"
		" FROM b WHERE b.owner IS NOT NULL) "
		"SELECT o.owner FROM o WHERE o.owner IS NOT NULL"
		" UNION SELECT b.owner FROM b WHERE b.owner IS NOT NULL"
	};

	return store_read_list(&statement, NULL, read_owner);
}
