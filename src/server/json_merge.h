/*-------------------------------------------------------------------------
 *
 * json_merge.h
 *	  Objects of jsonb, merged.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_JSON_MERGE_H
#define AGNO_JSON_MERGE_H

#include "utils/jsonb.h"

extern Jsonb *json_merge(Jsonb *a, Jsonb *b);

#endif							/* AGNO_JSON_MERGE_H */
