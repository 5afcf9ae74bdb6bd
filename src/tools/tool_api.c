/*-------------------------------------------------------------------------
 *
 * tool_api.c
 *	  Trying a tool without a model, and what tools may call.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/json.h"
#include "miscadmin.h"
#include "server/encoding.h"
#include "server/json_size.h"
#include "server/read_only.h"
#include "server/settings.h"
#include "server/sql_function.h"
#include "server/subtransaction.h"
#include "store/store.h"
#include "store/store_tools.h"
#include "tools/tool_call.h"
#include "tools/tool_definition.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

SQL_FUNCTION(agno_call_tool);
SQL_FUNCTION(agno_session_state);
SQL_FUNCTION(agno_update_session_state);

/*
 * Take those arguments out of a JSON object that somebody else than the model
 * gives: returns them as another one, or NULL. In the database's encoding.
 */
static char *
take_answer(const Tool *tool, char **arguments)
{
	cJSON	   *schema;
	const cJSON *asked;
	const char *json = encoding_from_server(*arguments);
	const char *input_schema;
	StringInfoData of_model;
	StringInfoData of_others;
	JsonMember	member;

	if (tool->input_schema == NULL)
		return NULL;
	input_schema = encoding_from_server(tool->input_schema);
	schema = json_parse(input_schema, strlen(input_schema));
	asked = cJSON_GetObjectItemCaseSensitive(schema, "properties");
	initStringInfo(&of_model);
	initStringInfo(&of_others);
	appendStringInfoChar(&of_model, '{');
	appendStringInfoChar(&of_others, '{');
	while (json_next_member(&json, &member))
	{
		StringInfo	out =
			cJSON_GetObjectItemCaseSensitive(asked, member.key) != NULL ?
			&of_others : &of_model;

		json_append_key(out, member.key);
		appendBinaryStringInfo(out, member.value, member.value_length);
	}
	appendStringInfoChar(&of_model, '}');
	appendStringInfoChar(&of_others, '}');
	json_free(schema);
	*arguments = encoding_to_server(of_model.data);
	return encoding_to_server(of_others.data);
}

/*
 * agno_call_tool(tool text, arguments jsonb, user_id text) returns text
 *
 * Does what the model's call of a tool would do, in a subtransaction of the
 * caller's, and returns what the model would be shown. The caller needs nobody's
 * approval, and gives what requires_user_input asks for. Errors: those of
 * tool_definition() and of the tool.
 */
Datum
agno_call_tool(PG_FUNCTION_ARGS)
{
	Jsonb	   *json;
	RunContext	context = {
		.user_id = PG_ARGISNULL(2) ? NULL :
		text_to_cstring(PG_GETARG_TEXT_PP(2)),
	};
	SubTransaction sub;
	Tool		tool;
	char	   *arguments;
	char	   *answer;
	char	   *volatile result = NULL;
	bool		nested = run_context_is_set();

	/* Else a model that writes SQL could choose whom it speaks for. */
	if (nested && context.user_id != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("a tool cannot call another one for a user_id of its choice")));
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("tool and arguments must not be null")));
	json = PG_GETARG_JSONB_P(1);
	arguments = JsonbToCString(NULL, &json->root, VARSIZE(json));
	if (!JB_ROOT_IS_OBJECT(json))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("arguments must be a JSON object")));
	if (json_depth(json) > CJSON_NESTING_LIMIT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("arguments nest deeper than %d levels",
						CJSON_NESTING_LIMIT)));
	tool_definition(text_to_cstring(PG_GETARG_TEXT_PP(0)), GetUserId(), true, &tool);
	answer = take_answer(&tool, &arguments);

	sub = subtransaction_begin();
	PG_TRY();
	{
		if (!nested)
			run_context_set(&context);
		if (tool.read_only)
			read_only_begin();
		result = tool_call(&tool, arguments, answer, &context, NULL, false);
		if (tool.read_only)
			read_only_check();
		if (!nested)
			run_context_clear();
		subtransaction_end(&sub, true);
	}
	PG_CATCH();
	{
		ErrorData  *error = subtransaction_catch(&sub);

		if (!nested)
			run_context_clear();
		ReThrowError(error);
	}
	PG_END_TRY();

	result = tool_result_shown(encoding_from_server(result),
							   agno_max_tool_result_size * 1024);
	PG_RETURN_TEXT_P(cstring_to_text(encoding_to_server(result)));
}

/*
 * The run that calls this tool. Errors: object_not_in_prerequisite_state if there
 * is none.
 */
static const char *
calling_run(const char *function)
{
	const char *run_id = GetConfigOption("agno_bg.run_id", false, false);

	if (!run_context_is_set() || run_id == NULL || run_id[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s() works only within a tool that a run calls",
						function)));
	return run_id;
}

/*
 * agno_session_state() returns jsonb
 *
 * The state of the session, as Agno's run_context.session_state. Errors:
 * object_not_in_prerequisite_state outside of a tool.
 */
Datum
agno_session_state(PG_FUNCTION_ARGS)
{
	const char *run_id = calling_run("agno_session_state");
	StoreUser	user = store_enter();
	Jsonb	   *state = store_session_state(run_id);

	store_leave(user);
	if (state == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(state);
}

/*
 * agno_update_session_state(patch jsonb) returns jsonb
 *
 * Merges an object into the state of the session, in the transaction of the
 * call; later calls, and the session, have it. Errors: invalid_parameter_value,
 * configuration_limit_exceeded, object_not_in_prerequisite_state.
 */
Datum
agno_update_session_state(PG_FUNCTION_ARGS)
{
	Jsonb	   *patch = PG_GETARG_JSONB_P(0);
	const char *run_id = calling_run("agno_update_session_state");
	Oid			owner = GetSessionUserId();
	StoreUser	user;
	Jsonb	   *state;

	check_may_write("agno_update_session_state()");
	if (!JB_ROOT_IS_OBJECT(patch))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("patch must be a JSON object")));
	json_check_size("patch", patch);
	user = store_enter();
	if (!store_set_session_state(run_id, owner, run_context_attempt(), patch))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the run goes on, or has ended, without this call"),
				 errdetail("Its time was over, or it has been cancelled.")));
	state = store_session_state(run_id);
	store_leave(user);
	if (state == NULL)
		PG_RETURN_NULL();
	json_check_size("the session state", state);
	PG_RETURN_JSONB_P(state);
}
