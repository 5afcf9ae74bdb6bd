/*-------------------------------------------------------------------------
 *
 * settings.c
 *	  The agno_bg.* configuration parameters.
 *
 * All but the default model belong to the server's configuration and follow
 * its reload. Called once, from _PG_init().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/xlog.h"
#include "core/slot.h"
#include "miscadmin.h"
#include "server/model_server.h"
#include "server/run_context.h"
#include "server/runner_slots.h"
#include "server/settings.h"
#include "utils/guc.h"

char	   *agno_default_model;
int			agno_max_concurrent_runs;
int			agno_run_timeout;
int			agno_request_timeout;
int			agno_connect_timeout;
int			agno_retries;
int			agno_max_attempts;
int			agno_max_response_size;
int			agno_runners;
int			agno_max_input_size;
int			agno_max_queue_depth;
int			agno_max_queue_depth_per_role;
int			agno_max_runs_per_role;
int			agno_unreachable_patience;
bool		agno_notify;
int			agno_retention;
bool		agno_environment_keys;
bool		agno_paused;
int			agno_max_tool_workers;
int			agno_tool_timeout;
int			agno_tool_call_limit;
int			agno_max_run_depth;
int			agno_max_tool_result_size;
bool		agno_cluster;
static bool has_runner;			/* never read: see show_has_runner() */

/* As settings_slots() reads it. */
static char *slots;

/* The name by which the router of this connection knows the server. Only SQL reads it. */
static char *node;

/*
 * The first and the last slot of sessions that this server has. The text has been
 * checked.
 */
void
settings_slots(int *first, int *last)
{
	if (sscanf(slots, "%d-%d", first, last) != 2)
		elog(ERROR, "agno_bg.slots is malformed");
}

static bool
check_slots_setting(char **value, void **extra, GucSource source)
{
	int			first;
	int			last;
	char		plain[sizeof("65535-65535")];

	/* Routers compare the text: there is one way to write it. */
	if (sscanf(*value, "%5d-%5d", &first, &last) == 2 &&
		first >= 0 && first <= last && last < SLOTS)
	{
		snprintf(plain, sizeof(plain), "%d-%d", first, last);
		if (strcmp(*value, plain) == 0)
			return true;
	}
	GUC_check_errdetail("Two numbers from 0 to %d are expected, as in \"0-%d\".",
						SLOTS - 1, SLOTS / 2 - 1);
	return false;
}

/*
 * For views that everybody may read, who may execute no function of ours.
 */
static const char *
show_has_runner(void)
{
	return RecoveryInProgress() ||
		runner_slots_has_runner(MyDatabaseId) ? "on" : "off";
}

/*
 * What is no model is refused when it is set, not with the first run.
 */
static bool
check_default_model(char **newval, void **extra, GucSource source)
{
	if (model_is_well_formed(*newval))
		return true;
	GUC_check_errhint(MODEL_HINT);
	return false;
}

/*
 * Define every parameter and reserve the prefix.
 */
