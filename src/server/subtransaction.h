/*-------------------------------------------------------------------------
 *
 * subtransaction.h
 *	  A part of a transaction that may fail, or be undone.
 *
 *	  SubTransaction sub = subtransaction_begin();
 *
 *	  PG_TRY();
 *	  {
 *		  ...
 *		  subtransaction_end(&sub, true);
 *	  }
 *	  PG_CATCH();
 *	  {
 *		  error = subtransaction_catch(&sub);
 *	  }
 *	  PG_END_TRY();
 *
 * An error that left it open would be caught, at last, by somebody who ends it in the
 * belief that it is his own, and is who began it from then on: the owner of our tables,
 * say. So PG_TRY() follows at once (test/layers.sh sees to it).
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_SUBTRANSACTION_H
#define AGNO_SUBTRANSACTION_H

#include "utils/elog.h"
#include "utils/palloc.h"
#include "utils/resowner.h"

/* What is as before when it has ended. */
typedef struct SubTransaction
{
	MemoryContext context;		/* the current one, within it as well */
	ResourceOwner owner;
} SubTransaction;

/*
 * Begin one. The current memory context stays what it is.
 */
extern SubTransaction subtransaction_begin(void);

/*
 * What was done in it is kept, or undone.
 */
extern void subtransaction_end(const SubTransaction *sub, bool keep);

/*
 * In PG_CATCH(): what was done in it is undone. Returns the error, in the memory context
 * in which it began.
 */
extern ErrorData *subtransaction_catch(const SubTransaction *sub);

#endif							/* AGNO_SUBTRANSACTION_H */
