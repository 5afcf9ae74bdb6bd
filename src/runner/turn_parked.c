/*-------------------------------------------------------------------------
 *
 * turn_parked.c
 *	  The parked runs that a turn fetches, or gives up.
 *
 * Parked runs wait for their model servers, in the queue. pacing.c knows when there
 * is room for some, and for how long a server has not been reached.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/clock.h"
#include "runner/turn_internal.h"

/*
 * How long nobody looks for runs of owners who are hidden, in microseconds, while none of
 * them may have more in flight; or for those of others, while none of these may.
 */
#define HIDDEN_PAUSE (100 * US_PER_MS)

/* How many owners are asked who of them has had his turn longest ago, at least. */
#define LEAST_OWNERS 32

/*
 * For how many times as long as a look took it is not looked again whether runs have waited
 * for long enough, which may be late by that.
 */
#define GIVE_UP_RESTS 10

/*
 * Of these owners, those who may have more runs in flight for this: *count of them, in
 * palloc'd memory, and no more than *room.
 */
static Oid *
who_may(PaceTable *paces, Pace *pace, const Oid *owners, int *count, int *room,
		int64 now)
{
	Oid		   *may = palloc(sizeof(Oid) * (*count + 1));
	int			rooms[ASK_KINDS];
	int64		sum = 0;
	int			found = 0;

	pacing_shared_rooms(paces, pace, now, rooms);
	for (int i = 0; i < *count; i++)
	{
		Ask			ask;
		int			its_room = pacing_owner_room(paces, pace, owners[i], now,
												 &ask);

		if (its_room > 0)
			may[found++] = owners[i];
		its_room = Min(its_room, rooms[ask]);
		rooms[ask] -= its_room;
		sum += its_room;
	}
	*count = found;
	*room = (int) Min(*room, sum);
	return may;
}

/*
 * Fetch runs that are parked for this, of owners who are hidden. Returns how many, and sets
 * when to look again, if there are none: nobody may have more in flight, or it is not the
 * time yet. *held tells whether what is free is kept for them until then.
 */
static int
unpark_hidden(Turn *turn, Pace *pace, bool reached, int room, int64 *next_look,
			  bool *held)
{
	Sweep	   *sweep = &pace->sweep;
	int64		began = clock_now();
	int			fetched = 0;
	int			hidden;
	bool		in_circle;
	TablePiece	piece;

	piece.owners = crowd_hidden_but(&pace->crowd, NULL, 0, &hidden);
	piece.count = hidden;
	piece.owners = who_may(turn->dispatch->paces, pace, piece.owners,
						   &piece.count, &room, began);
	*next_look = began + HIDDEN_PAUSE;
	if (piece.count == 0)
		return 0;
	if (!sweep_rests(sweep, began))
	{
		in_circle = circle_begin_step(&pace->circle, OPEN_PARKED, &piece);
		sweep_begin(sweep, OPEN_PARKED, in_circle, &piece);
		fetched = store_unpark_of(&piece, pace->key, reached, room);
		/* Who is left out may have some, too. */
		(void) sweep_end(sweep, &piece, fetched > 0 || piece.count < hidden,
						 fetched < room, turn->order->shared);
		if (in_circle)
			circle_end_step(&pace->circle, &piece, clock_now() - began);
	}
	*held = circle_holds(&pace->circle);
	*next_look = sweep_due_at(sweep);
	return fetched;
}

/*
 * An owner, when a run of his has been started last, and how many may be now: as
 * pacing_owner_room() says.
 */
typedef struct Waiting
{
	Oid			owner;
	int			started_at;
	int			room;
	Ask			ask;
} Waiting;

static int
compare_waiting(const ListCell *a, const ListCell *b)
{
	const Waiting *left = lfirst(a);
	const Waiting *right = lfirst(b);

	return left->started_at - right->started_at;
}

/*
 * Owners with runs that are parked for this, but for the others, count of them. Where those
 * of whom nothing is known may not ask (others_room), it is those who may, or none of them.
 */
static List *
find_parked_owners(PaceTable *paces, Pace *pace, int room, int others_room,
				   const Oid *others, int count, int64 now)
{
	List	   *owners;
	Oid		   *may;
	int			may_count;
	int			held;

	if (others_room > 0)
	{
		held = shares_owners(pace->target->places.shares) +
			pacing_held(paces, pace, now);
		return store_parked_owners(pace->key, pace->last_owner, others, count,
								   Max(room, LEAST_OWNERS) + held);
	}
	may = pacing_who_may(paces, pace, now, &may_count);
	owners = store_parked_of(pace->key, may, may_count);
	for (int i = 0; i < count; i++)
		owners = list_delete_oid(owners, others[i]);
	return owners;
}

