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
 * There are several multi handles, called lanes. A server that speaks HTTP/2
 * takes a hundred requests on one connection, but libcurl opens a new
 * connection for each request beyond that unless the connections of a host are
 * bounded; and that bound must not hold for HTTP/1.1, where each request in
 * flight needs a connection. So https starts in the multiplexed lane, with the
 * bound; once a server has shown that it speaks only HTTP/1.1, it moves to the
 * plain lanes. Of those there are as many as it takes, each for a few transfers
 * only, since libcurl looks at every connection to a host, one by one, before
 * it uses one: with a thousand in one handle, that would be half of its work.
 * The first lane with room is used, so that connections are used again.
 *
 * libcurl looks up the address of a server in a thread of its own for each
 * transfer that needs it, and a name server may take half a minute. So there is
 * one lookup for a server at a time, whose result all lanes share; transfers
 * that would begin another wait for it. Nobody ever waits for the thread: one
 * whose transfer is over is left to end by itself, and the next lookup for that
 * server is not begun at once.
 *
 * Memory: the client and its origins live as long as the process. A transfer
 * and the body it receives are malloc'd; http_release() frees the body, and
 * keeps some transfers, with their easy handles, for the next requests.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <curl/curl.h>
#include <limits.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/version.h"
#include "http/http.h"
#include "http/poller.h"
#include "http/retry_after.h"
#include "lib/ilist.h"
#include "portability/instr_time.h"
#include "utils/memutils.h"

#if LIBCURL_VERSION_NUM < 0x075500
#error "agno_bg needs libcurl 7.85 or newer"
#endif

/* How many connections a server that speaks HTTP/2 gets. */
#define MULTIPLEXED_CONNECTIONS 4L

/* The buffer of a transfer, in bytes: texts are small, transfers many. */
#define READ_BUFFER_SIZE 8192L

/* How many transfers a plain lane takes, each with a connection. */
#define PLAIN_LANE_SIZE 64

/* How many lanes stay when they are empty, for their idle connections. */
#define KEPT_LANES 16

/* How many transfers are kept to be used again. */
#define SPARE_TRANSFERS 256

/* Descriptors that are left to the rest of the process. */
#define RESERVED_DESCRIPTORS 128

/* How many events are taken from the poller at once. */
#define EVENT_BATCH 256

/*
 * After a lookup that nobody has waited for, and whose thread may live on, how
 * long there is no other for the same server, in milliseconds.
 */
#define ABANDONED_PAUSE 4000

/* The lane for HTTP/2, and for what is not known yet; all others are plain. */
#define MULTIPLEXED_LANE 0

typedef struct Lane
{
	HttpClient *client;			/* whose lane this is */
	int			number;			/* its index, also the tag of its sockets in
								 * the poller */
	CURLM	   *multi;
	int			transfers;		/* how many are in it */
	int64		due;			/* when libcurl wants to be called, as of
								 * now_ms(); -1: not before an event */
} Lane;

/* A server that transfers go to. */
typedef struct Origin
{
	slist_node	node;			/* in HttpClient.origins */
	bool		speaks_http1;	/* it has answered in HTTP/1.1 */
	HttpTransfer *lookup;		/* the transfer that looks up the address, or
								 * NULL */
	bool		lookup_failed;	/* the last one has found nothing */
	int64		next_lookup;	/* none before, as of now_ms() */
	dlist_head	waiting;		/* transfers that wait for an address */
	char		name[FLEXIBLE_ARRAY_MEMBER];	/* scheme://host:port */
} Origin;

struct HttpClient
{
	int			poller;			/* descriptor of poller.c, owned */
	int			capacity;		/* how many connections there may be */
	Lane	  **lanes;			/* lane_count of lane_size; owned */
	int			lane_count;
	int			lane_size;
	int			transfers;		/* how many are in all of them */
	slist_head	origins;		/* every Origin met so far */
	dlist_head	spare;			/* transfers that nobody uses */
	int			spare_count;
	dlist_head	running;		/* transfers that libcurl works on */
	dlist_head	done;			/* transfers that http_next_done() returns */
	dlist_head	fresh;			/* transfers that http_next_fresh() returns */
	CURLSH	   *share;			/* addresses, for all lanes */
	int			waiting;		/* how many transfers wait for an address */
	int64		waiting_due;	/* when to look at them, as of now_ms() */
	bool		origin_learned; /* an origin turned out to speak HTTP/1.1 */
};

