/*-------------------------------------------------------------------------
 *
 * schema.c
 *	  The JSON schema that an answer must fit: is it one, how is a model server
 *	  told of it, and can that be held to it strictly. Whether an answer fits is
 *	  in schema_fit.c.
 *
 * Pure. Reads the schemas of users.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include <ctype.h>

#include "core/json.h"
#include "core/json_index.h"
#include "core/schema.h"
#include "core/schema_internal.h"
#include "core/sort.h"

/*
 * How deep schemas may nest in one that is written: it is read as often. OpenAI takes
 * ten levels of objects in a strict one; between two there may be an array.
 */
#define MAX_WRITTEN_DEPTH 20

/* OpenAI's limit for the name of a schema. */
#define MAX_NAME_LENGTH 64

#define DEFAULT_NAME "output"

static const char *const type_names[] = {
	"null", "boolean", "integer", "number", "string", "array", "object", NULL
};

/* Keywords whose value is a schema, an array of them, an object of them. */
static const char *const schema_keywords[] = {
	"additionalProperties", "not", NULL
};
static const char *const array_keywords[] = {
	"anyOf", "oneOf", "allOf", "prefixItems", NULL
};
static const char *const object_keywords[] = {
	"properties", "$defs", "definitions", NULL
};
static const char *const number_keywords[] = {
	"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
	"minLength", "maxLength", "minItems", "maxItems", "minProperties",
	"maxProperties", NULL
};

/* What OpenAI allows in a schema that it is to follow strictly. */
static const char *const strict_keywords[] = {
	"type", "properties", "required", "additionalProperties", "items", "enum",
	"const", "anyOf", "$ref", "$defs", "definitions", "description", "title",
	"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
	"minItems", "maxItems", "pattern", "format", NULL
};

static bool
is_in(const char *word, const char *const *words)
{
	for (; *words != NULL; words++)
	{
		if (strcmp(*words, word) == 0)
			return true;
	}
	return false;
}

/*
 * Is the word the name of a type of JSON Schema's?
 */
bool
schema_names_type(const char *word)
{
	return is_in(word, type_names);
}

static const cJSON *
member(const cJSON *object, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(object, name);
}

/*
 * The schema that a $ref such as #/$defs/item points to, or NULL.
 */
const cJSON *
schema_follow_reference(JsonIndex *index, const cJSON *root, const char *reference)
{
	const cJSON *at = root;

	if (*reference++ != '#')
		return NULL;
	while (at != NULL && *reference == '/')
	{
		size_t		length = strcspn(++reference, "/");
		char	   *name = pnstrdup(reference, length);

		at = cJSON_IsArray(at) ? json_index_element(index, at, atoi(name)) :
			json_index_member(index, at, name);
		pfree(name);
		reference += length;
	}
	return *reference == '\0' ? at : NULL;
}

/*-------------------------------------------------------------------------
 * Is it a schema?
 *-------------------------------------------------------------------------
 */

static char *check_schema(JsonIndex *index, const cJSON *root,
						  const cJSON *schema, int depth);

static char *
check_type(const cJSON *type)
{
	const cJSON *item;

	if (type == NULL)
		return NULL;
	if (cJSON_IsString(type) && schema_names_type(type->valuestring))
		return NULL;
	if (!cJSON_IsArray(type))
		return pstrdup("\"type\" must be one of null, boolean, integer, number, string, array and object, or an array of them");
	cJSON_ArrayForEach(item, type)
	{
		if (!cJSON_IsString(item) || !schema_names_type(item->valuestring))
			return pstrdup("\"type\" has an element that is no type");
	}
	return NULL;
}

static char *
check_required(const cJSON *required)
{
	const cJSON *item;

	if (required == NULL)
		return NULL;
	if (!cJSON_IsArray(required))
		return pstrdup("\"required\" must be an array");
	cJSON_ArrayForEach(item, required)
	{
		if (!cJSON_IsString(item))
			return pstrdup("\"required\" has an element that is no string");
	}
	return NULL;
}

/*
 * Check the schemas that the value of a keyword consists of.
 */
static char *
check_schemas_in(JsonIndex *index, const cJSON *root, const cJSON *keyword,
				 int depth)
{
	const cJSON *value = keyword;
	const cJSON *item;
	const char *name = keyword->string;
	char	   *problem;

	if (is_in(name, array_keywords) ? !cJSON_IsArray(value) :
		is_in(name, object_keywords) && !cJSON_IsObject(value))
		return psprintf("\"%s\" must be an %s", name,
						is_in(name, array_keywords) ? "array" : "object");

	if (is_in(name, schema_keywords) ||
		(strcmp(name, "items") == 0 && !cJSON_IsArray(value)))
		return check_schema(index, root, value, depth + 1);
	if (is_in(name, array_keywords) || is_in(name, object_keywords) ||
		strcmp(name, "items") == 0)
	{
		cJSON_ArrayForEach(item, value)
		{
			problem = check_schema(index, root, item, depth + 1);
			if (problem != NULL)
				return problem;
		}
	}
	return NULL;
}

