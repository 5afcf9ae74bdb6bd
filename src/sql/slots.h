/*-------------------------------------------------------------------------
 *
 * slots.h
 *	  New ids, and the slots of ids in the database's encoding.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_SLOTS_H
#define AGNO_SLOTS_H

extern int	slot_of(const char *id);
extern int	some_slot(void);
extern char *generate_id(int slot);
extern void check_slots(const char *run_id, const char *session_id);

#endif							/* AGNO_SLOTS_H */
