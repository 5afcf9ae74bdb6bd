/*-------------------------------------------------------------------------
 *
 * rests.c
 *	  Owners whose things take long.
 *
 * An owner whose things take long is slow for a while: they are done in turns of their
 * own, as many at once as fit into a slice of time. Who has had the runner for longer
 * than that rests, so that others have as much of its time: nobody has more than half.
 *
 * Lives as long as the process. Times are those of clock_now().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "runner/rests.h"
#include "utils/memutils.h"

/* How long an owner is slow, after things that took long. */
#define SLOW_FOR (60 * US_PER_S)

#define LONGEST_REST (10 * US_PER_S)

typedef struct Rest
{
	Oid			owner;			/* the key */
	int64		until;			/* when it is over */
	int64		slow_until;		/* the owner is slow until then: */
	int			limit[OWNER_WORKS]; /* so many things are done at once */
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
		rest->slow_until = 0;
		for (int work = 0; work < OWNER_WORKS; work++)
			rest->limit[work] = PG_INT32_MAX;
	}
	return rest;
}

/*
 * So many things of this owner have taken so long, in microseconds: too long in any case,
 * or so it is found out.
 */
void
rests_note(Rests *rests, Oid owner, OwnerWork work, int things, int64 took,
		   bool too_long, int64 now)
{
	int			fit = (int) Max(things * OWNER_SLICE / Max(took, 1), 1);
	Rest	   *rest;

	if (too_long || (took > OWNER_SLICE && took > things * SLOW_THING))
	{
		rest = find_or_add(rests, owner);
		rest->slow_until = now + SLOW_FOR;
		rest->limit[work] = fit;
		return;
	}
	rest = rest_table_lookup(rests->by_owner, owner);
	if (rest != NULL && things >= rest->limit[work])
		rest->limit[work] = (int) Min(fit, INT64CONST(2) * rest->limit[work]);
}

/*
 * The runner has worked for so long for this owner, in microseconds: who has had more
 * than a slice rests.
 */
void
rests_begin(Rests *rests, Oid owner, int64 took, int64 now)
{
	Rest	   *rest;

	if (took <= OWNER_SLICE)
		return;
	rest = find_or_add(rests, owner);
	rest->until = Max(rest->until, now + Min(took, LONGEST_REST));
}

bool
rests_has(Rests *rests, Oid owner, int64 now)
{
	Rest	   *rest = rest_table_lookup(rests->by_owner, owner);

	return rest != NULL && rest->until > now;
}

/*
 * Whether this owner's things are done in turns of their own.
 */
bool
rests_is_slow(Rests *rests, Oid owner, int64 now)
{
	Rest	   *rest = rest_table_lookup(rests->by_owner, owner);

	return rest != NULL && rest->slow_until > now;
}

/*
 * How many such things of this owner, who is slow, are done at once; no more than most.
 */
int
rests_limit(Rests *rests, Oid owner, OwnerWork work, int most)
{
	Rest	   *rest = rest_table_lookup(rests->by_owner, owner);

	return rest != NULL ? Min(rest->limit[work], most) : most;
}

/*
 * Those who rest, or those who are slow and do not rest, in palloc'd memory. Those who
 * are neither are forgotten.
 */
Oid *
rests_owners(Rests *rests, RestState state, int64 now, int *count)
{
	Oid		   *owners = palloc(sizeof(Oid) * (rests->by_owner->members + 1));
	rest_table_iterator iterator;
	Rest	   *rest;

	*count = 0;
	rest_table_start_iterate(rests->by_owner, &iterator);
	while ((rest = rest_table_iterate(rests->by_owner, &iterator)) != NULL)
	{
		bool		resting = rest->until > now;

		if (!resting && rest->slow_until <= now)
			rest_table_delete_item(rests->by_owner, rest);
		else if (resting == (state == REST_RESTING))
			owners[(*count)++] = rest->owner;
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
