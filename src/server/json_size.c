/*-------------------------------------------------------------------------
 *
 * json_size.c
 *	  How long jsonb is as text, and how deep it nests.
 *
 * A number of a few bytes, as 1e99999, is a text of a hundred thousand: what a
 * caller hands in as jsonb is measured as the text that others will read.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "server/json_size.h"
#include "server/settings.h"
#include "utils/numeric.h"
#include "utils/fmgrprotos.h"

/*
 * How long a number is as text.
 */
static int64
number_length(Numeric number)
{
	Datum		text = DirectFunctionCall1(numeric_out,
										   NumericGetDatum(number));
	int64		length = strlen(DatumGetCString(text));

	pfree(DatumGetPointer(text));
	return length;
}

/*
 * About how long jsonb is as text, no more than by a constant factor; beyond most,
 * it is not found out how much.
 */
static int64
text_length(Jsonb *json, int64 most)
{
	JsonbIterator *iterator = JsonbIteratorInit(&json->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	int64		length = 0;

	while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE &&
		   length <= most)
	{
		length += 2;
		if (token != WJB_KEY && token != WJB_ELEM && token != WJB_VALUE)
			continue;
		if (value.type == jbvString)
			length += value.val.string.len;
		else if (value.type == jbvNumeric)
			length += number_length(value.val.numeric);
	}
	return length;
}

/*
 * Refuse jsonb that is longer, as text, than agno_bg.max_input_size. Errors:
 * configuration_limit_exceeded.
 */
void
json_check_size(const char *name, Jsonb *json)
{
	int64		most = (int64) agno_max_input_size * 1024;

	if (text_length(json, most) > most)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("%s is too long", name),
				 errdetail("As text, it has more than the " INT64_FORMAT " bytes that agno_bg.max_input_size allows.",
						   most)));
}

/*
 * How many levels of objects and arrays are within each other.
 */
int
json_depth(Jsonb *json)
{
	JsonbIterator *iterator = JsonbIteratorInit(&json->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	int			depth = 0;
	int			most = 0;

	while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
	{
		if (token == WJB_BEGIN_ARRAY || token == WJB_BEGIN_OBJECT)
		{
			depth++;
			most = Max(most, depth);
		}
		else if (token == WJB_END_ARRAY || token == WJB_END_OBJECT)
			depth--;
	}
	return most;
}
