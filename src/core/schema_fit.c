/*-------------------------------------------------------------------------
 *
 * schema_fit.c
 *	  Whether an answer fits its JSON schema.
 *
 * There is no well-kept validator in C, so this is one of those parts of JSON
 * Schema (draft 2020-12) that output schemas are made of: type, enum, const,
 * properties, required, additionalProperties, items, prefixItems, anyOf,
 * oneOf, allOf, not, $ref within the schema, and the bounds of numbers,
 * strings, arrays and objects. Other keywords (pattern, format, …) go to the
 * model server with the schema and are not checked here.
 *
 * The schema may be one that schema_read() has not seen, or has refused, and a
 * $ref may lead to what it has not looked at. So nothing is taken for granted
 * here: what is not understood ends the check.
 *
 * Pure. Reads the answers of models, and the schemas of users.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include <math.h>

#include "core/json.h"
#include "core/json_index.h"
#include "core/schema.h"
#include "core/schema_internal.h"

/*
 * How much a check may do in all: so many steps, and some more for each byte of the
 * value, up to what takes about a second. A step is a schema, a member or an element
 * that is looked at, or so many bytes, also of names, or so many segments of a $ref.
 */
#define LEAST_STEPS 1000000
#define STEPS_PER_BYTE 2
#define MOST_STEPS 4000000
#define BYTES_PER_STEP 64
#define SEGMENTS_PER_STEP 4

/* How much of a name a path shows, in bytes. */
#define MAX_SEGMENT 100

/* A check of a value. */
typedef struct Check
{
	const cJSON *root;			/* the whole schema */
	JsonIndex  *index;			/* of the schema and of the value */
	StringInfoData path;		/* where in the value it is, such as /items/0 */
	int			depth;
	int64		steps_left;		/* above 0, or nothing is looked at any more */
	char	   *problem;		/* what does not fit, once it does not */
	const char *nonsense;		/* a keyword of the schema that is not
								 * understood, or NULL */
} Check;

static bool fits(Check *check, const cJSON *schema, const cJSON *value);

/*
 * A member of a schema, which may have very many.
 */
static const cJSON *
keyword(Check *check, const cJSON *schema, const char *name)
{
	return json_index_member(check->index, schema, name);
}

/*
 * Take so many steps, and those for so many bytes. False when there are none
 * left.
 */
static bool
spend(Check *check, int steps, size_t bytes)
{
	check->steps_left -= steps + (int64) (bytes / BYTES_PER_STEP);
	return check->steps_left > 0;
}

/*
 * The member of an object that has a name which somebody else has chosen, or NULL:
 * also when there are no steps left. Several names may begin with as many bytes.
 */
static const cJSON *
named_member(Check *check, const cJSON *object, const char *name)
{
	return spend(check, 0, strlen(name)) ?
		json_index_member(check->index, object, name) : NULL;
}

/*
 * Note what does not fit; problem is freed.
 */
static bool
misfit(Check *check, char *problem)
{
	(void) spend(check, 0, check->path.len + strlen(problem));
	if (check->problem != NULL)
		pfree(check->problem);
	check->problem = psprintf("at %s: %s",
							  check->path.len > 0 ? check->path.data : "/",
							  problem);
	pfree(problem);
	return false;
}

/*
 * The schema makes no sense here: there is nothing to be found out any more.
 */
static bool
give_up(Check *check, const char *name)
{
	if (check->nonsense == NULL)
		check->nonsense = name;
	check->steps_left = 0;
	return false;
}

/*
 * A keyword whose value must be of this kind. NULL if it is not there, or makes
 * no sense.
 */
static const cJSON *
keyword_of(Check *check, const cJSON *schema, const char *name,
		   cJSON_bool (*is_kind) (const cJSON *const))
{
	const cJSON *value = keyword(check, schema, name);

	if (value == NULL || is_kind(value))
		return value;
	give_up(check, name);
	return NULL;
}

static const cJSON *
number_keyword(Check *check, const cJSON *schema, const char *name)
{
	return keyword_of(check, schema, name, cJSON_IsNumber);
}

static const cJSON *
array_keyword(Check *check, const cJSON *schema, const char *name)
{
	return keyword_of(check, schema, name, cJSON_IsArray);
}

static const char *
type_of(const cJSON *value)
{
	if (cJSON_IsNull(value))
		return "null";
	if (cJSON_IsBool(value))
		return "boolean";
	if (cJSON_IsNumber(value))
		return "number";
	if (cJSON_IsString(value))
		return "string";
	return cJSON_IsArray(value) ? "array" : "object";
}

