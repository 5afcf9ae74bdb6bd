/*-------------------------------------------------------------------------
 *
 * callback.c
 *	  The function that is called when a run has ended: on_complete.
 *
 * It has one argument, the run as a row of agno.runs or its id as text, and
 * whatever it returns is thrown away. It is called as the current user, who must
 * be the owner of the run. Which runs are called back, and when, is for others.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "server/tool_function.h"
#include "tools/callback.h"
#include "tools/tool_definition.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/portal.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

/* A function is being called. */
static bool under_way = false;

/*
 * The type of rows of agno.runs.
 */
static Oid
run_type(void)
{
	Oid			schema = get_namespace_oid("agno", false);
	Oid			table = get_relname_relid("runs", schema);

	return get_rel_type_id(table);
}

/* What is to be known of a function. */
typedef struct Callback
{
	Oid			owner;
	bool		takes_row;		/* rather than the id */
} Callback;

/*
 * Read what the catalog says of a function. Errors: wrong_object_type.
 */
static Callback
callback_read(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;
	Callback	callback;
	Oid			type;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	form = (Form_pg_proc) GETSTRUCT(tuple);
	type = form->pronargs == 1 ? form->proargtypes.values[0] : InvalidOid;
	callback.owner = form->proowner;
	callback.takes_row = OidIsValid(type) && type == run_type();
	if (form->prokind != PROKIND_FUNCTION || form->proretset ||
		form->provolatile != PROVOLATILE_VOLATILE ||
		isAnyTempNamespace(form->pronamespace) ||
		(type != TEXTOID && !callback.takes_row))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("function %s cannot be on_complete",
						format_procedure(function)),
				 errhint("Name a VOLATILE function with one argument, of type agno.runs or text, that does not return a set and is in no temporary schema.")));
	ReleaseSysCache(tuple);
	return callback;
}

/*
 * The function of this name with an argument of this type.
 */
static Oid
lookup(List *names, Oid type)
{
	return OidIsValid(type) ?
		LookupFuncName(names, 1, &type, true) : InvalidOid;
}

/*
 * The function of this name, which may have a schema and the type of its argument,
 * as the current user finds it: its signature, which means the same with every
 * search_path. Errors: undefined_function, wrong_object_type, invalid_name.
 */
char *
callback_define(const char *name)
{
	Oid			function;

	if (strchr(name, '(') != NULL)
		function = tool_function_oid(name);
	else
	{
#if PG_VERSION_NUM >= 160000
		List	   *names = stringToQualifiedNameList(name, NULL);
#else
		List	   *names = stringToQualifiedNameList(name);
#endif

		function = lookup(names, run_type());
		if (!OidIsValid(function))
			function = lookup(names, TEXTOID);
	}
	if (!OidIsValid(function))
	{
		char	   *others = tool_function_others(name);

		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("on_complete \"%s\" does not exist", name),
				 others != NULL ? errdetail("%s", others) : 0,
				 errhint("Name a function of (agno.runs) or (run_id text), with its schema if that is not on the search_path.")));
	}
	(void) callback_read(function);
	return tool_function_signature(function);
}

/*
 * Call the function of this signature, and let all that it has put off until the
 * commit happen now. run is the row of agno.runs. Errors: undefined_function,
 * insufficient_privilege, and whatever the function raises.
 */
void
callback_call(const char *signature, const char *run_id, Datum run)
{
	LOCAL_FCINFO(call, 1);
	FmgrInfo	flinfo;
	Callback	callback;
	Oid			function = tool_function_oid(signature);
	AclResult	allowed;

	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function %s does not exist any more", signature)));
	callback = callback_read(function);
#if PG_VERSION_NUM >= 160000
	allowed = object_aclcheck(ProcedureRelationId, function, GetUserId(),
							  ACL_EXECUTE);
#else
	allowed = pg_proc_aclcheck(function, GetUserId(), ACL_EXECUTE);
#endif
	if (allowed != ACLCHECK_OK)
		aclcheck_error(allowed, OBJECT_FUNCTION, signature);
	tool_check_trust(GetUserId(), callback.owner,
					 psprintf("function %s", signature));
	fmgr_info(function, &flinfo);
	InitFunctionCallInfoData(*call, &flinfo, 1, DEFAULT_COLLATION_OID, NULL, NULL);
	call->args[0].value = callback.takes_row ? run : CStringGetTextDatum(run_id);
	call->args[0].isnull = false;
	PG_TRY();
	{
		under_way = true;
		(void) FunctionCallInvoke(call);
		AfterTriggerFireDeferred();
		PortalHashTableDeleteAll();
	}
	PG_FINALLY();
	{
		under_way = false;
	}
	PG_END_TRY();
}

/*
 * Whether this process is calling the function of a run.
 */
bool
callback_is_under_way(void)
{
	return under_way;
}
