/*-------------------------------------------------------------------------
 *
 * run_internal.h
 *	  What the parts of a run's life know of each other: for run.c and run_calls.c
 *	  only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_RUN_INTERNAL_H
#define AGNO_RUN_INTERNAL_H

#include "core/run.h"

extern void run_plan_call(Run *run, ToolCall *call, PlannedCall *planned);

#endif							/* AGNO_RUN_INTERNAL_H */