static bool
leads_to_schema(JsonIndex *index, const cJSON *root, const cJSON *reference)
{
	const cJSON *schema = cJSON_IsString(reference) ?
		schema_follow_reference(index, root, reference->valuestring) : NULL;

	return cJSON_IsObject(schema) || cJSON_IsBool(schema);
}

/*
 * What is wrong with a schema, or NULL.
 */
static char *
check_schema(JsonIndex *index, const cJSON *root, const cJSON *schema,
			 int depth)
{
	const cJSON *keyword;
	const cJSON *reference = member(schema, "$ref");
	char	   *problem;

	if (cJSON_IsBool(schema))
		return NULL;
	if (!cJSON_IsObject(schema))
		return pstrdup("a schema must be an object");
	if (depth > SCHEMA_MAX_DEPTH)
		return pstrdup("it nests too deep");

	problem = check_type(member(schema, "type"));
	if (problem == NULL)
		problem = check_required(member(schema, "required"));
	if (problem != NULL)
		return problem;
	if (member(schema, "enum") != NULL &&
		(!cJSON_IsArray(member(schema, "enum")) ||
		 cJSON_GetArraySize(member(schema, "enum")) == 0))
		return pstrdup("\"enum\" must be an array of one element or more");
	if (reference != NULL && !leads_to_schema(index, root, reference))
		return pstrdup("\"$ref\" must point to a schema within the schema, such as #/$defs/name");

	cJSON_ArrayForEach(keyword, schema)
	{
		if (is_in(keyword->string, number_keywords) &&
			!cJSON_IsNumber(keyword))
			return psprintf("\"%s\" must be a number", keyword->string);
		problem = check_schemas_in(index, root, keyword, depth);
		if (problem != NULL)
			return problem;
	}
	return NULL;
}

/*-------------------------------------------------------------------------
 * Can a server be held to it strictly?
 *-------------------------------------------------------------------------
 */

static int
compare_strings(const void *a, const void *b)
{
	return strcmp(*(const char *const *) a, *(const char *const *) b);
}

/*
 * Whether each property of an object is required, and no other allowed.
 */
static bool
is_closed(const cJSON *schema)
{
	const cJSON *required = member(schema, "required");
	const cJSON *item;
	const char **names;
	int			count = 0;
	bool		closed = cJSON_IsFalse(member(schema, "additionalProperties"));

	names = palloc(sizeof(char *) * Max(cJSON_GetArraySize(required), 1));
	cJSON_ArrayForEach(item, required)
		names[count++] = item->valuestring;
	shuffled_qsort(names, count, sizeof(char *), compare_strings);
	cJSON_ArrayForEach(item, member(schema, "properties"))
	{
		closed = closed && bsearch(&item->string, names, count, sizeof(char *),
								   compare_strings) != NULL;
	}
	pfree(names);
	return closed;
}

static bool
names_type(const cJSON *type, const char *name)
{
	const cJSON *item;

	if (cJSON_IsString(type))
		return strcmp(type->valuestring, name) == 0;
	cJSON_ArrayForEach(item, type)
	{
		if (strcmp(item->valuestring, name) == 0)
			return true;
	}
	return false;
}

/*
 * Whether it says what kind of value it is for: nothing may be anything.
 */
static bool
is_typed(const cJSON *schema)
{
	return member(schema, "type") != NULL || member(schema, "$ref") != NULL ||
		member(schema, "anyOf") != NULL;
}

static bool
is_strict(const cJSON *schema)
{
	const cJSON *type = member(schema, "type");
	const cJSON *keyword;
	const cJSON *item;

	if (!cJSON_IsObject(schema) || !is_typed(schema))
		return false;
	cJSON_ArrayForEach(keyword, schema)
	{
		if (!is_in(keyword->string, strict_keywords))
			return false;
		if (strcmp(keyword->string, "items") == 0 &&
			!is_strict(keyword))
			return false;
		if (is_in(keyword->string, array_keywords) ||
			is_in(keyword->string, object_keywords))
		{
			cJSON_ArrayForEach(item, keyword)
			{
				if (!is_strict(item))
					return false;
			}
		}
	}
	if (names_type(type, "array") && member(schema, "items") == NULL)
		return false;
	if (member(schema, "properties") != NULL || names_type(type, "object"))
		return is_closed(schema);
	return true;
}

/*
 * The root must be an object, and no choice of several.
 */
static bool
root_is_strict(const cJSON *root)
{
	const char *type = json_string(root, "type");

	return type != NULL && strcmp(type, "object") == 0 &&
		member(root, "anyOf") == NULL && is_strict(root);
}

/*-------------------------------------------------------------------------
 * Reading
 *-------------------------------------------------------------------------
 */

/*
 * A name made of the title, of the characters that OpenAI allows.
 */
