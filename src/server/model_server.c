/*-------------------------------------------------------------------------
 *
 * model_server.c
 *	  Where a model is, and the key to it.
 *
 * A model server is a foreign server of the wrapper agno_bg; the key is in the
 * user mapping of the run's owner, else in that of PUBLIC. Where there is no
 * server of the name, a built-in one takes its key from the environment of the
 * server process.
 *
 * Backends check a server when a run is enqueued, and may raise errors. The
 * runner resolves it when the run starts, and gets an error as a text: what is
 * wrong with one server must not disturb the others.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>
#include <unistd.h>

#include "access/htup_details.h"
#include "access/reloptions.h"
#include "catalog/pg_database.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "core/known_servers.h"
#include "foreign/foreign.h"
#include "http/url.h"
#include "miscadmin.h"
#include "server/model_server.h"
#include "server/settings.h"
#include "server/sql_function.h"
#include "storage/fd.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/syscache.h"

#define WRAPPER_NAME "agno_bg"

/* The longest key that a file may hold, in bytes. */
#define MAX_KEY_FILE_SIZE 4096

/* Of the value of an option, in bytes: a key is looked for in what arrives. */
#define MAX_OPTION_LENGTH 4096

/* Of server:model-id, in bytes: it goes into many places of a run. */
#define MAX_MODEL_LENGTH 32768

#define BY_DEFAULT "It is that of agno_bg.default_model: neither the call nor an agent names a model."

/* How an option's value is checked. */
typedef enum OptionKind
{
	OPTION_TEXT,				/* anything that may stand in a header */
	OPTION_API,
	OPTION_URL,
	OPTION_TIME,				/* milliseconds, or with a unit; at least 1 ms */
	OPTION_PAUSE,				/* the same, or 0 */
	OPTION_COUNT,				/* from 0 to 100 */
	OPTION_LIMIT,				/* from 1 */
	OPTION_FILE					/* an absolute path */
} OptionKind;

typedef struct Option
{
	const char *name;
	Oid			catalog;		/* of the objects that have it */
	OptionKind	kind;
	bool		superuser_only; /* only a superuser may set it */
} Option;

static const Option valid_options[] = {
	{"api", ForeignServerRelationId, OPTION_API, false},
	{"base_url", ForeignServerRelationId, OPTION_URL, false},
	{"timeout", ForeignServerRelationId, OPTION_TIME, false},
	{"connect_timeout", ForeignServerRelationId, OPTION_TIME, false},
	{"retries", ForeignServerRelationId, OPTION_COUNT, false},
	{"unreachable_patience", ForeignServerRelationId, OPTION_PAUSE, false},
	{"max_concurrency", ForeignServerRelationId, OPTION_LIMIT, false},
	{"requests_per_minute", ForeignServerRelationId, OPTION_LIMIT, false},
	{"tokens_per_minute", ForeignServerRelationId, OPTION_LIMIT, false},
	{"ca_file", ForeignServerRelationId, OPTION_FILE, true},
	{"api_key", UserMappingRelationId, OPTION_TEXT, false},
	{"api_key_file", UserMappingRelationId, OPTION_FILE, true},
	{"api_key_env", UserMappingRelationId, OPTION_TEXT, true},
	{"organization", UserMappingRelationId, OPTION_TEXT, false},
	{"project", UserMappingRelationId, OPTION_TEXT, false},
};

SQL_FUNCTION(agno_bg_fdw_validator);

/*-------------------------------------------------------------------------
 * Options
 *-------------------------------------------------------------------------
 */

static bool
has_control_character(const char *value)
{
	for (; *value != '\0'; value++)
	{
		if (iscntrl((unsigned char) *value))
			return true;
	}
	return false;
}

/*
 * Whether value is http or https, a host, and perhaps a port and a path. A
 * user name in it would be a secret in the wrong place.
 */
static bool
is_base_url(const char *value)
{
	const char *host;

	if (strncmp(value, "https://", 8) == 0)
		host = value + 8;
	else if (strncmp(value, "http://", 7) == 0)
		host = value + 7;
	else
		return false;

	/* To libcurl, a third slash is none. */
	return host[0] != '/' && strpbrk(host, " ?#\\\"<>") == NULL &&
		!has_control_character(value) && url_is_valid(value);
}

