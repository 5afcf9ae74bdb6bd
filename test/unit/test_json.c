/*
 * json.c: hostile bytes in, valid UTF-8 and trees out.
 */
#include "core/portable.h"

#include "core/json.h"
#include "unit.h"

#define FFFD "\xef\xbf\xbd"

/* The string in the document ["…"], or NULL when it does not parse. */
static char *
parse_string(const char *inside, size_t length)
{
	StringInfoData text;
	cJSON	   *tree;
	char	   *result = NULL;

	initStringInfo(&text);
	appendStringInfoString(&text, "[\"");
	appendBinaryStringInfo(&text, inside, length);
	appendStringInfoString(&text, "\"]");
	tree = json_parse(text.data, text.len);
	if (tree != NULL)
		result = pstrdup(cJSON_GetStringValue(cJSON_GetArrayItem(tree, 0)));
	json_free(tree);
	return result;
}

#define parse(inside) parse_string(inside, sizeof(inside) - 1)

static bool
parses(const char *text)
{
	cJSON	   *tree = json_parse(text, strlen(text));
	bool		ok = tree != NULL;

	json_free(tree);
	return ok;
}

static void
test_strings(void)
{
	check_text(parse("plain"), "plain");
	check_text(parse(""), "");
	check_text(parse("caf\xc3\xa9 \xf0\x9f\x98\x80"), "caf\xc3\xa9 \xf0\x9f\x98\x80");
	check_text(parse("\\u00e9\\ud83d\\ude00"), "\xc3\xa9\xf0\x9f\x98\x80");

	/* NUL, escaped and raw */
	check_text(parse("a\\u0000b"), "a" FFFD "b");
	check_text(parse("a\0b"), "a" FFFD "b");
	check_text(parse("a\\\\u0000b"), "a\\u0000b");

	/* lone surrogates */
	check_text(parse("a\\ud800b"), "a" FFFD "b");
	check_text(parse("a\\udfffb"), "a" FFFD "b");
	check_text(parse("\\ud800\\ud800\\udc00"), FFFD "\xf0\x90\x80\x80");
	check_text(parse("\\ud83d"), FFFD);
	check_text(parse("\\ud83d\\"), NULL);

	/* invalid UTF-8: a stray byte, a cut character, a surrogate, overlong */
	check_text(parse("a\xff" "b"), "a" FFFD "b");
	check_text(parse("a\xe2\x82"), "a" FFFD FFFD);
	check_text(parse("\xed\xa0\x80"), FFFD FFFD FFFD);
	check_text(parse("\xc0\xaf"), FFFD FFFD);
	check_text(parse("\xf4\x90\x80\x80"), FFFD FFFD FFFD FFFD);

	/* what is no escape */
	check_text(parse("\\u12g4"), FFFD "12g4");
	check_text(parse("\\u123"), FFFD "123");
	check_text(parse("\\u"), FFFD);
	check_text(parse("\\x"), NULL);
	check_text(parse("\\\xc3\xa9"), NULL);
}

/* What can stand for itself does, and is the same to those who read it. */
static void
test_escapes(void)
{
	static const struct
	{
		const char *json;
		const char *scrubbed;
	}			cases[] = {
		{"[\"\\u0073k-\\u0026\\/\"]", "[\"sk-&/\"]"},
		{"[\"\\u4e2d\\u00e9\\ud83d\\ude00\\u0080\"]", "[\"\xe4\xb8\xad\xc3\xa9\xf0\x9f\x98\x80\xc2\x80\"]"},
		{"[\"\\u0022\\u005c\\u005cu0041\"]", "[\"\\\"\\\\\\\\u0041\"]"},
		{"[\"\\\\u0041\\\\/\"]", "[\"\\\\u0041\\\\/\"]"},
		{"[\"\\n\\u000a\\u001f\\u007f\\b\"]", "[\"\\n\\u000a\\u001f\\u007f\\b\"]"},
		{"[\"\\u0000\\ud800\\udc00x\\udc00\\ud800\"]", "[\"" FFFD "\xf0\x90\x80\x80x" FFFD FFFD "\"]"},
	};

	for (int i = 0; i < (int) lengthof(cases); i++)
	{
		const char *json = cases[i].json;
		char	   *scrubbed = json_scrub(json, strlen(json));
		cJSON	   *tree = json_parse(json, strlen(json));
		cJSON	   *same = cJSON_Parse(scrubbed);

		check_text(scrubbed, cases[i].scrubbed);
		check_text(json_scrub(scrubbed, strlen(scrubbed)), scrubbed);
		check(cJSON_Compare(tree, same, true));
		json_free(tree);
		cJSON_Delete(same);
	}
}

static void
test_documents(void)
{
	StringInfoData deep;

	check(parses("{}"));
	check(parses("\n\n \t{\"a\": 1}\n"));
	check(!parses(""));
	check(!parses("   "));
	check(!parses("{} x"));
	check(!parses("{}{}"));
	check(!parses("<html>"));
	check(!parses("{\"a\": "));

	initStringInfo(&deep);
	for (int i = 0; i < 2000; i++)
		appendStringInfoChar(&deep, '[');
	for (int i = 0; i < 2000; i++)
		appendStringInfoChar(&deep, ']');
	check(!parses(deep.data));
}

/* A number of so many digits, the point after the first of them, or at the end. */
static char *
number(int digits, bool point)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < digits; i++)
		appendStringInfoString(&out, i == 1 && point ? ".1" : "1");
	return out.data;
}

