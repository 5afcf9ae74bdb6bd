/*-------------------------------------------------------------------------
 *
 * turn.c
 *	  The table work of one turn of the runner's loop.
 *
 * One short transaction does everything that is due: it reads the signals of
 * those who cancel, stores the runs that have ended, and starts new ones.
 * Under load that is a group commit, with hundreds of runs to a flush.
 *
 * What a turn does to the fleet before it commits is only what is true in any
 * case: a signal that can be read has been committed, so the run that it is
 * about is cancelled. The rest is in the Turn, for the runner to carry out
 * once the transaction has committed.
 *
 * A cancel and the end of a run race for the lock of the row in agno.runs. The
 * backend that cancels holds it until its signal is committed. So the turn locks
 * the runs that have ended, and then reads the signals once more: a backend
 * that had the lock before has been heard, and one that gets it later sees the
 * end.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/clock.h"
#include "runner/blame.h"
#include "runner/grounded.h"
#include "runner/turn.h"
#include "server/encoding.h"
#include "server/settings.h"
#include "store/store.h"
#include "utils/memutils.h"


/*
 * How long a run that has ended and was found locked is left alone, in
 * microseconds: the pause doubles from the first to the last.
 */
#define FIRST_LOCKED_PAUSE US_PER_S
#define LAST_LOCKED_PAUSE (16 * US_PER_S)

/* How many signals are read, and runs promoted or given up, in one turn. */
#define BATCH 500

/* How many runs are looked at again, in one turn, that could not be had. */
#define LOCKED_BATCH 100

/*
 * How often a row of the queue is looked at whose run is not there: for three
 * quarters of a minute. A restore may be about to bring it.
 */
#define ORPHAN_LOOKS 6

/*
 * How much is read of what was handed in with runs, in bytes: in one turn, but
 * one run at least.
 */
#define TURN_BYTES (INT64CONST(32) * 1024 * 1024)

/*
 * The ids of some runs, and of their sessions where they matter, for the
 * store.
 */
typedef struct IdArray
{
	char	  **ids;
	char	  **sessions;
	int			count;
} IdArray;

static IdArray
id_array(int size)
{
	IdArray		array;

	array.ids = palloc(sizeof(char *) * Max(size, 1));
	array.sessions = palloc(sizeof(char *) * Max(size, 1));
	array.count = 0;
	return array;
}

static void
add_id(IdArray *array, const char *id, const char *session)
{
	array->ids[array->count] = unconstify(char *, id);
	array->sessions[array->count] = unconstify(char *, session);
	array->count++;
}

static bool
has_id(List *ids, const char *id)
{
	ListCell   *cell;

	foreach(cell, ids)
	{
		if (strcmp(lfirst(cell), id) == 0)
			return true;
	}
	return false;
}

/*-------------------------------------------------------------------------
 * Ends of runs that are not in flight
 *-------------------------------------------------------------------------
 */

/*
 * End these runs, all of them locked, and tell subscribers.
 */
static void
finish_grounded(EndedRun *ended, int count)
{
	IdArray		ids = id_array(count);

	for (int i = 0; i < count; i++)
		add_id(&ids, ended[i].run_id, ended[i].session_id);
	store_finish(ended, count);
	grounded_tell(ids.ids, count);
}

/*
 * The same for runs that have been or are to be cancelled.
 */
static void
end_cancelled(RunLock **runs, int count)
{
	IdArray		ids = id_array(count);

	for (int i = 0; i < count; i++)
		add_id(&ids, runs[i]->run_id, runs[i]->session_id);
	store_end_cancelled(runs, count);
	grounded_tell(ids.ids, count);
}

/*-------------------------------------------------------------------------
 * Signals
 *-------------------------------------------------------------------------
 */

/*
 * The flight of this run is cancelled.
 */
static void
cancel_flight(Turn *turn, Flight *flight)
{
	MemoryContext old = MemoryContextSwitchTo(flight->context);

	run_cancelled(&flight->run, clock_now());
	fleet_put_on(turn->fleet, flight);
	fleet_place(turn->fleet, flight);
	MemoryContextSwitchTo(old);
}

