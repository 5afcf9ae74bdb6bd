/*-------------------------------------------------------------------------
 *
 * tool_rows.c
 *	  Rows of agno.agents and agno.tools, as they are written.
 *
 * Triggers: what a row says of tools is checked, and the functions that it names
 * are kept with their schemas and the types of their arguments, as whoever writes
 * finds them.
 *
 * While a dump is restored (check_function_bodies is off then), functions are not
 * looked up, since they may not be there yet; names are left as they are, and so is
 * an approver who is no more.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "server/json_size.h"
#include "server/sql_function.h"
#include "server/tool_function.h"
#include "store/store.h"
#include "store/store_tools.h"
#include "tools/callback.h"
#include "tools/tool_definition.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/syscache.h"

SQL_FUNCTION(agno_check_agent_tools);
SQL_FUNCTION(agno_check_tool);

/*
 * What is to be kept of a name: a function in full, anything else as it is.
 */
static char *
keep_name(const char *name, Oid role)
{
	ToolRow		row;
	ToolFunction function;

	/* Agents may name each other, so they need not be there yet. */
	if (tool_agent_of(name) != NULL)
	{
		tool_check_name(tool_agent_name(tool_agent_of(name)), NULL);
		return pstrdup(name);
	}
	if (tool_find_row(name, role, &row))
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

/*
 * What this function, a trigger on this table of the schema agno and on no other, is
 * called with: the columns of another one may be of other types.
 */
static TriggerData *
trigger_data(FunctionCallInfo fcinfo, const char *name, const char *table)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(data->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(data->tg_event) ||
		RelationGetNamespace(data->tg_relation) != get_namespace_oid("agno", true) ||
		strcmp(RelationGetRelationName(data->tg_relation), table) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("%s() is a trigger function of agno.%s", name, table)));
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
 * The column requires_confirmation names some of the tools. The table has a
 * constraint of the same meaning, which does not say which one is wrong.
 */
static void
check_confirmed(char *const *confirmed, int confirmed_count,
				char *const *tools, int count)
{
	for (int c = 0; c < confirmed_count; c++)
	{
		bool		found = false;

		for (int i = 0; i < count; i++)
			found |= strcmp(tools[i], confirmed[c]) == 0;
		if (!found)
			ereport(ERROR,
					(errcode(ERRCODE_CHECK_VIOLATION),
					 errmsg("requires_confirmation names \"%s\", which is no tool of the agent",
							confirmed[c]),
					 errhint("Name it in tools as well.")));
	}
}

/*
 * Who inserts an agent under an id that another role has could neither use that
 * agent nor see it.
 */
static void
check_agent_id(TriggerData *data, Oid writer)
{
	WrittenColumn id = written_column(data, "agent_id");
	AgentRow	agent;
	StoreUser	user;
	bool		found;

	if (id.isnull)
		return;
	user = store_enter();
	found = store_find_agent(TextDatumGetCString(id.value), &agent);
	store_leave(user);
	if (!found || has_privs_of_role(writer, agent.owner))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_UNIQUE_VIOLATION),
			 SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(agent.owner)) ?
			 (errmsg("agent id \"%s\" is in use by another role",
					 TextDatumGetCString(id.value)),
			  errhint("Choose another one, or have its owner share it: an agent is for the roles that have the rights of its owner.")) :
			 (errmsg("agent id \"%s\" is in use by a role that has been dropped",
					 TextDatumGetCString(id.value)),
			  errhint("Choose another one, or have a superuser delete that agent from agno.agents, or give it another owner."))));
}

/*
 * Trigger on agno.agents: the functions that the columns tools, requires_confirmation
 * and on_complete name are kept with their schemas and types.
 */
