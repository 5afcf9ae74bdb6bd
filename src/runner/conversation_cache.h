/*-------------------------------------------------------------------------
 *
 * conversation_cache.h
 *	  What runs have said that wait for their tools.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_CONVERSATION_CACHE_H
#define AGNO_CONVERSATION_CACHE_H

#include "runner/conversation.h"

typedef struct ConversationCache ConversationCache;

extern ConversationCache *conversation_cache_create(void);
extern void conversation_cache_put(ConversationCache *cache,
								   Conversation *conversation);
extern Conversation *conversation_cache_take(ConversationCache *cache,
											 const char *run_id);

#endif							/* AGNO_CONVERSATION_CACHE_H */
