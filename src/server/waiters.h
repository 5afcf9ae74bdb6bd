/*-------------------------------------------------------------------------
 *
 * waiters.h
 *	  Backends that sleep until a run has ended.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_WAITERS_H
#define AGNO_WAITERS_H

#include "nodes/pg_list.h"

extern void waiters_request_memory(void);
extern void waiters_startup(void);

/* For backends. */
extern void waiters_begin(const char *run_id);
extern void waiters_end(void);
extern bool waiters_is_in_the_way(void);

/* For runners. */
extern void waiters_wake(char *const *run_ids, int count);
extern void waiters_are_in_the_way(const List *pids);

#endif							/* AGNO_WAITERS_H */
