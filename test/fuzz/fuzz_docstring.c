/*
 * Comments of functions that describe their arguments.
 */
#include "core/portable.h"

#include "core/docstring.h"
#include "fuzz.h"

void
fuzz_one(const char *bytes, size_t length)
{
	const char *comment = fuzz_text(bytes, length);
	Docstring	docstring;

	docstring_read(comment, &docstring);
	require(docstring.description != NULL);
	require(strlen(docstring.description) <= strlen(comment));
	for (int i = 0; i < docstring.argument_count; i++)
	{
		require(docstring.arguments[i].name[0] != '\0');
		require(docstring_argument(&docstring, docstring.arguments[i].name) != NULL);
	}
}
