/*-------------------------------------------------------------------------
 *
 * log_filter.c
 *	  Keeps API keys out of the server's log and of pg_stat_activity, and shows a
 *	  way out.
 *
 * A key comes into the server in one way only: in a CREATE or ALTER USER
 * MAPPING, or in a CREATE or ALTER SERVER by mistake. PostgreSQL logs
 * statements, as it is told to by log_statement and its like, and with each
 * error; so a statement that sets a key is replaced in the log by a note, and
 * the key itself is cut out of whatever else is said about the statement, also
 * to the client, who knows it. pg_stat_activity, which keeps the last statement of a
 * session that rests, shows a note instead once the statement is executed or fails.
 * What is put together of pieces within a function cannot be seen here.
 *
 * Whoever may not call a function of agno_bg is told what would help.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "access/xact.h"
#include "lib/stringinfo.h"
#include "pgstat.h"
#include "sql/log_filter.h"
#include "tcop/tcopprot.h"
#include "utils/elog.h"
#include "utils/memutils.h"

#define NOTE "(a statement that sets an API key is not logged)"
#define ACTIVITY_NOTE "(a statement that sets an API key is not shown)"

/* What is shown in place of a key. */
#define HIDDEN "***"

/* A key may be said in passing if it is shorter than this. */
#define SHORTEST_KEY 4

/* Of a statement that sets more keys, nothing is said. */
#define MOST_OPTIONS 20

/* What a name begins with whose letters are written as numbers: it may be any. */
#define ESCAPED_NAME "u&\""

/*
 * The name of an option that holds a key begins like this, or so with a slip of
 * the pen.
 */
static const char *const key_options[] = {"api_k", "apik", "api-k", ESCAPED_NAME};

/* Their first characters, and their second ones, in either case. */
#define FIRST_OF_OPTIONS "aAuU"
#define SECOND_OF_OPTIONS "pP&"

/* Where the keys are that a statement sets. */
typedef struct StatementKeys
{
	int			count;			/* -1: that is hard to say */
	const char *values[MOST_OPTIONS];	/* in the statement */
	size_t		lengths[MOST_OPTIONS];	/* in bytes */
} StatementKeys;

static emit_log_hook_type previous_hook;

/*
 * Where string has the word in it, in whatever case; word is in lower case.
 */
static const char *
find_word(const char *string, const char *word)
{
	size_t		length = strlen(word);

	for (; *string != '\0'; string++)
	{
		if (pg_strncasecmp(string, word, length) == 0)
			return string;
	}
	return NULL;
}

/*
 * The first option of string that is to hold a key, or NULL. Nobody can interrupt this,
 * and string may be very long.
 */
static const char *
find_key_option(const char *string)
{
	while ((string = strpbrk(string, FIRST_OF_OPTIONS)) != NULL)
	{
		const char *second = string + 1;

		if (*second == '\0' || strchr(SECOND_OF_OPTIONS, *second) == NULL)
		{
			string = second;
			continue;
		}
		for (int i = 0; i < (int) lengthof(key_options); i++)
		{
			if (pg_strncasecmp(string, key_options[i],
							   strlen(key_options[i])) == 0)
				return string;
		}
		string = second;
	}
	return NULL;
}

/*
 * Whether string is, or contains, a statement that sets a key. The words may
 * have anything between them. A slip in the name of the option is no excuse.
 */
static bool
sets_key(const char *string)
{
	return string != NULL && find_key_option(string) != NULL &&
		find_word(string, "options") != NULL &&
		(find_word(string, "mapping") != NULL ||
		 find_word(string, "server") != NULL ||
		 find_word(string, "wrapper") != NULL);
}

/*
 * The value that is given to the option whose name is at this place, however it
 * is quoted; its length is 0 if there is none.
 */
static const char *
find_value(const char *option, size_t *length)
{
	const char *at = option;
	const char *end;

	while (isalnum((unsigned char) *at) || *at == '_' || *at == '"')
		at++;
	at += strspn(at, " \t\r\n=:,(");
	while (strchr("EeUu&", *at) != NULL && *at != '\0' &&
		   (at[1] == '\'' || at[1] == '&'))
		at++;
	if (*at == '$')
	{
		const char *tag_end = strchr(at + 1, '$');

		if (tag_end != NULL)
			at = tag_end + 1;
		end = strchr(at, '$');
	}
	else
	{
		at += strspn(at, "'\"");
		end = strpbrk(at, "'\"");
	}
	*length = end != NULL ? (size_t) (end - at) : strlen(at);
	return at;
}

/*
 * Cut the value out of *string, which the error frees. Nobody can interrupt this:
 * it must not take long, nor much memory.
 */
static void
cut(const ErrorData *error, char **string, const char *value, size_t length)
{
	MemoryContext old;
	const char *at = *string;
	const char *found;
	char	   *key;
	StringInfoData out;

	/* In a statement that was cut short, what follows the key is no key. */
	while (length > 0 && strchr(" \t\r\n);", value[length - 1]) != NULL)
		length--;
	if (at == NULL || length < SHORTEST_KEY || length > strlen(at))
		return;
	old = MemoryContextSwitchTo(error->assoc_context);
	key = pnstrdup(value, length);
	found = strstr(at, key);
	if (found != NULL)
	{
		initStringInfo(&out);
		for (; found != NULL; found = strstr(at, key))
		{
			appendBinaryStringInfo(&out, at, found - at);
			appendStringInfoString(&out, HIDDEN);
			at = found + length;
		}
		appendStringInfoString(&out, at);
		*string = out.data;
	}
	pfree(key);
	MemoryContextSwitchTo(old);
}

