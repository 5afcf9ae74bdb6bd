/*-------------------------------------------------------------------------
 *
 * faults.c
 *	  What has failed in turns, and what follows from that for the next ones.
 *
 * A turn that fails is tried again with half of its runs, until it is known which one
 * is the culprit: that is refused. Where it is the commit that fails, the culprit may be
 * anything that the turn did: then turns are about one thing of a kind, and the kinds
 * take turns. One that takes too long is tried again with fewer,
 * and the number grows as long as turns are short. What the system lacks is waited
 * for, with a growing pause; what fails beside the runs is left out for a while.
 *
 * Memory is no such thing: it may be what has ended that takes it, and that must be
 * stored before there is more. So less is done at once without a growing pause, nothing
 * is started meanwhile, and if a turn is about one run already, the largest one that has
 * ended makes room for all others.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/clock.h"
#include "postmaster/interrupt.h"
#include "runner/error_kinds.h"
#include "runner/faults.h"
#include "runner/turn_internal.h"
#include "utils/memutils.h"

/* A turn that took too long, or too much memory, is tried again with so much less. */
#define OVERDUE_DIVISOR 8

/* For how many turns it stays so at most, if that was not for one owner's runs. */
#define MOST_KEPT 64

/*
 * How long turns measure who takes how long, after one that took long for nobody knows
 * whom, and how many do so at least of those that are not for one owner.
 */
#define MEASURED_TIME (1 * US_PER_S)
#define MEASURED_TURNS 4

/* How long they do not, after that, unless one has been undone: nobody may be slow. */
#define MEASURED_PAUSE (4 * US_PER_S)

/*
 * The pause of a part of turns that fails without it being known why doubles from the
 * first to the last.
 */
#define FIRST_PART_PAUSE (1 * US_PER_S)
#define LAST_PART_PAUSE (60 * US_PER_S)

/* How many times the memory may be exhausted by one run. */
#define MAX_MEMORY_FAILURES 3

/* How large a run must be to make room, in bytes. */
#define LARGE_FLIGHT (1024 * 1024)

/* How long nothing is started after a turn that lacked memory. */
#define SCARCE_PAUSE (1 * US_PER_S)

/*
 * How long nobody is notified after the queue of notifications was full, or was
 * not to be had because others notify all the time, in microseconds.
 */
#define MUTE_PAUSE (10 * US_PER_S)

/* The pause after a turn that failed doubles from the first to the last. */
#define FIRST_FAILURE_PAUSE (US_PER_S / 4)
#define LAST_FAILURE_PAUSE (30 * US_PER_S)

/*
 * What turns are about, one after the other, while it is not known what fails when they are
 * committed. They are an odd number: those for owners who are slow alternate with others.
 */
static const TurnScope scopes[] = {
	SCOPE_RUN, SCOPE_SIGNAL, SCOPE_RUN, SCOPE_GIVE_UP, SCOPE_PART
};

/* Nobody else waits for longer since somebody has locked something. */
#define LOCKED_FAILURE_PAUSE US_PER_S

/*
 * What a part of a turn does, for the log.
 */
static const char *
part_name(TurnPart part)
{
	switch (part)
	{
		case PART_PATROL:
			return "for runs of an earlier runner";
		case PART_DEAD_TOOLS:
			return "for tools that have ended their processes";
		case PART_DUE:
			return "for scheduled runs";
		case PART_LATE:
			return "for tools that take too long";
		case PART_EXPIRED:
			return "for calls about which nobody has decided in time";
		case PART_GIVE_UP:
			return "for runs whose model servers could not be reached";
		case PART_UNPARK:
			return "for runs that wait for their model servers";
		case PART_SETTLE:
			return "for runs that have been in flight for a moment";
		case PART_RESPONSES:
			return "for ids of responses that servers work on";
		case PART_MARKERS:
			return "for cancels of runs that never came";
		case PART_CALLBACKS:
			return "for runs that nobody can call back";
		case PART_NONE:
		case TURN_PARTS:
			break;
	}
	return "for anything";
}

/*
 * The memory does not suffice. Returns whether the largest run that has ended has been
 * failed, and its memory freed: it was large.
 */
static bool
make_room(Turn *turn, const char *message)
{
	Flight	   *largest = fleet_largest_ended(turn->dispatch->fleet);

	if (largest == NULL || largest->ended_size < LARGE_FLIGHT)
		return false;
	dispatch_shed(turn->dispatch, largest, "storage", message);
	return true;
}