/*
 * Whether one of these signals is for the run that is locked.
 */
static bool
is_meant(const RunLock *lock, List *signals)
{
	ListCell   *cell;

	foreach(cell, signals)
	{
		Signal	   *signal = lfirst(cell);

		if (signal->owner == lock->owner &&
			strcmp(signal->run_id, lock->run_id) == 0)
			return true;
	}
	return false;
}

/*
 * Follow signals about runs that are not in flight: those that were cancelled
 * while they waited leave the queue, those that wait still are cancelled now,
 * even if a restore or a hand has lost them from the queue. What somebody has
 * locked is cancelled later.
 */
static void
end_waiting(Turn *turn, List *signals)
{
	IdArray		ids = id_array(list_length(signals));
	RunLock   **ended = palloc(sizeof(RunLock *) * list_length(signals));
	Signal	  **later = palloc(sizeof(Signal *) * list_length(signals));
	int			ended_count = 0;
	int			later_count = 0;
	List	   *locked_ids = NIL;
	List	   *locks;
	List	   *queued;
	ListCell   *cell;

	foreach(cell, signals)
		add_id(&ids, ((Signal *) lfirst(cell))->run_id, NULL);
	locks = store_lock_runs(ids.ids, ids.count);
	queued = store_queued_runs(ids.ids, ids.count);

	foreach(cell, locks)
	{
		RunLock    *lock = lfirst(cell);
		bool		is_queued = has_id(queued, lock->run_id);

		locked_ids = lappend(locked_ids, lock->run_id);
		if (!lock->mine || !is_meant(lock, signals))
			continue;
		if (lock->status != RUN_PENDING && lock->status != RUN_RUNNING &&
			lock->status != RUN_PAUSED &&
			!(lock->status == RUN_CANCELLED && is_queued))
			continue;
		ended[ended_count++] = lock;
		turn->ended_ids = lappend(turn->ended_ids, lock->run_id);
	}
	foreach(cell, signals)
	{
		Signal	   *signal = lfirst(cell);

		if (has_id(queued, signal->run_id) &&
			!has_id(locked_ids, signal->run_id))
			later[later_count++] = signal;
	}

	if (ended_count > 0)
		end_cancelled(ended, ended_count);
	if (later_count > 0)
		store_cancel_later(later, later_count);
}

/*
 * Follow signals.
 */
static void
follow_signals(Turn *turn, List *signals)
{
	List	   *others = NIL;
	ListCell   *cell;

	foreach(cell, signals)
	{
		Signal	   *signal = lfirst(cell);
		Flight	   *flight = fleet_find(turn->fleet, signal->run_id);

		if (flight == NULL)
			others = lappend(others, signal);
		else if (flight->owner == signal->owner)
			cancel_flight(turn, flight);
	}
	if (others != NIL)
		end_waiting(turn, others);
}

static void
read_signals(Turn *turn)
{
	List	   *signals = store_take_signals(turn->signals_after, BATCH);

	/* Go round, so that what others leave behind is not read again and again. */
	turn->more_signals = list_length(signals) == BATCH ||
		turn->signals_after[0] != '\0';
	turn->last_signal = list_length(signals) == BATCH ?
		((Signal *) llast(signals))->run_id : pstrdup("");
	follow_signals(turn, signals);
}

/*-------------------------------------------------------------------------
 * Ends
 *-------------------------------------------------------------------------
 */

/*
 * The flights that are to be stored in this turn.
 */
static List *
flights_to_store(Turn *turn)
{
	int64		now = clock_now();
	List	   *flights = NIL;
	dlist_iter	iter;

	dlist_foreach(iter, &turn->fleet->ended)
	{
		Flight	   *flight = dlist_container(Flight, node, iter.cur);

		if (flight->store_after > now)
			continue;
		if (list_length(flights) == turn->limit)
		{
			turn->more = true;
			break;
		}
		flights = lappend(flights, flight);
	}
	turn->tried += list_length(flights);
	if (flights != NIL)
		turn->tried_flight = linitial(flights);
	return flights;
}

/*
 * The flight is over when the turn commits. Until then it is in the fleet, but
 * in nobody's way.
 */