/*
 * Those of them who may have more in flight: a list of Waitings, whoever has had his turn
 * longest ago first. There may be more. Sets whether there are any at all, as far as is known.
 */
static List *
who_waits(PaceTable *paces, Pace *pace, int room, int others_room,
		  const Oid *others, int count, int64 now, bool *any)
{
	Places	   *places = &pace->target->places;
	List	   *owners = find_parked_owners(paces, pace, room, others_room,
											others, count, now);
	List	   *waiting = NIL;
	ListCell   *cell;

	foreach(cell, owners)
	{
		Waiting    *its = palloc(sizeof(Waiting));

		its->room = pacing_owner_room(paces, pace, lfirst_oid(cell), now,
									  &its->ask);
		if (its->room == 0)
			continue;
		its->owner = lfirst_oid(cell);
		its->started_at = places_started_at(places, its->owner);
		waiting = lappend(waiting, its);
	}
	list_sort(waiting, compare_waiting);
	*any = owners != NIL || others_room == 0;
	return waiting;
}

/*
 * Fetch the first runs that are parked for this, but for those of the others, count of
 * them. Owners take turns. Sets whether there are any, and returns how many it were.
 */
static int
unpark_first(PaceTable *paces, Pace *pace, bool reached, int room,
			 const Oid *others, int count, int64 now, bool *any)
{
	int			rooms[ASK_KINDS];
	List	   *waiting;
	int			quota;
	int			fetched = 0;
	ListCell   *cell;

	pacing_shared_rooms(paces, pace, now, rooms);
	waiting = who_waits(paces, pace, room, rooms[ASK_OTHER], others, count, now,
						any);
	quota = (room + list_length(waiting) - 1) / Max(list_length(waiting), 1);
	foreach(cell, waiting)
	{
		Waiting    *its = lfirst(cell);
		Oid			owner = its->owner;
		int			limit = Min(Min(quota, Min(its->room, rooms[its->ask])),
								room - fetched);
		int			more;

		if (limit <= 0)
			continue;
		more = store_unpark(pace->key, owner, reached, limit);
		fetched += more;
		rooms[its->ask] -= more;
		pacing_note_fetched(pace, owner);
		/* What has come from a dump of 1.0 starts as somebody's. */
		if (!OidIsValid(owner))
			pacing_note_start(pace, owner);
	}
	return fetched;
}

/*
 * Fetch runs that are parked for this. Owners who are hidden take turns with the others.
 */
static void
unpark_some(Turn *turn, Pace *pace, int room)
{
	PaceTable  *paces = turn->dispatch->paces;
	int64		began = clock_now();
	bool		reached = !reach_is_lost(&pace->target->reach);
	int			count = 0;
	Oid		   *others = crowd_add_hidden(&pace->crowd,
										  crowd_add(&pace->crowd, NULL, &count),
										  &count);
	bool		any = true;
	int64		next_look = NEVER;
	bool		held = false;
	int			hidden = 0;
	int			fetched = 0;

	if (count > 0 && pace->hidden_first)
		hidden = unpark_hidden(turn, pace, reached, room, &next_look,
							   &held);
	if (hidden < room && !held)
	{
		crowd_begin_look(&pace->crowd);
		fetched = unpark_first(paces, pace, reached, room - hidden, others,
							   count, began, &any);
		crowd_end_look(&pace->crowd);
	}
	if (count > 0 && !pace->hidden_first && fetched < room)
		hidden = unpark_hidden(turn, pace, reached, room - fetched, &next_look,
							   &held);
	places_note_fetched(&pace->target->places, hidden + fetched);
	if (hidden + fetched > 0)
		return;
	if (count > 0)
		pace->rests_until = Min(next_look, any && !held ?
								clock_now() + HIDDEN_PAUSE : NEVER);
	else if (!any)
		pacing_none_parked(paces, pace);
	else
		pacing_stall(paces, pace, began);
}

/*
 * Fetch parked runs whose model servers have room: for one server after the other, as far
 * as the time allows.
 */
