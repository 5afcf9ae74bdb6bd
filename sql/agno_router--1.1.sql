/* sql/agno_router--1.1.sql: every SQL object of agno_router 1.1 */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION agno_router" to load this file. \quit

-- A router is a PostgreSQL without agno_bg. It has the functions of agno_bg, which
-- call those of the node that has the run, and the relations of agno_bg as views
-- over all nodes. It keeps no run: routers may stand side by side.
--
-- There are two ways to a node. postgres_fdw enqueues, in a transaction that ends
-- with the caller's, and reads relations. PL/Proxy calls functions, each call in a
-- transaction of its own. Both connect as the current user, and never as anybody
-- else; there is one foreign server for each node, of postgres_fdw, and PL/Proxy
-- takes its options and the user's mapping from there.
--
-- A node has a range of the slots of sessions, and a name: it is that of its foreign
-- server, its relations are foreign tables in the schema agno_<name>.

CREATE SCHEMA agno;
COMMENT ON SCHEMA agno IS
	'agno_router: runs of LLM agents on several servers';
GRANT USAGE ON SCHEMA agno TO PUBLIC;

---------------------------------------------------------------------------
-- Types, and slots
---------------------------------------------------------------------------

CREATE TYPE agno.run_status AS ENUM
	('PENDING', 'RUNNING', 'PAUSED', 'COMPLETED', 'CANCELLED', 'ERROR');
COMMENT ON TYPE agno.run_status IS
	'where a run stands; COMPLETED, CANCELLED and ERROR are final';

CREATE TYPE agno.run_ref AS (
	run_id pg_catalog.text,
	session_id pg_catalog.text,
	status agno.run_status
);
COMMENT ON TYPE agno.run_ref IS 'a run as agno_arun accepted it';

-- STABLE, as what is IMMUTABLE here postgres_fdw sends to the nodes.
CREATE FUNCTION agno.looks_generated(id pg_catalog.text)
RETURNS boolean
LANGUAGE plpgsql STRICT STABLE PARALLEL SAFE
AS $$
BEGIN
	RETURN pg_catalog.split_part(id, '/', 1) COLLATE pg_catalog."C"
		OPERATOR(pg_catalog.~)
		'^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$';
END
$$;
COMMENT ON FUNCTION agno.looks_generated(pg_catalog.text) IS
	'whether the slot of an id is its last 16 bits';

-- As id_slot() of agno_bg, for ever.
CREATE FUNCTION @extschema@.agno_slot(id pg_catalog.text)
RETURNS integer
LANGUAGE plpgsql STRICT IMMUTABLE PARALLEL SAFE
AS $$
DECLARE
	part pg_catalog.text := pg_catalog.split_part(id, '/', 1);
	hash pg_catalog.bytea;
BEGIN
	IF agno.looks_generated(part) THEN
		RETURN pg_catalog.concat('x', pg_catalog.right(part, 4))
			::bit(16)::integer;
	END IF;
	hash := pg_catalog.sha256(pg_catalog.convert_to(part, 'UTF8'));
	RETURN pg_catalog.get_byte(hash, 0) OPERATOR(pg_catalog.*) 256
		OPERATOR(pg_catalog.+) pg_catalog.get_byte(hash, 1);
END
$$;
COMMENT ON FUNCTION @extschema@.agno_slot(pg_catalog.text) IS
	'the slot, from 0 to 65535, of a run or a session by its id, as far as that '
	'tells it: the last 16 bits of one that was generated, of any other the first '
	'16 of the SHA-256 of what stands before its first slash';

CREATE FUNCTION agno.new_id(slot integer)
RETURNS pg_catalog.text
LANGUAGE plpgsql STRICT VOLATILE PARALLEL SAFE
AS $$
DECLARE
	millis bigint := (EXTRACT(epoch FROM pg_catalog.clock_timestamp())
		OPERATOR(pg_catalog.*) 1000)::bigint;
	random pg_catalog.bytea := pg_catalog.uuid_send(pg_catalog.gen_random_uuid());
	bytes pg_catalog.bytea;
BEGIN
	IF slot OPERATOR(pg_catalog.<) 0 OR slot OPERATOR(pg_catalog.>) 65535 THEN
		RAISE EXCEPTION 'slot must be from 0 to 65535'
			USING ERRCODE = 'numeric_value_out_of_range';
	END IF;
	-- 48 bits of time; version 4 is made 7; 16 bits of slot
	bytes := pg_catalog.substr(pg_catalog.int8send(millis), 3)
		OPERATOR(pg_catalog.||) pg_catalog.substr(random, 7, 8)
		OPERATOR(pg_catalog.||) pg_catalog.substr(pg_catalog.int4send(slot), 3);
	bytes := pg_catalog.set_bit(pg_catalog.set_bit(bytes, 52, 1), 53, 1);
	RETURN pg_catalog.encode(bytes, 'hex')::pg_catalog.uuid::pg_catalog.text;
END
$$;
COMMENT ON FUNCTION agno.new_id(integer) IS
	'a new id for a session, or for a run of a session, of this slot';

---------------------------------------------------------------------------
-- Nodes
---------------------------------------------------------------------------

CREATE TABLE agno.nodes (
	node pg_catalog.text NOT NULL,
	first_slot integer NOT NULL,
	last_slot integer NOT NULL,
	has_agents boolean NOT NULL,
	CONSTRAINT nodes_pkey PRIMARY KEY (node),
	CONSTRAINT nodes_first_slot_key UNIQUE (first_slot),
	CONSTRAINT nodes_node_check CHECK
		(node OPERATOR(pg_catalog.~) '^[a-z_][a-z0-9_]{0,49}$'),
	CONSTRAINT nodes_slots_check CHECK
		(first_slot OPERATOR(pg_catalog.>=) 0
		 AND first_slot OPERATOR(pg_catalog.<=) last_slot
		 AND last_slot OPERATOR(pg_catalog.<=) 65535)
);
COMMENT ON TABLE agno.nodes IS
	'the servers that execute runs, and whose sessions each has; written by '
	'agno_router_add_node';
COMMENT ON COLUMN agno.nodes.node IS
	'the name of the node, and of its foreign server';
COMMENT ON COLUMN agno.nodes.first_slot IS
	'the first slot of its sessions: see agno_slot';
COMMENT ON COLUMN agno.nodes.last_slot IS 'the last one';
COMMENT ON COLUMN agno.nodes.has_agents IS
	'it is the one on which agents and tools are written; the others '
	'receive them';
SELECT pg_catalog.pg_extension_config_dump('agno.nodes', '');

-- Evaluated once for each node when a query over all nodes starts, and then again
-- for each row, about its own node, which costs only a look at a setting.
-- Everybody can write settings: who calls a function of SECURITY DEFINER must not
-- hide rows from it, so what cannot be reached is looked for again there. To be
-- told that a node can be reached gives an error at worst.
CREATE FUNCTION agno.reachable(node pg_catalog.text)
RETURNS pg_catalog.text
LANGUAGE plpgsql STABLE
AS $$
DECLARE
	setting pg_catalog.text := 'agno_router.reachable_'
		OPERATOR(pg_catalog.||) node;
	now pg_catalog.text := pg_catalog.statement_timestamp()::pg_catalog.text;
	known pg_catalog.text := pg_catalog.current_setting(setting, true);
	reason pg_catalog.text;
BEGIN
	IF known OPERATOR(pg_catalog.=) pg_catalog.concat('yes ', now) THEN
		RETURN node;
	ELSIF known OPERATOR(pg_catalog.=) pg_catalog.concat('no ', now)
		  AND CURRENT_USER OPERATOR(pg_catalog.=) SESSION_USER THEN
		RETURN NULL;
	END IF;
	BEGIN
		-- connects, and asks nothing
		PERFORM FROM agno.node_sessions s
			WHERE s.node OPERATOR(pg_catalog.=) reachable.node LIMIT 0;
		PERFORM pg_catalog.set_config(setting, pg_catalog.concat('yes ', now),
									  true);
		RETURN node;
	EXCEPTION
		WHEN connection_exception OR connection_failure
			OR sqlclient_unable_to_establish_sqlconnection
			OR admin_shutdown OR crash_shutdown OR cannot_connect_now THEN
			GET STACKED DIAGNOSTICS reason := PG_EXCEPTION_DETAIL;
			RAISE WARNING 'node "%" cannot be reached: its rows are missing', node
				USING ERRCODE = 'sqlclient_unable_to_establish_sqlconnection',
					  DETAIL = reason;
	END;
	PERFORM pg_catalog.set_config(setting, pg_catalog.concat('no ', now), true);
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION agno.reachable(pg_catalog.text) IS
	'the name of the node; null, and a warning, if it cannot be reached now';

-- The views over all nodes say WHERE agno.shown(node). This is inlined into them,
-- so that PostgreSQL removes the partitions of nodes that cannot be reached when
-- the query starts, before it connects. For a row, only its own node is asked about.
CREATE FUNCTION agno.shown(node pg_catalog.text)
RETURNS boolean
LANGUAGE sql STABLE
AS $$ SELECT false $$;
COMMENT ON FUNCTION agno.shown(pg_catalog.text) IS
	'whether rows of the node can be shown; written anew when nodes change';

CREATE FUNCTION agno.write_shown()
RETURNS pg_catalog.trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	EXECUTE format(
		'CREATE OR REPLACE FUNCTION agno.shown(node pg_catalog.text) '
		'RETURNS boolean LANGUAGE sql STABLE AS %L',
		(SELECT format(' SELECT %s ', COALESCE(string_agg(format(
				'(node OPERATOR(pg_catalog.=) %1$L AND '
				'node OPERATOR(pg_catalog.=) agno.reachable(%1$L))', n.node),
				' OR ' ORDER BY n.first_slot), 'false'))
		 FROM agno.nodes n));
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION agno.write_shown() IS 'writes agno.shown anew';
REVOKE ALL ON FUNCTION agno.write_shown() FROM PUBLIC;

-- Also when a dump is restored.
CREATE TRIGGER nodes_shown AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE
	ON agno.nodes FOR EACH STATEMENT EXECUTE FUNCTION agno.write_shown();
COMMENT ON TRIGGER nodes_shown ON agno.nodes IS
	'the views over all nodes follow';

-- Where PL/Proxy connects to. A role can change its own mapping. So the user is the
-- current one, and of the mapping nothing is taken but the password, and what
-- postgres_fdw lets superusers alone write there. Each function with a backslash
-- in it says how that is read, since the caller's session may say otherwise.
CREATE FUNCTION agno.connection(node pg_catalog.text)
RETURNS pg_catalog.text
LANGUAGE plpgsql STABLE
SET standard_conforming_strings = on
AS $$
DECLARE
	mapped boolean;
	string pg_catalog.text;
BEGIN
	SELECT true,
		   pg_catalog.string_agg(pg_catalog.format('%s=''%s''', o.option_name,
				pg_catalog.regexp_replace(o.option_value, '([\\''])', '\\\1',
										  'g')), ' ')
		INTO mapped, string
	FROM agno.nodes n
	JOIN pg_catalog.pg_foreign_server s
	  ON s.srvname OPERATOR(pg_catalog.=) n.node
	JOIN pg_catalog.pg_user_mappings m
	  ON m.srvid OPERATOR(pg_catalog.=) s.oid
	 AND m.usename OPERATOR(pg_catalog.=) CURRENT_USER
	LEFT JOIN LATERAL (
		SELECT x.option_name, x.option_value
		FROM pg_catalog.pg_options_to_table(s.srvoptions) x
		WHERE x.option_name OPERATOR(pg_catalog.<>) ALL ('{user,
			use_remote_estimate,fdw_startup_cost,fdw_tuple_cost,extensions,
			updatable,truncatable,fetch_size,batch_size,async_capable,
			parallel_commit,parallel_abort,keep_connections,analyze_sampling,
			use_scram_passthrough}'::pg_catalog.text[])
		UNION ALL
		SELECT x.option_name, x.option_value
		FROM pg_catalog.pg_options_to_table(m.umoptions) x
		WHERE x.option_name OPERATOR(pg_catalog.=)
			ANY ('{password,sslcert,sslkey}'::pg_catalog.text[])) o
	  ON true
	WHERE n.node OPERATOR(pg_catalog.=) connection.node
	GROUP BY s.oid;
	IF mapped IS NULL THEN
		RAISE EXCEPTION 'user mapping not found for "%"', CURRENT_USER
			USING ERRCODE = 'undefined_object',
				  HINT = 'The owner of the extension runs SELECT '
						 'agno_grant_usage(...) for this role.';
	END IF;
	RETURN pg_catalog.format('%s user=''%s''', string,
		pg_catalog.regexp_replace(CURRENT_USER::pg_catalog.text, '([\\''])',
								  '\\\1', 'g'));
