/*-------------------------------------------------------------------------
 *
 * enqueue.c
 *	  Accepting a run: what agno_arun and agno_run have in common.
 *
 * The arguments are checked and completed with what the agent says, and the
 * run goes into the tables within the caller's transaction. From then on
 * nothing that happens to the agent alters the run. Never touches the
 * network.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "core/id.h"
#include "core/shard.h"
#include "core/slot.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "server/acceptance.h"
#include "server/json_merge.h"
#include "server/model_server.h"
#include "server/queue_room.h"
#include "server/run_context.h"
#include "server/settings.h"
#include "server/sql_function.h"
#include "server/wake.h"
#include "sql/arguments.h"
#include "sql/enqueue.h"
#include "sql/slots.h"
#include "tools/callback.h"
#include "tools/delegate.h"
#include "tools/tool_definition.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

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
	ARG_IDEMPOTENCY_KEY,
	ARG_ON_COMPLETE
};

/*
 * The argument on_complete, which the functions of version 1.0 do not have: they are
 * refused later.
 */
static NullableDatum
on_complete_argument(FunctionCallInfo fcinfo)
{
	NullableDatum none = {0, true};

	return fcinfo->nargs > ARG_ON_COMPLETE ?
		fcinfo->args[ARG_ON_COMPLETE] : none;
}

/*
 * SHA-256 of the arguments, as bytea: to tell a request that is repeated from
 * another that has the same idempotency_key. An id that is generated, and a
 * time that is relative to now, are different each time: run_id and run_at do
 * not count.
 */
static Datum
hash_request(FunctionCallInfo fcinfo, const NewRun *run)
{
	/*
	 * Lengths of the arguments, as pg_type.typlen; JSON null, and what is its
	 * own default, are not given. (A call by the fast path of the protocol
	 * does not tell types.)
	 */
	const struct
	{
		NullableDatum value;
		int			length;
	}			arguments[] = {
		{fcinfo->args[ARG_INPUT], -1},
		{fcinfo->args[ARG_AGENT_ID], -1},
		{fcinfo->args[ARG_SESSION_ID], -1},
		{run->user_id, -1},
		{fcinfo->args[ARG_MODEL], -1},
		{run->output_schema, -1},
		{run->session_state, -1},
		{run->metadata, -1},
		{run->model_options, -1},
		{run->stream, 0},
		{{Int32GetDatum(run->priority), false}, 0},
		{run->timeout, sizeof(Interval)},
		{run->max_attempts, 0},
		{on_complete_argument(fcinfo), -1},
	};
	int			count = lengthof(arguments);
	pg_cryptohash_ctx *context = pg_cryptohash_create(PG_SHA256);
	bytea	   *hash = palloc(VARHDRSZ + PG_SHA256_DIGEST_LENGTH);
	bool		done = context != NULL && pg_cryptohash_init(context) >= 0;

	/* Requests of before there was on_complete have not had it. */
	if (arguments[count - 1].value.isnull)
		count--;
	for (int i = 0; done && i < count; i++)
	{
		NullableDatum datum = arguments[i].value;
		int64		length = -1;
		const uint8 *bytes = NULL;

		if (!datum.isnull && arguments[i].length == 0)
		{
			/* by value */
			bytes = (const uint8 *) &datum.value;
			length = sizeof(datum.value);
		}
		else if (!datum.isnull && arguments[i].length > 0)
		{
			bytes = (const uint8 *) DatumGetPointer(datum.value);
			length = arguments[i].length;
		}
		else if (!datum.isnull)
		{
			struct varlena *value = PG_DETOAST_DATUM(datum.value);

			bytes = (const uint8 *) VARDATA(value);
			length = VARSIZE(value) - VARHDRSZ;
		}
		done = pg_cryptohash_update(context, (const uint8 *) &length,
									sizeof(length)) >= 0 &&
			(length <= 0 || pg_cryptohash_update(context, bytes, length) >= 0);
	}
	SET_VARSIZE(hash, VARHDRSZ + PG_SHA256_DIGEST_LENGTH);
	done = done && pg_cryptohash_final(context, (uint8 *) VARDATA(hash),
									   PG_SHA256_DIGEST_LENGTH) >= 0;
	pg_cryptohash_free(context);
	if (!done)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute the hash of a request")));
	return PointerGetDatum(hash);
}

