-- agno_cancel_run and agno_wait_run
CREATE SERVER closed FOREIGN DATA WRAPPER agno_bg
	OPTIONS (base_url 'http://127.0.0.1:9/v1', retries '0',
		unreachable_patience '0');
SET agno_bg.default_model = 'closed:model';

-- A run that fails, and how it looks
SELECT status FROM agno_arun('x', run_id => 'fails');
SELECT status, content = error->>'message' AS says_why, error->>'type' AS type,
	   error->'http_status' AS http_status, error->'attempt' AS attempt
FROM agno_wait_run('fails');
SELECT agno_cancel_run('fails');

-- A run that waits
SELECT status FROM agno_arun('x', run_id => 'waits', run_at => '2100-01-01');
SELECT status FROM agno_wait_run('waits', '10 ms');
SELECT status FROM agno_wait_run('waits', '-1 s');
BEGIN;
SELECT agno_cancel_run('waits');
SELECT status, content FROM agno_get_run_output('waits');
ROLLBACK;
SELECT status, content FROM agno_get_run_output('waits');
BEGIN;
SAVEPOINT s;
SELECT agno_cancel_run('waits');
ROLLBACK TO s;
COMMIT;
SELECT status FROM agno_get_run_output('waits');
SELECT agno_cancel_run('waits');
SELECT status, content, messages, error FROM agno_wait_run('waits');
SELECT agno_cancel_run('waits');

-- A run that is enqueued and cancelled in one transaction
BEGIN;
SELECT status FROM agno_arun('x', run_id => 'both');
SELECT agno_cancel_run('both');
COMMIT;
SELECT status FROM agno_wait_run('both');

-- A run that does not exist yet
SELECT agno_cancel_run('early');
SELECT agno_cancel_run('early');
SELECT run_id, owner = current_user::regrole AS mine FROM agno.cancellations;
SELECT status FROM agno_arun('x', run_id => 'early');
SELECT status, content FROM agno_wait_run('early');
SELECT count(*) FROM agno.cancellations;
SELECT agno_arun('x', run_id => 'early');		-- the id is used up

-- Bad input
SELECT agno_cancel_run(NULL);
SELECT agno_cancel_run('');
SELECT agno_cancel_run(repeat('x', 256));
SELECT count(*) FROM agno_wait_run('unknown');
SELECT count(*) FROM agno_wait_run(NULL);

-- What waiting refuses
BEGIN;
SELECT status FROM agno_arun('x', run_id => 'own', run_at => '2100-01-01');
SELECT agno_wait_run('own');
ROLLBACK;
SELECT status FROM agno_arun('x', run_id => 'still', run_at => '2100-01-01');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT agno_wait_run('still');
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT agno_wait_run('still');
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT status FROM agno_wait_run('early');		-- has ended: no need to wait
ROLLBACK;
SET statement_timeout = '50ms';
SELECT agno_wait_run('still');
RESET statement_timeout;
SELECT agno_cancel_run('still');

-- CALL agno_run
CALL agno_run('x', run_id => 'called', model => 'closed:y',
			  timeout => '5 s', status => NULL, content => NULL) \gset
SELECT :'run_id' AS run_id, :'status' AS status,
	   :'content' LIKE 'could not reach%' AS content;
DO $$
DECLARE
	id text := 'in plpgsql';
	answer text;
	result agno.run_status;
BEGIN
	CALL agno_run('x', run_id => id, status => result, content => answer);
	RAISE NOTICE '% %', id, result;
END $$;
DROP SERVER closed;
