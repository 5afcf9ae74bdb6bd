/*-------------------------------------------------------------------------
 *
 * store_retention.c
 *	  The tables of agno_bg: deleting what is old enough.
 *
 * For a runner, in a transaction that does nothing else, since others may have
 * a say: a foreign key of a user's table may refer to a run, or a trigger may
 * refuse. What cannot be deleted is skipped, and the reason is logged once.
 * The search_path of a runner is pg_catalog.
 *
 * This never deletes a run that has not ended, and never executes what a user
 * has defined: a deletion changes the rows that refer to it when a foreign key
 * says so, with their triggers, constraints, defaults and expressions, and even
 * to look whether there are such rows may take an expression of their table's
 * owner. So nothing is deleted while that could happen; and should anything be
 * executed nevertheless, it leaves no setting behind.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "server/subtransaction.h"
#include "storage/lmgr.h"
#include "store/store.h"
#include "store/store_queue.h"
#include "utils/guc.h"
#include "utils/memutils.h"

/* How long a lock that others hold is waited for, and how often in a step. */
#define LOCK_TIMEOUT "10ms"
#define MAX_LOCKED 10

/* How many runs are looked at, for each that is deleted in a step at most. */
#define LOOKED_AT 4

/* How many runs of families are looked at in a step, and deleted. */
#define FAMILY_RUNS 1000

/*
 * How many rows a run, or a family, loses in a step that deletes no other; and how many
 * bytes, or how many the runs have that a step deletes, if it is more than one: to delete
 * them takes some 7 ms for each megabyte.
 */
#define PORTION_ROWS 1000
#define PORTION_BYTES (16 * 1024 * 1024)

/* How many different reasons are logged. */
#define MAX_REASONS 20

/*
 * Log why something is not deleted, unless that has been done.
 */
static void
log_reason(const ErrorData *error)
{
	static List *logged = NIL;
	const char *key = error->constraint_name != NULL ?
		error->constraint_name : error->message;
	MemoryContext old;
	ListCell   *cell;

	foreach(cell, logged)
	{
		if (strcmp(lfirst(cell), key) == 0)
			return;
	}
	if (list_length(logged) == MAX_REASONS)
		return;
	old = MemoryContextSwitchTo(TopMemoryContext);
	logged = lappend(logged, pstrdup(key));
	MemoryContextSwitchTo(old);
	ereport(LOG,
			(errcode(error->sqlerrcode),
			 errmsg("agno_bg.retention keeps rows that cannot be deleted: %s",
					error->message),
			 errhint("Define foreign keys to tables of agno_bg with ON DELETE CASCADE or ON DELETE SET NULL, in tables that a superuser owns.")));
}

/*
 * Execute a statement, as PostgreSQL executes expressions of the owners of
 * indexes: whatever is set meanwhile is as it was afterwards, and nothing can be
 * left that is executed later. The caller aborts a subtransaction on an error.
 */
static uint64
execute_restricted(Statement *statement, Arguments *args)
{
	uint64		processed;
	int			guc_level = NewGUCNestLevel();
	Oid			user;
	int			security_context;

	GetUserIdAndSecContext(&user, &security_context);
	SetUserIdAndSecContext(user, security_context |
						   SECURITY_RESTRICTED_OPERATION);
	processed = store_execute(statement, args);
	AtEOXact_GUC(false, guc_level);
	SetUserIdAndSecContext(user, security_context);
	return processed;
}

/* Statements that delete, with the same arguments. */
typedef struct Deletion
{
	Statement  *statements;
	int			count;			/* how many they are */
} Deletion;

/*
 * Execute these statements. If one fails, nothing has happened, and the SQLSTATE is
 * returned: else 0, and *deleted is how many rows the last one has deleted. Neither has
 * anything if this is only to find out.
 */
