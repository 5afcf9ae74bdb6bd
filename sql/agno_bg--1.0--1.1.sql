/* sql/agno_bg--1.0--1.1.sql: makes of the objects of agno_bg 1.0 those of 1.1 */

-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION agno_bg UPDATE TO '1.1'" to load this file. \quit

-- What follows has names without a schema.
SET LOCAL search_path = pg_catalog, pg_temp;

DO $$
BEGIN
	-- a setting that 1.0 did not have
	IF current_setting('agno_bg.max_input_size', true) IS NULL THEN
		RAISE EXCEPTION 'the server has not loaded the library of agno_bg 1.1'
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  HINT = 'With agno_bg in shared_preload_libraries, restart it.';
	END IF;
END
$$;

-- All objects are to have one owner, whichever superuser says ALTER EXTENSION.
SELECT set_config('agno_bg_update.role', current_setting('role'), true);
SELECT set_config('role', r.rolname, true)
FROM pg_extension x JOIN pg_roles r ON r.oid = x.extowner
WHERE x.extname = 'agno_bg' AND r.rolsuper;

---------------------------------------------------------------------------
-- Tables, and what is in them
---------------------------------------------------------------------------

DROP TRIGGER agents_touch ON agno.agents;
DROP FUNCTION agno.touch_agent();

-- Rules as POSIX has them are not taken any more.
DO $$
DECLARE
	agent record;
BEGIN
	FOR agent IN
		SELECT a.agent_id, a.timezone_identifier FROM agno.agents a
		WHERE lower(a.timezone_identifier) NOT IN
			  (SELECT lower(z.name) FROM pg_timezone_names z)
	LOOP
		UPDATE agno.agents a SET timezone_identifier = NULL
		WHERE a.agent_id = agent.agent_id;
		RAISE WARNING 'agent "%" has lost its time zone, "%"',
				agent.agent_id, agent.timezone_identifier
			USING DETAIL = 'It is no name of a time zone.',
				  HINT = 'The view pg_timezone_names has the names.';
	END LOOP;
END
$$;

ALTER TABLE agno.agents
	DROP CONSTRAINT agents_timezone_identifier_check,
	ADD COLUMN max_tool_calls_from_history integer,
	ADD COLUMN on_complete text,
	ADD CONSTRAINT agents_max_tool_calls_from_history_check CHECK
		(max_tool_calls_from_history >= 0);

ALTER TABLE agno.run_requests
	ADD COLUMN request_hash bytea,
	ADD COLUMN tools json,
	ADD COLUMN tool_choice text,
	ADD COLUMN tool_call_limit integer,
	ADD COLUMN max_tool_calls_from_history integer,
	ADD COLUMN depth integer NOT NULL DEFAULT 0,
	ADD COLUMN on_complete text,
	ADD COLUMN repetitions integer,
	ADD COLUMN attempts_before integer;

-- The runner that starts sees to the other new columns.
DROP INDEX agno.run_queue_ready_idx, agno.run_queue_scheduled_idx,
	agno.run_queue_locked_idx, agno.run_queue_parked_idx;
ALTER TABLE agno.run_queue
	ADD COLUMN runner smallint NOT NULL DEFAULT 0,
	ADD COLUMN owner regrole NOT NULL DEFAULT 0::oid::regrole,
	ADD COLUMN looks smallint NOT NULL DEFAULT 0,
	ADD COLUMN waits_since timestamptz,
	ADD COLUMN cancelled boolean NOT NULL DEFAULT false,
	ADD COLUMN continues boolean NOT NULL DEFAULT false,
	ADD COLUMN paused_at timestamptz,
	ADD COLUMN parent_run_id text COLLATE "C",
	ADD COLUMN parent_shard smallint,
	ADD COLUMN claimed boolean NOT NULL DEFAULT false,
	SET (fillfactor = 45);
UPDATE agno.run_queue q SET owner = r.owner
	FROM agno.runs r WHERE r.run_id = q.run_id;

ALTER TABLE agno.run_signals
	ADD COLUMN kind "char" NOT NULL DEFAULT 'c';

---------------------------------------------------------------------------
-- What cannot be replaced makes room for what has its name
---------------------------------------------------------------------------

ALTER FUNCTION @extschema@.agno_arun(text, text, text, text, text, text,
	jsonb, jsonb, jsonb, jsonb, boolean, integer, timestamptz, interval,
	integer, text) RENAME TO agno_arun_1_0;
ALTER PROCEDURE @extschema@.agno_run(text, text, text, text, text, text,
	jsonb, jsonb, jsonb, jsonb, boolean, integer, timestamptz, interval,
	integer, text, agno.run_status, text) RENAME TO agno_run_1_0;
ALTER FUNCTION agno.list_workers() RENAME TO list_workers_1_0;
ALTER VIEW agno.workers RENAME TO workers_1_0;
ALTER VIEW agno.stats RENAME TO stats_1_0;

---------------------------------------------------------------------------
-- New and changed objects
---------------------------------------------------------------------------

-- BEGIN COPY of what agno_bg--1.1.sql says, by test/upgrade_script.pl

COMMENT ON COLUMN agno.run_ref.run_id IS 'the run';

COMMENT ON COLUMN agno.run_ref.session_id IS 'its session';

COMMENT ON COLUMN agno.run_ref.status IS 'PENDING, or what has become of it';

CREATE INDEX runs_parent_run_id_idx ON agno.runs (parent_run_id)
	WHERE parent_run_id IS NOT NULL;

COMMENT ON COLUMN agno.runs.user_id IS
	'the end user on whose behalf the caller asked, as the caller names them';

COMMENT ON COLUMN agno.runs.owner IS
	'the role that called agno_arun; compare it with ''name''::regrole';

CREATE FUNCTION agno.check_time_zone(name pg_catalog.text)
RETURNS boolean
AS 'MODULE_PATHNAME', 'agno_check_time_zone'
LANGUAGE C STRICT STABLE PARALLEL SAFE;

COMMENT ON FUNCTION agno.check_time_zone(pg_catalog.text) IS
	'true, or an error if this is no name of a time zone';

REVOKE ALL ON FUNCTION agno.check_time_zone(pg_catalog.text) FROM PUBLIC;

COMMENT ON TABLE agno.agents IS
	'what agno_arun(..., agent_id) refers to; filled with INSERT and UPDATE. An '
	'agent is for the roles that have the rights of its owner';

COMMENT ON COLUMN agno.agents.timezone_identifier IS
	'the time zone of that time, as in pg_timezone_names; null: that of the '
	'server';

COMMENT ON COLUMN agno.agents.tools IS
	'what the model may call: functions, and rows of agno.tools';

COMMENT ON COLUMN agno.agents.requires_confirmation IS
	'those of the tools whose calls somebody has to approve of';

COMMENT ON COLUMN agno.agents.on_complete IS
	'a function of (agno.runs) or (run_id text), which is called as the owner of '
	'the run when the run ends';

COMMENT ON COLUMN agno.agents.max_tool_calls_from_history IS
	'how many calls of tools in earlier runs are sent along; null: all';

CREATE FUNCTION agno.check_agent()
RETURNS pg_catalog.trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	size integer := octet_length(NEW::text);
	most bigint := pg_size_bytes(current_setting('agno_bg.max_input_size', true));
BEGIN
	IF size > most THEN
		RAISE EXCEPTION 'agent "%" is too large', NEW.agent_id
			USING ERRCODE = 'configuration_limit_exceeded',
				  DETAIL = format('It has %s bytes; agno_bg.max_input_size '
								  'allows %s.', size, most);
	END IF;
	-- it is in each event and in each requirement
	IF octet_length(NEW.name) > 16384 THEN
		RAISE EXCEPTION 'the name of agent "%" is too long', NEW.agent_id
			USING ERRCODE = 'configuration_limit_exceeded',
				  DETAIL = 'It may have 16384 bytes.';
	END IF;
	-- JSON null is how some drivers write NULL
	NEW.output_schema := nullif(NEW.output_schema, 'null');
	NEW.session_state := nullif(NEW.session_state, 'null');
	NEW.model_options := nullif(NEW.model_options, 'null');
	NEW.metadata := nullif(NEW.metadata, 'null');
	IF TG_OP = 'UPDATE' THEN
		NEW.updated_at := now();
	END IF;
	RETURN NEW;
END
$$;

COMMENT ON FUNCTION agno.check_agent() IS
	'bounds the size of rows of agno.agents, and keeps updated_at';

REVOKE ALL ON FUNCTION agno.check_agent() FROM PUBLIC;

CREATE TRIGGER agents_check BEFORE INSERT OR UPDATE ON agno.agents
	FOR EACH ROW EXECUTE FUNCTION agno.check_agent();

COMMENT ON TRIGGER agents_check ON agno.agents IS
	'bounds the size of a row, keeps updated_at';

CREATE FUNCTION agno.check_agent_tools()
RETURNS pg_catalog.trigger
AS 'MODULE_PATHNAME', 'agno_check_agent_tools'
LANGUAGE C;

COMMENT ON FUNCTION agno.check_agent_tools() IS
	'keeps the functions that an agent names with their schemas and types';

REVOKE ALL ON FUNCTION agno.check_agent_tools() FROM PUBLIC;

CREATE TRIGGER agents_tools BEFORE INSERT
	OR UPDATE OF tools, tool_choice, requires_confirmation, on_complete
	ON agno.agents
	FOR EACH ROW EXECUTE FUNCTION agno.check_agent_tools();

COMMENT ON TRIGGER agents_tools ON agno.agents IS
	'looks up the functions that an agent names';

CREATE TABLE agno.tools (
	tool pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	function pg_catalog.text,
	description pg_catalog.text,
	parameters pg_catalog.jsonb,
	bind pg_catalog.jsonb,
	read_only boolean,
	requires_confirmation boolean NOT NULL DEFAULT false,
	requires_user_input pg_catalog.text[],
	external_execution boolean NOT NULL DEFAULT false,
	preview boolean NOT NULL DEFAULT false,
	approver pg_catalog.regrole,
	expires_after interval,
	timeout interval,
	stop_after_call boolean NOT NULL DEFAULT false,
	owner pg_catalog.regrole NOT NULL DEFAULT
		pg_catalog.to_regrole(pg_catalog.quote_ident(CURRENT_USER)),
	CONSTRAINT tools_pkey PRIMARY KEY (tool),
	CONSTRAINT tools_function_check CHECK
		(function IS NOT NULL OR external_execution),
	CONSTRAINT tools_size_check CHECK
		(pg_catalog.octet_length(description) OPERATOR(pg_catalog.<=) 1048576
		 AND pg_catalog.octet_length(parameters::pg_catalog.text)
			 OPERATOR(pg_catalog.<=) 1048576
		 AND pg_catalog.octet_length(bind::pg_catalog.text)
			 OPERATOR(pg_catalog.<=) 1048576
		 AND pg_catalog.octet_length(function) OPERATOR(pg_catalog.<=) 16384
		 AND pg_catalog.octet_length(requires_user_input::pg_catalog.text)
			 OPERATOR(pg_catalog.<=) 16384),
	CONSTRAINT tools_parameters_check CHECK
		(pg_catalog.jsonb_typeof(parameters) OPERATOR(pg_catalog.=) 'object'),
	CONSTRAINT tools_bind_check CHECK
		(pg_catalog.jsonb_typeof(bind) OPERATOR(pg_catalog.=) 'object'),
	CONSTRAINT tools_expires_after_check CHECK
		(expires_after OPERATOR(pg_catalog.>) '0'::interval
		 AND expires_after OPERATOR(pg_catalog.<=) '10 years'::interval),
	CONSTRAINT tools_timeout_check CHECK
		(timeout OPERATOR(pg_catalog.>=) '1 ms'::interval
		 AND timeout OPERATOR(pg_catalog.<=) '1 day'::interval)
);

COMMENT ON TABLE agno.tools IS
	'what the signature of a function cannot say of it as a tool; filled with '
	'INSERT and UPDATE. A tool is for the roles that have the rights of its '
	'owner';

COMMENT ON COLUMN agno.tools.tool IS
	'the name that agno.agents.tools and the model use';

COMMENT ON COLUMN agno.tools.function IS 'the function that is called';

COMMENT ON COLUMN agno.tools.description IS
	'what the model is told; null: the comment on the function';

COMMENT ON COLUMN agno.tools.parameters IS
	'the JSON schema of the arguments; null: that of the function';

COMMENT ON COLUMN agno.tools.bind IS
	'arguments that the model neither sees nor chooses: the name of each, and '
	'user_id, session_id, run_id, agent_id, or state. and a key';

COMMENT ON COLUMN agno.tools.read_only IS
	'whether the call may write nothing; null: as the function says (STABLE, '
	'IMMUTABLE)';

COMMENT ON COLUMN agno.tools.requires_confirmation IS
	'whether somebody has to approve each call';

COMMENT ON COLUMN agno.tools.requires_user_input IS
	'arguments that somebody has to give';

COMMENT ON COLUMN agno.tools.external_execution IS
	'whether somebody else executes the call and gives the result';

COMMENT ON COLUMN agno.tools.preview IS
	'whether those who decide are shown what the call would do';

COMMENT ON COLUMN agno.tools.approver IS 'whose members may decide';

COMMENT ON COLUMN agno.tools.expires_after IS
	'after how long a call that waits is rejected';

COMMENT ON COLUMN agno.tools.timeout IS
	'how long a call may take; null: agno_bg.tool_timeout';

COMMENT ON COLUMN agno.tools.stop_after_call IS
	'whether the result of a call ends the run';

COMMENT ON COLUMN agno.tools.owner IS
	'the role whose rights it takes to see, use and change the tool';

CREATE FUNCTION agno.check_tool()
RETURNS pg_catalog.trigger
AS 'MODULE_PATHNAME', 'agno_check_tool'
LANGUAGE C;

COMMENT ON FUNCTION agno.check_tool() IS
	'checks a row of agno.tools, and keeps the function with its schema';

REVOKE ALL ON FUNCTION agno.check_tool() FROM PUBLIC;

CREATE TRIGGER tools_check BEFORE INSERT OR UPDATE ON agno.tools
	FOR EACH ROW EXECUTE FUNCTION agno.check_tool();

COMMENT ON TRIGGER tools_check ON agno.tools IS
	'checks a row, and looks up its function';

CREATE INDEX cancellations_owner_idx ON agno.cancellations (owner);

COMMENT ON TABLE agno.run_events IS
	'what subscribers of a streamed run are told, in the words of Agno';

COMMENT ON COLUMN agno.run_events.event IS
	'RunStarted, RunContent, RunRetried, ToolCallStarted, ToolCallCompleted, '
	'ToolCallError, RunPaused, RunContinued, RunCompleted, RunCancelled, RunError';

CREATE TABLE agno.tool_calls (
	run_id pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	turn integer NOT NULL,
	call_no integer NOT NULL,
	tool_call_id pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	model_call_id pg_catalog.text NOT NULL,
	tool pg_catalog.text NOT NULL,
	arguments pg_catalog.jsonb,
	status pg_catalog.text NOT NULL,
	result pg_catalog.text,
	error pg_catalog.text,
	sqlstate pg_catalog.text,
	attempt integer NOT NULL,
	xid pg_catalog.xid8,
	started_at pg_catalog.timestamptz,
	finished_at pg_catalog.timestamptz,
	shown pg_catalog.text,
	child_run_id pg_catalog.text COLLATE pg_catalog."C",
	child_metrics pg_catalog.jsonb,
	CONSTRAINT tool_calls_pkey PRIMARY KEY (run_id, turn, call_no)
) WITH (fillfactor = 70);

