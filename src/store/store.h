/*-------------------------------------------------------------------------
 *
 * store.h
 *	  The tables of agno_bg: every SQL statement, and the only SPI.
 *
 * Functions are in the files that the sections name. Texts are of the
 * database's encoding where nothing else is said. An error of a statement is
 * raised, as everywhere.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_STORE_H
#define AGNO_STORE_H

#include "access/htup.h"
#include "core/run.h"
#include "core/run_event.h"
#include "nodes/pg_list.h"
#include "utils/timestamp.h"

/*
 * A call of a tool is so much work, however short it is, where what a turn does is
 * measured in bytes: its row is read, or changed, and what waits for it is told.
 */
#define CALL_WEIGHT 10240

/*-------------------------------------------------------------------------
 * Runs, for backends: within the transaction and for the user of the caller
 *-------------------------------------------------------------------------
 */

/* A run that is to be. Texts are of the database's encoding. */
typedef struct NewRun
{
	const char *run_id;
	const char *session_id;
	bool		new_session;	/* the id is certainly new */
	const char *model;			/* the id of the model at its server */
	const char *model_server;
	Oid			owner;
	TimestampTz created_at;
	Datum		input;			/* text */
	NullableDatum agent_id;		/* text */
	NullableDatum user_id;		/* text */
	NullableDatum metadata;		/* jsonb */
	NullableDatum session_state;	/* jsonb */
	int			priority;
	NullableDatum run_at;		/* timestamptz */
	bool		cancelled;		/* a marker has been waiting for it */
	NullableDatum first_state;	/* jsonb: of its session, if it opens one */
	const char *parent_run_id;	/* or NULL */
	const char *parent_session_id;	/* of that one, or NULL */
	int			depth;			/* how many runs are above it */

	/* of agno.run_requests */
	NullableDatum idempotency_key;	/* text */
	NullableDatum request_hash; /* bytea; null without a key */
	NullableDatum timeout;		/* interval */
	NullableDatum max_attempts; /* integer */
	NullableDatum retries;		/* integer */
	NullableDatum stream;		/* boolean */
	NullableDatum model_options;	/* jsonb */
	NullableDatum output_schema;	/* jsonb */
	NullableDatum agent;		/* jsonb */
	NullableDatum num_history_runs; /* integer */
	NullableDatum num_history_messages; /* integer */
	const char *tools;			/* JSON, or NULL */
	NullableDatum tool_choice;	/* text */
	NullableDatum tool_call_limit;	/* integer */
	NullableDatum max_tool_calls_from_history;	/* integer */
	const char *on_complete;	/* a signature, or NULL */
} NewRun;

/* A row of agno.agents. */
typedef struct AgentRow
{
	Oid			owner;
	char	   *model;			/* or NULL */
	NullableDatum tools;		/* text[] */
	NullableDatum requires_confirmation;	/* text[] */
	NullableDatum tool_choice;	/* text */
	NullableDatum tool_call_limit;	/* integer */
	NullableDatum max_tool_calls_from_history;	/* integer */
	char	   *on_complete;	/* a signature, or NULL */
	NullableDatum stream;		/* boolean */
	NullableDatum timeout;		/* interval */
	NullableDatum retries;		/* integer */
	NullableDatum output_schema;	/* jsonb */
	NullableDatum model_options;	/* jsonb */
	NullableDatum metadata;		/* jsonb */
	NullableDatum session_state;	/* jsonb */
	NullableDatum definition;	/* jsonb: what agent_read() reads */
	NullableDatum num_history_runs; /* integer; null: no history, or limited
									 * by messages */
	NullableDatum num_history_messages; /* integer */
} AgentRow;

/* A run as a backend finds it. */
typedef struct RunRow
{
	char	   *run_id;
	char	   *session_id;
	RunStatus	status;
	Oid			owner;
	char	   *content;		/* or NULL */
	bool		mine;			/* inserted by the current transaction */
} RunRow;

