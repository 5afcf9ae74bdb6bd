/*-------------------------------------------------------------------------
 *
 * grounded.c
 *	  The ends of runs that are not in flight.
 *
 * A streamed run may end while it waits: it is cancelled, its attempts are used
 * up, or it cannot be started. Subscribers are to know, as they do when a
 * flight ends; some may have seen a part of the answer of an earlier attempt.
 *
 * Called by turn.c, in the transaction in which the runs end.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/run_event.h"
#include "runner/grounded.h"
#include "store/store.h"

/*
 * The events that tell of this end, numbered. Returns how many there are.
 */
static int
make_events(const GroundedRun *grounded, EventRow *rows)
{
	RunEventSource source = {
		.run_id = grounded->run_id_utf8,
		.session_id = grounded->session_id,
		.agent_id = grounded->agent_id,
		.agent_name = grounded->agent_name,
		.model = grounded->model,
		.model_provider = grounded->model_provider,
	};
	Run			run = {
		.run_id = grounded->run_id_utf8,
		.status = grounded->status,
		.content = grounded->content,
		.reasoning = grounded->reasoning,
		.error_type = grounded->error_type,
		.error_message = grounded->error_message,
	};
	RunEvent	events[RUN_EVENT_MAX_END];
	int			count = run_event_end(&source, &run, events);

	for (int i = 0; i < count; i++)
	{
		rows[i].run_id = grounded->run_id;
		rows[i].seq = grounded->last_event + i + 1;
		rows[i].event = events[i].name;
		rows[i].data = events[i].data;
	}
	return count;
}

/*
 * Tell subscribers that these runs, which were not in flight, have ended.
 */
void
grounded_tell(char *const *run_ids, int count)
{
	List	   *runs;
	ListCell   *cell;
	EventRow   *rows;
	int			row_count = 0;

	if (count == 0)
		return;
	runs = store_read_grounded(run_ids, count);
	rows = palloc(sizeof(EventRow) *
				  Max(list_length(runs) * RUN_EVENT_MAX_END, 1));
	foreach(cell, runs)
		row_count += make_events(lfirst(cell), rows + row_count);
	store_append_events(rows, row_count);
}
