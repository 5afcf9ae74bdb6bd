/*-------------------------------------------------------------------------
 *
 * store_retention.c
 *	  The tables of agno_bg: deleting what is old enough.
 *
 * In a transaction of its own, since others may have a say: a foreign key of a
 * table of the user's may hold a run, or a trigger refuse. What cannot be
 * deleted is skipped, and the reason is logged once.
 *
 * Called by runner.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "store/store.h"
#include "store/store_internal.h"
#include "utils/builtins.h"
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
 * nothing has happened, and *sqlstate tells why. Returns how many rows are
 * gone, whose first column store_text() can read.
 */
static uint64
try_to_delete(Statement *statement, char *const *ids, int count,
			  int *sqlstate)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile uint64 deleted = 0;

	*sqlstate = 0;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		Datum		values[] = {store_text_array(ids, count)};

		deleted = store_execute(statement, values, NULL);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		*sqlstate = error->sqlerrcode;
		if (*sqlstate == ERRCODE_QUERY_CANCELED ||
			*sqlstate == ERRCODE_ADMIN_SHUTDOWN)
			ReThrowError(error);
		if (*sqlstate != ERRCODE_LOCK_NOT_AVAILABLE)
			log_reason(error);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	return deleted;
}

/*
 * Delete the rows with these ids, or as many of them as can be: first all at
 * once, then one by one. Returns how many are gone; they are the first of ids
 * then.
 */
static int
delete_rows(Statement *statement, char **ids, int count)
{
	int			gone = 0;
	int			locked = 0;
	int			sqlstate;

	if (count == 0)
		return 0;
	(void) try_to_delete(statement, ids, count, &sqlstate);
	if (sqlstate == 0)
		return count;
	for (int i = 0; i < count && locked < MAX_LOCKED; i++)
	{
		char	   *id = ids[i];

		(void) try_to_delete(statement, &id, 1, &sqlstate);
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
 * Delete sessions that have no run left. A run that is about to join one holds
 * it locked; one that has joined in the meantime is seen by the second look.
 */
static void
delete_sessions(char *const *session_ids, int count, int age)
{
	static Statement lock = {
		"SELECT s.session_id FROM agno.sessions s"
		" WHERE s.session_id = ANY ($1)"
		" AND s.updated_at < clock_timestamp() - make_interval(secs => $2)"
		" FOR UPDATE SKIP LOCKED",
		2, {TEXTARRAYOID, INT4OID}
	};
	static Statement delete = {
		"DELETE FROM agno.sessions s WHERE s.session_id = ANY ($1)"
		" AND NOT EXISTS (SELECT FROM agno.runs r"
		" WHERE r.session_id = s.session_id)",
		1, {TEXTARRAYOID}
	};
	Datum		values[] = {
		store_text_array(session_ids, count), Int32GetDatum(age)
	};
	uint64		locked = store_execute(&lock, values, NULL);
	char	  **ids = palloc(sizeof(char *) * Max(locked, 1));

	for (uint64 row = 0; row < locked; row++)
		ids[row] = store_text(row, 1);
	(void) delete_rows(&delete, ids, (int) locked);
}

/*
 * Whether a table of a role that is no superuser refers to ours and has triggers
 * of its own, or its deletions would cascade to one: those triggers would be
 * executed here, with our rights.
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
		"SELECT t.id::pg_catalog.regclass::text FROM t"
		" JOIN pg_class r ON r.oid = t.id"
		" JOIN pg_roles o ON o.oid = r.relowner"
		" WHERE NOT o.rolsuper AND EXISTS (SELECT FROM pg_trigger g"
		" WHERE g.tgrelid = t.id AND NOT g.tgisinternal) LIMIT 1",
		0, {0}
	};
	static bool logged;

	if (store_execute(&statement, NULL, NULL) == 0)
		return false;
	if (!logged)
		ereport(LOG,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("agno_bg.retention deletes nothing: table %s refers to runs, has triggers, and is not owned by a superuser",
						store_text(0, 1)),
				 errdetail("The triggers would be executed with the rights of the runner."),
				 errhint("Drop the triggers or the foreign key, or have a superuser own the table.")));
	logged = true;
	return true;
}

/*
 * Delete runs that ended so many seconds ago, the sessions that have none
 * left, and what belongs to them: looks at no more than limit, those accepted
 * first. *after is the place to go on after, until there are no more: then the
 * next call begins anew. Returns whether there may be more.
 */
bool
store_expire_runs(RunPlace *after, int limit, int age)
{
	static Statement immediate = {
		"SET CONSTRAINTS ALL IMMEDIATE",
		0, {0}
	};
	static Statement find = {
		"SELECT o.run_id, o.session_id, o.created_at FROM agno.runs o"
		" WHERE o.created_at >= $3 AND (o.created_at, o.run_id) > ($3, $4)"
		" AND o.created_at < clock_timestamp() - make_interval(secs => $2)"
		" AND o.finished_at < clock_timestamp() - make_interval(secs => $2)"
		" AND o.status IN ('COMPLETED', 'CANCELLED', 'ERROR')"
		" ORDER BY o.created_at, o.run_id LIMIT $1 FOR UPDATE SKIP LOCKED",
		4, {INT4OID, INT4OID, TIMESTAMPTZOID, TEXTOID}
	};
	static Statement delete = {
		"DELETE FROM agno.runs r WHERE r.run_id = ANY ($1)",
		1, {TEXTARRAYOID}
	};
	static Statement requests = {
		"DELETE FROM agno.run_requests d WHERE d.run_id = ANY ($1)",
		1, {TEXTARRAYOID}
	};
	static Statement events = {
		"DELETE FROM agno.run_events e WHERE e.run_id = ANY ($1)",
		1, {TEXTARRAYOID}
	};
	Datum		values[] = {
		Int32GetDatum(limit), Int32GetDatum(age),
		TimestampTzGetDatum(after->created_at),
		CStringGetTextDatum(after->run_id)
	};
	uint64		found;
	char	  **run_ids;
	char	  **session_ids;
	bool		isnull;
	int			gone;

	(void) set_config_option("lock_timeout", LOCK_TIMEOUT, PGC_SUSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	store_execute(&immediate, NULL, NULL);
	if (would_execute_triggers())
		return false;
	found = store_execute(&find, values, NULL);
	if (found == 0)
	{
		*after = store_first_place();
		return false;
	}
	run_ids = palloc(sizeof(char *) * found);
	session_ids = palloc(sizeof(char *) * found);
	for (uint64 row = 0; row < found; row++)
	{
		run_ids[row] = store_text(row, 1);
		session_ids[row] = store_text(row, 2);
	}
	after->created_at = DatumGetTimestampTz(store_column(found - 1, 3, &isnull));
	after->run_id = run_ids[found - 1];

	gone = delete_rows(&delete, run_ids, (int) found);
	if (gone > 0)
	{
		values[0] = store_text_array(run_ids, gone);
		store_execute(&requests, values, NULL);
		store_execute(&events, values, NULL);
		delete_sessions(session_ids, (int) found, age);
	}
	if (found == (uint64) limit)
		return true;
	*after = store_first_place();
	return false;
}