struct HttpTransfer
{
	dlist_node	node;			/* in HttpClient.running, .done or .spare, or
								 * none */
	bool		listed;			/* node is in one of the first two, or in
								 * Origin.waiting */
	bool		waits;			/* it is in Origin.waiting */
	bool		refused;		/* it is to wait for an address */
	int64		give_up_at;		/* waiting, as of now_ms() */
	int64		timeout_ms;		/* of the request */
	dlist_node	fresh_node;		/* in HttpClient.fresh */
	bool		is_fresh;		/* fresh_node is in it */
	bool		stream;			/* pieces are wanted */
	void	   *owner;			/* whatever the caller gave */
	HttpClient *client;
	Origin	   *origin;
	Lane	   *lane;			/* that easy is in, or NULL */
	bool		sent;			/* libcurl has a connection for it */
	CURL	   *easy;
	bool		own_certificates;	/* easy has a CA file of its own */
	struct curl_slist *headers; /* owned */
	char	   *body;			/* malloc'd, NUL-terminated, NULL while empty */
	size_t		body_length;	/* bytes received */
	size_t		body_size;		/* bytes allocated */
	size_t		max_response;	/* bytes that body_length may reach */
	bool		too_large;		/* the body passed max_response */
	bool		no_socket;		/* there was no descriptor, or no memory, for
								 * one */
	int64		started_at;		/* as of clock_now() */
	int64		answered_at;	/* when the first byte arrived; 0: none has */
	HttpResult	result;			/* valid once done */
	char		error[CURL_ERROR_SIZE]; /* libcurl's words */
};

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

static int64
now_ms(void)
{
	return clock_now() / 1000;
}

/*-------------------------------------------------------------------------
 * Callbacks of libcurl
 *-------------------------------------------------------------------------
 */

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

/* A piece of the body has arrived. */
static size_t
body_callback(char *bytes, size_t size, size_t count, void *transfer_arg)
{
	HttpTransfer *transfer = transfer_arg;
	size_t		length = size * count;
	size_t		needed = transfer->body_length + length + 1;

	if (transfer->body_length + length > transfer->max_response)
	{
		transfer->too_large = true;
		return CURL_WRITEFUNC_ERROR;
	}
	if (needed > transfer->body_size)
	{
		size_t		larger = Max(needed, transfer->body_size * 2);
		char	   *body = realloc(transfer->body, larger);

		if (body == NULL)
			return CURL_WRITEFUNC_ERROR;
		transfer->body = body;
		transfer->body_size = larger;
	}
	memcpy(transfer->body + transfer->body_length, bytes, length);
	transfer->body_length += length;
	transfer->body[transfer->body_length] = '\0';
	if (transfer->stream && !transfer->is_fresh)
	{
		transfer->is_fresh = true;
		dlist_push_tail(&transfer->client->fresh, &transfer->fresh_node);
	}
	return length;
}

/* A header has arrived; the first line tells the version of the protocol. */
static size_t
header_callback(char *bytes, size_t size, size_t count, void *transfer_arg)
{
	HttpTransfer *transfer = transfer_arg;
	size_t		length = size * count;

	/* libcurl's own time is that of the first byte in either direction. */
	if (transfer->answered_at == 0)
		transfer->answered_at = clock_now();
	if (transfer->lane->number == MULTIPLEXED_LANE && length >= 7 &&
		memcmp(bytes, "HTTP/1.", 7) == 0 && !transfer->origin->speaks_http1)
	{
		transfer->origin->speaks_http1 = true;
		transfer->client->origin_learned = true;
	}
	return length;
}

/*
 * libcurl is about to look up the address of the server, since no lane knows
 * it. Another transfer may be doing that.
 */
static int
lookup_callback(void *resolver, void *reserved, void *transfer_arg)
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
static void
end_lookup(HttpTransfer *transfer, bool failed, bool abandoned)
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
 * libcurl's socket(), to know why there is none.
 */
static curl_socket_t
open_socket_callback(void *transfer_arg, curlsocktype purpose,
					 struct curl_sockaddr *address)
{
	HttpTransfer *transfer = transfer_arg;
	int			fd = socket(address->family, address->socktype | SOCK_CLOEXEC,
							address->protocol);