/* What a backend tells a runner about a run: agno.run_signals.kind. */
typedef enum SignalKind
{
	SIGNAL_CANCEL = 'c',		/* it is to be cancelled, or has been */
	SIGNAL_TOOLS = 't',			/* its tools have been called */
	SIGNAL_CHILD = 'k',			/* a run that it has enqueued ended or paused */
	SIGNAL_DECIDED = 'd',		/* all that it waited for has been decided */
	SIGNAL_TOOL_CRASH = 'x',	/* the process that called one is gone */
	SIGNAL_CALLBACK = 'b',		/* its on_complete is to be called */
	SIGNAL_CALLED_BACK = 'e',	/* it has been: the run has ended */
	SIGNAL_REQUEUED = 'r'		/* it is to be executed again after that */
} SignalKind;

/* What the caller was, while the store acts as its tables' owner. */
typedef struct StoreUser
{
	Oid			user;
	int			security_context;
	int			guc_level;		/* of the settings that are the store's */
} StoreUser;

/* store.c: the extension, and the rights of its owner */
extern Oid	store_find_extension(bool *fits, bool complain);
extern StoreUser store_enter(void);
extern void store_leave(StoreUser user);
extern void store_lock_to_write(const char *const *tables, int count);
extern void store_forget_check(void);
extern void store_commit_call(void);

/* store_runs.c: looking */
extern bool store_find_run(const char *run_id, RunRow *run);
extern bool store_lock_run(const char *run_id, RunRow *run);
extern HeapTuple store_copy_run(const char *run_id, Oid owner);
extern bool store_find_agent(const char *agent_id, AgentRow *agent);
extern bool store_find_idempotent(Oid owner, Datum key, Datum hash,
								  RunRow *run);
extern int64 store_count_queue(Oid owner, int limit);

/* store_runs.c: accepting runs, and putting them back into the queue */
extern bool store_insert_request(const NewRun *run);
extern void store_open_session(NewRun *run);
extern bool store_insert_run(const NewRun *run, bool id_given);
extern bool store_is_queued(const char *run_id);
extern void store_requeue(const char *run_id, Oid owner, const char *session_id,
						  TimestampTz accepted_at);

/* store_runs.c: cancelling */
extern void store_cancel_waiting(const char *run_id, const char *content,
								 bool keep);
extern void store_put_signal(const char *run_id, Oid owner, int shard,
							 SignalKind kind);
extern void store_put_marker(const char *run_id, Oid owner);
extern bool store_take_marker(const char *run_id, Oid owner);
extern int64 store_count_markers(Oid owner, int limit);

/*-------------------------------------------------------------------------
 * The queue, for the runner: in transactions of its own
 *-------------------------------------------------------------------------
 */

/* A run that the runner has picked from the queue. */
typedef struct PickedRun
{
	char	   *run_id;
	char	   *session_id;
	Oid			owner;			/* whose turn it is */
	bool		cancelled;		/* it is to be cancelled rather than started */
	bool		continues;		/* it goes on with its attempt */
	TimestampTz paused_at;		/* when it was paused last; 0: never */
	int			looks;			/* how often in a row it could not be had */
	char	   *parked_for;		/* the key of pacing.c that it was parked for
								 * last, or NULL */
	bool		had;			/* store_lock_ready() could lock it */
	ItemPointerData row;		/* where it is in agno.run_queue */
} PickedRun;

/*
 * A run that is about to be started, locked. Texts are UTF-8, except ids,
 * which are of the database's encoding.
 */
