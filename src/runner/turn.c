/*-------------------------------------------------------------------------
 *
 * turn.c
 *	  The table work of one turn of the runner's loop.
 *
 * One short transaction does everything that is due: it reads the signals of
 * those who cancel, stores the runs that have ended, and starts new ones.
 * Under load that is a group commit, with hundreds of runs to a flush.
 *
 * What a turn does to the fleet before it commits is only what is true
 * whether it commits or not: a signal that can be read has been committed, so the run that it is
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
#include "postmaster/interrupt.h"
#include "runner/deadline.h"
#include "runner/turn_internal.h"
#include "store/store_decisions.h"

/*
 * Calls of how many runs are rejected in one turn that have waited for too long.
 */
#define EXPIRED_BATCH 100

/*
 * Keep the ids of responses that servers have begun to work on.
 */
static void
store_response_ids(Turn *turn)
{
	ListCell   *cell;

	foreach(cell, turn->dispatch->new_responses)
	{
		Flight	   *flight = lfirst(cell);

		if (flight->leaving != turn->number)
			store_response_id(flight->run_id, flight->owner,
							  flight_clean(flight, flight->run.response_id));
	}
}

/*
 * Begin with a part. Returns whether it is not left out.
 */
static bool
begin_part(Turn *turn, TurnPart part)
{
	turn->part = part;
	return !turn_leaves_out(turn, part);
}

/*
 * Scheduled runs that are due become ready, but for those of owners who are in the way, or
 * hidden. Returns whether there may be more of them.
 */
static bool
promote_due(Turn *turn)
{
	Crowd	   *crowd = &turn->order->crowds.places[OPEN_DUE];
	int			count = 0;
	Oid		   *others = crowd_add(crowd, NULL, &count);
	bool		more;

	others = crowd_add_hidden(crowd, others, &count);
	crowd_begin_look(crowd);
	more = store_promote_due(TURN_BATCH, others, count);
	crowd_end_look(crowd);
	return more;
}

/*
 * What has come due by the clock.
 */
static void
follow_clock(Turn *turn)
{
	int64		began = clock_now();
	bool		more = false;

	if (begin_part(turn, PART_DUE))
		more |= promote_due(turn);
	if (begin_part(turn, PART_LATE))
		more |= store_promote_late(Min(TURN_BATCH, turn->limit));
	if (begin_part(turn, PART_EXPIRED))
		more |= store_reject_expired(Min(EXPIRED_BATCH, turn->limit),
									 &turn->tried_expired);
	if (more)
		turn_again(turn, CHORE_CLOCK);
	turn->clock_took += clock_now() - began;
}

/*
 * Scheduled runs that are due, of owners who are hidden, become ready.
 */
static void
promote_hidden(Turn *turn)
{
	PickOrder  *order = turn->order;
	Sweep	   *sweep = &order->sweeps[OPEN_DUE];
	TablePiece	piece;
	bool		found;
	bool		more;

	piece.owners = crowd_hidden_but(&order->crowds.places[OPEN_DUE], NULL, 0,
									&piece.count);
	if (piece.count == 0 || !begin_part(turn, PART_DUE))
		return;
	sweep_begin(sweep, OPEN_DUE, false, &piece);
	more = store_promote_due_of(&piece, TURN_BATCH, &found);
	if (sweep_end(sweep, &piece, found, !more, order->shared))
		turn_again(turn, CHORE_SWEEP);
}

/*
 * What is picked from is not to be full of runs that are in flight.
 */
static void
settle_flights(Turn *turn)
{
	RunKeys		keys;
	ListCell   *cell;

	turn->settled = fleet_to_settle(turn->dispatch->fleet, turn->limit);
	keys = run_keys(list_length(turn->settled));
	foreach(cell, turn->settled)
		run_keys_add(&keys, ((Flight *) lfirst(cell))->run_id, NULL);
	store_settle(keys.run_ids, keys.count);
}

/*
 * Runs become ready: those that are due, and parked ones that there is room for. Once in
 * a turn.
 */
static void
ready_runs(Turn *turn)
{
	if (turn->readied)
		return;
	turn->readied = true;
	if (turn_is_to(turn, CHORE_CLOCK))
		follow_clock(turn);
	if (turn_is_to(turn, CHORE_SWEEP))
		promote_hidden(turn);
	if (begin_part(turn, PART_GIVE_UP))
		turn_give_up(turn);
	if (begin_part(turn, PART_UNPARK))
		turn_unpark(turn);
	if (begin_part(turn, PART_SETTLE))
		settle_flights(turn);
	turn->part = PART_NONE;
}

