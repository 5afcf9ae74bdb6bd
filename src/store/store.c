/*-------------------------------------------------------------------------
 *
 * store.c
 *	  The tables of agno_bg: who may execute statements, and when.
 *
 * Two kinds of processes do. Backends act within the transaction of their
 * user, as the owner of the tables, between store_enter() and store_leave().
 * Nothing that the user can define may be executed then: so the search_path is
 * one of our own, and besides, the statements say the schema of every type,
 * function and operator. Runners have transactions of their own, between
 * store_begin() and store_commit(), as the owner as well, and a search_path of
 * pg_catalog.
 *
 * Those statements are in the other files of the store; here are only the few
 * that backends execute out of turn, and enter and leave for themselves.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "commands/async.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "core/version.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "replication/syncrep.h"
#include "server/settings.h"
#include "storage/lmgr.h"
#include "store/store.h"
#include "store/store_statement.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"

/*-------------------------------------------------------------------------
 * Backends
 *-------------------------------------------------------------------------
 */

/*
 * The extension of this database, or InvalidOid; *fits tells whether its
 * objects are those that the statements of the store are for. With complain,
 * it is an error when they are not.
 */
Oid
store_find_extension(bool *fits, bool complain)
{
	Relation	relation = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			extension = InvalidOid;

	*fits = false;
	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber,
				F_NAMEEQ, CStringGetDatum("agno_bg"));
	scan = systable_beginscan(relation, ExtensionNameIndexId, true, NULL, 1,
							  &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		char	   *version =
			TextDatumGetCString(heap_getattr(tuple,
											 Anum_pg_extension_extversion,
											 RelationGetDescr(relation),
											 &isnull));

		extension = ((Form_pg_extension) GETSTRUCT(tuple))->oid;
		*fits = strcmp(version, AGNO_VERSION) == 0;
		if (!*fits)
			ereport(complain ? ERROR : DEBUG1,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("extension \"agno_bg\" is of version %s, its library of version %s",
							version, AGNO_VERSION),
					 errhint("Run ALTER EXTENSION agno_bg UPDATE.")));
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return extension;
}

/* The table agno.runs of an extension that is known to fit, or invalid. */
static Oid	fitting_table = InvalidOid;

/*
 * A relation has been changed. An update of the extension changes agno.runs.
 */
static void
forget_fitting(Datum arg, Oid relation)
{
	if (!OidIsValid(relation) || relation == fitting_table)
		fitting_table = InvalidOid;
}

/*
 * For an error: what is to be done if our tables are not where they should be.
 */
static int
hint_at_tables(void)
{
	if (OidIsValid(get_extension_oid("agno_bg", true)))
		return errhint("The tables of the extension belong to it, and into schema \"agno\".");
	return errhint("Run CREATE EXTENSION agno_bg.");
}

/*
 * Refuse a table that is not that of an extension that fits: whoever may create a schema
 * can have one of this name where there is no extension any more.
 */
static void
check_extension(Oid table)
{
	static bool registered;
	Oid			extension;
	bool		fits;

	if (table == fitting_table)
		return;
	if (!registered)
		CacheRegisterRelcacheCallback(forget_fitting, (Datum) 0);
	registered = true;
	extension = store_find_extension(&fits, true);
	if (!OidIsValid(extension) ||
		getExtensionOfObject(RelationRelationId, table) != extension)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("\"agno.runs\" is no table of extension \"agno_bg\""),
				 hint_at_tables()));
	fitting_table = table;
}

/*
 * Who owns the tables. They stay those of the extension to the end of the transaction.
 * Errors: undefined_table or undefined_object without the extension,
 * object_not_in_prerequisite_state if it is of another version.
 */
static Oid
tables_owner(void)
{
	Oid			schema = get_namespace_oid("agno", false);
	Oid			table = get_relname_relid("runs", schema);
	Relation	relation = OidIsValid(table) ?
		try_relation_open(table, AccessShareLock) : NULL;
	Oid			owner;

	if (relation == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"agno.runs\" does not exist"),
				 hint_at_tables()));
	check_extension(table);
	owner = relation->rd_rel->relowner;
	relation_close(relation, NoLock);
	return owner;
}

/*
 * Act as the owner of the tables until store_leave(), with a search_path on
 * which nothing of the user's comes first. An error puts both back by itself,
 * as it does for a SECURITY DEFINER function with a search_path of its own.
 */
StoreUser
store_enter(void)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid			owner = tables_owner();
	StoreUser	user;

	GetUserIdAndSecContext(&user.user, &user.security_context);
	user.guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true,
							 0, false);
	/* The queue was large once, maybe, and may be taken to be so still. */
	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);

	/*
	 * What a trigger does where a logical subscription applies changes is of
	 * this database, and no row that the subscription receives of ours.
	 */
	if (SessionReplicationRole != SESSION_REPLICATION_ROLE_ORIGIN)
		(void) set_config_option("session_replication_role", "origin",
								 PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE,
								 true, 0, false);
	SetUserIdAndSecContext(owner, user.security_context |
						   SECURITY_LOCAL_USERID_CHANGE);
	SPI_connect();
	MemoryContextSwitchTo(caller);
	return user;
}

/*
 * Be the user again that store_enter() returned.
 */
void
store_leave(StoreUser user)
{
	SPI_finish();
	SetUserIdAndSecContext(user.user, user.security_context);
	AtEOXact_GUC(true, user.guc_level);
}