typedef struct ReadyRun
{
	MemoryContext context;		/* this and what has been read of it, but for
								 * picked and run_id, is in it */
	PickedRun  *picked;			/* as it was picked */
	char	   *run_id;
	char	   *session_id;
	RunStatus	status;
	Oid			owner;
	ItemPointerData row;		/* where it is in agno.runs */
	ItemPointerData queue_row;	/* where it is in agno.run_queue */
	int			attempt;		/* how often it has been started, as far as
								 * that counts */
	int			row_attempt;	/* and as its row says */
	bool		marked;			/* it is to be cancelled */
	char	   *model_server;	/* of the database's encoding */
	char	   *model;
	char	   *agent_id;		/* or NULL */
	char	   *response_id;	/* what its server works on, or NULL */
	int64		timeout_ms;		/* -1: not given */
	int			max_attempts;	/* -1: not given */
	int			attempts_before;	/* which do not count: it was requeued */
	int			retries;		/* -1: not given */
	int			repetitions;	/* before it was put back */
	int			history_runs;	/* -1: any number */
	bool		calls_back;		/* it has on_complete */
	int			history_messages;	/* -1: any number */
	bool		stream;			/* its answer is to arrive piece by piece */
	bool		has_events;		/* subscribers have been told something */
	int			turns;			/* how many answers with calls are stored */
	int			known_turns;	/* and need not be read: the first ones */
	bool		pending_calls;	/* there are calls that have not been made */
	int64		left_ms;		/* of its time, when calls are to be made, or
								 * it is parked */
	bool		waiting_calls;	/* and calls that somebody is to decide about */
	bool		children;		/* and runs of agents that are not over */
	bool		delegates;		/* calls wait for what runs of agents say */
	int64		calls;			/* how many there are in all */
	int64		elapsed_ms;		/* since the attempt started, but for the time
								 * that it was paused; 0: unknown */
	int			tool_call_limit;	/* -1: not given */
	int			max_history_calls;	/* -1: any number */

	/* what may be long: read by store_read_rest() */
	struct RowReader *rest;		/* where from; NULL once it has been read */
	int64		bytes;			/* how long it is in all, with the history
								 * that has been read */
	bool		deferred;		/* not all of the history has been read, or
								 * settled of its calls: for the next turn */
	char	   *input;
	char	   *user_id;		/* or NULL */
	char	   *metadata;		/* a JSON object, or NULL */
	char	   *options;		/* a JSON object, or NULL */
	char	   *schema;			/* a JSON object, or NULL */
	char	   *agent;			/* for agent_read(), or NULL */
	char	   *tools;			/* for tools_read(), or NULL */
	char	   *tool_choice;	/* or NULL */
	List	   *steps;			/* StoredSteps, in their order */
	char	   *session_metrics;	/* a JSON object, or NULL */
	char	   *session_state;	/* a JSON object, or NULL */
	List	   *history;		/* messages of earlier runs: JSON arrays, the
								 * oldest run first */
} ReadyRun;

/* A run, locked, that waits for its model server. */
typedef struct ParkedRun
{
	ReadyRun   *run;
	const char *key;			/* of pacing.c: what it waits for */
	const char *error;			/* JSON in UTF-8: why the server cannot be
								 * reached; NULL: it has no room */
} ParkedRun;

/* A place in agno.runs in the order of acceptance. */
typedef struct RunPlace
{
	TimestampTz created_at;
	const char *run_id;			/* of the runs accepted then, the last one */
} RunPlace;

/* A run that has ended, locked, with all that is to be stored. */
typedef struct EndedRun
{
	char	   *run_id;			/* of the database's encoding */
	char	   *session_id;		/* likewise */
	ItemPointerData row;		/* where the locked row is in agno.runs */
	int			attempt;		/* to which this belongs */
	RunStatus	status;
	const char *content_type;
	const char *content;		/* this and the rest are UTF-8, or NULL */
	const char *reasoning;
	const char *messages;		/* JSON */
	const char *metrics;		/* JSON */
	const char *error;			/* JSON */
	int64		postpone_ms;	/* of a PENDING one: not before then */
	int			retries;		/* of a PENDING one: how many it has left, */
	int			repetitions;	/* and how many it has used */
	const char *parked_for;		/* of a PENDING one that waits for its server
								 * to be reached: the key of pacing.c */
	Oid			owner;
	const char *session_state;	/* JSON; NULL: leave it as it is */
	const char *session_metrics;	/* JSON; NULL: leave them as they are */
	const char *tools;			/* JSON; NULL: it has called none */
	const char *requirements;	/* JSON; NULL: leave them as they are */
	bool		leaves_nothing; /* its session is not even told that it has
								 * ended */
	bool		has_steps;		/* some of it is in agno.run_steps */
	bool		calls_back;		/* it may have on_complete; in the store: its
								 * status is set when that is called */
} EndedRun;

