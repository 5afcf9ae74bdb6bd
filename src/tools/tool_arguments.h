/*-------------------------------------------------------------------------
 *
 * tool_arguments.h
 *	  The arguments of a call of a tool: from JSON to values of their types.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_TOOL_ARGUMENTS_H
#define AGNO_TOOL_ARGUMENTS_H

#include "core/tool.h"
#include "server/run_context.h"
#include "server/tool_function.h"

/*
 * The arguments of a call, for the parameters $1 ... of a statement. The arrays are the
 * memory context's in which they are made.
 */
typedef struct CallArguments
{
	const ToolArgument **arguments; /* count of them: those that are given;
									 * NULL for one that is for the result */
	const char **values;		/* of each its JSON in UTF-8 */
	int			count;			/* how many there are of all of these */
	bool		keep_plans;		/* for the next call: set by the caller */
	Oid		   *types;			/* of each that of its datum */
	Datum	   *datums;			/* converted */
	char	   *nulls;			/* as SPI has them */
} CallArguments;

extern char *tool_bound_state(const Tool *tool, const char *session_state);
extern void tool_arguments_make(CallArguments *call, const Tool *tool,
								const ToolFunction *function,
								const char *arguments, const char *answer,
								const RunContext *context,
								const char *session_state);
extern int	tool_arguments_find(const CallArguments *call,
								const ToolArgument *argument);

#endif							/* AGNO_TOOL_ARGUMENTS_H */