/*
 * Complain about a value. The statement is not logged: it may hold a key.
 */
static void
check_value(const Option *option, const char *value)
{
	const char *hint = NULL;
	int			number = 0;
	bool		valid = false;

	switch (option->kind)
	{
		case OPTION_TEXT:
			valid = value[0] != '\0' && !has_control_character(value);
			hint = "The value must not be empty, nor have a control character.";
			break;
		case OPTION_API:
			valid = provider_find(value) != NULL;
			hint = psprintf("Valid values are: %s.", provider_names());
			break;
		case OPTION_URL:
			valid = is_base_url(value);
			hint = "Write it as https://host/path, without a user name or a query.";
			break;
		case OPTION_TIME:
			valid = parse_int(value, &number, GUC_UNIT_MS, &hint) && number > 0;
			if (hint == NULL)
				hint = "Write a number of milliseconds above 0, or one with a unit, such as 30s.";
			break;
		case OPTION_PAUSE:
			valid = parse_int(value, &number, GUC_UNIT_MS, &hint) &&
				number >= 0;
			if (hint == NULL)
				hint = "Write a number of milliseconds, or one with a unit, such as 30s.";
			break;
		case OPTION_COUNT:
			valid = parse_int(value, &number, 0, &hint) &&
				number >= 0 && number <= 100;
			if (hint == NULL)
				hint = "Write a number from 0 to 100.";
			break;
		case OPTION_LIMIT:
			valid = parse_int(value, &number, 0, &hint) && number >= 1;
			if (hint == NULL)
				hint = "Write a number above 0.";
			break;
		case OPTION_FILE:
			valid = is_absolute_path(value) && !has_control_character(value);
			hint = "Write an absolute path of a file on the server.";
			break;
	}
	if (strlen(value) > MAX_OPTION_LENGTH)
	{
		valid = false;
		hint = psprintf("The value must not be longer than %d bytes.",
						MAX_OPTION_LENGTH);
	}
	if (!valid)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("invalid value for option \"%s\"", option->name),
				 errhint("%s", hint),
				 errhidestmt(true)));
}

static void
complain_about_name(const char *name, Oid catalog)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < (int) lengthof(valid_options); i++)
	{
		if (valid_options[i].catalog == catalog)
			appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "",
							 valid_options[i].name);
	}
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("invalid option \"%s\"", name),
			 names.len > 0 ?
			 errhint("Valid options in this context are: %s.", names.data) :
			 errhint("There are no valid options in this context."),
			 errhidestmt(true)));
}

/*
 * agno.fdw_validator(options text[], catalog oid): refuse unknown options and
 * malformed values of servers, user mappings and the wrapper itself.
 */
Datum
agno_bg_fdw_validator(PG_FUNCTION_ARGS)
{
	List	   *options = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	int			key_sources = 0;
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *given = lfirst_node(DefElem, cell);
		const Option *option = NULL;

		for (int i = 0; i < (int) lengthof(valid_options); i++)
		{
			if (valid_options[i].catalog == catalog &&
				strcmp(valid_options[i].name, given->defname) == 0)
				option = &valid_options[i];
		}
		if (option == NULL)
			complain_about_name(given->defname, catalog);
		if (option->superuser_only && !superuser())
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to set option \"%s\"",
							option->name),
					 errdetail("Only a superuser may have the server read its files and its environment."),
					 strncmp(option->name, "api_key", 7) == 0 ?
					 errhint("Use the option api_key.") : 0,
					 errhidestmt(true)));
		check_value(option, defGetString(given));
		if (strncmp(option->name, "api_key", 7) == 0)
			key_sources++;
	}
	if (key_sources > 1)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("options api_key, api_key_file and api_key_env exclude each other"),
				 errhidestmt(true)));
	PG_RETURN_VOID();
}

static char *
get_option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0)
			return defGetString(option);
	}
	return NULL;
}

static int
get_number(List *options, const char *name, int flags, int fallback)
{
	const char *value = get_option(options, name);
	int			number;

	if (value == NULL || !parse_int(value, &number, flags, NULL))
		return fallback;
	return number;
}

/*-------------------------------------------------------------------------
 * Looking servers up
 *-------------------------------------------------------------------------
 */

