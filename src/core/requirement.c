/*-------------------------------------------------------------------------
 *
 * requirement.c
 *	  What a PAUSED run waits for: somebody's decision about a call.
 *
 * Written in the shape of RunRequirement.to_dict() of Agno (agno 3.1,
 * run/requirement.py), with the members that a decision adds to it and to its
 * ToolExecution. Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include "core/json.h"
#include "core/requirement.h"

/* Agno's words for the kinds of pauses (RunRequirement.pause_type). */
static const char *const kind_names[] = {
	[REQUIRES_NOTHING] = "",
	[REQUIRES_CONFIRMATION] = "confirmation",
	[REQUIRES_USER_INPUT] = "user_input",
	[REQUIRES_EXTERNAL_EXECUTION] = "external_execution",
};

static const char *const decision_names[] = {
	[DECISION_NONE] = "",
	[DECISION_APPROVED] = "approved",
	[DECISION_REJECTED] = "rejected",
	[DECISION_ANSWERED] = "answered",
};

/* What Agno says of a run that waits (utils/response.py). */
static const char *const pause_texts[] = {
	[REQUIRES_NOTHING] = NULL,
	[REQUIRES_CONFIRMATION] =
	"I have tools to execute, but I need confirmation.",
	[REQUIRES_USER_INPUT] =
	"I have tools to execute, but I need user input.",
	[REQUIRES_EXTERNAL_EXECUTION] =
	"I have tools to execute, but it needs external execution.",
};

const char *
requirement_kind_name(RequirementKind kind)
{
	return kind_names[kind];
}

RequirementKind
requirement_kind_parse(const char *name)
{
	for (int i = 0; i < (int) lengthof(kind_names); i++)
	{
		if (name != NULL && strcmp(name, kind_names[i]) == 0)
			return (RequirementKind) i;
	}
	return REQUIRES_NOTHING;
}

const char *
decision_name(Decision decision)
{
	return decision_names[decision];
}

Decision
decision_parse(const char *name)
{
	for (int i = 0; i < (int) lengthof(decision_names); i++)
	{
		if (name != NULL && strcmp(name, decision_names[i]) == 0)
			return (Decision) i;
	}
	return DECISION_NONE;
}

static char *
copy_or_null(const char *string)
{
	return string != NULL ? pstrdup(string) : NULL;
}

/*
 * A copy in the current memory context; NULL of NULL.
 */
Requirement *
requirement_copy(const Requirement *requirement)
{
	Requirement *copy;

	if (requirement == NULL)
		return NULL;
	copy = palloc(sizeof(Requirement));
	*copy = *requirement;
	copy->id = copy_or_null(requirement->id);
	copy->created_at = copy_or_null(requirement->created_at);
	copy->input_schema = copy_or_null(requirement->input_schema);
	copy->preview = copy_or_null(requirement->preview);
	copy->note = copy_or_null(requirement->note);
	copy->answer = copy_or_null(requirement->answer);
	return copy;
}

/*
 * What the model is told of a call that was rejected.
 */
const char *
requirement_rejection(const char *note)
{
	return note != NULL ? note : "Function call was rejected by the user";
}

/*
 * The content of a run that has said nothing, and waits for this last of all.
 */
const char *
requirement_pause_text(RequirementKind kind)
{
	return pause_texts[kind];
}

bool
requirement_is_pause_text(const char *content)
{
	for (int i = 1; i < (int) lengthof(pause_texts); i++)
	{
		if (content != NULL && strcmp(content, pause_texts[i]) == 0)
			return true;
	}
	return false;
}

/*-------------------------------------------------------------------------
 * User input
 *-------------------------------------------------------------------------
 */

/*
 * The arguments of the model, a JSON object or NULL, with those that somebody has
 * given: a JSON object.
 */
char *
requirement_arguments(const Requirement *requirement, const char *arguments)
{
	const char *sources[2] = {arguments, NULL};
	StringInfoData out;
	JsonMember	member;

	if (requirement->kind == REQUIRES_USER_INPUT)
		sources[1] = requirement->answer;
	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	for (int i = 0; i < 2; i++)
	{
		while (sources[i] != NULL && json_next_member(&sources[i], &member))
		{
			json_append_key(&out, member.key);
			appendBinaryStringInfo(&out, member.value, member.value_length);
		}
	}
	appendStringInfoChar(&out, '}');
	return out.data;
}

/*
 * Python's word for a type of JSON schema.
 */
static const char *
field_type(const cJSON *schema)
{
	static const char *const words[][2] = {
		{"string", "str"}, {"integer", "int"}, {"number", "float"},
		{"boolean", "bool"}, {"array", "list"}, {"object", "dict"}
	};
	const cJSON *type = cJSON_GetObjectItemCaseSensitive(schema, "type");

	if (cJSON_IsArray(type))
		type = type->child;
	for (int i = 0; i < (int) lengthof(words); i++)
	{
		if (cJSON_IsString(type) && strcmp(type->valuestring, words[i][0]) == 0)
			return words[i][1];
	}
	return "str";
}

static void
append_field(StringInfo out, const char *name, const char *type,
			 const char *description, const char *value)
{
	appendStringInfoString(out, out->data[out->len - 1] == '[' ? "{" : ",{");
	json_append_member(out, "name", name);
	json_append_member(out, "field_type", type);
	json_append_key(out, "description");
	if (description != NULL)
		json_append_string(out, description);
	else
		appendStringInfoString(out, "null");
	json_append_key(out, "value");
	appendStringInfoString(out, value != NULL ? value : "null");
	appendStringInfoChar(out, '}');
}

/*
 * Append user_input_schema: the arguments of the model with their values, and
 * those that are to be given, as UserInputField.to_dict() has them.
 */
