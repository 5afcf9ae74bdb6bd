/*-------------------------------------------------------------------------
 *
 * sql_function.c
 *	  What functions that SQL calls have in common.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "server/sql_function.h"
#include "tcop/utility.h"

/*
 * How deep subtransactions may be nested in which something is written that runners look
 * at.
 */
#define DEEPEST_NESTING 10

void
check_may_write(const char *function)
{
	PreventCommandIfReadOnly(function);
	if (GetCurrentTransactionNestLevel() > DEEPEST_NESTING)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("cannot execute %s in subtransactions that are nested more than %d levels deep",
						function, DEEPEST_NESTING),
				 errhint("Release savepoints before, or commit.")));
}
