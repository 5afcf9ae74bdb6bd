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
 * This never deletes a run that has not ended, and never lets triggers of a
 * user run with the rights of the runner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "store/store.h"
#include "store/store_statement.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/* How long a lock that others hold is waited for, and how often in a step. */
#define LOCK_TIMEOUT "10ms"
#define MAX_LOCKED 10

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
			 errhint("Define foreign keys to agno.runs with ON DELETE CASCADE or ON DELETE SET NULL.")));
}

/*
 * Execute a statement that deletes the rows with these ids. If it fails,
 * nothing has happened, and the SQLSTATE is returned: else 0.
 */
static int
try_to_delete(Statement *statement, char *const *ids, int count)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile int sqlstate = 0;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		Arguments	args = {0};

		bind_ids(&args, ids, count);
		store_execute(statement, &args);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		sqlstate = error->sqlerrcode;
		if (sqlstate == ERRCODE_QUERY_CANCELED ||
			sqlstate == ERRCODE_ADMIN_SHUTDOWN)
			ReThrowError(error);
		if (sqlstate != ERRCODE_LOCK_NOT_AVAILABLE)
			log_reason(error);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	return sqlstate;
}

/*
 * Delete the rows with these ids, or as many of them as can be: first all at
 * once, then one by one. Returns how many are gone; ids begins with them then.
 */
static int
delete_rows(Statement *statement, char **ids, int count)
{
	int			gone = 0;
	int			locked = 0;

	if (count == 0)
		return 0;
	if (try_to_delete(statement, ids, count) == 0)
		return count;
	for (int i = 0; i < count && locked < MAX_LOCKED; i++)
	{
		char	   *id = ids[i];
		int			sqlstate = try_to_delete(statement, &id, 1);

		if (sqlstate == 0)
		{
			ids[i] = ids[gone];
			ids[gone++] = id;
		}
		else if (sqlstate == ERRCODE_LOCK_NOT_AVAILABLE)
			locked++;
	}
	return gone;
}

/*
 * Delete those of these sessions that have no run left, and have not been
 * changed for age seconds. A run that is about to join a session holds it
 * locked; one that has joined in the meantime is seen by the second statement.
 */
static void
delete_sessions(char *const *session_ids, int count, int age)
{
	static Statement lock = {
		"SELECT s.session_id FROM agno.sessions s"
		" WHERE s.session_id = ANY ($1)"
		" AND s.updated_at < clock_timestamp() - make_interval(secs => $2)"
		" FOR UPDATE SKIP LOCKED"
	};
	static Statement delete = {
		"DELETE FROM agno.sessions s WHERE s.session_id = ANY ($1)"
		" AND NOT EXISTS (SELECT FROM agno.runs r"
		" WHERE r.session_id = s.session_id)"
	};
	Arguments	args = {0};
	uint64		locked;
	char	  **ids;

	bind_ids(&args, session_ids, count);
	bind_int(&args, age);
	locked = store_execute(&lock, &args);
	ids = palloc(sizeof(char *) * Max(locked, 1));
	for (uint64 n = 0; n < locked; n++)
	{
		RowReader	row = row_reader(n);

		ids[n] = next_text(&row);
	}
	(void) delete_rows(&delete, ids, (int) locked);
}

/*
 * Whether a table of a role that is no superuser refers to ours and has
 * triggers of its own, or our deletions would cascade to such a table: its
 * triggers would be executed here, with our rights.
 */
static bool
would_execute_triggers(void)
{
	static Statement statement = {
		"WITH RECURSIVE t (id) AS ("
		" SELECT 'agno.runs'::pg_catalog.regclass::pg_catalog.oid"
		" UNION SELECT 'agno.sessions'::pg_catalog.regclass::pg_catalog.oid"
		" UNION SELECT c.conrelid FROM t JOIN pg_constraint c"
		" ON c.confrelid = t.id AND c.contype = 'f') "
		"SELECT t.id::pg_catalog.regclass::pg_catalog.text FROM t"
		" JOIN pg_class r ON r.oid = t.id"
		" JOIN pg_roles o ON o.oid = r.relowner"
		" WHERE NOT o.rolsuper AND EXISTS (SELECT FROM pg_trigger g"
		" WHERE g.tgrelid = t.id AND NOT g.tgisinternal) LIMIT 1"
	};
	static bool logged;
	RowReader	row;

	if (store_execute(&statement, NULL) == 0)
		return false;
	row = row_reader(0);
	if (!logged)
		ereport(LOG,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("agno_bg.retention deletes nothing: table %s refers to runs, has triggers, and is not owned by a superuser",
						next_text(&row)),
				 errdetail("The triggers would be executed with the rights of the runner."),
				 errhint("Drop the triggers or the foreign key, or have a superuser own the table.")));
	logged = true;
	return true;
}

