/*-------------------------------------------------------------------------
 *
 * model_request.c
 *	  What is sent to a model server for a run in flight.
 *
 * Puts the URL, the headers and the limits of a request together and starts it. When that
 * is to be, and what comes of it, is the business of dispatch.c; what stands in its body,
 * that of the run and its provider.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "core/clock.h"
#include "runner/model_request.h"
#include "server/settings.h"

/* Headers of a request: our own, those of the provider, and the end. */
#define MAX_HEADERS 16

/*
 * An id that a server has given, as a part of a path.
 */
static char *
escape_path(const char *id)
{
	StringInfoData out;

	initStringInfo(&out);
	for (; *id != '\0'; id++)
	{
		if (((unsigned char) *id & 0x80) == 0 &&
			(isalnum((unsigned char) *id) || strchr("-_.~", *id) != NULL))
			appendStringInfoChar(&out, *id);
		else
			appendStringInfo(&out, "%%%02X", (unsigned char) *id);
	}
	return out.data;
}

/*
 * The headers of all requests of a flight, at most MAX_HEADERS with the NULL at
 * their end.
 */
static void
collect_headers(const Flight *flight, const char **headers)
{
	const ModelServer *server = &flight->server;
	const ToolList *tools = flight->run.tools;
	const char *tools_header = NULL;
	int			count = 0;

	headers[count++] = "Content-Type: application/json";
	headers[count++] = "Accept: application/json";
	if (server->key != NULL)
		headers[count++] = psprintf("%s%s", server->provider->key_header,
									server->key);
	if (server->organization != NULL)
		headers[count++] = psprintf("OpenAI-Organization: %s",
									server->organization);
	if (server->project != NULL)
		headers[count++] = psprintf("OpenAI-Project: %s", server->project);
	for (const char *const *header = server->provider->headers;
		 header != NULL && *header != NULL; header++)
	{
		if (count == MAX_HEADERS - 2)
			elog(ERROR, "too many headers");
		headers[count++] = *header;
	}
	if (tools != NULL && server->provider->tools_header != NULL)
		tools_header = server->provider->tools_header(tools);
	if (tools_header != NULL)
		headers[count++] = tools_header;
	headers[count] = NULL;
}

/*
 * Start a request of this flight to its model server, which is over at the deadline. Whoever
 * owns it hears of its end. What is put together lives in the current memory context, and
 * flight->body as long as the transfer.
 */
HttpTransfer *
model_request_start(HttpClient *http, const Flight *flight, RequestKind kind,
					int64 deadline, void *owner)
{
	const ModelServer *server = &flight->server;
	const char *headers[MAX_HEADERS];
	HttpRequest request = {0};

	collect_headers(flight, headers);
	request.url = psprintf("%s%s", server->base_url, server->provider->path);
	if (kind != REQUEST_CREATE)
		request.url = psprintf("%s/%s%s", request.url,
							   escape_path(flight->run.response_id),
							   kind == REQUEST_CANCEL ? "/cancel" : "");
	request.headers = headers;
	request.get = kind == REQUEST_FETCH;
	request.body = kind == REQUEST_CREATE ? flight->body.data : "";
	request.body_length = strlen(request.body);
	/* one more, so that the deadline has passed when libcurl gives up */
	request.timeout_ms = Min(server->timeout_ms,
							 (deadline - clock_now()) / US_PER_MS + 1);
	request.timeout_ms = Max(request.timeout_ms, 1);
	request.connect_timeout_ms = server->connect_timeout_ms;
	request.max_response = (int64) agno_max_response_size * 1024;
	request.ca_file = server->ca_file;
	request.role = flight->owner;
	request.stream = kind != REQUEST_CANCEL && flight->run.streamed;
	request.tell_sent = kind != REQUEST_CANCEL &&
		reach_is_lost(&flight->pace->target->reach);
	return http_start(http, &request, owner);
}
