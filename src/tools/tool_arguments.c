/*-------------------------------------------------------------------------
 *
 * tool_arguments.c
 *	  The arguments of a call of a tool: from JSON to values of their types.
 *
 * They are checked against the schema that the model was told, then converted by the
 * input functions of their types, all as the current user and in the current
 * transaction: errors are the tool's. Never calls the tool.
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
#include "tools/tool_arguments.h"
#include "tools/tool_plans.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

static void
complain(const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid arguments: %s", problem)));
}

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
int
tool_arguments_find(const CallArguments *call, const ToolArgument *argument)
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
	if (SPI_execute_plan(tool_plan(sql.data, 1, &type, call->keep_plans), &json, NULL, true, 1) !=
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

		if (tool_arguments_find(call, argument) >= 0)
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

/*
 * Make the arguments of a call, on which keep_plans is set: those that the model gives (a
 * JSON object), those that somebody has given besides (likewise, or NULL), those that are
 * bound to what the run or its session's state (a JSON object, or NULL) has, and the
 * defaults of all others. Strings are of the database's encoding. What is made lives in the
 * current memory context, or until SPI_finish(). Errors: any;
 * invalid_parameter_value if the arguments do not fit.
 */
void
tool_arguments_make(CallArguments *call, const Tool *tool,
					const ToolFunction *function, const char *arguments,
					const char *answer, const RunContext *context,
					const char *session_state)
{
	char	   *given = without_nulls(function, encoding_from_server(arguments));
	char	   *more = NULL;

	check_arguments(function, tool->parameters, given);
	if (tool->input_schema != NULL && answer != NULL)
	{
		more = without_nulls(function, encoding_from_server(answer));
		check_arguments(function, tool->input_schema, more);
	}
	collect_arguments(tool, function, given, more, context,
					  session_state != NULL ?
					  encoding_from_server(session_state) : NULL, call);
	convert_arguments(call);
	if (call->count < function->argument_count)
		add_defaults(call, function);
	add_outputs(call, function);
}