CREATE UNIQUE INDEX tool_calls_tool_call_id_idx
	ON agno.tool_calls (tool_call_id);

COMMENT ON TABLE agno.tool_calls IS
	'what agents did: one row per call of a tool; for those who see the run';

COMMENT ON COLUMN agno.tool_calls.run_id IS 'the run';

COMMENT ON COLUMN agno.tool_calls.turn IS
	'the number of the model''s answer, among those with calls, from 1';

COMMENT ON COLUMN agno.tool_calls.call_no IS
	'the number of the call in that answer, from 1';

COMMENT ON COLUMN agno.tool_calls.tool_call_id IS
	'ours, unique for all time: what agno_bg.tool_call_id says in the tool';

COMMENT ON COLUMN agno.tool_calls.model_call_id IS
	'the model''s id of the call, as in agno.runs.messages';

COMMENT ON COLUMN agno.tool_calls.tool IS 'the tool as the model names it';

COMMENT ON COLUMN agno.tool_calls.arguments IS
	'what the model gave; null if that was no JSON object';

COMMENT ON COLUMN agno.tool_calls.status IS
	'pending; preview (what it would do is to be found out) and paused '
	'(somebody is to decide); waiting (for the run of an agent); completed, error (the tool failed), refused (it '
	'was not called), rejected (by somebody) or cancelled';

COMMENT ON COLUMN agno.tool_calls.result IS 'all that the tool returned';

COMMENT ON COLUMN agno.tool_calls.error IS
	'what the model is told of a call that failed or was refused';

COMMENT ON COLUMN agno.tool_calls.sqlstate IS 'of the error';

COMMENT ON COLUMN agno.tool_calls.attempt IS
	'the attempt of the run in which the call was made';

COMMENT ON COLUMN agno.tool_calls.xid IS
	'the transaction that made the call, and whose effects it are';

COMMENT ON COLUMN agno.tool_calls.started_at IS 'when the call began';

COMMENT ON COLUMN agno.tool_calls.finished_at IS 'when it was over';

COMMENT ON COLUMN agno.tool_calls.child_run_id IS
	'the run that the call of an agent has enqueued';

COMMENT ON COLUMN agno.tool_calls.child_metrics IS
	'what that run had cost when it ended, as in agno.runs.metrics';

COMMENT ON COLUMN agno.tool_calls.shown IS
	'what the model was shown of the result; null: all of it';

ALTER TABLE agno.tool_calls ENABLE ROW LEVEL SECURITY;

CREATE POLICY tool_calls_owner ON agno.tool_calls FOR SELECT
	USING (EXISTS (SELECT FROM agno.runs r
				   WHERE r.run_id OPERATOR(pg_catalog.=) tool_calls.run_id));

GRANT SELECT ON agno.tool_calls TO PUBLIC;

CREATE TABLE agno.requirements (
	run_id pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	turn integer NOT NULL,
	call_no integer NOT NULL,
	requirement_id pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	kind pg_catalog.text NOT NULL,
	approver pg_catalog.regrole,
	requested_at pg_catalog.timestamptz NOT NULL,
	expires_after interval,
	expires_at pg_catalog.timestamptz,
	input_schema pg_catalog.text,
	preview pg_catalog.jsonb,
	fingerprint pg_catalog.text,
	decision pg_catalog.text,
	note pg_catalog.text,
	answer pg_catalog.text,
	decided_by pg_catalog.regrole,
	decided_at pg_catalog.timestamptz,
	CONSTRAINT requirements_pkey PRIMARY KEY (run_id, turn, call_no)
);

CREATE INDEX requirements_waiting_idx ON agno.requirements (requested_at)
	WHERE decision IS NULL;

COMMENT ON TABLE agno.requirements IS
	'the calls of tools that somebody has to decide about, and what has been '
	'decided, by whom; for those who see the run. See agno.approvals';

COMMENT ON COLUMN agno.requirements.run_id IS 'the run';

COMMENT ON COLUMN agno.requirements.turn IS 'as in agno.tool_calls';

COMMENT ON COLUMN agno.requirements.call_no IS 'as in agno.tool_calls';

COMMENT ON COLUMN agno.requirements.requirement_id IS
	'unique for all time: the id in agno.runs.requirements. Who is asked again '
	'is asked by another';

COMMENT ON COLUMN agno.requirements.kind IS
	'confirmation, user_input or external_execution';

COMMENT ON COLUMN agno.requirements.approver IS
	'the role whose members decide; null: those who may cancel the run';

COMMENT ON COLUMN agno.requirements.requested_at IS
	'when the model asked for the call, or when somebody was asked again';

COMMENT ON COLUMN agno.requirements.expires_after IS
	'how long a decision is waited for; null: for ever';

COMMENT ON COLUMN agno.requirements.expires_at IS
	'the call is rejected then';

COMMENT ON COLUMN agno.requirements.input_schema IS
	'the JSON schema of the arguments that are to be given';

COMMENT ON COLUMN agno.requirements.preview IS
	'what the call would do: its result, or error, and the rows it changes';

COMMENT ON COLUMN agno.requirements.fingerprint IS
	'of the function: one that replaces it is asked for again';

COMMENT ON COLUMN agno.requirements.decision IS
	'approved, rejected or answered; null: it is waited for';

COMMENT ON COLUMN agno.requirements.note IS 'what was said with it';

COMMENT ON COLUMN agno.requirements.answer IS
	'the arguments that have been given, as JSON, or the result';

COMMENT ON COLUMN agno.requirements.decided_by IS
	'who decided; - if it was rejected since it expired';

COMMENT ON COLUMN agno.requirements.decided_at IS 'and when';

ALTER TABLE agno.requirements ENABLE ROW LEVEL SECURITY;

CREATE POLICY requirements_owner ON agno.requirements FOR SELECT
	USING (EXISTS (SELECT FROM agno.runs r
				   WHERE r.run_id OPERATOR(pg_catalog.=) requirements.run_id));

GRANT SELECT ON agno.requirements TO PUBLIC;

-- A view has the rights of its owner, so it says to whom it shows what.
CREATE VIEW agno.approvals WITH (security_barrier) AS
	SELECT q.run_id,
		   c.tool_call_id,
		   q.kind,
		   c.tool,
		   c.arguments,
		   q.preview,
		   r.agent_id,
		   r.user_id,
		   q.requested_at,
		   q.expires_at,
		   q.input_schema::pg_catalog.jsonb AS input_schema,
		   c.model_call_id,
		   r.session_id,
		   r.owner,
		   q.approver
	FROM agno.requirements q
	JOIN agno.runs r ON r.run_id OPERATOR(pg_catalog.=) q.run_id
	JOIN agno.tool_calls c ON c.run_id OPERATOR(pg_catalog.=) q.run_id
		AND c.turn OPERATOR(pg_catalog.=) q.turn
		AND c.call_no OPERATOR(pg_catalog.=) q.call_no
	WHERE q.decision IS NULL
	  AND r.status OPERATOR(pg_catalog.=) 'PAUSED'::agno.run_status
	  AND c.status OPERATOR(pg_catalog.=) 'paused'
	  AND (q.expires_at IS NULL OR q.expires_at OPERATOR(pg_catalog.>)
								   pg_catalog.clock_timestamp())
	  AND pg_catalog.pg_has_role(COALESCE(q.approver, r.owner)::pg_catalog.oid,
								 'USAGE');

COMMENT ON VIEW agno.approvals IS
	'the calls that the current user may decide about, with agno_approve_call, '
	'agno_reject_call or agno_answer_call';

COMMENT ON COLUMN agno.approvals.run_id IS 'the run that waits';

COMMENT ON COLUMN agno.approvals.tool_call_id IS
	'which call, for agno_approve_call and the others';

COMMENT ON COLUMN agno.approvals.kind IS 'confirmation, user_input or external_execution';

COMMENT ON COLUMN agno.approvals.tool IS 'the tool as the model names it';

COMMENT ON COLUMN agno.approvals.arguments IS 'what the model gave';

COMMENT ON COLUMN agno.approvals.preview IS
	'what the call would do: its result or error, and changes';

COMMENT ON COLUMN agno.approvals.agent_id IS 'the agent of the run';

COMMENT ON COLUMN agno.approvals.user_id IS 'the user of the run';

COMMENT ON COLUMN agno.approvals.requested_at IS 'since when the call has been waiting';

COMMENT ON COLUMN agno.approvals.expires_at IS
	'when it is rejected, if nobody has decided; null: never';

COMMENT ON COLUMN agno.approvals.input_schema IS
	'what agno_answer_call is to give; null: nothing, or any result';

COMMENT ON COLUMN agno.approvals.model_call_id IS 'the model''s id of the call';

COMMENT ON COLUMN agno.approvals.session_id IS 'the session of the run';

COMMENT ON COLUMN agno.approvals.owner IS 'the role of the run';

COMMENT ON COLUMN agno.approvals.approver IS
	'the role whose members decide; null: that of the run';

GRANT SELECT ON agno.approvals TO PUBLIC;

ALTER TABLE agno.tools ENABLE ROW LEVEL SECURITY;

CREATE POLICY tools_owner ON agno.tools
	USING (pg_catalog.pg_has_role(owner::pg_catalog.oid, 'USAGE'))
	WITH CHECK (pg_catalog.pg_has_role(owner::pg_catalog.oid, 'USAGE'));

GRANT SELECT ON agno.tools TO PUBLIC;

COMMENT ON COLUMN agno.run_requests.attempts_before IS
	'those that had been made when the run was requeued last: they do not count';

COMMENT ON COLUMN agno.run_requests.repetitions IS
	'how many requests of the run have been repeated before it was put back';

COMMENT ON COLUMN agno.run_requests.request_hash IS
	'with an idempotency_key: SHA-256 of the arguments of agno_arun but run_id '
	'and run_at; null: not known';

COMMENT ON COLUMN agno.run_requests.tools IS
	'the tools of the agent as they were then';

COMMENT ON COLUMN agno.run_requests.tool_choice IS
	'none, auto, required, or the one tool to call';

COMMENT ON COLUMN agno.run_requests.tool_call_limit IS
	'how many tool calls the run may make; null: agno_bg.tool_call_limit';

COMMENT ON COLUMN agno.run_requests.on_complete IS
	'the signature of the function that is called when the run ends';

COMMENT ON COLUMN agno.run_requests.max_tool_calls_from_history IS
	'how many tool calls of earlier runs are sent along; null: all';

COMMENT ON COLUMN agno.run_requests.depth IS
	'how many runs are above this one: the agents that have called it';

CREATE INDEX run_queue_ready_idx
	ON agno.run_queue (runner, owner, priority DESC, accepted_at)
	WHERE state OPERATOR(pg_catalog.=) 'r'::pg_catalog."char";

CREATE INDEX run_queue_run_at_idx ON agno.run_queue (runner, state, run_at)
	WHERE state OPERATOR(pg_catalog.=) ANY
		('{s,k,t,d,b}'::pg_catalog."char"[]);

CREATE INDEX run_queue_due_idx
	ON agno.run_queue (runner, state, owner, run_at)
	WHERE state OPERATOR(pg_catalog.=) ANY
		('{s,k,t,d}'::pg_catalog."char"[]);

CREATE INDEX run_queue_parked_idx
	ON agno.run_queue (parked_for, owner, priority DESC, accepted_at)
	WHERE state OPERATOR(pg_catalog.=) 'p'::pg_catalog."char";

CREATE INDEX run_queue_late_idx ON agno.run_queue (runner, run_at)
	WHERE state OPERATOR(pg_catalog.=) 'p'::pg_catalog."char" AND continues;

CREATE INDEX run_queue_late_owner_idx
	ON agno.run_queue (runner, owner, run_at)
	WHERE state OPERATOR(pg_catalog.=) 'p'::pg_catalog."char" AND continues;

CREATE INDEX run_queue_waits_idx ON agno.run_queue (parked_for, waits_since)
	WHERE state OPERATOR(pg_catalog.=) 'p'::pg_catalog."char"
	  AND waits_since IS NOT NULL;

CREATE INDEX run_queue_owner_idx ON agno.run_queue (owner);

COMMENT ON COLUMN agno.run_queue.accepted_at IS
	'its place in its session: agno.runs.created_at; 2,000 years earlier if it goes on';

COMMENT ON COLUMN agno.run_queue.state IS
	'r ready (or executing, see claimed), s scheduled (not before run_at), w waits for an earlier run '
	'of its session, k could not be had: its run is locked or not there, and '
	'is looked at again at run_at, p parked until its model server has room, '
	'x executing, t its tools are called, until run_at at the latest, d paused: '
	'somebody is to decide, until run_at if that is not null';

COMMENT ON COLUMN agno.run_queue.priority IS
	'higher first, among the runs of its owner';

COMMENT ON COLUMN agno.run_queue.run_at IS
	'not to be started, or looked at, before; of a run that has begun: when its time is over';

COMMENT ON COLUMN agno.run_queue.parked_for IS
	'the model server, and the user mapping, that a parked run waits for';

COMMENT ON COLUMN agno.run_queue.shard IS
	'a hash of the session, which decides who executes the run';

COMMENT ON COLUMN agno.run_queue.runner IS
	'shard modulo agno_bg.runners: the runner that executes the run';

COMMENT ON COLUMN agno.run_queue.owner IS
	'the owner of the run: owners whose runs wait take turns';

COMMENT ON COLUMN agno.run_queue.looks IS
	'how often in a row the run could not be had';

COMMENT ON COLUMN agno.run_queue.waits_since IS
	'since when the run has been held back, because its model server cannot '
	'be reached';

COMMENT ON COLUMN agno.run_queue.continues IS
	'the run goes on with its attempt when it is started';

COMMENT ON COLUMN agno.run_queue.paused_at IS
	'when the run was paused last: the time until it goes on does not count';

COMMENT ON COLUMN agno.run_queue.parent_run_id IS
	'the run that waits for this one, and is told when it ends or pauses';

COMMENT ON COLUMN agno.run_queue.parent_shard IS 'the shard of that one';

COMMENT ON COLUMN agno.run_queue.claimed IS
	'the run is executing, though its state is still r: no index has to change '
	'for a run that is over in a moment; it becomes x if it is not';

COMMENT ON COLUMN agno.run_queue.cancelled IS
	'the run is to be cancelled as soon as it can be had';

CREATE TABLE agno.queue_check (
	checked_until pg_catalog.timestamptz NOT NULL
);

-- It has no key, and is deleted from where all tables are published.
ALTER TABLE agno.queue_check REPLICA IDENTITY FULL;

COMMENT ON TABLE agno.queue_check IS
	'a runner that starts looks for unfinished runs that are not in the queue; '
	'it need not look at runs that were accepted before this. No row: at all';

COMMENT ON COLUMN agno.queue_check.checked_until IS
	'runs that were accepted before have been looked at';

CREATE INDEX run_signals_owner_idx ON agno.run_signals (owner, run_id);

COMMENT ON TABLE agno.run_signals IS
	'what backends tell the runner about runs; it deletes the rows as it reads '
	'them';

