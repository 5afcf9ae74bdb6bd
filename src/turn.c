/*-------------------------------------------------------------------------
 *
 * turn.c
 *	  The table work of one turn of the runner's loop.
 *
 * One short transaction does everything that is due: it reads the letters of
 * those who cancel, stores the runs that have ended, and starts new ones.
 * Under load that is a group commit, with hundreds of runs to a flush.
 *
 * What a turn does to the fleet before it commits is only what is true in any
 * case: a letter that can be read has been committed, so the run that it is
 * about is cancelled. The rest is in the Turn, for the runner to carry out
 * once the transaction has committed.
 *
 * A cancel and the end of a run race for the lock of the row in agno.runs. The
 * one who cancels holds it until his letter is committed. So the turn locks
 * the runs that have ended, and then reads the letters once more: whoever had
 * the lock before has been heard, and whoever gets it later sees the end.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "blame.h"
#include "commands/extension.h"
#include "encoding.h"
#include "grounded.h"
#include "settings.h"
#include "store.h"
#include "turn.h"
#include "utils/memutils.h"

/* How long a run that was found locked is left alone, in microseconds. */
#define LOCKED_PAUSE INT64CONST(1000000)

/* How many letters are read, and runs started, in one turn. */
#define BATCH 500

/*
 * The ids of some runs, and of their sessions where they matter, for the
 * store.
 */
typedef struct IdArray
{
	char	  **ids;
	char	  **sessions;
	ItemPointer *rows;			/* in agno.run_queue */
	int			count;
} IdArray;

