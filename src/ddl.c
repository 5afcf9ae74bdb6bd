/*-------------------------------------------------------------------------
 *
 * ddl.c
 *	  Notices when the extension is dropped.
 *
 * However that comes about - DROP EXTENSION, DROP OWNED, a CASCADE -, the
 * runner is woken when it commits, finds the extension gone, and leaves.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/objectaccess.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "ddl.h"
#include "shared.h"

static object_access_hook_type previous_hook;

static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id,
			  int sub_id, void *arg)
{
	if (previous_hook != NULL)
		previous_hook(access, class_id, object_id, sub_id, arg);

	if (access == OAT_DROP && class_id == ExtensionRelationId)
	{
		char	   *name = get_extension_name(object_id);

		if (name != NULL && strcmp(name, "agno_bg") == 0)
			shared_wake_at_commit();
	}
}

/*
 * For _PG_init().
 */
void
ddl_install_hook(void)
{
	previous_hook = object_access_hook;
	object_access_hook = object_access;
}
