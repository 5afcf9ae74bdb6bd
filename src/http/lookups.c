/*-------------------------------------------------------------------------
 *
 * lookups.c
 *	  How many names are looked up, and kept, for whom.
 *
 * A look-up has a thread of libcurl's, which lives on when nobody waits for it any more,
 * and what it finds is kept for a while, however much that is: both are the process's,
 * whose threads and memory all roles share. So there is a place for each. A role has as
 * many of them as leave twice that free: however many the first who come would have, who
 * comes later still finds one. For names of which it is known that they take long it has
 * half of that, so that they do not stop its others.
 *
 * This does not know what the names are, nor what comes of them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "http/http_internal.h"

/*
 * How many must be free for each that a role has; and for each that it has when it wants
 * one for a name that takes long.
 */
#define FREE_FOR_EACH 2
#define FREE_FOR_SLOW 4

/*
 * How long a thread that nobody waits for is taken to live on, in milliseconds: by
 * default, the C library asks each of up to three name servers twice, for 5 s.
 */
#define ABANDONED_MS 30000

/*
 * A place that is free for another look-up of this role; NULL: it has to wait.
 */
static Lookup *
find_place(HttpClient *client, Oid role, bool slow)
{
	int			free_for_each = slow ? FREE_FOR_SLOW : FREE_FOR_EACH;
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
	if (its * free_for_each >= MAX_LOOKUPS - taken ||
		its_threads * free_for_each >= MAX_LOOKUP_THREADS - threads)
		return NULL;
	return place;
}

/*
 * Whether this role may have another look-up now, of a name that takes long, or not.
 */
bool
lookup_has_place(HttpClient *client, Oid role, bool slow)
{
	return find_place(client, role, slow) != NULL;
}

/*
 * Begin such a look-up for this role. NULL: it may have none now.
 */
Lookup *
lookup_begin(HttpClient *client, Oid role, bool slow)
{
	Lookup	   *lookup = find_place(client, role, slow);

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
