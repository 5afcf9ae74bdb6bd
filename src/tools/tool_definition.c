/*-------------------------------------------------------------------------
 *
 * tool_definition.c
 *	  What a name in agents.tools stands for.
 *
 * A name is a row of agno.tools, or else a function. When a row of agno.agents
 * or agno.tools is written (tool_rows.c), a function is looked up with the
 * search_path of whoever writes, and kept with its schema and the types of its
 * arguments; when a run is enqueued, what the model is to be told is made from that
 * and from the catalog, and kept with the run.
 *
 * A row has what its owner wants to be executed. So it never takes the place of a
 * function that somebody with other rights means, and nothing takes its place.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "core/docstring.h"
#include "core/json.h"
#include "core/schema.h"
#include "miscadmin.h"
#include "server/encoding.h"
#include "server/settings.h"
#include "server/sql_function.h"
#include "server/tool_fingerprint.h"
#include "server/tool_function.h"
#include "store/store.h"
#include "store/store_tools.h"
#include "tools/tool_definition.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/syscache.h"

/* How long the schema may be of the arguments that somebody gives, in bytes. */
#define MAX_INPUT_SCHEMA 65536

/* The prefix of a tool that is another agent. */
#define AGENT_PREFIX "agent:"

SQL_FUNCTION(agno_describe_tool);

/*-------------------------------------------------------------------------
 * Definitions
 *-------------------------------------------------------------------------
 */

/*
 * Look at the row of agno.tools of this name, if the role may use it: only then,
 * *row is filled.
 */
static bool
find_row(const char *name, Oid role, ToolRow *row)
{
	StoreUser	user;
	ToolRow		found;
	bool		usable;

	if (!tool_name_is_valid(name))
		return false;
	user = store_enter();
	usable = store_find_tool(name, role, &found);
	store_leave(user);
	if (usable)
		*row = found;
	return usable;
}

/*
 * The same for a name that somebody has written: if it may be that the function of
 * this name is meant, and it would be replaced by what somebody with other rights
 * has put into a row, say so. Errors: ambiguous_function.
 */
bool
tool_find_row(const char *name, Oid role, ToolRow *row)
{
	if (!find_row(name, role, row))
		return false;
	if (row->owner != role && !superuser_arg(row->owner) &&
		tool_function_is_other(name, row->function))
		ereport(ERROR,
				(errcode(ERRCODE_AMBIGUOUS_FUNCTION),
				 errmsg("\"%s\" is a function, and also a row of agno.tools that belongs to another role",
						name),
				 errdetail("The row belongs to role \"%s\".",
						   GetUserNameFromId(row->owner, true)),
				 errhint("Write the function with its schema, or have the row renamed.")));
	return true;
}

/*
 * The agent that a name stands for; NULL if it stands for none.
 */
const char *
tool_agent_of(const char *name)
{
	size_t		length = strlen(AGENT_PREFIX);

	return strncmp(name, AGENT_PREFIX, length) == 0 ? name + length : NULL;
}

/*
 * What a model calls an agent: its id, as an URL would have it if it is no name
 * that all APIs take.
 */
char *
tool_agent_name(const char *agent_id)
{
	char	   *name = pstrdup(agent_id);

	if (tool_name_is_valid(name))
		return name;
	for (char *at = name; *at != '\0'; at++)
	{
		char		letter[2] = {*at, '\0'};

		if (!tool_name_is_valid(letter))
			*at = '-';
	}
	name[Min(strlen(name), MAX_TOOL_NAME)] = '\0';
	return name;
}

/*
 * Refuse a name that not all APIs take; function is what has it, or NULL.
 */
void
tool_check_name(const char *name, const char *function)
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
void
tool_check_trust(Oid role, Oid owner, const char *what)
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
	if (tool->requires != REQUIRES_USER_INPUT || function == NULL)
		return;
	tool->input_schema =
		tool_function_schema(function, other_arguments(function, row->inputs),
							 false);
	if (strlen(tool->input_schema) > MAX_INPUT_SCHEMA)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("the schema of the arguments that somebody gives to function %s is too long",
						function->signature),
				 errdetail("It has %zu bytes; each call keeps it, with up to %d.",
						   strlen(tool->input_schema), MAX_INPUT_SCHEMA),
				 errhint("Shorten the comment on the function.")));
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

		if (function != NULL && tool_function_argument(function, name) == NULL)
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

