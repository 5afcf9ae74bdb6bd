/*-------------------------------------------------------------------------
 *
 * grounded.h
 *	  The ends of runs that are not in flight.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_GROUNDED_H
#define AGNO_GROUNDED_H

extern void grounded_tell(char *const *run_ids, int count);

#endif							/* AGNO_GROUNDED_H */