static IdArray
id_array(int size)
{
	IdArray		array;

	array.ids = palloc(sizeof(char *) * Max(size, 1));
	array.sessions = palloc(sizeof(char *) * Max(size, 1));
	array.rows = palloc(sizeof(ItemPointer) * Max(size, 1));
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

static void
add_picked(IdArray *array, PickedRun *run)
{
	array->rows[array->count] = &run->row;
	add_id(array, run->run_id, run->session_id);
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
 * End these runs, all of them locked, and tell those who watch.
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
 * Letters
 *-------------------------------------------------------------------------
 */

/*
 * The flight of this run is cancelled.
 */
static void
cancel_flight(Turn *turn, Flight *flight)
{
	MemoryContext old = MemoryContextSwitchTo(flight->context);

	run_cancelled(&flight->run, fleet_now());
	flight->store_after = 0;
	fleet_place(turn->fleet, flight);
	MemoryContextSwitchTo(old);
}

/*
 * Follow letters about runs that are not in flight: those that were cancelled
 * while they waited leave the queue, those that wait still are cancelled now.
 * What is not in the queue has ended, or is not ours.
 */
static void
end_waiting(Turn *turn, List *signals)
{
	IdArray		ids = id_array(list_length(signals));
	RunLock   **ended = palloc(sizeof(RunLock *) * list_length(signals));
	Signal	  **again = palloc(sizeof(Signal *) * list_length(signals));
	int			ended_count = 0;
	int			again_count = 0;
	List	   *locks;
	List	   *locked_ids = NIL;
	List	   *queued;
	ListCell   *cell;

	foreach(cell, signals)
		add_id(&ids, ((Signal *) lfirst(cell))->run_id, NULL);
	queued = store_queued_runs(ids.ids, ids.count);
	if (queued == NIL)
		return;
	locks = store_lock_runs(ids.ids, ids.count);

	foreach(cell, locks)
	{
		RunLock    *lock = lfirst(cell);
		ListCell   *other;

		locked_ids = lappend(locked_ids, lock->run_id);
		if (!has_id(queued, lock->run_id))
			continue;
		foreach(other, signals)
		{
			Signal	   *signal = lfirst(other);

			if (signal->owner == lock->owner &&
				strcmp(signal->run_id, lock->run_id) == 0 &&
				(lock->status == RUN_PENDING || lock->status == RUN_PAUSED ||
				 lock->status == RUN_CANCELLED))
			{
				ended[ended_count++] = lock;
				turn->ended_ids = lappend(turn->ended_ids, lock->run_id);
				break;
			}
		}
	}

	/* Somebody else is at it right now: look again. */
	foreach(cell, signals)
	{
		Signal	   *signal = lfirst(cell);

		if (has_id(queued, signal->run_id) &&
			!has_id(locked_ids, signal->run_id))
			again[again_count++] = signal;
	}

	if (ended_count > 0)
		end_cancelled(ended, ended_count);
	if (again_count > 0)
	{
		store_resend_signals(again, again_count);
		turn->locked = true;
	}
}

/*
 * Follow letters.
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
	List	   *signals = store_take_signals(BATCH);

	turn->more_signals = list_length(signals) == BATCH;
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
	int64		now = fleet_now();
	List	   *flights = NIL;
	dlist_iter	iter;

	dlist_foreach(iter, &turn->fleet->ended)
	{
		Flight	   *flight = dlist_container(Flight, node, iter.cur);

		if (flight->store_after > now)
			continue;
		if (turn->alone && flights != NIL)
		{
			turn->more = true;
			break;
		}
		flights = lappend(flights, flight);
		if (turn->alone)
			turn->tried = flight;
	}
	return flights;
}

/*
 * The flight is over when the turn commits. Until then it is in the fleet, but
 * in nobody's way.
 */
static void
leave(Turn *turn, Flight *flight)
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
			flight->store_after = fleet_now() + LOCKED_PAUSE;
			turn->locked = true;
		}
		else
		{
			add_id(&gone, flight->run_id, flight->session_id);
			leave(turn, flight);
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
	int64		now = fleet_now();
	int			count = 0;
	dlist_iter	iter;
	ListCell   *cell;

	dlist_foreach(iter, &turn->fleet->pieces)
	{
		Flight	   *flight = dlist_container(Flight, piece_node, iter.cur);

		if (flight->run.step != RUN_STORE && flight->flush_at <= now)
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

		if (lock->status != RUN_RUNNING || lock->attempt != flight->run.attempt)
			continue;
		turn->flushed = lappend(turn->flushed, flight);
		if (flight->run.stream != NULL && flight->run.stream->content.len > 0)
		{
			partial[count].row = lock->row;
			partial[count++].content = flight->run.stream->content.data;
		}
	}
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
	int			count = 0;
	int			postponed_count = 0;
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
		leave(turn, flight);
	}

	ended = palloc(sizeof(EndedRun) * list_length(flights));
	postponed = palloc(sizeof(EndedRun) * list_length(flights));
	foreach(cell, mine)
	{
		RunLock    *lock = lfirst(cell);
		Flight	   *flight = fleet_find(turn->fleet, lock->run_id);

		if (flight->run.status == RUN_PENDING)
		{
			ended_run_fill(&postponed[postponed_count], &flight->run,
						   flight->run_id, flight->session_id);
			postponed[postponed_count].owner = flight->owner;
			postponed[postponed_count++].row = lock->row;
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
	store_events(streamed);

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
	int64		now = fleet_now();
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
	return true;
}

/*
 * Set aside what was picked but is behind another run of its session. Returns
 * the rest.
 */
static IdArray
park_waiting(Turn *turn, List *picked)
{
	IdArray		ready = id_array(list_length(picked));
	IdArray		waiting = id_array(list_length(picked));
	ListCell   *cell;

	foreach(cell, picked)
	{
		PickedRun  *run = lfirst(cell);

		if (run->behind || session_is_busy(turn, run->session_id))
			add_id(&waiting, run->run_id, run->session_id);
		else
			add_picked(&ready, run);
	}
	store_set_state(waiting.ids, waiting.count, 'w');
	return ready;
}

/*
 * Runs that were picked and could not be locked.
 */
static void
set_locked_aside(Turn *turn, IdArray picked, List *read)
{
	IdArray		unlocked = id_array(picked.count);
	IdArray		locked = id_array(picked.count);
	IdArray		gone = id_array(picked.count);
	List	   *read_ids = NIL;
	List	   *existing;
	ListCell   *cell;

	foreach(cell, read)
		read_ids = lappend(read_ids, ((ReadyRun *) lfirst(cell))->run_id);
	for (int i = 0; i < picked.count; i++)
	{
		if (!has_id(read_ids, picked.ids[i]))
			add_id(&unlocked, picked.ids[i], picked.sessions[i]);
	}

	existing = store_existing_runs(unlocked.ids, unlocked.count);
	for (int i = 0; i < unlocked.count; i++)
		add_id(has_id(existing, unlocked.ids[i]) ? &locked : &gone,
			   unlocked.ids[i], unlocked.sessions[i]);
	store_set_state(locked.ids, locked.count, 'k');
	if (gone.count > 0)
		store_leave_queue(gone.ids, gone.sessions, gone.count);
	turn->locked |= locked.count > 0;
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
 * Fetch parked runs whose model servers have room.
 */
static void
unpark(Turn *turn)
{
	Pace	   *pace = NULL;

	while ((pace = pacing_next_parked(turn->pacing, pace)) != NULL)
	{
		int			room = pacing_unparkable(turn->pacing, pace, fleet_now());

		room = Min(room, BATCH);
		if (room > 0 && store_unpark(pace->server, room) < room)
			pacing_none_parked(turn->pacing, pace);
	}
}

static void
start_runs(Turn *turn)
{
	int			limit = Min(turn->room + list_length(turn->left),
							turn->alone ? 1 : BATCH);
	List	   *picked = store_pick(limit);
	IdArray		ready;
	List	   *read;
	ReadyRun  **starting;
	ReadyRun  **parked;
	IdArray		over;
	EndedRun   *ended;
	RunLock   **cancelled;
	int			starting_count = 0;
	int			parked_count = 0;
	int			ended_count = 0;
	int			cancelled_count = 0;
	ListCell   *cell;

	if (turn->alone && picked != NIL)
		turn->tried_start = linitial(picked);
	ready = park_waiting(turn, picked);
	if (list_length(picked) == limit)
		turn->more = true;
	if (ready.count == 0)
		return;
	read = store_read_ready(ready.ids, ready.rows, ready.count);
	store_read_history(read);
	starting = palloc(sizeof(ReadyRun *) * Max(list_length(read), 1));
	parked = palloc(sizeof(ReadyRun *) * Max(list_length(read), 1));
	over = id_array(list_length(read));
	ended = palloc(sizeof(EndedRun) * Max(list_length(read), 1));
	cancelled = palloc(sizeof(RunLock *) * Max(list_length(read), 1));

	foreach(cell, read)
	{
		ReadyRun   *run = lfirst(cell);
		ModelServer server;

		blame_begin(run->run_id);
		if (run->status == RUN_CANCELLED)
		{
			RunLock    *lock = palloc0(sizeof(RunLock));

			lock->run_id = run->run_id;
			lock->session_id = run->session_id;
			cancelled[cancelled_count++] = lock;
			turn->ended_ids = lappend(turn->ended_ids, run->run_id);
		}
		else if (run->status != RUN_PENDING && run->status != RUN_RUNNING)
			add_id(&over, run->run_id, run->session_id);
		else if (ends_at_start(run, &server, &ended[ended_count]))
		{
			ended_count++;
			turn->ended_ids = lappend(turn->ended_ids, run->run_id);
		}
		else if (!pacing_admit(turn->pacing, run->model_server, &server,
							   fleet_now()))
			parked[parked_count++] = run;
		else
		{
			starting[starting_count++] = run;
			turn->started = lappend(turn->started,
									flight_create(run, &server));
		}
		blame_end();
	}

	store_start(starting, starting_count);
	store_park(parked, parked_count);
	if (ended_count > 0)
		finish_grounded(ended, ended_count);
	if (cancelled_count > 0)
		end_cancelled(cancelled, cancelled_count);
	if (over.count > 0)
		store_leave_queue(over.ids, over.sessions, over.count);
	if (list_length(read) < ready.count)
		set_locked_aside(turn, ready, read);
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
			run->started_at = fleet_now();
			run_failed(run, "storage", encoding_from_server(message),
					   run->started_at);
			ended_run_fill(&ended, run, id, picked->session_id);
			ended.row = lock->row;
			finish_grounded(&ended, 1);
		}
		else
			store_set_state(&id, 1, 'k');
		store_commit();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		FlushErrorState();
		store_abort();
		MemoryContextSwitchTo(caller);
		store_begin("agno_bg: setting a run aside");
		store_set_state(&id, 1, 'k');
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

	store_begin("agno_bg: storing and starting runs");

	extension = get_extension_oid("agno_bg", true);
	if (extension != turn->extension)
	{
		turn->unwanted = true;
		turn->replaced = OidIsValid(extension);
	}
	else
	{
		if (turn->recover)
			store_recover(turn->culprit);
		if (turn->signals)
			read_signals(turn);
		store_flights(turn);
		store_response_ids(turn);
		if (turn->flush)
			flush_pieces(turn);
		if (turn->start)
		{
			if (turn->clock)
				store_promote_due();
			if (turn->retry_locked)
				store_promote_locked();
			unpark(turn);
			start_runs(turn);
		}
		if (turn->clock || turn->recover)
			store_expire_markers();
		if (turn->expire)
			turn->more_expired = store_expire_runs(BATCH, agno_retention);
		turn->timed = store_next_time(&turn->next_time);
	}
	store_commit();
}
