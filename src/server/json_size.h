/*-------------------------------------------------------------------------
 *
 * json_size.h
 *	  How long jsonb is as text, and how deep it nests.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_JSON_SIZE_H
#define AGNO_JSON_SIZE_H

#include "utils/jsonb.h"

extern void json_check_size(const char *name, Jsonb *json);
extern int	json_depth(Jsonb *json);

#endif							/* AGNO_JSON_SIZE_H */
