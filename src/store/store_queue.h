/*-------------------------------------------------------------------------
 *
 * store_queue.h
 *	  The states of agno.run_queue: for the files of the store only.
 *
 *             run_at is later
 *  agno_arun ─────────────────▶ scheduled ◀─────────┐
 *      │                            │ it is time    │ its server
 *      │                            ▼               │ asks for a pause
 *      └────────────────────────▶ ready ───────▶ executing ───▶ row deleted
 *                                  ▲ │   picked     │
 *            first of its session; │ │ behind       │ its server
 *            its server has room   │ │ another;     │ cannot be
 *            or can be reached     │ ▼ no room      │ reached
 *                            waiting, parked ◀──────┘
 *
 * Besides, a run whose row in agno.runs somebody else has locked when it is
 * needed is locked, whatever it was before: it is looked at again after a
 * pause, and then treated as a ready one that has been picked. When a runner
 * stops or crashes, what was executing is ready again.
 *
 * Whatever leaves the queue, or the state executing to be executed again, lets the
 * first run of its session go ahead (store_advance): else runs that wait for it would
 * wait for ever. What leaves it to go on, or to begin anew after a crash or a stop, is the
 * first of its session from then on (GOES_FIRST); what its server would not have, or could
 * not be sent, has not begun. That, and store_recover() for what was done by hand, keeps
 * the invariant: the first run of a session that is in the queue never waits for another,
 * unless one of the session is executing.
 *
 * Rows of agno.run_queue are touched by their runner alone once they are
 * there. Rows of agno.runs, which a cancel may hold locked for as long as its
 * transaction likes, are locked with SKIP LOCKED before they are changed. So a
 * runner never waits for a lock.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_STORE_QUEUE_H
#define AGNO_STORE_QUEUE_H

#include "store/store_statement.h"
#include "utils/timestamp.h"

/* What agno.run_queue.state may be. A row is deleted from any of them. */
typedef enum QueueState
{
	/*
	 * May be picked. From all others but locked: accepted, its time has come,
	 * its predecessor has ended, its server has room, or its runner has
	 * stopped. To executing, waiting, parked or locked.
	 */
	QUEUE_READY = 'r',

	/*
	 * Not before run_at. Accepted so, waiting until then, or put back because
	 * its server asked for a pause. To ready.
	 */
	QUEUE_SCHEDULED = 's',

	/*
	 * Behind an earlier run of its session. From ready or locked, when it was
	 * picked. To ready, or to scheduled if its run_at is later.
	 */
	QUEUE_WAITING = 'w',

	/*
	 * Its row in agno.runs is locked by somebody else, or not there. Looked
	 * at again at run_at. From all others. To executing, waiting, parked, to
	 * ready if there is no slot, or to locked with a longer pause.
	 */
	QUEUE_LOCKED = 'k',

	/*
	 * Its server has no room, or cannot be reached: then waits_since says
	 * since when. From ready or locked when it was picked, or from executing.
	 * To ready, at run_at at the latest if its time runs on; to locked when
	 * it is to be given up and cannot be had.
	 */
	QUEUE_PARKED = 'p',

	/*
	 * Its tools are called by tool workers, until run_at, when its time is
	 * over. From executing, or from ready or locked when it was picked. To
	 * ready.
	 */
	QUEUE_TOOLS = 't',

	/*
	 * Paused: somebody is to decide about calls, until run_at, if that is not
	 * null. From executing. To ready.
	 */
	QUEUE_DECISION = 'd',

	/*
	 * It has ended, but for its status: a tool worker sets that, and calls
	 * on_complete. From all others. To none: a signal says that it has been
	 * called.
	 */
	QUEUE_CALLBACK = 'b',

	/*
	 * In flight. From ready or locked. To scheduled, parked, ready if its
	 * runner stops or has crashed, or locked if it has been taken away.
	 *
	 * The row of one that was ready stays so at first, and is claimed: no
	 * index changes for a run that is over in a moment. Those that are not
	 * are settled as executing, so that who picks need not look past them.
	 */
	QUEUE_EXECUTING = 'x'
} QueueState;

/* The same in SQL. */
#define QUEUE_STATE(letter) "'" letter "'::pg_catalog.\"char\""
#define READY QUEUE_STATE("r")
#define SCHEDULED QUEUE_STATE("s")
#define WAITING QUEUE_STATE("w")
#define LOCKED QUEUE_STATE("k")
#define PARKED QUEUE_STATE("p")
#define EXECUTING QUEUE_STATE("x")
#define TOOLS QUEUE_STATE("t")
#define DECISION QUEUE_STATE("d")
#define CALLBACK QUEUE_STATE("b")

/* It is parked, and goes on: q.state is this. */
#define PARKED_TO_GO_ON PARKED " AND q.continues"

