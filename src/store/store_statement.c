/*-------------------------------------------------------------------------
 *
 * store_statement.c
 *	  The tables of agno_bg: executing statements and reading their rows.
 *
 * A statement is prepared when a process first executes it, with the types of
 * the arguments it is executed with, and kept; if its tables are dropped and
 * created anew, PostgreSQL plans it again.
 *
 * This knows no table, and opens no transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "server/encoding.h"
#include "store/store_statement.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/timestamp.h"

/* How many elements a column has room for at first. */
#define FIRST_SIZE 16

/*-------------------------------------------------------------------------
 * Arguments
 *-------------------------------------------------------------------------
 */

/*
 * The next argument, of this type.
 */
void
bind_nullable(Arguments *args, Oid type, NullableDatum value)
{
	int			n = args->count++;

	Assert(n < STORE_MAX_ARGS);
	args->values[n] = value.value;
	args->nulls[n] = value.isnull ? 'n' : ' ';
	args->types[n] = type;
}

/*
 * The next argument, of this type and not null.
 */
void
bind_datum(Arguments *args, Oid type, Datum value)
{
	NullableDatum given = {value, false};

	bind_nullable(args, type, given);
}

static void
bind_null(Arguments *args, Oid type)
{
	NullableDatum null = {(Datum) 0, true};

	bind_nullable(args, type, null);
}

void
bind_bool(Arguments *args, bool value)
{
	bind_datum(args, BOOLOID, BoolGetDatum(value));
}

void
bind_char(Arguments *args, char value)
{
	bind_datum(args, CHAROID, CharGetDatum(value));
}

void
bind_int16(Arguments *args, int value)
{
	bind_datum(args, INT2OID, Int16GetDatum(value));
}

void
bind_int(Arguments *args, int value)
{
	bind_datum(args, INT4OID, Int32GetDatum(value));
}

void
bind_oid(Arguments *args, Oid value)
{
	bind_datum(args, OIDOID, ObjectIdGetDatum(value));
}

void
bind_time(Arguments *args, TimestampTz value)
{
	bind_datum(args, TIMESTAMPTZOID, TimestampTzGetDatum(value));
}

/*
 * The place of a row, which has to stay there until the statement has been
 * executed.
 */
void
bind_tid(Arguments *args, const ItemPointerData *value)
{
	bind_datum(args, TIDOID, PointerGetDatum(value));
}

/*
 * A text of the database's encoding; NULL becomes null.
 */
void
bind_text(Arguments *args, const char *value)
{
	if (value != NULL)
		bind_datum(args, TEXTOID, CStringGetTextDatum(value));
	else
		bind_null(args, TEXTOID);
}

/*
 * A text in UTF-8; NULL becomes null.
 */
void
bind_utf8(Arguments *args, const char *value)
{
	bind_text(args, value != NULL ? encoding_to_server(value) : NULL);
}

/*
 * An array with the elements of the column.
 */
void
bind_column(Arguments *args, const Column *column)
{
	int			count = column->count;
	int			lower_bound = 1;
	Oid			type = TEXTARRAYOID;
	int			length = -1;
	bool		by_value = false;
	char		alignment = TYPALIGN_INT;

	if (column->type == INT4OID)
	{
		type = INT4ARRAYOID;
		length = sizeof(int32);
		by_value = true;
	}
	else if (column->type == TIDOID)
	{
		type = TIDARRAYOID;
		length = sizeof(ItemPointerData);
		alignment = TYPALIGN_SHORT;
	}
	else
		Assert(column->type == TEXTOID);
	bind_datum(args, type,
			   PointerGetDatum(construct_md_array(column->values,
												  column->nulls, 1, &count,
												  &lower_bound, column->type,
												  length, by_value,
												  alignment)));
}

/*
 * An array of these ids, which are of the database's encoding.
 */
void
bind_ids(Arguments *args, char *const *ids, int count)
{
	Column		column = {TEXTOID};

	for (int i = 0; i < count; i++)
		add_text(&column, ids[i]);
	bind_column(args, &column);
}

/*
 * Whether all arguments are null that were bound after the first so many.
 */
bool
all_null_but(const Arguments *args, int first)
{
	for (int i = first; i < args->count; i++)
	{
		if (args->nulls[i] != 'n')
			return false;
	}
	return true;
}

/*-------------------------------------------------------------------------
 * Columns
 *-------------------------------------------------------------------------
 */