static bool
is_of_type(const cJSON *value, const char *type)
{
	if (strcmp(type, "integer") == 0)
		return cJSON_IsNumber(value) &&
			value->valuedouble == floor(value->valuedouble);
	return strcmp(type, type_of(value)) == 0;
}

static bool
fits_type(Check *check, const cJSON *type, const cJSON *value)
{
	const cJSON *item;
	StringInfoData names;
	char	   *problem;

	if (cJSON_IsString(type))
	{
		if (!schema_names_type(type->valuestring))
			return give_up(check, "type");
		return is_of_type(value, type->valuestring) ||
			misfit(check, psprintf("expected %s, got %s", type->valuestring,
								   type_of(value)));
	}
	if (!cJSON_IsArray(type))
		return give_up(check, "type");
	cJSON_ArrayForEach(item, type)
	{
		if (!cJSON_IsString(item) || !schema_names_type(item->valuestring))
			return give_up(check, "type");
		if (is_of_type(value, item->valuestring) || !spend(check, 1, 0))
			return true;
	}

	initStringInfo(&names);
	cJSON_ArrayForEach(item, type)
		appendStringInfo(&names, "%s%s", names.len > 0 ? " or " : "",
						 item->valuestring);
	problem = psprintf("expected %s, got %s", names.data, type_of(value));
	pfree(names.data);
	return misfit(check, problem);
}

/*
 * Whether two values are the same; the order of members does not matter. False
 * also when there are no steps left to find out.
 */
static bool
is_same(Check *check, const cJSON *a, const cJSON *b)
{
	const cJSON *item;
	const cJSON *other;

	if (!spend(check, 1, 0) || (a->type & 0xff) != (b->type & 0xff))
		return false;
	if (cJSON_IsNumber(a))
		return a->valuedouble == b->valuedouble;
	if (cJSON_IsString(a))
		return spend(check, 0, strlen(a->valuestring)) &&
			strcmp(a->valuestring, b->valuestring) == 0;
	if (cJSON_IsArray(a))
	{
		other = b->child;
		cJSON_ArrayForEach(item, a)
		{
			if (other == NULL || !is_same(check, item, other))
				return false;
			other = other->next;
		}
		return other == NULL;
	}
	if (cJSON_IsObject(a))
	{
		int			count = cJSON_GetArraySize(b);

		if (!spend(check, count, 0))
			return false;
		cJSON_ArrayForEach(item, a)
		{
			other = named_member(check, b, item->string);
			if (other == NULL || !is_same(check, item, other))
				return false;
			count--;
		}
		return count == 0;
	}
	return true;
}

static bool
fits_values(Check *check, const cJSON *schema, const cJSON *value)
{
	const cJSON *constant = keyword(check, schema, "const");
	const cJSON *values = array_keyword(check, schema, "enum");
	const cJSON *item;

	if (constant != NULL && !is_same(check, constant, value))
		return misfit(check, pstrdup("not the value that \"const\" asks for"));
	if (values == NULL)
		return true;
	cJSON_ArrayForEach(item, values)
	{
		if (is_same(check, item, value))
			return true;
	}
	return misfit(check, pstrdup("not one of the values of \"enum\""));
}

/*
 * Whether a measure of the value keeps between two bounds of the schema.
 */
static bool
keeps_bounds(Check *check, const cJSON *schema, double measure,
			 const char *least, const char *most)
{
	const cJSON *low = number_keyword(check, schema, least);
	const cJSON *high = number_keyword(check, schema, most);

	if (low != NULL && measure < low->valuedouble)
		return misfit(check, psprintf("less than \"%s\" allows", least));
	if (high != NULL && measure > high->valuedouble)
		return misfit(check, psprintf("more than \"%s\" allows", most));
	return true;
}

static bool
fits_number(Check *check, const cJSON *schema, double number)
{
	const cJSON *low = number_keyword(check, schema, "exclusiveMinimum");
	const cJSON *high = number_keyword(check, schema, "exclusiveMaximum");
	const cJSON *factor = number_keyword(check, schema, "multipleOf");
	double		quotient;

	if (!isfinite(number))
		return misfit(check, pstrdup("the number is out of range"));
	if (low != NULL && number <= low->valuedouble)
		return misfit(check, pstrdup("not above \"exclusiveMinimum\""));
	if (high != NULL && number >= high->valuedouble)
		return misfit(check, pstrdup("not below \"exclusiveMaximum\""));
	if (factor != NULL && factor->valuedouble > 0)
	{
		quotient = number / factor->valuedouble;
		if (fabs(quotient - round(quotient)) > 1e-9 * fabs(quotient))
			return misfit(check, pstrdup("no multiple of \"multipleOf\""));
	}
	return keeps_bounds(check, schema, number, "minimum", "maximum");
}

