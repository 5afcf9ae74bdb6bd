/*-------------------------------------------------------------------------
 *
 * message.h
 *	  The messages of a conversation with a model.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_MESSAGE_H
#define AGNO_MESSAGE_H

#include <cjson/cJSON.h>

#include "core/requirement.h"
#include "core/usage.h"
#include "core/uuid.h"
#include "lib/stringinfo.h"

typedef enum MessageRole
{
	MESSAGE_SYSTEM,
	MESSAGE_USER,
	MESSAGE_ASSISTANT,
	MESSAGE_TOOL
} MessageRole;

/* The most calls that an answer may have, and a run in all its answers. */
#define MAX_TOOL_CALLS 1000
#define MAX_RUN_CALLS 10000

#define MESSAGE_ROLES (MESSAGE_TOOL + 1)

/* A call of a function that the model asks for. */
typedef struct ToolCall
{
	char	   *id;				/* the server's id of the item, or NULL */
	char	   *call_id;		/* what the result refers to */
	char	   *name;			/* the function */
	char	   *arguments;		/* JSON as the model wrote it, unchecked */
} ToolCall;

/*
 * One message. All strings are UTF-8, and owned by whoever owns the message.
 */
typedef struct Message
{
	MessageRole role;
	char		id[UUID_TEXT_SIZE]; /* a UUID */
	char	   *content;		/* NULL when there is none */
	char	   *reasoning;		/* reasoning told with it, or NULL */
	char	   *response_id;	/* the server's id of the answer, or NULL */
	ToolCall   *tool_calls;		/* tool_call_count of them */
	int			tool_call_count;
	char	   *items;			/* the parts of the answer as they came, a
								 * JSON array to be sent back verbatim, with
								 * the API's name for it; or both NULL */
	const char *items_name;
	const char *items_model;	/* the model that has told them, or NULL */
	int64		created_at;		/* seconds since 1970 */
	bool		from_history;	/* of an earlier run, sent along */

	/* of the result of a tool only */
	char	   *tool_call_id;	/* ToolCall.id of the call */
	char	   *call_id;		/* and its call_id */
	char	   *tool_name;
	char	   *tool_args;		/* a JSON object, or NULL */
	bool		tool_call_error;
	bool		executed;		/* else it was refused, or waits */
	const Requirement *requirement; /* what it needed, or NULL */
	char	   *child_run_id;	/* the run that an agent was given, or NULL */
	char	   *member_requirements;	/* what that one waits for: a JSON
										 * array of Agno's dicts; or NULL */
	TokenUsage	child_usage;	/* and what it has cost */
	double		tool_started;	/* seconds since 1970 */
	double		tool_duration;	/* in seconds */
	bool		stop_after_call;	/* its tool ends the run */
	bool		answers_call;	/* history.c's own */

	/* of an assistant's message only */
	TokenUsage	usage;
	double		duration;		/* of the request, in seconds */
	double		time_to_first_token;	/* in seconds */
} Message;

extern void message_init(Message *message, MessageRole role, char *content);
extern ToolCall *message_add_tool_call(Message *message);
extern void message_append_json(StringInfo out, const Message *message);
extern bool message_read(const cJSON *object, const char *json,
						 Message *message);
extern void message_keep_items(Message *message, char *items,
							   const char *name);
extern void messages_link(Message *messages, int count);
extern void message_append_execution(StringInfo out, const Message *message);
extern const char *const message_items_names[];

#endif							/* AGNO_MESSAGE_H */
