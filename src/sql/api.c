/*-------------------------------------------------------------------------
 *
 * api.c
 *	  The SQL functions that have no file of their own.
 *
 * They check their arguments, have the store do the work, and wake the runner
 * when the transaction commits. None of them touches the network.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/shard.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "server/acceptance.h"
#include "server/model_server.h"
#include "server/queue_room.h"
#include "server/runner_slots.h"
#include "server/tool_slots.h"
#include "server/sql_function.h"
#include "server/time_zone.h"
#include "server/wake.h"
#include "sql/arguments.h"
#include "sql/enqueue.h"
#include "sql/run_ref.h"
#include "store/store.h"
#include "store/store_callbacks.h"
#include "tools/callback.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

SQL_FUNCTION(agno_arun);
SQL_FUNCTION(agno_requeue_run);
SQL_FUNCTION(agno_requeue_callback);
SQL_FUNCTION(agno_request_runner);
SQL_FUNCTION(agno_list_workers);
SQL_FUNCTION(agno_check_model);
SQL_FUNCTION(agno_check_output_schema);
SQL_FUNCTION(agno_check_time_zone);

/*-------------------------------------------------------------------------
 * agno_arun
 *-------------------------------------------------------------------------
 */

/*
 * agno_arun(input text, …) returns agno.run_ref
 *
 * Enqueues a run; see the contract in README.md. Agno's counterpart is
 * Agent.arun(background=True). Errors: null_value_not_allowed,
 * invalid_parameter_value, undefined_object, unique_violation,
 * insufficient_privilege, feature_not_supported.
 */
Datum
agno_arun(PG_FUNCTION_ARGS)
{
	RunRow		state;

	enqueue_run(fcinfo, &state);
	return run_ref(fcinfo, &state);
}

/*-------------------------------------------------------------------------
 * agno_requeue_run
 *-------------------------------------------------------------------------
 */

/*
 * Lock a run of the caller's, which must be in this status. Errors:
 * undefined_object, object_not_in_prerequisite_state.
 */
static void
lock_run_in(const char *run_id, Oid caller, RunStatus status, RunRow *state)
{
	if (!store_find_run(run_id, state) ||
		!has_privs_of_role(caller, state->owner) ||
		!store_lock_run(run_id, state))
		argument_unknown_run(run_id);
	if (state->status != status)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("run \"%s\" is not in status %s", run_id,
						run_status_name(status)),
				 errdetail("It is %s.", run_status_name(state->status))));
}

/*
 * agno_requeue_run(run_id text) returns agno.run_ref
 *
 * Has a run that ended in ERROR executed again, after those of its session
 * that wait. Errors: undefined_object, object_not_in_prerequisite_state,
 * configuration_limit_exceeded.
 */
Datum
agno_requeue_run(PG_FUNCTION_ARGS)
{
	char	   *run_id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid			caller = GetUserId();
	RunRow		state;
	StoreUser	user;

	check_may_write("agno_requeue_run()");
	user = store_enter();
	lock_run_in(run_id, caller, RUN_ERROR, &state);
	/* One that is being called back is there still. */
	if (!store_is_queued(run_id))
	{
		enqueue_check_room(state.owner);
		queue_room_take(state.owner);
	}
	store_requeue(run_id, state.owner, state.session_id, acceptance_time());
	state.status = RUN_PENDING;
	wake_at_commit(shard_of_session(state.session_id));
	store_leave(user);
	return run_ref(fcinfo, &state);
}

/*
 * agno_requeue_callback(run_id text) returns agno.run_ref
 *
 * Has on_complete of a run that has ended called again. Errors: undefined_object,
 * object_not_in_prerequisite_state.
 */
Datum
agno_requeue_callback(PG_FUNCTION_ARGS)
{
	char	   *run_id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid			caller = GetUserId();
	RunRow		state;
	StoreUser	user;
	int			shard;

	check_may_write("agno_requeue_callback()");
	if (callback_is_under_way())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("agno_requeue_callback() cannot be called by on_complete"),
				 errhint("Call it once the run has ended.")));
	user = store_enter();
	if (!store_find_run(run_id, &state) ||
		!has_privs_of_role(caller, state.owner) ||
		!store_lock_run(run_id, &state))
		argument_unknown_run(run_id);
	if (!run_status_is_final(state.status))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("run \"%s\" has not ended", run_id),
				 errdetail("It is %s.", run_status_name(state.status))));
	if (!store_requeue_callback(run_id))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("run \"%s\" has no on_complete", run_id)));
	shard = shard_of_session(state.session_id);
	store_put_signal(run_id, state.owner, shard, SIGNAL_CALLBACK);
	wake_at_commit(shard);
	store_leave(user);
	return run_ref(fcinfo, &state);
}

