/*-------------------------------------------------------------------------
 *
 * flight_secret.c
 *	  The key of a flight's model server, cut out of what is to be stored.
 *
 * Servers repeat what they were sent. Others than the owner of the key may see what is
 * stored.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "core/json.h"
#include "runner/flight.h"

/* What is shown in place of a key. */
#define HIDDEN "***"

/*
 * A key that is shorter, or a number of no more characters, may be said by
 * chance: times are such numbers.
 */
#define LEAST_SECRET 6
#define LONGEST_NUMBER 17

/*
 * Whether this key is one that nobody would say by chance. Local servers are
 * given any word for a key, or a number.
 */
static bool
is_secret(const char *key)
{
	size_t		length = strlen(key);
	bool		word = true;
	bool		number = true;

	for (const char *at = key; *at != '\0'; at++)
	{
		word &= isalpha((unsigned char) *at) != 0;
		number &= isdigit((unsigned char) *at) ||
			strchr("+-.eE", *at) != NULL;
	}
	return length >= LEAST_SECRET && !word &&
		(!number || length > LONGEST_NUMBER);
}

/*
 * From now on, nothing that has the key of the flight's server in it is stored. In the
 * memory context of the flight.
 */
void
flight_hide_key(Flight *flight)
{
	char	   *key = flight->server.key;
	StringInfoData out;

	if (key == NULL || !is_secret(key))
		return;
	flight->secret = key;
	initStringInfo(&out);
	json_append_string(&out, key);
	if (strlen(key) + 2 < (size_t) out.len)
		flight->escaped_secret = pnstrdup(out.data + 1, out.len - 2);
}

/*
 * The text without the secret; the text itself where there is nothing to hide,
 * NULL for NULL.
 */
static char *
cut_out(const char *text, const char *secret)
{
	const char *found = text != NULL && secret != NULL ?
		strstr(text, secret) : NULL;
	StringInfoData out;

	if (found == NULL)
		return unconstify(char *, text);
	initStringInfo(&out);
	for (; found != NULL; found = strstr(text, secret))
	{
		appendBinaryStringInfo(&out, text, found - text);
		appendStringInfoString(&out, HIDDEN);
		text = found + strlen(secret);
	}
	appendStringInfoString(&out, text);
	return out.data;
}

/*
 * The text without the key of the flight's server, which may have repeated it:
 * others than the owner of the key may see what is stored.
 */
char *
flight_clean(const Flight *flight, const char *text)
{
	return cut_out(cut_out(text, flight->secret), flight->escaped_secret);
}

/*
 * The text without the beginning of the secret at its end, or before the dots that
 * say that the text has been cut; the text itself where there is nothing to hide. A
 * few characters do not matter, and may be there by chance.
 */
static const char *
cut_off(const char *text, const char *secret)
{
	size_t		end = text != NULL ? strlen(text) : 0;
	size_t		part = secret != NULL ? strlen(secret) - 1 : 0;
	bool		dots = end >= 3 && strcmp(text + end - 3, "...") == 0;

	if (dots)
		end -= 3;
	for (part = Min(part, end); part >= LEAST_SECRET; part--)
	{
		if (memcmp(text + end - part, secret, part) == 0)
			return psprintf("%.*s%s", (int) (end - part), text,
							dots ? "..." : HIDDEN);
	}
	return text;
}

static char *
trim(const Flight *flight, const char *text)
{
	return unconstify(char *, cut_off(cut_off(text, flight->secret),
									  flight->escaped_secret));
}

/*
 * What a run that has ended badly has of an answer, and the text of an error, which
 * is cut when it is long, may end within the key: flight_clean() would not know
 * what there is of it. In the memory context of the flight.
 */
void
flight_trim(Flight *flight)
{
	Run		   *run = &flight->run;
	RunOutcome *outcome = &run->outcome;
	Message    *last = run->message_count > 0 ?
		&run->messages[run->message_count - 1] : NULL;

	if (flight->secret == NULL || run->step != STEP_STORE ||
		(outcome->status != RUN_ERROR && outcome->status != RUN_CANCELLED))
		return;
	outcome->content = trim(flight, outcome->content);
	outcome->reasoning = trim(flight, outcome->reasoning);
	outcome->error_message = trim(flight, outcome->error_message);
	if (last != NULL && last->role == MESSAGE_ASSISTANT)
		last->content = trim(flight, last->content);
}