/*
 * Whether this is written as a model is: "server:model-id", of any length.
 */
bool
model_is_well_formed(const char *model)
{
	const char *colon = strchr(model, ':');

	return colon != NULL && colon != model && colon[1] != '\0' &&
		!has_control_character(model);
}

/*
 * Split a model, "server:model-id", at its first colon. Errors:
 * invalid_parameter_value when it is none.
 */
void
model_parse(const char *model, char **server, char **model_id)
{
	const char *colon = strchr(model, ':');

	if (strlen(model) > MAX_MODEL_LENGTH)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("model must not be longer than %d bytes",
						MAX_MODEL_LENGTH)));
	if (!model_is_well_formed(model))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid model: \"%s\"", model),
				 errhint(MODEL_HINT)));
	*server = pnstrdup(model, colon - model);
	*model_id = pstrdup(colon + 1);
}

/*
 * The known server of this name, if it may be used without CREATE SERVER.
 */
static const KnownServer *
find_built_in_server(const char *name)
{
	const KnownServer *known = known_server_find(name);

	return known != NULL && known->key_variable != NULL &&
		!agno_environment_keys ? NULL : known;
}

/*
 * Whether the role may use a built-in server. What listens on this host is not
 * for everybody to talk to, and it asks for no key.
 */
static bool
may_use_built_in(const KnownServer *built_in, Oid role)
{
	return built_in->key_variable != NULL || superuser_arg(role);
}

static char *
without_slash(const char *url)
{
	size_t		length = strlen(url);

	while (length > 0 && url[length - 1] == '/')
		length--;
	return pnstrdup(url, length);
}

/*
 * A built-in server with what the environment says. Returns why it cannot be
 * used, or NULL.
 */
static char *
resolve_built_in(const KnownServer *built_in, ModelServer *server)
{
	const char *base_url = built_in->base_url;
	const char *variable = built_in->base_url_variable;
	const char *value = variable != NULL ? getenv(variable) : NULL;

	if (value != NULL)
	{
		base_url = value;
		if (!is_base_url(base_url))
			return psprintf("the environment variable \"%s\" of the server is no URL",
							variable);
	}
	server->built_in = true;
	server->provider = provider_find(built_in->api);
	server->base_url = without_slash(base_url);

	if (built_in->key_variable != NULL)
	{
		server->key = getenv(built_in->key_variable);
		if (server->key != NULL && has_control_character(server->key))
			return pstrdup("the API key has a control character in it");
		if (server->key == NULL && base_url == built_in->base_url)
			return psprintf("no API key for model server \"%s\": the environment variable \"%s\" is not set in the server, and there is no foreign server of this name; set it and restart, or run CREATE SERVER %s FOREIGN DATA WRAPPER agno_bg, and CREATE USER MAPPING with an api_key",
							built_in->name, built_in->key_variable,
							quote_identifier(built_in->name));
	}
	return NULL;
}

/*
 * Whether a role has a built-in server of this name that needs nothing more.
 */
static bool
has_built_in(const char *name, Oid role)
{
	const KnownServer *built_in = find_built_in_server(name);

	if (built_in == NULL || !may_use_built_in(built_in, role))
		return false;
	return built_in->key_variable == NULL ||
		getenv(built_in->key_variable) != NULL ||
		(built_in->base_url_variable != NULL &&
		 getenv(built_in->base_url_variable) != NULL);
}

static bool
owns_database(Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(DatabaseRelationId, MyDatabaseId, role);
#else
	return pg_database_ownercheck(MyDatabaseId, role);
#endif
}

/*
 * Whether a role takes this server for the built-in one of its name: so that nobody
 * who may create servers gets what others mean for the built-in one.
 */
static bool
may_replace_built_in(const ForeignServer *server, Oid role)
{
	return owns_database(server->owner) ||
		(!superuser_arg(role) && has_privs_of_role(role, server->owner));
}

/*
 * The foreign server of this name that is there for a role, or NULL. A server of
 * another wrapper is no model server.
 */
