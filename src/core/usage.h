/*-------------------------------------------------------------------------
 *
 * usage.h
 *	  What calls of a model cost, in tokens.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_USAGE_H
#define AGNO_USAGE_H

#include <cjson/cJSON.h>

#include "lib/stringinfo.h"

/* All counts are tokens, 0 when not told. */
typedef struct TokenUsage
{
	int64		input;			/* all that was sent, cached or not */
	int64		output;			/* all that was generated */
	int64		total;			/* as the server counts it */
	int64		cache_read;		/* of input: taken from the server's cache */
	int64		reasoning;		/* of output: spent on reasoning */
} TokenUsage;

extern int64 token_count(const cJSON *object, const char *name);
extern void token_usage_add(TokenUsage *sum, const TokenUsage *usage);
extern bool token_usage_is_zero(const TokenUsage *usage);
extern void token_usage_read(const cJSON *object, TokenUsage *usage);
extern void token_usage_read_openai(const cJSON *object, const char *input,
									const char *output, TokenUsage *usage);
extern void token_usage_append(StringInfo out, const TokenUsage *usage,
							   bool zeros);
extern char *session_usage_add(const char *metrics, const char *model,
							   const char *provider, const TokenUsage *usage);

#endif							/* AGNO_USAGE_H */