END
$$;
COMMENT ON FUNCTION agno.connection(pg_catalog.text) IS
	'the connection string of a node for the current user, with his password';

---------------------------------------------------------------------------
-- Relations of the nodes
---------------------------------------------------------------------------

-- A role that the router does not know is null in the views.
CREATE TABLE agno.node_runs (
	node pg_catalog.text NOT NULL,
	run_id pg_catalog.text COLLATE pg_catalog."C",
	session_id pg_catalog.text COLLATE pg_catalog."C",
	agent_id pg_catalog.text COLLATE pg_catalog."C",
	user_id pg_catalog.text,
	parent_run_id pg_catalog.text COLLATE pg_catalog."C",
	status agno.run_status,
	input pg_catalog.text,
	content pg_catalog.text,
	content_type pg_catalog.text,
	reasoning_content pg_catalog.text,
	model pg_catalog.text,
	model_provider pg_catalog.text,
	messages pg_catalog.jsonb,
	tools pg_catalog.jsonb,
	requirements pg_catalog.jsonb,
	metrics pg_catalog.jsonb,
	session_state pg_catalog.jsonb,
	metadata pg_catalog.jsonb,
	error pg_catalog.jsonb,
	attempt integer,
	owner pg_catalog.text,
	priority integer,
	created_at pg_catalog.timestamptz,
	run_at pg_catalog.timestamptz,
	started_at pg_catalog.timestamptz,
	finished_at pg_catalog.timestamptz
) PARTITION BY LIST (node);
COMMENT ON TABLE agno.node_runs IS
	'agno.runs of the nodes, each a partition';
CREATE VIEW agno.runs WITH (security_invoker) AS
	SELECT x.run_id, x.session_id, x.agent_id, x.user_id, x.parent_run_id,
		   x.status, x.input, x.content, x.content_type, x.reasoning_content,
		   x.model, x.model_provider, x.messages, x.tools, x.requirements,
		   x.metrics, x.session_state, x.metadata, x.error, x.attempt,
		   pg_catalog.to_regrole(x.owner) AS owner, x.priority, x.created_at,
		   x.run_at, x.started_at, x.finished_at, x.node
	FROM agno.node_runs x
	WHERE agno.shown(x.node);
COMMENT ON VIEW agno.runs IS
	'one row per run of any node that can be reached, with the name of the '
	'node';

CREATE TABLE agno.node_sessions (
	node pg_catalog.text NOT NULL,
	session_id pg_catalog.text COLLATE pg_catalog."C",
	user_id pg_catalog.text,
	agent_id pg_catalog.text COLLATE pg_catalog."C",
	session_state pg_catalog.jsonb,
	metadata pg_catalog.jsonb,
	owner pg_catalog.text,
	created_at pg_catalog.timestamptz,
	updated_at pg_catalog.timestamptz,
	session_metrics pg_catalog.jsonb
) PARTITION BY LIST (node);
COMMENT ON TABLE agno.node_sessions IS
	'agno.sessions of the nodes, each a partition';
CREATE VIEW agno.sessions WITH (security_invoker) AS
	SELECT x.session_id, x.user_id, x.agent_id, x.session_state, x.metadata,
		   pg_catalog.to_regrole(x.owner) AS owner, x.created_at,
		   x.updated_at, x.session_metrics, x.node
	FROM agno.node_sessions x
	WHERE agno.shown(x.node);
COMMENT ON VIEW agno.sessions IS
	'the conversations of all nodes';

CREATE TABLE agno.node_run_events (
	node pg_catalog.text NOT NULL,
	run_id pg_catalog.text COLLATE pg_catalog."C",
	seq bigint,
	event pg_catalog.text,
	data pg_catalog.jsonb,
	created_at pg_catalog.timestamptz
) PARTITION BY LIST (node);
COMMENT ON TABLE agno.node_run_events IS
	'agno.run_events of the nodes, each a partition';
CREATE VIEW agno.run_events WITH (security_invoker) AS
	SELECT x.run_id, x.seq, x.event, x.data, x.created_at, x.node
	FROM agno.node_run_events x
	WHERE agno.shown(x.node);
COMMENT ON VIEW agno.run_events IS
	'what subscribers of streamed runs are told, of all nodes';

CREATE TABLE agno.node_tool_calls (
	node pg_catalog.text NOT NULL,
	run_id pg_catalog.text COLLATE pg_catalog."C",
	turn integer,
	call_no integer,
	tool_call_id pg_catalog.text COLLATE pg_catalog."C",
	model_call_id pg_catalog.text,
	tool pg_catalog.text,
	arguments pg_catalog.jsonb,
	status pg_catalog.text,
	result pg_catalog.text,
	error pg_catalog.text,
	sqlstate pg_catalog.text,
	attempt integer,
	xid pg_catalog.xid8,
	started_at pg_catalog.timestamptz,
	finished_at pg_catalog.timestamptz,
	shown pg_catalog.text,
	child_run_id pg_catalog.text COLLATE pg_catalog."C",
	child_metrics pg_catalog.jsonb
) PARTITION BY LIST (node);
COMMENT ON TABLE agno.node_tool_calls IS
	'agno.tool_calls of the nodes, each a partition';
CREATE VIEW agno.tool_calls WITH (security_invoker) AS
	SELECT x.run_id, x.turn, x.call_no, x.tool_call_id, x.model_call_id,
		   x.tool, x.arguments, x.status, x.result, x.error, x.sqlstate,
		   x.attempt, x.xid, x.started_at, x.finished_at, x.shown,
		   x.child_run_id, x.child_metrics, x.node
	FROM agno.node_tool_calls x
	WHERE agno.shown(x.node);
COMMENT ON VIEW agno.tool_calls IS
	'what agents did, on all nodes';

CREATE TABLE agno.node_approvals (
	node pg_catalog.text NOT NULL,
	run_id pg_catalog.text COLLATE pg_catalog."C",
	tool_call_id pg_catalog.text COLLATE pg_catalog."C",
	kind pg_catalog.text,
	tool pg_catalog.text,
	arguments pg_catalog.jsonb,
	preview pg_catalog.jsonb,
	agent_id pg_catalog.text COLLATE pg_catalog."C",
	user_id pg_catalog.text,
	requested_at pg_catalog.timestamptz,
	expires_at pg_catalog.timestamptz,
	input_schema pg_catalog.jsonb,
	model_call_id pg_catalog.text,
	session_id pg_catalog.text COLLATE pg_catalog."C",
	owner pg_catalog.text,
	approver pg_catalog.text
) PARTITION BY LIST (node);
COMMENT ON TABLE agno.node_approvals IS
	'agno.approvals of the nodes, each a partition';
CREATE VIEW agno.approvals WITH (security_invoker) AS
	SELECT x.run_id, x.tool_call_id, x.kind, x.tool, x.arguments, x.preview,
		   x.agent_id, x.user_id, x.requested_at, x.expires_at,
		   x.input_schema, x.model_call_id, x.session_id,
		   pg_catalog.to_regrole(x.owner) AS owner,
		   pg_catalog.to_regrole(x.approver) AS approver, x.node
	FROM agno.node_approvals x
	WHERE agno.shown(x.node);
COMMENT ON VIEW agno.approvals IS
	'the calls of all nodes that the current user may decide about';

CREATE TABLE agno.node_stats (
	node pg_catalog.text NOT NULL,
	model_provider pg_catalog.text,
	model pg_catalog.text,
	hour pg_catalog.timestamptz,
	status agno.run_status,
	runs bigint,
	oldest_pending interval,
	input_tokens numeric,
	output_tokens numeric,
	total_tokens numeric,
	callback_errors bigint
) PARTITION BY LIST (node);
COMMENT ON TABLE agno.node_stats IS
	'agno.stats of the nodes, each a partition';
CREATE VIEW agno.stats WITH (security_invoker) AS
	SELECT x.model_provider, x.model, x.hour, x.status, x.runs,
		   x.oldest_pending, x.input_tokens, x.output_tokens, x.total_tokens,
		   x.callback_errors, x.node
	FROM agno.node_stats x
	WHERE agno.shown(x.node);
COMMENT ON VIEW agno.stats IS
	'how many runs there are of each status, and what they cost, by model '
	'and hour and node';

CREATE TABLE agno.node_workers (
	node pg_catalog.text NOT NULL,
	database pg_catalog.name,
	pid integer,
	state pg_catalog.text,
	in_flight bigint,
	claimed bigint,
	completed bigint,
	failed bigint,
	cancelled bigint,
	retried bigint,
	since pg_catalog.timestamptz,
	kind pg_catalog.text,
	role pg_catalog.name
) PARTITION BY LIST (node);
COMMENT ON TABLE agno.node_workers IS
	'agno.workers of the nodes, each a partition';
CREATE VIEW agno.workers WITH (security_invoker) AS
	SELECT x.database, x.pid, x.state, x.in_flight, x.claimed, x.completed,
		   x.failed, x.cancelled, x.retried, x.since, x.kind, x.role, x.node
	FROM agno.node_workers x
	WHERE agno.shown(x.node);
COMMENT ON VIEW agno.workers IS
	'the runners and tool workers of all nodes';

-- To INSERT into, as agno.enqueue of a node is, in the caller's transaction: a row goes
-- to the node of its slot, many rows without RETURNING in one statement per node.
CREATE TABLE agno.enqueue (
	input pg_catalog.text,
	agent_id pg_catalog.text,
	session_id pg_catalog.text,
	run_id pg_catalog.text,
	user_id pg_catalog.text,
	model pg_catalog.text,
	output_schema pg_catalog.jsonb,
	session_state pg_catalog.jsonb,
	metadata pg_catalog.jsonb,
	model_options pg_catalog.jsonb,
	stream boolean,
	priority integer,
	run_at pg_catalog.timestamptz,
	timeout interval,
	max_attempts integer,
	idempotency_key pg_catalog.text,
	on_complete pg_catalog.text,
	status agno.run_status,
	slot integer DEFAULT pg_catalog.floor(pg_catalog.random()
		OPERATOR(pg_catalog.*) 65536)::integer
) PARTITION BY RANGE ((COALESCE(
	@extschema@.agno_slot(COALESCE(session_id, idempotency_key, run_id)), slot)));
COMMENT ON TABLE agno.enqueue IS
	'to INSERT into, which is to call agno_arun for each row; RETURNING gives '
	'run_id, session_id and status. slot is that of a session that is generated, '
	'where neither run_id nor idempotency_key says it';

-- ANALYZE by a role that sees all rows would put some into pg_stats, where everybody
-- who may read the relation sees them, and operators that leak are shown them.
CREATE FUNCTION agno.keep_no_statistics(relation pg_catalog.regclass)
RETURNS pg_catalog.void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	EXECUTE (SELECT format('ALTER TABLE %s %s', relation,
						   string_agg(format('ALTER %I SET STATISTICS 0',
											 a.attname), ', '))
			 FROM pg_attribute a
			 WHERE a.attrelid = relation AND a.attnum > 0
			   AND NOT a.attisdropped);
END
$$;
COMMENT ON FUNCTION agno.keep_no_statistics(pg_catalog.regclass) IS
	'has ANALYZE keep nothing of the rows of a relation of the nodes';

-- Default privileges give roles what would be rights of whoever comes here: to have
-- triggers, or to say where things are sent.
CREATE FUNCTION agno.keep_private(relation pg_catalog.regclass)
RETURNS pg_catalog.void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	role text;
BEGIN
	FOR role IN
		SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC'
							 ELSE a.grantee::regrole::text END
		FROM pg_class c, aclexplode(c.relacl) a
		WHERE c.oid = relation AND a.grantee <> c.relowner
	LOOP
		EXECUTE format('REVOKE ALL ON %s FROM %s CASCADE', relation, role);
	END LOOP;
END
$$;
COMMENT ON FUNCTION agno.keep_private(pg_catalog.regclass) IS
	'takes all privileges to a relation that is new back, but its owner''s';

SELECT agno.keep_no_statistics(r) FROM pg_catalog.unnest(
	'{agno.node_runs,agno.node_sessions,agno.node_run_events,
	  agno.node_tool_calls,agno.node_approvals,agno.node_stats,
	  agno.node_workers,agno.enqueue}'::pg_catalog.regclass[]) r;