COMMENT ON COLUMN agno.run_signals.shard IS
	'which of agno_bg.runners the signal is for';

COMMENT ON COLUMN agno.run_signals.kind IS
	'c: the run is to be cancelled, or has been; t: its tools have been called; '
	'd: all that it waited for has been decided; '
	'x: the process that called its tool is gone';

CREATE TABLE agno.run_steps (
	run_id pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	turn integer NOT NULL,
	messages pg_catalog.text NOT NULL,
	CONSTRAINT run_steps_pkey PRIMARY KEY (run_id, turn)
);

COMMENT ON TABLE agno.run_steps IS
	'what has been said in a run that has called tools and has not ended well: '
	'a run that was interrupted goes on from there';

COMMENT ON COLUMN agno.run_steps.run_id IS 'the run';

COMMENT ON COLUMN agno.run_steps.turn IS
	'the number, from 1, of the answer with calls at the end of messages';

COMMENT ON COLUMN agno.run_steps.messages IS
	'the messages since the turn before, but for the results of tools, as JSON '
	'that is kept as it came';

CREATE TABLE agno.tool_queue (
	run_id pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	turn integer NOT NULL,
	attempt integer NOT NULL,
	owner pg_catalog.regrole NOT NULL,
	shard smallint NOT NULL,
	queued_at pg_catalog.timestamptz NOT NULL,
	deadline pg_catalog.timestamptz NOT NULL,
	looks smallint NOT NULL DEFAULT 0,
	holder integer,
	tried_call integer NOT NULL DEFAULT 0,
	tries smallint NOT NULL DEFAULT 0,
	CONSTRAINT tool_queue_pkey PRIMARY KEY (run_id, attempt, turn)
);

CREATE INDEX tool_queue_owner_idx ON agno.tool_queue (owner, queued_at);

COMMENT ON TABLE agno.tool_queue IS
	'the turns whose tools are to be called: a runner inserts a row, a tool '
	'worker of the owner has it locked while it calls a tool, and deletes it';

COMMENT ON COLUMN agno.tool_queue.run_id IS 'the run';

COMMENT ON COLUMN agno.tool_queue.turn IS 'the turn of the run';

COMMENT ON COLUMN agno.tool_queue.attempt IS 'the attempt of the run';

COMMENT ON COLUMN agno.tool_queue.owner IS 'the owner of the run';

COMMENT ON COLUMN agno.tool_queue.shard IS
	'a hash of the session, which decides who executes the run';

COMMENT ON COLUMN agno.tool_queue.tried_call IS
	'the number of the call that has been tried, and came to nothing; 0: none';

COMMENT ON COLUMN agno.tool_queue.tries IS 'how often it has been';

COMMENT ON COLUMN agno.tool_queue.queued_at IS 'first come, first served';

COMMENT ON COLUMN agno.tool_queue.looks IS
	'how often the turn was put off';

COMMENT ON COLUMN agno.tool_queue.holder IS
	'the process that has read the turn''s next calls: nobody has made any since';

COMMENT ON COLUMN agno.tool_queue.deadline IS
	'the run must have ended by then';

CREATE TABLE agno.callbacks (
	run_id pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	owner pg_catalog.regrole NOT NULL,
	function pg_catalog.text NOT NULL,
	status agno.run_status NOT NULL,
	shard smallint NOT NULL,
	queued_at pg_catalog.timestamptz NOT NULL,
	tries smallint NOT NULL DEFAULT 0,
	looks smallint NOT NULL DEFAULT 0,
	CONSTRAINT callbacks_pkey PRIMARY KEY (run_id)
);

CREATE INDEX callbacks_owner_idx ON agno.callbacks (owner, queued_at);

COMMENT ON TABLE agno.callbacks IS
	'the runs whose on_complete is to be called: a runner inserts a row when a '
	'run has ended but for its status; a tool worker of the owner sets the '
	'status, calls the function and deletes the row, in one transaction';

COMMENT ON COLUMN agno.callbacks.run_id IS 'the run';

COMMENT ON COLUMN agno.callbacks.owner IS 'the owner of the run';

COMMENT ON COLUMN agno.callbacks.function IS 'the signature of the function';

COMMENT ON COLUMN agno.callbacks.status IS 'the status of the run then';

COMMENT ON COLUMN agno.callbacks.shard IS
	'a hash of the session, which decides who executes the run';

COMMENT ON COLUMN agno.callbacks.queued_at IS 'first come, first served';

COMMENT ON COLUMN agno.callbacks.tries IS
	'how often its transaction came to nothing';

COMMENT ON COLUMN agno.callbacks.looks IS
	'how often in a row the run was locked by somebody else';

-- These tables are nobody's but their owner's, whatever predefined roles such as
-- pg_read_all_data and pg_write_all_data, or default privileges, say.
ALTER TABLE agno.run_requests ENABLE ROW LEVEL SECURITY;

ALTER TABLE agno.run_queue ENABLE ROW LEVEL SECURITY;

ALTER TABLE agno.queue_check ENABLE ROW LEVEL SECURITY;

ALTER TABLE agno.run_signals ENABLE ROW LEVEL SECURITY;

ALTER TABLE agno.run_steps ENABLE ROW LEVEL SECURITY;

ALTER TABLE agno.tool_queue ENABLE ROW LEVEL SECURITY;

ALTER TABLE agno.callbacks ENABLE ROW LEVEL SECURITY;

-- What a logical subscription receives is executed where it comes from. After ENABLE
-- TRIGGER ALL, by which a restore may end, the triggers are ordinary ones.
CREATE OR REPLACE FUNCTION agno.skip_row()
RETURNS pg_catalog.trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF current_setting('session_replication_role') = 'replica' THEN
		RETURN NULL;
	END IF;
	RETURN NEW;
END
$$;

CREATE TRIGGER tool_queue_replica BEFORE INSERT ON agno.tool_queue
	FOR EACH ROW EXECUTE FUNCTION agno.skip_row();

ALTER TABLE agno.tool_queue ENABLE REPLICA TRIGGER tool_queue_replica;

COMMENT ON TRIGGER tool_queue_replica ON agno.tool_queue IS
	'a subscriber calls no tools of what it receives';

CREATE TRIGGER callbacks_replica BEFORE INSERT ON agno.callbacks
	FOR EACH ROW EXECUTE FUNCTION agno.skip_row();

ALTER TABLE agno.callbacks ENABLE REPLICA TRIGGER callbacks_replica;

COMMENT ON TRIGGER callbacks_replica ON agno.callbacks IS
	'a subscriber calls nothing back of what it receives';

SELECT pg_catalog.pg_extension_config_dump('agno.tools', '');

SELECT pg_catalog.pg_extension_config_dump('agno.run_steps', '');

SELECT pg_catalog.pg_extension_config_dump('agno.tool_calls', '');

SELECT pg_catalog.pg_extension_config_dump('agno.tool_queue', '');

SELECT pg_catalog.pg_extension_config_dump('agno.callbacks', '');

SELECT pg_catalog.pg_extension_config_dump('agno.requirements', '');

COMMENT ON FOREIGN DATA WRAPPER agno_bg IS
	'model servers: CREATE SERVER name FOREIGN DATA WRAPPER agno_bg '
	'OPTIONS (api ''openai-responses'', base_url ''https://...'')';

-- As merge_dictionaries() in Agno.
CREATE OR REPLACE FUNCTION agno.merge_json(a pg_catalog.jsonb, b pg_catalog.jsonb)
RETURNS pg_catalog.jsonb
AS 'MODULE_PATHNAME', 'agno_merge_json'
LANGUAGE C IMMUTABLE PARALLEL SAFE;

