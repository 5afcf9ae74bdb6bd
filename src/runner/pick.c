/*-------------------------------------------------------------------------
 *
 * pick.c
 *	  Which ready runs are started next.
 *
 * Owners whose runs wait take turns; within an owner, the higher priority and
 * then the earlier run comes first. As long as several owners wait, none gets
 * more than an equal share of the slots; what they leave is for whoever wants
 * it, up to the limit of shares.c. An owner with nothing in flight gets a slot
 * even if all are taken.
 *
 * Owners who may not have more are stepped over, however many runs they have
 * waiting: the queue is read in ranges between them. So are those whose runs are behind
 * very many dead rows, for whom there are turns of their own, with sweeps.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "runner/pick.h"
#include "server/settings.h"
#include "store/store.h"
#include "utils/builtins.h"

/* A pick that is under way. */
typedef struct Pick
{
	PickOrder  *order;
	Shares	   *shares;
	int			share;			/* how many runs an owner may have in flight
								 * while others wait, */
	int			bound;			/* and how many now */
	int			quota;			/* how many an owner gets this time */
	int			most;			/* how many there are to be in all */
	bool		own;			/* of one owner who is slow, not of others */
	Oid		   *full;			/* owners who get none, by OID */
	int			full_count;
	List	   *runs;			/* PickedRuns so far */
	int			owners;			/* how many owners they are of */
	int			of_last;		/* how many are of order->last_owner */
	bool		more;			/* there may be more ready runs that could
								 * start */
} Pick;

/*
 * Take these runs, which are in the order of their owners, as far as their
 * owners may have more.
 */
static void
take(Pick *pick, List *found)
{
	ListCell   *cell;

	foreach(cell, found)
	{
		PickedRun  *run = lfirst(cell);

		if (list_length(pick->runs) >= pick->most)
		{
			pick->more = true;
			return;
		}
		if (pick->owners == 0 || run->owner != pick->order->last_owner)
		{
			pick->owners++;
			pick->of_last = 0;
			pick->order->last_owner = run->owner;
		}
		if (pick->of_last < pick->quota &&
			shares_count(pick->shares, run->owner) + pick->of_last <
			pick->bound)
		{
			pick->runs = lappend(pick->runs, run);
			pick->of_last++;
		}
		/* If those that have been taken have to wait, this one may start. */
		else if (pick->of_last > 0)
			pick->more = true;
	}
}

/*
 * Pick from the owners of this range of OIDs, none of whom is full.
 */
static void
pick_between(Pick *pick, Oid from, Oid to)
{
	while (from <= to && list_length(pick->runs) < pick->most)
	{
		Crowd	   *crowd = &pick->order->crowds.places[OPEN_READY];
		List	   *found;
		PickedRun  *last;

		crowd_begin_look(crowd);
		found = store_pick(from, to, pick->quota);
		crowd_end_look(crowd);
		if (found == NIL)
			return;
		last = llast(found);
		take(pick, found);
		if (list_length(found) < pick->quota)
			return;
		pick->more = true;
		if (last->owner == to)
			return;
		from = last->owner + 1;
	}
}

/*
 * Pick from the owners of this range of OIDs, but for those who are full.
 */
static void
pick_range(Pick *pick, Oid from, Oid to)
{
	for (int i = 0; i < pick->full_count && from <= to; i++)
	{
		Oid			full = pick->full[i];

		if (full < from || full > to)
			continue;
		if (full > from)
			pick_between(pick, from, full - 1);
		if (full == to)
			return;
		from = full + 1;
	}
	if (from <= to)
		pick_between(pick, from, to);
}

static bool
is_full(const Pick *pick, Oid owner)
{
	return bsearch(&owner, pick->full, pick->full_count, sizeof(Oid),
				   oid_cmp) != NULL;
}

/*
 * Owners, sorted, of two arrays.
 */
