-- agno.agents, and what agno_arun takes from it. The model server answers
-- nobody: the runs here do not start before 2100.
CREATE SERVER agents_server FOREIGN DATA WRAPPER agno_bg
	OPTIONS (api 'openai-responses', base_url 'http://127.0.0.1:1/v1');
CREATE SERVER agents_other FOREIGN DATA WRAPPER agno_bg
	OPTIONS (api 'openai-responses', base_url 'http://127.0.0.1:1/v1');

-- Nonsense is refused.
\set VERBOSITY terse
INSERT INTO agno.agents (agent_id) VALUES (NULL);
INSERT INTO agno.agents (agent_id) VALUES ('');
INSERT INTO agno.agents (agent_id) VALUES (repeat('a', 256));
INSERT INTO agno.agents (agent_id, model) VALUES ('bad', 'gpt-5-mini');
INSERT INTO agno.agents (agent_id, model) VALUES ('bad', 'openai:');
INSERT INTO agno.agents (agent_id, instructions) VALUES ('bad', '{a,NULL}');
INSERT INTO agno.agents (agent_id, instructions) VALUES ('bad', '{{a,b},{c,d}}');
INSERT INTO agno.agents (agent_id, timezone_identifier) VALUES ('bad', 'Mars');
INSERT INTO agno.agents (agent_id, output_schema) VALUES ('bad', '[]');
INSERT INTO agno.agents (agent_id, output_schema) VALUES ('bad', '{"type": "text"}');
INSERT INTO agno.agents (agent_id, num_history_runs) VALUES ('bad', 0);
INSERT INTO agno.agents (agent_id, num_history_messages) VALUES ('bad', -1);
INSERT INTO agno.agents (agent_id, num_history_runs, num_history_messages) VALUES ('bad', 1, 1);
INSERT INTO agno.agents (agent_id, session_state) VALUES ('bad', '[]');
INSERT INTO agno.agents (agent_id, model_options) VALUES ('bad', '"x"');
INSERT INTO agno.agents (agent_id, metadata) VALUES ('bad', '1');
INSERT INTO agno.agents (agent_id, tools) VALUES ('bad', '{NULL}');
INSERT INTO agno.agents (agent_id, tool_call_limit) VALUES ('bad', -1);
INSERT INTO agno.agents (agent_id, requires_confirmation) VALUES ('bad', '{f}');
INSERT INTO agno.agents (agent_id, retries) VALUES ('bad', -1);
INSERT INTO agno.agents (agent_id, timeout) VALUES ('bad', '0');
INSERT INTO agno.agents (agent_id, timeout) VALUES ('bad', '11 years');
INSERT INTO agno.agents (agent_id, owner) VALUES ('bad', NULL);
\set VERBOSITY default

-- Sense is not.
INSERT INTO agno.agents (agent_id) VALUES ('plain');
INSERT INTO agno.agents (agent_id, name, model, description, role, instructions,
	use_instruction_tags, expected_output, additional_context, markdown,
	add_name_to_context, add_datetime_to_context, timezone_identifier,
	output_schema, add_history_to_context, num_history_runs, session_state,
	add_session_state_to_context, model_options, retries, timeout, metadata)
VALUES ('full', 'Full', 'agents_server:m1', 'D', 'R', '{one,two}', true, 'E',
	'C', true, true, true, 'Europe/Berlin', '{"type": "object"}', true, 5,
	'{"a": {"b": 1}}', true, '{"temperature": 1, "reasoning": {"effort": "low"}}',
	0, '1 min', '{"team": "blue", "plan": "free"}');
INSERT INTO agno.agents (agent_id, system_message, add_history_to_context,
	num_history_messages, resolve_in_context)
VALUES ('other', 'S', true, 10, false);
INSERT INTO agno.agents (agent_id, add_history_to_context)
VALUES ('history', true);
INSERT INTO agno.agents (agent_id) VALUES ('plain');
SELECT agent_id, owner = current_user::regrole AS mine, created_at = updated_at
FROM agno.agents ORDER BY agent_id;
UPDATE agno.agents SET name = 'Plain' WHERE agent_id = 'plain';
SELECT updated_at > created_at AS updated FROM agno.agents
WHERE agent_id = 'plain';

-- The agent completes the run: what the caller gives goes first.
SELECT run_id, session_id, status
FROM agno_arun('x', 'full', 'ags1', 'ag1', run_at => '2100-01-01');
SELECT run_id, session_id, status
FROM agno_arun('x', 'full', 'ags2', 'ag2', run_at => '2100-01-01',
	model => 'agents_other:m2', output_schema => '{"type": "array"}',
	session_state => '{"a": {"c": 2}}', timeout => '2 min', max_attempts => 1,
	metadata => '{"plan": "gold", "x": 1}',
	model_options => '{"reasoning": {"summary": "auto"}, "temperature": 0}');
SELECT run_id, session_id, status
FROM agno_arun('x', 'history', 'ags3', 'ag3', run_at => '2100-01-01',
	model => 'agents_server:m1');
SELECT run_id, session_id, status
FROM agno_arun('x', 'other', 'ags4', 'ag4', run_at => '2100-01-01',
	model => 'agents_server:m1');
SELECT run_id, agent_id, model_provider, model, metadata, session_state
FROM agno.runs WHERE run_id ~ '^ag[1-4]$' ORDER BY run_id;
SELECT run_id, timeout, max_attempts, retries, num_history_runs AS runs,
	num_history_messages AS messages, output_schema, session_state, model_options
