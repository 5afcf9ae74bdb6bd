\set QUIET on
\pset footer off
\set ECHO queries
\timing on

\echo
\echo === 1. Start a run in the background, and poll until it is COMPLETED
\echo
SELECT run_id, status FROM agno_arun(:'question1', model => :'model') \gset

SELECT :'run_id' AS run_id, :'status' AS status;

\set ECHO none
\timing off
\ir demo_poll.sql
\timing on
\set ECHO queries
SELECT status, content, metrics->'total_tokens' AS tokens,
       round((metrics->>'duration')::numeric, 3) AS seconds
FROM agno_get_run_output(:'run_id');

\echo
\echo === 2. Start a long run, and cancel it while it is in flight
\echo
SELECT run_id, status FROM agno_arun(:'question2', model => :'slow_model') \gset

\set ECHO none
\timing off
\set want RUNNING
\ir demo_until.sql
SELECT pg_sleep(1) \g /dev/null
\timing on
\set ECHO queries

SELECT status FROM agno_get_run_output(:'run_id');

SELECT agno_cancel_run(:'run_id');

SELECT status, content FROM agno_wait_run(:'run_id', '10 s');

\echo
\echo === 3. Cancel a run before it has started
\echo
SELECT gen_random_uuid() AS run_id \gset

SELECT agno_cancel_run(:'run_id');

SELECT status FROM agno_arun(:'question3', model => :'model', run_id => :'run_id');

SELECT status, content FROM agno_wait_run(:'run_id');

\echo
\echo === 4. Ask a question about a table: the agent looks it up itself, read-only
\echo
CREATE TABLE orders (id integer, customer text, amount numeric);
INSERT INTO orders VALUES (1, 'Ann', 20), (2, 'Bob', 15), (3, 'Ann', 30);
INSERT INTO agno.agents (agent_id, model, tools)
VALUES ('analyst', :'tool_model', '{agno.list_tables,agno.describe_table,agno.run_sql_query}');

SELECT run_id FROM agno_arun(:'question4', 'analyst') \gset

SELECT status, content FROM agno_wait_run(:'run_id', '1 min');

SELECT turn, tool, arguments, result FROM agno.tool_calls WHERE run_id = :'run_id' ORDER BY turn, call_no;
