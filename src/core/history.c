/*-------------------------------------------------------------------------
 *
 * history.c
 *	  What earlier runs have said, as a model may be told of it.
 *
 * All APIs refuse a conversation with a call that has no result, or with a result
 * that has no call: once it is in the history of a session, every later run would
 * fail. So only whole exchanges are kept. Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include "core/history.h"

/*
 * The result, among these, of a call; NULL if there is none. *next is the place after
 * the last one that was found: they come in the order of the calls.
 */
static Message *
find_result(Message *results, int count, int *next, const ToolCall *call)
{
	for (int n = 0; n < count; n++)
	{
		int			place = (*next + n) % count;

		if (results[place].call_id == NULL || call->call_id == NULL ||
			strcmp(results[place].call_id, call->call_id) != 0)
			continue;
		*next = place + 1;
		return &results[place];
	}
	return NULL;
}

/*
 * Leave out the calls of an answer that have no result, or none that is sent.
 */
static void
select_calls(Message *messages, int count, int place, bool *sent)
{
	Message    *message = &messages[place];
	int			results = 0;
	int			next = 0;
	int			kept = 0;

	while (place + 1 + results < count &&
		   message[1 + results].role == MESSAGE_TOOL)
		results++;
	for (int c = 0; c < message->tool_call_count; c++)
	{
		ToolCall   *call = &message->tool_calls[c];
		Message    *result = find_result(message + 1, results, &next, call);

		if (result == NULL || !sent[result - messages])
			continue;
		result->answers_call = true;
		message->tool_calls[kept++] = *call;
	}
	/* What came with calls that are left out cannot be sent back as it came. */
	if (kept < message->tool_call_count)
		message->items = NULL;
	message->tool_call_count = kept;
	if (kept == 0 &&
		(message->content == NULL || message->content[0] == '\0'))
		sent[place] = false;
}

/*
 * Select from these messages, in their order, what is to be sent along: no more
 * results of tools than max_results, the last ones (-1: any number), and whole
 * exchanges only. Returns how many messages are left.
 */
int
history_select(Message *messages, int count, int max_results)
{
	bool	   *sent = palloc(sizeof(bool) * Max(count, 1));
	int			results = 0;
	int			kept = 0;

	messages_link(messages, count);
	for (int i = count - 1; i >= 0; i--)
	{
		messages[i].answers_call = false;
		sent[i] = messages[i].role != MESSAGE_TOOL || max_results < 0 ||
			results++ < max_results;
	}
	for (int i = 0; i < count; i++)
	{
		if (messages[i].role == MESSAGE_ASSISTANT &&
			messages[i].tool_call_count > 0)
			select_calls(messages, count, i, sent);
		else if (messages[i].role == MESSAGE_TOOL)
			sent[i] &= messages[i].answers_call;
	}
	for (int i = 0; i < count; i++)
	{
		if (sent[i])
			messages[kept++] = messages[i];
	}
	pfree(sent);
	return kept;
}
