/*-------------------------------------------------------------------------
 *
 * read_only.c
 *	  A subtransaction that writes nothing, whatever its code tries.
 *
 * PostgreSQL's transaction_read_only is a promise of whoever sets it, and code
 * that is executed under it may take it back: up to PostgreSQL 15, RESET and
 * set_config(…, NULL, …) do so without asking, which is refused here, as sequences
 * are changed for good; and large objects do not look at it. So what has been
 * executed is looked at before the subtransaction commits: who has written has a
 * transaction ID.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "server/read_only.h"
#include "utils/guc_tables.h"

#if PG_VERSION_NUM < 160000

/* The subtransaction that is not to write, or an invalid ID. */
static SubTransactionId in_force = InvalidSubTransactionId;

/*
 * Assign hook of transaction_read_only: it stays on. What is put back when a
 * subtransaction ends is let through.
 */
static void
keep_read_only(bool newval, void *extra)
{
	if (in_force != InvalidSubTransactionId && !newval && XactReadOnly &&
		IsTransactionState())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot set transaction read-write mode inside a read-only transaction")));
}

static void
end_with_subtransaction(SubXactEvent event, SubTransactionId subtransaction,
						SubTransactionId parent, void *arg)
{
	if (subtransaction == in_force &&
		(event == SUBXACT_EVENT_COMMIT_SUB || event == SUBXACT_EVENT_ABORT_SUB))
		in_force = InvalidSubTransactionId;
}

static void
forbid_reset(void)
{
	static bool installed = false;
	struct config_generic **settings = get_guc_variables();

	for (int i = 0; !installed && i < GetNumConfigOptions(); i++)
	{
		if (strcmp(settings[i]->name, "transaction_read_only") != 0)
			continue;
		((struct config_bool *) settings[i])->assign_hook = keep_read_only;
		RegisterSubXactCallback(end_with_subtransaction, NULL);
		installed = true;
	}
	if (in_force == InvalidSubTransactionId)
		in_force = GetCurrentSubTransactionId();
}

#endif

/*
 * From here on, to the end of the current subtransaction, which has just begun.
 */
void
read_only_begin(void)
{
	XactReadOnly = true;
#if PG_VERSION_NUM < 160000
	forbid_reset();
#endif
}

/*
 * Complain if the current subtransaction has written something, or could have.
 * Errors: read_only_sql_transaction.
 */
void
read_only_check(void)
{
	if (!XactReadOnly || TransactionIdIsValid(GetCurrentTransactionIdIfAny()))
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot write in a read-only transaction"),
				 errdetail("Something was written, or a transaction ID assigned, by code that is to read only.")));
}
