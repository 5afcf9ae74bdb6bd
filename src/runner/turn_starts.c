/*-------------------------------------------------------------------------
 *
 * turn_starts.c
 *	  The runs that a turn starts.
 *
 * Which runs are next is the business of pick.c, and how fast model servers may be
 * asked that of pacing.c. What is picked and may not start is set aside by the
 * reason, so that it is not looked at again before that can have changed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/clock.h"
#include "server/blame.h"
#include "runner/ended_run.h"
#include "runner/turn_internal.h"
#include "server/encoding.h"
#include "server/settings.h"

/* How many runs are looked at again, in one turn, that could not be had. */
#define LOCKED_BATCH 100

/*
 * How many of the runs that were picked are locked, and measured, at once: before the
 * next ones it is seen whether that was enough for a turn.
 */
#define LOCK_BATCH 25

/*
 * How often a row of the queue is looked at whose run is not there: for three
 * quarters of a minute. A restore may be about to bring it.
 */
#define ORPHAN_LOOKS 6

static bool
session_is_busy(Turn *turn, const char *session_id)
{
	Flight	   *flight = fleet_find_session(turn->dispatch->fleet, session_id);

	return flight != NULL && flight->leaving != turn->number;
}

/*
 * Set aside those of these runs, count of them, that are behind another run of their
 * session: they come first then. Returns how many they are. It may take long, as runs of
 * transactions that are open are in the way.
 */
static int
set_waiting_aside(Turn *turn, PickedRun **runs, int count)
{
	PickedRun **others = palloc(sizeof(PickedRun *) * count);
	RunKeys		busy = run_keys(count);
	RunKeys		free = run_keys(count);
	RunIdSet	behind;
	int			other_count = 0;
	int			waiting = 0;

	for (int i = 0; i < count; i++)
	{
		if (runs[i]->cancelled)
			continue;
		run_keys_add(session_is_busy(turn, runs[i]->session_id) ? &busy : &free,
					 runs[i]->run_id, NULL);
	}
	store_set_waiting(busy.run_ids, busy.count);
	behind = run_id_set(store_set_behind(free.run_ids, free.count));
	if (busy.count + behind.count == 0)
		return 0;
	for (int i = 0; i < count; i++)
	{
		if (!runs[i]->cancelled &&
			(session_is_busy(turn, runs[i]->session_id) ||
			 run_id_set_has(&behind, runs[i]->run_id)))
			runs[waiting++] = runs[i];
		else
			others[other_count++] = runs[i];
	}
	memcpy(runs + waiting, others, sizeof(PickedRun *) * other_count);
	return waiting;
}

/*
 * Runs that were picked and could not be had: somebody has locked them, or they
 * are not there. One that is not there for a long time will not come.
 */
static void
set_locked_aside(PickedRun **picked, int count)
{
	RunKeys		locked = run_keys(count);
	RunKeys		old = run_keys(count);
	RunKeys		gone = run_keys(count);
	RunIdSet	existing;

	for (int i = 0; i < count; i++)
	{
		if (!picked[i]->had)
			run_keys_add(picked[i]->looks < ORPHAN_LOOKS ? &locked : &old,
						 picked[i]->run_id, picked[i]->session_id);
	}
	existing = run_id_set(old.count > 0 ?
						  store_existing_runs(old.run_ids, old.count) : NIL);
	for (int i = 0; i < old.count; i++)
		run_keys_add(run_id_set_has(&existing, old.run_ids[i]) ?
					 &locked : &gone, old.run_ids[i], old.session_ids[i]);
	store_set_locked(locked.run_ids, locked.count);
	if (gone.count > 0)
		store_leave_queue(gone.run_ids, gone.session_ids, gone.count);
}

/*
 * How many slots the flights leave that are stored in this turn.
 */
static int
freed_slots(Turn *turn)
{
	int			freed = 0;
	ListCell   *cell;

	foreach(cell, turn->left)
	{
		if (!((Flight *) lfirst(cell))->put_off)
			freed++;
	}
	return freed;
}

