/*-------------------------------------------------------------------------
 *
 * store_open.c
 *	  The tables of agno_bg: what open transactions have put into them.
 *
 * For a runner, between store_begin() and store_commit(). Rows of a transaction that is
 * open are in the way: an index has them, and whoever looks for the rows behind them
 * fetches each in vain, again and again, since they are not dead. No statement tells whose
 * they are. So this looks at the index itself, and at all rows, and no further than it
 * takes to find out who has very many of them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/procarray.h"
#include "store/store.h"
#include "store/store_queue.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* How many rows of open transactions are very many. */
#define CROWD 2000

/* After so many rows of an owner, most of them must be, or there is no crowd. */
#define FIRST_LOOK 100

/*
 * An index whose rows are in the order of their owners, perhaps behind the runner's
 * number and a state.
 */
typedef struct OpenIndex
{
	const char *table_name;
	const char *index_name;
	bool		by_runner;
	char		state;			/* or 0 */
	Relation	table;			/* once it is open */
	Relation	index;			/* likewise */
} OpenIndex;

/* Theirs, by places. */
static const OpenIndex indexes[OPEN_ROWS] = {
	[OPEN_READY] = {"run_queue", "run_queue_ready_idx", true, 0},
	[OPEN_DUE] = {"run_queue", "run_queue_due_idx", true, QUEUE_SCHEDULED},
	[OPEN_SIGNALS] = {"run_signals", "run_signals_owner_idx", false, 0},
};

/*
 * Whether a row is of an open transaction. *open is the last one of which that was found,
 * in the same moment: it is asked once about each.
 */
static bool
is_of_open_transaction(HeapTuple tuple, TransactionId *open)
{
	TransactionId xid = HeapTupleHeaderGetXmin(tuple->t_data);

	if (HeapTupleHeaderXminCommitted(tuple->t_data) ||
		HeapTupleHeaderXminInvalid(tuple->t_data))
		return false;
	if (TransactionIdEquals(xid, *open))
		return true;
	if (TransactionIdIsCurrentTransactionId(xid) ||
		!TransactionIdIsInProgress(xid))
		return false;
	*open = xid;
	return true;
}

/*
 * The first owner from this OID on who has rows, or InvalidOid. *crowds tells whether very
 * many of them are of open transactions.
 */
static Oid
next_owner(const OpenIndex *open, Oid from, bool *crowds)
{
	Oid			table = RelationGetRelid(open->table);
	AttrNumber	owner_column = get_attnum(table, "owner");
	ScanKeyData keys[3];
	int			count = 0;
	int			looked_at = 0;
	int			in_the_way = 0;
	TransactionId open_xid = InvalidTransactionId;
	Oid			owner = InvalidOid;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (open->by_runner)
		ScanKeyInit(&keys[count++], get_attnum(table, "runner"),
					BTEqualStrategyNumber, F_INT2EQ,
					Int16GetDatum((int16) this_runner.number));
	if (open->state != 0)
		ScanKeyInit(&keys[count++], get_attnum(table, "state"),
					BTEqualStrategyNumber, F_CHAREQ, CharGetDatum(open->state));
	ScanKeyInit(&keys[count++], owner_column, BTGreaterEqualStrategyNumber,
				F_OIDGE, ObjectIdGetDatum(from));
	scan = systable_beginscan_ordered(open->table, open->index, SnapshotAny,
									  count, keys);
	while (in_the_way < CROWD &&
		   (looked_at++ < FIRST_LOOK || 2 * in_the_way >= looked_at) &&
		   (tuple = systable_getnext_ordered(scan, ForwardScanDirection)) != NULL)
	{
		bool		isnull;
		Oid			its = DatumGetObjectId(heap_getattr(tuple, owner_column,
														RelationGetDescr(open->table),
														&isnull));

		if (OidIsValid(owner) && its != owner)
			break;
		owner = its;
		in_the_way += is_of_open_transaction(tuple, &open_xid);
		CHECK_FOR_INTERRUPTS();
	}
	systable_endscan_ordered(scan);
	*crowds = in_the_way == CROWD;
	return owner;
}

/*
 * The owners, from the lowest OID to the highest, of whom very many rows of open
 * transactions are in the way here: a list of OIDs.
 */
List *
store_crowding_owners(OpenRows where)
{
	OpenIndex	open = indexes[where];
	Oid			schema = get_namespace_oid("agno", false);
	Oid			table = get_relname_relid(open.table_name, schema);
	Oid			index = get_relname_relid(open.index_name, schema);
	List	   *crowding = NIL;
	Oid			from = InvalidOid;

	if (!OidIsValid(table) || !OidIsValid(index))
		return NIL;
	open.table = table_open(table, AccessShareLock);
	open.index = index_open(index, AccessShareLock);
	for (;;)
	{
		bool		crowds;
		Oid			owner = next_owner(&open, from, &crowds);

		if (crowds)
			crowding = lappend_oid(crowding, owner);
		if (!OidIsValid(owner) || owner == PG_UINT32_MAX)
			break;
		from = owner + 1;
	}
	index_close(open.index, AccessShareLock);
	table_close(open.table, AccessShareLock);
	return crowding;
}

/*
 * Two arrays: the first and the last OID of each range of owners in which none of these
 * is, count of them.
 */
void
bind_all_but(Arguments *args, const Oid *owners, int count)
{
	Oid		   *sorted = palloc(sizeof(Oid) * (count + 1));
	Column		first = {INT4OID};
	Column		last = {INT4OID};
	Oid			from = InvalidOid;

	if (count > 0)
		memcpy(sorted, owners, sizeof(Oid) * count);
	qsort(sorted, count, sizeof(Oid), oid_cmp);
	for (int i = 0; i < count; i++)
	{
		if (sorted[i] > from)
		{
			add_int(&first, (int) from);
			add_int(&last, (int) (sorted[i] - 1));
		}
		from = Max(from, sorted[i] + 1);
	}
	add_int(&first, (int) from);
	add_int(&last, (int) PG_UINT32_MAX);
	bind_column(args, &first);
	bind_column(args, &last);
}
