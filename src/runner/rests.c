/*-------------------------------------------------------------------------
 *
 * rests.c
 *	  Owners who let others go first for a while.
 *
 * Of an owner whose things take long, so many are done at once as fit into a slice of
 * time. What takes longer, although it is a single thing, is not done again for that
 * owner before others have had as much of the runner's time: so nobody has more than
 * half of it.
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

/* How long it is known that an owner's things take long, in microseconds. */
#define KNOWN_FOR (60 * US_PER_S)

typedef struct Rest
{
	Oid			owner;			/* the key */
	int64		until;			/* when it is over */
	int			limit;			/* how many of the owner's things are done at
								 * once, */
	int64		known_until;	/* and how long that is known */
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
	rest_table_hash *by_owner;	/* those who rest, or whose things take long */
};

Rests *
rests_create(void)
{
	Rests	   *rests = MemoryContextAlloc(TopMemoryContext, sizeof(Rests));

	rests->by_owner = rest_table_create(TopMemoryContext, 16, NULL);
	return rests;
}

static Rest *
find_or_add(Rests *rests, Oid owner)
{
	bool		found;
	Rest	   *rest = rest_table_insert(rests->by_owner, owner, &found);

	if (!found)
	{
		rest->until = 0;
		rest->limit = PG_INT32_MAX;
		rest->known_until = 0;
	}
	return rest;
}

void
rests_begin(Rests *rests, Oid owner, int64 until)
{
	Rest	   *rest = find_or_add(rests, owner);

	rest->until = Max(rest->until, until);
}

/*
 * So many things of this owner have taken so long, in microseconds, and may take a
 * slice at once.
 */
void
rests_note(Rests *rests, Oid owner, int things, int64 took, int64 slice,
		   int64 now)
{
	int64		fit = Max(things * slice / Max(took, 1), 1);
	Rest	   *rest = rest_table_lookup(rests->by_owner, owner);

	if (rest == NULL && fit >= things)
		return;
	rest = find_or_add(rests, owner);
	if (fit < things)
		rest->limit = (int) fit;
	else if (things >= rest->limit)
		rest->limit = (int) Min(fit, INT64CONST(2) * rest->limit);
	rest->known_until = now + KNOWN_FOR;
}

/*
 * How many things of this owner are to be done at once, but no more than most.
 */
int
rests_limit(Rests *rests, Oid owner, int most)
{
	Rest	   *rest = rest_table_lookup(rests->by_owner, owner);

	return rest != NULL ? Min(rest->limit, most) : most;
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
		else if (rest->known_until <= now)
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
