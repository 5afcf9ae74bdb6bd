/*-------------------------------------------------------------------------
 *
 * python.c
 *	  Values as Python prints them.
 *
 * Agno puts the session state into prompts with Python's str() and repr(), so
 * agno_bg does the same, byte for byte. One thing differs: a code point that
 * Unicode has not assigned is printed as it is, where Python escapes it.
 *
 * Pure. Reads JSON that is known to be valid.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include <ctype.h>

#include "common/shortest_dec.h"
#include "core/json.h"
#include "core/python.h"
#include "mb/pg_wchar.h"

/*
 * What repr() escapes beyond ASCII: controls, format characters, separators,
 * private use and noncharacters.
 */
static const struct
{
	pg_wchar	first;
	pg_wchar	last;
}			unprintable[] = {
	{0x0080, 0x00a0},
	{0x00ad, 0x00ad},
	{0x0600, 0x0605},
	{0x061c, 0x061c},
	{0x06dd, 0x06dd},
	{0x070f, 0x070f},
	{0x0890, 0x0891},
	{0x08e2, 0x08e2},
	{0x1680, 0x1680},
	{0x180e, 0x180e},
	{0x2000, 0x200f},
	{0x2028, 0x202f},
	{0x205f, 0x2064},
	{0x2066, 0x206f},
	{0x3000, 0x3000},
	{0xe000, 0xf8ff},
	{0xfeff, 0xfeff},
	{0xfff9, 0xfffb},
	{0xfffe, 0xffff},
	{0x110bd, 0x110bd},
	{0x110cd, 0x110cd},
	{0x13430, 0x13438},
	{0x1bca0, 0x1bca3},
	{0x1d173, 0x1d17a},
	{0x1fffe, 0x1ffff},
	{0x2fffe, 0x2ffff},
	{0x3fffe, 0x3ffff},
	{0x4fffe, 0x4ffff},
	{0x5fffe, 0x5ffff},
	{0x6fffe, 0x6ffff},
	{0x7fffe, 0x7ffff},
	{0x8fffe, 0x8ffff},
	{0x9fffe, 0x9ffff},
	{0xafffe, 0xaffff},
	{0xbfffe, 0xbffff},
	{0xcfffe, 0xcffff},
	{0xdfffe, 0xdffff},
	{0xe0001, 0xe0001},
	{0xe0020, 0xe007f},
	{0xefffe, 0x10ffff},
};

static bool
is_printable(pg_wchar c)
{
	for (int i = 0; i < (int) lengthof(unprintable); i++)
	{
		if (c <= unprintable[i].last)
			return c < unprintable[i].first;
	}
	return true;
}

/*
 * repr() of a str: in single quotation marks, unless there are some within it
 * and no double ones.
 */
