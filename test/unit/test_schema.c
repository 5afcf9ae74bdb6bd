/*
 * schema.c, schema_fit.c: which schemas are accepted, and which answers fit them.
 */
#include "core/portable.h"

#include "core/schema.h"
#include "killer.h"
#include "unit.h"

/* Of AddressSanitizer, which not every compiler brings a header for. */
extern size_t __sanitizer_get_current_allocated_bytes(void);

#define PERSON \
	"{\"title\": \"A person!\", \"type\": \"object\", \"properties\": " \
	"{\"name\": {\"type\": \"string\", \"minLength\": 1}, " \
	"\"age\": {\"type\": [\"integer\", \"null\"], \"minimum\": 0}}, " \
	"\"required\": [\"name\", \"age\"], \"additionalProperties\": false}"

static char *
problem_of(const char *schema)
{
	OutputSchema read;

	return schema_read(schema, &read);
}

static bool
is_strict(const char *schema)
{
	OutputSchema read;

	check_text(schema_read(schema, &read), NULL);
	return read.strict;
}

/* The JSON of the answer if it fits, else NULL and why not. */
static char *
answer_to(const char *schema, const char *answer, char **problem)
{
	OutputSchema read;
	char	   *json;

	check_text(schema_read(schema, &read), NULL);
	json = schema_answer(&read, answer, problem);
	return json;
}

/* NULL if the answer fits, else why not. */
static char *
misfit(const char *schema, const char *answer)
{
	char	   *problem;

	(void) answer_to(schema, answer, &problem);
	return problem;
}

static void
test_read(void)
{
	OutputSchema read;

	check_text(schema_read(PERSON, &read), NULL);
	check_text(read.name, "A_person_");
	check_text(read.schema, PERSON);
	check(!read.strict);		/* OpenAI does not know minLength */

	check_text(schema_read("{\"type\": \"json_schema\", \"json_schema\": "
						   "{\"name\": \"T\", \"schema\": {\"minimum\": 1.50}, "
						   "\"strict\": true}}", &read), NULL);
	check_text(read.name, "T");
	check_text(read.schema, "{\"minimum\": 1.50}");
	check(read.strict);

	check_text(schema_read("{}", &read), NULL);
	check_text(read.name, "output");
	check(!read.strict);
}

static void
test_nonsense(void)
{
	static const char *const schemas[] = {
		"[]", "1", "{\"type\": \"text\"}", "{\"type\": 5}",
		"{\"type\": [\"string\", 1]}", "{\"required\": \"a\"}",
		"{\"required\": [1]}", "{\"enum\": []}", "{\"enum\": 1}",
		"{\"properties\": []}", "{\"properties\": {\"a\": 1}}",
		"{\"items\": 1}", "{\"items\": {\"type\": \"x\"}}",
		"{\"anyOf\": {}}", "{\"oneOf\": [1]}", "{\"not\": 1}",
		"{\"minimum\": \"1\"}", "{\"$ref\": \"other.json\"}",
		"{\"$ref\": \"#/$defs/a\"}", "{\"$ref\": 1}",
		"{\"$defs\": {\"a\": {\"type\": \"x\"}}}",
		"{\"json_schema\": {\"schema\": 1}}",
	};

	for (int i = 0; i < (int) lengthof(schemas); i++)
		unit_report(problem_of(schemas[i]) != NULL, schemas[i], __LINE__);
}

static void
test_strict(void)
{
	check(!is_strict("{\"type\": \"array\", \"items\": {\"type\": \"string\"}}"));
	check(!is_strict("{\"type\": \"object\", \"properties\": {\"a\": {}}, \"additionalProperties\": false}"));
	check(!is_strict("{\"type\": \"object\", \"properties\": {\"a\": {}}, \"required\": [\"a\"]}"));
	check(!is_strict("{\"type\": \"object\", \"properties\": {}, \"additionalProperties\": false, \"minProperties\": 1}"));
	check(!is_strict("{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"object\"}}, \"required\": [\"a\"], \"additionalProperties\": false}"));
	check(is_strict("{\"type\": \"object\", \"properties\": {\"a\": {\"$ref\": \"#/$defs/b\"}}, \"required\": [\"a\"], \"additionalProperties\": false, \"$defs\": {\"b\": {\"type\": \"string\"}}}"));
}