/*
 * Whether this run, which could not be had before, may start now; room is for how
 * many there are slots.
 */
static bool
may_start(Turn *turn, const PickedRun *run, int room)
{
	Shares	   *shares = turn->dispatch->fleet->shares;
	int			slots = room;

	/* Owners with nothing in flight get a slot even if all are taken. */
	if (shares_count(shares, run->owner) == 0)
		slots = Max(room, turn->newcomers);
	return list_length(turn->retried) < slots &&
		!shares_is_full(shares, run->owner, shares_limit());
}

/*
 * These runs, which could not be had before, may not start now. Those that can be had by now
 * wait for their turn with all others: were they only looked at now and then, others of their
 * owner would have each slot before. The rest is looked at again later.
 */
static void
put_off_locked(const RunKeys *runs)
{
	RunKeys		ready = run_keys(runs->count);
	RunKeys		locked = run_keys(runs->count);
	List	   *ids = NIL;
	RunIdSet	had;
	ListCell   *cell;

	if (runs->count == 0)
		return;
	foreach(cell, store_lock_runs(runs->run_ids, runs->count))
		ids = lappend(ids, ((RunLock *) lfirst(cell))->run_id);
	had = run_id_set(ids);
	for (int i = 0; i < runs->count; i++)
		run_keys_add(run_id_set_has(&had, runs->run_ids[i]) ? &ready : &locked,
					 runs->run_ids[i], NULL);
	store_set_ready(ready.run_ids, ready.count);
	store_set_locked(locked.run_ids, locked.count);
}

/*
 * The runs that could not be had and are to be looked at again. They have been
 * waiting for longer than others, so they come first; what is to be cancelled
 * needs no slot, and is returned. Those that may start are in turn->retried; those
 * that may not are put off, so that they hide nobody else's.
 */
static List *
pick_locked(Turn *turn, int most, int room)
{
	int64		began = clock_now();
	List	   *due = store_pick_locked(most);
	RunKeys		later = run_keys(list_length(due));
	List	   *cancelled = NIL;
	ListCell   *cell;

	foreach(cell, due)
	{
		PickedRun  *run = lfirst(cell);

		if (run->cancelled)
			cancelled = lappend(cancelled, run);
		else if (may_start(turn, run, room))
		{
			turn->retried = lappend(turn->retried, run);
			shares_add(turn->dispatch->fleet->shares, run->owner, 0);
		}
		else
			run_keys_add(&later, run->run_id, run->session_id);
	}
	put_off_locked(&later);
	turn->clock_took += clock_now() - began;
	return cancelled;
}

/*
 * While runs are picked, those who leave make room for others of their owners.
 */
static void
begin_picking(Turn *turn)
{
	ListCell   *cell;

	turn->picking = true;
	foreach(cell, turn->left)
		shares_remove(turn->dispatch->fleet->shares, ((Flight *) lfirst(cell))->owner,
					  ((Flight *) lfirst(cell))->bytes);
}

/*
 * Flights alone are counted again. To be called after a turn that failed, too.
 */
void
turn_end_picking(Turn *turn)
{
	ListCell   *cell;

	if (!turn->picking)
		return;
	turn->picking = false;
	foreach(cell, turn->left)
		shares_add(turn->dispatch->fleet->shares, ((Flight *) lfirst(cell))->owner,
				   ((Flight *) lfirst(cell))->bytes);
	foreach(cell, turn->retried)
		shares_remove(turn->dispatch->fleet->shares,
					  ((PickedRun *) lfirst(cell))->owner, 0);
}

/*
 * The next runs to be started, as far as there are slots: a list of PickedRun.
 */
