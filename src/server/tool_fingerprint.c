/*-------------------------------------------------------------------------
 *
 * tool_fingerprint.c
 *	  What tells a function from one that replaces it.
 *
 * Somebody approves a call of a function as it is then. What the function calls
 * in its turn is not looked at.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "miscadmin.h"
#include "server/settings.h"
#include "server/tool_fingerprint.h"
#include "server/tool_function.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/*
 * Each call that somebody decides about is compared with the whole function. Errors:
 * configuration_limit_exceeded.
 */
static void
check_size(HeapTuple tuple, Datum part)
{
	int64		size = (int64) toast_raw_datum_size(part);
	int64		most = (int64) agno_max_input_size * 1024;

	if (size > most)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("function \"%s\" is too long for somebody to decide about its calls",
						NameStr(((Form_pg_proc) GETSTRUCT(tuple))->proname)),
				 errdetail("A part of it has " INT64_FORMAT " bytes; agno_bg.max_input_size allows " INT64_FORMAT ".",
						   size, most),
				 errhint("Have a short function call it, and make that one the tool.")));
}

/*
 * A part of a function's definition for its fingerprint. NULL counts, too.
 */
static bool
add_attribute(pg_cryptohash_ctx *context, HeapTuple tuple, int number)
{
	bool		isnull;
	Datum		datum = SysCacheGetAttr(PROCOID, tuple, number, &isnull);
	struct varlena *value = NULL;
	int64		length = -1;
	bool		done;

	if (!isnull)
	{
		check_size(tuple, datum);
		value = PG_DETOAST_DATUM(datum);
		length = VARSIZE(value) - VARHDRSZ;
	}
	done = pg_cryptohash_update(context, (const uint8 *) &length,
								sizeof(length)) >= 0 &&
		(isnull || pg_cryptohash_update(context,
										(const uint8 *) VARDATA(value),
										length) >= 0);
	if (!isnull && (Pointer) value != DatumGetPointer(datum))
		pfree(value);
	return done;
}

static bool
add_string(pg_cryptohash_ctx *context, const char *string)
{
	return pg_cryptohash_update(context, (const uint8 *) string,
								strlen(string) + 1) >= 0;
}

/*
 * The name of a type with its schema, whatever the settings of the caller are.
 */
static char *
type_name(Oid type)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	Form_pg_type form;
	char	   *schema;
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		return "";
	form = (Form_pg_type) GETSTRUCT(tuple);
	schema = get_namespace_name(form->typnamespace);
	name = psprintf("%s.%s", schema != NULL ? schema : "", NameStr(form->typname));
	ReleaseSysCache(tuple);
	return name;
}

/*
 * What tells a function of this signature from one that replaces it: a hash of all
 * that decides what a call does, as far as the function itself says it; and, if it
 * has other rights than its caller, whose; and of what is bound to its arguments, if not
 * NULL. NULL if there is no such function. Locks nothing. Reads all of the function: not
 * for a runner. Errors: configuration_limit_exceeded.
 */
char *
tool_fingerprint(const char *signature, const char *bound)
{
	static const int attributes[] = {
		Anum_pg_proc_prosrc, Anum_pg_proc_probin, Anum_pg_proc_prosqlbody,
		Anum_pg_proc_proargnames, Anum_pg_proc_proargmodes,
		Anum_pg_proc_proargdefaults, Anum_pg_proc_proconfig
	};
	Oid			oid = tool_function_oid(signature);
	HeapTuple	tuple = OidIsValid(oid) ?
		SearchSysCache1(PROCOID, ObjectIdGetDatum(oid)) : NULL;
	pg_cryptohash_ctx *context;
	Form_pg_proc proc;
	uint8		hash[PG_SHA256_DIGEST_LENGTH];
	char	   *text = palloc(PG_SHA256_DIGEST_LENGTH * 2 + 1);
	char	   *language;
	bool		done;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	language = get_language_name(proc->prolang, true);
	context = pg_cryptohash_create(PG_SHA256);
	done = context != NULL && pg_cryptohash_init(context) >= 0 &&
		add_string(context, signature) &&
		add_string(context, language != NULL ? language : "") &&
		add_string(context, type_name(proc->prorettype)) &&
		add_string(context, psprintf("%d%d%d%c%c", proc->proretset,
									 proc->proisstrict, proc->prosecdef,
									 proc->prokind, proc->provolatile)) &&
		add_string(context, proc->prosecdef ?
				   GetUserNameFromId(proc->proowner, true) : "") &&
		(bound == NULL || add_string(context, bound));
	for (int i = 0; done && i < (int) lengthof(attributes); i++)
		done = add_attribute(context, tuple, attributes[i]);
	done = done && pg_cryptohash_final(context, hash, sizeof(hash)) >= 0;
	pg_cryptohash_free(context);
	ReleaseSysCache(tuple);
	if (!done)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute the fingerprint of function %s",
						signature)));
	(void) hex_encode((const char *) hash, sizeof(hash), text);
	text[PG_SHA256_DIGEST_LENGTH * 2] = '\0';
	return text;
}
