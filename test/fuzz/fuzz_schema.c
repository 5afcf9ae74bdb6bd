/*
 * A JSON schema, and after a NUL an answer that is to fit it.
 */
#include "core/portable.h"

#include "core/json.h"
#include "core/schema.h"
#include "fuzz.h"

void
fuzz_one(const char *bytes, size_t length)
{
	char	   *schema = fuzz_text(bytes, length);
	size_t		schema_length = strlen(schema);
	static const char *const keywords[] = {"minimum", "maxItems", NULL};
	OutputSchema result;
	OutputSchema again;
	StringInfoData without;
	char	   *answer;
	char	   *problem = NULL;
	int			choices = 16;

	/* What users give is jsonb, and not always read before it is used. */
	if (!json_is_jsonb(schema))
		return;
	if (schema_read(schema, &result) != NULL)
		result.schema = schema;
	else
	{
		initStringInfo(&without);
		if (schema_append_without(&without, result.schema, keywords, &choices))
		{
			require(json_is_jsonb(without.data));
			require(schema_read(without.data, &again) == NULL);
		}
	}
	require(json_is_jsonb(result.schema));
	if (schema_length + 1 >= length)
		return;
	answer = text_scrub(schema + schema_length + 1, length - schema_length - 1);
	answer = schema_answer(&result, answer, &problem);
	require((answer != NULL) != (problem != NULL));
	require(answer == NULL || json_is_jsonb(answer));
}
