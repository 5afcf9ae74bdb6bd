/*-------------------------------------------------------------------------
 *
 * provider.c
 *	  What all APIs of model servers share.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include "core/json.h"
#include "core/provider.h"

/* How much of an error's text is kept, in bytes. */
#define MAX_ERROR_TEXT 4000

/* How long an error is that is read as JSON, in bytes: of a longer one, the text is. */
#define MAX_ERROR_JSON 65536

static const Provider *const providers[] = {
	&provider_openai_responses,
	&provider_openai_chat,
	&provider_anthropic,
};

/*
 * The provider for a value of the server option "api", or NULL.
 */
const Provider *
provider_find(const char *api)
{
	for (int i = 0; i < (int) lengthof(providers); i++)
	{
		if (strcmp(providers[i]->api, api) == 0)
			return providers[i];
	}
	return NULL;
}

/*
 * The valid values of the server option "api", for a hint.
 */
char *
provider_names(void)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < (int) lengthof(providers); i++)
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", providers[i]->api);
	return names.data;
}

/*
 * Whether a run may not set this key of the request's body, since agno_bg does.
 */
bool
provider_option_reserved(const Provider *provider, const char *name)
{
	for (const char *const *reserved = provider->reserved_options;
		 *reserved != NULL; reserved++)
	{
		if (strcmp(*reserved, name) == 0)
			return true;
	}
	return false;
}

/*
 * Append the members of the object in options, which is valid JSON or NULL, to
 * the object that is open in body; all but the one called except.
 */
void
provider_append_options(StringInfo body, const char *options,
						const char *except)
{
	JsonMember	member;

	while (options != NULL && json_next_member(&options, &member))
	{
		if (except != NULL && strcmp(member.key, except) == 0)
			continue;
		json_append_key(body, member.key);
		appendBinaryStringInfo(body, member.value, member.value_length);
	}
}

/*
 * A member of a JSON object as it is written, or of the object that is its member
 * outer, if that is not NULL. NULL if it is not there.
 */
char *
provider_raw_member(const char *bytes, size_t length, const char *outer,
					const char *name)
{
	char	   *document = json_scrub(bytes, length);
	JsonMember	member = {.value = document};
	char	   *result = NULL;

	if (outer == NULL || json_find_member(document, outer, &member))
		result = json_raw_member(member.value, name);
	pfree(document);
	return result;
}

/*
 * The arguments of a call; none are an empty object.
 */
const char *
provider_arguments(const ToolCall *call)
{
	return call->arguments != NULL && call->arguments[0] != '\0' ?
		call->arguments : "{}";
}

/*
 * Append "name", "schema" and "strict" of a schema, as both APIs of OpenAI have
 * them.
 */
void
provider_append_schema(StringInfo body, const OutputSchema *schema)
{
	json_append_member(body, "name", schema->name);
	json_append_key(body, "schema");
	appendStringInfoString(body, schema->schema);
	json_append_key(body, "strict");
	appendStringInfoString(body, schema->strict ? "true" : "false");
}

/*
 * Cut text, which is valid UTF-8, to MAX_ERROR_TEXT bytes.
 */
static char *
shorten(char *message)
{
	size_t		length = strlen(message);

	if (length > MAX_ERROR_TEXT)
	{
		length = MAX_ERROR_TEXT - strlen("...");
		while (length > 0 && ((unsigned char) message[length] & 0xc0) == 0x80)
			length--;
		strcpy(message + length, "...");
	}
	return message;
}

/*
 * The message in an error object. Servers write {"error": {"message": …}},
 * {"error": "…"}, {"message": …} and {"detail": …}.
 */
static const char *
find_message(const cJSON *tree)
{
	static const char *const names[] = {"message", "error", "detail"};
	const cJSON *error = cJSON_GetObjectItemCaseSensitive(tree, "error");

	if (cJSON_IsObject(error))
		tree = error;
	for (int i = 0; i < (int) lengthof(names); i++)
	{
		const char *message = json_string(tree, names[i]);

		if (message != NULL && message[0] != '\0')
			return message;
	}
	return NULL;
}

static cJSON *
parse_error(const char *body, size_t length)
{
	return length <= MAX_ERROR_JSON ? json_parse(body, length) : NULL;
}

/*
 * These words, and how the text of a body begins if there is something in it. What seems
 * to be JSON is written as json_scrub() does: who looks for a key in it finds it.
 */
static char *
with_excerpt(const char *words, const char *body, size_t length)
{
	size_t		shown = Min(length, MAX_ERROR_TEXT);
	char	   *excerpt = text_scrub(body, shown);
	char		first = excerpt[strspn(excerpt, " \t\r\n")];

	if (first == '\0')
		return pstrdup(words);
	if (first == '{' || first == '[' || first == '"')
		excerpt = json_scrub(body, shown);
	return shorten(psprintf("%s: %s", words, excerpt));
}

/*
 * What a server says went wrong: its own message when there is one, else the
 * status, 0 in an answer, and the text of the body.
 */
char *
provider_error_message(int status, const char *body, size_t length)
{
	cJSON	   *tree = parse_error(body, length);
	const char *message = find_message(tree);
	char	   *result;

	if (message != NULL)
		result = shorten(pstrdup(message));
	else
		result = with_excerpt(status != 0 ?
							  psprintf("HTTP status %d", status) :
							  "an error without a message", body, length);
	json_free(tree);
	return result;
}

/*
 * What is wrong with an answer that is not what was expected, "a message" say.
 */
char *
provider_invalid_answer(const cJSON *tree, const char *body, size_t length,
						const char *expected)
{
	if (cJSON_IsObject(tree))
		return psprintf("the answer of the model server is not %s", expected);
	return with_excerpt("invalid answer of the model server: not a JSON answer",
						body, length);
}

/*
 * Whether an error says that the account is empty, which no repetition changes.
 */
bool
provider_quota_is_used_up(const char *body, size_t length)
{
	static const char *const codes[] = {
		"insufficient_quota", "credit_balance_exhausted",
		"billing_hard_limit_reached", "enforced_spend_limit_reached"
	};
	cJSON	   *tree = parse_error(body, length);
	const cJSON *error = cJSON_GetObjectItemCaseSensitive(tree, "error");
	const char *code = json_string(error, "code");
	const char *type = json_string(error, "type");
	bool		result = false;

	for (int i = 0; i < (int) lengthof(codes); i++)
		result |= (code != NULL && strcmp(code, codes[i]) == 0) ||
			(type != NULL && strcmp(type, codes[i]) == 0);
	json_free(tree);
	return result;
}