CREATE FUNCTION agno.as_run(x agno.node_runs)
RETURNS SETOF agno.runs
LANGUAGE sql STABLE ROWS 1
AS $$
	SELECT x.run_id, x.session_id, x.agent_id, x.user_id, x.parent_run_id,
		   x.status, x.input, x.content, x.content_type, x.reasoning_content,
		   x.model, x.model_provider, x.messages, x.tools, x.requirements,
		   x.metrics, x.session_state, x.metadata, x.error, x.attempt,
		   pg_catalog.to_regrole(x.owner) AS owner, x.priority, x.created_at,
		   x.run_at, x.started_at, x.finished_at, x.node
$$;
COMMENT ON FUNCTION agno.as_run(agno.node_runs) IS
	'a run as a node tells it, as agno.runs shows it';

---------------------------------------------------------------------------
-- Functions of the nodes
---------------------------------------------------------------------------

-- Each calls one function, on the node that is its first argument. The columns of
-- agno.runs have names, so that a node may have more of them.
CREATE FUNCTION agno.get_run_output_at(at_node pg_catalog.text,
	run_id pg_catalog.text,
	session_id pg_catalog.text)
RETURNS SETOF agno.node_runs
LANGUAGE plproxy
AS $$
	CONNECT agno.connection(at_node);
	SELECT $1 AS node, r.run_id, r.session_id, r.agent_id, r.user_id,
		r.parent_run_id, r.status, r.input, r.content, r.content_type,
		r.reasoning_content, r.model, r.model_provider, r.messages, r.tools,
		r.requirements, r.metrics, r.session_state, r.metadata, r.error,
		r.attempt, r.owner::pg_catalog.text, r.priority, r.created_at,
		r.run_at, r.started_at, r.finished_at
	FROM @extschema@.agno_get_run_output($2, $3) r;
$$;
COMMENT ON FUNCTION agno.get_run_output_at(pg_catalog.text, pg_catalog.text,
	pg_catalog.text) IS
	'agno_get_run_output of a node';

CREATE FUNCTION agno.wait_run_at(at_node pg_catalog.text,
	run_id pg_catalog.text, timeout interval)
RETURNS SETOF agno.node_runs
LANGUAGE plproxy
AS $$
	CONNECT agno.connection(at_node);
	SELECT $1 AS node, r.run_id, r.session_id, r.agent_id, r.user_id,
		r.parent_run_id, r.status, r.input, r.content, r.content_type,
		r.reasoning_content, r.model, r.model_provider, r.messages, r.tools,
		r.requirements, r.metrics, r.session_state, r.metadata, r.error,
		r.attempt, r.owner::pg_catalog.text, r.priority, r.created_at,
		r.run_at, r.started_at, r.finished_at
	FROM @extschema@.agno_wait_run($2, $3) r;
$$;
COMMENT ON FUNCTION agno.wait_run_at(pg_catalog.text, pg_catalog.text, interval) IS
	'agno_wait_run of a node';

CREATE FUNCTION agno.run_events_at(at_node pg_catalog.text,
	run_id pg_catalog.text, after bigint)
RETURNS SETOF agno.node_run_events
LANGUAGE plproxy
AS $$
	CONNECT agno.connection(at_node);
	SELECT $1 AS node, r.run_id, r.seq, r.event, r.data, r.created_at
	FROM @extschema@.agno_run_events($2, $3) r;
$$;
COMMENT ON FUNCTION agno.run_events_at(pg_catalog.text, pg_catalog.text, bigint) IS
	'agno_run_events of a node';

CREATE FUNCTION agno.run_output_dict_at(at_node pg_catalog.text,
	run_id pg_catalog.text)
RETURNS pg_catalog.jsonb
LANGUAGE plproxy
AS $$
	CONNECT agno.connection(at_node);
	SELECT @extschema@.agno_run_output_dict($2);
$$;
COMMENT ON FUNCTION agno.run_output_dict_at(pg_catalog.text, pg_catalog.text) IS
	'agno_run_output_dict of a node';

CREATE FUNCTION agno.cancel_run_at(at_node pg_catalog.text,
	run_id pg_catalog.text)
RETURNS boolean
LANGUAGE plproxy
AS $$
	CONNECT agno.connection(at_node);
	SELECT @extschema@.agno_cancel_run($2);
$$;
COMMENT ON FUNCTION agno.cancel_run_at(pg_catalog.text, pg_catalog.text) IS
	'agno_cancel_run of a node';

CREATE FUNCTION agno.requeue_run_at(at_node pg_catalog.text,
	run_id pg_catalog.text)
RETURNS agno.run_ref
LANGUAGE plproxy
AS $$
	CONNECT agno.connection(at_node);
	SELECT r.run_id, r.session_id, r.status
	FROM @extschema@.agno_requeue_run($2) r;
$$;
COMMENT ON FUNCTION agno.requeue_run_at(pg_catalog.text, pg_catalog.text) IS
	'agno_requeue_run of a node';

CREATE FUNCTION agno.requeue_callback_at(at_node pg_catalog.text,
	run_id pg_catalog.text)
RETURNS agno.run_ref
LANGUAGE plproxy
AS $$
	CONNECT agno.connection(at_node);
	SELECT r.run_id, r.session_id, r.status
	FROM @extschema@.agno_requeue_callback($2) r;
$$;
COMMENT ON FUNCTION agno.requeue_callback_at(pg_catalog.text, pg_catalog.text) IS
	'agno_requeue_callback of a node';

CREATE FUNCTION agno.continue_run_at(at_node pg_catalog.text,
	run_id pg_catalog.text,
	requirements pg_catalog.jsonb)
RETURNS agno.run_ref
LANGUAGE plproxy
AS $$
	CONNECT agno.connection(at_node);
	SELECT r.run_id, r.session_id, r.status
	FROM @extschema@.agno_continue_run($2, $3) r;
$$;
COMMENT ON FUNCTION agno.continue_run_at(pg_catalog.text, pg_catalog.text,
	pg_catalog.jsonb) IS
	'agno_continue_run of a node';

CREATE FUNCTION agno.approve_call_at(at_node pg_catalog.text,
	run_id pg_catalog.text,
	tool_call_id pg_catalog.text, note pg_catalog.text)
RETURNS agno.run_ref
LANGUAGE plproxy
AS $$
	CONNECT agno.connection(at_node);
	SELECT r.run_id, r.session_id, r.status
	FROM @extschema@.agno_approve_call($2, $3, $4) r;
$$;
COMMENT ON FUNCTION agno.approve_call_at(pg_catalog.text, pg_catalog.text,
	pg_catalog.text, pg_catalog.text) IS
	'agno_approve_call of a node';

CREATE FUNCTION agno.reject_call_at(at_node pg_catalog.text,
	run_id pg_catalog.text,
	tool_call_id pg_catalog.text, note pg_catalog.text)
RETURNS agno.run_ref
LANGUAGE plproxy
AS $$
	CONNECT agno.connection(at_node);
	SELECT r.run_id, r.session_id, r.status
	FROM @extschema@.agno_reject_call($2, $3, $4) r;
$$;
COMMENT ON FUNCTION agno.reject_call_at(pg_catalog.text, pg_catalog.text,
	pg_catalog.text, pg_catalog.text) IS
	'agno_reject_call of a node';

CREATE FUNCTION agno.answer_call_at(at_node pg_catalog.text,
	run_id pg_catalog.text,
	tool_call_id pg_catalog.text, answer pg_catalog.jsonb)
RETURNS agno.run_ref
LANGUAGE plproxy
AS $$
	CONNECT agno.connection(at_node);
	SELECT r.run_id, r.session_id, r.status
	FROM @extschema@.agno_answer_call($2, $3, $4) r;
$$;
COMMENT ON FUNCTION agno.answer_call_at(pg_catalog.text, pg_catalog.text,
	pg_catalog.text, pg_catalog.jsonb) IS
	'agno_answer_call of a node';

CREATE FUNCTION agno.describe_tool_at(at_node pg_catalog.text,
	tool pg_catalog.text)
RETURNS pg_catalog.jsonb
LANGUAGE plproxy
AS $$
	CONNECT agno.connection(at_node);
	SELECT @extschema@.agno_describe_tool($2);
$$;
COMMENT ON FUNCTION agno.describe_tool_at(pg_catalog.text, pg_catalog.text) IS
	'agno_describe_tool of a node';

CREATE FUNCTION agno.call_tool_at(at_node pg_catalog.text,
	tool pg_catalog.text, arguments pg_catalog.jsonb,
	user_id pg_catalog.text)
RETURNS pg_catalog.text
LANGUAGE plproxy
AS $$
	CONNECT agno.connection(at_node);
	SELECT @extschema@.agno_call_tool($2, $3, $4);
$$;
COMMENT ON FUNCTION agno.call_tool_at(pg_catalog.text, pg_catalog.text,
	pg_catalog.jsonb, pg_catalog.text) IS
	'agno_call_tool of a node';

CREATE FUNCTION agno.has_run_at(at_node pg_catalog.text, run_id pg_catalog.text)
RETURNS boolean
LANGUAGE plproxy
AS $$
	CONNECT agno.connection(at_node);
	SELECT EXISTS (SELECT FROM agno.runs r
				   WHERE r.run_id OPERATOR(pg_catalog.=) $2)
		OR EXISTS (SELECT FROM agno.approvals a
				   WHERE a.run_id OPERATOR(pg_catalog.=) $2);
$$;
COMMENT ON FUNCTION agno.has_run_at(pg_catalog.text, pg_catalog.text) IS
	'whether the current user sees the run, or may decide about it, on a node';

CREATE FUNCTION agno.status_at(at_node pg_catalog.text,
	OUT version pg_catalog.text,
	OUT cluster boolean,
	OUT slots pg_catalog.text,
	OUT standby boolean,
	OUT sessions boolean,
	OUT unfinished bigint,
	OUT agents pg_catalog.text,
	OUT digest pg_catalog.text,
	OUT problem pg_catalog.text)
LANGUAGE plproxy
AS $$
	CONNECT agno.connection(at_node);
	SELECT s.version, s.cluster, s.slots, s.standby, s.sessions,
		s.unfinished, s.agents, s.digest, s.problem
	FROM agno.node_status() s;
$$;
COMMENT ON FUNCTION agno.status_at(pg_catalog.text) IS
	'what a node says of itself';
REVOKE ALL ON FUNCTION agno.status_at(pg_catalog.text) FROM PUBLIC;

CREATE FUNCTION agno.publish_agents_at(at_node pg_catalog.text,
	slot pg_catalog.text)
RETURNS boolean
LANGUAGE plproxy
AS $$
	CONNECT agno.connection(at_node);
	SELECT agno.publish_agents($2);
$$;
COMMENT ON FUNCTION agno.publish_agents_at(pg_catalog.text, pg_catalog.text) IS
	'has a node hand out its agents and tools';

REVOKE ALL ON FUNCTION agno.publish_agents_at(pg_catalog.text, pg_catalog.text)
	FROM PUBLIC;

CREATE FUNCTION agno.unfollow_agents_at(at_node pg_catalog.text)
RETURNS boolean
LANGUAGE plproxy
AS $$
	CONNECT agno.connection(at_node);
	SELECT agno.unfollow_agents();
$$;
COMMENT ON FUNCTION agno.unfollow_agents_at(pg_catalog.text) IS
	'has a node receive no agents and tools any more';

REVOKE ALL ON FUNCTION agno.unfollow_agents_at(pg_catalog.text) FROM PUBLIC;

CREATE FUNCTION agno.follow_agents_at(at_node pg_catalog.text,
	publisher pg_catalog.text, slot pg_catalog.text)
RETURNS boolean
LANGUAGE plproxy
AS $$
	CONNECT agno.connection(at_node);
	SELECT agno.follow_agents($2, $3);
$$;
COMMENT ON FUNCTION agno.follow_agents_at(pg_catalog.text, pg_catalog.text,
	pg_catalog.text) IS
	'has a node receive the agents and tools of another';

REVOKE ALL ON FUNCTION agno.follow_agents_at(pg_catalog.text, pg_catalog.text,
	pg_catalog.text) FROM PUBLIC;

---------------------------------------------------------------------------
-- Finding the node, and telling what it says
---------------------------------------------------------------------------

CREATE FUNCTION agno.node_of(id pg_catalog.text)
RETURNS pg_catalog.text
LANGUAGE plpgsql STABLE
AS $$
DECLARE
	slot integer := @extschema@.agno_slot(id);
	named pg_catalog.text;
BEGIN
	SELECT n.node INTO named FROM agno.nodes n
	WHERE n.first_slot OPERATOR(pg_catalog.<=) slot
	  AND n.last_slot OPERATOR(pg_catalog.>=) slot;
	IF named IS NOT NULL OR id IS NULL THEN
		RETURN named;
	ELSIF EXISTS (SELECT FROM agno.nodes) THEN
		RAISE EXCEPTION 'no node has slot %', slot
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  HINT = 'agno_router_status() tells which slots have none.';
	END IF;
	RAISE EXCEPTION 'there are no nodes'
		USING ERRCODE = 'object_not_in_prerequisite_state',
			  HINT = 'SELECT agno_router_add_node(name, conninfo) adds one.';
