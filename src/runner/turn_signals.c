/*-------------------------------------------------------------------------
 *
 * turn_signals.c
 *	  The signals that a turn reads.
 *
 * A signal that can be read has been committed, so what it says is true, and what
 * is done to a flight because of it need not wait for the end of the turn.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/clock.h"
#include "runner/deadline.h"
#include "runner/ended_run.h"
#include "runner/turn_internal.h"

/*
 * The one of these signals that is for the run that is locked, or NULL.
 */
static Signal *
find_signal(const RunLock *lock, List *signals)
{
	ListCell   *cell;

	foreach(cell, signals)
	{
		Signal	   *signal = lfirst(cell);

		if (signal->owner == lock->owner &&
			strcmp(signal->run_id, lock->run_id) == 0)
			return signal;
	}
	return NULL;
}

/*
 * What is to be done about a run that a signal is about and that is locked.
 */
static bool
is_to_be_cancelled(const RunLock *lock, bool is_queued)
{
	return !run_status_is_final(lock->status) ||
		(lock->status == RUN_CANCELLED && is_queued);
}

/*
 * Follow signals about runs that are not in flight: those that were cancelled
 * while they waited leave the queue, those that wait still are cancelled now,
 * even if a restore or a hand has lost them from the queue. What somebody has
 * locked, or is too much to be read in a turn, is cancelled later.
 */
static void
cancel_waiting(Turn *turn, List *signals)
{
	int			size = list_length(signals);
	RunKeys		keys = run_keys(size);
	RunLock   **cancelled = palloc(sizeof(RunLock *) * size);
	Signal	  **later = palloc(sizeof(Signal *) * size);
	int			cancelled_count = 0;
	int			later_count = 0;
	int			kept;
	List	   *locks;
	List	   *locked_ids = NIL;
	RunIdSet	queued;
	RunIdSet	locked;
	ListCell   *cell;

	foreach(cell, signals)
		run_keys_add(&keys, ((Signal *) lfirst(cell))->run_id, NULL);
	locks = store_lock_runs(keys.run_ids, keys.count);
	queued = run_id_set(store_queued_runs(keys.run_ids, keys.count));

	foreach(cell, locks)
	{
		RunLock    *lock = lfirst(cell);

		locked_ids = lappend(locked_ids, lock->run_id);
		if (lock->mine && find_signal(lock, signals) != NULL &&
			is_to_be_cancelled(lock, run_id_set_has(&queued, lock->run_id)))
		{
			cancelled[cancelled_count++] = lock;
			if (lock->status == RUN_RUNNING)
				turn->cancelled_ids = lappend(turn->cancelled_ids, lock->run_id);
		}
	}
	locked = run_id_set(locked_ids);
	foreach(cell, signals)
	{
		Signal	   *signal = lfirst(cell);

		if (run_id_set_has(&queued, signal->run_id) &&
			!run_id_set_has(&locked, signal->run_id))
			later[later_count++] = signal;
	}

	kept = turn_end_cancelled(turn, cancelled, cancelled_count);
	for (int i = kept; i < cancelled_count; i++)
		later[later_count++] = find_signal(cancelled[i], signals);
	if (later_count > 0)
		turn->cancelled_ids = list_concat(turn->cancelled_ids,
										  store_cancel_later(later, later_count, 1));
}

/*
 * A run is to be cancelled, or has been. Those that are not in flight are added to
 * *waiting.
 */
static void
cancel(Turn *turn, Signal *signal, List **waiting)
{
	Flight	   *flight = fleet_find(turn->dispatch->fleet, signal->run_id);

	if (flight == NULL)
		*waiting = lappend(*waiting, signal);
	else if (flight->owner == signal->owner)
	{
		dispatch_cancel(turn->dispatch, flight);
		turn->cancelled = list_append_unique_ptr(turn->cancelled, flight);
	}
}

/*
 * Those of these signals about cancels that are about runs which have not ended but
 * for their status: tool workers end the others.
 */