/* What OpenAI refuses in a strict schema: values of any type. */
static void
test_strict_types(void)
{
#define STRICT(its) "{\"type\": \"object\", \"properties\": {\"a\": " its "}, \"required\": [\"a\"], \"additionalProperties\": false}"
	check(!is_strict(STRICT("{}")));
	check(!is_strict(STRICT("{\"description\": \"any\"}")));
	check(!is_strict(STRICT("{\"enum\": [1, 2]}")));
	check(!is_strict(STRICT("{\"type\": \"array\"}")));
	check(!is_strict(STRICT("{\"type\": \"array\", \"items\": {}}")));
	check(!is_strict(STRICT("{\"type\": [\"object\", \"null\"]}")));
	check(!is_strict(STRICT("{\"anyOf\": [{\"type\": \"string\"}, {}]}")));
	check(is_strict(STRICT("{\"anyOf\": [{\"type\": \"string\"}, {\"type\": \"null\"}]}")));
	check(is_strict(STRICT("{\"type\": [\"array\", \"null\"], \"items\": {\"type\": \"string\"}}")));
	check(is_strict(STRICT("{\"type\": \"string\", \"enum\": [\"x\"]}")));
}

/* Of an answer to a schema that schema_read() has not seen. */
static char *
unread_misfit(const char *json, const char *answer)
{
	OutputSchema schema = {.schema = unconstify(char *, json)};
	char	   *problem;

	(void) schema_answer(&schema, answer, &problem);
	return problem;
}

/* Any JSON may be a schema: what is not understood is said, and nothing more. */
static void
test_unread(void)
{
	static const char *const cases[][3] = {
		{"type", "{\"type\": [1]}", "1"},
		{"type", "{\"type\": 1}", "1"},
		{"type", "{\"type\": {\"a\": null}}", "1"},
		{"type", "{\"type\": \"text\"}", "1"},
		{"$ref", "{\"properties\": {\"a\": {\"$ref\": 5}}}", "{\"a\": 1}"},
		{"$ref", "{\"$ref\": \"#/no\"}", "1"},
		{"$ref", "{\"$ref\": \"\"}", "1"},
		{"type", "{\"$ref\": \"#/default\", \"default\": {\"type\": [null]}}", "1"},
		{"default", "{\"$ref\": \"#/default\", \"default\": 1}", "1"},
		{"required", "{\"required\": [1]}", "{}"},
		{"required", "{\"required\": \"a\"}", "{}"},
		{"properties", "{\"properties\": [1]}", "{\"a\": 1}"},
		{"a", "{\"properties\": {\"a\": null}}", "{\"a\": 1}"},
		{"additionalProperties", "{\"additionalProperties\": 1}", "{\"a\": 1}"},
		{"items", "{\"items\": \"x\"}", "[1]"},
		{"prefixItems", "{\"prefixItems\": {\"a\": {}}}", "[1]"},
		{"schema", "{\"items\": [1]}", "[1]"},
		{"enum", "{\"enum\": {\"a\": 1}}", "1"},
		{"anyOf", "{\"anyOf\": {}}", "1"},
		{"oneOf", "{\"oneOf\": 1}", "1"},
		{"allOf", "{\"allOf\": true}", "1"},
		{"schema", "{\"anyOf\": [1]}", "1"},
		{"not", "{\"not\": \"x\"}", "1"},
		{"minimum", "{\"minimum\": \"0\"}", "1"},
		{"multipleOf", "{\"multipleOf\": []}", "1"},
		{"maxLength", "{\"maxLength\": null}", "\"x\""},
		{"minItems", "{\"minItems\": {}}", "[]"},
		{"maxProperties", "{\"maxProperties\": \"x\"}", "{}"},
		{"type", "{\"not\": {\"type\": [1]}}", "1"},
		{"type", "{\"anyOf\": [{\"type\": [1]}, {}]}", "1"},
		{"schema", "[1]", "1"},
		{"schema", "\"x\"", "1"},
		{"schema", "null", "1"},
	};

	for (int i = 0; i < (int) lengthof(cases); i++)
		check_text(unread_misfit(cases[i][1], cases[i][2]),
				   psprintf("the schema is not valid: \"%s\" is not understood",
							cases[i][0]));
	check(problem_of("{\"minimum\": 1, \"$ref\": \"#/minimum\"}") != NULL);
	check_text(unread_misfit("true", "1"), NULL);
	check(unread_misfit("false", "1") != NULL);
	check_text(unread_misfit("{\"unknown\": [{}]}", "1"), NULL);
}

