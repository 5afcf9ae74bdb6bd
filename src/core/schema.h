/*-------------------------------------------------------------------------
 *
 * schema.h
 *	  The JSON schema that an answer must fit.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_SCHEMA_H
#define AGNO_SCHEMA_H

#include "lib/stringinfo.h"

/*
 * A schema as a model server is told of it. It is not kept in a form that takes
 * many times its length.
 */
typedef struct OutputSchema
{
	char	   *name;			/* at most 64 of A-Z, a-z, 0-9, _ and - */
	char	   *schema;			/* the JSON schema itself, as JSON */
	bool		strict;			/* the server can be held to it strictly */
} OutputSchema;

extern char *schema_read(const char *json, OutputSchema *result);
extern bool schema_append_without(StringInfo out, const char *schema,
								  const char *const *keywords, int *choices);
extern char *schema_answer(const OutputSchema *schema, const char *answer,
						   char **problem);

#endif							/* AGNO_SCHEMA_H */
