/*-------------------------------------------------------------------------
 *
 * http.c
 *	  HTTP requests, thousands at a time, with libcurl's multi interface.
 *
 * Knows no run, no table and no provider. The runner owns the one client of
 * its process; it waits on http_descriptor() for at most http_timeout_ms(),
 * calls http_advance(), and takes what is done from http_next_done().
 *
 * The callbacks that libcurl calls raise no error and use no palloc: a longjmp
 * through libcurl's frames would leave it broken. Signals are blocked around
 * every call into it, since the threads of its resolver inherit the mask and
 * no handler of PostgreSQL may ever run in them.
 *
 * Memory: the client lives as long as the process, its origins and approaches as
 * long as transfers need them, or there are few. A transfer and the body it receives
 * are malloc'd; http_release() frees the body, and keeps some transfers, with their
 * easy handles, for the next requests.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>
#include <signal.h>
#include <sys/resource.h>

#include "http/http_internal.h"
#include "http/poller.h"
#include "utils/memutils.h"

#if LIBCURL_VERSION_NUM < 0x075500
#error "agno_bg needs libcurl 7.85 or newer"
#endif

/* Descriptors that are left to the rest of the process. */
#define RESERVED_DESCRIPTORS 128

/* How many a lane takes: its poller, and two of libcurl's to be woken by. */
#define LANE_DESCRIPTORS 3

/* How long a transfer may go on when all that matters has arrived, in ms. */
#define LAST_MS 200

/* How long transfers that are late are ended before others are looked after, in us. */
#define LATE_SLICE (20 * US_PER_MS)

/* The mask with every signal in it. */
static sigset_t all_signals;

/*
 * Block every signal. Returns the mask to restore.
 */
static sigset_t
block_signals(void)
{
	sigset_t	before;

	sigprocmask(SIG_SETMASK, &all_signals, &before);
	return before;
}

static void
restore_signals(sigset_t mask)
{
	sigprocmask(SIG_SETMASK, &mask, NULL);
}

/*
 * Let this process open as many descriptors as it may: each HTTP/1.1 request
 * in flight takes one. Returns how many there are for them.
 */
static int
raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return PLAIN_LANE_SIZE * KEPT_LANES;
	if (limit.rlim_cur < limit.rlim_max)
	{
		rlim_t		before = limit.rlim_cur;

		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
			limit.rlim_cur = before;
	}
	if (limit.rlim_cur > INT_MAX)
		return INT_MAX;
	return Max((int) limit.rlim_cur - RESERVED_DESCRIPTORS, 1);
}

/* The heap's top is the largest, so the earlier deadline is the larger. */
static int
compare_deadlines(const pairingheap_node *a, const pairingheap_node *b,
				  void *arg)
{
	int64		left = pairingheap_const_container(HttpTransfer, timer, a)->deadline;
	int64		right = pairingheap_const_container(HttpTransfer, timer, b)->deadline;

	return left < right ? 1 : left > right ? -1 : 0;
}

/*
 * Create the client of this process; it lives as long as the process.
 */
