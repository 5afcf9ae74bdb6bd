/*-------------------------------------------------------------------------
 *
 * tool_function.c
 *	  SQL functions as tools: looking them up, and describing them.
 *
 * What a model is told of a function comes from the catalog: the types of the
 * arguments become a JSON schema, the comment says what the function and its
 * arguments are for. What cannot be described, or called with arguments that
 * have names, is refused.
 *
 * Looks at catalogs by the syscaches only: nothing that a user can define is
 * executed here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/tupdesc.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/comment.h"
#include "core/docstring.h"
#include "core/json.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "server/settings.h"
#include "server/tool_function.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#define NAME_HINT "Name a function, with its schema if that is not on the search_path, or a row of agno.tools."
#define WRAPPER_HINT "Write a function that calls it, with named arguments of types of their own."

/*-------------------------------------------------------------------------
 * Looking up
 *-------------------------------------------------------------------------
 */

/*
 * Parse schema.name(types). InvalidOid if there is no such function.
 */
Oid
tool_function_oid(const char *signature)
{
	LOCAL_FCINFO(fcinfo, 1);
	Datum		found;

	/* This function is quiet about what is not there. */
	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = PointerGetDatum(cstring_to_text(signature));
	fcinfo->args[0].isnull = false;
	found = to_regprocedure(fcinfo);
	return fcinfo->isnull ? InvalidOid : DatumGetObjectId(found);
}

/*
 * The functions of this name, which may have a schema, as the current user finds
 * them with the current search_path.
 */
static FuncCandidateList
candidates(const char *name)
{
	List	   *names;

#if PG_VERSION_NUM >= 160000
	names = stringToQualifiedNameList(name, NULL);
#else
	names = stringToQualifiedNameList(name);
#endif
	return FuncnameGetCandidates(names, -1, NIL, false, false, false, true);
}

/*
 * One of these functions to tell of: rather not one that PostgreSQL has.
 */
static Oid
example_of(FuncCandidateList found)
{
	for (FuncCandidateList own = found; own != NULL; own = own->next)
	{
		if (own->oid >= FirstNormalObjectId)
			return own->oid;
	}
	return found->oid;
}

/*
 * For an error about a function, named with or without the types of its arguments,
 * that is not there: a detail that tells of one with other arguments, or NULL.
 */
char *
tool_function_others(const char *name)
{
	FuncCandidateList found;
	bool		quoted = false;
	int			length = 0;

	for (; name[length] != '\0' && (quoted || name[length] != '('); length++)
		quoted ^= name[length] == '"';
	found = candidates(pnstrdup(name, length));
	return found == NULL ? NULL :
		psprintf("There is a function of this name with other arguments: %s.",
				 format_procedure_qualified(example_of(found)));
}

static void
complain_missing(const char *name)
{
	char	   *others = tool_function_others(name);

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FUNCTION),
			 errmsg("tool \"%s\" does not exist", name),
			 others != NULL ? errdetail("%s", others) : 0,
			 errhint("%s", NAME_HINT)));
}

/*
 * The function of this name, which may have a schema and the types of its
 * arguments: as the current user finds it with the current search_path. Errors:
 * undefined_function, ambiguous_function, invalid_name.
 */
Oid
tool_function_lookup(const char *name)
{
	FuncCandidateList found;
	Oid			function;

	if (name[strspn(name, " \t\r\n")] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("the name of a tool must not be empty"),
				 errhint("%s", NAME_HINT)));
	if (strchr(name, '(') != NULL)
	{
		function = tool_function_oid(name);
		if (!OidIsValid(function))
			complain_missing(name);
		return function;
	}

	found = candidates(name);
	if (found == NULL)
		complain_missing(name);
	if (found->next != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_AMBIGUOUS_FUNCTION),
				 errmsg("there is more than one function named \"%s\"", name),
				 errhint("Give the types of its arguments, as in %s.",
						 format_procedure_qualified(example_of(found)))));
	return found->oid;
}

/*
 * Whether there is a function of this name, which has no schema, but the one of
 * this signature; NULL: none.
 */
