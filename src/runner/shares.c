/*-------------------------------------------------------------------------
 *
 * shares.c
 *	  Whose runs are in flight.
 *
 * Counts the flights of each owner, and what they hold in memory, so that none
 * can take it all: an owner has at most agno_bg.max_runs_per_role runs in
 * flight, or nine tenths of agno_bg.max_concurrent_runs, and no more bytes than
 * OWNER_BYTES unless one run alone has them. Who comes next is the business of
 * pick.c.
 *
 * The counts live as long as the process; owned by the fleet.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "core/clock.h"
#include "runner/shares.h"
#include "server/settings.h"
#include "utils/memutils.h"

/*
 * How much of what was handed in with the runs of one owner may be in flight,
 * in bytes. It takes several times as much memory.
 */
#define OWNER_BYTES (INT64CONST(128) * 1024 * 1024)

/*
 * After this time, in microseconds, what an owner has used counts for half. Who has used less
 * than that lately has his turn though others have had all of its time.
 */
#define HALF_LIFE (US_PER_S / 4)
#define LITTLE_USED (5 * US_PER_MS)

/* What an owner has taken of things of a kind. */
typedef struct Taken
{
	int64		round;			/* of shares_take(), */
	int			things;			/* how many they are in it, */
	int64		bytes;			/* and how large */
} Taken;

typedef struct Share
{
	Oid			owner;			/* the key */
	int			in_flight;		/* runs */
	int64		bytes;			/* of what was handed in with them */
	Taken		taken[OWNER_WORKS]; /* by kind */
	int64		turn;			/* of shares_has_time(), */
	int64		spent;			/* and the time spent in it, in microseconds */
	int64		used;			/* the time spent lately, */
	int64		used_at;		/* as of then, by clock_now() */
	char		status;			/* for simplehash.h */
} Share;

#define SH_PREFIX share_table
#define SH_ELEMENT_TYPE Share
#define SH_KEY_TYPE Oid
#define SH_KEY owner
#define SH_HASH_KEY(tb, key) murmurhash32(key)
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct Shares
{
	share_table_hash *by_owner; /* those who have runs in flight */
	int64		turn;			/* the last one of shares_has_time(), */
	int64		spent;			/* and the time spent in it on all of them */
};

Shares *
shares_create(void)
{
	Shares	   *shares = MemoryContextAllocZero(TopMemoryContext, sizeof(Shares));

	shares->by_owner = share_table_create(TopMemoryContext, 16, NULL);
	return shares;
}

void
shares_free(Shares *shares)
{
	share_table_destroy(shares->by_owner);
	pfree(shares);
}

/*
 * A run of this owner is in flight now.
 */
void
shares_add(Shares *shares, Oid owner, int64 bytes)
{
	bool		found;
	Share	   *share = share_table_insert(shares->by_owner, owner, &found);

	if (!found)
	{
		share->in_flight = 0;
		share->bytes = 0;
		memset(share->taken, 0, sizeof(share->taken));
		share->turn = 0;
		share->used = 0;
		share->used_at = 0;
	}
	share->in_flight++;
	share->bytes += bytes;
}

/*
 * It is not any more.
 */
void
shares_remove(Shares *shares, Oid owner, int64 bytes)
{
	Share	   *share = share_table_lookup(shares->by_owner, owner);

	Assert(share != NULL);
	share->bytes -= bytes;
	if (--share->in_flight == 0)
		share_table_delete(shares->by_owner, owner);
}

/*
 * How many runs of this owner are in flight.
 */
int
shares_count(Shares *shares, Oid owner)
{
	Share	   *share = share_table_lookup(shares->by_owner, owner);

	return share != NULL ? share->in_flight : 0;
}

/*
 * Let an owner with runs in flight take one thing of this kind, of so many bytes, if that
 * is within its part: things of a number, and of bytes, that are divided among owners.
 * Each round, known by a number other than 0, begins anew. Returns whether it has been
 * taken.
 */
bool
shares_take(Shares *shares, Oid owner, OwnerWork work, int64 round, int64 bytes,
			int part, int64 part_bytes)
{
	Share	   *share = share_table_lookup(shares->by_owner, owner);
	Taken	   *taken;

	if (share == NULL)
		return true;
	taken = &share->taken[work];
	if (taken->round != round)
	{
		taken->round = round;
		taken->things = 0;
		taken->bytes = 0;
	}
	if (taken->things >= part || taken->bytes + bytes > part_bytes)
		return false;
	taken->things++;
	taken->bytes += bytes;
	return true;
}

/*
 * How much time has been spent lately on an owner.
 */
static int64
used_lately(Share *share, int64 now)
{
	int64		halvings = Min((now - share->used_at) / HALF_LIFE, 62);

	share->used >>= halvings;
	share->used_at = share->used == 0 ? now :
		share->used_at + halvings * HALF_LIFE;
	return share->used;
}

/*
 * Whether an owner with runs in flight has time left in this turn, known by its number
 * from 1: his part of it, if others have left him any, or he has used little lately.
 */
bool
shares_has_time(Shares *shares, Oid owner, int64 turn)
{
	Share	   *share = share_table_lookup(shares->by_owner, owner);

	Assert(share != NULL);
	if (shares->turn != turn)
	{
		shares->turn = turn;
		shares->spent = 0;
	}
	if (share->turn != turn)
	{
		share->turn = turn;
		share->spent = 0;
	}
	return share->spent < ALL_TURN / shares_owners(shares) &&
		(shares->spent < ALL_TURN ||
		 used_lately(share, clock_now()) < LITTLE_USED);
}

/*
 * So much time, in microseconds, has been spent on an owner.
 */
void
shares_spend(Shares *shares, Oid owner, int64 time)
{
	Share	   *share = share_table_lookup(shares->by_owner, owner);

	shares->spent += time;
	if (share != NULL)
	{
		share->spent += time;
		share->used = used_lately(share, clock_now()) + time;
	}
}

/*
 * How many owners have runs in flight.
 */
int
shares_owners(Shares *shares)
{
	return (int) shares->by_owner->members;
}

/*
 * How many runs one owner may have in flight.
 */
int
shares_limit(void)
{
	int			all = agno_max_concurrent_runs;

	if (agno_max_runs_per_role > 0)
		return Min(agno_max_runs_per_role, all);
	return all - all / 10;
}

static bool
is_full(const Share *share, int bound)
{
	return share->in_flight >= bound || share->bytes >= OWNER_BYTES;
}

/*
 * Whether this owner has so many runs in flight already, or too large ones.
 */
bool
shares_is_full(Shares *shares, Oid owner, int bound)
{
	Share	   *share = share_table_lookup(shares->by_owner, owner);

	return share != NULL && is_full(share, bound);
}

/*
 * Those owners, in palloc'd memory.
 */
Oid *
shares_full_owners(Shares *shares, int bound, int *count)
{
	Oid		   *owners = palloc(sizeof(Oid) * Max(shares_owners(shares), 1));
	share_table_iterator iterator;
	Share	   *share;

	*count = 0;
	share_table_start_iterate(shares->by_owner, &iterator);
	while ((share = share_table_iterate(shares->by_owner, &iterator)) != NULL)
	{
		if (is_full(share, bound))
			owners[(*count)++] = share->owner;
	}
	return owners;
}
