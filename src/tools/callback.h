/*-------------------------------------------------------------------------
 *
 * callback.h
 *	  The function that is called when a run has ended: on_complete.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_CALLBACK_H
#define AGNO_CALLBACK_H

extern char *callback_define(const char *name);
extern bool callback_is_under_way(void);
extern void callback_call(const char *signature, const char *run_id, Datum run);

#endif							/* AGNO_CALLBACK_H */