static void
test_answers(void)
{
	char	   *problem;

	check_text(answer_to(PERSON, " {\"name\": \"Bo\", \"age\": null}\n", &problem),
			   "{\"name\": \"Bo\", \"age\": null}");
	check_text(problem, NULL);
	check_text(answer_to("{}", "```json\n{\"a\": 1}\n```\n", &problem),
			   "{\"a\": 1}");
	check_text(misfit(PERSON, "{\"name\": \"Bo\"}"),
			   "at /: the property \"age\" is missing");
	check_text(misfit(PERSON, "{\"name\": \"Bo\", \"age\": 1.5}"),
			   "at /age: expected integer or null, got number");
	check_text(misfit(PERSON, "{\"name\": \"\", \"age\": 1}"),
			   "at /name: less than \"minLength\" allows");
	check_text(misfit(PERSON, "{\"name\": \"Bo\", \"age\": 1, \"x\": 1}"),
			   "at /: the property \"x\" is not allowed");
	check_text(misfit(PERSON, "[]"), "at /: expected object, got array");
	check_text(misfit(PERSON, "Hello"), "it is not valid JSON");
	check_text(misfit("{}", ""), "it is not valid JSON");
	check_text(misfit("{}", "{\"a\": 1} {}"), "it is not valid JSON");
	check_text(misfit("{}", "\"\\u0000\""), NULL);
	/* cJSON takes these, jsonb does not */
	check_text(misfit("{}", "[01]"), "it is not valid JSON");
	check_text(misfit("{}", "[1e400000]"), "it is not valid JSON");
	check_text(misfit("{}", "[1e-400000]"), "it is not valid JSON");
	check_text(misfit("{}", "\"1e400000 \\\" 1e400000\""), NULL);
}

static void
test_keywords(void)
{
	static const struct
	{
		const char *schema;
		const char *fits;
		const char *fails;
	}			cases[] = {
		{"{\"enum\": [1, \"a\"]}", "\"a\"", "\"b\""},
		{"{\"const\": {\"a\": [1]}}", "{\"a\": [1]}", "{\"a\": [2]}"},
		{"{\"type\": \"integer\"}", "3.0", "3.5"},
		{"{\"exclusiveMinimum\": 1}", "2", "1"},
		{"{\"exclusiveMaximum\": 1}", "0", "1"},
		{"{\"maximum\": 5}", "5", "6"},
		{"{\"multipleOf\": 0.1}", "0.3", "0.35"},
		{"{\"maxLength\": 2}", "\"\xc3\xa9\xc3\xa9\"", "\"abc\""},
		{"{\"minItems\": 1, \"maxItems\": 2}", "[1]", "[]"},
		{"{\"items\": {\"type\": \"string\"}}", "[\"a\"]", "[\"a\", 1]"},
		{"{\"prefixItems\": [{\"type\": \"string\"}], \"items\": false}", "[\"a\"]", "[\"a\", 1]"},
		{"{\"items\": [{\"type\": \"string\"}]}", "[\"a\", 1]", "[1]"},
		{"{\"maxProperties\": 1}", "{\"a\": 1}", "{\"a\": 1, \"b\": 2}"},
		{"{\"additionalProperties\": {\"type\": \"string\"}}", "{\"a\": \"b\"}", "{\"a\": 1}"},
		{"{\"patternProperties\": {\"^x\": {}}, \"additionalProperties\": false}", "{\"x1\": 1}", NULL},
		{"{\"anyOf\": [{\"type\": \"string\"}, {\"type\": \"null\"}]}", "null", "1"},
		{"{\"oneOf\": [{\"type\": \"integer\"}, {\"minimum\": 5}]}", "2", "6"},
		{"{\"allOf\": [{\"type\": \"integer\"}, {\"minimum\": 5}]}", "6", "2"},
		{"{\"not\": {\"type\": \"string\"}}", "1", "\"a\""},
		{"{\"$ref\": \"#/$defs/t\", \"$defs\": {\"t\": {\"type\": \"object\", \"properties\": {\"t\": {\"$ref\": \"#\"}}}}}",
		"{\"t\": {\"t\": {}}}", "{\"t\": {\"t\": 1}}"},
		{"{\"format\": \"date\", \"pattern\": \"^a\"}", "\"b\"", NULL},
	};

	for (int i = 0; i < (int) lengthof(cases); i++)
	{
		check_text(problem_of(cases[i].schema), NULL);
		check_text(misfit(cases[i].schema, cases[i].fits), NULL);
		unit_report(cases[i].fails == NULL ||
					misfit(cases[i].schema, cases[i].fails) != NULL,
					cases[i].schema, __LINE__);
	}
}

