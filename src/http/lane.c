/*-------------------------------------------------------------------------
 *
 * lane.c
 *	  The multi handles of libcurl that transfers are in.
 *
 * A lane has transfers of one role at a time: what libcurl does for it is done for that
 * role (reading.c).
 *
 * A server that speaks HTTP/2 takes a hundred requests on one connection, but
 * for each request that finds no stream at once, libcurl opens a connection of its
 * own; and if it may not, because there is a bound, it keeps the request to itself
 * without looking at its timeouts. So https starts in a multiplexed lane, in
 * which a role has at most one transfer to a server that has no connection yet: its
 * opener. Its others to that server queue up in its Approach, where we look after
 * their time. One whose turn has come gets a stream at once, or opens the next
 * connection.
 *
 * Once a server has shown that it speaks only HTTP/1.1, by the first request that
 * is sent to it, it moves to plain lanes. Of those there are as many as it
 * takes, each for a few transfers only, since libcurl looks at every connection to
 * a host, one by one, before it uses one: with a thousand in one handle, that would
 * be half of its work. The first lane with room is used, so that connections are
 * used again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <unistd.h>

#include "http/http_internal.h"
#include "http/poller.h"

/*
 * How long a turn to open a connection lasts, in ms: a server may have taken leave
 * of one connection and be glad of the next.
 */
#define LONGEST_TURN 1000

/* How much an idle connection may have to say before it is closed, in bytes. */
#define IDLE_BYTES 4096

/* After this time, in ms, it is looked whether idle connections may be used again. */
#define IDLE_CHECK_PAUSE 10

/*
 * The library may be newer than the header that this was compiled with; an older one
 * does not know these options, and needs none of them.
 */
#if LIBCURL_VERSION_NUM < 0x081000
#define CURLMOPT_NETWORK_CHANGED ((CURLMoption) 17)
#endif
#if LIBCURL_VERSION_NUM < 0x081400
#define CURLMOPT_RESOLVE_THREADS_MAX ((CURLMoption) 20)
#define CURLMOPT_QUICK_EXIT ((CURLMoption) 21)
#endif

/* Connections, as a bit for CURLMOPT_NETWORK_CHANGED: it is another one from 8.20 on. */
#define CLEAR_CONNECTIONS_8_16 (1L << 0)
#define CLEAR_CONNECTIONS_8_20 (1L << 1)

/* libcurl wants other events of a socket. */
static int
socket_callback(CURL *easy, curl_socket_t fd, int what, void *lane_arg,
				void *known)
{
	Lane	   *lane = lane_arg;
	int			events = 0;

	socket_set_idle(lane->client, fd, what == CURL_POLL_REMOVE);
	if (what == CURL_POLL_REMOVE)
	{
		poller_forget(lane->poller, fd);
		return 0;
	}
	if (what & CURL_POLL_IN)
		events |= POLLER_READ;
	if (what & CURL_POLL_OUT)
		events |= POLLER_WRITE;
	poller_watch(lane->poller, fd, 0, events, known != NULL);
	if (known == NULL)
		curl_multi_assign(lane->multi, fd, lane);
	return 0;
}

/* libcurl wants to be called in so many milliseconds. */
static int
timer_callback(CURLM *multi, long timeout_ms, void *lane_arg)
{
	Lane	   *lane = lane_arg;

	lane->due = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
	return 0;
}

/*
 * Free a lane without transfers. What has arrived by its connections is read when they are
 * closed, which is to be no more than what honest servers say to the idle.
 */
static void
lane_free(Lane *lane)
{
	sockets_cut_idle(lane, IDLE_BYTES);
	curl_multi_cleanup(lane->multi);
	if (lane->poller >= 0)
		close(lane->poller);
	free(lane);
}

/*
 * A multi handle for this lane, or NULL.
 */
