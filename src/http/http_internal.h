/*-------------------------------------------------------------------------
 *
 * http_internal.h
 *	  The parts of the HTTP client, for one another.
 *
 * The client has lanes, which are multi handles of libcurl; origins, which are the
 * servers that requests go to; approaches, by which those of one role get there; and
 * transfers, which are requests in a lane, on their way there, or done. Functions
 * that call libcurl are called with all signals blocked.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_HTTP_INTERNAL_H
#define AGNO_HTTP_INTERNAL_H

#include <curl/curl.h>
#include <netinet/in.h>
#include <sys/types.h>

#include "core/clock.h"
#include "http/http.h"
#include "lib/ilist.h"
#include "lib/pairingheap.h"
#include "utils/hsearch.h"

/* How many transfers a plain lane takes, each with a connection. */
#define PLAIN_LANE_SIZE 64

/* How many lanes stay when they are empty, for their idle connections. */
#define KEPT_LANES 16

/*
 * How long the headers of an answer may be, with all that come before and after its
 * body, in bytes. libcurl keeps them, and does not bound what comes after.
 */
#define MAX_HEADER_BYTES (256 * 1024)

/* For how many of them a header counts at least: what libcurl needs to keep it. */
#define LEAST_HEADER_BYTES 128

typedef struct HttpSocket HttpSocket;
typedef struct Trust Trust;

typedef struct Lane
{
	HttpClient *client;			/* whose lane this is */
	int			number;			/* its index, also the tag of its poller in
								 * the client's */
	CURLM	   *multi;			/* owned */
	int			poller;			/* descriptor of poller.c for its sockets,
								 * watched by the client's; owned */
	bool		multiplexed;	/* it is for HTTP/2, and for what is not known
								 * yet; others are plain */
	const Trust *trust;			/* what its connections trust, by https; NULL:
								 * it is for http, and knows nothing of what
								 * arrives by TLS (transfer_watch()) */
	Oid			role;			/* whose transfers are in it, or were last */
	int			transfers;		/* how many are in it */
	int64		due;			/* when libcurl wants to be called, as of
								 * now_ms(); -1: not before an event */
	int64		idle_check_due; /* when to look again at what idles in it, as
								 * of now_ms() */
	bool		has_cut;		/* a connection of it has been cut, which
								 * libcurl may take for alive */
	bool		ready;			/* some of its sockets are */
	bool		parked;			/* its poller is not watched: its role is not
								 * read */
	int64		unparked_at;	/* it was, until then, as of clock_now() */
	int64		read_at;		/* when it was read last, likewise */
} Lane;

/* How many names are looked up, or known, at a time (lookups.c). */
#define MAX_LOOKUPS 1024

/* How many of them are under way in threads: newer versions of libcurl have two for each. */
#define MAX_LOOKUP_THREADS 64

/* How long addresses that have been found are kept, in seconds. */
#define ADDRESSES_KEPT_S 10

/* A place for a look-up, and for what it has found. */
typedef struct Lookup
{
	Oid			role;			/* for whom */
	bool		has_thread;		/* it is under way, as far as is known */
	int64		until;			/* when it is free, as of now_ms() */
} Lookup;

/* A server that transfers go to, and what all of them have shown of it. */
typedef struct Origin
{
	slist_node	node;			/* in HttpClient.origins */
	int			approaches;		/* how many lead to it */
	bool		is_address;		/* its name is one: nobody looks it up */
	bool		speaks_http1;	/* it has been spoken to in HTTP/1.1 */
	char		name[FLEXIBLE_ARRAY_MEMBER];	/* scheme://host:port */
} Origin;

/*
 * How transfers of one role get to a server: they wait for each other, and for
 * nobody else's. The key of the table is the first two fields.
 */