/* A call of a tool that is to be made, or that has been refused. Texts are UTF-8. */
typedef struct NewCall
{
	const char *model_call_id;
	const char *tool;
	const char *arguments;		/* JSON, or NULL */
	const char *refusal;		/* NULL: it is to be made */

	/* if somebody has a say in it, else REQUIRES_NOTHING */
	RequirementKind requires;
	bool		preview;		/* what it would do is to be found out before */
	const char *approver;		/* an identifier of a role, or NULL */
	int64		expires_ms;		/* 0: never */
	const char *input_schema;	/* JSON, or NULL */
	const char *fingerprint;	/* of the function, or NULL */
} NewCall;

/* An answer with calls, of a run that is locked. */
typedef struct NewStep
{
	char	   *run_id;			/* of the database's encoding */
	char	   *session_id;		/* likewise */
	Oid			owner;
	int			attempt;
	int			turn;
	const char *messages;		/* JSON in UTF-8 */
	int64		left_ms;		/* of the run's time */
	NewCall    *calls;			/* call_count of them */
	int			call_count;
	bool		has_work;		/* for tool workers: calls to be made */
	bool		request_kept;	/* agno.run_requests has its response, or how
								 * often its request has been repeated */
} NewStep;

/* The result of a call. Texts are UTF-8. */
typedef struct StoredCall
{
	char	   *model_call_id;
	char	   *tool;
	char	   *arguments;		/* JSON, or NULL */
	bool		executed;		/* else it was refused */
	bool		failed;			/* the tool, or the limit */
	char	   *result;			/* what the model is told */
	bool		waits;			/* somebody is to decide about it */
	bool		pending;		/* it has not been made */
	char	   *child_run_id;	/* the run that an agent was given; or NULL */
	char	   *child_metrics;	/* what that cost, a JSON object; or NULL */
	bool		child_waits;	/* it is PAUSED */
	char	   *member_requirements;	/* what that one waits for, as a JSON
										 * array of Agno's dicts; or NULL, if
										 * that is not shown */
	Requirement *requirement;	/* what it needed; NULL: nothing */
	double		started;		/* seconds since 1970 */
	double		duration;		/* in seconds */
} StoredCall;

/* What is stored of a run's turn. */
typedef struct StoredStep
{
	int			turn;
	char	   *messages;		/* JSON in UTF-8 */
	List	   *calls;			/* StoredCalls, in their order */
} StoredStep;

/*
 * A call of an agent whose run has ended. Texts are UTF-8, but for run_id.
 */
typedef struct SettledCall
{
	char	   *run_id;			/* of the call, of the database's encoding */
	int			turn;
	int			call_no;
	char	   *model_call_id;
	char	   *tool;
	char	   *arguments;		/* JSON */
	char	   *child_run_id;
	bool		failed;
	char	   *result;			/* what the model is told */
	double		started;		/* seconds since 1970 */
	double		duration;		/* in seconds */
	int64		bytes;			/* of arguments and result, in the database */
} SettledCall;

/* An event of a streamed run. */
typedef struct EventRow
{
	const char *run_id;			/* of the database's encoding */
	const char *event;
	const char *data;			/* JSON in UTF-8 */
} EventRow;

/*
 * A run that somebody may be watching, and that is not in flight.
 */
typedef struct WatchedRun
{
	char	   *run_id;			/* of the database's encoding */
	RunEventSource source;		/* of its events, in UTF-8 */
} WatchedRun;

/*
 * One that has ended. Texts are UTF-8.
 */
typedef struct GroundedRun
{
	WatchedRun	watched;
	RunStatus	status;
	char	   *content;		/* this and the rest may be NULL */
	char	   *reasoning;
	char	   *error_type;
	char	   *error_message;
} GroundedRun;

/* What a run has found of its session. In UTF-8. */
typedef struct SessionShare
{
	char	   *metrics;		/* of the session: a JSON object, or NULL */
	char	   *state;			/* of it, with what the run adds to it:
								 * likewise; NULL if that is nothing */
	char	   *model_server;
	char	   *model;
} SessionShare;