static void
append_fields(StringInfo out, const Requirement *requirement,
			  const char *arguments)
{
	cJSON	   *schema = json_parse(requirement->input_schema,
									strlen(requirement->input_schema));
	const cJSON *property;
	JsonMember	member;

	appendStringInfoChar(out, '[');
	while (arguments != NULL && json_next_member(&arguments, &member))
	{
		char	   *value = pnstrdup(member.value, member.value_length);
		const char *type = value[0] == '"' ? "str" : value[0] == '[' ? "list" :
			value[0] == '{' ? "dict" :
			value[0] == 't' || value[0] == 'f' ? "bool" :
			strpbrk(value, ".eE") != NULL ? "float" :
			value[0] == 'n' ? "str" : "int";

		append_field(out, member.key, type, NULL, value);
	}
	cJSON_ArrayForEach(property,
					   cJSON_GetObjectItemCaseSensitive(schema, "properties"))
		append_field(out, property->string, field_type(property),
					 json_string(property, "description"),
					 json_raw_member(requirement->answer, property->string));
	appendStringInfoChar(out, ']');
	json_free(schema);
}

/*-------------------------------------------------------------------------
 * Agno's dicts
 *-------------------------------------------------------------------------
 */

static void
append_value(StringInfo out, const char *name, const char *value)
{
	json_append_key(out, name);
	appendStringInfoString(out, value);
}

static void
append_text(StringInfo out, const char *name, const char *text)
{
	json_append_key(out, name);
	if (text != NULL)
		json_append_string(out, text);
	else
		appendStringInfoString(out, "null");
}

/*
 * The note of a decision as Agno keeps it in the end.
 */
static const char *
kept_note(const Requirement *requirement, bool consumed)
{
	if (requirement->note == NULL && consumed &&
		requirement->decision == DECISION_REJECTED)
		return "Tool call was rejected";
	return requirement->note;
}

/*
 * Append those members of a ToolExecution that tell what its call requires and
 * what has been decided; NULL: nothing. consumed: the run has gone on since then.
 */
void
requirement_append_execution(StringInfo out, const Requirement *requirement,
							 const char *arguments, bool consumed)
{
	RequirementKind kind = requirement != NULL ?
		requirement->kind : REQUIRES_NOTHING;
	Decision	decision = requirement != NULL ?
		requirement->decision : DECISION_NONE;
	const char *required = consumed ? "false" : "true";

	append_value(out, "requires_confirmation",
				 kind == REQUIRES_CONFIRMATION ? required : "null");
	append_value(out, "confirmed",
				 decision == DECISION_APPROVED ? "true" :
				 decision == DECISION_REJECTED ? "false" : "null");
	append_text(out, "confirmation_note",
				requirement != NULL ? kept_note(requirement, consumed) : NULL);
	append_value(out, "requires_user_input",
				 kind == REQUIRES_USER_INPUT ? required : "null");
	json_append_key(out, "user_input_schema");
	if (kind == REQUIRES_USER_INPUT && requirement->input_schema != NULL)
		append_fields(out, requirement, arguments);
	else
		appendStringInfoString(out, "null");
	append_value(out, "answered",
				 kind == REQUIRES_USER_INPUT && decision == DECISION_ANSWERED ?
				 "true" : "null");
	append_value(out, "external_execution_required",
				 kind == REQUIRES_EXTERNAL_EXECUTION ? required : "null");
}

/*
 * Append the members of a RunRequirement that come from its decision.
 */
static void
append_decision(StringInfo out, const Requirement *requirement,
				const char *arguments)
{
	if (requirement->decision == DECISION_APPROVED ||
		requirement->decision == DECISION_REJECTED)
		append_value(out, "confirmation",
					 requirement->decision == DECISION_APPROVED ?
					 "true" : "false");
	if (requirement->note != NULL)
		json_append_member(out, "confirmation_note", requirement->note);
	if (requirement->kind == REQUIRES_EXTERNAL_EXECUTION &&
		requirement->decision == DECISION_ANSWERED)
		json_append_member(out, "external_execution_result",
						   requirement->answer);
	if (requirement->kind == REQUIRES_USER_INPUT &&
		requirement->input_schema != NULL)
	{
		json_append_key(out, "user_input_schema");
		append_fields(out, requirement, arguments);
	}
}

/*
 * Append the requirement as a RunRequirement, of a call with these arguments and
 * this ToolExecution, both JSON. The preview is ours alone.
 */
void
requirement_append(StringInfo out, const Requirement *requirement,
				   const char *arguments, const char *execution)
{
	appendStringInfoChar(out, '{');
	json_append_member(out, "id", requirement->id);
	json_append_member(out, "created_at", requirement->created_at);
	append_decision(out, requirement, arguments);
	if (requirement->preview != NULL)
		append_value(out, "preview", requirement->preview);
	append_value(out, "tool_execution", execution);
	appendStringInfoChar(out, '}');
}

/*
 * What a decision changes about a RunRequirement: a JSON object to be merged in.
 */
char *
requirement_patch(const Requirement *requirement, const char *arguments)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	append_decision(&out, requirement, arguments);
	appendStringInfoChar(&out, '}');
	return out.data;
}

/*
 * And about its ToolExecution.
 */
char *
requirement_execution_patch(const Requirement *requirement,
							const char *arguments)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	requirement_append_execution(&out, requirement, arguments, false);
	if (requirement->kind == REQUIRES_EXTERNAL_EXECUTION &&
		requirement->decision == DECISION_ANSWERED)
		json_append_member(&out, "result", requirement->answer);
	appendStringInfoChar(&out, '}');
	return out.data;
}
