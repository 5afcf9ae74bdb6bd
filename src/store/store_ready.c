/*-------------------------------------------------------------------------
 *
 * store_ready.c
 *	  The tables of agno_bg: picking runs, and reading what they need.
 *
 * For a runner, between store_begin() and store_commit(). This changes no row:
 * what becomes of a run that was picked is stored by store_queue.c,
 * store_parked.c or store_results.c. The search_path of a runner is
 * pg_catalog.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "server/encoding.h"
#include "server/json_merge.h"
#include "store/store.h"
#include "store/store_queue.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

/* The most runs of a session that are read for its history. */
#define MAX_HISTORY_RUNS 1000

/*
 * How many earlier runs of a session are looked at for it: at first, and then if
 * that does not suffice, since some have failed.
 */
#define FIRST_LOOK 40
#define LAST_LOOK 2000

/* How many are looked at in the second place in one turn, but for one run. */
#define TURN_LOOKS 20000

/*-------------------------------------------------------------------------
 * Picking
 *-------------------------------------------------------------------------
 */

/* The columns that read_picked() reads. */
#define PICKED_COLUMNS \
		"SELECT q.run_id, q.session_id, q.owner, q.cancelled, q.continues," \
		" q.paused_at, q.looks, q.parked_for, q.ctid " \
		"FROM agno.run_queue q "

static void *
read_picked(RowReader *row)
{
	PickedRun  *run = palloc(sizeof(PickedRun));

	run->run_id = next_text(row);
	run->session_id = next_text(row);
	run->owner = next_oid(row);
	run->cancelled = next_bool(row);
	run->continues = next_bool(row);
	run->paused_at = next_time_or(row, 0);
	run->looks = next_int(row);
	run->parked_for = next_text(row);
	run->row = next_tid(row);
	run->had = false;
	return run;
}

/*
 * The next ready runs of the owners from this OID up to that, both inclusive:
 * a list of at most limit PickedRuns, one owner after the other.
 */
List *
store_pick(Oid from, Oid to, int limit)
{
	static Statement statement = {
		PICKED_COLUMNS
		"WHERE q.state = " READY " AND NOT q.claimed"
		" AND q.runner = $2 AND " MINE("q")
		" AND q.owner >= $3::pg_catalog.regrole"
		" AND q.owner <= $4::pg_catalog.regrole"
		" ORDER BY q.owner, q.priority DESC, q.accepted_at LIMIT $5"
	};
	Arguments	args = {0};

	bind_mine(&args);
	bind_oid(&args, from);
	bind_oid(&args, to);
	bind_int(&args, limit);
	return store_read_list(&statement, &args, read_picked);
}

/*
 * The first ready runs in this piece of agno.run_queue: a list of at most limit
 * PickedRuns, one owner after the other, from the first one after this.
 */
List *
store_pick_of(const TablePiece *piece, Oid after, int limit)
{
	static Statement statement = {
		PICKED_COLUMNS
		"WHERE q.ctid = ANY (ARRAY(SELECT l.row FROM " OF_PIECE("agno.run_queue")
		" AND l.state = " READY " AND NOT l.claimed"
		" ORDER BY l.owner <= $6::pg_catalog.regrole, l.owner,"
		" l.priority DESC, l.accepted_at LIMIT $7))"
		" ORDER BY q.owner <= $6::pg_catalog.regrole, q.owner,"
		" q.priority DESC, q.accepted_at"
	};
	Arguments	args = {0};

	bind_mine(&args);
	bind_piece(&args, piece);
	bind_oid(&args, after);
	bind_int(&args, limit);
	return store_read_list(&statement, &args, read_picked);
}

/*
 * The runs that could not be had and are to be looked at again: a list of at
 * most limit PickedRuns. Owners get equal parts.
 */
List *
store_pick_locked(int limit)
{
	static Statement statement = {
		DUE_BY_OWNER(LOCKED, "$3", "$4", "$5")
		PICKED_COLUMNS
		"WHERE q.ctid = ANY (ARRAY(SELECT d.row FROM due d))"
	};
	Arguments	args = {0};

	bind_mine(&args);
	bind_int(&args, limit);
	bind_all_but(&args, NULL, 0);
	return store_read_list(&statement, &args, read_picked);
}

