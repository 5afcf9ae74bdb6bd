/*-------------------------------------------------------------------------
 *
 * tool_call.c
 *	  Calling a tool: JSON in, text out.
 *
 * The arguments are checked against the schema that the model was told, then
 * converted by the input functions of their types, all as the current user and in
 * the current transaction. The function is called by its qualified name with all of
 * its arguments, each of exactly its type, so that no other can be found in its place.
 *
 * Nothing here has more rights than the user: errors are the tool's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "core/json.h"
#include "core/schema.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "server/encoding.h"
#include "server/tool_function.h"
#include "storage/lmgr.h"
#include "tools/tool_call.h"
#include "tools/tool_definition.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

/* How many rows of a result are fetched at once. */
#define FETCH_ROWS 100

/* The longest result, in bytes. */
#define MAX_RESULT (256 * 1024 * 1024)

/* The arguments of a call, for the parameters $1 … of a statement. */
typedef struct CallArguments
{
	const ToolArgument **arguments; /* count of them: those that are given;
									 * NULL for one that is for the result */
	const char **values;		/* of each its JSON in UTF-8 */
	int			count;
	bool		keep_plans;		/* for the next call */
	Oid		   *types;
	Datum	   *datums;			/* converted */
	char	   *nulls;			/* as SPI has them */
} CallArguments;

/*
 * Statements that are prepared once: a tool worker calls the same few tools. Lives
 * as long as the process; PostgreSQL plans them again when what they use changes.
 *
 * A plan that is given up must not be executing: so calls that are made within
 * others, by agno_call_tool(), keep none.
 */
#define KEPT_PLANS 32

typedef struct KeptPlan
{
	char	   *sql;
	int			count;			/* of parameters */
	Oid		   *types;
	SPIPlanPtr	plan;			/* NULL: the place is free */
} KeptPlan;

static KeptPlan kept_plans[KEPT_PLANS];
static int	next_place;			/* whose plan is given up next */

/*
 * Prepare a statement with parameters of these types, until SPI_finish().
 */
static SPIPlanPtr
prepare(const char *sql, int count, Oid *types)
{
	SPIPlanPtr	plan = SPI_prepare(sql, count, types);

	if (plan == NULL)
		elog(ERROR, "could not prepare the call of a tool: %s",
			 SPI_result_code_string(SPI_result));
	return plan;
}

/*
 * The plan of a statement with parameters of these types, kept for the next time.
 */
static SPIPlanPtr
kept_plan(const char *sql, int count, Oid *types)
{
	KeptPlan   *place;
	SPIPlanPtr	plan;
	size_t		size = sizeof(Oid) * Max(count, 1);

	for (int i = 0; i < KEPT_PLANS; i++)
	{
		place = &kept_plans[i];
		if (place->plan != NULL && place->count == count &&
			memcmp(place->types, types, sizeof(Oid) * count) == 0 &&
			strcmp(place->sql, sql) == 0)
			return place->plan;
	}

	plan = prepare(sql, count, types);
	place = &kept_plans[next_place];
	next_place = (next_place + 1) % KEPT_PLANS;
	if (place->plan != NULL)
	{
		SPIPlanPtr	old = place->plan;

		place->plan = NULL;
		pfree(place->sql);
		pfree(place->types);
		SPI_freeplan(old);
	}
	place->sql = MemoryContextStrdup(TopMemoryContext, sql);
	place->types = MemoryContextAlloc(TopMemoryContext, size);
	memcpy(place->types, types, sizeof(Oid) * count);
	place->count = count;
	SPI_keepplan(plan);
	place->plan = plan;
	return plan;
}

/*
 * The plan of a statement with some parameters, of these types.
 */
static SPIPlanPtr
plan_of(const CallArguments *call, const char *sql, int count, Oid *types)
{
	return call->keep_plans ? kept_plan(sql, count, types) :
		prepare(sql, count, types);
}

static void
complain(const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid arguments: %s", problem)));
}

