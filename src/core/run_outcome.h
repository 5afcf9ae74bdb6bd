/*-------------------------------------------------------------------------
 *
 * run_outcome.h
 *	  How a run ended, or why it goes back to the queue.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_RUN_OUTCOME_H
#define AGNO_RUN_OUTCOME_H

#include "core/usage.h"

/* agno.run_status */
typedef enum RunStatus
{
	RUN_PENDING,
	RUN_RUNNING,
	RUN_PAUSED,
	RUN_COMPLETED,
	RUN_CANCELLED,
	RUN_ERROR
} RunStatus;

/*
 * What came of a run. Strings are UTF-8, in the memory of whoever has the
 * outcome.
 */
typedef struct RunOutcome
{
	RunStatus	status;			/* PENDING: it goes back to the queue;
								 * RUNNING: tools are to be called; PAUSED:
								 * somebody is to decide about calls */
	int			attempt;		/* to which this belongs, from 1; 0 when the
								 * run ends without having been started */
	const char *content;		/* the answer, or what stands for it; or NULL */
	bool		structured;		/* content is JSON that fits the schema */
	const char *reasoning;		/* or NULL */
	const char *error_type;		/* of agno.runs.error; NULL: no error */
	const char *error_message;	/* not NULL when error_type is not */
	int			http_status;	/* of the answer that is the error; 0: none */
	TokenUsage	usage;			/* of all answers */
	double		time_to_first_token;	/* in seconds, of the first answer */
	double		duration;		/* of the attempt, in seconds */
} RunOutcome;

extern RunStatus run_status_parse(const char *name);
extern const char *run_status_name(RunStatus status);
extern bool run_status_is_settled(RunStatus status);
extern bool run_status_is_final(RunStatus status);

extern RunOutcome run_outcome_failed(int attempt, const char *type,
									 const char *message);
extern RunOutcome run_outcome_cancelled(int attempt, const char *run_id);
extern char *run_cancelled_text(const char *run_id);
extern char *run_outcome_metrics_json(const RunOutcome *outcome);
extern char *run_outcome_error_json(const RunOutcome *outcome);

#endif							/* AGNO_RUN_OUTCOME_H */
