/*-------------------------------------------------------------------------
 *
 * model_server.h
 *	  Where a model is, and the key to it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef AGNO_MODEL_SERVER_H
#define AGNO_MODEL_SERVER_H

#include "core/provider.h"

/*
 * A model server as one role may use it. All memory is palloc'd.
 */
typedef struct ModelServer
{
	const Provider *provider;
	char	   *base_url;		/* without a slash at the end */
	char	   *key;			/* NULL: none. Never logged, never stored. */
	char	   *organization;	/* or NULL */
	char	   *project;		/* or NULL */
	char	   *ca_file;		/* or NULL */
	int			timeout_ms;		/* of a request */
	int			connect_timeout_ms;
	int			retries;
	int			patience_ms;	/* how long runs wait if it cannot be reached */
	bool		built_in;		/* it is no foreign server */
	Oid			mapping;		/* the user mapping that was used, or invalid */
	int			max_concurrency;	/* runs in flight; 0: any number */
	int			requests_per_minute;	/* 0: any number */
	int			tokens_per_minute;	/* 0: any number */
} ModelServer;

/* What to do about a text that is no model. */
#define MODEL_HINT \
	"Write a model as server:model-id, such as openai:gpt-5-mini."

extern bool model_is_well_formed(const char *model);
extern void model_parse(const char *model, char **server,
						char **model_id);
extern const Provider *model_server_check(const char *name, Oid role,
										  bool by_default);
extern char *model_server_resolve(const char *name, Oid role,
								  ModelServer *server);

#endif							/* AGNO_MODEL_SERVER_H */
