/*-------------------------------------------------------------------------
 *
 * tool_definition.c
 *	  What a name in agents.tools stands for.
 *
 * A name is a row of agno.tools, or else a function. When a row of agno.agents
 * or agno.tools is written, a function is looked up with the search_path of
 * whoever writes, and kept with its schema and the types of its arguments; when
 * a run is enqueued, what the model is to be told is made from that and from the
 * catalog, and kept with the run.
 *
 * While a dump is restored (check_function_bodies is off then), names are left
 * as they are: what they stand for may not be there yet.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "core/docstring.h"
#include "core/json.h"
#include "core/schema.h"
#include "miscadmin.h"
#include "server/encoding.h"
#include "server/sql_function.h"
#include "server/tool_function.h"
#include "store/store.h"
#include "store/store_tools.h"
#include "tools/tool_definition.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* The prefix of a tool that is another agent. */
#define AGENT_PREFIX "agent:"

SQL_FUNCTION(agno_check_agent_tools);
SQL_FUNCTION(agno_check_tool);
SQL_FUNCTION(agno_describe_tool);

/*-------------------------------------------------------------------------
 * Definitions
 *-------------------------------------------------------------------------
 */

/*
 * Look at the row of agno.tools of this name, if the role may use it.
 */
static bool
find_row(const char *name, Oid role, ToolRow *row)
{
	StoreUser	user;
	bool		found;

	if (!tool_name_is_valid(name))
		return false;
	user = store_enter();
	found = store_find_tool(name, row) && has_privs_of_role(role, row->owner);
	store_leave(user);
	return found;
}

static void
refuse_agents(const char *name)
{
	if (strncmp(name, AGENT_PREFIX, strlen(AGENT_PREFIX)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("tool \"%s\": agents that call agents are not supported yet",
						name)));
}

/*
 * Refuse a name that not all APIs take; function is what has it, or NULL.
 */
static void
check_name(const char *name, const char *function)
{
	if (tool_name_is_valid(name))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_NAME),
			 function != NULL ?
			 errmsg("function %s has a name that models cannot call", function) :
			 errmsg("models cannot call a tool named \"%s\"", name),
			 errdetail("The name of a tool has from 1 to %d of the characters A-Z, a-z, 0-9, _ and -.",
					   MAX_TOOL_NAME),
			 function != NULL ?
			 errhint("Give it a name of that kind by a row of agno.tools.") :
			 errhint("The column tool is what models call it; what is executed is in the column function.")));
}

/*
 * A superuser executes nothing by a run that somebody else has written.
 */
static void
check_trust(Oid role, Oid owner, const char *what)
{
	if (!superuser_arg(role) || superuser_arg(owner))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for %s", what),
			 errdetail("Its owner is no superuser, and it would be executed with the rights of one."),
			 errhint("Enqueue the run as a role that is no superuser.")));
}

/*
 * The names of the members of a JSON object, NULL-terminated.
 */
static const char **
member_names(const char *json)
{
	const char *object = json != NULL ? encoding_from_server(json) : NULL;
	int			count = 0;
	int			size = 8;
	const char **names = palloc(sizeof(char *) * size);
	JsonMember	member;

	while (object != NULL && json_next_member(&object, &member))
	{
		if (count + 1 == size)
		{
			size *= 2;
			names = repalloc(names, sizeof(char *) * size);
		}
		names[count++] = encoding_to_server(member.key);
	}
	names[count] = NULL;
	return names;
}

static bool
is_strict(const char *schema)
{
	OutputSchema read;

	return schema_read(encoding_from_server(schema), &read) == NULL &&
		read.strict;
}

static bool
has_name(const char *const *names, const char *name)
{
	for (; *names != NULL; names++)
	{
		if (strcmp(*names, name) == 0)
			return true;
	}
	return false;
}

/*
 * All of these names, two NULL-terminated lists.
 */
static const char **
both(const char *const *a, const char *const *b)
{
	int			count = 0;
	const char **names;

	for (int i = 0; a[i] != NULL; i++)
		count++;
	for (int i = 0; b[i] != NULL; i++)
		count++;
	names = palloc(sizeof(char *) * (count + 1));
	count = 0;
	for (; *a != NULL; a++)
		names[count++] = *a;
	for (; *b != NULL; b++)
		names[count++] = *b;
	names[count] = NULL;
	return names;
}

