/*-------------------------------------------------------------------------
 *
 * json.c
 *	  Reading and writing JSON that goes over the network.
 *
 * Pure. cJSON reads, but three things it must never see: it cuts a string at
 * an escaped NUL, it refuses a document with a lone surrogate, and it lets
 * invalid UTF-8 through. All of them become U+FFFD before it starts. It
 * bounds the depth itself (CJSON_NESTING_LIMIT, 1000 levels).
 *
 * cJSON also rounds large numbers, so a tree is only ever read and never
 * printed: what is stored is built from its strings with the writers below, or
 * found in the document by walking over it. Whoever walks must find what cJSON has
 * found, so both take the same bytes for white space, and a byte order mark, which
 * cJSON skips, is dropped before.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include <math.h>

#include "common/jsonapi.h"
#include "core/json.h"
#include "mb/pg_wchar.h"
#ifndef FRONTEND
#include "utils/memutils.h"
#endif

/* How many characters a number for jsonb may have, and its exponent's bound. */
#define MAX_NUMBER 1000
#define MAX_EXPONENT 1000

/*
 * How much longer jsonb may write a document, for the exponents of its numbers, than
 * twice what it was.
 */
#define MAX_ZEROS 65536

/* A byte order mark, U+FEFF. */
#define BOM "\xef\xbb\xbf"

/* U+FFFD. */
#define REPLACEMENT "\xef\xbf\xbd"

/*
 * The length of the valid UTF-8 character at the start of bytes, or 0 when
 * there is none. A NUL is no valid character here.
 */
static int
valid_character(const unsigned char *bytes, size_t length)
{
	int			expected;

	if (*bytes == '\0')
		return 0;
	if (*bytes < 0x80)
		return 1;
	expected = pg_utf_mblen(bytes);
	if (expected < 2 || (size_t) expected > length ||
		!pg_utf8_islegal(bytes, expected))
		return 0;
	return expected;
}

/*
 * Read the four hexadecimal digits of \uXXXX. Returns -1 when they are none.
 */
static int
escaped_code_unit(const char *bytes, size_t length)
{
	int			unit = 0;

	if (length < 6 || bytes[0] != '\\' || bytes[1] != 'u')
		return -1;
	for (int i = 2; i < 6; i++)
	{
		char		c = bytes[i];

		unit <<= 4;
		if (c >= '0' && c <= '9')
			unit |= c - '0';
		else if (c >= 'a' && c <= 'f')
			unit |= c - 'a' + 10;
		else if (c >= 'A' && c <= 'F')
			unit |= c - 'A' + 10;
		else
			return -1;
	}
	return unit;
}

/*
 * Whether this is a character of ASCII, and not NUL; char may be signed or not.
 */
static bool
is_ascii(char c)
{
	return c != '\0' && (unsigned char) c < 0x80;
}

static void
append_character(StringInfo out, pg_wchar character)
{
	unsigned char utf8[5] = {0};

	unicode_to_utf8(character, utf8);
	appendStringInfoString(out, (char *) utf8);
}

/*
 * Copy the escape at the start of bytes to out, and return how many bytes it took.
 * What can stand for itself does: whoever looks for a text, such as a key, finds it,
 * and databases of all encodings know what to do about it. The others are made
 * harmless.
 */
static size_t
copy_escape(StringInfo out, const char *bytes, size_t length)
{
	int			unit = escaped_code_unit(bytes, length);
	bool		high = unit >= 0xd800 && unit <= 0xdbff;
	bool		low = unit >= 0xdc00 && unit <= 0xdfff;
	int			next = high ?
		escaped_code_unit(bytes + 6, length - 6) : -1;

	if (unit < 0 && length > 1 && bytes[1] == 'u')
	{
		/* cJSON takes this for an escaped NUL. */
		appendStringInfoString(out, REPLACEMENT);
		return 2;
	}
	if (unit < 0)
	{
		/* Take \\ and \" as one, so that \\u0000 is not misread. */
		size_t		taken = length > 1 && is_ascii(bytes[1]) ? 2 : 1;

		if (taken == 2 && bytes[1] == '/')
			appendStringInfoChar(out, '/');
		else
			appendBinaryStringInfo(out, bytes, taken);
		return taken;
	}

	if (next >= 0xdc00 && next <= 0xdfff)
	{
		append_character(out, surrogate_pair_to_codepoint(unit, next));
		return 12;
	}
	if (unit == 0 || high || low)
		appendStringInfoString(out, REPLACEMENT);
	else if (unit < 0x20 || unit == 0x7f)
		appendBinaryStringInfo(out, bytes, 6);
	else
	{
		if (unit == '"' || unit == '\\')
			appendStringInfoChar(out, '\\');
		append_character(out, unit);
	}
	return 6;
}