static void
release_at_commit(Turn *turn, Flight *flight)
{
	turn->left = lappend(turn->left, flight);
	flight->leaving = turn->number;
}

static bool
session_is_busy(Turn *turn, const char *session_id)
{
	Flight	   *flight = fleet_find_session(turn->fleet, session_id);

	return flight != NULL && flight->leaving != turn->number;
}

/*
 * Flights whose rows could not be locked: those that are locked by somebody
 * else are tried again later, those that have been deleted are over.
 */
static void
put_off(Turn *turn, List *flights)
{
	IdArray		ids = id_array(list_length(flights));
	IdArray		gone = id_array(list_length(flights));
	List	   *existing;
	ListCell   *cell;

	foreach(cell, flights)
		add_id(&ids, ((Flight *) lfirst(cell))->run_id, NULL);
	existing = store_existing_runs(ids.ids, ids.count);

	foreach(cell, flights)
	{
		Flight	   *flight = lfirst(cell);

		if (has_id(existing, flight->run_id))
		{
			int64		pause = flight->locked_pause == 0 ?
				FIRST_LOCKED_PAUSE : flight->locked_pause * 2;

			fleet_put_off(turn->fleet, flight, Min(pause, LAST_LOCKED_PAUSE));
		}
		else
		{
			add_id(&gone, flight->run_id, flight->session_id);
			release_at_commit(turn, flight);
		}
	}
	if (gone.count > 0)
		store_leave_queue(gone.ids, gone.sessions, gone.count);
}

/*
 * Store the events of these flights, whose rows are locked.
 */
static void
store_events(List *flights)
{
	EventRow   *rows;
	int			most = 0;
	int			count = 0;
	ListCell   *cell;

	foreach(cell, flights)
		most += flight_count_events(lfirst(cell));
	rows = palloc(sizeof(EventRow) * Max(most, 1));
	foreach(cell, flights)
		count += flight_event_rows(lfirst(cell), rows + count);
	store_append_events(rows, count);
}

/*
 * Store what has arrived of streamed answers. Runs that somebody has locked,
 * to cancel them most likely, are left for the next time.
 */
static void
flush_pieces(Turn *turn)
{
	IdArray		ids = id_array(turn->fleet->count);
	PartialRun *partial;
	List	   *locks;
	int64		now = clock_now();
	int			count = 0;
	dlist_iter	iter;
	ListCell   *cell;

	dlist_foreach(iter, &turn->fleet->with_news)
	{
		Flight	   *flight = dlist_container(Flight, news_node, iter.cur);

		if (ids.count == turn->limit)
			break;
		if (flight->run.step != STEP_STORE && flight->flush_at <= now)
			add_id(&ids, flight->run_id, flight->session_id);
	}
	if (ids.count == 0)
		return;
	locks = store_lock_runs(ids.ids, ids.count);
	partial = palloc(sizeof(PartialRun) * Max(list_length(locks), 1));
	foreach(cell, locks)
	{
		RunLock    *lock = lfirst(cell);
		Flight	   *flight = fleet_find(turn->fleet, lock->run_id);
		const char *content;

		if (lock->status != RUN_RUNNING || lock->attempt != flight->run.attempt)
			continue;
		turn->flushed = lappend(turn->flushed, flight);
		content = flight_partial_content(flight);
		if (content != NULL)
		{
			partial[count].row = lock->row;
			partial[count++].content = content;
		}
	}
	turn->tried += list_length(turn->flushed);
	if (turn->flushed != NIL)
		turn->tried_flight = linitial(turn->flushed);
	store_events(turn->flushed);
	store_show_content(partial, count);
}

