/*-------------------------------------------------------------------------
 *
 * heavies.h
 *	  Owners whose requests take long to be worked on.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_HEAVIES_H
#define AGNO_HEAVIES_H

#include "core/clock.h"

typedef struct Heavies Heavies;

extern Heavies *heavies_create(void);
extern void heavies_begin_round(Heavies *heavies, int64 now);
extern bool heavies_has(Heavies *heavies, Oid owner, int64 now);
extern int64 heavies_next_turn(Heavies *heavies, Oid owner, int64 now);
extern void heavies_spend(Heavies *heavies, Oid owner, int64 took, bool heavy,
						  bool large, bool shared, int64 now);

#endif							/* AGNO_HEAVIES_H */
