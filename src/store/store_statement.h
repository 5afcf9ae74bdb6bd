/*-------------------------------------------------------------------------
 *
 * store_statement.h
 *	  Executing statements: for the files of the store only.
 *
 * No parameter and no column is ever counted by hand. Arguments are bound in
 * the order of $1, $2 and so on, each with its type; columns are read in the
 * order of the SELECT list.
 *
 *		static Statement statement = {"SELECT r.owner, r.content FROM ..."};
 *		Arguments	args = {0};
 *
 *		bind_text(&args, run_id);
 *		if (store_execute(&statement, &args) > 0)
 *		{
 *			RowReader	row = row_reader(0);
 *
 *			owner = next_oid(&row);
 *			content = next_text(&row);
 *		}
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_STORE_STATEMENT_H
#define AGNO_STORE_STATEMENT_H

#include "access/tupdesc.h"
#include "core/run.h"
#include "datatype/timestamp.h"
#include "executor/spi.h"
#include "nodes/pg_list.h"
#include "storage/itemptr.h"

#define STORE_MAX_ARGS 20

/* A statement, prepared when it is first executed in a process. */
typedef struct Statement
{
	const char *sql;
	bool		read_only;		/* executed with the active snapshot */
	SPIPlanPtr	plan;			/* kept for the life of the process */
} Statement;

/* What $1, $2 and so on are. All zero at first. */
typedef struct Arguments
{
	int			count;
	Datum		values[STORE_MAX_ARGS];
	char		nulls[STORE_MAX_ARGS];	/* as for SPI_execute_plan() */
	Oid			types[STORE_MAX_ARGS];
} Arguments;

/*
 * A column of the rows that a statement gets by unnest(): an array that grows
 * by one element for each row. {TEXTOID}, {INT4OID} or {TIDOID} at first.
 */
typedef struct Column
{
	Oid			type;			/* of an element */
	int			count;
	int			size;			/* how many elements there is room for */
	Datum	   *values;
	bool	   *nulls;
} Column;

/* A row of the last result, and the columns that have been read of it. */
typedef struct RowReader
{
	HeapTuple	tuple;
	TupleDesc	desc;
	int			column;			/* the last one that was read, from 1 */
} RowReader;

/* Reads a row into an object of its own. */
typedef void *(*ReadRow) (RowReader *row);

extern void bind_bool(Arguments *args, bool value);
extern void bind_char(Arguments *args, char value);
extern void bind_int16(Arguments *args, int value);
extern void bind_int(Arguments *args, int value);
extern void bind_oid(Arguments *args, Oid value);
extern void bind_time(Arguments *args, TimestampTz value);
extern void bind_tid(Arguments *args, const ItemPointerData *value);
extern void bind_text(Arguments *args, const char *value);
extern void bind_utf8(Arguments *args, const char *value);
extern void bind_datum(Arguments *args, Oid type, Datum value);
extern void bind_nullable(Arguments *args, Oid type, NullableDatum value);
extern void bind_column(Arguments *args, const Column *column);
extern void bind_ids(Arguments *args, char *const *ids, int count);
extern bool all_null_but(const Arguments *args, int first);

extern void add_int(Column *column, int value);
extern void add_tid(Column *column, const ItemPointerData *value);
extern void add_text(Column *column, const char *value);
extern void add_utf8(Column *column, const char *value);

extern uint64 store_execute(Statement *statement, Arguments *args);
extern List *store_read_list(Statement *statement, Arguments *args,
							 ReadRow read);
extern void *read_id(RowReader *row);

extern RowReader row_reader(uint64 n);
extern Datum next_datum(RowReader *row, bool *isnull);
extern NullableDatum next_nullable(RowReader *row);
extern bool next_bool(RowReader *row);
extern char next_char(RowReader *row);
extern int	next_int(RowReader *row);
extern int	next_int_or(RowReader *row, int otherwise);
extern int64 next_int64(RowReader *row);
extern int64 next_int64_or(RowReader *row, int64 otherwise);
extern void next_int64s(RowReader *row, int64 *numbers, int count);
extern Oid	next_oid(RowReader *row);
extern TimestampTz next_time(RowReader *row);
extern TimestampTz next_time_or(RowReader *row, TimestampTz otherwise);
extern ItemPointerData next_tid(RowReader *row);
extern RunStatus next_status(RowReader *row);
extern char *next_text(RowReader *row);
extern char *next_utf8(RowReader *row);
extern int64 skip_bytes(RowReader *row);
extern int64 unread_bytes(const RowReader *row);

#endif							/* AGNO_STORE_STATEMENT_H */