/*-------------------------------------------------------------------------
 * Arguments
 *-------------------------------------------------------------------------
 */

/*
 * A number as an integer, if it is one: 5.0 and 50e-1 are integers for JSON schema,
 * but not for integer's input function.
 */
static char *
as_integer(const char *number, size_t length)
{
	char	   *text = pnstrdup(number, length);
	Datum		value;
	Datum		whole;

	if (strpbrk(text, ".eE") == NULL || !(isdigit((unsigned char) text[0]) ||
										  text[0] == '-'))
		return text;
	value = DirectFunctionCall3(numeric_in, CStringGetDatum(text),
								ObjectIdGetDatum(InvalidOid),
								Int32GetDatum(-1));
	whole = DirectFunctionCall2(numeric_trunc, value, Int32GetDatum(0));
	if (!DatumGetBool(DirectFunctionCall2(numeric_eq, value, whole)))
		return text;
	return DatumGetCString(DirectFunctionCall1(numeric_out, whole));
}

static bool
is_integer(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID ||
		type == OIDOID;
}

static void append_acceptable(StringInfo out, Oid type, const char *value,
							  size_t length);

/*
 * The elements may be arrays of the same type, which has any number of dimensions.
 */
static void
append_elements(StringInfo out, Oid array, Oid element, const char *value)
{
	const char *comma = "[";

	while (json_next_element(&value))
	{
		const char *end = json_skip_value(value);

		appendStringInfoString(out, comma);
		append_acceptable(out, *value == '[' ? array : element, value,
						  end - value);
		comma = ",";
		value = end;
	}
	appendStringInfoString(out, *comma == '[' ? "[]" : "]");
}

/*
 * The type of a column, or InvalidOid. name is in UTF-8.
 */
static Oid
column_type(TupleDesc desc, const char *name)
{
	char	   *wanted = encoding_to_server(name);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		if (!column->attisdropped && strcmp(NameStr(column->attname), wanted) == 0)
			return column->atttypid;
	}
	return InvalidOid;
}

static void
append_columns(StringInfo out, Oid composite, const char *value)
{
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(composite, -1);
	JsonMember	member;

	appendStringInfoChar(out, '{');
	while (json_next_member(&value, &member))
	{
		json_append_key(out, member.key);
		append_acceptable(out, column_type(desc, member.key), member.value,
						  member.value_length);
	}
	appendStringInfoChar(out, '}');
}

/*
 * Append a value as JSON that the input function of its type takes. A type of
 * InvalidOid is not known.
 */
static void
append_acceptable(StringInfo out, Oid type, const char *value, size_t length)
{
	Oid			base = OidIsValid(type) ? getBaseType(type) : InvalidOid;
	Oid			element = OidIsValid(base) ? get_element_type(base) : InvalidOid;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (is_integer(base))
		appendStringInfoString(out, as_integer(value, length));
	else if (OidIsValid(element) && value[0] == '[')
		append_elements(out, base, element, value);
	else if (OidIsValid(base) && type_is_rowtype(base) && value[0] == '{')
		append_columns(out, base, value);
	else
		appendBinaryStringInfo(out, value, length);
}

static char *
acceptable_value(Oid type, const char *value, size_t length)
{
	StringInfoData out;

	initStringInfo(&out);
	append_acceptable(&out, type, value, length);
	return out.data;
}

/*
 * The arguments without those that are null and have a default: they are left
 * out. In UTF-8, and without white space around them.
 */
static char *
without_nulls(const ToolFunction *function, const char *json)
{
	StringInfoData out;
	JsonMember	member;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	while (json_next_member(&json, &member))
	{
		const ToolArgument *argument =
			tool_function_argument(function, encoding_to_server(member.key));

		if (argument != NULL && argument->has_default &&
			strncmp(member.value, "null", 4) == 0)
			continue;
		json_append_key(&out, member.key);
		appendBinaryStringInfo(&out, member.value, member.value_length);
	}
	appendStringInfoChar(&out, '}');
	return out.data;
}

