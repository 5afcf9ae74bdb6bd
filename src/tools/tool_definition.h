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

extern void tool_definition(const char *name, Oid role, Tool *tool);
extern bool tool_role_can_connect(Oid role);
extern char *tool_definitions(char *const *names, int count,
							  char *const *confirmed, int confirmed_count,
							  Oid role, bool strict);

#endif							/* AGNO_TOOL_DEFINITION_H */
