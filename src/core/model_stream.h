/*-------------------------------------------------------------------------
 *
 * model_stream.h
 *	  An answer of a model that arrives piece by piece.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_MODEL_STREAM_H
#define AGNO_MODEL_STREAM_H

#include "core/provider.h"
#include "core/sse.h"

/* The most parts that an answer may have. */
#define MAX_STREAM_PARTS 2000

/* A part of an answer that comes in pieces: a call, for one. */
typedef struct StreamPart
{
	int64		index;			/* the server's number of it */
	char	   *type;			/* the server's word, or NULL */
	char	   *id;				/* of a call, or NULL */
	char	   *name;			/* of the function, or NULL */
	char	   *start;			/* as it began, or what came beside it, as
								 * JSON, or NULL */
	StringInfoData text;		/* the pieces so far: of a call, arguments */
	StringInfoData signature;	/* of reasoning */
} StreamPart;

/* What has arrived of a streamed answer. */
struct ModelStream
{
	const Provider *provider;
	SseParser	parser;
	bool		has_events;		/* an event has arrived, if an odd one */
	StringInfoData content;		/* the text so far: it only grows */
	StringInfoData reasoning;	/* the reasoning so far */
	bool		reasoning_goes_back;	/* it is to be kept beside the calls */
	StringInfoData items;		/* whole parts as they came, with commas */
	StreamPart *parts;			/* part_count of part_size: those that come in
								 * pieces */
	int			part_count;
	int			part_size;
	int		   *by_index;		/* their places in parts, by StreamPart.index
								 * and then by place */
	bool		finished;		/* the model has said why it stopped */
	bool		ended;			/* answer.outcome is known: nothing more comes */
	ModelAnswer answer;			/* what is known of it; reasoning is above,
								 * and content, unless the end has said it
								 * again */
};

extern ModelStream *model_stream_create(const Provider *provider);
extern void model_stream_free(ModelStream *stream);
extern StreamPart *model_stream_part(ModelStream *stream, int64 index);
extern StreamPart *model_stream_add_part(ModelStream *stream, int64 index);
extern void model_stream_feed(ModelStream *stream, const char *bytes,
							  size_t length);
extern void model_stream_end(ModelStream *stream, ModelAnswer *answer);

#endif							/* AGNO_MODEL_STREAM_H */
