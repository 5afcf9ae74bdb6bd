/*-------------------------------------------------------------------------
 *
 * log_filter.h
 *	  Keeps API keys out of the server's log and of pg_stat_activity.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_LOG_FILTER_H
#define AGNO_LOG_FILTER_H

#include "nodes/plannodes.h"

extern void log_filter_utility(const PlannedStmt *statement,
							   const char *source);
extern void log_filter_install(void);

#endif							/* AGNO_LOG_FILTER_H */