Datum
agno_check_agent_tools(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo, "agno.check_agent_tools",
									 "agents");
	HeapTuple	tuple = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ?
		data->tg_newtuple : data->tg_trigtuple;
	WrittenColumn columns[2];
	WrittenColumn choice;
	WrittenColumn callback;
	char	  **names[2];
	int			counts[2];
	int			numbers[3];
	Datum		values[3];
	bool		nulls[3];
	Tool	   *tools;
	Oid			writer = GetUserId();

	if (!check_function_bodies)
		return PointerGetDatum(tuple);
	if (TRIGGER_FIRED_BY_INSERT(data->tg_event))
		check_agent_id(data, writer);
	columns[0] = written_column(data, "tools");
	columns[1] = written_column(data, "requires_confirmation");
	choice = written_column(data, "tool_choice");
	callback = written_column(data, "on_complete");
	numbers[2] = callback.number;
	nulls[2] = callback.isnull;
	values[2] = callback.isnull ? (Datum) 0 :
		CStringGetTextDatum(callback_define(TextDatumGetCString(callback.value)));
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
		if (tool_agent_of(names[0][i]) != NULL)
			tools[i].name = tool_agent_name(tool_agent_of(names[0][i]));
		if (tool_agent_of(names[0][i]) != NULL ||
			tool_name_is_valid(names[0][i]))
			continue;
		tool_function_read(tool_function_lookup(names[0][i]), &function);
		tool_check_name(function.name, function.signature);
		tools[i].name = function.name;
	}
	if (!choice.isnull)
		check_choice(TextDatumGetCString(choice.value), tools, counts[0]);
	tool_check_names(tools, counts[0]);
	check_confirmed(names[1], counts[1], names[0], counts[0]);
	return PointerGetDatum(heap_modify_tuple_by_cols(tuple,
													 RelationGetDescr(data->tg_relation),
													 3, numbers, values, nulls));
}

/*
 * A column of type jsonb as text; or NULL. Errors: configuration_limit_exceeded.
 */
static char *
json_of(TriggerData *data, const char *name)
{
	WrittenColumn column = written_column(data, name);
	Jsonb	   *json;

	if (column.isnull)
		return NULL;
	json = DatumGetJsonbP(column.value);
	json_check_size(name, json);
	return JsonbToCString(NULL, &json->root, VARSIZE(json));
}

/*
 * The strings of an array of text, and a NULL.
 */
static const char *const *
names_of(const WrittenColumn *column)
{
	int			count;
	char	  **strings = strings_of(column, &count);
	const char **names = palloc0(sizeof(char *) * (count + 1));

	for (int i = 0; i < count; i++)
		names[i] = strings[i];
	return names;
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
 * Refuse an approver who is no role: the one that gets this number later would be it.
 * A dump may have one that has been dropped, and is restored all the same, by who may
 * write the rows of all roles. Errors: undefined_object.
 */
static void
check_approver(TriggerData *data)
{
	WrittenColumn column = written_column(data, "approver");
	Oid			approver = column.isnull ? InvalidOid :
		DatumGetObjectId(column.value);

	if (column.isnull || SearchSysCacheExists1(AUTHOID, column.value))
		return;
	if (TRIGGER_FIRED_BY_UPDATE(data->tg_event))
	{
		bool		isnull;
		Datum		before = heap_getattr(data->tg_trigtuple, column.number,
										  RelationGetDescr(data->tg_relation),
										  &isnull);

		if (!isnull && DatumGetObjectId(before) == approver)
			return;
	}
	if (!check_function_bodies &&
		check_enable_rls(RelationGetRelid(data->tg_relation), InvalidOid,
						 true) != RLS_ENABLED)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("role with OID %u does not exist", approver),
			 errdetail("It would be the approver of a tool.")));
}

/*
 * Trigger on agno.tools: the function is kept with its schema and types, and
 * what is said of its arguments fits it.
 */
Datum
agno_check_tool(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo, "agno.check_tool", "tools");
	HeapTuple	tuple = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ?
		data->tg_newtuple : data->tg_trigtuple;
	WrittenColumn name = written_column(data, "tool");
	WrittenColumn column = written_column(data, "function");
	WrittenColumn inputs = written_column(data, "requires_user_input");
	ToolRow		row = {0};
	ToolFunction function;
	bool		known = !column.isnull && check_function_bodies;
	bool		isnull = false;
	Datum		value;

	check_exclusive(data, &inputs);
	check_approver(data);
	if (!name.isnull)
		tool_check_name(TextDatumGetCString(name.value), NULL);
	row.parameters = json_of(data, "parameters");
	row.bind = json_of(data, "bind");
	row.inputs = names_of(&inputs);
	if (known)
		tool_function_read(tool_function_lookup(TextDatumGetCString(column.value)),
						   &function);
	tool_check_row(&row, known ? &function : NULL);
	if (!known)
		return PointerGetDatum(tuple);
	value = CStringGetTextDatum(function.signature);
	return PointerGetDatum(heap_modify_tuple_by_cols(tuple,
													 RelationGetDescr(data->tg_relation),
													 1, &column.number, &value,
													 &isnull));
}