static void
store_flights(Turn *turn)
{
	List	   *flights = flights_to_store(turn);
	List	   *unlocked = NIL;
	IdArray		ids = id_array(list_length(flights));
	List	   *locks;
	List	   *mine = NIL;
	List	   *streamed = NIL;
	EndedRun   *ended;
	EndedRun   *postponed;
	EndedRun   *held_back;
	IdArray		over = id_array(list_length(flights));
	IdArray		others = id_array(list_length(flights));
	int			count = 0;
	int			postponed_count = 0;
	int			held_back_count = 0;
	ListCell   *cell;

	if (flights == NIL)
		return;
	foreach(cell, flights)
		add_id(&ids, ((Flight *) lfirst(cell))->run_id, NULL);
	locks = store_lock_runs(ids.ids, ids.count);
	follow_signals(turn, store_take_signals_of(ids.ids, ids.count));

	foreach(cell, locks)
	{
		RunLock    *lock = lfirst(cell);
		Flight	   *flight = fleet_find(turn->fleet, lock->run_id);

		/* One writer per attempt: has somebody else taken the run over? */
		if (lock->status == RUN_RUNNING && lock->attempt == flight->run.attempt)
			mine = lappend(mine, lock);
		else
			add_id(lock->status == RUN_PENDING || lock->status == RUN_RUNNING ?
				   &others : &over, lock->run_id, lock->session_id);
		release_at_commit(turn, flight);
	}

	ended = palloc(sizeof(EndedRun) * list_length(flights));
	postponed = palloc(sizeof(EndedRun) * list_length(flights));
	held_back = palloc(sizeof(EndedRun) * list_length(flights));
	foreach(cell, mine)
	{
		RunLock    *lock = lfirst(cell);
		Flight	   *flight = fleet_find(turn->fleet, lock->run_id);

		if (flight->run.status == RUN_PENDING)
		{
			EndedRun   *back = flight->run.postpone_ms > 0 ?
				&postponed[postponed_count++] : &held_back[held_back_count++];

			flight_fill_ended(flight, back);
			back->row = lock->row;
			if (flight->run.postpone_ms > 0)
				continue;
			back->parked_for = flight->pace->key;
			turn->held_back = lappend(turn->held_back, flight->pace);
			continue;
		}
		if (flight->run.streamed)
			streamed = lappend(streamed, flight);
		blame_begin(flight->run_id);
		flight_fill_ended(flight, &ended[count]);
		blame_end();
		ended[count++].row = lock->row;
		turn->ended_ids = lappend(turn->ended_ids,
								  pstrdup(flight->run_id));
	}
	if (count > 0)
		store_finish(ended, count);
	store_postpone(postponed, postponed_count);
	store_hold_back(held_back, held_back_count);
	store_events(streamed);

	/* Its row says what is to become of a run that is not ours any more. */
	if (over.count > 0)
		store_leave_queue(over.ids, over.sessions, over.count);
	store_set_locked(others.ids, others.count);

	if (list_length(locks) < list_length(flights))
	{
		unlocked = list_difference_ptr(flights, turn->left);
		put_off(turn, unlocked);
	}
}

/*-------------------------------------------------------------------------
 * Starts
 *-------------------------------------------------------------------------
 */

/*
 * Whether a run ends here and now rather than being started; if so, this
 * fills *ended.
 */
static bool
ends_at_start(const ReadyRun *ready, ModelServer *server, EndedRun *ended)
{
	Run		   *run = palloc0(sizeof(Run));
	int64		now = clock_now();
	int			max_attempts = ready->max_attempts >= 0 ?
		ready->max_attempts : agno_max_attempts;
	char	   *problem;

	run->run_id = encoding_from_server(ready->run_id);
	run->attempt = ready->attempt;
	run->started_at = now;

	if (ready->marked)
		run_cancelled(run, now);
	else if (ready->attempt >= max_attempts)
		run_failed(run, "interrupted",
				   psprintf("the run was interrupted in each of %d attempts, by a crash of the server or of the worker",
							ready->attempt),
				   now);
	else
	{
		problem = model_server_resolve(ready->model_server, ready->owner,
									   server);
		if (problem == NULL)
			return false;
		run_failed(run, "configuration", encoding_from_server(problem), now);
	}
	ended_run_fill(ended, run, ready->run_id, ready->session_id);
	ended->row = ready->row;
	ended->owner = ready->owner;
	return true;
}

/*
 * Set aside what was picked but is behind another run of its session. Returns
 * the rest, in palloc'd memory.
 */