/*
 * Whether the schema of an object requires this member.
 */
static bool
is_required(const char *schema, const char *name)
{
	JsonMember	member;

	while (json_next_member(&schema, &member))
	{
		const char *at = member.value;

		if (strcmp(member.key, "required") != 0 || *at != '[')
			continue;
		while (json_next_element(&at))
		{
			const char *end = json_skip_value(at);

			if (*at == '"' &&
				strcmp(json_decode_string(at, end - at), name) == 0)
				return true;
			at = end;
		}
	}
	return false;
}

/*
 * The arguments, with a null for each that has a default, is left out, and is
 * required by the schema: a strict one asks a model for all, and null stands for
 * those that it would rather leave out. All in UTF-8.
 */
static char *
with_nulls(const ToolFunction *function, const char *schema, const char *json)
{
	StringInfoData out;

	initStringInfo(&out);
	appendBinaryStringInfo(&out, json, strlen(json) - 1);
	for (int i = 0; i < function->argument_count; i++)
	{
		const ToolArgument *argument = &function->arguments[i];
		char	   *name = encoding_from_server(argument->name);

		if (!argument->has_default || json_has_member(json, name) ||
			!is_required(schema, name))
			continue;
		json_append_key(&out, name);
		appendStringInfoString(&out, "null");
	}
	appendStringInfoChar(&out, '}');
	return out.data;
}

/*
 * Refuse arguments, in UTF-8, that do not fit a schema, which is of the database's
 * encoding.
 */
static void
check_arguments(const ToolFunction *function, const char *parameters,
				const char *json)
{
	OutputSchema schema = {0};
	char	   *problem;

	schema.schema = encoding_from_server(parameters);
	if (schema_answer(&schema, with_nulls(function, schema.schema, json),
					  &problem) == NULL)
		complain(encoding_to_server(problem));
}

/*
 * The value, as JSON in UTF-8, of what is bound to an argument; NULL: there is
 * none.
 */
static char *
bound_value(const char *source, const RunContext *context, const char *state)
{
	const char *text = NULL;
	StringInfoData out;

	if (strncmp(source, "state.", 6) == 0)
		return json_raw_member(state, source + 6);
	if (strcmp(source, "user_id") == 0)
		text = context->user_id;
	else if (strcmp(source, "session_id") == 0)
		text = context->session_id;
	else if (strcmp(source, "run_id") == 0)
		text = context->run_id;
	else if (strcmp(source, "agent_id") == 0)
		text = context->agent_id;
	if (text == NULL)
		return NULL;
	initStringInfo(&out);
	json_append_string(&out, encoding_from_server(text));
	return out.data;
}

/*
 * What the session's state (a JSON object, or NULL) has for arguments of the tool, as
 * JSON values one after the other; NULL: nothing is bound to it.
 */
char *
tool_bound_state(const Tool *tool, const char *session_state)
{
	const char *bind = tool->bind != NULL ?
		encoding_from_server(tool->bind) : NULL;
	StringInfoData out;
	JsonMember	member;

	initStringInfo(&out);
	while (bind != NULL && json_next_member(&bind, &member))
	{
		char	   *source = json_decode_string(member.value,
												member.value_length);
		char	   *value;

		if (strncmp(source, "state.", 6) != 0)
			continue;
		value = session_state == NULL ? NULL :
			bound_value(source, NULL, encoding_from_server(session_state));
		appendStringInfo(&out, "%s,", value != NULL ? value : "");
	}
	return out.len > 0 ? out.data : NULL;
}

/*
 * Add an argument that is given. value is JSON in UTF-8.
 */
static void
add_argument(CallArguments *call, const ToolArgument *argument,
			 const char *value, size_t length)
{
	/* Of two members of one name the last one counts, as in jsonb. */
	for (int i = 0; i < call->count; i++)
	{
		if (call->arguments[i] == argument)
		{
			call->values[i] = acceptable_value(argument->type, value, length);
			return;
		}
	}
	call->arguments[call->count] = argument;
	call->types[call->count] = argument->type;
	call->values[call->count++] = acceptable_value(argument->type, value,
												   length);
}

