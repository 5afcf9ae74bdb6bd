/*-------------------------------------------------------------------------
 *
 * delegate.h
 *	  Calls of agents: a run of its own for each.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_DELEGATE_H
#define AGNO_DELEGATE_H

#include "core/tool.h"
#include "store/store_tools.h"

/* A run that is enqueued for another. Strings are of the database's encoding. */
typedef struct ChildRun
{
	const char *agent_id;
	const char *task;			/* its input */
	const char *parent_run_id;
	const char *session_id;		/* of the parent */
	const char *user_id;		/* of the parent, or NULL */
	int			priority;		/* of the parent */
	int			depth;			/* of the child */
	int64		left_ms;		/* of the parent's time */
} ChildRun;

/*
 * Enqueues a run, as the current user. Returns its id. Set by the layer above, which
 * accepts runs (sql/enqueue.c).
 */
typedef char *(*EnqueueChild) (const ChildRun *child);
extern EnqueueChild delegate_enqueue;

extern char *delegate(const Tool *tool, const ToolWork *work);

#endif							/* AGNO_DELEGATE_H */
