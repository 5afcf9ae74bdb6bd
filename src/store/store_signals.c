/*-------------------------------------------------------------------------
 *
 * store_signals.c
 *	  The tables of agno_bg: what cancels leave for the runner.
 *
 * For a runner, between store_begin() and store_commit(). A signal says that a
 * run is to be cancelled, or has been, and is read once. A marker says that a
 * run is to be cancelled should it ever come; a run takes it when it does, or
 * else it is removed after a while. The search_path of a runner is pg_catalog.
 *
 * Signals and markers are put there by store_runs.c, never by this file.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "store/store.h"
#include "store/store_queue.h"

static void *
read_signal(RowReader *row)
{
	Signal	   *signal = palloc(sizeof(Signal));

	signal->run_id = next_text(row);
	signal->owner = next_oid(row);
	signal->kind = (SignalKind) next_char(row);
	signal->is_last = next_bool(row);
	return signal;
}

/*
 * Read and delete at most limit signals for this runner, but for those that one of
 * these owners has sent, count of them: a list of Signal.
 */
List *
store_take_signals(int limit, const Oid *others, int count)
{
	static Statement statement = {
		"DELETE FROM agno.run_signals s"
		" WHERE s.ctid = ANY (ARRAY("
		"SELECT e.ctid FROM unnest($4, $5) AS g (first, last), LATERAL"
		" (SELECT l.ctid, l.owner, l.run_id FROM agno.run_signals l"
		" WHERE " MINE("l") IN_RANGE("l")
		" ORDER BY l.owner, l.run_id LIMIT $3) e"
		" ORDER BY e.owner, e.run_id LIMIT $3)) "
		"RETURNING s.run_id, s.owner, s.kind, false"
	};
	Arguments	args = {0};

	bind_mine(&args);
	bind_int(&args, limit);
	bind_all_but(&args, others, count);
	return store_read_list(&statement, &args, read_signal);
}

/*
 * Likewise, those in this piece of the table.
 */
List *
store_take_signals_from(const TablePiece *piece, int limit)
{
	static Statement statement = {
		"DELETE FROM agno.run_signals s WHERE s.ctid = ANY (ARRAY("
		"SELECT l.row FROM " OF_PIECE("agno.run_signals") " LIMIT $6)) "
		"RETURNING s.run_id, s.owner, s.kind, false"
	};
	Arguments	args = {0};

	bind_mine(&args);
	bind_piece(&args, piece);
	bind_int(&args, limit);
	return store_read_list(&statement, &args, read_signal);
}

/*
 * Likewise, when there are many: owners get equal parts. Of owners who have sent the
 * signals in this list, those about runs are read whose ids come after theirs: so that
 * what is deleted, and cannot be removed yet, is not passed again and again. Of each
 * owner who may have more, the last signal says so.
 */
List *
store_take_parts_of_signals(List *after, int limit, const Oid *others,
							int count)
{
	static Statement statement = {
		"WITH RECURSIVE o (owner, last) AS ("
		"(SELECT e.owner, g.last FROM unnest($6, $7) AS g (first, last),"
		" LATERAL (SELECT s.owner FROM agno.run_signals s"
		" WHERE true" IN_RANGE("s") " ORDER BY s.owner LIMIT 1) e)"
		" UNION ALL SELECT (SELECT s.owner FROM agno.run_signals s"
		" WHERE s.owner > o.owner"
		" AND s.owner <= o.last::pg_catalog.oid::pg_catalog.regrole"
		" ORDER BY s.owner LIMIT 1), o.last"
		" FROM o WHERE o.owner IS NOT NULL), "
		"w (owner, run_id) AS MATERIALIZED"
		" (SELECT o.owner, coalesce(a.run_id, '') FROM o"
		" LEFT JOIN unnest($4, $5) AS a (owner, run_id)"
		" ON a.owner::pg_catalog.oid = o.owner::pg_catalog.oid"
		" WHERE o.owner IS NOT NULL), "
		"part (n) AS MATERIALIZED"
		" (SELECT greatest($3 / greatest(count(*), 1), 1) FROM w), "
		"next (row, is_last) AS MATERIALIZED"
		" (SELECT l.row, l.n = part.n FROM part, w, LATERAL"
		" (SELECT x.row, row_number() OVER () FROM"
		" (SELECT s.ctid AS row FROM agno.run_signals s"
		" WHERE s.owner = w.owner AND s.run_id > w.run_id AND " MINE("s")
		" ORDER BY s.run_id LIMIT part.n) x) l (row, n)"
		" ORDER BY l.n, random() LIMIT $3), "
		"taken (run_id, owner, kind, is_last) AS"
		" (DELETE FROM agno.run_signals s USING next n WHERE s.ctid = n.row"
		" RETURNING s.run_id, s.owner, s.kind, n.is_last) "
		"SELECT t.run_id, t.owner, t.kind, t.is_last FROM taken t"
	};
	Arguments	args = {0};
	Column		after_owners = {INT4OID};
	Column		after_ids = {TEXTOID};
	ListCell   *cell;

	bind_mine(&args);
	bind_int(&args, limit);
	foreach(cell, after)
	{
		Signal	   *signal = lfirst(cell);

		add_int(&after_owners, (int) signal->owner);
		add_text(&after_ids, signal->run_id);
	}
	bind_column(&args, &after_owners);
	bind_column(&args, &after_ids);
	bind_all_but(&args, others, count);
	return store_read_list(&statement, &args, read_signal);
}

