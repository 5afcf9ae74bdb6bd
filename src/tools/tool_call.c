/*-------------------------------------------------------------------------
 *
 * tool_call.c
 *	  Calling a tool: JSON in, text out.
 *
 * The function is called as the current user and in the current transaction, by its
 * qualified name with all of its arguments (tool_arguments.c), each of exactly its type,
 * so that no other can be found in its place.
 *
 * Nothing here has more rights than the user: errors are the tool's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_proc.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tools/tool_arguments.h"
#include "tools/tool_call.h"
#include "tools/tool_definition.h"
#include "tools/tool_plans.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

/* How many rows of a result are fetched at once. */
#define FETCH_ROWS 100

/* The longest result, in bytes. */
#define MAX_RESULT (256 * 1024 * 1024)

/*
 * Append the name of a function and its arguments, by their names.
 */
static void
append_call(StringInfo sql, const ToolFunction *function,
			const CallArguments *call)
{
	const char *comma = "";

	appendStringInfo(sql, "%s(", function->called);
	for (int i = 0; i < function->out_count; i++)
	{
		appendStringInfo(sql, "%s%s => $%d", comma,
						 quote_identifier(function->out_names[i]),
						 call->count - function->out_count + i + 1);
		comma = ", ";
	}
	for (int i = 0; i < function->argument_count; i++)
	{
		const ToolArgument *argument = &function->arguments[i];
		int			given = tool_arguments_find(call, argument);

		if (given < 0)
			continue;
		appendStringInfo(sql, "%s%s%s => $%d", comma,
						 argument->variadic ? "VARIADIC " : "",
						 quote_identifier(argument->name), given + 1);
		comma = ", ";
	}
	appendStringInfoChar(sql, ')');
}

static void
check_length(int length)
{
	if (length > MAX_RESULT)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the result of the tool is longer than %d bytes",
						MAX_RESULT),
				 errhint("Have it return fewer rows.")));
}

/*
 * Execute the statement, which returns one column of text or json, and append
 * what it returns; a set as a JSON array.
 */
static void
fetch(const char *sql, const CallArguments *call, bool set, StringInfo result)
{
	SPIPlanPtr	plan = tool_plan(sql, call->count, call->types, call->keep_plans);
	Portal		portal;
	bool		first = true;

	portal = SPI_cursor_open(NULL, plan, call->datums, call->nulls, false);
	do
	{
		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		for (uint64 n = 0; n < SPI_processed; n++)
		{
			char	   *value = SPI_getvalue(SPI_tuptable->vals[n],
											 SPI_tuptable->tupdesc, 1);

			if (set)
				appendStringInfoString(result, first ? "[" : ",");
			first = false;
			check_length(result->len + (value != NULL ? strlen(value) : 0));
			appendStringInfoString(result, value != NULL ? value : "null");
		}
		SPI_freetuptable(SPI_tuptable);
		CHECK_FOR_INTERRUPTS();
	} while (SPI_processed == FETCH_ROWS && set);
	SPI_cursor_close(portal);
	if (set)
		appendStringInfoString(result, first ? "[]" : "]");
}

/*
 * Call a function.
 */
static void
call_function(const ToolFunction *function, const CallArguments *call,
			  StringInfo result)
{
	StringInfoData sql;
	bool		set = function->returns_set;

	initStringInfo(&sql);
	if (function->result == RESULT_VOID)
	{
		appendStringInfoString(&sql, "SELECT ");
		append_call(&sql, function, call);
		if (SPI_execute_plan(tool_plan(sql.data, call->count, call->types,
									   call->keep_plans),
							 call->datums, call->nulls, false, 0) !=
			SPI_OK_SELECT)
			elog(ERROR, "could not call the tool");
		appendStringInfoString(result, "ok");
		return;
	}
	if (function->result == RESULT_VALUE && !set)
	{
		appendStringInfoString(&sql, "SELECT CAST(");
		append_call(&sql, function, call);
		appendStringInfoString(&sql, " AS pg_catalog.text)");
	}
	else
	{
		appendStringInfoString(&sql, "SELECT pg_catalog.to_json(f.*) FROM ");
		if (function->column != NULL)
			appendStringInfo(&sql, "(SELECT v AS %s FROM ",
							 quote_identifier(function->column));
		append_call(&sql, function, call);
		appendStringInfoString(&sql, function->column != NULL ?
							   " AS v) AS f" : " AS f");
	}
	fetch(sql.data, call, set, result);
}

