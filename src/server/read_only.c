/*-------------------------------------------------------------------------
 *
 * read_only.c
 *	  A subtransaction that writes nothing, whatever its code tries.
 *
 * PostgreSQL's transaction_read_only is a promise of whoever sets it, and code
 * that is executed under it may take it back: up to PostgreSQL 15, RESET and
 * set_config(…, NULL, …) do so without asking, and large objects do not look at
 * it. So what has been executed is looked at before the subtransaction commits:
 * who has written has a transaction ID.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "server/read_only.h"

/*
 * From here on, to the end of the current subtransaction, which has just begun.
 */
void
read_only_begin(void)
{
	XactReadOnly = true;
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