static int
try_to_delete(Deletion deletion, Arguments *args, bool only_try, uint64 *deleted)
{
	volatile int sqlstate = 0;
	SubTransaction sub = subtransaction_begin();

	PG_TRY();
	{
		for (int i = 0; i < deletion.count; i++)
			*deleted = execute_restricted(&deletion.statements[i], args);
		subtransaction_end(&sub, !only_try);
	}
	PG_CATCH();
	{
		ErrorData  *error = subtransaction_catch(&sub);

		sqlstate = error->sqlerrcode;
		if (sqlstate == ERRCODE_QUERY_CANCELED ||
			sqlstate == ERRCODE_ADMIN_SHUTDOWN)
			ReThrowError(error);
		if (sqlstate != ERRCODE_LOCK_NOT_AVAILABLE)
			log_reason(error);
		FreeErrorData(error);
	}
	PG_END_TRY();
	return sqlstate;
}

/* A run that is to be deleted. */
typedef struct OldRun
{
	char	   *run_id;
	char	   *session_id;		/* its session, */
	bool		last;			/* which goes with its last run: it is locked */
	int			place;			/* of those of this step, and of those that
								 * have stayed before */
} OldRun;

static void
bind_run_ids(Arguments *args, const OldRun *runs, int count)
{
	Column		run_ids = {TEXTOID};

	for (int i = 0; i < count; i++)
		add_text(&run_ids, runs[i].run_id);
	bind_column(args, &run_ids);
}

/*
 * The same for statements whose arguments are the ids of these runs, and of their sessions
 * that may go.
 */
static int
try_to_delete_runs(Deletion deletion, const OldRun *runs, int count, bool only_try)
{
	Arguments	args = {0};
	Column		session_ids = {TEXTOID};
	uint64		deleted;

	for (int i = 0; i < count; i++)
	{
		if (runs[i].last)
			add_text(&session_ids, runs[i].session_id);
	}
	bind_run_ids(&args, runs, count);
	bind_column(&args, &session_ids);
	return try_to_delete(deletion, &args, only_try, &deleted);
}

/*
 * The same for one of them: without its session, if something but a lock keeps that.
 */
static int
try_to_delete_run(Deletion deletion, OldRun run, bool only_try)
{
	int			sqlstate = try_to_delete_runs(deletion, &run, 1, only_try);

	if (sqlstate == 0 || sqlstate == ERRCODE_LOCK_NOT_AVAILABLE || !run.last)
		return sqlstate;
	run.last = false;
	return try_to_delete_runs(deletion, &run, 1, only_try);
}

/*
 * Delete these runs, or as many of them as can be: first all at once, then one by one, as
 * far as not too many are locked. Returns how many are gone; runs begins with them then. With
 * only_try, how many could be deleted. *tried is how many it has tried, of which *kept could
 * not be for other reasons.
 */
static int
delete_rows(Deletion deletion, OldRun *runs, int count, bool only_try, int *tried,
			int *kept)
{
	int			gone = 0;
	int			locked = 0;

	*tried = count;
	*kept = 0;
	if (count > 1 && try_to_delete_runs(deletion, runs, count, only_try) == 0)
		return count;
	for (*tried = 0; *tried < count && locked < MAX_LOCKED; (*tried)++)
	{
		OldRun		run = runs[*tried];
		int			sqlstate = try_to_delete_run(deletion, run, only_try);

		if (sqlstate == 0)
		{
			runs[*tried] = runs[gone];
			runs[gone++] = run;
		}
		else if (sqlstate == ERRCODE_LOCK_NOT_AVAILABLE)
			locked++;
	}
	*kept = *tried - gone - locked;
	return gone;
}

/*
 * Leave out the last one of these runs of each session that would be left without a run, and
 * cannot be deleted yet: nobody would look at it again. Such a one has been changed in the
 * last age seconds, or somebody has locked it: a run may be about to join it. Sets, for the
 * others, which sessions go with their last runs. Returns how many runs there are still.
 */