static CURLM *
multi_create(Lane *lane)
{
	CURLM	   *multi = curl_multi_init();
	int			idle = lane->client->capacity / (2 * KEPT_LANES);

	if (multi == NULL)
		return NULL;
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, socket_callback);
	curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, lane);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, timer_callback);
	curl_multi_setopt(multi, CURLMOPT_TIMERDATA, lane);

	/*
	 * From 8.20 on, libcurl has its look-ups wait for one of twenty threads,
	 * and a multi handle that is cleaned up waits for those: whose turn it is
	 * is our business (lookups.c), and no thread is waited for.
	 */
	curl_multi_setopt(multi, CURLMOPT_RESOLVE_THREADS_MAX,
					  (long) MAX_LOOKUP_THREADS);
	curl_multi_setopt(multi, CURLMOPT_QUICK_EXIT, 1L);

	/*
	 * Where there may be few open files, those that idle are not to have
	 * most.
	 */
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS,
					  (long) Max(Min(idle, PLAIN_LANE_SIZE), 1));
	return multi;
}

/*
 * There are no descriptors left: close the connections of lanes without transfers.
 */
void
lanes_close_idle(HttpClient *client)
{
	for (int number = 0; number < client->lane_count; number++)
	{
		Lane	   *lane = client->lanes[number];
		CURLM	   *multi = lane->transfers == 0 ? multi_create(lane) : NULL;

		if (multi == NULL)
			continue;
		sockets_cut_idle(lane, IDLE_BYTES);
		curl_multi_cleanup(lane->multi);
		lane->multi = multi;
		lane->due = -1;
	}
}

/*
 * Add a lane. Returns NULL when there is no memory, or no descriptor.
 */
static Lane *
lane_create(HttpClient *client, const Trust *trust, bool multiplexed)
{
	Lane	   *lane = calloc(1, sizeof(Lane));
	Lane	  **lanes = client->lanes;

	if (lane == NULL)
		return NULL;
	if (client->lane_count == client->lane_size)
	{
		int			larger = Max(KEPT_LANES, client->lane_size * 2);

		lanes = realloc(lanes, sizeof(Lane *) * larger);
		if (lanes != NULL)
		{
			client->lanes = lanes;
			client->lane_size = larger;
		}
	}
	lane->client = client;
	lane->number = client->lane_count;
	lane->multi = multi_create(lane);
	lane->poller = poller_create();
	lane->multiplexed = multiplexed;
	lane->trust = trust;
	lane->due = -1;
	if (lanes == NULL || lane->multi == NULL || lane->poller < 0)
	{
		lane_free(lane);
		return NULL;
	}

	client->lanes[client->lane_count++] = lane;
	poller_watch(client->poller, lane->poller, lane->number, POLLER_READ, false);
	return lane;
}

/*
 * A lane of that kind for one more transfer of this role: one with room, or an empty
 * one, which may be another role's next. NULL when there is none to be had.
 */
static Lane *
find_lane(HttpClient *client, Oid role, const Trust *trust, bool multiplexed)
{
	Lane	   *empty = NULL;

	for (int number = 0; number < client->lane_count; number++)
	{
		Lane	   *lane = client->lanes[number];

		if (lane->multiplexed != multiplexed || lane->trust != trust)
			continue;
		if (lane->transfers == 0)
		{
			if (empty == NULL || (lane->role == role && empty->role != role))
				empty = lane;
		}
		else if (lane->role == role &&
				 (multiplexed || lane->transfers < PLAIN_LANE_SIZE))
			return lane;
	}
	if (empty == NULL)
		empty = lane_create(client, trust, multiplexed);
	if (empty != NULL)
	{
		reading_unpark(empty);
		empty->role = role;
	}
	return empty;
}

/*
 * After a rush, close what idle connections the last lanes have, and give the
 * memory back to the system: what is left is scattered all over it.
 */
void
lanes_remove_spare(HttpClient *client)
{
	int			count = client->lane_count;

	while (client->lane_count > Max(KEPT_LANES, 2 * client->busy_lanes) &&
		   client->lanes[client->lane_count - 1]->transfers == 0)
		lane_free(client->lanes[--client->lane_count]);
#ifdef __GLIBC__
	if (client->lane_count < count && client->transfers == 0)
		malloc_trim(0);
#endif
}

/*
 * Put what libcurl has finished into the list of done transfers.
 */