END
$$;
COMMENT ON FUNCTION agno.node_of(pg_catalog.text) IS
	'the node that has the slot of an id; raises an error if none has';

CREATE FUNCTION agno.lost_node(state pg_catalog.text, message pg_catalog.text)
RETURNS boolean
LANGUAGE plpgsql STABLE
SET standard_conforming_strings = on
AS $$
BEGIN
	-- PL/Proxy has no SQLSTATE of its own for it: XX000, and what libpq says
	RETURN state OPERATOR(pg_catalog.~) '^(08...|57P0[123])$'
		OR (state OPERATOR(pg_catalog.=) 'XX000'
			AND message OPERATOR(pg_catalog.~)
				'^PL/Proxy function [^:]*: (\[.*\] PQ|connect timeout|poll\()');
END
$$;
COMMENT ON FUNCTION agno.lost_node(pg_catalog.text, pg_catalog.text) IS
	'whether an error means that a node could not be reached, or went away';

-- PL/Proxy puts its own words in front of what a node says.
CREATE FUNCTION agno.raise_again(
	state pg_catalog.text,
	message pg_catalog.text,
	detail pg_catalog.text,
	hint pg_catalog.text)
RETURNS pg_catalog.void
LANGUAGE plpgsql
SET standard_conforming_strings = on
AS $$
BEGIN
	IF state OPERATOR(pg_catalog.=) 'XX000' AND agno.lost_node(state, message) THEN
		state := '08006';
		detail := pg_catalog.rtrim(pg_catalog.regexp_replace(message,
			'^PL/Proxy function [^:]*: (\[.*?\] PQ\w+: )?', ''), E'\n');
		message := 'the node cannot be reached';
		hint := 'agno_router_status() tells which one that is.';
	ELSE
		message := pg_catalog.regexp_replace(message,
			'^[^:]*\([0-9]+\): \[.*?\] REMOTE [A-Z]+: ', '');
		detail := pg_catalog.regexp_replace(detail, '^Remote detail: ', '');
		hint := pg_catalog.regexp_replace(hint, '^Remote hint: ', '');
	END IF;
	IF detail OPERATOR(pg_catalog.<>) '' AND hint OPERATOR(pg_catalog.<>) '' THEN
		RAISE EXCEPTION USING ERRCODE = state, MESSAGE = message,
			DETAIL = detail, HINT = hint;
	ELSIF detail OPERATOR(pg_catalog.<>) '' THEN
		RAISE EXCEPTION USING ERRCODE = state, MESSAGE = message,
			DETAIL = detail;
	ELSIF hint OPERATOR(pg_catalog.<>) '' THEN
		RAISE EXCEPTION USING ERRCODE = state, MESSAGE = message, HINT = hint;
	END IF;
	RAISE EXCEPTION USING ERRCODE = state, MESSAGE = message;
END
$$;
COMMENT ON FUNCTION agno.raise_again(pg_catalog.text, pg_catalog.text,
	pg_catalog.text,
	pg_catalog.text) IS
	'raises the error of a node as the node raised it';

CREATE FUNCTION agno.refuse_read_only(command pg_catalog.text)
RETURNS pg_catalog.void
LANGUAGE plpgsql STABLE
AS $$
BEGIN
	IF pg_catalog.current_setting('transaction_read_only')::boolean THEN
		RAISE EXCEPTION 'cannot execute % in a read-only transaction', command
			USING ERRCODE = 'read_only_sql_transaction';
	END IF;
END
$$;
COMMENT ON FUNCTION agno.refuse_read_only(pg_catalog.text) IS
	'raises an error in a read-only transaction';

-- PL/Proxy waits without end for a node that says nothing, and cannot be interrupted.
-- postgres_fdw keeps to connect_timeout, and what it says over a connection that it
-- has, the savepoint of the block below, can be interrupted, which gives that up.
-- So it goes first where a node may not be the one that the caller needs. What it costs
-- is that the caller's commit needs the node, too: who enqueues, and can do without the
-- node, does not have one asked again that has answered this session within the minute.
CREATE FUNCTION agno.knock(node pg_catalog.text, again boolean)
RETURNS pg_catalog.void
LANGUAGE plpgsql
AS $$
DECLARE
	setting constant pg_catalog.text := pg_catalog.concat('agno_router.answered_',
														  node);
	begun constant pg_catalog.timestamptz := pg_catalog.clock_timestamp();
	now constant pg_catalog.text := pg_catalog.concat(
		pg_catalog.date_trunc('minute', begun), ' ', CURRENT_USER);
	reason pg_catalog.text;
BEGIN
	IF NOT again
	   AND pg_catalog.current_setting(setting, true) OPERATOR(pg_catalog.=) now THEN
		RETURN;
	END IF;
	BEGIN
		-- connects, and asks nothing
		PERFORM FROM agno.node_sessions s
			WHERE s.node OPERATOR(pg_catalog.=) knock.node LIMIT 0;
	EXCEPTION WHEN OTHERS THEN
		-- What is refused at once keeps PL/Proxy no longer, and it may be let in.
		IF pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) begun
		   OPERATOR(pg_catalog.>) '1 s'::interval THEN
			GET STACKED DIAGNOSTICS reason := PG_EXCEPTION_DETAIL;
			RAISE EXCEPTION 'the node cannot be reached'
				USING ERRCODE = 'connection_failure',
					  DETAIL = CASE WHEN reason OPERATOR(pg_catalog.=) ''
									THEN SQLERRM ELSE reason END,
					  HINT = 'agno_router_status() tells which one that is.';
		END IF;
	END;
	PERFORM pg_catalog.set_config(setting, now, false);
END
$$;
COMMENT ON FUNCTION agno.knock(pg_catalog.text, boolean) IS
	'raises an error if a node that is to be connected to does not answer within its '
	'connect_timeout; can be interrupted while one that is connected does not';

-- A run that has an id of its own lives where its session does, and was perhaps
-- given a session of another slot.
CREATE FUNCTION agno.node_of_run(run_id pg_catalog.text)
RETURNS pg_catalog.text
LANGUAGE plpgsql
AS $$
DECLARE
	home pg_catalog.text := agno.node_of(run_id);
	other pg_catalog.text;
	lost_state pg_catalog.text;
	lost_message pg_catalog.text;
	lost_detail pg_catalog.text;
	lost_hint pg_catalog.text;
BEGIN
	IF home IS NULL OR agno.looks_generated(run_id) THEN
		RETURN home;
	END IF;
	FOR other IN
		SELECT n.node FROM agno.nodes n
		ORDER BY n.node OPERATOR(pg_catalog.=) home DESC, n.first_slot
	LOOP
		BEGIN
			PERFORM agno.knock(other, true);
			IF agno.has_run_at(other, run_id) THEN
				RETURN other;
			END IF;
		EXCEPTION WHEN OTHERS THEN
			IF NOT agno.lost_node(SQLSTATE, SQLERRM) THEN
				RAISE;
			END IF;
			lost_state := SQLSTATE;
			GET STACKED DIAGNOSTICS lost_message := MESSAGE_TEXT,
				lost_detail := PG_EXCEPTION_DETAIL,
				lost_hint := PG_EXCEPTION_HINT;
		END;
	END LOOP;
	-- it may have been enqueued just now, in a session of another node
	IF pg_catalog.current_setting('agno_router.enqueued', true)
	   OPERATOR(pg_catalog.=) 'yes' THEN
		SELECT r.node INTO other FROM agno.runs r
		WHERE r.run_id OPERATOR(pg_catalog.=) node_of_run.run_id;
		IF FOUND THEN
			RETURN other;
		END IF;
	END IF;
	-- it may be there
	IF lost_state IS NOT NULL THEN
		PERFORM agno.raise_again(lost_state, lost_message, lost_detail,
								 lost_hint);
	END IF;
	RETURN home;
END
$$;
COMMENT ON FUNCTION agno.node_of_run(pg_catalog.text) IS
	'the node that has a run: of a generated id the one that has its slot; of any '
	'other the one that has it, or the one that has its slot, if none has';

-- What is enqueued is seen by nobody else before the commit, PL/Proxy included.
CREATE FUNCTION agno.enqueued_here(node pg_catalog.text, run_id pg_catalog.text)
RETURNS boolean
LANGUAGE plpgsql
AS $$
BEGIN
	-- not in one expression, which would connect before it looks
	IF pg_catalog.current_setting('agno_router.enqueued', true)
	   OPERATOR(pg_catalog.=) 'yes' THEN
		RETURN EXISTS (SELECT FROM agno.node_runs r
					   WHERE r.node OPERATOR(pg_catalog.=) enqueued_here.node
						 AND r.run_id OPERATOR(pg_catalog.=)
							 enqueued_here.run_id)
			AND NOT agno.has_run_at(node, run_id);
	END IF;
	RETURN false;
END
$$;
COMMENT ON FUNCTION agno.enqueued_here(pg_catalog.text, pg_catalog.text) IS
	'whether the current transaction has enqueued the run';

CREATE FUNCTION agno.note_enqueued()
RETURNS pg_catalog.trigger
LANGUAGE plpgsql
AS $$
BEGIN
	PERFORM pg_catalog.set_config('agno_router.enqueued', 'yes', true);
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION agno.note_enqueued() IS
	'has the current transaction know that it has enqueued';
CREATE TRIGGER enqueue_noted BEFORE INSERT ON agno.enqueue
	FOR EACH STATEMENT EXECUTE FUNCTION agno.note_enqueued();
COMMENT ON TRIGGER enqueue_noted ON agno.enqueue IS
	'whoever inserts, agno_arun included: see agno.enqueued_here';

CREATE FUNCTION agno.refuse_enqueued_here(node pg_catalog.text,
	run_id pg_catalog.text)
RETURNS pg_catalog.void
LANGUAGE plpgsql
AS $$
BEGIN
	IF agno.enqueued_here(node, run_id) THEN
		RAISE EXCEPTION 'run "%" was enqueued by this transaction', run_id
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  DETAIL = 'It starts when the transaction commits.',
				  HINT = 'Commit first.';
	END IF;
END
$$;
COMMENT ON FUNCTION agno.refuse_enqueued_here(pg_catalog.text, pg_catalog.text) IS
	'raises an error if the current transaction has enqueued the run';

-- On its own node, the run's id is looked for by that node. One that could not be
-- reached is not asked again for a while: who can do without it is not to wait for it.
-- Within a function of SECURITY DEFINER it is, as the setting may be its caller's.
CREATE FUNCTION agno.refuse_used_run_id(run_id pg_catalog.text,
	home pg_catalog.text)
RETURNS pg_catalog.void
LANGUAGE plpgsql
SET client_min_messages = 'error'
AS $$
DECLARE
	other pg_catalog.text;
	setting pg_catalog.text;
	used boolean;
BEGIN
	FOR other IN
		SELECT n.node FROM agno.nodes n
		WHERE n.node OPERATOR(pg_catalog.<>) home
	LOOP
		setting := pg_catalog.concat('agno_router.lost_', other);
		CONTINUE WHEN CURRENT_USER OPERATOR(pg_catalog.=) SESSION_USER
			AND pg_catalog.current_setting(setting, true)
			OPERATOR(pg_catalog.>) pg_catalog.to_char(
				pg_catalog.clock_timestamp()
					OPERATOR(pg_catalog.-) '10 s'::interval,
				'YYYYMMDDHH24MISS');
		BEGIN
			PERFORM agno.knock(other, false);
			used := agno.has_run_at(other, run_id);
		EXCEPTION WHEN OTHERS THEN
			IF NOT agno.lost_node(SQLSTATE, SQLERRM) THEN
				RAISE;
			END IF;
			used := false;
			PERFORM pg_catalog.set_config(setting, pg_catalog.to_char(
				pg_catalog.clock_timestamp(), 'YYYYMMDDHH24MISS'), false);
		END;
		IF used THEN
			RAISE EXCEPTION 'run "%" already exists', run_id
				USING ERRCODE = 'unique_violation',
					  DETAIL = pg_catalog.format('It is on node "%s".', other),
					  HINT = 'Leave run_id out to have one generated, or give an '
							 'idempotency_key to get the earlier run back.';
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION agno.refuse_used_run_id(pg_catalog.text, pg_catalog.text) IS
	'raises an error if a run of the current user has the id on another node than '
	'its home';

---------------------------------------------------------------------------
-- Functions
---------------------------------------------------------------------------