static int
keep_last_runs(OldRun *runs, int count, int age)
{
	static Statement statement = {
		"WITH held AS MATERIALIZED (SELECT s.session_id FROM agno.sessions s"
		" WHERE s.session_id = ANY ($2)"
		" AND s.updated_at < clock_timestamp() - make_interval(secs => $3)"
		" FOR UPDATE SKIP LOCKED), "
		/* of one that is in use, the last run is not among them */
		"left_alone AS MATERIALIZED (SELECT o.session_id"
		" FROM (SELECT u.session_id FROM unnest($2) AS u (session_id)"
		" EXCEPT SELECT h.session_id FROM held h) o"
		" CROSS JOIN LATERAL (SELECT FROM agno.sessions s"
		" WHERE s.session_id = o.session_id LIMIT 1) e"
		" LEFT JOIN LATERAL (SELECT true AS more FROM agno.runs r"
		" WHERE r.session_id = o.session_id AND r.run_id <> ALL ($1)"
		" ORDER BY r.created_at DESC LIMIT 1) m ON true"
		" WHERE m.more IS NULL) "
		"SELECT d.n::integer, h.session_id IS NOT NULL"
		" FROM (SELECT u.session_id, u.n, lead(u.n)"
		" OVER (PARTITION BY u.session_id ORDER BY u.n) AS next"
		" FROM unnest($2) WITH ORDINALITY AS u (session_id, n)) d"
		" LEFT JOIN held h ON h.session_id = d.session_id"
		" LEFT JOIN left_alone o ON o.session_id = d.session_id"
		" WHERE o.session_id IS NULL OR d.next IS NOT NULL ORDER BY d.n"
	};
	Arguments	args = {0};
	Column		session_ids = {TEXTOID};
	uint64		kept;

	for (int i = 0; i < count; i++)
		add_text(&session_ids, runs[i].session_id);
	bind_run_ids(&args, runs, count);
	bind_column(&args, &session_ids);
	bind_int(&args, age);
	kept = store_execute(&statement, &args);
	for (uint64 n = 0; n < kept; n++)
	{
		RowReader	row = row_reader(n);

		runs[n] = runs[next_int(&row) - 1];
		runs[n].last = next_bool(&row);
	}
	return (int) kept;
}

/* A table that runs are deleted from, or that refers to such a one. */
typedef struct Concerned
{
	Oid			table;
	char	   *name;
	bool		trusted;		/* a superuser owns it */
	char	   *reason;			/* why what its owner has defined would be
								 * executed; or NULL */
} Concerned;

static void *
read_concerned(RowReader *row)
{
	Concerned  *concerned = palloc(sizeof(Concerned));

	concerned->table = next_oid(row);
	concerned->name = next_text(row);
	concerned->trusted = next_bool(row);
	concerned->reason = next_text(row);
	return concerned;
}

/* How many tables of agno_bg there are among them. */
#define OWN_TABLES 7

/*
 * The tables that have to do with deleting runs: a list of Concerned.
 *
 * A foreign key with an action changes the table that has it, and so do those
 * that refer to that one in turn. One without an action has the table read, as
 * its owner: that executes a cast if the key is of another type, and planning it
 * executes what is constant of the expressions of indexes, statistics and
 * partitions.
 */
