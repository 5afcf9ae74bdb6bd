#!/bin/bash
# make demo: builds, starts a throw-away server and a mock model server, and
# shows Agno's three background scenarios in psql. With OPENAI_API_KEY set, the
# runs go to OpenAI itself. Leaves nothing running.
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
start_server "$work"

psql=("$bindir/psql" -X -q -v ON_ERROR_STOP=1)
"${psql[@]}" -c 'CREATE EXTENSION agno_bg'
if [ -n "${OPENAI_API_KEY:-}" ]; then
	echo "the runs go to OpenAI, since OPENAI_API_KEY is set"
	model=openai:gpt-5-mini
	slow_model=$model
else
	echo "the runs go to a mock model server; set OPENAI_API_KEY for OpenAI"
	start_mock "$work"
	"${psql[@]}" -c "CREATE SERVER mock FOREIGN DATA WRAPPER agno_bg
		OPTIONS (api 'openai-responses', base_url '$mock_url')"
	model=mock:slow-1200
	slow_model=mock:hang
fi

cd "$work/src"
as_user env PGHOST="$PGHOST" PGPORT="$PGPORT" PGUSER="$PGUSER" \
	"${psql[@]}" \
	-v model="$model" -v slow_model="$slow_model" \
	-v question1='What is the capital of France?' \
	-v question2='Write a very long story about an elephant.' \
	-v question3='Never to be asked.' \
	-f test/demo.sql
echo
echo "done"