-- client_min_messages is for PL/Proxy, which tells of each connection that it
-- closes after an error, and what a server said that went away.
CREATE FUNCTION @extschema@.agno_arun(
	input pg_catalog.text,
	agent_id pg_catalog.text DEFAULT NULL,
	session_id pg_catalog.text DEFAULT NULL,
	run_id pg_catalog.text DEFAULT NULL,
	user_id pg_catalog.text DEFAULT NULL,
	model pg_catalog.text DEFAULT NULL,
	output_schema pg_catalog.jsonb DEFAULT NULL,
	session_state pg_catalog.jsonb DEFAULT NULL,
	metadata pg_catalog.jsonb DEFAULT NULL,
	model_options pg_catalog.jsonb DEFAULT NULL,
	stream boolean DEFAULT NULL,
	priority integer DEFAULT 0,
	run_at pg_catalog.timestamptz DEFAULT NULL,
	timeout interval DEFAULT NULL,
	max_attempts integer DEFAULT NULL,
	idempotency_key pg_catalog.text DEFAULT NULL,
	on_complete pg_catalog.text DEFAULT NULL)
RETURNS agno.run_ref
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
	accepted agno.run_ref;
	home pg_catalog.text;
BEGIN
	PERFORM agno.refuse_read_only('agno_arun()');
	home := agno.node_of(COALESCE(session_id, idempotency_key, run_id));
	IF home IS NULL THEN
		-- there may be no node at all
		PERFORM agno.agents_node();
	ELSIF COALESCE(session_id, idempotency_key) IS NOT NULL
		  AND NOT agno.looks_generated(run_id) THEN
		PERFORM agno.refuse_used_run_id(run_id, home);
	END IF;
	INSERT INTO agno.enqueue AS e (input, agent_id, session_id, run_id,
		user_id, model, output_schema, session_state, metadata, model_options,
		stream, priority, run_at, timeout, max_attempts, idempotency_key,
		on_complete)
	VALUES (agno_arun.input, agno_arun.agent_id, agno_arun.session_id,
		agno_arun.run_id, agno_arun.user_id, agno_arun.model,
		agno_arun.output_schema, agno_arun.session_state, agno_arun.metadata,
		agno_arun.model_options, agno_arun.stream, agno_arun.priority,
		agno_arun.run_at, agno_arun.timeout, agno_arun.max_attempts,
		agno_arun.idempotency_key, agno_arun.on_complete)
	RETURNING e.run_id, e.session_id, e.status INTO accepted;
	RETURN accepted;
END
$$;
COMMENT ON FUNCTION @extschema@.agno_arun(pg_catalog.text, pg_catalog.text,
	pg_catalog.text, pg_catalog.text,
	pg_catalog.text, pg_catalog.text, pg_catalog.jsonb, pg_catalog.jsonb,
	pg_catalog.jsonb, pg_catalog.jsonb, boolean, integer,
	pg_catalog.timestamptz, interval, integer, pg_catalog.text,
	pg_catalog.text) IS
	'enqueues a run on the node of its session, which starts when the transaction '
	'commits, and returns its id at once';

CREATE FUNCTION @extschema@.agno_get_run_output(
	run_id pg_catalog.text,
	session_id pg_catalog.text DEFAULT NULL)
RETURNS SETOF agno.runs
LANGUAGE plpgsql STABLE ROWS 1
SET client_min_messages = 'error'
AS $$
DECLARE
	at pg_catalog.text;
	detail pg_catalog.text;
	hint pg_catalog.text;
BEGIN
	at := CASE WHEN session_id IS NULL THEN agno.node_of_run(run_id)
			   ELSE agno.node_of(session_id) END;
	RETURN QUERY
	SELECT r.* FROM agno.get_run_output_at(at, run_id, session_id) x,
		LATERAL agno.as_run(x) r
	WHERE at IS NOT NULL;
	IF NOT FOUND AND agno.enqueued_here(at, run_id) THEN
		RETURN QUERY
		SELECT r.* FROM agno.runs r
		WHERE r.node OPERATOR(pg_catalog.=) at
		  AND r.run_id OPERATOR(pg_catalog.=) agno_get_run_output.run_id
		  AND (agno_get_run_output.session_id IS NULL
			   OR r.session_id OPERATOR(pg_catalog.=)
				  agno_get_run_output.session_id);
	END IF;
	RETURN;
EXCEPTION WHEN OTHERS OR query_canceled THEN
	GET STACKED DIAGNOSTICS detail := PG_EXCEPTION_DETAIL,
		hint := PG_EXCEPTION_HINT;
	PERFORM agno.raise_again(SQLSTATE, SQLERRM, detail, hint);
END
$$;
COMMENT ON FUNCTION @extschema@.agno_get_run_output(pg_catalog.text,
	pg_catalog.text) IS
	'the run as it stands; no row when it is unknown, of another session, '
	'or not the caller''s';

CREATE FUNCTION @extschema@.agno_wait_run(
	run_id pg_catalog.text,
	timeout interval DEFAULT NULL)
RETURNS SETOF agno.runs
LANGUAGE plpgsql VOLATILE ROWS 1
SET client_min_messages = 'error'
AS $$
DECLARE
	at pg_catalog.text;
	detail pg_catalog.text;
	hint pg_catalog.text;
BEGIN
	at := agno.node_of_run(run_id);
	RETURN QUERY
	SELECT r.* FROM agno.wait_run_at(at, run_id, timeout) x,
		LATERAL agno.as_run(x) r
	WHERE at IS NOT NULL;
	IF NOT FOUND THEN
		PERFORM agno.refuse_enqueued_here(at, run_id);
	END IF;
	RETURN;
EXCEPTION WHEN OTHERS OR query_canceled THEN
	GET STACKED DIAGNOSTICS detail := PG_EXCEPTION_DETAIL,
		hint := PG_EXCEPTION_HINT;
	PERFORM agno.raise_again(SQLSTATE, SQLERRM, detail, hint);
END
$$;
COMMENT ON FUNCTION @extschema@.agno_wait_run(pg_catalog.text, interval) IS
	'sleeps until the run has ended or is PAUSED, or the timeout has '
	'passed, and returns the run as it is then';

CREATE FUNCTION @extschema@.agno_cancel_run(run_id pg_catalog.text)
RETURNS boolean
LANGUAGE plpgsql STRICT VOLATILE
SET client_min_messages = 'error'
AS $$
DECLARE
	at pg_catalog.text;
	detail pg_catalog.text;
	hint pg_catalog.text;
BEGIN
	PERFORM agno.refuse_read_only('agno_cancel_run()');
	at := agno.node_of_run(run_id);
	PERFORM agno.refuse_enqueued_here(at, run_id);
	IF agno.cancel_run_at(at, run_id) THEN
		RETURN true;
	END IF;
	-- A run that is unknown may be enqueued wherever its session will be.
	IF NOT agno.looks_generated(run_id) AND NOT agno.has_run_at(at, run_id) THEN
		PERFORM agno.cancel_run_at(n.node, run_id) FROM agno.nodes n
		WHERE n.node OPERATOR(pg_catalog.<>) at;
	END IF;
	RETURN false;
EXCEPTION WHEN OTHERS OR query_canceled THEN
	GET STACKED DIAGNOSTICS detail := PG_EXCEPTION_DETAIL,
		hint := PG_EXCEPTION_HINT;
	PERFORM agno.raise_again(SQLSTATE, SQLERRM, detail, hint);
END
$$;
COMMENT ON FUNCTION @extschema@.agno_cancel_run(pg_catalog.text) IS
	'cancels a run at once: true when it will end CANCELLED; false when it '
	'has ended, or is unknown, and then a later run of this id is cancelled '
	'before it starts';

CREATE FUNCTION @extschema@.agno_requeue_run(run_id pg_catalog.text)
RETURNS agno.run_ref
LANGUAGE plpgsql STRICT VOLATILE
SET client_min_messages = 'error'
AS $$
DECLARE
	at pg_catalog.text;
	detail pg_catalog.text;
	hint pg_catalog.text;
BEGIN
	PERFORM agno.refuse_read_only('agno_requeue_run()');
	at := agno.node_of_run(run_id);
	PERFORM agno.refuse_enqueued_here(at, run_id);
	RETURN agno.requeue_run_at(COALESCE(at, agno.agents_node()), run_id);
EXCEPTION WHEN OTHERS OR query_canceled THEN
	GET STACKED DIAGNOSTICS detail := PG_EXCEPTION_DETAIL,
		hint := PG_EXCEPTION_HINT;
	PERFORM agno.raise_again(SQLSTATE, SQLERRM, detail, hint);
END
$$;
COMMENT ON FUNCTION @extschema@.agno_requeue_run(pg_catalog.text) IS
	'has a run that ended in ERROR executed again';

CREATE FUNCTION @extschema@.agno_requeue_callback(run_id pg_catalog.text)
RETURNS agno.run_ref
LANGUAGE plpgsql STRICT VOLATILE
SET client_min_messages = 'error'
AS $$
DECLARE
	at pg_catalog.text;
	detail pg_catalog.text;
	hint pg_catalog.text;
BEGIN
	PERFORM agno.refuse_read_only('agno_requeue_callback()');
	at := agno.node_of_run(run_id);
	PERFORM agno.refuse_enqueued_here(at, run_id);
	RETURN agno.requeue_callback_at(COALESCE(at, agno.agents_node()), run_id);
EXCEPTION WHEN OTHERS OR query_canceled THEN
	GET STACKED DIAGNOSTICS detail := PG_EXCEPTION_DETAIL,
		hint := PG_EXCEPTION_HINT;
	PERFORM agno.raise_again(SQLSTATE, SQLERRM, detail, hint);
END
$$;
COMMENT ON FUNCTION @extschema@.agno_requeue_callback(pg_catalog.text) IS
	'has on_complete of a run that has ended called again';

CREATE FUNCTION @extschema@.agno_continue_run(
	run_id pg_catalog.text,
	requirements pg_catalog.jsonb DEFAULT NULL)
RETURNS agno.run_ref
LANGUAGE plpgsql VOLATILE
SET client_min_messages = 'error'
AS $$
DECLARE
	at pg_catalog.text;
	detail pg_catalog.text;
	hint pg_catalog.text;
BEGIN
	PERFORM agno.refuse_read_only('agno_continue_run()');
	at := agno.node_of_run(run_id);
	PERFORM agno.refuse_enqueued_here(at, run_id);
	RETURN agno.continue_run_at(COALESCE(at, agno.agents_node()), run_id,
		requirements);
EXCEPTION WHEN OTHERS OR query_canceled THEN
	GET STACKED DIAGNOSTICS detail := PG_EXCEPTION_DETAIL,
		hint := PG_EXCEPTION_HINT;
	PERFORM agno.raise_again(SQLSTATE, SQLERRM, detail, hint);
END
$$;
COMMENT ON FUNCTION @extschema@.agno_continue_run(pg_catalog.text,
	pg_catalog.jsonb) IS
	'decides about calls that a PAUSED run waits for, as Agno''s dicts say; '
	'the run goes on when nothing is waited for any more';

CREATE FUNCTION @extschema@.agno_approve_call(
	run_id pg_catalog.text,
	tool_call_id pg_catalog.text DEFAULT NULL,
	note pg_catalog.text DEFAULT NULL)
RETURNS agno.run_ref
LANGUAGE plpgsql VOLATILE
SET client_min_messages = 'error'
AS $$
DECLARE
	at pg_catalog.text;
	detail pg_catalog.text;
	hint pg_catalog.text;
BEGIN
	PERFORM agno.refuse_read_only('agno_approve_call()');
	at := agno.node_of_run(run_id);
	PERFORM agno.refuse_enqueued_here(at, run_id);
	RETURN agno.approve_call_at(COALESCE(at, agno.agents_node()), run_id,
		tool_call_id, note);
EXCEPTION WHEN OTHERS OR query_canceled THEN
	GET STACKED DIAGNOSTICS detail := PG_EXCEPTION_DETAIL,
		hint := PG_EXCEPTION_HINT;
	PERFORM agno.raise_again(SQLSTATE, SQLERRM, detail, hint);
END
$$;
COMMENT ON FUNCTION @extschema@.agno_approve_call(pg_catalog.text,
	pg_catalog.text, pg_catalog.text) IS
	'lets a call be made that a PAUSED run waits for, or all of them';

CREATE FUNCTION @extschema@.agno_reject_call(
	run_id pg_catalog.text,
	tool_call_id pg_catalog.text DEFAULT NULL,
	note pg_catalog.text DEFAULT NULL)
RETURNS agno.run_ref
LANGUAGE plpgsql VOLATILE
SET client_min_messages = 'error'
AS $$
DECLARE
	at pg_catalog.text;
	detail pg_catalog.text;
	hint pg_catalog.text;
