/* sql/agno_bg--1.0.sql: every SQL object of agno_bg 1.0 */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION agno_bg" to load this file. \quit

-- An existing schema of this name is an error: what is in it belongs to
-- somebody else.
CREATE SCHEMA agno;
COMMENT ON SCHEMA agno IS
	'agno_bg: runs of LLM agents, their sessions, and the cancel markers';
GRANT USAGE ON SCHEMA agno TO PUBLIC;

---------------------------------------------------------------------------
-- Types
---------------------------------------------------------------------------

CREATE TYPE agno.run_status AS ENUM
	('PENDING', 'RUNNING', 'PAUSED', 'COMPLETED', 'CANCELLED', 'ERROR');
COMMENT ON TYPE agno.run_status IS
	'where a run stands; COMPLETED, CANCELLED and ERROR are final';

CREATE TYPE agno.run_ref AS (
	run_id text,
	session_id text,
	status agno.run_status
);
COMMENT ON TYPE agno.run_ref IS 'a run as agno_arun accepted it';

---------------------------------------------------------------------------
-- What users read
---------------------------------------------------------------------------

CREATE TABLE agno.runs (
	run_id text NOT NULL,
	session_id text NOT NULL,
	agent_id text,
	user_id text,
	parent_run_id text,
	status agno.run_status NOT NULL,
	input text NOT NULL,
	content text,
	content_type text,
	reasoning_content text,
	model text NOT NULL,
	model_provider text NOT NULL,
	messages jsonb,
	tools jsonb,
	requirements jsonb,
	metrics jsonb,
	session_state jsonb,
	metadata jsonb,
	error jsonb,
	attempt integer NOT NULL DEFAULT 0,
	owner regrole NOT NULL,
	priority integer NOT NULL,
	created_at timestamptz NOT NULL,
	run_at timestamptz,
	started_at timestamptz,
	finished_at timestamptz,
	CONSTRAINT runs_pkey PRIMARY KEY (run_id)
);
CREATE INDEX runs_session_id_created_at_idx
	ON agno.runs (session_id, created_at);

COMMENT ON TABLE agno.runs IS
	'one row per run; written by agno_bg alone, a role reads its own rows';
COMMENT ON COLUMN agno.runs.run_id IS
	'a UUIDv7 unless the caller of agno_arun gave another id';
COMMENT ON COLUMN agno.runs.session_id IS
	'runs that share it form a conversation and execute one at a time';
COMMENT ON COLUMN agno.runs.agent_id IS 'the agent that the run was given to';
COMMENT ON COLUMN agno.runs.user_id IS
	'the end user on whose behalf the caller asked, as the caller names him';
COMMENT ON COLUMN agno.runs.parent_run_id IS 'the run that started this one';
COMMENT ON COLUMN agno.runs.status IS 'where the run stands';
COMMENT ON COLUMN agno.runs.input IS 'what the caller asked';
COMMENT ON COLUMN agno.runs.content IS
	'the answer; what had arrived, or "Run <id> was cancelled", when '
	'CANCELLED; the text of the error when ERROR';
COMMENT ON COLUMN agno.runs.content_type IS
	'str for text, dict for a JSON object that an output schema asked for';
COMMENT ON COLUMN agno.runs.reasoning_content IS
	'what the model told of its reasoning';
COMMENT ON COLUMN agno.runs.model IS 'the id of the model at its server';
COMMENT ON COLUMN agno.runs.model_provider IS 'the name of the model server';
COMMENT ON COLUMN agno.runs.messages IS
	'the conversation with the model as sent and received, as Agno writes it';
COMMENT ON COLUMN agno.runs.tools IS 'the tool executions of the run';
COMMENT ON COLUMN agno.runs.requirements IS 'what a PAUSED run waits for';
COMMENT ON COLUMN agno.runs.metrics IS
	'tokens, and duration and time_to_first_token in seconds';
COMMENT ON COLUMN agno.runs.session_state IS
	'the state of the session as the run left it';
