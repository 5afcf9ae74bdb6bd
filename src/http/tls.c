/*-------------------------------------------------------------------------
 *
 * tls.c
 *	  What a server may do by TLS beside answering.
 *
 * TLS has things to say that are no data: tickets for later sessions, new keys. OpenSSL
 * reads on after each of them as long as more arrives, and a server can send them faster
 * than they are understood: libcurl would never come back, neither from a transfer nor
 * from looking whether an idle connection is still there. So OpenSSL is told to come back
 * after each, and not to begin another handshake; what may take it long in the first one
 * is refused; and all that arrives is counted, and bounded. A handshake, and what libcurl
 * does with HTTP/2, go on as long as there is anything: nothing but the end of the
 * connection ends that.
 *
 * With another library than OpenSSL, libcurl tells of nothing in here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <openssl/ssl.h>

#include "http/http_internal.h"

/* How long the header of a record is, in bytes. */
#define RECORD_HEADER_SIZE 5

/* Its second byte. */
#define MAJOR_VERSION 3

/* How long the header of a message about the connection itself is, in bytes. */
#define MESSAGE_HEADER_SIZE 4

/*
 * How many of those may come with an answer, and how many bytes one more counts for: to
 * be understood it takes as long as those do.
 */
#define FREE_MESSAGES 16
#define MESSAGE_BYTES 4096

/*
 * How much may arrive until there is a connection, in bytes, and for how many of them what
 * arrives counts at least: a record may have one byte.
 */
#define MAX_HANDSHAKE_BYTES (256 * 1024)
#define LEAST_BYTES 1024

/* How many records more may come than answers are worth. */
#define MAX_RECORDS 10000

/*
 * How many records may come while libcurl is called once, and how many of them, or bytes
 * that are no part of answers, even if that takes it long.
 */
#define MAX_CALL_RECORDS 50000
#define FREE_CALL_RECORDS 5000
#define FREE_CALL_BYTES (1024 * 1024)

/*
 * How many certificates a server may have, and of how many bytes: OpenSSL keeps them, at
 * many times that size, as long as there is the connection.
 */
#define MAX_CERTIFICATES 16
#define MAX_CERTIFICATES_SIZE (32 * 1024)

/* What OpenSSL, or the system's policy, allows: the same for all contexts. */
static int	(*others_callback) (const SSL *, const SSL_CTX *, int, int, int,
								void *, void *);

/*
 * Whether this transfer has a socket, but no connection yet: it may be shaking hands.
 */
static bool
is_opening(const HttpTransfer *transfer)
{
	return !transfer->sent && (socket_is_trying(transfer, 0) ||
							   socket_is_trying(transfer, 1));
}

/*
 * Whether libcurl, called once, has read for so long what is of no use that it must end.
 */
static bool
is_call_flooded(const HttpClient *client)
{
	return client->call_records > MAX_CALL_RECORDS ||
		((client->call_records > FREE_CALL_RECORDS ||
		  client->call_bytes > FREE_CALL_BYTES) && reading_takes_long(client));
}

/*
 * Whether a transfer receives more by TLS than it needs: for a connection, or, if that
 * is its own, for all of its answer. With HTTP/2, a connection is that of many, and
 * libcurl tells of frames that belong to none of them in no other way (and without
 * OpenSSL, in none): so what is no part of an answer is counted for the approach.
 */
static bool
is_flooded(HttpTransfer *transfer, int64 length)
{
	Approach   *approach = transfer->approach;

	transfer->record_bytes += length;
	if (is_call_flooded(transfer->client))
		return true;
	if (!transfer->sent)
		return transfer->record_bytes > MAX_HANDSHAKE_BYTES;
	if (transfer->lane == NULL || !transfer->lane->multiplexed)
		return transfer->record_bytes > 2 * transfer_most_useless_bytes(transfer);
	approach->useless_bytes += length;
	if (approach->useless_bytes <= transfer_most_useless_bytes(transfer) &&
		approach->useless_records <= MAX_RECORDS)
		return false;
	approach->useless_bytes = 0;
	approach->useless_records = 0;
	return true;
}

/* A number of so many bytes. */
static size_t
number_at(const unsigned char *bytes, int size)
{
	size_t		number = 0;

	for (int i = 0; i < size; i++)
		number = number << 8 | bytes[i];
	return number;
}

/*
 * How many certificates there are in a message of TLS 1.2 or before (RFC 5246, 7.4.2), or
 * of TLS 1.3 (RFC 8446, 4.4.2), which has a byte before its list, and extensions after
 * each. No message is a list by both.
 */
static int
count_certificates(const unsigned char *message, size_t length)
{
	size_t		at = MESSAGE_HEADER_SIZE + 3;
	bool		is_list = length >= at && number_at(message + at - 3, 3) == length - at;
	int			count = 0;

	if (!is_list)
		at++;
	while (at + 3 <= length)
	{
		at += 3 + number_at(message + at, 3);
		if (!is_list && at + 2 <= length)
			at += 2 + number_at(message + at, 2);
		count++;
	}
	return count;
}

/*
 * Whether there is a curve of its own in a message: the identifiers of fields begin with
 * 1.2.840.10045.1.
 */
static bool
has_curve(const unsigned char *message, size_t length)
{
	static const unsigned char field[] = {0x2a, 0x86, 0x48, 0xce, 0x3d, 1};

	for (size_t at = 0; at + sizeof(field) <= length; at++)
	{
		if (memcmp(message + at, field, sizeof(field)) == 0)
			return true;
	}
	return false;
}

/*
 * Whether there are certificates in a message that no honest server has (RFC 5480, 2.1.1).
 * They are about to be parsed, before anybody knows whether they are to be trusted, which
 * takes OpenSSL long if they are many, above all if their keys are on curves; or if such a
 * curve is of its own: as long as that likes.
 */
