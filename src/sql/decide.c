/*-------------------------------------------------------------------------
 *
 * decide.c
 *	  Deciding about calls that a PAUSED run waits for.
 *
 * Agno's counterpart is Agent.continue_run(), where whoever continues a run says
 * all there is to say. Here, decisions are made one by one or together, by several
 * people, each of them once, and take effect when their transactions commit: a
 * decision locks the run until then. When none is missing, the run is PENDING, and
 * its runner is told.
 *
 * Decides: whoever may cancel the run, or, of a call with an approver, the members
 * of that role and nobody else.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/json.h"
#include "core/schema.h"
#include "core/shard.h"
#include "miscadmin.h"
#include "server/encoding.h"
#include "server/json_size.h"
#include "server/sql_function.h"
#include "server/subtransaction.h"
#include "server/wake.h"
#include "sql/arguments.h"
#include "sql/requirement_dict.h"
#include "sql/run_ref.h"
#include "store/store_decisions.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

SQL_FUNCTION(agno_approve_call);
SQL_FUNCTION(agno_reject_call);
SQL_FUNCTION(agno_answer_call);
SQL_FUNCTION(agno_continue_run);

/* Decisions about the calls of a run, on their way. */
typedef struct Decisions
{
	Oid			caller;
	StoreUser	user;			/* who that was before the store was entered */
	RunRow		run;			/* locked */
	Family	   *family;			/* PAUSED runs that wait for it, or that it
								 * waits for: locked */
	PausedRun  *self;			/* itself among them */
	List	   *calls;			/* GatedCalls of all of them */
} Decisions;

/*-------------------------------------------------------------------------
 * Who and what
 *-------------------------------------------------------------------------
 */

/*
 * Whether the caller may decide about the call.
 */
static bool
may_decide(const Decisions *decisions, const GatedCall *call)
{
	return has_privs_of_role(decisions->caller, call->has_approver ?
							 call->approver : decisions->run.owner);
}

/*
 * Whether the call is one of the run, or of runs that it waits for.
 */
static bool
is_below(const Decisions *decisions, const GatedCall *call)
{
	return decisions->self != NULL &&
		store_family_is_below(call->run, decisions->self);
}

/*
 * Whether the caller may know of the run.
 */
static bool
may_know(const Decisions *decisions)
{
	ListCell   *cell;

	if (has_privs_of_role(decisions->caller, decisions->run.owner))
		return true;
	foreach(cell, decisions->calls)
	{
		GatedCall  *call = lfirst(cell);

		if (is_below(decisions, call) && call->waits && call->has_approver &&
			may_decide(decisions, call))
			return true;
	}
	return false;
}

static void
look(Decisions *decisions, const char *run_id)
{
	decisions->family = store_paused_family(run_id);
	decisions->self = store_family_member(decisions->family, run_id);
	decisions->calls = store_gated_calls(decisions->family);
}

/*
 * Whether there is a run in this family that is not in the other one.
 */
static bool
has_grown(const Family *family, const Family *before)
{
	ListCell   *cell;

	foreach(cell, family->runs)
	{
		if (store_family_member(before, ((PausedRun *) lfirst(cell))->run_id) == NULL)
			return true;
	}
	return false;
}

/*
 * Lock those of the family that are known, from the top down, as everybody does. Returns
 * whether others have joined it meanwhile, above these: who waits for these may have
 * locked them, so the locks are given back.
 */
static bool
lock_known(Decisions *decisions, const char *run_id)
{
	Family	   *known = decisions->family;
	volatile bool grown = false;
	SubTransaction sub = subtransaction_begin();

	PG_TRY();
	{
		ListCell   *cell;

		foreach(cell, known->runs)
		{
			RunRow		row;

			(void) store_lock_run(((PausedRun *) lfirst(cell))->run_id, &row);
		}
		look(decisions, run_id);
		grown = has_grown(decisions->family, known);
		subtransaction_end(&sub, !grown);
	}
	PG_CATCH();
	{
		ReThrowError(subtransaction_catch(&sub));
	}
	PG_END_TRY();
	return grown;
}

/*
 * Find a PAUSED run and lock it, as the owner of our tables. A run that the caller
 * has nothing to do with is unknown, and not locked. Errors: undefined_object,
 * object_not_in_prerequisite_state.
 */