COMMENT ON COLUMN agno.runs.metadata IS 'whatever the caller attached';
COMMENT ON COLUMN agno.runs.error IS
	'type, message, http_status and attempt of the failure when ERROR';
COMMENT ON COLUMN agno.runs.attempt IS
	'how many times a worker has started the run';
COMMENT ON COLUMN agno.runs.owner IS 'the role that called agno_arun';
COMMENT ON COLUMN agno.runs.priority IS 'higher first';
COMMENT ON COLUMN agno.runs.created_at IS 'when agno_arun accepted the run';
COMMENT ON COLUMN agno.runs.run_at IS 'not to be started before';
COMMENT ON COLUMN agno.runs.started_at IS 'when the last attempt started';
COMMENT ON COLUMN agno.runs.finished_at IS 'when the run ended';

CREATE TABLE agno.sessions (
	session_id text NOT NULL,
	user_id text,
	agent_id text,
	session_state jsonb,
	metadata jsonb,
	owner regrole NOT NULL,
	created_at timestamptz NOT NULL,
	updated_at timestamptz NOT NULL,
	CONSTRAINT sessions_pkey PRIMARY KEY (session_id)
);

COMMENT ON TABLE agno.sessions IS
	'one row per conversation; it belongs to the role that opened it';
COMMENT ON COLUMN agno.sessions.session_id IS
	'a UUIDv7 unless the caller of agno_arun gave another id';
COMMENT ON COLUMN agno.sessions.user_id IS
	'the only end user whose runs the session accepts; null: any';
COMMENT ON COLUMN agno.sessions.agent_id IS
	'the agent that the first run was given to';
COMMENT ON COLUMN agno.sessions.session_state IS
	'the state as the last run left it';
COMMENT ON COLUMN agno.sessions.metadata IS
	'what the first run was given as metadata';
COMMENT ON COLUMN agno.sessions.owner IS 'the role that opened the session';
COMMENT ON COLUMN agno.sessions.created_at IS
	'when the first run was accepted';
COMMENT ON COLUMN agno.sessions.updated_at IS 'when a run last ended';

CREATE TABLE agno.cancellations (
	run_id text NOT NULL,
	owner regrole NOT NULL,
	requested_at timestamptz NOT NULL,
	CONSTRAINT cancellations_pkey PRIMARY KEY (run_id, owner)
);
CREATE INDEX cancellations_requested_at_idx
	ON agno.cancellations (requested_at);

COMMENT ON TABLE agno.cancellations IS
	'markers of agno_cancel_run for runs that do not exist yet: a run that '
	'meets its marker ends CANCELLED; a marker is removed after a day';
COMMENT ON COLUMN agno.cancellations.run_id IS 'the run to be cancelled';
COMMENT ON COLUMN agno.cancellations.owner IS
	'the role that asked; only a run of this role is cancelled';
COMMENT ON COLUMN agno.cancellations.requested_at IS
	'when agno_cancel_run was last called for it';

-- Each role reads its own rows and those of roles whose rights it has.
ALTER TABLE agno.runs ENABLE ROW LEVEL SECURITY;
CREATE POLICY runs_owner ON agno.runs FOR SELECT
	USING (pg_catalog.pg_has_role(owner::pg_catalog.oid, 'USAGE'));
GRANT SELECT ON agno.runs TO PUBLIC;

ALTER TABLE agno.sessions ENABLE ROW LEVEL SECURITY;
CREATE POLICY sessions_owner ON agno.sessions FOR SELECT
	USING (pg_catalog.pg_has_role(owner::pg_catalog.oid, 'USAGE'));
GRANT SELECT ON agno.sessions TO PUBLIC;

ALTER TABLE agno.cancellations ENABLE ROW LEVEL SECURITY;
CREATE POLICY cancellations_owner ON agno.cancellations FOR SELECT
	USING (pg_catalog.pg_has_role(owner::pg_catalog.oid, 'USAGE'));
GRANT SELECT ON agno.cancellations TO PUBLIC;

---------------------------------------------------------------------------
-- What only agno_bg reads
---------------------------------------------------------------------------

