/*-------------------------------------------------------------------------
 *
 * model_stream.c
 *	  An answer of a model that arrives piece by piece.
 *
 * Pure: the parser of events is sse.c, their meaning is the provider's. Called
 * by run.c.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include "core/json.h"
#include "core/model_stream.h"

/*
 * A stream of nothing yet, in the current memory context.
 */
ModelStream *
model_stream_create(const Provider *provider)
{
	ModelStream *stream = palloc0(sizeof(ModelStream));

	stream->provider = provider;
	sse_init(&stream->parser);
	initStringInfo(&stream->content);
	initStringInfo(&stream->reasoning);
	message_init(&stream->answer.message, MESSAGE_ASSISTANT, NULL);
	return stream;
}

static void
take_event(void *argument, const char *data, size_t length)
{
	ModelStream *stream = argument;

	if (!stream->ended)
		stream->provider->read_event(stream, data, length);
}

/*
 * More of it has arrived. The memory context must be that of the stream.
 */
void
model_stream_feed(ModelStream *stream, const char *bytes, size_t length)
{
	sse_feed(&stream->parser, bytes, length, take_event, stream);
}

/*
 * No more comes: what is the answer?
 */
void
model_stream_end(ModelStream *stream, ModelAnswer *answer)
{
	sse_end(&stream->parser, take_event, stream);
	*answer = stream->answer;
	answer->message.content = stream->content.data;
	answer->message.reasoning =
		stream->reasoning.len > 0 ? stream->reasoning.data : NULL;
	if (!stream->ended && !stream->finished)
	{
		answer->outcome = ANSWER_INVALID;
		answer->error = "the stream ended before the answer did";
	}
}