	end_lookup(transfer, false, false);
	if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
				   errno == ENOMEM))
		transfer->no_socket = true;
	return fd < 0 ? CURL_SOCKET_BAD : fd;
}

/*
 * There is a connection, the request is about to be sent. If a connection that
 * was used before breaks, libcurl would send it a second time by itself:
 * whether a request that may have been executed is repeated is not for libcurl
 * to decide.
 */
static int
sent_callback(void *transfer_arg, char *remote_ip, char *local_ip,
			  int remote_port, int local_port)
{
	HttpTransfer *transfer = transfer_arg;

	if (transfer->sent)
		return CURL_PREREQFUNC_ABORT;
	transfer->sent = true;
	return CURL_PREREQFUNC_OK;
}

/*-------------------------------------------------------------------------
 * The client
 *-------------------------------------------------------------------------
 */

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

/*
 * Add a lane; the first is the multiplexed one. Returns NULL when there is no
 * memory.
 */
static Lane *
create_lane(HttpClient *client)
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
	return create_lane(client);
}

/*
 * After a rush, close what idle connections the last lanes have, and give the
 * memory back to the system: what is left is scattered all over it.
 */
static void
remove_spare_lanes(HttpClient *client)
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
	dlist_init(&client->running);
	dlist_init(&client->done);
	dlist_init(&client->fresh);
	dlist_init(&client->spare);
	if (create_lane(client) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not initialize libcurl")));
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
	return client->capacity;
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
		int64		lane_due = client->lanes[number]->due;

		if (lane_due >= 0 && (due < 0 || lane_due < due))
			due = lane_due;
	}
	if (client->waiting > 0 && (due < 0 || client->waiting_due < due))
		due = client->waiting_due;
	return due < 0 ? -1 : Max(due - now_ms(), 0);
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
	dlist_init(&origin->waiting);
	slist_push_head(&client->origins, &origin->node);
	return origin;
}

/*-------------------------------------------------------------------------
 * Transfers
 *-------------------------------------------------------------------------
 */

/*
 * Hand the transfer to libcurl, in the lane of its origin. On failure its
 * result says so.
 */
static void
enter_lane(HttpTransfer *transfer)
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

/*
 * Have the transfer wait for the address of its server, which another looks up.
 */
static void
wait_for_address(HttpTransfer *transfer)
{
	HttpClient *client = transfer->client;

	transfer->refused = false;
	transfer->error[0] = '\0';
	transfer->waits = true;
	transfer->listed = true;
	dlist_push_tail(&transfer->origin->waiting, &transfer->node);
	if (client->waiting++ == 0 ||
		transfer->give_up_at < client->waiting_due)
		client->waiting_due = transfer->give_up_at;
	if (transfer->origin->lookup == NULL)
		client->waiting_due = Min(client->waiting_due,
								  transfer->origin->next_lookup);
}

static void
leave_lane(HttpTransfer *transfer)
{
	end_lookup(transfer, true, true);
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
 * The options that are the same for every request.
 */
static void
set_fixed_options(HttpTransfer *transfer)
{
	CURL	   *easy = transfer->easy;
	static char user_agent[128];

	if (user_agent[0] == '\0')
		snprintf(user_agent, sizeof(user_agent),
				 "agno_bg/" AGNO_VERSION " libcurl/%s PostgreSQL/" PG_VERSION,
				 curl_version_info(CURLVERSION_NOW)->version);

	/* None of these fails, but for lack of memory when it is a string. */
	curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
	curl_easy_setopt(easy, CURLOPT_SHARE, transfer->client->share);
	curl_easy_setopt(easy, CURLOPT_RESOLVER_START_FUNCTION, lookup_callback);
	curl_easy_setopt(easy, CURLOPT_RESOLVER_START_DATA, transfer);
#if LIBCURL_VERSION_NUM >= 0x075700
	/* A lookup may take its time: wait for no thread. */
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, READ_BUFFER_SIZE);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, user_agent);
	curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");

	/* The key must reach no other server than the one it is for. */
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);

	/* Gateways drop connections that stay silent while a model thinks. */
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 45L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 15L);

	/* Rather wait for a connection that takes another stream. */
	curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);

	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, body_callback);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, header_callback);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, sent_callback);
	curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION,
					 open_socket_callback);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer);
}

