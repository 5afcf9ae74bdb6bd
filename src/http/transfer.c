/*-------------------------------------------------------------------------
 *
 * transfer.c
 *	  A request and what has arrived of its answer.
 *
 * The callbacks that libcurl calls raise no error and use no palloc: a longjmp
 * through libcurl's frames would leave it broken. A transfer and the body it
 * receives are malloc'd.
 *
 * What is received is in memory until it has been read and, of what is, until that is
 * stored: a role with many answers at once could take all that there is. So there is an
 * Account for each role, and when that is used up, those of its transfers fail that
 * take part in it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>
#include <limits.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "core/version.h"
#include "http/http_internal.h"

/*
 * The buffer of a transfer, in bytes: the least that libcurl takes, which fills it up to a
 * hundred times for each transfer of a lane when it is called once.
 */
#define READ_BUFFER_SIZE 1024L

/*
 * So many bytes of an answer are worth a record of TLS, and so many of a request, which a
 * server acknowledges piece by piece. A piece of an answer is worth one, whatever it has:
 * a server that thinks may say now and then that it is still there.
 */
#define RECORD_WORTH 16
#define SENT_RECORD_WORTH 1024

/*
 * How much later than we libcurl sees that the time of a transfer is over, in ms: it ends
 * all of them at once, and we one by one. It is a part of that time, but no less and no
 * more than these, since libcurl divides it among the addresses of a server.
 */
#define LEAST_LATER 100
#define MOST_LATER 2000
#define LATER_PART 4

/*
 * How much time a transfer needs, in ms, to find out whether its server can be
 * reached; half of what it was given is enough.
 */
#define FAIR_TRY_MS 1000

/*
 * How many times max_response a body may take on the wire, with what chunks and
 * compression add: several bytes to each chunk, which honest servers fill.
 */
#define WIRE_FACTOR 2

/*
 * How many bytes may come of a compressed byte, beyond the first ones: nobody else
 * has a turn while they are made, and an answer is not like that.
 */
#define MAX_INFLATION 100
#define FREE_INFLATION (1024 * 1024)

/* How much may come of compressed bytes in one call of libcurl, if that takes long. */
#define FREE_CALL_INFLATION (16 * 1024 * 1024)

/*
 * How many transfers are kept to be used again, and how long the headers of one may
 * have been, in bytes: libcurl keeps them, with sixty bytes for each line, until the
 * next request.
 */
#define SPARE_TRANSFERS 512
#define SPARE_HEADER_BYTES 8192

/*
 * What the transfers of one role may hold, in bytes, unless there are no more than two
 * of the largest answers; and how much one may hold while there is more.
 */
#define ROLE_BYTES (INT64CONST(256) * 1024 * 1024)
#define FREE_BYTES (INT64CONST(64) * 1024)

/*
 * The buffer of a body that comes piece by piece is kept up to this size, in bytes.
 */
#define KEPT_BUFFER (64 * 1024)

/*
 * The table of a client's Accounts.
 */
HTAB *
transfer_create_accounts(void)
{
	HASHCTL		ctl = {
		.keysize = sizeof(Oid),
		.entrysize = sizeof(Account),
	};

	return hash_create("agno_bg received bytes", 64, &ctl,
					   HASH_ELEM | HASH_BLOBS);
}

/*
 * The account of this role. It lives until transfer_close_account().
 */
Account *
transfer_account(HttpClient *client, Oid role)
{
	bool		found;
	Account    *account = hash_search(client->accounts, &role, HASH_ENTER,
									  &found);

	if (!found)
	{
		account->transfers = 0;
		account->bytes = 0;
		account->kept = 0;
		account->read_for = 0;
		account->done = 0;
		account->used = 0;
		account->read_at = 0;
		account->passed_at = 0;
		account->unread_until = 0;
	}
	return account;
}

/*
 * Forget the account if there is nothing in it.
 */
