/*-------------------------------------------------------------------------
 *
 * sql_query.c
 *	  A query that a model has written.
 *
 * It is one statement that returns rows, and writes nothing whatever it tries: a
 * transaction that is read-only cannot be made to write from within. It has the
 * rights and the search_path of the caller.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "server/read_only.h"
#include "server/sql_function.h"
#include "server/subtransaction.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/portal.h"

/* How many rows are returned where nobody says, and at most. */
#define DEFAULT_ROWS 100
#define MOST_ROWS 10000

SQL_FUNCTION(agno_run_sql_query);

/*
 * Prepare the query, if it is a SELECT (or VALUES, or TABLE).
 */
static SPIPlanPtr
prepare(const char *query)
{
	SPIPlanPtr	plan = SPI_prepare(query, 0, NULL);
	CommandTag	tag;

	if (plan == NULL)
		elog(ERROR, "could not prepare a query: %s",
			 SPI_result_code_string(SPI_result));
	if (!SPI_is_cursor_plan(plan))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_CURSOR_DEFINITION),
				 errmsg("the query must be one statement that returns rows"),
				 errhint("Write one SELECT.")));
	tag = ((CachedPlanSource *) linitial(SPI_plan_get_plan_sources(plan)))->commandTag;
	if (tag != CMDTAG_SELECT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_CURSOR_DEFINITION),
				 errmsg("the query must be a SELECT, not %s",
						GetCommandTagName(tag)),
				 errhint("Write one SELECT.")));
	return plan;
}

/*
 * Return a JSON string after the rows: there are more.
 */
static void
return_note(int max_rows, ReturnSetInfo *result)
{
	Datum		note =
		CStringGetTextDatum(psprintf("\"there are more than these %d rows\"",
									 max_rows));
	bool		isnull = false;

	tuplestore_putvalues(result->setResult, result->setDesc, &note, &isnull);
}

/*
 * Return the rows as JSON objects, and say if there are more.
 */
static void
return_rows(Portal portal, int max_rows, ReturnSetInfo *result)
{
	int			left;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "agno_bg row",
												  ALLOCSET_SMALL_SIZES);

	/* One by one: each may be very long. */
	for (left = max_rows; left > 0; left--)
	{
		MemoryContext old;
		Datum		json;
		bool		isnull = false;

		SPI_cursor_fetch(portal, true, 1);
		if (SPI_processed == 0)
			break;
		BlessTupleDesc(SPI_tuptable->tupdesc);
		old = MemoryContextSwitchTo(context);
		json = DirectFunctionCall1(row_to_json,
								   heap_copy_tuple_as_datum(SPI_tuptable->vals[0],
															SPI_tuptable->tupdesc));
		tuplestore_putvalues(result->setResult, result->setDesc, &json, &isnull);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
		SPI_freetuptable(SPI_tuptable);
		CHECK_FOR_INTERRUPTS();
	}
	if (left > 0)
		return;
	SPI_cursor_fetch(portal, true, 1);
	if (SPI_processed > 0)
		return_note(max_rows, result);
}

/*
 * agno.run_sql_query(query text, max_rows integer) returns setof json
 *
 * After run_sql_query() of Agno's SQLTools. Errors: invalid_cursor_definition,
 * read_only_sql_transaction, and any of the query.
 */
Datum
agno_run_sql_query(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	SubTransaction sub;
	char	   *query;
	int			max_rows;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("query must not be null")));
	query = text_to_cstring(PG_GETARG_TEXT_PP(0));
	max_rows = PG_ARGISNULL(1) ? DEFAULT_ROWS : PG_GETARG_INT32(1);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);

	sub = subtransaction_begin();
	PG_TRY();
	{
		Portal		portal;
		int			level;

		read_only_begin();
		level = NewGUCNestLevel();
		SPI_connect();
		portal = SPI_cursor_open(NULL, prepare(query), NULL, NULL, true);

		/* Code that makes JSON of its rows might close it. */
		PinPortal(portal);
		return_rows(portal, Min(Max(max_rows, 0), MOST_ROWS), result);
		UnpinPortal(portal);
		SPI_cursor_close(portal);
		SPI_finish();

		/* Nor does it set anything for who comes next. */
		AtEOXact_GUC(false, level);
		read_only_check();
		subtransaction_end(&sub, true);
	}
	PG_CATCH();
	{
		ReThrowError(subtransaction_catch(&sub));
	}
	PG_END_TRY();
	PG_RETURN_NULL();
}