/*
 * The runs that are parked for this key, and have been waiting for their
 * server to be reached for so many milliseconds: a list of at most limit
 * PickedRuns.
 */
List *
store_pick_given_up(const char *key, int patience_ms, int limit)
{
	static Statement statement = {
		PICKED_COLUMNS
		"WHERE q.state = " PARKED " AND q.parked_for = $3"
		" AND q.waits_since <= " THIS_TURN " -"
		" make_interval(secs => $4 / 1000.0)"
		" AND " MINE("q") " ORDER BY q.waits_since LIMIT $5"
	};
	Arguments	args = {0};

	bind_mine(&args);
	bind_text(&args, key);
	bind_int(&args, patience_ms);
	bind_int(&args, limit);
	return store_read_list(&statement, &args, read_picked);
}

/*-------------------------------------------------------------------------
 * Reading what it takes to execute runs
 *-------------------------------------------------------------------------
 */

static Jsonb *
next_jsonb(RowReader *row)
{
	bool		isnull;
	Datum		datum = next_datum(row, &isnull);

	return isnull ? NULL : DatumGetJsonbP(datum);
}

/*
 * Read two columns, the state of a session and what a run adds to it: both
 * together as JSON in UTF-8, or NULL.
 */
static char *
next_merged_state(RowReader *row)
{
	Jsonb	   *of_session = next_jsonb(row);
	Jsonb	   *of_run = next_jsonb(row);
	Jsonb	   *state = of_session != NULL ? of_session : of_run;

	if (state == NULL)
		return NULL;
	if (of_session != NULL && of_run != NULL)
		state = json_merge(of_session, of_run);
	return encoding_from_server(JsonbToCString(NULL, &state->root,
											   VARSIZE(state)));
}

/*
 * How long the attempt of a run has taken that started at this time; 0: at none.
 */
static int64
elapsed_ms(const ReadyRun *run, TimestampTz started_at)
{
	TimestampTz until = GetCurrentTimestamp();

	/* It goes on after a pause. */
	if (run->status == RUN_PENDING && run->picked->continues &&
		run->picked->paused_at != 0)
		until = run->picked->paused_at;
	return started_at != 0 ? Max(until - started_at, 0) / 1000 : 0;
}

/*
 * Read what is known of the steps of a run; returns how long they are in bytes.
 */
static int64
read_progress(RowReader *row, ReadyRun *run)
{
	int64		steps[2];
	int64		calls[9];

	next_int64s(row, steps, lengthof(steps));
	next_int64s(row, calls, lengthof(calls));
	run->turns = (int) steps[0];
	run->pending_calls = calls[1] > 0;
	run->waiting_calls = calls[2] > 0 || calls[4] > 0;
	run->delegates = calls[3] > 0;
	run->children = calls[5] > 0;
	run->calls = calls[8];
	return steps[1] + calls[0] + calls[6] + bytes_shown(calls[7], calls[3]);
}

/*
 * Read what is of small size, and how long the rest is in bytes.
 */
static ReadyRun *
read_ready(RowReader *row, PickedRun **picked)
{
	ReadyRun   *run = palloc0(sizeof(ReadyRun));
	PickedRun  *its = picked[next_int(row) - 1];
	int64		step_bytes;

	its->had = true;
	run->picked = its;
	run->run_id = its->run_id;
	run->queue_row = its->row;
	run->row = next_tid(row);
	run->session_id = next_text(row);
	run->status = next_status(row);
	run->owner = next_oid(row);
	run->attempt = run->row_attempt = next_int(row);
	/* As store_recover() would have done, had it not been locked. */
	if (run->status == RUN_RUNNING && !its->continues && this_runner.culprit != NULL &&
		!store_is_culprit(run->run_id))
		run->attempt--;
	run->marked = next_bool(row) || its->cancelled;
	run->model_server = next_text(row);
	run->model = next_utf8(row);
	run->agent_id = next_utf8(row);
	run->response_id = next_utf8(row);
	run->timeout_ms = next_int64_or(row, -1);
	run->max_attempts = next_int_or(row, -1);
	run->attempts_before = next_int_or(row, 0);
	run->retries = next_int_or(row, -1);
	run->repetitions = next_int_or(row, 0);
	run->history_runs = next_int_or(row, -1);
	run->history_messages = next_int_or(row, -1);
	run->stream = next_bool(row);
	run->has_events = next_bool(row);
	step_bytes = read_progress(row, run);
	run->elapsed_ms = elapsed_ms(run, next_time_or(row, 0));
	run->tool_call_limit = next_int_or(row, -1);
	run->max_history_calls = next_int_or(row, -1);
	run->calls_back = next_bool(row);
	run->bytes = unread_bytes(row) + step_bytes;
	return run;
}

