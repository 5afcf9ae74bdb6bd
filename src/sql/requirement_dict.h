/*-------------------------------------------------------------------------
 *
 * requirement_dict.h
 *	  Decisions in the dicts of Agno.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_REQUIREMENT_DICT_H
#define AGNO_REQUIREMENT_DICT_H

#include "utils/jsonb.h"

/* What a dict says. Strings are UTF-8, or NULL. */
typedef struct DictDecision
{
	int			confirmed;		/* 1, 0, or -1: nothing about that */
	char	   *note;
	char	   *result;			/* of an external execution */
	char	   *input;			/* a JSON object of arguments */
} DictDecision;

extern Jsonb *requirement_dicts_by_id(Jsonb *stored);
extern Jsonb *requirement_dict_stored(Jsonb *by_id, const char *id);
extern char *requirement_dict_id(Jsonb *dict);
extern char *requirement_dict_call_id(Jsonb *dict);
extern void requirement_dict_read(Jsonb *dict, Jsonb *stored, bool waits,
								  DictDecision *decision);

#endif							/* AGNO_REQUIREMENT_DICT_H */