/*
 * Append bytes to out as valid UTF-8 without NUL. With escapes, those of JSON
 * are made harmless as well, and byte order marks at the start are dropped.
 */
static void
scrub(StringInfo out, const char *bytes, size_t length, bool escapes)
{
	size_t		done = 0;

	while (escapes && length - done >= strlen(BOM) &&
		   memcmp(bytes + done, BOM, strlen(BOM)) == 0)
		done += strlen(BOM);
	while (done < length)
	{
		const char *at = bytes + done;
		size_t		left = length - done;
		size_t		run = 0;
		int			size;

		/* Most bytes are plain ASCII: copy them in one go. */
		while (run < left && is_ascii(at[run]) && !(escapes && at[run] == '\\'))
			run++;
		if (run > 0)
		{
			appendBinaryStringInfo(out, at, run);
			done += run;
			continue;
		}

		if (escapes && *at == '\\')
		{
			done += copy_escape(out, at, left);
			continue;
		}

		size = valid_character((const unsigned char *) at, left);
		if (size > 0)
			appendBinaryStringInfo(out, at, size);
		else
			appendStringInfoString(out, REPLACEMENT);
		done += Max(size, 1);
	}
}

/*
 * Begin a string that will be about so long. Documents are many, most of them are
 * short, and what their bytes become may be kept: it takes no more than they do.
 */
static void
init_string(StringInfo out, size_t length)
{
	out->data = palloc(length + 1);
	out->maxlen = (int) length + 1;
	resetStringInfo(out);
}

/*
 * Any bytes as valid UTF-8 without NUL, in palloc'd memory.
 */
char *
text_scrub(const char *bytes, size_t length)
{
	StringInfoData out;

	init_string(&out, length);
	scrub(&out, bytes, length, false);
	return out.data;
}

/*
 * A JSON document as valid UTF-8 without anything that json_parse() or a datum
 * would mind, in palloc'd memory.
 */
char *
json_scrub(const char *bytes, size_t length)
{
	StringInfoData out;

	init_string(&out, length);
	scrub(&out, bytes, length, true);
	return out.data;
}

#ifndef FRONTEND

/* Memory for a tree has run out. */
static bool out_of_memory;

static void *
allocate(size_t size)
{
	void	   *memory = palloc_extended(size, MCXT_ALLOC_HUGE |
										 MCXT_ALLOC_NO_OOM);

	out_of_memory |= memory == NULL;
	return memory;
}

/*
 * Let cJSON build a tree in a memory context of its own, below the current one: an error
 * takes it along. cJSON is left as it was, since others in this process may use it; so no
 * error may leave it.
 */
static cJSON *
parse(const char *text, size_t size)
{
	cJSON_Hooks hooks = {.malloc_fn = allocate,.free_fn = pfree};
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "agno_bg JSON",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	cJSON	   *tree;

	out_of_memory = false;
	cJSON_InitHooks(&hooks);
	tree = cJSON_ParseWithLengthOpts(text, size, NULL, true);
	cJSON_InitHooks(NULL);
	MemoryContextSwitchTo(old);
	if (tree == NULL)
		MemoryContextDelete(context);
	if (out_of_memory)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	return tree;
}

/*
 * Let go of a tree of json_parse(), or of NULL.
 */
void
json_free(cJSON *tree)
{
	if (tree != NULL)
		MemoryContextDelete(GetMemoryChunkContext(tree));
}
#else

static cJSON *
parse(const char *text, size_t size)
{
	return cJSON_ParseWithLengthOpts(text, size, NULL, true);
}

void
json_free(cJSON *tree)
{
	cJSON_Delete(tree);
}
#endif

/*
 * Parse one JSON document that fills all the bytes but white space. Returns
 * NULL when it is none or nests too deep. The caller calls json_free(), as soon as it can;
 * what it does not let go of lives as long as the current memory context.
 */
cJSON *
json_parse(const char *bytes, size_t length)
{
	StringInfoData text;
	cJSON	   *tree;

	init_string(&text, length);
	scrub(&text, bytes, length, true);

	/* The length includes the NUL, which cJSON is to find at the end. */
	tree = parse(text.data, text.len + 1);
	pfree(text.data);
	return tree;
}

/*
 * The member called name when it is a string, else NULL. The string lives as
 * long as the tree.
 */
