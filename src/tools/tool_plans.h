/*-------------------------------------------------------------------------
 *
 * tool_plans.h
 *	  The plans of the statements that call tools.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_TOOL_PLANS_H
#define AGNO_TOOL_PLANS_H

#include "executor/spi.h"

extern SPIPlanPtr tool_plan(const char *sql, int count, Oid *types, bool keep);

#endif							/* AGNO_TOOL_PLANS_H */
