/*-------------------------------------------------------------------------
 *
 * json.h
 *	  Reading and writing JSON that goes over the network.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_JSON_H
#define AGNO_JSON_H

#include <cjson/cJSON.h>

#include "lib/stringinfo.h"

/* Reading: hostile bytes in, a tree or plain text out. */
extern char *text_scrub(const char *bytes, size_t length);
extern cJSON *json_parse(const char *bytes, size_t length);
extern const char *json_string(const cJSON *object, const char *name);
extern int64 json_int64(const cJSON *object, const char *name);

/* Writing. */
extern void json_append_string(StringInfo out, const char *text);
extern void json_append_key(StringInfo out, const char *name);

#endif							/* AGNO_JSON_H */
