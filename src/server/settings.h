/*-------------------------------------------------------------------------
 *
 * settings.h
 *	  The agno_bg.* configuration parameters.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_SETTINGS_H
#define AGNO_SETTINGS_H

/* The model of a run that names none, "server:model-id". */
extern char *agno_default_model;

/* How many runs a runner has in flight at most. */
extern int	agno_max_concurrent_runs;

/* How long a run may take, in milliseconds. */
extern int	agno_run_timeout;

/* How long one HTTP request may take, in milliseconds. */
extern int	agno_request_timeout;

/* How long it may take to connect to a model server, in milliseconds. */
extern int	agno_connect_timeout;

/* How often a failed request is repeated within an attempt. */
extern int	agno_retries;

/* How many attempts a run has that keeps bringing the worker down. */
extern int	agno_max_attempts;

/* The longest answer of a model server, in kilobytes. */
extern int	agno_max_response_size;

/* The longest text or JSON that a caller may hand in, in kilobytes. */
extern int	agno_max_input_size;

/* How many runs of one role a runner has in flight at most; 0: not said. */
extern int	agno_max_runs_per_role;

/*
 * How long runs wait for a model server that cannot be reached, in
 * milliseconds.
 */
extern int	agno_unreachable_patience;

/* Whether notifications are sent. */
extern bool agno_notify;

/* How many runners a database has, and may have. */
extern int	agno_runners;
#define MAX_RUNNERS_PER_DATABASE 16

/* How many runs that have not ended a database may have; 0: any number. */
extern int	agno_max_queue_depth;

/* The same for the runs of one role. */
extern int	agno_max_queue_depth_per_role;

/* How long runs are kept after they have ended, in seconds; 0: for ever. */
extern int	agno_retention;

/* Whether built-in model servers take keys from the environment. */
extern bool agno_environment_keys;

/* Whether runners leave pending runs alone. */
extern bool agno_paused;

/* How many processes execute tools at most, and may be allowed to. */
extern int	agno_max_tool_workers;
#define MAX_TOOL_WORKERS 256

/* How long one call of a tool may take, in milliseconds. */
extern int	agno_tool_timeout;

/* How many calls of tools one run may make. */
extern int	agno_tool_call_limit;
extern int	agno_max_run_depth;

/* How much of the result of a tool the model is shown, in kilobytes. */
extern int	agno_max_tool_result_size;

/* Whether the server is one of several among which sessions are divided. */
extern bool agno_cluster;

extern void settings_slots(int *first, int *last);
extern void settings_define(void);

#endif							/* AGNO_SETTINGS_H */
