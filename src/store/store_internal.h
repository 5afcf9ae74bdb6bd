/*-------------------------------------------------------------------------
 *
 * store_internal.h
 *	  Executing statements: for the modules of the store only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_STORE_INTERNAL_H
#define AGNO_STORE_INTERNAL_H

#include "executor/spi.h"
#include "storage/itemptr.h"

#define STORE_MAX_ARGS 20

/* A statement, prepared when it is first executed in a process. */
typedef struct Statement
{
	const char *sql;
	int			nargs;
	Oid			types[STORE_MAX_ARGS];
	bool		read_only;		/* executed with the active snapshot */
	SPIPlanPtr	plan;			/* kept for the life of the process */
} Statement;

extern uint64 store_execute(Statement *statement, Datum *values,
							const char *nulls);
extern Datum store_column(uint64 row, int column, bool *isnull);
extern char *store_text(uint64 row, int column);
extern char *store_utf8(uint64 row, int column);
extern int64 store_number(uint64 row, int column);
extern Datum store_text_array(char *const *elements, int count);
extern Datum store_int_array(const int *elements, int count);
extern Datum store_row_array(ItemPointer *elements, int count);

#endif							/* AGNO_STORE_INTERNAL_H */
