/*-------------------------------------------------------------------------
 *
 * runner_slots.h
 *	  The runners of all databases, in shared memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_RUNNER_SLOTS_H
#define AGNO_RUNNER_SLOTS_H

#include "datatype/timestamp.h"

/* Where the runner of a database stands; each state names who leaves it. */
typedef enum RunnerState
{
	RUNNER_NONE,				/* the slot is free */
	RUNNER_WANTED,				/* the launcher is to start one */
	RUNNER_STARTING,			/* the launcher has asked for a process */
	RUNNER_RUNNING				/* it runs, until it says goodbye */
} RunnerState;

/* What a runner counts, since it started. */
typedef enum RunnerCount
{
	COUNT_IN_FLIGHT,			/* runs: how many there are now */
	COUNT_CLAIMED,				/* runs that were started */
	COUNT_COMPLETED,			/* of those: how they ended */
	COUNT_FAILED,
	COUNT_CANCELLED,
	COUNT_RETRIED,				/* requests that were repeated */
	RUNNER_COUNTS
} RunnerCount;

/* What is to be seen of a slot. */
typedef struct RunnerView
{
	Oid			database;		/* invalid when the slot is free */
	int			number;			/* of the runner in its database */
	RunnerState state;
	bool		held;			/* no process is to be there now */
	bool		stepped_aside;	/* the last one left because it was asked to,
								 * or had nothing to do there */
	int64		restoring_until;	/* no process before, as of clock_now();
									 * 0: there is no restore */
	int			pid;			/* of the process; 0: none */
	TimestampTz since;			/* when the process started; 0: there is none */
	uint64		counts[RUNNER_COUNTS];
} RunnerView;

/* How many runners there is room for, in all databases. */
#define MAX_RUNNERS 1024

extern void runner_slots_request_memory(void);
extern void runner_slots_startup(void);
extern RunnerView runner_slots_view(int slot);

/* For backends. */
extern bool runner_slots_want(Oid database, int number);
extern void runner_slots_demand(Oid database, int number);
extern bool runner_slots_has_runner(Oid database);
extern void runner_slots_wake_launcher(void);
extern void runner_slots_wake(uint32 numbers, bool prepared);
extern void runner_slots_wake_all(void);
extern bool runner_slots_hold(Oid database);
extern bool runner_slots_held(Oid database);
extern void runner_slots_unhold(Oid database);
extern void runner_slots_begin_restore(void);
extern void runner_slots_end_restore(void);
extern void runner_slots_wait_gone(Oid database);

/* For the launcher. */
extern void runner_slots_attach_launcher(void);
extern bool runner_slots_starting(int slot);
extern void runner_slots_not_started(int slot, bool still_wanted);

/* For the runner whose process this is. */
extern bool runner_slot_attach(int slot, Oid database);
extern int	runner_slot_number(void);
extern void runner_slot_want_siblings(void);
extern void runner_slot_wake_siblings(uint32 numbers);
extern void runner_slot_leave(void);
extern void runner_slot_unwanted(uint64 wakes_seen);
extern uint64 runner_slot_wakes(void);
extern bool runner_slot_held(void);
extern void runner_slot_count(RunnerCount count, int64 more);
extern bool runner_slot_prepared(void);
extern void runner_slot_set_prepared(bool prepared);

#endif							/* AGNO_RUNNER_SLOTS_H */