/*
 * The user_id of the run. A tool that is called for somebody speaks for nobody
 * else. Errors: insufficient_privilege.
 */
static NullableDatum
user_id_argument(FunctionCallInfo fcinfo)
{
	NullableDatum user_id = fcinfo->args[ARG_USER_ID];
	const char *caller = run_context_user_id();

	if (caller == NULL)
		return user_id;
	if (!user_id.isnull &&
		strcmp(TextDatumGetCString(user_id.value), caller) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("a tool that is called for one user_id cannot enqueue a run for another")));
	user_id.value = CStringGetTextDatum(caller);
	user_id.isnull = false;
	return user_id;
}

/*
 * Put the ids of the run and of its session into *run, new ones where the arguments
 * say none. Which slot a new session has follows from the idempotency key or from
 * the run's id, where there is one, so that a call that is repeated comes to the
 * same server, whatever id it gives the run. Returns whether the caller chose the
 * run's id.
 */
static bool
read_ids(FunctionCallInfo fcinfo, NewRun *run)
{
	bool		given;

	run->run_id = argument_id(fcinfo, ARG_RUN_ID, "run_id");
	run->session_id = argument_id(fcinfo, ARG_SESSION_ID, "session_id");
	given = run->run_id != NULL;
	run->new_session = run->session_id == NULL;
	if (run->session_id == NULL)
	{
		const char *decides = argument_text(fcinfo, ARG_IDEMPOTENCY_KEY);

		/* A single server takes any id: a router may have to find it one day. */
		if (decides == NULL ||
			(given && !agno_cluster && looks_generated(run->run_id)))
			decides = run->run_id;
		run->session_id = generate_id(decides != NULL ?
									  slot_of(decides) : some_slot());
	}
	if (!given)
		run->run_id = generate_id(slot_of(run->session_id));
	check_slots(run->run_id, run->session_id);
	return given;
}

/*
 * Put the arguments into *run, as far as they need no table. Returns whether
 * the caller chose the run's id.
 */
