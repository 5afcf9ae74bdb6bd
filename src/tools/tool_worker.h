/*-------------------------------------------------------------------------
 *
 * tool_worker.h
 *	  A process that calls the tools of one role.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_TOOL_WORKER_H
#define AGNO_TOOL_WORKER_H

extern PGDLLEXPORT void agno_bg_tool_worker_main(Datum arg);

#endif							/* AGNO_TOOL_WORKER_H */