static PickedRun **
park_waiting(Turn *turn, List *picked, int *count)
{
	PickedRun **ready = palloc(sizeof(PickedRun *) *
							   Max(list_length(picked), 1));
	IdArray		waiting = id_array(list_length(picked));
	ListCell   *cell;

	*count = 0;
	foreach(cell, picked)
	{
		PickedRun  *run = lfirst(cell);

		if (!run->cancelled &&
			(run->behind || session_is_busy(turn, run->session_id)))
			add_id(&waiting, run->run_id, run->session_id);
		else
			ready[(*count)++] = run;
	}
	store_set_waiting(waiting.ids, waiting.count);
	return ready;
}

/*
 * Runs that were picked and could not be had: somebody has locked them, or they
 * are not there. One that is not there for a long time will not come.
 */
static void
set_locked_aside(PickedRun **picked, int count)
{
	IdArray		locked = id_array(count);
	IdArray		old = id_array(count);
	IdArray		gone = id_array(count);
	List	   *existing = NIL;

	for (int i = 0; i < count; i++)
	{
		if (!picked[i]->had)
			add_id(picked[i]->looks < ORPHAN_LOOKS ? &locked : &old,
				   picked[i]->run_id, picked[i]->session_id);
	}
	if (old.count > 0)
		existing = store_existing_runs(old.ids, old.count);
	for (int i = 0; i < old.count; i++)
		add_id(has_id(existing, old.ids[i]) ? &locked : &gone,
			   old.ids[i], old.sessions[i]);
	store_set_locked(locked.ids, locked.count);
	if (gone.count > 0)
		store_leave_queue(gone.ids, gone.sessions, gone.count);
}

/*
 * Keep the ids of responses that servers have begun to work on.
 */
static void
store_response_ids(Turn *turn)
{
	ListCell   *cell;

	foreach(cell, turn->new_responses)
	{
		Flight	   *flight = lfirst(cell);

		if (flight->leaving != turn->number)
			store_response_id(flight->run_id, flight->owner,
							  flight->run.response_id);
	}
}

/*
 * Fetch the first runs that are parked for this. Their owners take turns.
 */
static void
unpark_some(Turn *turn, Pace *pace, int room)
{
	bool		reached = pacing_problem(turn->pacing, pace) == NULL;
	int			most = room + shares_owners(pace->target->shares);
	List	   *owners = store_parked_owners(pace->key, pace->last_owner, most);
	List	   *waiting = NIL;
	int			quota;
	int			fetched = 0;
	ListCell   *cell;

	foreach(cell, owners)
	{
		if (pacing_owner_may(pace, lfirst_oid(cell)))
			waiting = lappend_oid(waiting, lfirst_oid(cell));
	}
	quota = (room + list_length(waiting) - 1) / Max(list_length(waiting), 1);
	foreach(cell, waiting)
	{
		Oid			owner = lfirst_oid(cell);

		if (fetched >= room)
			break;
		fetched += store_unpark(pace->key, owner, reached,
								Min(quota, room - fetched));
		pace->last_owner = owner;
	}
	if (owners == NIL)
		pacing_none_parked(turn->pacing, pace);
	else if (fetched == 0)
		pacing_stall(turn->pacing, pace);
}

/*
 * Fetch parked runs whose model servers have room.
 */
static void
unpark(Turn *turn)
{
	Pace	   *pace = NULL;

	while ((pace = pacing_next_parked(turn->pacing, pace)) != NULL)
	{
		int			room = pacing_unparkable(turn->pacing, pace, clock_now());

		if (room > 0)
			unpark_some(turn, pace, Min(room, turn->limit));
	}
}

/*
 * End these runs: they have waited long enough for their server.
 */
