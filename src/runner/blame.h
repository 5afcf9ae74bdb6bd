/*-------------------------------------------------------------------------
 *
 * blame.h
 *	  Which run a runner was at when it crashed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_BLAME_H
#define AGNO_BLAME_H

extern char *blame_open(int number);
extern void blame_begin(const char *run_id);
extern void blame_end(void);
extern void blame_close(void);

#endif							/* AGNO_BLAME_H */
