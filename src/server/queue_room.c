/*-------------------------------------------------------------------------
 *
 * queue_room.c
 *	  How many runs there may be in the queues of databases, as far as is known.
 *
 * To count them takes as long as the table is large, and what is dead is in it, too. So what
 * one session has counted is known to all of its database, and so is how many have been
 * accepted and committed since then, whether they are still there or not: there are no more
 * than that. One session counts anew when half of the room has been taken, while others go
 * on. What is prepared is not there yet, and may never be: it is counted when it is old.
 *
 * This never looks at a table, and says nothing of the runs of one role.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "core/clock.h"
#include "miscadmin.h"
#include "server/queue_room.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/memutils.h"

/*
 * Of how many databases something is known, and how many places a database may have, in
 * which it looks for its own, or one that is free. It takes its first place from another
 * one if there is none.
 */
#define ROOMS 256
#define PLACES 8

/*
 * A count is good for so long, as rows may come in other ways, of transactions that are
 * prepared for one; and a session has so long for it before another one may begin; in
 * microseconds.
 */
#define KNOWN_FOR (10 * US_PER_MINUTE)
#define KNOWN_FOR_PREPARED (10 * US_PER_S)
#define COUNTS_FOR (10 * US_PER_S)

/* What is known of one database. Guarded by the lock. */
typedef struct Room
{
	Oid			database;		/* or InvalidOid */
	int64		accepted;		/* runs, of all that have been here */
	int64		base;			/* there are no more runs than that, and what
								 * has been accepted */
	int64		room;			/* that there was when they were counted */
	int64		known_until;	/* that is good until then, by clock_now(); 0:
								 * they have not been */
	int64		counting_until; /* a session counts them until then */
} Room;

typedef struct Rooms
{
	slock_t		lock;
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

/* What a transaction, or a subtransaction, has accepted. In TopTransactionContext. */
typedef struct Taken
{
	struct Taken *outer;		/* of those around it */
	int			level;			/* of nesting */
	int64		runs;
} Taken;

/* That of the innermost one that has accepted any. */
static Taken *taken;

/*
 * That of this database. The caller has the lock.
 */
static Room *
our_room(void)
{
	Room	   *room;

	for (int i = 0; i < PLACES; i++)
	{
		room = &shared->rooms[(MyDatabaseId + i) % ROOMS];
		if (room->database == MyDatabaseId)
			return room;
		if (!OidIsValid(room->database))
			break;
	}
	if (OidIsValid(room->database))
		room = &shared->rooms[MyDatabaseId % ROOMS];
	room->database = MyDatabaseId;
	room->base = -room->accepted;
	room->known_until = 0;
	room->counting_until = 0;
	return room;
}

/*
 * How many this transaction has accepted, as far as it has not been rolled back.
 */
static int64
own_runs(void)
{
	int64		runs = 0;

	for (Taken *level = taken; level != NULL; level = level->outer)
		runs += level->runs;
	return runs;
}

/*
 * They are there for others to see. Whoever counts between that and this counts them
 * twice, rather than not at all. What is prepared, and rolled back again and again, is not
 * to have others count each time.
 */
static void
end_transaction(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_PREPARE &&
		event != XACT_EVENT_ABORT)
		return;
	if (event != XACT_EVENT_ABORT && taken != NULL)
	{
		int64		runs = own_runs();
		int64		now = clock_now();
		Room	   *room;

		SpinLockAcquire(&shared->lock);
		room = our_room();
		if (event == XACT_EVENT_COMMIT)
			room->accepted += runs;
		else
			room->known_until = Min(room->known_until,
									now + KNOWN_FOR_PREPARED);
		SpinLockRelease(&shared->lock);
	}
	taken = NULL;
}

static void
end_subtransaction(SubXactEvent event, SubTransactionId my_id,
				   SubTransactionId parent_id, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();
	Taken	   *ended = taken;

	if (ended == NULL || ended->level < level ||
		(event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB))
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		ended->level--;
		if (ended->outer == NULL || ended->outer->level < ended->level)
			return;
		ended->outer->runs += ended->runs;
	}
	taken = ended->outer;
	pfree(ended);
}

/*
 * A run is accepted by this transaction.
 */
void
queue_room_take(void)
{
	static bool registered;
	int			level = GetCurrentTransactionNestLevel();

	if (!registered)
	{
		RegisterXactCallback(end_transaction, NULL);
		RegisterSubXactCallback(end_subtransaction, NULL);
		registered = true;
	}
	if (taken == NULL || taken->level < level)
	{
		Taken	   *inner = MemoryContextAlloc(TopTransactionContext,
											   sizeof(Taken));

		inner->outer = taken;
		inner->level = level;
		inner->runs = 0;
		taken = inner;
	}
	taken->runs++;
}

/*
 * Whether there are fewer runs than most in any case. *to_count: the caller is to count
 * them, and say how many there are: it must, if there may be as many.
 */
bool
queue_room_is_there(int most, QueueCount *count, bool *to_count)
{
	int64		now = clock_now();
	int64		own = own_runs();
	Room	   *room;
	int64		left;
	bool		is_there;

	SpinLockAcquire(&shared->lock);
	room = our_room();
	left = most - room->base - room->accepted - own;
	is_there = left > 0 && room->known_until != 0;
	count->most = most;
	count->accepted = room->accepted + own;
	*to_count = !is_there ||
		((left < room->room / 2 || room->known_until < now) &&
		 room->counting_until <= now);
	if (*to_count)
		room->counting_until = now + COUNTS_FOR;
	SpinLockRelease(&shared->lock);
	return is_there;
}

/*
 * There were so many runs when this count began, or at least so many if it was cut off, as
 * others may be allowed more.
 */
void
queue_room_counted(const QueueCount *count, int64 runs)
{
	int64		now = clock_now();
	Room	   *room;

	SpinLockAcquire(&shared->lock);
	room = our_room();
	room->counting_until = 0;
	if (runs < count->most)
	{
		room->base = runs - count->accepted;
		room->room = count->most - runs;
		room->known_until = now + KNOWN_FOR;
	}
	else
		room->base = Max(room->base, runs - count->accepted);
	SpinLockRelease(&shared->lock);
}
