/*-------------------------------------------------------------------------
 *
 * store.c
 *	  The tables of agno_bg: the plumbing of statements and transactions.
 *
 * A statement is prepared when a process first executes it, and kept; should
 * its tables be dropped and created anew, PostgreSQL plans it again.
 *
 * Two kinds of callers: backends act within the transaction of their user, as
 * the owner of the tables (store_enter). Nothing that the user can define may
 * be executed then: so the search_path is one of our own, and besides, the
 * statements say the schema of every type, function and operator. The runner
 * has transactions of its own (store_begin) and a search_path of pg_catalog.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "core/version.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "server/encoding.h"
#include "store/store.h"
#include "store/store_internal.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"

/*
 * Execute the statement; nulls is as for SPI_execute_plan(). Returns how many
 * rows it returned or changed. Rows stay readable until the next statement.
 * The caller's memory context stays the current one, which SPI alone does not
 * see to.
 */
uint64
store_execute(Statement *statement, Datum *values, const char *nulls)
{
	MemoryContext caller = CurrentMemoryContext;
	int			result;

	if (statement->plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(statement->sql, statement->nargs,
									   statement->types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare \"%s\": %s", statement->sql,
				 SPI_result_code_string(SPI_result));
		statement->plan = plan;
	}

	result = SPI_execute_plan(statement->plan, values, nulls,
							  statement->read_only, 0);
	if (result < 0)
		elog(ERROR, "could not execute \"%s\": %s", statement->sql,
			 SPI_result_code_string(result));
	MemoryContextSwitchTo(caller);
	return SPI_processed;
}

/*
 * A value of the last result; columns count from 1.
 */
Datum
store_column(uint64 row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
						 column, isnull);
}

/*
 * A value of the last result as text in the current context, NULL for null.
 */
char *
store_text(uint64 row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
						column);
}

/*
 * A text of the last result in UTF-8, or NULL.
 */
char *
store_utf8(uint64 row, int column)
{
	char	   *string = store_text(row, column);

	return string != NULL ? encoding_from_server(string) : NULL;
}

/*
 * A number of the last result, -1 for null.
 */
int64
store_number(uint64 row, int column)
{
	bool		isnull;
	Datum		datum = store_column(row, column, &isnull);

	return isnull ? -1 : DatumGetInt64(datum);
}

/*
 * An array of texts of the database's encoding; NULL becomes null.
 */
Datum
store_text_array(char *const *elements, int count)
{
	Datum	   *values = palloc(sizeof(Datum) * Max(count, 1));
	bool	   *nulls = palloc0(sizeof(bool) * Max(count, 1));
	int			lower_bound = 1;

	for (int i = 0; i < count; i++)
	{
		nulls[i] = elements[i] == NULL;
		values[i] = nulls[i] ? (Datum) 0 : CStringGetTextDatum(elements[i]);
	}
	return PointerGetDatum(construct_md_array(values, nulls, 1, &count,
											  &lower_bound, TEXTOID, -1, false,
											  TYPALIGN_INT));
}

Datum
store_int_array(const int *elements, int count)
{
	Datum	   *values = palloc(sizeof(Datum) * Max(count, 1));

	for (int i = 0; i < count; i++)
		values[i] = Int32GetDatum(elements[i]);
	return PointerGetDatum(construct_array(values, count, INT4OID,
										   sizeof(int32), true,
										   TYPALIGN_INT));
}

Datum
store_row_array(ItemPointer *elements, int count)
{
	Datum	   *values = palloc(sizeof(Datum) * Max(count, 1));

	for (int i = 0; i < count; i++)
		values[i] = PointerGetDatum(elements[i]);
	return PointerGetDatum(construct_array(values, count, TIDOID,
										   sizeof(ItemPointerData), false,
										   TYPALIGN_SHORT));
}

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

static void
check_version(Oid table)
{
	static bool registered;
	bool		fits;

	if (table == fitting_table)
		return;
	if (!registered)
		CacheRegisterRelcacheCallback(forget_fitting, (Datum) 0);
	registered = true;
	(void) store_find_extension(&fits, true);
	if (fits)
		fitting_table = table;
}

/*
 * Who owns the tables. Errors: undefined_table without the extension,
 * object_not_in_prerequisite_state if it is of another version.
 */
static Oid
tables_owner(void)
{
	Oid			schema = get_namespace_oid("agno", false);
	Oid			table = get_relname_relid("runs", schema);
	Relation	relation;
	Oid			owner;

	if (!OidIsValid(table))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"agno.runs\" does not exist"),
				 errhint("Run CREATE EXTENSION agno_bg.")));
	check_version(table);
	relation = RelationIdGetRelation(table);
	if (!RelationIsValid(relation))
		elog(ERROR, "could not open relation with OID %u", table);
	owner = relation->rd_rel->relowner;
	RelationClose(relation);
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
	SetUserIdAndSecContext(owner, user.security_context |
						   SECURITY_LOCAL_USERID_CHANGE);
	SPI_connect();
	MemoryContextSwitchTo(caller);
	return user;
}

void
store_leave(StoreUser user)
{
	SPI_finish();
	SetUserIdAndSecContext(user.user, user.security_context);
	AtEOXact_GUC(true, user.guc_level);
}

/*-------------------------------------------------------------------------
 * The runner
 *-------------------------------------------------------------------------
 */

/* The transaction of this runner is about to be committed. */
static bool committing = false;

/*
 * Start a transaction, with this text in pg_stat_activity. The caller's memory
 * context stays the current one, here and in store_commit().
 */
void
store_begin(const char *activity)
{
	MemoryContext caller = CurrentMemoryContext;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, activity);
	MemoryContextSwitchTo(caller);
}

void
store_commit(void)
{
	MemoryContext caller = CurrentMemoryContext;

	SPI_finish();
	PopActiveSnapshot();
	committing = true;
	CommitTransactionCommand();
	committing = false;
	pgstat_report_stat(false);
	MemoryContextSwitchTo(caller);
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
