/*-------------------------------------------------------------------------
 *
 * arguments.c
 *	  The arguments of SQL functions: reading them, and refusing nonsense.
 *
 * Looks at no table. Called by api.c and enqueue.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "arguments.h"
#include "encoding.h"
#include "schema.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "uuid.h"

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
 * The text of an argument, or NULL.
 */
char *
argument_text(FunctionCallInfo fcinfo, int argument)
{
	return PG_ARGISNULL(argument) ? NULL :
		text_to_cstring(PG_GETARG_TEXT_PP(argument));
}

/*
 * The id in an argument, or a new one; *given tells which.
 */
const char *
argument_id(FunctionCallInfo fcinfo, int argument, const char *name,
			bool *given)
{
	char	   *id = argument_text(fcinfo, argument);

	*given = id != NULL;
	if (id == NULL)
	{
		id = palloc(UUID_TEXT_SIZE);
		if (!uuid_v7(id))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate random values")));
		return id;
	}
	if (id[0] == '\0')
		argument_error(psprintf("%s must not be empty", name),
					   "Leave it out to have one generated.");
	if (strlen(id) > ARGUMENT_MAX_ID)
		argument_error(psprintf("%s must not be longer than %d bytes", name,
								ARGUMENT_MAX_ID), NULL);
	return id;
}

/*
 * An argument that must be a JSON object when it is given.
 */
NullableDatum
argument_object(FunctionCallInfo fcinfo, int argument, const char *name)
{
	NullableDatum datum = fcinfo->args[argument];

	if (!datum.isnull && !JB_ROOT_IS_OBJECT(DatumGetJsonbP(datum.value)))
		argument_error(psprintf("%s must be a JSON object", name), NULL);
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
 * Refuse a jsonb that is no schema for answers.
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
