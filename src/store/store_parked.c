/*-------------------------------------------------------------------------
 *
 * store_parked.c
 *	  The tables of agno_bg: runs that wait for their model servers.
 *
 * For a runner, between store_begin() and store_commit(). A parked run has a
 * key, of pacing.c, of what it waits for: a server that has no room, or one
 * that cannot be reached. How long it has been waiting for the latter is in
 * waits_since. The search_path of a runner is pg_catalog.
 *
 * This never decides when a server has room, nor when to give up.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "store/store.h"
#include "store/store_queue.h"

/*
 * Show why these runs, all of them locked, have not been started.
 */
static void
show_errors(const Column *rows, const Column *errors)
{
	static Statement statement = {
		"UPDATE agno.runs r SET error = d.error::pg_catalog.jsonb "
		"FROM unnest($1, $2) AS d (row, error) WHERE r.ctid = d.row"
	};
	Arguments	args = {0};

	bind_column(&args, rows);
	bind_column(&args, errors);
	store_execute(&statement, &args);
}

/*
 * Set these runs, all of them locked, aside until their model servers have
 * room, or can be reached: then error says why not; or until their time is over, where
 * it runs on.
 */
void
store_park(ParkedRun *runs, int count)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET state = " PARKED ","
		" parked_for = d.key, run_at = CASE WHEN q.continues THEN"
		" clock_timestamp() + d.left_ms::bigint * '1 ms'::interval"
		" ELSE q.run_at END,"
		" waits_since = CASE WHEN d.unreachable = 1 THEN"
		" coalesce(q.waits_since, clock_timestamp()) END "
		"FROM unnest($1, $2, $3, $4) AS d (row, key, unreachable, left_ms) "
		"WHERE q.ctid = d.row"
	};
	Arguments	args = {0};
	Column		queue_rows = {TIDOID};
	Column		keys = {TEXTOID};
	Column		unreachable = {INT4OID};
	Column		left = {TEXTOID};
	Column		rows = {TIDOID};
	Column		errors = {TEXTOID};

	if (count == 0)
		return;
	for (int i = 0; i < count; i++)
	{
		ParkedRun  *parked = &runs[i];

		add_tid(&queue_rows, &parked->run->queue_row);
		add_text(&keys, parked->key);
		add_int(&unreachable, parked->error != NULL ? 1 : 0);
		add_text(&left, parked->run->status != RUN_RUNNING ? NULL :
				 psprintf(INT64_FORMAT, parked->run->left_ms));
		if (parked->error == NULL)
			continue;
		add_tid(&rows, &parked->run->row);
		add_utf8(&errors, parked->error);
	}
	bind_column(&args, &queue_rows);
	bind_column(&args, &keys);
	bind_column(&args, &unreachable);
	bind_column(&args, &left);
	store_execute(&statement, &args);
	if (errors.count > 0)
		show_errors(&rows, &errors);
}

static void
park_executing(const Column *run_ids, const Column *keys,
			   const Column *unreachable)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET state = " PARKED ","
		" parked_for = d.key,"
		" waits_since = CASE WHEN d.unreachable = 1 THEN"
		" coalesce(q.waits_since, clock_timestamp()) END "
		"FROM unnest($1, $2, $3) AS d (run_id, key, unreachable) "
		"WHERE q.run_id = d.run_id"
	};
	Arguments	args = {0};

	bind_column(&args, run_ids);
	bind_column(&args, keys);
	bind_column(&args, unreachable);
	store_execute(&statement, &args);
}

/*
 * Put runs back, all of them locked, whose servers could not be reached (which error
 * says), or have no room for another request of theirs, and let them wait until they
 * can, or have. That does not count as an attempt, but repetitions that were used
 * before are used up.
 */
void
store_hold_back(EndedRun *runs, int count)
{
	static Statement statement = {
		"UPDATE agno.runs r SET status = 'PENDING', attempt = r.attempt - 1,"
		" started_at = NULL, error = d.error::pg_catalog.jsonb "
		"FROM unnest($1, $2) AS d (row, error) WHERE r.ctid = d.row"
	};
	Arguments	args = {0};
	Column		rows = {TIDOID};
	Column		errors = {TEXTOID};
	Column		run_ids = {TEXTOID};
	Column		session_ids = {TEXTOID};
	Column		keys = {TEXTOID};
	Column		unreachable = {INT4OID};

	if (count == 0)
		return;
	for (int i = 0; i < count; i++)
	{
		EndedRun   *run = &runs[i];

		add_tid(&rows, &run->row);
		add_utf8(&errors, run->error);
		add_text(&run_ids, run->run_id);
		add_text(&session_ids, run->session_id);
		add_text(&keys, run->parked_for);
		add_int(&unreachable, run->error != NULL ? 1 : 0);
		if (run->repetitions > 0)
			store_keep_retries(run);
	}
	bind_column(&args, &rows);
	bind_column(&args, &errors);
	store_execute(&statement, &args);
	park_executing(&run_ids, &keys, &unreachable);
	store_advance(&session_ids);
}

/*
 * The next owner, of those in this range of OIDs, with runs that are parked for this; false
 * if there is none.
 */
static bool
next_parked_owner(const char *key, Oid from, Oid to, Oid *owner)
{
	static Statement statement = {
		"SELECT q.owner FROM agno.run_queue q"
		" WHERE q.state = " PARKED " AND q.parked_for = $3"
		" AND q.owner >= $4::pg_catalog.regrole"
		" AND q.owner <= $5::pg_catalog.regrole"
		" AND " MINE("q") " ORDER BY q.owner LIMIT 1"
	};
	Arguments	args = {0};
	RowReader	row;

	bind_mine(&args);
	bind_text(&args, key);
	bind_oid(&args, from);
	bind_oid(&args, to);
	if (store_execute(&statement, &args) == 0)
		return false;
	row = row_reader(0);
	*owner = next_oid(&row);
	return true;
}