typedef struct Approach
{
	Origin	   *origin;			/* the server */
	Oid			role;			/* whose transfers */
	int			transfers;		/* how many there are */
	HttpTransfer *opener;		/* in the multiplexed lane and not sent yet,
								 * or NULL */
	int64		turn_ends;		/* when another may be it, as of now_ms() */
	dlist_head	queue;			/* transfers that want to be the next */
	dlist_node	open_node;		/* in HttpClient.may_open */
	bool		may_open;		/* open_node is in it */
	HttpTransfer *lookup;		/* the transfer that looks up the address, or
								 * NULL */
	Lookup	   *place;			/* of that, in HttpClient.lookups */
	bool		lacks_place;	/* there was none for it */
	bool		lookup_failed;	/* the last one has found nothing */
	bool		slow;			/* nobody has waited for that */
	int64		next_lookup;	/* none before, as of now_ms() */
	dlist_head	waiting;		/* transfers that wait for an address */
	int64		useless_bytes;	/* received by https in excess of what answers
								 * had in them, since that was too much */
	int64		useless_records;	/* received by https in excess of what
									 * answers were worth */
} Approach;

/*
 * What transfers of one role hold in memory of what they have received. The key of
 * the table is the role.
 */
typedef struct Account
{
	Oid			role;			/* whose transfers */
	int			transfers;		/* how many there are, */
	int			done;			/* and of these, how many have come to an end */
	int64		bytes;			/* the sum of their HttpTransfer.held */
	int64		kept;			/* bytes that are left of others, as
								 * http_keep() was told */
	int64		read_for;		/* how long it has been read in this
								 * http_advance(), in microseconds */
	int64		used;			/* how long it has been read lately, likewise:
								 * that is halved again and again */
	int64		read_at;		/* when it was read last, as of clock_now() */
	int64		passed_at;		/* when there was no time to read it, likewise */
	int64		unread_until;	/* it is not read at all until then, likewise */
} Account;

struct HttpClient
{
	int			poller;			/* descriptor of poller.c, owned */
	int			capacity;		/* how many connections, and descriptors of
								 * lanes, there may be */
	HttpSocket *sockets;		/* those that are open, by their descriptors:
								 * socket_size of them; owned */
	int			socket_size;
	Lane	  **lanes;			/* lane_count of lane_size; owned */
	int			lane_count;
	int			lane_size;
	int			transfers;		/* how many are in all of them */
	slist_head	origins;		/* the Origins that are known */
	HTAB	   *approaches;		/* the Approaches to them */
	HTAB	   *accounts;		/* the Accounts of roles that have transfers,
								 * or for which something is kept */
	dlist_head	spare;			/* transfers that nobody uses */
	int			spare_count;
	dlist_head	running;		/* transfers that libcurl works on */
	dlist_head	done;			/* transfers that http_next_done() returns */
	dlist_head	fresh;			/* transfers that http_next_fresh() returns */
	dlist_head	later_done;		/* transfers that it, */
	dlist_head	later_fresh;	/* or http_next_fresh(), returns later, */
	int64		later_until;	/* after this, as of clock_now();
								 * PG_INT64_MAX: there are none */
	int			busy_lanes;		/* how many have transfers */
	int64		halved_at;		/* when what accounts have used was halved, as
								 * of clock_now() */
	int64		parked_until;	/* when lanes that are parked may be read
								 * again, as of clock_now() */
	int64		slice;			/* how long a role is read in this
								 * http_advance(), in microseconds */
	int64		call_began;		/* when libcurl was called, as of clock_now() */
	int			call_records;	/* of TLS, received since then */
	int64		call_bytes;		/* received by TLS since then in excess of
								 * what answers had in them */
	int64		call_inflated;	/* bytes that have been made of compressed
								 * ones since then */
	bool		call_cut;		/* what idles has been cut since then */
	bool		contended;		/* in this http_advance() there was no time
								 * for a role at all */
	int64		shared_until;	/* several roles have transfers, or had just
								 * now, until then, as of clock_now() */
	CURLSH	   *share;			/* addresses, for all lanes */
	slist_head	trusts;			/* the Trusts that are known */
	Lookup		lookups[MAX_LOOKUPS];	/* of them */
	dlist_head	may_open;		/* Approaches whose next transfer has its turn */
	int64		turns_due;		/* when to look at turns, as of now_ms() */
	pairingheap deadlines;		/* of transfers that are not done */
	int			waiting;		/* how many transfers wait for an address */
	int64		waiting_due;	/* when to look at them, as of now_ms() */
	bool		origin_learned; /* an origin turned out to speak HTTP/1.1 */
	bool		starved;		/* a transfer has lacked a descriptor, or
								 * memory */
};