CREATE OR REPLACE FUNCTION @extschema@.agno_arun(
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
AS 'MODULE_PATHNAME', 'agno_arun'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.agno_arun(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text,
	pg_catalog.jsonb, pg_catalog.jsonb, pg_catalog.jsonb, pg_catalog.jsonb, boolean, integer, pg_catalog.timestamptz, interval,
	integer, pg_catalog.text, pg_catalog.text) IS
	'enqueues a run, which starts when the transaction commits, and returns '
	'its id at once';

-- A string, so that a column which is added to agno.runs is returned as well.
CREATE OR REPLACE FUNCTION @extschema@.agno_get_run_output(
	run_id pg_catalog.text,
	session_id pg_catalog.text DEFAULT NULL)
RETURNS SETOF agno.runs
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
AS $$
	SELECT r.*
	FROM agno.runs r
	WHERE r.run_id OPERATOR(pg_catalog.=) agno_get_run_output.run_id
	  AND (agno_get_run_output.session_id IS NULL
		   OR r.session_id OPERATOR(pg_catalog.=)
			  agno_get_run_output.session_id)
$$;

CREATE FUNCTION @extschema@.agno_requeue_callback(run_id pg_catalog.text)
RETURNS agno.run_ref
AS 'MODULE_PATHNAME', 'agno_requeue_callback'
LANGUAGE C STRICT VOLATILE;

COMMENT ON FUNCTION @extschema@.agno_requeue_callback(pg_catalog.text) IS
	'has on_complete of a run that has ended called again';

CREATE OR REPLACE FUNCTION @extschema@.agno_continue_run(
	run_id pg_catalog.text,
	requirements pg_catalog.jsonb DEFAULT NULL)
RETURNS agno.run_ref
AS 'MODULE_PATHNAME', 'agno_continue_run'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.agno_continue_run(pg_catalog.text, pg_catalog.jsonb) IS
	'decides about calls that a PAUSED run waits for, as Agno''s dicts say; the '
	'run goes on when nothing is waited for any more';

CREATE FUNCTION @extschema@.agno_approve_call(
	run_id pg_catalog.text,
	tool_call_id pg_catalog.text DEFAULT NULL,
	note pg_catalog.text DEFAULT NULL)
RETURNS agno.run_ref
AS 'MODULE_PATHNAME', 'agno_approve_call'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.agno_approve_call(pg_catalog.text, pg_catalog.text, pg_catalog.text) IS
	'lets a call be made that a PAUSED run waits for, or all of them';

CREATE FUNCTION @extschema@.agno_reject_call(
	run_id pg_catalog.text,
	tool_call_id pg_catalog.text DEFAULT NULL,
	note pg_catalog.text DEFAULT NULL)
RETURNS agno.run_ref
AS 'MODULE_PATHNAME', 'agno_reject_call'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.agno_reject_call(pg_catalog.text, pg_catalog.text, pg_catalog.text) IS
	'rejects a call that a PAUSED run waits for, or all of them: the model is '
	'told the note';

CREATE FUNCTION @extschema@.agno_answer_call(
	run_id pg_catalog.text,
	tool_call_id pg_catalog.text,
	answer pg_catalog.jsonb)
RETURNS agno.run_ref
AS 'MODULE_PATHNAME', 'agno_answer_call'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.agno_answer_call(pg_catalog.text, pg_catalog.text, pg_catalog.jsonb) IS
	'gives what a call of a PAUSED run waits for: arguments, as an object, or '
	'its result';

-- What is told of a run that has ended and was not streamed.
CREATE FUNCTION agno.told_events(
	run agno.runs,
	OUT seq bigint,
	OUT event pg_catalog.text,
	OUT data pg_catalog.jsonb,
	OUT at pg_catalog.timestamptz)
RETURNS SETOF pg_catalog.record
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT row_number() OVER (ORDER BY t.n), t.event, t.data, t.at
	FROM (VALUES
		(1, 'RunStarted', run.attempt > 0,
		 jsonb_build_object('model', run.model, 'model_provider', run.model_provider),
		 coalesce(run.started_at, run.created_at)),
		(2, 'RunContent', run.content IS NOT NULL AND run.metrics ? 'total_tokens'
			AND run.status <> 'ERROR',
		 jsonb_build_object('content', run.content, 'content_type', 'str'),
		 run.finished_at),
		(3, 'RunError', run.status = 'ERROR',
		 jsonb_build_object('content', coalesce(run.error ->> 'message', run.content),
			'error_type', run.error ->> 'type'), run.finished_at),
		(4, 'RunCancelled', run.status = 'CANCELLED',
		 jsonb_build_object('reason', 'Run ' || run.run_id || ' was cancelled'),
		 run.finished_at),
		(5, 'RunCompleted', run.status IN ('COMPLETED', 'CANCELLED'),
		 jsonb_build_object('content', CASE WHEN run.content_type = 'dict'
				THEN run.content::jsonb ELSE to_jsonb(run.content) END,
			'content_type', coalesce(run.content_type, 'str'))
		 || jsonb_strip_nulls(jsonb_build_object('reasoning_content',
			run.reasoning_content, 'metrics', run.metrics)), run.finished_at)
	) AS t (n, event, told, data, at)
	WHERE t.told
$$;

COMMENT ON FUNCTION agno.told_events(agno.runs) IS
	'what agno_run_events tells of a run that has ended and was not streamed';

REVOKE ALL ON FUNCTION agno.told_events(agno.runs) FROM PUBLIC;

CREATE OR REPLACE FUNCTION @extschema@.agno_run_events(
	run_id pg_catalog.text,
	after bigint DEFAULT 0)
RETURNS SETOF agno.run_events
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
	SELECT e.*
	FROM agno.run_events e
	WHERE e.run_id OPERATOR(pg_catalog.=) agno_run_events.run_id
	  AND e.seq OPERATOR(pg_catalog.>) COALESCE(agno_run_events.after, 0)
	UNION ALL
	SELECT r.run_id, o.seq, o.event,
		   pg_catalog.jsonb_build_object('event', o.event, 'run_id', r.run_id,
				'session_id', r.session_id, 'created_at',
				pg_catalog.floor(pg_catalog.date_part('epoch', o.at))::bigint)
		   OPERATOR(pg_catalog.||) pg_catalog.jsonb_strip_nulls(
				pg_catalog.jsonb_build_object('agent_id', r.agent_id))
		   OPERATOR(pg_catalog.||) o.data,
		   o.at
	FROM agno.runs r, LATERAL agno.told_events(r) o
	WHERE r.run_id OPERATOR(pg_catalog.=) agno_run_events.run_id
	  AND r.finished_at IS NOT NULL
	  AND o.seq OPERATOR(pg_catalog.>) COALESCE(agno_run_events.after, 0)
	  AND NOT EXISTS (SELECT FROM agno.run_events x
					  WHERE x.run_id OPERATOR(pg_catalog.=)
							agno_run_events.run_id)
	ORDER BY 2
$$;

COMMENT ON FUNCTION @extschema@.agno_run_events(pg_catalog.text, bigint) IS
	'the events of a run after the one of this number; of one that was not '
	'streamed, its start, content and end, once it has ended';

CREATE OR REPLACE PROCEDURE @extschema@.agno_run(
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
AS 'MODULE_PATHNAME', 'agno_run'
LANGUAGE C;

COMMENT ON PROCEDURE @extschema@.agno_run(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text,
	pg_catalog.jsonb, pg_catalog.jsonb, pg_catalog.jsonb, pg_catalog.jsonb, boolean, integer, pg_catalog.timestamptz, interval,
	integer, pg_catalog.text, pg_catalog.text, agno.run_status, pg_catalog.text) IS
	'enqueues a run, commits, waits for its end and shows the answer';

CREATE FUNCTION @extschema@.agno_describe_tool(tool pg_catalog.text)
RETURNS pg_catalog.jsonb
AS 'MODULE_PATHNAME', 'agno_describe_tool'
LANGUAGE C STRICT STABLE;

COMMENT ON FUNCTION @extschema@.agno_describe_tool(pg_catalog.text) IS
	'what a model is told of a tool: its name, description and parameters';

REVOKE ALL ON FUNCTION @extschema@.agno_describe_tool(pg_catalog.text) FROM PUBLIC;

CREATE FUNCTION @extschema@.agno_call_tool(
	tool pg_catalog.text,
	arguments pg_catalog.jsonb DEFAULT '{}',
	user_id pg_catalog.text DEFAULT NULL)
RETURNS pg_catalog.text
AS 'MODULE_PATHNAME', 'agno_call_tool'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.agno_call_tool(pg_catalog.text, pg_catalog.jsonb, pg_catalog.text) IS
	'does what a model''s call of the tool would do, as the caller, and returns '
	'what the model would be shown';

REVOKE ALL ON FUNCTION @extschema@.agno_call_tool(pg_catalog.text, pg_catalog.jsonb, pg_catalog.text) FROM PUBLIC;

CREATE FUNCTION @extschema@.agno_session_state()
RETURNS pg_catalog.jsonb
AS 'MODULE_PATHNAME', 'agno_session_state'
LANGUAGE C STABLE;

COMMENT ON FUNCTION @extschema@.agno_session_state() IS
	'within a tool: the state of the session of the run that calls it';

REVOKE ALL ON FUNCTION @extschema@.agno_session_state() FROM PUBLIC;

CREATE FUNCTION @extschema@.agno_update_session_state(patch pg_catalog.jsonb)
RETURNS pg_catalog.jsonb
AS 'MODULE_PATHNAME', 'agno_update_session_state'
LANGUAGE C STRICT VOLATILE;

COMMENT ON FUNCTION @extschema@.agno_update_session_state(pg_catalog.jsonb) IS
	'within a tool: merges an object into the state of the session, with the '
	'call, and returns the state';

REVOKE ALL ON FUNCTION @extschema@.agno_update_session_state(pg_catalog.jsonb) FROM PUBLIC;

-- After SQLTools of Agno. What they show is what the caller may see.
CREATE FUNCTION agno.list_tables()
RETURNS TABLE ("table" pg_catalog.text, kind pg_catalog.text, comment pg_catalog.text)
LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT pg_catalog.format('%I.%I', n.nspname, c.relname),
		   CASE WHEN c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['v', 'm']::pg_catalog."char"[])
				THEN 'view' ELSE 'table' END,
		   pg_catalog.obj_description(c.oid, 'pg_class')
	FROM pg_catalog.pg_class c
	JOIN pg_catalog.pg_namespace n
	  ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
	WHERE c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p', 'v', 'm', 'f']::pg_catalog."char"[])
	  AND NOT c.relispartition
	  AND n.nspname OPERATOR(pg_catalog.<>) ALL
		  (ARRAY['pg_catalog', 'information_schema', 'agno']::pg_catalog.name[])
	  AND n.nspname OPERATOR(pg_catalog.!~) '^pg_(toast|temp)'
	  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
	  AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT')
	ORDER BY 1;
END;

COMMENT ON FUNCTION agno.list_tables() IS
	'Lists the tables and views of the database that can be read.';

REVOKE ALL ON FUNCTION agno.list_tables() FROM PUBLIC;

CREATE FUNCTION agno.describe_table(name pg_catalog.text)
RETURNS TABLE ("column" pg_catalog.text, type pg_catalog.text, nullable boolean, "default" pg_catalog.text, comment pg_catalog.text)
LANGUAGE plpgsql STABLE
AS $$
DECLARE
	relation pg_catalog.oid := pg_catalog.to_regclass(name);
BEGIN
	IF relation IS NULL OR
	   NOT pg_catalog.has_any_column_privilege(relation, 'SELECT') THEN
		RAISE EXCEPTION 'table "%" does not exist, or cannot be read', name
			USING ERRCODE = 'undefined_table',
				  HINT = 'list_tables shows those that can be read.';
	END IF;
	RETURN QUERY
	SELECT a.attname::pg_catalog.text,
		   pg_catalog.format_type(a.atttypid, a.atttypmod),
		   NOT a.attnotnull,
		   pg_catalog.pg_get_expr(d.adbin, d.adrelid),
		   pg_catalog.col_description(a.attrelid, a.attnum)
	FROM pg_catalog.pg_attribute a
	LEFT JOIN pg_catalog.pg_attrdef d
		ON d.adrelid OPERATOR(pg_catalog.=) a.attrelid
		AND d.adnum OPERATOR(pg_catalog.=) a.attnum
	WHERE a.attrelid OPERATOR(pg_catalog.=) relation
	  AND a.attnum OPERATOR(pg_catalog.>) 0
	  AND NOT a.attisdropped
	ORDER BY a.attnum;
END
$$;

COMMENT ON FUNCTION agno.describe_table(pg_catalog.text) IS
	'Describes the columns of a table or view.
Args:
    name: the name of the table, as list_tables gives it';

REVOKE ALL ON FUNCTION agno.describe_table(pg_catalog.text) FROM PUBLIC;

CREATE FUNCTION agno.run_sql_query(
	query pg_catalog.text,
	max_rows integer DEFAULT 100)
RETURNS SETOF pg_catalog.json
AS 'MODULE_PATHNAME', 'agno_run_sql_query'
LANGUAGE C STABLE;

COMMENT ON FUNCTION agno.run_sql_query(pg_catalog.text, integer) IS
	'Runs one SQL query of PostgreSQL that reads, and returns its rows.
Args:
    query: one SELECT statement
    max_rows: how many rows to return at most';

REVOKE ALL ON FUNCTION agno.run_sql_query(pg_catalog.text, integer) FROM PUBLIC;

COMMENT ON COLUMN agno.agno_runs.run_id IS 'the run';

COMMENT ON COLUMN agno.agno_runs.session_id IS 'its session';

COMMENT ON COLUMN agno.agno_runs.run_type IS 'agent, always';

COMMENT ON COLUMN agno.agno_runs.agent_id IS 'its agent';

COMMENT ON COLUMN agno.agno_runs.team_id IS 'null, always';

COMMENT ON COLUMN agno.agno_runs.workflow_id IS 'null, always';

COMMENT ON COLUMN agno.agno_runs.user_id IS 'its user';

COMMENT ON COLUMN agno.agno_runs.parent_run_id IS
	'the run that called its agent as a tool';

COMMENT ON COLUMN agno.agno_runs.status IS 'of the run';

COMMENT ON COLUMN agno.agno_runs.run_index IS
	'microseconds since 1970, by which Agno orders the runs of a session';

COMMENT ON COLUMN agno.agno_runs.run_data IS
	'the run as RunOutput.to_dict() of Agno gives it';

COMMENT ON COLUMN agno.agno_runs.created_at IS 'seconds since 1970';

COMMENT ON COLUMN agno.agno_runs.updated_at IS
	'seconds since 1970: the end, or else the start';

CREATE OR REPLACE VIEW agno.agno_sessions WITH (security_barrier) AS
	SELECT s.session_id,
		   'agent'::pg_catalog.text AS session_type,
		   s.agent_id,
		   NULL::pg_catalog.text AS team_id,
		   NULL::pg_catalog.text AS workflow_id,
		   s.user_id,
		   pg_catalog.jsonb_build_object('session_state',
				COALESCE(s.session_state, '{}'))
			   OPERATOR(pg_catalog.||)
			   CASE WHEN s.session_metrics IS NULL THEN '{}'::pg_catalog.jsonb
			   ELSE pg_catalog.jsonb_build_object('session_metrics',
												  s.session_metrics) END
			   AS session_data,
		   (SELECT pg_catalog.jsonb_strip_nulls(
						pg_catalog.jsonb_build_object(
							'name', q.agent OPERATOR(pg_catalog.->>) 'name',
							'agent_id', s.agent_id,
							'model', pg_catalog.jsonb_build_object(
								'id', r.model, 'name', r.model_provider,
								'provider', r.model_provider)))
			FROM agno.runs r
			LEFT JOIN agno.run_requests q
				ON q.run_id OPERATOR(pg_catalog.=) r.run_id
			WHERE r.session_id OPERATOR(pg_catalog.=) s.session_id
			  AND r.owner OPERATOR(pg_catalog.=) s.owner
			ORDER BY r.created_at DESC LIMIT 1) AS agent_data,
		   NULL::pg_catalog.jsonb AS team_data,
		   NULL::pg_catalog.jsonb AS workflow_data,
		   s.metadata,
		   (SELECT pg_catalog.jsonb_agg(
						agno.run_data(r,
							q.agent OPERATOR(pg_catalog.->>) 'name')
						ORDER BY r.created_at, r.run_id)
			FROM agno.runs r
			LEFT JOIN agno.run_requests q
				ON q.run_id OPERATOR(pg_catalog.=) r.run_id
			WHERE r.session_id OPERATOR(pg_catalog.=) s.session_id
			  AND r.owner OPERATOR(pg_catalog.=) s.owner) AS runs,
		   NULL::pg_catalog.jsonb AS summary,
		   pg_catalog.floor(pg_catalog.date_part('epoch',
												 s.created_at))::bigint
			   AS created_at,
		   pg_catalog.floor(pg_catalog.date_part('epoch',
												 s.updated_at))::bigint
			   AS updated_at
	FROM agno.sessions s, (SELECT) AS read_only	-- nor can a superuser write to it
	WHERE pg_catalog.pg_has_role(s.owner::pg_catalog.oid, 'USAGE');

COMMENT ON COLUMN agno.agno_sessions.session_id IS 'the session';

COMMENT ON COLUMN agno.agno_sessions.session_type IS 'agent, always';

COMMENT ON COLUMN agno.agno_sessions.agent_id IS 'the agent of its first run';

COMMENT ON COLUMN agno.agno_sessions.team_id IS 'null, always';

COMMENT ON COLUMN agno.agno_sessions.workflow_id IS 'null, always';

COMMENT ON COLUMN agno.agno_sessions.user_id IS 'its user';

COMMENT ON COLUMN agno.agno_sessions.session_data IS
	'session_state, and session_metrics if there are some';

COMMENT ON COLUMN agno.agno_sessions.agent_data IS
	'the agent and the model of its last run';

COMMENT ON COLUMN agno.agno_sessions.team_data IS 'null, always';

COMMENT ON COLUMN agno.agno_sessions.workflow_data IS 'null, always';

COMMENT ON COLUMN agno.agno_sessions.metadata IS 'of the session';

COMMENT ON COLUMN agno.agno_sessions.runs IS 'its runs, as run_data of agno.agno_runs';

COMMENT ON COLUMN agno.agno_sessions.summary IS 'null, always';

COMMENT ON COLUMN agno.agno_sessions.created_at IS 'seconds since 1970';

COMMENT ON COLUMN agno.agno_sessions.updated_at IS 'seconds since 1970';

CREATE OR REPLACE FUNCTION agno.list_workers(
	OUT database pg_catalog.oid,
	OUT pid integer,
	OUT state pg_catalog.text,
	OUT in_flight bigint,
	OUT claimed bigint,
	OUT completed bigint,
	OUT failed bigint,
	OUT cancelled bigint,
	OUT retried bigint,
	OUT since pg_catalog.timestamptz,
	OUT kind pg_catalog.text,
	OUT role pg_catalog.oid)
RETURNS SETOF pg_catalog.record
AS 'MODULE_PATHNAME', 'agno_list_workers'
LANGUAGE C STRICT VOLATILE;

COMMENT ON FUNCTION agno.list_workers() IS 'what agno.workers shows';

REVOKE ALL ON FUNCTION agno.list_workers() FROM PUBLIC;

GRANT EXECUTE ON FUNCTION agno.list_workers() TO pg_monitor;

CREATE OR REPLACE VIEW agno.workers AS
	SELECT d.datname AS database, w.pid, w.state, w.in_flight, w.claimed,
		   w.completed, w.failed, w.cancelled, w.retried, w.since, w.kind,
		   r.rolname AS role
	FROM agno.list_workers() w
	JOIN pg_catalog.pg_database d ON d.oid OPERATOR(pg_catalog.=) w.database
	LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) w.role;

COMMENT ON VIEW agno.workers IS
	'the runners and tool workers of all databases of the server, and what each '
	'has done since it started: a runner with runs, a tool worker with calls';

COMMENT ON COLUMN agno.workers.database IS 'which it serves';

COMMENT ON COLUMN agno.workers.pid IS 'of the process; null: there is none';

COMMENT ON COLUMN agno.workers.state IS
	'a runner: running, starting, wanted (there is no process to be had) or held '
	'(by a command or a restore); a tool worker: starting, idle or busy';

COMMENT ON COLUMN agno.workers.in_flight IS 'runs in flight, or calls being made';

COMMENT ON COLUMN agno.workers.claimed IS
	'runs, or calls, that it has taken since it started';

COMMENT ON COLUMN agno.workers.completed IS 'those that have completed';

COMMENT ON COLUMN agno.workers.failed IS 'those that have failed';

COMMENT ON COLUMN agno.workers.cancelled IS 'those that were cancelled';

COMMENT ON COLUMN agno.workers.retried IS 'requests that it has repeated';

COMMENT ON COLUMN agno.workers.since IS 'when the process started';

COMMENT ON COLUMN agno.workers.kind IS 'runner or tool worker';

COMMENT ON COLUMN agno.workers.role IS 'whose tools a tool worker calls';

GRANT SELECT ON agno.workers TO pg_monitor;

-- A run counts for the hour in which it ended, or else was accepted.
CREATE OR REPLACE VIEW agno.stats WITH (security_barrier) AS
	SELECT r.model_provider,
		   r.model,
		   pg_catalog.date_trunc('hour', COALESCE(r.finished_at, r.created_at))
			   AS hour,
		   r.status,
		   pg_catalog.count(*) AS runs,
		   pg_catalog.max(pg_catalog.clock_timestamp()
						  OPERATOR(pg_catalog.-)
						  GREATEST(r.created_at, r.run_at))
			   FILTER (WHERE r.status OPERATOR(pg_catalog.=)
							 'PENDING'::agno.run_status
					   AND (r.run_at IS NULL
							OR r.run_at OPERATOR(pg_catalog.<=)
							   pg_catalog.clock_timestamp()))
			   AS oldest_pending,
		   COALESCE(pg_catalog.sum((r.metrics OPERATOR(pg_catalog.->>)
				'input_tokens')::numeric), 0) AS input_tokens,
		   COALESCE(pg_catalog.sum((r.metrics OPERATOR(pg_catalog.->>)
				'output_tokens')::numeric), 0) AS output_tokens,
		   COALESCE(pg_catalog.sum((r.metrics OPERATOR(pg_catalog.->>)
				'total_tokens')::numeric), 0) AS total_tokens,
		   pg_catalog.count(*) FILTER (WHERE 
				r.error OPERATOR(pg_catalog.?) 'on_complete'
				OR r.error OPERATOR(pg_catalog.->>) 'type'
				   OPERATOR(pg_catalog.=) 'on_complete')
			   AS callback_errors
	FROM agno.runs r
	WHERE pg_catalog.pg_has_role(r.owner::pg_catalog.oid, 'USAGE')
	   OR pg_catalog.pg_has_role('pg_monitor', 'USAGE')
	GROUP BY 1, 2, 3, 4;

