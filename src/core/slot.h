/*-------------------------------------------------------------------------
 *
 * slot.h
 *	  The slot of a session, which says on which server of several it lives.
 *
 * There are SLOTS of them. Each id tells its slot: one that was generated in its
 * last 16 bits, any other by a hash. An id with a slash, as a child's session has
 * it, has the slot of what stands before the first one. Ids are kept for years, so
 * none of this may ever change.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_SLOT_H
#define AGNO_SLOT_H

#include "core/uuid.h"

#define SLOTS 65536

/* For new_id(): whichever slot. */
#define ANY_SLOT (-1)

extern bool new_id(char *text, int slot);
extern bool looks_generated(const char *id);
extern int	id_slot(const char *id);

#endif							/* AGNO_SLOT_H */
