/*-------------------------------------------------------------------------
 *
 * arguments.c
 *	  The arguments of SQL functions: reading them, and refusing nonsense.
 *
 * Looks at no table.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "core/id.h"
#include "core/schema.h"
#include "mb/pg_wchar.h"
#include "server/encoding.h"
#include "server/json_size.h"
#include "server/settings.h"
#include "sql/arguments.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

/*
 * invalid_parameter_value, with a hint unless it is NULL.
 */
void
argument_error(const char *message, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", message),
			 hint != NULL ? errhint("%s", hint) : 0));
}

/*
 * There is no run of this id that the caller may know of. It may be no id at all, and of
 * any length.
 */
void
argument_unknown_run(const char *run_id)
{
	int			length = pg_mbcliplen(run_id, (int) strlen(run_id), MAX_ID);

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("run \"%.*s\" does not exist", length, run_id)));
}

/*
 * The text of an argument, or NULL.
 */
char *
argument_text(FunctionCallInfo fcinfo, int argument)
{
	return PG_ARGISNULL(argument) ? NULL :
		text_to_cstring(PG_GETARG_TEXT_PP(argument));
}

/*
 * The id in an argument, or NULL.
 */
const char *
argument_id(FunctionCallInfo fcinfo, int argument, const char *name)
{
	char	   *id = argument_text(fcinfo, argument);

	if (id == NULL)
		return NULL;
	if (id[0] == '\0')
		argument_error(psprintf("%s must not be empty", name),
					   "Leave it out to have one generated.");
	if (strlen(id) > MAX_ID)
		argument_error(psprintf("%s must not be longer than %d bytes", name,
								MAX_ID), NULL);
	return id;
}

/*
 * Refuse what is longer than agno_bg.max_input_size. Errors:
 * configuration_limit_exceeded.
 */
void
argument_check_size(const char *name, int64 size)
{
	int64		most = (int64) agno_max_input_size * 1024;

	if (size > most)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("%s is too long", name),
				 errdetail("It has " INT64_FORMAT " bytes; agno_bg.max_input_size allows " INT64_FORMAT ".",
						   size, most)));
}

/*
 * The same for an argument of type text, which may be null.
 */
void
argument_check_text(NullableDatum datum, const char *name)
{
	if (!datum.isnull)
		argument_check_size(name, (int64) toast_raw_datum_size(datum.value) -
							VARHDRSZ);
}

/*
 * Refuse JSON that is too long as text, or nests so deep that somebody might
 * not be able to read it.
 */
static void
check_json(Jsonb *json, const char *name)
{
	argument_check_size(name, VARSIZE(json));
	json_check_size(name, json);
	if (json_depth(json) > ARGUMENT_MAX_DEPTH)
		argument_error(psprintf("%s nests deeper than %d levels", name,
								ARGUMENT_MAX_DEPTH), NULL);
	/* A number may be longer as text than as jsonb. */
	argument_check_size(name, strlen(JsonbToCString(NULL, &json->root,
													VARSIZE(json))));
}

/*
 * An argument that must be a JSON object when it is given. JSON null is how
 * some drivers write NULL.
 */
NullableDatum
argument_object(FunctionCallInfo fcinfo, int argument, const char *name)
{
	NullableDatum datum = fcinfo->args[argument];
	Jsonb	   *json;
	JsonbValue	value;

	if (datum.isnull)
		return datum;
	argument_check_text(datum, name);
	json = DatumGetJsonbP(datum.value);
	if (JB_ROOT_IS_SCALAR(json) &&
		JsonbExtractScalar(&json->root, &value) && value.type == jbvNull)
	{
		datum.isnull = true;
		return datum;
	}
	if (!JB_ROOT_IS_OBJECT(json))
		argument_error(psprintf("%s must be a JSON object", name),
					   "An object is written in braces: {\"key\": \"value\"}.");
	check_json(json, name);
	return datum;
}

/*
 * An interval in milliseconds.
 */
double
argument_interval_ms(Datum interval)
{
	Interval   *span = DatumGetIntervalP(interval);
	double		days = span->day + (double) span->month * DAYS_PER_MONTH;

	return days * SECS_PER_DAY * 1000.0 + span->time / 1000.0;
}

/*
 * Refuse a jsonb that is no schema for answers. Errors:
 * invalid_parameter_value.
 */
void
argument_check_schema(Datum schema)
{
	Jsonb	   *jsonb = DatumGetJsonbP(schema);
	char	   *json = JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb));
	OutputSchema read;
	char	   *problem = schema_read(encoding_from_server(json), &read);

	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid output_schema: %s",
						encoding_to_server(problem)),
				 errhint("Give a JSON schema, such as {\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\"}}, \"required\": [\"city\"]}.")));
}