/* Where a transfer is, by its node. */
typedef enum TransferPlace
{
	NOWHERE,					/* nobody's, or HttpClient.spare */
	IN_QUEUE,					/* Approach.queue */
	WAITING,					/* Approach.waiting */
	RUNNING,					/* HttpClient.running */
	DONE						/* HttpClient.done */
} TransferPlace;

struct HttpTransfer
{
	dlist_node	node;			/* in the list of its place */
	TransferPlace place;
	bool		refused;		/* it is to wait for an address */
	pairingheap_node timer;		/* in HttpClient.deadlines */
	bool		timed;			/* timer is in it */
	int64		deadline;		/* when it is over whatever libcurl thinks, as
								 * of now_ms() */
	int64		timeout_ms;		/* of the request */
	dlist_node	fresh_node;		/* in HttpClient.fresh */
	bool		is_fresh;		/* fresh_node is in it */
	bool		stream;			/* pieces are wanted */
	bool		tell_sent;		/* it is to be in HttpClient.fresh when sent */
	void	   *owner;			/* whatever the caller gave */
	HttpClient *client;
	Approach   *approach;
	Account    *account;		/* of its role */
	Lane	   *lane;			/* that easy is in, or NULL */
	bool		hurried;		/* libcurl got it when there was no time left
								 * to find out whether there is a server */
	bool		sent;			/* libcurl has a connection for it */
	int			opened[2];		/* the sockets that it tries to connect, by
								 * IPv4 and by IPv6, if socket_is_trying() */
	int64		record_bytes;	/* received by TLS */
	int			messages;		/* about its connection */
	bool		leaving;		/* libcurl lets it go */
	char		local_ip[INET6_ADDRSTRLEN]; /* of its connection, once sent */
	char		remote_ip[INET6_ADDRSTRLEN];	/* likewise */
	int			local_port;		/* likewise */
	int			remote_port;	/* likewise */
	CURL	   *easy;
	Trust	   *trust;			/* for https */
	bool		own_options;	/* easy has some that the next request may not
								 * have */
	struct curl_slist *headers; /* owned */
	char	   *body;			/* malloc'd, NUL-terminated, NULL while empty */
	size_t		body_length;	/* bytes received and not let go */
	size_t		body_size;		/* bytes allocated */
	size_t		received;		/* bytes received in all */
	size_t		max_response;	/* bytes that received may reach */
	int64		kept;			/* bytes that its owner keeps of what it has
								 * let go, as http_charge() was told */
	int64		held;			/* body_size, kept, and header_bytes, in
								 * account->bytes */
	bool		too_large;		/* the body passed max_response, or what came
								 * of it the bound for that */
	bool		crowded;		/* its role held too much, and it some of that */
	size_t		wire_bytes;		/* received of the body, as it came */
	size_t		header_bytes;	/* that headers count for */
	int			codings;		/* of the body, that headers have told of */
	bool		unreadable;		/* they are not accepted */
	bool		is_done;		/* it has come to an end */
	bool		no_socket;		/* there was no descriptor, or no memory, for
								 * one, or for what it takes */
	int64		started_at;		/* as of clock_now() */
	int64		answered_at;	/* when the first byte arrived; 0: none has */
	HttpResult	result;			/* valid once done */
	char		error[CURL_ERROR_SIZE]; /* libcurl's words */
};

