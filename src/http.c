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
 * There are two multi handles. A server that speaks HTTP/2 takes a hundred
 * requests on one connection, but libcurl opens a new connection for each
 * request beyond that unless the connections of a host are bounded; and that
 * bound must not hold for HTTP/1.1, where each request in flight needs a
 * connection. So https starts in the multiplexed lane, with the bound; once a
 * server has shown that it speaks only HTTP/1.1, it moves to the plain lane.
 *
 * Memory: the client and its origins live as long as the process. A transfer
 * and the body it receives are malloc'd, and freed by http_release().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <curl/curl.h>
#include <limits.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "http.h"
#include "lib/ilist.h"
#include "poller.h"
#include "portability/instr_time.h"
#include "utils/memutils.h"

#if LIBCURL_VERSION_NUM < 0x075500
#error "agno_bg needs libcurl 7.85 or newer"
#endif

/* How many connections a server that speaks HTTP/2 gets. */
#define MULTIPLEXED_CONNECTIONS 4L

/* Buffers of a transfer, in bytes: texts are small, transfers many. */
#define READ_BUFFER_SIZE 8192L
#define WRITE_BUFFER_SIZE 16384L

/* Idle connections that are kept to be used again. */
#define IDLE_CONNECTIONS 1000

/* Descriptors that are left to the rest of the process. */
#define RESERVED_DESCRIPTORS 128

/* How many events are taken from the poller at once. */
#define EVENT_BATCH 256

/* Where a transfer runs; also the tag of its socket in the poller. */
typedef enum LaneId
{
	LANE_PLAIN,					/* HTTP/1.1, a connection for each request */
	LANE_MULTIPLEXED,			/* HTTP/2, or not known yet */
	LANE_COUNT
} LaneId;

typedef struct Lane
{
	HttpClient *client;			/* whose lane this is */
	LaneId		id;
	CURLM	   *multi;
	int64		due;			/* when libcurl wants to be called, as of
								 * now_ms(); -1: not before an event */
} Lane;

/* A server that transfers go to. */
typedef struct Origin
{
	slist_node	node;			/* in HttpClient.origins */
	bool		speaks_http1;	/* it has answered in HTTP/1.1 */
	char		name[FLEXIBLE_ARRAY_MEMBER];	/* scheme://host:port */
} Origin;

struct HttpClient
{
	int			poller;			/* descriptor of poller.c, owned */
	int			capacity;		/* how many connections there may be */
	Lane		lanes[LANE_COUNT];
	slist_head	origins;		/* every Origin met so far */
	dlist_head	running;		/* transfers that libcurl works on */
	dlist_head	done;			/* transfers that http_next_done() returns */
	bool		origin_learned; /* an origin turned out to speak HTTP/1.1 */
};

