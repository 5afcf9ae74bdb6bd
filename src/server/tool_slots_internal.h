/*-------------------------------------------------------------------------
 *
 * tool_slots_internal.h
 *	  The parts of what is known of tool workers, for one another.
 *
 * tool_slots.c has the workers, tool_demands.c who wants one, and tool_places.c who
 * gets one. One lock guards all of it: the caller of each of these functions holds
 * it. Times are of clock_now(), which all processes share, but for the one that users
 * see.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_TOOL_SLOTS_INTERNAL_H
#define AGNO_TOOL_SLOTS_INTERNAL_H

#include "core/clock.h"
#include "server/tool_slots.h"
#include "storage/lwlock.h"
#include "utils/timestamp.h"

/* How many pairs of a database and a role may want a worker at once. */
#define MAX_DEMANDS 1024

/* How many calls it is remembered of that they have been put off. */
#define MAX_PUT_OFF_CALLS 256

/* How many transactions may keep tool workers away at once. */
#define MAX_HOLDS 64

/* A worker that is still there so long after it was asked does not leave, in ms. */
#define LEAVE_MS 1000

/* No more processes are asked for, for so long, when there was none, in ms. */
#define SCARCE_MS 5000

/* When another is asked for while the process of one that has left still ends, in ms. */
#define END_PAUSE_MS 20

/* The pause after a start that failed doubles from the first to the last. */
#define FIRST_PAUSE_MS 1000
#define LAST_PAUSE_MS 60000

/* Guarded by the lock, all of it. */
typedef struct ToolSlot
{
	Oid			database;		/* whose worker it is */
	Oid			role;
	ToolWorkerState state;
	int			process;		/* the worker's number, or NO_PROCESS */
	int			pid;			/* 0: there is no process */
	TimestampTz since;			/* when it was asked for, or started */
	int64		state_since;	/* when it was asked for, started, or died */
	int			failures;		/* starts for its role that failed before */
	int64		turn_since;		/* when it was last given to its role */
	uint64		wakes;			/* how often it was woken */
	bool		resting;		/* it has found nothing to do since, and
								 * nobody has told it of more */
	int64		look_again_at;	/* at what it has put off; 0: at nothing */
	bool		leave;			/* it is to leave after its call */
	int64		asked_at;		/* when it was asked to */
	char		run_id[ID_SIZE];	/* of the call that it makes, or has made */
	int64		call_since;		/* when that began */
	int64		call_ends;		/* when its time is over; 0: not known yet */
	ToolInterrupt told;			/* why it was told to end the call */
	bool		ended;			/* it did not: its process was */
	bool		lost;			/* nor did that: nobody can end it */
	uint64		completed;		/* calls */
	uint64		failed;
} ToolSlot;

/* Guarded by the lock. */
typedef struct ToolDemand
{
	Oid			database;		/* invalid: there is none */
	Oid			role;
	int			count;			/* how many workers */
	uint64		number;			/* the lowest comes first */
	int64		since;			/* when that number was given */
	int64		not_before;		/* no start before */
	int			failures;		/* starts that failed in a row */
} ToolDemand;

/* Guarded by the lock. */
typedef struct PutOffCall
{
	Oid			database;		/* invalid: there is none */
	char		run_id[ID_SIZE];	/* whose next call it is */
	int			times;			/* how often it has been put off */
	int64		since;			/* when it was last */
} PutOffCall;

/* Guarded by the lock. */
typedef struct ToolHold
{
	int			count;			/* of transactions; 0: there is none */
	Oid			database;		/* invalid: all */
	Oid			role;			/* invalid: all */
} ToolHold;

/* Guarded by the lock. */
typedef struct ToolState
{
	int			allowed;		/* agno_bg.max_tool_workers as the launcher
								 * knows it, or for how many it gets processes */
	int			processes;		/* how many there were, */
	int64		scarce_until;	/* when there were no more; until then */
	int			demand_count;	/* how many demands there are */
	uint64		demands_made;	/* the number of the last demand */
	bool		crowded_out;	/* there was no room for some since the
								 * runners were asked, */
	int64		asked_at;		/* which was then, */
	uint64		asks;			/* and so often */
	ToolDemand	demands[MAX_DEMANDS];
	ToolHold	holds[MAX_HOLDS];
	int			put_off_count;	/* how many notes there are */
	PutOffCall	put_off_calls[MAX_PUT_OFF_CALLS];
	ToolSlot	slots[MAX_TOOL_WORKERS];
} ToolState;

/* In shared memory, and its lock. */
extern ToolState *tool_state;
extern LWLock *tool_state_lock;

/* tool_slots.c */
extern bool tool_slot_is_there(const ToolSlot *slot);
extern bool tool_slot_is_of(const ToolSlot *slot, Oid database, Oid role);
extern int	tool_slots_count_all(void);
extern int	tool_slots_count_of(Oid database, Oid role);
extern bool tool_slots_has_lost(Oid role);
extern int	tool_slots_count_most(void);
extern void tool_slot_free(ToolSlot *slot);
extern void tool_slot_ask_to_leave(ToolSlot *slot, int64 now);
extern bool tool_slot_is_leaving(const ToolSlot *slot, int64 now);
extern int	tool_slots_count_leaving(int64 now);
extern bool tool_slots_are_held(Oid database, Oid role);
extern void tool_slot_interrupt(ToolSlot *slot, ToolInterrupt reason);
extern bool tool_slot_may_put_off(const ToolSlot *slot, int64 now);

/* tool_demands.c */
extern ToolDemand *tool_demand_find(Oid database, Oid role);
extern void tool_demand_add(Oid database, Oid role);
extern void tool_demand_at(Oid database, Oid role, int64 not_before,
						   int failures);
extern void tool_demand_later(Oid database, Oid role, int pause,
							  int failures);
extern void tool_demand_drop(ToolDemand *wanted);

#endif							/* AGNO_TOOL_SLOTS_INTERNAL_H */