static void
hide(const ErrorData *error, char **string)
{
	if (*string != NULL)
		*string = MemoryContextStrdup(error->assoc_context, NOTE);
}

/*
 * Hide all that is said about a statement.
 */
static void
hide_all(ErrorData *error)
{
	hide(error, &error->message);
	hide(error, &error->detail);
	hide(error, &error->detail_log);
	hide(error, &error->hint);
	hide(error, &error->context);
}

/*
 * Where the keys are that this statement sets.
 */
static void
find_keys(const char *statement, StatementKeys *keys)
{
	const char *option = find_key_option(statement);

	keys->count = 0;
	for (; option != NULL; option = find_key_option(option + 1))
	{
		/* Where the value is that follows an escaped name is hard to say. */
		if (keys->count == MOST_OPTIONS ||
			pg_strncasecmp(option, ESCAPED_NAME, strlen(ESCAPED_NAME)) == 0)
		{
			keys->count = -1;
			return;
		}
		keys->values[keys->count] =
			find_value(option, &keys->lengths[keys->count]);
		keys->count++;
	}
}

/*
 * Cut the keys that a statement sets out of all that is said.
 */
static void
cut_keys(ErrorData *error, const StatementKeys *keys)
{
	/* These quote a word of the statement, which may be a part of the key. */
	if (error->sqlerrcode == ERRCODE_SYNTAX_ERROR ||
		error->sqlerrcode == ERRCODE_NAME_TOO_LONG)
	{
		error->message = MemoryContextStrdup(error->assoc_context,
											 "could not parse " NOTE);
		error->detail = NULL;
	}
	if (keys->count < 0)
		hide_all(error);
	for (int i = 0; i < keys->count; i++)
	{
		const char *value = keys->values[i];
		size_t		length = keys->lengths[i];

		cut(error, &error->message, value, length);
		cut(error, &error->detail, value, length);
		cut(error, &error->detail_log, value, length);
		cut(error, &error->hint, value, length);
		cut(error, &error->context, value, length);
	}
}

/*
 * Replace *string if it sets a key. What is left of the error frees it.
 */
static void
replace(const ErrorData *error, char **string)
{
	if (sets_key(*string))
		hide(error, string);
}

static void
hide_activity(void)
{
	pgstat_report_activity(STATE_RUNNING, ACTIVITY_NOTE);
}

/*
 * The keys that the statement of the client sets; NULL if it sets none. It may say
 * something about each of very many rows: it is looked at once.
 */
static const StatementKeys *
client_keys(void)
{
	static const char *known;
	static TimestampTz known_at;
	static bool sets;
	static StatementKeys keys;

	if (known != debug_query_string ||
		known_at != GetCurrentStatementStartTimestamp())
	{
		sets = sets_key(debug_query_string);
		if (sets)
			find_keys(debug_query_string, &keys);
	}
	known = debug_query_string;
	known_at = GetCurrentStatementStartTimestamp();
	return sets ? &keys : NULL;
}

static void
hide_keys(ErrorData *error)
{
	const StatementKeys *keys = client_keys();

	if (keys != NULL)
	{
		error->hide_stmt = true;
		hide_activity();
		cut_keys(error, keys);
	}
	if (sets_key(error->internalquery))
	{
		StatementKeys inner;

		find_keys(error->internalquery, &inner);
		cut_keys(error, &inner);
	}
	replace(error, &error->message);
	replace(error, &error->detail);
	replace(error, &error->detail_log);
	replace(error, &error->hint);
	if (sets_key(error->context))
		error->hide_ctx = true;
	replace(error, &error->internalquery);
}

/*
 * Whether the message is about one of the functions that agno_grant_usage
 * grants, in whatever language.
 */
static bool
names_function(const char *message)
{
	static const char *const others[] = {"bg", "grant_usage", "revoke_usage"};
	const char *name = find_word(message, " agno_");

	if (name == NULL)
		return false;
	name += strlen(" agno_");
	for (int i = 0; i < (int) lengthof(others); i++)
	{
		if (strncmp(name, others[i], strlen(others[i])) == 0)
			return false;
	}
	return true;
}

/*
 * Whoever lacks the right to call one of our functions needs them all.
 */
static void
add_hint(ErrorData *error)
{
	if (error->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE &&
		error->hint == NULL && error->message != NULL &&
		names_function(error->message))
		error->hint = MemoryContextStrdup(error->assoc_context,
										  "Have the owner of the extension run SELECT agno_grant_usage('your_role').");
}

static void
filter(ErrorData *error)
{
	if (previous_hook != NULL)
		previous_hook(error);
	hide_keys(error);
	add_hint(error);
}

/*
 * A utility statement, which is a part of this source, is about to be executed: if
 * it sets a key, pg_stat_activity shows no more of what the session executes.
 */
void
log_filter_utility(const PlannedStmt *statement, const char *source)
{
	char	   *text;

	/* A length of 0 is the rest, a location of -1 is not known. */
	if (statement->stmt_location > 0)
		source += statement->stmt_location;
	text = statement->stmt_len > 0 ?
		pnstrdup(source, statement->stmt_len) : pstrdup(source);
	if (sets_key(text))
		hide_activity();
	pfree(text);
}

/*
 * For _PG_init().
 */
void
log_filter_install(void)
{
	previous_hook = emit_log_hook;
	emit_log_hook = filter;
}
