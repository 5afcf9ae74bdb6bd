/*-------------------------------------------------------------------------
 *
 * chores.h
 *	  When there is table work to do, and getting it done.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_CHORES_H
#define AGNO_CHORES_H

#include "runner/dispatch.h"

typedef struct Chores Chores;

extern Chores *chores_create(Dispatch *dispatch, Oid extension,
							 uint64 wakes_seen, bool first);
extern int64 chores_next_at(Chores *chores);
extern bool chores_do(Chores *chores);
extern void chores_reloaded(Chores *chores);
extern void chores_finish(Chores *chores);

#endif							/* AGNO_CHORES_H */
