/*-------------------------------------------------------------------------
 *
 * cancel.h
 *	  Cancelling a run.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_CANCEL_H
#define AGNO_CANCEL_H

extern bool cancel_is_ours(const char *run_id);

#endif							/* AGNO_CANCEL_H */