bool
tool_function_is_other(const char *name, const char *signature)
{
	Oid			function = signature != NULL ?
		tool_function_oid(signature) : InvalidOid;

	/* Some names that models can call are no identifiers. */
	if (strchr(name, '-') != NULL || (name[0] >= '0' && name[0] <= '9'))
		return false;
	for (FuncCandidateList found = candidates(name); found != NULL;
		 found = found->next)
	{
		if (found->oid != function)
			return true;
	}
	return false;
}

/*
 * The function as text that means the same with every search_path.
 */
char *
tool_function_signature(Oid function)
{
	return format_procedure_qualified(function);
}

/*
 * Find the function of this signature. False if there is none any more.
 */
bool
tool_function_find(const char *signature, ToolFunction *function)
{
	Oid			oid = tool_function_oid(signature);

	if (!OidIsValid(oid))
		return false;
	tool_function_read(oid, function);
	return true;
}

/*-------------------------------------------------------------------------
 * Reading the catalog
 *-------------------------------------------------------------------------
 */

static void
refuse(const char *signature, int sqlstate, const char *why, const char *hint)
{
	ereport(ERROR,
			(errcode(sqlstate),
			 errmsg("function %s cannot be a tool", signature),
			 errdetail("%s", why),
			 errhint("%s", hint)));
}

/*
 * Refuse what is no function that a model can call.
 */
static void
check_kind(Form_pg_proc proc, const char *signature)
{
	char		type = get_typtype(proc->prorettype);

	if (proc->prokind == PROKIND_AGGREGATE || proc->prokind == PROKIND_WINDOW)
		refuse(signature, ERRCODE_WRONG_OBJECT_TYPE,
			   "It is an aggregate or a window function.", WRAPPER_HINT);
	if (proc->prorettype == TRIGGEROID || proc->prorettype == EVENT_TRIGGEROID)
		refuse(signature, ERRCODE_WRONG_OBJECT_TYPE,
			   "It is a trigger function.", WRAPPER_HINT);
	if (type == TYPTYPE_PSEUDO && proc->prorettype != VOIDOID &&
		proc->prorettype != RECORDOID)
		refuse(signature, ERRCODE_WRONG_OBJECT_TYPE,
			   psprintf("It returns the pseudo-type %s.",
						format_type_be(proc->prorettype)), WRAPPER_HINT);
	if (isAnyTempNamespace(proc->pronamespace))
		refuse(signature, ERRCODE_WRONG_OBJECT_TYPE,
			   "It is in a temporary schema, which only this session has.",
			   "Create it in another schema.");
}

/*
 * Calls name each argument that stands in them.
 */
static void
check_name(const char *signature, const char *name, int number)
{
	if (name == NULL || name[0] == '\0')
		refuse(signature, ERRCODE_INVALID_FUNCTION_DEFINITION,
			   psprintf("Argument %d has no name.", number),
			   "Give each argument a name: the model calls the function by names.");
}

static void
check_argument(const char *signature, const ToolArgument *argument, int number)
{
	Oid			type = argument->type;

	check_name(signature, argument->name, number);
	if (get_typtype(type) == TYPTYPE_PSEUDO)
		refuse(signature, ERRCODE_INVALID_FUNCTION_DEFINITION,
			   psprintf("Argument \"%s\" is of the pseudo-type %s.",
						argument->name, format_type_be(type)), WRAPPER_HINT);
}

/*
 * Read the arguments, and what is returned.
 */
