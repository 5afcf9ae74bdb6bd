/*-------------------------------------------------------------------------
 *
 * http.h
 *	  HTTP requests, thousands at a time.
 *
 * Nothing of libcurl shows here.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_HTTP_H
#define AGNO_HTTP_H

#include "core/http_result.h"

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
	int64		max_response;	/* bytes of body after decoding, with what has
								 * been let go */
	bool		stream;			/* tell of each piece of the answer */
	bool		tell_sent;		/* tell when it is sent */
	const char *ca_file;		/* certificates to trust, NULL: the system's */
	Oid			role;			/* whose it is: it waits for no look-up, and
								 * for no turn, of another's, and what is
								 * received counts for this role */
} HttpRequest;

extern HttpClient *http_create(void);
extern int	http_descriptor(HttpClient *client);
extern int	http_capacity(HttpClient *client);
extern int64 http_timeout_ms(HttpClient *client);
extern HttpTransfer *http_start(HttpClient *client, const HttpRequest *request,
								void *owner);
extern void http_advance(HttpClient *client);
extern HttpTransfer *http_next_fresh(HttpClient *client);
extern HttpTransfer *http_next_done(HttpClient *client);
extern void http_return_fresh(HttpClient *client, HttpTransfer *transfer,
							  int64 after);
extern void http_return_done(HttpClient *client, HttpTransfer *transfer,
							 int64 after);
extern void http_hide(HttpTransfer *transfer, const char *secret);
extern void http_let_go(HttpTransfer *transfer);
extern void http_end_soon(HttpTransfer *transfer);
extern void http_charge(HttpTransfer *transfer, int64 bytes);
extern void http_keep(HttpClient *client, Oid role, int64 bytes);
extern int64 http_kept(HttpClient *client, Oid role);
extern bool http_is_sent(const HttpTransfer *transfer);
extern void *http_owner(const HttpTransfer *transfer);
extern const HttpResult *http_result(HttpTransfer *transfer);
extern void http_release(HttpClient *client, HttpTransfer *transfer);

#endif							/* AGNO_HTTP_H */
