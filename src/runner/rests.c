/*-------------------------------------------------------------------------
 *
 * rests.c
 *	  Owners who let others go first for a while.
 *
 * What takes long in a turn although it is a single thing of one owner, and cannot
 * be cut any smaller, is not done again for that owner before others have had as
 * much of the runner's time: so nobody has more than half of it.
 *
 * Lives as long as the process. Times are those of clock_now().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "core/clock.h"
#include "runner/rests.h"
#include "utils/memutils.h"

typedef struct Rest
{
	Oid			owner;			/* the key */
	int64		until;			/* when it is over */
	char		status;			/* for simplehash.h */
} Rest;

#define SH_PREFIX rest_table
#define SH_ELEMENT_TYPE Rest
#define SH_KEY_TYPE Oid
#define SH_KEY owner
#define SH_HASH_KEY(tb, key) murmurhash32(key)
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct Rests
{
	rest_table_hash *by_owner;	/* those who rest, or did until just now */
};

Rests *
rests_create(void)
{
	Rests	   *rests = MemoryContextAlloc(TopMemoryContext, sizeof(Rests));

	rests->by_owner = rest_table_create(TopMemoryContext, 16, NULL);
	return rests;
}

void
rests_begin(Rests *rests, Oid owner, int64 until)
{
	bool		found;
	Rest	   *rest = rest_table_insert(rests->by_owner, owner, &found);

	rest->until = found ? Max(rest->until, until) : until;
}

bool
rests_has(Rests *rests, Oid owner, int64 now)
{
	Rest	   *rest = rest_table_lookup(rests->by_owner, owner);

	return rest != NULL && rest->until > now;
}

/*
 * Those who rest, in palloc'd memory. The others are forgotten.
 */
Oid *
rests_owners(Rests *rests, int64 now, int *count)
{
	Oid		   *owners = palloc(sizeof(Oid) * (rests->by_owner->members + 1));
	rest_table_iterator iterator;
	Rest	   *rest;

	*count = 0;
	rest_table_start_iterate(rests->by_owner, &iterator);
	while ((rest = rest_table_iterate(rests->by_owner, &iterator)) != NULL)
	{
		if (rest->until > now)
			owners[(*count)++] = rest->owner;
		else
			rest_table_delete_item(rests->by_owner, rest);
	}
	return owners;
}

/*
 * When somebody may go on who rests now: NEVER if nobody does.
 */
int64
rests_next_end(Rests *rests, int64 now)
{
	int64		next = NEVER;
	rest_table_iterator iterator;
	Rest	   *rest;

	rest_table_start_iterate(rests->by_owner, &iterator);
	while ((rest = rest_table_iterate(rests->by_owner, &iterator)) != NULL)
	{
		if (rest->until > now)
			next = Min(next, rest->until);
	}
	return next;
}
