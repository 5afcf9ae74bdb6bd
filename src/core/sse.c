/*-------------------------------------------------------------------------
 *
 * sse.c
 *	  Server-sent events: bytes in, the data of events out.
 *
 * As the HTML standard parses an event stream: lines end with LF, CR or CRLF,
 * wherever the network has cut them; a byte order mark at the start is
 * skipped; lines of data are joined; comments and other fields are ignored,
 * also "event", since every API repeats the name within the data. An event
 * that the end of the stream cuts is delivered by sse_end() all the same: the
 * data shows whether it is whole.
 *
 * Pure. The caller bounds how many bytes there are.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include "core/sse.h"

#define BOM "\xef\xbb\xbf"

/* The buffers of lines and events are kept up to this size, in bytes. */
#define KEPT_SIZE (16 * 1024)

/*
 * Prepare for a stream; memory is of the current context.
 */
void
sse_init(SseParser *parser)
{
	memset(parser, 0, sizeof(SseParser));
	initStringInfo(&parser->line);
	initStringInfo(&parser->data);
}

/*
 * Empty a buffer. There are thousands of streams: none keeps what its longest line took.
 */
static void
empty(StringInfo buffer)
{
	if (buffer->maxlen <= KEPT_SIZE)
	{
		resetStringInfo(buffer);
		return;
	}
	pfree(buffer->data);
	initStringInfo(buffer);
}

static void
deliver(SseParser *parser, SseCallback callback, void *argument)
{
	if (parser->has_data && parser->data.len > 0)
		callback(argument, parser->data.data, parser->data.len);
	empty(&parser->data);
	parser->has_data = false;
}

/*
 * A line is complete.
 */
static void
end_line(SseParser *parser, SseCallback callback, void *argument)
{
	const char *line = parser->line.data;
	int			length = parser->line.len;

	if (!parser->started && length >= 3 && memcmp(line, BOM, 3) == 0)
	{
		line += 3;
		length -= 3;
	}
	parser->started = true;

	if (length == 0)
		deliver(parser, callback, argument);
	else if (length >= 4 && memcmp(line, "data", 4) == 0 &&
			 (length == 4 || line[4] == ':'))
	{
		line += Min(length, 5);
		length -= Min(length, 5);
		if (length > 0 && *line == ' ')
		{
			line++;
			length--;
		}
		if (parser->has_data)
			appendStringInfoChar(&parser->data, '\n');
		appendBinaryStringInfo(&parser->data, line, length);
		parser->has_data = true;
	}
	empty(&parser->line);
}

/*
 * The next bytes of the stream. Calls back for each event that they complete.
 */
void
sse_feed(SseParser *parser, const char *bytes, size_t length,
		 SseCallback callback, void *argument)
{
	size_t		start = 0;

	for (size_t at = 0; at < length; at++)
	{
		char		c = bytes[at];

		if (c == '\n' && parser->after_cr)
			start = at + 1;
		else if (c == '\n' || c == '\r')
		{
			appendBinaryStringInfo(&parser->line, bytes + start, at - start);
			end_line(parser, callback, argument);
			start = at + 1;
		}
		parser->after_cr = c == '\r';
	}
	appendBinaryStringInfo(&parser->line, bytes + start, length - start);
}

/*
 * The stream has ended.
 */
void
sse_end(SseParser *parser, SseCallback callback, void *argument)
{
	if (parser->line.len > 0)
		end_line(parser, callback, argument);
	deliver(parser, callback, argument);
}
