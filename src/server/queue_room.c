/*-------------------------------------------------------------------------
 *
 * queue_room.c
 *	  How many runs there may be in the queues of databases, and of their roles, as far as is
 *	  known.
 *
 * To count them takes as long as the table is large, and what is dead is in it, too. So what
 * one session has counted is known to all of its database, and so is how many have been
 * accepted since then, whether they are still there or not, and how many have been in
 * transactions that are open: there are no more than that. One session counts anew when half
 * of the room has been taken, while others go on. What is prepared is not there yet, and may
 * never be: of all, it is counted when the count is old; a role has to count itself.
 *
 * This never looks at a table.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "core/clock.h"
#include "miscadmin.h"
#include "server/queue_room.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/memutils.h"

/*
 * For how many queues, of databases and of roles, something is known, and how many places
 * one may have, in which it looks for its own, or one that nobody needs.
 */
#define ROOMS 2048
#define PLACES 8

/*
 * A count is good for so long, as rows may come in other ways, of transactions that are
 * prepared for one; and a session has so long for it before another one may begin; in
 * microseconds.
 */
#define KNOWN_FOR (10 * US_PER_MINUTE)
#define KNOWN_FOR_PREPARED (10 * US_PER_S)
#define COUNTS_FOR (10 * US_PER_S)

/* What is known of one queue. Guarded by the lock. */
typedef struct Room
{
	Oid			database;		/* or InvalidOid: of none */
	Oid			owner;			/* of the runs, or InvalidOid: all of it */
	uint64		birth;			/* since when it is this one's place */
	int64		open;			/* runs that transactions have accepted that
								 * are open: it stays here while there are any */
	int64		accepted;		/* of all that have been here and committed */
	int64		base;			/* there are no more runs than that, and what
								 * is open and has been accepted */
	int64		room;			/* that there was when they were counted */
	int64		known_until;	/* that is good until then, by clock_now(); 0:
								 * they have not been */
	int64		counting_until; /* a session counts them until then */
} Room;

typedef struct Rooms
{
	slock_t		lock;
	uint64		births;			/* how many times a place has been given */
	Room		rooms[ROOMS];
} Rooms;

/* In shared memory. */
static Rooms *shared;

/*
 * For shmem_request_hook.
 */
void
queue_room_request_memory(void)
{
	RequestAddinShmemSpace(sizeof(Rooms));
}

/*
 * For shmem_startup_hook: create it, or find it.
 */
void
queue_room_startup(void)
{
	bool		found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("agno_bg queue room", sizeof(Rooms), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(Rooms));
		SpinLockInit(&shared->lock);
	}
	LWLockRelease(AddinShmemInitLock);
}

/*
 * What a transaction, or a subtransaction, has accepted of one role, or of all, as it is in
 * Room.open. In TopTransactionContext.
 */
typedef struct Taken
{
	struct Taken *next;			/* of no outer level */
	int			level;			/* of nesting */
	Oid			owner;			/* or InvalidOid: of all */
	int64		runs;			/* 0: there was no place for them */
} Taken;

/* Those of this session, the innermost ones first. */
static Taken *all_taken;

/*
 * Whether this place can be had for a queue, of all or of one role: what is open stays, and
 * what is known of all is not given up for a role.
 */
static bool
is_unneeded(const Room *room, Oid owner)
{
	return room->open == 0 &&
		(!OidIsValid(owner) || !OidIsValid(room->database) ||
		 OidIsValid(room->owner));
}

/*
 * The place of a queue of this database, or one that nobody needs, of those the one that has
 * been known for longest; NULL if there is none. The caller has the lock.
 */
static Room *
find_room(Oid owner)
{
	uint32		hash = hash_combine(murmurhash32(MyDatabaseId),
									murmurhash32(owner));
	Room	   *unneeded = NULL;

	for (int i = 0; i < PLACES; i++)
	{
		Room	   *room = &shared->rooms[(hash + i) % ROOMS];

		if (room->database == MyDatabaseId && room->owner == owner)
			return room;
		if (is_unneeded(room, owner) &&
			(unneeded == NULL || room->known_until < unneeded->known_until))
			unneeded = room;
	}
	if (unneeded != NULL)
	{
		memset(unneeded, 0, sizeof(Room));
		unneeded->database = MyDatabaseId;
		unneeded->owner = owner;
		unneeded->birth = ++shared->births;
	}
	return unneeded;
}

/*
 * How many runs of this queue this transaction has accepted, as others know, too.
 */
static int64
own_runs(Oid owner)
{
	int64		runs = 0;

	for (Taken *its = all_taken; its != NULL; its = its->next)
	{
		if (its->owner == owner)
			runs += its->runs;
	}
	return runs;
}

/*
 * What has been accepted is not open any more. event: what has become of it.
 */
static void
close_taken(const Taken *its, XactEvent event)
{
	int64		now = clock_now();
	Room	   *room;

	if (its->runs == 0)
		return;
	SpinLockAcquire(&shared->lock);
	/* Its place is there, as there is something open. */
	room = find_room(its->owner);
	room->open -= its->runs;

	/*
	 * What is rolled back again and again is not to have others count each
	 * time.
	 */
	if (event == XACT_EVENT_PREPARE && !OidIsValid(its->owner))
		room->known_until = Min(room->known_until, now + KNOWN_FOR_PREPARED);
	else if (event != XACT_EVENT_ABORT)
		room->accepted += its->runs;
	SpinLockRelease(&shared->lock);
}

