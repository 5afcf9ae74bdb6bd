/*-------------------------------------------------------------------------
 *
 * deadline.c
 *	  A time that table work is to be done in.
 *
 * What works for longer is cancelled, as by pg_cancel_backend(). The caller finds out by
 * deadline_end() that the time was over; the transaction is the caller's to abort.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "runner/deadline.h"
#include "utils/timeout.h"

/* When the time is over; registered once in a process. */
static TimeoutId deadline;

/* It is. Set by a signal handler. */
static volatile sig_atomic_t is_over = false;

static void
note_over(void)
{
	is_over = true;
	InterruptPending = true;
	QueryCancelPending = true;
}

/*
 * To be called once, before the others.
 */
void
deadline_prepare(void)
{
	deadline = RegisterTimeout(USER_TIMEOUT, note_over);
}

/*
 * From now on there are so many milliseconds, until deadline_end().
 */
void
deadline_begin(int milliseconds)
{
	enable_timeout_after(deadline, milliseconds);
}

/*
 * The work is done, or has failed: nothing is cancelled any more. Returns whether the
 * time was over.
 */
bool
deadline_end(void)
{
	bool		was_over;

	disable_timeout(deadline, false);
	was_over = is_over;
	is_over = false;
	QueryCancelPending = false;
	return was_over;
}
