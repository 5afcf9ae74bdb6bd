/*-------------------------------------------------------------------------
 *
 * callback_batch.h
 *	  Calling the functions of runs that have ended, many in a transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_CALLBACK_BATCH_H
#define AGNO_CALLBACK_BATCH_H

#include "store/store.h"
#include "utils/timeout.h"

/* What a tool worker lends. */
typedef struct CallbackHost
{
	Oid			role;			/* whose process it is */
	MemoryContext context;		/* of the batch */
	TimeoutId	last_resort;	/* the timeout that ends the process */
	void		(*begin) (void);	/* a transaction */
	void		(*commit) (void);
	void		(*undo) (void);
	StoreUser	(*enter) (void);	/* as the owner of our tables */
	void		(*look_again) (int pause_ms);	/* there is more to do then */
} CallbackHost;

extern bool callback_batch(const CallbackHost *host);

#endif							/* AGNO_CALLBACK_BATCH_H */
