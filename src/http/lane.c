/*-------------------------------------------------------------------------
 *
 * lane.c
 *	  The multi handles of libcurl that transfers are in.
 *
 * A server that speaks HTTP/2 takes a hundred requests on one connection, but
 * libcurl opens a new connection for each request beyond that unless the
 * connections of a host are bounded; and that bound must not hold for HTTP/1.1,
 * where each request in flight needs a connection. So https starts in the
 * multiplexed lane, with the bound; once a server has shown that it speaks only
 * HTTP/1.1, it moves to the plain lanes. Of those there are as many as it takes,
 * each for a few transfers only, since libcurl looks at every connection to a
 * host, one by one, before it uses one: with a thousand in one handle, that would
 * be half of its work. The first lane with room is used, so that connections are
 * used again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "http/http_internal.h"
#include "http/poller.h"

/* How many connections a server that speaks HTTP/2 gets. */
#define MULTIPLEXED_CONNECTIONS 4L

/* libcurl wants other events of a socket. */
static int
socket_callback(CURL *easy, curl_socket_t fd, int what, void *lane_arg,
				void *known)
{
	Lane	   *lane = lane_arg;
	int			events = 0;

	if (what == CURL_POLL_REMOVE)
	{
		poller_forget(lane->client->poller, fd);
		return 0;
	}
	if (what & CURL_POLL_IN)
		events |= POLLER_READ;
	if (what & CURL_POLL_OUT)
		events |= POLLER_WRITE;
	poller_watch(lane->client->poller, fd, lane->number, events,
				 known != NULL);
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
 * Add a lane; the first is the multiplexed one. Returns NULL when there is no
 * memory.
 */
Lane *
lane_create(HttpClient *client)
{
	Lane	   *lane = calloc(1, sizeof(Lane));
	CURLM	   *multi = curl_multi_init();
	Lane	  **lanes = client->lanes;

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
	if (lane == NULL || multi == NULL || lanes == NULL)
	{
		curl_multi_cleanup(multi);
		free(lane);
		return NULL;
	}

	lane->client = client;
	lane->number = client->lane_count;
	lane->multi = multi;
	lane->due = -1;
	client->lanes[client->lane_count++] = lane;
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, socket_callback);
	curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, lane);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, timer_callback);
	curl_multi_setopt(multi, CURLMOPT_TIMERDATA, lane);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) PLAIN_LANE_SIZE);
	if (lane->number == MULTIPLEXED_LANE)
		curl_multi_setopt(multi, CURLMOPT_MAX_HOST_CONNECTIONS,
						  MULTIPLEXED_CONNECTIONS);
	return lane;
}

/*
 * The first plain lane with room, or NULL when there is no memory for one.
 */
static Lane *
find_plain_lane(HttpClient *client)
{
	for (int number = MULTIPLEXED_LANE + 1; number < client->lane_count;
		 number++)
	{
		if (client->lanes[number]->transfers < PLAIN_LANE_SIZE)
			return client->lanes[number];
	}
	return lane_create(client);
}

/*
 * After a rush, close what idle connections the last lanes have, and give the
 * memory back to the system: what is left is scattered all over it.
 */
void
lanes_remove_spare(HttpClient *client)
{
	int			count = client->lane_count;

	while (client->lane_count > KEPT_LANES &&
		   client->transfers < client->lane_count * PLAIN_LANE_SIZE / 4 &&
		   client->lanes[client->lane_count - 1]->transfers == 0)
	{
		Lane	   *lane = client->lanes[--client->lane_count];

		curl_multi_cleanup(lane->multi);
		free(lane);
	}
#ifdef __GLIBC__
	if (client->lane_count < count && client->transfers == 0)
		malloc_trim(0);
#endif
}

/*
 * Hand the transfer to libcurl, in the lane of its origin. On failure its
 * result says so.
 */
void
lane_enter(HttpTransfer *transfer)
{
	HttpClient *client = transfer->client;
	bool		https = strncmp(transfer->origin->name, "https:", 6) == 0;
	bool		multiplexed = https && !transfer->origin->speaks_http1;
	Lane	   *lane = multiplexed ?
		client->lanes[MULTIPLEXED_LANE] : find_plain_lane(client);
	CURLMcode	code = CURLM_OUT_OF_MEMORY;

	curl_easy_setopt(transfer->easy, CURLOPT_HTTP_VERSION,
					 multiplexed ? (long) CURL_HTTP_VERSION_2TLS :
					 (long) CURL_HTTP_VERSION_1_1);
	transfer->lane = lane;
	if (lane != NULL)
		code = curl_multi_add_handle(lane->multi, transfer->easy);
	transfer->listed = true;
	if (code == CURLM_OK)
	{
		lane->transfers++;
		client->transfers++;
		dlist_push_tail(&client->running, &transfer->node);
	}
	else
	{
		transfer->lane = NULL;
		transfer->result.failure = HTTP_NO_RESOURCES;
		transfer->result.reason = curl_multi_strerror(code);
		dlist_push_tail(&client->done, &transfer->node);
	}
}

void
lane_leave(HttpTransfer *transfer)
{
	origin_end_lookup(transfer, true, true);
	if (transfer->waits)
		transfer->client->waiting--;
	transfer->waits = false;
	if (transfer->lane != NULL)
	{
		curl_multi_remove_handle(transfer->lane->multi, transfer->easy);
		transfer->lane->transfers--;
		transfer->client->transfers--;
	}
	transfer->lane = NULL;
	if (transfer->is_fresh)
		dlist_delete(&transfer->fresh_node);
	transfer->is_fresh = false;
	if (transfer->listed)
		dlist_delete(&transfer->node);
	transfer->listed = false;
}

/*
 * Move the transfers that wait for one of few connections to a server which
 * has turned out to speak HTTP/1.1.
 */
void
lanes_move_to_plain(HttpClient *client)
{
	dlist_mutable_iter iter;

	client->origin_learned = false;
	dlist_foreach_modify(iter, &client->running)
	{
		HttpTransfer *transfer = dlist_container(HttpTransfer, node, iter.cur);

		if (transfer->lane->number == MULTIPLEXED_LANE && !transfer->sent &&
			transfer->origin->speaks_http1 &&
			transfer->origin->lookup != transfer)
		{
			lane_leave(transfer);
			lane_enter(transfer);
		}
	}
}
