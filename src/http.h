/*-------------------------------------------------------------------------
 *
 * http.h
 *	  HTTP requests, thousands at a time.
 *
 * Nothing of libcurl shows here, so that the pure modules may read results.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_HTTP_H
#define AGNO_HTTP_H

typedef struct HttpClient HttpClient;
typedef struct HttpTransfer HttpTransfer;

/*
 * A POST request. http_start() copies what it needs longer.
 */
typedef struct HttpRequest
{
	const char *url;
	const char *const *headers; /* "Name: value", NULL-terminated */
	bool		get;			/* GET, without a body, instead of POST */
	const char *body;			/* must live as long as the transfer */
	size_t		body_length;	/* in bytes */
	int64		timeout_ms;		/* for the whole request */
	int64		connect_timeout_ms;
	int64		max_response;	/* bytes of body after decoding */
	bool		stream;			/* tell of each piece of the answer */
	const char *ca_file;		/* certificates to trust, NULL: the system's */
} HttpRequest;

/* Why there is no whole answer. */
typedef enum HttpFailure
{
	HTTP_OK,					/* there is one, of whatever status */
	HTTP_NO_RESOURCES,			/* this process could not open a connection */
	HTTP_NO_CONNECTION,			/* the server was never reached */
	HTTP_NOT_SENT,				/* the time was over before it was */
	HTTP_INTERRUPTED,			/* the connection broke after that */
	HTTP_TIMED_OUT,
	HTTP_TOO_LARGE,				/* more than max_response bytes */
	HTTP_REFUSED				/* never worth a repetition: certificate, URL */
} HttpFailure;

/*
 * What came of a request. The pointers live as long as the transfer.
 */
typedef struct HttpResult
{
	HttpFailure failure;
	const char *reason;			/* libcurl's words for the failure */
	int			status;			/* of the answer, 0 when none arrived */
	const char *body;			/* what arrived of it, never NULL */
	size_t		body_length;	/* in bytes */
	int64		retry_after_ms; /* what the server asks for, -1: nothing */
	int			should_retry;	/* x-should-retry: 1 or 0; -1: not said */
	double		time_to_first_byte; /* in seconds, since the start */
	double		duration;		/* in seconds */
} HttpResult;

extern HttpClient *http_create(void);
extern int	http_descriptor(HttpClient *client);
extern int	http_capacity(HttpClient *client);
extern int64 http_timeout_ms(HttpClient *client);
extern HttpTransfer *http_start(HttpClient *client, const HttpRequest *request,
								void *owner);
extern void http_advance(HttpClient *client);
extern HttpTransfer *http_next_piece(HttpClient *client);
extern HttpTransfer *http_next_done(HttpClient *client);
extern void http_hide(HttpTransfer *transfer, const char *secret);
extern void *http_owner(const HttpTransfer *transfer);
extern const HttpResult *http_result(HttpTransfer *transfer);
extern void http_release(HttpClient *client, HttpTransfer *transfer);

#endif							/* AGNO_HTTP_H */