/*
 * The arguments of the function but for these.
 */
static const char **
other_arguments(const ToolFunction *function, const char *const *names)
{
	const char **others = palloc(sizeof(char *) *
								 (function->argument_count + 1));
	int			count = 0;

	for (int i = 0; i < function->argument_count; i++)
	{
		if (!has_name(names, function->arguments[i].name))
			others[count++] = function->arguments[i].name;
	}
	others[count] = NULL;
	return others;
}

/*
 * The parameters that a model is told of: in a strict form if that is wanted and
 * can be had. function is NULL if the call is executed elsewhere.
 */
static void
set_parameters(Tool *tool, const ToolFunction *function, const ToolRow *row,
			   bool strict)
{
	const char **hidden = both(member_names(row->bind), row->inputs);

	if (row->parameters != NULL)
		tool->parameters = row->parameters;
	else if (function != NULL)
		tool->parameters = tool_function_schema(function, hidden, strict);
	else
		tool->parameters = "{\"type\":\"object\",\"properties\":{},"
			"\"required\":[],\"additionalProperties\":false}";
	tool->strict = strict && is_strict(tool->parameters);
	if (strict && !tool->strict && row->parameters == NULL)
		tool->parameters = tool_function_schema(function, hidden, false);
	if (tool->requires == REQUIRES_USER_INPUT)
		tool->input_schema =
			tool_function_schema(function,
								 other_arguments(function, row->inputs),
								 false);
}

/*
 * Who has a say in the calls of a tool. An answer is an approval, too.
 */
static void
set_requirement(Tool *tool, const ToolRow *row, bool confirmed)
{
	if (row->external_execution)
		tool->requires = REQUIRES_EXTERNAL_EXECUTION;
	else if (row->inputs[0] != NULL)
		tool->requires = REQUIRES_USER_INPUT;
	else if (row->requires_confirmation || row->preview || confirmed)
		tool->requires = REQUIRES_CONFIRMATION;
	if (tool->requires == REQUIRES_NOTHING)
		return;
	tool->preview = row->preview && tool->requires == REQUIRES_CONFIRMATION;
	tool->expires_ms = row->expires_ms;
	if (row->has_approver)
	{
		char	   *name = GetUserNameFromId(row->approver, true);

		/* Names like this are reserved: there is no such role. */
		tool->approver = pstrdup(name != NULL ? quote_identifier(name) :
								 "pg_dropped_approver");
	}
}

/*
 * What this name, as it stands in agents.tools or as a caller has written it, is
 * for the role, with parameters in a strict form if that can be had; confirmed:
 * the agent has its calls confirmed. Strings of the result are of the database's
 * encoding. Errors: undefined_function,
 * ambiguous_function, wrong_object_type, invalid_function_definition,
 * invalid_name, feature_not_supported, insufficient_privilege.
 */
static void
define_tool(const char *name, Oid role, bool strict, bool check_owners,
			bool confirmed, Tool *tool)
{
	static const char *const none[] = {NULL};
	ToolRow		row = {.inputs = none,.read_only = -1,.timeout_ms = -1};
	ToolFunction function = {0};
	Docstring	docstring = {0};
	bool		found;
	bool		executed;		/* here */

	refuse_agents(name);
	found = find_row(name, role, &row);
	executed = !found || row.function != NULL;
	if (!found)
		tool_function_read(tool_function_lookup(name), &function);
	else if (executed && !tool_function_find(row.function, &function))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function %s of tool \"%s\" does not exist",
						row.function, name),
				 errhint("UPDATE agno.tools with a function that exists.")));
	if (check_owners && found)
		check_trust(role, row.owner, psprintf("tool \"%s\"", name));
	if (check_owners && executed)
		check_trust(role, function.owner,
					psprintf("function %s", function.signature));
	if (!found)
		check_name(function.name, function.signature);

	memset(tool, 0, sizeof(Tool));
	if (executed)
		docstring_read(tool_function_comment(&function), &docstring);
	tool->name = found ? pstrdup(name) : function.name;
	tool->function = function.signature;
	tool->description = row.description != NULL ? row.description :
		docstring.description != NULL ? docstring.description : "";
	tool->bind = row.bind;
	tool->read_only = row.read_only >= 0 ? row.read_only == 1 :
		function.read_only;
	tool->stop_after_call = row.stop_after_call;
	tool->timeout_ms = (int) Min(Max(row.timeout_ms, 0), INT_MAX);
	set_requirement(tool, &row, confirmed);
	set_parameters(tool, executed ? &function : NULL, &row, strict);
}

