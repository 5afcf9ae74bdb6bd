/*-------------------------------------------------------------------------
 *
 * api.c
 *	  The SQL functions.
 *
 * They check their arguments, have the store do the work, and wake the runner
 * when the transaction commits. None of them touches the network.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "model_server.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "settings.h"
#include "shared.h"
#include "storage/latch.h"
#include "store.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "uuid.h"
#include "waiters.h"

/* The longest id of a run or a session, in bytes. */
#define MAX_ID_LENGTH 255

/* The longest timeout of a run: ten years, in milliseconds. */
#define MAX_TIMEOUT_MS (10.0 * 366 * SECS_PER_DAY * 1000)

/* The arguments of agno_arun, and the first ones of agno_run. */
enum
{
	ARG_INPUT,
	ARG_AGENT_ID,
	ARG_SESSION_ID,
	ARG_RUN_ID,
	ARG_USER_ID,
	ARG_MODEL,
	ARG_OUTPUT_SCHEMA,
	ARG_SESSION_STATE,
	ARG_METADATA,
	ARG_MODEL_OPTIONS,
	ARG_STREAM,
	ARG_PRIORITY,
	ARG_RUN_AT,
	ARG_TIMEOUT,
	ARG_MAX_ATTEMPTS,
	ARG_IDEMPOTENCY_KEY
};

PG_FUNCTION_INFO_V1(agno_arun);
PG_FUNCTION_INFO_V1(agno_cancel_run);
PG_FUNCTION_INFO_V1(agno_wait_run);
PG_FUNCTION_INFO_V1(agno_run);
PG_FUNCTION_INFO_V1(agno_request_runner);

/*-------------------------------------------------------------------------
 * Checking arguments
 *-------------------------------------------------------------------------
 */

static void
complain(const char *message, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", message),
			 hint != NULL ? errhint("%s", hint) : 0));
}

static NullableDatum
get_argument(FunctionCallInfo fcinfo, int argument)
{
	return fcinfo->args[argument];
}

/*
 * The text of an argument, or NULL.
 */
static char *
get_text(FunctionCallInfo fcinfo, int argument)
{
	return PG_ARGISNULL(argument) ? NULL :
		text_to_cstring(PG_GETARG_TEXT_PP(argument));
}

/*
 * The id in an argument, or a new one; *given tells which.
 */
static const char *
get_id(FunctionCallInfo fcinfo, int argument, const char *name, bool *given)
{
	char	   *id = get_text(fcinfo, argument);

	*given = id != NULL;
	if (id == NULL)
	{
		id = palloc(UUID_TEXT_SIZE);
		if (!uuid_v7(id))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate random values")));
		return id;
	}
	if (id[0] == '\0')
		complain(psprintf("%s must not be empty", name),
				 "Leave it out to have one generated.");
	if (strlen(id) > MAX_ID_LENGTH)
		complain(psprintf("%s must not be longer than %d bytes", name,
						  MAX_ID_LENGTH), NULL);
	return id;
}

/*
 * An argument that must be a JSON object when it is given.
 */
static NullableDatum
get_object(FunctionCallInfo fcinfo, int argument, const char *name)
{
	NullableDatum datum = get_argument(fcinfo, argument);

	if (!datum.isnull && !JB_ROOT_IS_OBJECT(DatumGetJsonbP(datum.value)))
		complain(psprintf("%s must be a JSON object", name), NULL);
	return datum;
}

/*
 * Refuse what a later version will take.
 */
static void
refuse_unsupported(FunctionCallInfo fcinfo)
{
	static const struct
	{
		int			argument;
		const char *name;
	}			unsupported[] = {
		{ARG_AGENT_ID, "agent_id"},
		{ARG_OUTPUT_SCHEMA, "output_schema"},
		{ARG_SESSION_STATE, "session_state"},
		{ARG_STREAM, "stream"},
	};

	for (int i = 0; i < (int) lengthof(unsupported); i++)
	{
		if (!PG_ARGISNULL(unsupported[i].argument))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("argument %s of agno_arun is not supported yet",
							unsupported[i].name)));
	}
}

/*
 * A run may not set what agno_bg sets itself in a request.
 */