/* What of a streamed run's answer has arrived. */
typedef struct PartialRun
{
	ItemPointerData row;		/* where the locked row is in agno.runs */
	const char *content;		/* in UTF-8 */
} PartialRun;

/* A signal of a backend. */
typedef struct Signal
{
	char	   *run_id;
	Oid			owner;			/* only a run of this role is meant */
	SignalKind	kind;
	bool		is_last;		/* of its owner's part: there may be more */
} Signal;

/* The lock of a run that was asked for. */
typedef struct RunLock
{
	char	   *run_id;
	char	   *session_id;
	RunStatus	status;
	Oid			owner;
	ItemPointerData row;		/* where it is in agno.runs */
	int			attempt;
	TimestampTz started_at;		/* the attempt; 0: none has */
	bool		mine;			/* it is for this runner */
} RunLock;

/* store.c: transactions, and listeners */
extern void store_plan_for_large_tables(void);	/* store_planning.c */
extern void store_begin_to_look(const char *activity);
extern void store_serve(void);
extern void store_begin(const char *activity);
extern void store_commit_lazily(void);
extern void store_flush(void);
extern void store_stop_waiting(void);
extern void store_commit(void);
extern void store_abort(void);
extern bool store_failed_at_commit(void);
extern void store_mute(bool mute);
extern void store_notify(const char *channel, const char *run_id);

/* store_queue.c: the states of runs in the queue */
extern void store_divide(int number, int count, const char *crashed_at);
extern List *store_lock_runs(char *const *run_ids, int count);
extern List *store_existing_runs(char *const *run_ids, int count);
extern List *store_queued_runs(char *const *run_ids, int count);

/* Where rows of open transactions may be in the way of others. */
typedef enum OpenRows
{
	OPEN_READY,					/* ready runs */
	OPEN_DUE,					/* scheduled runs */
	OPEN_SIGNALS,				/* signals */
	OPEN_PARKED,				/* parked runs, by their keys */
	OPEN_ROWS
} OpenRows;

/* A piece of a table, and whose rows of it. */
typedef struct TablePiece
{
	int64		first;			/* the first block, */
	int64		end;			/* and the one after the last */
	bool		is_last;		/* that is the end of the table */
	const Oid  *owners;			/* count of them, in the caller's memory */
	int			count;
} TablePiece;

extern bool store_promote_due(int limit, const Oid *others, int count);
extern bool store_promote_due_of(const TablePiece *piece, int limit, bool *found);
extern bool store_promote_late(int limit);
extern bool store_next_time(const Oid *others, int count, TimestampTz *next);
extern void store_set_ready(char *const *run_ids, int count);
extern List *store_set_behind(char *const *run_ids, int count);
extern void store_set_waiting(char *const *run_ids, int count);
extern void store_set_locked(char *const *run_ids, int count);
extern void store_settle(char *const *run_ids, int count);
extern void store_start(ReadyRun **runs, int count);
extern void store_release(char *const *run_ids, const int *attempts,
						  int count);
extern void store_postpone(EndedRun *runs, int count);
extern void store_leave_queue(char *const *run_ids, char *const *session_ids,
							  int count);

/* store_ready.c: picking runs, and reading what they need */
extern List *store_pick(Oid from, Oid to, int limit);
extern List *store_pick_of(const TablePiece *piece, Oid after, int limit);
extern List *store_pick_locked(int limit);
extern List *store_pick_given_up(const char *key, int patience_ms, int limit);
extern List *store_lock_ready(PickedRun **picked, int count);
extern void store_read_rest(ReadyRun *run);
extern bool store_read_session_share(const char *run_id, SessionShare *share);
extern void store_read_history(List *ready, int64 max_bytes,
							   int64 max_total);

/* store_steps.c: answers with calls of tools */
extern void store_keep_steps(NewStep *steps, int count);
extern void store_await_tools(ReadyRun **runs, int count);
extern void store_tools_called(char *const *run_ids, int count);
extern void store_children_ended(char *const *run_ids, int count);
extern void store_run_decided(char *const *run_ids, int count);
extern void store_tool_crashed(char *const *run_ids, int count);
extern List *store_tool_owners(void);

