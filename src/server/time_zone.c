/*-------------------------------------------------------------------------
 *
 * time_zone.c
 *	  Time zones that a role may name.
 *
 * PostgreSQL keeps each zone that a process has ever named, and names can be
 * made up without end: XXX1:00:01 is a zone as POSIX has them. So only those
 * that have a file are taken, which are as many as pg_timezone_names has.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/pg_list.h"
#include "server/time_zone.h"
#include "utils/memutils.h"

/*
 * The names of all zones that have a file, in the order of compare_names():
 * filled when they are first needed, and kept for the life of the process.
 */
static char **names = NULL;
static int	name_count;

static int
compare_names(const void *a, const void *b)
{
	return pg_strcasecmp(*(char *const *) a, *(char *const *) b);
}

static void
read_names(void)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller,
												  "agno_bg time zones",
												  ALLOCSET_DEFAULT_SIZES);
	pg_tzenum  *directory;
	pg_tz	   *zone;
	List	   *found = NIL;
	char	  **sorted;
	int			count = 0;
	ListCell   *cell;

	MemoryContextSwitchTo(context);
	directory = pg_tzenumerate_start();
	while ((zone = pg_tzenumerate_next(directory)) != NULL)
		found = lappend(found, pstrdup(pg_get_timezone_name(zone)));
	pg_tzenumerate_end(directory);
	sorted = palloc(sizeof(char *) * Max(list_length(found), 1));
	foreach(cell, found)
		sorted[count++] = lfirst(cell);
	qsort(sorted, count, sizeof(char *), compare_names);
	MemoryContextSwitchTo(caller);

	MemoryContextSetParent(context, TopMemoryContext);
	names = sorted;
	name_count = count;
}

/*
 * The time zone of this name, in any case; NULL when there is none.
 */
pg_tz *
time_zone_find(const char *name)
{
	if (names == NULL)
		read_names();
	if (bsearch(&name, names, name_count, sizeof(char *),
				compare_names) == NULL)
		return NULL;
	return pg_tzset(name);
}