HttpClient *
http_create(void)
{
	HttpClient *client;

	sigfillset(&all_signals);

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not initialize libcurl")));

	client = MemoryContextAllocZero(TopMemoryContext, sizeof(HttpClient));
	client->poller = poller_create();
	if (client->poller < 0)
		ereport(ERROR,
				(errcode_for_socket_access(),
				 errmsg("could not create a descriptor to wait on: %m")));
	client->capacity = raise_descriptor_limit();
	client->share = curl_share_init();
	if (client->share == NULL ||
		curl_share_setopt(client->share, CURLSHOPT_SHARE,
						  CURL_LOCK_DATA_DNS) != CURLSHE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not initialize libcurl")));
	slist_init(&client->origins);
	slist_init(&client->trusts);
	client->approaches = origin_create_approaches();
	client->accounts = transfer_create_accounts();
	dlist_init(&client->running);
	dlist_init(&client->done);
	dlist_init(&client->fresh);
	dlist_init(&client->later_done);
	dlist_init(&client->later_fresh);
	client->later_until = PG_INT64_MAX;
	dlist_init(&client->spare);
	dlist_init(&client->may_open);
	client->turns_due = PG_INT64_MAX;
	client->parked_until = PG_INT64_MAX;
	client->deadlines.ph_compare = compare_deadlines;
	return client;
}

/*
 * The descriptor that is readable when http_advance() has something to do.
 */
int
http_descriptor(HttpClient *client)
{
	return client->poller;
}

/*
 * How many transfers there may be at once, for want of descriptors.
 */
int
http_capacity(HttpClient *client)
{
	int			spent = client->lane_count * LANE_DESCRIPTORS;

	return Max(client->capacity - spent, 1);
}

/*
 * The transfer whose time is over first; there must be one.
 */
static HttpTransfer *
first_deadline(HttpClient *client)
{
	return pairingheap_container(HttpTransfer, timer,
								 pairingheap_first(&client->deadlines));
}

/*
 * In how many milliseconds http_advance() has something to do even if the
 * descriptor does not become readable; -1 when it has not.
 */
int64
http_timeout_ms(HttpClient *client)
{
	int64		due = -1;

	for (int number = 0; number < client->lane_count; number++)
	{
		int64		lane_due = client->lanes[number]->parked ? -1 :
			client->lanes[number]->due;

		if (lane_due >= 0 && (due < 0 || lane_due < due))
			due = lane_due;
	}
	if (client->waiting > 0 && (due < 0 || client->waiting_due < due))
		due = client->waiting_due;
	if (!pairingheap_is_empty(&client->deadlines) &&
		(due < 0 || first_deadline(client)->deadline < due))
		due = first_deadline(client)->deadline;
	if (client->turns_due != PG_INT64_MAX &&
		(due < 0 || client->turns_due < due))
		due = client->turns_due;
	if (client->parked_until != PG_INT64_MAX)
	{
		int64		parked_due = client->parked_until / US_PER_MS + 1;

		due = due < 0 ? parked_due : Min(due, parked_due);
	}
	if (client->later_until != PG_INT64_MAX)
	{
		int64		later_due = client->later_until / US_PER_MS + 1;

		due = due < 0 ? later_due : Min(due, later_due);
	}
	if (!dlist_is_empty(&client->may_open) ||
		!dlist_is_empty(&client->fresh) || !dlist_is_empty(&client->done))
		due = 0;
	return due < 0 ? -1 : Max(due - now_ms(), 0);
}

/*
 * Start a request. The transfer is returned by http_next_done() when it has
 * ended one way or another, and lives until http_release(), as must the body.
 */
HttpTransfer *
http_start(HttpClient *client, const HttpRequest *request, void *owner)
{
	Approach   *approach = origin_approach(client, request->url,
										   request->role);
	Account    *account = transfer_account(client, request->role);
	sigset_t	mask = block_signals();
	HttpTransfer *transfer = transfer_take(client);
	CURLcode	code;

	if (transfer != NULL)
		transfer->trust = trust_find(client, request->ca_file, transfer->easy);
	if (transfer == NULL || transfer->trust == NULL ||
		!transfer_copy_headers(transfer, request))
	{
		if (transfer != NULL)
			transfer_give_back(transfer);
		transfer_close_account(client, account);
		restore_signals(mask);
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	}
	transfer->owner = owner;
	transfer->approach = approach;
	transfer->account = account;
	transfer->started_at = clock_now();
	transfer->max_response = request->max_response;
	transfer->stream = request->stream;
	transfer->tell_sent = request->tell_sent;
	transfer->own_options = request->ca_file != NULL && !tls_has_contexts();
	transfer->timeout_ms = request->timeout_ms;
	code = transfer_set_options(transfer, request);
	if (code != CURLE_OK)
	{
		/* not to be used again */
		transfer->own_options = true;
		transfer_give_back(transfer);
		transfer_close_account(client, account);
		restore_signals(mask);
		ereport(ERROR,
				(errcode(ERRCODE_FDW_ERROR),
				 errmsg("could not prepare the request: %s",
						curl_easy_strerror(code))));
	}
	approach->transfers++;
	account->transfers++;
	transfer_set_deadline(transfer, Min(request->timeout_ms,
										request->connect_timeout_ms));
	lane_enter(transfer);
	restore_signals(mask);
	return transfer;
}

/*
 * Look after the transfers that wait here for the address of a server: all go on
 * when it is known, the first that has the time when it is to be looked up again.
 */
static void
look_after_waiting(HttpClient *client, Approach *approach)
{
	bool		may_go = !dlist_is_empty(&approach->waiting) &&
		origin_may_go_on(client, approach);
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &approach->waiting)
	{
		HttpTransfer *transfer = dlist_container(HttpTransfer, node, iter.cur);

		if (!may_go)
			break;
		if (approach->lookup_failed && !transfer_has_time(transfer))
			continue;
		lane_leave(transfer);
		lane_enter(transfer);
		may_go = !approach->lookup_failed;
	}
}