/*
 * The memory does not suffice for a turn that is about this run alone, or about what is
 * signalled of it. Returns whether that has happened too often.
 */
static bool
exhausts_memory(Faults *faults, const char *run_id)
{
	if (faults->memory_culprit == NULL ||
		strcmp(faults->memory_culprit, run_id) != 0)
	{
		if (faults->memory_culprit != NULL)
			pfree(faults->memory_culprit);
		faults->memory_culprit = MemoryContextStrdup(TopMemoryContext, run_id);
		faults->memory_failures = 0;
	}
	return ++faults->memory_failures >= MAX_MEMORY_FAILURES;
}

/*
 * This flight cannot be stored as it is.
 */
static void
refuse_flight(Turn *turn, Flight *flight, const char *message)
{
	flight->store_failures++;
	if (flight->store_failures == 1)
		dispatch_fail(turn->dispatch, flight, "storage", message);
	else if (flight->store_failures == 2)
		flight_strip(flight);
	else
		flight->store_after = clock_now() + LAST_FAILURE_PAUSE;
	/* to the end of the list, for the others' sake */
	fleet_place(turn->dispatch->fleet, flight);
}

/*
 * How many things a turn was about whose fault it may be that its commit has failed: that of a
 * deferred constraint, say.
 */
static int
things_of(const Turn *turn)
{
	return turn->tried + turn->signals + turn->given_up;
}

/*
 * Whether a turn has failed when it followed signals, whatever else it was about.
 */
static bool
failed_at_signals(const Turn *turn, bool at_commit)
{
	return turn->at_signals && !at_commit;
}

/*
 * The only signal of a turn that has failed, if that was when it followed it, or when the turn
 * was committed and was about nothing else; or NULL.
 */
static Signal *
lone_signal(const Turn *turn, TurnPart part, bool at_commit)
{
	return failed_at_signals(turn, at_commit) ||
		(at_commit && turn->tried == 0 && part == PART_NONE) ?
		turn->tried_signal : NULL;
}

/*
 * A turn has failed, maybe when it was committed, and not because of what passes: if it was
 * about one thing, that is not done as it should. A commit may fail because of anything that
 * the turn has done. Returns whether it is out of the way of others.
 */
static bool
refuse(Turn *turn, const char *tried, TurnPart part, const char *message,
	   bool at_commit)
{
	if (turn->tried_expired != NULL && part == PART_EXPIRED)
		return turn_put_off_expired(turn->tried_expired);
	if (at_commit && (turn->scope == SCOPE_ALL || things_of(turn) != 1))
		return false;
	if (tried != NULL && turn->tried_flight != NULL)
	{
		refuse_flight(turn, turn->tried_flight, message);
		return true;
	}
	if (tried != NULL)
		return turn_refuse(turn->tried_start, message);
	if (turn->tried_end != NULL && (at_commit || part == PART_GIVE_UP))
		return turn_refuse(turn->tried_end, message);
	if (lone_signal(turn, part, at_commit) != NULL)
		return turn_drop_signals(turn, turn->tried_signal);
	return false;
}

/*
 * Whether a turn failed since nobody could be notified: the queue of notifications
 * is full, or somebody has it locked. Everyone who notifies locks it for the whole
 * server, until the end of the commit.
 */
static bool
fails_to_notify(const Faults *faults, const ErrorData *error, bool at_commit)
{
	if (!at_commit)
		return false;
	/* A deferred trigger may exceed a limit as well. */
	if (error->sqlerrcode == ERRCODE_PROGRAM_LIMIT_EXCEEDED)
		return error_says(error, "too many notifications in the NOTIFY queue");
	return error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE &&
		clock_now() >= faults->mute_until;
}

/*
 * A part of turns fails, and nobody knows whose fault it is: the rest goes on.
 */
static void
leave_out(Faults *faults, TurnPart part)
{
	int64		now = clock_now();
	int64		pause = Min(faults->part_pause[part] * 2, LAST_PART_PAUSE);

	/* It has been going well for long. */
	if (now - faults->left_out_until[part] > 2 * LAST_PART_PAUSE)
		pause = 0;
	pause = Max(pause, FIRST_PART_PAUSE);
	faults->part_pause[part] = pause;
	faults->left_out_until[part] = now + pause;
	ereport(LOG,
			(errmsg("agno_bg does not look %s for " INT64_FORMAT " s: that fails",
					part_name(part), pause / US_PER_S),
			 errhint("The error before this says why.")));
}