static Oid *
join_owners(Oid *owners, int *count, const Oid *others, int other_count)
{
	Oid		   *all = palloc(sizeof(Oid) * (*count + other_count + 1));

	memcpy(all, owners, sizeof(Oid) * *count);
	memcpy(all + *count, others, sizeof(Oid) * other_count);
	*count += other_count;
	qsort(all, *count, sizeof(Oid), oid_cmp);
	return all;
}

/*
 * Whether this owner's runs are behind very many dead rows.
 */
static bool
is_hidden(const Pick *pick, Oid owner)
{
	return list_member_oid(pick->order->crowds.places[OPEN_READY].hidden, owner);
}

/*
 * Those whose runs are, are slow: to find them takes long.
 */
static void
note_hidden(Pick *pick)
{
	ListCell   *cell;

	foreach(cell, pick->order->crowds.places[OPEN_READY].hidden)
		rests_note(pick->order->rests, lfirst_oid(cell), WORK_START, pick->most,
				   OWNER_SLICE, true, pick->order->now);
}

/*
 * Pick from one of those, whoever has a run in the next piece of the queue.
 */
static void
pick_hidden(Pick *pick)
{
	PickOrder  *order = pick->order;
	Sweep	   *sweep = &order->sweeps[OPEN_READY];
	TablePiece	piece;
	List	   *found;
	List	   *its = NIL;
	ListCell   *cell;

	sweep_begin(sweep, OPEN_READY, false, &piece);
	piece.owners = crowd_hidden_but(&order->crowds.places[OPEN_READY], pick->full,
									pick->full_count, &piece.count);
	found = store_pick_of(&piece, order->last_hidden, pick->most);
	if (found != NIL)
	{
		order->last_hidden = ((PickedRun *) linitial(found))->owner;
		pick->quota = rests_limit(order->rests, order->last_hidden,
								  WORK_START, pick->most);
	}
	foreach(cell, found)
	{
		PickedRun  *run = lfirst(cell);

		if (run->owner == order->last_hidden)
			its = lappend(its, run);
	}
	take(pick, its);
	pick->more |= sweep_end(sweep, &piece, found != NIL,
							list_length(found) < pick->most &&
							list_length(found) == list_length(pick->runs),
							order->shared);
}

/*
 * Find out who gets none: those who have enough in flight, those who rest, and those whose
 * uncommitted runs are in the way.
 */
static void
find_full(Pick *pick)
{
	int			resting_count;
	Oid		   *resting = rests_owners(pick->order->rests, REST_RESTING,
									   pick->order->now, &resting_count);
	Oid		   *full = shares_full_owners(pick->shares, pick->bound,
										  &pick->full_count);

	full = crowd_add(&pick->order->crowds.places[OPEN_READY], full, &pick->full_count);
	note_hidden(pick);
	pick->full = join_owners(full, &pick->full_count, resting, resting_count);
}

/*
 * Keep slots for this owner, who is slow and may have more runs than there was room for:
 * as many as he may start next time, within his share.
 */
static void
keep_slots(Pick *pick, Oid owner)
{
	int			picked = list_length(pick->runs);
	int			left = pick->share - shares_count(pick->shares, owner);

	if (picked == pick->most)
		pick->order->kept = Max(rests_limit(pick->order->rests, owner,
											WORK_START, left) - picked, 0);
}

/*
 * Pick from the next owner who is slow and has runs, after the one who came last.
 */
static void
pick_of_slow(Pick *pick, Oid *slow, int count)
{
	PickOrder  *order = pick->order;
	Oid			last_owner = order->last_owner;
	int			first = 0;

	qsort(slow, count, sizeof(Oid), oid_cmp);
	while (first < count && slow[first] <= order->last_started)
		first++;
	for (int i = 0; i < count && pick->runs == NIL; i++)
	{
		Oid			owner = slow[(first + i) % count];

		if (is_full(pick, owner))
			continue;
		if (is_hidden(pick, owner))
		{
			/* One step does for all of them, once in a turn. */
			if (sweep_rests(&order->sweeps[OPEN_READY], clock_now()))
				continue;
			order->last_started = owner;
			pick_hidden(pick);
			break;
		}
		order->last_started = owner;
		pick->quota = rests_limit(order->rests, owner, WORK_START, pick->most);
		pick_between(pick, owner, owner);
		keep_slots(pick, owner);
	}
	order->last_owner = last_owner;
}