static void
begin(Decisions *decisions, FunctionCallInfo fcinfo)
{
	char	   *run_id = argument_text(fcinfo, 0);
	RunRow	   *run = &decisions->run;
	bool		known;

	if (run_id == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("run_id must not be null")));
	decisions->caller = GetUserId();
	decisions->user = store_enter();
	decisions->family = NULL;
	decisions->self = NULL;
	decisions->calls = NIL;
	if (store_find_run(run_id, run))
		look(decisions, run_id);
	else
		run->owner = InvalidOid;
	known = OidIsValid(run->owner) && may_know(decisions);
	while (known && lock_known(decisions, run_id))
	{
	}
	if (!known || !store_lock_run(run_id, run))
		argument_unknown_run(run_id);
	if (run->status != RUN_PAUSED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("run \"%s\" is not in status %s", run_id,
						run_status_name(RUN_PAUSED)),
				 errdetail("It is %s.", run_status_name(run->status))));
	/* It may be PAUSED since a moment ago. */
	if (decisions->self == NULL)
		look(decisions, run_id);
}

/*
 * Store what has been decided, and have the run go on if that was all. Returns the
 * run.
 */
static Datum
finish(Decisions *decisions, FunctionCallInfo fcinfo)
{
	List	   *go_on = store_decide(decisions->family, decisions->calls,
									 decisions->caller);
	ListCell   *cell;

	foreach(cell, go_on)
	{
		PausedRun  *run = lfirst(cell);

		if (run == decisions->self)
			decisions->run.status = RUN_PENDING;
		wake_at_commit(shard_of_session(run->session_id));
	}
	store_leave(decisions->user);
	return run_ref(fcinfo, &decisions->run);
}

static void
complain_state(const char *message, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("%s", message),
			 hint != NULL ? errhint("%s", hint) : 0));
}

/*
 * Who decides about the call, as a sentence.
 */
static char *
deciders(const Decisions *decisions, const GatedCall *call)
{
	Oid			role = call->has_approver ?
		call->approver : decisions->run.owner;
	char	   *name = OidIsValid(role) ? GetUserNameFromId(role, true) : NULL;

	return name == NULL ? pstrdup("The role that decides has been dropped.") :
		psprintf("Only members of role \"%s\" decide.", name);
}

/*
 * Refuse to decide about this call unless it waits, and for the caller.
 */
static void
check_call(const Decisions *decisions, const GatedCall *call)
{
	char	   *tool = encoding_to_server(call->tool);

	if (!may_decide(decisions, call))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to decide about a call of tool \"%s\"",
						tool),
				 errdetail("%s", deciders(decisions, call))));
	if (!call->waits || call->changed)
		complain_state(psprintf("a call of tool \"%s\" has been decided about already",
								tool), NULL);
	if (call->expired)
		complain_state(psprintf("a call of tool \"%s\" has waited for longer than it may",
								tool), "It is rejected.");
}

/*
 * The call of this id, ours or the model's; of the model's, the one that waits.
 * Errors: undefined_object, ambiguous_parameter.
 */
static GatedCall *
find_call(const Decisions *decisions, const char *id)
{
	const char *utf8 = encoding_from_server(id);
	GatedCall  *found = NULL;
	ListCell   *cell;

	foreach(cell, decisions->calls)
	{
		GatedCall  *call = lfirst(cell);

		if (!is_below(decisions, call))
			continue;
		if (strcmp(call->tool_call_id, utf8) == 0)
			return call;
		if (strcmp(call->model_call_id, utf8) != 0)
			continue;
		if (found != NULL && found->waits && call->waits)
			ereport(ERROR,
					(errcode(ERRCODE_AMBIGUOUS_PARAMETER),
					 errmsg("more than one call of run \"%s\" has the id \"%s\"",
							decisions->run.run_id, id),
					 errhint("Use tool_call_id of agno.approvals, which is unique.")));
		if (found == NULL || call->waits)
			found = call;
	}
	if (found == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("run \"%s\" has no call \"%s\" that somebody decides about",
						decisions->run.run_id, id),
				 errhint("See agno.approvals.")));
	return found;
}

/*-------------------------------------------------------------------------
 * One decision
 *-------------------------------------------------------------------------
 */

static void
approve(GatedCall *call, const char *note)
{
	if (call->requirement.kind != REQUIRES_CONFIRMATION)
		complain_state(psprintf("a call of tool \"%s\" waits for %s, not for confirmation",
								encoding_to_server(call->tool),
								call->requirement.kind == REQUIRES_USER_INPUT ?
								"user input" : "its result"),
					   "Use agno_answer_call(), or agno_reject_call().");
	call->requirement.decision = DECISION_APPROVED;
	call->requirement.note = note != NULL ? pstrdup(note) : NULL;
	call->changed = true;
}

/*
 * The members of a JSON object in UTF-8, but for those that are null and may be
 * left out according to the schema.
 */
