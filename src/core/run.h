/*-------------------------------------------------------------------------
 *
 * run.h
 *	  The life of one run within one attempt.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_RUN_H
#define AGNO_RUN_H

#include "common/pg_prng.h"
#include "core/http_result.h"
#include "core/model_stream.h"
#include "core/provider.h"
#include "core/run_outcome.h"
#include "core/tool.h"
#include "lib/stringinfo.h"

/* What is to be done next. */
typedef enum RunStep
{
	STEP_SEND,					/* send a request: run_sent() */
	STEP_AWAIT,					/* wait for its answer: run_answered() */
	STEP_BACK_OFF,				/* wait until wake_at: run_woken() */
	STEP_STORE					/* it has ended: store what came of it */
} RunStep;

/*
 * A call of a tool that the model asks for, and what is to become of it.
 */
typedef struct PlannedCall
{
	const ToolCall *call;
	const Tool *tool;			/* to be called; NULL: the call is refused, */
	const char *refusal;		/* and this is its result */
	char	   *arguments;		/* a JSON object, if it is to be called */
} PlannedCall;

/*
 * A run. Whoever creates it fills the first part; all strings are UTF-8 and
 * live as long as the run, in the memory context that was current then. Times
 * are microseconds of one clock that never jumps.
 */
typedef struct Run
{
	/* what is asked */
	const char *run_id;
	const char *model;			/* the id of the model at its server */
	const char *options;		/* a JSON object for the body, or NULL */
	const OutputSchema *schema; /* that the answer must fit, or NULL */
	const Provider *provider;
	bool		streamed;		/* the answer is to arrive piece by piece */
	bool		tells_usage;	/* its server is not to be asked for tokens */
	bool		background;		/* the server is to work in the background */
	int			attempt;		/* the number of this attempt, from 1 */
	int64		started_at;		/* when the attempt started */
	int64		deadline;		/* when the run must have ended */
	int			retries;		/* how often a request may still be repeated */
	bool		patient;		/* it waits for a server that cannot be
								 * reached */
	const ToolList *tools;		/* that the model may call, or NULL */
	const char *tool_choice;	/* as ModelRequest.tool_choice */
	int			call_limit;		/* how many calls there may be */

	/* where it stands */
	RunStep		step;
	int64		wake_at;		/* when STEP_BACK_OFF is over */
	char	   *response_id;	/* what the server works on, or NULL */
	int			polls;			/* how often it has been asked for it */
	ModelStream *stream;		/* what has arrived of the answer, or NULL */
	size_t		streamed_bytes; /* how much of the body, as it is now, that is
								 * made of */
	const char *streamed_text;	/* what the last answer's pieces said, once it
								 * is whole, or NULL: it may say another thing */
	int			repetitions;	/* how many requests failed and were repeated */
	bool		corrected;		/* the model has been told that its answer did
								 * not fit the schema */
	Message    *messages;		/* the conversation: message_count of
								 * message_size */
	int			message_count;
	int			message_size;
	int			turns;			/* how many answers with calls are stored, */
	int			stored_messages;	/* with the first so many messages */
	int			calls;			/* how many calls there have been */
	size_t		input_schema_bytes; /* of the schemas that those have of which
									 * somebody gives arguments */
	bool		no_more_tools;	/* there have been too many */
	size_t		earlier_length; /* how many bytes long earlier is */
	char	   *earlier;		/* what the model has said in earlier answers
								 * of the run, or NULL */
	TokenUsage	earlier_usage;	/* what they cost */
	PlannedCall *planned;		/* planned_count calls of the last answer */
	int			planned_count;
	Message    *waiting;		/* waiting_count calls of the last answer that
								 * somebody is to decide about: executions
								 * without results */
	int			waiting_count;

	/* how it ended: whole at STEP_STORE */
	RunOutcome	outcome;		/* its status may be RUNNING: tools are to be
								 * called */
	int64		postpone_ms;	/* its status is PENDING: start it again, not
								 * before then; 0: when its server has room,
								 * or can be reached */
} Run;

/* How much of a streamed answer is read at once, in bytes. */
#define RUN_PIECE_BYTES (256 * 1024)

extern Message *run_add_message(Run *run, MessageRole role, char *content);
extern void run_write_request(const Run *run, StringInfo body);
extern void run_sent(Run *run);
extern size_t run_unread(const Run *run, const HttpResult *result);
extern bool run_received(Run *run, const HttpResult *result);
extern bool run_is_told_all(const Run *run);
extern void run_answered(Run *run, const HttpResult *result, int64 now,
						 pg_prng_state *random);
extern void run_hold(Run *run, int64 until);
extern void run_give_way(Run *run, int64 now);
extern void run_woken(Run *run, int64 now);
extern void run_cancelled(Run *run, int64 now);
extern void run_failed(Run *run, const char *type, const char *message,
					   int64 now);

extern void run_resumed(Run *run, int64 now);

extern char *run_messages_json(const Run *run);
extern char *run_step_json(const Run *run);
extern char *run_tools_json(const Run *run);
extern char *run_requirements_json(const Run *run);

#endif							/* AGNO_RUN_H */