COMMENT ON VIEW agno.stats IS
	'how many runs there are of each status, and what they cost, by model and '
	'hour: the caller''s, or all for members of pg_monitor; reads all runs';

COMMENT ON COLUMN agno.stats.model_provider IS 'the model server';

COMMENT ON COLUMN agno.stats.model IS 'the model';

COMMENT ON COLUMN agno.stats.hour IS 'in which the runs ended, or else were accepted';

COMMENT ON COLUMN agno.stats.status IS 'of the runs';

COMMENT ON COLUMN agno.stats.runs IS 'how many there are';

COMMENT ON COLUMN agno.stats.oldest_pending IS
	'for how long the oldest that is PENDING has been accepted, or its run_at '
	'been past, whatever it waits for';

COMMENT ON COLUMN agno.stats.input_tokens IS 'what they have cost, with their children';

COMMENT ON COLUMN agno.stats.output_tokens IS 'as input_tokens';

COMMENT ON COLUMN agno.stats.total_tokens IS 'as input_tokens';

COMMENT ON COLUMN agno.stats.callback_errors IS 'those whose on_complete has failed';

GRANT SELECT ON agno.stats TO PUBLIC;

CREATE FUNCTION agno.run_tree(run_id pg_catalog.text)
RETURNS TABLE (
	depth integer,
	run_id pg_catalog.text,
	parent_run_id pg_catalog.text,
	agent_id pg_catalog.text,
	status agno.run_status,
	input_tokens bigint,
	output_tokens bigint,
	total_tokens bigint,
	started_at pg_catalog.timestamptz,
	finished_at pg_catalog.timestamptz,
	duration interval)
LANGUAGE sql STABLE
BEGIN ATOMIC
	WITH RECURSIVE family AS (
		SELECT 0 AS depth, ARRAY[r.run_id] AS path, r.run_id FROM agno.runs r
		WHERE r.run_id OPERATOR(pg_catalog.=) run_tree.run_id
		UNION ALL
		SELECT f.depth OPERATOR(pg_catalog.+) 1,
			   f.path OPERATOR(pg_catalog.||) k.run_id, k.run_id
		FROM family f
		JOIN agno.runs k ON k.parent_run_id OPERATOR(pg_catalog.=) f.run_id
		WHERE k.run_id OPERATOR(pg_catalog.<>) ALL (f.path))
	SELECT f.depth, r.run_id, r.parent_run_id, r.agent_id, r.status,
		   o.input_tokens, o.output_tokens, o.total_tokens,
		   r.started_at, r.finished_at,
		   COALESCE(r.finished_at, pg_catalog.clock_timestamp())
			   OPERATOR(pg_catalog.-) r.started_at
	FROM family f
	JOIN agno.runs r ON r.run_id OPERATOR(pg_catalog.=) f.run_id
	CROSS JOIN LATERAL (
		-- Those that it has been told of; null: all of them.
		SELECT CASE WHEN r.status OPERATOR(pg_catalog.<>)
						 'COMPLETED'::agno.run_status
					 AND EXISTS (SELECT FROM agno.tool_calls c
						WHERE c.run_id OPERATOR(pg_catalog.=) r.run_id
						  AND c.child_metrics IS NOT NULL)
					THEN pg_catalog.jsonb_path_query_array(
						COALESCE(r.tools, '[]'::pg_catalog.jsonb),
						'$[*] ? (@.tool_call_error != null).child_run_id'::pg_catalog.jsonpath)
					END OFFSET 0)
		AS told (children)
	CROSS JOIN LATERAL (
		SELECT COALESCE((r.metrics OPERATOR(pg_catalog.->>) 'input_tokens')::bigint, 0)
				   OPERATOR(pg_catalog.-) COALESCE(pg_catalog.sum(
					   (c.child_metrics OPERATOR(pg_catalog.->>) 'input_tokens')::bigint), 0)::bigint,
			   COALESCE((r.metrics OPERATOR(pg_catalog.->>) 'output_tokens')::bigint, 0)
				   OPERATOR(pg_catalog.-) COALESCE(pg_catalog.sum(
					   (c.child_metrics OPERATOR(pg_catalog.->>) 'output_tokens')::bigint), 0)::bigint,
			   COALESCE((r.metrics OPERATOR(pg_catalog.->>) 'total_tokens')::bigint, 0)
				   OPERATOR(pg_catalog.-) COALESCE(pg_catalog.sum(
					   (c.child_metrics OPERATOR(pg_catalog.->>) 'total_tokens')::bigint), 0)::bigint
		FROM agno.tool_calls c
		WHERE c.run_id OPERATOR(pg_catalog.=) r.run_id
		  AND c.status OPERATOR(pg_catalog.=) ANY ('{completed,error}'::pg_catalog.text[])
		  AND (told.children IS NULL
			   OR told.children OPERATOR(pg_catalog.?) c.child_run_id)
		  AND r.metrics IS NOT NULL)
		AS o (input_tokens, output_tokens, total_tokens)
	ORDER BY f.path;
END;

COMMENT ON FUNCTION agno.run_tree(pg_catalog.text) IS
	'a run and those that it has enqueued, directly or not, each with what it '
	'has cost itself: as far as the caller sees them';

-- What the models' tokens cost, if somebody says so.
CREATE TABLE agno.prices (
	model_provider pg_catalog.text NOT NULL,
	model pg_catalog.text NOT NULL,
	input numeric NOT NULL,
	cached_input numeric,
	output numeric NOT NULL,
	CONSTRAINT prices_pkey PRIMARY KEY (model_provider, model),
	CONSTRAINT prices_check CHECK
		(input OPERATOR(pg_catalog.>=) 0::numeric
		 AND cached_input OPERATOR(pg_catalog.>=) 0::numeric
		 AND output OPERATOR(pg_catalog.>=) 0::numeric)
);

COMMENT ON TABLE agno.prices IS
	'what a million tokens of a model cost, in a currency of your choice; filled '
	'with INSERT and UPDATE, read by agno.run_metrics and agno.top';

COMMENT ON COLUMN agno.prices.model_provider IS
	'the model server, as in agno.runs';

COMMENT ON COLUMN agno.prices.model IS 'the model, as in agno.runs';

COMMENT ON COLUMN agno.prices.input IS 'of a million tokens that are sent';

COMMENT ON COLUMN agno.prices.cached_input IS
	'of those that the server has in its cache; null: as others';

COMMENT ON COLUMN agno.prices.output IS 'of a million tokens that are generated';

SELECT pg_catalog.pg_extension_config_dump('agno.prices', '');

-- Figures, and nothing of what was said. The tokens of children are in the metrics of
-- their parents, unless these ended before: here each run has its own, as in
-- agno.run_tree.
CREATE VIEW agno.run_metrics WITH (security_barrier) AS
	SELECT r.run_id,
		   r.session_id,
		   r.parent_run_id,
		   r.agent_id,
		   r.user_id,
		   r.owner,
		   r.model_provider,
		   r.model,
		   r.status,
		   CASE WHEN r.status OPERATOR(pg_catalog.=) 'ERROR'::agno.run_status
				THEN r.error OPERATOR(pg_catalog.->>) 'type' END AS error_type,
		   r.attempt,
		   r.created_at,
		   r.started_at,
		   r.finished_at,
		   r.started_at OPERATOR(pg_catalog.-)
		   GREATEST(r.created_at, r.run_at) AS waited,
		   r.finished_at OPERATOR(pg_catalog.-) r.started_at AS took,
		   (r.metrics OPERATOR(pg_catalog.->>) 'time_to_first_token')::double precision
			   AS time_to_first_token,
		   t.input_tokens,
		   t.cache_read_tokens,
		   t.output_tokens,
		   (((t.input_tokens OPERATOR(pg_catalog.-) t.cache_read_tokens)
				OPERATOR(pg_catalog.*) p.input)
			OPERATOR(pg_catalog.+) (t.cache_read_tokens
				OPERATOR(pg_catalog.*) COALESCE(p.cached_input, p.input))
			OPERATOR(pg_catalog.+) (t.output_tokens
				OPERATOR(pg_catalog.*) p.output))
		   OPERATOR(pg_catalog./) 1000000::numeric AS cost
	FROM agno.runs r
	LEFT JOIN agno.prices p
		ON p.model_provider OPERATOR(pg_catalog.=) r.model_provider
		AND p.model OPERATOR(pg_catalog.=) r.model
	CROSS JOIN LATERAL (
		-- Those that it has been told of; null: all of them.
		SELECT CASE WHEN r.status OPERATOR(pg_catalog.<>)
						 'COMPLETED'::agno.run_status
					 AND EXISTS (SELECT FROM agno.tool_calls c
						WHERE c.run_id OPERATOR(pg_catalog.=) r.run_id
						  AND c.child_metrics IS NOT NULL)
					THEN pg_catalog.jsonb_path_query_array(
						COALESCE(r.tools, '[]'::pg_catalog.jsonb),
						'$[*] ? (@.tool_call_error != null).child_run_id'::pg_catalog.jsonpath)
					END OFFSET 0)
		AS told (children)
	CROSS JOIN LATERAL (
		SELECT pg_catalog.sum((c.child_metrics OPERATOR(pg_catalog.->>) 'input_tokens')::bigint),
			   pg_catalog.sum((c.child_metrics OPERATOR(pg_catalog.->>) 'cache_read_tokens')::bigint),
			   pg_catalog.sum((c.child_metrics OPERATOR(pg_catalog.->>) 'output_tokens')::bigint)
		FROM agno.tool_calls c
		WHERE r.tools IS NOT NULL
		  AND c.run_id OPERATOR(pg_catalog.=) r.run_id
		  AND c.status OPERATOR(pg_catalog.=) ANY ('{completed,error}'::pg_catalog.text[])
		  AND (told.children IS NULL
			   OR told.children OPERATOR(pg_catalog.?) c.child_run_id)
		) AS k (input, cached, output)
	CROSS JOIN LATERAL (
		SELECT (r.metrics OPERATOR(pg_catalog.->>) 'input_tokens')::numeric
				   OPERATOR(pg_catalog.-) COALESCE(k.input, 0::numeric),
			   (r.metrics OPERATOR(pg_catalog.->>) 'cache_read_tokens')::numeric
				   OPERATOR(pg_catalog.-) COALESCE(k.cached, 0::numeric),
			   (r.metrics OPERATOR(pg_catalog.->>) 'output_tokens')::numeric
				   OPERATOR(pg_catalog.-) COALESCE(k.output, 0::numeric)
		) AS t (input_tokens, cache_read_tokens, output_tokens)
	WHERE pg_catalog.pg_has_role(r.owner::pg_catalog.oid, 'USAGE')
	   OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');

COMMENT ON VIEW agno.run_metrics IS
	'what each run took and cost, without what was said: the caller''s runs, or '
	'all for members of pg_monitor';

COMMENT ON COLUMN agno.run_metrics.run_id IS 'the run';

COMMENT ON COLUMN agno.run_metrics.session_id IS 'its session';

COMMENT ON COLUMN agno.run_metrics.parent_run_id IS
	'the run that called its agent as a tool';

COMMENT ON COLUMN agno.run_metrics.agent_id IS 'its agent';

COMMENT ON COLUMN agno.run_metrics.user_id IS 'its user';

COMMENT ON COLUMN agno.run_metrics.owner IS 'its role';

COMMENT ON COLUMN agno.run_metrics.model_provider IS 'the model server';

COMMENT ON COLUMN agno.run_metrics.model IS 'the model';

COMMENT ON COLUMN agno.run_metrics.status IS 'of the run';

COMMENT ON COLUMN agno.run_metrics.error_type IS 'what kind of error, if that is ERROR';

COMMENT ON COLUMN agno.run_metrics.attempt IS 'how many attempts there have been';

COMMENT ON COLUMN agno.run_metrics.created_at IS 'when it was accepted';

COMMENT ON COLUMN agno.run_metrics.started_at IS
	'when the attempt that counts began, later by the time that people took to '
	'decide';

COMMENT ON COLUMN agno.run_metrics.finished_at IS 'when it ended';

COMMENT ON COLUMN agno.run_metrics.waited IS
	'from created_at, or its run_at, to started_at';

COMMENT ON COLUMN agno.run_metrics.took IS 'from started_at to the end';

COMMENT ON COLUMN agno.run_metrics.time_to_first_token IS 'in seconds';

COMMENT ON COLUMN agno.run_metrics.input_tokens IS
	'of the run itself, without its children';

COMMENT ON COLUMN agno.run_metrics.cache_read_tokens IS
	'those of input_tokens that the server had in its cache';

COMMENT ON COLUMN agno.run_metrics.output_tokens IS
	'of the run itself, without its children';

COMMENT ON COLUMN agno.run_metrics.cost IS
	'by agno.prices; null: it has no row for the model';

GRANT SELECT ON agno.run_metrics TO PUBLIC;

