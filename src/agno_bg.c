/*-------------------------------------------------------------------------
 *
 * agno_bg.c
 *	  The entry point of the library, and a map of it.
 *
 * A user calls agno_arun() in a backend. It inserts a row into agno.runs and one
 * into agno.run_queue, in the user's transaction, and at its commit wakes the
 * runner of the database. The runner is a background worker that picks rows of
 * the queue, calls the model servers over HTTP, thousands at a time, and stores
 * the answers. The launcher is another background worker, which sees to it that
 * each database with the extension has its runner, or as many as agno_bg.runners
 * says.
 *
 * The processes share nothing but tables, and a little shared memory that may be
 * lost: everything that must survive is in a table, and what is in flight when a
 * process dies is found in the queue by its successor. They wake each other by
 * latches. No transaction is open while anybody waits for the network.
 *
 * The sources are in folders by layer. Each knows only those named after it, and
 * make test checks that:
 *
 *	  sql/		the SQL functions, and hooks on SQL: tools store server core
 *				  api.c			the functions, enqueue.c and cancel.c two of them
 *				  ddl.c			commands that want a database without runners
 *				  log_filter.c	keys that must not get into the log
 *	  runner/	the background workers: store server http core
 *				  launcher.c	one process for the server
 *				  runner.c		the event loop of a runner
 *				  chore_times.c	when there is table work to do; chores.c does it
 *				  faults.c		what has failed, and what follows
 *				  turn_refusals.c	putting it out of the way of others
 *				  turn.c		one transaction of it, for many runs
 *				  dispatch.c	the requests on their way and back
 *				  flight.c		a run that is executing; fleet.c has them all
 *				  flight_news.c	what is told of it meanwhile
 *				  flight_secret.c	the key, cut out of what is to be stored
 *				  pacing.c		how fast each model server may be asked
 *				  pick.c		whose runs are next
 *	  tools/	users' functions, called for models: store server core
 *				  tool_worker.c	a process that calls the tools of one role
 *				  tool_session.c	its transactions and rights
 *				  tool_execution.c	calls, each in a transaction with its record
 *				  tool_call.c	JSON in, text out; tool_arguments.c what goes in
 *				  tool_definition.c	what the model is told
 *	  store/	every SQL statement on the tables of agno: server core
 *				  store.h		what may be asked of the tables
 *				  store_queue.c	the states of the queue
 *	  http/		libcurl: core
 *	  server/	the PostgreSQL side of one process, and shared memory: core
 *				  runner_slots.c	the runners of all databases
 *				  wake.c		waking them at the end of a transaction
 *				  model_server.c	which server a run is for, and the key to it
 *	  core/		what is pure: no server, no SPI, no network
 *				  run.c			the life of a run within an attempt
 *				  schema.c		the JSON schema of an answer; does it fit: schema_fit.c
 *				  provider.h	an API of model servers: provider_*.c
 *				  prompt.c		what the model is told
 *
 * The words that are used throughout are in the glossary of doc/architecture.md.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "runner/launcher.h"
#include "runner/load_table.h"
#include "server/acceptance.h"
#include "server/queue_room.h"
#include "server/runner_slots.h"
#include "server/settings.h"
#include "server/tool_slots.h"
#include "server/waiters.h"
#include "sql/ddl.h"
#include "sql/enqueue.h"
#include "sql/log_filter.h"
#include "storage/ipc.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

static shmem_request_hook_type previous_shmem_request_hook;
static shmem_startup_hook_type previous_shmem_startup_hook;

static void
request_shared_memory(void)
{
	if (previous_shmem_request_hook != NULL)
		previous_shmem_request_hook();
	runner_slots_request_memory();
	acceptance_request_memory();
	queue_room_request_memory();
	load_table_request_memory();
	waiters_request_memory();
	tool_slots_request_memory();
}

static void
start_shared_memory(void)
{
	if (previous_shmem_startup_hook != NULL)
		previous_shmem_startup_hook();
	runner_slots_startup();
	acceptance_startup();
	queue_room_startup();
	load_table_startup();
	waiters_startup();
	tool_slots_startup();
}

/*
 * Called once, by the postmaster, when it loads shared_preload_libraries.
 */
void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("agno_bg must be loaded when the server starts"),
				 errhint("Add the line shared_preload_libraries = 'agno_bg' to postgresql.conf, or agno_bg to the libraries that it names already, and restart the server.")));

	settings_define();

	previous_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared_memory;
	previous_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_shared_memory;
	enqueue_install();
	ddl_install_hooks();
	log_filter_install();

	/* pg_upgrade wants to be alone with the databases. */
	if (!IsBinaryUpgrade)
		launcher_register();
}