/*
 * Lock those of these runs that nobody else has locked, and read of them what it
 * takes to decide whether they may start: a list of ReadyRun. What may be long is
 * there for store_read_rest() until the transaction ends.
 */
List *
store_lock_ready(PickedRun **picked, int count)
{
	static Statement statement = {
		"SELECT p.n, r.ctid, r.session_id, r.status, r.owner, r.attempt,"
		" EXISTS (SELECT FROM agno.cancellations c"
		" WHERE c.run_id = r.run_id AND c.owner = r.owner),"
		" r.model_provider, r.model, r.agent_id, d.response_id,"
		" (extract(epoch FROM d.timeout) * 1000)::bigint,"
		" d.max_attempts, d.attempts_before, d.retries, d.repetitions,"
		" d.num_history_runs, d.num_history_messages,"
		" coalesce(d.stream, false), d.stream AND EXISTS"
		" (SELECT FROM agno.run_events e WHERE e.run_id = r.run_id),"
		" CASE WHEN d.tools IS NOT NULL THEN (SELECT ARRAY[max(t.turn),"
		" sum(octet_length(t.messages))]"
		" FROM agno.run_steps t WHERE t.run_id = r.run_id)::bigint[] END,"
		" CASE WHEN d.tools IS NOT NULL THEN (SELECT ARRAY["
		"sum(" CALL_BYTES("c") "),"
		" count(*) FILTER (WHERE c.status IN ('pending', 'preview')),"
		" count(*) FILTER (WHERE c.status = 'paused'),"
		" count(*) FILTER (WHERE c.status = 'waiting'),"
		" count(*) FILTER (WHERE c.status = 'waiting' AND EXISTS"
		" (SELECT FROM agno.runs k WHERE k.run_id = c.child_run_id"
		" AND k.status = 'PAUSED')),"
		" count(*) FILTER (WHERE c.status = 'waiting' AND EXISTS"
		" (SELECT FROM agno.runs k WHERE k.run_id = c.child_run_id"
		" AND k.status IN ('PENDING', 'RUNNING')"
		" AND NOT " BEHIND_PAUSED_SIBLING("k") ")),"
		" (SELECT sum(" BYTES_GIVEN("q") ") FROM agno.requirements q"
		" WHERE q.run_id = r.run_id), (SELECT count(q.preview)"
		" FROM agno.requirements q WHERE q.run_id = r.run_id), count(*)]"
		" FROM agno.tool_calls c WHERE c.run_id = r.run_id)::bigint[] END,"
		" r.started_at,"
		" d.tool_call_limit, d.max_tool_calls_from_history,"
		" d.on_complete IS NOT NULL,"
		" r.input, r.user_id, r.metadata,"
		" d.model_options, d.output_schema, d.agent, d.tools, d.tool_choice,"
		" s.session_metrics, s.session_state, d.session_state "
		"FROM unnest($1) WITH ORDINALITY AS p (run_id, n) "
		"JOIN agno.runs r ON r.run_id = p.run_id "
		"LEFT JOIN agno.sessions s ON s.session_id = r.session_id"
		" AND s.owner = r.owner "
		"LEFT JOIN agno.run_requests d ON d.run_id = r.run_id "
		"FOR NO KEY UPDATE OF r SKIP LOCKED"
	};
	Arguments	args = {0};
	Column		run_ids = {TEXTOID};
	uint64		found;
	List	   *ready = NIL;

	for (int i = 0; i < count; i++)
		add_text(&run_ids, picked[i]->run_id);
	bind_column(&args, &run_ids);
	found = store_execute(&statement, &args);
	for (uint64 n = 0; n < found; n++)
	{
		MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
													  "agno_bg ready run",
													  ALLOCSET_SMALL_SIZES);
		MemoryContext old = MemoryContextSwitchTo(context);
		RowReader  *row = palloc(sizeof(RowReader));
		ReadyRun   *run;

		*row = row_reader(n);
		run = read_ready(row, picked);
		run->context = context;
		run->rest = row;
		MemoryContextSwitchTo(old);
		ready = lappend(ready, run);
	}
	return ready;
}