static void
read_arguments(HeapTuple tuple, ToolFunction *function)
{
	Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(tuple);
	Oid		   *types;
	char	  **names;
	char	   *modes;
	int			count = get_func_arg_info(tuple, &types, &names, &modes);
	int			outputs = 0;
	char	   *output_name = NULL;

	function->arguments = palloc0(sizeof(ToolArgument) * Max(count, 1));
	function->out_names = palloc0(sizeof(char *) * Max(count, 1));
	function->out_types = palloc0(sizeof(Oid) * Max(count, 1));
	for (int i = 0; i < count; i++)
	{
		char		mode = modes != NULL ? modes[i] : PROARGMODE_IN;
		char	   *name = names != NULL ? names[i] : NULL;

		if (mode == PROARGMODE_OUT || mode == PROARGMODE_INOUT ||
			mode == PROARGMODE_TABLE)
		{
			outputs++;
			output_name = name;
		}
		if (mode == PROARGMODE_OUT && function->procedure)
		{
			check_name(function->signature, name, i + 1);
			function->out_types[function->out_count] = types[i];
			function->out_names[function->out_count++] = name;
		}
		if (mode == PROARGMODE_IN || mode == PROARGMODE_INOUT ||
			mode == PROARGMODE_VARIADIC)
		{
			ToolArgument *argument =
				&function->arguments[function->argument_count++];

			argument->name = name;
			argument->type = types[i];
			argument->variadic = mode == PROARGMODE_VARIADIC;
			check_argument(function->signature, argument, i + 1);
		}
	}
	for (int i = 0; i < function->out_count; i++)
	{
		if (tool_function_argument(function, function->out_names[i]) != NULL)
			refuse(function->signature, ERRCODE_INVALID_FUNCTION_DEFINITION,
				   psprintf("It has two arguments \"%s\".",
							function->out_names[i]),
				   "Give each argument a name of its own: the model calls the function by names.");
	}
	for (int i = 0; i < function->argument_count; i++)
		function->arguments[i].has_default = function->arguments[i].variadic ||
			i >= function->argument_count - proc->pronargdefaults;

	if (function->procedure)
		function->result = outputs > 0 ? RESULT_ROW : RESULT_VOID;
	else if (proc->prorettype == VOIDOID)
		function->result = RESULT_VOID;
	else if (proc->prorettype == RECORDOID && outputs < 2)
		refuse(function->signature, ERRCODE_INVALID_FUNCTION_DEFINITION,
			   "It returns rows whose columns nobody knows.",
			   "Have it return TABLE (...), or a type of its own.");
	else if (proc->prorettype == RECORDOID || type_is_rowtype(proc->prorettype))
		function->result = RESULT_ROW;
	else
		function->result = RESULT_VALUE;
	if (function->result == RESULT_VALUE && outputs == 1 && output_name != NULL &&
		output_name[0] != '\0')
		function->column = output_name;
}

/*
 * Read what the catalog has of a function. Errors: wrong_object_type,
 * invalid_function_definition if it cannot be a tool, undefined_function.
 */
void
tool_function_read(Oid oid, ToolFunction *function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(oid));
	Form_pg_proc proc;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function with OID %u does not exist", oid)));
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	memset(function, 0, sizeof(ToolFunction));
	function->oid = oid;
	function->signature = tool_function_signature(oid);
	function->name = pstrdup(NameStr(proc->proname));
	function->called =
		quote_qualified_identifier(get_namespace_name(proc->pronamespace),
								   function->name);
	function->owner = proc->proowner;
	function->procedure = proc->prokind == PROKIND_PROCEDURE;
	function->read_only = !function->procedure &&
		proc->provolatile != PROVOLATILE_VOLATILE;
	function->returns_set = proc->proretset;
	check_kind(proc, function->signature);
	read_arguments(tuple, function);
	ReleaseSysCache(tuple);
}

/*
 * The argument of this name, or NULL.
 */
const ToolArgument *
tool_function_argument(const ToolFunction *function, const char *name)
{
	for (int i = 0; i < function->argument_count; i++)
	{
		if (strcmp(function->arguments[i].name, name) == 0)
			return &function->arguments[i];
	}
	return NULL;
}

/*
 * A comment that a model is to be told, or NULL. Anybody can write any number of
 * bytes there. Errors: configuration_limit_exceeded.
 */
static char *
read_comment(Oid object, Oid catalog, int column)
{
	char	   *comment = GetComment(object, catalog, column);

	if (comment != NULL &&
		strlen(comment) > (size_t) agno_max_input_size * 1024)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("a comment that describes a tool is longer than agno_bg.max_input_size"),
				 errdetail("It has %zu bytes.", strlen(comment)),
				 errhint("Shorten the comment: a model reads all of it in each request.")));
	return comment;
}

/*
 * The comment on the function, or NULL. Errors: configuration_limit_exceeded.
 */
char *
tool_function_comment(const ToolFunction *function)
{
	return read_comment(function->oid, ProcedureRelationId, 0);
}

/*-------------------------------------------------------------------------
 * The schema
 *-------------------------------------------------------------------------
 */

static void append_type(StringInfo out, Oid type, bool nullable, bool strict);

/*
 * Append "type", which may be null as well.
 */