static List *
find_concerned(void)
{
	static Statement statement = {
		"WITH RECURSIVE changed (id, below) AS ("
		" SELECT n.id::pg_catalog.oid, false FROM unnest("
		"'{agno.runs,agno.sessions,agno.run_requests,agno.run_events,"
		"agno.tool_calls,agno.requirements,agno.run_steps}'"
		"::pg_catalog.regclass[]) AS n (id)"
		" UNION SELECT c.conrelid, true FROM changed t JOIN pg_constraint c"
		" ON c.confrelid = t.id AND c.contype = 'f' AND"
		" (c.confdeltype NOT IN ('a', 'r') OR"
		" (t.below AND c.confupdtype NOT IN ('a', 'r')))), "
		"concerned (id, is_changed, has_cast) AS ("
		" SELECT t.id, t.below, false FROM changed t"
		" UNION SELECT c.conrelid, false, EXISTS (SELECT FROM pg_attribute a"
		" JOIN pg_type y ON y.oid = a.atttypid WHERE a.attrelid = c.conrelid"
		" AND a.attnum = ANY (c.conkey)"
		" AND y.typnamespace <> 'pg_catalog'::pg_catalog.regnamespace)"
		" FROM changed t JOIN pg_constraint c"
		" ON c.confrelid = t.id AND c.contype = 'f') "
		"SELECT r.oid, r.oid::pg_catalog.regclass::pg_catalog.text,"
		" coalesce(o.rolsuper, false) OR r.relowner = w.relowner,"
		" CASE WHEN o.rolsuper OR r.relowner = w.relowner THEN NULL"
		" WHEN n.is_changed THEN"
		" 'has a foreign key with an action'"
		" WHEN n.has_cast THEN 'has a foreign key of a type of its own'"
		" WHEN r.relkind <> 'r' OR r.relispartition THEN 'has partitions'"
		" WHEN EXISTS (SELECT FROM pg_index i WHERE i.indrelid = r.oid"
		" AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL))"
		" OR EXISTS (SELECT FROM pg_statistic_ext s WHERE s.stxrelid = r.oid"
		" AND s.stxexprs IS NOT NULL)"
		" THEN 'has indexes or statistics with expressions' END "
		"FROM concerned n JOIN pg_class r ON r.oid = n.id"
		" JOIN pg_class w ON w.oid = 'agno.runs'::pg_catalog.regclass"
		" LEFT JOIN pg_roles o ON o.oid = r.relowner "
		"ORDER BY n.is_changed DESC, n.has_cast DESC, r.oid"
	};

	return store_read_list(&statement, NULL, read_concerned);
}

/*
 * Nothing is deleted because of this table: log it, once.
 */
static void
log_concerned(const Concerned *concerned)
{
	static Oid	logged = InvalidOid;

	if (logged != concerned->table)
		ereport(LOG,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("agno_bg.retention deletes nothing: table %s refers to runs, %s, and is not owned by a superuser",
						concerned->name, concerned->reason),
				 errdetail("What the owner of the table has defined would be executed by the runner."),
				 errhint("Have a superuser own the table, or drop the foreign key; one without an action, in a table without such expressions, does no harm.")));
	logged = concerned->table;
}

/*
 * See to it that nothing that a user has defined is executed when runs are
 * deleted, in this transaction. Returns whether that is so: else, nothing is to
 * be deleted. Tables are locked so that it stays so, but for none is waited. Sets how many
 * tables that is.
 */
static bool
nothing_is_executed(int *count)
{
	List	   *locked = NIL;
	bool		more = true;

	/* What is found and locked may have been changed in between. */
	while (more)
	{
		ListCell   *cell;

		more = false;
		foreach(cell, find_concerned())
		{
			Concerned  *concerned = lfirst(cell);

			if (concerned->reason != NULL)
			{
				log_concerned(concerned);
				return false;
			}
			if (list_member_oid(locked, concerned->table))
				continue;
			/* The stronger lock is in the way of new statistics, too. */
			if (!ConditionalLockRelationOid(concerned->table,
											concerned->trusted ?
											RowExclusiveLock :
											ShareUpdateExclusiveLock))
				return false;
			locked = lappend_oid(locked, concerned->table);
			more = true;
		}
	}
	*count = list_length(locked);
	return true;
}

/*
 * Look at the next runs after a place, and find those that ended at least age seconds ago:
 * at most limit, in roots, but not those that are kept for a run that has enqueued them.
 * There may be very many before them that have not ended, so no more are looked at than
 * LOOKED_AT times limit, and *after is how far that is. Returns whether there may be more.
 */