static bool
read_arguments(FunctionCallInfo fcinfo, NewRun *run)
{
	bool		given;

	if (PG_ARGISNULL(ARG_INPUT))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("input must not be null"),
				 errhint("Leave such rows out: WHERE body IS NOT NULL, or in a trigger WHEN (new.body IS NOT NULL).")));
	argument_check_text(fcinfo->args[ARG_INPUT], "input");
	if (VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(ARG_INPUT)) == 0)
		argument_error("input must not be empty",
					   "Leave such rows out: WHERE body <> '', or in a trigger WHEN (new.body <> '').");
	argument_check_text(fcinfo->args[ARG_USER_ID], "user_id");
	argument_check_text(fcinfo->args[ARG_MODEL], "model");
	argument_check_text(fcinfo->args[ARG_AGENT_ID], "agent_id");
	argument_check_text(on_complete_argument(fcinfo), "on_complete");

	memset(run, 0, sizeof(NewRun));
	run->owner = GetUserId();
	run->created_at = acceptance_time();
	run->input = PG_GETARG_DATUM(ARG_INPUT);
	given = read_ids(fcinfo, run);
	run->agent_id = fcinfo->args[ARG_AGENT_ID];
	run->user_id = user_id_argument(fcinfo);
	run->metadata = argument_object(fcinfo, ARG_METADATA, "metadata");
	run->session_state = argument_object(fcinfo, ARG_SESSION_STATE,
										 "session_state");
	run->model_options = argument_object(fcinfo, ARG_MODEL_OPTIONS,
										 "model_options");
	run->output_schema = argument_object(fcinfo, ARG_OUTPUT_SCHEMA,
										 "output_schema");
	if (!run->output_schema.isnull)
		argument_check_schema(run->output_schema.value);
	run->priority = PG_ARGISNULL(ARG_PRIORITY) ?
		0 : PG_GETARG_INT32(ARG_PRIORITY);
	run->run_at = fcinfo->args[ARG_RUN_AT];

	run->stream = fcinfo->args[ARG_STREAM];
	run->timeout = fcinfo->args[ARG_TIMEOUT];
	if (!run->timeout.isnull &&
		(argument_interval_ms(run->timeout.value) < 1 ||
		 argument_interval_ms(run->timeout.value) > ARGUMENT_MAX_MS))
		argument_error("timeout must be from a millisecond to ten years",
					   "Leave it out for that of agno_bg.run_timeout.");
	run->max_attempts = fcinfo->args[ARG_MAX_ATTEMPTS];
	if (!run->max_attempts.isnull &&
		DatumGetInt32(run->max_attempts.value) < 1)
		argument_error("max_attempts must be at least 1",
					   "Leave it out for that of agno_bg.max_attempts.");
	if (!run->max_attempts.isnull && !superuser() &&
		DatumGetInt32(run->max_attempts.value) > agno_max_attempts)
		argument_error(psprintf("max_attempts must be at most %d",
								agno_max_attempts),
					   "A superuser may give more, or raise agno_bg.max_attempts.");
	run->idempotency_key = fcinfo->args[ARG_IDEMPOTENCY_KEY];
	if (!run->idempotency_key.isnull)
	{
		size_t		length =
			VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(ARG_IDEMPOTENCY_KEY));

		if (length == 0 || length > MAX_ID)
			argument_error(psprintf("idempotency_key must have from 1 to %d bytes",
									MAX_ID),
						   "Give NULL for none, or a digest of what is longer.");
	}

	run->on_complete = NULL;
	if (!on_complete_argument(fcinfo).isnull)
		run->on_complete =
			callback_define(argument_text(fcinfo, ARG_ON_COMPLETE));

	run->request_hash.isnull = run->idempotency_key.isnull;
	if (!run->idempotency_key.isnull)
		run->request_hash.value = hash_request(fcinfo, run);

	/* What only an agent says. */
	run->agent.isnull = true;
	run->first_state.isnull = true;
	run->retries.isnull = true;
	run->num_history_runs.isnull = true;
	run->num_history_messages.isnull = true;
	run->tool_choice.isnull = true;
	run->tool_call_limit.isnull = true;
	run->max_tool_calls_from_history.isnull = true;
	return given;
}

/*
 * Where the arguments say nothing, the agent does.
 */
static void
apply_default(NullableDatum *argument, NullableDatum agent)
{
	if (argument->isnull)
		*argument = agent;
}

/*
 * The members of two objects, either of which may be null; b wins.
 */
static NullableDatum
merge(NullableDatum a, NullableDatum b)
{
	if (a.isnull)
		return b;
	if (!b.isnull)
		b.value = JsonbPGetDatum(json_merge(DatumGetJsonbP(a.value),
											DatumGetJsonbP(b.value)));
	else
		b = a;
	return b;
}

/*
 * Refuse to call functions that an agent names for somebody who has more rights than
 * its owner.
 */
static void
check_agent_owner(const NewRun *run, const AgentRow *agent, const char *agent_id)
{
	if (superuser_arg(run->owner) && !superuser_arg(agent->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for agent \"%s\"", agent_id),
				 errdetail("It names functions and its owner is no superuser, so they would be called with rights that its owner does not have."),
				 errhint("Enqueue the run as a role that is no superuser.")));
}

/*
 * Refuse a run whose functions nobody could call.
 */