-- To be looked at again and again: it reads the runs that have not ended, and
-- those that were accepted within a day.
CREATE VIEW agno.top WITH (security_barrier) AS
	WITH unfinished AS (
		SELECT r.model_provider AS server,
			   r.agent_id,
			   CASE WHEN q.state OPERATOR(pg_catalog.=) ANY ('{x,t,b}'::pg_catalog."char"[])
					  OR (q.state OPERATOR(pg_catalog.=) 'r'::pg_catalog."char"
						  AND q.claimed)
					THEN 'running'
					WHEN q.state OPERATOR(pg_catalog.=) 'd'::pg_catalog."char"
					THEN 'paused' ELSE 'waiting' END AS stands,
			   CASE WHEN q.state OPERATOR(pg_catalog.=) 's'::pg_catalog."char"
					THEN 'its time'
					WHEN q.state OPERATOR(pg_catalog.=) 'w'::pg_catalog."char"
					THEN 'an earlier run of its session'
					WHEN q.state OPERATOR(pg_catalog.=) 'k'::pg_catalog."char"
					THEN 'a lock on it'
					WHEN q.state OPERATOR(pg_catalog.=) 'p'::pg_catalog."char"
						 AND q.waits_since IS NULL
					THEN 'a limit of the server'
					WHEN q.state OPERATOR(pg_catalog.=) 'p'::pg_catalog."char"
					THEN 'the server, which cannot be reached'
					WHEN q.state OPERATOR(pg_catalog.=) 't'::pg_catalog."char"
						 AND EXISTS (
							SELECT FROM agno.tool_queue t
							WHERE t.run_id OPERATOR(pg_catalog.=) q.run_id
							  -- Who calls the tool has the row locked.
							  AND NOT (t.xmax OPERATOR(pg_catalog.=) ANY (
								SELECT l.transactionid FROM pg_catalog.pg_locks l
								WHERE l.locktype OPERATOR(pg_catalog.=)
									  'transactionid')))
					THEN 'a tool worker'
					WHEN q.state OPERATOR(pg_catalog.<>) 'r'::pg_catalog."char"
						 OR q.claimed
					THEN NULL
					WHEN pg_catalog.current_setting('agno_bg.paused')::boolean
					THEN 'agno_bg.paused'
					WHEN NOT pg_catalog.current_setting('agno_bg.has_runner')::boolean
					THEN 'a runner process'
					ELSE 'its turn'
			   END AS why,
			   -- Who goes on has a place that is 2,000 years earlier.
			   GREATEST(CASE WHEN q.accepted_at OPERATOR(pg_catalog.<) 'epoch'
							 THEN q.accepted_at OPERATOR(pg_catalog.+)
								  '17520000 hours'::interval
							 ELSE q.accepted_at END, r.run_at) AS since
		FROM agno.run_queue q
		JOIN agno.runs r ON r.run_id OPERATOR(pg_catalog.=) q.run_id
		WHERE r.finished_at IS NULL
		  AND (pg_catalog.pg_has_role(r.owner::pg_catalog.oid, 'USAGE')
			   OR pg_catalog.pg_has_role('pg_monitor', 'USAGE'))
	), reasons AS (
		SELECT u.server, u.agent_id, u.stands, u.why,
			   pg_catalog.count(*) AS runs,
			   pg_catalog.min(u.since)
				   FILTER (WHERE u.why OPERATOR(pg_catalog.<>) ALL
						   ('{its time,an earlier run of its session}'::pg_catalog.text[]))
				   AS since
		FROM unfinished u
		GROUP BY 1, 2, 3, 4
	), present AS (
		SELECT w.server, w.agent_id,
			   pg_catalog.sum(w.runs) FILTER (WHERE w.stands OPERATOR(pg_catalog.=) 'running') AS running,
			   pg_catalog.sum(w.runs) FILTER (WHERE w.stands OPERATOR(pg_catalog.=) 'waiting') AS waiting,
			   pg_catalog.sum(w.runs) FILTER (WHERE w.stands OPERATOR(pg_catalog.=) 'paused') AS paused,
			   pg_catalog.string_agg(pg_catalog.format('%s (%s)', w.why, w.runs), ', '
									 ORDER BY w.runs DESC, w.why)
				   FILTER (WHERE w.why IS NOT NULL) AS waiting_for,
			   pg_catalog.min(w.since) FILTER (WHERE w.stands OPERATOR(pg_catalog.=) 'waiting') AS since
		FROM reasons w
		GROUP BY 1, 2
	), past AS (
		SELECT m.model_provider AS server, m.agent_id,
			   pg_catalog.count(*) AS ended,
			   pg_catalog.count(*) FILTER (WHERE m.finished_at OPERATOR(pg_catalog.>)
				   (pg_catalog.statement_timestamp() OPERATOR(pg_catalog.-) '1 min'::interval))
				   AS per_minute,
			   pg_catalog.count(*) FILTER (WHERE m.status OPERATOR(pg_catalog.=)
				   'ERROR'::agno.run_status) AS errors,
			   pg_catalog.mode() WITHIN GROUP (ORDER BY m.error_type) AS error_type,
			   pg_catalog.percentile_cont('{0.5,0.95}'::double precision[]) WITHIN GROUP
				   (ORDER BY pg_catalog.date_part('epoch', m.took))
				   FILTER (WHERE m.status OPERATOR(pg_catalog.=)
						   'COMPLETED'::agno.run_status) AS took,
			   pg_catalog.sum(m.input_tokens) AS input_tokens,
			   pg_catalog.sum(m.output_tokens) AS output_tokens,
			   pg_catalog.sum(m.cost) AS cost
		FROM agno.run_metrics m
		WHERE m.finished_at OPERATOR(pg_catalog.>)
			  (pg_catalog.statement_timestamp() OPERATOR(pg_catalog.-) '1 hour'::interval)
		  AND m.created_at OPERATOR(pg_catalog.>)
			  (pg_catalog.statement_timestamp() OPERATOR(pg_catalog.-) '1 day'::interval)
		GROUP BY 1, 2
	)
	SELECT b.server,
		   b.agent_id,
		   COALESCE(pg_catalog.max(b.running), 0::numeric)::bigint AS running,
		   COALESCE(pg_catalog.max(b.waiting), 0::numeric)::bigint AS waiting,
		   pg_catalog.max(b.waiting_for) AS waiting_for,
		   pg_catalog.date_trunc('second', pg_catalog.clock_timestamp()
			   OPERATOR(pg_catalog.-) pg_catalog.max(b.since)) AS oldest,
		   COALESCE(pg_catalog.max(b.paused), 0::numeric)::bigint AS paused,
		   COALESCE(pg_catalog.max(b.per_minute), 0::bigint) AS per_minute,
		   COALESCE(pg_catalog.max(b.ended), 0::bigint) AS ended,
		   COALESCE(pg_catalog.max(b.errors), 0::bigint) AS errors,
		   pg_catalog.max(b.error_type) AS error_type,
		   pg_catalog.round(pg_catalog.max(b.took[1])::numeric, 3) AS p50,
		   pg_catalog.round(pg_catalog.max(b.took[2])::numeric, 3) AS p95,
		   pg_catalog.max(b.input_tokens) AS input_tokens,
		   pg_catalog.max(b.output_tokens) AS output_tokens,
		   pg_catalog.round(pg_catalog.max(b.cost), 6) AS cost
	FROM (SELECT n.server, n.agent_id, n.running, n.waiting, n.waiting_for,
				 n.since, n.paused, NULL::bigint AS ended, NULL::bigint AS per_minute,
				 NULL::bigint AS errors, NULL::pg_catalog.text AS error_type,
				 NULL::double precision[] AS took, NULL::numeric AS input_tokens,
				 NULL::numeric AS output_tokens, NULL::numeric AS cost
		  FROM present n
		  UNION ALL
		  SELECT h.server, h.agent_id, NULL, NULL, NULL, NULL, NULL, h.ended,
				 h.per_minute, h.errors, h.error_type, h.took, h.input_tokens,
				 h.output_tokens, h.cost
		  FROM past h) b
	GROUP BY 1, 2
	ORDER BY 3 DESC, 4 DESC, 9 DESC, 1, 2;

COMMENT ON VIEW agno.top IS
	'for psql''s \watch: by model server and agent, what is running, what is waiting '
	'and for what, and what came of the runs that ended within the hour: the '
	'caller''s runs, or all for members of pg_monitor';

COMMENT ON COLUMN agno.top.server IS 'the model server';

COMMENT ON COLUMN agno.top.agent_id IS 'the agent; null: runs without one';

COMMENT ON COLUMN agno.top.running IS 'runs that are sent, call tools or are called back';

COMMENT ON COLUMN agno.top.waiting IS 'runs that are PENDING';

COMMENT ON COLUMN agno.top.waiting_for IS 'what for, and how many';

COMMENT ON COLUMN agno.top.oldest IS
	'for how long the oldest has been waiting since it was accepted, requeued or '
	'its run_at; not what waits for its time, or for an earlier run of its '
	'session';

COMMENT ON COLUMN agno.top.paused IS 'runs about which somebody is to decide';

COMMENT ON COLUMN agno.top.per_minute IS 'runs that ended in the last minute';

COMMENT ON COLUMN agno.top.ended IS 'runs that ended in the last hour';

COMMENT ON COLUMN agno.top.errors IS 'those that are ERROR';

COMMENT ON COLUMN agno.top.error_type IS 'the most frequent type of these';

COMMENT ON COLUMN agno.top.p50 IS
	'seconds from start to end, of those that are COMPLETED: the median';

COMMENT ON COLUMN agno.top.p95 IS 'as p50: 95 of 100 took no longer';

COMMENT ON COLUMN agno.top.input_tokens IS
	'of the last hour, without children counted twice';

COMMENT ON COLUMN agno.top.output_tokens IS 'as input_tokens';

COMMENT ON COLUMN agno.top.cost IS 'as input_tokens, by agno.prices';

GRANT SELECT ON agno.top TO PUBLIC;

CREATE FUNCTION @extschema@.agno_slot(id pg_catalog.text)
RETURNS integer
AS 'MODULE_PATHNAME', 'agno_slot'
LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE;

COMMENT ON FUNCTION @extschema@.agno_slot(pg_catalog.text) IS
	'the slot, from 0 to 65535, of a run or a session by its id, as far as that '
	'tells it: the last 16 bits of one that was generated, of any other the first '
	'16 of the SHA-256 of what stands before its first slash';

REVOKE ALL ON FUNCTION @extschema@.agno_slot(pg_catalog.text) FROM PUBLIC;

CREATE FUNCTION agno.new_id(slot integer)
RETURNS pg_catalog.text
AS 'MODULE_PATHNAME', 'agno_new_id'
LANGUAGE C STRICT VOLATILE PARALLEL SAFE;

COMMENT ON FUNCTION agno.new_id(integer) IS
	'a new id for a session, or for a run of a session, of this slot';

REVOKE ALL ON FUNCTION agno.new_id(integer) FROM PUBLIC;

-- A router inserts through postgres_fdw, in a transaction that ends with its own.
CREATE VIEW agno.enqueue WITH (security_invoker) AS
	SELECT NULL::pg_catalog.text AS input,
		   NULL::pg_catalog.text AS agent_id,
		   NULL::pg_catalog.text AS session_id,
		   NULL::pg_catalog.text AS run_id,
		   NULL::pg_catalog.text AS user_id,
		   NULL::pg_catalog.text AS model,
		   NULL::pg_catalog.jsonb AS output_schema,
		   NULL::pg_catalog.jsonb AS session_state,
		   NULL::pg_catalog.jsonb AS metadata,
		   NULL::pg_catalog.jsonb AS model_options,
		   NULL::boolean AS stream,
		   NULL::integer AS priority,
		   NULL::pg_catalog.timestamptz AS run_at,
		   NULL::interval AS timeout,
		   NULL::integer AS max_attempts,
		   NULL::pg_catalog.text AS idempotency_key,
		   NULL::pg_catalog.text AS on_complete,
		   NULL::agno.run_status AS status,
		   NULL::integer AS slot
	WHERE false;

COMMENT ON VIEW agno.enqueue IS
	'to INSERT into, which is to call agno_arun for each row; always empty. '
	'RETURNING gives run_id, session_id and status. slot is that of a session '
	'that is generated, where neither run_id nor idempotency_key says it';

COMMENT ON COLUMN agno.enqueue.input IS 'argument input of agno_arun';

COMMENT ON COLUMN agno.enqueue.agent_id IS 'argument agent_id of agno_arun';

COMMENT ON COLUMN agno.enqueue.session_id IS 'argument session_id of agno_arun';

COMMENT ON COLUMN agno.enqueue.run_id IS 'argument run_id of agno_arun';

COMMENT ON COLUMN agno.enqueue.user_id IS 'argument user_id of agno_arun';

COMMENT ON COLUMN agno.enqueue.model IS 'argument model of agno_arun';

COMMENT ON COLUMN agno.enqueue.output_schema IS 'argument output_schema of agno_arun';

COMMENT ON COLUMN agno.enqueue.session_state IS 'argument session_state of agno_arun';

COMMENT ON COLUMN agno.enqueue.metadata IS 'argument metadata of agno_arun';

COMMENT ON COLUMN agno.enqueue.model_options IS 'argument model_options of agno_arun';

COMMENT ON COLUMN agno.enqueue.stream IS 'argument stream of agno_arun';

COMMENT ON COLUMN agno.enqueue.priority IS 'argument priority of agno_arun';

COMMENT ON COLUMN agno.enqueue.run_at IS 'argument run_at of agno_arun';

COMMENT ON COLUMN agno.enqueue.timeout IS 'argument timeout of agno_arun';

COMMENT ON COLUMN agno.enqueue.max_attempts IS 'argument max_attempts of agno_arun';

COMMENT ON COLUMN agno.enqueue.idempotency_key IS 'argument idempotency_key of agno_arun';

COMMENT ON COLUMN agno.enqueue.on_complete IS 'argument on_complete of agno_arun';

COMMENT ON COLUMN agno.enqueue.status IS 'what agno_arun has returned';

COMMENT ON COLUMN agno.enqueue.slot IS
	'that of a session that is generated, where nothing else says it';

CREATE FUNCTION agno.enqueue_row()
RETURNS pg_catalog.trigger
LANGUAGE plpgsql
AS $$
DECLARE
	accepted agno.run_ref;
BEGIN
	IF NEW.slot IS NOT NULL
	   AND COALESCE(NEW.session_id, NEW.run_id, NEW.idempotency_key) IS NULL THEN
		NEW.session_id := agno.new_id(NEW.slot);
	END IF;
	accepted := @extschema@.agno_arun(NEW.input, NEW.agent_id, NEW.session_id,
		NEW.run_id, NEW.user_id, NEW.model, NEW.output_schema,
		NEW.session_state, NEW.metadata, NEW.model_options, NEW.stream,
		NEW.priority, NEW.run_at, NEW.timeout, NEW.max_attempts,
		NEW.idempotency_key, NEW.on_complete);
	NEW.run_id := accepted.run_id;
	NEW.session_id := accepted.session_id;
	NEW.status := accepted.status;
	RETURN NEW;
END
$$;

COMMENT ON FUNCTION agno.enqueue_row() IS
	'calls agno_arun, as who inserts into agno.enqueue';

REVOKE ALL ON FUNCTION agno.enqueue_row() FROM PUBLIC;

CREATE TRIGGER enqueue INSTEAD OF INSERT ON agno.enqueue
	FOR EACH ROW EXECUTE FUNCTION agno.enqueue_row();

COMMENT ON TRIGGER enqueue ON agno.enqueue IS 'calls agno_arun';

-- The tables of a router are partitioned by node, so it can leave out one that
-- cannot be reached; each row says what its partition is.
CREATE VIEW agno.node_runs WITH (security_invoker) AS
	SELECT pg_catalog.current_setting('agno_bg.node') AS node, x.*
	FROM agno.runs x;

CREATE VIEW agno.node_sessions WITH (security_invoker) AS
	SELECT pg_catalog.current_setting('agno_bg.node') AS node, x.*
	FROM agno.sessions x;

CREATE VIEW agno.node_run_events WITH (security_invoker) AS
	SELECT pg_catalog.current_setting('agno_bg.node') AS node, x.*
	FROM agno.run_events x;

CREATE VIEW agno.node_tool_calls WITH (security_invoker) AS
	SELECT pg_catalog.current_setting('agno_bg.node') AS node, x.*
	FROM agno.tool_calls x;

CREATE VIEW agno.node_approvals WITH (security_invoker) AS
	SELECT pg_catalog.current_setting('agno_bg.node') AS node, x.*
	FROM agno.approvals x;

CREATE VIEW agno.node_stats WITH (security_invoker) AS
	SELECT pg_catalog.current_setting('agno_bg.node') AS node, x.*
	FROM agno.stats x;

CREATE VIEW agno.node_workers WITH (security_invoker) AS
	SELECT pg_catalog.current_setting('agno_bg.node') AS node, x.*
	FROM agno.workers x;

COMMENT ON VIEW agno.node_runs IS 'agno.runs, as a router reads it';

COMMENT ON VIEW agno.node_sessions IS 'agno.sessions, as a router reads it';

COMMENT ON VIEW agno.node_run_events IS 'agno.run_events, as a router reads it';

COMMENT ON VIEW agno.node_tool_calls IS 'agno.tool_calls, as a router reads it';

COMMENT ON VIEW agno.node_approvals IS 'agno.approvals, as a router reads it';

COMMENT ON VIEW agno.node_stats IS 'agno.stats, as a router reads it';