static bool
find_expired(RunPlace *after, int limit, int age, Column *roots)
{
	static Statement statement = {
		"SELECT o.run_id, o.created_at, coalesce("
		"o.finished_at < clock_timestamp() - make_interval(secs => $2)"
		" AND o.status IN ('COMPLETED', 'CANCELLED', 'ERROR')"
		" AND (o.parent_run_id IS NULL OR NOT EXISTS"
		" (SELECT FROM agno.runs p WHERE p.run_id = o.parent_run_id)), false)"
		" FROM (SELECT r.run_id, r.created_at, r.finished_at, r.status,"
		" r.parent_run_id FROM agno.runs r"
		" WHERE r.created_at >= $3 AND (r.created_at, r.run_id) > ($3, $4)"
		" AND r.created_at < " THIS_TURN " - make_interval(secs => $2)"
		" ORDER BY r.created_at, r.run_id LIMIT $1) o"
		" ORDER BY o.created_at, o.run_id"
	};
	Arguments	args = {0};
	int			most = limit * LOOKED_AT;
	uint64		seen;

	bind_int(&args, most);
	bind_int(&args, age);
	bind_time(&args, after->created_at);
	bind_text(&args, after->run_id);
	seen = store_execute(&statement, &args);
	for (uint64 n = 0; n < seen && roots->count < limit; n++)
	{
		RowReader	row = row_reader(n);

		after->run_id = next_text(&row);
		after->created_at = next_time(&row);
		if (next_bool(&row))
			add_text(roots, after->run_id);
	}
	return seen == most || roots->count == limit;
}

/*
 * Lock those of these runs that nobody else has locked, or requeued just now: rows of run_id
 * and created_at, in their order. Returns how many there are.
 */
static uint64
lock_expired(const Column *run_ids, int age)
{
	static Statement statement = {
		"SELECT r.run_id, r.created_at FROM agno.runs r"
		" WHERE r.run_id = ANY ($1)"
		" AND r.status IN ('COMPLETED', 'CANCELLED', 'ERROR')"
		" AND r.finished_at < clock_timestamp() - make_interval(secs => $2)"
		" ORDER BY r.created_at, r.run_id FOR UPDATE SKIP LOCKED"
	};
	Arguments	args = {0};

	bind_column(&args, run_ids);
	bind_int(&args, age);
	return store_execute(&statement, &args);
}

/*
 * Of the first ones of these runs, add to *whole those of whose families all ended at
 * least age seconds ago, with all of these families. Looks at no more than FAMILY_RUNS,
 * and returns how many of the given runs that has sufficed for. Of a family that is
 * larger than that, the upper ones are taken for all: those below have nobody above
 * them then, and are families of their own. Somebody may have some go on still.
 */
static int
whole_families(const Column *run_ids, int age, Column *whole)
{
	/* One family after the other is read, and no more of them than is needed. */
	static Statement statement = {
		"SELECT d.n::integer, f.run_id, f.is_old"
		" FROM unnest($1) WITH ORDINALITY AS d (root, n), LATERAL"
		" (WITH RECURSIVE family (run_id, is_old) AS ("
		" SELECT d.root COLLATE \"C\", true"
		" UNION ALL SELECT k.run_id,"
		" k.status IN ('COMPLETED', 'CANCELLED', 'ERROR') AND k.finished_at <"
		" clock_timestamp() - make_interval(secs => $2)"
		" FROM family f JOIN agno.runs k ON k.parent_run_id = f.run_id)"
		" SELECT y.run_id, y.is_old FROM family y) f LIMIT $3"
	};
	Arguments	args = {0};
	bool		is_old = true;
	int			begin = 0;
	int			root = 1;
	uint64		found;

	bind_column(&args, run_ids);
	bind_int(&args, age);
	bind_int(&args, FAMILY_RUNS);
	found = store_execute(&statement, &args);
	for (uint64 n = 0; n < found; n++)
	{
		RowReader	row = row_reader(n);
		int			its_root = next_int(&row);

		if (its_root != root)
		{
			if (!is_old)
				whole->count = begin;
			begin = whole->count;
			is_old = true;
			root = its_root;
		}
		add_text(whole, next_text(&row));
		is_old &= next_bool(&row);
	}
	if (found < FAMILY_RUNS)
		root = run_ids->count;
	else if (root > 1)
	{
		/* There may be more of this one. */
		is_old = false;
		root--;
	}
	if (!is_old)
		whole->count = begin;
	return root;
}