CREATE TABLE agno.run_requests (
	run_id text NOT NULL,
	owner regrole NOT NULL,
	idempotency_key text,
	timeout interval,
	max_attempts integer,
	model_options jsonb,
	CONSTRAINT run_requests_pkey PRIMARY KEY (run_id)
);
CREATE UNIQUE INDEX run_requests_idempotency_key_idx
	ON agno.run_requests (owner, idempotency_key)
	WHERE idempotency_key IS NOT NULL;

COMMENT ON TABLE agno.run_requests IS
	'the arguments of agno_arun that say how to execute a run; there is a '
	'row only for a run that was given one of them';
COMMENT ON COLUMN agno.run_requests.run_id IS 'the run';
COMMENT ON COLUMN agno.run_requests.owner IS 'the owner of the run';
COMMENT ON COLUMN agno.run_requests.idempotency_key IS
	'a second call of the same owner with this key returns this run';
COMMENT ON COLUMN agno.run_requests.timeout IS
	'how long the run may take; null: agno_bg.run_timeout';
COMMENT ON COLUMN agno.run_requests.max_attempts IS
	'how many interrupted attempts there may be; null: agno_bg.max_attempts';
COMMENT ON COLUMN agno.run_requests.model_options IS
	'merged into the body of the request to the model server';

CREATE TABLE agno.run_queue (
	seq bigint GENERATED ALWAYS AS IDENTITY,
	run_id text NOT NULL,
	session_id text NOT NULL,
	state "char" NOT NULL,
	priority integer NOT NULL,
	run_at timestamptz,
	CONSTRAINT run_queue_pkey PRIMARY KEY (run_id),
	CONSTRAINT run_queue_state_check
		CHECK (state OPERATOR(pg_catalog.=) ANY
			   (ARRAY['r', 's', 'w', 'k', 'x']::"char"[]))
);
CREATE INDEX run_queue_ready_idx ON agno.run_queue (priority DESC, seq)
	WHERE state OPERATOR(pg_catalog.=) 'r'::"char";
CREATE INDEX run_queue_scheduled_idx ON agno.run_queue (run_at)
	WHERE state OPERATOR(pg_catalog.=) 's'::"char";
CREATE INDEX run_queue_locked_idx ON agno.run_queue (seq)
	WHERE state OPERATOR(pg_catalog.=) 'k'::"char";
CREATE INDEX run_queue_session_idx ON agno.run_queue (session_id, seq);

COMMENT ON TABLE agno.run_queue IS
	'the runs that have not ended: agno_arun inserts a row, and from then on '
	'only the runner touches it, so that the runner never waits for a lock';
COMMENT ON COLUMN agno.run_queue.seq IS 'the order of acceptance';
COMMENT ON COLUMN agno.run_queue.run_id IS 'the run';
COMMENT ON COLUMN agno.run_queue.session_id IS 'the session of the run';
COMMENT ON COLUMN agno.run_queue.state IS
	'r ready, s scheduled (not before run_at), w waits for an earlier run '
	'of its session, k was found locked by a cancel, x executing';
COMMENT ON COLUMN agno.run_queue.priority IS 'higher first';
COMMENT ON COLUMN agno.run_queue.run_at IS 'not to be started before';

CREATE TABLE agno.run_signals (
	run_id text NOT NULL,
	owner regrole NOT NULL
);

COMMENT ON TABLE agno.run_signals IS
	'letters of agno_cancel_run to the runner, which deletes them as it reads '
	'them: this run is to be cancelled, or has been';
COMMENT ON COLUMN agno.run_signals.run_id IS 'the run';
COMMENT ON COLUMN agno.run_signals.owner IS 'the owner of the run';

-- A dump keeps everything.
SELECT pg_catalog.pg_extension_config_dump('agno.runs', '');
SELECT pg_catalog.pg_extension_config_dump('agno.sessions', '');
SELECT pg_catalog.pg_extension_config_dump('agno.cancellations', '');
SELECT pg_catalog.pg_extension_config_dump('agno.run_requests', '');
SELECT pg_catalog.pg_extension_config_dump('agno.run_queue', '');
SELECT pg_catalog.pg_extension_config_dump('agno.run_queue_seq_seq', '');
SELECT pg_catalog.pg_extension_config_dump('agno.run_signals', '');

