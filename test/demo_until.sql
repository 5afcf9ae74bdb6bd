-- Poll until the run has the status :want, or has ended.
SELECT status = :'want' OR status NOT IN ('PENDING', 'RUNNING') AS reached
FROM agno_get_run_output(:'run_id') \gset
\if :reached
\else
SELECT pg_sleep(0.05) \g /dev/null
\ir demo_until.sql
\endif