static int
compare_tools(const void *a, const void *b)
{
	return strcmp(((const Tool *) a)->name, ((const Tool *) b)->name);
}

/*
 * Refuse two tools of one name: a model could not tell them apart.
 */
static void
check_names(const Tool *tools, int count)
{
	for (int i = 1; i < count; i++)
	{
		if (strcmp(tools[i - 1].name, tools[i].name) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("two tools of the agent are named \"%s\"",
							tools[i].name),
					 tools[i - 1].function != NULL && tools[i].function != NULL ?
					 errdetail("They are functions %s and %s.",
							   tools[i - 1].function, tools[i].function) : 0,
					 errhint("Give one of them another name by a row of agno.tools.")));
	}
}

/*
 * Whether a process may be connected as the role.
 */
bool
tool_role_can_connect(Oid role)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool		result = false;

	if (HeapTupleIsValid(tuple))
	{
		result = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
		ReleaseSysCache(tuple);
	}
	return result;
}

/*
 * The tools of these names for a run of this role, as tools_read() reads them, in
 * the order of their names; calls of those that are named once more, in confirmed,
 * are to be confirmed. Errors: as of define_tool(), and duplicate_object.
 */
char *
tool_definitions(char *const *names, int count, char *const *confirmed,
				 int confirmed_count, Oid role, bool strict)
{
	Tool	   *tools = palloc(sizeof(Tool) * Max(count, 1));
	StringInfoData out;

	for (int i = 0; i < count; i++)
	{
		bool		confirm = false;

		for (int c = 0; c < confirmed_count; c++)
			confirm |= strcmp(confirmed[c], names[i]) == 0;
		define_tool(names[i], role, strict, true, confirm, &tools[i]);
	}
	qsort(tools, count, sizeof(Tool), compare_tools);
	check_names(tools, count);

	initStringInfo(&out);
	for (int i = 0; i < count; i++)
	{
		appendStringInfoChar(&out, i > 0 ? ',' : '[');
		tool_append(&out, &tools[i]);
	}
	appendStringInfoString(&out, count > 0 ? "]" : "[]");
	return out.data;
}

/*
 * The tool of this name, for a caller.
 */
void
tool_definition(const char *name, Oid role, Tool *tool)
{
	define_tool(name, role, false, false, false, tool);
}

/*
 * agno_describe_tool(tool text) returns jsonb
 *
 * What a model is told of a tool: name, description and parameters. tool is what
 * could stand in agents.tools. Errors: those of define_tool().
 */
Datum
agno_describe_tool(PG_FUNCTION_ARGS)
{
	Tool		tool;
	StringInfoData out;

	tool_definition(text_to_cstring(PG_GETARG_TEXT_PP(0)), GetUserId(), &tool);
	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	json_append_member(&out, "name", tool.name);
	json_append_member(&out, "description", tool.description);
	json_append_key(&out, "parameters");
	appendStringInfo(&out, "%s}", tool.parameters);
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(out.data)));
}

/*-------------------------------------------------------------------------
 * Triggers
 *-------------------------------------------------------------------------
 */

/*
 * What is to be kept of a name: a function in full, anything else as it is.
 */
static char *
keep_name(const char *name, Oid role)
{
	ToolRow		row;
	ToolFunction function;

	refuse_agents(name);
	if (find_row(name, role, &row))
		return pstrdup(name);
	tool_function_read(tool_function_lookup(name), &function);
	return function.signature;
}

/* A column of a row that is written. */
typedef struct WrittenColumn
{
	int			number;			/* of the column */
	Datum		value;
	bool		isnull;
} WrittenColumn;

static TriggerData *
trigger_data(FunctionCallInfo fcinfo, const char *name)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(data->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("%s() is a trigger function", name)));
	return data;
}

static WrittenColumn
written_column(TriggerData *data, const char *name)
{
	TupleDesc	desc = RelationGetDescr(data->tg_relation);
	HeapTuple	tuple = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ?
		data->tg_newtuple : data->tg_trigtuple;
	WrittenColumn column = {0};

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (!attribute->attisdropped &&
			strcmp(NameStr(attribute->attname), name) == 0)
			column.number = i + 1;
	}
	if (column.number == 0)
		elog(ERROR, "column \"%s\" does not exist", name);
	column.value = heap_getattr(tuple, column.number, desc, &column.isnull);
	return column;
}