---------------------------------------------------------------------------
-- Model servers
---------------------------------------------------------------------------

CREATE FUNCTION agno.fdw_validator(options text[], catalog oid)
RETURNS void
AS 'MODULE_PATHNAME', 'agno_bg_fdw_validator'
LANGUAGE C STRICT;
COMMENT ON FUNCTION agno.fdw_validator(text[], oid) IS
	'checks the options of model servers and of their user mappings';
REVOKE ALL ON FUNCTION agno.fdw_validator(text[], oid) FROM PUBLIC;

CREATE FOREIGN DATA WRAPPER agno_bg VALIDATOR agno.fdw_validator;
COMMENT ON FOREIGN DATA WRAPPER agno_bg IS
	'model servers: CREATE SERVER name FOREIGN DATA WRAPPER agno_bg '
	'OPTIONS (api ''openai-responses'', base_url ''https://…'')';

---------------------------------------------------------------------------
-- Functions
---------------------------------------------------------------------------

CREATE FUNCTION @extschema@.agno_arun(
	input text,
	agent_id text DEFAULT NULL,
	session_id text DEFAULT NULL,
	run_id text DEFAULT NULL,
	user_id text DEFAULT NULL,
	model text DEFAULT NULL,
	output_schema jsonb DEFAULT NULL,
	session_state jsonb DEFAULT NULL,
	metadata jsonb DEFAULT NULL,
	model_options jsonb DEFAULT NULL,
	stream boolean DEFAULT NULL,
	priority integer DEFAULT 0,
	run_at timestamptz DEFAULT NULL,
	timeout interval DEFAULT NULL,
	max_attempts integer DEFAULT NULL,
	idempotency_key text DEFAULT NULL)
RETURNS agno.run_ref
AS 'MODULE_PATHNAME', 'agno_arun'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION @extschema@.agno_arun(text, text, text, text, text, text,
	jsonb, jsonb, jsonb, jsonb, boolean, integer, timestamptz, interval,
	integer, text) IS
	'enqueues a run, which starts when the transaction commits, and returns '
	'its id at once';

CREATE FUNCTION @extschema@.agno_get_run_output(
	run_id text,
	session_id text DEFAULT NULL)
RETURNS SETOF agno.runs
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
	SELECT r.*
	FROM agno.runs r
	WHERE r.run_id OPERATOR(pg_catalog.=) agno_get_run_output.run_id
	  AND (agno_get_run_output.session_id IS NULL
		   OR r.session_id OPERATOR(pg_catalog.=)
			  agno_get_run_output.session_id);
END;
COMMENT ON FUNCTION @extschema@.agno_get_run_output(text, text) IS
	'the run as it stands; no row when it is unknown, of another session, or '
	'not the caller''s';

CREATE FUNCTION @extschema@.agno_cancel_run(run_id text)
RETURNS boolean
AS 'MODULE_PATHNAME', 'agno_cancel_run'
LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION @extschema@.agno_cancel_run(text) IS
	'cancels a run when the transaction commits: true when it will end '
	'CANCELLED; false when it has ended, or is unknown, and then a later run '
	'of this id is cancelled before it starts';

CREATE FUNCTION @extschema@.agno_wait_run(
	run_id text,
	timeout interval DEFAULT NULL)
RETURNS SETOF agno.runs
AS 'MODULE_PATHNAME', 'agno_wait_run'
LANGUAGE C VOLATILE ROWS 1;
COMMENT ON FUNCTION @extschema@.agno_wait_run(text, interval) IS
	'sleeps until the run has ended or is PAUSED, or the timeout has passed, '
	'and returns the run as it is then';

