/*-------------------------------------------------------------------------
 *
 * queue_room.c
 *	  How many runs there may be in the queues of databases, as far as is known.
 *
 * To count them takes as long as the table is large, and what is dead is in it, too. So what
 * one session has counted is known to all of its database, and so is how many have been
 * accepted since then, whether they are still there or not: there are no more than that.
 * One session counts anew when half of the room has been taken, while others go on.
 *
 * This never looks at a table, and says nothing of the runs of one role.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/clock.h"
#include "miscadmin.h"
#include "server/queue_room.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "storage/spin.h"

/* Databases of which something is known: those with the same place share it. */
#define ROOMS 256

/*
 * A count is good for so long, as rows may come in other ways, and a session has so long for
 * it before another one may begin; in microseconds.
 */
#define KNOWN_FOR (10 * US_PER_MINUTE)
#define COUNTS_FOR (10 * US_PER_S)

/* What is known of one database. Guarded by the lock. */
typedef struct Room
{
	Oid			database;		/* or InvalidOid */
	int64		accepted;		/* runs, since it has been here */
	int64		base;			/* there are no more runs than that, and what
								 * has been accepted */
	int64		room;			/* that there was when they were counted */
	int64		counted_at;		/* by clock_now(); 0: they have not been */
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

/*
 * That of this database. The caller has the lock.
 */
static Room *
our_room(void)
{
	Room	   *room = &shared->rooms[MyDatabaseId % ROOMS];

	if (room->database != MyDatabaseId)
	{
		memset(room, 0, sizeof(Room));
		room->database = MyDatabaseId;
	}
	return room;
}

/*
 * A run is accepted: it counts whether its transaction commits or not.
 */
void
queue_room_take(void)
{
	SpinLockAcquire(&shared->lock);
	our_room()->accepted++;
	SpinLockRelease(&shared->lock);
}

/*
 * Whether there are fewer runs than most in any case. *to_count: the caller is to count
 * them, and say how many there are: it must, if there may be as many.
 */
bool
queue_room_is_there(int most, QueueCount *count, bool *to_count)
{
	int64		now = clock_now();
	Room	   *room;
	int64		left;
	bool		is_there;

	SpinLockAcquire(&shared->lock);
	room = our_room();
	left = most - room->base - room->accepted;
	is_there = left > 0 && room->counted_at != 0;
	count->most = most;
	count->accepted = room->accepted;
	*to_count = !is_there ||
		((left < room->room / 2 || now - room->counted_at > KNOWN_FOR) &&
		 room->counting_until <= now);
	if (*to_count)
		room->counting_until = now + COUNTS_FOR;
	SpinLockRelease(&shared->lock);
	return is_there;
}

/*
 * There were so many runs when this count began.
 */
void
queue_room_counted(const QueueCount *count, int64 runs)
{
	Room	   *room;

	SpinLockAcquire(&shared->lock);
	room = our_room();
	room->base = runs - count->accepted;
	room->room = count->most - runs;
	room->counted_at = clock_now();
	room->counting_until = 0;
	SpinLockRelease(&shared->lock);
}