static List *
without_called_back(List *signals)
{
	Signal	  **array = palloc(sizeof(Signal *) * Max(list_length(signals), 1));
	RunIdSet	called_back;
	List	   *others = NIL;
	ListCell   *cell;

	if (signals == NIL)
		return NIL;
	foreach(cell, signals)
		array[foreach_current_index(cell)] = lfirst(cell);
	called_back = run_id_set(store_cancel_called_back(array,
													  list_length(signals)));
	foreach(cell, signals)
	{
		Signal	   *signal = lfirst(cell);

		if (!run_id_set_has(&called_back, signal->run_id))
			others = lappend(others, signal);
	}
	return others;
}

/*
 * Tell subscribers of runs that have ended, now that they have been called back.
 */
static void
tell_ended(List *run_ids)
{
	RunKeys		keys = run_keys(list_length(run_ids));
	ListCell   *cell;

	foreach(cell, run_ids)
		run_keys_add(&keys, lfirst(cell), NULL);
	ended_runs_tell(keys.run_ids, keys.count);
}

/*
 * Follow these signals.
 */
void
turn_follow_signals(Turn *turn, List *signals)
{
	List	   *waiting = NIL;
	int			size = list_length(signals);
	RunKeys		called = run_keys(size);
	RunKeys		parents = run_keys(size);
	RunKeys		crashed = run_keys(size);
	RunKeys		decided = run_keys(size);
	RunKeys		called_back = run_keys(size);
	RunKeys		requeued = run_keys(size);
	List	   *ended;
	bool		more;
	ListCell   *cell;

	foreach(cell, signals)
	{
		Signal	   *signal = lfirst(cell);

		switch (signal->kind)
		{
			case SIGNAL_CANCEL:
				cancel(turn, signal, &waiting);
				break;
			case SIGNAL_TOOLS:
				run_keys_add(&called, signal->run_id, NULL);
				break;
			case SIGNAL_CHILD:
				run_keys_add(&parents, signal->run_id, NULL);
				break;
			case SIGNAL_DECIDED:
				run_keys_add(&decided, signal->run_id, NULL);
				break;
			case SIGNAL_TOOL_CRASH:
				run_keys_add(&crashed, signal->run_id, NULL);
				break;
			case SIGNAL_CALLBACK:
				turn->tool_owners = list_append_unique_oid(turn->tool_owners,
														   signal->owner);
				break;
			case SIGNAL_REQUEUED:
				run_keys_add(&requeued, signal->run_id, NULL);
				run_keys_add(&called_back, signal->run_id, NULL);
				break;
			case SIGNAL_CALLED_BACK:
				run_keys_add(&called_back, signal->run_id, NULL);
				break;
		}
	}
	store_tools_called(called.run_ids, called.count);
	turn_children_ended(turn, parents.run_ids, parents.count);
	store_run_decided(decided.run_ids, decided.count);
	store_notify_watchers(decided.run_ids, decided.count);
	store_tool_crashed(crashed.run_ids, crashed.count);
	ended = store_called_back(called_back.run_ids, called_back.count,
							  requeued.run_ids, requeued.count, TURN_BYTES,
							  &more);
	if (more)
		turn_again(turn, CHORE_SIGNALS);
	tell_ended(ended);
	turn->ended_ids = list_concat(turn->ended_ids, ended);
	store_queue_requeued(requeued.run_ids, requeued.count);
	waiting = without_called_back(waiting);
	if (waiting != NIL)
		cancel_waiting(turn, waiting);
}

static Oid
owner_of(List *signals)
{
	return ((Signal *) linitial(signals))->owner;
}

/*
 * Take from these signals those that are followed at once: all of them, or when it is
 * measured who takes how long, those of one owner. The turn is about them.
 */
static List *
begin_group(Turn *turn, List **signals)
{
	List	   *group = NIL;
	List	   *rest = NIL;
	bool		mixed = false;
	ListCell   *cell;

	foreach(cell, *signals)
	{
		bool		other = ((Signal *) lfirst(cell))->owner != owner_of(*signals);

		if (other && turn->measured)
			rest = lappend(rest, lfirst(cell));
		else
			group = lappend(group, lfirst(cell));
		mixed |= other && !turn->measured;
	}
	*signals = rest;
	turn_is_about(turn, WORK_SIGNALS, mixed ? InvalidOid : owner_of(group),
				  list_length(group));
	return group;
}

