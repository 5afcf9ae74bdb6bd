/*-------------------------------------------------------------------------
 *
 * origin.c
 *	  The servers that requests go to, and their addresses.
 *
 * libcurl looks up the address of a server in a thread of its own for each
 * transfer that needs it, and a name server may take half a minute. So there is
 * one lookup for a server at a time, whose result all lanes share; transfers
 * that would begin another wait for it. Nobody ever waits for the thread: one
 * whose transfer is over is left to end by itself, and the next lookup for that
 * server is not begun at once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "http/http_internal.h"
#include "utils/memutils.h"

/*
 * After a lookup that nobody has waited for, and whose thread may live on, how
 * long there is no other for the same server, in milliseconds.
 */
#define ABANDONED_PAUSE 4000

/* How many origins are remembered that no transfer goes to. */
#define KEPT_ORIGINS 1000

/*
 * libcurl is about to look up the address of the server, since no lane knows
 * it. Another transfer may be doing that.
 */
int
origin_lookup_callback(void *resolver, void *reserved, void *transfer_arg)
{
	HttpTransfer *transfer = transfer_arg;
	Origin	   *origin = transfer->origin;

	if (origin->lookup == transfer)
		return 0;
	if (origin->lookup != NULL || origin->next_lookup > now_ms())
	{
		transfer->refused = true;
		return 1;
	}
	origin->lookup = transfer;
	return 0;
}

/*
 * If this transfer looks up an address, it does so no more. What came of it
 * decides how many of those who wait go on.
 */
void
origin_end_lookup(HttpTransfer *transfer, bool failed, bool abandoned)
{
	Origin	   *origin = transfer->origin;

	if (origin->lookup != transfer)
		return;
	origin->lookup = NULL;
	origin->lookup_failed = failed;
	if (abandoned)
		origin->next_lookup = now_ms() + ABANDONED_PAUSE;
	if (transfer->client->waiting > 0)
		transfer->client->waiting_due = 0;
}

/*
 * This transfer needs no look-up, or has been served by one: neither do others.
 */
void
origin_is_found(HttpTransfer *transfer)
{
	Origin	   *origin = transfer->origin;

	origin_end_lookup(transfer, false, false);
	if (dlist_is_empty(&origin->waiting))
		return;
	origin->lookup_failed = false;
	transfer->client->waiting_due = 0;
}

/*
 * Servers come and go: forget those that nobody asks just now.
 */
static void
forget_idle(HttpClient *client)
{
	slist_mutable_iter iter;

	slist_foreach_modify(iter, &client->origins)
	{
		Origin	   *origin = slist_container(Origin, node, iter.cur);

		if (origin->transfers > 0 || origin->may_open)
			continue;
		slist_delete_current(&iter);
		client->origin_count--;
		pfree(origin);
	}
}

/*
 * The origin of this URL: all of it up to the path.
 */
Origin *
origin_find(HttpClient *client, const char *url)
{
	const char *host = strstr(url, "://");
	size_t		length = strlen(url);
	slist_iter	iter;
	Origin	   *origin;

	if (host != NULL)
		length = (host - url) + 3 + strcspn(host + 3, "/?#");

	slist_foreach(iter, &client->origins)
	{
		origin = slist_container(Origin, node, iter.cur);
		if (strncmp(origin->name, url, length) == 0 &&
			origin->name[length] == '\0')
			return origin;
	}

	if (client->origin_count >= KEPT_ORIGINS)
		forget_idle(client);
	client->origin_count++;
	origin = MemoryContextAllocZero(TopMemoryContext,
									offsetof(Origin, name) + length + 1);
	memcpy(origin->name, url, length);
	dlist_init(&origin->waiting);
	dlist_init(&origin->queue);
	slist_push_head(&client->origins, &origin->node);
	return origin;
}

/*
 * Have the transfer wait for the address of its server, which another looks up.
 */
void
origin_wait_for_address(HttpTransfer *transfer)
{
	HttpClient *client = transfer->client;

	transfer->refused = false;
	transfer->error[0] = '\0';
	transfer->place = WAITING;
	dlist_push_tail(&transfer->origin->waiting, &transfer->node);
	if (client->waiting++ == 0)
		client->waiting_due = PG_INT64_MAX;
	if (transfer->origin->lookup == NULL)
		client->waiting_due = Min(client->waiting_due,
								  transfer->origin->next_lookup);
}
