/*-------------------------------------------------------------------------
 *
 * wake.c
 *	  Waking runners at the end of a transaction.
 *
 * A backend whose transaction enqueued or cancelled a run wakes the runner in
 * charge when the transaction has become visible; where there is none, it asks
 * the launcher for one. So does one that has made or changed a database, for that one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "core/shard.h"
#include "server/runner_slots.h"
#include "server/settings.h"
#include "server/wake.h"
#include "utils/memutils.h"

/*
 * The lowest nesting level of the current transaction that wants runners to be
 * woken when it commits, 0: none; and whether they are to be woken when the
 * transaction ends either way.
 */
static int	commit_level;
static bool at_either_end;

/* Which runners that is about: the bit of each number. */
static uint32 numbers;

/*
 * Databases that are to have a runner looking into them when the transaction
 * commits; in TopTransactionContext.
 */
static List *databases = NIL;

static void
want_runners(void)
{
	ListCell   *cell;

	foreach(cell, databases)
		runner_slots_demand(lfirst_oid(cell), 0);
}

static void
transaction_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			if (commit_level > 0 || at_either_end)
				runner_slots_wake(numbers, false);
			want_runners();
			break;
		case XACT_EVENT_ABORT:
			if (at_either_end)
				runner_slots_wake(numbers, false);
			break;
		case XACT_EVENT_PREPARE:
			if (commit_level > 0 || at_either_end)
				runner_slots_wake(numbers, true);
			break;
		default:
			return;
	}
	commit_level = 0;
	at_either_end = false;
	numbers = 0;
	databases = NIL;
}

/*
 * What a subtransaction wanted is its parent's wish when it commits, and
 * nobody's when it aborts. A wish for either end stays.
 */
static void
subtransaction_callback(SubXactEvent event, SubTransactionId my_id,
						SubTransactionId parent_id, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();

	if (commit_level < level)
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		commit_level = level - 1;
	else if (event == SUBXACT_EVENT_ABORT_SUB)
		commit_level = 0;
}

static void
register_callbacks(void)
{
	static bool registered;

	if (registered)
		return;
	RegisterXactCallback(transaction_callback, NULL);
	RegisterSubXactCallback(subtransaction_callback, NULL);
	registered = true;
}

static void
note_shard(int shard)
{
	numbers |= shard == ALL_SHARDS ? PG_UINT32_MAX :
		1U << shard_runner(shard, agno_runners);
}

/*
 * Wake the runner that sessions of this shard belong to, or all of the
 * database, if the current transaction commits, once all that it did is
 * visible.
 */
void
wake_at_commit(int shard)
{
	register_callbacks();
	note_shard(shard);
	if (commit_level == 0)
		commit_level = GetCurrentTransactionNestLevel();
}

/*
 * Wake it also if the transaction rolls back, since a lock that is then gone
 * may have stood in its way.
 */
void
wake_at_end(int shard)
{
	register_callbacks();
	note_shard(shard);
	at_either_end = true;
}

/*
 * Have a runner look into this database if the current transaction commits: it
 * leaves again where there is no extension.
 */
void
want_runner_at_commit(Oid database)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

	register_callbacks();
	databases = list_append_unique_oid(databases, database);
	MemoryContextSwitchTo(old);
}