/*
 * The parts that a turn of this scope may do, a bit each: only this one, unless it is none.
 */
static uint32
parts_of(TurnScope scope, TurnPart only)
{
	uint32		given_up = 1U << PART_GIVE_UP;

	if (scope == SCOPE_GIVE_UP)
		return given_up;
	if (scope != SCOPE_PART)
		return 0;
	return only == PART_NONE ? ~given_up : 1U << only;
}

/*
 * What a turn is about that begins now, and which parts it leaves out: while it is not known
 * what fails when turns are committed, it is about one thing, or about the parts.
 */
void
faults_narrow(Faults *faults, Turn *turn, int64 now)
{
	uint32		number;

	for (int part = 0; part < TURN_PARTS; part++)
	{
		if (faults->left_out_until[part] > now)
			turn->left_out |= 1U << part;
	}
	if (!faults->one_by_one || turn->limit > 1)
		return;
	number = faults->narrow_turns++;
	turn->scope = ShutdownRequestPending ? SCOPE_RUN :
		scopes[number % lengthof(scopes)];
	if (turn->scope == SCOPE_PART)
	{
		/* What is due by the clock may not be known to be. */
		turn->todo |= CHORE_BIT(CHORE_CLOCK);
		if (faults->parts_apart)
			turn->only_part = 1 + number / lengthof(scopes) % (TURN_PARTS - 1);
	}
	turn->left_out |= ~parts_of(turn->scope, turn->only_part);
}

/*
 * A commit has failed because of nobody knows what. Returns whether that is found out by
 * turns that do less.
 */
static bool
narrow_down(Faults *faults, const Turn *turn)
{
	int			turns = lengthof(scopes);

	if (turn->scope == SCOPE_PART && turn->only_part == PART_NONE)
	{
		faults->parts_apart = true;
		turns *= TURN_PARTS;
	}
	else if (turn->scope != SCOPE_ALL && things_of(turn) <= 1)
		return false;
	faults->one_by_one = true;
	faults->kept_for = Max(faults->kept_for, turns);
	return true;
}

static void
measure(Faults *faults, int64 now)
{
	faults->measured_until = now + MEASURED_TIME;
	faults->measured_for = MEASURED_TURNS;
}

/*
 * A turn has taken long, and nobody knows for whom; but not so long that it was undone.
 */
void
faults_measure(Faults *faults)
{
	int64		now = clock_now();

	if (now < faults->measured_until ||
		now >= faults->measured_until + MEASURED_PAUSE)
		measure(faults, now);
}

/*
 * Whether a turn that begins now is to measure that.
 */
bool
faults_measures(Faults *faults, bool own, int64 now)
{
	if (now >= faults->measured_until && faults->measured_for == 0)
		return false;
	if (!own && faults->measured_for > 0)
		faults->measured_for--;
	return true;
}

/*
 * Whether it has just been found out who took so long, or he will do with less from now
 * on.
 */
static bool
finds_slow(const Turn *turn, int64 now)
{
	ListCell   *cell;

	foreach(cell, turn->times)
	{
		OwnerTime  *time = lfirst(cell);

		if (time->took > OWNER_SLICE &&
			(turn->own ? time->things > 1 :
			 !rests_is_slow(turn->order->rests, time->owner, now)))
			return true;
	}
	return false;
}

/*
 * A turn has taken too long, and has been undone. Who took long is slow from now on; if
 * nobody was, or was already and has had less to do, there is to be less of everything.
 */
static void
note_overdue(Faults *faults, Turn *turn, int64 now)
{
	bool		found;

	if (turn->at_signals)
		faults->signal_limit =
			Max(Min(turn->signals, faults->signal_limit) / OVERDUE_DIVISOR, 1);
	found = finds_slow(turn, now);
	turn_keep_times(turn, turn->shared, now);
	/* There may be others like that. */
	if (found && turn->measured)
		measure(faults, now);
	if (found)
		return;
	if (turn->mixed > 0 && !turn->measured)
		measure(faults, now);
	else if (!turn->at_signals)
	{
		faults->limit = Max(turn->limit / OVERDUE_DIVISOR, 1);

		/* All that it was about is to be done, one by one if need be. */
		faults->kept_for = Min(2 * turn->tried + 4, MOST_KEPT);
	}
}

/*
 * Whether nothing is to be started, for lack of memory.
 */