static char *
make_name(const char *title)
{
	char	   *name;

	if (title == NULL || title[0] == '\0')
		return pstrdup(DEFAULT_NAME);
	name = pnstrdup(title, Min(strlen(title), MAX_NAME_LENGTH));
	for (char *at = name; *at != '\0'; at++)
	{
		if ((*at & 0x80) != 0 || !(isalnum((unsigned char) *at) || *at == '-'))
			*at = '_';
	}
	return name;
}

/*
 * Read a schema: a JSON schema, or one in the envelope that OpenAI and Agno
 * know, {"type": "json_schema", "json_schema": {"name": …, "schema": …,
 * "strict": …}}. Returns what is wrong with it, or NULL.
 */
char *
schema_read(const char *json, OutputSchema *result)
{
	cJSON	   *tree = json_parse(json, strlen(json));
	const cJSON *envelope = member(tree, "json_schema");
	const cJSON *schema = tree;
	const char *name = json_string(tree, "title");
	JsonIndex  *index = json_index_create();
	char	   *problem = NULL;

	memset(result, 0, sizeof(OutputSchema));
	if (cJSON_IsObject(envelope) && member(envelope, "schema") != NULL)
	{
		schema = member(envelope, "schema");
		name = json_string(envelope, "name");
		result->schema = json_raw_member(json_raw_member(json, "json_schema"),
										 "schema");
	}
	else
		result->schema = pstrdup(json);

	if (!cJSON_IsObject(schema))
		problem = pstrdup("it must be a JSON object");
	else
		problem = check_schema(index, schema, schema, 0);
	if (problem == NULL)
	{
		result->name = make_name(name);
		result->strict = cJSON_IsBool(member(envelope, "strict")) ?
			cJSON_IsTrue(member(envelope, "strict")) : root_is_strict(schema);
	}
	json_index_free(index);
	json_free(tree);
	return problem;
}

/*-------------------------------------------------------------------------
 * Writing
 *-------------------------------------------------------------------------
 */

static bool append_schema(StringInfo out, const char *schema, size_t length,
						  const char *const *keywords, int depth, int *choices);

/*
 * Append the schemas that are the elements of an array, or the members of an
 * object.
 */
static bool
append_schemas(StringInfo out, const char *schemas,
			   const char *const *keywords, int depth, int *choices)
{
	JsonMember	member;
	const char *comma = "";

	if (schemas[0] == '{')
	{
		appendStringInfoChar(out, '{');
		while (json_next_member(&schemas, &member))
		{
			json_append_key(out, member.key);
			pfree(member.key);
			if (!append_schema(out, member.value, member.value_length,
							   keywords, depth, choices))
				return false;
		}
		appendStringInfoChar(out, '}');
		return true;
	}
	appendStringInfoChar(out, '[');
	while (json_next_element(&schemas))
	{
		const char *end = json_skip_value(schemas);

		appendStringInfoString(out, comma);
		if (!append_schema(out, schemas, end - schemas, keywords, depth,
						   choices))
			return false;
		comma = ",";
		schemas = end;
	}
	appendStringInfoChar(out, ']');
	return true;
}

static bool
append_schema(StringInfo out, const char *schema, size_t length,
			  const char *const *keywords, int depth, int *choices)
{
	JsonMember	its;

	if (depth > MAX_WRITTEN_DEPTH)
		return false;
	if (schema[0] != '{')
	{
		appendBinaryStringInfo(out, schema, length);
		return true;
	}
	appendStringInfoChar(out, '{');
	while (json_next_member(&schema, &its))
	{
		bool		many = (is_in(its.key, array_keywords) ||
							strcmp(its.key, "items") == 0) &&
			its.value[0] == '[';
		bool		fits = true;

		if (is_in(its.key, keywords))
			continue;
		json_append_key(out, its.key);
		if (strcmp(its.key, "anyOf") == 0 ||
			(strcmp(its.key, "type") == 0 && its.value[0] == '['))
			(*choices)--;
		if (*choices < 0)
			return false;
		if (many || (is_in(its.key, object_keywords) && its.value[0] == '{'))
			fits = append_schemas(out, its.value, keywords, depth + 1, choices);
		else if (is_in(its.key, schema_keywords) ||
				 strcmp(its.key, "items") == 0)
			fits = append_schema(out, its.value, its.value_length, keywords,
								 depth + 1, choices);
		else
			appendBinaryStringInfo(out, its.value, its.value_length);
		pfree(its.key);
		if (!fits)
			return false;
	}
	appendStringInfoChar(out, '}');
	return true;
}

/*
 * Append a schema that schema_read() has accepted without these keywords. *choices
 * is in how many places it may have a choice of types, by "anyOf" or by an array of
 * them, and becomes how many are left. Returns false, with a part of it appended, if
 * it has more, or nests deeper than MAX_WRITTEN_DEPTH.
 */
bool
schema_append_without(StringInfo out, const char *schema,
					  const char *const *keywords, int *choices)
{
	return append_schema(out, schema, strlen(schema), keywords, 0, choices);
}
