/*-------------------------------------------------------------------------
 *
 * store_results.c
 *	  The tables of agno_bg: what a runner stores of the runs it executes.
 *
 * Called by the runner between store_begin() and store_commit(), for rows of
 * agno.runs that it has locked; store_queue.c has the rest of what it does.
 * Statements work on sets.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "server/encoding.h"
#include "store/store.h"
#include "store/store_internal.h"
#include "utils/builtins.h"

/* The channel that listeners learn of new events from. */
#define EVENT_CHANNEL "agno_run_event"

/*
 * These runs have been cancelled: markers for them have done their work.
 */
static void
drop_markers(char *const *run_ids, int count)
{
	static Statement statement = {
		"DELETE FROM agno.cancellations c"
		" USING (SELECT m.run_id, m.owner FROM agno.cancellations m"
		" JOIN agno.runs r ON r.run_id = m.run_id AND r.owner = m.owner"
		" WHERE m.run_id = ANY ($1) FOR UPDATE OF m SKIP LOCKED) d "
		"WHERE c.run_id = d.run_id AND c.owner = d.owner",
		1, {TEXTARRAYOID}
	};
	Datum		values[] = {store_text_array(run_ids, count)};

	store_execute(&statement, values, NULL);
}

static char *
to_server_or_null(const char *utf8)
{
	return utf8 != NULL ? encoding_to_server(utf8) : NULL;
}

/*
 * Store what came of these runs, all of them locked, and announce their ends.
 * A write for another attempt than the current one changes nothing.
 */
void
store_finish(EndedRun *runs, int count)
{
	static Statement update = {
		"UPDATE agno.runs r SET status = d.status::agno.run_status,"
		" content = d.content, content_type = d.content_type,"
		" reasoning_content = d.reasoning, messages = d.messages::pg_catalog.jsonb,"
		" metrics = d.metrics::pg_catalog.jsonb, error = d.error::pg_catalog.jsonb,"
		" session_state = coalesce(d.session_state::pg_catalog.jsonb, r.session_state),"
		" finished_at = clock_timestamp() "
		"FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
		" AS d (row, attempt, status, content, content_type, reasoning,"
		" messages, metrics, error, session_state) "
		"WHERE r.ctid = d.row AND r.attempt = d.attempt",
		10, {TIDARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
			TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
		TEXTARRAYOID, TEXTARRAYOID}
	};
	static Statement touch = {
		"UPDATE agno.sessions s SET updated_at = clock_timestamp(),"
		" session_state = coalesce(d.state::pg_catalog.jsonb, s.session_state),"
		" session_metrics = coalesce(d.metrics::pg_catalog.jsonb, s.session_metrics) "
		"FROM unnest($1, $2, $3, $4) AS d (session_id, state, metrics, owner) "
		"WHERE s.session_id = d.session_id AND s.owner::pg_catalog.oid = d.owner::pg_catalog.oid",
		4, {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID}
	};
	enum
	{
		RUN_ID, STATUS, CONTENT, CONTENT_TYPE, REASONING, MESSAGES, METRICS,
		ERROR_OBJECT, STATE, SESSION_ID, SESSION_METRICS, COLUMNS
	};
	char	  **columns[COLUMNS];
	int		   *attempts = palloc(sizeof(int) * count);
	int		   *owners = palloc(sizeof(int) * count);
	ItemPointer *rows = palloc(sizeof(ItemPointer) * count);
	char	  **cancelled = palloc(sizeof(char *) * count);
	int			cancelled_count = 0;
	Datum		values[STATE + 2];

	for (int c = 0; c < COLUMNS; c++)
		columns[c] = palloc(sizeof(char *) * count);
	for (int i = 0; i < count; i++)
	{
		EndedRun   *run = &runs[i];

		attempts[i] = run->attempt;
		owners[i] = (int) run->owner;
		rows[i] = &run->row;
		columns[RUN_ID][i] = run->run_id;
		columns[SESSION_ID][i] = run->session_id;
		columns[STATUS][i] = unconstify(char *, run_status_name(run->status));
		columns[CONTENT][i] = to_server_or_null(run->content);
		columns[CONTENT_TYPE][i] = unconstify(char *, run->content_type);
		columns[REASONING][i] = to_server_or_null(run->reasoning);
		columns[MESSAGES][i] = to_server_or_null(run->messages);
		columns[METRICS][i] = to_server_or_null(run->metrics);
		columns[ERROR_OBJECT][i] = to_server_or_null(run->error);
		columns[STATE][i] = to_server_or_null(run->session_state);
		columns[SESSION_METRICS][i] = to_server_or_null(run->session_metrics);
		if (run->status == RUN_CANCELLED)
			cancelled[cancelled_count++] = run->run_id;
	}

	values[0] = store_row_array(rows, count);
	values[1] = store_int_array(attempts, count);
	for (int c = STATUS; c <= STATE; c++)
		values[c + 1] = store_text_array(columns[c], count);
	store_execute(&update, values, NULL);

	values[0] = store_text_array(columns[SESSION_ID], count);
	values[1] = store_text_array(columns[STATE], count);
	values[2] = store_text_array(columns[SESSION_METRICS], count);
	values[3] = store_int_array(owners, count);
	store_execute(&touch, values, NULL);
	store_leave_queue(columns[RUN_ID], columns[SESSION_ID], count);
	if (cancelled_count > 0)
		drop_markers(cancelled, cancelled_count);
}