/* store_read_steps.c: reading them */
extern int64 store_measure_steps(const RunLock *run);
extern void store_read_steps(List *ready);

/* store_callbacks.c */
extern List *store_cancel_called_back(Signal **signals, int count);
extern List *store_called_back(char *const *run_ids, int count,
							   char *const *requeued, int requeued_count,
							   int64 most, bool *more);
extern void store_callback_crashed(char *const *run_ids, int count);
extern void store_drop_callback(const char *run_id);
extern uint64 store_give_up_callbacks(int limit);

/* store_families.c: runs that other runs have enqueued */
extern List *store_settle_children(char *const *run_ids, int count,
								   int64 *left);
extern List *store_unsettled_runs(char *const *run_ids, int count);
extern bool store_show_requirements(char *const *run_ids, int count);
extern uint32 store_told_runners(void);

/* store_parked.c: runs that wait for their model servers */
extern void store_park(ParkedRun *runs, int count);
extern void store_hold_back(EndedRun *runs, int count);
extern List *store_parked_owners(const char *key, Oid after, const Oid *others,
								 int count, int limit);
extern List *store_parked_of(const char *key, const Oid *owners, int count);
extern int	store_unpark(const char *key, Oid owner, bool reached, int limit);
extern int	store_unpark_of(const TablePiece *piece, const char *key, bool reached,
							int limit);
extern TimestampTz store_waits_since(const char *key);

/* store_open.c: whose rows of open transactions are in the way */
extern List *store_crowding_owners(OpenRows where, const char *key, Oid *from,
								   List **hidden);
extern int64 store_blocks(OpenRows where);

/* store_locks.c: who keeps others from the tables */
extern bool store_can_read_runs(void);
extern bool store_has_locked(void);
extern bool store_is_in_the_way(void);

/* store_signals.c: what cancels leave for the runner */
extern List *store_take_signals(int limit, const Oid *others, int count);
extern List *store_take_signals_from(const TablePiece *piece, int limit);
extern List *store_take_parts_of_signals(List *after, int limit,
										 const Oid *others, int count);
extern List *store_take_signals_of(char *const *run_ids, const Oid *owners,
								   int count);
extern void store_keep_cancels(char *const *run_ids, int count);
extern List *store_cancel_later(Signal **signals, int count,
								int seconds);
extern void store_expire_markers(int limit);

/* store_results.c: what comes of runs */
extern void store_response_id(const char *run_id, Oid owner,
							  const char *response_id);
extern void store_append_events(const EventRow *rows, int count);
extern void store_append_events_quietly(const EventRow *rows, int count);
extern void store_notify_watchers(char *const *run_ids, int count);
extern void store_show_content(PartialRun *runs, int count);
extern void store_finish(EndedRun *runs, int count, List **owners);
extern void store_complete_ended(EndedRun *run);
extern void store_pause(EndedRun *runs, int count);
extern void store_end_cancelled(RunLock **runs, int count, List **owners);
extern List *store_read_watched(char *const *run_ids, int count);
extern List *store_read_grounded(char *const *run_ids, int count);

/* store_patrol.c: crashes, and runs that the queue has lost */
extern void store_blame(void);
extern bool store_recover(char **after, int limit, char *const *own,
						  int count);
extern bool store_has_culprit(void);
extern bool store_is_culprit(const char *run_id);
extern bool store_take_strays(char **after, int limit);
extern bool store_prepared_transactions(TimestampTz before, int *old);
extern RunPlace store_first_place(void);
extern TimestampTz store_checked_until(void);
extern void store_unset_checked(void);
extern bool store_receives_runs(void);
extern void store_set_checked(TimestampTz until);
extern void store_queue_requeued(char *const *run_ids, int count);
extern bool store_find_lost(RunPlace *after, int limit, bool *lost);

/* store_retention.c: deleting what is old enough */
extern bool store_expire_runs(RunPlace *after, int *stayed, int *kept,
							  int limit, int age);

#endif							/* AGNO_STORE_H */