static void
check_can_connect(const NewRun *run)
{
#if PG_VERSION_NUM < 170000
	if (!tool_role_can_connect(run->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" cannot have runs with tools",
						GetUserNameFromId(run->owner, false)),
				 errdetail("Tools are called by a process that is connected as the role, which PostgreSQL %s does not allow for a role without LOGIN.",
						   PG_MAJORVERSION),
				 errhint("Enqueue the run as a role that may log in, or ALTER ROLE %s LOGIN.",
						 quote_identifier(GetUserNameFromId(run->owner,
															false)))));
#endif
}

/*
 * The elements of an array of text without nulls, or of NULL.
 */
static char **
text_array(NullableDatum array, int *count)
{
	Datum	   *values;
	bool	   *nulls;
	char	  **strings;

	*count = 0;
	if (array.isnull)
		return NULL;
	deconstruct_array(DatumGetArrayTypeP(array.value), TEXTOID, -1, false,
					  TYPALIGN_INT, &values, &nulls, count);
	strings = palloc(sizeof(char *) * Max(*count, 1));
	for (int i = 0; i < *count; i++)
		strings[i] = TextDatumGetCString(values[i]);
	return strings;
}

/*
 * The run may call the tools of its agent: keep their definitions, as they are
 * now. Not within store_enter(): the tools are those of the user.
 */
static void
apply_tools(NewRun *run, const AgentRow *agent)
{
	char	   *agent_id = TextDatumGetCString(run->agent_id.value);
	int			count;
	int			confirmed_count;
	char	  **names = text_array(agent->tools, &count);
	char	  **confirmed = text_array(agent->requires_confirmation,
									   &confirmed_count);

	if (count == 0)
		return;
	check_agent_owner(run, agent, agent_id);
	check_can_connect(run);
	run->tools = tool_definitions(agent_id, names, count, confirmed,
								  confirmed_count, run->owner,
								  !run->output_schema.isnull);
	run->tool_choice = agent->tool_choice;
	run->tool_call_limit = agent->tool_call_limit;
	run->max_tool_calls_from_history = agent->max_tool_calls_from_history;
}

/*
 * Complete the run with what its agent says. An agent of somebody whose rights
 * the caller has not is unknown to the caller.
 */
static void
apply_agent(NewRun *run, char **model)
{
	char	   *agent_id = TextDatumGetCString(run->agent_id.value);
	AgentRow	agent;
	StoreUser	user = store_enter();
	bool		found = store_find_agent(agent_id, &agent);

	store_leave(user);
	if (!found || !has_privs_of_role(run->owner, agent.owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("agent \"%s\" does not exist", agent_id),
				 errhint("INSERT it into agno.agents, or have its owner share it: an agent is for the roles that have the rights of its owner.")));
	if (*model == NULL)
		*model = agent.model;
	apply_default(&run->timeout, agent.timeout);
	apply_default(&run->retries, agent.retries);
	apply_default(&run->stream, agent.stream);
	apply_default(&run->output_schema, agent.output_schema);
	run->agent = agent.definition;
	run->num_history_runs = agent.num_history_runs;
	run->num_history_messages = agent.num_history_messages;
	run->first_state = agent.session_state;
	run->model_options = merge(agent.model_options, run->model_options);
	run->metadata = merge(agent.metadata, run->metadata);
	if (run->on_complete == NULL && agent.on_complete != NULL)
	{
		check_agent_owner(run, &agent, agent_id);
		run->on_complete = callback_define(agent.on_complete);
	}
	apply_tools(run, &agent);
}

/*
 * A run may not set what agno_bg sets itself in a request.
 */
static void
check_model_options(NullableDatum options, const Provider *provider,
					bool has_tools)
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
		if (provider_option_reserved(provider, key) ||
			(has_tools && (strcmp(key, "tools") == 0 ||
						   strcmp(key, "tool_choice") == 0)) ||
			(strcmp(key, "background") == 0 && !provider->background))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("model_options must not set \"%s\"", key),
					 errdetail("agno_bg sets it in each request itself.")));
	}
}