/*
 * Append events to those of streamed runs, and tell listeners that there are
 * more.
 */
void
store_append_events(const EventRow *rows, int count)
{
	static Statement statement = {
		"INSERT INTO agno.run_events (run_id, seq, event, data, created_at) "
		"SELECT d.run_id, d.seq::bigint, d.event, d.data::pg_catalog.jsonb,"
		" clock_timestamp() "
		"FROM unnest($1, $2, $3, $4) AS d (run_id, seq, event, data)",
		4, {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID}
	};
	char	  **columns[4];
	Datum		values[4];

	if (count == 0)
		return;
	for (int c = 0; c < 4; c++)
		columns[c] = palloc(sizeof(char *) * count);
	for (int i = 0; i < count; i++)
	{
		columns[0][i] = unconstify(char *, rows[i].run_id);
		columns[1][i] = psprintf(INT64_FORMAT, rows[i].seq);
		columns[2][i] = unconstify(char *, rows[i].event);
		columns[3][i] = encoding_to_server(rows[i].data);
		if (i == 0 || strcmp(rows[i].run_id, rows[i - 1].run_id) != 0)
			store_notify(EVENT_CHANNEL, rows[i].run_id);
	}
	for (int c = 0; c < 4; c++)
		values[c] = store_text_array(columns[c], count);
	store_execute(&statement, values, NULL);
}

/*
 * Show what has arrived of the answers of these runs, all of them locked.
 */
void
store_show_content(PartialRun *runs, int count)
{
	static Statement statement = {
		"UPDATE agno.runs r SET content = d.content "
		"FROM unnest($1, $2) AS d (row, content) WHERE r.ctid = d.row",
		2, {TIDARRAYOID, TEXTARRAYOID}
	};
	ItemPointer *rows = palloc(sizeof(ItemPointer) * Max(count, 1));
	char	  **contents = palloc(sizeof(char *) * Max(count, 1));
	Datum		values[2];

	if (count == 0)
		return;
	for (int i = 0; i < count; i++)
	{
		rows[i] = &runs[i].row;
		contents[i] = encoding_to_server(runs[i].content);
	}
	values[0] = store_row_array(rows, count);
	values[1] = store_text_array(contents, count);
	store_execute(&statement, values, NULL);
}

/*
 * These runs, all of them locked, have been or are to be cancelled without
 * having been started by this runner: end them, and announce it.
 */
void
store_end_cancelled(RunLock **runs, int count)
{
	static Statement update = {
		"UPDATE agno.runs r SET status = 'CANCELLED',"
		" content = coalesce(r.content, d.content),"
		" finished_at = clock_timestamp() "
		"FROM unnest($1, $2) AS d (run_id, content) "
		"WHERE r.run_id = d.run_id AND r.status <> 'CANCELLED'",
		2, {TEXTARRAYOID, TEXTARRAYOID}
	};
	char	  **run_ids = palloc(sizeof(char *) * count);
	char	  **session_ids = palloc(sizeof(char *) * count);
	char	  **contents = palloc(sizeof(char *) * count);
	Datum		values[2];

	for (int i = 0; i < count; i++)
	{
		run_ids[i] = runs[i]->run_id;
		session_ids[i] = runs[i]->session_id;
		contents[i] = run_cancelled_text(runs[i]->run_id);
	}
	values[0] = store_text_array(run_ids, count);
	values[1] = store_text_array(contents, count);
	store_execute(&update, values, NULL);
	store_leave_queue(run_ids, session_ids, count);
	drop_markers(run_ids, count);
}

/*
 * Those of these runs, which have ended, that somebody may be watching: a list
 * of GroundedRun.
 */
List *
store_read_grounded(char *const *run_ids, int count)
{
	static Statement statement = {
		"SELECT r.run_id, r.session_id, r.agent_id, d.agent ->> 'name',"
		" r.model, r.model_provider, r.status, r.content,"
		" r.reasoning_content, r.error ->> 'type', r.error ->> 'message',"
		" coalesce((SELECT max(e.seq) FROM agno.run_events e"
		" WHERE e.run_id = r.run_id), 0) "
		"FROM agno.runs r JOIN agno.run_requests d ON d.run_id = r.run_id "
		"WHERE r.run_id = ANY ($1) AND d.stream",
		1, {TEXTARRAYOID}
	};
	Datum		values[] = {store_text_array(run_ids, count)};
	uint64		found = store_execute(&statement, values, NULL);
	List	   *runs = NIL;

	for (uint64 row = 0; row < found; row++)
	{
		GroundedRun *run = palloc(sizeof(GroundedRun));

		run->run_id = store_text(row, 1);
		run->run_id_utf8 = store_utf8(row, 1);
		run->session_id = store_utf8(row, 2);
		run->agent_id = store_utf8(row, 3);
		run->agent_name = store_utf8(row, 4);
		run->model = store_utf8(row, 5);
		run->model_provider = store_utf8(row, 6);
		run->status = run_status_parse(store_text(row, 7));
		run->content = store_utf8(row, 8);
		run->reasoning = store_utf8(row, 9);
		run->error_type = store_utf8(row, 10);
		run->error_message = store_utf8(row, 11);
		run->last_event = store_number(row, 12);
		runs = lappend(runs, run);
	}
	return runs;
}
