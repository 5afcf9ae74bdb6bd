/*-------------------------------------------------------------------------
 *
 * ddl.c
 *	  Keeps runners out of the way of commands.
 *
 * DROP DATABASE, ALTER DATABASE … RENAME and … SET TABLESPACE, and CREATE
 * DATABASE … TEMPLATE want nobody else to be connected to the database. Its
 * runner steps aside for them, and comes back when the transaction has ended,
 * if the database is still there. A database that has been made, as a copy that may
 * have runs, or changed, as a template that is none any more, is looked into by a
 * runner of its own at the commit.
 *
 * COPY into our own tables is what a dump is restored with. The runner steps
 * aside for it, too, and stays away until the session has ended: who executes a
 * run when only a part of it has been restored executes another. When it comes
 * back, it takes over what is there (patrol.c).
 *
 * Tool workers are sent home as well, at once, and stay away until the transaction
 * has ended; and so they are for DROP ROLE, DROP OWNED and REASSIGN OWNED, those of
 * the role, and for commands that drop or update the extension: before these ask for
 * their locks, since the transaction of a tool holds locks for as long as it
 * takes. What they were calling is undone, and called again if there is still
 * somebody to.
 *
 * When the extension is dropped, however that comes about - DROP EXTENSION,
 * DROP OWNED, a CASCADE -, the runner is woken at the commit, finds the
 * extension gone, and leaves. One that is wanted when the extension has been
 * updated is asked for at that commit.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "core/shard.h"
#include "miscadmin.h"
#include "server/hold.h"
#include "server/wake.h"
#include "sql/ddl.h"
#include "sql/log_filter.h"
#include "sql/rewrite.h"
#include "store/store.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"

static object_access_hook_type previous_object_access_hook;
static ProcessUtility_hook_type previous_utility_hook;

static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id,
			  int sub_id, void *arg)
{
	if (previous_object_access_hook != NULL)
		previous_object_access_hook(access, class_id, object_id, sub_id, arg);

	if (access == OAT_POST_CREATE && class_id == RelationRelationId)
		rewrite_relation_created(object_id, arg);
	if ((access == OAT_POST_CREATE || access == OAT_POST_ALTER) &&
		class_id == DatabaseRelationId)
		want_runner_at_commit(object_id);
	if (access == OAT_DROP && class_id == AuthIdRelationId)
		hold_tool_workers(InvalidOid, object_id);
	if ((access == OAT_DROP || access == OAT_POST_ALTER) &&
		class_id == ExtensionRelationId)
	{
		char	   *name = get_extension_name(object_id);

		if (name != NULL && strcmp(name, "agno_bg") == 0)
		{
			wake_at_commit(ALL_SHARDS);
			hold_tool_workers(MyDatabaseId, InvalidOid);
		}
	}
}

static const char *
string_option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}

/*
 * The name of the database that the command wants to have for itself, or NULL.
 */
static const char *
wanted_database(Node *command)
{
	switch (nodeTag(command))
	{
		case T_DropdbStmt:
			return castNode(DropdbStmt, command)->dbname;
		case T_CreatedbStmt:
			return string_option(castNode(CreatedbStmt, command)->options,
								 "template");
		case T_RenameStmt:
			if (castNode(RenameStmt, command)->renameType == OBJECT_DATABASE)
				return castNode(RenameStmt, command)->subname;
			return NULL;
		case T_AlterDatabaseStmt:
			if (string_option(castNode(AlterDatabaseStmt, command)->options,
							  "tablespace") != NULL)
				return castNode(AlterDatabaseStmt, command)->dbname;
			return NULL;
		default:
			return NULL;
	}
}

/*
 * Whether the command may have a chance: who does not own the database cannot
 * send its runner away.
 */
static bool
owns_database(Oid database)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(DatabaseRelationId, database, GetUserId());
#else
	return pg_database_ownercheck(database, GetUserId());
#endif
}

/*
 * Find the extension: who owns it, and its schema. False when there is none.
 */
static bool
find_extension(Oid *owner, Oid *schema)
{
	Relation	relation = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber,
				F_NAMEEQ, CStringGetDatum("agno_bg"));
	scan = systable_beginscan(relation, ExtensionNameIndexId, true, NULL, 1,
							  &key);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	if (found)
	{
		*owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
		*schema = ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace;
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return found;
}

/*
 * Whether one of these objects is the extension, or else the schema that it is in.
 */
static bool
names_extension(List *objects, bool are_schemas, Oid schema)
{
	ListCell   *cell;

	foreach(cell, objects)
	{
		const char *name = strVal(lfirst(cell));

		if (are_schemas ? get_namespace_oid(name, true) == schema :
			strcmp(name, "agno_bg") == 0)
			return true;
	}
	return false;
}

/*
 * Keep the tools of these roles in this database out of the way, as far as the
 * user has their rights. Returns whether one of them owns the extension.
 */