static bool
fits_string(Check *check, const cJSON *schema, const char *string)
{
	int			length = 0;

	(void) spend(check, 0, strlen(string));
	for (const char *at = string; *at != '\0'; at++)
		length += ((unsigned char) *at & 0xc0) != 0x80;
	return keeps_bounds(check, schema, length, "minLength", "maxLength");
}

static bool
fits_at(Check *check, const char *segment, const cJSON *schema,
		const cJSON *value)
{
	int			length = check->path.len;
	size_t		shown = strnlen(segment, MAX_SEGMENT);
	bool		result;

	if (schema == NULL || cJSON_IsTrue(schema))
		return true;
	while (segment[shown] != '\0' &&
		   ((unsigned char) segment[shown] & 0xc0) == 0x80)
		shown--;
	appendStringInfo(&check->path, "/%.*s", (int) shown, segment);
	result = fits(check, schema, value);
	check->path.len = length;
	check->path.data[length] = '\0';
	return result;
}

static bool
fits_array(Check *check, const cJSON *schema, const cJSON *array)
{
	const cJSON *items = keyword(check, schema, "items");
	const cJSON *first = array_keyword(check, schema, "prefixItems");
	const cJSON *item;
	const cJSON *next;
	int			i = 0;

	/* The first elements have schemas of their own in draft 7, too. */
	if (cJSON_IsArray(items))
	{
		first = items;
		items = keyword(check, schema, "additionalItems");
	}
	next = first != NULL ? first->child : NULL;
	cJSON_ArrayForEach(item, array)
	{
		const cJSON *its = next != NULL ? next : items;
		char		position[16];

		snprintf(position, sizeof(position), "%d", i++);
		if (!spend(check, 1, 0) || !fits_at(check, position, its, item))
			return false;
		next = next != NULL ? next->next : NULL;
	}
	return keeps_bounds(check, schema, i, "minItems", "maxItems");
}

static bool
fits_object(Check *check, const cJSON *schema, const cJSON *object)
{
	const cJSON *properties = keyword_of(check, schema, "properties",
										 cJSON_IsObject);
	const cJSON *others = keyword(check, schema, "additionalProperties");
	const cJSON *item;

	cJSON_ArrayForEach(item, array_keyword(check, schema, "required"))
	{
		if (!cJSON_IsString(item))
			return give_up(check, "required");
		if (!spend(check, 1, 0))
			return false;
		if (named_member(check, object, item->valuestring) == NULL)
			return misfit(check, psprintf("the property \"%s\" is missing",
										  item->valuestring));
	}
	/* What patterns allow is not known here. */
	if (keyword(check, schema, "patternProperties") != NULL)
		others = NULL;
	cJSON_ArrayForEach(item, object)
	{
		const cJSON *its = named_member(check, properties, item->string);

		if (its == NULL && cJSON_IsFalse(others))
			return misfit(check, psprintf("the property \"%s\" is not allowed",
										  item->string));
		if (!spend(check, 1, 0) ||
			!fits_at(check, item->string, its != NULL ? its : others, item))
			return false;
	}
	return keeps_bounds(check, schema, cJSON_GetArraySize(object),
						"minProperties", "maxProperties");
}

/*
 * How many of the schemas the value fits; NULL counts as none.
 */
static int
count_fits(Check *check, const cJSON *schemas, const cJSON *value)
{
	const cJSON *item;
	int			count = 0;

	cJSON_ArrayForEach(item, schemas)
	{
		if (check->steps_left <= 0)
			break;
		count += fits(check, item, value);
	}
	return count;
}

static bool
fits_reference(Check *check, const cJSON *reference, const cJSON *value)
{
	const cJSON *schema;
	int			segments = 0;

	for (const char *at = reference->valuestring; *at != '\0'; at++)
		segments += *at == '/';
	if (!spend(check, segments / SEGMENTS_PER_STEP,
			   strlen(reference->valuestring)))
		return false;
	schema = schema_follow_reference(check->index, check->root,
									 reference->valuestring);
	return schema != NULL ? fits(check, schema, value) :
		give_up(check, "$ref");
}