/*
 * Read and delete the signals for this runner about these runs that their owners have
 * sent: a list of Signal.
 */
List *
store_take_signals_of(char *const *run_ids, const Oid *owners, int count)
{
	static Statement statement = {
		"DELETE FROM agno.run_signals s"
		" USING unnest($3, $4) AS d (run_id, owner)"
		" WHERE s.run_id = d.run_id"
		" AND s.owner = d.owner::pg_catalog.oid::pg_catalog.regrole"
		" AND " MINE("s") " RETURNING s.run_id, s.owner, s.kind, false"
	};
	Arguments	args = {0};
	Column		its = {INT4OID};

	bind_mine(&args);
	bind_ids(&args, run_ids, count);
	for (int i = 0; i < count; i++)
		add_int(&its, (int) owners[i]);
	bind_column(&args, &its);
	return store_read_list(&statement, &args, read_signal);
}

/*
 * Two arrays: the runs of these signals, and whose those are who sent them.
 */
void
bind_signals(Arguments *args, Signal **signals, int count)
{
	Column		run_ids = {TEXTOID};
	Column		owners = {INT4OID};

	for (int i = 0; i < count; i++)
	{
		add_text(&run_ids, signals[i]->run_id);
		add_int(&owners, (int) signals[i]->owner);
	}
	bind_column(args, &run_ids);
	bind_column(args, &owners);
}

/*
 * The runs of these signals, which somebody has locked, are to be cancelled as
 * soon as they can be had, but not for so many seconds. What is not in the queue for
 * this runner has ended, or is not ours; and a signal is for a run of its own role
 * only. Returns the ids of those that are to be cancelled.
 */
List *
store_cancel_later(Signal **signals, int count, int seconds)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET state = " LOCKED ","
		" cancelled = true, looks = 0,"
		" run_at = clock_timestamp() + make_interval(secs => $5) "
		"FROM unnest($3, $4) AS d (run_id, owner)"
		" JOIN agno.runs r ON r.run_id = d.run_id"
		" AND r.owner::pg_catalog.oid = d.owner::pg_catalog.oid "
		"WHERE q.run_id = d.run_id AND " MINE("q") " RETURNING q.run_id"
	};
	Arguments	args = {0};

	bind_mine(&args);
	bind_signals(&args, signals, count);
	bind_int(&args, seconds);
	return store_read_list(&statement, &args, read_id);
}

/*
 * These runs, which this runner has in flight, are to be cancelled, and could not be
 * stored yet: whoever goes on with them is to know.
 */
void
store_keep_cancels(char *const *run_ids, int count)
{
	static Statement statement = {
		"UPDATE agno.run_queue q SET cancelled = true WHERE q.run_id = ANY ($1)"
	};
	Arguments	args = {0};

	if (count == 0)
		return;
	bind_ids(&args, run_ids, count);
	store_execute(&statement, &args);
}

/*
 * Remove the first markers, at most limit, that met no run in their life.
 */
void
store_expire_markers(int limit)
{
	static Statement statement = {
		"DELETE FROM agno.cancellations c WHERE (c.run_id, c.owner) IN"
		" (SELECT o.run_id, o.owner FROM agno.cancellations o"
		" WHERE o.requested_at <= " THIS_TURN " - " MARKER_LIFE
		" ORDER BY o.requested_at LIMIT $1 FOR UPDATE SKIP LOCKED)"
	};
	Arguments	args = {0};

	bind_int(&args, limit);
	store_execute(&statement, &args);
}
