/*-------------------------------------------------------------------------
 *
 * schema_internal.h
 *	  What a JSON schema is made of: for schema.c and schema_fit.c only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_SCHEMA_INTERNAL_H
#define AGNO_SCHEMA_INTERNAL_H

#include "core/json_index.h"

/* How deep a schema may nest, and how deep a check by it may go. */
#define SCHEMA_MAX_DEPTH 200

extern bool schema_names_type(const char *word);
extern const cJSON *schema_follow_reference(JsonIndex *index, const cJSON *root,
											const char *reference);

#endif							/* AGNO_SCHEMA_INTERNAL_H */
