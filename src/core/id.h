/*-------------------------------------------------------------------------
 *
 * id.h
 *	  Ids of runs, sessions and agents.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_ID_H
#define AGNO_ID_H

/* The longest id, in bytes of the database's encoding, and room for it. */
#define MAX_ID 255
#define ID_SIZE (MAX_ID + 1)

#endif							/* AGNO_ID_H */
