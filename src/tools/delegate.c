/*-------------------------------------------------------------------------
 *
 * delegate.c
 *	  Calls of agents: a run of its own for each.
 *
 * The call enqueues the run of the agent that it names, as the owner of the run
 * that calls, in the transaction that records the call: a child is there if the
 * record says that the call waits for it, and only then. What comes of the child
 * is put into the record by the runner (store_families.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/json.h"
#include "core/schema.h"
#include "server/encoding.h"
#include "server/settings.h"
#include "tools/delegate.h"

EnqueueChild delegate_enqueue = NULL;

/*
 * The task in the arguments of a call, in the database's encoding. Errors:
 * invalid_parameter_value.
 */
static char *
task_of(const Tool *tool, const char *arguments)
{
	char	   *json = encoding_from_server(arguments);
	OutputSchema schema = {.schema = encoding_from_server(tool->parameters)};
	char	   *problem;
	cJSON	   *tree;
	char	   *task = NULL;

	if (schema_answer(&schema, json, &problem) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid arguments: %s", encoding_to_server(problem))));
	tree = json_parse(json, strlen(json));
	task = json_copy_string(tree, "task");
	json_free(tree);
	if (task == NULL || task[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("task must not be empty")));
	return encoding_to_server(task);
}

/*
 * Give a task to the agent that the tool is. Returns the id of its run. Errors:
 * invalid_parameter_value, configuration_limit_exceeded, and those of agno_arun().
 */
char *
delegate(const Tool *tool, const ToolWork *work)
{
	ChildRun	child = {
		.agent_id = tool->agent,
		.task = task_of(tool, work->arguments),
		.parent_run_id = work->run_id,
		.session_id = work->run->session_id,
		.user_id = work->run->user_id,
		.priority = work->run->priority,
		.depth = work->run->depth + 1,
		.left_ms = work->left_ms,
	};

	if (child.depth > agno_max_run_depth)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("agents call agents that are %d levels deep, and no more are allowed",
						agno_max_run_depth),
				 errhint("Do the task without another agent.")));
	return delegate_enqueue(&child);
}
