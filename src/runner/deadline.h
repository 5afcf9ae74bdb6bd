/*-------------------------------------------------------------------------
 *
 * deadline.h
 *	  A time that table work is to be done in.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_DEADLINE_H
#define AGNO_DEADLINE_H

extern void deadline_prepare(void);
extern void deadline_begin(int milliseconds);
extern bool deadline_end(void);

#endif							/* AGNO_DEADLINE_H */
