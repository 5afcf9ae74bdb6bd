/*-------------------------------------------------------------------------
 *
 * heavies.c
 *	  Owners whose requests take long to be worked on.
 *
 * An answer of many MB takes a second to be read, and so does the request that it is for to
 * be put together. What is large is heavy, and so is all that is of an owner of whom
 * something has taken long that was not. What is heavy is worked on in turn, by owner:
 * whoever has had his turn longest ago is next. After each turn, all of it leaves others
 * as much time: so these wait for one such thing, not for one of each owner, and nobody
 * who has something heavy in honest use waits longer than it takes to go round.
 *
 * Rounds are those of the runner's loop. Lives as long as the process. Times are those of
 * clock_now().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "runner/heavies.h"
#include "utils/memutils.h"

/*
 * What takes longer than this, in microseconds, or has in a round, is more than others may
 * be asked to wait for without having as much themselves.
 */
#define LONG_WORK (50 * US_PER_MS)

/* How long all of an owner is heavy, after something that took so long. */
#define HEAVY_FOR (10 * US_PER_S)

/* How long the last turn of an owner is known, after he has waited for another. */
#define KNOWN_FOR (60 * US_PER_S)

typedef struct Heavy
{
	Oid			owner;			/* the key */
	int64		heavy_until;	/* all that he has is heavy until then */
	int64		last;			/* when he had his last turn; 0: never */
	int64		known_until;	/* this is forgotten then */
	int64		waited_in;		/* the last round in which he waited for one */
	char		status;			/* for simplehash.h */
} Heavy;

#define SH_PREFIX heavy_table
#define SH_ELEMENT_TYPE Heavy
#define SH_KEY_TYPE Oid
#define SH_KEY owner
#define SH_HASH_KEY(tb, key) murmurhash32(key)
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct Heavies
{
	heavy_table_hash *by_owner;
	int64		round;			/* their number, from 1 */
	int64		spent;			/* on what is heavy, in this one, in
								 * microseconds */
	int64		next;			/* the turn is of those whose last one was no
								 * later than this */
	bool		resting;		/* others have the time, */
	int64		rest_until;		/* until then, */
	int64		rest_round;		/* and have had it since this round */
};

Heavies *
heavies_create(void)
{
	Heavies    *heavies = MemoryContextAllocZero(TopMemoryContext,
												 sizeof(Heavies));

	heavies->by_owner = heavy_table_create(TopMemoryContext, 16, NULL);
	return heavies;
}

/*
 * A round begins: of those who waited in the last one, or in the rest that ends now,
 * whoever had his last turn first is next. Call this before it is looked for what may be
 * done again now.
 */
void
heavies_begin_round(Heavies *heavies, int64 now)
{
	bool		ends = heavies->resting && heavies->rest_until <= now;
	int64		since = ends ? heavies->rest_round : heavies->round;
	heavy_table_iterator iterator;
	Heavy	   *heavy;

	heavies->resting = heavies->rest_until > now;
	heavies->next = PG_INT64_MAX;
	heavy_table_start_iterate(heavies->by_owner, &iterator);
	while ((heavy = heavy_table_iterate(heavies->by_owner, &iterator)) != NULL)
	{
		if (heavy->known_until <= now)
			heavy_table_delete_item(heavies->by_owner, heavy);
		else if (heavy->waited_in >= since)
			heavies->next = Min(heavies->next, heavy->last);
	}
	heavies->round++;
	heavies->spent = 0;
}

/*
 * Whether all that this owner has is heavy.
 */
bool
heavies_has(Heavies *heavies, Oid owner, int64 now)
{
	Heavy	   *heavy = heavy_table_lookup(heavies->by_owner, owner);

	return heavy != NULL && heavy->heavy_until > now;
}

static Heavy *
find_or_add(Heavies *heavies, Oid owner, int64 now)
{
	bool		found;
	Heavy	   *heavy = heavy_table_insert(heavies->by_owner, owner, &found);

	if (!found)
	{
		heavy->heavy_until = 0;
		heavy->last = 0;
		heavy->waited_in = 0;
	}
	heavy->known_until = now + KNOWN_FOR;
	return heavy;
}

/*
 * When it may be looked again whether it is the turn of this owner, who has something
 * heavy; 0: it is.
 */
int64
heavies_next_turn(Heavies *heavies, Oid owner, int64 now)
{
	Heavy	   *heavy = find_or_add(heavies, owner, now);

	heavy->waited_in = heavies->round;
	if (heavies->resting)
		return Max(heavies->rest_until, now);
	return heavy->last <= heavies->next && heavies->spent <= LONG_WORK ? 0 : now;
}

/*
 * So long has been worked on something of this owner, which was heavy, or not, and large,
 * or not. Shared: others have something to be worked on, too.
 */
void
heavies_spend(Heavies *heavies, Oid owner, int64 took, bool heavy, bool large,
			  bool shared, int64 now)
{
	Heavy	   *its;

	if (!heavy && took <= LONG_WORK)
		return;
	its = find_or_add(heavies, owner, now);
	its->last = now;
	if (!large && took > LONG_WORK)
		its->heavy_until = now + HEAVY_FOR;
	heavies->spent += took;
	if (shared && heavies->spent > LONG_WORK)
	{
		heavies->resting = true;
		heavies->rest_until = now + heavies->spent;
		heavies->rest_round = heavies->round;
	}
}
