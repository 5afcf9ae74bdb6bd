/*-------------------------------------------------------------------------
 *
 * hold.c
 *	  Keeping a database free of its runners.
 *
 * Some commands want a database for themselves, and a restore is not to be
 * disturbed while half of the tables are there. The runners of the database step
 * aside meanwhile, and their runs are PENDING.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "server/hold.h"
#include "server/runner_slots.h"
#include "server/tool_slots.h"
#include "storage/ipc.h"

/* The database that this transaction holds, or invalid. */
static Oid	held_database;

/* Whether this session restores a dump, until its end. */
static bool restoring;

static void
release_runners(void)
{
	if (OidIsValid(held_database))
		runner_slots_unhold(held_database);
	held_database = InvalidOid;
}

static void
transaction_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
		event == XACT_EVENT_PREPARE)
		release_runners();
}

static void
release_at_exit(int code, Datum arg)
{
	release_runners();
	if (restoring)
		runner_slots_end_restore();
	restoring = false;
}

static void
register_callbacks(void)
{
	static bool registered;

	if (registered)
		return;
	RegisterXactCallback(transaction_callback, NULL);
	before_shmem_exit(release_at_exit, 0);
	registered = true;
}

/*
 * Have the runners of the database step aside, and wait until they have; no
 * other is started before the transaction has ended. Their runs are PENDING
 * meanwhile.
 */
void
hold_runners(Oid database)
{
	if (held_database == database)
		return;

	/* A transaction holds one at a time: that of its last command. */
	release_runners();
	register_callbacks();
	if (runner_slots_hold(database))
		held_database = database;
	tool_slots_send_home(database, InvalidOid);
	runner_slots_wait_gone(database);
}

/*
 * This session restores a dump, or copies something else into our tables: the
 * runners of the database step aside until the session has ended, but for no
 * longer than an hour after the last COPY.
 */
void
hold_for_restore(void)
{
	hold_runners(MyDatabaseId);
	if (restoring)
		return;
	restoring = true;
	runner_slots_begin_restore();
	ereport(LOG,
			(errmsg("agno_bg executes no runs in database \"%s\" until the session that copies into its tables has ended",
					get_database_name(MyDatabaseId)),
			 errdetail("It is that of process %d.", MyProcPid)));
}
