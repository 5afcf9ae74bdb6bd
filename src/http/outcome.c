/*-------------------------------------------------------------------------
 *
 * outcome.c
 *	  What came of a transfer.
 *
 * The kinds of failures, by what libcurl says and by what is known of the transfer, and
 * what the headers of its answer ask for. Nothing here ends a transfer.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "http/http_internal.h"
#include "http/retry_after.h"

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
 * What it is that the time of a transfer is over: that to connect, or all of it?
 */
static HttpFailure
late_failure(const HttpTransfer *transfer)
{
	if (transfer->sent)
		return HTTP_TIMED_OUT;
	return clock_now() - transfer->started_at <
		transfer->timeout_ms * US_PER_MS ? HTTP_NO_CONNECTION : HTTP_NOT_SENT;
}

/*
 * Whether it has been sent, and libcurl has looked for another connection in vain.
 */
static bool
is_not_resent(const HttpTransfer *transfer, CURLcode code)
{
	return transfer->sent && (code == CURLE_ABORTED_BY_CALLBACK ||
							  code == CURLE_COULDNT_CONNECT ||
							  code == CURLE_COULDNT_RESOLVE_HOST);
}

/*
 * What kind of failure this is.
 */
static HttpFailure
classify(const HttpTransfer *transfer, CURLcode code, long status)
{
	if (code != CURLE_OK && transfer->no_socket && !transfer->sent)
		return HTTP_NO_RESOURCES;
	if (code != CURLE_OK && transfer->crowded)
		return HTTP_CROWDED;
	if (code != CURLE_OK && transfer->result.long_headers)
		return HTTP_TOO_LARGE;
	/* of an error, the status says enough */
	if (code != CURLE_OK && transfer->unreadable)
		return status >= 400 ? HTTP_OK : HTTP_UNREADABLE;
	if (is_not_resent(transfer, code))
		return transfer->too_large ? HTTP_TOO_LARGE : HTTP_INTERRUPTED;
	switch (code)
	{
		case CURLE_OK:
			return HTTP_OK;
		case CURLE_OUT_OF_MEMORY:
			/* what libcurl says of a header of more than 100 kB, too */
			return transfer->sent ? HTTP_INTERRUPTED : HTTP_NO_RESOURCES;
		case CURLE_COULDNT_RESOLVE_HOST:
			/* The resolver does not say what it lacked. */
			return descriptors_are_left() ?
				HTTP_NO_CONNECTION : HTTP_NO_RESOURCES;
		case CURLE_COULDNT_CONNECT:
			return HTTP_NO_CONNECTION;
		case CURLE_OPERATION_TIMEDOUT:
			return late_failure(transfer);
		case CURLE_PEER_FAILED_VERIFICATION:
		case CURLE_SSL_CACERT_BADFILE:
		case CURLE_SSL_CERTPROBLEM:
		case CURLE_URL_MALFORMAT:
			return HTTP_REFUSED;
		case CURLE_UNSUPPORTED_PROTOCOL:
			/* of the URL, or of the answer: HTTP/0.9 */
			return transfer->sent ? HTTP_UNREADABLE : HTTP_REFUSED;
		default:
			if (transfer->too_large)
				return HTTP_TOO_LARGE;
			/* what was left of a handshake then has been blotted out */
			if (!transfer->sent && transfer->deadline <= now_ms())
				return late_failure(transfer);
			return HTTP_INTERRUPTED;
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
 * Whether libcurl has not been called for a transfer all of the time: its role was not
 * read. That says nothing of the server.
 */
static bool
has_been_parked(const HttpTransfer *transfer)
{
	return transfer->lane != NULL &&
		(transfer->lane->parked ||
		 transfer->lane->unparked_at > transfer->started_at ||
		 transfer->account->passed_at > transfer->started_at);
}

/*
 * The result of a transfer that libcurl has ended, with this code.
 */
void
outcome_set(HttpTransfer *transfer, CURLcode code)
{
	HttpResult *result = &transfer->result;
	const char *should_retry = answer_header(transfer, "x-should-retry");
	long		status = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);

	result->failure = classify(transfer, code, status);
	transfer->client->starved |= result->failure == HTTP_NO_RESOURCES;
	if (code == CURLE_SSL_CACERT_BADFILE && trust_path(transfer->trust) != NULL)
		snprintf(transfer->error, CURL_ERROR_SIZE,
				 "certificates cannot be read from \"%s\"",
				 trust_path(transfer->trust));
	if (is_not_resent(transfer, code))
		result->reason = "it was closed before an answer arrived";
	else if (transfer->unreadable)
		result->reason = "it is compressed more than once, to less than a hundredth, or neither by gzip nor by deflate";
	else
		result->reason = transfer->error[0] != '\0' ?
			transfer->error : curl_easy_strerror(code);
	result->untried = code == CURLE_OPERATION_TIMEDOUT && !transfer->sent &&
		has_been_parked(transfer);
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
 * The result of a transfer whose time is over, or that has received too much, while
 * libcurl has nothing to say.
 */
void
outcome_set_late(HttpTransfer *transfer)
{
	HttpResult *result = &transfer->result;

	result->failure = transfer->too_large ?
		HTTP_TOO_LARGE : late_failure(transfer);
	result->reason = transfer->sent ? "Operation timed out" :
		transfer->place == WAITING ? "Resolving timed out" :
		"Connection timed out";
	result->untried = !transfer->sent &&
		(transfer->place != RUNNING || transfer->hurried ||
		 has_been_parked(transfer));
	if (transfer->answered_at != 0)
		result->time_to_first_byte =
			(transfer->answered_at - transfer->started_at) / 1e6;
	result->duration = (clock_now() - transfer->started_at) / 1e6;
	result->retry_after_ms = -1;
	result->should_retry = -1;
}
