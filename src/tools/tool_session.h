/*-------------------------------------------------------------------------
 *
 * tool_session.h
 *	  The session of a tool worker: its transactions, and whose rights they have.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_TOOL_SESSION_H
#define AGNO_TOOL_SESSION_H

#include "store/store.h"

/* What is known of it; lives as long as the process. */
typedef struct ToolSession
{
	Oid			role;			/* whose process it is */
	MemoryContext context;		/* for one call, or a batch of callbacks;
								 * reset before the next */
	int64		look_again_at;	/* when there is something again that has been
								 * put off, as of clock_now(); 0: there is
								 * nothing */
} ToolSession;

extern ToolSession tool_session;

extern void tool_session_open(Oid role);
extern void tool_session_begin(void);
extern void tool_session_commit(void);
extern void tool_session_undo(void);
extern StoreUser tool_session_enter(void);
extern void tool_session_allow_cancel(int most);
extern void tool_session_end_cancel(void);
extern void tool_session_spare_process(void);
extern ErrorData *tool_session_try(bool (*work) (void *), void *arg);
extern void tool_session_look_again(int pause);
extern void tool_session_find_put_off(TimestampTz then);
extern void tool_session_clean_up(void);

#endif							/* AGNO_TOOL_SESSION_H */
