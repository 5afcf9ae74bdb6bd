/*-------------------------------------------------------------------------
 *
 * prompt.c
 *	  What a model is told, assembled as Agno does it.
 *
 * get_system_message(), get_user_message() and
 * format_message_with_state_variables() of agno/agent/_messages.py in Agno
 * 2.9, byte for byte, for the fields that agno.agents has. Two things differ:
 * an empty system message is not sent, and the input of a run that has neither
 * an agent nor a session state is sent as it is.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include <ctype.h>

#include "core/json.h"
#include "core/prompt.h"
#include "core/python.h"
#include "core/sort.h"
#include "lib/stringinfo.h"

/* What Agno adds to the state of a session while a run is executed. */
#define CURRENT_USER_ID "current_user_id"
#define CURRENT_SESSION_ID "current_session_id"
#define CURRENT_RUN_ID "current_run_id"

/*-------------------------------------------------------------------------
 * Variables
 *-------------------------------------------------------------------------
 */

/*
 * The session state with what Agno adds to it, as a JSON object.
 */
static char *
full_state(const PromptContext *context)
{
	const char *at = context->session_state ? context->session_state : "{}";
	bool		has_user = context->user_id && context->user_id[0] != '\0';
	JsonMember	member;
	StringInfoData state;

	initStringInfo(&state);
	appendStringInfoChar(&state, '{');
	while (json_next_member(&at, &member))
	{
		if ((has_user && strcmp(member.key, CURRENT_USER_ID) == 0) ||
			strcmp(member.key, CURRENT_SESSION_ID) == 0 ||
			strcmp(member.key, CURRENT_RUN_ID) == 0)
			continue;
		json_append_key(&state, member.key);
		appendBinaryStringInfo(&state, member.value, member.value_length);
	}
	if (has_user)
		json_append_member(&state, CURRENT_USER_ID, context->user_id);
	json_append_member(&state, CURRENT_SESSION_ID, context->session_id);
	json_append_member(&state, CURRENT_RUN_ID, context->run_id);
	appendStringInfoChar(&state, '}');
	return state.data;
}

/* A variable that a template may name. */
typedef struct Variable
{
	char	   *name;			/* of the variable */
	const char *value;			/* as JSON, within the document it is in */
	size_t		length;			/* of the value, in bytes */
	int			rank;			/* of two of one name, the lower one counts */
} Variable;

/* All of them, found by name. */
struct PromptVariables
{
	char	   *state;			/* the session state, as full_state() */
	Variable   *list;			/* sorted */
	int			count;
	int			size;			/* what list has room for */
};

static int
compare_variables(const void *a, const void *b)
{
	const Variable *left = a;
	const Variable *right = b;
	int			order = strcmp(left->name, right->name);

	return order != 0 ? order : left->rank - right->rank;
}

static void
add_variables(PromptVariables *variables, const char *object)
{
	JsonMember	member;

	while (object != NULL && json_next_member(&object, &member))
	{
		Variable   *variable;

		if (variables->count == variables->size)
		{
			variables->size *= 2;
			variables->list = repalloc(variables->list,
									   sizeof(Variable) * variables->size);
		}
		variable = &variables->list[variables->count];
		variable->name = member.key;
		variable->value = member.value;
		variable->length = member.value_length;
		variable->rank = variables->count++;
	}
}

/*
 * The variables of this prompt: the members of the session state, else of the
 * metadata, else user_id.
 */
static PromptVariables *
get_variables(PromptContext *context)
{
	PromptVariables *variables = context->variables;
	StringInfoData user;

	if (variables != NULL)
		return variables;
	variables = palloc0(sizeof(PromptVariables));
	variables->state = full_state(context);
	variables->size = 16;
	variables->list = palloc(sizeof(Variable) * variables->size);
	add_variables(variables, variables->state);
	add_variables(variables, context->metadata);
	if (context->user_id != NULL)
	{
		initStringInfo(&user);
		appendStringInfoChar(&user, '{');
		json_append_member(&user, "user_id", context->user_id);
		appendStringInfoChar(&user, '}');
		add_variables(variables, user.data);
	}
	shuffled_qsort(variables->list, variables->count, sizeof(Variable),
				   compare_variables);
	context->variables = variables;
	return variables;
}

static int
compare_name(const char *name, size_t length, const char *other)
{
	int			order = strncmp(name, other, length);

	return order != 0 ? order : -(unsigned char) other[length];
}

/*
 * The variable of this name, or NULL.
 */
static const Variable *
find_variable(const PromptVariables *variables, const char *name,
			  size_t length)
{
	int			low = 0;
	int			high = variables->count;

	/* the first that is not before the name */
	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (compare_name(name, length, variables->list[middle].name) > 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == variables->count ||
		compare_name(name, length, variables->list[low].name) != 0)
		return NULL;
	return &variables->list[low];
}

/*
 * {name} becomes ${name} where there is a variable of that name.
 */
static char *
mark_variables(const PromptVariables *variables, const char *template)
{
	StringInfoData out;

	initStringInfo(&out);
	for (const char *at = template; *at != '\0'; at++)
	{
		if (*at == '{')
		{
			size_t		length = strcspn(at + 1, "{}");

			if (at[1 + length] == '}' &&
				find_variable(variables, at + 1, length) != NULL)
				appendStringInfoChar(&out, '$');
		}
		appendStringInfoChar(&out, *at);
	}
	return out.data;
}

/*
 * The length of the name that Python's string.Template sees here.
 */
static size_t
identifier_length(const char *at)
{
	size_t		length = 0;

	if (isdigit((unsigned char) *at))
		return 0;
	while ((at[length] & 0x80) == 0 &&
		   (isalnum((unsigned char) at[length]) || at[length] == '_'))
		length++;
	return length;
}