FROM agno.run_requests WHERE run_id ~ '^ag[1-4]$' ORDER BY run_id;
SELECT session_id, agent_id, session_state, metadata
FROM agno.sessions WHERE session_id ~ '^ags[1-4]$' ORDER BY session_id;

-- A run keeps the definition that it was enqueued with.
UPDATE agno.agents SET instructions = '{three}', description = NULL
WHERE agent_id = 'full';
DELETE FROM agno.agents WHERE agent_id = 'other';
SELECT run_id, agent FROM agno.run_requests WHERE run_id ~ '^ag[1-4]$'
ORDER BY run_id;

-- What cannot be
SELECT agno_arun('x', 'nobody');
SELECT agno_arun('x', '');
SELECT agno_arun('x', output_schema => '[]');
SELECT agno_arun('x', output_schema => '{"properties": {"a": {"type": "date"}}}');
SELECT agno_arun('x', session_state => '1');
INSERT INTO agno.agents (agent_id, model, model_options)
VALUES ('reserved', 'agents_server:m', '{"input": []}');
SELECT agno_arun('x', 'reserved');

-- As Agno's RunOutput.to_dict() for a PENDING run
SELECT agno_run_output_dict('ag1') - 'created_at' AS dict;
SELECT agno_run_output_dict('unknown') IS NULL AS unknown;
SELECT run_id, session_id, run_type, agent_id, status, run_data - 'created_at'
FROM agno.agno_runs WHERE run_id = 'ag3';
SELECT session_id, session_type, agent_id, session_data, agent_data, metadata,
	jsonb_array_length(runs) AS runs
FROM agno.agno_sessions WHERE session_id ~ '^ags[1-4]$' ORDER BY session_id;
SELECT attname, atttypid::regtype FROM pg_attribute
WHERE attrelid = 'agno.agno_sessions'::regclass AND attnum > 0 ORDER BY attnum;
-- Nobody can write to them.
DELETE FROM agno.agno_sessions;
UPDATE agno.agno_runs SET run_id = 'x';
SELECT attname, atttypid::regtype FROM pg_attribute
WHERE attrelid = 'agno.agno_runs'::regclass AND attnum > 0 ORDER BY attnum;

-- A group shares its agents; strangers see none of them.
CREATE ROLE agents_team;
CREATE ROLE agents_ann IN ROLE agents_team;
CREATE ROLE agents_bob IN ROLE agents_team;
CREATE ROLE agents_eve;
SELECT agno_grant_usage('agents_team'), agno_grant_usage('agents_eve');
GRANT USAGE ON FOREIGN SERVER agents_server TO agents_team, agents_eve;

SET ROLE agents_ann;
INSERT INTO agno.agents (agent_id, model, owner)
VALUES ('shared', 'agents_server:m', 'agents_team'),
	   ('mine', 'agents_server:m', 'agents_ann');
INSERT INTO agno.agents (agent_id, owner) VALUES ('eves', 'agents_eve');
SELECT agent_id FROM agno.agents ORDER BY agent_id;

SET ROLE agents_bob;
SELECT agent_id FROM agno.agents ORDER BY agent_id;
UPDATE agno.agents SET name = 'ours' RETURNING agent_id, name;
SELECT status FROM agno_arun('x', 'shared', run_at => '2100-01-01', run_id => 'bobs');
SELECT agno_arun('x', 'mine');
INSERT INTO agno.agents (agent_id) VALUES ('shared');
UPDATE agno.agents SET owner = 'agents_eve' WHERE agent_id = 'shared';
UPDATE agno.agents SET owner = 'agents_bob' WHERE agent_id = 'shared';

SET ROLE agents_eve;
SELECT agent_id FROM agno.agents;
SELECT agno_arun('x', 'shared');
INSERT INTO agno.agents (agent_id) VALUES ('shared');
DELETE FROM agno.agents;
SELECT agno_run_output_dict('bobs') IS NULL AS hidden;
SELECT count(*) FROM agno.agno_runs;
SELECT count(*) FROM agno.agno_sessions;
SELECT agno.merge_json('{}', '{}');

SET ROLE agents_bob;
SELECT agno_run_output_dict('bobs') ->> 'status' AS status;
SELECT count(*) FROM agno.agno_runs;
SELECT count(*) FROM agno.agno_sessions;
RESET ROLE;

SELECT agno_revoke_usage('agents_team'), agno_revoke_usage('agents_eve');
SET ROLE agents_eve;
INSERT INTO agno.agents (agent_id) VALUES ('again');
RESET ROLE;

-- JSON is merged at all levels.
SELECT agno.merge_json('{"a": 1, "b": {"c": 1, "d": null}, "e": [1]}',
	'{"b": {"c": {"x": 1}, "f": 2}, "e": [2], "g": null}');

SELECT count(agno_cancel_run(run_id)) FROM agno.runs WHERE run_at = '2100-01-01';
DELETE FROM agno.runs WHERE run_at = '2100-01-01';
DELETE FROM agno.sessions WHERE agent_id IS NOT NULL;
DELETE FROM agno.agents;
DROP SERVER agents_server CASCADE;
DROP SERVER agents_other;
DROP ROLE agents_eve, agents_ann, agents_bob, agents_team;
