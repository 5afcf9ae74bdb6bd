/*-------------------------------------------------------------------------
 *
 * sockets.c
 *	  The sockets of the HTTP client, and whose they are.
 *
 * What arrives is read by the process that all roles share, and much may arrive at once
 * that takes long to be read: an answer whose chunks have a byte each, for one. So who
 * has been read for longer than a slice, while others have transfers, is not read for as
 * long: his sockets are not watched meanwhile. What has arrived stays where it is.
 *
 * Called by libcurl's callbacks: uses malloc, and raises no error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "http/http_internal.h"
#include "http/poller.h"

/* How long a role is read before others are, in microseconds. */
#define ROLE_SLICE (20 * US_PER_MS)

/* How long roles share the client since two of them had transfers, in microseconds. */
#define SHARED_PAUSE (1 * US_PER_S)

/* How many events are taken from the poller at once. */
#define EVENT_BATCH 256

/*
 * The entry of a descriptor, or NULL when there is no memory for it.
 */
static Socket *
socket_of(HttpClient *client, int fd)
{
	if (fd >= client->socket_size)
	{
		int			larger = Max(fd + 1, Max(256, client->socket_size * 2));
		Socket	   *sockets = realloc(client->sockets, sizeof(Socket) * larger);

		if (sockets == NULL)
			return NULL;
		memset(sockets + client->socket_size, 0,
			   sizeof(Socket) * (larger - client->socket_size));
		client->sockets = sockets;
		client->socket_size = larger;
	}
	return &client->sockets[fd];
}

/*
 * Wait for these events of a socket, and for no others, for a lane and this role;
 * InvalidOid: nobody. Without memory for its entry, it is nobody's.
 */
void
sockets_watch(HttpClient *client, int fd, int lane, Oid role, int events,
			  bool known)
{
	Socket	   *entry = socket_of(client, fd);

	if (entry != NULL)
	{
		known &= !entry->parked;
		entry->role = role;
		entry->lane = lane;
		entry->events = events;
		entry->parked = false;
	}
	poller_watch(client->poller, fd, lane, events, known);
}

/*
 * Stop watching it.
 */
void
sockets_forget(HttpClient *client, int fd)
{
	if (fd < client->socket_size)
		memset(&client->sockets[fd], 0, sizeof(Socket));
	poller_forget(client->poller, fd);
}

/*
 * More than one role has transfers, or had just now.
 */
static bool
is_shared(HttpClient *client, int64 now)
{
	if (hash_get_num_entries(client->accounts) > 1)
		client->shared_until = now + SHARED_PAUSE;
	return now < client->shared_until;
}

/*
 * The account of the role that this socket is watched for, or NULL.
 */
static Account *
account_of(HttpClient *client, int fd)
{
	if (fd >= client->socket_size || !OidIsValid(client->sockets[fd].role))
		return NULL;
	return hash_search(client->accounts, &client->sockets[fd].role, HASH_FIND,
					   NULL);
}

/*
 * Do not watch this socket as long as its role is not read.
 */
static void
park(HttpClient *client, int fd, int64 until)
{
	client->sockets[fd].parked = true;
	client->parked_until = Min(client->parked_until, until);
	poller_forget(client->poller, fd);
}

/*
 * Watch those again whose roles may be read again.
 */
static void
unpark(HttpClient *client, int64 now)
{
	int64		next = PG_INT64_MAX;

	for (int fd = 0; fd < client->socket_size; fd++)
	{
		Socket	   *entry = &client->sockets[fd];
		Account    *account;

		if (!entry->parked)
			continue;
		account = account_of(client, fd);
		if (account != NULL && account->unread_until > now)
			next = Min(next, account->unread_until);
		else
		{
			entry->parked = false;
			poller_watch(client->poller, fd, entry->lane, entry->events, false);
		}
	}
	client->parked_until = next;
}

/*
 * Something has been read for this role, until now: if that has taken long, it is not
 * read for as long.
 */
static void
charge_time(HttpClient *client, Oid role, int64 took, int64 now)
{
	Account    *account = hash_search(client->accounts, &role, HASH_FIND, NULL);

	if (account == NULL)
		return;
	account->read_for += took;
	if (account->read_for <= ROLE_SLICE)
		return;
	if (is_shared(client, now))
		account->unread_until = now + account->read_for;
	account->read_for = 0;
}

/*
 * Let libcurl do what there is to do for a socket. The time is that until now.
 */
static void
advance_socket(HttpClient *client, const PollerEvent *event, int64 *now)
{
	Account    *account = account_of(client, event->fd);
	Oid			role = account != NULL ? account->role : InvalidOid;
	int64		began = *now;
	int			what = 0;
	int			running;

	if (account != NULL && account->unread_until > began)
	{
		park(client, event->fd, account->unread_until);
		return;
	}
	if (event->events & POLLER_READ)
		what |= CURL_CSELECT_IN;
	if (event->events & POLLER_WRITE)
		what |= CURL_CSELECT_OUT;
	curl_multi_socket_action(client->lanes[event->tag]->multi, event->fd, what,
							 &running);
	*now = clock_now();
	charge_time(client, role, *now - began, *now);
}

/*
 * Let libcurl do what there is to do for those sockets that are ready.
 */
void
sockets_advance(HttpClient *client)
{
	PollerEvent events[EVENT_BATCH];
	int64		now = clock_now();
	int			count;
	int			rounds = 1 + client->transfers / EVENT_BATCH;
	HASH_SEQ_STATUS all;
	Account    *account;

	hash_seq_init(&all, client->accounts);
	while ((account = hash_seq_search(&all)) != NULL)
		account->read_for = 0;
	if (client->parked_until <= now)
		unpark(client, now);

	/* Servers that never pause are not to keep the runner here for ever. */
	do
	{
		count = poller_collect(client->poller, events, EVENT_BATCH);
		for (int i = 0; i < count; i++)
			advance_socket(client, &events[i], &now);
	} while (count == EVENT_BATCH && --rounds > 0);
}
