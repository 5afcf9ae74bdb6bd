/*-------------------------------------------------------------------------
 *
 * reading.c
 *	  Reading what arrives, of one role after the other.
 *
 * The process that reads is one that all roles share, and what arrives may take long to
 * be read: an answer whose chunks have a byte each, for one. So libcurl is called for the
 * lanes of a role for no longer than a slice, or once, before it is for those of others.
 * Who has had his slice is heavy for a while, and is read after the others, as far as the
 * time of the round allows. And who has been read for very long while others have
 * transfers leaves them as much time: his lanes are parked, with their sockets and all
 * that libcurl would do by itself. What has arrived stays where it is.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "http/http_internal.h"
#include "http/poller.h"

/*
 * How long a role is read in a round, in microseconds, or its part of this, if it has less
 * then; and for how long those are begun to be read who are heavy.
 */
#define ROLE_SLICE (20 * US_PER_MS)
#define ROUND_TIME (50 * US_PER_MS)

/*
 * After this time, in microseconds, it is looked again whether a role has had enough of
 * its answers read to receive more.
 */
#define BEHIND_PAUSE (10 * US_PER_MS)

/*
 * How long a role is heavy that has had its slice, and no less than this, which is more than
 * a handshake of TLS takes; in microseconds.
 */
#define HEAVY_FOR (10 * US_PER_S)
#define LEAST_HEAVY (5 * US_PER_MS)

/*
 * What takes a role longer than this, in microseconds, others may have waited for without
 * having had anything to be read for yet.
 */
#define LONG_CALL (200 * US_PER_MS)

/* How long libcurl may take once it is called, in microseconds, for what is useless. */
#define LONGEST_CALL (100 * US_PER_MS)

/* How long roles share the client since two of them had transfers, in microseconds. */
#define SHARED_PAUSE (1 * US_PER_S)

/* How many events are taken from a poller at once. */
#define EVENT_BATCH 256

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
 * The account of the role whose transfers are in this lane, or NULL.
 */
static Account *
account_of(const Lane *lane)
{
	return lane->transfers == 0 ? NULL :
		hash_search(lane->client->accounts, &lane->role, HASH_FIND, NULL);
}

/*
 * Whether the lanes of this account have had their time for now.
 */
static bool
is_read_enough(const HttpClient *client, const Account *account)
{
	return account != NULL && account->read_for > client->slice;
}

/*
 * Whether they have been read for so long that others have had to wait.
 */
static bool
is_read_too_long(HttpClient *client, const Account *account, int64 now)
{
	return account->read_for > ROLE_SLICE &&
		(is_shared(client, now) || account->read_for > LONG_CALL);
}

/*
 * Whether libcurl has been called longer ago than it may take if what it reads is not of
 * much use.
 */
bool
reading_takes_long(const HttpClient *client)
{
	return clock_now() - client->call_began > LONGEST_CALL;
}

/*
 * Let libcurl do what there is to do for a socket, or, with CURL_SOCKET_TIMEOUT, for what
 * has no more time.
 */
static void
call(Lane *lane, Account *account, curl_socket_t fd, int what)
{
	HttpClient *client = lane->client;
	int64		began = clock_now();
	int			running;

	client->call_began = began;
	client->call_records = 0;
	client->call_bytes = 0;
	client->call_inflated = 0;
	client->call_cut = false;
	curl_multi_socket_action(lane->multi, fd, what, &running);
	if (account != NULL)
		account->read_for += clock_now() - began;
}

/*
 * Let libcurl do what is due by the clock, or is to be taken as if. It sets the next
 * time, if there is one, by a callback.
 */
static void
read_timers(Lane *lane, Account *account)
{
	lane->due = -1;
	call(lane, account, CURL_SOCKET_TIMEOUT, 0);
}

/*
 * Any of so many: who is first has more than others, when there is no time for all.
 */
static int
any_of(int count)
{
	return count < 2 ? 0 :
		(int) pg_prng_uint64_range(&pg_global_prng_state, 0, count - 1);
}

/*
 * Let libcurl do what there is to do for those of the lane's sockets that are ready.
 */
static void
read_sockets(Lane *lane, Account *account)
{
	PollerEvent events[EVENT_BATCH];
	int			count = poller_collect(lane->poller, events, EVENT_BATCH);
	int			first = any_of(count);

	for (int i = 0; i < count && !is_read_enough(lane->client, account); i++)
	{
		PollerEvent *event = &events[(first + i) % count];
		int			what = 0;

		if (event->events & POLLER_READ)
			what |= CURL_CSELECT_IN;
		if (event->events & POLLER_WRITE)
			what |= CURL_CSELECT_OUT;
		call(lane, account, event->fd, what);
	}
}

/*
 * A transfer has just been handed to libcurl in this lane: let it begin, unless the lane
 * is parked.
 */
void
reading_begin(Lane *lane)
{
	if (lane->parked)
		return;
	read_timers(lane, account_of(lane));
	lane_collect(lane);
}

/*
 * Nothing happens in the lane until then.
 */
static void
park(Lane *lane, int64 until)
{
	HttpClient *client = lane->client;

	if (!lane->parked)
		poller_forget(client->poller, lane->poller);
	lane->parked = true;
	client->parked_until = Min(client->parked_until, until);
}

