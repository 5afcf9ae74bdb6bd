/*-------------------------------------------------------------------------
 *
 * hold.h
 *	  Keeping a database free of its runners, and of tool workers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_HOLD_H
#define AGNO_HOLD_H

extern void hold_runners(Oid database);
extern void hold_tool_workers(Oid database, Oid role);
extern void hold_for_restore(void);

#endif							/* AGNO_HOLD_H */