/*
 * The options of this request. If one is refused, the transfer may have that
 * of an earlier request, another server's URL for one: it must not be sent.
 */
static CURLcode
set_options(HttpTransfer *transfer, const HttpRequest *request)
{
	CURL	   *easy = transfer->easy;
	CURLcode	code;

#define SET_OPTION(option, value) \
	do { \
		code = curl_easy_setopt(easy, option, value); \
		if (code != CURLE_OK) \
			return code; \
	} while (0)

	SET_OPTION(CURLOPT_URL, request->url);
	SET_OPTION(CURLOPT_HTTPHEADER, transfer->headers);
	if (request->get)
		SET_OPTION(CURLOPT_HTTPGET, 1L);
	else
	{
		SET_OPTION(CURLOPT_POST, 1L);
		SET_OPTION(CURLOPT_POSTFIELDS, request->body);
		SET_OPTION(CURLOPT_POSTFIELDSIZE_LARGE,
				   (curl_off_t) request->body_length);
	}
	if (request->ca_file != NULL)
		SET_OPTION(CURLOPT_CAINFO, request->ca_file);
	SET_OPTION(CURLOPT_TIMEOUT_MS, (long) Min(request->timeout_ms, INT_MAX));
	SET_OPTION(CURLOPT_CONNECTTIMEOUT_MS,
			   (long) Min(request->connect_timeout_ms, INT_MAX));
	return CURLE_OK;
}

/*
 * Copy the headers. Returns false when there is no memory.
 */
static bool
copy_headers(HttpTransfer *transfer, const HttpRequest *request)
{
	/* Without this, libcurl holds back large bodies for a second. */
	transfer->headers = curl_slist_append(NULL, "Expect:");

	for (const char *const *header = request->headers;
		 transfer->headers != NULL && *header != NULL; header++)
	{
		struct curl_slist *longer = curl_slist_append(transfer->headers,
													  *header);

		if (longer == NULL)
			return false;
		transfer->headers = longer;
	}
	return transfer->headers != NULL;
}

/*
 * A transfer with an easy handle, used before or new; NULL when there is no
 * memory.
 */
static HttpTransfer *
take_transfer(HttpClient *client)
{
	HttpTransfer *transfer;

	if (!dlist_is_empty(&client->spare))
	{
		client->spare_count--;
		return dlist_container(HttpTransfer, node,
							   dlist_pop_head_node(&client->spare));
	}
	transfer = calloc(1, sizeof(HttpTransfer));
	if (transfer == NULL)
		return NULL;
	transfer->client = client;
	transfer->easy = curl_easy_init();
	if (transfer->easy == NULL)
	{
		free(transfer);
		return NULL;
	}
	set_fixed_options(transfer);
	return transfer;
}

/*
 * Keep a transfer that is in no lane for another request, or free it. One with
 * certificates of its own is not like the others.
 */
static void
give_back(HttpTransfer *transfer)
{
	HttpClient *client = transfer->client;
	CURL	   *easy = transfer->easy;

	curl_slist_free_all(transfer->headers);
	free(transfer->body);
	if (client->spare_count >= SPARE_TRANSFERS || transfer->own_certificates)
	{
		curl_easy_cleanup(easy);
		free(transfer);
		return;
	}
	memset(transfer, 0, sizeof(HttpTransfer));
	transfer->client = client;
	transfer->easy = easy;
	client->spare_count++;
	dlist_push_head(&client->spare, &transfer->node);
}

/*
 * Start a request. The transfer is returned by http_next_done() when it has
 * ended one way or another, and lives until http_release(), as must the body.
 */
HttpTransfer *
http_start(HttpClient *client, const HttpRequest *request, void *owner)
{
	Origin	   *origin = find_origin(client, request->url);
	sigset_t	mask = block_signals();
	HttpTransfer *transfer = take_transfer(client);
	CURLcode	code;

	if (transfer == NULL || !copy_headers(transfer, request))
	{
		if (transfer != NULL)
			give_back(transfer);
		restore_signals(mask);
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	}
	transfer->owner = owner;
	transfer->origin = origin;
	transfer->started_at = clock_now();
	transfer->max_response = request->max_response;
	transfer->stream = request->stream;
	transfer->own_certificates = request->ca_file != NULL;
	transfer->timeout_ms = request->timeout_ms;
	transfer->give_up_at = now_ms() +
		Min(request->timeout_ms, request->connect_timeout_ms);
	code = set_options(transfer, request);
	if (code != CURLE_OK)
	{
		/* not to be used again */
		transfer->own_certificates = true;
		give_back(transfer);
		restore_signals(mask);
		ereport(ERROR,
				(errcode(ERRCODE_FDW_ERROR),
				 errmsg("could not prepare the request: %s",
						curl_easy_strerror(code))));
	}
	enter_lane(transfer);
	restore_signals(mask);
	return transfer;
}

