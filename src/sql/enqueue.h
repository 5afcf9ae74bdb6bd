/*-------------------------------------------------------------------------
 *
 * enqueue.h
 *	  Accepting a run.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_ENQUEUE_H
#define AGNO_ENQUEUE_H

#include "fmgr.h"
#include "store/store.h"

extern void enqueue_install(void);
extern void enqueue_check_room(Oid owner);
extern void enqueue_run(FunctionCallInfo fcinfo, RunRow *state);

#endif							/* AGNO_ENQUEUE_H */