/* When there are no steps left, "not" makes no fit of that. */
static void
test_no_steps_left(void)
{
	char		schema[4096] = "{\"$defs\":{\"d0\":{\"type\":\"string\"}";
	char	   *end = schema + strlen(schema);

	for (int i = 1; i <= 30; i++)
		end += sprintf(end, ",\"d%d\":{\"anyOf\":[{\"$ref\":\"#/$defs/d%d\"},"
					   "{\"$ref\":\"#/$defs/d%d\"}]}", i, i - 1, i - 1);
	strcpy(end, "},\"not\":{\"$ref\":\"#/$defs/d30\"}}");
	check_text(misfit(schema, "1"), "the check would take too long");
}

/* A large value is not looked at for longer than a second or so. */
static void
test_large_value(void)
{
	StringInfoData value;

	initStringInfo(&value);
	appendStringInfoChar(&value, '[');
	for (int i = 0; i < 1500000; i++)
		appendStringInfoString(&value, "0,");
	appendStringInfoString(&value, "0]");
	check_text(misfit("{\"items\":{\"type\":\"integer\"}}", value.data), NULL);
	check_text(misfit("{\"items\":{\"allOf\":[true,{},{}]}}", value.data), "the check would take too long");
}

/* A text so many times, one after the other. */
static void
append_times(StringInfo out, const char *text, int times)
{
	for (int i = 0; i < times; i++)
		appendStringInfoString(out, text);
}

/* {"items": {"anyOf": [schema, schema, …, what fits a number]}, …} */
static char *
many_choices(const char *schema, int times, const char *rest)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoString(&out, "{\"items\":{\"anyOf\":[");
	append_times(&out, psprintf("%s,", schema), times);
	appendStringInfo(&out, "{\"type\":\"integer\"}]}%s}", rest);
	return out.data;
}

#define NUMBERS "[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]"

/* Each look at a type leaves nothing behind. */
static void
test_memory(void)
{
	static const char *const types[] = {
		"{\"type\":[\"integer\",\"null\"]}", "{\"type\":[\"string\",\"null\"]}"
	};

	for (int i = 0; i < (int) lengthof(types); i++)
	{
		char	   *schema = many_choices(types[i], 1000, "");
		size_t		before = __sanitizer_get_current_allocated_bytes();
		size_t		taken;

		check_text(misfit(schema, NUMBERS), NULL);
		taken = __sanitizer_get_current_allocated_bytes() - before;
		check(taken < 1024 * 1024);
		printf("# %zu bytes\n", taken);
	}
}

/* Schemas that are true or false are steps as well. */
static void
test_boolean_steps(void)
{
	check_text(misfit(many_choices("true", 100000, ""), NUMBERS), "the check would take too long");
	check_text(misfit(many_choices("false", 100000, ""), NUMBERS), "the check would take too long");
	check_text(misfit(many_choices("false", 1000, ""), NUMBERS), NULL);
}