void
transfer_close_account(HttpClient *client, Account *account)
{
	if (account->transfers == 0 && account->kept == 0 && account->used == 0)
		hash_search(client->accounts, &account->role, HASH_REMOVE, NULL);
}

/*
 * Whether a role has answers that are to be read before more of others is received.
 */
bool
transfer_is_behind(const Account *account)
{
	return account->done > 0 &&
		account->bytes + account->kept > ROLE_BYTES / 2;
}

/*
 * Count what the transfer holds now.
 */
void
transfer_charge(HttpTransfer *transfer)
{
	int64		holds = (int64) transfer->body_size + transfer->kept +
		transfer->header_bytes;

	transfer->account->bytes += holds - transfer->held;
	transfer->held = holds;
}

/*
 * Forget what has been received of the body.
 */
void
transfer_let_go(HttpTransfer *transfer)
{
	transfer->body_length = 0;
	if (transfer->body_size <= KEPT_BUFFER && !transfer->crowded)
		return;
	free(transfer->body);
	transfer->body = NULL;
	transfer->body_size = 0;
	transfer_charge(transfer);
}

/*
 * Whether the role of this transfer holds so much that it must not go on.
 */
static bool
is_crowded(const HttpTransfer *transfer)
{
	const Account *account = transfer->account;

	return transfer->held > FREE_BYTES && account->bytes + account->kept >
		Max(ROLE_BYTES, 2 * (int64) transfer->max_response);
}

/* http_next_fresh() is to return the transfer. */
void
transfer_tell(HttpTransfer *transfer)
{
	if (transfer->is_fresh)
		return;
	transfer->is_fresh = true;
	dlist_push_tail(&transfer->client->fresh, &transfer->fresh_node);
}

/* http_next_fresh() is not to return the transfer. */
void
transfer_untell(HttpTransfer *transfer)
{
	if (transfer->is_fresh)
		dlist_delete(&transfer->fresh_node);
	transfer->is_fresh = false;
}

/*
 * The role of this transfer holds too much: what it has received is let go, and nobody is
 * to look for it.
 */
static void
crowd_out(HttpTransfer *transfer)
{
	transfer->crowded = true;
	transfer_untell(transfer);
	transfer_let_go(transfer);
}

/*
 * Whether so many bytes of a body are compressed ones beyond what may be made of such,
 * of all answers that arrive at the same time, if that takes long.
 */
static bool
inflates_long(const HttpTransfer *transfer, size_t length)
{
	HttpClient *client = transfer->client;

	if (transfer->codings == 0)
		return false;
	client->call_inflated += length;
	return client->call_inflated > FREE_CALL_INFLATION &&
		reading_takes_long(client);
}

/* A piece of the body has arrived. */
static size_t
body_callback(char *bytes, size_t size, size_t count, void *transfer_arg)
{
	HttpTransfer *transfer = transfer_arg;
	size_t		length = size * count;
	size_t		needed = transfer->body_length + length + 1;

	if (transfer->received + length > transfer->max_response)
	{
		transfer->too_large = true;
		return CURL_WRITEFUNC_ERROR;
	}
	if (is_crowded(transfer) || inflates_long(transfer, length))
	{
		crowd_out(transfer);
		return CURL_WRITEFUNC_ERROR;
	}
	if (transfer->codings > 0 &&
		transfer->received + length >
		FREE_INFLATION + MAX_INFLATION * transfer->wire_bytes)
	{
		transfer->unreadable = true;
		return CURL_WRITEFUNC_ERROR;
	}
	if (needed > transfer->body_size)
	{
		size_t		larger = Max(needed, Min(transfer->body_size * 2,
											 transfer->max_response + 1));
		char	   *body = realloc(transfer->body, larger);

		if (body == NULL)
			return CURL_WRITEFUNC_ERROR;
		transfer->body = body;
		transfer->body_size = larger;
		transfer_charge(transfer);
	}
	memcpy(transfer->body + transfer->body_length, bytes, length);
	transfer->body_length += length;
	transfer->received += length;
	transfer->body[transfer->body_length] = '\0';
	if (transfer->stream)
		transfer_tell(transfer);
	return length;
}