/*
 * Nobody may be there to call tools, or what is to be called when runs have ended:
 * ask for those who are to.
 */
static void
want_tool_workers(Turn *turn)
{
	ListCell   *cell;

	foreach(cell, store_tool_owners())
		turn->tool_owners = list_append_unique_oid(turn->tool_owners,
												   *(Oid *) lfirst(cell));
}

/*
 * What waits for nobody else, and nobody for it.
 */
static void
clean_up(Turn *turn)
{
	if (begin_part(turn, PART_MARKERS))
		store_expire_markers(TURN_BATCH);
	if (begin_part(turn, PART_CALLBACKS) &&
		store_give_up_callbacks(TURN_BATCH) > 0)
	{
		want_tool_workers(turn);
		turn_again(turn, CHORE_CLOCK);
		turn_again(turn, CHORE_SIGNALS);
	}
	turn->part = PART_NONE;
}

/*
 * Tools that have brought their processes down cost their runs an attempt. After
 * that, and after a crash of the server, nobody is there to make the other calls; nor
 * is when more roles have asked than there is room for.
 */
static void
note_dead_tools(Turn *turn)
{
	RunKeys		keys = run_keys(list_length(turn->dead_tools));
	ListCell   *cell;

	foreach(cell, turn->dead_tools)
		run_keys_add(&keys, lfirst(cell), NULL);
	store_tool_crashed(keys.run_ids, keys.count);
	store_callback_crashed(keys.run_ids, keys.count);
	if (turn_is_to(turn, CHORE_PATROL) || turn->dead_tools != NIL || turn->asked)
		want_tool_workers(turn);
}

/*
 * Whether nothing has happened in this turn but that runs go on whose tools have
 * been called. If the server crashes and that is lost, they go on once more from
 * where they were; what comes of them is flushed after it.
 */
static bool
only_continues(const Turn *turn)
{
	ListCell   *cell;

	foreach(cell, turn->started)
	{
		if (!((Flight *) lfirst(cell))->continues)
			return false;
	}
	return turn->started != NIL && turn->left == NIL &&
		turn->flushed == NIL && turn->ended_ids == NIL &&
		turn->dispatch->new_responses == NIL && turn->dead_tools == NIL &&
		turn->cancelled == NIL && turn->cancelled_ids == NIL &&
		list_length(turn->started) == turn->tried;
}

/*
 * Whether nothing has happened in this turn but that tools are to be called. Who
 * calls them need not wait for the disk: what comes of that is flushed after this.
 * Those who follow a run must not see what may get lost.
 */
static bool
only_hands_over(const Turn *turn)
{
	ListCell   *cell;

	foreach(cell, turn->stepped)
	{
		if (((Flight *) lfirst(cell))->run.streamed)
			return false;
	}
	return turn->stepped != NIL && turn->started == NIL &&
		list_length(turn->stepped) == list_length(turn->left) &&
		list_length(turn->stepped) == turn->tried &&
		turn->flushed == NIL && turn->ended_ids == NIL &&
		turn->dispatch->new_responses == NIL && turn->dead_tools == NIL &&
		turn->cancelled == NIL && turn->cancelled_ids == NIL;
}

/*
 * Take over a part of the queue. What earlier turns of this runner have started
 * meanwhile is its own.
 */
static void
go_on_patrol(Turn *turn)
{
	Fleet	   *fleet = turn->dispatch->fleet;
	Flight	  **flights = fleet_all(fleet);
	RunKeys		own = run_keys(fleet->count);

	for (int i = 0; i < fleet->count; i++)
		run_keys_add(&own, flights[i]->run_id, NULL);
	if (patrol_step(turn->patrol, own.run_ids, own.count, &turn->lost))
		turn_again(turn, CHORE_PATROL);
}

/*
 * Whether this turn still may begin with something about runs: while it is not known
 * what fails, it is one thing at a time; and of an owner who is slow, one kind of thing.
 * What has taken long, or may, is not to be undone with anything after it.
 */
static bool
may_begin(const Turn *turn)
{
	if ((turn->only_signals || turn->only_large) && !ShutdownRequestPending)
		return false;
	if (turn->scope == SCOPE_PART ||
		(turn->scope != SCOPE_ALL && turn->signals + turn->given_up > 0))
		return false;
	return (turn->limit > 1 && !turn->own) || turn->tried == 0;
}

/*
 * Store the runs that have ended, show what others say, and start new ones; what comes
 * first may be all.
 */