struct HttpTransfer
{
	dlist_node	node;			/* in HttpClient.running or .done, or none */
	bool		listed;			/* node is in one of them */
	void	   *owner;			/* whatever the caller gave */
	HttpClient *client;
	Origin	   *origin;
	LaneId		lane;
	bool		added;			/* easy is in the multi handle of its lane */
	bool		sent;			/* libcurl has a connection for it */
	const char *request;		/* body of the request; the caller's */
	size_t		request_length; /* in bytes */
	size_t		request_sent;	/* how much of it libcurl has taken */
	CURL	   *easy;
	struct curl_slist *headers; /* owned */
	char	   *body;			/* malloc'd, NUL-terminated, NULL while empty */
	size_t		body_length;	/* bytes received */
	size_t		body_size;		/* bytes allocated */
	size_t		max_response;	/* bytes that body_length may reach */
	bool		too_large;		/* the body passed max_response */
	int64		started_at;		/* as of now_us() */
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

/*
 * Microseconds of a clock that never jumps.
 */
static int64
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64
now_ms(void)
{
	return now_us() / 1000;
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
	poller_watch(lane->client->poller, fd, lane->id, events, known != NULL);
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
 * libcurl wants the next piece of the request's body. It could be given all
 * of it at once, but would then send it a second time by itself, when a
 * connection that it has used before breaks: whether a request that may have
 * been executed is repeated is not for libcurl to decide.
 */
static size_t
request_callback(char *bytes, size_t size, size_t count, void *transfer_arg)
{
	HttpTransfer *transfer = transfer_arg;
	size_t		left = transfer->request_length - transfer->request_sent;
	size_t		length = Min(size * count, left);

	memcpy(bytes, transfer->request + transfer->request_sent, length);
	transfer->request_sent += length;
	return length;
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
		transfer->answered_at = now_us();
	if (transfer->lane == LANE_MULTIPLEXED && length >= 7 &&
		memcmp(bytes, "HTTP/1.", 7) == 0 && !transfer->origin->speaks_http1)
	{
		transfer->origin->speaks_http1 = true;
		transfer->client->origin_learned = true;
	}
	return length;
}

/* There is a connection, the request is about to be sent. */
static int
sent_callback(void *transfer_arg, char *remote_ip, char *local_ip,
			  int remote_port, int local_port)
{
	((HttpTransfer *) transfer_arg)->sent = true;
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
		return IDLE_CONNECTIONS;
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

static void
create_lane(HttpClient *client, LaneId id)
{
	Lane	   *lane = &client->lanes[id];

	lane->client = client;
	lane->id = id;
	lane->due = -1;
	lane->multi = curl_multi_init();
	if (lane->multi == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not initialize libcurl")));

	curl_multi_setopt(lane->multi, CURLMOPT_SOCKETFUNCTION, socket_callback);
	curl_multi_setopt(lane->multi, CURLMOPT_SOCKETDATA, lane);
	curl_multi_setopt(lane->multi, CURLMOPT_TIMERFUNCTION, timer_callback);
	curl_multi_setopt(lane->multi, CURLMOPT_TIMERDATA, lane);
	curl_multi_setopt(lane->multi, CURLMOPT_MAXCONNECTS,
					  (long) Min(IDLE_CONNECTIONS, client->capacity));
	if (id == LANE_MULTIPLEXED)
		curl_multi_setopt(lane->multi, CURLMOPT_MAX_HOST_CONNECTIONS,
						  MULTIPLEXED_CONNECTIONS);
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
	slist_init(&client->origins);
	dlist_init(&client->running);
	dlist_init(&client->done);
	for (int id = 0; id < LANE_COUNT; id++)
		create_lane(client, id);
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

	for (int id = 0; id < LANE_COUNT; id++)
	{
		int64		lane_due = client->lanes[id].due;

		if (lane_due >= 0 && (due < 0 || lane_due < due))
			due = lane_due;
	}
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
	CURLMcode	code;

	transfer->lane = https && !transfer->origin->speaks_http1 ?
		LANE_MULTIPLEXED : LANE_PLAIN;
	curl_easy_setopt(transfer->easy, CURLOPT_HTTP_VERSION,
					 transfer->lane == LANE_MULTIPLEXED ?
					 (long) CURL_HTTP_VERSION_2TLS :
					 (long) CURL_HTTP_VERSION_1_1);

	code = curl_multi_add_handle(client->lanes[transfer->lane].multi,
								 transfer->easy);
	transfer->added = code == CURLM_OK;
	transfer->listed = true;
	if (transfer->added)
		dlist_push_tail(&client->running, &transfer->node);
	else
	{
		transfer->result.failure = HTTP_NO_CONNECTION;
		transfer->result.reason = curl_multi_strerror(code);
		dlist_push_tail(&client->done, &transfer->node);
	}
}

static void
leave_lane(HttpTransfer *transfer)
{
	if (transfer->added)
		curl_multi_remove_handle(transfer->client->lanes[transfer->lane].multi,
								 transfer->easy);
	transfer->added = false;
	if (transfer->listed)
		dlist_delete(&transfer->node);
	transfer->listed = false;
}

static void
set_options(HttpTransfer *transfer, const HttpRequest *request)
{
	CURL	   *easy = transfer->easy;
	static char user_agent[128];

	if (user_agent[0] == '\0')
		snprintf(user_agent, sizeof(user_agent),
				 "agno_bg/1.0 libcurl/%s PostgreSQL/" PG_VERSION,
				 curl_version_info(CURLVERSION_NOW)->version);

	curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, READ_BUFFER_SIZE);
	curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, WRITE_BUFFER_SIZE);

	curl_easy_setopt(easy, CURLOPT_URL, request->url);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, user_agent);
	curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
	curl_easy_setopt(easy, CURLOPT_POST, 1L);
	curl_easy_setopt(easy, CURLOPT_READFUNCTION, request_callback);
	curl_easy_setopt(easy, CURLOPT_READDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
					 (curl_off_t) request->body_length);

	/* The key must reach no other server than the one it is for. */
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	if (request->ca_file != NULL)
		curl_easy_setopt(easy, CURLOPT_CAINFO, request->ca_file);

	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS,
					 (long) Min(request->timeout_ms, INT_MAX));
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
					 (long) Min(request->connect_timeout_ms, INT_MAX));

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
 * Start a request. The transfer is returned by http_next_done() when it has
 * ended one way or another, and lives until http_release().
 */
