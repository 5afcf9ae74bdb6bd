/*-------------------------------------------------------------------------
 *
 * usage.c
 *	  What calls of a model cost, in tokens.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include <stddef.h>

#include "core/json.h"
#include "core/usage.h"

/* What one call can cost, and what a sum of calls can. */
#define MAX_TOKENS INT64CONST(1000000000000)
#define MAX_TOKENS_IN_ALL INT64CONST(1000000000000000)

/* How many models of a session are counted one by one. */
#define MAX_MODELS 100

/* The counts by the names that Agno gives them. */
static const struct
{
	const char *name;
	size_t		offset;			/* in TokenUsage */
}			counts[] = {
	{"input_tokens", offsetof(TokenUsage, input)},
	{"output_tokens", offsetof(TokenUsage, output)},
	{"total_tokens", offsetof(TokenUsage, total)},
	{"cache_read_tokens", offsetof(TokenUsage, cache_read)},
	{"reasoning_tokens", offsetof(TokenUsage, reasoning)},
};

static int64 *
count_of(const TokenUsage *usage, int i)
{
	return (int64 *) ((char *) usage + counts[i].offset);
}

/*
 * The member called name as a number of tokens: what no call can cost, and no
 * sum of calls, is taken for the nearest that it can. Servers say anything.
 */
int64
token_count(const cJSON *object, const char *name)
{
	double		count = json_double(object, name);

	return (int64) Min(Max(count, 0), MAX_TOKENS);
}

/*
 * Add what one more call cost.
 */
void
token_usage_add(TokenUsage *sum, const TokenUsage *usage)
{
	for (int i = 0; i < (int) lengthof(counts); i++)
		*count_of(sum, i) = Min(*count_of(sum, i) + *count_of(usage, i),
								MAX_TOKENS_IN_ALL);
}

bool
token_usage_is_zero(const TokenUsage *usage)
{
	for (int i = 0; i < (int) lengthof(counts); i++)
	{
		if (*count_of(usage, i) != 0)
			return false;
	}
	return true;
}

/*
 * Read the members of an object that token_usage_append() has written; what is
 * missing is 0.
 */
void
token_usage_read(const cJSON *object, TokenUsage *usage)
{
	for (int i = 0; i < (int) lengthof(counts); i++)
	{
		double		count = json_double(object, counts[i].name);

		*count_of(usage, i) = (int64) Min(Max(count, 0), MAX_TOKENS_IN_ALL);
	}
}

/*
 * Read the object "usage" of one of OpenAI's APIs, which differ in what they call
 * the input and the output. Some servers leave the sum out. Each event of a stream may
 * have one: nothing here takes memory.
 */
void
token_usage_read_openai(const cJSON *object, const char *input,
						const char *output, TokenUsage *usage)
{
	char		name[64];

	snprintf(name, sizeof(name), "%s_tokens", input);
	usage->input = token_count(object, name);
	snprintf(name, sizeof(name), "%s_tokens", output);
	usage->output = token_count(object, name);
	usage->total = token_count(object, "total_tokens");
	if (usage->total == 0)
		usage->total = usage->input + usage->output;
	snprintf(name, sizeof(name), "%s_tokens_details", input);
	usage->cache_read = token_count(cJSON_GetObjectItemCaseSensitive(object, name),
									"cached_tokens");
	snprintf(name, sizeof(name), "%s_tokens_details", output);
	usage->reasoning = token_count(cJSON_GetObjectItemCaseSensitive(object, name),
								   "reasoning_tokens");
}

/*
 * Append the counts as members of an object. Without zeros, those that are 0
 * are left out, as Agno does.
 */
void
token_usage_append(StringInfo out, const TokenUsage *usage, bool zeros)
{
	for (int i = 0; i < (int) lengthof(counts); i++)
	{
		int64		count = *count_of(usage, i);

		if (count == 0 && !zeros)
			continue;
		json_append_key(out, counts[i].name);
		appendStringInfo(out, INT64_FORMAT, count);
	}
}

static void
append_model(StringInfo out, const char *model, const char *provider,
			 const TokenUsage *usage)
{
	if (out->len > 0)
		appendStringInfoChar(out, ',');
	appendStringInfoChar(out, '{');
	token_usage_append(out, usage, false);
	json_append_key(out, "id");
	json_append_string(out, model);
	json_append_key(out, "provider");
	json_append_string(out, provider);
	appendStringInfoChar(out, '}');
}

/*
 * The metrics of a session, which are NULL before its first run, with the cost
 * of one more run: the sums, and those of each model, in the shape of
 * SessionMetrics.to_dict() of Agno.
 */
char *
session_usage_add(const char *metrics, const char *model,
				  const char *provider, const TokenUsage *usage)
{
	cJSON	   *tree = metrics ? json_parse(metrics, strlen(metrics)) : NULL;
	const cJSON *details = cJSON_GetObjectItemCaseSensitive(tree, "details");
	const cJSON *item;
	TokenUsage	total;
	StringInfoData models;
	StringInfoData out;
	bool		found = false;
	int			count = 0;

	initStringInfo(&models);
	cJSON_ArrayForEach(item,
					   cJSON_GetObjectItemCaseSensitive(details, "model"))
	{
		const char *id = json_string(item, "id");
		const char *its_provider = json_string(item, "provider");
		TokenUsage	its_usage;

		if (id == NULL || its_provider == NULL)
			continue;
		token_usage_read(item, &its_usage);
		if (!found && strcmp(id, model) == 0 &&
			strcmp(its_provider, provider) == 0)
		{
			token_usage_add(&its_usage, usage);
			found = true;
		}
		append_model(&models, id, its_provider, &its_usage);
		count++;
	}
	if (!found && count < MAX_MODELS)
		append_model(&models, model, provider, usage);

	token_usage_read(tree, &total);
	token_usage_add(&total, usage);
	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	token_usage_append(&out, &total, false);
	json_append_key(&out, "details");
	appendStringInfo(&out, "{\"model\":[%s]}}", models.data);

	pfree(models.data);
	json_free(tree);
	return out.data;
}