static void
append_name(StringInfo out, const char *name, bool nullable)
{
	json_append_key(out, "type");
	if (nullable)
		appendStringInfo(out, "[\"%s\",\"null\"]", name);
	else
		json_append_string(out, name);
}

static void
append_format(StringInfo out, const char *format, bool nullable)
{
	append_name(out, "string", nullable);
	json_append_member(out, "format", format);
}

static void
append_integer(StringInfo out, int64 least, int64 most, bool nullable)
{
	append_name(out, "integer", nullable);
	json_append_key(out, "minimum");
	appendStringInfo(out, INT64_FORMAT, least);
	json_append_key(out, "maximum");
	appendStringInfo(out, INT64_FORMAT, most);
}

static int
compare_labels(const void *a, const void *b)
{
	HeapTuple	left = *(const HeapTuple *) a;
	HeapTuple	right = *(const HeapTuple *) b;
	float4		first = ((Form_pg_enum) GETSTRUCT(left))->enumsortorder;
	float4		second = ((Form_pg_enum) GETSTRUCT(right))->enumsortorder;

	return first < second ? -1 : first > second;
}

/*
 * The labels of an enum, in their order.
 */
static void
append_enum(StringInfo out, Oid type, bool nullable)
{
	CatCList   *list = SearchSysCacheList1(ENUMTYPOIDNAME,
										   ObjectIdGetDatum(type));
	HeapTuple  *labels = palloc(sizeof(HeapTuple) * Max(list->n_members, 1));

	for (int i = 0; i < list->n_members; i++)
		labels[i] = &list->members[i]->tuple;
	qsort(labels, list->n_members, sizeof(HeapTuple), compare_labels);

	append_name(out, "string", nullable);
	json_append_key(out, "enum");
	appendStringInfoChar(out, '[');
	for (int i = 0; i < list->n_members; i++)
	{
		if (i > 0)
			appendStringInfoChar(out, ',');
		json_append_string(out,
						   NameStr(((Form_pg_enum) GETSTRUCT(labels[i]))->enumlabel));
	}
	appendStringInfoString(out, nullable ? ",null]" : "]");
	ReleaseSysCacheList(list);
}

/*
 * The type that a domain is over, which may be a domain.
 */
static Oid
domain_base(Oid domain)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(domain));
	Oid			base;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", domain);
	base = ((Form_pg_type) GETSTRUCT(tuple))->typbasetype;
	ReleaseSysCache(tuple);
	return base;
}

/*
 * What a model can know of a value of this type beyond its JSON, or NULL: the
 * comment on a domain, or the name of a type that is not plain text.
 */
static char *
type_note(Oid type)
{
	Oid			base = getBaseType(type);
	char	   *comment;
	char		category;
	bool		preferred;

	/* A domain may be over another one. */
	for (Oid domain = type; domain != base; domain = domain_base(domain))
	{
		comment = read_comment(domain, TypeRelationId, 0);
		if (comment != NULL)
			return comment;
	}
	get_type_category_preferred(base, &category, &preferred);
	if (category == TYPCATEGORY_STRING || category == TYPCATEGORY_ENUM ||
		category == TYPCATEGORY_NUMERIC || category == TYPCATEGORY_BOOLEAN ||
		category == TYPCATEGORY_ARRAY || category == TYPCATEGORY_COMPOSITE ||
		category == TYPCATEGORY_DATETIME || base == UUIDOID ||
		base == JSONOID || base == JSONBOID)
		return NULL;
	return psprintf("of the PostgreSQL type %s", format_type_be(base));
}

/*
 * A composite type: its columns, of which any may be null.
 */
static void
append_composite(StringInfo out, Oid type, bool nullable, bool strict)
{
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(type, -1);
	Oid			relation = get_typ_typrelid(type);
	StringInfoData required;

	initStringInfo(&required);
	append_name(out, "object", nullable);
	json_append_key(out, "properties");
	appendStringInfoChar(out, '{');
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);
		char	   *comment;

		if (column->attisdropped)
			continue;
		json_append_key(out, NameStr(column->attname));
		appendStringInfoChar(out, '{');
		append_type(out, column->atttypid, strict, strict);
		comment = read_comment(relation, RelationRelationId, i + 1);
		json_append_member(out, "description",
						   comment != NULL ? comment :
						   type_note(column->atttypid));
		if (comment != NULL)
			pfree(comment);
		appendStringInfoChar(out, '}');
		if (required.len > 0)
			appendStringInfoChar(&required, ',');
		json_append_string(&required, NameStr(column->attname));
	}
	appendStringInfoChar(out, '}');
	if (strict)
	{
		json_append_key(out, "required");
		appendStringInfo(out, "[%s]", required.data);
	}
	json_append_key(out, "additionalProperties");
	appendStringInfoString(out, "false");
	pfree(required.data);
	FreeTupleDesc(desc);
}

