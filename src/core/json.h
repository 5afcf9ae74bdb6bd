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

/*
 * How many members an object of others may have that the runner turns into jsonb.
 * There is an order of n members in which jsonb_in() makes n * n / 12 comparisons,
 * in one go: for one object of 16 MB that takes a quarter of an hour, for objects of
 * this many, less than a second more than in another order.
 */
#define JSON_MAX_MEMBERS 1000

/* Reading: hostile bytes in, a tree or plain text out. */
extern char *text_scrub(const char *bytes, size_t length);
extern char *json_scrub(const char *bytes, size_t length);
extern cJSON *json_parse(const char *bytes, size_t length);
extern void json_free(cJSON *tree);
extern const char *json_string(const cJSON *object, const char *name);
extern char *json_copy_string(const cJSON *object, const char *name);
extern int64 json_int64(const cJSON *object, const char *name);
extern double json_double(const cJSON *object, const char *name);
extern bool json_is_jsonb(const char *document);
extern bool json_has_large_object(const char *document);

/*
 * Walking over valid JSON as it is written, with every digit of its numbers.
 */
typedef struct JsonMember
{
	char	   *key;			/* palloc'd */
	const char *value;			/* within the document; not terminated */
	size_t		value_length;
} JsonMember;

extern bool json_next_member(const char **at, JsonMember *member);
extern bool json_find_member(const char *object, const char *name,
							 JsonMember *member);
extern bool json_has_member(const char *object, const char *name);
extern char *json_raw_member(const char *object, const char *name);
extern bool json_next_element(const char **at);
extern const char *json_skip_value(const char *at);
extern char *json_decode_string(const char *value, size_t length);

/* Writing. */
extern void json_append_member(StringInfo out, const char *name,
							   const char *value);
extern void json_append_string(StringInfo out, const char *text);
extern void json_append_key(StringInfo out, const char *name);

#endif							/* AGNO_JSON_H */
