/*-------------------------------------------------------------------------
 *
 * tool_call.h
 *	  Calling a tool.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_TOOL_CALL_H
#define AGNO_TOOL_CALL_H

#include "core/tool.h"
#include "server/run_context.h"

extern char *tool_call(const Tool *tool, const char *arguments,
					   const char *answer, const RunContext *context,
					   const char *session_state, bool keep_plans);

#endif							/* AGNO_TOOL_CALL_H */
