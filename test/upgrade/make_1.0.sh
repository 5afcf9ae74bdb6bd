#!/bin/bash
# Makes test/upgrade/data_1.0.sql: what agno_bg 1.0 leaves in its tables, with runs in
# every status it has, in flight and in each state of its queue, since the server is
# killed in the middle. PG_CONFIG names a PostgreSQL into which 1.0 (commit c44bf27) has
# been installed. As an ordinary user; PORT (5432) is of the server's socket.
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=$("$PG_CONFIG" --bindir)
work=$(mktemp -d)
export PGHOST=$work PGPORT=${PORT:-5432} PGUSER=postgres PGDATABASE=postgres

cleanup() {
	[ ! -f "$work/data/postmaster.pid" ] || "$bin/pg_ctl" -D "$work/data" -m immediate -s stop || true
	kill "$mock" 2>/dev/null || true
	rm -rf "$work"
}
trap cleanup EXIT
python3 test/mock/model_server.py --port-file "$work/port" --log "$work/mock.log" &
mock=$!

sql() { "$bin/psql" -XAtq -v ON_ERROR_STOP=1 "$@"; }
until_true() {
	for _ in $(seq 300); do
		[ "$(sql -c "SELECT $1")" != t ] || return 0
		sleep 0.1
	done
	echo "never: $1" >&2
	exit 1
}

"$bin/initdb" -D "$work/data" -U postgres -A trust -E UTF8 --no-locale --no-sync >/dev/null
cat >>"$work/data/postgresql.conf" <<CONF
shared_preload_libraries = 'agno_bg'
listen_addresses = ''
unix_socket_directories = '$work'
port = $PGPORT
CONF
"$bin/pg_ctl" -D "$work/data" -l "$work/log" -w -s start
url=http://127.0.0.1:$(cat "$work/port")/v1

sql <<SQL
CREATE ROLE app LOGIN; CREATE ROLE other LOGIN;
CREATE EXTENSION agno_bg VERSION '1.0';
SELECT agno_grant_usage('app'), agno_grant_usage('other');
CREATE SERVER mock FOREIGN DATA WRAPPER agno_bg OPTIONS (api 'openai-responses', base_url '$url');
CREATE SERVER narrow FOREIGN DATA WRAPPER agno_bg OPTIONS (api 'openai-responses', base_url '$url', max_concurrency '1');
CREATE USER MAPPING FOR PUBLIC SERVER mock OPTIONS (api_key 'sk-mock');
CREATE USER MAPPING FOR PUBLIC SERVER narrow OPTIONS (api_key 'sk-mock');
GRANT USAGE ON FOREIGN SERVER mock, narrow TO PUBLIC;
SQL
sql -U app <<'SQL'
INSERT INTO agno.agents (agent_id, name, model, description, instructions, markdown, add_datetime_to_context,
	timezone_identifier, add_history_to_context, session_state, add_session_state_to_context, metadata)
VALUES ('helper', 'Helper', 'mock:echo', 'You help.', '{Be brief.,Be kind.}', true, true, 'Europe/Paris', true,
	'{"visits": 1}', true, '{"team": "a"}');
INSERT INTO agno.agents (agent_id, model, add_datetime_to_context, timezone_identifier)
VALUES ('posix', 'mock:echo', true, 'XXX1:00:01'), ('rules', 'mock:echo', true, 'EST5EDT,M3.2.0,M11.1.0');
INSERT INTO agno.agents (agent_id, model, tools, tool_choice, requires_confirmation)
VALUES ('tooled', 'mock:echo', '{order_status}', 'auto', '{order_status}');

-- what has ended
CALL agno_run('one', agent_id => 'helper', run_id => 'done-1', session_id => 'talk', user_id => 'u1');
CALL agno_run('two', agent_id => 'helper', run_id => 'done-2', session_id => 'talk', user_id => 'u1', session_state => '{"visits": 2}');
CALL agno_run('streamed', model => 'mock:words-1', run_id => 'streamed', stream => true);
CALL agno_run('cities', model => 'mock:echo', run_id => 'dict', idempotency_key => 'key',
	output_schema => '{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}');
