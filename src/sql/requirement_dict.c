/*-------------------------------------------------------------------------
 *
 * requirement_dict.c
 *	  Decisions in the dicts of Agno.
 *
 * A client of Agno reads the requirements of a run, decides, and sends them back
 * whole: RunRequirement.to_dict() of either line, or the ToolExecution within. What
 * they say beside the decision must be what is stored, since a decision changes
 * nothing else: neither the tool nor its arguments.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/json.h"
#include "miscadmin.h"
#include "server/encoding.h"
#include "sql/arguments.h"
#include "sql/requirement_dict.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* Members of a RunRequirement that only say when it was made, or are ours. */
static const char *const ignored[] = {"id", "created_at", "tool_execution", NULL};

/* Members that a decision is in: of a RunRequirement, and of a ToolExecution. */
static const char *const decisions[] = {
	"confirmation", "confirmation_note", "external_execution_result",
	"user_input_schema", NULL
};
static const char *const execution_decisions[] = {
	"confirmed", "confirmation_note", "result", "answered",
	"user_input_schema", NULL
};

static bool
is_one_of(const char *name, const char *const *names)
{
	for (; *names != NULL; names++)
	{
		if (strcmp(name, *names) == 0)
			return true;
	}
	return false;
}

/*
 * The member of an object; NULL if there is none, or it is JSON null.
 */
static Jsonb *
member_of(Jsonb *object, const char *name)
{
	JsonbValue *value;

	if (object == NULL || !JB_ROOT_IS_OBJECT(object))
		return NULL;
	value = getKeyJsonValueFromContainer(&object->root, name, strlen(name),
										 NULL);
	return value != NULL && value->type != jbvNull ?
		JsonbValueToJsonb(value) : NULL;
}

/*
 * The objects in a list, as an object by that string member of theirs: looked up in
 * there, they are found without a copy of the others. Never NULL.
 */