/*
 * Pick from all owners but those who are slow, beginning after the one who came last; or
 * from one of those.
 */
static void
pick_in_turn(Pick *pick)
{
	Oid			start = pick->order->last_owner;
	int			slow_count;
	Oid		   *slow = rests_owners(pick->order->rests, REST_SLOW,
									pick->order->now, &slow_count);

	find_full(pick);
	if (pick->own)
	{
		pick->order->kept = 0;
		pick_of_slow(pick, slow, slow_count);
		return;
	}
	if (slow_count == 0)
		pick->order->kept = 0;
	pick->full = join_owners(pick->full, &pick->full_count, slow, slow_count);
	if (start < PG_UINT32_MAX)
		pick_range(pick, start + 1, PG_UINT32_MAX);
	if (list_length(pick->runs) < pick->most)
		pick_range(pick, InvalidOid, start);
}

/*
 * How many owners wait who may have a run, as far as there are slots: found by picking
 * one of each, which is enough if there are so many.
 */
static int
pick_one_each(Pick *pick)
{
	Oid			last_owner = pick->order->last_owner;
	int			owners;

	pick->quota = 1;
	pick_in_turn(pick);
	owners = pick->owners;
	if (list_length(pick->runs) < pick->most)
	{
		pick->order->last_owner = last_owner;
		pick->runs = NIL;
		pick->owners = 0;
	}
	return owners;
}

/*
 * Pick runs for so many free slots, but no more than most, of one owner who is slow
 * (own), or of the others: a list of PickedRun. *more tells whether there may be others
 * that could start.
 */
List *
pick_runs(PickOrder *order, Shares *shares, int room, int most, bool own,
		  bool *more)
{
	int			limit = shares_limit();
	int			waiting = Max(order->waiting, 1);
	int			contenders = Max(shares_owners(shares),
								 waiting + (order->kept > 0 ? 1 : 0));
	Pick		pick = {
		.order = order,
		.shares = shares,
		.most = Min(room, most),
		.own = own,
	};

	*more = false;
	if (pick.most <= 0)
		return NIL;
	pick.share = Min(Max(agno_max_concurrent_runs / contenders, 1), limit);
	pick.bound = pick.share;
	/* When there are few slots, the first owner is not to have all of them. */
	if (pick.most < contenders && !own)
		waiting = Max(pick_one_each(&pick), 1);
	if (pick.runs == NIL)
	{
		pick.quota = (pick.most + waiting - 1) / waiting;
		pick_in_turn(&pick);
	}
	if (pick.runs == NIL && pick.bound < limit)
	{
		/* No owner with less than a share waits, but one who is slow may. */
		if (!own)
			pick.most = Min(room - order->kept, most);
		pick.more |= pick.most < Min(room, most);
		pick.bound = limit;
		pick_in_turn(&pick);
	}
	if (!own)
		order->waiting = pick.owners;
	*more = pick.more;
	return pick.runs;
}

/*
 * All slots are taken: pick a run of each owner who has none in flight, but no
 * more than most. *more tells whether there may be others that could start.
 */
List *
pick_newcomers(PickOrder *order, Shares *shares, int most, bool own, bool *more)
{
	Pick		pick = {
		.order = order,
		.shares = shares,
		.most = most,
		.own = own,
		.quota = 1,
		.bound = 1,
	};

	if (most > 0)
		pick_in_turn(&pick);

	/*
	 * Those who are slow and have some may have more: it is looked when there
	 * is room.
	 */
	if (own)
		order->kept = 1;
	*more = pick.runs != NIL && pick.more;
	return pick.runs;
}
