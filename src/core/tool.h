/*-------------------------------------------------------------------------
 *
 * tool.h
 *	  The tools that a model may call.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_TOOL_H
#define AGNO_TOOL_H

#include "core/requirement.h"
#include "lib/stringinfo.h"

/* The longest name of a tool, which all APIs take. */
#define MAX_TOOL_NAME 64

/*
 * A tool as it was when the run was enqueued. Strings are palloc'd; JSON is
 * kept as it is written.
 */
typedef struct Tool
{
	char	   *name;			/* what the model calls it */
	char	   *function;		/* the SQL function: schema.name(types); NULL:
								 * it is executed elsewhere */
	char	   *agent;			/* the agent that it is, instead of a
								 * function; or NULL */
	char	   *description;	/* may be "" */
	char	   *parameters;		/* JSON schema of an object */
	char	   *bind;			/* a JSON object: arguments that the model
								 * neither sees nor chooses; or NULL */
	bool		read_only;		/* its transaction writes nothing */
	bool		strict;			/* the server can be held to the schema */
	bool		stop_after_call;	/* its result ends the run */
	int			timeout_ms;		/* 0: agno_bg.tool_timeout */

	/* if somebody has a say in its calls */
	RequirementKind requires;
	bool		preview;		/* who decides is shown what a call would do */
	char	   *approver;		/* the role that decides, as an identifier;
								 * NULL: who may cancel the run */
	int64		expires_ms;		/* a call that waits longer is rejected; 0:
								 * none */
	char	   *fingerprint;	/* of the function that is meant; or NULL */
	char	   *input_schema;	/* JSON schema of the arguments that somebody
								 * gives; NULL but for user input */
} Tool;

/* All of a run. */
typedef struct ToolList
{
	Tool	   *tools;			/* count of them, in the order of their names */
	int			count;
} ToolList;

extern bool tool_name_is_valid(const char *name);
extern void tool_append(StringInfo out, const Tool *tool);
extern void tools_read(const char *json, ToolList *list);
extern const Tool *tools_find(const ToolList *list, const char *name);
extern char *tool_result_shown(const char *result, int most);

#endif							/* AGNO_TOOL_H */