COMMENT ON VIEW agno.node_workers IS 'agno.workers, as a router reads it';

GRANT SELECT ON agno.node_runs, agno.node_sessions, agno.node_run_events,
	agno.node_tool_calls, agno.node_approvals, agno.node_stats TO PUBLIC;

GRANT SELECT ON agno.node_workers TO pg_monitor;

-- A publication of this name may be somebody else's, who would have superusers of
-- other servers apply what he publishes.
CREATE FUNCTION agno.publishes_agents()
RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	publication pg_publication;
BEGIN
	SELECT p.* INTO publication FROM pg_publication p
	WHERE p.pubname = 'agno_router';
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	IF publication.puballtables
	   OR NOT EXISTS (SELECT FROM pg_roles o
					  WHERE o.oid = publication.pubowner AND o.rolsuper)
	   OR EXISTS (SELECT FROM pg_publication_namespace n
				  WHERE n.pnpubid = publication.oid)
	   OR (SELECT array_agg(t.prrelid ORDER BY t.prrelid)
		   FROM pg_publication_rel t WHERE t.prpubid = publication.oid)
		  IS DISTINCT FROM
		  (SELECT array_agg(c.oid::oid ORDER BY c.oid::oid)
		   FROM unnest('{agno.agents,agno.tools}'::regclass[]) AS c (oid)) THEN
		RAISE EXCEPTION 'publication "agno_router" is not that of agno_bg'
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  DETAIL = 'It belongs to a superuser, and has agno.agents and '
						   'agno.tools only.',
				  HINT = 'Find out who has created it, and drop it.';
	END IF;
	RETURN true;
END
$$;

COMMENT ON FUNCTION agno.publishes_agents() IS
	'whether other servers receive the agents and tools of this one';

REVOKE ALL ON FUNCTION agno.publishes_agents() FROM PUBLIC;

-- Nothing that users have defined is to be executed by who deletes or receives rows.
CREATE FUNCTION agno.refuse_references()
RETURNS pg_catalog.void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	referring regclass;
BEGIN
	-- in the way of new foreign keys, not of rows
	LOCK TABLE agno.agents, agno.tools, agno.sessions, agno.runs, agno.run_requests,
		agno.run_events, agno.tool_calls, agno.requirements, agno.run_steps
		IN SHARE UPDATE EXCLUSIVE MODE;
	SELECT c.conrelid::regclass INTO referring
	FROM pg_constraint c
	JOIN pg_class r ON r.oid = c.confrelid
	JOIN pg_class t ON t.oid = c.conrelid
	JOIN pg_roles o ON o.oid = t.relowner
	WHERE c.contype = 'f' AND r.relnamespace = 'agno'::regnamespace
	  AND NOT o.rolsuper
	LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'table % refers to tables of agno_bg, and is not owned by a superuser',
			referring
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  DETAIL = 'What its owner has defined would be executed as you.',
				  HINT = 'Drop its foreign key, or have a superuser own the table.';
	END IF;
	SET CONSTRAINTS ALL IMMEDIATE;
END
$$;

COMMENT ON FUNCTION agno.refuse_references() IS
	'raises an error if a table of an ordinary role refers to those of agno_bg';

REVOKE ALL ON FUNCTION agno.refuse_references() FROM PUBLIC;

-- Rows of its own would be in the way of those that it receives, for ever.
CREATE FUNCTION agno.refuse_follower()
RETURNS pg_catalog.trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- no query: the snapshot may be older than the subscription
	BEGIN
		PERFORM pg_get_object_address('subscription', '{agno_router}', '{}');
	EXCEPTION WHEN undefined_object THEN
		RETURN NULL;
	END;
	RAISE EXCEPTION 'agents and tools are written on the first node'
		USING ERRCODE = 'object_not_in_prerequisite_state',
			  DETAIL = 'This server receives them from there.',
			  HINT = 'Write them on a router.';
END
$$;

COMMENT ON FUNCTION agno.refuse_follower() IS
	'refuses rows on a server that receives them from another one';

REVOKE ALL ON FUNCTION agno.refuse_follower() FROM PUBLIC;

CREATE TRIGGER agents_follower BEFORE INSERT OR UPDATE OR DELETE ON agno.agents
	FOR EACH STATEMENT EXECUTE FUNCTION agno.refuse_follower();

COMMENT ON TRIGGER agents_follower ON agno.agents IS
	'refuses rows on a server that receives them from another one';

CREATE TRIGGER tools_follower BEFORE INSERT OR UPDATE OR DELETE ON agno.tools
	FOR EACH STATEMENT EXECUTE FUNCTION agno.refuse_follower();

COMMENT ON TRIGGER tools_follower ON agno.tools IS
	'refuses rows on a server that receives them from another one';

CREATE FUNCTION agno.node_status(
	OUT version pg_catalog.text,
	OUT cluster boolean,
	OUT slots pg_catalog.text,
	OUT standby boolean,
	OUT sessions boolean,
	OUT unfinished bigint,
	OUT agents pg_catalog.text,
	OUT digest pg_catalog.text,
	OUT problem pg_catalog.text)
RETURNS pg_catalog.record
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET intervalstyle = 'postgres'
AS $$
DECLARE
	-- what is text in no encoding cannot be converted
	coding name := CASE getdatabaseencoding()
				   WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END;
	publishes boolean := false;
BEGIN
	SELECT x.extversion INTO version FROM pg_extension x
	WHERE x.extname = 'agno_bg';
	cluster := current_setting('agno_bg.cluster');
	slots := current_setting('agno_bg.slots');
	standby := pg_is_in_recovery();
	sessions := EXISTS (SELECT FROM agno.sessions);
	SELECT count(*) INTO unfinished FROM agno.run_queue;
	SELECT encode(sha256(coalesce(string_agg(x.hash, '' ORDER BY x.kind, x.name), '')), 'hex')
		INTO digest
	FROM (SELECT 1 AS kind, a.agent_id AS name,
			sha256(convert_to(format('%s %s', a.agent_id,
									 extract(epoch FROM a.updated_at)), coding)) AS hash
		  FROM agno.agents a
		  UNION ALL SELECT 2, t.tool, sha256(convert_to(t::text, coding))
		  FROM agno.tools t) x;
	BEGIN
		publishes := agno.publishes_agents();
	EXCEPTION WHEN object_not_in_prerequisite_state THEN
		problem := SQLERRM;
	END;
	IF publishes THEN
		SELECT 'lost replication slots: ' || string_agg(s.slot_name, ', ')
			INTO problem
		FROM pg_replication_slots s
		WHERE s.slot_name ^@ 'agno_' AND s.database = current_database()
		  AND s.wal_status = 'lost';
	END IF;
	agents := CASE
		WHEN publishes THEN 'publisher'
		WHEN EXISTS (SELECT FROM pg_subscription s
					 JOIN pg_stat_subscription p ON p.subid = s.oid
					 WHERE s.subname = 'agno_router'
					   AND s.subdbid = (SELECT d.oid FROM pg_database d
										WHERE d.datname = current_database())
					   AND s.subslotname = 'agno_' || current_setting('agno_bg.node')
					   AND p.pid IS NOT NULL AND p.relid IS NULL
					   -- other processes copy the tables: an error of each may pass
					   AND NOT EXISTS (
						SELECT FROM pg_subscription_rel r
						JOIN pg_stat_subscription_stats e ON e.subid = r.srsubid
						WHERE r.srsubid = s.oid AND r.srsubstate <> 'r'
						  AND e.sync_error_count > 2))
			THEN 'subscriber'
		ELSE 'none' END;
	IF agents = 'subscriber'
	   AND EXISTS (SELECT FROM pg_subscription_rel r
				   WHERE r.srrelid IN ('agno.agents'::regclass,
									   'agno.tools'::regclass)
					 AND r.srsubstate IN ('i', 'd')) THEN
		problem := concat_ws('; ', problem,
			'agents and tools are not copied yet; transactions open on the first '
			'node are waited for');
	END IF;
END
$$;

COMMENT ON FUNCTION agno.node_status() IS
	'what agno_router_status shows of this server; digest is the same on servers that '
	'have the same agents and tools';

REVOKE ALL ON FUNCTION agno.node_status() FROM PUBLIC;

GRANT EXECUTE ON FUNCTION agno.node_status() TO pg_monitor;

-- The row would belong to whichever role has that number on another server.
CREATE FUNCTION agno.refuse_dropped_roles()
RETURNS pg_catalog.void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	named text;
BEGIN
	SELECT x.named INTO named
	FROM (SELECT format('owner of agent "%s"', a.agent_id), a.owner
		  FROM agno.agents a
		  UNION ALL
		  SELECT format('owner of tool "%s"', t.tool), t.owner FROM agno.tools t
		  UNION ALL
		  SELECT format('approver of tool "%s"', t.tool), t.approver
		  FROM agno.tools t) x (named, role)
	WHERE x.role <> 0 AND NOT EXISTS (SELECT FROM pg_roles o WHERE o.oid = x.role)
	LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'the % has been dropped', named
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  DETAIL = 'Other servers cannot be told who that was.',
				  HINT = 'Give it to a role that exists, or delete it.';
	END IF;
END
$$;

COMMENT ON FUNCTION agno.refuse_dropped_roles() IS
	'raises an error if an agent or a tool refers to a role that is no more';

REVOKE ALL ON FUNCTION agno.refuse_dropped_roles() FROM PUBLIC;

-- What is decoded from the beginning of a slot on knows no publication that has been
-- committed later, so that has a call of its own.
CREATE FUNCTION agno.publish_agents(slot pg_catalog.text DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '30s'
AS $$
DECLARE
	published boolean;
	probe constant text := 'agno_probe_' || pg_backend_pid();
	present pg_replication_slots;
	until constant timestamptz := clock_timestamp() + '10 s';
BEGIN
	IF current_setting('wal_level') <> 'logical' THEN
		RAISE EXCEPTION 'wal_level must be logical'
			USING ERRCODE = 'object_not_in_prerequisite_state';
	END IF;
	PERFORM agno.refuse_dropped_roles();
	published := agno.publishes_agents();
	IF slot IS NOT NULL AND NOT published THEN
		RAISE EXCEPTION 'publication "agno_router" does not exist'
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  HINT = 'SELECT agno.publish_agents(); creates it, in a '
						 'transaction of its own.';
	END IF;
	LOOP
		SELECT s.* INTO present FROM pg_replication_slots s
		WHERE s.slot_name = slot;
		IF FOUND AND present.database IS DISTINCT FROM current_database() THEN
			RAISE EXCEPTION 'replication slot "%" is not of this database', slot
				USING ERRCODE = 'duplicate_object',
					  HINT = 'Give the node another name, or drop the slot if '
							 'nobody needs it.';
		END IF;
		EXIT WHEN present.active IS NOT TRUE;
		-- who has just been told to follow no more takes a moment
		IF clock_timestamp() > until THEN
			RAISE EXCEPTION 'replication slot "%" is used by another server', slot
				USING ERRCODE = 'object_in_use',
					  DETAIL = format('Process %s sends it agents and tools.',
									  present.active_pid),
					  HINT = 'Give the node another name. If its server is gone, '
							 'call again after wal_sender_timeout.';
		END IF;
		PERFORM pg_sleep(0.1);
	END LOOP;
	-- One that waits may have lost what it was to send.
	IF NOT present.active THEN
		PERFORM pg_drop_replication_slot(slot);
	END IF;
	BEGIN
		-- where this fails, it is to fail while who follows still does
		PERFORM pg_create_logical_replication_slot(COALESCE(slot, probe),
												   'pgoutput', slot IS NULL);
	EXCEPTION WHEN lock_not_available THEN
		RAISE EXCEPTION '%', SQLERRM
			USING ERRCODE = 'lock_not_available',
				  DETAIL = 'Transactions of any database that have written are '
						   'open, or prepared.',
				  HINT = 'pg_stat_activity (backend_xid) and pg_prepared_xacts '
						 'tell which; end them, and call again.';
	END;
	IF slot IS NULL THEN
		PERFORM pg_drop_replication_slot(probe);
	END IF;
	IF NOT published THEN
		CREATE PUBLICATION agno_router FOR TABLE agno.agents, agno.tools;
	END IF;
	RETURN true;
END
$$;

COMMENT ON FUNCTION agno.publish_agents(pg_catalog.text) IS
	'lets another server, which does not follow yet or not any more, receive the '
	'agents and tools of this one, by this replication slot, which is made anew; '
	'without a slot, prepares that, which has to be committed before, and fails if '
	'a slot could not be made';

REVOKE ALL ON FUNCTION agno.publish_agents(pg_catalog.text) FROM PUBLIC;

CREATE FUNCTION agno.unfollow_agents()
RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET client_min_messages = 'warning'
SET lock_timeout = '30s'
AS $$
BEGIN
	-- Rows of open transactions are waited for: they would be in the way for ever.
	-- Before the subscription is locked: who writes rows looks for that.
	BEGIN
		LOCK TABLE agno.agents, agno.tools IN SHARE ROW EXCLUSIVE MODE;
	EXCEPTION WHEN lock_not_available THEN
		RAISE EXCEPTION '%', SQLERRM
			USING ERRCODE = 'lock_not_available',
				  DETAIL = 'Open or prepared transactions use agno.agents or '
						   'agno.tools.',
				  HINT = 'pg_locks and pg_prepared_xacts tell which; end them, and '
						 'call again.';
	END;
	-- A server that was made of another one has what that had, and leaves it to it.
	IF EXISTS (SELECT FROM pg_subscription s WHERE s.subname = 'agno_router'
			   AND s.subdbid = (SELECT d.oid FROM pg_database d
								WHERE d.datname = current_database())) THEN
		ALTER SUBSCRIPTION agno_router DISABLE;
		ALTER SUBSCRIPTION agno_router SET (slot_name = NONE);
	END IF;
	RETURN true;
END
$$;

COMMENT ON FUNCTION agno.unfollow_agents() IS
	'has this server receive no agents and tools any more; those that it has stay, '
	'and are not to be written until DROP SUBSCRIPTION agno_router';

REVOKE ALL ON FUNCTION agno.unfollow_agents() FROM PUBLIC;

CREATE FUNCTION agno.follow_agents(publisher pg_catalog.text,
	slot pg_catalog.text)
RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET client_min_messages = 'warning'
SET lock_timeout = '30s'
AS $$
DECLARE
	used text;
	state text;
	message text;
	more text;
	advice text;
BEGIN
	IF current_setting('transaction_isolation')
	   NOT IN ('read committed', 'read uncommitted') THEN
		RAISE EXCEPTION 'the transaction must be READ COMMITTED'
			USING ERRCODE = 'active_sql_transaction',
				  DETAIL = 'Rows that it does not see would stay.',
				  HINT = 'Look at default_transaction_isolation.';
	END IF;
	-- A copy of a server that hands out agents has the publication, and no slots.
	SELECT s.slot_name INTO used FROM pg_replication_slots s
	WHERE s.database = current_database()
	  AND (s.slot_name = slot
		   OR s.slot_name ^@ 'agno_'
			  AND EXISTS (SELECT FROM pg_publication p
						  WHERE p.pubname = 'agno_router'))
	LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'this server hands out agents and tools itself'
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  DETAIL = format('It has replication slot "%s".', used),
				  HINT = 'Have the others follow another server before, and drop '
						 'the slot.';
	END IF;
	PERFORM agno.refuse_references();
	PERFORM agno.unfollow_agents();
	DROP SUBSCRIPTION IF EXISTS agno_router;
	DROP PUBLICATION IF EXISTS agno_router;
	DELETE FROM agno.agents;
	DELETE FROM agno.tools;

	-- An error would have the statement in its context, with a password.
	BEGIN
		EXECUTE format('CREATE SUBSCRIPTION agno_router CONNECTION %L '
					   'PUBLICATION agno_router '
					   'WITH (create_slot = false, slot_name = %L, '
					   'synchronous_commit = ''on'')',
					   publisher, slot);
	EXCEPTION WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE,
			message = MESSAGE_TEXT, more = PG_EXCEPTION_DETAIL,
			advice = PG_EXCEPTION_HINT;
	END;
	IF state IS NOT NULL THEN
		RAISE EXCEPTION '%', message
			USING ERRCODE = state, DETAIL = more, HINT = advice;
	END IF;
	RETURN true;
END
$$;

COMMENT ON FUNCTION agno.follow_agents(pg_catalog.text, pg_catalog.text) IS
	'has this server receive the agents and tools of another, by this replication '
	'slot, instead of those that it has';

REVOKE ALL ON FUNCTION agno.follow_agents(pg_catalog.text, pg_catalog.text) FROM PUBLIC;

CREATE FUNCTION agno.keep_slots(first_slot integer, last_slot integer)
RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	relation text;
	deleted bigint;
BEGIN
	IF current_setting('agno_bg.paused') <> 'on'
	   OR current_setting('agno_bg.max_tool_workers') <> '0' THEN
		RAISE EXCEPTION 'runs are being executed'
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  HINT = 'Set agno_bg.paused to on and agno_bg.max_tool_workers '
						 'to 0, and reload.';
	END IF;
	IF format('%s-%s', first_slot, last_slot)
	   IS DISTINCT FROM current_setting('agno_bg.slots') THEN
		RAISE EXCEPTION 'agno_bg.slots is %', current_setting('agno_bg.slots')
			USING ERRCODE = 'invalid_parameter_value',
				  DETAIL = 'Sessions of all other slots would be deleted.',
				  HINT = 'Set it to what the server is to keep, and reload.';
	END IF;
	PERFORM agno.refuse_references();
	CREATE TEMPORARY TABLE agno_gone ON COMMIT DROP AS
		SELECT r.run_id FROM agno.runs r
		WHERE @extschema@.agno_slot(r.session_id)
			  NOT BETWEEN keep_slots.first_slot AND keep_slots.last_slot;
	FOREACH relation IN ARRAY '{run_queue,tool_queue,callbacks,run_signals,
		run_steps,requirements,tool_calls,run_events,run_requests,runs}'::text[]
	LOOP
		EXECUTE format('DELETE FROM agno.%I x USING pg_temp.agno_gone g '
					   'WHERE x.run_id = g.run_id', relation);
		GET DIAGNOSTICS deleted = ROW_COUNT;
	END LOOP;
	DELETE FROM agno.sessions s
	WHERE @extschema@.agno_slot(s.session_id)
		  NOT BETWEEN keep_slots.first_slot AND keep_slots.last_slot;
	DROP TABLE pg_temp.agno_gone;
	RETURN deleted;