static char *
without_nulls(const char *json, const cJSON *required)
{
	StringInfoData out;
	JsonMember	member;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	while (json_next_member(&json, &member))
	{
		const cJSON *name;
		bool		needed = false;

		cJSON_ArrayForEach(name, required)
			needed |= cJSON_IsString(name) &&
			strcmp(name->valuestring, member.key) == 0;
		if (!needed && strncmp(member.value, "null", 4) == 0)
			continue;
		json_append_key(&out, member.key);
		appendBinaryStringInfo(&out, member.value, member.value_length);
	}
	appendStringInfoChar(&out, '}');
	return out.data;
}

/*
 * Add arguments to those that have been given, both JSON objects in UTF-8.
 */
static char *
merge_input(const char *given, const char *input)
{
	if (given == NULL || strcmp(given, "{}") == 0)
		return pstrdup(input);
	if (strcmp(input, "{}") == 0)
		return pstrdup(given);
	return psprintf("%.*s,%s", (int) strlen(given) - 1, given, input + 1);
}

/*
 * Some or all of the arguments that are asked for, a JSON object in UTF-8. They
 * have been given when none is missing.
 */
static void
give_input(GatedCall *call, const char *input)
{
	Requirement *requirement = &call->requirement;
	cJSON	   *tree = json_parse(requirement->input_schema,
								  strlen(requirement->input_schema));
	const cJSON *properties =
		cJSON_GetObjectItemCaseSensitive(tree, "properties");
	const cJSON *property;
	char	   *raw = NULL;
	const char *at = requirement->input_schema;
	OutputSchema schema = {0};
	char	   *problem;
	const char *given = input;
	JsonMember	member;
	bool		complete = true;

	while (json_next_member(&given, &member))
	{
		char	   *name = encoding_to_server(member.key);

		if (cJSON_GetObjectItemCaseSensitive(properties, member.key) == NULL)
			argument_error(psprintf("\"%s\" is not asked for", name),
						   "Only the arguments that requires_user_input names can be given.");
		if (json_has_member(given, member.key))
			argument_error(psprintf("\"%s\" is given twice", name), NULL);
		if (json_has_member(requirement->answer, member.key))
			complain_state(psprintf("\"%s\" has been given already", name),
						   NULL);
	}
	while (json_next_member(&at, &member))
	{
		if (strcmp(member.key, "properties") == 0)
			raw = pnstrdup(member.value, member.value_length);
	}
	schema.schema = psprintf("{\"type\":\"object\",\"properties\":%s}",
							 raw != NULL ? raw : "{}");
	if (schema_answer(&schema,
					  without_nulls(input,
									cJSON_GetObjectItemCaseSensitive(tree,
																	 "required")),
					  &problem) == NULL)
		argument_error(psprintf("invalid answer: %s",
								encoding_to_server(problem)), NULL);

	requirement->answer = merge_input(requirement->answer, input);
	cJSON_ArrayForEach(property, properties)
		complete &= json_has_member(requirement->answer, property->string);
	if (complete)
		requirement->decision = DECISION_ANSWERED;
	call->changed = true;
	json_free(tree);
}

static void
give_result(GatedCall *call, const char *result)
{
	call->requirement.answer = pstrdup(result);
	call->requirement.decision = DECISION_ANSWERED;
	call->changed = true;
}

/*-------------------------------------------------------------------------
 * The functions
 *-------------------------------------------------------------------------
 */

/*
 * The note in an argument, in UTF-8; or NULL.
 */
static char *
note_argument(FunctionCallInfo fcinfo, int argument)
{
	char	   *note;

	argument_check_text(fcinfo->args[argument], "note");
	note = argument_text(fcinfo, argument);
	return note != NULL ? encoding_from_server(note) : NULL;
}

/*
 * Approve of calls, or reject them: of all that wait for the caller if tool_call_id
 * is NULL.
 */
static Datum
confirm(FunctionCallInfo fcinfo, bool approves)
{
	Decisions	decisions;
	char	   *id = argument_text(fcinfo, 1);
	char	   *note = note_argument(fcinfo, 2);
	const GatedCall *other = NULL;
	bool		any = false;
	ListCell   *cell;

	begin(&decisions, fcinfo);
	if (id != NULL)
	{
		GatedCall  *call = find_call(&decisions, id);

		check_call(&decisions, call);
		if (approves)
			approve(call, note);
		else
			store_reject(call, note);
		return finish(&decisions, fcinfo);
	}
	foreach(cell, decisions.calls)
	{
		GatedCall  *call = lfirst(cell);

		if (!is_below(&decisions, call) || !call->waits || call->expired ||
			(approves && call->requirement.kind != REQUIRES_CONFIRMATION))
			continue;
		if (!may_decide(&decisions, call))
		{
			other = call;
			continue;
		}
		if (approves)
			approve(call, note);
		else
			store_reject(call, note);
		any = true;
	}
	if (!any && other != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to decide about the calls of run \"%s\"",
						decisions.run.run_id),
				 errdetail("%s", deciders(&decisions, other))));
	if (!any)
		complain_state(psprintf("no call of run \"%s\" waits for %s",
								decisions.run.run_id,
								approves ? "confirmation" : "a decision"),
					   "See agno.approvals.");
	return finish(&decisions, fcinfo);
}