void
settings_define(void)
{
	DefineCustomStringVariable("agno_bg.default_model",
							   "The model of a run that names none.",
							   "Written as server:model-id.",
							   &agno_default_model,
							   "openai:gpt-5-mini",
							   PGC_USERSET, 0,
							   check_default_model, NULL, NULL);

	DefineCustomIntVariable("agno_bg.max_concurrent_runs",
							"How many runs a runner has in flight at most.",
							NULL,
							&agno_max_concurrent_runs,
							1000, 1, 100000,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("agno_bg.run_timeout",
							"How long a run may take.",
							"A run that was given a timeout of its own follows that.",
							&agno_run_timeout,
							60 * 60 * 1000, 1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("agno_bg.request_timeout",
							"How long one request to a model server may take.",
							"The option timeout of a model server overrides it.",
							&agno_request_timeout,
							10 * 60 * 1000, 1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("agno_bg.connect_timeout",
							"How long it may take to connect to a model server.",
							"The option connect_timeout of a model server overrides it.",
							&agno_connect_timeout,
							10 * 1000, 1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("agno_bg.retries",
							"How often a request that failed is repeated.",
							"The option retries of a model server overrides it.",
							&agno_retries,
							2, 0, 100,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("agno_bg.max_attempts",
							"How often a run is started that brings the worker down.",
							NULL,
							&agno_max_attempts,
							3, 1, 1000,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	/* A quarter of what a datum holds: scrubbing may triple the bytes. */
	DefineCustomIntVariable("agno_bg.max_response_size",
							"The longest answer that is accepted from a model server.",
							NULL,
							&agno_max_response_size,
							16 * 1024, 1, 256 * 1024,
							PGC_SIGHUP, GUC_UNIT_KB,
							NULL, NULL, NULL);

	/* JSON may become three times as long on its way to a model server. */
	DefineCustomIntVariable("agno_bg.max_input_size",
							"The longest text or JSON that a caller may hand in.",
							NULL,
							&agno_max_input_size,
							8 * 1024, 1, 128 * 1024,
							PGC_SIGHUP, GUC_UNIT_KB,
							NULL, NULL, NULL);

	DefineCustomIntVariable("agno_bg.max_runs_per_role",
							"How many runs of one role a runner has in flight at most.",
							"Zero: nine tenths of agno_bg.max_concurrent_runs, and an equal share while other roles wait.",
							&agno_max_runs_per_role,
							0, 0, 100000,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("agno_bg.unreachable_patience",
							"How long runs wait for a model server that cannot be reached.",
							"The option unreachable_patience of a model server overrides it. Zero gives up after the retries.",
							&agno_unreachable_patience,
							2 * 60 * 1000, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("agno_bg.runners",
							"How many runners a database has.",
							"Its sessions are divided among them.",
							&agno_runners,
							1, 1, MAX_RUNNERS_PER_DATABASE,
							PGC_POSTMASTER, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("agno_bg.max_queue_depth",
							"How many runs that have not ended a database may have.",
							"agno_arun refuses more. Zero sets no bound.",
							&agno_max_queue_depth,
							0, 0, INT_MAX,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("agno_bg.max_queue_depth_per_role",
							"How many runs that have not ended a role may have in a database.",
							"agno_arun refuses more. Zero sets no bound.",
							&agno_max_queue_depth_per_role,
							0, 0, INT_MAX,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("agno_bg.retention",
							"How long runs are kept after they have ended.",
							"Zero keeps them for ever.",
							&agno_retention,
							0, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);

	DefineCustomBoolVariable("agno_bg.environment_keys",
							 "Lets built-in model servers take API keys from the server's environment.",
							 NULL,
							 &agno_environment_keys,
							 true,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);

	DefineCustomBoolVariable("agno_bg.notify",
							 "Sends notifications when runs end and when their events are stored.",
							 "Whoever may connect to the database can listen to them, and sees the ids of all runs.",
							 &agno_notify,
							 true,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);

	DefineCustomBoolVariable("agno_bg.paused",
							 "Leaves pending runs alone; those in flight go on.",
							 NULL,
							 &agno_paused,
							 false,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("agno_bg.max_tool_workers",
							"How many processes of the server execute tools at most.",
							NULL,
							&agno_max_tool_workers,
							4, 0, MAX_TOOL_WORKERS,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("agno_bg.tool_timeout",
							"How long one call of a tool may take.",
							"The column timeout of agno.tools overrides it.",
							&agno_tool_timeout,
							30 * 1000, 1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("agno_bg.tool_call_limit",
							"How many calls of tools one run may make.",
							"The column tool_call_limit of agno.agents overrides it.",
							&agno_tool_call_limit,
							100, 0, 100000,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("agno_bg.max_run_depth",
							"How many levels deep agents may call agents.",
							"A call beyond that is an error that the model is told.",
							&agno_max_run_depth,
							5, 0, 100,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("agno_bg.max_tool_result_size",
							"How much of the result of a tool the model is shown.",
							"SQL sees all of it in agno.tool_calls.",
							&agno_max_tool_result_size,
							64, 1, 128 * 1024,
							PGC_SIGHUP, GUC_UNIT_KB,
							NULL, NULL, NULL);

	DefineCustomBoolVariable("agno_bg.cluster",
							 "Says that the server is one of several among which a router divides sessions.",
							 "It then refuses runs that nobody would find.",
							 &agno_cluster,
							 false,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);

	DefineCustomStringVariable("agno_bg.slots",
							   "The first and the last slot of the sessions of this server, if agno_bg.cluster is on.",
							   "Written as first-last.",
							   &slots,
							   "0-65535",
							   PGC_SIGHUP, 0,
							   check_slots_setting, NULL, NULL);

	DefineCustomStringVariable("agno_bg.node",
							   "The name by which a router knows the server; set by its connections.",
							   NULL,
							   &node,
							   "",
							   PGC_USERSET, 0,
							   NULL, NULL, NULL);

	DefineCustomBoolVariable("agno_bg.has_runner",
							 "Whether a runner is at work in this database.",
							 "On a standby, that is not known, and taken for granted.",
							 &has_runner,
							 true,
							 PGC_INTERNAL,
							 GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE |
							 GUC_DISALLOW_IN_FILE,
							 NULL, NULL, show_has_runner);

	run_context_define();
	MarkGUCPrefixReserved("agno_bg");
}
