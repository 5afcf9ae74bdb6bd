/*-------------------------------------------------------------------------
 *
 * lookups.c
 *	  How many names are looked up, and kept, for whom.
 *
 * A look-up has a thread of libcurl's, which lives on when nobody waits for it any more,
 * and what it finds is kept for a while, however much that is: both are the process's,
 * whose threads and memory all roles share. So there is a place for each. A role has as
 * many of them as leave four times that free: all of the first who come would have them
 * for each other, and who comes later still finds one.
 *
 * This does not know what the names are, nor what comes of them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "http/http_internal.h"

/* How many threads there may be. */
#define MAX_THREADS 64

/* For how many that a role has there must be one that nobody has. */
#define FREE_FOR_EACH 4

/*
 * How long a thread that nobody waits for is taken to live on, in milliseconds: by
 * default, the C library asks each of up to three name servers twice, for 5 s.
 */
#define ABANDONED_MS 30000

/*
 * A place that is free for another look-up of this role; NULL: it has to wait.
 */
static Lookup *
find_place(HttpClient *client, Oid role)
{
	int64		now = now_ms();
	Lookup	   *place = NULL;
	int			taken = 0;
	int			threads = 0;
	int			its = 0;
	int			its_threads = 0;

	for (int i = 0; i < MAX_LOOKUPS; i++)
	{
		Lookup	   *lookup = &client->lookups[i];

		if (lookup->until <= now)
		{
			place = lookup;
			continue;
		}
		taken++;
		threads += lookup->has_thread;
		if (lookup->role != role)
			continue;
		its++;
		its_threads += lookup->has_thread;
	}
	if (its * FREE_FOR_EACH >= MAX_LOOKUPS - taken ||
		its_threads * FREE_FOR_EACH >= MAX_THREADS - threads)
		return NULL;
	return place;
}

/*
 * Whether this role may have another look-up now.
 */
bool
lookup_has_place(HttpClient *client, Oid role)
{
	return find_place(client, role) != NULL;
}

/*
 * Begin a look-up for this role. NULL: it may have none now.
 */
Lookup *
lookup_begin(HttpClient *client, Oid role)
{
	Lookup	   *lookup = find_place(client, role);

	if (lookup == NULL)
		return NULL;
	lookup->role = role;
	lookup->has_thread = true;
	lookup->until = PG_INT64_MAX;
	return lookup;
}

/*
 * Something has been found, or nothing, or nobody waits for it any more.
 */
void
lookup_end(Lookup *lookup, bool failed, bool abandoned)
{
	lookup->has_thread = abandoned;
	lookup->until = abandoned ? now_ms() + ABANDONED_MS :
		failed ? 0 : now_ms() + ADDRESSES_KEPT_S * 1000;
}