/* How long a column is where it is stored, in bytes. */
#define SIZE(column) "coalesce(pg_column_size(" column ")::bigint, 0)"

/* How many bytes a row of these tables has: all columns that may be long. */
#define RUN_SIZE SIZE("r.user_id") " + " SIZE("r.input") " + " \
	SIZE("r.content") " + " SIZE("r.reasoning_content") " + " SIZE("r.model") \
	" + " SIZE("r.messages") " + " SIZE("r.tools") " + " \
	SIZE("r.requirements") " + " SIZE("r.metrics") " + " \
	SIZE("r.session_state") " + " SIZE("r.metadata") " + " SIZE("r.error")
#define REQUEST_SIZE SIZE("q.model_options") " + " SIZE("q.output_schema") " + " \
	SIZE("q.session_state") " + " SIZE("q.agent") " + " \
	SIZE("q.response_id") " + " SIZE("q.tools") " + " SIZE("q.tool_choice")
#define SESSION_SIZE SIZE("s.user_id") " + " SIZE("s.session_state") " + " \
	SIZE("s.metadata") " + " SIZE("s.session_metrics")
#define EVENT_SIZE SIZE("o.data")
#define CALL_SIZE SIZE("o.model_call_id") " + " SIZE("o.tool") " + " \
	SIZE("o.arguments") " + " SIZE("o.result") " + " SIZE("o.shown") " + " \
	SIZE("o.error") " + " SIZE("o.child_metrics")
#define REQUIREMENT_SIZE SIZE("o.preview") " + " SIZE("o.answer") " + " \
	SIZE("o.input_schema") " + " SIZE("o.note")
#define STEP_SIZE SIZE("o.messages")

/*
 * Lock those of these runs that have ended and that nobody else has locked: rows of
 * run_id, session_id and how many bytes it has, with its request, and, if it is the first
 * of its session, with that, in their order.
 */
static uint64
lock_ended(const Column *run_ids)
{
	static Statement statement = {
		"SELECT r.run_id, r.session_id, " RUN_SIZE " + " REQUEST_SIZE " + "
		"CASE WHEN d.is_first THEN " SESSION_SIZE " ELSE 0 END"
		" FROM (SELECT u.run_id, u.n, row_number()"
		" OVER (PARTITION BY o.session_id ORDER BY u.n) = 1 AS is_first"
		" FROM unnest($1) WITH ORDINALITY AS u (run_id, n)"
		" JOIN agno.runs o ON o.run_id = u.run_id) d"
		" JOIN agno.runs r ON r.run_id = d.run_id"
		" LEFT JOIN agno.run_requests q ON q.run_id = d.run_id"
		" LEFT JOIN agno.sessions s ON s.session_id = r.session_id"
		" WHERE r.status IN ('COMPLETED', 'CANCELLED', 'ERROR')"
		" AND NOT EXISTS (SELECT FROM agno.callbacks c"
		" WHERE c.run_id = r.run_id)"
		" ORDER BY d.n FOR UPDATE OF r SKIP LOCKED"
	};
	Arguments	args = {0};

	bind_column(&args, run_ids);
	return store_execute(&statement, &args);
}

/* Runs, what belongs to them, and sessions without any. */
static Statement run_statements[] = {
	{"DELETE FROM agno.runs r WHERE r.run_id = ANY ($1)"},
	{"DELETE FROM agno.run_requests d WHERE d.run_id = ANY ($1)"},
	{"DELETE FROM agno.run_events e WHERE e.run_id = ANY ($1)"},
	{"DELETE FROM agno.tool_calls c WHERE c.run_id = ANY ($1)"},
	{"DELETE FROM agno.requirements q WHERE q.run_id = ANY ($1)"},
	{"DELETE FROM agno.run_steps s WHERE s.run_id = ANY ($1)"},
	{"DELETE FROM agno.sessions s WHERE s.session_id = ANY ($2) AND NOT EXISTS"
	" (SELECT FROM agno.runs r WHERE r.session_id = s.session_id)"}
};

