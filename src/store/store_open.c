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
#include "core/clock.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
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

/*
 * After so many rows of an owner that are there for all to see, most of them must be, or
 * there is no crowd.
 */
#define FIRST_LOOK 100

/*
 * How long it is looked at the rows of an owner, in microseconds: it takes too long to see
 * whether he has a crowd, and so it does to look past them. And how long at those of all:
 * the rest is looked at later. A turn of the runner may take no longer than 200 ms.
 */
#define OWNER_LOOK (20 * US_PER_MS)
#define WHOLE_LOOK (80 * US_PER_MS)

/* After so many rows the time is looked at. */
#define ROWS_PER_CHECK 256

/*
 * An index whose rows are in the order of their owners, perhaps behind the runner's
 * number and a state, or behind a key.
 */
typedef struct OpenIndex
{
	const char *table_name;
	const char *index_name;
	bool		by_runner;
	char		state;			/* or 0 */
	const char *key_column;		/* or NULL */
	const char *key;			/* what is to be in it */
	Relation	table;			/* once it is open */
	Relation	index;			/* likewise */
} OpenIndex;

/* Theirs, by places. */
static const OpenIndex indexes[OPEN_ROWS] = {
	[OPEN_READY] = {"run_queue", "run_queue_ready_idx", true, 0},
	[OPEN_DUE] = {"run_queue", "run_queue_due_idx", true, QUEUE_SCHEDULED},
	[OPEN_SIGNALS] = {"run_signals", "run_signals_owner_idx", false, 0},
	[OPEN_PARKED] = {"run_queue", "run_queue_parked_idx", false, 0, "parked_for"},
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
 * Whether a row, which is of no open transaction, is of one that has been rolled back, or
 * has been deleted, or replaced, by one that has committed. Where that cannot be said at
 * once, it has not.
 */
static bool
is_dead(HeapTuple tuple)
{
	HeapTupleHeader header = tuple->t_data;
	TransactionId xmin = HeapTupleHeaderGetXmin(header);

	if (HeapTupleHeaderXminInvalid(header) ||
		(!HeapTupleHeaderXminCommitted(header) &&
		 !TransactionIdIsCurrentTransactionId(xmin) &&
		 !TransactionIdDidCommit(xmin)))
		return true;
	if ((header->t_infomask & (HEAP_XMAX_INVALID | HEAP_XMAX_IS_MULTI)) != 0 ||
		HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask))
		return false;
	return (header->t_infomask & HEAP_XMAX_COMMITTED) != 0 ||
		TransactionIdDidCommit(HeapTupleHeaderGetRawXmax(header));
}

/*
 * Whether a row is of a run that is in flight, in a table where that can be.
 */
static bool
is_claimed(HeapTuple tuple, TupleDesc desc, AttrNumber claimed_column)
{
	bool		isnull;

	return claimed_column != InvalidAttrNumber &&
		DatumGetBool(heap_getattr(tuple, claimed_column, desc, &isnull));
}

/* What is found out of the rows of an owner. */
typedef struct OwnerRows
{
	Oid			owner;			/* or InvalidOid: there are none */
	int			open;			/* of open transactions */
	int			others;			/* that somebody who picks does not pass */
	int			all;
	bool		too_many;		/* to see what they are */
} OwnerRows;

static bool
is_looked_at_enough(const OwnerRows *rows)
{
	return rows->open == CROWD || rows->too_many ||
		(rows->others + rows->open >= FIRST_LOOK && rows->others > rows->open);
}

/*
 * The first owner from this OID on who has rows, and what they are, as far as it takes to
 * say whether he crowds. What is dead, but not for all, or in flight, is passed by who
 * picks, too: there may be a crowd behind it.
 */
