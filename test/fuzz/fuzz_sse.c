/*
 * Server-sent events, whole and byte by byte: the events are the same.
 */
#include "core/portable.h"

#include "core/sse.h"
#include "fuzz.h"

static void
collect(void *argument, const char *data, size_t length)
{
	require(data[length] == '\0');
	appendBinaryStringInfo(argument, data, length);
	appendStringInfoChar(argument, '\n');
}

static char *
parse(const char *bytes, size_t length, size_t piece)
{
	SseParser	parser;
	StringInfoData events;

	initStringInfo(&events);
	sse_init(&parser);
	for (size_t at = 0; at < length; at += piece)
		sse_feed(&parser, bytes + at, Min(piece, length - at), collect, &events);
	sse_end(&parser, collect, &events);
	return events.data;
}

void
fuzz_one(const char *bytes, size_t length)
{
	if (length > 0)
		require(strcmp(parse(bytes, length, length),
					   parse(bytes, length, 1)) == 0);
}
