/*-------------------------------------------------------------------------
 *
 * docstring.c
 *	  Comments that describe a function and its arguments.
 *
 * The style is Google's for Python, which Agno reads docstrings in: a
 * description, and then sections, of which "Args:" has a line for each
 * argument, "name: text" or "name (type): text". Lines that are indented
 * deeper go on with the argument before. A type is put before the text, in
 * parentheses, as Agno does.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include "core/docstring.h"
#include "lib/stringinfo.h"

/* A line of the comment. */
typedef struct Line
{
	const char *text;			/* without the white space around it */
	int			length;
	int			indent;			/* how much white space was before it */
} Line;

/*
 * Read the next line. False at the end.
 */
static bool
next_line(const char **at, Line *line)
{
	const char *start = *at;
	const char *end;

	if (*start == '\0')
		return false;
	end = start + strcspn(start, "\n");
	*at = *end == '\n' ? end + 1 : end;
	line->indent = (int) strspn(start, " \t");
	line->text = start + line->indent;
	while (end > line->text && strchr(" \t\r", end[-1]) != NULL)
		end--;
	line->length = Max((int) (end - line->text), 0);
	return true;
}

/*
 * Whether the line begins one of these sections.
 */
static bool
is_heading(const Line *line, const char *const *names)
{
	for (; *names != NULL; names++)
	{
		int			length = (int) strlen(*names);

		if (line->length == length + 1 && line->text[length] == ':' &&
			strncmp(line->text, *names, length) == 0)
			return true;
	}
	return false;
}

static bool
is_section(const Line *line)
{
	static const char *const names[] = {
		"Args", "Arguments", "Parameters", "Params", "Returns", "Return",
		"Raises", "Yields", "Example", "Examples", "Note", "Notes",
		"Attributes", NULL
	};

	return is_heading(line, names);
}

static bool
is_argument_section(const Line *line)
{
	static const char *const names[] = {
		"Args", "Arguments", "Parameters", "Params", NULL
	};

	return is_heading(line, names);
}

/*
 * Add the argument that the line describes. Returns false if it describes none.
 */
static bool
add_argument(Docstring *docstring, const Line *line)
{
	const char *colon = memchr(line->text, ':', line->length);
	const char *end;
	const char *type = NULL;
	int			type_length = 0;
	DocArgument *argument;
	int			count = docstring->argument_count;
	const char *text;

	if (colon == NULL)
		return false;
	for (end = line->text;
		 end < colon && *end != ' ' && *end != '\t' && *end != '('; end++)
		;
	if (end == line->text)
		return false;
	if (memchr(end, '(', colon - end) != NULL && colon[-1] == ')')
	{
		type = (const char *) memchr(end, '(', colon - end);
		type_length = (int) (colon - type);
	}

	/* There is room up to the next power of two. */
	if (count == 0)
		docstring->arguments = palloc(sizeof(DocArgument));
	else if ((count & (count - 1)) == 0)
		docstring->arguments = repalloc(docstring->arguments,
										sizeof(DocArgument) * count * 2);
	argument = &docstring->arguments[docstring->argument_count++];
	argument->name = pnstrdup(line->text, end - line->text);
	text = colon + 1;
	text += strspn(text, " \t");
	argument->description =
		psprintf("%.*s%s%.*s", type_length, type != NULL ? type : "",
				 type != NULL ? " " : "",
				 Max((int) (line->text + line->length - text), 0), text);
	return true;
}

/*
 * Take a comment apart; NULL is an empty one.
 */
void
docstring_read(const char *comment, Docstring *docstring)
{
	const char *at = comment != NULL ? comment : "";
	bool		described = false;	/* the description is over */
	bool		in_arguments = false;
	int			indent = -1;	/* of an argument's first line */
	Line		line;
	StringInfoData description;

	memset(docstring, 0, sizeof(Docstring));
	initStringInfo(&description);
	while (next_line(&at, &line))
	{
		if (is_section(&line))
		{
			described = true;
			in_arguments = is_argument_section(&line);
			indent = -1;
		}
		else if (!described)
			appendStringInfo(&description, "%.*s\n", line.length, line.text);
		else if (in_arguments && line.length > 0)
		{
			bool		deeper = indent >= 0 && line.indent > indent;

			if (!deeper && add_argument(docstring, &line))
				indent = line.indent;
			else if (docstring->argument_count > 0)
			{
				DocArgument *last =
					&docstring->arguments[docstring->argument_count - 1];

				last->description = psprintf("%s%s%.*s", last->description,
											 last->description[0] ? " " : "",
											 line.length, line.text);
			}
		}
	}
	while (description.len > 0 &&
		   strchr(" \n", description.data[description.len - 1]) != NULL)
		description.data[--description.len] = '\0';
	docstring->description = description.data +
		strspn(description.data, " \n");
}

/*
 * What is said of the argument of this name, or NULL.
 */
const char *
docstring_argument(const Docstring *docstring, const char *name)
{
	for (int i = 0; i < docstring->argument_count; i++)
	{
		if (strcmp(docstring->arguments[i].name, name) == 0)
			return docstring->arguments[i].description;
	}
	return NULL;
}
