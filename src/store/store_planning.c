/*-------------------------------------------------------------------------
 *
 * store_planning.c
 *	  The tables of agno_bg: how a runner plans its statements.
 *
 * A runner plans a statement once and keeps the plan, so what the tables look
 * like at that moment must not matter: the queue may be empty then and have a
 * million rows a minute later. A plan that reads all of a table of twelve rows
 * for each id that is looked for would take quadratic time from then on. So
 * every statement is planned as if all tables were large, and as if nothing
 * were known of their columns but that there are few rows for an id: then it
 * looks by an index for what it names.
 *
 * This is about the tables of the schema agno, and about no other.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_statistic.h"
#include "optimizer/plancat.h"
#include "store/store.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/selfuncs.h"

/* What each table is taken to have. */
#define ROWS 1e8
#define PAGES 10000000

/* How many of them are of one run or session. */
#define ROWS_OF_ID 100

/* The height of each index, in pages above its leaves. */
#define TREE_HEIGHT 3

static get_relation_info_hook_type next_info_hook;
static get_relation_stats_hook_type next_stats_hook;

static bool
is_ours(Oid relation)
{
	Oid			schema = get_namespace_oid("agno", true);

	return OidIsValid(schema) && get_rel_namespace(relation) == schema;
}

/*
 * For get_relation_info_hook: a table of ours is large.
 */
static void
take_for_large(PlannerInfo *root, Oid relation, bool inhparent,
			   RelOptInfo *rel)
{
	ListCell   *cell;

	if (next_info_hook != NULL)
		next_info_hook(root, relation, inhparent, rel);
	if (!is_ours(relation))
		return;
	rel->pages = PAGES;
	rel->tuples = ROWS;
	rel->allvisfrac = 0;
	foreach(cell, rel->indexlist)
	{
		IndexOptInfo *index = lfirst(cell);

		index->pages = PAGES;
		index->tuples = ROWS;
		index->tree_height = TREE_HEIGHT;
	}
}

/*
 * Whether a column is one that rows are looked for by.
 */
static bool
is_id(Oid relation, AttrNumber attribute)
{
	char	   *name = get_attname(relation, attribute, true);

	return name != NULL &&
		(strcmp(name, "run_id") == 0 || strcmp(name, "session_id") == 0);
}

/*
 * What ANALYZE would have found of such a column.
 */
static HeapTuple
id_statistics(Oid relation, AttrNumber attribute)
{
	Relation	catalog = table_open(StatisticRelationId, AccessShareLock);
	Datum		values[Natts_pg_statistic] = {0};
	bool		nulls[Natts_pg_statistic] = {0};
	HeapTuple	tuple;

	values[Anum_pg_statistic_starelid - 1] = ObjectIdGetDatum(relation);
	values[Anum_pg_statistic_staattnum - 1] = Int16GetDatum(attribute);
	values[Anum_pg_statistic_stadistinct - 1] =
		Float4GetDatum((float4) -1 / ROWS_OF_ID);
	for (int i = 0; i < STATISTIC_NUM_SLOTS; i++)
	{
		nulls[Anum_pg_statistic_stanumbers1 - 1 + i] = true;
		nulls[Anum_pg_statistic_stavalues1 - 1 + i] = true;
	}
	tuple = heap_form_tuple(RelationGetDescr(catalog), values, nulls);
	table_close(catalog, AccessShareLock);
	return tuple;
}

/*
 * For get_relation_stats_hook: what ANALYZE has found of a column of ours is
 * not looked at. True: there is nothing else to be looked for.
 */
static bool
forget_statistics(PlannerInfo *root, RangeTblEntry *rte, AttrNumber attribute,
				  VariableStatData *data)
{
	if (rte->rtekind == RTE_RELATION && is_ours(rte->relid))
	{
		data->statsTuple = is_id(rte->relid, attribute) ?
			id_statistics(rte->relid, attribute) : NULL;
		data->freefunc = heap_freetuple;
		return true;
	}
	return next_stats_hook != NULL &&
		next_stats_hook(root, rte, attribute, data);
}

/*
 * From now on, this process plans its statements so.
 */
void
store_plan_for_large_tables(void)
{
	next_info_hook = get_relation_info_hook;
	get_relation_info_hook = take_for_large;
	next_stats_hook = get_relation_stats_hook;
	get_relation_stats_hook = forget_statistics;
}