/*
 * They are there for others to see, or will not be. Whoever counts between that and this
 * counts them twice, rather than not at all.
 */
static void
end_transaction(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_PREPARE &&
		event != XACT_EVENT_ABORT)
		return;
	for (Taken *its = all_taken; its != NULL; its = its->next)
		close_taken(its, event);
	all_taken = NULL;
}

/*
 * Of those from this one on, what this level has accepted of a role; NULL if nothing.
 */
static Taken *
find_taken(Taken *from, int level, Oid owner)
{
	for (Taken *its = from; its != NULL && its->level >= level; its = its->next)
	{
		if (its->level == level && its->owner == owner)
			return its;
	}
	return NULL;
}

/*
 * What a subtransaction has accepted is its parent's, or is rolled back.
 */
static void
end_subtransaction(SubXactEvent event, SubTransactionId my_id,
				   SubTransactionId parent_id, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();
	Taken	  **link = &all_taken;

	if (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB)
		return;
	while (*link != NULL && (*link)->level >= level)
	{
		Taken	   *its = *link;
		Taken	   *outer = NULL;

		if (event == SUBXACT_EVENT_ABORT_SUB)
			close_taken(its, XACT_EVENT_ABORT);
		else
		{
			its->level = level - 1;
			outer = find_taken(its->next, level - 1, its->owner);
			if (outer == NULL)
			{
				link = &its->next;
				continue;
			}
			outer->runs += its->runs;
		}
		*link = its->next;
		pfree(its);
	}
}

/*
 * A run is open, of this role, or of any. Returns whether there is a place to note it: else
 * it is known once it is counted.
 */
static bool
open_run(Oid owner)
{
	Room	   *room;

	SpinLockAcquire(&shared->lock);
	room = find_room(owner);
	if (room != NULL)
		room->open++;
	SpinLockRelease(&shared->lock);
	return room != NULL;
}

/*
 * A run of this role, or of any, is accepted by this level.
 */
static void
take(int level, Oid owner)
{
	Taken	   *its = find_taken(all_taken, level, owner);

	if (its == NULL)
	{
		its = MemoryContextAllocZero(TopTransactionContext, sizeof(Taken));
		its->next = all_taken;
		its->level = level;
		its->owner = owner;
		all_taken = its;
	}
	if (open_run(owner))
		its->runs++;
}

/*
 * A run of this role is accepted by this transaction.
 */
void
queue_room_take(Oid owner)
{
	static bool registered;
	int			level = GetCurrentTransactionNestLevel();

	if (!registered)
	{
		RegisterXactCallback(end_transaction, NULL);
		RegisterSubXactCallback(end_subtransaction, NULL);
		registered = true;
	}
	take(level, InvalidOid);
	take(level, owner);
}

/*
 * How many more there may be than there are, at least. The caller has the lock.
 */
static int64
room_left(const Room *room, int most)
{
	return most - room->base - room->accepted - room->open;
}

/*
 * Whether there are fewer runs than most in any case, of this role, or of all if it is
 * invalid. *to_count: the caller is to count them, and say how many there are: it must, if
 * there may be as many.
 */
bool
queue_room_is_there(Oid owner, int most, QueueCount *count, bool *to_count)
{
	int64		now = clock_now();
	int64		own = own_runs(owner);
	Room	   *room;
	bool		is_there = false;

	count->owner = owner;
	count->most = most;
	count->birth = 0;
	*to_count = true;
	SpinLockAcquire(&shared->lock);
	room = find_room(owner);
	if (room != NULL)
	{
		int64		left = room_left(room, most);

		is_there = left > 0 && room->known_until != 0;
		count->birth = room->birth;
		count->accepted = room->accepted + own;
		*to_count = !is_there ||
			((left < room->room / 2 || room->known_until < now) &&
			 room->counting_until <= now);
		if (*to_count)
			room->counting_until = now + COUNTS_FOR;
	}
	SpinLockRelease(&shared->lock);
	return is_there;
}

/*
 * There were so many runs when this count began, or at least so many if it was cut off, as
 * others may be allowed more. Returns whether there are fewer than it asked about.
 */
bool
queue_room_counted(const QueueCount *count, int64 runs)
{
	int64		now = clock_now();
	bool		is_there = runs < count->most;
	Room	   *room;

	SpinLockAcquire(&shared->lock);
	room = find_room(count->owner);
	/* Somebody else may have had its place meanwhile. */
	if (room != NULL && room->birth == count->birth)
	{
		room->counting_until = 0;
		if (runs < count->most)
		{
			room->base = runs - count->accepted;
			room->room = count->most - runs;
			room->known_until = now + KNOWN_FOR;
			is_there = room_left(room, count->most) > 0;
		}
		else
			room->base = Max(room->base, runs - count->accepted);
	}
	SpinLockRelease(&shared->lock);
	return is_there;
}
