-- Poll each half second, and show the status, until the run has ended.
SELECT status FROM agno_get_run_output(:'run_id') \gset poll_
\echo '   polled:' :poll_status
SELECT :'poll_status' NOT IN ('PENDING', 'RUNNING') AS ended \gset
\if :ended
\echo
\else
SELECT pg_sleep(0.5) \g /dev/null
\ir demo_poll.sql
\endif