static ForeignServer *
find_foreign_server(const char *name, Oid role)
{
	ForeignServer *server = GetForeignServerByName(name, true);
	ForeignDataWrapper *wrapper;

	if (server == NULL)
		return NULL;
	wrapper = GetForeignDataWrapperByName(WRAPPER_NAME, true);
	if (wrapper == NULL || server->fdwid != wrapper->fdwid)
		return NULL;
	return has_built_in(name, role) && !may_replace_built_in(server, role) ?
		NULL : server;
}

static AclResult
check_usage(Oid server, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ForeignServerRelationId, server, role, ACL_USAGE);
#else
	return pg_foreign_server_aclcheck(server, role, ACL_USAGE);
#endif
}

static const Provider *
server_provider(ForeignServer *server)
{
	const char *api = get_option(server->options, "api");
	const KnownServer *known = known_server_find(server->servername);

	if (api == NULL && known != NULL)
		api = known->api;
	return api != NULL ? provider_find(api) : &provider_openai_responses;
}

/*
 * Check that the role may use the server of this name, and return its API.
 * by_default: nobody has named it but agno_bg.default_model. Errors:
 * undefined_object, insufficient_privilege.
 */
const Provider *
model_server_check(const char *name, Oid role, bool by_default)
{
	ForeignServer *server = find_foreign_server(name, role);
	const KnownServer *built_in;

	if (server != NULL)
	{
		if (check_usage(server->serverid, role) != ACLCHECK_OK)
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied for foreign server %s", name),
					 by_default ? errdetail("%s", BY_DEFAULT) : 0,
					 errhint("Have its owner run GRANT USAGE ON FOREIGN SERVER %s TO %s.",
							 quote_identifier(name),
							 quote_identifier(GetUserNameFromId(role, false)))));
		return server_provider(server);
	}

	built_in = find_built_in_server(name);
	if (built_in == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("model server \"%s\" does not exist", name),
				 by_default ? errdetail("%s", BY_DEFAULT) : 0,
				 errhint("Create it with CREATE SERVER %s FOREIGN DATA WRAPPER agno_bg OPTIONS (api '%s', base_url 'https://...'), or use one that needs only a key: %s.",
						 quote_identifier(name), provider_openai_responses.api,
						 known_server_names())));
	if (!may_use_built_in(built_in, role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for built-in model server \"%s\"",
						name),
				 errdetail("A server on the local host that needs no key is for superusers, unless it is defined."),
				 errhint("Have a superuser run CREATE SERVER %s FOREIGN DATA WRAPPER agno_bg OPTIONS (api '%s', base_url '%s'), and GRANT USAGE ON FOREIGN SERVER %s TO your role.",
						 quote_identifier(name), built_in->api,
						 built_in->base_url, quote_identifier(name))));
	return provider_find(built_in->api);
}

/*
 * The options of the user mapping of the role, else of PUBLIC, and its OID.
 */
static List *
mapping_options(Oid server, Oid role, Oid *mapping)
{
	HeapTuple	tuple;
	Datum		options;
	bool		isnull;
	List	   *list = NIL;

	tuple = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(role),
							ObjectIdGetDatum(server));
	if (!HeapTupleIsValid(tuple))
		tuple = SearchSysCache2(USERMAPPINGUSERSERVER,
								ObjectIdGetDatum(InvalidOid),
								ObjectIdGetDatum(server));
	if (!HeapTupleIsValid(tuple))
		return NIL;
	*mapping = ((Form_pg_user_mapping) GETSTRUCT(tuple))->oid;

	options = SysCacheGetAttr(USERMAPPINGUSERSERVER, tuple,
							  Anum_pg_user_mapping_umoptions, &isnull);
	if (!isnull)
		list = untransformRelOptions(options);
	ReleaseSysCache(tuple);
	return list;
}

/*
 * Read a key from a file. Returns why not, or NULL: where the file is is for those to know
 * who may see the options of the user mapping.
 */
static char *
read_key_file(const char *path, char **key)
{
	FILE	   *file = AllocateFile(path, PG_BINARY_R);
	char	   *buffer;
	size_t		length;

	if (file == NULL)
		return psprintf("could not open the file of the API key, which the user mapping names: %s",
						strerror(errno));
	buffer = palloc(MAX_KEY_FILE_SIZE + 1);
	length = fread(buffer, 1, MAX_KEY_FILE_SIZE + 1, file);
	FreeFile(file);
	if (length > MAX_KEY_FILE_SIZE)
		return pstrdup("the file of the API key is too large");
	while (length > 0 && isspace((unsigned char) buffer[length - 1]))
		length--;
	buffer[length] = '\0';
	*key = buffer;
	return NULL;
}