/* A row becomes ready: what is set. */
#define BECOMES_READY "state = " READY ", claimed = false"

/*
 * The place in its session of a run that has begun and is executed later: before all that
 * have not, whenever they have been accepted, and whenever the transactions end that
 * accept them. (Two thousand years earlier, by no calendar.)
 */
#define EARLY_PLACE(time) time " - '17520000 hours'::interval"
#define IS_EARLY(alias) alias ".accepted_at < 'epoch'"
#define GOES_FIRST_IF(condition) "accepted_at = CASE WHEN " condition " AND NOT " \
		IS_EARLY("q") " THEN " EARLY_PLACE("q.accepted_at") \
		" ELSE q.accepted_at END"
#define GOES_FIRST GOES_FIRST_IF("true")

/* A run is in flight. */
#define IS_EXECUTING(alias) "(" alias ".state = " EXECUTING " OR (" alias \
		".state = " READY " AND " alias ".claimed))"

/*
 * The run has to wait in its session behind one of the same parent that is PAUSED: so it is
 * not working, either, whether it has been set aside by now or not. (One that has been
 * cancelled may be in the state of PAUSED ones for a moment.) A PAUSED one goes first.
 */
#define BEHIND_PAUSED_SIBLING(alias) \
		"EXISTS (SELECT FROM agno.run_queue x" \
		" JOIN agno.run_queue e ON e.session_id = x.session_id" \
		" AND " IS_EARLY("e") " AND e.accepted_at < x.accepted_at" \
		" JOIN agno.runs s ON s.run_id = e.run_id AND s.status = 'PAUSED'" \
		" WHERE x.run_id = " alias ".run_id" \
		" AND e.parent_run_id = x.parent_run_id AND e.state = " DECISION \
		" AND x.state IN (" WAITING ", " PARKED ", " READY ") AND NOT x.claimed)"

/*
 * The state of a run that waits for nothing but its run_at, if it has one; it is not
 * claimed.
 */
#define SCHEDULED_OR_READY(run_at) \
		"CASE WHEN " run_at " OPERATOR(pg_catalog.>)" \
		" pg_catalog.clock_timestamp() THEN " SCHEDULED " ELSE " READY " END"

/*
 * The rows that are for this runner, as shard_runner() has it, in a statement
 * with which bind_mine() was called before anything else was bound.
 */
#define MINE(alias) alias ".shard::integer % $1 = $2"

/*
 * How long a turn is about things of one kind, in milliseconds, that take as long as
 * those who have handed them in like; but for the first of them.
 */
#define SLICE_MS 50

static inline bool
slice_is_over(TimestampTz start)
{
	return TimestampDifferenceExceeds(start, GetCurrentTimestamp(), SLICE_MS);
}

/*
 * How much of what the runs require that a run waits for is shown by it, in bytes: of
 * each of them, and in all, with the previews of its own calls. (Of the jsonb, whose
 * length is known without reading it.) The rest is in agno.requirements.
 */
#define SHOWN_OF_CHILD (64 * 1024)
#define SHOWN_BYTES (1024 * 1024)

/*
 * What the run k requires, of the request d, as it is shown by those above it: the
 * element e.v of its requirements.
 */
#define MEMBER_REQUIREMENT "jsonb_build_object('member_run_id', k.run_id," \
	" 'member_agent_id', k.agent_id, 'member_agent_name'," \
	" coalesce(left(d.agent ->> 'name', 255), k.agent_id)) || e.v"

/*
 * What people have said of a call, and been asked: how long that is in bytes. This
 * reads none of it.
 */
#define BYTES_GIVEN(alias) "coalesce(octet_length(" alias ".note), 0)" \
	" + coalesce(octet_length(" alias ".answer), 0)" \
	" + coalesce(octet_length(" alias ".input_schema), 0)"

/*
 * The rows of this runner in this state whose run_at has come, as a common table due
 * (row, is_last), for a statement with MINE(): the first of each owner, in all about as
 * many as most says, an integer. Owners get equal parts; is_last: that was the part.
 * It reads no more rows than it returns, and one of each owner: there may be very many.
 * Only owners of the ranges that bind_all_but() has bound as first and last.
 */
