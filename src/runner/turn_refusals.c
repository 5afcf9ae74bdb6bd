/*-------------------------------------------------------------------------
 *
 * turn_refusals.c
 *	  What can be followed as little as it can be left as it is, because a turn
 *	  that was about it alone has failed.
 *
 * Each is put out of the way of others in a transaction of its own, after that
 * of the turn: it is ended, set aside, put off, or dropped. Whose fault it is
 * that a turn has failed is found out in faults.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "runner/apart.h"
#include "runner/ended_run.h"
#include "runner/turn_internal.h"
#include "server/encoding.h"
#include "store/store_decisions.h"

/* When a cancel is tried again that could not be followed, in seconds. */
#define CANCEL_AGAIN 30

/* A run that can be neither started nor ended as it should. */
typedef struct Refusal
{
	Turn	   *turn;			/* in which it ends barely */
	const PickedRun *picked;
	const char *message;		/* what it was refused for */
} Refusal;

/*
 * End the run of a Refusal: in ERROR, unless it is to be cancelled. One that is locked is
 * set aside.
 */
static void
end_refused(void *arg)
{
	Refusal    *refusal = arg;
	Turn	   *turn = refusal->turn;
	char	   *id = refusal->picked->run_id;
	List	   *locks = store_lock_runs(&id, 1);
	RunLock    *lock;
	RunOutcome	outcome;

	if (locks == NIL)
	{
		store_set_locked(&id, 1);
		return;
	}
	lock = linitial(locks);
	if (lock->status == RUN_CANCELLED || refusal->picked->cancelled)
	{
		if (lock->status == RUN_RUNNING)
			turn->cancelled_ids = lappend(turn->cancelled_ids, id);
		(void) turn_end_cancelled(turn, &lock, 1);
		return;
	}
	if (run_status_is_final(lock->status))
	{
		store_set_locked(&id, 1);
		return;
	}
	outcome = run_outcome_failed(lock->attempt, "storage",
								 encoding_from_server(refusal->message));
	turn_end_failed(turn, &lock, &outcome, 1);
}

static void
set_aside(void *arg)
{
	char	   *id = arg;

	store_set_locked(&id, 1);
}

/*
 * A run that can be neither started nor ended as it should, because a trigger refuses
 * what it says, say: it ends, and leaves nothing but this message; and if even that
 * cannot be stored, it stands aside for others. Returns whether that could be stored.
 */
bool
turn_refuse(const PickedRun *picked, const char *message)
{
	Turn	   *turn = palloc0(sizeof(Turn));
	Refusal		refusal = {turn, picked, message};
	bool		reported = true;

	turn->barely = true;
	if (!apart_do("agno_bg: refusing a run", end_refused, &refusal, &reported))
		return apart_do("agno_bg: setting a run aside", set_aside,
						picked->run_id, &reported);
	turn_tell(turn);
	return true;
}

static void
drop_signals(void *arg)
{
	Signal	   *signal = arg;

	(void) store_take_signals_of(&signal->run_id, &signal->owner, 1);
}

static void
put_off_cancel(void *arg)
{
	Signal	   *signal = arg;

	drop_signals(signal);
	if (store_cancel_called_back(&signal, 1) == NIL)
		(void) store_cancel_later(&signal, 1, CANCEL_AGAIN);
}

/*
 * What is signalled about this run cannot be followed: others are not to wait for
 * that. If it is to be cancelled, that is tried again, and the run is refused if it is in
 * vain; else its time runs on. Returns whether that could be stored.
 */
bool
turn_drop_signals(const Turn *turn, Signal *signal)
{
	bool		reported = true;

	if (signal->kind == SIGNAL_CANCEL &&
		fleet_find(turn->dispatch->fleet, signal->run_id) == NULL &&
		apart_do("agno_bg: putting off a cancel", put_off_cancel, signal,
				 &reported))
	{
		ereport(LOG,
				(errmsg("agno_bg could not cancel run \"%s\", and tries again in %d s",
						signal->run_id, CANCEL_AGAIN),
				 errhint("The error before this says why.")));
		return true;
	}
	if (!apart_do("agno_bg: dropping signals", drop_signals, signal, &reported))
		return false;
	ereport(LOG,
			(errmsg("agno_bg has dropped what was signalled about run \"%s\": it could not be followed",
					signal->run_id),
			 errhint("The error before this says why. Cancel the run, or requeue it.")));
	return true;
}

static void
put_off_expired(void *arg)
{
	store_put_off_expired(arg);
}

/*
 * Calls of this run that have expired cannot be rejected: others are not to wait for
 * that. Returns whether that could be stored.
 */
bool
turn_put_off_expired(char *run_id)
{
	bool		reported = true;

	if (!apart_do("agno_bg: putting off calls that have expired",
				  put_off_expired, run_id, &reported))
		return false;
	ereport(LOG,
			(errmsg("agno_bg could not reject the calls of run \"%s\" that have expired, and tries again in an hour",
					run_id),
			 errhint("The error before this says why. Cancel the run, or decide about its calls.")));
	return true;
}
