-- agno_arun: what it accepts and what it refuses. Runs that are accepted here
-- are scheduled for the future, and cancelled at the end.
\set VERBOSITY default
CREATE SERVER nowhere FOREIGN DATA WRAPPER agno_bg
	OPTIONS (api 'openai-responses', base_url 'http://127.0.0.1:9/v1',
		unreachable_patience '0');
SET agno_bg.default_model = 'gpt-5-mini';
SET agno_bg.default_model = 'nowhere:model';
CREATE VIEW accepted AS
	SELECT run_id, session_id, user_id, status, input, model, model_provider,
		   metadata, priority, run_at, attempt
	FROM agno.runs ORDER BY created_at;

SELECT run_id, session_id, status
FROM agno_arun('Hello', run_id => 'r1', session_id => 's1', user_id => 'u1',
			   metadata => '{"a": 1}', priority => 5,
			   run_at => '2100-01-01 00:00:00+00');
SELECT * FROM accepted;

-- Generated ids are UUIDs of version 7, which sort by time.
SELECT run_id ~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$'
	   AS run_id,
	   session_id ~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$'
	   AS session_id, run_id <> session_id AS different
FROM agno_arun('Hello', run_at => '2100-01-01');
SELECT count(DISTINCT run_id), bool_and(run_id > previous) AS in_order
FROM (SELECT run_id, lag(run_id, 1, '') OVER (ORDER BY i) AS previous
	  FROM generate_series(1, 1000) i,
		   agno_arun('Hello ' || i, run_at => '2100-01-01')) s;

-- The input
SELECT agno_arun(NULL);
SELECT agno_arun('');
SELECT agno_arun();

-- The callback
CREATE FUNCTION refund(id integer) RETURNS void LANGUAGE sql AS $$ SELECT $$;
SELECT agno_arun('x', on_complete => 'refund');
SELECT agno_arun('x', on_complete => 'refund(text)');
SELECT agno_arun('x', on_complete => 'nothing');
DROP FUNCTION refund;

-- The ids
SELECT agno_arun('x', run_id => 'r1');
SELECT agno_arun('x', run_id => '');
SELECT agno_arun('x', session_id => '');
SELECT agno_arun('x', run_id => repeat('x', 256));
SELECT length(run_id) FROM agno_arun('x', run_id => repeat('x', 255),
									 run_at => '2100-01-01');
SELECT agno_arun('x', run_id => 'twice', run_at => '2100-01-01'),
	   agno_arun('x', run_id => 'twice', run_at => '2100-01-01');

-- The model
SELECT agno_arun('x', model => 'gpt-5-mini');
SELECT agno_arun('x', model => ':gpt-5-mini');
SELECT agno_arun('x', model => 'openai:');
SELECT agno_arun('x', model => '');
SELECT agno_arun('x', model => 'no_such_server:gpt-5-mini');
BEGIN;
SET LOCAL agno_bg.default_model = 'no_such_server:gpt-5-mini';
SELECT agno_arun('x');
ROLLBACK;
SELECT agno_arun('x', model => 'nowhere:llama3:8b', run_id => 'colons',
				 run_at => '2100-01-01') IS NOT NULL AS accepted;
SELECT model, model_provider FROM agno.runs WHERE run_id = 'colons';
CREATE FOREIGN DATA WRAPPER other;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER other;
SELECT agno_arun('x', model => 'elsewhere:x');	-- of another wrapper
DROP FOREIGN DATA WRAPPER other CASCADE;

-- JSON
SELECT agno_arun('x', metadata => '[1]');
SELECT agno_arun('x', metadata => '1');
SELECT agno_arun('x', model_options => '"high"');
SELECT agno_arun('x', model_options => '{"temperature": 1, "input": "y"}');
SELECT agno_arun('x', model_options => '{"model": "y"}');
SELECT agno_arun('x', model_options => '{"nested": {"model": "y"}, "n": []}',
				 run_at => '2100-01-01') IS NOT NULL AS accepted;

-- Numbers and times
SELECT agno_arun('x', timeout => '0');
SELECT agno_arun('x', timeout => '-1 s');
SELECT agno_arun('x', timeout => '11 years');
SELECT agno_requeue_run(repeat('x', 1000));
SELECT agno_arun('x', max_attempts => 0);
SELECT agno_arun('x', run_at => 'infinity', run_id => 'never') IS NOT NULL
	AS accepted;