/*
 * Refuse what a row says of the arguments if it makes no sense: of those of the
 * function, if that is known. A dump may be restored before the function is there,
 * and checks may be switched off meanwhile, so this is done again before a row is
 * used. Errors: invalid_parameter_value.
 */
void
tool_check_row(const ToolRow *row, const ToolFunction *function)
{
	if (row->parameters != NULL)
		check_parameters(row->parameters);
	if (row->bind != NULL)
		check_bind(function, row->bind);
	for (int i = 0; function != NULL && row->inputs[i] != NULL; i++)
	{
		if (tool_function_argument(function, row->inputs[i]) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("requires_user_input names \"%s\", which is no argument of function %s",
							row->inputs[i], function->signature),
					 errhint("%s", arguments_hint(function))));
	}
}

/*
 * A member of a JSON object that is a string, or NULL.
 */
static char *
string_member(NullableDatum object, const char *name)
{
	JsonbValue *value;

	if (object.isnull)
		return NULL;
	value = getKeyJsonValueFromContainer(&DatumGetJsonbP(object.value)->root,
										 name, strlen(name), NULL);
	return value != NULL && value->type == jbvString ?
		pnstrdup(value->val.string.val, value->val.string.len) : NULL;
}

/*
 * An agent as a tool: it is told a task. Errors: undefined_object,
 * insufficient_privilege.
 */
static void
define_agent(const char *agent_id, Oid role, bool strict, bool check_owners,
			 bool confirmed, Tool *tool)
{
	AgentRow	agent;
	StoreUser	user = store_enter();
	bool		found = store_find_agent(agent_id, &agent);

	store_leave(user);
	if (!found || !has_privs_of_role(role, agent.owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("agent \"%s\" does not exist", agent_id),
				 errhint("INSERT it into agno.agents, or have its owner share it: an agent is for the roles that have the rights of its owner.")));
	if (check_owners)
		tool_check_trust(role, agent.owner, psprintf("agent \"%s\"", agent_id));

	memset(tool, 0, sizeof(Tool));
	tool->name = tool_agent_name(agent_id);
	tool->agent = pstrdup(agent_id);
	tool->description = string_member(agent.definition, "description");
	if (tool->description == NULL)
		tool->description = string_member(agent.definition, "role");
	if (tool->description == NULL)
		tool->description = "";
	tool->parameters = "{\"type\":\"object\",\"properties\":{\"task\":"
		"{\"type\":\"string\",\"description\":\"what the agent is to do\"}},"
		"\"required\":[\"task\"],\"additionalProperties\":false}";
	tool->strict = strict;
	tool->requires = confirmed ? REQUIRES_CONFIRMATION : REQUIRES_NOTHING;
}

/*
 * What this name is for the role, as it is kept in the tools of an agent or, if
 * that is NULL, as a caller has written it, with parameters in a strict form if
 * that can be had; confirmed: the agent has its calls confirmed. Strings of the result are of the database's
 * encoding. Errors: undefined_function,
 * ambiguous_function, wrong_object_type, invalid_function_definition,
 * invalid_name, feature_not_supported, insufficient_privilege.
 */