static void
check_model_options(NullableDatum options, const Provider *provider)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;

	if (options.isnull)
		return;
	iterator = JsonbIteratorInit(&DatumGetJsonbP(options.value)->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		char	   *key;

		if (token != WJB_KEY)
			continue;
		key = pnstrdup(value.val.string.val, value.val.string.len);
		if (provider_option_reserved(provider, key))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("model_options must not set \"%s\"", key),
					 errdetail("agno_bg sets it in each request itself.")));
	}
}

/*
 * An interval in milliseconds.
 */
static double
interval_to_ms(Datum interval)
{
	Interval   *span = DatumGetIntervalP(interval);
	double		days = span->day + (double) span->month * DAYS_PER_MONTH;

	return days * SECS_PER_DAY * 1000.0 + span->time / 1000.0;
}

/*
 * Check the arguments of agno_arun that need no table, and put them into *run.
 * Returns whether the caller chose the run's id.
 */
static bool
check_run_arguments(FunctionCallInfo fcinfo, NewRun *run)
{
	const Provider *provider;
	char	   *model = get_text(fcinfo, ARG_MODEL);
	bool		given;
	bool		session_given;

	if (PG_ARGISNULL(ARG_INPUT))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("input must not be null")));
	if (VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(ARG_INPUT)) == 0)
		complain("input must not be empty", NULL);
	refuse_unsupported(fcinfo);

	memset(run, 0, sizeof(NewRun));
	run->owner = GetUserId();
	run->input = PG_GETARG_DATUM(ARG_INPUT);
	run->run_id = get_id(fcinfo, ARG_RUN_ID, "run_id", &given);
	run->session_id = get_id(fcinfo, ARG_SESSION_ID, "session_id",
							 &session_given);
	run->user_id = get_argument(fcinfo, ARG_USER_ID);
	run->metadata = get_object(fcinfo, ARG_METADATA, "metadata");
	run->model_options = get_object(fcinfo, ARG_MODEL_OPTIONS,
									"model_options");
	run->priority = PG_ARGISNULL(ARG_PRIORITY) ?
		0 : PG_GETARG_INT32(ARG_PRIORITY);
	run->run_at = get_argument(fcinfo, ARG_RUN_AT);

	run->timeout = get_argument(fcinfo, ARG_TIMEOUT);
	if (!run->timeout.isnull && (interval_to_ms(run->timeout.value) < 1 ||
								 interval_to_ms(run->timeout.value) > MAX_TIMEOUT_MS))
		complain("timeout must be from a millisecond to ten years", NULL);
	run->max_attempts = get_argument(fcinfo, ARG_MAX_ATTEMPTS);
	if (!run->max_attempts.isnull &&
		DatumGetInt32(run->max_attempts.value) < 1)
		complain("max_attempts must be at least 1", NULL);
	run->idempotency_key = get_argument(fcinfo, ARG_IDEMPOTENCY_KEY);
	if (!run->idempotency_key.isnull)
	{
		size_t		length =
			VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(ARG_IDEMPOTENCY_KEY));

		if (length == 0 || length > MAX_ID_LENGTH)
			complain(psprintf("idempotency_key must have from 1 to %d bytes",
							  MAX_ID_LENGTH), NULL);
	}

	model_server_parse(model != NULL ? model : agno_default_model,
					   unconstify(char **, &run->model_server),
					   unconstify(char **, &run->model));
	provider = model_server_check(run->model_server, run->owner);
	check_model_options(run->model_options, provider);
	return given;
}

/*-------------------------------------------------------------------------
 * agno_arun
 *-------------------------------------------------------------------------
 */

/*
 * Put the run into the tables, within the caller's transaction.
 */
static void
insert_run(NewRun *run, bool id_given)
{
	RunState	other;

	if (id_given && store_find_run(run->run_id, &other))
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("run \"%s\" already exists", run->run_id),
				 errhint("Leave run_id out to have one generated, or give an idempotency_key to get the earlier run back.")));
	store_open_session(run);
	run->cancelled = id_given && store_take_marker(run->run_id, run->owner);
	store_insert_run(run);
}

/*
 * Enqueue the run that the arguments ask for. If the idempotency key has been
 * used, *state is that earlier run; else the new one, PENDING.
 */