SELECT agno_arun('x', priority => NULL, run_id => 'null priority',
				 run_at => '2100-01-01') IS NOT NULL AS accepted;
SELECT priority FROM agno.runs WHERE run_id = 'null priority';

-- Idempotency
SELECT run_id, status FROM agno_arun('once', run_id => 'once',
	idempotency_key => 'k1', run_at => '2100-01-01');
SELECT run_id, status FROM agno_arun('once', idempotency_key => 'k1');
SELECT run_id, status FROM agno_arun('other', run_id => 'ignored',
	idempotency_key => 'k1');
SELECT agno_cancel_run('once');
SELECT run_id, status FROM agno_arun('once', idempotency_key => 'k1');
SELECT agno_arun('once', idempotency_key => '');
SELECT agno_arun('once', idempotency_key => repeat('x', 256));
BEGIN;
SELECT run_id FROM agno_arun('x', run_id => 'undone', idempotency_key => 'k2');
ROLLBACK;
SELECT run_id FROM agno_arun('x', run_id => 'redone', idempotency_key => 'k2',
							 run_at => '2100-01-01');
CREATE ROLE regress_agno_other;
SELECT agno_grant_usage('regress_agno_other');
SET ROLE regress_agno_other;
SELECT agno_arun('x');
SELECT agno_arun('x', model => 'nowhere:model');
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER nowhere TO regress_agno_other;
SET ROLE regress_agno_other;
SELECT run_id FROM agno_arun('x', run_id => 'of another role',
	idempotency_key => 'k1', run_at => '2100-01-01');
RESET ROLE;

-- In a trigger, and with an owner that is not the session's user
CREATE TABLE docs (id integer, body text, run_id text);
CREATE FUNCTION enqueue() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	new.run_id := (agno_arun('Summarise: ' || new.body,
							 run_id => 'doc' || new.id,
							 run_at => '2100-01-01')).run_id;
	RETURN new;
END $$;
CREATE TRIGGER enqueue BEFORE INSERT ON docs
	FOR EACH ROW EXECUTE FUNCTION enqueue();
INSERT INTO docs (id, body) VALUES (1, 'one'), (2, 'two') RETURNING run_id;
SELECT run_id, input FROM agno.runs WHERE input LIKE 'Summarise%';

-- In read-only transactions
BEGIN READ ONLY;
SELECT agno_arun('x');
ROLLBACK;
BEGIN READ ONLY;
SELECT agno_cancel_run('r1');
ROLLBACK;

-- Nothing of the caller's search_path is looked at.
CREATE SCHEMA trap;
CREATE FUNCTION trap.eq(text, text) RETURNS boolean LANGUAGE plpgsql AS
	$$ BEGIN RAISE 'trapped'; END $$;
CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.eq);
SET search_path = trap, public, pg_catalog;
SELECT public.agno_arun('x', run_id => 'trap', session_id => 's1',
	idempotency_key => 'k3', user_id => 'u1', run_at => '2100-01-01') IS NOT NULL
	AS accepted;
SELECT public.agno_cancel_run('trap');
SELECT count(*) FROM public.agno_get_run_output('trap', 's1');
SELECT count(*) FROM public.agno_wait_run('trap');
RESET search_path;
DROP SCHEMA trap CASCADE;

-- agno_get_run_output
SELECT run_id, status FROM agno_get_run_output('r1');
SELECT run_id, status FROM agno_get_run_output('r1', 's1');
SELECT run_id, status FROM agno_get_run_output('r1', 'another');
SELECT run_id, status FROM agno_get_run_output('unknown');
SELECT run_id, status FROM agno_get_run_output(NULL);
EXPLAIN (COSTS off) SELECT status FROM agno_get_run_output('r1');

-- CALL agno_run within a transaction
BEGIN;
CALL agno_run('x');
ROLLBACK;

DROP TABLE docs;
DROP FUNCTION enqueue;
SELECT bool_and(agno_cancel_run(run_id)) FROM agno.runs WHERE status = 'PENDING';
DROP VIEW accepted;
DROP SERVER nowhere CASCADE;
DROP OWNED BY regress_agno_other;
DROP ROLE regress_agno_other;
