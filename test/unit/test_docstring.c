/*
 * docstring.c: descriptions of functions and of their arguments.
 */
#include "core/portable.h"

#include "core/docstring.h"
#include "lib/stringinfo.h"
#include "unit.h"

#define MEGABYTE (1024 * 1024)

/*
 * Long comments: an argument of very many lines, and very many arguments. Who
 * copies what there is for each line needs gigabytes and minutes here.
 */
static void
test_long(void)
{
	StringInfoData comment;
	Docstring	read;
	const char *text;
	int			count = 0;

	initStringInfo(&comment);
	appendStringInfoString(&comment, "Args:\n a: x\n");
	while (comment.len < MEGABYTE)
	{
		appendStringInfoString(&comment, "  y\n");
		count++;
	}
	docstring_read(comment.data, &read);
	check(read.argument_count == 1);
	text = docstring_argument(&read, "a");
	check(strlen(text) == 1 + 2 * (size_t) count);
	check_text(pnstrdup(text, 7), "x y y y");

	resetStringInfo(&comment);
	appendStringInfoString(&comment, "Args:\n");
	for (count = 0; comment.len < MEGABYTE; count++)
		appendStringInfo(&comment, "a%d:b\n", count);
	docstring_read(comment.data, &read);
	check(read.argument_count == count);
	check_text(docstring_argument(&read, psprintf("a%d", count - 1)), "b");

	resetStringInfo(&comment);
	while (comment.len < MEGABYTE)
		appendStringInfoString(&comment, "x\n\n");
	docstring_read(comment.data, &read);
	check(strlen(read.description) == (size_t) comment.len - 2);
}

int
main(void)
{
	Docstring	read;

	docstring_read(NULL, &read);
	check_text(read.description, "");
	check(read.argument_count == 0);
	check_text(docstring_argument(&read, "x"), NULL);

	docstring_read("Where an order is.\nArgs:\n    order_id: the number on the invoice", &read);
	check_text(read.description, "Where an order is.");
	check(read.argument_count == 1);
	check_text(docstring_argument(&read, "order_id"), "the number on the invoice");

	/* several lines, types, other sections, colons, carriage returns */
	docstring_read("\r\n  Short.\r\n\r\nLong: text.\r\n\r\nArgs:\r\n"
				   "  a (int, optional): first\r\n      goes: on\r\n"
				   "  b: second\r\n\r\n  c:\r\n"
				   "Returns:\r\n  d: nothing", &read);
	check_text(read.description, "Short.\n\nLong: text.");
	check(read.argument_count == 3);
	check_text(docstring_argument(&read, "a"), "(int, optional) first goes: on");
	check_text(docstring_argument(&read, "b"), "second");
	check_text(docstring_argument(&read, "c"), "");
	check_text(docstring_argument(&read, "d"), NULL);

	/* nonsense is part of something, and does no harm */
	docstring_read("Args:\n: x\nno colon\n (y): z\na: 1\n\tb\nReturns: a\nx", &read);
	check_text(read.description, "");
	check_text(docstring_argument(&read, "a"), "1 b");
	docstring_read("Args: are fine here", &read);
	check_text(read.description, "Args: are fine here");
	test_long();
	return unit_done();
}