static List *
pick_next(Turn *turn)
{
	Shares	   *shares = turn->dispatch->fleet->shares;
	int			room = turn->room + freed_slots(turn);
	int			limit = turn->own ? turn->own_limit : turn->limit;
	bool		more = false;
	List	   *cancelled = NIL;
	List	   *picked;

	begin_picking(turn);
	if (turn_is_to(turn, CHORE_CLOCK) && !turn->own)
		cancelled = pick_locked(turn, Min(limit, LOCKED_BATCH), room);
	room -= list_length(turn->retried);
	limit -= list_length(turn->retried) + list_length(cancelled);
	if (limit <= 0)
		turn_again(turn, CHORE_START);
	if (room > 0)
		picked = pick_runs(turn->order, shares, room, limit, turn->own, &more);
	else
	{
		limit = Min(turn->newcomers + Min(room, 0), limit);
		picked = pick_newcomers(turn->order, shares, limit, turn->own, &more);
	}
	if (more)
		turn_again(turn, CHORE_START);
	turn_end_picking(turn);
	return list_concat(list_concat(cancelled, turn->retried), picked);
}

/* What becomes of a run that was picked. */
typedef enum StartDecision
{
	START,						/* it is started */
	CALL_TOOLS,					/* its tools are called */
	PARK,						/* it waits for its model server */
	END,						/* it ends without being started */
	CANCEL,						/* it has been cancelled */
	OVER,						/* it has ended already */
	DEFER						/* it is for the next turn */
} StartDecision;

/* A run that its session and its model server let start. */
typedef struct AdmittedRun
{
	ReadyRun   *run;
	ModelServer server;
	Pace	   *pace;
	Ask			ask;			/* what pays for its request; ASK_NONE: it
								 * sends none, and is to be paused */
	Conversation *conversation; /* what is known of its answers, or NULL */
} AdmittedRun;

/*
 * The runs that were picked, by what becomes of them.
 */
typedef struct Starts
{
	List	   *admitted;		/* AdmittedRuns */
	int64		bytes;			/* how much work they are, as work_of() has it */
	int64		calls;			/* how many calls of tools have been counted */
	ReadyRun  **starting;
	int			starting_count;
	ReadyRun  **calling;
	int			calling_count;
	ParkedRun  *parked;
	int			parked_count;
	EndedRun   *ended;
	int			ended_count;
	RunLock   **cancelled;
	int			cancelled_count;
	RunKeys		over;
} Starts;

/*
 * How many attempts of a run were interrupted, as far as that counts.
 */
static int
attempts_of(const ReadyRun *run)
{
	return run->attempt - run->attempts_before;
}

/*
 * How many there may be.
 */
static int
most_attempts(const ReadyRun *run)
{
	return run->max_attempts >= 0 ? run->max_attempts : agno_max_attempts;
}

/*
 * Whether a run ends here and now rather than being started, and how. If not,
 * *server is the server it is to be sent to.
 */
static bool
ends_at_start(const ReadyRun *ready, ModelServer *server, RunOutcome *outcome)
{
	char	   *problem;

	if (!ready->picked->continues &&
		attempts_of(ready) >= most_attempts(ready))
		*outcome = run_outcome_failed(ready->attempt, "interrupted",
									  psprintf("the run was interrupted in each of %d attempts, by a crash of the server or of the worker",
											   attempts_of(ready)));
	else
	{
		problem = model_server_resolve(ready->model_server, ready->owner,
									   server);
		if (problem == NULL)
			return false;
		*outcome = run_outcome_failed(ready->attempt, "configuration",
									  encoding_from_server(problem));
	}
	return true;
}

/*
 * How much of its time a run has, in milliseconds.
 */
static int64
time_left(const ReadyRun *run)
{
	int64		time = run->timeout_ms >= 0 ? run->timeout_ms : agno_run_timeout;

	return run->picked->continues ? time - run->elapsed_ms : time;
}

/*
 * How much work it is to start a run, or to end one, in bytes.
 */
static int64
work_of(const ReadyRun *run)
{
	return (run->status != RUN_CANCELLED ? run->bytes : 0) +
		run->calls * CALL_WEIGHT;
}

/*
 * Whether this run is for the next turn, since enough has been done in this one.
 */
static bool
is_too_much(const Starts *starts, const ReadyRun *run)
{
	return starts->bytes > 0 && starts->bytes + work_of(run) > TURN_BYTES;
}

/*
 * Whether no more runs are to be looked at in this turn.
 */