const char *
json_string(const cJSON *object, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

/*
 * A copy of it, or NULL.
 */
char *
json_copy_string(const cJSON *object, const char *name)
{
	const char *value = json_string(object, name);

	return value != NULL ? pstrdup(value) : NULL;
}

/*
 * The member called name when it is a number that an int64 holds, else 0.
 */
int64
json_int64(const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	if (!cJSON_IsNumber(item) || !(fabs(item->valuedouble) < 9.0e18))
		return 0;
	return (int64) item->valuedouble;
}

/*
 * The member called name when it is a finite number, else 0.
 */
double
json_double(const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	return cJSON_IsNumber(item) && isfinite(item->valuedouble) ?
		item->valuedouble : 0;
}

/*-------------------------------------------------------------------------
 * Walking
 *-------------------------------------------------------------------------
 */

/*
 * Whether this is white space as cJSON has it, which is lenient.
 */
static bool
is_space(char c)
{
	return c != '\0' && (unsigned char) c <= ' ';
}

static const char *
skip_space(const char *at)
{
	while (is_space(*at))
		at++;
	return at;
}

/*
 * Where a number, or a word such as null, ends.
 */
static const char *
skip_scalar(const char *at)
{
	while (*at != '\0' && !is_space(*at) && *at != ',' && *at != ']' &&
		   *at != '}')
		at++;
	return at;
}

static const char *
skip_string(const char *at)
{
	for (at++; *at != '"' && *at != '\0'; at++)
	{
		if (*at == '\\' && at[1] != '\0')
			at++;
	}
	return *at == '"' ? at + 1 : at;
}

/*
 * Where the value ends that starts at or after this place.
 */
const char *
json_skip_value(const char *at)
{
	int			depth = 0;

	at = skip_space(at);
	do
	{
		switch (*at)
		{
			case '\0':
				return at;
			case '"':
				at = skip_string(at);
				break;
			case '{':
			case '[':
				depth++;
				at++;
				break;
			case '}':
			case ']':
				depth--;
				at++;
				break;
			default:
				if (depth > 0)
					at++;
				else
					at = skip_scalar(at);
				break;
		}
	} while (depth > 0);
	return at;
}

/*
 * Step through the members of an object: *at is where the object starts at
 * first, and advances. False when there are no more.
 */
bool
json_next_member(const char **at, JsonMember *member)
{
	const char *key = skip_space(*at);
	const char *end;

	if (*key == '{' || *key == ',')
		key = skip_space(key + 1);
	if (*key != '"')
		return false;
	end = skip_string(key);
	member->key = json_decode_string(key, end - key);
	end = skip_space(end);
	if (*end == ':')
		end = skip_space(end + 1);
	member->value = end;
	end = json_skip_value(end);
	member->value_length = end - member->value;
	*at = skip_space(end);
	return true;
}

/*
 * Find the first member of this name in an object, from here on if it has been
 * stepped through. False if there is none; NULL has none.
 */
bool
json_find_member(const char *object, const char *name, JsonMember *member)
{
	while (object != NULL && json_next_member(&object, member))
	{
		if (strcmp(member->key, name) == 0)
			return true;
		pfree(member->key);
	}
	return false;
}

bool
json_has_member(const char *object, const char *name)
{
	JsonMember	member;

	return json_find_member(object, name, &member);
}

/*
 * The value of that member as it is written, in palloc'd memory; NULL: there is
 * none.
 */
char *
json_raw_member(const char *object, const char *name)
{
	JsonMember	member;

	return json_find_member(object, name, &member) ?
		pnstrdup(member.value, member.value_length) : NULL;
}

/*
 * Step to the next element of an array: *at is where the array starts at first,
 * then where the last element has ended, and becomes where the next one starts.
 * False when there are no more.
 */
bool
json_next_element(const char **at)
{
	const char *next;

	if (*at == NULL)
		return false;
	next = skip_space(*at);
	if (*next == '[' || *next == ',')
		next = skip_space(next + 1);
	else
		return false;
	if (*next == ']' || *next == '\0')
		return false;
	*at = next;
	return true;
}

/*
 * The text of a JSON string in its quotation marks.
 */
char *
json_decode_string(const char *value, size_t length)
{
	cJSON	   *tree;
	const char *decoded;
	char	   *result;

	/* Most have no escape in them. */
	if (length >= 2 && memchr(value, '\\', length) == NULL)
		return text_scrub(value + 1, length - 2);

	tree = json_parse(value, length);
	decoded = cJSON_GetStringValue(tree);
	result = pstrdup(decoded != NULL ? decoded : "");
	json_free(tree);
	return result;
}

/*
 * Whether a number, from its first digit up to its end, can be a numeric of
 * PostgreSQL, whose digits before and after the point, and exponents, have limits.
 * *zeros is increased by how many digits jsonb may write for its exponent.
 */
static bool
number_fits(const char *number, const char *end, size_t *zeros)
{
	const char *e = number;
	long		exponent;

	if (end - number > MAX_NUMBER)
		return false;
	while (e < end && *e != 'e' && *e != 'E')
		e++;
	exponent = e < end ? strtol(e + 1, NULL, 10) : 0;
	if (exponent <= -MAX_EXPONENT || exponent >= MAX_EXPONENT)
		return false;
	*zeros += labs(exponent);
	return true;
}

/*
 * Whether the type jsonb takes this document, which is scrubbed UTF-8. One that nests
 * deeper than cJSON reads is refused, before it is too deep for the stack.
 */
bool
json_is_jsonb(const char *document)
{
	JsonLexContext *lex;
	bool		valid = true;
	size_t		zeros = 0;
	int			depth = 0;

	for (const char *at = document; valid && *at != '\0';)
	{
		if (*at == '"')
			at = skip_string(at);
		else if (*at >= '0' && *at <= '9')
		{
			const char *end = skip_scalar(at);

			valid = number_fits(at, end, &zeros);
			at = end;
		}
		else
		{
			if (*at == '{' || *at == '[')
				valid = ++depth <= CJSON_NESTING_LIMIT;
			else if (*at == '}' || *at == ']')
				depth--;
			at++;
		}
	}
	if (!valid || zeros > strlen(document) + MAX_ZEROS)
		return false;

#if PG_VERSION_NUM >= 170000
	lex = makeJsonLexContextCstringLen(NULL, document, strlen(document),
									   PG_UTF8, true);
#else
	lex = makeJsonLexContextCstringLen(unconstify(char *, document),
									   strlen(document), PG_UTF8, true);
#endif
	return pg_parse_json(lex, &nullSemAction) == JSON_SUCCESS;
}

/*
 * Whether an object in a document, which is valid JSON, has so many members that
 * jsonb may take very long to sort them; or is so deep in it that cJSON would not
 * find it.
 */
bool
json_has_large_object(const char *document)
{
	int			members[CJSON_NESTING_LIMIT + 1] = {0};
	int			depth = 0;

	for (const char *at = document; *at != '\0';)
	{
		if (*at == '"')
		{
			at = skip_string(at);
			continue;
		}
		if (*at == '{')
		{
			if (depth == CJSON_NESTING_LIMIT)
				return true;
			members[++depth] = 0;
		}
		else if (*at == '}' && depth > 0)
			depth--;
		else if (*at == ':' && ++members[depth] > JSON_MAX_MEMBERS)
			return true;
		at++;
	}
	return false;
}

/*-------------------------------------------------------------------------
 * Writing
 *-------------------------------------------------------------------------
 */

/*
 * Append a character that a string cannot have as it is.
 */
static void
append_escaped(StringInfo out, unsigned char c)
{
	static const char digits[] = "0123456789abcdef";
	char		escape[] = "\\u0000";

	switch (c)
	{
		case '"':
			appendStringInfoString(out, "\\\"");
			break;
		case '\\':
			appendStringInfoString(out, "\\\\");
			break;
		case '\n':
			appendStringInfoString(out, "\\n");
			break;
		case '\r':
			appendStringInfoString(out, "\\r");
			break;
		case '\t':
			appendStringInfoString(out, "\\t");
			break;
		default:
			/* There may be very many: a format would take ten times as long. */
			escape[4] = digits[c >> 4];
			escape[5] = digits[c & 0x0f];
			appendBinaryStringInfo(out, escape, 6);
			break;
	}
}

/*
 * Append text, which is valid UTF-8, as a JSON string.
 */
void
json_append_string(StringInfo out, const char *text)
{
	const char *plain = text;

	appendStringInfoCharMacro(out, '"');
	for (const char *at = text;; at++)
	{
		unsigned char c = (unsigned char) *at;

		if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)
			continue;

		appendBinaryStringInfo(out, plain, at - plain);
		plain = at + 1;
		if (c == '\0')
			break;
		append_escaped(out, c);
	}
	appendStringInfoCharMacro(out, '"');
}

/*
 * Append the key of the next member of an object, with the comma before it
 * unless it is the first.
 */
void
json_append_key(StringInfo out, const char *name)
{
	if (out->len > 0 && out->data[out->len - 1] != '{')
		appendStringInfoCharMacro(out, ',');
	json_append_string(out, name);
	appendStringInfoCharMacro(out, ':');
}

/*
 * Append a member that is a string, unless value is NULL.
 */
void
json_append_member(StringInfo out, const char *name, const char *value)
{
	if (value == NULL)
		return;
	json_append_key(out, name);
	json_append_string(out, value);
}
