/*-------------------------------------------------------------------------
 *
 * queue_room.h
 *	  How many runs there may be in the queues of databases, as far as is known.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_QUEUE_ROOM_H
#define AGNO_QUEUE_ROOM_H

/* A count of all runs that has begun. */
typedef struct QueueCount
{
	int			most;			/* no more are counted than there may be */
	int64		accepted;		/* what had been accepted by then */
} QueueCount;

extern void queue_room_request_memory(void);
extern void queue_room_startup(void);
extern void queue_room_take(void);
extern bool queue_room_is_there(int most, QueueCount *count, bool *to_count);
extern void queue_room_counted(const QueueCount *count, int64 runs);

#endif							/* AGNO_QUEUE_ROOM_H */
