/*-------------------------------------------------------------------------
 *
 * blame.h
 *	  Which run a process was at when it crashed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_BLAME_H
#define AGNO_BLAME_H

/* The numbers of tool workers, which are their slots, begin here. */
#define BLAME_TOOL_WORKERS 1000

extern char *blame_open(int number);
extern char *blame_take(int number);
extern void blame_begin(const char *run_id);
extern void blame_end(void);
extern void blame_close(void);

#endif							/* AGNO_BLAME_H */
