/*-------------------------------------------------------------------------
 *
 * ddl.c
 *	  Keeps runners out of the way of commands.
 *
 * DROP DATABASE, ALTER DATABASE … RENAME and … SET TABLESPACE, and CREATE
 * DATABASE … TEMPLATE want nobody else to be connected to the database. Its
 * runner steps aside for them, and comes back when the transaction has ended,
 * if the database is still there.
 *
 * COPY into the queue is what a dump is restored with. The runner steps aside
 * for it, too, since what it finds when it comes back it takes over.
 *
 * When the extension is dropped, however that comes about - DROP EXTENSION,
 * DROP OWNED, a CASCADE -, the runner is woken at the commit, finds the
 * extension gone, and leaves.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "ddl.h"
#include "miscadmin.h"
#include "shared.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"

static object_access_hook_type previous_object_access_hook;
static ProcessUtility_hook_type previous_utility_hook;

static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id,
			  int sub_id, void *arg)
{
	if (previous_object_access_hook != NULL)
		previous_object_access_hook(access, class_id, object_id, sub_id, arg);

	if (access == OAT_DROP && class_id == ExtensionRelationId)
	{
		char	   *name = get_extension_name(object_id);

		if (name != NULL && strcmp(name, "agno_bg") == 0)
			shared_wake_at_commit(ALL_SHARDS);
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
 * Whether the command copies rows into the queue, and may.
 */
static bool
fills_queue(Node *command)
{
	CopyStmt   *copy;
	Oid			relation;
	char	   *name;

	if (!IsA(command, CopyStmt))
		return false;
	copy = castNode(CopyStmt, command);
	if (!copy->is_from || copy->relation == NULL ||
		strcmp(copy->relation->relname, "run_queue") != 0)
		return false;
	relation = RangeVarGetRelid(copy->relation, NoLock, true);
	name = OidIsValid(relation) ?
		get_namespace_name(get_rel_namespace(relation)) : NULL;
	return name != NULL && strcmp(name, "agno") == 0 &&
		pg_class_aclcheck(relation, GetUserId(), ACL_INSERT) == ACLCHECK_OK;
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

	if (OidIsValid(database) && database != MyDatabaseId &&
		owns_database(database))
		shared_hold_runners(database);
	else if (fills_queue(statement->utilityStmt))
		shared_hold_runners(MyDatabaseId);
	next(statement, query, read_only_tree, context, params, environment,
		 receiver, completion);
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
