/*-------------------------------------------------------------------------
 *
 * tool_definition.h
 *	  What a name in agents.tools stands for.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_TOOL_DEFINITION_H
#define AGNO_TOOL_DEFINITION_H

#include "core/tool.h"
#include "server/tool_function.h"
#include "store/store_tools.h"

extern void tool_definition(const char *name, Oid role, bool called,
							Tool *tool);
extern bool tool_role_can_connect(Oid role);
extern char *tool_definitions(const char *agent_id, char *const *names,
							  int count, char *const *confirmed,
							  int confirmed_count, Oid role, bool strict);

/* What they, and tool_rows.c, check. */
extern void tool_check_trust(Oid role, Oid owner, const char *what);
extern void tool_check_name(const char *name, const char *function);
extern void tool_check_names(Tool *tools, int count);
extern void tool_check_row(const ToolRow *row, const ToolFunction *function);
extern bool tool_find_row(const char *name, Oid role, ToolRow *row);
extern const char *tool_agent_of(const char *name);
extern char *tool_agent_name(const char *agent_id);

#endif							/* AGNO_TOOL_DEFINITION_H */