/*
 * The server of this transfer is spoken to, or speaks, in HTTP/1.1.
 */
static void
learn_http1(HttpTransfer *transfer)
{
	if (transfer->approach->origin->speaks_http1)
		return;
	transfer->approach->origin->speaks_http1 = true;
	transfer->client->origin_learned = true;
}

/*
 * The transfer has received more than any answer needs. libcurl is at work: it is
 * ended after that, as one whose time is over.
 */
void
transfer_end_flood(HttpTransfer *transfer)
{
	if (transfer->too_large)
		return;
	transfer->too_large = true;
	transfer_set_end(transfer, 0);
}

/*
 * How many bytes a transfer may receive that are no part of an answer.
 */
int64
transfer_most_useless_bytes(const HttpTransfer *transfer)
{
	return transfer->max_response * WIRE_FACTOR + MAX_HEADER_BYTES;
}

/*
 * Something has been sent, or has arrived, that is worth so many records.
 */
static void
count_worth(HttpTransfer *transfer, size_t records)
{
	Approach   *approach = transfer->approach;

	approach->useless_records =
		Max(approach->useless_records - (int64) records, 0);
}

/*
 * So much of a body, or of headers, has arrived, before anything is decoded. What
 * was useless is made up for.
 */
static void
count_useful(HttpTransfer *transfer, size_t length)
{
	Approach   *approach = transfer->approach;
	HttpClient *client = transfer->client;

	client->call_bytes = Max(client->call_bytes - 2 * (int64) length, 0);
	approach->useless_bytes =
		Max(approach->useless_bytes - 2 * (int64) length, 0);
	count_worth(transfer, 1 + length / RECORD_WORTH);
}

/*
 * libcurl sends a request: it has found out what the server speaks, and says so in
 * the first line; an answer may be a long time coming.
 */
static void
learn_from_request(HttpTransfer *transfer, const char *bytes, size_t length)
{
	const char *end = memchr(bytes, '\r', length);

	if (end != NULL && transfer->lane != NULL &&
		transfer->lane->multiplexed &&
		end - bytes > 9 && memcmp(end - 9, " HTTP/1.1", 9) == 0)
		learn_http1(transfer);
}

/* What libcurl does. */
static int
debug_callback(CURL *easy, curl_infotype what, char *bytes, size_t length,
			   void *transfer_arg)
{
	HttpTransfer *transfer = transfer_arg;

	switch (what)
	{
		case CURLINFO_HEADER_OUT:
			learn_from_request(transfer, bytes, length);
			break;
		case CURLINFO_HEADER_IN:
			count_useful(transfer, length);
			break;
		case CURLINFO_DATA_IN:
			count_useful(transfer, length);
			transfer->wire_bytes += length;
			if (transfer->wire_bytes > transfer_most_useless_bytes(transfer))
				transfer_end_flood(transfer);
			break;
		case CURLINFO_DATA_OUT:
			count_worth(transfer, length / SENT_RECORD_WORTH);
			break;
		case CURLINFO_SSL_DATA_IN:
			tls_count(transfer, bytes, length);
			break;
		default:
			break;
	}
	return 0;
}

/*
 * Have debug_callback() watch this transfer, or not: it costs some microseconds.
 */
void
transfer_watch(HttpTransfer *transfer, bool watch)
{
	curl_easy_setopt(transfer->easy, CURLOPT_VERBOSE, watch ? 1L : 0L);
}

/*
 * Whether a header begins like this, in whatever case.
 */
static bool
begins(const char *bytes, size_t length, const char *prefix)
{
	return length >= strlen(prefix) &&
		pg_strncasecmp(bytes, prefix, strlen(prefix)) == 0;
}

/*
 * Whether a header's value, which may be in white space, is this, in whatever case.
 */
