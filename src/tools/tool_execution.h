/*-------------------------------------------------------------------------
 *
 * tool_execution.h
 *	  Making calls of tools, each in one transaction with its record.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_TOOL_EXECUTION_H
#define AGNO_TOOL_EXECUTION_H

extern void tool_execution_open(void);
extern bool tool_execution_next(void);

#endif							/* AGNO_TOOL_EXECUTION_H */