CALL agno_run('bad', model => 'mock:status-400', run_id => 'failed', stream => true);
CALL agno_run('stay', model => 'mock:echo', run_id => 'reasoned', metadata => '{"a": 1}', model_options => '{"temperature": 0}');
SELECT agno_arun('flies', model => 'mock:mute', run_id => 'cancelled', stream => true);
SELECT agno_cancel_run('unborn');
SQL
sql -U other -c "CALL agno_run('other', model => 'mock:reasoning', run_id => 'others')"
until_true "EXISTS (SELECT FROM agno.run_events WHERE run_id = 'cancelled' AND event = 'RunContent')"
sql -U app -c "SELECT agno_cancel_run('cancelled')"
sql -U app -c "SELECT status FROM agno_wait_run('cancelled')"

# What has not: executing, parked, waiting for one of its session, scheduled, found locked,
# ready, and told to be cancelled.
sql -U app <<'SQL'
SELECT agno_arun('flying', model => 'mock:gate', run_id => 'executing', session_id => 'queue');
SELECT agno_arun('in words', model => 'mock:mute', run_id => 'executing-streamed', stream => true);
SELECT agno_arun('to end', model => 'mock:gate', run_id => 'executing-cancelled');
SELECT agno_arun('paid for', model => 'mock:work-20000', run_id => 'background', model_options => '{"background": true}');
SELECT agno_arun('wide', model => 'narrow:gate', run_id => 'narrow-1');
SELECT agno_arun('locked', model => 'mock:echo', run_id => 'locked', run_at => now() + interval '2 s');
SQL
until_true "count(*) = 5 FROM agno.runs WHERE status = 'RUNNING'"
sql -U app <<'SQL'
SELECT agno_arun('parked', model => 'narrow:echo', run_id => 'parked');
SELECT agno_arun('after it', model => 'mock:echo', run_id => 'waiting', session_id => 'queue');
SELECT agno_arun('three', agent_id => 'helper', run_id => 'scheduled', session_id => 'talk', user_id => 'u1', run_at => now() + interval '20 s');
SELECT agno_arun('much later', model => 'mock:echo', run_id => 'later', run_at => '2999-01-01', timeout => '1 min', max_attempts => 2, priority => 5);
SQL
sql -c "WITH l AS MATERIALIZED (SELECT FROM agno.runs WHERE run_id = 'locked' FOR UPDATE) SELECT pg_sleep(600) FROM l" >/dev/null 2>&1 &
until_true "count(*) = 4 FROM agno.run_queue WHERE (run_id, state) IN (('parked', 'p'), ('waiting', 'w'), ('scheduled', 's'), ('locked', 'k'))"
until_true "EXISTS (SELECT FROM agno.run_events WHERE run_id = 'executing-streamed' AND event = 'RunContent')"
until_true "response_id IS NOT NULL FROM agno.run_requests WHERE run_id = 'background'"
kill -STOP "$(sql -c "SELECT pid FROM pg_stat_activity WHERE backend_type = 'agno_bg runner'")"
sql -U app -c "SELECT agno_cancel_run('executing-cancelled')"
sql -U app -c "SELECT agno_arun('ready', agent_id => 'posix', run_id => 'ready', priority => 3)"
"$bin/pg_ctl" -D "$work/data" -m immediate -s stop
echo "shared_preload_libraries = ''" >>"$work/data/postgresql.conf"
"$bin/pg_ctl" -D "$work/data" -l "$work/log" -w -s start

sql -c "SELECT state, string_agg(run_id, ' ' ORDER BY run_id) FROM agno.run_queue GROUP BY 1 ORDER BY 1" >&2
{
	echo '-- What agno_bg 1.0 left when its server was killed; by make_1.0.sh.'
	"$bin/pg_dump" --data-only | sed -E '/^(--|SET |SELECT|\\(un)?restrict|$)/d'
} >test/upgrade/data_1.0.sql
