/*-------------------------------------------------------------------------
 *
 * run_calls.c
 *	  What is to become of the calls of an answer: which tool is to be called with
 *	  which arguments, or what the model is told instead.
 *
 * Pure. Reads the calls as models write them; what a tool's own arguments must be is
 * found out where it is called.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include "core/json.h"
#include "core/json_index.h"
#include "core/run.h"
#include "core/run_internal.h"

/*
 * How long the schemas may be, in all calls of a run, of the arguments that somebody
 * is to give, in bytes: each call keeps its own, and what the run waits for repeats
 * them.
 */
#define MAX_INPUT_SCHEMAS (1024 * 1024)

/*
 * The arguments of a call as a JSON object; or NULL, and what the model is to be
 * told, in Agno's words.
 */
static char *
read_arguments(const ToolCall *call, const char **refusal)
{
	char	   *json = call->arguments != NULL ? call->arguments : pstrdup("");
	cJSON	   *tree = json_parse(json, strlen(json));
	char	   *result = NULL;

	*refusal = NULL;
	if (json[strspn(json, " \t\r\n")] == '\0' ||
		(cJSON_IsArray(tree) && cJSON_GetArraySize(tree) == 0) ||
		(cJSON_IsString(tree) && tree->valuestring[0] == '\0'))
		result = pstrdup("{}");
	else if (tree == NULL || !json_is_jsonb(json))
		*refusal = "Error while decoding function arguments: they are not valid JSON\n\n"
			"Please make sure we can json.loads() the arguments and retry.";
	else if (!cJSON_IsObject(tree))
		*refusal = "Function arguments are not a valid JSON object.\n\n Please fix and retry.";
	else if (json_has_large_object(json))
		*refusal =
			psprintf("Function arguments have an object of more than %d members.\n\n"
					 "Please use an array, or several calls, and retry.",
					 JSON_MAX_MEMBERS);
	else
		result = json;
	json_free(tree);
	return result;
}

/*
 * The name of an argument that the model gives though it is for somebody else to
 * give; NULL: there is none. A schema of one's own may let it.
 */
static const char *
find_usurped(const Tool *tool, const char *arguments)
{
	cJSON	   *schema = json_parse(tool->input_schema,
									strlen(tool->input_schema));
	const cJSON *properties = cJSON_GetObjectItemCaseSensitive(schema,
															   "properties");
	JsonIndex  *index = json_index_create();
	JsonMember	member;
	const char *found = NULL;

	while (found == NULL && json_next_member(&arguments, &member))
	{
		if (json_index_member(index, properties, member.key) != NULL)
			found = member.key;
		else
			pfree(member.key);
	}
	json_index_free(index);
	json_free(schema);
	return found;
}

/*
 * What the model is told of a call for arguments of somebody that is not made;
 * NULL: it is.
 */
static char *
refuse_input(Run *run, const Tool *tool, const char *arguments)
{
	const char *usurped;

	run->input_schema_bytes += strlen(tool->input_schema);
	if (run->input_schema_bytes > MAX_INPUT_SCHEMAS)
		return psprintf("Tool call limit reached. People are asked for too many arguments in this run. Tool call %s not executed. Don't try to execute it again.",
						tool->name);
	usurped = find_usurped(tool, arguments);
	if (usurped == NULL)
		return NULL;
	return psprintf("Error while decoding function arguments: \"%s\" is not to be given\n\n"
					"Please leave it out and retry.", usurped);
}

/*
 * What is to become of a call, which counts from now on: planned is filled, and lives
 * as long as the run.
 */
void
run_plan_call(Run *run, ToolCall *call, PlannedCall *planned)
{
	memset(planned, 0, sizeof(PlannedCall));
	planned->call = call;
	if (++run->calls > run->call_limit)
	{
		planned->refusal =
			psprintf("Tool call limit reached. Tool call %s not executed. Don't try to execute it again.",
					 call->name);
		return;
	}
	planned->tool = tools_find(run->tools, call->name);
	if (planned->tool == NULL)
	{
		planned->refusal = "Error: The requested tool does not exist or is not available.";
		return;
	}
	planned->arguments = read_arguments(call, &planned->refusal);
	if (planned->refusal == NULL && planned->tool->input_schema != NULL)
		planned->refusal = refuse_input(run, planned->tool, planned->arguments);
	if (planned->refusal != NULL)
		planned->tool = NULL;
}
