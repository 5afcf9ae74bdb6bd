/*-------------------------------------------------------------------------
 *
 * callback_batch.h
 *	  Calling the functions of runs that have ended, many in a transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_CALLBACK_BATCH_H
#define AGNO_CALLBACK_BATCH_H

extern bool callback_batch(void);

#endif							/* AGNO_CALLBACK_BATCH_H */