/*
 * The place of an argument among those that are given, or -1.
 */
static int
find_given(const CallArguments *call, const ToolArgument *argument)
{
	for (int i = 0; i < call->count; i++)
	{
		if (call->arguments[i] == argument)
			return i;
	}
	return -1;
}

/*
 * Add the members of a JSON object, in UTF-8, as arguments.
 */
static void
add_members(CallArguments *call, const ToolFunction *function,
			const char *json)
{
	JsonMember	member;

	while (json_next_member(&json, &member))
	{
		char	   *name = encoding_to_server(member.key);
		const ToolArgument *argument = tool_function_argument(function, name);

		if (argument == NULL)
			complain(psprintf("there is no argument \"%s\"", name));
		add_argument(call, argument, member.value, member.value_length);
	}
}

/*
 * Collect what the model gives, what somebody else gives (a JSON object, or NULL),
 * and what is bound. A bound argument that has no
 * value is NULL, never left to the model or to its default.
 */
static void
collect_arguments(const Tool *tool, const ToolFunction *function,
				  const char *json, const char *answer,
				  const RunContext *context, const char *session_state,
				  CallArguments *call)
{
	int			size = Max(function->argument_count + function->out_count, 1);
	const char *bind = tool->bind != NULL ?
		encoding_from_server(tool->bind) : NULL;
	JsonMember	member;

	call->arguments = palloc(sizeof(ToolArgument *) * size);
	call->values = palloc(sizeof(char *) * size);
	call->types = palloc(sizeof(Oid) * size);
	call->datums = palloc0(sizeof(Datum) * size);
	call->nulls = palloc0(size + 1);
	call->count = 0;
	add_members(call, function, json);
	if (answer != NULL)
		add_members(call, function, answer);
	while (bind != NULL && json_next_member(&bind, &member))
	{
		const ToolArgument *argument =
			tool_function_argument(function, encoding_to_server(member.key));
		char	   *source = json_decode_string(member.value,
												member.value_length);
		char	   *value = bound_value(source, context, session_state);

		if (argument == NULL)
			complain(psprintf("bind names \"%s\", which is no argument",
							  encoding_to_server(member.key)));
		add_argument(call, argument, value != NULL ? value : "null",
					 value != NULL ? strlen(value) : 4);
	}
}

/*
 * Convert the arguments to their types.
 */
static void
convert_arguments(CallArguments *call)
{
	StringInfoData sql;
	StringInfoData object;
	Oid			type = JSONBOID;
	Datum		json;

	if (call->count == 0)
		return;
	initStringInfo(&sql);
	initStringInfo(&object);
	appendStringInfoString(&sql, "SELECT * FROM pg_catalog.jsonb_to_record($1) AS a (");
	appendStringInfoChar(&object, '{');
	for (int i = 0; i < call->count; i++)
	{
		/*
		 * A kept plan outlives the types in this list: one of the same name
		 * that was made anew is another text, and so another plan. None has a
		 * length: bit and character would have one of 1.
		 */
		appendStringInfo(&sql, "%s%s %s /* %u */", i > 0 ? ", " : "",
						 quote_identifier(call->arguments[i]->name),
						 format_type_extended(call->types[i], -1,
											  FORMAT_TYPE_TYPEMOD_GIVEN |
											  FORMAT_TYPE_FORCE_QUALIFY),
						 call->types[i]);
		json_append_key(&object,
						encoding_from_server(call->arguments[i]->name));
		appendStringInfoString(&object, call->values[i]);
	}
	appendStringInfoChar(&sql, ')');
	appendStringInfoChar(&object, '}');
	json = DirectFunctionCall1(jsonb_in,
							   CStringGetDatum(encoding_to_server(object.data)));
	if (SPI_execute_plan(plan_of(call, sql.data, 1, &type), &json, NULL, true, 1) !=
		SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not convert the arguments");
	for (int i = 0; i < call->count; i++)
	{
		bool		isnull;

		call->datums[i] = SPI_getbinval(SPI_tuptable->vals[0],
										SPI_tuptable->tupdesc, i + 1, &isnull);
		call->nulls[i] = isnull ? 'n' : ' ';
	}
}

/*
 * The defaults of a function as the catalog has them: expressions for the last ones
 * of its arguments.
 */
static List *
defaults_of(const ToolFunction *function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID,
										ObjectIdGetDatum(function->oid));
	List	   *defaults = NIL;
	Datum		tree;
	bool		isnull = true;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function->oid);
	tree = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_proargdefaults,
						   &isnull);
	if (!isnull)
		defaults = stringToNode(TextDatumGetCString(tree));
	ReleaseSysCache(tuple);
	return defaults;
}

