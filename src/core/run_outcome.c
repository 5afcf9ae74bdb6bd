/*-------------------------------------------------------------------------
 *
 * run_outcome.c
 *	  How a run ended, or why it goes back to the queue. Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "core/portable.h"

#include "core/json.h"
#include "core/run_outcome.h"

static const char *const status_names[] = {
	[RUN_PENDING] = "PENDING",
	[RUN_RUNNING] = "RUNNING",
	[RUN_PAUSED] = "PAUSED",
	[RUN_COMPLETED] = "COMPLETED",
	[RUN_CANCELLED] = "CANCELLED",
	[RUN_ERROR] = "ERROR",
};

/*
 * The status of this name in agno.run_status.
 */
RunStatus
run_status_parse(const char *name)
{
	for (int i = 0; i < (int) lengthof(status_names); i++)
	{
		if (strcmp(status_names[i], name) == 0)
			return (RunStatus) i;
	}
	Assert(false);
	return RUN_ERROR;
}

const char *
run_status_name(RunStatus status)
{
	return status_names[status];
}

/*
 * Whether a run has ended, or waits for somebody to decide.
 */
bool
run_status_is_settled(RunStatus status)
{
	return status != RUN_PENDING && status != RUN_RUNNING;
}

/*
 * Whether a run has ended.
 */
bool
run_status_is_final(RunStatus status)
{
	return run_status_is_settled(status) && status != RUN_PAUSED;
}

/*
 * A run that ends in ERROR for a reason that lies with us, and said nothing.
 */
RunOutcome
run_outcome_failed(int attempt, const char *type, const char *message)
{
	RunOutcome	outcome = {
		.status = RUN_ERROR,
		.attempt = attempt,
		.content = message,
		.error_type = type,
		.error_message = message,
	};

	return outcome;
}

/*
 * A run that is cancelled before it has said anything.
 */
RunOutcome
run_outcome_cancelled(int attempt, const char *run_id)
{
	RunOutcome	outcome = {
		.status = RUN_CANCELLED,
		.attempt = attempt,
		.content = run_cancelled_text(run_id),
	};

	return outcome;
}

/*
 * The content of a cancelled run that said nothing, in Agno's words.
 */
char *
run_cancelled_text(const char *run_id)
{
	return psprintf("Run %s was cancelled", run_id);
}

/*
 * What the run cost, for agno.runs.metrics.
 */
char *
run_outcome_metrics_json(const RunOutcome *outcome)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	if (outcome->status == RUN_COMPLETED || outcome->usage.total > 0)
	{
		token_usage_append(&out, &outcome->usage, true);
		json_append_key(&out, "time_to_first_token");
		appendStringInfo(&out, "%.6f", outcome->time_to_first_token);
	}
	json_append_key(&out, "duration");
	appendStringInfo(&out, "%.6f", outcome->duration);
	appendStringInfoChar(&out, '}');
	return out.data;
}

/*
 * What went wrong, for agno.runs.error; NULL when nothing did.
 */
char *
run_outcome_error_json(const RunOutcome *outcome)
{
	StringInfoData out;

	if (outcome->error_type == NULL)
		return NULL;
	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	json_append_key(&out, "type");
	json_append_string(&out, outcome->error_type);
	json_append_key(&out, "message");
	json_append_string(&out, outcome->error_message);
	json_append_key(&out, "http_status");
	if (outcome->http_status != 0)
		appendStringInfo(&out, "%d", outcome->http_status);
	else
		appendStringInfoString(&out, "null");
	json_append_key(&out, "attempt");
	appendStringInfo(&out, "%d", outcome->attempt);
	appendStringInfoChar(&out, '}');
	return out.data;
}