/*
 * agno_approve_call(run_id text, tool_call_id text, note text) returns agno.run_ref
 *
 * Lets a call be made that waits for confirmation; without tool_call_id, all of
 * them. Errors: undefined_object, object_not_in_prerequisite_state,
 * insufficient_privilege, ambiguous_parameter.
 */
Datum
agno_approve_call(PG_FUNCTION_ARGS)
{
	check_may_write("agno_approve_call()");
	return confirm(fcinfo, true);
}

/*
 * agno_reject_call(run_id text, tool_call_id text, note text) returns agno.run_ref
 *
 * The call is not made, and the model is told the note; without tool_call_id, all
 * that wait. Errors: as of agno_approve_call().
 */
Datum
agno_reject_call(PG_FUNCTION_ARGS)
{
	check_may_write("agno_reject_call()");
	return confirm(fcinfo, false);
}

/*
 * An answer as it is kept: the text of a string, other JSON as it is. In UTF-8.
 */
static char *
result_text(Jsonb *json)
{
	JsonbValue	value;

	if (JB_ROOT_IS_SCALAR(json) && JsonbExtractScalar(&json->root, &value) &&
		value.type == jbvString)
		return encoding_from_server(pnstrdup(value.val.string.val,
											 value.val.string.len));
	return encoding_from_server(JsonbToCString(NULL, &json->root,
											   VARSIZE(json)));
}

/*
 * agno_answer_call(run_id text, tool_call_id text, answer jsonb) returns
 * agno.run_ref
 *
 * Gives what a call waits for: arguments, as an object, or its result. Errors: as
 * of agno_approve_call(), invalid_parameter_value.
 */
Datum
agno_answer_call(PG_FUNCTION_ARGS)
{
	Decisions	decisions;
	GatedCall  *call;
	char	   *id = argument_text(fcinfo, 1);
	Jsonb	   *answer;
	char	   *text;

	check_may_write("agno_answer_call()");
	if (id == NULL || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("tool_call_id and answer must not be null")));
	answer = PG_GETARG_JSONB_P(2);
	json_check_size("answer", answer);
	text = result_text(answer);
	argument_check_size("answer", strlen(text));

	begin(&decisions, fcinfo);
	call = find_call(&decisions, id);
	check_call(&decisions, call);
	switch (call->requirement.kind)
	{
		case REQUIRES_USER_INPUT:
			if (!JB_ROOT_IS_OBJECT(answer))
				argument_error("answer must be a JSON object of the arguments that are asked for",
							   NULL);
			give_input(call, text);
			break;
		case REQUIRES_EXTERNAL_EXECUTION:
			give_result(call, text);
			break;
		default:
			complain_state(psprintf("a call of tool \"%s\" waits for confirmation",
									encoding_to_server(call->tool)),
						   "Use agno_approve_call(), or agno_reject_call().");
	}
	return finish(&decisions, fcinfo);
}

/*
 * The call that a dict is about; NULL if the run that waited for it has ended. stored
 * are the requirements in agno.runs by their ids. Errors: invalid_parameter_value, undefined_object.
 */
static GatedCall *
call_of_dict(const Decisions *decisions, Jsonb *stored, Jsonb *dict)
{
	char	   *id = requirement_dict_id(dict);
	char	   *call_id = requirement_dict_call_id(dict);
	const char *utf8 = id != NULL ? encoding_from_server(id) : NULL;
	ListCell   *cell;

	foreach(cell, decisions->calls)
	{
		GatedCall  *call = lfirst(cell);

		if (utf8 != NULL && strcmp(call->requirement.id, utf8) == 0 &&
			is_below(decisions, call))
			return call;
	}
	if (id != NULL && requirement_dict_stored(stored, id) != NULL)
		return NULL;
	if (id != NULL || call_id == NULL)
		argument_error(id != NULL ?
					   psprintf("requirements: run \"%s\" has no requirement \"%s\"",
								decisions->run.run_id, id) :
					   "requirements: each must have the id of a requirement, or of a call",
					   "It may have asked again since: see agno.runs.requirements.");
	return find_call(decisions, call_id);
}