/*
 * The strings of an array of text that has no nulls.
 */
static char **
strings_of(const WrittenColumn *column, int *count)
{
	Datum	   *values;
	bool	   *nulls;
	char	  **strings;

	*count = 0;
	if (column->isnull)
		return NULL;
	deconstruct_array(DatumGetArrayTypeP(column->value), TEXTOID, -1, false,
					  TYPALIGN_INT, &values, &nulls, count);
	strings = palloc(sizeof(char *) * Max(*count, 1));
	for (int i = 0; i < *count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("the name of a tool must not be null")));
		strings[i] = TextDatumGetCString(values[i]);
	}
	return strings;
}

static Datum
array_of(char *const *strings, int count)
{
	Datum	   *values = palloc(sizeof(Datum) * Max(count, 1));

	for (int i = 0; i < count; i++)
		values[i] = CStringGetTextDatum(strings[i]);
	return PointerGetDatum(construct_array(values, count, TEXTOID, -1, false,
										   TYPALIGN_INT));
}

/*
 * The column tool_choice names none, auto, required, or one of the tools.
 */
static void
check_choice(const char *choice, const Tool *tools, int count)
{
	bool		valid = strcmp(choice, "none") == 0 ||
		strcmp(choice, "auto") == 0 || strcmp(choice, "required") == 0;

	for (int i = 0; i < count; i++)
		valid |= strcmp(choice, tools[i].name) == 0;
	if (!valid)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid tool_choice: \"%s\"", choice),
				 errhint("Write none, auto, required, or the name of one of the tools.")));
}

/*
 * Trigger on agno.agents: the functions that the columns tools and
 * requires_confirmation name are kept with their schemas and types.
 */
Datum
agno_check_agent_tools(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo, "agno.check_agent_tools");
	HeapTuple	tuple = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ?
		data->tg_newtuple : data->tg_trigtuple;
	WrittenColumn columns[2];
	WrittenColumn choice;
	char	  **names[2];
	int			counts[2];
	int			numbers[2];
	Datum		values[2];
	bool		nulls[2];
	Tool	   *tools;
	Oid			writer = GetUserId();

	if (!check_function_bodies)
		return PointerGetDatum(tuple);
	columns[0] = written_column(data, "tools");
	columns[1] = written_column(data, "requires_confirmation");
	choice = written_column(data, "tool_choice");
	for (int c = 0; c < 2; c++)
	{
		names[c] = strings_of(&columns[c], &counts[c]);
		for (int i = 0; i < counts[c]; i++)
			names[c][i] = keep_name(names[c][i], writer);
		numbers[c] = columns[c].number;
		nulls[c] = columns[c].isnull;
		values[c] = nulls[c] ? (Datum) 0 : array_of(names[c], counts[c]);
	}

	tools = palloc0(sizeof(Tool) * Max(counts[0], 1));
	for (int i = 0; i < counts[0]; i++)
	{
		ToolFunction function;

		tools[i].name = tools[i].function = names[0][i];
		if (tool_name_is_valid(names[0][i]))
			continue;
		tool_function_read(tool_function_lookup(names[0][i]), &function);
		check_name(function.name, function.signature);
		tools[i].name = function.name;
	}
	if (!choice.isnull)
		check_choice(TextDatumGetCString(choice.value), tools, counts[0]);
	qsort(tools, counts[0], sizeof(Tool), compare_tools);
	check_names(tools, counts[0]);
	return PointerGetDatum(heap_modify_tuple_by_cols(tuple,
													 RelationGetDescr(data->tg_relation),
													 2, numbers, values, nulls));
}

/*
 * What may be bound to an argument: something of the run, or of the state of
 * its session.
 */
static bool
is_bindable(const JsonMember *member)
{
	static const char *const sources[] = {
		"user_id", "session_id", "run_id", "agent_id"
	};
	char	   *source;

	if (member->value[0] != '"')
		return false;
	source = json_decode_string(member->value, member->value_length);
	if (strncmp(source, "state.", 6) == 0 && source[6] != '\0')
		return true;
	for (int i = 0; i < (int) lengthof(sources); i++)
	{
		if (strcmp(source, sources[i]) == 0)
			return true;
	}
	return false;
}