/*
 * Complain if there is a run with the id of this one, which the caller has chosen.
 */
static void
check_id(const NewRun *run)
{
	RunRow		other;

	if (store_find_run(run->run_id, &other))
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("run \"%s\" already exists", run->run_id),
				 errhint("Leave run_id out to have one generated, or give an idempotency_key to get the earlier run back.")));
}

/*
 * Put the run into the tables.
 */
static void
insert_run(NewRun *run, bool id_given)
{
	if (id_given)
		check_id(run);
	store_open_session(run);
	run->cancelled = id_given && store_take_marker(run->run_id, run->owner);
	if (store_insert_run(run, id_given))
		return;
	/* Somebody has been faster. */
	if (id_given)
		check_id(run);
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
			 errmsg("run \"%s\" cannot be stored", run->run_id),
			 errdetail("A trigger on agno.runs has left it out, or another run of this id has just been deleted."),
			 errhint("Look at the triggers, or try again.")));
}

/*
 * Complain that there are as many runs that have not ended as this setting allows.
 */
static void
complain_of_depth(int most, const char *setting)
{
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("too many runs that have not ended"),
			 errdetail("There are %d of them, as many as %s allows.",
					   most, setting),
			 errhint("Try again when some have ended.")));
}

/*
 * Complain if there are too many runs already that have not ended, of this owner, or of all
 * if it is invalid. They are not counted each time, nor by each session: what is dead would
 * be counted as well, in vain.
 */
static void
check_depth(Oid owner, int most, const char *setting)
{
	QueueCount	count;
	bool		to_count;
	bool		is_there;

	if (most == 0)
		return;
	is_there = queue_room_is_there(owner, most, &count, &to_count);
	if (to_count)
		is_there = queue_room_counted(&count, store_count_queue(owner, most));
	if (!is_there)
		complain_of_depth(most, setting);
}

/*
 * Complain if there is no room in the queue for one more run of this owner.
 */
void
enqueue_check_room(Oid owner)
{
	check_depth(InvalidOid, agno_max_queue_depth, "agno_bg.max_queue_depth");
	check_depth(owner, agno_max_queue_depth_per_role,
				"agno_bg.max_queue_depth_per_role");
}

/*
 * Whether the idempotency key of the run has been used, for the same request: *state is
 * that earlier run then. Errors: unique_violation.
 */
static bool
is_repeated(const NewRun *run, RunRow *state)
{
	return !run->idempotency_key.isnull &&
		store_find_idempotent(run->owner, run->idempotency_key.value,
							  run->request_hash.value, state);
}

/*
 * Put a run into the tables whose arguments have been read, and completed with what
 * its agent says. If somebody has just used the idempotency key, *state is that earlier
 * run; else the new one, PENDING.
 */
static void
accept_run(NewRun *run, const char *model, bool id_given, RunRow *state)
{
	bool		repeated = false;
	StoreUser	user;

	if (run->on_complete != NULL)
		check_can_connect(run);
	model_parse(model != NULL ? model : agno_default_model,
				unconstify(char **, &run->model_server),
				unconstify(char **, &run->model));
	check_model_options(run->model_options,
						model_server_check(run->model_server, run->owner,
										   model == NULL),
						run->tools != NULL);

	user = store_enter();
	enqueue_check_room(run->owner);
	if (!store_insert_request(run))
	{
		/* Somebody has been faster with the same key, or has the same id. */
		repeated = is_repeated(run, state);
		if (!repeated && id_given)
			check_id(run);
		if (!repeated)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not serialize access due to concurrent use of the idempotency key or the run_id")));
	}
	if (!repeated)
	{
		insert_run(run, id_given);
		queue_room_take(run->owner);
		memset(state, 0, sizeof(RunRow));
		state->run_id = unconstify(char *, run->run_id);
		state->session_id = unconstify(char *, run->session_id);
		state->status = RUN_PENDING;
		wake_at_commit(shard_of_session(run->session_id));
	}
	store_leave(user);
}

