/*-------------------------------------------------------------------------
 *
 * version.h
 *	  The version of the library, and of the SQL objects that it works with.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_VERSION_H
#define AGNO_VERSION_H

/* That of agno_bg.control. */
#define AGNO_VERSION "1.1"

#endif							/* AGNO_VERSION_H */