static bool
is_value(const char *bytes, size_t length, const char *value)
{
	while (length > 0 && isspace((unsigned char) *bytes))
	{
		bytes++;
		length--;
	}
	while (length > 0 && isspace((unsigned char) bytes[length - 1]))
		length--;
	return length == strlen(value) && begins(bytes, length, value);
}

/*
 * Whether a header tells of a coding that is accepted: gzip or deflate, once in all
 * headers. libcurl would undo several, one within the other, of whatever kind, before
 * it comes back, and of a few kB make petabytes that come to nothing in the end.
 */
static bool
accept_coding(HttpTransfer *transfer, const char *bytes, size_t length)
{
	static const char *const accepted[] = {"gzip", "x-gzip", "deflate"};
	const char *value = memchr(bytes, ':', length);

	value++;
	length -= value - bytes;
	if (begins(bytes, value - bytes, "transfer-"))
		return is_value(value, length, "chunked");
	if (is_value(value, length, "") || is_value(value, length, "identity"))
		return true;
	for (int i = 0; i < (int) lengthof(accepted); i++)
	{
		if (is_value(value, length, accepted[i]))
			return ++transfer->codings == 1;
	}
	return false;
}

/*
 * A header has arrived. The first line tells the version of the protocol. What is
 * encoded is counted as it comes, for it may be much that is nothing.
 */
static size_t
header_callback(char *bytes, size_t size, size_t count, void *transfer_arg)
{
	HttpTransfer *transfer = transfer_arg;
	size_t		length = size * count;

	/* libcurl's own time is that of the first byte in either direction. */
	if (transfer->answered_at == 0)
		transfer->answered_at = clock_now();
	if (transfer->lane->multiplexed &&
		begins(bytes, length, "http/1."))
		learn_http1(transfer);
	if (transfer->received == 0 &&
		(begins(bytes, length, "transfer-encoding:") ||
		 begins(bytes, length, "content-encoding:")))
	{
		transfer_watch(transfer, true);
		transfer->unreadable |= !accept_coding(transfer, bytes, length);
	}
	transfer->header_bytes += Max(length, LEAST_HEADER_BYTES);
	transfer_charge(transfer);
	if (transfer->header_bytes > MAX_HEADER_BYTES)
	{
		transfer->result.long_headers = true;
		return CURL_WRITEFUNC_ERROR;
	}
	if (is_crowded(transfer))
	{
		crowd_out(transfer);
		return CURL_WRITEFUNC_ERROR;
	}
	return transfer->unreadable ? CURL_WRITEFUNC_ERROR : length;
}

/*
 * libcurl's socket(), to know why there is none. One that has been sent gets no other
 * connection (sent_callback()): nobody has to shake hands for it.
 */
static curl_socket_t
open_socket_callback(void *transfer_arg, curlsocktype purpose,
					 struct curl_sockaddr *address)
{
	HttpTransfer *transfer = transfer_arg;
	int			fd;

	if (transfer->sent)
		return CURL_SOCKET_BAD;
	fd = socket_open(transfer, address->family, address->socktype,
					 address->protocol);
	if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
				   errno == ENOMEM))
		transfer->no_socket = true;
	origin_is_found(transfer);
	return fd < 0 ? CURL_SOCKET_BAD : fd;
}

/*
 * The time of the transfer does not matter any more.
 */
void
transfer_stop_timer(HttpTransfer *transfer)
{
	if (transfer->timed)
		pairingheap_remove(&transfer->client->deadlines, &transfer->timer);
	transfer->timed = false;
}

/*
 * The transfer is to be over at this time, as of now_ms().
 */
void
transfer_set_end(HttpTransfer *transfer, int64 deadline)
{
	transfer_stop_timer(transfer);
	transfer->deadline = deadline;
	transfer->timed = true;
	pairingheap_add(&transfer->client->deadlines, &transfer->timer);
}

/*
 * The transfer is to be over so many milliseconds after its start.
 */
