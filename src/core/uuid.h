/*-------------------------------------------------------------------------
 *
 * uuid.h
 *	  UUIDs of version 7 as text.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_UUID_H
#define AGNO_UUID_H

/* The length of a UUID as text, with its terminating NUL. */
#define UUID_TEXT_SIZE 37

extern bool uuid_v7(char *text);

#endif							/* AGNO_UUID_H */
