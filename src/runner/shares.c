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
 * How long pieces of answers, and answers, may be worked on in a turn of the loop, and as
 * long what is sent, in microseconds, for all owners. A handshake takes eight turns, so that
 * is little; but no less than a commit takes, or the time would go by with these; and
 * more if nobody else waits.
 */
#define LEAST_TURN (5 * US_PER_MS)
#define MOST_TURN (20 * US_PER_MS)

/*
 * After this time, in microseconds, what has been used counts for half. Who has used less
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

/* The time that has been spent lately, in microseconds: that is halved again and again. */
typedef struct Used
{
	int64		time;
	int64		at;				/* as of then, by clock_now() */
} Used;

typedef struct Share
{
	Oid			owner;			/* the key */
	int			in_flight;		/* runs */
	int64		bytes;			/* of what was handed in with them */
	Taken		taken[OWNER_WORKS]; /* by kind */
	int64		turn;			/* of shares_has_time(), */
	int64		spent;			/* and the time spent in it, in microseconds */
	Used		used;			/* and the time spent lately */
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
	int64		commit;			/* what the last one took, in microseconds */
	int64		turn;			/* the last one of shares_has_time(), */
	int64		time;			/* how long it may be, */
	int64		spent;			/* and the time spent in it on all of them; */
	Used		used;			/* and the time spent on all lately, */
	int			busy;			/* on so many of them more than little, */
	int64		busy_at;		/* as of then, by clock_now() */
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
		memset(&share->used, 0, sizeof(share->used));
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
 * Of the time that was spent as of then, what counts now.
 */
static int64
lately(Used *used, int64 now)
{
	int64		halvings = Min((now - used->at) / HALF_LIFE, 62);

	used->time >>= halvings;
	used->at = used->time == 0 ? now : used->at + halvings * HALF_LIFE;
	return used->time;
}

/*
 * Count on how many owners more than little has been spent lately: who only waits for a
 * server has no part in it. There may be thousands of those, so it is not done more often
 * than anybody can have become one.
 */
static void
count_busy(Shares *shares)
{
	int64		now = clock_now();
	share_table_iterator iterator;
	Share	   *share;

	if (now - shares->busy_at < LITTLE_USED)
		return;
	shares->busy_at = now;
	shares->busy = 0;
	share_table_start_iterate(shares->by_owner, &iterator);
	while ((share = share_table_iterate(shares->by_owner, &iterator)) != NULL)
	{
		if (lately(&share->used, now) >= LITTLE_USED)
			shares->busy++;
	}
}

/*
 * Whether little has been spent lately on an owner, or less than on those, on average, on
 * whom it was more.
 */
static bool
has_used_little(Shares *shares, Share *share)
{
	int64		now = clock_now();
	int64		used = lately(&share->used, now);

	return used < LITTLE_USED ||
		used < lately(&shares->used, now) / Max(shares->busy, 1);
}

/*
 * The last commit of the runner took so long, in microseconds.
 */
void
shares_note_commit(Shares *shares, int64 took)
{
	shares->commit = took;
}

static int64
turn_time(Shares *shares)
{
	if (shares_owners(shares) == 1)
		return MOST_TURN;
	return Min(Max(shares->commit, LEAST_TURN), MOST_TURN);
}

/*
 * Whether an owner with runs in flight has time left in this turn, known by its number
 * from 1: if others have left him any, or else as much again if he has used less than they
 * lately. So whoever comes first does not matter for long.
 */
bool
shares_has_time(Shares *shares, Oid owner, int64 turn)
{
	Share	   *share = share_table_lookup(shares->by_owner, owner);

	Assert(share != NULL);
	if (shares->turn != turn)
	{
		shares->turn = turn;
		shares->time = turn_time(shares);
		shares->spent = 0;
		count_busy(shares);
	}
	if (share->turn != turn)
	{
		share->turn = turn;
		share->spent = 0;
	}
	return shares->spent < shares->time ||
		(share->spent < shares->time && has_used_little(shares, share));
}

/*
 * So much time, in microseconds, has been spent on an owner.
 */
void
shares_spend(Shares *shares, Oid owner, int64 time)
{
	Share	   *share = share_table_lookup(shares->by_owner, owner);
	int64		now = clock_now();

	shares->spent += time;
	shares->used.time = lately(&shares->used, now) + time;
	if (share == NULL)
		return;
	share->spent += time;
	share->used.time = lately(&share->used, now) + time;
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
