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

/* What has arrived of a streamed answer. */
struct ModelStream
{
	const Provider *provider;
	SseParser	parser;
	StringInfoData content;		/* the text so far */
	StringInfoData reasoning;	/* the reasoning so far */
	bool		finished;		/* the model has said why it stopped */
	bool		ended;			/* answer.outcome is known: nothing more comes */
	ModelAnswer answer;			/* what is known of it; content and reasoning
								 * are above */
};

extern ModelStream *model_stream_create(const Provider *provider);
extern void model_stream_feed(ModelStream *stream, const char *bytes,
							  size_t length);
extern void model_stream_end(ModelStream *stream, ModelAnswer *answer);

#endif							/* AGNO_MODEL_STREAM_H */
