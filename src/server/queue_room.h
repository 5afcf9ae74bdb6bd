/*-------------------------------------------------------------------------
 *
 * queue_room.h
 *	  How many runs there may be in the queues of databases, and of their roles, as far as is
 *	  known.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_QUEUE_ROOM_H
#define AGNO_QUEUE_ROOM_H

/* A count of runs that has begun. */
typedef struct QueueCount
{
	Oid			owner;			/* of these, or InvalidOid: of all */
	int			most;			/* no more are counted than there may be */
	uint64		birth;			/* of the place where that is known; 0: none */
	int64		accepted;		/* what had been accepted by then */
} QueueCount;

extern void queue_room_request_memory(void);
extern void queue_room_startup(void);
extern void queue_room_take(Oid owner);
extern bool queue_room_is_there(Oid owner, int most, QueueCount *count,
								bool *to_count);
extern bool queue_room_counted(const QueueCount *count, int64 runs);

#endif							/* AGNO_QUEUE_ROOM_H */
