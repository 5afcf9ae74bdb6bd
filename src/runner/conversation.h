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
#include "lib/ilist.h"
#include "store/store.h"

/*
 * What the answers with calls of a run have said, and its tools, as far as that
 * cannot change any more. All of it is in its own memory context.
 */
typedef struct Conversation
{
	MemoryContext context;
	const char *run_id;			/* of the database's encoding */
	int			turns;			/* how many answers that are */
	char	   *last;			/* messages of the last of them, as stored */
	List	   *messages;		/* Messages */
	int64		length;			/* of what is stored of it, in bytes */
	dlist_node	node;			/* conversation_cache.c's own, as is bytes: */
	int64		bytes;			/* what it takes in memory */
} Conversation;

extern Conversation *conversation_create(const char *run_id);
extern bool conversation_has(const Conversation *conversation,
							 const StoredStep *step);
extern void conversation_add_history(Run *run, const ReadyRun *ready);
extern void conversation_resume(Run *run, List *steps,
								Conversation *conversation);

#endif							/* AGNO_CONVERSATION_H */
