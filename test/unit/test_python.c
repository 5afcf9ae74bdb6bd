/*
 * python.c: expected values are what Python 3.11 prints.
 */
#include "core/portable.h"

#include "core/python.h"
#include "unit.h"

static char *
repr(const char *json)
{
	StringInfoData out;

	initStringInfo(&out);
	python_append_repr(&out, json, strlen(json));
	return out.data;
}

static char *
str(const char *json)
{
	StringInfoData out;

	initStringInfo(&out);
	python_append_str(&out, json, strlen(json));
	return out.data;
}

static void
test_values(void)
{
	check_text(repr("{}"), "{}");
	check_text(repr("null"), "None");
	check_text(repr("[true,false , null]"), "[True, False, None]");
	check_text(repr("{\"a\": {\"b\": [1, \"x\"]}, \"c\": []}"),
			   "{'a': {'b': [1, 'x']}, 'c': []}");
	check_text(str("\"it's\""), "it's");
	check_text(str("{\"a\": \"it's\"}"), "{'a': \"it's\"}");
	check_text(str("12"), "12");
}

static void
test_numbers(void)
{
	static const char *const cases[][2] = {
		{"0", "0"}, {"-7", "-7"},
		{"123456789012345678901234567890", "123456789012345678901234567890"},
		{"0.0", "0.0"}, {"1.0", "1.0"}, {"2.50", "2.5"}, {"-12.50", "-12.5"},
		{"100.000", "100.0"}, {"3.14159", "3.14159"},
		{"1000000000000000.0", "1000000000000000.0"},
		{"1e16", "1e+16"}, {"12345678901234567.0", "1.2345678901234568e+16"},
		{"1234567890123456.7", "1234567890123456.8"},
		{"0.0001", "0.0001"}, {"0.00012", "0.00012"},
		{"0.000015", "1.5e-05"}, {"0.0000001", "1e-07"},
		{"1e100", "1e+100"}, {"5e-324", "5e-324"}, {"1e22", "1e+22"},
	};

	for (int i = 0; i < (int) lengthof(cases); i++)
		check_text(repr(cases[i][0]), cases[i][1]);
}

static void
test_strings(void)
{
	check_text(repr("\"\""), "''");
	check_text(repr("\"it's\""), "\"it's\"");
	check_text(repr("\"say \\\"hi\\\"\""), "'say \"hi\"'");
	check_text(repr("\"it's \\\"q\\\"\""), "'it\\'s \"q\"'");
	check_text(repr("\"a\\\\b\\n\\r\\t\""), "'a\\\\b\\n\\r\\t'");
	check_text(repr("\"\\u0007\\u007f\""), "'\\x07\\x7f'");
	check_text(repr("\"é漢\\ud83d\\ude00\""), "'é漢\xf0\x9f\x98\x80'");
	/* no-break space, soft hyphen, zero width space, line separator */
	check_text(repr("\"\\u00a0\\u00ad\\u200b\\u2028\""),
			   "'\\xa0\\xad\\u200b\\u2028'");
	/* private use, a tag character */
	check_text(repr("\"\\ue000\\udb40\\udc41\""), "'\\ue000\\U000e0041'");
}

static void
test_strip(void)
{
	check_text(python_strip(""), "");
	check_text(python_strip(" \n\t "), "");
	check_text(python_strip(" a b \n"), "a b");
	check_text(python_strip("\xc2\xa0x\xe3\x80\x80"), "x");
	check_text(python_strip("\x1f" "é" "\x1c"), "é");
}

int
main(void)
{
	test_values();
	test_numbers();
	test_strings();
	test_strip();
	return unit_done();
}
