/*-------------------------------------------------------------------------
 *
 * origin.c
 *	  The servers that requests go to, and their addresses.
 *
 * libcurl looks up the address of a server in a thread of its own for each
 * transfer that needs it, and a name server may take half a minute. So a role has
 * one lookup for a server at a time, whose result all lanes share; its transfers
 * that would begin another wait for it. Nobody ever waits for the thread: one
 * whose transfer is over is left to end by itself, and the role's next lookup for
 * that server is not begun at once.
 *
 * Whoever may define a server can define one at the address of another's, with
 * timeouts that let no lookup end and certificates that let no connection come
 * about. So what transfers wait for, before they are sent, is known for each role,
 * in its Approach; an Origin has what the server has shown to all.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>

#include "http/http_internal.h"
#include "utils/memutils.h"

/*
 * After a lookup that nobody has waited for, and whose thread may live on, how
 * long its role begins no other for the same server, in milliseconds.
 */
#define ABANDONED_PAUSE 4000

/* After how long a role that has no place for a look-up is looked at again, in ms. */
#define PLACE_PAUSE 100

/*
 * When there are more approaches than this, those that no transfer takes are
 * forgotten.
 */
#define KEPT_APPROACHES 1000

/*
 * libcurl is about to look up the address of the server, since no lane knows
 * it. Another transfer may be doing that.
 */
int
origin_lookup_callback(void *resolver, void *reserved, void *transfer_arg)
{
	HttpTransfer *transfer = transfer_arg;
	Approach   *approach = transfer->approach;

	if (approach->lookup == transfer || approach->origin->is_address)
		return 0;
	if (approach->lookup == NULL && approach->next_lookup <= now_ms())
	{
		approach->place = lookup_begin(transfer->client, approach->role,
									   approach->slow);
		approach->lacks_place = approach->place == NULL;
		if (!approach->lacks_place)
			approach->lookup = transfer;
	}
	transfer->refused = approach->lookup != transfer;
	return transfer->refused ? 1 : 0;
}

/*
 * If this transfer looks up an address, it does so no more. What came of it
 * decides how many of those who wait go on.
 */
void
origin_end_lookup(HttpTransfer *transfer, bool failed, bool abandoned)
{
	Approach   *approach = transfer->approach;

	if (approach->lookup != transfer)
		return;
	approach->lookup = NULL;
	approach->lookup_failed = failed;
	approach->slow = abandoned;
	lookup_end(approach->place, failed, abandoned);
	if (abandoned)
		approach->next_lookup = now_ms() + ABANDONED_PAUSE;
	if (transfer->client->waiting > 0)
		transfer->client->waiting_due = 0;
}

/*
 * This transfer needs no look-up, or has been served by one: neither do others.
 */
void
origin_is_found(HttpTransfer *transfer)
{
	Approach   *approach = transfer->approach;

	origin_end_lookup(transfer, false, false);
	approach->lacks_place = false;
	if (dlist_is_empty(&approach->waiting))
		return;
	approach->lookup_failed = false;
	transfer->client->waiting_due = 0;
}

/*
 * The table of a client's Approaches.
 */
HTAB *
origin_create_approaches(void)
{
	HASHCTL		ctl = {
		.keysize = offsetof(Approach, role) + sizeof(Oid),
		.entrysize = sizeof(Approach),
	};

	return hash_create("agno_bg approaches", 64, &ctl, HASH_ELEM | HASH_BLOBS);
}

/*
 * Servers come and go, and so do roles: forget the approaches that nobody takes just
 * now, and the servers that none is left to.
 */
static void
forget_idle(HttpClient *client)
{
	HASH_SEQ_STATUS all;
	Approach   *approach;
	slist_mutable_iter iter;

	hash_seq_init(&all, client->approaches);
	while ((approach = hash_seq_search(&all)) != NULL)
	{
		if (approach->transfers > 0 || approach->may_open)
			continue;
		approach->origin->approaches--;
		hash_search(client->approaches, approach, HASH_REMOVE, NULL);
	}
	slist_foreach_modify(iter, &client->origins)
	{
		Origin	   *origin = slist_container(Origin, node, iter.cur);

		if (origin->approaches > 0)
			continue;
		slist_delete_current(&iter);
		pfree(origin);
	}
}

/*
 * Whether the host of a server, scheme://host:port, is an address already. (What is in
 * brackets can be nothing else.)
 */
static bool
is_address(const char *origin)
{
	const char *host = strstr(origin, "://");
	char		text[INET_ADDRSTRLEN];
	struct in_addr address;
	size_t		length;

	/* a user's name is none */
	if (host == NULL || strchr(host, '@') != NULL)
		return false;
	host += 3;
	length = strcspn(host, ":");
	if (*host == '[' || length >= sizeof(text))
		return *host == '[';
	strlcpy(text, host, length + 1);
	return inet_pton(AF_INET, text, &address) == 1;
}

/*
 * The origin of this URL: all of it up to the path.
 */
static Origin *
find_origin(HttpClient *client, const char *url)
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

	origin = MemoryContextAllocZero(TopMemoryContext,
									offsetof(Origin, name) + length + 1);
	memcpy(origin->name, url, length);
	origin->is_address = is_address(origin->name);
	slist_push_head(&client->origins, &origin->node);
	return origin;
}

/*
 * The approach of this role to the server of this URL.
 */
Approach *
origin_approach(HttpClient *client, const char *url, Oid role)
{
	Approach	key = {.origin = find_origin(client, url),.role = role};
	Approach   *approach = hash_search(client->approaches, &key, HASH_FIND, NULL);

	if (approach != NULL)
		return approach;

	if (hash_get_num_entries(client->approaches) >= KEPT_APPROACHES)
	{
		forget_idle(client);
		/* that one, too, if nobody else is on the way there */
		key.origin = find_origin(client, url);
	}
	approach = hash_search(client->approaches, &key, HASH_ENTER, NULL);
	*approach = key;
	approach->origin->approaches++;
	dlist_init(&approach->waiting);
	dlist_init(&approach->queue);
	return approach;
}

/*
 * When those who wait for this address may go on, as of now_ms(), if nobody is looking it
 * up.
 */
static int64
may_go_on_at(HttpClient *client, const Approach *approach)
{
	return approach->lacks_place && !lookup_has_place(client, approach->role, approach->slow) ?
		Max(approach->next_lookup, now_ms() + PLACE_PAUSE) : approach->next_lookup;
}

/*
 * Whether those who wait for this address may go on. If that is a matter of time, they
 * are looked at again.
 */
bool
origin_may_go_on(HttpClient *client, const Approach *approach)
{
	int64		at;

	if (approach->lookup != NULL)
		return false;
	at = may_go_on_at(client, approach);
	if (at <= now_ms())
		return true;
	client->waiting_due = Min(client->waiting_due, at);
	return false;
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
	dlist_push_tail(&transfer->approach->waiting, &transfer->node);
	if (client->waiting++ == 0)
		client->waiting_due = PG_INT64_MAX;
	if (transfer->approach->lookup == NULL)
		client->waiting_due = Min(client->waiting_due,
								  may_go_on_at(client, transfer->approach));
}
