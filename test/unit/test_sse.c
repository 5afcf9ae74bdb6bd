/*
 * sse.c: the same stream, cut anywhere, gives the same events.
 */
#include "core/portable.h"

#include "core/sse.h"
#include "unit.h"

static void
collect(void *out, const char *data, size_t length)
{
	appendStringInfoChar(out, '[');
	appendBinaryStringInfo(out, data, length);
	appendStringInfoChar(out, ']');
}

/* The events of a stream that arrives in pieces of this size. */
static char *
events(const char *stream, size_t length, size_t piece)
{
	SseParser	parser;
	StringInfoData out;

	initStringInfo(&out);
	sse_init(&parser);
	for (size_t at = 0; at < length; at += piece)
		sse_feed(&parser, stream + at, Min(piece, length - at), collect, &out);
	sse_end(&parser, collect, &out);
	return out.data;
}

static void
same(const char *stream, const char *expected)
{
	for (size_t piece = 1; piece <= strlen(stream) + 1; piece++)
		check_text(events(stream, strlen(stream), piece), expected);
}

int
main(void)
{
	same("data: a\n\ndata: b\n\n", "[a][b]");
	same("data: a\r\n\r\ndata: b\r\r", "[a][b]");
	same("\xef\xbb\xbf" "data: a\n\n", "[a]");
	same(": comment\n\n:\n\nevent: x\ndata: a\nid: 1\nretry: 5\n\n", "[a]");
	same("data: a\ndata: b\ndata:\ndata:c\n\n", "[a\nb\n\nc]");
	same("data\n\ndata:\n\nevent: ping\n\n", "");
	same("data:  two spaces\n\n", "[ two spaces]");
	same("dataset: no\n\n", "");
	/* cut by the end */
	same("data: a\n\ndata: b", "[a][b]");
	same("data: a\n\ndata: b\n", "[a][b]");
	same("", "");
	check_text(events("data: a\0b\n\n", 11, 3) + 1, "a");
	return unit_done();
}