#define DUE_BY_OWNER(state_, most, first, last) \
		OWNERS_BUT(state_, first, last) \
		"w (owner) AS MATERIALIZED (SELECT o.owner FROM o, LATERAL" \
		" (SELECT FROM agno.run_queue q WHERE q.state = " state_ \
		" AND q.runner = $2 AND q.owner = o.owner" \
		" AND q.run_at <= " THIS_TURN " AND " MINE("q") \
		" ORDER BY q.run_at LIMIT 1) e), " \
		"part (n) AS MATERIALIZED" \
		" (SELECT greatest(" most " / greatest(count(*), 1), 1) FROM w), " \
		"due (row, is_last) AS MATERIALIZED" \
		" (SELECT l.row, l.n = part.n FROM part, w, LATERAL" \
		" (SELECT x.row, row_number() OVER () FROM (SELECT q.ctid AS row" \
		" FROM agno.run_queue q WHERE q.state = " state_ \
		" AND q.runner = $2 AND q.owner = w.owner" \
		" AND q.run_at <= " THIS_TURN " AND " MINE("q") \
		" ORDER BY q.run_at LIMIT part.n) x) l (row, n)" \
		" ORDER BY l.n, random() LIMIT " most ") "

/* Those owners, as a common table o (owner, last). */
#define OWNERS_BUT(state_, first_, last_) \
		"WITH RECURSIVE o (owner, last) AS (" \
		"(SELECT e.owner, g.last FROM unnest(" first_ ", " last_ ")" \
		" AS g (first, last), LATERAL (SELECT q.owner FROM agno.run_queue q" \
		" WHERE q.state = " state_ " AND q.runner = $2" IN_RANGE("q") \
		" ORDER BY q.owner LIMIT 1) e)" \
		" UNION ALL SELECT (SELECT q.owner FROM agno.run_queue q" \
		" WHERE q.state = " state_ " AND q.runner = $2 AND q.owner > o.owner" \
		" AND q.owner <= o.last::pg_catalog.oid::pg_catalog.regrole" \
		" ORDER BY q.owner LIMIT 1), o.last FROM o WHERE o.owner IS NOT NULL), "

/* The owner of a row is within the range g, of those that bind_all_but() has bound. */
#define IN_RANGE(alias) " AND " alias ".owner >=" \
		" g.first::pg_catalog.oid::pg_catalog.regrole" \
		" AND " alias ".owner <= g.last::pg_catalog.oid::pg_catalog.regrole"

/*
 * The rows of this table, as l, in a piece of it, and of its owners that bind_piece() has
 * bound as $3 to $5. No condition but these is within: no index is to be used, however
 * well it fits.
 */
#define OF_PIECE(table) "(SELECT a.ctid AS row, a.* FROM " table " a" \
		" WHERE a.ctid >= $3::pg_catalog.tid AND a.ctid < $4::pg_catalog.tid" \
		" OFFSET 0) l WHERE l.owner::pg_catalog.oid" \
		" = ANY ($5::pg_catalog.oid[]) AND " MINE("l")

/*
 * How much is read of a call, in bytes: its result, and about this much to keep it.
 */
#define CALL_BYTES(alias) "octet_length(coalesce(" alias ".shown, " alias ".result, " \
	alias ".error, '')) + 1024"

extern List *store_call_back(const Column *run_ids, const Column *statuses,
							 const Column *shards, List **owners);
extern void store_await_callbacks(const Column *run_ids);

/* The channel that listeners learn of ends, and of pauses, from. */
#define END_CHANNEL "agno_run"

/*
 * The time when the transaction of a runner began. Unlike clock_timestamp(), it
 * is the same for all rows: so an index stops where it is reached, rather than
 * that every later row is looked at in vain.
 */
#define THIS_TURN "statement_timestamp()"

/* How often it is looked at whether there is somebody to make a callback. */
#define LOOK_AGAIN "'1 min'::interval"

/* Markers that met no run are removed after this. */
#define MARKER_LIFE "'1 day'::interval"

/* Which runner this process is. */
typedef struct ThisRunner
{
	int			number;
	int			runners;		/* of how many: agno_bg.runners */
	const char *culprit;		/* the run that its predecessor crashed at, or
								 * NULL */
} ThisRunner;

extern ThisRunner this_runner;

extern void bind_signals(Arguments *args, Signal **signals, int count);
extern void bind_mine(Arguments *args);
extern void bind_all_but(Arguments *args, const Oid *owners, int count);
extern void bind_piece(Arguments *args, const TablePiece *piece);
extern void store_keep_retries(const EndedRun *run);
extern void store_set_running(ReadyRun **runs, int count);
extern void add_parent(RowReader *row, Column *parents, Column *owners,
					   Column *shards);
extern void store_tell_parents(const Column *run_ids, const Column *owners,
							   const Column *shards);
extern void store_note_told(List *runs);
extern bool shows_member(RowReader *row, int64 *shown);
extern int64 bytes_shown(int64 previews, int64 children);
extern void store_cancel_children(const Column *parent_ids);
extern void store_advance(const Column *session_ids);
extern void store_forget_steps(const Column *run_ids, bool finally);

#endif							/* AGNO_STORE_QUEUE_H */
