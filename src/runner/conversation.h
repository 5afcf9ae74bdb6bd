/*-------------------------------------------------------------------------
 *
 * conversation.h
 *	  The conversation of a run, put together from what is stored.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_CONVERSATION_H
#define AGNO_CONVERSATION_H

#include "core/run.h"
#include "store/store.h"

extern void conversation_add_history(Run *run, const ReadyRun *ready);
extern void conversation_resume(Run *run, List *steps);

#endif							/* AGNO_CONVERSATION_H */