static OwnerRows
next_owner(const OpenIndex *open, Oid from)
{
	Oid			table = RelationGetRelid(open->table);
	TupleDesc	desc = RelationGetDescr(open->table);
	AttrNumber	owner_column = get_attnum(table, "owner");
	AttrNumber	claimed_column = get_attnum(table, "claimed");
	ScanKeyData keys[3];
	int			count = 0;
	TransactionId open_xid = InvalidTransactionId;
	OwnerRows	rows = {InvalidOid};
	int64		began = clock_now();
	SysScanDesc scan;
	HeapTuple	tuple;

	if (open->by_runner)
		ScanKeyInit(&keys[count++], get_attnum(table, "runner"),
					BTEqualStrategyNumber, F_INT2EQ,
					Int16GetDatum((int16) this_runner.number));
	if (open->state != 0)
		ScanKeyInit(&keys[count++], get_attnum(table, "state"),
					BTEqualStrategyNumber, F_CHAREQ, CharGetDatum(open->state));
	if (open->key_column != NULL)
		ScanKeyInit(&keys[count++], get_attnum(table, open->key_column),
					BTEqualStrategyNumber, F_TEXTEQ,
					CStringGetTextDatum(open->key));
	ScanKeyInit(&keys[count++], owner_column, BTGreaterEqualStrategyNumber,
				F_OIDGE, ObjectIdGetDatum(from));
	scan = systable_beginscan_ordered(open->table, open->index, SnapshotAny,
									  count, keys);
	while (!is_looked_at_enough(&rows) &&
		   (tuple = systable_getnext_ordered(scan, ForwardScanDirection)) != NULL)
	{
		bool		isnull;
		Oid			its = DatumGetObjectId(heap_getattr(tuple, owner_column, desc,
														&isnull));

		if (OidIsValid(rows.owner) && its != rows.owner)
			break;
		rows.owner = its;
		rows.all++;
		if (is_of_open_transaction(tuple, &open_xid))
			rows.open++;
		else if (!is_dead(tuple) && !is_claimed(tuple, desc, claimed_column))
			rows.others++;
		rows.too_many = rows.all % ROWS_PER_CHECK == 0 &&
			clock_now() - began > OWNER_LOOK;
		CHECK_FOR_INTERRUPTS();
	}
	systable_endscan_ordered(scan);
	return rows;
}

/*
 * The owners, from the lowest OID to the highest, of whom very many rows of open
 * transactions are in the way here, with this key where the place has keys: a list of OIDs.
 * *hidden are those who have too many that are dead, though not for all, to see whether
 * there are. Only those from *from on are looked at, and as many as the time allows: *from
 * is where to go on then, or InvalidOid after all of them.
 */
List *
store_crowding_owners(OpenRows where, const char *key, Oid *from, List **hidden)
{
	OpenIndex	open = indexes[where];
	Oid			schema = get_namespace_oid("agno", false);
	Oid			table = get_relname_relid(open.table_name, schema);
	Oid			index = get_relname_relid(open.index_name, schema);
	List	   *crowding = NIL;
	int64		began = clock_now();
	Oid			next = *from;

	*from = InvalidOid;
	*hidden = NIL;
	if (!OidIsValid(table) || !OidIsValid(index))
		return NIL;
	open.key = key;
	open.table = table_open(table, AccessShareLock);
	open.index = index_open(index, AccessShareLock);
	for (;;)
	{
		OwnerRows	rows = next_owner(&open, next);

		if (rows.open == CROWD)
			crowding = lappend_oid(crowding, rows.owner);
		else if (rows.too_many)
			*hidden = lappend_oid(*hidden, rows.owner);
		if (!OidIsValid(rows.owner) || rows.owner == PG_UINT32_MAX)
			break;
		next = rows.owner + 1;
		if (clock_now() - began > WHOLE_LOOK)
		{
			*from = next;
			break;
		}
	}
	index_close(open.index, AccessShareLock);
	table_close(open.table, AccessShareLock);
	return crowding;
}

/*
 * How many blocks the table has.
 */
int64
store_blocks(OpenRows where)
{
	Oid			schema = get_namespace_oid("agno", false);
	Oid			oid = get_relname_relid(indexes[where].table_name, schema);
	Relation	table;
	int64		blocks;

	if (!OidIsValid(oid))
		return 0;
	table = table_open(oid, AccessShareLock);
	blocks = RelationGetNumberOfBlocks(table);
	table_close(table, AccessShareLock);
	return blocks;
}

/*
 * A piece of a table, as the three arguments that OF_PIECE() needs.
 */
void
bind_piece(Arguments *args, const TablePiece *piece)
{
	Column		owners = {INT4OID};

	for (int i = 0; i < piece->count; i++)
		add_int(&owners, (int) piece->owners[i]);
	bind_text(args, psprintf("(" INT64_FORMAT ",0)", piece->first));
	bind_text(args, psprintf("(" INT64_FORMAT ",0)", piece->end));
	bind_column(args, &owners);
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
