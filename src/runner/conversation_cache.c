/*-------------------------------------------------------------------------
 *
 * conversation_cache.c
 *	  What runs have said that wait for their tools.
 *
 * A run of n answers with calls goes on n times: what it has said is not read again
 * from its first word each time. Nothing depends on a conversation being here; it is
 * forgotten when others need the room, and checked against what is stored by who
 * takes it (turn_starts.c).
 *
 * The cache lives as long as the process, in TopMemoryContext.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/id.h"
#include "runner/conversation_cache.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* How much memory the cache takes, and a conversation in it, at most: in bytes. */
#define CACHE_BYTES (INT64CONST(32) * 1024 * 1024)
#define LARGEST_CONVERSATION (INT64CONST(1024) * 1024)

typedef struct CacheEntry
{
	char		run_id[ID_SIZE];	/* the key, of the database's encoding */
	Conversation *conversation; /* owned */
} CacheEntry;

struct ConversationCache
{
	HTAB	   *by_run;			/* CacheEntries */
	dlist_head	by_age;			/* their Conversations, the oldest first */
	int64		bytes;			/* what they take in memory */
};

ConversationCache *
conversation_cache_create(void)
{
	ConversationCache *cache = MemoryContextAlloc(TopMemoryContext,
												  sizeof(ConversationCache));
	HASHCTL		ctl = {
		.keysize = ID_SIZE,
		.entrysize = sizeof(CacheEntry),
	};

	cache->by_run = hash_create("agno_bg conversations", 128, &ctl,
								HASH_ELEM | HASH_STRINGS);
	dlist_init(&cache->by_age);
	cache->bytes = 0;
	return cache;
}

/*
 * The conversation of this run, or NULL. It is the caller's, below the current memory
 * context, and not in the cache any more.
 */
Conversation *
conversation_cache_take(ConversationCache *cache, const char *run_id)
{
	CacheEntry *entry = hash_search(cache->by_run, run_id, HASH_FIND, NULL);
	Conversation *conversation;

	if (entry == NULL)
		return NULL;
	conversation = entry->conversation;
	(void) hash_search(cache->by_run, run_id, HASH_REMOVE, NULL);
	dlist_delete(&conversation->node);
	cache->bytes -= conversation->bytes;
	MemoryContextSetParent(conversation->context, CurrentMemoryContext);
	return conversation;
}

static void
forget(ConversationCache *cache, const char *run_id)
{
	Conversation *conversation = conversation_cache_take(cache, run_id);

	if (conversation != NULL)
		MemoryContextDelete(conversation->context);
}

static Conversation *
oldest(ConversationCache *cache)
{
	return dlist_head_element(Conversation, node, &cache->by_age);
}

/*
 * Keep a conversation, if it is not too large. It is the cache's then.
 */
void
conversation_cache_put(ConversationCache *cache, Conversation *conversation)
{
	CacheEntry *entry;

	conversation->bytes =
		(int64) MemoryContextMemAllocated(conversation->context, true);
	if (conversation->bytes > LARGEST_CONVERSATION)
		return;
	forget(cache, conversation->run_id);
	while (cache->bytes + conversation->bytes > CACHE_BYTES)
		forget(cache, oldest(cache)->run_id);

	entry = hash_search(cache->by_run, conversation->run_id, HASH_ENTER, NULL);
	entry->conversation = conversation;
	dlist_push_tail(&cache->by_age, &conversation->node);
	cache->bytes += conversation->bytes;
	MemoryContextSetParent(conversation->context, TopMemoryContext);
}
