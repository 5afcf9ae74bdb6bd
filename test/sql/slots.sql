-- The slots of ids, which say on which of several servers a session lives, and the
-- view through which a router enqueues.
\set VERBOSITY default
\set SHOW_CONTEXT never
CREATE SERVER far FOREIGN DATA WRAPPER agno_bg
	OPTIONS (api 'openai-responses', base_url 'http://127.0.0.1:9/v1');
SET agno_bg.default_model = 'far:model';

-- The same for ever, on every server.
SELECT id, agno_slot(id) FROM (VALUES
	('01a204c9-e2eb-7a09-8b7f-da3b3875db67'),
	('01a204c9-e2eb-7a09-8b7f-da3b38750001'),
	('01a204c9-e2eb-7a09-8b7f-da3b38750001/researcher'),
	('01A204C9-E2EB-7A09-8B7F-DA3B3875DB67'),
	('01a204c9-e2eb-4a09-8b7f-da3b3875db67'),
	('customer-42'), ('customer-42/a/b'), (''), (NULL)) v (id);
SELECT count(*) FROM generate_series(0, 65535, 255) slot
WHERE agno_slot(agno.new_id(slot)) = slot;
SELECT agno.new_id(65536);
SELECT agno.new_id(-1);

-- Generated ids: a run has the slot of its session; a session that of the idempotency
-- key or of the run, where they are given.
SELECT count(DISTINCT agno_slot(session_id)) > 90 AS different,
	   bool_and(agno_slot(run_id) = agno_slot(session_id)) AS the_same
FROM generate_series(1, 100) i, agno_arun('x' || i, run_at => '2100-01-01');
SELECT agno_slot(run_id) = agno_slot('slots-s') AS of_session
FROM agno_arun('x', session_id => 'slots-s', run_at => '2100-01-01');
SELECT agno_slot(session_id) = agno_slot('slots-r') AS of_run
FROM agno_arun('x', run_id => 'slots-r', run_at => '2100-01-01');
SELECT agno_slot(session_id) = agno_slot('slots-k') AS of_key
FROM agno_arun('x', idempotency_key => 'slots-k', run_at => '2100-01-01');
SELECT agno_slot(session_id) = agno_slot('slots-k2') AS of_key
FROM agno_arun('x', idempotency_key => 'slots-k2', run_id => 'slots-r3', run_at => '2100-01-01');
SELECT agno_slot(session_id) AS of_generated_run
FROM agno_arun('x', idempotency_key => 'slots-k3', run_at => '2100-01-01',
	run_id => '01a204c9-e2eb-7a09-8b7f-da3b38750004');

-- One server of several refuses what nobody would find; another does not mind.
SELECT session_id FROM agno_arun('x', session_id => 'slots-s', run_at => '2100-01-01',
	run_id => '01a204c9-e2eb-7a09-8b7f-da3b38750001');
ALTER SYSTEM SET agno_bg.cluster = on;
SELECT pg_reload_conf();
\c
\set VERBOSITY default
SET agno_bg.default_model = 'far:model';
SHOW agno_bg.cluster;
SELECT agno_arun('x', session_id => 'slots-s', run_at => '2100-01-01',
	run_id => '01a204c9-e2eb-7a09-8b7f-da3b38750002');
SELECT session_id FROM agno_arun('x', session_id => 'slots-s',
	run_id => 'slots-r2', run_at => '2100-01-01');
SELECT agno_slot(session_id) FROM agno_arun('x', run_at => '2100-01-01',
	run_id => '01a204c9-e2eb-7a09-8b7f-da3b38750003');

-- It may know which slots are its own.
ALTER SYSTEM SET agno_bg.slots = '7-6';
ALTER SYSTEM SET agno_bg.slots = '0-65536';
ALTER SYSTEM SET agno_bg.slots = '0-1x';
ALTER SYSTEM SET agno_bg.slots = '00000-32767';
ALTER SYSTEM SET agno_bg.slots = ' 0-65535';
ALTER SYSTEM SET agno_bg.slots = '0-4294967297';
ALTER SYSTEM SET agno_bg.slots = '100-109';
SELECT pg_reload_conf();
\c
\set VERBOSITY default
SET agno_bg.default_model = 'far:model';
SELECT bool_and(agno_slot(session_id) BETWEEN 100 AND 109) AS own_slots
FROM generate_series(1, 100) i, agno_arun('x' || i, run_at => '2100-01-01');
SELECT agno_arun('x', session_id => 'slots-s', run_at => '2100-01-01');
ALTER SYSTEM RESET agno_bg.slots;
ALTER SYSTEM RESET agno_bg.cluster;
SELECT pg_reload_conf();
\c
\set VERBOSITY default
SET agno_bg.default_model = 'far:model';

-- agno.enqueue
CREATE ROLE regress_slots;
SET ROLE regress_slots;
INSERT INTO agno.enqueue (input) VALUES ('x');
RESET ROLE;
SELECT agno_grant_usage('regress_slots');
GRANT USAGE ON FOREIGN SERVER far TO regress_slots;
SET ROLE regress_slots;
INSERT INTO agno.enqueue (input, run_id, session_id, run_at, priority)
VALUES ('x', 'slots-e', 'slots-es', '2100-01-01', 3)
RETURNING run_id, session_id, status;
SELECT input, owner, priority, run_at FROM agno.runs WHERE run_id = 'slots-e';
INSERT INTO agno.enqueue (input, run_at, slot)
SELECT 'x' || i, '2100-01-01', 4711 FROM generate_series(1, 3) i
RETURNING agno_slot(run_id), agno_slot(session_id);
INSERT INTO agno.enqueue (input, run_at, slot, idempotency_key)
VALUES ('x', '2100-01-01', 4711, 'slots-key')
RETURNING agno_slot(session_id) = agno_slot('slots-key') AS of_key;
INSERT INTO agno.enqueue (input, run_at, slot, idempotency_key)
VALUES ('x', '2100-01-01', 4712, 'slots-key')
RETURNING agno_slot(session_id) = agno_slot('slots-key') AS of_key;
INSERT INTO agno.enqueue (input, slot) VALUES ('x', 70000);
INSERT INTO agno.enqueue (input) VALUES (NULL);
INSERT INTO agno.enqueue (input, run_id) VALUES ('x', 'slots-e');
UPDATE agno.enqueue SET input = 'y';
BEGIN;
INSERT INTO agno.enqueue (input, run_id) VALUES ('x', 'slots-undone');
ROLLBACK;
SELECT count(*) FROM agno.runs WHERE run_id = 'slots-undone';
SELECT * FROM agno.enqueue;
SELECT agno_slot('x') > 0 AS for_users, node, run_id FROM agno.node_runs
WHERE run_id = 'slots-e';
RESET ROLE;
SELECT agno_revoke_usage('regress_slots');
REVOKE USAGE ON FOREIGN SERVER far FROM regress_slots;
SELECT count(agno_cancel_run(run_id)) > 200 AS cancelled FROM agno.runs WHERE run_at = '2100-01-01';
DROP ROLE regress_slots;
DROP SERVER far;
