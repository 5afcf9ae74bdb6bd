/*-------------------------------------------------------------------------
 *
 * known_servers.h
 *	  Model servers that need no more than a key.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_KNOWN_SERVERS_H
#define AGNO_KNOWN_SERVERS_H

typedef struct KnownServer
{
	const char *name;
	const char *api;
	const char *base_url;
	const char *base_url_variable;	/* overrides base_url when set, or NULL */
	const char *key_variable;	/* holds the key, or NULL: needs none */
} KnownServer;

extern const KnownServer *known_server_find(const char *name);
extern bool known_server_tells_usage(const char *base_url);
extern char *known_server_names(void);

#endif							/* AGNO_KNOWN_SERVERS_H */
