/*-------------------------------------------------------------------------
 *
 * http_result.h
 *	  What came of an HTTP request, for the modules that read it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_HTTP_RESULT_H
#define AGNO_HTTP_RESULT_H

/* Why there is no whole answer. */
typedef enum HttpFailure
{
	HTTP_OK,					/* there is one, of whatever status */
	HTTP_NO_RESOURCES,			/* this process could not open a connection */
	HTTP_NO_CONNECTION,			/* the server was never reached */
	HTTP_NOT_SENT,				/* the time was over before it was */
	HTTP_INTERRUPTED,			/* the connection broke after that */
	HTTP_TIMED_OUT,
	HTTP_TOO_LARGE,				/* more than is accepted */
	HTTP_CROWDED,				/* its role receives too much at once */
	HTTP_UNREADABLE,			/* in a form that is not accepted */
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
	const char *body;			/* what arrived of it and has not been let go,
								 * never NULL */
	size_t		body_length;	/* in bytes */
	int64		retry_after_ms; /* what the server asks for, -1: nothing */
	int			should_retry;	/* x-should-retry: 1 or 0; -1: not said */
	double		time_to_first_byte; /* in seconds, since the start */
	double		duration;		/* in seconds */
	bool		long_headers;	/* HTTP_TOO_LARGE is for its headers */
	bool		untried;		/* HTTP_NO_CONNECTION, for it has waited for
								 * others instead of trying */
} HttpResult;

#endif							/* AGNO_HTTP_RESULT_H */