static void
add_datum(Column *column, Oid type, Datum value, bool isnull)
{
	Assert(column->type == type);
	if (column->size == 0)
	{
		column->size = FIRST_SIZE;
		column->values = palloc(sizeof(Datum) * column->size);
		column->nulls = palloc(sizeof(bool) * column->size);
	}
	else if (column->count == column->size)
	{
		column->size *= 2;
		column->values = repalloc(column->values,
								  sizeof(Datum) * column->size);
		column->nulls = repalloc(column->nulls, sizeof(bool) * column->size);
	}
	column->values[column->count] = value;
	column->nulls[column->count++] = isnull;
}

void
add_int(Column *column, int value)
{
	add_datum(column, INT4OID, Int32GetDatum(value), false);
}

/*
 * The place of a row, which has to stay there until the column is bound.
 */
void
add_tid(Column *column, const ItemPointerData *value)
{
	add_datum(column, TIDOID, PointerGetDatum(value), false);
}

/*
 * A text of the database's encoding; NULL becomes null.
 */
void
add_text(Column *column, const char *value)
{
	if (value != NULL)
		add_datum(column, TEXTOID, CStringGetTextDatum(value), false);
	else
		add_datum(column, TEXTOID, (Datum) 0, true);
}

/*
 * A text in UTF-8; NULL becomes null.
 */
void
add_utf8(Column *column, const char *value)
{
	add_text(column, value != NULL ? encoding_to_server(value) : NULL);
}

/*-------------------------------------------------------------------------
 * Execution
 *-------------------------------------------------------------------------
 */

static void
prepare(Statement *statement, Arguments *args)
{
	SPIPlanPtr	plan = SPI_prepare(statement->sql, args->count, args->types);

	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare \"%s\": %s", statement->sql,
			 SPI_result_code_string(SPI_result));
	statement->plan = plan;
}

#ifdef USE_ASSERT_CHECKING
static bool
has_types(SPIPlanPtr plan, const Arguments *args)
{
	if (SPI_getargcount(plan) != args->count)
		return false;
	for (int i = 0; i < args->count; i++)
	{
		if (SPI_getargtypeid(plan, i) != args->types[i])
			return false;
	}
	return true;
}
#endif

/*
 * Execute the statement; args may be NULL when it takes none, and have the
 * same types each time. Returns how many rows it returned or changed. Rows can
 * be read until the next statement. The caller's memory context stays the
 * current one, which SPI alone does not see to.
 */
uint64
store_execute(Statement *statement, Arguments *args)
{
	static Arguments none = {0};
	MemoryContext caller = CurrentMemoryContext;
	int			result;

	if (args == NULL)
		args = &none;
	if (statement->plan == NULL)
		prepare(statement, args);
	Assert(has_types(statement->plan, args));

	result = SPI_execute_plan(statement->plan, args->values, args->nulls,
							  statement->read_only, 0);
	if (result < 0)
		elog(ERROR, "could not execute \"%s\": %s", statement->sql,
			 SPI_result_code_string(result));
	MemoryContextSwitchTo(caller);
	return SPI_processed;
}

/*
 * Execute the statement, and read each of its rows: a list of what read()
 * returns.
 */
List *
store_read_list(Statement *statement, Arguments *args, ReadRow read)
{
	uint64		count = store_execute(statement, args);
	List	   *list = NIL;

	for (uint64 n = 0; n < count; n++)
	{
		RowReader	row = row_reader(n);

		list = lappend(list, read(&row));
	}
	return list;
}

/*
 * For store_read_list(): a row is an id.
 */
void *
read_id(RowReader *row)
{
	return next_text(row);
}

/*-------------------------------------------------------------------------
 * Rows
 *-------------------------------------------------------------------------
 */

/*
 * A row of the last result, from 0, with none of its columns read.
 */
RowReader
row_reader(uint64 n)
{
	RowReader	row = {SPI_tuptable->vals[n], SPI_tuptable->tupdesc, 0};

	return row;
}

/*
 * The next column, which stays in the memory of the result.
 */
Datum
next_datum(RowReader *row, bool *isnull)
{
	Assert(row->column < row->desc->natts);
	return heap_getattr(row->tuple, ++row->column, row->desc, isnull);
}

/*
 * The next column, copied into the current memory context.
 */
NullableDatum
next_nullable(RowReader *row)
{
	NullableDatum datum;

	datum.value = next_datum(row, &datum.isnull);
	if (!datum.isnull)
	{
		Form_pg_attribute attribute = TupleDescAttr(row->desc,
													row->column - 1);

		datum.value = datumCopy(datum.value, attribute->attbyval,
								attribute->attlen);
	}
	return datum;
}