static Jsonb *
by_member(Jsonb *list, const char *name)
{
	JsonbParseState *state = NULL;
	int			count = list != NULL && JB_ROOT_IS_ARRAY(list) &&
		!JB_ROOT_IS_SCALAR(list) ? JB_ROOT_COUNT(list) : 0;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < count; i++)
	{
		JsonbValue *object = getIthJsonbValueFromContainer(&list->root, i);
		JsonbValue	key;

		if (object->type != jbvBinary ||
			!JsonContainerIsObject(object->val.binary.data) ||
			getKeyJsonValueFromContainer(object->val.binary.data, name,
										 strlen(name), &key) == NULL ||
			key.type != jbvString)
			continue;
		(void) pushJsonbValue(&state, WJB_KEY, &key);
		(void) pushJsonbValue(&state, WJB_VALUE, object);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static bool
read_scalar(Jsonb *json, JsonbValue *value)
{
	return json != NULL && JB_ROOT_IS_SCALAR(json) &&
		JsonbExtractScalar(&json->root, value);
}

/*
 * A member that is a string, of the database's encoding; or NULL.
 */
static char *
string_of(Jsonb *object, const char *name)
{
	Jsonb	   *json = member_of(object, name);
	JsonbValue	value;

	if (json == NULL)
		return NULL;
	if (!read_scalar(json, &value) || value.type != jbvString)
		argument_error(psprintf("requirements: \"%s\" must be a string", name),
					   NULL);
	return pnstrdup(value.val.string.val, value.val.string.len);
}

/*
 * A member that is true or false: 1 or 0; -1 if there is none.
 */
static int
bool_of(Jsonb *object, const char *name)
{
	Jsonb	   *json = member_of(object, name);
	JsonbValue	value;

	if (json == NULL)
		return -1;
	if (!read_scalar(json, &value) || value.type != jbvBool)
		argument_error(psprintf("requirements: \"%s\" must be true or false",
								name), NULL);
	return value.val.boolean;
}

static char *
utf8_or_null(char *string)
{
	return string != NULL ? encoding_from_server(string) : NULL;
}

static char *
json_text(Jsonb *json)
{
	return encoding_from_server(JsonbToCString(NULL, &json->root,
											   VARSIZE(json)));
}

/*
 * The ToolExecution in a dict, which may be one itself.
 */
static Jsonb *
execution_of(Jsonb *dict)
{
	Jsonb	   *execution = member_of(dict, "tool_execution");

	if (execution != NULL && !JB_ROOT_IS_OBJECT(execution))
		argument_error("requirements: \"tool_execution\" must be an object",
					   NULL);
	if (execution != NULL)
		return execution;
	return member_of(dict, "tool_call_id") != NULL ? dict : NULL;
}

/*
 * Refuse members that are not as they are stored, but for those that are names in
 * one of the lists. What is null says nothing.
 */
static void
check_unchanged(Jsonb *dict, Jsonb *stored, const char *const *free1,
				const char *const *free2)
{
	JsonbIterator *iterator = JsonbIteratorInit(&dict->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		char	   *key;
		Jsonb	   *given;
		Jsonb	   *kept;

		if (token != WJB_KEY)
			continue;
		key = pnstrdup(value.val.string.val, value.val.string.len);
		given = member_of(dict, key);
		if (given == NULL || is_one_of(key, free1) || is_one_of(key, free2))
			continue;
		kept = member_of(stored, key);
		if (kept == NULL ||
			compareJsonbContainers(&given->root, &kept->root) != 0)
			argument_error(psprintf("requirements: \"%s\" is no part of a decision and cannot be changed",
									key),
						   "Send the requirements as they are in agno.runs, with nothing but the decisions filled in.");
	}
}

/*
 * Add the value of a field to these, if it is given and not stored.
 */
static void
read_field(StringInfo out, Jsonb *field, Jsonb *known)
{
	char	   *name = string_of(field, "name");
	Jsonb	   *value = member_of(field, "value");
	Jsonb	   *field_stored = name != NULL ? member_of(known, name) : NULL;
	Jsonb	   *kept = member_of(field_stored, "value");

	if (field_stored == NULL)
		argument_error(psprintf("requirements: no input \"%s\" is asked for",
								name != NULL ? name : ""), NULL);
	if (value == NULL)
		return;
	if (kept == NULL)
	{
		json_append_key(out, encoding_from_server(name));
		appendStringInfoString(out, json_text(value));
	}
	else if (compareJsonbContainers(&value->root, &kept->root) != 0)
		argument_error(psprintf("requirements: the value of \"%s\" is there already and cannot be changed",
								name), NULL);
}

/*
 * The values of those fields that are to be given, in a list of them, as a JSON
 * object in UTF-8; NULL if there are none. Others must be as they are stored.
 */
static char *
read_fields(Jsonb *fields, Jsonb *stored)
{
	StringInfoData out;
	MemoryContext context;
	MemoryContext old;
	Jsonb	   *known;
	int			count;

	if (fields == NULL)
		return NULL;
	if (!JB_ROOT_IS_ARRAY(fields) || JB_ROOT_IS_SCALAR(fields))
		argument_error("requirements: \"user_input_schema\" must be an array",
					   NULL);
	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	known = by_member(stored, "name");
	count = JB_ROOT_COUNT(fields);

	/* A stored field may be long, and named many times. */
	context = AllocSetContextCreate(CurrentMemoryContext, "agno_bg field",
									ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		read_field(&out,
				   JsonbValueToJsonb(getIthJsonbValueFromContainer(&fields->root,
																   i)),
				   known);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	appendStringInfoChar(&out, '}');
	return out.len > 2 ? out.data : NULL;
}

/*
 * The requirements that are stored in agno.runs, by their ids: an object, for
 * requirement_dict_stored().
 */
Jsonb *
requirement_dicts_by_id(Jsonb *stored)
{
	return by_member(stored, "id");
}

/*
 * The one with this id, in the database's encoding; NULL if there is none.
 */
Jsonb *
requirement_dict_stored(Jsonb *by_id, const char *id)
{
	return member_of(by_id, id);
}

/*
 * The id of the requirement that a dict is about, in the database's encoding; or
 * NULL.
 */
char *
requirement_dict_id(Jsonb *dict)
{
	return string_of(dict, "id");
}

/*
 * And the id of its call.
 */
char *
requirement_dict_call_id(Jsonb *dict)
{
	return string_of(execution_of(dict), "tool_call_id");
}

/*
 * What a dict decides. stored is the requirement as it stands in agno.runs, of
 * which nothing else may be changed while its call waits. Errors:
 * invalid_parameter_value.
 */
void
requirement_dict_read(Jsonb *dict, Jsonb *stored, bool waits,
					  DictDecision *decision)
{
	Jsonb	   *execution = execution_of(dict);
	Jsonb	   *stored_execution = member_of(stored, "tool_execution");
	Jsonb	   *requirement = execution == dict ? NULL : dict;
	Jsonb	   *stored_fields = member_of(stored_execution, "user_input_schema");
	int			nested;

	memset(decision, 0, sizeof(DictDecision));
	if (waits && requirement != NULL)
		check_unchanged(requirement, stored, ignored, decisions);
	if (waits && execution != NULL)
		check_unchanged(execution, stored_execution, execution_decisions,
						execution_decisions);

	decision->confirmed = bool_of(requirement, "confirmation");
	nested = bool_of(execution, "confirmed");
	if (decision->confirmed >= 0 && nested >= 0 &&
		decision->confirmed != nested)
		argument_error("requirements: \"confirmation\" and \"confirmed\" contradict each other",
					   NULL);
	decision->confirmed = Max(decision->confirmed, nested);
	decision->note = utf8_or_null(string_of(requirement, "confirmation_note"));
	if (decision->note == NULL)
		decision->note = utf8_or_null(string_of(execution,
												"confirmation_note"));
	decision->result = utf8_or_null(string_of(requirement,
											  "external_execution_result"));
	if (decision->result == NULL)
		decision->result = utf8_or_null(string_of(execution, "result"));
	(void) bool_of(execution, "answered");
	decision->input = read_fields(member_of(requirement, "user_input_schema"),
								  stored_fields);
	if (decision->input == NULL)
		decision->input = read_fields(member_of(execution,
												"user_input_schema"),
									  stored_fields);
}