/* Each part of a path of a $ref takes time, */
static void
test_reference_steps(void)
{
	StringInfoData path;
	StringInfoData rest;

	initStringInfo(&path);
	initStringInfo(&rest);
	append_times(&path, "/d", 480);
	appendStringInfoString(&rest, ",\"d\":");
	append_times(&rest, "{\"d\":", 479);
	appendStringInfoString(&rest, "true");
	append_times(&rest, "}", 479);
	check_text(misfit(many_choices(psprintf("{\"$ref\":\"#%s\"}", path.data), 1000, rest.data),
					  NUMBERS), "the check would take too long");
	check_text(misfit(many_choices("{\"$ref\":\"#/d/d/d\"}", 1000, rest.data), NUMBERS), NULL);
}

/* and so does each look at a long name. */
static void
test_name_steps(void)
{
	StringInfoData name;
	StringInfoData object;

	initStringInfo(&name);
	append_times(&name, "k", 50000);
	initStringInfo(&object);
	for (int i = 0; i < 16; i++)
		appendStringInfo(&object, "%c\"%s%x\":0", i > 0 ? ',' : '{', name.data, i);
	appendStringInfoChar(&object, '}');
	check_text(misfit(psprintf("{\"items\":{\"$ref\":\"#/$defs/b\"},\"$defs\":"
							   "{\"r\":{\"required\":[\"%sf\"]},\"b\":%s}", name.data,
							   many_choices("{\"$ref\":\"#/$defs/r\"}", 5000, "") + strlen("{\"items\":")),
					  psprintf("[%s]", object.data)), "the check would take too long");
	check_text(misfit(psprintf("{\"items\":{\"required\":[\"%sf\"],\"properties\":{\"%sf\":{}}}}",
							   name.data, name.data),
					  psprintf("[%s]", object.data)), NULL);
}

static double
seconds_of(const char *schema, const char *answer)
{
	clock_t		start = clock();
	OutputSchema read;
	char	   *problem;

	(void) schema_read(schema, &read);
	(void) schema_answer(&read, answer, &problem);
	return (double) (clock() - start) / CLOCKS_PER_SEC;
}

/* The order of members, and of required names, makes it neither slow nor fast. */
static void
test_killer_order(void)
{
	const char *const schema = "{\"properties\":{\"x\":{}},\"required\":[\"x\"]}";
	const char *const closed = "{\"type\":\"object\",\"properties\":{},\"required\":[%s]}";
	StringInfoData members;
	StringInfoData names;
	StringInfoData sorted;
	double		usual;
	double		worst;

	initStringInfo(&members);
	initStringInfo(&names);
	initStringInfo(&sorted);
	killer_append(&members, "\"%05d\":0");
	killer_append(&names, "\"%05d\"");
	for (int i = 0; i < KILLER_COUNT; i++)
		appendStringInfo(&sorted, "%s\"%05d\":0", i > 0 ? "," : "", i);

	usual = seconds_of(schema, psprintf("{%s}", sorted.data));
	worst = seconds_of(schema, psprintf("{%s}", members.data));
	printf("# %.3f s, %.3f s\n", usual, worst);
	check(worst < 10 * usual);
	worst = seconds_of(psprintf(closed, names.data), "{}");
	printf("# %.3f s\n", worst);
	check(worst < 10 * usual);
}

/* Schemas that would never come to an end. */
static void
test_bounds(void)
{
	check_text(problem_of("{\"$ref\": \"#\"}"), NULL);
	check(misfit("{\"$ref\": \"#\"}", "1") != NULL);
	check(misfit("{\"allOf\": [{\"$ref\": \"#\"}, {\"$ref\": \"#\"}]}", "1") != NULL);
	check(misfit("{\"anyOf\": [{\"$ref\": \"#\"}, {\"$ref\": \"#\"}]}", "1") != NULL);
}

int
main(void)
{
	test_read();
	test_nonsense();
	test_strict();
	test_strict_types();
	test_unread();
	test_answers();
	test_keywords();
	test_large_value();
	test_bounds();
	test_memory();
	test_boolean_steps();
	test_reference_steps();
	test_name_steps();
	test_killer_order();
	test_no_steps_left();
	return unit_done();
}