/*
 * Whether what a dict says has been decided like that already: it is one that the
 * client has read after somebody else, or has sent before.
 */
static bool
is_known(const GatedCall *call, const DictDecision *decision)
{
	const Requirement *requirement = &call->requirement;

	if (decision->confirmed >= 0)
		return requirement->decision == (decision->confirmed == 1 ?
										 DECISION_APPROVED : DECISION_REJECTED);
	if (decision->result != NULL &&
		requirement->kind == REQUIRES_EXTERNAL_EXECUTION)
		return requirement->answer != NULL &&
			strcmp(decision->result, requirement->answer) == 0;
	return decision->input == NULL;
}

/*
 * Follow what a dict says about a call. Returns whether that is news.
 */
static bool
follow_dict(Decisions *decisions, GatedCall *call, const DictDecision *decision)
{
	if (!call->waits && is_known(call, decision))
		return false;
	if (decision->confirmed < 0 && decision->result == NULL &&
		decision->input == NULL)
		return false;
	check_call(decisions, call);
	argument_check_size("requirements",
						Max(decision->result ? strlen(decision->result) : 0,
							decision->input ? strlen(decision->input) : 0));
	if (decision->confirmed == 0)
		store_reject(call, decision->note);
	else if (call->requirement.kind == REQUIRES_EXTERNAL_EXECUTION &&
			 decision->result != NULL)
		give_result(call, decision->result);
	else if (call->requirement.kind == REQUIRES_USER_INPUT &&
			 decision->input != NULL)
		give_input(call, decision->input);
	else if (decision->confirmed == 1)
		approve(call, decision->note);
	else
		argument_error(psprintf("requirements: a call of tool \"%s\" does not wait for that",
								encoding_to_server(call->tool)), NULL);
	return true;
}

/*
 * agno_continue_run(run_id text, requirements jsonb) returns agno.run_ref
 *
 * Decides as Agno's dicts say, an array of RunRequirement.to_dict() or
 * ToolExecution.to_dict(). What they do not decide goes on to wait. Errors: as of
 * agno_answer_call(); object_not_in_prerequisite_state if nothing is decided.
 */
Datum
agno_continue_run(PG_FUNCTION_ARGS)
{
	Decisions	decisions;
	Jsonb	   *dicts = PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1);
	Jsonb	   *stored = NULL;
	MemoryContext one;
	MemoryContext caller = CurrentMemoryContext;
	char	   *json;
	bool		any = false;
	int			count = 0;

	check_may_write("agno_continue_run()");
	if (dicts != NULL &&
		(!JB_ROOT_IS_ARRAY(dicts) || JB_ROOT_IS_SCALAR(dicts)))
		argument_error("requirements must be a JSON array",
					   "Send agno.runs.requirements with the decisions filled in.");
	if (dicts != NULL)
	{
		json_check_size("requirements", dicts);
		count = JB_ROOT_COUNT(dicts);
	}
	begin(&decisions, fcinfo);
	json = store_requirements(decisions.run.run_id);
	if (json != NULL)
		stored = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
													CStringGetDatum(encoding_to_server(json))));
	stored = requirement_dicts_by_id(stored);

	/* Dicts may be very many, and repeat each other; a call is decided once. */
	one = AllocSetContextCreate(caller, "agno_bg requirement",
								ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < count; i++)
	{
		Jsonb	   *dict;
		DictDecision decision;
		GatedCall  *call;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(one);
		MemoryContextSwitchTo(one);
		dict = JsonbValueToJsonb(getIthJsonbValueFromContainer(&dicts->root, i));
		if (!JB_ROOT_IS_OBJECT(dict))
			argument_error("requirements must be JSON objects", NULL);
		call = call_of_dict(&decisions, stored, dict);
		if (call != NULL)
			requirement_dict_read(dict,
								  requirement_dict_stored(stored,
														  encoding_to_server(call->requirement.id)),
								  call->waits, &decision);
		MemoryContextSwitchTo(caller);
		if (call != NULL)
			any |= follow_dict(&decisions, call, &decision);
	}
	MemoryContextDelete(one);
	if (!any)
		complain_state(psprintf("run \"%s\" waits for decisions, and requirements has none",
								decisions.run.run_id),
					   "Fill in \"confirmation\", \"user_input_schema\" or \"external_execution_result\", or use agno_approve_call(), agno_reject_call() or agno_answer_call().");
	return finish(&decisions, fcinfo);
}