/*
 * Whether the run has been enqueued before, as is_repeated() says: whatever has become of
 * its agent, or of the right to use its server.
 */
static bool
was_enqueued(const NewRun *run, RunRow *state)
{
	StoreUser	user;
	bool		repeated;

	if (run->idempotency_key.isnull)
		return false;
	user = store_enter();
	repeated = is_repeated(run, state);
	store_leave(user);
	return repeated;
}

/*
 * Enqueue the run that the arguments ask for. If the idempotency key has been
 * used, *state is that earlier run; else the new one, PENDING.
 */
void
enqueue_run(FunctionCallInfo fcinfo, RunRow *state)
{
	NewRun		run;
	char	   *model;
	bool		id_given;

	check_may_write("agno_arun()");
	id_given = read_arguments(fcinfo, &run);
	if (was_enqueued(&run, state))
		return;
	model = argument_text(fcinfo, ARG_MODEL);
	if (!run.agent_id.isnull)
		apply_agent(&run, &model);
	accept_run(&run, model, id_given, state);
}

/*-------------------------------------------------------------------------
 * Runs that other runs enqueue
 *-------------------------------------------------------------------------
 */

static NullableDatum
text_or_null(const char *string)
{
	NullableDatum datum = {0, string == NULL};

	if (string != NULL)
		datum.value = CStringGetTextDatum(string);
	return datum;
}

/*
 * The time of a child: what is left of its parent's, or less if its agent says so.
 */
static NullableDatum
time_of_child(const ChildRun *child, NullableDatum of_agent)
{
	Interval   *interval = palloc0(sizeof(Interval));
	NullableDatum time = {0, false};

	interval->time = Max(child->left_ms, 1) * INT64CONST(1000);
	time.value = IntervalPGetDatum(interval);
	if (!of_agent.isnull &&
		argument_interval_ms(of_agent.value) < child->left_ms)
		return of_agent;
	return time;
}

/*
 * Enqueue a run for another, in the caller's transaction. Returns its id. It has a
 * session of its own; or, if it is to know what its agent was asked in the session
 * before, one of the two. Either has the parent's slot.
 */
static char *
enqueue_child(const ChildRun *child)
{
	NewRun		run = {0};
	NullableDatum null = {0, true};
	int			slot = slot_of(child->session_id);
	char	   *run_id = generate_id(slot);
	char	   *model = NULL;
	RunRow		state;

	run.owner = GetUserId();
	run.created_at = acceptance_time();
	run.input = CStringGetTextDatum(child->task);
	argument_check_size("task", strlen(child->task));
	run.run_id = run_id;
	run.parent_run_id = child->parent_run_id;
	run.parent_session_id = child->session_id;
	run.depth = child->depth;
	run.priority = child->priority;
	run.agent_id = text_or_null(child->agent_id);
	run.user_id = text_or_null(child->user_id);
	run.metadata = run.session_state = run.run_at = run.first_state = null;
	run.idempotency_key = run.request_hash = run.max_attempts = null;
	run.timeout = run.retries = run.stream = run.model_options = null;
	run.output_schema = run.agent = run.num_history_runs = null;
	run.num_history_messages = run.tool_choice = run.tool_call_limit = null;
	run.max_tool_calls_from_history = null;
	apply_agent(&run, &model);
	run.timeout = time_of_child(child, run.timeout);
	run.new_session = run.num_history_runs.isnull &&
		run.num_history_messages.isnull;
	run.session_id = run.new_session ? generate_id(slot) :
		psprintf("%s/%s", child->session_id, child->agent_id);
	if (strlen(run.session_id) > MAX_ID)
		argument_error(psprintf("the session \"%s\" has too long a name",
								run.session_id), NULL);
	accept_run(&run, model, false, &state);
	return run_id;
}

/*
 * From now on, tools can enqueue runs.
 */
void
enqueue_install(void)
{
	delegate_enqueue = enqueue_child;
}
