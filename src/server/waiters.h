/*-------------------------------------------------------------------------
 *
 * waiters.h
 *	  Backends that sleep until a run has ended.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_WAITERS_H
#define AGNO_WAITERS_H

extern void waiters_request_memory(void);
extern void waiters_startup(void);

/* For backends. */
extern void waiters_begin(const char *run_id);
extern bool waiters_woken(void);
extern void waiters_end(void);

/* For runners. */
extern void waiters_wake(char *const *run_ids, int count);

#endif							/* AGNO_WAITERS_H */
