/*-------------------------------------------------------------------------
 *
 * store_tools.h
 *	  The tables of agno_bg: definitions of tools, and their calls.
 *
 * Functions are in store_tools.c, for backends and tool workers, between
 * store_enter() and store_leave(). Texts are of the database's encoding.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_STORE_TOOLS_H
#define AGNO_STORE_TOOLS_H

#include "core/id.h"
#include "datatype/timestamp.h"
#include "utils/jsonb.h"

/* A row of agno.tools. */
typedef struct ToolRow
{
	Oid			owner;
	char	   *function;		/* schema.name(types), or NULL */
	char	   *description;	/* or NULL: that of the function */
	char	   *parameters;		/* JSON, or NULL: those of the function */
	char	   *bind;			/* a JSON object, or NULL */
	int			read_only;		/* -1: as the function says */
	bool		requires_confirmation;
	bool		external_execution;
	bool		preview;
	const char *const *inputs;	/* the arguments that somebody gives:
								 * NULL-terminated */
	bool		has_approver;
	Oid			approver;
	int64		expires_ms;		/* 0: not given */
	bool		stop_after_call;
	int64		timeout_ms;		/* -1: not given */
} ToolRow;

/* What calls of tools need to know of their run: it does not change. */
typedef struct ToolRun
{
	char	   *session_id;
	char	   *user_id;		/* or NULL */
	char	   *agent_id;		/* or NULL */
	char	   *agent_name;		/* or NULL */
	char	   *tools;			/* JSON */
	bool		stream;
	int			priority;
	int			depth;			/* how many runs are above it */
	bool		reads_state;	/* some of its tools get the session's state */
} ToolRun;

/* The work that a tool worker has taken: the next call of a turn. */
typedef struct ToolWork
{
	char	   *run_id;
	int			turn;
	int			attempt;
	int			shard;			/* of its session */
	int64		left_ms;		/* of the run's time */
	int			holder;			/* the process that has read calls of the
								 * turn, none of which anybody else has made;
								 * or 0 */

	int			tried_call;		/* of a turn as it is in the table: which call
								 * has been tried, or 0 */
	int			tries;			/* how often; of a call that is taken, that
								 * one */

	/* the call; call_no is 0 if there is none left to be made */
	int			call_no;
	bool		more;			/* there are others after it */
	char	   *tool_call_id;
	char	   *model_call_id;
	char	   *tool;
	char	   *arguments;		/* JSON */
	bool		preview;		/* it is only to be found out what it would do */
	bool		gated;			/* somebody has, or will have, a say in it */
	char	   *fingerprint;	/* of the function that is meant, or NULL */
	char	   *answer;			/* a JSON object of arguments that somebody
								 * has given, or NULL */

	/* its run */
	bool		runs;			/* it is in this attempt */
	const ToolRun *run;			/* a HeldTurn's */
	char	   *session_state;	/* JSON, or NULL: no tool gets it */
} ToolWork;

/* So many calls of a turn are read at once. */
#define HELD_CALLS 16

/* What a tool worker keeps of its last call, for the next one. */
typedef struct HeldTurn
{
	MemoryContext context;		/* of what run points to */
	MemoryContext call_context; /* of what calls point to */
	char		run_id[ID_SIZE];	/* "": there is none */
	TimestampTz created_at;		/* of the run: its id may be used again */
	ToolRun		run;
	int			attempt;
	int			turn;
	int			call_no;		/* the calls of the turn up to this one have
								 * been made, as a rule; 0: none is known */
	ToolWork	calls[HELD_CALLS];	/* the calls after it, as they were when
									 * they were read: of each only what is of
									 * the call itself */
	int			count;			/* how many there are, */
	int			next;			/* and how many of those have been made */
} HeldTurn;

/* What came of a call. */
typedef struct ToolResult
{
	const char *result;			/* or NULL */
	const char *shown;			/* of the result, if that is not all; or NULL */
	const char *error;			/* or NULL */
	const char *sqlstate;		/* of the error */
	const char *child_run_id;	/* what the call waits for, or NULL */
	const char *changes;		/* of a preview: the rows it changed, as a
								 * JSON array */
	bool		stale;			/* the function is not the one that somebody
								 * has approved of */
	bool		more;			/* there are more calls of the turn */
	const char *fingerprint;	/* of the function, for who decides next; or
								 * NULL */
	TimestampTz started_at;
	TimestampTz finished_at;
} ToolResult;

/* Whether the result of a call may be stored. */
typedef enum ToolFence
{
	FENCE_OPEN,					/* the run is locked, and in the attempt */
	FENCE_LOCKED,				/* somebody has locked it: later */
	FENCE_OWN_CANCEL,			/* the call itself has cancelled it */
	FENCE_CLOSED				/* it is over, or cancelled: never */
} ToolFence;

extern bool store_find_tool(const char *tool, Oid role, ToolRow *row);
extern void store_init_held(HeldTurn *held);
extern bool store_take_work(Oid role, HeldTurn *held, ToolWork *work);
extern void store_hold_call(HeldTurn *held, const ToolWork *work, bool made);
extern bool store_has_more_work(Oid role, const ToolWork *work);
extern ToolFence store_lock_for_result(const ToolWork *work, Oid role);
extern bool store_tool_result(const ToolWork *work,
							  const ToolResult *result);
extern bool store_preview(const ToolWork *work, const char *preview,
						  const char *fingerprint);
extern bool store_ask_again(const ToolWork *work, const char *fingerprint);
extern bool store_more_calls(const ToolWork *work);
extern char *store_changes(void);
extern void store_end_turn(const ToolWork *work, Oid role);
extern void store_drop_turn(const ToolWork *work);
extern TimestampTz store_next_put_off(Oid role, TimestampTz after);
extern int	store_put_off_turn(const ToolWork *work, bool longer);
extern bool store_still_wanted(const ToolWork *work, Oid role);
extern Jsonb *store_session_state(const char *run_id);
extern bool store_set_session_state(const char *run_id, Oid owner, int attempt,
									Jsonb *patch);

#endif							/* AGNO_STORE_TOOLS_H */