static void
end_given_up(Turn *turn, Pace *pace, List *picked, const char *problem)
{
	int			size = list_length(picked);
	IdArray		ids = id_array(size);
	IdArray		over = id_array(size);
	IdArray		locked = id_array(size);
	EndedRun   *ended = palloc(sizeof(EndedRun) * size);
	RunLock   **cancelled = palloc(sizeof(RunLock *) * size);
	int			ended_count = 0;
	int			cancelled_count = 0;
	List	   *locked_ids = NIL;
	List	   *locks;
	ListCell   *cell;

	foreach(cell, picked)
		add_id(&ids, ((PickedRun *) lfirst(cell))->run_id,
			   ((PickedRun *) lfirst(cell))->session_id);
	locks = store_lock_runs(ids.ids, ids.count);
	foreach(cell, locks)
	{
		RunLock    *lock = lfirst(cell);
		Run		   *run = palloc0(sizeof(Run));
		int64		now = clock_now();

		locked_ids = lappend(locked_ids, lock->run_id);
		if (lock->status == RUN_PENDING || lock->status == RUN_RUNNING)
		{
			run->run_id = encoding_from_server(lock->run_id);
			/* what the error tells; one that is put back does not count */
			run->attempt = Max(lock->attempt, 1);
			run->started_at = now;
			run_failed(run, "connection",
					   psprintf("could not reach the model server for %.3f s: %s",
								pace->target->patience_ms / 1000.0, problem),
					   now);
			ended_run_fill(&ended[ended_count], run, lock->run_id,
						   lock->session_id);
			ended[ended_count].attempt = lock->attempt;
			ended[ended_count].owner = lock->owner;
			ended[ended_count++].row = lock->row;
			turn->ended_ids = lappend(turn->ended_ids, lock->run_id);
		}
		else if (lock->status == RUN_CANCELLED)
		{
			cancelled[cancelled_count++] = lock;
			turn->ended_ids = lappend(turn->ended_ids, lock->run_id);
		}
		else
			add_id(&over, lock->run_id, lock->session_id);
	}
	for (int i = 0; i < ids.count; i++)
	{
		if (!has_id(locked_ids, ids.ids[i]))
			add_id(&locked, ids.ids[i], ids.sessions[i]);
	}

	if (ended_count > 0)
		finish_grounded(ended, ended_count);
	if (cancelled_count > 0)
		end_cancelled(cancelled, cancelled_count);
	if (over.count > 0)
		store_leave_queue(over.ids, over.sessions, over.count);
	store_set_locked(locked.ids, locked.count);
}

/*
 * Give up runs whose servers could not be reached for too long.
 */
static void
give_up(Turn *turn)
{
	Pace	   *pace = NULL;

	while ((pace = pacing_next_parked(turn->pacing, pace)) != NULL)
	{
		const char *problem = pacing_problem(turn->pacing, pace);
		int64		patience_ms = pace->target->patience_ms;
		int64		now = clock_now();
		List	   *picked;
		TimestampTz since;

		if (problem == NULL)
			pace->give_up_at = NEVER;
		if (pace->give_up_at > now)
			continue;
		picked = store_pick_given_up(pace->key, patience_ms,
									 Min(BATCH, turn->limit));
		if (picked != NIL)
			end_given_up(turn, pace, picked, problem);
		since = store_waits_since(pace->key);
		pace->give_up_at = since == 0 ? NEVER :
			now + Max(since + patience_ms * 1000 - GetCurrentTimestamp(), 0);
	}
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
	Shares	   *shares = turn->fleet->shares;
	int			slots = room;

	/* Owners with nothing in flight get a slot even if all are taken. */
	if (shares_count(shares, run->owner) == 0)
		slots = Max(room, turn->newcomers);
	return list_length(turn->again) < slots &&
		!shares_is_full(shares, run->owner, shares_limit());
}

/*
 * The runs that could not be had and are to be looked at again. They have been
 * waiting for longer than others, so they come first; what is to be cancelled
 * needs no slot, and is returned. Those that may start are in turn->again; those
 * that may not are put off, so that they hide nobody else's.
 */
