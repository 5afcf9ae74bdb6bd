/*-------------------------------------------------------------------------
 *
 * log_filter.c
 *	  Keeps API keys out of the server's log.
 *
 * A key comes into the server in one way only: in a CREATE or ALTER USER
 * MAPPING. PostgreSQL logs statements, as it is told to by log_statement and
 * its like, and with each error; so a statement that sets a key is replaced
 * in the log by a note. What the client gets is not changed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "log_filter.h"
#include "tcop/tcopprot.h"
#include "utils/elog.h"
#include "utils/memutils.h"

#define NOTE "(a statement that sets an API key is not logged)"

static emit_log_hook_type previous_hook;

/*
 * Whether string has the word in it, in whatever case; word is in lower case.
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
 * Whether string is, or contains, a statement that sets a key. The words may
 * have anything between them. A slip in the name of the option is no excuse.
 */
static bool
sets_key(const char *string)
{
	return string != NULL && find_word(string, "mapping") != NULL &&
		find_word(string, "api_k") != NULL && strchr(string, '(') != NULL;
}

/*
 * Replace *string if it sets a key. What is left of the error frees it.
 */
static void
replace(const ErrorData *error, char **string)
{
	if (sets_key(*string))
		*string = MemoryContextStrdup(error->assoc_context, NOTE);
}

static void
hide_keys(ErrorData *error)
{
	if (previous_hook != NULL)
		previous_hook(error);

	if (error->output_to_server && !error->output_to_client)
	{
		replace(error, &error->message);
		replace(error, &error->detail);
	}
	if (sets_key(debug_query_string))
		error->hide_stmt = true;
	if (sets_key(error->context))
		error->hide_ctx = true;
	replace(error, &error->internalquery);
}

/*
 * For _PG_init().
 */
void
log_filter_install(void)
{
	previous_hook = emit_log_hook;
	emit_log_hook = hide_keys;
}