static bool
descriptors_are_left(void)
{
	int			fd = dup(STDERR_FILENO);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

/*
 * What kind of failure this is.
 */
static HttpFailure
classify(const HttpTransfer *transfer, CURLcode code)
{
	if (code != CURLE_OK && transfer->no_socket)
		return HTTP_NO_RESOURCES;
	switch (code)
	{
		case CURLE_OK:
			return HTTP_OK;
		case CURLE_OUT_OF_MEMORY:
			return HTTP_NO_RESOURCES;
		case CURLE_COULDNT_RESOLVE_HOST:
			/* The resolver does not say what it lacked. */
			return descriptors_are_left() ?
				HTTP_NO_CONNECTION : HTTP_NO_RESOURCES;
		case CURLE_COULDNT_CONNECT:
			return HTTP_NO_CONNECTION;
		case CURLE_OPERATION_TIMEDOUT:
			/* Was it the time to connect? */
			if (transfer->sent)
				return HTTP_TIMED_OUT;
			return (clock_now() - transfer->started_at) / 1000 <
				transfer->timeout_ms ? HTTP_NO_CONNECTION : HTTP_NOT_SENT;
		case CURLE_PEER_FAILED_VERIFICATION:
		case CURLE_SSL_CACERT_BADFILE:
		case CURLE_SSL_CERTPROBLEM:
		case CURLE_URL_MALFORMAT:
		case CURLE_UNSUPPORTED_PROTOCOL:
			return HTTP_REFUSED;
		default:
			return transfer->too_large ? HTTP_TOO_LARGE : HTTP_INTERRUPTED;
	}
}

static const char *
answer_header(HttpTransfer *transfer, const char *name)
{
	struct curl_header *header;

	if (curl_easy_header(transfer->easy, name, 0, CURLH_HEADER, -1,
						 &header) != CURLHE_OK)
		return NULL;
	return header->value;
}

static void
set_result(HttpTransfer *transfer, CURLcode code)
{
	HttpResult *result = &transfer->result;
	const char *should_retry = answer_header(transfer, "x-should-retry");
	long		status = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);

	result->failure = classify(transfer, code);
	if (code == CURLE_ABORTED_BY_CALLBACK)
		result->reason = "it was closed before an answer arrived";
	else
		result->reason = transfer->error[0] != '\0' ?
			transfer->error : curl_easy_strerror(code);
	result->status = (int) status;
	if (transfer->answered_at != 0)
		result->time_to_first_byte =
			(transfer->answered_at - transfer->started_at) / 1e6;
	result->duration = (clock_now() - transfer->started_at) / 1e6;
	result->retry_after_ms =
		retry_after_ms(answer_header(transfer, "retry-after-ms"),
					   answer_header(transfer, "retry-after"), time(NULL));
	result->should_retry = -1;
	if (should_retry != NULL && pg_strcasecmp(should_retry, "true") == 0)
		result->should_retry = 1;
	else if (should_retry != NULL && pg_strcasecmp(should_retry, "false") == 0)
		result->should_retry = 0;
}

/*
 * Put what libcurl has finished into the list of done transfers.
 */
static void
collect_done(HttpClient *client, Lane *lane)
{
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
			leave_lane(transfer);
			wait_for_address(transfer);
			continue;
		}
		end_lookup(transfer, message->data.result != CURLE_OK,
				   message->data.result == CURLE_OPERATION_TIMEDOUT);
		if (client->waiting > 0)
			client->waiting_due = 0;
		set_result(transfer, message->data.result);
		dlist_delete(&transfer->node);
		dlist_push_tail(&client->done, &transfer->node);
	}
}