/*
 * Read what may be long of a run, once it is to be started.
 */
void
store_read_rest(ReadyRun *run)
{
	RowReader  *row = run->rest;
	MemoryContext old = MemoryContextSwitchTo(run->context);

	run->rest = NULL;
	run->input = next_utf8(row);
	run->user_id = next_utf8(row);
	run->metadata = next_utf8(row);
	run->options = next_utf8(row);
	run->schema = next_utf8(row);
	run->agent = next_utf8(row);
	run->tools = next_utf8(row);
	run->tool_choice = next_utf8(row);
	run->session_metrics = next_utf8(row);
	run->session_state = next_merged_state(row);
	MemoryContextSwitchTo(old);
}

/*
 * Read what a run that is not in flight has found of its session, and adds to it: of the
 * state nothing, if it adds nothing. Returns whether there is one.
 */
bool
store_read_session_share(const char *run_id, SessionShare *share)
{
	static Statement statement = {
		"SELECT s.session_metrics,"
		" CASE WHEN d.session_state IS NOT NULL THEN s.session_state END,"
		" d.session_state, r.model_provider, r.model "
		"FROM agno.runs r JOIN agno.sessions s ON s.session_id = r.session_id"
		" AND s.owner = r.owner "
		"LEFT JOIN agno.run_requests d ON d.run_id = r.run_id "
		"WHERE r.run_id = $1"
	};
	Arguments	args = {0};
	RowReader	row;

	bind_text(&args, run_id);
	if (store_execute(&statement, &args) == 0)
		return false;
	row = row_reader(0);
	share->metrics = next_utf8(&row);
	share->state = next_merged_state(&row);
	share->model_server = next_utf8(&row);
	share->model = next_utf8(&row);
	return true;
}

/*-------------------------------------------------------------------------
 * History
 *-------------------------------------------------------------------------
 */

/*
 * How many earlier runs this one may be told about.
 */
static int
history_limit(const ReadyRun *run)
{
	/* No run has fewer messages than one. */
	int			limit = run->history_runs >= 0 ?
		run->history_runs : run->history_messages;

	return Min(limit, MAX_HISTORY_RUNS);
}

/*
 * Find the messages of earlier runs, the latest first, for these runs, as rows
 * of the number of the run, from 1, of how many earlier runs have been looked at
 * then, and of the messages. Agno's rules: runs that are PAUSED, CANCELLED or ERROR
 * do not count. Runs that other runs have enqueued have sessions of their own. The
 * last of those that are looked at is in a row in any case, without messages then.
 * Those that wait behind a run are not looked at: there may be very many. Returns
 * how many rows there are.
 */
static uint64
find_history(ReadyRun **runs, int count, int look)
{
	static Statement statement = {
		"SELECT d.n, h.place, h.messages "
		"FROM unnest($1, $2, $3, $4) WITH ORDINALITY"
		" AS d (run_id, session_id, runs, owner, n) "
		"JOIN agno.run_queue q ON q.run_id = d.run_id "
		"JOIN agno.runs o ON o.run_id = d.run_id, "
		"LATERAL (SELECT l.place, l.messages, l.created_at FROM"
		" (SELECT e.created_at, row_number() OVER w AS place,"
		" lead(1) OVER w AS next,"
		" CASE WHEN e.owner::pg_catalog.oid = d.owner::pg_catalog.oid"
		" AND e.status = 'COMPLETED'"
		" THEN e.messages END AS messages FROM"
		" (SELECT r.* FROM agno.runs r WHERE r.session_id = d.session_id"
		" AND r.created_at < greatest(q.accepted_at, o.created_at)"
		" ORDER BY r.created_at DESC LIMIT $5) e"
		" WINDOW w AS (ORDER BY e.created_at DESC)) l"
		" WHERE l.messages IS NOT NULL OR l.next IS NULL"
		" ORDER BY l.created_at DESC LIMIT d.runs) h "
		"ORDER BY d.n, h.created_at DESC"
	};
	Arguments	args = {0};
	Column		run_ids = {TEXTOID};
	Column		session_ids = {TEXTOID};
	Column		limits = {INT4OID};
	Column		owners = {INT4OID};

	for (int i = 0; i < count; i++)
	{
		add_text(&run_ids, runs[i]->run_id);
		add_text(&session_ids, runs[i]->session_id);
		add_int(&limits, history_limit(runs[i]));
		add_int(&owners, (int) runs[i]->owner);
	}
	bind_column(&args, &run_ids);
	bind_column(&args, &session_ids);
	bind_column(&args, &limits);
	bind_column(&args, &owners);
	bind_int(&args, look);
	return store_execute(&statement, &args);
}

