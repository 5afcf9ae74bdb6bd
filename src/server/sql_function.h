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

#endif							/* AGNO_SQL_FUNCTION_H */
