/*-------------------------------------------------------------------------
 *
 * run_keys.h
 *	  The ids of some runs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_RUN_KEYS_H
#define AGNO_RUN_KEYS_H

#include "nodes/pg_list.h"

/*
 * The ids of some runs and, where they matter, of their sessions: for the store,
 * in palloc'd memory. The strings belong to others.
 */
typedef struct RunKeys
{
	char	  **run_ids;
	char	  **session_ids;
	int			count;
	int			size;			/* of both arrays */
} RunKeys;

/* A set of ids of runs. */
typedef struct RunIdSet
{
	char	  **ids;			/* sorted; the strings belong to others */
	int			count;
} RunIdSet;

extern RunKeys run_keys(int size);
extern void run_keys_add(RunKeys *keys, const char *run_id,
						 const char *session_id);
extern RunIdSet run_id_set(const List *ids);
extern bool run_id_set_has(const RunIdSet *set, const char *run_id);

#endif							/* AGNO_RUN_KEYS_H */