void
transfer_set_deadline(HttpTransfer *transfer, int64 timeout_ms)
{
	/* rounded up, so that the time is over then */
	transfer_set_end(transfer,
					 transfer->started_at / US_PER_MS + 1 + timeout_ms);
}

/*
 * Whether there is time left to find out whether the server can be reached.
 */
bool
transfer_has_time(const HttpTransfer *transfer)
{
	int64		given = transfer->deadline - transfer->started_at / US_PER_MS;

	return transfer->deadline - now_ms() >= Min(FAIR_TRY_MS, given / 2);
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
	strlcpy(transfer->local_ip, local_ip, sizeof(transfer->local_ip));
	strlcpy(transfer->remote_ip, remote_ip, sizeof(transfer->remote_ip));
	transfer->local_port = local_port;
	transfer->remote_port = remote_port;
	if (transfer->tell_sent)
		transfer_tell(transfer);
	transfer_set_deadline(transfer, transfer->timeout_ms);
	origin_is_found(transfer);
	lane_end_opening(transfer);
	return CURL_PREREQFUNC_OK;
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
	curl_easy_setopt(easy, CURLOPT_RESOLVER_START_FUNCTION, origin_lookup_callback);
	curl_easy_setopt(easy, CURLOPT_RESOLVER_START_DATA, transfer);
	curl_easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, (long) ADDRESSES_KEPT_S);
#if LIBCURL_VERSION_NUM >= 0x075700
	/* A lookup may take its time: wait for no thread. */
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, READ_BUFFER_SIZE);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, user_agent);
	curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip, deflate");

	/* The key must reach no other server than the one it is for. */
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);

	/* Gateways drop connections that stay silent while a model thinks. */
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 45L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 15L);

	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, body_callback);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, header_callback);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, sent_callback);
	curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_DEBUGFUNCTION, debug_callback);
	curl_easy_setopt(easy, CURLOPT_DEBUGDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION,
					 open_socket_callback);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION,
					 socket_close_callback);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, transfer->client);
	tls_set_options(transfer);
}

/*
 * What libcurl is told of so many milliseconds.
 */
static long
later_than(int64 ms)
{
	return (long) Min(ms + Min(Max(ms / LATER_PART, LEAST_LATER), MOST_LATER),
					  INT_MAX);
}

/*
 * The options of this request. If one is refused, the transfer may have that
 * of an earlier request, another server's URL for one: it must not be sent.
 */
CURLcode
transfer_set_options(HttpTransfer *transfer, const HttpRequest *request)
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
	if (transfer->own_options)
	{
		SET_OPTION(CURLOPT_CAINFO, request->ca_file);
		SET_OPTION(CURLOPT_CAPATH, NULL);
	}
	SET_OPTION(CURLOPT_TIMEOUT_MS, later_than(request->timeout_ms));
	SET_OPTION(CURLOPT_CONNECTTIMEOUT_MS, later_than(request->connect_timeout_ms));
	return CURLE_OK;
}

/*
 * Copy the headers. Returns false when there is no memory.
 */
bool
transfer_copy_headers(HttpTransfer *transfer, const HttpRequest *request)
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
HttpTransfer *
transfer_take(HttpClient *client)
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
 * options of its own is not like the others, and one with long headers has too much
 * memory.
 */
void
transfer_give_back(HttpTransfer *transfer)
{
	HttpClient *client = transfer->client;
	CURL	   *easy = transfer->easy;

	curl_slist_free_all(transfer->headers);
	free(transfer->body);
	if (client->spare_count >= SPARE_TRANSFERS || transfer->own_options ||
		transfer->header_bytes > SPARE_HEADER_BYTES)
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
 * A transfer that is in no list has ended.
 */
void
transfer_done(HttpTransfer *transfer)
{
	transfer_stop_timer(transfer);
	if (!transfer->is_done)
		transfer->account->done++;
	transfer->is_done = true;
	transfer->place = DONE;
	dlist_push_tail(&transfer->client->done, &transfer->node);
}