/*
 * Call a procedure, which cannot commit: its output arguments are the result.
 */
static void
call_procedure(const ToolFunction *function, const CallArguments *call,
			   StringInfo result)
{
	StringInfoData sql;
	Datum		row;
	Datum		json;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "CALL ");
	append_call(&sql, function, call);
	if (SPI_execute_with_args(sql.data, call->count, call->types, call->datums,
							  call->nulls, false, 0) < 0)
		elog(ERROR, "could not call the tool");
	if (function->result == RESULT_VOID || SPI_tuptable == NULL ||
		SPI_processed == 0)
	{
		appendStringInfoString(result, "ok");
		return;
	}
	BlessTupleDesc(SPI_tuptable->tupdesc);
	row = heap_copy_tuple_as_datum(SPI_tuptable->vals[0],
								   SPI_tuptable->tupdesc);
	json = DirectFunctionCall1(row_to_json, row);
	appendStringInfoString(result, TextDatumGetCString(json));
}

/*
 * The function of a tool, which exists. A superuser's is not dropped before the end of
 * the transaction: who owns its schema could have another one in its place.
 */
static bool
find_function(const Tool *tool, ToolFunction *function)
{
	Oid			locked = InvalidOid;

	while (tool_function_find(tool->function, function))
	{
		if (!superuser() || function->oid == locked)
			return true;
		locked = function->oid;
		LockDatabaseObject(ProcedureRelationId, locked, 0, AccessShareLock);
	}
	return false;
}

/*
 * Call the tool with these arguments, a JSON object, and those that somebody has
 * given besides (likewise, or NULL), for a run that has this context, and a session
 * with this state (a JSON object, or NULL). keep_plans: it is not called within
 * another call. Strings are of
 * the database's encoding. Returns the result in the current memory context:
 * the text of a single value, a row as a JSON object, a set as an array, "ok" for
 * nothing. Errors: any; undefined_function if the function is gone,
 * invalid_parameter_value if the arguments do not fit.
 */
char *
tool_call(const Tool *tool, const char *arguments, const char *answer,
		  const RunContext *context, const char *session_state,
		  bool keep_plans)
{
	MemoryContext caller = CurrentMemoryContext;
	ToolFunction function;
	CallArguments call = {.keep_plans = keep_plans};
	StringInfoData result;

	if (tool->agent != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("tool \"%s\" is an agent, which only a run can call",
						tool->name),
				 errhint("Use agno_arun() with agent_id => '%s'.",
						 tool->agent)));
	if (tool->function == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("tool \"%s\" is executed elsewhere", tool->name),
				 errhint("Its result is given by agno_answer_call().")));
	initStringInfo(&result);
	SPI_connect();
	if (!find_function(tool, &function))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function %s does not exist any more",
						tool->function),
				 context->agent_id != NULL ?
				 errdetail("It is one of the tools of agent \"%s\".",
						   context->agent_id) : 0,
				 errhint("Create it again, or UPDATE the tools of the agent.")));
	/* It may have another owner than when the run was enqueued. */
	tool_check_trust(GetUserId(), function.owner,
					 psprintf("function %s", function.signature));
	tool_arguments_make(&call, tool, &function, arguments, answer, context,
						session_state);
	if (function.procedure)
		call_procedure(&function, &call, &result);
	else
		call_function(&function, &call, &result);
	SPI_finish();
	MemoryContextSwitchTo(caller);
	return result.data;
}
