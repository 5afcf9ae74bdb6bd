/*-------------------------------------------------------------------------
 *
 * apart.c
 *	  Work of a runner beside its turns.
 *
 * It has a transaction of its own, and that it fails is no run's fault.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "runner/apart.h"
#include "runner/deadline.h"
#include "store/store.h"

/*
 * Do this work in a transaction of its own. Failures that follow each other are
 * reported once; *failed says whether the last time was one. Returns whether it is
 * done: it has not failed either when its deadline has passed.
 */
bool
apart_do(const char *activity, void (*work) (void *), void *arg, bool *failed)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile bool done = false;

	PG_TRY();
	{
		store_begin(activity);
		work(arg);
		store_commit();
		*failed = false;
		done = true;
	}
	PG_CATCH();
	{
		bool		overdue;

		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(caller);
		overdue = deadline_end() && geterrcode() == ERRCODE_QUERY_CANCELED;
		if (!overdue && !*failed)
			EmitErrorReport();
		*failed = !overdue;
		FlushErrorState();
		store_abort();
		MemoryContextSwitchTo(caller);
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	return done;
}
