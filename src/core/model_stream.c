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
	initStringInfo(&stream->items);
	message_init(&stream->answer.message, MESSAGE_ASSISTANT, NULL);
	return stream;
}

/*
 * Let go of a stream of which nothing counts, with all in it that may be long.
 */
void
model_stream_free(ModelStream *stream)
{
	for (int i = 0; i < stream->part_count; i++)
	{
		pfree(stream->parts[i].text.data);
		pfree(stream->parts[i].signature.data);
	}
	if (stream->part_size > 0)
	{
		pfree(stream->parts);
		pfree(stream->by_index);
	}
	pfree(stream->parser.line.data);
	pfree(stream->parser.data.data);
	pfree(stream->content.data);
	pfree(stream->reasoning.data);
	pfree(stream->items.data);
	pfree(stream);
}

/*
 * How many parts have no larger number than this.
 */
static int
count_up_to(const ModelStream *stream, int64 index)
{
	int			low = 0;
	int			high = stream->part_count;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (stream->parts[stream->by_index[middle]].index <= index)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/*
 * The part with this number, the last one if there are several, or NULL. A server
 * may send millions of pieces.
 */
StreamPart *
model_stream_part(ModelStream *stream, int64 index)
{
	int			count = count_up_to(stream, index);
	StreamPart *part = count > 0 ?
		&stream->parts[stream->by_index[count - 1]] : NULL;

	return part != NULL && part->index == index ? part : NULL;
}

/*
 * Add a part. Returns NULL, and the answer is none, if there are too many.
 */
StreamPart *
model_stream_add_part(ModelStream *stream, int64 index)
{
	StreamPart *part;
	int			place;

	if (stream->part_count == MAX_STREAM_PARTS)
	{
		stream->answer.outcome = ANSWER_INVALID;
		stream->answer.error = "the answer has too many parts";
		stream->ended = true;
		return NULL;
	}
	if (stream->part_count == stream->part_size)
	{
		stream->part_size = Max(4, stream->part_size * 2);
		stream->parts = stream->part_count == 0 ?
			palloc(sizeof(StreamPart) * stream->part_size) :
			repalloc(stream->parts, sizeof(StreamPart) * stream->part_size);
		stream->by_index = stream->part_count == 0 ?
			palloc(sizeof(int) * stream->part_size) :
			repalloc(stream->by_index, sizeof(int) * stream->part_size);
	}
	place = count_up_to(stream, index);
	memmove(&stream->by_index[place + 1], &stream->by_index[place],
			sizeof(int) * (stream->part_count - place));
	stream->by_index[place] = stream->part_count;
	part = &stream->parts[stream->part_count++];
	memset(part, 0, sizeof(StreamPart));
	part->index = index;
	initStringInfo(&part->text);
	initStringInfo(&part->signature);
	return part;
}

static void
take_event(void *argument, const char *data, size_t length)
{
	ModelStream *stream = argument;

	stream->has_events = true;
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
	if (stream->provider->end_stream != NULL)
		stream->provider->end_stream(stream);
	*answer = stream->answer;
	if (answer->message.content == NULL || answer->message.content[0] == '\0')
		answer->message.content = stream->content.data;
	answer->message.reasoning =
		stream->reasoning.len > 0 ? stream->reasoning.data : NULL;
	if (!stream->ended && !stream->finished)
	{
		answer->outcome = ANSWER_INVALID;
		answer->error = "the stream ended before the answer did";
	}
}