HttpTransfer *
http_start(HttpClient *client, const HttpRequest *request, void *owner)
{
	HttpTransfer *transfer = calloc(1, sizeof(HttpTransfer));
	Origin	   *origin = find_origin(client, request->url);
	sigset_t	mask;

	if (transfer == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));

	mask = block_signals();
	transfer->client = client;
	transfer->owner = owner;
	transfer->origin = origin;
	transfer->started_at = now_us();
	transfer->request = request->body;
	transfer->request_length = request->body_length;
	transfer->max_response = request->max_response;
	transfer->easy = curl_easy_init();
	if (transfer->easy == NULL || !copy_headers(transfer, request))
	{
		restore_signals(mask);
		http_release(client, transfer);
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	}
	set_options(transfer, request);
	enter_lane(transfer);
	restore_signals(mask);
	return transfer;
}

/*
 * What kind of failure this is.
 */
static HttpFailure
classify(const HttpTransfer *transfer, CURLcode code)
{
	switch (code)
	{
		case CURLE_OK:
			return HTTP_OK;
		case CURLE_COULDNT_RESOLVE_HOST:
		case CURLE_COULDNT_CONNECT:
		case CURLE_SSL_CONNECT_ERROR:
			return HTTP_NO_CONNECTION;
		case CURLE_OPERATION_TIMEDOUT:
			return HTTP_TIMED_OUT;
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

/*
 * How long the server asks to be left alone, in milliseconds, or -1.
 * retry-after-ms goes before retry-after, as in OpenAI's client libraries.
 */
static int64
asked_delay(HttpTransfer *transfer)
{
	const char *value = answer_header(transfer, "retry-after-ms");
	double		millis = -1;
	char	   *end;

	if (value != NULL)
		millis = strtod(value, &end);
	else if ((value = answer_header(transfer, "retry-after")) != NULL)
	{
		millis = strtod(value, &end) * 1000;
		if (end == value)
		{
			time_t		when = curl_getdate(value, NULL);

			millis = when < 0 ? -1 : Max(difftime(when, time(NULL)), 0) * 1000;
		}
	}
	return millis >= 0 && millis < 1e12 ? (int64) millis : -1;
}

static void
set_result(HttpTransfer *transfer, CURLcode code)
{
	HttpResult *result = &transfer->result;
	const char *should_retry = answer_header(transfer, "x-should-retry");
	long		status = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);

	result->failure = classify(transfer, code);
	if (code == CURLE_SEND_FAIL_REWIND)
		result->reason = "it was closed before an answer arrived";
	else
		result->reason = transfer->error[0] != '\0' ?
			transfer->error : curl_easy_strerror(code);
	result->status = (int) status;
	if (transfer->answered_at != 0)
		result->time_to_first_byte =
			(transfer->answered_at - transfer->started_at) / 1e6;
	result->duration = (now_us() - transfer->started_at) / 1e6;
	result->retry_after_ms = asked_delay(transfer);
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

		if (transfer->lane == LANE_MULTIPLEXED && !transfer->sent &&
			transfer->origin->speaks_http1)
		{
			leave_lane(transfer);
			enter_lane(transfer);
		}
	}
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
			curl_multi_socket_action(client->lanes[events[i].tag].multi,
									 events[i].fd, what, &running);
		}
	} while (count == EVENT_BATCH);

	for (int id = 0; id < LANE_COUNT; id++)
	{
		Lane	   *lane = &client->lanes[id];

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
	restore_signals(mask);
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
 * Free the transfer; one that has not ended is aborted: its connection is
 * closed (HTTP/1.1) or its stream is reset (HTTP/2).
 */
void
http_release(HttpClient *client, HttpTransfer *transfer)
{
	sigset_t	mask = block_signals();

	leave_lane(transfer);
	if (transfer->easy != NULL)
		curl_easy_cleanup(transfer->easy);
	curl_slist_free_all(transfer->headers);
	restore_signals(mask);

	free(transfer->body);
	free(transfer);
}