static void
define_tool(const char *name, const char *agent_id, Oid role, bool strict,
			bool check_owners, bool confirmed, Tool *tool)
{
	static const char *const none[] = {NULL};
	ToolRow		row = {.inputs = none,.read_only = -1,.timeout_ms = -1};
	ToolFunction function = {0};
	Docstring	docstring = {0};
	bool		found;
	bool		executed;		/* here */

	if (tool_agent_of(name) != NULL)
	{
		define_agent(tool_agent_of(name), role, strict, check_owners, confirmed,
					 tool);
		return;
	}
	found = agent_id != NULL ?
		find_row(name, role, &row) : tool_find_row(name, role, &row);
	if (!found && agent_id != NULL && tool_name_is_valid(name))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("tool \"%s\" does not exist", name),
				 errdetail("There is no row of agno.tools of this name whose owner's rights role \"%s\" has.",
						   GetUserNameFromId(role, false)),
				 errhint("Have the owner share the tool, or UPDATE the tools of the agent.")));
	if (!found && agent_id != NULL && !OidIsValid(tool_function_oid(name)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("tool \"%s\" does not exist", name),
				 errdetail("It is one of the tools of agent \"%s\".", agent_id),
				 errhint("Create the function again, or UPDATE the tools of the agent.")));
	executed = !found || row.function != NULL;
	if (!found)
		tool_function_read(tool_function_lookup(name), &function);
	else if (executed && !tool_function_find(row.function, &function))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function %s of tool \"%s\" does not exist",
						row.function, name),
				 errhint("UPDATE agno.tools with a function that exists.")));
	if (found)
		tool_check_row(&row, executed ? &function : NULL);
	if (check_owners && found)
		tool_check_trust(role, row.owner, psprintf("tool \"%s\"", name));
	if (check_owners && executed)
		tool_check_trust(role, function.owner,
						 psprintf("function %s", function.signature));
	if (!found)
		tool_check_name(function.name, function.signature);

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
	if (executed && tool->requires != REQUIRES_NOTHING)
		tool->fingerprint = tool_fingerprint(function.signature, NULL);
	set_parameters(tool, executed ? &function : NULL, &row, strict);
}

static int
compare_tools(const void *a, const void *b)
{
	return strcmp(((const Tool *) a)->name, ((const Tool *) b)->name);
}

/*
 * Put tools into the order of their names, and refuse two of one name: a model
 * could not tell them apart.
 */
void
tool_check_names(Tool *tools, int count)
{
	qsort(tools, count, sizeof(Tool), compare_tools);
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
 * The tools of these names, which the agent has, for a run of this role, as
 * tools_read() reads them, in the order of their names; calls of those that are
 * named once more, in confirmed, are to be confirmed. Errors: as of define_tool(), and duplicate_object.
 */
char *
tool_definitions(const char *agent_id, char *const *names, int count,
				 char *const *confirmed, int confirmed_count, Oid role,
				 bool strict)
{
	Tool	   *tools = palloc(sizeof(Tool) * Max(count, 1));
	StringInfoData out;

	for (int i = 0; i < count; i++)
	{
		bool		confirm = false;

		for (int c = 0; c < confirmed_count; c++)
			confirm |= strcmp(confirmed[c], names[i]) == 0;
		define_tool(names[i], agent_id, role, strict, true, confirm, &tools[i]);
	}
	tool_check_names(tools, count);

	initStringInfo(&out);
	for (int i = 0; i < count; i++)
	{
		appendStringInfoChar(&out, i > 0 ? ',' : '[');
		tool_append(&out, &tools[i]);
	}
	appendStringInfoString(&out, count > 0 ? "]" : "[]");
	if (out.len > agno_max_input_size * INT64CONST(1024))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("the definitions of the tools are too long"),
				 errdetail("They have %d bytes; agno_bg.max_input_size allows " INT64_FORMAT ".",
						   out.len, agno_max_input_size * INT64CONST(1024)),
				 errhint("Shorten the comments and the parameters, or use fewer tools.")));
	return out.data;
}

/*
 * The tool of this name, for a caller; called: to be called with the rights of the
 * role.
 */
void
tool_definition(const char *name, Oid role, bool called, Tool *tool)
{
	define_tool(name, NULL, role, false, called, false, tool);
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

	tool_definition(text_to_cstring(PG_GETARG_TEXT_PP(0)), GetUserId(), false,
					&tool);
	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	json_append_member(&out, "name", tool.name);
	json_append_member(&out, "description", tool.description);
	json_append_key(&out, "parameters");
	appendStringInfo(&out, "%s}", tool.parameters);
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(out.data)));
}