CREATE PROCEDURE @extschema@.agno_run(
	IN input text,
	IN agent_id text DEFAULT NULL,
	IN session_id text DEFAULT NULL,
	INOUT run_id text DEFAULT NULL,
	IN user_id text DEFAULT NULL,
	IN model text DEFAULT NULL,
	IN output_schema jsonb DEFAULT NULL,
	IN session_state jsonb DEFAULT NULL,
	IN metadata jsonb DEFAULT NULL,
	IN model_options jsonb DEFAULT NULL,
	IN stream boolean DEFAULT NULL,
	IN priority integer DEFAULT 0,
	IN run_at timestamptz DEFAULT NULL,
	IN timeout interval DEFAULT NULL,
	IN max_attempts integer DEFAULT NULL,
	IN idempotency_key text DEFAULT NULL,
	INOUT status agno.run_status DEFAULT NULL,
	INOUT content text DEFAULT NULL)
AS 'MODULE_PATHNAME', 'agno_run'
LANGUAGE C;
COMMENT ON PROCEDURE @extschema@.agno_run(text, text, text, text, text, text,
	jsonb, jsonb, jsonb, jsonb, boolean, integer, timestamptz, interval,
	integer, text, agno.run_status, text) IS
	'enqueues a run, commits, waits for its end and shows the answer';

-- The functions that agno_grant_usage hands out.
CREATE FUNCTION agno.usage_routines()
RETURNS SETOF regprocedure
LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT p.oid::pg_catalog.regprocedure
	FROM pg_catalog.pg_extension x
	JOIN pg_catalog.pg_depend d
	  ON d.refclassid OPERATOR(pg_catalog.=)
		 'pg_catalog.pg_extension'::pg_catalog.regclass
	 AND d.refobjid OPERATOR(pg_catalog.=) x.oid
	 AND d.classid OPERATOR(pg_catalog.=)
		 'pg_catalog.pg_proc'::pg_catalog.regclass
	JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) d.objid
	WHERE x.extname OPERATOR(pg_catalog.=) 'agno_bg'
	  AND p.proname OPERATOR(pg_catalog.=) ANY (ARRAY[
		  'agno_arun', 'agno_get_run_output', 'agno_cancel_run',
		  'agno_wait_run', 'agno_run']::pg_catalog.name[]);
END;
COMMENT ON FUNCTION agno.usage_routines() IS
	'the routines that agno_grant_usage grants';

CREATE FUNCTION @extschema@.agno_grant_usage(role name)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	routine regprocedure;
BEGIN
	FOR routine IN SELECT * FROM agno.usage_routines() LOOP
		EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %I', routine, role);
	END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.agno_grant_usage(name) IS
	'gives a role all it needs to enqueue, poll, wait for and cancel runs';

CREATE FUNCTION @extschema@.agno_revoke_usage(role name)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	routine regprocedure;
BEGIN
	FOR routine IN SELECT * FROM agno.usage_routines() LOOP
		EXECUTE format('REVOKE EXECUTE ON ROUTINE %s FROM %I', routine, role);
	END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.agno_revoke_usage(name) IS
	'takes back what agno_grant_usage gave';

CREATE FUNCTION agno.request_runner()
RETURNS void
AS 'MODULE_PATHNAME', 'agno_request_runner'
LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION agno.request_runner() IS
	'wakes the runner of this database when the transaction commits, and has '
	'one started where there is none';

-- Nothing is for PUBLIC but one's own rows.
REVOKE ALL ON FUNCTION @extschema@.agno_arun(text, text, text, text, text,
	text, jsonb, jsonb, jsonb, jsonb, boolean, integer, timestamptz, interval,
	integer, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.agno_get_run_output(text, text)
	FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.agno_cancel_run(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.agno_wait_run(text, interval) FROM PUBLIC;
REVOKE ALL ON PROCEDURE @extschema@.agno_run(text, text, text, text, text,
	text, jsonb, jsonb, jsonb, jsonb, boolean, integer, timestamptz, interval,
	integer, text, agno.run_status, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION agno.usage_routines() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.agno_grant_usage(name) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.agno_revoke_usage(name) FROM PUBLIC;
REVOKE ALL ON FUNCTION agno.request_runner() FROM PUBLIC;

-- The runner of this database starts when this transaction commits.
SELECT agno.request_runner();