static void
enqueue(FunctionCallInfo fcinfo, RunState *state)
{
	NewRun		run;
	bool		id_given;
	bool		repeated;
	StoreUser	user;

	PreventCommandIfReadOnly("agno_arun()");
	id_given = check_run_arguments(fcinfo, &run);
	user = store_enter();
	repeated = !run.idempotency_key.isnull &&
		store_find_idempotent(run.owner, run.idempotency_key.value, state);

	if (!repeated && !store_insert_request(&run))
	{
		/* Somebody has just been faster with the same key. */
		repeated = store_find_idempotent(run.owner, run.idempotency_key.value,
										 state);
		if (!repeated)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not serialize access due to concurrent use of the idempotency key")));
	}
	if (!repeated)
	{
		insert_run(&run, id_given);
		memset(state, 0, sizeof(RunState));
		state->run_id = unconstify(char *, run.run_id);
		state->session_id = unconstify(char *, run.session_id);
		state->status = RUN_PENDING;
		shared_wake_at_commit();
	}
	store_leave(user);
}

static Datum
status_datum(RunStatus status, Oid type)
{
	return DirectFunctionCall2(enum_in,
							   CStringGetDatum(run_status_name(status)),
							   ObjectIdGetDatum(type));
}

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
	RunState	state;
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(desc);
	enqueue(fcinfo, &state);

	values[0] = CStringGetTextDatum(state.run_id);
	values[1] = CStringGetTextDatum(state.session_id);
	values[2] = status_datum(state.status, TupleDescAttr(desc, 2)->atttypid);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}

/*-------------------------------------------------------------------------
 * agno_cancel_run
 *-------------------------------------------------------------------------
 */

/*
 * Cancel a run that is locked. Returns whether it will end CANCELLED.
 */
static bool
cancel_locked(const RunState *state)
{
	switch (state->status)
	{
		case RUN_PENDING:
		case RUN_PAUSED:
			store_cancel_waiting(state->run_id,
								 run_cancelled_text(state->run_id));
			break;
		case RUN_RUNNING:
			break;
		default:
			return false;
	}
	store_put_signal(state->run_id, state->owner);
	return true;
}

/*
 * agno_cancel_run(run_id text) returns boolean
 *
 * Cancels a run when the transaction commits; keeps a marker for a run that
 * does not exist. Agno's counterpart is Agent.cancel_run(). The lock on the
 * run, kept until the end of the transaction, makes sure that the runner
 * stores nothing behind our back; see turn.c.
 */
Datum
agno_cancel_run(PG_FUNCTION_ARGS)
{
	char	   *run_id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid			caller = GetUserId();
	StoreUser	user;
	RunState	state;
	bool		cancelled = false;

	PreventCommandIfReadOnly("agno_cancel_run()");
	if (run_id[0] == '\0' || strlen(run_id) > MAX_ID_LENGTH)
		complain(psprintf("run_id must have from 1 to %d bytes",
						  MAX_ID_LENGTH), NULL);

	user = store_enter();
	/* A run of somebody else is unknown to the caller, and not locked. */
	if (store_find_run(run_id, &state) &&
		has_privs_of_role(caller, state.owner))
	{
		cancelled = store_lock_run(run_id, &state) && cancel_locked(&state);
		shared_wake_at_end();
	}
	else
	{
		store_put_marker(run_id, caller);
		store_put_signal(run_id, caller);
		shared_wake_at_commit();
	}
	store_leave(user);
	PG_RETURN_BOOL(cancelled);
}

/*-------------------------------------------------------------------------
 * agno_wait_run and agno_run
 *-------------------------------------------------------------------------
 */

static bool
is_settled(RunStatus status)
{
	return status != RUN_PENDING && status != RUN_RUNNING;
}

/*
 * Look at a run for this role. False when there is none that it may see.
 */
static bool
look_at_run(const char *run_id, Oid caller, RunState *state)
{
	StoreUser	user = store_enter();
	bool		found = store_find_run(run_id, state) &&
		has_privs_of_role(caller, state->owner);

	store_leave(user);
	return found;
}

/*
 * Complain if waiting for this run could never end.
 */