/*
 * agno.request_runner() returns void
 */
Datum
agno_request_runner(PG_FUNCTION_ARGS)
{
	wake_at_commit(ALL_SHARDS);
	PG_RETURN_VOID();
}

/*
 * agno.check_model(text) returns boolean: of the constraint of agno.agents.
 */
Datum
agno_check_model(PG_FUNCTION_ARGS)
{
	char	   *server;
	char	   *model;

	model_parse(text_to_cstring(PG_GETARG_TEXT_PP(0)), &server, &model);
	PG_RETURN_BOOL(true);
}

/*
 * agno.check_output_schema(jsonb) returns boolean: of the constraint of
 * agno.agents.
 */
Datum
agno_check_output_schema(PG_FUNCTION_ARGS)
{
	argument_check_schema(PG_GETARG_DATUM(0));
	PG_RETURN_BOOL(true);
}

/*
 * agno.check_time_zone(text) returns boolean: of the constraint of agno.agents.
 */
Datum
agno_check_time_zone(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));

	if (time_zone_find(name) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" not recognized", name),
				 errhint("The view pg_timezone_names has the names.")));
	PG_RETURN_BOOL(true);
}

/*
 * Add the tool workers, whose counts are of calls.
 */
static void
list_tool_workers(ReturnSetInfo *result)
{
	for (int slot = 0; slot < MAX_TOOL_WORKERS; slot++)
	{
		ToolWorkerView view = tool_slots_view(slot);
		Datum		values[6 + RUNNER_COUNTS];
		bool		nulls[6 + RUNNER_COUNTS] = {false};
		bool		busy = view.state == TOOL_WORKER_BUSY;

		if (view.state == TOOL_WORKER_NONE || view.state == TOOL_WORKER_DEAD)
			continue;
		for (int c = 0; c < RUNNER_COUNTS; c++)
			values[3 + c] = Int64GetDatum(0);
		values[0] = ObjectIdGetDatum(view.database);
		values[1] = Int32GetDatum(view.pid);
		nulls[1] = view.pid == 0;
		values[2] = CStringGetTextDatum(busy ? "busy" :
										view.state == TOOL_WORKER_IDLE ?
										"idle" : "starting");
		values[3 + COUNT_IN_FLIGHT] = Int64GetDatum(busy ? 1 : 0);
		values[3 + COUNT_CLAIMED] =
			Int64GetDatum((int64) (view.completed + view.failed));
		values[3 + COUNT_COMPLETED] = Int64GetDatum((int64) view.completed);
		values[3 + COUNT_FAILED] = Int64GetDatum((int64) view.failed);
		values[3 + RUNNER_COUNTS] = TimestampTzGetDatum(view.since);
		values[4 + RUNNER_COUNTS] = CStringGetTextDatum("tool worker");
		values[5 + RUNNER_COUNTS] = ObjectIdGetDatum(view.role);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/*
 * agno.list_workers() returns the columns of agno.workers, with the database's
 * OID instead of its name.
 */
Datum
agno_list_workers(PG_FUNCTION_ARGS)
{
	static const char *const states[] = {
		[RUNNER_NONE] = NULL,
		[RUNNER_WANTED] = "wanted",
		[RUNNER_STARTING] = "starting",
		[RUNNER_RUNNING] = "running",
	};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int slot = 0; slot < MAX_RUNNERS; slot++)
	{
		RunnerView	view = runner_slots_view(slot);
		Datum		values[6 + RUNNER_COUNTS];
		bool		nulls[6 + RUNNER_COUNTS] = {false};

		if (!OidIsValid(view.database) || states[view.state] == NULL)
			continue;
		values[0] = ObjectIdGetDatum(view.database);
		values[1] = Int32GetDatum(view.pid);
		nulls[1] = view.pid == 0;
		values[2] = CStringGetTextDatum(view.held && view.pid == 0 ? "held" :
										states[view.state]);
		for (int c = 0; c < RUNNER_COUNTS; c++)
			values[3 + c] = Int64GetDatum((int64) view.counts[c]);
		values[3 + RUNNER_COUNTS] = TimestampTzGetDatum(view.since);
		nulls[3 + RUNNER_COUNTS] = view.since == 0;
		values[4 + RUNNER_COUNTS] = CStringGetTextDatum("runner");
		nulls[5 + RUNNER_COUNTS] = true;
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	list_tool_workers(result);
	PG_RETURN_NULL();
}
