/*-------------------------------------------------------------------------
 *
 * agent.c
 *	  What of an agent's definition makes the prompt.
 *
 * Pure. The store keeps the definition with each run as a JSON object whose
 * members are columns of agno.agents; called by flight.c.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include "core/agent.h"
#include "core/json.h"

static bool
read_flag(const cJSON *object, const char *name)
{
	return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, name));
}

/*
 * Read a definition into the current memory context.
 */
Agent *
agent_read(const char *json)
{
	cJSON	   *tree = json_parse(json, strlen(json));
	const cJSON *instructions =
		cJSON_GetObjectItemCaseSensitive(tree, "instructions");
	const cJSON *item;
	Agent	   *agent = palloc0(sizeof(Agent));

	agent->name = json_copy_string(tree, "name");
	agent->description = json_copy_string(tree, "description");
	agent->role = json_copy_string(tree, "role");
	agent->instructions =
		palloc(sizeof(char *) * (cJSON_GetArraySize(instructions) + 1));
	cJSON_ArrayForEach(item, instructions)
	{
		if (cJSON_IsString(item))
			agent->instructions[agent->instruction_count++] =
				pstrdup(item->valuestring);
	}
	agent->use_instruction_tags = read_flag(tree, "use_instruction_tags");
	agent->expected_output = json_copy_string(tree, "expected_output");
	agent->additional_context = json_copy_string(tree, "additional_context");
	agent->system_message = json_copy_string(tree, "system_message");
	agent->markdown = read_flag(tree, "markdown");
	agent->add_name_to_context = read_flag(tree, "add_name_to_context");
	agent->add_datetime_to_context =
		read_flag(tree, "add_datetime_to_context");
	agent->timezone_identifier = json_copy_string(tree, "timezone_identifier");
	agent->add_session_state_to_context =
		read_flag(tree, "add_session_state_to_context");
	agent->resolve_in_context = read_flag(tree, "resolve_in_context");
	json_free(tree);
	return agent;
}
