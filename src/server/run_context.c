/*-------------------------------------------------------------------------
 *
 * run_context.c
 *	  What a tool can know of the run that it is called for.
 *
 * Settings that SQL can read, in a row-level-security policy say, and that
 * nobody can set but this file: neither by SET, nor for a role, a database or a
 * function, nor by RESET. Parallel workers see what their leader sees.
 *
 * A setting that is PGC_INTERNAL is not told to parallel workers; so these may be
 * set by anybody as far as PostgreSQL knows, and refuse every value that does not
 * come from here. RESET, and what comes back at the end of a transaction, is
 * accepted without asking; so what is shown is a copy that only this file
 * changes, and the setting proper is there for parallel workers alone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/parallel.h"
#include "server/run_context.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#define RUN_SETTINGS 5

static const char *const names[RUN_SETTINGS] = {
	"agno_bg.run_id", "agno_bg.session_id", "agno_bg.user_id",
	"agno_bg.agent_id", "agno_bg.tool_call_id"
};

static const char *const descriptions[RUN_SETTINGS] = {
	"Within a tool: the run that calls it.",
	"Within a tool: the session of the run that calls it.",
	"Within a tool: the end user for whom it is called.",
	"Within a tool: the agent that calls it.",
	"Within a tool: the call, the same in every try."
};

/* The settings proper, which PostgreSQL looks after. */
static char *values[RUN_SETTINGS];

/* What is shown; in TopMemoryContext, or NULL for "". */
static char *shown[RUN_SETTINGS];

/* This file is setting them. */
static bool setting;

static bool
check_setting(char **value, void **extra, GucSource source)
{
	if (setting || InitializingParallelWorker)
		return true;
	GUC_check_errmsg("this parameter cannot be changed");
	GUC_check_errdetail("agno_bg sets it for each call of a tool.");
	return false;
}

static const char *
show(int number)
{
	const char *value = IsParallelWorker() ? values[number] : shown[number];

	return value != NULL ? value : "";
}

static const char *
show_run_id(void)
{
	return show(0);
}

static const char *
show_session_id(void)
{
	return show(1);
}

static const char *
show_user_id(void)
{
	return show(2);
}

static const char *
show_agent_id(void)
{
	return show(3);
}

static const char *
show_tool_call_id(void)
{
	return show(4);
}

/*
 * Define the settings. For _PG_init(), before the prefix is reserved.
 */
void
run_context_define(void)
{
	static const GucShowHook hooks[RUN_SETTINGS] = {
		show_run_id, show_session_id, show_user_id, show_agent_id,
		show_tool_call_id
	};

	setting = true;
	for (int i = 0; i < RUN_SETTINGS; i++)
		DefineCustomStringVariable(names[i], descriptions[i], NULL, &values[i],
								   "", PGC_USERSET,
								   GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE |
								   GUC_DISALLOW_IN_FILE,
								   check_setting, NULL, hooks[i]);
	setting = false;
}

/* A tool is being called. */
static bool active;

/* The attempt of the run that it is being called for. */
static int	attempt;

/*
 * Whether a tool is being called.
 */
bool
run_context_is_set(void)
{
	return active;
}

/*
 * The end user for whom the tool is called; NULL: nobody in particular, or no tool
 * is being called.
 */
const char *
run_context_user_id(void)
{
	return active ? show(2)[0] != '\0' ? show(2) : NULL : NULL;
}

static void
set_all(const RunContext *context)
{
	const char *given[RUN_SETTINGS] = {
		context->run_id, context->session_id, context->user_id,
		context->agent_id, context->tool_call_id
	};

	for (int i = 0; i < RUN_SETTINGS; i++)
	{
		char	   *copy = given[i] == NULL ? NULL :
			MemoryContextStrdup(TopMemoryContext, given[i]);

		if (shown[i] != NULL)
			pfree(shown[i]);
		shown[i] = copy;
	}

	setting = true;
	PG_TRY();
	{
		for (int i = 0; i < RUN_SETTINGS; i++)
		{
			const char *value = given[i] != NULL ? given[i] : "";

			/* What RESET goes back to, and then the value. */
			SetConfigOption(names[i], value, PGC_USERSET, PGC_S_OVERRIDE);
			SetConfigOption(names[i], value, PGC_USERSET, PGC_S_SESSION);
		}
	}
	PG_FINALLY();
	{
		setting = false;
	}
	PG_END_TRY();
}

/*
 * In which attempt the run is that calls the tool.
 */
int
run_context_attempt(void)
{
	return attempt;
}

/*
 * From here on, until run_context_clear(), this is what tools see. The end of a
 * transaction changes nothing about it.
 */
void
run_context_set(const RunContext *context)
{
	active = true;
	attempt = context->attempt;
	set_all(context);
}

/*
 * No tool is being called any more.
 */
void
run_context_clear(void)
{
	RunContext	none = {NULL};

	set_all(&none);
	active = false;
}
