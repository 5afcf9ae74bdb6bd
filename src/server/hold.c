/*-------------------------------------------------------------------------
 *
 * hold.c
 *	  Keeping a database free of its runners, and of tool workers.
 *
 * Some commands want a database for themselves, and a restore is not to be
 * disturbed while half of the tables are there. The runners of the database step
 * aside meanwhile, and their runs are PENDING.
 *
 * Tool workers are kept away by what they would be in the way of: such commands,
 * those that change or drop the extension or a role. They are sent home at once, and no
 * other is started before the transaction has ended.
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

/* The tool workers that this transaction keeps away: of which pairs. */
#define MAX_PAIRS 16
static struct
{
	Oid			database;		/* invalid: any */
	Oid			role;			/* invalid: any */
}			held_tools[MAX_PAIRS];
static int	held_tools_count;

static void
release_runners(void)
{
	if (OidIsValid(held_database))
		runner_slots_unhold(held_database);
	held_database = InvalidOid;
}

static void
release_tool_workers(void)
{
	while (held_tools_count > 0)
	{
		held_tools_count--;
		tool_slots_unhold(held_tools[held_tools_count].database,
						  held_tools[held_tools_count].role);
	}
}

static void
transaction_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
		event == XACT_EVENT_PREPARE)
	{
		release_runners();
		release_tool_workers();
	}
}

static void
release_at_exit(int code, Datum arg)
{
	release_runners();
	release_tool_workers();
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
 * Have the tool workers of this database, of this role in it, or of this role in
 * any (InvalidOid: all), go home at once, and keep others away until the
 * transaction has ended. What they were calling is called again.
 */
void
hold_tool_workers(Oid database, Oid role)
{
	for (int i = 0; i < held_tools_count; i++)
	{
		if (held_tools[i].database == database && held_tools[i].role == role)
			return;
	}
	register_callbacks();
	if (!tool_slots_hold(database, role))
		return;
	if (held_tools_count == MAX_PAIRS)
	{
		tool_slots_unhold(database, role);
		return;
	}
	held_tools[held_tools_count].database = database;
	held_tools[held_tools_count].role = role;
	held_tools_count++;
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
	hold_tool_workers(database, InvalidOid);
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
