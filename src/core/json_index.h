/*-------------------------------------------------------------------------
 *
 * json_index.h
 *	  Members and elements of large JSON values, found fast.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_JSON_INDEX_H
#define AGNO_JSON_INDEX_H

#include <cjson/cJSON.h>

typedef struct JsonIndex JsonIndex;

extern JsonIndex *json_index_create(void);
extern const cJSON *json_index_member(JsonIndex *index, const cJSON *object,
									  const char *name);
extern const cJSON *json_index_element(JsonIndex *index, const cJSON *array,
									   int position);
extern void json_index_free(JsonIndex *index);

#endif							/* AGNO_JSON_INDEX_H */