/*
 * string.Template.safe_substitute() of Python: $$ becomes $, and $name and
 * ${name} what the variable has, as str() prints it, or stay where there is
 * none. NULL if the text becomes longer than max_length.
 */
static char *
substitute(const PromptVariables *variables, const char *template,
		   size_t max_length)
{
	StringInfoData out;

	initStringInfo(&out);
	for (const char *at = template; *at != '\0';)
	{
		bool		braced = at[0] == '$' && at[1] == '{';
		const char *name = at + (braced ? 2 : 1);
		const Variable *variable = NULL;
		size_t		length;

		if (*at != '$')
		{
			appendStringInfoChar(&out, *at++);
			continue;
		}
		if (at[1] == '$')
		{
			appendStringInfoChar(&out, '$');
			at += 2;
			continue;
		}
		length = identifier_length(name);
		if (length > 0 && (!braced || name[length] == '}'))
			variable = find_variable(variables, name, length);
		if (variable == NULL)
		{
			appendStringInfoChar(&out, *at++);
			continue;
		}
		python_append_str(&out, variable->value, variable->length);
		at = name + length + (braced ? 1 : 0);
		if ((size_t) out.len > max_length)
			return NULL;
	}
	return out.data;
}

/*
 * The template with its variables replaced. If that takes too much room, the
 * template as it is, and the context says so.
 */
static char *
resolve(PromptContext *context, const char *template)
{
	PromptVariables *variables;
	char	   *marked;
	char	   *resolved;

	if (strpbrk(template, "{$") == NULL)
		return pstrdup(template);
	variables = get_variables(context);
	marked = mark_variables(variables, template);
	resolved = substitute(variables, marked,
						  context->max_length == 0 ? SIZE_MAX :
						  Max(context->max_length, strlen(template)));
	pfree(marked);
	if (resolved != NULL)
		return resolved;
	context->too_long = true;
	return pstrdup(template);
}

/*-------------------------------------------------------------------------
 * Messages
 *-------------------------------------------------------------------------
 */

static void
append_instructions(StringInfo out, const Agent *agent)
{
	bool		tags = agent->use_instruction_tags;

	if (agent->instruction_count == 0)
		return;
	if (tags)
		appendStringInfoString(out, "<instructions>");
	if (agent->instruction_count == 1)
		appendStringInfo(out, tags ? "\n%s" : "%s\n\n",
						 agent->instructions[0]);
	else
	{
		for (int i = 0; i < agent->instruction_count; i++)
			appendStringInfo(out, tags ? "\n- %s" : "- %s\n",
							 agent->instructions[i]);
	}
	if (tags)
		appendStringInfoString(out, "\n</instructions>\n\n");
}

static void
append_additional_information(StringInfo out, PromptContext *context)
{
	const Agent *agent = context->agent;
	StringInfoData items;

	initStringInfo(&items);
	if (agent->markdown && !context->structured)
		appendStringInfoString(&items,
							   "\n- Use markdown to format your answers.");
	if (agent->add_datetime_to_context)
		appendStringInfo(&items, "\n- The current time is %s.", context->now);
	if (agent->add_name_to_context && agent->name != NULL)
		appendStringInfo(&items, "\n- Your name is: %s.", agent->name);
	if (items.len > 0)
		appendStringInfo(out, "<additional_information>%s\n"
						 "</additional_information>\n\n", items.data);
}

/*
 * The part in which variables are replaced.
 */
static char *
first_part(PromptContext *context)
{
	const Agent *agent = context->agent;
	StringInfoData out;

	initStringInfo(&out);
	if (agent->description != NULL)
		appendStringInfo(&out, "%s\n", agent->description);
	if (agent->role != NULL)
		appendStringInfo(&out, "\n<your_role>\n%s\n</your_role>\n\n",
						 agent->role);
	append_instructions(&out, agent);
	append_additional_information(&out, context);
	return agent->resolve_in_context ? resolve(context, out.data) : out.data;
}

/*
 * The system message, or NULL when there is none.
 */
char *
prompt_system_message(PromptContext *context)
{
	const Agent *agent = context->agent;
	StringInfoData out;
	char	   *message;

	if (agent == NULL)
		return NULL;
	if (agent->system_message != NULL)
	{
		message = agent->resolve_in_context ?
			resolve(context, agent->system_message) :
			pstrdup(agent->system_message);
		return message[0] != '\0' ? message : NULL;
	}

	initStringInfo(&out);
	appendStringInfoString(&out, first_part(context));
	if (agent->expected_output != NULL)
		appendStringInfo(&out, "<expected_output>\n%s\n</expected_output>\n\n",
						 python_strip(agent->expected_output));
	if (agent->additional_context != NULL)
		appendStringInfo(&out, "%s\n", agent->additional_context);
	if (context->model_text != NULL)
		appendStringInfoString(&out, context->model_text);
	if (agent->add_session_state_to_context)
	{
		const char *state = get_variables(context)->state;

		appendStringInfoString(&out, "\n<session_state>\n");
		python_append_repr(&out, state, strlen(state));
		appendStringInfoString(&out, "\n</session_state>\n\n");
	}
	message = python_strip(out.data);
	return message[0] != '\0' ? message : NULL;
}

/*
 * The message of the user.
 */
char *
prompt_user_message(PromptContext *context, const char *input)
{
	bool		resolved;

	if (context->agent != NULL)
		resolved = context->agent->resolve_in_context;
	else
		resolved = context->session_state != NULL;
	return resolved ? resolve(context, input) : pstrdup(input);
}