/*
 * Likewise, from this OID on, but none of the others, count of them.
 */
static bool
next_parked_but(const char *key, Oid from, const Oid *others, int count, Oid *owner)
{
	for (;;)
	{
		Oid			next = PG_UINT32_MAX;

		/* the first of the others: those before him are looked at */
		for (int i = 0; i < count; i++)
		{
			if (others[i] >= from)
				next = Min(next, others[i]);
		}
		if (next == PG_UINT32_MAX)
			return next_parked_owner(key, from, next, owner);
		if (next > from && next_parked_owner(key, from, next - 1, owner))
			return true;
		from = next + 1;
	}
}

/*
 * The owners with runs that are parked for this, but for the others, starting after one of
 * them and going round: a list of at most limit OIDs. What has come from a dump of 1.0 has
 * none.
 */
List *
store_parked_owners(const char *key, Oid after, const Oid *others, int count,
					int limit)
{
	List	   *owners = NIL;
	Oid			from = after + 1;
	bool		wrapped = from == InvalidOid;

	while (list_length(owners) < limit)
	{
		Oid			owner;

		if (!next_parked_but(key, from, others, count, &owner) ||
			(wrapped && owner > after))
		{
			if (wrapped)
				break;
			wrapped = true;
			from = InvalidOid;
			continue;
		}
		owners = lappend_oid(owners, owner);
		if (owner == PG_UINT32_MAX)
			break;
		from = owner + 1;
	}
	return owners;
}

/*
 * Those of these owners, count of them, with runs that are parked for this.
 */
List *
store_parked_of(const char *key, const Oid *owners, int count)
{
	static Statement statement = {
		"SELECT o.owner::pg_catalog.oid FROM unnest($3) AS o (owner), LATERAL"
		" (SELECT FROM agno.run_queue q"
		" WHERE q.state = " PARKED " AND q.parked_for = $4"
		" AND q.owner = o.owner::pg_catalog.oid::pg_catalog.regrole"
		" AND " MINE("q") " LIMIT 1) q"
	};
	Arguments	args = {0};
	Column		oids = {INT4OID};
	List	   *found = NIL;
	uint64		rows;

	if (count == 0)
		return NIL;
	for (int i = 0; i < count; i++)
		add_int(&oids, (int) owners[i]);
	bind_mine(&args);
	bind_column(&args, &oids);
	bind_text(&args, key);
	rows = store_execute(&statement, &args);
	for (uint64 n = 0; n < rows; n++)
	{
		RowReader	row = row_reader(n);

		found = lappend_oid(found, next_oid(&row));
	}
	return found;
}

/*
 * The first runs of this owner that are parked for this are ready, at most
 * limit of them; with reached, they are not waiting for their server to be
 * reached any more. Returns how many.
 */
int
store_unpark(const char *key, Oid owner, bool reached, int limit)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET " BECOMES_READY ","
		" waits_since = CASE WHEN NOT $3 THEN q.waits_since END "
		"WHERE q.ctid = ANY (ARRAY("
		"SELECT p.ctid FROM agno.run_queue p"
		" WHERE p.state = " PARKED " AND p.parked_for = $4"
		" AND p.owner = $5::pg_catalog.regrole"
		" AND " MINE("p")
		" ORDER BY p.priority DESC, p.accepted_at LIMIT $6))"
	};
	Arguments	args = {0};

	bind_mine(&args);
	bind_bool(&args, reached);
	bind_text(&args, key);
	bind_oid(&args, owner);
	bind_int(&args, limit);
	return (int) store_execute(&statement, &args);
}

/*
 * Likewise, runs of the owners of this piece of agno.run_queue, whether they are first or
 * not: of each as many as of the others. Any of them comes first: whoever always did would
 * have all, where there is room for one.
 */
int
store_unpark_of(const TablePiece *piece, const char *key, bool reached, int limit)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET " BECOMES_READY ","
		" waits_since = CASE WHEN NOT $6 THEN q.waits_since END "
		"WHERE q.ctid = ANY (ARRAY(SELECT l.row FROM "
		OF_PIECE("agno.run_queue") " AND l.state = " PARKED
		" AND l.parked_for = $7"
		" ORDER BY row_number() OVER (PARTITION BY l.owner"
		" ORDER BY l.priority DESC, l.accepted_at), random() LIMIT $8))"
	};
	Arguments	args = {0};

	bind_mine(&args);
	bind_piece(&args, piece);
	bind_bool(&args, reached);
	bind_text(&args, key);
	bind_int(&args, limit);
	return (int) store_execute(&statement, &args);
}

/*
 * Since when the first of the runs that are parked for this has been waiting
 * for its server to be reached; 0 if none has.
 */
TimestampTz
store_waits_since(const char *key)
{
	static Statement statement = {
		"SELECT min(q.waits_since) FROM agno.run_queue q"
		" WHERE q.state = " PARKED " AND q.parked_for = $3"
		" AND q.waits_since IS NOT NULL AND " MINE("q")
	};
	Arguments	args = {0};
	RowReader	row;

	bind_mine(&args);
	bind_text(&args, key);
	store_execute(&statement, &args);
	row = row_reader(0);
	return next_time_or(&row, 0);
}