/* What has been read of histories. */
typedef struct HistoryRead
{
	int64		max_bytes;		/* of one run */
	int64		max_total;		/* when so much has been read, the rest of the
								 * runs are deferred */
	int64		total;			/* bytes */
	int64		looked;			/* how many earlier runs have been looked at */
} HistoryRead;

/*
 * The rows of find_history() from begin up to end are a run's: read as many of the
 * last messages as have at most max_bytes.
 */
static void
read_messages(ReadyRun *run, uint64 begin, uint64 end, HistoryRead *read)
{
	int64		bytes = 0;
	MemoryContext old = MemoryContextSwitchTo(run->context);

	for (uint64 n = begin; n < end; n++)
	{
		RowReader	row = row_reader(n);
		int64		length;

		(void) next_int(&row);
		(void) next_int64(&row);
		length = unread_bytes(&row);
		bytes += length;
		if (length == 0 || bytes > read->max_bytes)
			continue;
		run->history = lcons(next_utf8(&row), run->history);
		run->bytes += length;
		read->total += length;
	}
	MemoryContextSwitchTo(old);
}

/*
 * Read histories, with a look at so many earlier runs of each session. Runs of which
 * more are to be looked at are put into further, unless that is NULL. Returns how
 * many there are.
 */
static int
read_histories(ReadyRun **runs, int count, int look, HistoryRead *read,
			   ReadyRun **further)
{
	uint64		found = find_history(runs, count, look);
	int			further_count = 0;
	uint64		end;

	for (uint64 begin = 0; begin < found; begin = end)
	{
		int			number = 0;
		int			messages = 0;
		int64		place = 0;
		ReadyRun   *run;

		for (end = begin; end < found; end++)
		{
			RowReader	row = row_reader(end);
			int			its = next_int(&row);

			if (end > begin && its != number)
				break;
			number = its;
			place = next_int64(&row);
			if (unread_bytes(&row) > 0)
				messages++;
		}
		run = runs[number - 1];
		read->looked += place;
		if (further != NULL && place == look && messages < history_limit(run))
			further[further_count++] = run;
		else if (read->total >= read->max_total)
			run->deferred = true;
		else
			read_messages(run, begin, end, read);
	}
	return further_count;
}

/*
 * Read what earlier runs of their sessions have said, for those of these
 * ReadyRuns that are to send it along; of each, as many of the last ones as
 * have at most max_bytes. When all that is read reaches max_total bytes, or too
 * many earlier runs have been looked at, the rest of the list is deferred.
 */
void
store_read_history(List *ready, int64 max_bytes, int64 max_total)
{
	int			size = Max(list_length(ready), 1);
	ReadyRun  **runs = palloc(sizeof(ReadyRun *) * size);
	ReadyRun  **further = palloc(sizeof(ReadyRun *) * size);
	HistoryRead read = {max_bytes, max_total};
	int			count = 0;
	ListCell   *cell;

	foreach(cell, ready)
	{
		ReadyRun   *run = lfirst(cell);

		if (run->steps == NIL &&
			(run->history_runs >= 0 || run->history_messages >= 0))
			runs[count++] = run;
	}
	if (count == 0)
		return;
	count = read_histories(runs, count, FIRST_LOOK, &read, further);
	read.looked = 0;
	for (int i = 0; i < count; i++)
	{
		if (read.looked >= TURN_LOOKS || read.total >= max_total)
			further[i]->deferred = true;
		else
			(void) read_histories(&further[i], 1, LAST_LOOK, &read, NULL);
	}
}