static void
append_string_repr(StringInfo out, const char *string)
{
	char		quote = strchr(string, '\'') != NULL &&
		strchr(string, '"') == NULL ? '"' : '\'';

	appendStringInfoChar(out, quote);
	for (const char *at = string; *at != '\0';)
	{
		int			length = pg_utf_mblen((const unsigned char *) at);
		pg_wchar	c = utf8_to_unicode((const unsigned char *) at);

		if (c == (pg_wchar) quote || c == '\\')
			appendStringInfo(out, "\\%c", (char) c);
		else if (c == '\n')
			appendStringInfoString(out, "\\n");
		else if (c == '\r')
			appendStringInfoString(out, "\\r");
		else if (c == '\t')
			appendStringInfoString(out, "\\t");
		else if (c < ' ' || c == 0x7f || !is_printable(c))
			appendStringInfo(out, c < 0x100 ? "\\x%02x" :
							 c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
		else
			appendBinaryStringInfo(out, at, length);
		at += length;
	}
	appendStringInfoChar(out, quote);
}

/*
 * repr() of a float: the fewest digits that read back as the same number,
 * with an exponent below 1e-4 and from 1e16 on.
 */
static void
append_float_repr(StringInfo out, double number)
{
	char		shortest[DOUBLE_SHORTEST_DECIMAL_LEN];
	char		digits[DOUBLE_SHORTEST_DECIMAL_LEN];
	int			count = 0;
	int			point = 0;		/* the decimal point is after this many digits */
	int			exponent = 0;
	bool		after_point = false;

	double_to_shortest_decimal_buf(number, shortest);
	for (const char *at = shortest; *at != '\0'; at++)
	{
		if (*at == '-')
			appendStringInfoChar(out, '-');
		else if (*at == 'e')
		{
			exponent = atoi(at + 1);
			break;
		}
		else if (*at == '.')
			after_point = true;
		else if (!isdigit((unsigned char) *at))
		{
			/* inf */
			appendStringInfoString(out, "inf");
			return;
		}
		else
		{
			if (*at != '0' || count > 0)
				digits[count++] = *at;
			if (!after_point && count > 0)
				point++;
			else if (after_point && count == 0)
				point--;
		}
	}
	while (count > 1 && digits[count - 1] == '0')
		count--;
	if (count == 0)
	{
		appendStringInfoString(out, "0.0");
		return;
	}
	point += exponent;

	if (point > 16 || point < -3)
	{
		appendStringInfoChar(out, digits[0]);
		if (count > 1)
			appendStringInfo(out, ".%.*s", count - 1, digits + 1);
		appendStringInfo(out, "e%c%02d", point > 0 ? '+' : '-',
						 abs(point - 1));
	}
	else if (point <= 0)
	{
		appendStringInfoString(out, "0.");
		for (int i = point; i < 0; i++)
			appendStringInfoChar(out, '0');
		appendBinaryStringInfo(out, digits, count);
	}
	else
	{
		for (int i = 0; i < Max(point, count); i++)
		{
			if (i == point)
				appendStringInfoChar(out, '.');
			appendStringInfoChar(out, i < count ? digits[i] : '0');
		}
		if (count <= point)
			appendStringInfoString(out, ".0");
	}
}

/*
 * A number of JSON is an int in Python unless it has a fraction or an
 * exponent. An int keeps all its digits.
 */
static void
append_number_repr(StringInfo out, const char *number, size_t length)
{
	char	   *copy = pnstrdup(number, length);

	if (strpbrk(copy, ".eE") != NULL)
		append_float_repr(out, strtod(copy, NULL));
	else
		appendStringInfoString(out, copy);
	pfree(copy);
}

/*
 * Append repr() of what Python makes of a JSON value: dict, list, str, int,
 * float, bool and None.
 */
void
python_append_repr(StringInfo out, const char *json, size_t length)
{
	const char *end = json + length;

	for (const char *at = json; at < end;)
	{
		const char *next = at + 1;
		char	   *string;

		switch (*at)
		{
			case ' ':
			case '\t':
			case '\r':
			case '\n':
				break;
			case ',':
			case ':':
				appendStringInfo(out, "%c ", *at);
				break;
			case '{':
			case '}':
			case '[':
			case ']':
				appendStringInfoChar(out, *at);
				break;
			case '"':
				next = json_skip_value(at);
				string = json_decode_string(at, next - at);
				append_string_repr(out, string);
				pfree(string);
				break;
			case 't':
				next = json_skip_value(at);
				appendStringInfoString(out, "True");
				break;
			case 'f':
				next = json_skip_value(at);
				appendStringInfoString(out, "False");
				break;
			case 'n':
				next = json_skip_value(at);
				appendStringInfoString(out, "None");
				break;
			default:
				next = Max(json_skip_value(at), at + 1);
				append_number_repr(out, at, next - at);
				break;
		}
		at = next;
	}
}

/*
 * Append str() of it: a str as it is, anything else as repr() prints it.
 */
void
python_append_str(StringInfo out, const char *json, size_t length)
{
	char	   *string;

	if (length == 0 || *json != '"')
	{
		python_append_repr(out, json, length);
		return;
	}
	string = json_decode_string(json, length);
	appendStringInfoString(out, string);
	pfree(string);
}

/*
 * Whether str.strip() takes the character away.
 */
static bool
is_space(pg_wchar c)
{
	return (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= ' ') ||
		c == 0x85 || c == 0xa0 || c == 0x1680 ||
		(c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
		c == 0x202f || c == 0x205f || c == 0x3000;
}

/*
 * str.strip(): a copy of the string without white space around it.
 */
char *
python_strip(const char *string)
{
	const char *start = NULL;
	const char *end = string;

	for (const char *at = string; *at != '\0';)
	{
		int			length = pg_utf_mblen((const unsigned char *) at);

		if (!is_space(utf8_to_unicode((const unsigned char *) at)))
		{
			if (start == NULL)
				start = at;
			end = at + length;
		}
		at += length;
	}
	return start != NULL ? pnstrdup(start, end - start) : pstrdup("");
}