/*
 * The next column; null is false.
 */
bool
next_bool(RowReader *row)
{
	bool		isnull;
	Datum		datum = next_datum(row, &isnull);

	return !isnull && DatumGetBool(datum);
}

/*
 * The next column, a "char".
 */
char
next_char(RowReader *row)
{
	bool		isnull;
	Datum		datum = next_datum(row, &isnull);

	return isnull ? '\0' : DatumGetChar(datum);
}

/*
 * The next column, which is a smallint, an integer or a bigint; null is the
 * number given.
 */
int64
next_int64_or(RowReader *row, int64 otherwise)
{
	bool		isnull;
	Datum		datum = next_datum(row, &isnull);
	Oid			type = TupleDescAttr(row->desc, row->column - 1)->atttypid;

	if (isnull)
		return otherwise;
	if (type == INT8OID)
		return DatumGetInt64(datum);
	if (type == INT4OID)
		return DatumGetInt32(datum);
	Assert(type == INT2OID);
	return DatumGetInt16(datum);
}

int
next_int_or(RowReader *row, int otherwise)
{
	return (int) next_int64_or(row, otherwise);
}

/*
 * The next column, which is not null.
 */
int64
next_int64(RowReader *row)
{
	return next_int64_or(row, 0);
}

int
next_int(RowReader *row)
{
	return (int) next_int64(row);
}

/*
 * The next column, an array of so many bigints; what is null is 0.
 */
void
next_int64s(RowReader *row, int64 *numbers, int count)
{
	bool		isnull;
	Datum		datum = next_datum(row, &isnull);
	Datum	   *values;
	bool	   *nulls;
	int			size = 0;

	memset(numbers, 0, sizeof(int64) * count);
	if (!isnull)
		deconstruct_array(DatumGetArrayTypeP(datum), INT8OID, sizeof(int64),
						  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &values, &nulls,
						  &size);
	Assert(size == 0 || size == count);
	for (int i = 0; i < size; i++)
	{
		if (!nulls[i])
			numbers[i] = DatumGetInt64(values[i]);
	}
}

/*
 * The next column, of a type like oid; null is InvalidOid.
 */
Oid
next_oid(RowReader *row)
{
	bool		isnull;
	Datum		datum = next_datum(row, &isnull);

	return isnull ? InvalidOid : DatumGetObjectId(datum);
}

/*
 * The next column; null is the time given.
 */
TimestampTz
next_time_or(RowReader *row, TimestampTz otherwise)
{
	bool		isnull;
	Datum		datum = next_datum(row, &isnull);

	return isnull ? otherwise : DatumGetTimestampTz(datum);
}

/*
 * The next column, which is not null.
 */
TimestampTz
next_time(RowReader *row)
{
	return next_time_or(row, 0);
}

/*
 * The next column, the place of a row.
 */
ItemPointerData
next_tid(RowReader *row)
{
	bool		isnull;
	Datum		datum = next_datum(row, &isnull);

	Assert(!isnull);
	return *(ItemPointer) DatumGetPointer(datum);
}

/*
 * The next column, the status of a run.
 */
RunStatus
next_status(RowReader *row)
{
	return run_status_parse(next_text(row));
}

/*
 * The next column, of any type, as text of the database's encoding in the
 * current memory context; NULL for null.
 */
char *
next_text(RowReader *row)
{
	Assert(row->column < row->desc->natts);
	return SPI_getvalue(row->tuple, row->desc, ++row->column);
}

/*
 * The same in UTF-8.
 */
char *
next_utf8(RowReader *row)
{
	char	   *text = next_text(row);

	return text != NULL ? encoding_from_server(text) : NULL;
}

/*
 * Leave the next column out, which is of a type like text: how many bytes it would
 * have had. What is compressed, or elsewhere, stays so; 0 for null.
 */
int64
skip_bytes(RowReader *row)
{
	bool		isnull;
	Datum		datum = next_datum(row, &isnull);

	Assert(TupleDescAttr(row->desc, row->column - 1)->attlen == -1);
	return isnull ? 0 : (int64) toast_raw_datum_size(datum);
}

/*
 * How many bytes the columns have in all that are still to be read, once they
 * are: all of them are of types like text.
 */
int64
unread_bytes(const RowReader *row)
{
	RowReader	rest = *row;
	int64		bytes = 0;

	while (rest.column < rest.desc->natts)
		bytes += skip_bytes(&rest);
	return bytes;
}
