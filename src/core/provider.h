/*-------------------------------------------------------------------------
 *
 * provider.h
 *	  One API of model servers: its JSON in and out.
 *
 * Each API is one file, provider_*.c, that fills one Provider. They are pure:
 * bytes in, structs out, and the reverse. All memory is palloc'd in the
 * current context.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_PROVIDER_H
#define AGNO_PROVIDER_H

#include "core/message.h"
#include "core/schema.h"
#include "core/tool.h"
#include "lib/stringinfo.h"

/* What a model is asked. */
typedef struct ModelRequest
{
	const char *model;			/* the id of the model at its server */
	const Message *messages;	/* the conversation so far */
	int			message_count;
	const char *options;		/* a JSON object to merge into the body, or
								 * NULL; none of its keys is reserved */
	const OutputSchema *schema; /* that the answer is to fit, or NULL */
	bool		stream;			/* as server-sent events */
	bool		tells_usage;	/* unasked, at the end of a stream */
	const ToolList *tools;		/* that the model may call, or NULL */
	const char *tool_choice;	/* none, auto, required, the name of a tool,
								 * or NULL */
	bool		no_more_tools;	/* it may call none any more */
} ModelRequest;

/* How an answer ended. */
typedef enum AnswerOutcome
{
	ANSWER_COMPLETE,
	ANSWER_INCOMPLETE,			/* cut by a limit: content is what there is */
	ANSWER_PENDING,				/* the server works on it in the background */
	ANSWER_FAILED,				/* the server says that it failed */
	ANSWER_INVALID				/* not an answer of this API */
} AnswerOutcome;

/* What a model answered. */
typedef struct ModelAnswer
{
	AnswerOutcome outcome;
	const char *error;			/* why, unless complete; else NULL */
	Message		message;		/* the assistant's, when complete or not quite */
} ModelAnswer;

/* What has arrived of a streamed answer: model_stream.h. */
typedef struct ModelStream ModelStream;

typedef struct Provider
{
	const char *api;			/* the value of the server option "api" */
	const char *default_base_url;
	const char *path;			/* of the request, after the base URL */
	const char *key_header;		/* what comes before the key in its header */
	const char *const *headers; /* others, NULL-terminated, or NULL */
	const char *tools_text;		/* what Agno adds to the system message when
								 * there are tools, or NULL */
	bool		calls_need_tools;	/* a conversation with calls is refused if
									 * the request has no tools */
	bool		background;		/* with the option "background", answers are
								 * fetched from path/id, and cancelled at
								 * path/id/cancel */

	/* Keys of ModelRequest.options that this API reserves, NULL-terminated. */
	const char *const *reserved_options;

	/*
	 * Make the tools as this API takes them, once for all requests; or NULL:
	 * they are.
	 */
	void		(*fit_tools) (ToolList *tools);

	/* A header that requests with these tools need, or NULL; or NULL: none. */
	const char *(*tools_header) (const ToolList *tools);

	/* Append the body of a request. */
	void		(*write_request) (StringInfo body, const ModelRequest *request);

	/* Read the body of an answer with a status of 2xx. */
	void		(*read_answer) (const char *body, size_t length,
								ModelAnswer *answer);

	/* Read an event of a streamed answer; model_stream.h says into what. */
	void		(*read_event) (ModelStream *stream, const char *data,
							   size_t length);

	/* The stream is over: make calls of its parts; NULL: nothing to do. */
	void		(*end_stream) (ModelStream *stream);
} Provider;

extern const Provider provider_openai_responses;
extern const Provider provider_openai_chat;
extern const Provider provider_anthropic;

extern const Provider *provider_find(const char *api);
extern char *provider_names(void);
extern bool provider_option_reserved(const Provider *provider,
									 const char *name);
extern void provider_append_options(StringInfo body, const char *options,
									const char *except);
extern void provider_append_schema(StringInfo body,
								   const OutputSchema *schema);
extern char *provider_raw_member(const char *bytes, size_t length,
								 const char *outer, const char *name);
extern const char *provider_arguments(const ToolCall *call);
extern bool provider_quota_is_used_up(const char *body, size_t length);
extern char *provider_invalid_answer(const cJSON *tree, const char *body,
									 size_t length, const char *expected);
extern char *provider_error_message(int status, const char *body,
									size_t length);

#endif							/* AGNO_PROVIDER_H */
