/*-------------------------------------------------------------------------
 *
 * agno_bg.c
 *	  The entry point of the library.
 *
 * Where to read on:
 *
 *	  api.c			the SQL functions
 *	  launcher.c	the process that keeps a runner in each database
 *	  runner.c		the process that executes the runs of a database
 *	  run.c			the life of a run
 *	  store.h		the tables
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "runner/launcher.h"
#include "runner/load_table.h"
#include "server/acceptance.h"
#include "server/runner_slots.h"
#include "server/settings.h"
#include "server/waiters.h"
#include "sql/ddl.h"
#include "sql/log_filter.h"
#include "storage/ipc.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

static shmem_request_hook_type previous_shmem_request_hook;
static shmem_startup_hook_type previous_shmem_startup_hook;

static void
request_shared_memory(void)
{
	if (previous_shmem_request_hook != NULL)
		previous_shmem_request_hook();
	runner_slots_request_memory();
	acceptance_request_memory();
	load_table_request_memory();
	waiters_request_memory();
}

static void
start_shared_memory(void)
{
	if (previous_shmem_startup_hook != NULL)
		previous_shmem_startup_hook();
	runner_slots_startup();
	acceptance_startup();
	load_table_startup();
	waiters_startup();
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
	ddl_install_hooks();
	log_filter_install();

	/* pg_upgrade wants to be alone with the databases. */
	if (!IsBinaryUpgrade)
		launcher_register();
}