BEGIN
	PERFORM agno.refuse_read_only('agno_reject_call()');
	at := agno.node_of_run(run_id);
	PERFORM agno.refuse_enqueued_here(at, run_id);
	RETURN agno.reject_call_at(COALESCE(at, agno.agents_node()), run_id,
		tool_call_id, note);
EXCEPTION WHEN OTHERS OR query_canceled THEN
	GET STACKED DIAGNOSTICS detail := PG_EXCEPTION_DETAIL,
		hint := PG_EXCEPTION_HINT;
	PERFORM agno.raise_again(SQLSTATE, SQLERRM, detail, hint);
END
$$;
COMMENT ON FUNCTION @extschema@.agno_reject_call(pg_catalog.text,
	pg_catalog.text, pg_catalog.text) IS
	'rejects a call that a PAUSED run waits for, or all of them: the model '
	'is told the note';

CREATE FUNCTION @extschema@.agno_answer_call(
	run_id pg_catalog.text,
	tool_call_id pg_catalog.text,
	answer pg_catalog.jsonb)
RETURNS agno.run_ref
LANGUAGE plpgsql VOLATILE
SET client_min_messages = 'error'
AS $$
DECLARE
	at pg_catalog.text;
	detail pg_catalog.text;
	hint pg_catalog.text;
BEGIN
	PERFORM agno.refuse_read_only('agno_answer_call()');
	at := agno.node_of_run(run_id);
	PERFORM agno.refuse_enqueued_here(at, run_id);
	RETURN agno.answer_call_at(COALESCE(at, agno.agents_node()), run_id,
		tool_call_id, answer);
EXCEPTION WHEN OTHERS OR query_canceled THEN
	GET STACKED DIAGNOSTICS detail := PG_EXCEPTION_DETAIL,
		hint := PG_EXCEPTION_HINT;
	PERFORM agno.raise_again(SQLSTATE, SQLERRM, detail, hint);
END
$$;
COMMENT ON FUNCTION @extschema@.agno_answer_call(pg_catalog.text,
	pg_catalog.text, pg_catalog.jsonb) IS
	'gives what a call of a PAUSED run waits for: arguments, as an object, '
	'or its result';

CREATE FUNCTION @extschema@.agno_run_events(
	run_id pg_catalog.text,
	after bigint DEFAULT 0)
RETURNS SETOF agno.run_events
LANGUAGE plpgsql STABLE
SET client_min_messages = 'error'
AS $$
DECLARE
	detail pg_catalog.text;
	hint pg_catalog.text;
BEGIN
	RETURN QUERY
	SELECT e.run_id, e.seq, e.event, e.data, e.created_at, e.node
	FROM agno.run_events_at(agno.node_of_run(run_id), run_id, after) e
	WHERE agno_run_events.run_id IS NOT NULL;
EXCEPTION WHEN OTHERS OR query_canceled THEN
	GET STACKED DIAGNOSTICS detail := PG_EXCEPTION_DETAIL,
		hint := PG_EXCEPTION_HINT;
	PERFORM agno.raise_again(SQLSTATE, SQLERRM, detail, hint);
END
$$;
COMMENT ON FUNCTION @extschema@.agno_run_events(pg_catalog.text, bigint) IS
	'the events of a run after the one of this number; of one that was not '
	'streamed, its start, content and end, once it has ended';

CREATE FUNCTION @extschema@.agno_run_output_dict(run_id pg_catalog.text)
RETURNS pg_catalog.jsonb
LANGUAGE plpgsql STRICT STABLE
SET client_min_messages = 'error'
AS $$
DECLARE
	detail pg_catalog.text;
	hint pg_catalog.text;
BEGIN
	RETURN agno.run_output_dict_at(agno.node_of_run(run_id), run_id);
EXCEPTION WHEN OTHERS OR query_canceled THEN
	GET STACKED DIAGNOSTICS detail := PG_EXCEPTION_DETAIL,
		hint := PG_EXCEPTION_HINT;
	PERFORM agno.raise_again(SQLSTATE, SQLERRM, detail, hint);
END
$$;
COMMENT ON FUNCTION @extschema@.agno_run_output_dict(pg_catalog.text) IS
	'the run as RunOutput.to_dict() of Agno gives it; null when it is '
	'unknown or not the caller''s';

-- Tools are on every node; the one that has the agents is asked.
CREATE FUNCTION agno.agents_node()
RETURNS pg_catalog.text
LANGUAGE plpgsql STABLE
AS $$
BEGIN
	RETURN COALESCE((SELECT n.node FROM agno.nodes n WHERE n.has_agents),
					agno.node_of(''));
END
$$;
COMMENT ON FUNCTION agno.agents_node() IS
	'the node on which agents and tools are written';

CREATE FUNCTION @extschema@.agno_describe_tool(tool pg_catalog.text)
RETURNS pg_catalog.jsonb
LANGUAGE plpgsql STRICT STABLE
SET client_min_messages = 'error'
AS $$
DECLARE
	detail pg_catalog.text;
	hint pg_catalog.text;
BEGIN
	RETURN agno.describe_tool_at(agno.agents_node(), tool);
EXCEPTION WHEN OTHERS OR query_canceled THEN
	GET STACKED DIAGNOSTICS detail := PG_EXCEPTION_DETAIL,
		hint := PG_EXCEPTION_HINT;
	PERFORM agno.raise_again(SQLSTATE, SQLERRM, detail, hint);
END
$$;
COMMENT ON FUNCTION @extschema@.agno_describe_tool(pg_catalog.text) IS
	'what a model is told of a tool: its name, description and parameters';

CREATE FUNCTION @extschema@.agno_call_tool(
	tool pg_catalog.text,
	arguments pg_catalog.jsonb DEFAULT '{}',
	user_id pg_catalog.text DEFAULT NULL)
RETURNS pg_catalog.text
LANGUAGE plpgsql VOLATILE
SET client_min_messages = 'error'
AS $$
DECLARE
	detail pg_catalog.text;
	hint pg_catalog.text;
BEGIN
	PERFORM agno.refuse_read_only('agno_call_tool()');
	RETURN agno.call_tool_at(agno.agents_node(), tool, arguments, user_id);
EXCEPTION WHEN OTHERS OR query_canceled THEN
	GET STACKED DIAGNOSTICS detail := PG_EXCEPTION_DETAIL,
		hint := PG_EXCEPTION_HINT;
	PERFORM agno.raise_again(SQLSTATE, SQLERRM, detail, hint);
END
$$;
COMMENT ON FUNCTION @extschema@.agno_call_tool(pg_catalog.text,
	pg_catalog.jsonb, pg_catalog.text) IS
	'does what a model''s call of the tool would do, as the caller, on one '
	'of the nodes and in a transaction of its own';

CREATE FUNCTION @extschema@.agno_session_state()
RETURNS pg_catalog.jsonb
LANGUAGE plpgsql STABLE
AS $$
BEGIN
	RAISE EXCEPTION 'agno_session_state() works only within a tool that a run calls'
		USING ERRCODE = 'object_not_in_prerequisite_state',
			  DETAIL = 'Tools are called on the nodes.';
END
$$;
COMMENT ON FUNCTION @extschema@.agno_session_state() IS
	'within a tool, on a node: the state of the session of the run that '
	'calls it';

CREATE FUNCTION @extschema@.agno_update_session_state(patch pg_catalog.jsonb)
RETURNS pg_catalog.jsonb
LANGUAGE plpgsql STRICT VOLATILE
AS $$
BEGIN
	RAISE EXCEPTION 'agno_update_session_state() works only within a tool that a run calls'
		USING ERRCODE = 'object_not_in_prerequisite_state',
			  DETAIL = 'Tools are called on the nodes.';
END
$$;
COMMENT ON FUNCTION @extschema@.agno_update_session_state(pg_catalog.jsonb) IS
	'within a tool, on a node: merges an object into the state of the session';

CREATE PROCEDURE @extschema@.agno_run(
	IN input pg_catalog.text,
	IN agent_id pg_catalog.text DEFAULT NULL,
	IN session_id pg_catalog.text DEFAULT NULL,
	INOUT run_id pg_catalog.text DEFAULT NULL,
	IN user_id pg_catalog.text DEFAULT NULL,
	IN model pg_catalog.text DEFAULT NULL,
	IN output_schema pg_catalog.jsonb DEFAULT NULL,
	IN session_state pg_catalog.jsonb DEFAULT NULL,
	IN metadata pg_catalog.jsonb DEFAULT NULL,
	IN model_options pg_catalog.jsonb DEFAULT NULL,
	IN stream boolean DEFAULT NULL,
	IN priority integer DEFAULT 0,
	IN run_at pg_catalog.timestamptz DEFAULT NULL,
	IN timeout interval DEFAULT NULL,
	IN max_attempts integer DEFAULT NULL,
	IN idempotency_key pg_catalog.text DEFAULT NULL,
	IN on_complete pg_catalog.text DEFAULT NULL,
	INOUT status agno.run_status DEFAULT NULL,
	INOUT content pg_catalog.text DEFAULT NULL)
LANGUAGE plpgsql
AS $$
DECLARE
	accepted agno.run_ref;
BEGIN
	-- refuses to be called within a transaction block
	COMMIT;
	accepted := @extschema@.agno_arun(input, agent_id, session_id, run_id,
		user_id, model, output_schema, session_state, metadata, model_options,
		stream, priority, run_at, timeout, max_attempts, idempotency_key,
		on_complete);
	COMMIT;
	SELECT r.run_id, r.status, r.content
		INTO agno_run.run_id, agno_run.status, agno_run.content
	FROM @extschema@.agno_wait_run(accepted.run_id, NULL::interval) r;
END
$$;
COMMENT ON PROCEDURE @extschema@.agno_run(pg_catalog.text, pg_catalog.text,
	pg_catalog.text, pg_catalog.text,
	pg_catalog.text, pg_catalog.text, pg_catalog.jsonb, pg_catalog.jsonb,
	pg_catalog.jsonb, pg_catalog.jsonb, boolean, integer,
	pg_catalog.timestamptz, interval, integer, pg_catalog.text,
	pg_catalog.text, agno.run_status, pg_catalog.text) IS
	'enqueues a run, commits, waits for its end and shows the answer';

---------------------------------------------------------------------------
-- Setting up
---------------------------------------------------------------------------