/*
 * Follow these signals, and note how long that takes.
 */
static void
follow_timed(Turn *turn, List *signals)
{
	int64		began = clock_now();

	turn->signals = list_length(signals);
	turn->at_signals = true;
	/* A single one cannot be cut any smaller. */
	if (turn->signal_limit == 1)
		(void) deadline_end();
	while (signals != NIL)
	{
		turn_follow_signals(turn, begin_group(turn, &signals));
		turn_note_time(turn);
	}
	turn->at_signals = false;
	turn->signals_took = clock_now() - began;
	turn->only_signals = turn->own && !turn->only_runs &&
		turn->signals_took > OWNER_SLICE;
}

/*
 * Whose signals this turn does not read, in palloc'd memory: those who rest, and those
 * whose signals are slow, but in a turn for slow owners: that reads no more signals than
 * fit into a slice of each of them.
 */
static Oid *
not_read(Turn *turn, int *count)
{
	Rests	   *rests = turn->order->rests;
	int64		now = turn->order->now;
	Oid		   *resting = rests_owners(rests, REST_RESTING, now, count);
	int			slow_count;
	Oid		   *slow = rests_owners(rests, REST_SLOW, now, &slow_count);
	Oid		   *owners = palloc(sizeof(Oid) * (*count + slow_count + 1));

	memcpy(owners, resting, sizeof(Oid) * *count);
	for (int i = 0; i < slow_count; i++)
	{
		int			limit = rests_limit(rests, slow[i], WORK_SIGNALS,
										MOST_AT_ONCE);

		if (turn->own && !turn->only_runs)
			turn->signal_limit = Min(turn->signal_limit, limit);
		else if (limit < MOST_AT_ONCE)
		{
			owners[(*count)++] = slow[i];
			turn_again(turn, CHORE_SIGNALS);
		}
	}
	return owners;
}

/*
 * Read signals of owners who are hidden, no more than most: they are added to the others.
 */
static List *
add_hidden(Turn *turn, List *signals, TablePiece *piece, int most)
{
	PickOrder  *order = turn->order;
	Sweep	   *sweep = &order->sweeps[OPEN_SIGNALS];
	List	   *found;

	if (piece->count == 0 || most <= 0 || sweep_rests(sweep, clock_now()))
		return signals;
	sweep_begin(sweep, OPEN_SIGNALS, false, piece);
	found = store_take_signals_from(piece, most);
	if (sweep_end(sweep, piece, found != NIL, list_length(found) < most, order->shared))
		turn_again(turn, CHORE_SIGNALS);
	return list_concat(signals, found);
}

/*
 * Read what backends have signalled, and follow it.
 */
void
turn_read_signals(Turn *turn)
{
	Crowd	   *crowd = &turn->order->crowds.places[OPEN_SIGNALS];
	int			others_count;
	Oid		   *others = not_read(turn, &others_count);
	TablePiece	piece;
	List	   *signals;
	ListCell   *cell;

	others = crowd_add(crowd, others, &others_count);
	piece.owners = crowd_hidden_but(crowd, others, others_count,
									&piece.count);
	others = crowd_add_hidden(crowd, others, &others_count);
	crowd_begin_look(crowd);
	signals = turn->many_signals || turn->own ?
		store_take_parts_of_signals(turn->signals_after, turn->signal_limit,
									others, others_count) :
		store_take_signals(turn->signal_limit, others, others_count);
	crowd_end_look(crowd);
	signals = add_hidden(turn, signals, &piece,
						 turn->signal_limit - list_length(signals));
	foreach(cell, signals)
	{
		if (((Signal *) lfirst(cell))->is_last)
			turn->last_signals = lappend(turn->last_signals, lfirst(cell));
	}
	turn->more_signals = list_length(signals) == turn->signal_limit ||
		turn->last_signals != NIL || turn->signals_after != NIL;
	if (turn->more_signals)
		turn_again(turn, CHORE_SIGNALS);
	if (list_length(signals) == 1)
		turn->tried_signal = linitial(signals);
	follow_timed(turn, signals);
}
