/*-------------------------------------------------------------------------
 *
 * rewrite.c
 *	  Tables that are written anew as a whole.
 *
 * A row of agno.runs grows as its run goes on, and that of a session with each
 * run. So that no index has to be changed, their pages are filled by a small
 * part only (fillfactor). But when VACUUM FULL, CLUSTER or a restore writes a
 * whole table, nearly all of its rows have grown already, and the room would be
 * lost for good: then the pages are filled.
 *
 * VACUUM FULL and its like write into a new table, which then takes the place
 * of the old one; its options do not. COPY, as in a restore, writes into the
 * table itself, whose option is changed for the transaction that copies.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/reloptions.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "nodes/makefuncs.h"
#include "nodes/value.h"
#include "sql/rewrite.h"
#include "store/store.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

/* How full pages are written that are not to grow, in per cent. */
#define FULL 90

/*
 * Whether the relation is one whose rows have room to grow.
 */
static bool
has_room(Oid relation)
{
	char	   *name = get_rel_name(relation);
	Oid			schema = get_namespace_oid("agno", true);

	return name != NULL && OidIsValid(schema) &&
		get_rel_namespace(relation) == schema &&
		(strcmp(name, "runs") == 0 || strcmp(name, "sessions") == 0);
}

/*
 * The table that this one, which has just been created, is to replace; invalid
 * if it is a table like any other.
 */
static Oid
replaced_table(Oid relation)
{
	Relation	created = RelationIdGetRelation(relation);
	Oid			replaced = InvalidOid;

	if (!RelationIsValid(created))
		return InvalidOid;
	if (created->rd_rel->relkind == RELKIND_RELATION)
		replaced = created->rd_rel->relrewrite;
	RelationClose(created);
	return replaced;
}

static void
set_fillfactor(Oid relation, int fillfactor)
{
	Relation	catalog = table_open(RelationRelationId, RowExclusiveLock);
	HeapTuple	tuple = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(relation));
	Datum		values[Natts_pg_class] = {0};
	bool		nulls[Natts_pg_class] = {false};
	bool		replaces[Natts_pg_class] = {false};
	DefElem    *option = makeDefElem("fillfactor",
									 (Node *) makeInteger(fillfactor), -1);
	Datum		options;
	bool		isnull;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relation);
	options = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_reloptions, &isnull);
	values[Anum_pg_class_reloptions - 1] =
		transformRelOptions(isnull ? (Datum) 0 : options, list_make1(option),
							NULL, NULL, false, false);
	replaces[Anum_pg_class_reloptions - 1] = true;
	tuple = heap_modify_tuple(tuple, RelationGetDescr(catalog), values, nulls,
							  replaces);
	CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
	table_close(catalog, RowExclusiveLock);
}

/*
 * A relation has been created; arg is that of the object access hook. If it is
 * to replace one of ours, its pages are filled.
 */
void
rewrite_relation_created(Oid relation, void *arg)
{
	const ObjectAccessPostCreate *created = arg;
	Oid			replaced;

	if (created == NULL || !created->is_internal)
		return;
	replaced = replaced_table(relation);
	if (!OidIsValid(replaced) || !has_room(replaced))
		return;
	/* Its row in the catalog is not visible yet. */
	CommandCounterIncrement();
	set_fillfactor(relation, FULL);
}

/*
 * Rows are about to be copied into a table of the schema agno. Returns what
 * rewrite_end_copy() is to be given.
 */
int
rewrite_begin_copy(const char *table)
{
	Oid			schema = get_namespace_oid("agno", false);
	Oid			id = get_relname_relid(table, schema);
	Relation	relation;
	int			fillfactor;

	if (!OidIsValid(id) || !has_room(id))
		return 0;
	relation = table_open(id, ShareUpdateExclusiveLock);
	fillfactor = RelationGetFillFactor(relation, HEAP_DEFAULT_FILLFACTOR);
	table_close(relation, NoLock);
	if (fillfactor >= FULL)
		return 0;
	set_fillfactor(id, FULL);
	CommandCounterIncrement();
	return fillfactor;
}

/*
 * They have been copied. (ALTER TABLE would refuse while deferred triggers have events.)
 */
void
rewrite_end_copy(const char *table, int fillfactor)
{
	if (fillfactor != 0)
		set_fillfactor(get_relname_relid(table, get_namespace_oid("agno", false)),
					   fillfactor);
}
