/*-------------------------------------------------------------------------
 *
 * reading.c
 *	  Reading what arrives, of one role after the other.
 *
 * The process that reads is one that all roles share, and what arrives may take long to
 * be read: an answer whose chunks have a byte each, for one. So libcurl is called for the
 * lanes of a role for no longer than a slice, or once, before it is for those of others.
 * Who has used least of its time lately comes first, as far as the time of the round allows:
 * so nobody waits for those who use more. And who has been read for very long while others
 * have transfers leaves them as much time: his lanes are parked, with their sockets and all
 * that libcurl would do by itself. What has arrived stays where it is.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "core/stopwatch.h"
#include "http/http_internal.h"
#include "http/poller.h"

/*
 * How long a round is, in microseconds, and how long a role is read in it: its part, but
 * more than two handshakes of TLS take.
 */
#define ROUND_TIME (20 * US_PER_MS)
#define LEAST_SLICE (5 * US_PER_MS)

/*
 * After this time, in microseconds, it is looked again whether a role has had enough of
 * its answers read to receive more.
 */
#define BEHIND_PAUSE (10 * US_PER_MS)

/*
 * After this time, in microseconds, what a role has used counts for half, and less than that
 * for nothing.
 */
#define HALF_LIFE (US_PER_S / 4)
#define LEAST_USED 100

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
	return account->read_for > ROUND_TIME &&
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
	Stopwatch	watch = stopwatch_start();
	int			running;

	client->call_began = watch.start;
	client->call_records = 0;
	client->call_bytes = 0;
	client->call_inflated = 0;
	client->call_cut = false;
	curl_multi_socket_action(lane->multi, fd, what, &running);
	if (account != NULL)
		account->read_for += stopwatch_read(&watch);
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
 * is parked, or what is read for others in it has taken its role long since the last round.
 */
void
reading_begin(Lane *lane)
{
	Account    *account = account_of(lane);

	if (lane->parked ||
		(account != NULL && account->read_for > LEAST_SLICE))
		return;
	read_timers(lane, account);
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

/* A lane in which something may be to be read. */
typedef struct Work
{
	Lane	   *lane;
	Account    *account;		/* its role's, or NULL */
} Work;

/*
 * Who has used least comes first, and then who has not been read for longest; of one role,
 * the lane that has not.
 */
static int
compare_work(const void *a, const void *b)
{
	const Work *left = a;
	const Work *right = b;

	if (left->account != right->account)
	{
		int64		left_used = left->account == NULL ? -1 : left->account->used;
		int64		right_used = right->account == NULL ? -1 : right->account->used;

		if (left_used != right_used)
			return left_used < right_used ? -1 : 1;
		/* No account has been used as little as none. */
		Assert(left->account != NULL && right->account != NULL);
		if (left->account->read_at != right->account->read_at)
			return left->account->read_at < right->account->read_at ? -1 : 1;
		return left->account < right->account ? -1 : 1;
	}
	return left->lane->read_at < right->lane->read_at ? -1 :
		left->lane->read_at > right->lane->read_at;
}

/*
 * The lanes in which something may be to be read, in their order: *count of them, in
 * palloc'd memory.
 */
static Work *
find_work(HttpClient *client, int *count)
{
	Work	   *work = palloc(sizeof(Work) * (client->lane_count + 1));
	int64		now = now_ms();

	*count = 0;
	for (int number = 0; number < client->lane_count; number++)
	{
		Lane	   *lane = client->lanes[number];

		if (lane->ready || lane->parked || (lane->due >= 0 && lane->due <= now))
			work[(*count)++] = (Work)
		{
			lane, account_of(lane)
		};
	}
	qsort(work, *count, sizeof(Work), compare_work);
	return work;
}

/*
 * There is no time to read this lane in this round.
 */
static void
pass(Lane *lane, Account *account, int64 began)
{
	account->passed_at = began;
	if (account->read_for == 0)
		lane->client->contended = true;
	if (lane->parked)
		park(lane, Max(account->unread_until, began));
}

/*
 * Read lanes, as far as there is time for their roles, and in all.
 */
static void
read_lanes(HttpClient *client, int64 began)
{
	int			count;
	Work	   *work = find_work(client, &count);

	for (int i = 0; i < count; i++)
	{
		Lane	   *lane = work[i].lane;
		Account    *account = work[i].account;
		int64		now = clock_now();

		if (account != NULL &&
			(now - began > ROUND_TIME || is_read_enough(client, account)))
			pass(lane, account, began);
		else
		{
			read_lane(lane, began);
			lane->read_at = now;
			if (account != NULL)
				account->read_at = now;
		}
	}
	pfree(work);
}

/*
 * What has been used lately counts for half from time to time: accounts of which nothing is
 * left are forgotten.
 */
static void
forget_used(HttpClient *client, int64 now)
{
	HASH_SEQ_STATUS all;
	Account    *account;
	int64		halvings = Min((now - client->halved_at) / HALF_LIFE, 30);

	if (halvings == 0)
		return;
	client->halved_at = now;
	hash_seq_init(&all, client->accounts);
	while ((account = hash_seq_search(&all)) != NULL)
	{
		account->used = account->used >= LEAST_USED ?
			account->used >> halvings : 0;
		transfer_close_account(client, account);
	}
}

/*
 * Note what each role has used, if another had to do without. Of those who have been read
 * for very long nothing is read for as long as that was, in all.
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
		if (is_read_too_long(client, account, now))
			account->unread_until = now + took;
		if (client->contended)
			account->used += account->read_for;
		account->read_for = 0;
	}
	forget_used(client, now);
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
	client->contended = false;
	client->parked_until = PG_INT64_MAX;
	client->slice = Max(ROUND_TIME / Max(roles, 1), LEAST_SLICE);
	read_lanes(client, began);
	end_round(client);
}