/*
 * Move the transfers that wait for one of few connections to a server which
 * has turned out to speak HTTP/1.1.
 */
static void
move_to_plain_lane(HttpClient *client)
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
			leave_lane(transfer);
			enter_lane(transfer);
		}
	}
}

/*
 * Look after the transfers that wait for the address of this server: all go on
 * when it is known, the first when it is to be looked up again, and none waits
 * for ever.
 */
static void
look_after_waiting(HttpClient *client, Origin *origin, int64 now)
{
	bool		may_go = origin->lookup == NULL && origin->next_lookup <= now;
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &origin->waiting)
	{
		HttpTransfer *transfer = dlist_container(HttpTransfer, node, iter.cur);

		if (may_go)
		{
			leave_lane(transfer);
			enter_lane(transfer);
			may_go = !origin->lookup_failed;
		}
		else if (transfer->give_up_at <= now)
		{
			leave_lane(transfer);
			transfer->result.failure =
				(clock_now() - transfer->started_at) / 1000 <
				transfer->timeout_ms ? HTTP_NO_CONNECTION : HTTP_NOT_SENT;
			transfer->result.reason = "Resolving timed out";
			transfer->result.retry_after_ms = -1;
			transfer->result.should_retry = -1;
			transfer->listed = true;
			dlist_push_tail(&client->done, &transfer->node);
		}
		else
			client->waiting_due = Min(client->waiting_due,
									  transfer->give_up_at);
	}
	if (!dlist_is_empty(&origin->waiting) && origin->lookup == NULL &&
		origin->next_lookup > now)
		client->waiting_due = Min(client->waiting_due, origin->next_lookup);
}

/*
 * Do all that can be done without waiting.
 */
void
http_advance(HttpClient *client)
{
	PollerEvent events[EVENT_BATCH];
	sigset_t	mask = block_signals();
	int			running;
	int			count;

	do
	{
		count = poller_collect(client->poller, events, EVENT_BATCH);
		for (int i = 0; i < count; i++)
		{
			int			what = 0;

			if (events[i].events & POLLER_READ)
				what |= CURL_CSELECT_IN;
			if (events[i].events & POLLER_WRITE)
				what |= CURL_CSELECT_OUT;
			curl_multi_socket_action(client->lanes[events[i].tag]->multi,
									 events[i].fd, what, &running);
		}
	} while (count == EVENT_BATCH);

	for (int number = 0; number < client->lane_count; number++)
	{
		Lane	   *lane = client->lanes[number];

		if (lane->due >= 0 && lane->due <= now_ms())
		{
			/* libcurl sets the next time, if there is one, by the callback. */
			lane->due = -1;
			curl_multi_socket_action(lane->multi, CURL_SOCKET_TIMEOUT, 0,
									 &running);
		}
		collect_done(client, lane);
	}
	if (client->origin_learned)
		move_to_plain_lane(client);
	if (client->waiting > 0 && client->waiting_due <= now_ms())
	{
		slist_iter	iter;

		client->waiting_due = PG_INT64_MAX;
		slist_foreach(iter, &client->origins)
			look_after_waiting(client,
							   slist_container(Origin, node, iter.cur),
							   now_ms());
	}
	restore_signals(mask);
}

/*
 * A transfer that more of the answer has arrived for, as http_result() tells,
 * or NULL.
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
 * A transfer that has ended and has not been returned before, or NULL.
 */
HttpTransfer *
http_next_done(HttpClient *client)
{
	HttpTransfer *transfer;

	if (dlist_is_empty(&client->done))
		return NULL;
	transfer = dlist_container(HttpTransfer, node,
							   dlist_pop_head_node(&client->done));
	transfer->listed = false;
	return transfer;
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
	char	   *at = transfer->body;

	/* The body is terminated; what is behind a NUL in it is no text. */
	while (at != NULL && (at = strstr(at, secret)) != NULL)
	{
		memset(at, '*', length);
		at += length;
	}
}

/*
 * Free the transfer; one that has not ended is aborted: its connection is
 * closed (HTTP/1.1) or its stream is reset (HTTP/2).
 */
void
http_release(HttpClient *client, HttpTransfer *transfer)
{
	sigset_t	mask = block_signals();

	leave_lane(transfer);
	give_back(transfer);
	remove_spare_lanes(client);
	restore_signals(mask);
}