CREATE FUNCTION agno.read_conninfo(conninfo pg_catalog.text)
RETURNS TABLE (name pg_catalog.text, value pg_catalog.text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
AS $$
DECLARE
	pair constant text :=
		'\s*(\w+)\s*=\s*(''(?:[^''\\]|\\.)*''|(?:[^\s''\\]|\\.)*)(?=\s|$)';
BEGIN
	IF regexp_replace(conninfo, pair, '', 'g') !~ '^\s*$' THEN
		RAISE EXCEPTION 'invalid connection string'
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'It is written as for libpq, with keywords and values: '
						 'host=... port=... dbname=...';
	END IF;
	RETURN QUERY
	SELECT m[1], regexp_replace(
		CASE WHEN m[2] LIKE '''%' THEN substr(m[2], 2, length(m[2]) - 2)
			 ELSE m[2] END, '\\(.)', '\1', 'g')
	FROM regexp_matches(conninfo, pair, 'g') m;
END
$$;
COMMENT ON FUNCTION agno.read_conninfo(pg_catalog.text) IS
	'the keywords and values of a connection string of libpq';

CREATE FUNCTION agno.map_user(role pg_catalog.name, node pg_catalog.text,
	password pg_catalog.text)
RETURNS pg_catalog.void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	-- without a password, what it takes is up to the node
	secret text := CASE WHEN password IS NULL THEN 'password_required ''false'''
						ELSE format('password %L', password) END;
BEGIN
	IF EXISTS (SELECT FROM pg_user_mappings m
			   WHERE m.srvname = map_user.node AND m.usename = role) THEN
		IF password IS NULL THEN
			RETURN;
		END IF;
		EXECUTE format('DROP USER MAPPING FOR %I SERVER %I', role, node);
	END IF;
	EXECUTE format('CREATE USER MAPPING FOR %I SERVER %I OPTIONS (user %L, %s)',
				   role, node, role, secret);
	EXECUTE format('GRANT USAGE ON FOREIGN SERVER %I TO %I', node, role);
END
$$;
COMMENT ON FUNCTION agno.map_user(pg_catalog.name, pg_catalog.text,
	pg_catalog.text) IS
	'lets a role connect to a node as itself, with this password';

-- What agno_grant_usage hands out.
CREATE FUNCTION agno.usage_routines()
RETURNS SETOF pg_catalog.regprocedure
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT p.oid::regprocedure
	FROM pg_extension x
	JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass
		AND d.refobjid = x.oid AND d.classid = 'pg_proc'::regclass
	JOIN pg_proc p ON p.oid = d.objid
	WHERE x.extname = 'agno_router'
	  AND p.proname <> ALL (ARRAY[
		  'agno_grant_usage', 'agno_revoke_usage', 'agno_router_add_node',
		  'agno_router_status', 'status_at', 'map_user',
		  'publish_agents_at', 'unfollow_agents_at', 'follow_agents_at',
		  'read_conninfo', 'write_shown', 'usage_routines', 'usage_roles',
		  'replicate_agents', 'attach_enqueue', 'shown', 'reachable',
		  'note_enqueued', 'keep_no_statistics', 'keep_private',
		  'lock_relations']::name[])
$$;
COMMENT ON FUNCTION agno.usage_routines() IS
	'the routines that agno_grant_usage grants';

CREATE FUNCTION agno.usage_roles()
RETURNS SETOF pg_catalog.name
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT r.rolname FROM pg_proc p
	CROSS JOIN aclexplode(p.proacl) a JOIN pg_roles r ON r.oid = a.grantee
	WHERE p.oid = 'agno.node_of_run(text)'::regprocedure
	UNION
	SELECT m.usename FROM pg_user_mappings m
	JOIN agno.nodes n ON n.node = m.srvname
	WHERE m.umuser <> 0
$$;
COMMENT ON FUNCTION agno.usage_roles() IS
	'the roles that have usage, or a user mapping for a node';

CREATE FUNCTION @extschema@.agno_grant_usage(role pg_catalog.name,
	password pg_catalog.text DEFAULT NULL)
RETURNS pg_catalog.void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	routine regprocedure;
	node text;
BEGIN
	FOR routine IN SELECT * FROM agno.usage_routines() LOOP
		EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %I', routine, role);
	END LOOP;
	EXECUTE format('GRANT SELECT, INSERT ON agno.enqueue TO %I', role);
	IF to_regclass('agno.agents') IS NOT NULL THEN
		EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE '
					   'ON agno.agents, agno.tools TO %I', role);
	ELSIF password IS NOT NULL THEN
		RAISE EXCEPTION 'there are no nodes'
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  HINT = 'A password is kept for each node: add the nodes first.';
	END IF;
	FOR node IN SELECT n.node FROM agno.nodes n LOOP
		PERFORM agno.map_user(role, node, password);
	END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.agno_grant_usage(pg_catalog.name,
	pg_catalog.text) IS
	'gives a role all it needs here to define agents, and to enqueue, poll, wait '
	'for and cancel runs: it connects to the nodes as itself, with this password, or '
	'with what they ask no password for. It needs usage on the nodes as well';

CREATE FUNCTION @extschema@.agno_revoke_usage(role pg_catalog.name)
RETURNS pg_catalog.void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	routine regprocedure;
	node text;
BEGIN
	FOR routine IN SELECT * FROM agno.usage_routines() LOOP
		EXECUTE format('REVOKE EXECUTE ON ROUTINE %s FROM %I', routine, role);
	END LOOP;
	EXECUTE format('REVOKE SELECT, INSERT ON agno.enqueue FROM %I', role);
	IF to_regclass('agno.agents') IS NOT NULL THEN
		EXECUTE format('REVOKE SELECT, INSERT, UPDATE, DELETE '
					   'ON agno.agents, agno.tools FROM %I', role);
	END IF;
	FOR node IN SELECT n.node FROM agno.nodes n LOOP
		EXECUTE format('REVOKE USAGE ON FOREIGN SERVER %I FROM %I', node, role);
		EXECUTE format('DROP USER MAPPING IF EXISTS FOR %I SERVER %I', role, node);
	END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.agno_revoke_usage(pg_catalog.name) IS
	'takes back what agno_grant_usage gave';

-- Who waits for an open transaction has everybody wait who comes later. So it waits for a
-- moment, and lets the others pass.
CREATE FUNCTION agno.lock_relations(relations pg_catalog.regclass[])
RETURNS pg_catalog.void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '200ms'
AS $$
DECLARE
	last_attempt constant integer := 60;
BEGIN
	FOR attempt IN 1 .. last_attempt LOOP
		BEGIN
			EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE',
						   array_to_string(relations, ', ONLY '));
			RETURN;
		EXCEPTION WHEN lock_not_available THEN
			IF attempt = last_attempt THEN
				RAISE EXCEPTION '%', SQLERRM
					USING ERRCODE = 'lock_not_available',
						  DETAIL = format('Open transactions use %s.',
										  array_to_string(relations, ', ')),
						  HINT = 'pg_locks and pg_stat_activity tell which; end '
								 'them, and call again.';
			END IF;
		END;
		PERFORM pg_sleep(0.3);
	END LOOP;
END
$$;
COMMENT ON FUNCTION agno.lock_relations(pg_catalog.regclass[]) IS
	'locks relations for a change of their partitions, as soon as nobody uses '
	'them; raises an error if that is not within half a minute';

CREATE FUNCTION agno.attach_enqueue()
RETURNS pg_catalog.void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	n agno.nodes;
BEGIN
	PERFORM agno.lock_relations('{agno.enqueue}'::regclass[]);
	FOR n IN SELECT * FROM agno.nodes LOOP
		EXECUTE format('DROP FOREIGN TABLE IF EXISTS %I.enqueue',
					   'agno_' || n.node);
	END LOOP;
	FOR n IN SELECT * FROM agno.nodes LOOP
		EXECUTE format(
			'CREATE FOREIGN TABLE %I.enqueue PARTITION OF agno.enqueue '
			'FOR VALUES FROM (%s) TO (%s) SERVER %I '
			'OPTIONS (schema_name ''agno'', table_name ''enqueue'')',
			'agno_' || n.node, n.first_slot, n.last_slot + 1, n.node);
		PERFORM agno.keep_private(made), agno.keep_no_statistics(made)
			FROM CAST(format('%I.enqueue', 'agno_' || n.node) AS regclass) made;
	END LOOP;
END
$$;
COMMENT ON FUNCTION agno.attach_enqueue() IS
	'divides agno.enqueue among the nodes as agno.nodes says';

-- Made by the nodes if they can, else the statements are told.
CREATE FUNCTION agno.replicate_agents(node pg_catalog.text)
RETURNS pg_catalog.void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
AS $$
DECLARE
	publisher text := agno.agents_node();
	slot text := 'agno_' || node;
	connection text := regexp_replace(agno.connection(publisher),
		'options=''(?:[^''\\]|\\.)*''', '');
	more text;
	advice text;
BEGIN
	IF node = publisher THEN
		RAISE EXCEPTION 'node "%" is the one on which agents are written', node
			USING ERRCODE = 'object_not_in_prerequisite_state';
	END IF;
	BEGIN
		-- a first node that cannot do it leaves all as it is, and so does
		-- unfollow_agents
		PERFORM agno.publish_agents_at(publisher, NULL);
		-- before there is a new slot, which does not send what the lost one had
		PERFORM agno.unfollow_agents_at(node);
		PERFORM agno.publish_agents_at(publisher, slot);
		PERFORM agno.follow_agents_at(node, connection, slot);
	EXCEPTION WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS more := PG_EXCEPTION_DETAIL,
			advice := PG_EXCEPTION_HINT;
		RAISE WARNING 'node "%" could not be made to receive agents and tools', node
			USING ERRCODE = SQLSTATE,
				  DETAIL = concat_ws(E'\n', SQLERRM, NULLIF(more, '')),
				  HINT = format(E'%sAs a superuser, once that is mended: on node "%s", '
					'whose wal_level must be logical,\nSELECT agno.publish_agents();\n'
					'SELECT agno.publish_agents(%L);\n'
					'and on node "%s", with a password if it takes one,\n'
					'SELECT agno.follow_agents(%L, %L);',
					NULLIF(advice, '') || E'\n', publisher, slot, node,
					regexp_replace(connection, 'password=''(?:[^''\\]|\\.)*''', ''),
					slot);
	END;
END
$$;
COMMENT ON FUNCTION agno.replicate_agents(pg_catalog.text) IS
	'has a node receive the agents and tools of the one on which they are '
	'written';

CREATE FUNCTION @extschema@.agno_router_add_node(
	name pg_catalog.text,
	conninfo pg_catalog.text,
	split pg_catalog.text DEFAULT NULL)
RETURNS pg_catalog.void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET client_min_messages = 'warning'
SET standard_conforming_strings = on
AS $$
DECLARE
	settings text := format('-c agno_bg.node=%s '
							'-c client_connection_check_interval=2s ', name);
	given record;
	options text[] := '{}';
	password text;
	own_password text;
	relation text;
	role name;
	status record;
	other agno.nodes;
	is_first boolean := NOT EXISTS (SELECT FROM agno.nodes);
