/*-------------------------------------------------------------------------
 *
 * read_only.h
 *	  A subtransaction that writes nothing.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_READ_ONLY_H
#define AGNO_READ_ONLY_H

extern void read_only_begin(void);
extern void read_only_check(void);

#endif							/* AGNO_READ_ONLY_H */
