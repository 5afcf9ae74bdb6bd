/*-------------------------------------------------------------------------
 *
 * turn_families.c
 *	  Runs that wait for runs that they have enqueued.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/run_event.h"
#include "runner/turn_internal.h"
#include "server/encoding.h"

/* The calls of how many runs are looked at, and measured, at once. */
#define SETTLE_BATCH 25

/*
 * The call of an agent, as an execution.
 */
static Message
execution_of(const SettledCall *call)
{
	Message		execution;

	message_init(&execution, MESSAGE_TOOL, call->result);
	execution.tool_call_id = call->model_call_id;
	execution.tool_name = call->tool;
	execution.tool_args = call->arguments;
	execution.tool_call_error = call->failed;
	execution.executed = true;
	execution.child_run_id = call->child_run_id;
	execution.tool_started = call->started;
	execution.tool_duration = call->duration;
	return execution;
}

static const RunEventSource *
source_of(List *watched, const char *run_id)
{
	ListCell   *cell;

	foreach(cell, watched)
	{
		WatchedRun *run = lfirst(cell);

		if (strcmp(run->run_id, run_id) == 0)
			return &run->source;
	}
	return NULL;
}

/*
 * Tell those who follow streamed runs that calls of agents are over. Calls of a run
 * are next to each other.
 */
static void
tell(List *settled)
{
	char	  **ids = palloc(sizeof(char *) * Max(list_length(settled), 1));
	EventRow   *rows = palloc(sizeof(EventRow) *
							  Max(2 * list_length(settled), 1));
	int			count = 0;
	int			row_count = 0;
	const char *run_id = "";
	const RunEventSource *source = NULL;
	List	   *watched;
	ListCell   *cell;

	foreach(cell, settled)
	{
		SettledCall *call = lfirst(cell);

		if (count == 0 || strcmp(ids[count - 1], call->run_id) != 0)
			ids[count++] = call->run_id;
	}
	if (count == 0)
		return;
	watched = store_read_watched(ids, count);
	foreach(cell, settled)
	{
		SettledCall *call = lfirst(cell);
		Message		execution;
		RunEvent	events[2];
		int			ends;

		if (strcmp(call->run_id, run_id) != 0)
			source = source_of(watched, call->run_id);
		run_id = call->run_id;
		if (source == NULL)
			continue;
		execution = execution_of(call);
		ends = run_event_tool_ended(source, &execution, events);
		for (int i = 0; i < ends; i++)
		{
			rows[row_count].run_id = run_id;
			rows[row_count].event = events[i].name;
			rows[row_count++].data = events[i].data;
		}
	}
	store_append_events(rows, row_count);
}

/*
 * Children of these runs have ended or paused: put what came of them into their
 * calls, and let those go on that wait for nothing else.
 */
void
turn_children_ended(Turn *turn, char *const *parent_ids, int count)
{
	int64		left = TURN_BYTES;

	if (count == 0)
		return;
	/* What is more is for when they go on. */
	for (int i = 0; i < count && left > 0; i += SETTLE_BATCH)
		tell(store_settle_children(parent_ids + i,
								   Min(count - i, SETTLE_BATCH), &left));
	store_children_ended(parent_ids, count);
	if (store_show_requirements(parent_ids, count))
		turn_again(turn, CHORE_SIGNALS);
}

/*
 * The same for ReadyRuns that go on: nothing of their children may be missing, even
 * if a call could not be had when it was to be told. Those for which that is too much
 * for a turn are deferred.
 */
void
turn_settle_children(Turn *turn, List *ready)
{
	RunKeys		keys = run_keys(list_length(ready));
	RunIdSet	unsettled;
	int64		left = TURN_BYTES;
	ListCell   *cell;

	foreach(cell, ready)
	{
		ReadyRun   *run = lfirst(cell);

		if (run->delegates)
			run_keys_add(&keys, run->run_id, NULL);
	}
	tell(store_settle_children(keys.run_ids, keys.count, &left));
	if (left > 0)
		return;
	unsettled = run_id_set(store_unsettled_runs(keys.run_ids, keys.count));
	foreach(cell, ready)
	{
		ReadyRun   *run = lfirst(cell);

		run->deferred |= run_id_set_has(&unsettled, run->run_id);
	}
}
