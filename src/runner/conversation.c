/*-------------------------------------------------------------------------
 *
 * conversation.c
 *	  The conversation of a run, put together from what is stored.
 *
 * Of earlier runs of its session, and of its own earlier answers with calls. Asks
 * no table: what the store has read is given.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/clock.h"
#include "core/history.h"
#include "core/json.h"
#include "runner/conversation.h"
#include "server/settings.h"
#include "utils/memutils.h"

/*
 * What a run has said, in all its answers with calls and with the results of the
 * calls, may be so many times agno_bg.max_response_size.
 */
#define MOST_RESPONSES 4

static char *
copy_or_null(const char *string)
{
	return string != NULL ? pstrdup(string) : NULL;
}

/*
 * Read an array of messages, and append them to a list.
 */
static List *
read_messages(List *messages, const char *json)
{
	char	   *scrubbed = json_scrub(json, strlen(json));
	cJSON	   *tree = json_parse(scrubbed, strlen(scrubbed));
	const char *at = scrubbed;
	const cJSON *item;

	cJSON_ArrayForEach(item, tree)
	{
		Message    *message = palloc(sizeof(Message));
		const char *end;
		char	   *raw;

		if (!json_next_element(&at))
			break;
		end = json_skip_value(at);
		raw = pnstrdup(at, end - at);
		if (message_read(item, raw, message))
			messages = lappend(messages, message);
		pfree(raw);
		at = end;
	}
	json_free(tree);
	pfree(scrubbed);
	return messages;
}

/*
 * Add the messages of earlier runs, but for their system messages and for what
 * was history to them; the last ones only, when there is a limit. As
 * AgentSession.get_messages() of Agno, but for calls of tools without results.
 */
void
conversation_add_history(Run *run, const ReadyRun *ready)
{
	List	   *messages = NIL;
	Message    *history;
	int			max_calls = ready->max_history_calls;
	int			count = 0;
	int			skip = 0;
	ListCell   *cell;

	foreach(cell, ready->history)
		messages = read_messages(messages, lfirst(cell));
	history = palloc(sizeof(Message) * Max(list_length(messages), 1));
	foreach(cell, messages)
	{
		Message    *message = lfirst(cell);

		if (!message->from_history && message->role != MESSAGE_SYSTEM)
			history[count++] = *message;
	}
	if (ready->history_messages >= 0)
		skip = Max(count - ready->history_messages, 0);
	if (run->tools == NULL && run->provider->calls_need_tools)
		max_calls = 0;
	count = history_select(history + skip, count - skip, max_calls);
	for (int i = skip; i < skip + count; i++)
	{
		history[i].from_history = true;
		*run_add_message(run, history[i].role, NULL) = history[i];
	}
}

/*
 * Add what is known of the run of an agent.
 */
static void
add_child(Message *message, const StoredCall *call)
{
	cJSON	   *metrics;

	message->child_run_id = copy_or_null(call->child_run_id);
	if (call->child_metrics == NULL)
		return;
	metrics = json_parse(call->child_metrics, strlen(call->child_metrics));
	token_usage_read(metrics, &message->child_usage);
	json_free(metrics);
}

/*
 * The result of a call.
 */
static Message *
result_message(const Run *run, const StoredCall *call)
{
	const Tool *tool = run->tools != NULL ?
		tools_find(run->tools, call->tool) : NULL;
	Message    *message = palloc(sizeof(Message));

	message_init(message, MESSAGE_TOOL, pstrdup(call->result));
	message->tool_call_id = pstrdup(call->model_call_id);
	message->tool_name = pstrdup(call->tool);
	message->tool_args = copy_or_null(call->arguments);
	message->executed = call->executed;
	message->tool_call_error = call->failed;
	message->tool_started = call->started;
	message->tool_duration = call->duration;
	message->stop_after_call = tool != NULL && tool->stop_after_call;
	message->requirement = requirement_copy(call->requirement);
	add_child(message, call);
	return message;
}

/*
 * Add calls of the last answer that somebody is to decide about.
 */