static bool
is_full(const Starts *starts)
{
	return starts->bytes >= TURN_BYTES ||
		starts->calls * CALL_WEIGHT >= TURN_BYTES;
}

/*
 * Whether a run is to end as cancelled, if it has not been by who has cancelled it.
 */
static bool
is_cancelled(const ReadyRun *run)
{
	return run->status == RUN_CANCELLED ||
		(run->marked && !run_status_is_final(run->status));
}

/*
 * What becomes of a run that is locked. *server, *pace, *ask and *outcome are
 * filled as far as that goes.
 */
static StartDecision
decide(Turn *turn, const Starts *starts, const ReadyRun *run,
	   ModelServer *server, Pace **pace, Ask *ask, RunOutcome *outcome)
{
	PaceTable  *paces = turn->dispatch->paces;
	bool		late = time_left(run) <= 0;
	bool		asks;
	bool		starts_now;

	if (is_cancelled(run))
		return is_too_much(starts, run) ? DEFER : CANCEL;
	if (run_status_is_settled(run->status))
		return OVER;
	if (ends_at_start(run, server, outcome))
		return run->turns > 0 && is_too_much(starts, run) ? DEFER : END;
	if ((run->pending_calls || run->children) && !late)
		return CALL_TOOLS;
	/* One that goes on with no time left ends when it begins. */
	asks = !run->waiting_calls && !(late && run->picked->continues);
	if (is_too_much(starts, run))
		return DEFER;

	/* There may be a foreign server of the same name: no name has a colon. */
	*pace = pace_table_find(paces, server->built_in ?
							psprintf("%s:", run->model_server) :
							run->model_server, server->mapping);
	starts_now = !asks ||
		pacing_admit(paces, *pace, server, run->owner,
					 run->picked->parked_for == NULL, clock_now(), ask);
	if (run->picked->parked_for != NULL &&
		strcmp(run->picked->parked_for, (*pace)->key) != 0)
		pacing_desert(paces, run->picked->parked_for);
	return starts_now ? START : PARK;
}

/*
 * Why a run waits, for its column error.
 */
static char *
problem_json(const ReadyRun *run, const char *problem)
{
	RunOutcome	outcome =
		run_outcome_failed(run->attempt, "connection",
						   psprintf("could not reach the model server: %s",
									problem));

	return run_outcome_error_json(&outcome);
}

/*
 * A run that waits for its model server.
 */
static ParkedRun
parked_run(Turn *turn, ReadyRun *run, Pace *pace)
{
	const char *problem = reach_problem(&pace->target->reach);
	ParkedRun	parked = {run, pace->key, NULL};

	if (problem != NULL)
	{
		parked.error = problem_json(run, problem);
		turn->held_back = lappend(turn->held_back, pace);
	}
	return parked;
}

/*
 * The lock of a run that is ready.
 */
static RunLock *
lock_of(const ReadyRun *run)
{
	RunLock    *lock = palloc0(sizeof(RunLock));

	lock->run_id = run->run_id;
	lock->session_id = run->session_id;
	lock->status = run->status;
	lock->owner = run->owner;
	lock->attempt = run->row_attempt;
	lock->row = run->row;
	lock->mine = true;
	if (run->elapsed_ms > 0)
		lock->started_at = GetCurrentTimestamp() - run->elapsed_ms * 1000;
	return lock;
}

/*
 * Decide about a run, and put it where that belongs.
 */
