#!/bin/bash
# make demo: builds, starts a throw-away server and a mock model server, and
# shows Agno's three background scenarios in psql, an agent that looks into a table, and a
# bank whose tellers are killed again and again. With OPENAI_API_KEY set, the runs go to
# OpenAI itself, but for those of the bank. Leaves nothing running.
set -euo pipefail
cd "$(dirname "$0")/.."
. test/lib.sh

work=$(mktemp -d /tmp/agno_bg_demo.XXXXXX)
mock_pid=
cleanup() {
	stop_server "$work"
	[ -z "$mock_pid" ] || kill "$mock_pid" 2>/dev/null || true
	as_root rm -rf "$work"
}
trap cleanup EXIT

install_packages
echo "building agno_bg with $("$PG_CONFIG" --version)"
copy_sources "$work"
[ "$(id -u)" != 0 ] || chown -R "$ordinary_user" "$work"
build_and_install "$work"
[ "$(id -u)" != 0 ] || chown -R "$ordinary_user" "$work"
server_settings="agno_bg.max_attempts = 1000"
start_server "$work"
start_mock "$work"

psql=("$bindir/psql" -X -q -v ON_ERROR_STOP=1)
"${psql[@]}" -c 'CREATE EXTENSION agno_bg'
if [ -n "${OPENAI_API_KEY:-}" ]; then
	echo "the runs go to OpenAI, since OPENAI_API_KEY is set"
	model=openai:gpt-5-mini
	slow_model=$model
	tool_model=$model
	question4='Which customer has ordered for the most money? Use your tools.'
else
	echo "the runs go to a mock model server; set OPENAI_API_KEY for OpenAI"
	model=mock:slow-1200
	slow_model=mock:hang
	tool_model=mock:tools-300
	# what the mock is to do
	question4='{"calls": [[{"name": "list_tables"}],
		[{"name": "describe_table", "arguments": {"name": "public.orders"}}],
		[{"name": "run_sql_query", "arguments": {"query":
			"SELECT customer, sum(amount) FROM orders GROUP BY 1 ORDER BY 2 DESC LIMIT 1"}}]]}'
fi
"${psql[@]}" -c "CREATE SERVER mock FOREIGN DATA WRAPPER agno_bg
	OPTIONS (api 'openai-responses', base_url '$mock_url')"

cd "$work/src"
as_user env PGHOST="$PGHOST" PGPORT="$PGPORT" PGUSER="$PGUSER" \
	"${psql[@]}" \
	-v model="$model" -v slow_model="$slow_model" -v tool_model="$tool_model" \
	-v question4="$question4" \
	-v question1='What is the capital of France?' \
	-v question2='Write a very long story about an elephant.' \
	-v question3='Never to be asked.' \
	-f test/demo.sql

echo
echo "=== 5. Kill it: twenty tellers make ten transfers each, while everything is killed"
echo
as_user env PGHOST="$PGHOST" PGPORT="$PGPORT" PGUSER="$PGUSER" "${psql[@]}" -f test/demo_bank.sql
query() { "${psql[@]}" -At -c "$1" 2>/dev/null || true; }
for kind in 'tool worker' runner 'tool worker' server runner 'tool worker' server; do
	sleep 0.5
	if [ "$kind" = server ]; then
		echo "killing the whole server"
		as_user "$bindir/pg_ctl" -D "$work/data" -m immediate -w stop >/dev/null
		as_user "$bindir/pg_ctl" -D "$work/data" -l "$work/server.log" -w start >/dev/null
		continue
	fi
	pid=$(query "SELECT pid FROM agno.workers WHERE kind = '$kind' AND pid > 0 LIMIT 1")
	[ -z "$pid" ] || { echo "kill -9 of a $kind"; as_root kill -9 "$pid" || true; }
done
until [ "$(query "SELECT count(*) FROM agno.runs WHERE run_id LIKE 'teller-%' AND status NOT IN ('PENDING', 'RUNNING')")" = 20 ]; do
	sleep 0.2
done
"${psql[@]}" -c "SELECT status, count(*) AS runs FROM agno.runs WHERE run_id LIKE 'teller-%' GROUP BY 1" \
	-c "SELECT sum(balance) AS money, 20 * 1000 AS money_at_first FROM bank.accounts" \
	-c "SELECT count(*) AS transfers, count(c.xid) AS with_their_record,
			count(DISTINCT c.tool_call_id) AS different_calls
		FROM bank.transfers t LEFT JOIN agno.tool_calls c ON c.tool_call_id = t.tool_call_id AND c.xid = t.xid"
echo
echo "done"