END
$$;

COMMENT ON FUNCTION agno.keep_slots(integer, integer) IS
	'for a server that was made of another one, or had another made of it: deletes '
	'sessions of other slots with all their runs, and returns how many those were. '
	'Executed while no runs are';

REVOKE ALL ON FUNCTION agno.keep_slots(integer, integer) FROM PUBLIC;

-- The functions that agno_grant_usage hands out.
CREATE OR REPLACE FUNCTION agno.usage_routines()
RETURNS SETOF pg_catalog.regprocedure
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
		  'agno_wait_run', 'agno_run', 'agno_run_events',
		  'agno_requeue_run', 'agno_requeue_callback', 'agno_continue_run',
		  'agno_approve_call',
		  'agno_reject_call', 'agno_answer_call',
		  'agno_run_output_dict', 'agno_describe_tool', 'agno_call_tool',
		  'agno_session_state', 'agno_update_session_state',
		  'agno_slot', 'new_id',
		  'list_tables', 'describe_table', 'run_sql_query', 'run_tree',
		  -- what the checks of agno.agents and the views of Agno call
		  'check_model', 'check_output_schema', 'check_time_zone', 'run_data',
		  'agno_metrics', 'told_events'
		  ]::pg_catalog.name[]);
END;

CREATE OR REPLACE FUNCTION @extschema@.agno_grant_usage(role pg_catalog.name)
RETURNS pg_catalog.void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	routine regprocedure;
	place regnamespace := (SELECT x.extnamespace FROM pg_extension x
						   WHERE x.extname = 'agno_bg');
BEGIN
	FOR routine IN SELECT * FROM agno.usage_routines() LOOP
		EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %I', routine, role);
	END LOOP;
	EXECUTE format('GRANT INSERT, UPDATE, DELETE ON agno.agents, agno.tools '
				   'TO %I', role);
	EXECUTE format('GRANT SELECT, INSERT ON agno.enqueue TO %I', role);
	-- That is not ours, and may have more in it.
	IF NOT has_schema_privilege(role, place, 'USAGE') THEN
		RAISE WARNING 'role "%" has no USAGE on schema %, where the functions are',
			role, place
			USING ERRCODE = '01007',
				  HINT = format('GRANT USAGE ON SCHEMA %s TO %I', place, role);
	END IF;
END
$$;

CREATE OR REPLACE FUNCTION @extschema@.agno_revoke_usage(role pg_catalog.name)
RETURNS pg_catalog.void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	routine regprocedure;
BEGIN
	FOR routine IN SELECT * FROM agno.usage_routines() LOOP
		EXECUTE format('REVOKE EXECUTE ON ROUTINE %s FROM %I', routine, role);
	END LOOP;
	EXECUTE format('REVOKE INSERT, UPDATE, DELETE ON agno.agents, agno.tools '
				   'FROM %I', role);
	EXECUTE format('REVOKE SELECT, INSERT ON agno.enqueue FROM %I', role);
END
$$;

-- Nothing is for PUBLIC but one's own rows.
REVOKE ALL ON FUNCTION @extschema@.agno_arun(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text,
	pg_catalog.text, pg_catalog.jsonb, pg_catalog.jsonb, pg_catalog.jsonb, pg_catalog.jsonb, boolean, integer, pg_catalog.timestamptz, interval,
	integer, pg_catalog.text, pg_catalog.text) FROM PUBLIC;

REVOKE ALL ON FUNCTION @extschema@.agno_requeue_callback(pg_catalog.text) FROM PUBLIC;

REVOKE ALL ON FUNCTION @extschema@.agno_approve_call(pg_catalog.text, pg_catalog.text, pg_catalog.text)
	FROM PUBLIC;

REVOKE ALL ON FUNCTION @extschema@.agno_reject_call(pg_catalog.text, pg_catalog.text, pg_catalog.text)
	FROM PUBLIC;

REVOKE ALL ON FUNCTION @extschema@.agno_answer_call(pg_catalog.text, pg_catalog.text, pg_catalog.jsonb)
	FROM PUBLIC;

REVOKE ALL ON PROCEDURE @extschema@.agno_run(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text,
	pg_catalog.text, pg_catalog.jsonb, pg_catalog.jsonb, pg_catalog.jsonb, pg_catalog.jsonb, boolean, integer, pg_catalog.timestamptz, interval,
	integer, pg_catalog.text, pg_catalog.text, agno.run_status, pg_catalog.text) FROM PUBLIC;

REVOKE ALL ON FUNCTION agno.run_tree(pg_catalog.text) FROM PUBLIC;

-- Nor is what would be rights of the owner of the tables - to have triggers there, or
-- foreign keys to them, functions of the names of ours, or to write through views - for
-- roles to whom default privileges give it.
DO $$
DECLARE
	given record;
BEGIN
	FOR given IN
		SELECT c.oid::pg_catalog.regclass AS relation,
			   CASE WHEN a.grantee OPERATOR(pg_catalog.=) 0::pg_catalog.oid
					THEN 'PUBLIC'
					ELSE a.grantee::pg_catalog.regrole::pg_catalog.text
			   END AS role,
			   pg_catalog.string_agg(DISTINCT a.privilege_type, ', ') AS privileges
		FROM pg_catalog.pg_extension x
		JOIN pg_catalog.pg_depend d
		  ON d.refclassid OPERATOR(pg_catalog.=)
			 'pg_catalog.pg_extension'::pg_catalog.regclass
		 AND d.refobjid OPERATOR(pg_catalog.=) x.oid
		 AND d.classid OPERATOR(pg_catalog.=)
			 'pg_catalog.pg_class'::pg_catalog.regclass
		JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) d.objid
		 AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,v}'::pg_catalog."char"[])
		CROSS JOIN pg_catalog.aclexplode(c.relacl) a
		WHERE x.extname OPERATOR(pg_catalog.=) 'agno_bg'
		  AND a.grantee OPERATOR(pg_catalog.<>) c.relowner
		  AND a.privilege_type OPERATOR(pg_catalog.<>) ALL (
			  CASE WHEN c.relkind OPERATOR(pg_catalog.=) 'v'::pg_catalog."char"
						AND c.relname OPERATOR(pg_catalog.<>) 'enqueue'
				   THEN '{SELECT}'::pg_catalog.text[]
				   ELSE '{SELECT,INSERT,UPDATE,DELETE}'::pg_catalog.text[] END)
		GROUP BY c.oid, a.grantee
	LOOP
		EXECUTE pg_catalog.format('REVOKE %s ON %s FROM %s CASCADE',
								  given.privileges, given.relation, given.role);
	END LOOP;
	FOR given IN
		SELECT DISTINCT a.grantee::pg_catalog.regrole::pg_catalog.text AS role
		FROM pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) a
		WHERE n.nspname OPERATOR(pg_catalog.=) 'agno'
		  AND a.grantee OPERATOR(pg_catalog.<>) ALL
			  (ARRAY[0::pg_catalog.oid, n.nspowner])
	LOOP
		EXECUTE pg_catalog.format('REVOKE CREATE ON SCHEMA agno FROM %s CASCADE',
								  given.role);
	END LOOP;
	REVOKE CREATE ON SCHEMA agno FROM PUBLIC;
END
$$;

-- END COPY

---------------------------------------------------------------------------
-- What takes both
---------------------------------------------------------------------------

ALTER TABLE agno.agents
	ADD CONSTRAINT agents_timezone_identifier_check CHECK
		(agno.check_time_zone(timezone_identifier));

-- Who could call or read what has been replaced may do so with what has its name
-- now, and what that calls; whom agno_grant_usage has served is served once more.
-- These are privileges that users have given, so a dump has to have them: they
-- are none that the extension comes with.
DO $$
DECLARE
	initial pg_init_privs[] := ARRAY(SELECT p FROM pg_init_privs p);
	-- Others may have functions of the same names.
	ours oid[] := ARRAY(
		SELECT d.objid FROM pg_depend d
		JOIN pg_extension x ON x.oid = d.refobjid
		WHERE d.refclassid = 'pg_extension'::regclass
		  AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
		  AND x.extname = 'agno_bg');
	command text;
BEGIN
	FOR command IN
		SELECT format('GRANT %s ON %s TO %s%s', a.privilege_type, o.successor,
					  coalesce(quote_ident(r.rolname), 'PUBLIC'),
					  CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' END)
		FROM (
			SELECT p.proacl, 'ROUTINE ' || n.oid::regprocedure
			FROM (VALUES
				('agno_arun_1_0', 'agno_arun'),
				('agno_run_1_0', 'agno_run'),
				('agno_run_events', 'told_events'),
				('check_output_schema', 'check_time_zone'),
				('list_workers_1_0', 'list_workers'))
				AS s (name, successor)
			JOIN pg_proc p ON p.proname = s.name AND p.oid = ANY (ours)
			JOIN pg_proc n ON n.proname = s.successor AND n.oid = ANY (ours)
			UNION ALL
			SELECT c.relacl, s.successor
			FROM (VALUES
				('agno.workers_1_0', 'agno.workers'),
				('agno.stats_1_0', 'agno.stats'))
				AS s (name, successor)
			JOIN pg_class c ON c.oid = s.name::regclass)
			AS o (acl, successor)
		CROSS JOIN LATERAL aclexplode(o.acl) a
		LEFT JOIN pg_roles r ON r.oid = a.grantee
		WHERE r.oid IS NOT NULL OR a.grantee = 0
		UNION ALL
		SELECT format('SELECT %s.agno_grant_usage(%L::pg_catalog.name)',
					  '@extschema@', r.rolname)
		FROM pg_roles r
		WHERE r.oid IN (
			SELECT a.grantee FROM pg_proc p, aclexplode(p.proacl) a
			WHERE p.oid = 'agno.check_model'::regproc
			  AND a.grantee <> p.proowner)
	LOOP
		EXECUTE command;
	END LOOP;
	UPDATE pg_init_privs p SET initprivs = i.initprivs
	FROM unnest(initial) i
	WHERE (i.classoid, i.objoid, i.objsubid) =
		  (p.classoid, p.objoid, p.objsubid)
	  AND i.initprivs <> p.initprivs;
	DELETE FROM pg_init_privs p
	WHERE NOT EXISTS (SELECT FROM unnest(initial) i
					  WHERE (i.classoid, i.objoid, i.objsubid) =
							(p.classoid, p.objoid, p.objsubid));

	-- PostgreSQL 17 and newer would not drop who has had one of them.
	DELETE FROM pg_shdepend s
	WHERE s.deptype = 'i'
	  AND s.dbid = (SELECT d.oid FROM pg_database d
					WHERE d.datname = current_database())
	  AND s.refclassid = 'pg_authid'::regclass
	  AND NOT EXISTS (SELECT FROM pg_init_privs p,
						  aclexplode(p.initprivs) a
					  WHERE (p.classoid, p.objoid, p.objsubid) =
							(s.classid, s.objid, s.objsubid)
						AND s.refobjid IN (a.grantee, a.grantor));
END
$$;

DO $$
DECLARE
	users text;
	old regprocedure;
BEGIN
	DROP VIEW agno.workers_1_0, agno.stats_1_0;
	FOR old IN
		SELECT p.oid FROM pg_proc p
		JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e'
			AND d.classid = 'pg_proc'::regclass
			AND d.refclassid = 'pg_extension'::regclass
		JOIN pg_extension x ON x.oid = d.refobjid AND x.extname = 'agno_bg'
		WHERE right(p.proname, 4) = '_1_0'
	LOOP
		EXECUTE format('DROP ROUTINE %s', old);
	END LOOP;
EXCEPTION WHEN dependent_objects_still_exist THEN
	GET STACKED DIAGNOSTICS users = PG_EXCEPTION_DETAIL;
	RAISE EXCEPTION 'objects of yours depend on what agno_bg 1.1 replaces'
		USING ERRCODE = 'dependent_objects_still_exist',
			  DETAIL = replace(users, '_1_0', ''),
			  HINT = 'Drop them, update, and create them again.';
END
$$;

SELECT set_config('role', current_setting('agno_bg_update.role'), true);

-- The runner of this database starts when this transaction commits.