#define FIRST_SIZES(table, size) \
	"(SELECT " size " AS size FROM " table " o" \
	" WHERE o.run_id = ANY ($1) LIMIT $2)"

/*
 * Whether more belongs to these runs than is to be deleted at once.
 */
static bool
have_much(const OldRun *runs, int count)
{
	static Statement statement = {
		"SELECT count(*) > $3 OR coalesce(sum(s.size), 0) > $4 FROM ("
		FIRST_SIZES("agno.run_events", EVENT_SIZE) " UNION ALL "
		FIRST_SIZES("agno.tool_calls", CALL_SIZE) " UNION ALL "
		FIRST_SIZES("agno.requirements", REQUIREMENT_SIZE) " UNION ALL "
		FIRST_SIZES("agno.run_steps", STEP_SIZE) ") s"
	};
	Arguments	args = {0};
	RowReader	row;

	bind_run_ids(&args, runs, count);
	bind_int(&args, PORTION_ROWS + 1);
	bind_int(&args, PORTION_ROWS);
	bind_int(&args, PORTION_BYTES);
	store_execute(&statement, &args);
	row = row_reader(0);
	return next_bool(&row);
}

#define DELETE_PORTION(table, size) \
	"DELETE FROM " table " d WHERE d.ctid = ANY (ARRAY(SELECT y.row FROM" \
	" (SELECT s.row, s.size, sum(s.size) OVER (ROWS UNBOUNDED PRECEDING)" \
	" AS so_far FROM (SELECT o.ctid AS row, " size " AS size FROM " table " o" \
	" WHERE o.run_id = ANY ($1) LIMIT $2) s) y WHERE y.so_far - y.size < $3))"

/*
 * Whether something may keep runs from being deleted, as far as is known: foreign keys from
 * other tables, of which there are so many in all, or triggers.
 */
static bool
runs_may_stay(int tables)
{
	static Statement statement = {
		"SELECT FROM pg_trigger t WHERE t.tgrelid = 'agno.runs'"
		"::pg_catalog.regclass AND NOT t.tgisinternal LIMIT 1"
	};

	return tables > OWN_TABLES || store_execute(&statement, NULL) > 0;
}

/*
 * Whether foreign keys may keep parts of what belongs to runs: then it is not deleted in
 * portions, of which the first ones would be gone when another cannot be deleted, but fewer
 * runs at once.
 */
static bool
parts_may_stay(int tables)
{
	static Statement statement = {
		"SELECT FROM pg_constraint c WHERE c.contype = 'f' AND c.confrelid = ANY"
		" ('{agno.run_requests,agno.run_events,agno.tool_calls,"
		"agno.requirements,agno.run_steps}'::pg_catalog.regclass[]) LIMIT 1"
	};

	return tables > OWN_TABLES && store_execute(&statement, NULL) > 0;
}

/*
 * Delete a portion of what belongs to those of these runs that can be deleted; may_stay: not
 * all of them may be. Returns whether there was any: then there may be more of it, and the
 * runs are to stay still.
 */
