/*-------------------------------------------------------------------------
 *
 * shared.h
 *	  What the processes of agno_bg share about runners, and wake-ups.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_SHARED_H
#define AGNO_SHARED_H

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

/* What agno.workers shows of a slot. */
typedef struct WorkerView
{
	Oid			database;		/* invalid when the slot is free */
	int			number;			/* of the runner in its database */
	RunnerState state;
	bool		held;			/* no process is to be there now */
	int			pid;			/* 0: none */
	TimestampTz since;			/* when the process started; 0: there is none */
	uint64		counts[RUNNER_COUNTS];
} WorkerView;

/* What the launcher sees of a slot. */
typedef struct RunnerView
{
	Oid			database;
	int			number;			/* of the runner in its database */
	RunnerState state;
	bool		stepped_aside;	/* the last one left because it was asked to */
	TimestampTz restoring_until;	/* no process before; 0: there is no restore */
} RunnerView;

/* How many runners there is room for, in all databases. */
#define MAX_RUNNERS 1024

/* For shared_wake_at_commit(): every runner of the database. */
#define ALL_SHARDS (-1)

extern void shared_request_memory(void);
extern void shared_startup(void);

/* For backends. */
extern TimestampTz shared_acceptance_time(void);
extern int	shared_shard(const char *session_id);
extern void shared_wake_at_commit(int shard);
extern void shared_wake_at_end(int shard);
extern void shared_hold_runners(Oid database);
extern void shared_hold_for_restore(void);
extern WorkerView shared_worker_view(int slot);

/* For the launcher. */
extern void shared_launcher_attach(void);
extern bool shared_want_runner(Oid database, int number);
extern RunnerView shared_runner_view(int slot);
extern bool shared_runner_starting(int slot);
extern void shared_runner_not_started(int slot, bool still_wanted);

/* For runners. */
extern bool shared_runner_attach(int slot, Oid database);
extern int	shared_my_number(void);
extern void shared_want_siblings(void);
extern void shared_wake_siblings(uint32 numbers);
extern void shared_runner_unwanted(uint64 wakes_seen);
extern uint64 shared_wakes(void);
extern bool shared_held(void);
extern void shared_count(RunnerCount count, int64 more);
extern bool shared_prepared(void);
extern void shared_prepared_set(bool prepared);

#endif							/* AGNO_SHARED_H */
