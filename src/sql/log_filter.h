/*-------------------------------------------------------------------------
 *
 * log_filter.h
 *	  Keeps API keys out of the server's log.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_LOG_FILTER_H
#define AGNO_LOG_FILTER_H

extern void log_filter_install(void);

#endif							/* AGNO_LOG_FILTER_H */