void
lane_collect(Lane *lane)
{
	HttpClient *client = lane->client;
	CURLMsg    *message;
	int			left;

	while ((message = curl_multi_info_read(lane->multi, &left)) != NULL)
	{
		HttpTransfer *transfer;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE,
						  (char **) &transfer);
		if (transfer->refused)
		{
			lane_leave(transfer);
			origin_wait_for_address(transfer);
			continue;
		}
		origin_end_lookup(transfer, message->data.result != CURLE_OK,
						  message->data.result == CURLE_OPERATION_TIMEDOUT);
		if (client->waiting > 0)
			client->waiting_due = 0;
		lane_end_opening(transfer);
		outcome_set(transfer, message->data.result);
		dlist_delete(&transfer->node);
		transfer_done(transfer);
	}
}

static bool
origin_has_tls(const Origin *origin)
{
	return strncmp(origin->name, "https:", 6) == 0;
}

/*
 * Whether requests to this server may share a connection, as far as is known.
 */
static bool
is_multiplexed(const Origin *origin)
{
	return origin_has_tls(origin) && !origin->speaks_http1;
}

/*
 * What arrives by an idle connection of HTTP/1.1 is no answer to what is asked next: a
 * second answer to what was asked before, or, by TLS, that the server has closed it. But
 * libcurl takes it for alive then, so it is cut.
 */
static void
cut_what_speaks(Lane *lane)
{
	int64		now = now_ms();

	if (lane->multiplexed || now < lane->idle_check_due)
		return;
	lane->idle_check_due = now + IDLE_CHECK_PAUSE;
	sockets_cut_idle(lane, 0);
}

/*
 * What has been cut is not to be used again. (Newer versions of libcurl do not look whether
 * what idled for a moment is still there.) Not to be called by a callback of libcurl's.
 */
static void
forget_cut(Lane *lane)
{
	bool		is_8_20;

	if (!lane->has_cut)
		return;
	is_8_20 = curl_version_info(CURLVERSION_NOW)->version_num >= 0x081400;
	curl_multi_setopt(lane->multi, CURLMOPT_NETWORK_CHANGED, is_8_20 ?
					  CLEAR_CONNECTIONS_8_20 : CLEAR_CONNECTIONS_8_16);
	lane->has_cut = false;
}

/*
 * It is the turn of this transfer.
 */
static void
begin_opening(HttpTransfer *transfer)
{
	Approach   *approach = transfer->approach;

	approach->opener = transfer;
	approach->turn_ends = now_ms() + LONGEST_TURN;
	if (!dlist_is_empty(&approach->queue))
		transfer->client->turns_due = Min(transfer->client->turns_due,
										  approach->turn_ends);
}

/*
 * Hand the transfer to libcurl, in the lane of its origin. On failure its result
 * says so.
 */
static void
enter(HttpTransfer *transfer)
{
	HttpClient *client = transfer->client;
	Origin	   *origin = transfer->approach->origin;
	bool		multiplexed = is_multiplexed(origin);
	bool		has_tls = origin_has_tls(origin);
	Lane	   *lane = find_lane(client, transfer->account->role,
								 has_tls ? transfer->trust : NULL, multiplexed);
	CURLMcode	code = CURLM_OUT_OF_MEMORY;

	curl_easy_setopt(transfer->easy, CURLOPT_HTTP_VERSION,
					 multiplexed ? (long) CURL_HTTP_VERSION_2TLS :
					 (long) CURL_HTTP_VERSION_1_1);
	transfer_watch(transfer, has_tls);
	transfer->lane = lane;
	if (lane != NULL)
	{
		cut_what_speaks(lane);
		forget_cut(lane);
		code = curl_multi_add_handle(lane->multi, transfer->easy);
	}
	if (code == CURLM_OK)
	{
		client->busy_lanes += lane->transfers++ == 0;
		client->transfers++;
		if (multiplexed)
			begin_opening(transfer);
		transfer->place = RUNNING;
		transfer->hurried = !transfer_has_time(transfer);
		dlist_push_tail(&client->running, &transfer->node);
	}
	else
	{
		transfer->lane = NULL;
		client->starved = true;
		transfer->result.failure = HTTP_NO_RESOURCES;
		transfer->result.reason = curl_multi_strerror(code);
		transfer_done(transfer);
	}
}

/*
 * Hand the transfer to libcurl, or have it wait for its turn to open a connection.
 * On failure its result says so.
 */