/* So many arrays, one in the other. */
static char *
nested(int depth)
{
	return psprintf("%.*s%.*s", depth, (char *) memset(palloc(depth), '[', depth),
					depth, (char *) memset(palloc(depth), ']', depth));
}

/* JSON that is too deep for a stack. */
static void
test_depth(void)
{
	check(json_is_jsonb(nested(CJSON_NESTING_LIMIT)));
	check(!json_is_jsonb(nested(CJSON_NESTING_LIMIT + 1)));
	check(!json_is_jsonb(nested(1000000)));
	check(!json_is_jsonb("]"));
}

/* Numbers that are JSON, but too much for a numeric. */
static void
test_numbers(void)
{
	static const char *const exponents[] = {
		"1e-99999999999999999999", "1e99999999999999999999", "1e-1000", "-1E+1000", "0e1000",
		"1e-9223372036854775808", "1e9223372036854775807", "0.1e-2147483648"
	};
	StringInfoData zeros;

	for (int i = 0; i < (int) lengthof(exponents); i++)
	{
		check(!json_is_jsonb(exponents[i]));
		check(!json_is_jsonb(psprintf("{\"a\":[0,%s ]}", exponents[i])));
	}
	check(json_is_jsonb("[1e-999,1E+999,0.0,-1,\"1e-99999\"]"));
	/* what jsonb writes is in proportion to what it was */
	initStringInfo(&zeros);
	for (int i = 0; i < 200; i++)
		appendStringInfo(&zeros, "%c1e%s999", i == 0 ? '[' : ',', i % 2 ? "-" : "");
	check(!json_is_jsonb(psprintf("%s]", zeros.data)));
	zeros.data[60 * 6] = '\0';
	check(json_is_jsonb(psprintf("%s0]", zeros.data)));
	check(json_is_jsonb(number(1000, false)));
	check(!json_is_jsonb(number(1001, false)));
	check(!json_is_jsonb(number(140000, false)));
	check(!json_is_jsonb(number(40000, true)));
	/* the exponent of another one */
	check(json_is_jsonb("[1,{\"e\":2},\"e9999\"]"));
}

/* An object of so many members, or that of an object within one. */
static char *
members(int count, const char *around)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < count; i++)
		appendStringInfo(&out, "%s\"a:%d\" : {\":\":[\":{\"]}", i > 0 ? "," : "", i);
	return psprintf(around, out.data);
}

/* What jsonb might take very long to sort. */
static void
test_large_objects(void)
{
	static const char *const around[] = {
		"{%s}", " [1, {%s}]", "{\"b\":{%s}}", "[{\"b\":{}},{%s},{}]"
	};
	StringInfoData deep;

	for (int i = 0; i < (int) lengthof(around); i++)
	{
		check(!json_has_large_object(members(JSON_MAX_MEMBERS, around[i])));
		check(json_has_large_object(members(JSON_MAX_MEMBERS + 1, around[i])));
	}
	check(!json_has_large_object(psprintf("[%s,%s]", members(JSON_MAX_MEMBERS, "{%s}"),
										  members(JSON_MAX_MEMBERS, "{%s}"))));
	initStringInfo(&deep);
	for (int i = 0; i < CJSON_NESTING_LIMIT; i++)
		appendStringInfoString(&deep, "{\"\":");
	check(!json_has_large_object(deep.data));
	appendStringInfoChar(&deep, '{');
	check(json_has_large_object(deep.data));
}

static void
test_members(void)
{
	const char *text = "{\"s\": \"x\", \"n\": 9007199254740991, \"big\": 1e300,"
		"\"neg\": -5, \"null\": null, \"S\": \"other\", \"o\": {\"k\": 2}}";
	cJSON	   *tree = json_parse(text, strlen(text));

	check_text(json_string(tree, "s"), "x");
	check_text(json_string(tree, "S"), "other");
	check_text(json_string(tree, "n"), NULL);
	check_text(json_string(tree, "none"), NULL);
	check_text(json_string(NULL, "s"), NULL);
	check(json_int64(tree, "n") == INT64CONST(9007199254740991));
	check(json_int64(tree, "neg") == -5);
	check(json_int64(tree, "big") == 0);
	check(json_int64(tree, "s") == 0);
	check(json_int64(tree, "none") == 0);
	check(json_int64(NULL, "n") == 0);
	json_free(tree);
}

static void
test_writing(void)
{
	StringInfoData out;

	initStringInfo(&out);
	json_append_string(&out, "a\"b\\c\nd\re\tf\x01g\x7fh\xc3\xa9");
	check_text(out.data,
			   "\"a\\\"b\\\\c\\nd\\re\\tf\\u0001g\\u007fh\xc3\xa9\"");

	resetStringInfo(&out);
	appendStringInfoChar(&out, '{');
	json_append_key(&out, "a");
	appendStringInfoChar(&out, '1');
	json_append_key(&out, "b");
	appendStringInfoString(&out, "{}}");
	check_text(out.data, "{\"a\":1,\"b\":{}}");

	check_text(text_scrub("a\0b\xff", 4), "a" FFFD "b" FFFD);
	check_text(text_scrub("a\\u0000", 7), "a\\u0000");
	check_text(text_scrub("", 0), "");
}

int
main(void)
{
	test_strings();
	test_escapes();
	test_documents();
	test_numbers();
	test_depth();
	test_large_objects();
	test_members();
	test_writing();
	return unit_done();
}