/*
 * No transfer outlives its time: neither one that waits for something, nor one that
 * libcurl has lost sight of. If they are many, the rest comes in the next moment.
 */
static void
end_late(HttpClient *client)
{
	int64		began = clock_now();

	while (!pairingheap_is_empty(&client->deadlines) &&
		   first_deadline(client)->deadline <= now_ms() &&
		   clock_now() - began < LATE_SLICE)
	{
		HttpTransfer *transfer = first_deadline(client);

		outcome_set_late(transfer);
		lane_leave(transfer);
		transfer_done(transfer);
	}
}

static void
move_all(dlist_head *from, dlist_head *to)
{
	while (!dlist_is_empty(from))
		dlist_push_tail(to, dlist_pop_head_node(from));
}

/*
 * Whoever was to wait has waited: who need not, or not as long, are returned again.
 */
static void
end_waiting(HttpClient *client)
{
	if (client->later_until > clock_now())
		return;
	client->later_until = PG_INT64_MAX;
	move_all(&client->later_fresh, &client->fresh);
	move_all(&client->later_done, &client->done);
}

/*
 * Do all that can be done without waiting.
 */
void
http_advance(HttpClient *client)
{
	sigset_t	mask = block_signals();
	Lane	   *lane;

	end_waiting(client);
	reading_advance(client);
	if (client->starved)
		lanes_close_idle(client);
	client->starved = false;
	if (client->origin_learned)
		lanes_move_to_plain(client);
	end_late(client);
	if (client->waiting > 0 && client->waiting_due <= now_ms())
	{
		HASH_SEQ_STATUS all;
		Approach   *approach;

		client->waiting_due = PG_INT64_MAX;
		hash_seq_init(&all, client->approaches);
		while ((approach = hash_seq_search(&all)) != NULL)
			look_after_waiting(client, approach);
	}
	lane_end_turns(client);
	while ((lane = lane_open_next(client)) != NULL)
	{
		reading_begin(lane);
		if (client->origin_learned)
			lanes_move_to_plain(client);
	}
	restore_signals(mask);
}

/*
 * A transfer that more of the answer has arrived for, as http_result() tells, or
 * that has been sent; NULL: none.
 */
HttpTransfer *
http_next_fresh(HttpClient *client)
{
	HttpTransfer *transfer;
	long		status = 0;

	if (dlist_is_empty(&client->fresh))
		return NULL;
	transfer = dlist_container(HttpTransfer, fresh_node,
							   dlist_pop_head_node(&client->fresh));
	transfer->is_fresh = false;
	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	transfer->result.status = (int) status;
	return transfer;
}

/*
 * A transfer that has ended and has not been returned before, or NULL. Of what has arrived
 * for it, http_next_fresh() tells no more.
 */
HttpTransfer *
http_next_done(HttpClient *client)
{
	HttpTransfer *transfer;

	if (dlist_is_empty(&client->done))
		return NULL;
	transfer = dlist_container(HttpTransfer, node,
							   dlist_pop_head_node(&client->done));
	transfer->place = NOWHERE;
	transfer_untell(transfer);
	return transfer;
}