static bool
hold_tools_of(List *roles, Oid owner)
{
	bool		found = false;
	ListCell   *cell;

	foreach(cell, roles)
	{
		Oid			role = get_rolespec_oid(lfirst(cell), true);

		if (!OidIsValid(role) || !has_privs_of_role(GetUserId(), role))
			continue;
		hold_tool_workers(MyDatabaseId, role);
		found |= role == owner;
	}
	return found;
}

/*
 * Keep tool workers out of the way of this command, if they would be.
 */
static void
hold_tools_for(Node *command)
{
	bool		all = false;
	Oid			owner;
	Oid			schema;
	DropStmt   *drop;

	if (!(IsA(command, DropStmt) || IsA(command, AlterExtensionStmt) ||
		  IsA(command, DropOwnedStmt) || IsA(command, ReassignOwnedStmt)) ||
		!find_extension(&owner, &schema))
		return;
	switch (nodeTag(command))
	{
		case T_DropStmt:
			drop = castNode(DropStmt, command);
			if (drop->removeType == OBJECT_EXTENSION)
				all = names_extension(drop->objects, false, schema);
			else if (drop->removeType == OBJECT_SCHEMA &&
					 drop->behavior == DROP_CASCADE)
				all = names_extension(drop->objects, true, schema);
			break;
		case T_AlterExtensionStmt:
			all = strcmp(castNode(AlterExtensionStmt, command)->extname,
						 "agno_bg") == 0;
			break;
		case T_DropOwnedStmt:
			all = hold_tools_of(castNode(DropOwnedStmt, command)->roles, owner);
			break;
		default:
			all = hold_tools_of(castNode(ReassignOwnedStmt, command)->roles,
								owner);
	}
	if (all && has_privs_of_role(GetUserId(), owner))
		hold_tool_workers(MyDatabaseId, InvalidOid);
}

/*
 * The table of ours that the command copies rows into, if it may; else NULL. Who is
 * under the policies of a table cannot copy into it.
 */
static const char *
copied_table(Node *command)
{
	static const char *const tables[] = {
		"callbacks", "cancellations", "requirements", "run_events", "run_queue",
		"run_requests", "run_signals", "run_steps", "runs", "sessions",
		"tool_calls", "tool_queue"
	};
	CopyStmt   *copy;
	Oid			relation;
	char	   *schema;

	if (!IsA(command, CopyStmt))
		return NULL;
	copy = castNode(CopyStmt, command);
	if (!copy->is_from || copy->relation == NULL)
		return NULL;
	for (int i = 0; i < (int) lengthof(tables); i++)
	{
		if (strcmp(copy->relation->relname, tables[i]) != 0)
			continue;
		relation = RangeVarGetRelid(copy->relation, NoLock, true);
		schema = OidIsValid(relation) ?
			get_namespace_name(get_rel_namespace(relation)) : NULL;
		if (schema != NULL && strcmp(schema, "agno") == 0 &&
			pg_class_aclcheck(relation, GetUserId(),
							  ACL_INSERT) == ACLCHECK_OK &&
			check_enable_rls(relation, InvalidOid, true) != RLS_ENABLED)
			return tables[i];
	}
	return NULL;
}

static void
process_utility(PlannedStmt *statement, const char *query, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *receiver,
				QueryCompletion *completion)
{
	ProcessUtility_hook_type next = previous_utility_hook != NULL ?
		previous_utility_hook : standard_ProcessUtility;
	const char *name = wanted_database(statement->utilityStmt);
	Oid			database = name != NULL ? get_database_oid(name, true) :
		InvalidOid;
	const char *table = copied_table(statement->utilityStmt);
	bool		fits = false;
	int			fillfactor = 0;

	/* What is within another statement has its text. */
	if (context != PROCESS_UTILITY_SUBCOMMAND)
		log_filter_utility(statement, query);
	hold_tools_for(statement->utilityStmt);
	/* It is for COPY to say that nothing may be written. */
	if (table != NULL && !XactReadOnly)
		(void) store_find_extension(&fits, false);
	/* One's own database can be the template of another, and that is all. */
	if (OidIsValid(database) &&
		(database != MyDatabaseId ||
		 IsA(statement->utilityStmt, CreatedbStmt)) &&
		owns_database(database))
		hold_runners(database);
	else if (fits)
	{
		hold_for_restore();
		store_forget_check();
		fillfactor = rewrite_begin_copy(table);
	}
	next(statement, query, read_only_tree, context, params, environment,
		 receiver, completion);
	if (fillfactor != 0)
		rewrite_end_copy(table, fillfactor);
}

/*
 * For _PG_init().
 */
void
ddl_install_hooks(void)
{
	previous_object_access_hook = object_access_hook;
	object_access_hook = object_access;
	previous_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
