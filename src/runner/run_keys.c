/*-------------------------------------------------------------------------
 *
 * run_keys.c
 *	  The ids of some runs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/sort.h"
#include "runner/run_keys.h"

/*
 * None yet, with room for so many.
 */
RunKeys
run_keys(int size)
{
	RunKeys		keys;

	keys.run_ids = palloc(sizeof(char *) * Max(size, 1));
	keys.session_ids = palloc(sizeof(char *) * Max(size, 1));
	keys.count = 0;
	keys.size = size;
	return keys;
}

/*
 * Add a run; session_id is NULL where it does not matter.
 */
void
run_keys_add(RunKeys *keys, const char *run_id, const char *session_id)
{
	Assert(keys->count < keys->size);
	keys->run_ids[keys->count] = unconstify(char *, run_id);
	keys->session_ids[keys->count] = unconstify(char *, session_id);
	keys->count++;
}

static int
compare_ids(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

/*
 * The set of these ids, a list of strings.
 */
RunIdSet
run_id_set(const List *ids)
{
	RunIdSet	set = {palloc(sizeof(char *) * Max(list_length(ids), 1)), 0};
	ListCell   *cell;

	foreach(cell, ids)
		set.ids[set.count++] = lfirst(cell);
	shuffled_qsort(set.ids, set.count, sizeof(char *), compare_ids);
	return set;
}

bool
run_id_set_has(const RunIdSet *set, const char *run_id)
{
	return bsearch(&run_id, set->ids, set->count, sizeof(char *),
				   compare_ids) != NULL;
}