static void
check_wait(const RunState *state)
{
	if (state->mine)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("run \"%s\" was enqueued by this transaction",
						state->run_id),
				 errdetail("It starts when the transaction commits."),
				 errhint("Commit first, or use CALL agno_run(...).")));
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("cannot wait for a run in a transaction of isolation level REPEATABLE READ or SERIALIZABLE"),
				 errdetail("The snapshot of the transaction would never see the run end."),
				 errhint("Wait in a transaction of isolation level READ COMMITTED.")));
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot wait for a run during recovery"),
				 errhint("Poll with agno_get_run_output, or wait on the primary server.")));
}

/*
 * Sleep until the run has settled, or until the deadline; 0: none. False when
 * there is no run that the caller may see. Leaves no snapshot behind.
 */
static bool
wait_for_run(const char *run_id, Oid caller, TimestampTz deadline,
			 RunState *state)
{
	bool		found;

	waiters_begin(run_id);
	for (;;)
	{
		int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
		long		timeout_ms = -1;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		found = look_at_run(run_id, caller, state);
		if (!found || is_settled(state->status))
			break;
		check_wait(state);

		if (deadline != 0)
		{
			timeout_ms =
				TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
												deadline);
			if (timeout_ms <= 0)
				break;
			events |= WL_TIMEOUT;
		}

		/* Looking at the run left a snapshot of the catalogs behind. */
		InvalidateCatalogSnapshotConditionally();
		(void) WaitLatch(MyLatch, events, timeout_ms, PG_WAIT_EXTENSION);
	}
	waiters_end();
	return found;
}

/*
 * agno_wait_run(run_id text, timeout interval) returns setof agno.runs
 *
 * Errors: object_not_in_prerequisite_state for a run of this transaction and
 * on a standby, active_sql_transaction with a snapshot that is too old.
 */
Datum
agno_wait_run(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz deadline = 0;
	Oid			caller = GetUserId();
	char	   *run_id;
	RunState	state;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	run_id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (!PG_ARGISNULL(1))
	{
		double		ms = interval_to_ms(PG_GETARG_DATUM(1));

		/* Beyond that, it is no timeout. */
		if (ms < MAX_TIMEOUT_MS)
			deadline = GetCurrentTimestamp() +
				(TimestampTz) (Max(ms, 0) * 1000);
	}

	if (wait_for_run(run_id, caller, deadline, &state))
	{
		StoreUser	user = store_enter();
		HeapTuple	tuple = store_copy_run(run_id);

		if (tuple != NULL)
			tuplestore_puttuple(result->setResult, tuple);
		store_leave(user);
	}
	PG_RETURN_NULL();
}

/*
 * CALL agno_run(…the arguments of agno_arun…, INOUT status, INOUT content)
 *
 * Enqueues, commits, and waits in a new transaction, without a snapshot.
 * Errors: those of agno_arun; invalid_transaction_termination within a
 * transaction block.
 */
Datum
agno_run(PG_FUNCTION_ARGS)
{
	CallContext *context = castNode(CallContext, fcinfo->context);
	Oid			caller = GetUserId();
	RunState	state;
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3] = {false};
	char	   *run_id;
	bool		found;

	if (context->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("agno_run cannot run inside a transaction block"),
				 errhint("Use agno_arun, and agno_wait_run after the transaction has committed.")));

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = CreateTupleDescCopy(desc);
	enqueue(fcinfo, &state);
	run_id = pstrdup(state.run_id);

	SPI_connect_ext(SPI_OPT_NONATOMIC);
	SPI_commit();
	SPI_finish();

	found = wait_for_run(run_id, caller, 0, &state);
	values[0] = CStringGetTextDatum(run_id);
	nulls[1] = nulls[2] = !found;
	if (found)
	{
		values[1] = status_datum(state.status,
								 TupleDescAttr(desc, 1)->atttypid);
		nulls[2] = state.content == NULL;
		if (state.content != NULL)
			values[2] = CStringGetTextDatum(state.content);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}

/*
 * agno.request_runner() returns void
 */
Datum
agno_request_runner(PG_FUNCTION_ARGS)
{
	shared_wake_at_commit();
	PG_RETURN_VOID();
}