static List *
pick_locked(Turn *turn, int most, int room)
{
	List	   *due = store_pick_locked(most);
	IdArray		later = id_array(list_length(due));
	List	   *cancelled = NIL;
	ListCell   *cell;

	foreach(cell, due)
	{
		PickedRun  *run = lfirst(cell);

		if (run->cancelled)
			cancelled = lappend(cancelled, run);
		else if (may_start(turn, run, room))
		{
			turn->again = lappend(turn->again, run);
			shares_add(turn->fleet->shares, run->owner, 0);
		}
		else
			add_id(&later, run->run_id, run->session_id);
	}
	store_set_locked(later.ids, later.count);
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
		shares_remove(turn->fleet->shares, ((Flight *) lfirst(cell))->owner,
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
		shares_add(turn->fleet->shares, ((Flight *) lfirst(cell))->owner,
				   ((Flight *) lfirst(cell))->bytes);
	foreach(cell, turn->again)
		shares_remove(turn->fleet->shares,
					  ((PickedRun *) lfirst(cell))->owner, 0);
}

/*
 * The next runs to be started, as far as there are slots: a list of PickedRun.
 */
static List *
pick_next(Turn *turn)
{
	Shares	   *shares = turn->fleet->shares;
	int			room = turn->room + freed_slots(turn);
	int			limit = turn->limit;
	bool		more = false;
	List	   *cancelled = NIL;
	List	   *picked;

	begin_picking(turn);
	if (turn->clock)
		cancelled = pick_locked(turn, Min(limit, LOCKED_BATCH), room);
	room -= list_length(turn->again);
	limit -= list_length(turn->again) + list_length(cancelled);
	if (room > 0)
		picked = pick_runs(turn->order, shares, room, limit, &more);
	else
		picked = pick_newcomers(turn->order, shares,
								Min(turn->newcomers + Min(room, 0), limit));
	turn->more |= more;
	turn_end_picking(turn);
	return list_concat(list_concat(cancelled, turn->again), picked);
}

/*
 * What becomes of the runs that were picked, by what is to be stored of them.
 */
typedef struct Starts
{
	ReadyRun  **starting;
	int			starting_count;
	ParkedRun  *parked;
	int			parked_count;
	EndedRun   *ended;
	int			ended_count;
	RunLock   **cancelled;
	int			cancelled_count;
	IdArray		over;
} Starts;

/*
 * Why a run waits, for its column error.
 */
static char *
problem_json(const ReadyRun *ready, const char *problem)
{
	Run			run = {
		.error_type = "connection",
		.error_message =
			psprintf("could not reach the model server: %s", problem),
		.attempt = ready->attempt,
	};

	return run_error_json(&run);
}

/*
 * Decide about a run that is locked and has been read.
 */
static void
decide(Turn *turn, ReadyRun *run, Starts *starts)
{
	ModelServer server;
	Pace	   *pace;
	const char *problem;

	if (run->status == RUN_CANCELLED)
	{
		RunLock    *lock = palloc0(sizeof(RunLock));

		lock->run_id = run->run_id;
		lock->session_id = run->session_id;
		starts->cancelled[starts->cancelled_count++] = lock;
		turn->ended_ids = lappend(turn->ended_ids, run->run_id);
		return;
	}
	if (run->status != RUN_PENDING && run->status != RUN_RUNNING)
	{
		add_id(&starts->over, run->run_id, run->session_id);
		return;
	}
	if (ends_at_start(run, &server, &starts->ended[starts->ended_count]))
	{
		starts->ended_count++;
		turn->ended_ids = lappend(turn->ended_ids, run->run_id);
		return;
	}

	pace = pacing_find(turn->pacing, run->model_server, server.mapping);
	if (run->picked->parked_for != NULL &&
		strcmp(run->picked->parked_for, pace->key) != 0)
		pacing_forget_limits(turn->pacing, run->picked->parked_for);
	if (pacing_admit(turn->pacing, pace, &server, run->owner, clock_now()))
	{
		starts->starting[starts->starting_count++] = run;
		turn->started = lappend(turn->started,
								flight_create(run, &server, pace));
		return;
	}
	problem = pacing_problem(turn->pacing, pace);
	starts->parked[starts->parked_count].run = run;
	starts->parked[starts->parked_count].key = pace->key;
	starts->parked[starts->parked_count++].error =
		problem != NULL ? problem_json(run, problem) : NULL;
	if (problem != NULL)
		turn->held_back = lappend(turn->held_back, pace);
}

static void
start_runs(Turn *turn)
{
	List	   *picked = pick_next(turn);
	PickedRun **ready;
	int			count;
	List	   *read;
	int			size;
	Starts		starts = {0};
	ListCell   *cell;

	turn->tried += list_length(picked);
	if (picked != NIL)
		turn->tried_start = linitial(picked);
	ready = park_waiting(turn, picked, &count);
	if (count == 0)
		return;
	read = store_read_ready(ready, count, TURN_BYTES);
	store_read_history(read, (int64) agno_max_input_size * 1024, TURN_BYTES);

	size = Max(list_length(read), 1);
	starts.starting = palloc(sizeof(ReadyRun *) * size);
	starts.parked = palloc(sizeof(ParkedRun) * size);
	starts.ended = palloc(sizeof(EndedRun) * size);
	starts.cancelled = palloc(sizeof(RunLock *) * size);
	starts.over = id_array(size);
	foreach(cell, read)
	{
		ReadyRun   *run = lfirst(cell);

		if (run->deferred)
		{
			turn->more = true;
			continue;
		}
		blame_begin(run->run_id);
		decide(turn, run, &starts);
		blame_end();
	}

	store_start(starts.starting, starts.starting_count);
	store_park(starts.parked, starts.parked_count);
	if (starts.ended_count > 0)
		finish_grounded(starts.ended, starts.ended_count);
	if (starts.cancelled_count > 0)
		end_cancelled(starts.cancelled, starts.cancelled_count);
	if (starts.over.count > 0)
		store_leave_queue(starts.over.ids, starts.over.sessions,
						  starts.over.count);
	if (list_length(read) < count)
		set_locked_aside(ready, count);
}

/*
 * A run that cannot be started, because a trigger refuses it say: it ends in
 * ERROR with this message; and if even that cannot be stored, it stands aside
 * for others.
 */
void
turn_refuse(const PickedRun *picked, const char *message)
{
	MemoryContext caller = CurrentMemoryContext;
	char	   *id = picked->run_id;

	PG_TRY();
	{
		Run		   *run = palloc0(sizeof(Run));
		EndedRun	ended;
		List	   *locks;
		RunLock    *lock;

		store_begin("agno_bg: refusing a run");
		locks = store_lock_runs(&id, 1);
		if (locks != NIL)
		{
			run->run_id = encoding_from_server(id);
			lock = linitial(locks);
			run->attempt = lock->attempt;
			run->started_at = clock_now();
			run_failed(run, "storage", encoding_from_server(message),
					   run->started_at);
			ended_run_fill(&ended, run, id, picked->session_id);
			ended.row = lock->row;
			ended.owner = lock->owner;
			finish_grounded(&ended, 1);
		}
		else
			store_set_locked(&id, 1);
		store_commit();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		FlushErrorState();
		store_abort();
		MemoryContextSwitchTo(caller);
		store_begin("agno_bg: setting a run aside");
		store_set_locked(&id, 1);
		store_commit();
	}
	PG_END_TRY();
}

/*
 * Do the table work of a turn. On an error, nothing of it has happened, and
 * the transaction is the caller's to abort.
 */
void
turn_execute(Turn *turn)
{
	Oid			extension;
	bool		fits;

	store_begin("agno_bg: storing and starting runs");

	extension = store_find_extension(&fits, false);
	if (extension != turn->extension || !fits)
	{
		turn->unwanted = true;
		turn->replaced = OidIsValid(extension) && fits;
	}
	else
	{
		if (turn->patrol != NULL)
			turn->more_patrol = patrol_step(turn->patrol, &turn->lost);
		if (turn->signals)
			read_signals(turn);
		store_flights(turn);
		store_response_ids(turn);
		/* One thing at a time, while it is not known what fails. */
		if (turn->flush && (turn->limit > 1 || turn->tried == 0))
			flush_pieces(turn);
		if (turn->start && (turn->limit > 1 || turn->tried == 0))
		{
			if (turn->clock)
				turn->more_due = store_promote_due(BATCH);
			give_up(turn);
			unpark(turn);
			start_runs(turn);
		}
		else if (turn->start)
			turn->more = true;
		if (turn->clock)
			store_expire_markers(BATCH);
		turn->timed = store_next_time(&turn->next_time);
	}
	store_commit();
}