/*
 * Lock these tables of the schema agno, count of them, as for writing. To be called before
 * any of them is read, by who lets others' code take its time before he writes: a REINDEX
 * that comes between waits for him here, and not he for it and it for him. While he waits
 * for one of them, he has none of the others, whatever the order in which others lock them.
 */
void
store_lock_to_write(const char *const *tables, int count)
{
	Oid		   *oids = palloc(sizeof(Oid) * count);
	int			locked = 0;

	for (int i = 0; i < count; i++)
		oids[i] = RangeVarGetRelid(makeRangeVar("agno",
												unconstify(char *, tables[i]), -1),
								   NoLock, false);
	while (locked < count)
	{
		Oid			next = oids[locked];

		if (ConditionalLockRelationOid(next, RowExclusiveLock))
		{
			locked++;
			continue;
		}
		for (int i = 0; i < locked; i++)
			UnlockRelationOid(oids[i], RowExclusiveLock);
		LockRelationOid(next, RowExclusiveLock);
		oids[locked] = oids[0];
		oids[0] = next;
		locked = 1;
	}
	pfree(oids);
}

/*
 * Somebody writes into our tables: the next patrol is to look at all runs.
 */
void
store_forget_check(void)
{
	StoreUser	user = store_enter();

	store_unset_checked();
	store_leave(user);
}

/*
 * Commit the transaction of a procedure that has been called outside of a
 * transaction block, and go on in a new one.
 */
void
store_commit_call(void)
{
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	SPI_commit();
	SPI_finish();
}

/*-------------------------------------------------------------------------
 * The runner
 *-------------------------------------------------------------------------
 */

/* The transaction of this runner is about to be committed, or flushed. */
static volatile sig_atomic_t committing = false;

/* Who the runner is outside of its transactions. */
static StoreUser runner_user;

/* Nobody is notified. */
static bool muted = false;

/*
 * Whether store_notify() is to leave listeners alone, until this is called
 * again: they cannot be told right now.
 */
void
store_mute(bool mute)
{
	muted = mute;
}

/*
 * Notify those who listen to this channel, at the commit, of a run.
 */
void
store_notify(const char *channel, const char *run_id)
{
	if (agno_notify && !muted)
		Async_Notify(channel, run_id);
}

/*
 * Start a transaction of a runner that only looks whether there is an extension to serve,
 * and executes no statement before store_serve(); show this text in pg_stat_activity.
 * The caller's memory context stays the current one, here and in store_commit().
 */
void
store_begin_to_look(const char *activity)
{
	MemoryContext caller = CurrentMemoryContext;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	GetUserIdAndSecContext(&runner_user.user, &runner_user.security_context);
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, activity);
	MemoryContextSwitchTo(caller);
}

/*
 * Act as the owner of the tables to the end of the transaction of a runner: a trigger
 * that is put on them has its owner's rights, not the runner's. Errors as of
 * tables_owner().
 */
void
store_serve(void)
{
	SetUserIdAndSecContext(tables_owner(), runner_user.security_context |
						   SECURITY_LOCAL_USERID_CHANGE);
}

/*
 * Start a transaction of a runner that works on the tables.
 */
void
store_begin(const char *activity)
{
	store_begin_to_look(activity);
	store_serve();
}

/*
 * It does no harm if what this transaction does is lost in a crash, as long as
 * everything after it is lost, too: nobody has to wait for the disk.
 */
void
store_commit_lazily(void)
{
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

/*
 * Wait until what was committed lazily is as safe as if it had not been: on disk,
 * and on the standbys that the settings name.
 */
void
store_flush(void)
{
	if (synchronous_commit == SYNCHRONOUS_COMMIT_OFF)
		return;
	/* As in a commit: who is to end does so afterwards. */
	HOLD_INTERRUPTS();
	committing = true;
	XLogFlush(XactLastCommitEnd);
	if (!ShutdownRequestPending)
		SyncRepWaitForLSN(XactLastCommitEnd, true);
	committing = false;
	QueryCancelPending = false;
	RESUME_INTERRUPTS();
}

/*
 * Commit the transaction. Errors: any that a deferred trigger raises;
 * store_failed_at_commit() is true then.
 */
void
store_commit(void)
{
	MemoryContext caller = CurrentMemoryContext;

	SPI_finish();
	PopActiveSnapshot();
	committing = true;
	if (ShutdownRequestPending &&
		synchronous_commit > SYNCHRONOUS_COMMIT_LOCAL_FLUSH)
		(void) set_config_option("synchronous_commit", "local", PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0,
								 false);
	CommitTransactionCommand();
	committing = false;
	QueryCancelPending = false;
	SetUserIdAndSecContext(runner_user.user, runner_user.security_context);
	pgstat_report_stat(false);
	MemoryContextSwitchTo(caller);
}

/*
 * In a signal handler of a runner: it is to stop. If it waits for a standby, it waits
 * no longer, like a backend that is terminated.
 */
void
store_stop_waiting(void)
{
	if (!committing)
		return;
	QueryCancelPending = true;
	InterruptPending = true;
}

/*
 * In PG_CATCH(): whether all statements had succeeded when the error came.
 */
bool
store_failed_at_commit(void)
{
	return committing;
}

/*
 * After an error: nothing of the transaction remains.
 */
void
store_abort(void)
{
	committing = false;
	AbortCurrentTransaction();
	pgstat_report_stat(false);
}