static void
add_waiting(Run *run, const StoredStep *step)
{
	ListCell   *cell;

	run->waiting = palloc(sizeof(Message) * Max(list_length(step->calls), 1));
	foreach(cell, step->calls)
	{
		const StoredCall *call = lfirst(cell);
		Message    *message;

		if (!call->waits ||
			(call->requirement == NULL && !call->child_waits))
			continue;
		message = &run->waiting[run->waiting_count++];
		message_init(message, MESSAGE_TOOL, NULL);
		message->tool_call_id = pstrdup(call->model_call_id);
		message->tool_name = pstrdup(call->tool);
		message->tool_args = copy_or_null(call->arguments);
		if (call->member_requirements == NULL)
			message->requirement = requirement_copy(call->requirement);
		message->member_requirements = copy_or_null(call->member_requirements);
		add_child(message, call);
	}
}

/*
 * What an answer has said, and what its calls have given: Messages.
 */
static List *
messages_of(const Run *run, const StoredStep *step)
{
	List	   *messages = read_messages(NIL, step->messages);
	ListCell   *cell;

	foreach(cell, step->calls)
	{
		StoredCall *call = lfirst(cell);

		if (!call->waits && !call->pending)
			messages = lappend(messages, result_message(run, call));
	}
	return messages;
}

/*
 * How long that is, in bytes.
 */
static int64
length_of(const StoredStep *step)
{
	int64		length = strlen(step->messages);
	ListCell   *cell;

	foreach(cell, step->calls)
		length += strlen(((StoredCall *) lfirst(cell))->result);
	return length;
}

/*
 * Whether nothing that is stored of an answer and its calls will change.
 */
static bool
is_over(const StoredStep *step)
{
	ListCell   *cell;

	foreach(cell, step->calls)
	{
		StoredCall *call = lfirst(cell);

		if (call->waits || call->pending)
			return false;
	}
	return true;
}

static void
add_messages(Run *run, List *messages)
{
	ListCell   *cell;

	foreach(cell, messages)
	{
		Message    *message = lfirst(cell);

		*run_add_message(run, message->role, NULL) = *message;
	}
}

/*
 * A conversation of a run of which nothing is known yet, below the current memory
 * context.
 */
Conversation *
conversation_create(const char *run_id)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "agno_bg conversation",
												  ALLOCSET_SMALL_SIZES);
	Conversation *conversation = MemoryContextAllocZero(context,
														sizeof(Conversation));

	conversation->context = context;
	conversation->run_id = MemoryContextStrdup(context, run_id);
	return conversation;
}

/*
 * Whether this is the last answer that is known. If not, the conversation is that of
 * an earlier life of the run.
 */
bool
conversation_has(const Conversation *conversation, const StoredStep *step)
{
	return step->turn == conversation->turns &&
		strcmp(step->messages, conversation->last) == 0;
}

/*
 * Keep the messages of an answer that is over, the next one. They are in its memory.
 */
static void
keep(Conversation *conversation, const StoredStep *step, List *messages)
{
	if (conversation->last != NULL)
		pfree(conversation->last);
	conversation->last = pstrdup(step->messages);
	conversation->messages = list_concat(conversation->messages, messages);
	conversation->length += length_of(step);
	conversation->turns = step->turn;
}

/*
 * Go on with a conversation: add what is known of it, and what StoredSteps add to
 * that, which have all that is not known. It is known then, but for what may change.
 * What of the run is needed for that is there. Everything else is copied into the
 * current memory context.
 */
void
conversation_resume(Run *run, List *steps, Conversation *conversation)
{
	int64		length = conversation->length;
	int			turns = 0;
	ListCell   *cell;

	add_messages(run, conversation->messages);
	foreach(cell, steps)
	{
		StoredStep *step = lfirst(cell);
		bool		over;
		MemoryContext old;
		List	   *messages;

		turns = step->turn;
		if (turns <= conversation->turns)
			continue;
		over = turns == conversation->turns + 1 && is_over(step);
		old = over ? MemoryContextSwitchTo(conversation->context) :
			CurrentMemoryContext;
		messages = messages_of(run, step);
		length += length_of(step);
		if (over)
			keep(conversation, step, messages);
		MemoryContextSwitchTo(old);
		add_messages(run, messages);
	}
	add_waiting(run, llast(steps));
	run->turns = turns;
	run_resumed(run, clock_now());
	if (run->step != STEP_STORE &&
		length > MOST_RESPONSES * (int64) agno_max_response_size * 1024)
		run_failed(run, "too_large",
				   "the conversation with the model has become too long",
				   clock_now());
}