/*
 * Find the key of a user mapping. Returns why there is none, or NULL; a
 * mapping without a key is fine.
 */
static char *
find_key(List *options, char **key)
{
	const char *file = get_option(options, "api_key_file");
	const char *variable = get_option(options, "api_key_env");

	*key = get_option(options, "api_key");
	if (file != NULL)
	{
		char	   *error = read_key_file(file, key);

		if (error != NULL)
			return error;
	}
	else if (variable != NULL)
	{
		*key = getenv(variable);
		if (*key == NULL || (*key)[0] == '\0')
			return psprintf("the environment variable \"%s\", which is to hold the API key, is not set in the server",
							variable);
	}
	if (*key != NULL && has_control_character(*key))
		return pstrdup("the API key has a control character in it");
	return NULL;
}

/*
 * Look up the server of this name for a role. A server needs no key, unless it is
 * the provider's own that its name promises. Returns why the role cannot use
 * it, as a palloc'd text, or NULL.
 */
char *
model_server_resolve(const char *name, Oid role, ModelServer *server)
{
	ForeignServer *foreign = find_foreign_server(name, role);
	const KnownServer *known = known_server_find(name);
	const KnownServer *built_in;
	const char *owner = GetUserNameFromId(role, true);
	const char *base_url;
	List	   *mapping;
	char	   *error;

	memset(server, 0, sizeof(ModelServer));
	server->timeout_ms = agno_request_timeout;
	server->connect_timeout_ms = agno_connect_timeout;
	server->retries = agno_retries;
	server->patience_ms = agno_unreachable_patience;

	if (owner == NULL)
		return psprintf("the role with OID %u, which owned the run, has been dropped",
						role);
	if (foreign == NULL)
	{
		built_in = find_built_in_server(name);
		if (built_in == NULL)
			return psprintf("model server \"%s\" does not exist", name);
		if (!may_use_built_in(built_in, role))
			return psprintf("permission denied for built-in model server \"%s\"",
							name);
		return resolve_built_in(built_in, server);
	}

	if (check_usage(foreign->serverid, role) != ACLCHECK_OK)
		return psprintf("permission denied for foreign server %s", name);

	server->provider = server_provider(foreign);
	if (server->provider == NULL)
		return psprintf("model server \"%s\" has an unknown api", name);
	base_url = get_option(foreign->options, "base_url");
	if (base_url == NULL)
		base_url = known != NULL && server->provider == provider_find(known->api) ?
			known->base_url : server->provider->default_base_url;
	server->base_url = without_slash(base_url);
	server->ca_file = get_option(foreign->options, "ca_file");
	server->timeout_ms = get_number(foreign->options, "timeout", GUC_UNIT_MS,
									server->timeout_ms);
	server->connect_timeout_ms = get_number(foreign->options,
											"connect_timeout", GUC_UNIT_MS,
											server->connect_timeout_ms);
	server->retries = get_number(foreign->options, "retries", 0,
								 server->retries);

	server->patience_ms = get_number(foreign->options,
									 "unreachable_patience", GUC_UNIT_MS,
									 server->patience_ms);
	server->max_concurrency = get_number(foreign->options, "max_concurrency",
										 0, 0);
	server->requests_per_minute = get_number(foreign->options,
											 "requests_per_minute", 0, 0);
	server->tokens_per_minute = get_number(foreign->options,
										   "tokens_per_minute", 0, 0);

	mapping = mapping_options(foreign->serverid, role, &server->mapping);
	server->organization = get_option(mapping, "organization");
	server->project = get_option(mapping, "project");
	error = find_key(mapping, &server->key);
	if (error == NULL && server->key == NULL && known != NULL &&
		known->key_variable != NULL &&
		strcmp(server->base_url, known->base_url) == 0)
		error = psprintf("no API key of role \"%s\" for model server \"%s\"; run CREATE USER MAPPING FOR %s SERVER %s OPTIONS (api_key '...')",
						 owner, name, quote_identifier(owner),
						 quote_identifier(name));
	return error;
}