/*
 * Which arguments there are.
 */
static char *
arguments_hint(const ToolFunction *function)
{
	StringInfoData out;

	if (function->argument_count == 0)
		return "The function has no arguments.";
	initStringInfo(&out);
	appendStringInfoString(&out, "Its arguments are ");
	for (int i = 0; i < function->argument_count; i++)
		appendStringInfo(&out, "%s\"%s\"", i > 0 ? ", " : "",
						 function->arguments[i].name);
	appendStringInfoChar(&out, '.');
	return out.data;
}

static void
check_bind(const ToolFunction *function, const char *bind)
{
	JsonMember	member;

	bind = encoding_from_server(bind);
	while (json_next_member(&bind, &member))
	{
		char	   *name = encoding_to_server(member.key);

		if (tool_function_argument(function, name) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("bind names \"%s\", which is no argument of function %s",
							name, function->signature),
					 errhint("%s", arguments_hint(function))));
		if (!is_bindable(&member))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("bind has an invalid value for argument \"%s\"",
							name),
					 errhint("Write \"user_id\", \"session_id\", \"run_id\", \"agent_id\", or \"state.\" and a key of the session state.")));
	}
}

static void
check_parameters(const char *parameters)
{
	OutputSchema read;
	char	   *problem = schema_read(encoding_from_server(parameters), &read);

	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid parameters: %s", encoding_to_server(problem)),
				 errhint("Write a JSON schema of type object, or leave it null for that of the function.")));
}

static char *
json_of(const WrittenColumn *column)
{
	Jsonb	   *json;

	if (column->isnull)
		return NULL;
	json = DatumGetJsonbP(column->value);
	return JsonbToCString(NULL, &json->root, VARSIZE(json));
}

static bool
is_set(TriggerData *data, const char *name)
{
	WrittenColumn column = written_column(data, name);

	return !column.isnull && DatumGetBool(column.value);
}

/*
 * Refuse what cannot be had together.
 */
static void
check_exclusive(TriggerData *data, const WrittenColumn *inputs)
{
	bool		external = is_set(data, "external_execution");

	if (external && !inputs->isnull)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("external_execution and requires_user_input exclude each other"),
				 errhint("Whoever gives the result can use any input for it.")));
	if (is_set(data, "preview") && (external || !inputs->isnull))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("preview goes with requires_confirmation only"),
				 errdetail("What a call would do cannot be found out without its arguments, or if it is executed elsewhere.")));
}

/*
 * Trigger on agno.tools: the function is kept with its schema and types, and
 * what is said of its arguments fits it.
 */
Datum
agno_check_tool(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo, "agno.check_tool");
	HeapTuple	tuple = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ?
		data->tg_newtuple : data->tg_trigtuple;
	WrittenColumn name;
	WrittenColumn column;
	WrittenColumn bind;
	WrittenColumn parameters;
	WrittenColumn inputs;
	ToolFunction function;
	char	  **asked;
	int			count;
	bool		isnull = false;
	Datum		value;

	if (!check_function_bodies)
		return PointerGetDatum(tuple);
	name = written_column(data, "tool");
	column = written_column(data, "function");
	bind = written_column(data, "bind");
	parameters = written_column(data, "parameters");
	inputs = written_column(data, "requires_user_input");
	check_exclusive(data, &inputs);
	if (!name.isnull)
		check_name(TextDatumGetCString(name.value), NULL);
	if (!parameters.isnull)
		check_parameters(json_of(&parameters));
	if (column.isnull)
		return PointerGetDatum(tuple);

	tool_function_read(tool_function_lookup(TextDatumGetCString(column.value)),
					   &function);
	if (!bind.isnull)
		check_bind(&function, json_of(&bind));
	asked = strings_of(&inputs, &count);
	for (int i = 0; i < count; i++)
	{
		if (tool_function_argument(&function, asked[i]) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("requires_user_input names \"%s\", which is no argument of function %s",
							asked[i], function.signature),
					 errhint("%s", arguments_hint(&function))));
	}
	value = CStringGetTextDatum(function.signature);
	return PointerGetDatum(heap_modify_tuple_by_cols(tuple,
													 RelationGetDescr(data->tg_relation),
													 1, &column.number, &value,
													 &isnull));
}