static void
sort_out(Turn *turn, ReadyRun *run, Starts *starts)
{
	AdmittedRun *admitted = palloc0(sizeof(AdmittedRun));
	RunOutcome	outcome;
	EndedRun   *ended;

	starts->calls += run->calls;
	switch (decide(turn, starts, run, &admitted->server, &admitted->pace,
				   &admitted->ask, &outcome))
	{
		case START:
			store_read_rest(run);
			admitted->run = run;
			starts->admitted = lappend(starts->admitted, admitted);
			starts->bytes += work_of(run);
			break;
		case CALL_TOOLS:
			run->left_ms = time_left(run);
			starts->calling[starts->calling_count++] = run;
			turn->tool_owners = list_append_unique_oid(turn->tool_owners,
													   run->owner);
			break;
		case PARK:
			run->left_ms = time_left(run);
			starts->parked[starts->parked_count++] =
				parked_run(turn, run, admitted->pace);
			break;
		case END:
			ended = &starts->ended[starts->ended_count++];
			ended_run_fill(ended, &outcome, run->run_id, run->session_id);
			ended->row = run->row;
			ended->owner = run->owner;
			/* To put that together may have been one attempt too many. */
			if (run->turns > 0 && attempts_of(run) > most_attempts(run))
				ended->has_steps = ended->leaves_nothing = true;
			else if (run->turns > 0)
			{
				starts->bytes += work_of(run);
				store_read_steps(list_make1(run));
				ended_run_put_together(ended, &outcome, run->steps,
									   run->elapsed_ms);
			}
			else if (run->attempt > 0)
				ended_run_leave_to_session(ended, &outcome.usage);
			ended->attempt = run->row_attempt;
			break;
		case CANCEL:
			starts->cancelled[starts->cancelled_count++] = lock_of(run);
			starts->bytes += work_of(run);
			if (run->status == RUN_RUNNING)
				turn->cancelled_ids = lappend(turn->cancelled_ids, run->run_id);
			break;
		case OVER:
			run_keys_add(&starts->over, run->run_id, run->session_id);
			break;
		case DEFER:
			turn_again(turn, CHORE_START);
			break;
	}
}

/*
 * Read what these runs, which are among those that have been admitted, have said with
 * calls of tools, as far as it is not known.
 */
static void
read_steps(Turn *turn, List *runs, List *admitted)
{
	List	   *mistaken = NIL;
	ListCell   *cell;

	foreach(cell, admitted)
	{
		AdmittedRun *its = lfirst(cell);

		its->conversation = conversation_cache_take(turn->dispatch->conversations,
													its->run->run_id);
		if (its->conversation != NULL)
			its->run->known_turns = its->conversation->turns;
	}
	store_read_steps(runs);
	foreach(cell, admitted)
	{
		AdmittedRun *its = lfirst(cell);
		ReadyRun   *run = its->run;

		if (its->conversation == NULL ||
			(run->steps != NIL &&
			 conversation_has(its->conversation, linitial(run->steps))))
			continue;
		its->conversation = NULL;
		run->known_turns = 0;
		run->steps = NIL;
		if (!run->deferred)
			mistaken = lappend(mistaken, run);
	}
	store_read_steps(mistaken);
}

/*
 * Make flights of the runs that have been admitted, with the history of their
 * sessions. When that is too long, some are for the next turn.
 */
static void
make_flights(Turn *turn, Starts *starts)
{
	List	   *runs = NIL;
	ListCell   *cell;

	foreach(cell, starts->admitted)
		runs = lappend(runs, ((AdmittedRun *) lfirst(cell))->run);
	turn_settle_children(turn, runs);
	foreach(cell, runs)
	{
		if (((ReadyRun *) lfirst(cell))->deferred)
			runs = foreach_delete_current(runs, cell);
	}
	read_steps(turn, runs, starts->admitted);
	store_read_history(runs, (int64) agno_max_input_size * 1024, TURN_BYTES);

	foreach(cell, starts->admitted)
	{
		AdmittedRun *admitted = lfirst(cell);
		Flight	   *flight;

		if (admitted->run->deferred)
		{
			if (admitted->ask != ASK_NONE)
				pacing_give_back(turn->dispatch->paces, admitted->pace,
								 admitted->run->owner, admitted->ask);
			turn_again(turn, CHORE_START);
			continue;
		}
		blame_begin(admitted->run->run_id);
		starts->starting[starts->starting_count++] = admitted->run;
		flight = flight_create(admitted->run, &admitted->server,
							   admitted->pace, admitted->conversation);
		flight->admitted = admitted->ask != ASK_NONE;
		flight->ask = admitted->ask;
		turn->started = lappend(turn->started, flight);
		blame_end();
	}
}