/*
 * Append the members of the schema of a type. json is anything, so it has none.
 * Composite types that have each other as columns double it with each level: what is
 * too long already does not go on. Errors: configuration_limit_exceeded.
 */
static void
append_type(StringInfo out, Oid type, bool nullable, bool strict)
{
	Oid			base = getBaseType(type);
	Oid			element = get_element_type(base);

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (out->len > agno_max_input_size * INT64CONST(1024))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("the parameters of a tool are longer than agno_bg.max_input_size"),
				 errhint("Use fewer arguments, or types with fewer columns.")));
	if (OidIsValid(element))
	{
		append_name(out, "array", nullable);
		json_append_key(out, "items");
		appendStringInfoChar(out, '{');
		append_type(out, element, false, strict);
		json_append_member(out, "description", type_note(element));
		appendStringInfoChar(out, '}');
		return;
	}
	if (type_is_enum(base))
	{
		append_enum(out, base, nullable);
		return;
	}
	if (type_is_rowtype(base))
	{
		append_composite(out, base, nullable, strict);
		return;
	}
	switch (base)
	{
		case INT2OID:
			append_integer(out, PG_INT16_MIN, PG_INT16_MAX, nullable);
			break;
		case INT4OID:
			append_integer(out, PG_INT32_MIN, PG_INT32_MAX, nullable);
			break;
		case INT8OID:
			append_integer(out, PG_INT64_MIN, PG_INT64_MAX, nullable);
			break;
		case OIDOID:
			append_integer(out, 0, PG_UINT32_MAX, nullable);
			break;
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			append_name(out, "number", nullable);
			break;
		case BOOLOID:
			append_name(out, "boolean", nullable);
			break;
		case DATEOID:
			append_format(out, "date", nullable);
			break;
		case TIMEOID:
		case TIMETZOID:
			append_format(out, "time", nullable);
			break;
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			append_format(out, "date-time", nullable);
			break;
		case UUIDOID:
			append_format(out, "uuid", nullable);
			break;
		case JSONOID:
		case JSONBOID:
			break;
		default:
			append_name(out, "string", nullable);
			break;
	}
}

/*
 * The JSON schema of the arguments, but for the hidden ones (NULL-terminated, or
 * NULL). In a strict one all arguments are required, and those that may be left
 * out may be null.
 */
char *
tool_function_schema(const ToolFunction *function, const char *const *hidden,
					 bool strict)
{
	StringInfoData out;
	StringInfoData required;
	Docstring	docstring;

	docstring_read(tool_function_comment(function), &docstring);
	initStringInfo(&out);
	initStringInfo(&required);
	appendStringInfoString(&out, "{\"type\":\"object\",\"properties\":{");
	for (int i = 0; i < function->argument_count; i++)
	{
		const ToolArgument *argument = &function->arguments[i];
		const char *description = docstring_argument(&docstring,
													 argument->name);
		bool		is_hidden = false;

		for (const char *const *name = hidden; name && *name; name++)
			is_hidden |= strcmp(*name, argument->name) == 0;
		if (is_hidden)
			continue;
		if (description == NULL || description[0] == '\0')
			description = type_note(argument->type);
		json_append_key(&out, argument->name);
		appendStringInfoChar(&out, '{');
		append_type(&out, argument->type, strict && argument->has_default, strict);
		json_append_member(&out, "description", description);
		appendStringInfoChar(&out, '}');
		if (argument->has_default && !strict)
			continue;
		if (required.len > 0)
			appendStringInfoChar(&required, ',');
		json_append_string(&required, argument->name);
	}
	appendStringInfo(&out,
					 "},\"required\":[%s],\"additionalProperties\":false}",
					 required.data);
	return out.data;
}