static bool
is_absurd(const unsigned char *message, size_t length)
{
	return message[0] == SSL3_MT_CERTIFICATE &&
		(count_certificates(message, length) > MAX_CERTIFICATES ||
		 has_curve(message, length));
}

/*
 * A message about the connection itself has arrived, and is about to be understood. If it
 * is not to be, there is nothing to be read in it any more: when libcurl lets a connection
 * go, OpenSSL goes on with a handshake as far as that has arrived. Nor is there time for
 * one when that of the transfer is over.
 */
static void
take_message(HttpTransfer *transfer, unsigned char *message, size_t length)
{
	bool		needless = !transfer->sent &&
		(transfer->leaving || transfer->deadline <= now_ms());

	if (needless || is_absurd(message, length))
		memset(message + MESSAGE_HEADER_SIZE, 0, length - MESSAGE_HEADER_SIZE);
}

/*
 * Something has arrived by TLS, as libcurl tells: the header of a record, in which its
 * length is, or a message about the connection itself. Before it opens a connection,
 * libcurl looks whether others that idle in its lane are still there: what it finds there
 * is not the fault of this transfer. Nobody tells which of them it is that is being read.
 */
void
tls_count(HttpTransfer *transfer, char *bytes, size_t length)
{
	HttpClient *client = transfer->client;
	unsigned char *header = (unsigned char *) bytes;
	int64		counts = 0;

	if (length == RECORD_HEADER_SIZE && header[1] == MAJOR_VERSION)
	{
		counts = RECORD_HEADER_SIZE + number_at(header + 3, 2);
		client->call_records++;
		if (transfer->sent)
			transfer->approach->useless_records++;
	}
	if (!client->call_cut && is_call_flooded(client))
	{
		client->call_cut = true;
		sockets_cut_idle(transfer->lane, -1);
	}
	if (!transfer->sent && !is_opening(transfer))
		return;
	if (counts == 0 && length >= MESSAGE_HEADER_SIZE)
	{
		take_message(transfer, header, length);
		if (++transfer->messages > FREE_MESSAGES)
			counts = MESSAGE_BYTES;
	}
	client->call_bytes += counts;
	if (!transfer->sent)
		counts = Max(counts, LEAST_BYTES);
	if (counts == 0 || !is_flooded(transfer, counts))
		return;
	transfer_end_flood(transfer);
	sockets_break(transfer);
}

/*
 * Whether a thing may be used, as OpenSSL asks: of what is offered, and of what a server
 * chooses, which may be something else. No key is exchanged by finite fields: a server
 * may choose one of 10,000 bits, which it need not compute with itself.
 */
static int
security_callback(const SSL *ssl, const SSL_CTX *context, int operation, int bits,
				  int nid, void *thing, void *data)
{
	switch (operation & SSL_SECOP_OTHER_TYPE)
	{
		case SSL_SECOP_OTHER_CIPHER:
			if (thing != NULL && (SSL_CIPHER_get_kx_nid(thing) == NID_kx_dhe ||
								  SSL_CIPHER_get_kx_nid(thing) == NID_kx_dhe_psk))
				return 0;
			break;
		case SSL_SECOP_OTHER_CURVE:
			if (nid == NID_ffdhe2048 || nid == NID_ffdhe3072 ||
				nid == NID_ffdhe4096 || nid == NID_ffdhe6144 ||
				nid == NID_ffdhe8192)
				return 0;
			break;
		case SSL_SECOP_OTHER_DH:
			return 0;
		default:
			break;
	}
	return others_callback(ssl, context, operation, bits, nid, thing, data);
}

/* libcurl has made what its next connection begins with. */
static CURLcode
context_callback(CURL *easy, void *context, void *transfer_arg)
{
	HttpTransfer *transfer = transfer_arg;

	SSL_CTX_clear_mode((SSL_CTX *) context, SSL_MODE_AUTO_RETRY);
	SSL_CTX_set_options((SSL_CTX *) context, SSL_OP_NO_RENEGOTIATION);
	if (SSL_CTX_get_security_callback(context) != security_callback)
		others_callback = SSL_CTX_get_security_callback(context);
	SSL_CTX_set_security_callback(context, security_callback);
	SSL_CTX_set_max_cert_list(context, MAX_CERTIFICATES_SIZE);
#ifdef SSL_OP_NO_RX_CERTIFICATE_COMPRESSION
	SSL_CTX_set_options((SSL_CTX *) context,
						SSL_OP_NO_RX_CERTIFICATE_COMPRESSION);
#endif
	return trust_apply(transfer->trust, context, &transfer->no_socket) ?
		CURLE_OK : CURLE_SSL_CACERT_BADFILE;
}

/*
 * Whether it is OpenSSL that libcurl uses: another library has other contexts.
 */
bool
tls_has_contexts(void)
{
	const char *library = curl_version_info(CURLVERSION_NOW)->ssl_version;

	return library != NULL && strncmp(library, "OpenSSL/", 8) == 0;
}

/*
 * The options of this transfer's handle that are about TLS, whatever it is used for.
 */
void
tls_set_options(HttpTransfer *transfer)
{
	CURL	   *easy = transfer->easy;

	/* Each has the certificates of its server, and few are used again. */
	curl_easy_setopt(easy, CURLOPT_SSL_SESSIONID_CACHE, 0L);

	if (!tls_has_contexts())
		return;
	curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, context_callback);
	curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, transfer);

	/* It is trust.c that reads certificates. */
	curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
	curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
#if LIBCURL_VERSION_NUM >= 0x075700
	curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, 0L);
#endif
}