static Expr *
empty_array(Oid type)
{
	ArrayType  *array = construct_empty_array(get_element_type(type));

	return (Expr *) makeConst(type, -1, InvalidOid, -1, PointerGetDatum(array),
							  false, false);
}

static void
add_default(CallArguments *call, EState *state, const ToolArgument *argument,
			Expr *expression)
{
	ExprContext *context = GetPerTupleExprContext(state);
	int			n = call->count++;
	bool		isnull;

	call->arguments[n] = argument;
	call->types[n] = argument->type;
	call->datums[n] = ExecEvalExprSwitchContext(ExecPrepareExpr(expression, state),
												context, &isnull);
	call->nulls[n] = isnull ? 'n' : ' ';
	if (!isnull)
		call->datums[n] = datumCopy(call->datums[n],
									get_typbyval(argument->type),
									get_typlen(argument->type));
}

/*
 * Add the arguments that are left out: what the function has for them, and an empty
 * array for variadic ones.
 */
static void
add_defaults(CallArguments *call, const ToolFunction *function)
{
	List	   *defaults = defaults_of(function);
	int			without = function->argument_count - list_length(defaults);
	EState	   *state = CreateExecutorState();

	for (int i = 0; i < function->argument_count; i++)
	{
		const ToolArgument *argument = &function->arguments[i];

		if (find_given(call, argument) >= 0)
			continue;
		if (i >= without)
			add_default(call, state, argument, list_nth(defaults, i - without));
		else if (argument->variadic)
			add_default(call, state, argument,
						empty_array(argument->type));
	}
	FreeExecutorState(state);
}

/*
 * Add what PostgreSQL wants for the arguments that are for the result: NULL.
 */
static void
add_outputs(CallArguments *call, const ToolFunction *function)
{
	for (int i = 0; i < function->out_count; i++)
	{
		call->arguments[call->count] = NULL;
		call->types[call->count] = function->out_types[i];
		call->nulls[call->count++] = 'n';
	}
}

/*-------------------------------------------------------------------------
 * Calling
 *-------------------------------------------------------------------------
 */

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
		int			given = find_given(call, argument);

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
	SPIPlanPtr	plan = plan_of(call, sql, call->count, call->types);
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
		if (SPI_execute_plan(plan_of(call, sql.data, call->count, call->types),
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
	char	   *given;
	char	   *more = NULL;

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
	given = without_nulls(&function, encoding_from_server(arguments));
	check_arguments(&function, tool->parameters, given);
	if (tool->input_schema != NULL && answer != NULL)
	{
		more = without_nulls(&function, encoding_from_server(answer));
		check_arguments(&function, tool->input_schema, more);
	}
	collect_arguments(tool, &function, given, more, context,
					  session_state != NULL ?
					  encoding_from_server(session_state) : NULL, &call);
	convert_arguments(&call);
	if (call.count < function.argument_count)
		add_defaults(&call, &function);
	add_outputs(&call, &function);
	if (function.procedure)
		call_procedure(&function, &call, &result);
	else
		call_function(&function, &call, &result);
	SPI_finish();
	MemoryContextSwitchTo(caller);
	return result.data;
}
