/*-------------------------------------------------------------------------
 *
 * ended_run.c
 *	  What is stored, and told, of runs that have ended.
 *
 * A streamed run may end while it waits: it is cancelled, its attempts are used
 * up, or it cannot be started. Subscribers hear of that as they do when a
 * flight ends; some may have seen a part of the answer of an earlier attempt.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/clock.h"
#include "core/run_event.h"
#include "runner/conversation.h"
#include "runner/ended_run.h"
#include "server/encoding.h"
#include "server/settings.h"

/*
 * What is to be stored of a run that ended like this. The ids are of the
 * database's encoding; all strings are used as they are, not copied.
 */
void
ended_run_fill(EndedRun *ended, const RunOutcome *outcome, const char *run_id,
			   const char *session_id)
{
	memset(ended, 0, sizeof(EndedRun));
	ended->run_id = unconstify(char *, run_id);
	ended->session_id = unconstify(char *, session_id);
	ended->attempt = outcome->attempt;
	ended->status = outcome->status;
	ended->calls_back = true;
	ended->content = outcome->content;
	ended->content_type = outcome->structured ? "dict" : "str";
	ended->reasoning = outcome->reasoning;
	ended->metrics = run_outcome_metrics_json(outcome);
	ended->error = run_outcome_error_json(outcome);
}

/*
 * What is to be stored of a run, with its conversation.
 */
void
ended_run_fill_run(EndedRun *ended, const Run *run, const char *run_id,
				   const char *session_id)
{
	ended_run_fill(ended, &run->outcome, run_id, session_id);
	ended->messages = run_messages_json(run);
	ended->tools = run_tools_json(run);
	ended->requirements = run_requirements_json(run);
	ended->has_steps = run->turns > 0;
}

/*
 * What a run that has started leaves to its session though it is not in flight: what it adds to
 * its state, with what its tools have said, and what the answers have cost.
 */
void
ended_run_leave_to_session(EndedRun *ended, const TokenUsage *usage)
{
	SessionShare share;

	if (!store_read_session_share(ended->run_id, &share))
		return;
	if (share.state != NULL &&
		strlen(share.state) <= (size_t) agno_max_input_size * 1024)
		ended->session_state = share.state;
	if (!token_usage_is_zero(usage))
		ended->session_metrics = session_usage_add(share.metrics, share.model,
												   share.model_server, usage);
}

/*
 * A run that has called tools ends without being in flight: *ended, which is filled
 * by its outcome, gets all that is known of it from StoredSteps. It started the
 * attempt elapsed_ms ago.
 */
void
ended_run_put_together(EndedRun *ended, const RunOutcome *outcome, List *steps,
					   int64 elapsed_ms)
{
	int64		now = clock_now();
	Run			run = {
		.run_id = encoding_from_server(ended->run_id),
		.attempt = outcome->attempt,
		.started_at = now - elapsed_ms * US_PER_MS,
		.deadline = PG_INT64_MAX,
	};
	EndedRun	before = *ended;

	conversation_resume(&run, steps, conversation_create(ended->run_id));
	if (outcome->status == RUN_CANCELLED)
		run_cancelled(&run, now);
	else
		run_failed(&run, outcome->error_type, outcome->error_message, now);
	ended_run_fill_run(ended, &run, before.run_id, before.session_id);
	ended->row = before.row;
	ended->owner = before.owner;
	ended_run_leave_to_session(ended, &run.outcome.usage);
}

/*
 * The events that tell of the end of a run that was not in flight. Returns how many there are.
 */
static int
make_events(const GroundedRun *run, EventRow *rows)
{
	RunOutcome	outcome = {
		.status = run->status,
		.content = run->content,
		.reasoning = run->reasoning,
		.error_type = run->error_type,
		.error_message = run->error_message,
	};
	RunEvent	events[RUN_EVENT_MAX_END];
	int			count = run_event_end(&run->watched.source, &outcome, events);

	for (int i = 0; i < count; i++)
	{
		rows[i].run_id = run->watched.run_id;
		rows[i].event = events[i].name;
		rows[i].data = events[i].data;
	}
	return count;
}

/*
 * Tell subscribers that those of these runs have ended that have: in the transaction
 * in which they end. Others are called back first.
 */
void
ended_runs_tell(char *const *run_ids, int count)
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
	{
		GroundedRun *run = lfirst(cell);

		if (run->status == RUN_COMPLETED || run->status == RUN_CANCELLED ||
			run->status == RUN_ERROR)
			row_count += make_events(run, rows + row_count);
	}
	store_append_events(rows, row_count);
}
