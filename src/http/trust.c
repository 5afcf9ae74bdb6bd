/*-------------------------------------------------------------------------
 *
 * trust.c
 *	  The certificates that are trusted.
 *
 * Libcurl would read and parse them for each connection, which takes longer than all the
 * rest of it; and with those of a file, it would trust those of the system's folder, too.
 * So a file is read here, once until it changes, for all connections; and each has lanes
 * of its own, since a connection is not checked again for those who use it later.
 *
 * With another library than OpenSSL, libcurl reads them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/stat.h>

#include "http/http_internal.h"

/* How long a file that cannot be read is not read again if it is the same, in ms. */
#define UNREADABLE_PAUSE 1000

struct Trust
{
	slist_node	node;			/* in HttpClient.trusts */
	X509_STORE *store;			/* what has been read; owned, or NULL */
	struct stat file;			/* which has been read, or could not be */
	int64		read_after;		/* it cannot be before then, unless it
								 * changes, as of now_ms() */
	bool		is_systems;		/* it is what libcurl trusts by itself */
	char	   *path;			/* of the file, or NULL; libcurl's if it is
								 * the system's, else owned */
	char	   *folder;			/* of more of them, libcurl's; or NULL */
};

/*
 * What requests trust that name this file, or, with NULL, none: then it is what libcurl
 * does, as any handle tells. Returns NULL when there is no memory.
 */
static Trust *
trust_create(const char *ca_file, CURL *easy)
{
	Trust	   *trust = calloc(1, sizeof(Trust));

	if (trust == NULL)
		return NULL;
	trust->is_systems = ca_file == NULL;
	if (trust->is_systems)
	{
		curl_easy_getinfo(easy, CURLINFO_CAINFO, &trust->path);
		curl_easy_getinfo(easy, CURLINFO_CAPATH, &trust->folder);
		return trust;
	}
	trust->path = strdup(ca_file);
	if (trust->path != NULL)
		return trust;
	free(trust);
	return NULL;
}

/*
 * What requests trust that name this file, or, with NULL, none. It lives as long as the
 * client. Returns NULL when there is no memory.
 */
Trust *
trust_find(HttpClient *client, const char *ca_file, CURL *easy)
{
	slist_iter	known;
	Trust	   *trust;

	slist_foreach(known, &client->trusts)
	{
		trust = slist_container(Trust, node, known.cur);
		if (ca_file == NULL ? trust->is_systems :
			(!trust->is_systems && strcmp(trust->path, ca_file) == 0))
			return trust;
	}
	trust = trust_create(ca_file, easy);
	if (trust != NULL)
		slist_push_head(&client->trusts, &trust->node);
	return trust;
}

/*
 * The file from which this is read, or NULL.
 */
const char *
trust_path(const Trust *trust)
{
	return trust->path;
}

/*
 * Whether the file is another one than that which has been read.
 */
static bool
has_changed(const Trust *trust, const struct stat *file)
{
	return file->st_dev != trust->file.st_dev ||
		file->st_ino != trust->file.st_ino ||
		file->st_size != trust->file.st_size ||
		file->st_mtim.tv_sec != trust->file.st_mtim.tv_sec ||
		file->st_mtim.tv_nsec != trust->file.st_mtim.tv_nsec ||
		file->st_ctim.tv_sec != trust->file.st_ctim.tv_sec ||
		file->st_ctim.tv_nsec != trust->file.st_ctim.tv_nsec;
}

/*
 * Read it. Returns what has been read, or NULL if that is not possible.
 */
static X509_STORE *
read_certificates(const Trust *trust)
{
	X509_STORE *store = X509_STORE_new();

	if (store == NULL || (trust->path != NULL &&
						  !X509_STORE_load_locations(store, trust->path, NULL)))
	{
		X509_STORE_free(store);
		ERR_clear_error();
		return NULL;
	}

	/* In a folder, OpenSSL looks for those that it needs; there need be none. */
	if (trust->folder != NULL &&
		!X509_STORE_load_locations(store, NULL, trust->folder))
		ERR_clear_error();

	/* as libcurl has it: an authority need not be the root */
	X509_STORE_set_flags(store, X509_V_FLAG_TRUSTED_FIRST |
						 X509_V_FLAG_PARTIAL_CHAIN);
	return store;
}

/*
 * Whether this, from errno, says that there is no room for an open file.
 */
static bool
is_lack(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOMEM;
}

/*
 * Have what is in the file now. Returns whether it can be read: not the end of a pipe, say,
 * for which one would wait. If there is no room for an open file, errno says so.
 */
static bool
trust_read(Trust *trust)
{
	struct stat file = {0};

	if (trust->path != NULL &&
		(stat(trust->path, &file) != 0 || !S_ISREG(file.st_mode)))
		return false;
	if (has_changed(trust, &file) ||
		(trust->store == NULL && trust->read_after <= now_ms()))
	{
		X509_STORE_free(trust->store);
		trust->store = read_certificates(trust);
		if (trust->store == NULL && is_lack(errno))
			return false;
		trust->file = file;
		trust->read_after = now_ms() + UNREADABLE_PAUSE;
	}
	return trust->store != NULL;
}

/*
 * A connection that is about to be opened, for which there is this SSL_CTX, is to trust
 * it. Returns whether it can be read; *lack tells whether there was only no room for it.
 */
bool
trust_apply(Trust *trust, void *context, bool *lack)
{
	errno = 0;
	if (!trust_read(trust))
	{
		*lack = is_lack(errno);
		return false;
	}
	SSL_CTX_set1_cert_store(context, trust->store);
	return true;
}