static void
do_runs_of_some(Turn *turn)
{
	static const Chore chores[] = {CHORE_STORE, CHORE_FLUSH, CHORE_START};
	int			first = 0;

	while (chores[first] != turn->first)
	{
		first++;
		Assert(first < (int) lengthof(chores));
	}
	for (int i = 0; i < (int) lengthof(chores); i++)
	{
		Chore		chore = chores[(first + i) % (int) lengthof(chores)];

		/* Signals may have ended some just now. */
		if (!turn_is_to(turn, chore) && chore != CHORE_STORE)
			continue;
		if (!may_begin(turn))
			turn_again(turn, chore);
		else if (chore == CHORE_STORE)
			turn_store_flights(turn);
		else if (chore == CHORE_FLUSH)
			turn_flush_events(turn);
		else
		{
			ready_runs(turn);
			if (may_begin(turn))
				turn_start_runs(turn);
			else
				turn_again(turn, chore);
		}
	}
	/* Those that have ended may let others start. */
	if (chores[first] != CHORE_STORE && turn_is_to(turn, CHORE_START) &&
		turn->tried_flight != NULL)
		turn_again(turn, CHORE_START);
}

/*
 * Do that for an owner who is slow, or for all others; and if there is nothing to do for
 * them, the other way round.
 */
static void
do_runs(Turn *turn)
{
	do_runs_of_some(turn);
	if (!turn->slow)
		return;
	if (turn->tried > 0)
	{
		turn_again(turn, CHORE_START);
		return;
	}
	turn->own = !turn->own;
	do_runs_of_some(turn);
}

/*
 * The time of the turn begins. A runner that stops has no other turn.
 */
static void
begin_clock(void)
{
	if (!ShutdownRequestPending)
		deadline_begin(TURN_MOST / US_PER_MS);
}

/*
 * Read signals: a single one has all the time that it takes.
 */
static void
read_signals(Turn *turn)
{
	if (turn->scope != SCOPE_ALL && turn->scope != SCOPE_SIGNAL)
		return;
	turn_read_signals(turn);
	if (turn->limit > 1 && turn->signal_limit == 1)
		begin_clock();
}

/*
 * This turn is about one thing: what it is not about is for those after it.
 */
static void
leave_to_next(Turn *turn)
{
	static const Chore chores[] = {CHORE_SIGNALS, CHORE_CLOCK, CHORE_START};

	for (int i = 0; i < (int) lengthof(chores); i++)
		turn_again(turn, chores[i]);
	if (turn_is_to(turn, CHORE_PATROL) && turn_leaves_out(turn, PART_PATROL))
		turn_again(turn, CHORE_PATROL);
	if (turn_is_to(turn, CHORE_SWEEP) && turn_leaves_out(turn, PART_DUE))
		turn_again(turn, CHORE_SWEEP);
}

static void
do_chores(Turn *turn)
{
	if (turn->scope != SCOPE_ALL)
		leave_to_next(turn);
	if (turn_is_to(turn, CHORE_PATROL) && begin_part(turn, PART_PATROL))
		go_on_patrol(turn);
	turn->part = PART_NONE;
	if (turn_is_to(turn, CHORE_SIGNALS))
		read_signals(turn);
	if (begin_part(turn, PART_DEAD_TOOLS))
		note_dead_tools(turn);
	turn->part = PART_NONE;
	if (turn->scope == SCOPE_PART && turn_is_to(turn, CHORE_START))
		ready_runs(turn);
	do_runs(turn);
	turn_keep_cancels(turn);
	if (begin_part(turn, PART_RESPONSES))
		store_response_ids(turn);
	turn->part = PART_NONE;

	turn->unflushed = only_hands_over(turn);
	if (turn->unflushed || only_continues(turn))
		store_commit_lazily();
	if (turn_is_to(turn, CHORE_CLOCK) &&
		(turn->scope == SCOPE_PART || may_begin(turn)))
		clean_up(turn);
}

/*
 * The turn works no more, or has failed: note whether it has taken too long.
 */
void
turn_end_clock(Turn *turn)
{
	turn->overdue = deadline_end();
}

/*
 * Do the chores, in their time.
 */
static void
work(Turn *turn)
{
	int64		began = clock_now();

	if (turn->limit > 1)
		begin_clock();
	do_chores(turn);
	turn_end_clock(turn);
	turn->took = clock_now() - began;
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

	errno = 0;
	store_begin_to_look("agno_bg: storing and starting runs");
	extension = store_find_extension(&fits, false);
	if (extension == turn->extension && fits)
	{
		store_serve();
		work(turn);
	}
	else
	{
		turn->unwanted = true;
		turn->replaced = OidIsValid(extension) && fits;
	}
	store_commit();
}