void
turn_unpark(Turn *turn)
{
	PaceTable  *paces = turn->dispatch->paces;
	int64		began = clock_now();
	Pace	   *pace = NULL;

	while ((pace = pace_table_next_parked(paces, pace)) != NULL)
	{
		int			room = pacing_unparkable(paces, pace, clock_now());

		if (room == 0)
			continue;
		unpark_some(turn, pace, Min(room, turn->limit));
		if (clock_now() - began > OWNER_SLICE)
		{
			pace_table_begin_after(paces, pace);
			return;
		}
	}
}

/*
 * How a run ends that has waited long enough for its server.
 */
static RunOutcome
given_up(const Pace *pace, const RunLock *lock, const char *problem)
{
	/* A run that is put back has not been attempted, but this attempt failed. */
	return run_outcome_failed(Max(lock->attempt, 1), "connection",
							  psprintf("could not reach the model server for %.3f s: %s",
									   pace->target->reach.patience_ms / 1000.0,
									   problem));
}

/*
 * End these runs: they have waited long enough for their server.
 */
static void
end_given_up(Turn *turn, Pace *pace, List *picked, const char *problem)
{
	int			size = list_length(picked);
	RunKeys		keys = run_keys(size);
	RunKeys		over = run_keys(size);
	RunKeys		locked = run_keys(size);
	RunLock   **failed = palloc(sizeof(RunLock *) * size);
	RunOutcome *outcomes = palloc(sizeof(RunOutcome) * size);
	RunLock   **cancelled = palloc(sizeof(RunLock *) * size);
	int			failed_count = 0;
	int			cancelled_count = 0;
	List	   *ids = NIL;
	List	   *locks;
	RunIdSet	had;
	ListCell   *cell;

	foreach(cell, picked)
		run_keys_add(&keys, ((PickedRun *) lfirst(cell))->run_id,
					 ((PickedRun *) lfirst(cell))->session_id);
	locks = store_lock_runs(keys.run_ids, keys.count);
	foreach(cell, locks)
	{
		RunLock    *lock = lfirst(cell);

		ids = lappend(ids, lock->run_id);
		if (lock->status == RUN_PENDING || lock->status == RUN_RUNNING)
		{
			outcomes[failed_count] = given_up(pace, lock, problem);
			failed[failed_count++] = lock;
		}
		else if (lock->status == RUN_CANCELLED)
			cancelled[cancelled_count++] = lock;
		else
			run_keys_add(&over, lock->run_id, lock->session_id);
	}
	had = run_id_set(ids);
	for (int i = 0; i < keys.count; i++)
	{
		if (!run_id_set_has(&had, keys.run_ids[i]))
			run_keys_add(&locked, keys.run_ids[i], keys.session_ids[i]);
	}

	/* Those that are too much for this turn are found by the next. */
	turn_end_failed(turn, failed, outcomes, failed_count);
	(void) turn_end_cancelled(turn, cancelled, cancelled_count);
	if (over.count > 0)
		store_leave_queue(over.run_ids, over.session_ids, over.count);
	store_set_locked(locked.run_ids, locked.count);
}

/*
 * Give up runs whose servers could not be reached for too long.
 */
void
turn_give_up(Turn *turn)
{
	PaceTable  *paces = turn->dispatch->paces;
	int64		turn_began = clock_now();
	Pace	   *pace = NULL;

	while ((pace = pace_table_next_parked(paces, pace)) != NULL)
	{
		const char *problem = reach_problem(&pace->target->reach);
		int64		patience_ms = pace->target->reach.patience_ms;
		int64		began = clock_now();
		List	   *picked;
		TimestampTz since;
		int64		took;

		if (problem == NULL)
			pace->give_up_at = NEVER;
		if (pace->give_up_at > began)
			continue;
		picked = store_pick_given_up(pace->key, patience_ms,
									 Min(TURN_BATCH, turn->limit));
		took = clock_now() - began;
		if (picked != NIL)
		{
			turn->given_up += list_length(picked);
			turn->tried_end =
				list_length(picked) == 1 ? linitial(picked) : NULL;
			end_given_up(turn, pace, picked, problem);
		}
		began = clock_now();
		since = store_waits_since(pace->key);
		took += clock_now() - began;
		pace->give_up_at = since == 0 ? NEVER : clock_now() +
			Max(since + patience_ms * 1000 - GetCurrentTimestamp(),
				took > OWNER_SLICE ? took * GIVE_UP_RESTS : 0);
		if (clock_now() - turn_began > OWNER_SLICE ||
			(turn->scope != SCOPE_ALL && turn->given_up > 0))
		{
			pace_table_begin_after(paces, pace);
			return;
		}
	}
}
