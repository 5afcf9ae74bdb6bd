/*-------------------------------------------------------------------------
 *
 * tool_slots.h
 *	  The tool workers of all databases and roles, in shared memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_TOOL_SLOTS_H
#define AGNO_TOOL_SLOTS_H

#include "core/id.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "server/settings.h"

#define TOOL_WORKER_TYPE "agno_bg tool worker"

/* Where the process of a slot stands; each state names who leaves it. */
typedef enum ToolWorkerState
{
	TOOL_WORKER_NONE,			/* the slot is free */
	TOOL_WORKER_STARTING,		/* the launcher has asked for a process */
	TOOL_WORKER_IDLE,			/* it waits for work */
	TOOL_WORKER_BUSY,			/* it calls a tool */
	TOOL_WORKER_DEAD			/* it died while it called a tool: the runner
								 * of the database is to take note */
} ToolWorkerState;

/* Why a worker was told to end its call. */
typedef enum ToolInterrupt
{
	TOOL_NOT_INTERRUPTED,		/* it was not */
	TOOL_CANCELLED,				/* the run has been cancelled */
	TOOL_PUT_OFF,				/* others wait: it is to be made again later */
	TOOL_TOOK_TOO_LONG			/* others wait, and that was often enough */
} ToolInterrupt;

/*
 * A call that does not end when it is told to is ended with its process after this,
 * in milliseconds.
 */
#define TOOL_GRACE_MS 5000

/* What is to be seen of a slot. */
typedef struct ToolWorkerView
{
	Oid			database;
	Oid			role;
	ToolWorkerState state;
	int			pid;			/* 0: there is no process */
	TimestampTz since;			/* when it was asked for, or started */
	int64		state_since;	/* when it was asked for, started, or died, as
								 * of clock_now() */
	uint64		completed;		/* calls that were made, */
	uint64		failed;			/* and those that failed */
} ToolWorkerView;

extern void tool_slots_request_memory(void);
extern void tool_slots_startup(void);
extern ToolWorkerView tool_slots_view(int slot);

/* For runners, and tool workers that cannot do all. */
extern void tool_slots_add_work(Oid database, Oid role);
extern void tool_slots_want(Oid database, Oid role);
extern void tool_slots_cancel(const char *run_id);
extern List *tool_slots_take_dead(Oid database, int *next);

/* For backends whose commands want a database, or a role, for themselves. */
extern bool tool_slots_hold(Oid database, Oid role);
extern void tool_slots_unhold(Oid database, Oid role);

/* Why a process that was asked for has not come to run. */
typedef enum ToolStartProblem
{
	TOOL_START_FAILED,			/* it died */
	TOOL_NO_PROCESS,			/* there is none to be had */
	TOOL_PROCESS_ENDS			/* nor is that of one that has left, yet */
} ToolStartProblem;

/* For the launcher. */
extern void tool_slots_yield(void);
extern void tool_slots_supervise(int64 *next);
extern bool tool_slots_ask_runners(int64 *next);
extern uint64 tool_slots_asks(void);
extern bool tool_slots_next_start(int *slot, Oid *database, Oid *role,
								  int64 *next);
extern void tool_slots_not_started(int slot, ToolStartProblem problem);
extern void tool_slots_unwanted(int slot);

/* For the tool worker whose process this is. */
extern bool tool_slot_attach(int slot, Oid database, Oid role);
extern bool tool_slots_is_dead(const char *run_id);
extern uint64 tool_slot_wakes(void);
extern void tool_slot_rest(uint64 wakes_seen, int64 look_again_at);
extern bool tool_slot_is_to_leave(void);
extern bool tool_slot_try_leave(uint64 wakes_seen);
extern void tool_slot_begin_call(const char *run_id);
extern void tool_slot_set_time(int ms);
extern ToolInterrupt tool_slot_told(void);
extern void tool_slot_end_call(void);
extern void tool_slot_count(bool failed);

#endif							/* AGNO_TOOL_SLOTS_H */