/*
 * Find runs that ended at least age seconds ago, the next after a place, and
 * lock them: rows of run_id, session_id and created_at. Returns how many there
 * are, at most limit.
 */
static uint64
find_expired(const RunPlace *after, int limit, int age)
{
	static Statement statement = {
		"SELECT o.run_id, o.session_id, o.created_at FROM agno.runs o"
		" WHERE o.created_at >= $3 AND (o.created_at, o.run_id) > ($3, $4)"
		" AND o.created_at < clock_timestamp() - make_interval(secs => $2)"
		" AND o.finished_at < clock_timestamp() - make_interval(secs => $2)"
		" AND o.status IN ('COMPLETED', 'CANCELLED', 'ERROR')"
		" ORDER BY o.created_at, o.run_id LIMIT $1 FOR UPDATE SKIP LOCKED"
	};
	Arguments	args = {0};

	bind_int(&args, limit);
	bind_int(&args, age);
	bind_time(&args, after->created_at);
	bind_text(&args, after->run_id);
	return store_execute(&statement, &args);
}

/*
 * Delete these runs, or as many of them as can be, with what belongs to them,
 * and those of their sessions that have no run left then.
 */
static void
delete_runs(char **run_ids, char *const *session_ids, int count, int age)
{
	static Statement runs = {
		"DELETE FROM agno.runs r WHERE r.run_id = ANY ($1)"
	};
	static Statement requests = {
		"DELETE FROM agno.run_requests d WHERE d.run_id = ANY ($1)"
	};
	static Statement events = {
		"DELETE FROM agno.run_events e WHERE e.run_id = ANY ($1)"
	};
	static Statement calls = {
		"DELETE FROM agno.tool_calls c WHERE c.run_id = ANY ($1)"
	};
	static Statement steps = {
		"DELETE FROM agno.run_steps s WHERE s.run_id = ANY ($1)"
	};
	static Statement requirements = {
		"DELETE FROM agno.requirements q WHERE q.run_id = ANY ($1)"
	};
	Arguments	args = {0};
	int			gone = delete_rows(&runs, run_ids, count);

	if (gone == 0)
		return;
	bind_ids(&args, run_ids, gone);
	store_execute(&requests, &args);
	store_execute(&events, &args);
	store_execute(&calls, &args);
	store_execute(&requirements, &args);
	store_execute(&steps, &args);
	delete_sessions(session_ids, count, age);
}

/*
 * Delete runs that ended at least age seconds ago, the sessions that have none
 * left, and what belongs to them: looks at no more than limit, those accepted
 * first. *after is the place to go on after, until there are no more: then the
 * next call begins anew. Returns whether there may be more. Errors: any that a
 * trigger or a foreign key raises at the commit.
 */
bool
store_expire_runs(RunPlace *after, int limit, int age)
{
	static Statement immediate = {
		"SET CONSTRAINTS ALL IMMEDIATE"
	};
	uint64		found;
	char	  **run_ids;
	char	  **session_ids;

	(void) set_config_option("lock_timeout", LOCK_TIMEOUT, PGC_SUSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	store_execute(&immediate, NULL);
	if (would_execute_triggers())
		return false;
	found = find_expired(after, limit, age);
	run_ids = palloc(sizeof(char *) * Max(found, 1));
	session_ids = palloc(sizeof(char *) * Max(found, 1));
	for (uint64 n = 0; n < found; n++)
	{
		RowReader	row = row_reader(n);

		run_ids[n] = next_text(&row);
		session_ids[n] = next_text(&row);
		after->created_at = next_time(&row);
		after->run_id = run_ids[n];
	}
	if (found > 0)
		delete_runs(run_ids, session_ids, (int) found, age);
	if (found == (uint64) limit)
		return true;
	*after = store_first_place();
	return false;
}