void
reading_unpark(Lane *lane)
{
	if (!lane->parked)
		return;
	poller_watch(lane->client->poller, lane->poller, lane->number, POLLER_READ,
				 false);
	lane->parked = false;
	lane->unparked_at = clock_now();
}

/*
 * Read what there is in this lane, as far as its role may be.
 */
static void
read_lane(Lane *lane, int64 now)
{
	Account    *account = account_of(lane);
	int			timers = any_of(2);

	if (account != NULL && account->unread_until > now)
	{
		park(lane, account->unread_until);
		return;
	}
	if (account != NULL && transfer_is_behind(account))
	{
		park(lane, now + BEHIND_PAUSE);
		return;
	}
	reading_unpark(lane);
	/* Neither is to have all of the time. */
	for (int part = 0; part < 2 && !is_read_enough(lane->client, account); part++)
	{
		if (part != timers && lane->ready)
			read_sockets(lane, account);
		else if (part == timers && lane->due >= 0 && lane->due <= now_ms())
			read_timers(lane, account);
	}
	lane_collect(lane);
}

/*
 * Find the lanes with sockets that are ready.
 */
static void
find_ready(HttpClient *client)
{
	PollerEvent events[EVENT_BATCH];
	int			rounds = 1 + client->lane_count / EVENT_BATCH;
	int			count;

	for (int number = 0; number < client->lane_count; number++)
		client->lanes[number]->ready = false;
	do
	{
		count = poller_collect(client->poller, events, EVENT_BATCH);
		for (int i = 0; i < count; i++)
			client->lanes[events[i].tag]->ready = true;
	} while (count == EVENT_BATCH && --rounds > 0);
}

/*
 * Whether this is a lane of a role that is heavy.
 */
static bool
is_heavy(const Account *account, int64 began)
{
	return account != NULL && account->heavy_until > began;
}

/*
 * Read the lanes of those who are not heavy.
 */
static void
read_light(HttpClient *client, int64 began)
{
	int			first = any_of(client->lane_count);

	for (int i = 0; i < client->lane_count; i++)
	{
		Lane	   *lane = client->lanes[(first + i) % client->lane_count];

		if (!is_heavy(account_of(lane), began))
			read_lane(lane, began);
	}
}

/*
 * Read the lanes of this role, which is heavy.
 */
static void
read_heavy(HttpClient *client, Account *account, int64 began)
{
	int			first = any_of(client->lane_count);

	account->last_read = clock_now();
	for (int i = 0; i < client->lane_count; i++)
	{
		Lane	   *lane = client->lanes[(first + i) % client->lane_count];

		if (lane->transfers > 0 && lane->role == account->role)
			read_lane(lane, began);
	}
}

/*
 * Of those who are heavy, the one who has had no turn for the longest time, and none in
 * this round; or NULL.
 */
static Account *
next_heavy(HttpClient *client, int64 began)
{
	Account    *next = NULL;
	Account    *account;
	HASH_SEQ_STATUS all;

	hash_seq_init(&all, client->accounts);
	while ((account = hash_seq_search(&all)) != NULL)
	{
		if (is_heavy(account, began) && account->last_read < began &&
			(next == NULL || account->last_read < next->last_read))
			next = account;
	}
	return next;
}

/*
 * Read the lanes of those who are heavy, in turn, as far as there is time.
 */
static void
read_heavies(HttpClient *client, int64 began)
{
	Account    *account;

	while (clock_now() - began <= ROUND_TIME &&
		   (account = next_heavy(client, began)) != NULL)
		read_heavy(client, account, began);
	for (int number = 0; number < client->lane_count; number++)
	{
		Lane	   *lane = client->lanes[number];

		account = account_of(lane);
		if (is_heavy(account, began) && account->last_read < began && lane->parked)
			park(lane, Max(account->unread_until, began));
	}
}

/*
 * Those who have had their slices are heavy; of those who have been read for very long
 * nothing is read for as long as that was, in all.
 */
static void
end_round(HttpClient *client)
{
	int64		now = clock_now();
	int64		took = 0;
	HASH_SEQ_STATUS all;
	Account    *account;

	hash_seq_init(&all, client->accounts);
	while ((account = hash_seq_search(&all)) != NULL)
	{
		if (is_read_too_long(client, account, now))
			took += account->read_for;
	}
	hash_seq_init(&all, client->accounts);
	while ((account = hash_seq_search(&all)) != NULL)
	{
		if (account->read_for > Max(client->slice, LEAST_HEAVY))
			account->heavy_until = now + HEAVY_FOR;
		if (is_read_too_long(client, account, now))
			account->unread_until = now + took;
		account->read_for = 0;
	}
}

/*
 * Read what has arrived, and do what is due.
 */
void
reading_advance(HttpClient *client)
{
	int64		began = clock_now();
	int			roles = (int) hash_get_num_entries(client->accounts);

	find_ready(client);
	client->parked_until = PG_INT64_MAX;
	client->slice = Min(ROLE_SLICE, ROUND_TIME / Max(roles, 1));
	read_light(client, began);
	read_heavies(client, began);
	end_round(client);
}