/* lane.c */
extern void lanes_remove_spare(HttpClient *client);
extern void lanes_close_idle(HttpClient *client);
extern void lane_enter(HttpTransfer *transfer);
extern void lane_end_opening(HttpTransfer *transfer);
extern void lane_end_turns(HttpClient *client);
extern Lane *lane_open_next(HttpClient *client);
extern void lane_collect(Lane *lane);
extern void lane_leave(HttpTransfer *transfer);
extern void lanes_move_to_plain(HttpClient *client);

/* lookups.c */
extern bool lookup_has_place(HttpClient *client, Oid role, bool slow);
extern Lookup *lookup_begin(HttpClient *client, Oid role, bool slow);
extern void lookup_end(Lookup *lookup, bool failed, bool abandoned);

/* origin.c */
extern int	origin_lookup_callback(void *resolver, void *reserved,
								   void *transfer_arg);
extern void origin_end_lookup(HttpTransfer *transfer, bool failed,
							  bool abandoned);
extern void origin_is_found(HttpTransfer *transfer);
extern HTAB *origin_create_approaches(void);
extern Approach *origin_approach(HttpClient *client, const char *url,
								 Oid role);
extern bool origin_may_go_on(HttpClient *client, const Approach *approach);
extern void origin_wait_for_address(HttpTransfer *transfer);

/* outcome.c */
extern void outcome_set(HttpTransfer *transfer, CURLcode code);
extern void outcome_set_late(HttpTransfer *transfer);

/* reading.c */
extern bool reading_takes_long(const HttpClient *client);
extern void reading_begin(Lane *lane);
extern void reading_unpark(Lane *lane);
extern void reading_advance(HttpClient *client);

/* sockets.c */
extern int	socket_open(HttpTransfer *transfer, int family, int type,
						int protocol);
extern int	socket_close_callback(void *client_arg, curl_socket_t fd);
extern bool socket_is_trying(const HttpTransfer *transfer, int number);
extern void socket_set_idle(HttpClient *client, int fd, bool idle);
extern void sockets_cut_idle(Lane *lane, int bytes);
extern void sockets_break(const HttpTransfer *transfer);

/* tls.c */
extern void tls_count(HttpTransfer *transfer, char *bytes, size_t length);
extern void tls_set_options(HttpTransfer *transfer);
extern bool tls_has_contexts(void);

/* transfer.c */
extern HTAB *transfer_create_accounts(void);
extern Account *transfer_account(HttpClient *client, Oid role);
extern void transfer_close_account(HttpClient *client, Account *account);
extern void transfer_let_go(HttpTransfer *transfer);
extern bool transfer_is_behind(const Account *account);
extern void transfer_charge(HttpTransfer *transfer);
extern CURLcode transfer_set_options(HttpTransfer *transfer,
									 const HttpRequest *request);
extern bool transfer_copy_headers(HttpTransfer *transfer,
								  const HttpRequest *request);
extern HttpTransfer *transfer_take(HttpClient *client);
extern void transfer_give_back(HttpTransfer *transfer);
extern void transfer_watch(HttpTransfer *transfer, bool watch);
extern void transfer_end_flood(HttpTransfer *transfer);
extern int64 transfer_most_useless_bytes(const HttpTransfer *transfer);
extern void transfer_stop_timer(HttpTransfer *transfer);
extern void transfer_set_end(HttpTransfer *transfer, int64 deadline);
extern void transfer_set_deadline(HttpTransfer *transfer, int64 timeout_ms);
extern bool transfer_has_time(const HttpTransfer *transfer);
extern void transfer_tell(HttpTransfer *transfer);
extern void transfer_untell(HttpTransfer *transfer);
extern void transfer_done(HttpTransfer *transfer);

/* trust.c */
extern Trust *trust_find(HttpClient *client, const char *ca_file, CURL *easy);
extern const char *trust_path(const Trust *trust);
extern bool trust_apply(Trust *trust, void *context, bool *lack);

/*
 * Milliseconds of the clock.
 */
static inline int64
now_ms(void)
{
	return clock_now() / US_PER_MS;
}

#endif							/* AGNO_HTTP_INTERNAL_H */
