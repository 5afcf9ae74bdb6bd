/*-------------------------------------------------------------------------
 *
 * sse.h
 *	  Server-sent events.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_SSE_H
#define AGNO_SSE_H

#include "lib/stringinfo.h"

/* The data of an event: valid UTF-8 or not, terminated by a NUL. */
typedef void (*SseCallback) (void *argument, const char *data, size_t length);

/* A stream of bytes on its way to be events. */
typedef struct SseParser
{
	StringInfoData line;		/* what has arrived of the current line */
	StringInfoData data;		/* of the current event */
	bool		has_data;		/* there was a line of data, if an empty one */
	bool		after_cr;		/* a line feed that comes next is no line */
	bool		started;		/* the byte order mark, if any, is behind us */
} SseParser;

extern void sse_init(SseParser *parser);
extern void sse_feed(SseParser *parser, const char *bytes, size_t length,
					 SseCallback callback, void *argument);
extern void sse_end(SseParser *parser, SseCallback callback, void *argument);

#endif							/* AGNO_SSE_H */