bool
faults_memory_is_scarce(const Faults *faults, int64 now)
{
	return now < faults->scarce_until;
}

/*
 * A turn has failed. If it was about one run only, that run cannot be stored
 * as it is.
 */
void
faults_note(Faults *faults, Turn *turn, ErrorData *error, bool at_commit)
{
	TurnPart	part = at_commit ? turn->only_part : turn->part;
	const char *tried = turn->tried != 1 || part != PART_NONE ||
		failed_at_signals(turn, at_commit) ? NULL :
		turn->tried_flight != NULL ? turn->tried_flight->run_id :
		turn->tried_start->run_id;
	const char *suspect = tried != NULL ? tried :
		lone_signal(turn, part, at_commit) != NULL ?
		turn->tried_signal->run_id : NULL;
	int64		pause = FIRST_FAILURE_PAUSE;
	int64		most = LAST_FAILURE_PAUSE;
	int64		now = clock_now();

	pacing_recheck(turn->dispatch->paces);
	turn_end_picking(turn);
	if (turn->overdue)
	{
		note_overdue(faults, turn, now);
		return;
	}
	turn_keep_times(turn, turn->shared, now);
	if (fails_to_notify(faults, error, at_commit))
	{
		/* That is no run's fault, and does not keep it waiting. */
		if (now >= faults->mute_until)
			faults->not_before = now;
		else
			faults->not_before = now + FIRST_FAILURE_PAUSE;
		faults->mute_until = now + MUTE_PAUSE;
		faults->failures++;
		return;
	}
	if (error_lacks_memory(error))
	{
		faults->scarce_until = now + SCARCE_PAUSE;
		if (tried == NULL && turn->limit > 1)
		{
			faults->limit =
				Max(Min(turn->limit, turn->tried) / OVERDUE_DIVISOR, 1);
			faults->not_before = now + FIRST_FAILURE_PAUSE;
			return;
		}
		if (part == PART_NONE && make_room(turn, error->message))
			return;
	}
	if (!error_is_passing(error) ||
		(suspect != NULL && error_lacks_memory(error) &&
		 exhausts_memory(faults, suspect)))
	{
		if (refuse(turn, tried, part, error->message, at_commit))
			return;
	}
	if (turn->limit == 1 && part != PART_NONE &&
		(!error_is_passing(error) || error_lacks_memory(error)))
	{
		leave_out(faults, part);
		return;
	}

	/* Turns for others may come between those that find out who it is. */
	faults->limit = Max(Min(turn->limit, turn->tried) / 2, 1);
	faults->kept_for = Max(faults->kept_for, 1);
	if (at_commit && (!error_is_passing(error) || error_lacks_memory(error)) &&
		narrow_down(faults, turn))
		return;
	if (turn->tried > 1 && !error_is_passing(error))
		return;

	/* A lock that somebody holds has its own timeout: others wait no longer. */
	if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		most = LOCKED_FAILURE_PAUSE;
	for (int i = 0; i < faults->failures && pause < most; i++)
		pause *= 2;
	faults->failures++;
	faults->not_before = now + Min(pause, most);
}

/*
 * Nothing has failed yet.
 */
void
faults_init(Faults *faults)
{
	memset(faults, 0, sizeof(Faults));
	faults->limit = MOST_AT_ONCE;
	faults->signal_limit = MOST_AT_ONCE;
}

/*
 * Whether the error of a turn is to be reported: one line for a fault, not one for each
 * turn that it has.
 */
bool
faults_is_news(Faults *faults, const Turn *turn)
{
	bool		news = !faults->reported && !turn->overdue;

	faults->reported |= news;
	return news;
}

/*
 * A turn has succeeded.
 */
void
faults_none(Faults *faults, const Turn *turn)
{
	faults->failures = 0;
	faults->not_before = 0;

	/* What took long, or too much memory, is not to become longer. */
	if (faults->kept_for > 0)
		faults->kept_for--;
	else if (faults_memory_is_scarce(faults, clock_now()))
		return;
	else if (turn->took < TURN_MOST / 2)
		faults->limit = Min(faults->limit * 2, MOST_AT_ONCE);
	if (turn->signals >= faults->signal_limit && turn->signals_took < OWNER_SLICE)
		faults->signal_limit = Min(faults->signal_limit * 2, MOST_AT_ONCE);
	if (faults->limit == MOST_AT_ONCE)
		faults->reported = faults->one_by_one = faults->parts_apart = false;
}
