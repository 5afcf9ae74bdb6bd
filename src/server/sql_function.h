/*-------------------------------------------------------------------------
 *
 * sql_function.h
 *	  Functions in C that SQL calls.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_SQL_FUNCTION_H
#define AGNO_SQL_FUNCTION_H

#include "fmgr.h"

/*
 * PG_FUNCTION_INFO_V1() for a library that hides its symbols: PostgreSQL 15 leaves
 * it to the author to show the function itself.
 */
#define SQL_FUNCTION(name) \
	extern PGDLLEXPORT Datum name(PG_FUNCTION_ARGS); \
	PG_FUNCTION_INFO_V1(name)

/*
 * Complain unless this function, "name()", may write something that runners look at: it
 * must be no transaction that only reads, and no subtransaction deep within others. To
 * whoever looks at a row of an open transaction, each level is another step, for each row,
 * each time, and all wait for runners. Errors: read_only_sql_transaction,
 * program_limit_exceeded.
 */
extern void check_may_write(const char *function);

#endif							/* AGNO_SQL_FUNCTION_H */