/*
 * Let http_next_fresh() return this transfer again: not before the next http_advance(), nor
 * before this time, as of clock_now().
 */
void
http_return_fresh(HttpClient *client, HttpTransfer *transfer, int64 after)
{
	transfer->is_fresh = true;
	dlist_push_tail(&client->later_fresh, &transfer->fresh_node);
	client->later_until = Min(client->later_until, after);
}

/*
 * Let http_next_done() return this transfer again, likewise.
 */
void
http_return_done(HttpClient *client, HttpTransfer *transfer, int64 after)
{
	transfer->place = DONE;
	dlist_push_tail(&client->later_done, &transfer->node);
	client->later_until = Min(client->later_until, after);
}

/*
 * Whether the server has been reached, and the request is on its way or more.
 */
bool
http_is_sent(const HttpTransfer *transfer)
{
	return transfer->sent;
}

/*
 * The owner that http_start() was given.
 */
void *
http_owner(const HttpTransfer *transfer)
{
	return transfer->owner;
}

/*
 * What came of the transfer; of one that has not ended, what has arrived.
 */
const HttpResult *
http_result(HttpTransfer *transfer)
{
	transfer->result.body = transfer->body != NULL ? transfer->body : "";
	transfer->result.body_length = transfer->body_length;
	return &transfer->result;
}

/*
 * Make a secret unreadable in what has arrived, before anybody reads it.
 */
void
http_hide(HttpTransfer *transfer, const char *secret)
{
	size_t		length = strlen(secret);
	char	   *text;

	/* The body is terminated, and there may be a NUL anywhere in it. */
	for (size_t done = 0; done < transfer->body_length; done += strlen(text) + 1)
	{
		text = transfer->body + done;
		for (char *at = text; (at = strstr(at, secret)) != NULL; at += length)
			memset(at, '*', length);
	}
}

/*
 * What has arrived of the body, as http_result() tells, is not needed any more: what
 * arrives after it is all that is told next.
 */
void
http_let_go(HttpTransfer *transfer)
{
	transfer_let_go(transfer);
}

/*
 * All that matters of the body has arrived: if the transfer does not end within moments,
 * as it does when the connection can be used again, it is ended.
 */
void
http_end_soon(HttpTransfer *transfer)
{
	if (transfer->timed)
		transfer_set_end(transfer, Min(transfer->deadline, now_ms() + LAST_MS));
}

/*
 * The owner keeps so many bytes of what it has let go of this transfer, in all: they
 * count for its role as long as the transfer lives.
 */
void
http_charge(HttpTransfer *transfer, int64 bytes)
{
	transfer->kept = bytes;
	transfer_charge(transfer);
}

/*
 * So many bytes more, or less, are kept of what this role has received by transfers that
 * have been released: they count as well.
 */
void
http_keep(HttpClient *client, Oid role, int64 bytes)
{
	Account    *account = transfer_account(client, role);

	account->kept += bytes;
	transfer_close_account(client, account);
}

/*
 * How many bytes that are.
 */
int64
http_kept(HttpClient *client, Oid role)
{
	Account    *account = hash_search(client->accounts, &role, HASH_FIND, NULL);

	return account != NULL ? account->kept : 0;
}

/*
 * Free the transfer; one that has not ended is aborted: its connection is
 * closed (HTTP/1.1) or its stream is reset (HTTP/2).
 */
void
http_release(HttpClient *client, HttpTransfer *transfer)
{
	sigset_t	mask = block_signals();

	lane_leave(transfer);
	transfer_stop_timer(transfer);
	transfer->approach->transfers--;
	transfer->account->bytes -= transfer->held;
	transfer->account->done -= transfer->is_done;
	transfer->account->transfers--;
	transfer_close_account(client, transfer->account);
	transfer_give_back(transfer);
	lanes_remove_spare(client);
	restore_signals(mask);
}
