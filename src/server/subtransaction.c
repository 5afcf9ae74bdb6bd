/*-------------------------------------------------------------------------
 *
 * subtransaction.c
 *	  A part of a transaction that may fail, or be undone.
 *
 * Beginning and ending one changes the memory context and the resource owner, neither of
 * which callers expect.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "server/subtransaction.h"

SubTransaction
subtransaction_begin(void)
{
	SubTransaction sub = {CurrentMemoryContext, CurrentResourceOwner};

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(sub.context);
	return sub;
}

void
subtransaction_end(const SubTransaction *sub, bool keep)
{
	if (keep)
		ReleaseCurrentSubTransaction();
	else
		RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(sub->context);
	CurrentResourceOwner = sub->owner;
}

ErrorData *
subtransaction_catch(const SubTransaction *sub)
{
	ErrorData  *error;

	MemoryContextSwitchTo(sub->context);
	error = CopyErrorData();
	FlushErrorState();
	subtransaction_end(sub, false);
	return error;
}
