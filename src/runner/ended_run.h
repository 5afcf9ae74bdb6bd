/*-------------------------------------------------------------------------
 *
 * ended_run.h
 *	  What is stored, and told, of runs that have ended.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_ENDED_RUN_H
#define AGNO_ENDED_RUN_H

#include "store/store.h"

extern void ended_run_fill(EndedRun *ended, const RunOutcome *outcome,
						   const char *run_id, const char *session_id);
extern void ended_run_fill_run(EndedRun *ended, const Run *run,
							   const char *run_id, const char *session_id);
extern void ended_run_put_together(EndedRun *ended, const RunOutcome *outcome,
								   List *steps, int64 elapsed_ms);
extern void ended_run_leave_to_session(EndedRun *ended,
									   const TokenUsage *usage);
extern void ended_runs_tell(char *const *run_ids, int count);

#endif							/* AGNO_ENDED_RUN_H */