BEGIN
	IF name IS NULL OR conninfo IS NULL OR name !~ '^[a-z_][a-z0-9_]{0,49}$' THEN
		RAISE EXCEPTION 'invalid name of a node'
			USING ERRCODE = 'invalid_name',
				  DETAIL = 'It has up to 50 lower-case letters, digits and '
						   'underscores, and begins with no digit.';
	END IF;
	IF split IS NOT NULL
	   AND NOT EXISTS (SELECT FROM agno.nodes n WHERE n.node = split) THEN
		RAISE EXCEPTION 'node "%" does not exist', split
			USING ERRCODE = 'undefined_object';
	END IF;
	LOCK TABLE agno.nodes IN SHARE ROW EXCLUSIVE MODE;

	-- The foreign server
	FOR given IN SELECT * FROM agno.read_conninfo(conninfo) LOOP
		IF given.name = 'password' THEN
			password := given.value;
		ELSIF given.name = 'user' AND given.value <> current_user THEN
			RAISE EXCEPTION 'user must be "%"', current_user
				USING ERRCODE = 'invalid_parameter_value',
					  DETAIL = 'Roles connect to nodes as themselves.';
		ELSIF given.name = 'options' THEN
			settings := settings || given.value;
		ELSIF given.name <> 'user' THEN
			options := options || format('%I %L', given.name, given.value);
		END IF;
	END LOOP;
	-- a machine that is gone says nothing, to calls that are under way as well
	SELECT options || array_agg(format('%I %L', d.name, d.value)) INTO options
	FROM (VALUES ('connect_timeout', '5'), ('tcp_user_timeout', '10000'),
		  ('keepalives_idle', '10'), ('keepalives_interval', '5'),
		  ('keepalives_count', '2')) d (name, value)
	WHERE d.name NOT IN (SELECT r.name FROM agno.read_conninfo(conninfo) r);
	EXECUTE format('CREATE SERVER %I FOREIGN DATA WRAPPER postgres_fdw OPTIONS '
				   '(%s, options %L, async_capable ''true'', batch_size ''500'', '
				   'extensions ''agno_router'')',
				   name, array_to_string(options, ', '), rtrim(settings));
	EXECUTE format('COMMENT ON SERVER %I IS ''a node of agno_router''', name);

	-- Who connects as whom: with the same passwords as to the other nodes, but for
	-- the one that is given
	INSERT INTO agno.nodes VALUES (name, 65535, 65535, is_first);
	FOR role IN SELECT current_user UNION SELECT * FROM agno.usage_roles() LOOP
		own_password := NULL;
		SELECT o.option_value INTO own_password
		FROM pg_user_mappings m, pg_options_to_table(m.umoptions) o
		WHERE m.usename = role AND o.option_name = 'password'
		  AND m.srvname IN (SELECT n.node FROM agno.nodes n)
		LIMIT 1;
		IF role = current_user AND password IS NOT NULL THEN
			own_password := password;
		END IF;
		PERFORM agno.map_user(role, name, own_password);
	END LOOP;

	BEGIN
		status := agno.status_at(name);
	EXCEPTION
		WHEN undefined_function OR invalid_schema_name THEN
			RAISE EXCEPTION 'node "%" does not have extension agno_bg, or an older version of it', name
				USING ERRCODE = 'object_not_in_prerequisite_state',
					  HINT = 'CREATE EXTENSION agno_bg; or ALTER EXTENSION agno_bg '
							 'UPDATE; in its database.';
		WHEN OTHERS THEN
			PERFORM agno.raise_again(SQLSTATE, SQLERRM, '', '');
	END;

	-- Slots: those that the node says it has, if no other has them
	IF split IS NOT NULL THEN
		IF NOT status.sessions THEN
			RAISE EXCEPTION 'node "%" has no sessions', name
				USING ERRCODE = 'object_not_in_prerequisite_state',
					  HINT = format('It must be a promoted standby of node "%s", '
									'which has those that move.', split);
		END IF;
		SELECT * INTO other FROM agno.nodes n WHERE n.node = split;
		UPDATE agno.nodes n
			SET last_slot = (other.first_slot + other.last_slot) / 2
			WHERE n.node = split;
		UPDATE agno.nodes n
			SET first_slot = (other.first_slot + other.last_slot) / 2 + 1,
				last_slot = other.last_slot
			WHERE n.node = name;
	ELSIF status.slots <> '0-65535'
		  AND NOT EXISTS (
			SELECT FROM agno.nodes n
			WHERE n.node <> name
			  AND n.first_slot <= split_part(status.slots, '-', 2)::integer
			  AND n.last_slot >= split_part(status.slots, '-', 1)::integer) THEN
		UPDATE agno.nodes n
			SET first_slot = split_part(status.slots, '-', 1)::integer,
				last_slot = split_part(status.slots, '-', 2)::integer
			WHERE n.node = name;
	ELSE
		IF status.sessions AND NOT is_first THEN
			RAISE EXCEPTION 'node "%" has sessions already', name
				USING ERRCODE = 'object_not_in_prerequisite_state',
					  DETAIL = 'They would not be found.',
					  HINT = 'Such a server can only be the first node, a copy of the '
							 'one that is split, or one whose agno_bg.slots are '
							 'those of no other.';
		END IF;
		FOR other IN SELECT * FROM agno.nodes n WHERE n.node <> name LOOP
			IF (agno.status_at(other.node)).sessions THEN
				RAISE EXCEPTION 'node "%" has sessions already', other.node
					USING ERRCODE = 'object_not_in_prerequisite_state',
						  HINT = format('Add all nodes before the first run; or make '
							'the new one of a standby of a node, and give that as '
							'split => %L: see scale.md.', other.node);
			END IF;
		END LOOP;
		CREATE TEMPORARY TABLE agno_even ON COMMIT DROP AS
			SELECT n.node, n.has_agents,
				   row_number() OVER (ORDER BY n.node = name, n.first_slot) AS i,
				   count(*) OVER () AS nodes
			FROM agno.nodes n;
		DELETE FROM agno.nodes;
		INSERT INTO agno.nodes
			SELECT e.node, (e.i - 1) * 65536 / e.nodes,
				   e.i * 65536 / e.nodes - 1, e.has_agents
			FROM pg_temp.agno_even e;
		DROP TABLE pg_temp.agno_even;
	END IF;
	IF split IS NULL
	   AND (status.agents = 'subscriber' AND is_first
			OR status.agents = 'publisher' AND NOT is_first) THEN
		RAISE EXCEPTION 'node "%" is a % of agents and tools', name, status.agents
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  HINT = 'Add first the node that hands them out. If nobody follows '
						 'it any more, DROP PUBLICATION agno_router there.';
	END IF;
	IF NOT status.cluster THEN
		RAISE WARNING 'node "%" does not know that it is one of several servers', name
			USING HINT = 'ALTER SYSTEM SET agno_bg.cluster = on; there, and reload: '
						 'else it accepts runs that nobody finds.';
	END IF;

	-- Agents and tools
	IF is_first THEN
		EXECUTE format('IMPORT FOREIGN SCHEMA agno LIMIT TO (agents, tools) '
					   'FROM SERVER %I INTO agno OPTIONS (import_default ''true'')',
					   name);
		COMMENT ON FOREIGN TABLE agno.agents IS
			'what agno_arun(..., agent_id) refers to, on all nodes';
		COMMENT ON FOREIGN TABLE agno.tools IS
			'what the signature of a function cannot say of it as a tool, on all nodes';
		PERFORM agno.keep_private(made), agno.keep_no_statistics(made)
			FROM unnest('{agno.agents,agno.tools}'::regclass[]) made;
		GRANT SELECT ON agno.agents, agno.tools TO PUBLIC;
		FOR role IN SELECT * FROM agno.usage_roles() LOOP
			EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE '
						   'ON agno.agents, agno.tools TO %I', role);
		END LOOP;
	ELSIF status.agents <> 'subscriber' THEN
		-- no other router has seen to it
		PERFORM agno.replicate_agents(name);
	END IF;

	-- Relations, last, since they are locked until the commit
	EXECUTE format('CREATE SCHEMA %I', 'agno_' || name);
	EXECUTE format('COMMENT ON SCHEMA %I IS ''a node of agno_router''',
				   'agno_' || name);
	PERFORM agno.lock_relations('{agno.node_runs,agno.node_sessions,
		agno.node_run_events,agno.node_tool_calls,agno.node_approvals,
		agno.node_stats,agno.node_workers,agno.enqueue}'::regclass[]);
	FOREACH relation IN ARRAY '{runs,sessions,run_events,tool_calls,approvals,
		stats,workers}'::text[] LOOP
		EXECUTE format(
			'CREATE FOREIGN TABLE %1$I.%2$I PARTITION OF agno.%3$I '
			'FOR VALUES IN (%4$L) SERVER %4$I '
			'OPTIONS (schema_name ''agno'', table_name %3$L)',
			'agno_' || name, relation, 'node_' || relation, name);
		PERFORM agno.keep_private(made), agno.keep_no_statistics(made)
			FROM CAST(format('%I.%I', 'agno_' || name, relation) AS regclass) made;
	END LOOP;
	PERFORM agno.attach_enqueue();
END
$$;
COMMENT ON FUNCTION @extschema@.agno_router_add_node(pg_catalog.text,
	pg_catalog.text,
	pg_catalog.text) IS
	'adds a node, which the current role can connect to as a superuser. It has the '
	'slots of its agno_bg.slots, if no other node has them. Else, while no node has '
	'a session, all get as many; after that a node is added by splitting one, whose '
	'upper half of the slots it has from now on';

CREATE FUNCTION @extschema@.agno_router_status()
RETURNS TABLE (
	node pg_catalog.text,
	reachable boolean,
	first_slot integer,
	last_slot integer,
	version pg_catalog.text,
	standby boolean,
	unfinished bigint,
	agents pg_catalog.text,
	problem pg_catalog.text)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET client_min_messages = 'error'
SET standard_conforming_strings = on
AS $$
DECLARE
	n record;
	s record;
	gaps text;
	detail text;
	digest text;
	tries integer := 3;
BEGIN
	FOR n IN
		SELECT o.*, lag(o.last_slot, 1, -1) OVER w + 1 AS first_free,
			   lead(o.node) OVER w IS NULL AS is_last
		FROM agno.nodes o
		WINDOW w AS (ORDER BY o.first_slot)
		ORDER BY o.has_agents DESC, o.first_slot
	LOOP
		node := n.node;
		first_slot := n.first_slot;
		last_slot := n.last_slot;
		gaps := NULLIF(concat_ws('; ',
			CASE WHEN n.first_free < n.first_slot
				THEN format('slots %s-%s before it are those of no node',
							n.first_free, n.first_slot - 1) END,
			CASE WHEN n.is_last AND n.last_slot < 65535
				THEN format('slots %s-65535 after it are those of no node',
							n.last_slot + 1) END), '');
		BEGIN
			PERFORM agno.knock(n.node, true);
			s := agno.status_at(n.node);
			IF s.agents = 'publisher' THEN
				digest := s.digest;
			END IF;
			-- what has just been written may be under way
			WHILE s.agents = 'subscriber' AND s.problem IS NULL
				  AND s.digest <> digest AND tries > 0 LOOP
				PERFORM pg_sleep(0.5);
				tries := tries - 1;
				SELECT a.digest INTO digest
				FROM agno.status_at(agno.agents_node()) a;
				s := agno.status_at(n.node);
			END LOOP;
			reachable := true;
			version := s.version;
			standby := s.standby;
			unfinished := s.unfinished;
			agents := s.agents;
			problem := NULLIF(concat_ws('; ', gaps,
				CASE WHEN s.standby THEN 'it is a standby' END,
				CASE WHEN NOT s.cluster THEN 'agno_bg.cluster is off' END,
				CASE WHEN s.slots <> format('%s-%s', n.first_slot, n.last_slot)
					THEN format('agno_bg.slots is %s', s.slots) END,
				CASE WHEN s.agents = 'none'
					  AND (SELECT count(*) > 1 FROM agno.nodes)
					THEN 'agents and tools are not replicated: see its log' END,
				CASE WHEN s.agents = 'subscriber' AND s.problem IS NULL
					  AND s.digest <> digest
					THEN 'agents and tools are not those of the first node' END,
				s.problem), '');
		EXCEPTION WHEN OTHERS THEN
			-- not known, where a role has no way to the node
			reachable := CASE WHEN agno.lost_node(SQLSTATE, SQLERRM) THEN false
							  WHEN SQLERRM ~ ': \[.*\] REMOTE ' THEN true END;
			version := NULL;
			standby := NULL;
			unfinished := NULL;
			agents := NULL;
			GET STACKED DIAGNOSTICS detail := PG_EXCEPTION_DETAIL;
			problem := concat_ws('; ', gaps, rtrim(regexp_replace(
				CASE WHEN SQLSTATE = '08006' AND detail <> '' THEN detail
					 ELSE SQLERRM END,
				'^(PL/Proxy function )?[^:]*\([0-9]+\): (\[.*?\] )?'
				'(PQ\w+: |REMOTE \w+: )?', ''), E'\n'));
		END;
		RETURN NEXT;
	END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.agno_router_status() IS
	'each node: whether it can be reached (null if the role may not try), its slots, its version of agno_bg, how '
	'many runs have not ended, whether it hands out (publisher) or receives '
	'(subscriber) agents and tools, and what is wrong with it';

---------------------------------------------------------------------------
-- Nothing is for PUBLIC but to read one's own rows
---------------------------------------------------------------------------

DO $$
DECLARE
	routine pg_catalog.regprocedure;
BEGIN
	FOR routine IN
		SELECT p.oid::pg_catalog.regprocedure
		FROM pg_catalog.pg_depend d
		JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) d.objid
		WHERE d.refclassid OPERATOR(pg_catalog.=)
			  'pg_catalog.pg_extension'::pg_catalog.regclass
		  AND d.classid OPERATOR(pg_catalog.=)
			  'pg_catalog.pg_proc'::pg_catalog.regclass
		  AND d.refobjid OPERATOR(pg_catalog.=)
			  (SELECT x.oid FROM pg_catalog.pg_extension x
			   WHERE x.extname OPERATOR(pg_catalog.=) 'agno_router')
		  AND p.proname OPERATOR(pg_catalog.<>) ALL
			  ('{shown,reachable}'::pg_catalog.name[])
	LOOP
		EXECUTE pg_catalog.format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', routine);
	END LOOP;
END
$$;

SELECT agno.keep_private(c.oid)
FROM pg_catalog.pg_extension x
JOIN pg_catalog.pg_depend d
  ON d.refclassid OPERATOR(pg_catalog.=)
	 'pg_catalog.pg_extension'::pg_catalog.regclass
 AND d.refobjid OPERATOR(pg_catalog.=) x.oid
 AND d.classid OPERATOR(pg_catalog.=)
	 'pg_catalog.pg_class'::pg_catalog.regclass
JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) d.objid
 AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,v}'::pg_catalog."char"[])
WHERE x.extname OPERATOR(pg_catalog.=) 'agno_router';
DO $$
DECLARE
	role pg_catalog.text;
BEGIN
	FOR role IN
		SELECT DISTINCT a.grantee::pg_catalog.regrole::pg_catalog.text
		FROM pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) a
		WHERE n.nspname OPERATOR(pg_catalog.=) 'agno'
		  AND a.grantee OPERATOR(pg_catalog.<>) ALL
			  (ARRAY[0::pg_catalog.oid, n.nspowner])
	LOOP
		EXECUTE pg_catalog.format('REVOKE ALL ON SCHEMA agno FROM %s CASCADE', role);
	END LOOP;
END
$$;
REVOKE CREATE ON SCHEMA agno FROM PUBLIC;
GRANT SELECT ON agno.nodes, agno.node_runs, agno.runs, agno.node_sessions,
	agno.sessions, agno.node_run_events, agno.run_events, agno.node_tool_calls,
	agno.tool_calls, agno.node_approvals, agno.approvals, agno.node_stats,
	agno.stats TO PUBLIC;
GRANT SELECT ON agno.node_workers, agno.workers TO pg_monitor;
GRANT EXECUTE ON FUNCTION @extschema@.agno_router_status(),
	agno.status_at(pg_catalog.text), agno.connection(pg_catalog.text),
	agno.knock(pg_catalog.text, boolean),
	agno.lost_node(pg_catalog.text, pg_catalog.text) TO pg_monitor;
