/*-------------------------------------------------------------------------
 *
 * json_index.c
 *	  Members and elements of large JSON values, found fast.
 *
 * cJSON keeps the members of an object, and the elements of an array, in a
 * list, and looks through it from the start each time. Whoever looks up each
 * member of an object by name, with values that somebody else has written, so
 * works for the square of their size. An index makes a sorted array of a large
 * list when it is first looked at.
 *
 * The index must not outlive the tree. Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include "common/hashfn.h"
#ifdef FRONTEND
#include "common/logging.h"
#endif
#include "core/json_index.h"
#include "core/sort.h"

/* Lists up to this length are looked through. */
#define SHORT_LIST 16

/* A list that has been indexed. */
typedef struct IndexedList
{
	const cJSON *parent;		/* the object or array: the key */
	const cJSON **items;		/* members by name, elements in their order */
	int			count;
	char		status;			/* for simplehash.h */
} IndexedList;

#define SH_PREFIX indexed_lists
#define SH_ELEMENT_TYPE IndexedList
#define SH_KEY_TYPE const cJSON *
#define SH_KEY parent
#define SH_HASH_KEY(tb, key) hash_bytes((const unsigned char *) &(key), sizeof(key))
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_RAW_ALLOCATOR palloc0
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct JsonIndex
{
	struct indexed_lists_hash *lists;
};

/*
 * An index in the current memory context, of nothing yet.
 */
JsonIndex *
json_index_create(void)
{
	JsonIndex  *index = palloc(sizeof(JsonIndex));

	index->lists = indexed_lists_create(16, NULL);
	return index;
}

void
json_index_free(JsonIndex *index)
{
	indexed_lists_iterator iterator;
	IndexedList *list;

	indexed_lists_start_iterate(index->lists, &iterator);
	while ((list = indexed_lists_iterate(index->lists, &iterator)) != NULL)
		pfree(list->items);
	indexed_lists_destroy(index->lists);
	pfree(index);
}

static bool
is_short(const cJSON *parent)
{
	int			count = 0;
	const cJSON *item;

	cJSON_ArrayForEach(item, parent)
	{
		if (++count > SHORT_LIST)
			return false;
	}
	return true;
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp((*(const cJSON *const *) a)->string,
				  (*(const cJSON *const *) b)->string);
}

/*
 * The list of an object or array, indexed.
 */
static const IndexedList *
indexed(JsonIndex *index, const cJSON *parent)
{
	bool		found;
	IndexedList *list = indexed_lists_insert(index->lists, parent, &found);
	const cJSON *item;

	if (found)
		return list;
	list->count = cJSON_GetArraySize(parent);
	list->items = palloc(sizeof(cJSON *) * Max(list->count, 1));
	list->count = 0;
	cJSON_ArrayForEach(item, parent)
		list->items[list->count++] = item;
	if (cJSON_IsObject(parent))
		shuffled_qsort(list->items, list->count, sizeof(cJSON *),
					   compare_names);
	return list;
}

/*
 * The member of an object that has this name, or NULL. Of several, which is
 * not valid, it may be any in a large object.
 */
const cJSON *
json_index_member(JsonIndex *index, const cJSON *object, const char *name)
{
	cJSON		key = {.string = unconstify(char *, name)};
	const cJSON *key_pointer = &key;
	const cJSON *item;
	const IndexedList *list;
	const cJSON **found;
	int			looked_at = 0;

	if (!cJSON_IsObject(object))
		return NULL;
	/* Most names differ in their first byte: that is no function to call. */
	cJSON_ArrayForEach(item, object)
	{
		if (item->string[0] == name[0] && strcmp(item->string, name) == 0)
			return item;
		if (++looked_at == SHORT_LIST)
			break;
	}
	if (item == NULL || item->next == NULL)
		return NULL;
	list = indexed(index, object);
	found = bsearch(&key_pointer, list->items, list->count, sizeof(cJSON *),
					compare_names);
	return found != NULL ? *found : NULL;
}

/*
 * The element of an array at this position, from 0, or NULL.
 */
const cJSON *
json_index_element(JsonIndex *index, const cJSON *array, int position)
{
	const IndexedList *list;

	if (!cJSON_IsArray(array) || position < 0)
		return NULL;
	if (is_short(array))
		return cJSON_GetArrayItem(array, position);
	list = indexed(index, array);
	return position < list->count ? list->items[position] : NULL;
}