/*
 * The turn is about these runs now, count of them.
 */
static void
begin_group(Turn *turn, PickedRun **runs, int count)
{
	bool		mixed = false;

	for (int i = 1; i < count; i++)
		mixed |= runs[i]->owner != runs[0]->owner;
	turn_begin_runs(turn, WORK_START, mixed ? InvalidOid : runs[0]->owner,
					count);
}

/*
 * Start those of these runs that may start, count of them, as far as what has been done
 * in the turn is not enough. Returns how many have been looked at.
 */
static int
start_ready(Turn *turn, PickedRun **ready, int count, Starts *done)
{
	int			looked = 0;
	int			had = 0;
	Starts		starts = {.bytes = done->bytes,.calls = done->calls};

	starts.starting = palloc(sizeof(ReadyRun *) * count);
	starts.calling = palloc(sizeof(ReadyRun *) * count);
	starts.parked = palloc(sizeof(ParkedRun) * count);
	starts.ended = palloc(sizeof(EndedRun) * count);
	starts.cancelled = palloc(sizeof(RunLock *) * count);
	starts.over = run_keys(count);
	while (looked < count && !is_full(&starts))
	{
		int			batch = Min(count - looked, LOCK_BATCH);
		List	   *locked = store_lock_ready(ready + looked, batch);
		ListCell   *cell;

		foreach(cell, locked)
		{
			ReadyRun   *run = lfirst(cell);

			turn_weighs(turn, run->owner, work_of(run));
			blame_begin(run->run_id);
			sort_out(turn, run, &starts);
			blame_end();
		}
		looked += batch;
		had += list_length(locked);
	}
	make_flights(turn, &starts);

	store_start(starts.starting, starts.starting_count);
	store_await_tools(starts.calling, starts.calling_count);
	store_park(starts.parked, starts.parked_count);
	turn_end_runs(turn, starts.ended, starts.ended_count);
	if (turn_end_cancelled(turn, starts.cancelled, starts.cancelled_count) <
		starts.cancelled_count)
		turn_again(turn, CHORE_START);
	if (starts.over.count > 0)
		store_leave_queue(starts.over.run_ids, starts.over.session_ids,
						  starts.over.count);
	if (had < looked)
		set_locked_aside(ready, looked);

	/* Those that are over may let others of their sessions go ahead. */
	if (starts.ended_count + starts.cancelled_count + starts.over.count > 0 ||
		had < looked)
		turn_again(turn, CHORE_START);
	*done = starts;
	return looked;
}

/*
 * Start those of these runs, count of them, that need not wait. Returns how many have been
 * looked at: they come first then.
 */
static int
start_some(Turn *turn, PickedRun **picked, int count, Starts *done)
{
	int			looked;

	begin_group(turn, picked, count);
	looked = set_waiting_aside(turn, picked, count);
	if (looked < count)
		looked += start_ready(turn, picked + looked, count - looked, done);
	turn_note_time(turn);
	return looked;
}

/*
 * Pick runs, and start those that may start: all at once, or when it is measured who
 * takes how long, those of each owner.
 */
void
turn_start_runs(Turn *turn)
{
	List	   *next = pick_next(turn);
	int			count = list_length(next);
	PickedRun **picked = palloc(sizeof(PickedRun *) * Max(count, 1));
	int			looked = 0;
	Starts		done = {0};

	for (int i = 0; i < count; i++)
		picked[i] = list_nth(next, i);
	if (count > 0)
		turn->tried_start = picked[0];
	while (looked < count && !is_full(&done))
	{
		int			group = turn->measured ? 1 : count - looked;

		while (looked + group < count &&
			   picked[looked + group]->owner == picked[looked]->owner)
			group++;
		looked += start_some(turn, picked + looked, group, &done);
	}
	if (looked < count)
	{
		/* Those who were not looked at come first. */
		if (looked > 0 && !turn->own)
			turn->order->last_owner = picked[looked - 1]->owner;
		turn_again(turn, CHORE_START);
	}
}
