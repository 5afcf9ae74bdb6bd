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

/* A comment that is being read. */
typedef struct Reader
{
	Docstring  *docstring;
	StringInfoData text;		/* what is said of the last argument so far */
	int			indent;			/* of that argument's first line, or -1 */
} Reader;

/*
 * All has been read that is said of the last argument.
 */
static void
end_argument(Reader *reader)
{
	Docstring  *docstring = reader->docstring;

	if (docstring->argument_count > 0)
		docstring->arguments[docstring->argument_count - 1].description =
			pnstrdup(reader->text.data, reader->text.len);
	resetStringInfo(&reader->text);
}

/*
 * Begin the argument that the line describes. Returns false if it describes none.
 */
static bool
begin_argument(Reader *reader, const Line *line)
{
	Docstring  *docstring = reader->docstring;
	const char *colon = memchr(line->text, ':', line->length);
	const char *line_end = line->text + line->length;
	const char *end;
	const char *type;
	int			count = docstring->argument_count;
	const char *text;

	if (colon == NULL)
		return false;
	for (end = line->text;
		 end < colon && *end != ' ' && *end != '\t' && *end != '('; end++)
		;
	if (end == line->text)
		return false;

	/* There is room up to the next power of two. */
	end_argument(reader);
	if (count == 0)
		docstring->arguments = palloc(sizeof(DocArgument));
	else if ((count & (count - 1)) == 0)
		docstring->arguments = repalloc(docstring->arguments,
										sizeof(DocArgument) * count * 2);
	docstring->arguments[docstring->argument_count++].name =
		pnstrdup(line->text, end - line->text);
	reader->indent = line->indent;

	type = memchr(end, '(', colon - end);
	if (type != NULL && colon[-1] == ')')
	{
		appendBinaryStringInfo(&reader->text, type, (int) (colon - type));
		appendStringInfoChar(&reader->text, ' ');
	}
	for (text = colon + 1;
		 text < line_end && (*text == ' ' || *text == '\t'); text++)
		;
	appendBinaryStringInfo(&reader->text, text, (int) (line_end - text));
	return true;
}

/*
 * A line of a section of arguments: it begins one, or goes on with the last.
 */
static void
read_argument_line(Reader *reader, const Line *line)
{
	bool		deeper = reader->indent >= 0 && line->indent > reader->indent;

	if (!deeper && begin_argument(reader, line))
		return;
	if (reader->docstring->argument_count == 0)
		return;
	if (reader->text.len > 0)
		appendStringInfoChar(&reader->text, ' ');
	appendBinaryStringInfo(&reader->text, line->text, line->length);
}

/*
 * Take a comment apart; NULL is an empty one. Takes time and memory in proportion
 * to its length.
 */
void
docstring_read(const char *comment, Docstring *docstring)
{
	const char *at = comment != NULL ? comment : "";
	bool		described = false;	/* the description is over */
	bool		in_arguments = false;
	Reader		reader = {.docstring = docstring,.indent = -1};
	Line		line;
	StringInfoData description;

	memset(docstring, 0, sizeof(Docstring));
	initStringInfo(&description);
	initStringInfo(&reader.text);
	while (next_line(&at, &line))
	{
		if (is_section(&line))
		{
			described = true;
			in_arguments = is_argument_section(&line);
			reader.indent = -1;
		}
		else if (!described)
		{
			appendBinaryStringInfo(&description, line.text, line.length);
			appendStringInfoChar(&description, '\n');
		}
		else if (in_arguments && line.length > 0)
			read_argument_line(&reader, &line);
	}
	end_argument(&reader);
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