static bool
fits_combinations(Check *check, const cJSON *schema, const cJSON *value)
{
	const cJSON *any = array_keyword(check, schema, "anyOf");
	const cJSON *one = array_keyword(check, schema, "oneOf");
	const cJSON *all = array_keyword(check, schema, "allOf");
	const cJSON *not = keyword(check, schema, "not");
	const cJSON *reference = keyword_of(check, schema, "$ref", cJSON_IsString);
	const cJSON *item;

	if (reference != NULL && !fits_reference(check, reference, value))
		return false;
	cJSON_ArrayForEach(item, all)
	{
		if (!fits(check, item, value))
			return false;
	}
	if (any != NULL && count_fits(check, any, value) == 0)
		return misfit(check, pstrdup("fits none of the schemas of \"anyOf\""));
	if (one != NULL && count_fits(check, one, value) != 1)
		return misfit(check, pstrdup("does not fit exactly one of the schemas of \"oneOf\""));
	if (not != NULL && fits(check, not, value))
		return misfit(check, pstrdup("fits the schema of \"not\""));
	return true;
}

/*
 * Whether a value fits a schema; if not, check->problem tells why. Once there
 * are no steps left, the result means nothing.
 */
static bool
fits(Check *check, const cJSON *schema, const cJSON *value)
{
	const cJSON *type;
	bool		result;

	if (!spend(check, 1, 0))
		return false;
	if (cJSON_IsFalse(schema))
		return misfit(check, pstrdup("nothing is allowed here"));
	if (cJSON_IsTrue(schema))
		return true;
	if (!cJSON_IsObject(schema))
		return give_up(check, schema != NULL && schema->string != NULL ?
					   schema->string : "schema");
	if (check->depth >= SCHEMA_MAX_DEPTH)
	{
		check->steps_left = 0;
		return false;
	}
	check->depth++;

	type = keyword(check, schema, "type");
	result = (type == NULL || fits_type(check, type, value)) &&
		fits_values(check, schema, value) &&
		fits_combinations(check, schema, value);
	if (result && cJSON_IsNumber(value))
		result = fits_number(check, schema, value->valuedouble);
	else if (result && cJSON_IsString(value))
		result = fits_string(check, schema, value->valuestring);
	else if (result && cJSON_IsArray(value))
		result = fits_array(check, schema, value);
	else if (result && cJSON_IsObject(value))
		result = fits_object(check, schema, value);
	check->depth--;
	return result;
}

/*-------------------------------------------------------------------------
 * Answers
 *-------------------------------------------------------------------------
 */

#define WHITE_SPACE " \t\r\n"
#define FENCE "```"

/*
 * The answer without white space and the fence of a Markdown block around it.
 */
static char *
unwrap(const char *answer)
{
	const char *start = answer + strspn(answer, WHITE_SPACE);
	const char *end = start + strlen(start);

	if (strncmp(start, FENCE, strlen(FENCE)) == 0)
	{
		start += strcspn(start, "\n");
		start += strspn(start, WHITE_SPACE);
		while (end > start && strchr(WHITE_SPACE "`", end[-1]) != NULL)
			end--;
	}
	while (end > start && strchr(WHITE_SPACE, end[-1]) != NULL)
		end--;
	return pnstrdup(start, end - start);
}

/*
 * The JSON of an answer that fits the schema, which may be any JSON. Else NULL,
 * and *problem tells why.
 */
char *
schema_answer(const OutputSchema *schema, const char *answer, char **problem)
{
	char	   *text = unwrap(answer != NULL ? answer : "");
	char	   *json = json_scrub(text, strlen(text));
	cJSON	   *value = json_parse(json, strlen(json));
	cJSON	   *root = json_parse(schema->schema, strlen(schema->schema));
	Check		check = {
		.root = root,
		.index = json_index_create(),
		.steps_left = Min(LEAST_STEPS + STEPS_PER_BYTE * (int64) strlen(json),
						  MOST_STEPS),
	};

	initStringInfo(&check.path);
	*problem = NULL;
	if (value == NULL || !json_is_jsonb(json))
		*problem = pstrdup("it is not valid JSON");
	else if (!fits(&check, root, value))
		*problem = check.problem;
	if (check.nonsense != NULL)
		*problem = psprintf("the schema is not valid: \"%s\" is not understood",
							check.nonsense);
	else if (check.steps_left <= 0)
		*problem = pstrdup("the check would take too long");
	json_index_free(check.index);
	json_free(value);
	json_free(root);
	return *problem == NULL ? json : NULL;
}
