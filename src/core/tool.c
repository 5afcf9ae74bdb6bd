/*-------------------------------------------------------------------------
 *
 * tool.c
 *	  The tools that a model may call.
 *
 * A run keeps its tools as a JSON array, from when it was enqueued. Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include "core/json.h"
#include "core/tool.h"

/*
 * Whether all APIs take this for the name of a tool.
 */
bool
tool_name_is_valid(const char *name)
{
	size_t		length = strspn(name,
								"abcdefghijklmnopqrstuvwxyz"
								"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");

	return length > 0 && length <= MAX_TOOL_NAME && name[length] == '\0';
}

static void
append_flag(StringInfo out, const char *name, bool value)
{
	if (!value)
		return;
	json_append_key(out, name);
	appendStringInfoString(out, "true");
}

/*
 * Append a tool as a JSON object, which tools_read() reads in an array.
 */
void
tool_append(StringInfo out, const Tool *tool)
{
	appendStringInfoChar(out, '{');
	json_append_member(out, "name", tool->name);
	json_append_member(out, "function", tool->function);
	json_append_member(out, "agent", tool->agent);
	json_append_member(out, "description", tool->description);
	json_append_key(out, "parameters");
	appendStringInfoString(out, tool->parameters);
	if (tool->bind != NULL)
	{
		json_append_key(out, "bind");
		appendStringInfoString(out, tool->bind);
	}
	append_flag(out, "read_only", tool->read_only);
	append_flag(out, "strict", tool->strict);
	append_flag(out, "stop_after_call", tool->stop_after_call);
	if (tool->timeout_ms > 0)
	{
		json_append_key(out, "timeout_ms");
		appendStringInfo(out, "%d", tool->timeout_ms);
	}
	if (tool->requires != REQUIRES_NOTHING)
		json_append_member(out, "requires",
						   requirement_kind_name(tool->requires));
	append_flag(out, "preview", tool->preview);
	json_append_member(out, "approver", tool->approver);
	if (tool->expires_ms > 0)
	{
		json_append_key(out, "expires_ms");
		appendStringInfo(out, INT64_FORMAT, tool->expires_ms);
	}
	if (tool->fingerprint != NULL)
		json_append_member(out, "fingerprint", tool->fingerprint);
	if (tool->input_schema != NULL)
	{
		json_append_key(out, "input_schema");
		appendStringInfoString(out, tool->input_schema);
	}
	appendStringInfoChar(out, '}');
}

static void
read_tool(const char *object, Tool *tool)
{
	JsonMember	member;

	memset(tool, 0, sizeof(Tool));
	while (json_next_member(&object, &member))
	{
		const char *key = member.key;
		bool		is_true = strncmp(member.value, "true", 4) == 0;

		if (strcmp(key, "name") == 0)
			tool->name = json_decode_string(member.value, member.value_length);
		else if (strcmp(key, "function") == 0)
			tool->function = json_decode_string(member.value,
												member.value_length);
		else if (strcmp(key, "agent") == 0)
			tool->agent = json_decode_string(member.value,
											 member.value_length);
		else if (strcmp(key, "description") == 0)
			tool->description = json_decode_string(member.value,
												   member.value_length);
		else if (strcmp(key, "parameters") == 0)
			tool->parameters = pnstrdup(member.value, member.value_length);
		else if (strcmp(key, "bind") == 0)
			tool->bind = pnstrdup(member.value, member.value_length);
		else if (strcmp(key, "read_only") == 0)
			tool->read_only = is_true;
		else if (strcmp(key, "strict") == 0)
			tool->strict = is_true;
		else if (strcmp(key, "stop_after_call") == 0)
			tool->stop_after_call = is_true;
		else if (strcmp(key, "timeout_ms") == 0)
			tool->timeout_ms = atoi(member.value);
		else if (strcmp(key, "requires") == 0)
			tool->requires =
				requirement_kind_parse(json_decode_string(member.value,
														  member.value_length));
		else if (strcmp(key, "preview") == 0)
			tool->preview = is_true;
		else if (strcmp(key, "approver") == 0)
			tool->approver = json_decode_string(member.value,
												member.value_length);
		else if (strcmp(key, "expires_ms") == 0)
			tool->expires_ms = strtoll(member.value, NULL, 10);
		else if (strcmp(key, "fingerprint") == 0)
			tool->fingerprint = json_decode_string(member.value,
												   member.value_length);
		else if (strcmp(key, "input_schema") == 0)
			tool->input_schema = pnstrdup(member.value, member.value_length);
	}
}

/*
 * Read an array of tools, valid JSON; NULL has none. What has no name or no schema is no
 * tool.
 */
void
tools_read(const char *json, ToolList *list)
{
	int			size = 0;
	const char *at = json;
	Tool	   *tool;

	memset(list, 0, sizeof(ToolList));
	while (json_next_element(&at))
	{
		if (list->count == size)
		{
			size = Max(4, size * 2);
			list->tools = list->count == 0 ? palloc(sizeof(Tool) * size) :
				repalloc(list->tools, sizeof(Tool) * size);
		}
		tool = &list->tools[list->count];
		read_tool(at, tool);
		list->count += tool->name != NULL && tool->parameters != NULL;
		at = json_skip_value(at);
	}
}

/*
 * The tool of this name, or NULL.
 */
const Tool *
tools_find(const ToolList *list, const char *name)
{
	for (int i = 0; i < list->count; i++)
	{
		if (name != NULL && strcmp(list->tools[i].name, name) == 0)
			return &list->tools[i];
	}
	return NULL;
}

/*
 * Of a result what the model is shown, at most about so many bytes: of an array
 * as many whole elements as fit, and how many more there are; of another text
 * its beginning, and how much more there is. Returns the result itself if it
 * fits.
 */
char *
tool_result_shown(const char *result, int most)
{
	size_t		length = strlen(result);
	size_t		kept = most;
	const char *at = result;
	const char *end = NULL;		/* of the last element that fits */
	int			shown = 0;
	int			left = 0;

	if (length <= (size_t) most)
		return unconstify(char *, result);
	if (result[0] == '[' && result[length - 1] == ']')
	{
		while (json_next_element(&at))
		{
			at = json_skip_value(at);
			if (left == 0 && at - result + 1 <= most)
			{
				end = at;
				shown++;
			}
			else
				left++;
		}
	}
	if (shown > 0)
		return psprintf("%.*s]\n(%d more rows are not shown)",
						(int) (end - result), result, left);
	while (kept > 0 && ((unsigned char) result[kept] & 0xc0) == 0x80)
		kept--;
	return psprintf("%.*s\n(%zu more bytes are not shown)", (int) kept, result,
					length - kept);
}