static bool
delete_portion(OldRun *runs, int count, bool may_stay)
{
	static Statement statements[] = {
		/* what somebody may refer to comes first */
		{DELETE_PORTION("agno.tool_calls", CALL_SIZE)},
		{DELETE_PORTION("agno.requirements", REQUIREMENT_SIZE)},
		{DELETE_PORTION("agno.run_steps", STEP_SIZE)},
		{DELETE_PORTION("agno.run_events", EVENT_SIZE)}
	};
	Deletion	runs_alone = {run_statements, 1};
	uint64		deleted = 0;
	bool		failed = false;
	int			tried;
	int			kept;

	if (may_stay)
		count = delete_rows(runs_alone, runs, count, true, &tried, &kept);
	for (int i = 0; count > 0 && deleted == 0 && !failed &&
		 i < (int) lengthof(statements); i++)
	{
		Deletion	portion = {&statements[i], 1};
		Arguments	args = {0};

		bind_run_ids(&args, runs, count);
		bind_int(&args, PORTION_ROWS);
		bind_int(&args, PORTION_BYTES);
		failed = try_to_delete(portion, &args, false, &deleted) != 0;
	}
	return !failed && deleted > 0;
}

/*
 * Delete runs that ended at least age seconds ago, with all that they have enqueued,
 * the sessions that have none left, and what belongs to them: no more than limit,
 * those accepted first, and fewer if their families are large, or they themselves. With
 * a limit of 1, what belongs to a run is deleted in portions before it goes itself. *after is the
 * place to go on after, until there are no more: then the next call begins anew.
 * *stayed is how many runs of that place could not be deleted, so that the call goes on after
 * them; *kept is increased by how many could not be this time that nobody has locked. Returns whether there may be
 * more. Errors: any that a trigger or a foreign key raises at the commit.
 */
bool
store_expire_runs(RunPlace *after, int *stayed, int *kept, int limit, int age)
{
	static Statement immediate = {
		"SET CONSTRAINTS ALL IMMEDIATE"
	};
	RunPlace	end = *after;
	Column		expired = {TEXTOID};
	Deletion	all = {run_statements, lengthof(run_statements)};
	bool		more;
	uint64		found;
	uint64		ended;
	int64		bytes = 0;
	int			count = 0;
	int			tables;
	int			looked;
	RunPlace   *places;
	Column		roots = {TEXTOID};
	Column		families = {TEXTOID};
	OldRun	   *runs;
	bool		whole;
	int			left;
	int			gone;
	int			tried;
	int			held;
	int			end_place;

	(void) set_config_option("lock_timeout", LOCK_TIMEOUT, PGC_SUSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	store_execute(&immediate, NULL);
	if (!nothing_is_executed(&tables))
		return false;
	more = find_expired(&end, limit, age, &expired);
	found = lock_expired(&expired, age);
	places = palloc(sizeof(RunPlace) * Max(found, 1));
	for (uint64 n = 0; n < found; n++)
	{
		RowReader	row = row_reader(n);

		places[n].run_id = next_text(&row);
		places[n].created_at = next_time(&row);
		add_text(&roots, places[n].run_id);
	}
	looked = whole_families(&roots, age, &families);
	ended = lock_ended(&families);
	runs = palloc(sizeof(OldRun) * Max(ended, 1));
	for (uint64 n = *stayed; n < ended; n++)
	{
		RowReader	row = row_reader(n);

		runs[count].run_id = next_text(&row);
		runs[count].session_id = next_text(&row);
		runs[count].place = (int) n;
		bytes += next_int64(&row);
		if (count > 0 && bytes > PORTION_BYTES)
			break;
		count++;
	}
	whole = parts_may_stay(tables);
	while (whole && count > 1 && have_much(runs, count))
		count /= 2;
	left = keep_last_runs(runs, count, age);
	if (limit == 1 && !whole && left > 0 && have_much(runs, left) &&
		delete_portion(runs, left, runs_may_stay(tables)))
		return true;
	gone = delete_rows(all, runs, left, false, &tried, &held);
	*kept += held;
	end_place = tried < left ? runs[tried].place : *stayed + count;
	if ((uint64) end_place < ended)
	{
		/*
		 * The next call goes on with the others: those that are gone are
		 * none.
		 */
		*stayed = end_place - gone;
		return true;
	}
	*stayed = 0;
	if ((uint64) looked < found)
	{
		*after = places[looked - 1];
		return true;
	}
	*after = more ? end : store_first_place();
	return more;
}