void
lane_enter(HttpTransfer *transfer)
{
	Approach   *approach = transfer->approach;

	if (is_multiplexed(approach->origin) &&
		(approach->opener != NULL || !dlist_is_empty(&approach->queue)))
	{
		transfer->place = IN_QUEUE;
		dlist_push_tail(&approach->queue, &transfer->node);
		transfer->client->turns_due = Min(transfer->client->turns_due,
										  approach->turn_ends);
	}
	else
		enter(transfer);
}

/*
 * Nobody opens a connection here: it is the next one's turn.
 */
static void
offer_turn(HttpClient *client, Approach *approach)
{
	if (dlist_is_empty(&approach->queue) || approach->may_open)
		return;
	approach->may_open = true;
	dlist_push_tail(&client->may_open, &approach->open_node);
}

/*
 * If this transfer was to open a connection, it does so no more.
 */
void
lane_end_opening(HttpTransfer *transfer)
{
	if (transfer->approach->opener != transfer)
		return;
	transfer->approach->opener = NULL;
	offer_turn(transfer->client, transfer->approach);
}

/*
 * End the turns that have lasted too long while others wait.
 */
void
lane_end_turns(HttpClient *client)
{
	int64		now = now_ms();
	HASH_SEQ_STATUS all;
	Approach   *approach;

	if (client->turns_due > now)
		return;
	client->turns_due = PG_INT64_MAX;
	hash_seq_init(&all, client->approaches);
	while ((approach = hash_seq_search(&all)) != NULL)
	{
		if (approach->opener == NULL || dlist_is_empty(&approach->queue))
			continue;
		if (approach->turn_ends <= now)
			lane_end_opening(approach->opener);
		else
			client->turns_due = Min(client->turns_due, approach->turn_ends);
	}
}

/*
 * Let the next transfer have its turn. Returns the lane that it is in, or
 * NULL when there was none that could be handed to libcurl.
 */
Lane *
lane_open_next(HttpClient *client)
{
	while (!dlist_is_empty(&client->may_open))
	{
		Approach   *approach = dlist_container(Approach, open_node,
											   dlist_pop_head_node(&client->may_open));
		HttpTransfer *transfer;

		approach->may_open = false;
		if (dlist_is_empty(&approach->queue))
			continue;
		transfer = dlist_container(HttpTransfer, node,
								   dlist_pop_head_node(&approach->queue));
		transfer->place = NOWHERE;
		enter(transfer);
		if (approach->opener == NULL)
			offer_turn(client, approach);
		if (transfer->lane != NULL)
			return transfer->lane;
	}
	return NULL;
}

void
lane_leave(HttpTransfer *transfer)
{
	HttpClient *client = transfer->client;

	origin_end_lookup(transfer, true, true);
	if (transfer->lane != NULL)
	{
		transfer->leaving = true;
		curl_multi_remove_handle(transfer->lane->multi, transfer->easy);
		transfer->leaving = false;
		client->busy_lanes -= --transfer->lane->transfers == 0;
		client->transfers--;
	}
	transfer->lane = NULL;
	transfer_untell(transfer);
	if (transfer->place == WAITING)
		client->waiting--;
	if (transfer->place != NOWHERE)
		dlist_delete(&transfer->node);
	transfer->place = NOWHERE;
	lane_end_opening(transfer);
}

static void
move(HttpTransfer *transfer)
{
	lane_leave(transfer);
	lane_enter(transfer);
}

/*
 * Move the transfers that wait for their turn to open a connection to a server
 * which has turned out to speak HTTP/1.1.
 */
void
lanes_move_to_plain(HttpClient *client)
{
	HASH_SEQ_STATUS all;
	Approach   *approach;

	client->origin_learned = false;
	hash_seq_init(&all, client->approaches);
	while ((approach = hash_seq_search(&all)) != NULL)
	{
		dlist_mutable_iter queued;

		if (!approach->origin->speaks_http1)
			continue;
		if (approach->opener != NULL && approach->lookup != approach->opener)
			move(approach->opener);
		dlist_foreach_modify(queued, &approach->queue)
			move(dlist_container(HttpTransfer, node, queued.cur));
	}
}
