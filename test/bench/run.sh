#!/bin/bash
# make bench: how fast agno_bg is on this machine, durably: fsync and
# synchronous_commit are on. Rates are told with their ratio to a bare loop of
# libcurl against the same nginx in the same minutes. Not part of the tests. The
# server has the memory that one would give it, else all is as it comes.
# Arguments: the figures to measure (1 to 20) instead of all. Latencies come
# first, before the disk is busy with what the rest has written.
set -euo pipefail
cd "$(dirname "$0")/../.."
. test/lib.sh

work=$(mktemp -d /tmp/agno_bg_bench.XXXXXX)
cleanup() {
	[ ! -f "$work/nginx.pid" ] || kill "$(cat "$work/nginx.pid")" || true
	stop_server "$work"
	as_root rm -rf "$work"
}
trap cleanup EXIT

extra_packages="libnginx-mod-http-echo libpq-dev"
install_packages
copy_sources "$work"
[ "$(id -u)" != 0 ] || chown -R "$ordinary_user" "$work"
build_and_install "$work"
gcc -O2 -o "$work/ceiling" test/bench/ceiling.c \
	$(pkg-config --cflags --libs libcurl)
gcc -O2 -o "$work/probe" test/bench/probe.c \
	-I"$("$PG_CONFIG" --includedir)" -L"$("$PG_CONFIG" --libdir)" -lpq -lpthread
sed "s|PREFIX|$work|" test/bench/nginx.conf >"$work/nginx.conf"
# 500 tokens, 50 a second; each says when it was sent
for _ in $(seq 500); do
	echo "echo 'data: {\"choices\":[{\"delta\":{\"content\":\"\$msec \"}}]}';"
	echo "echo ''; echo_flush; echo_sleep 0.02;"
done >"$work/tokens.conf"
as_user nginx -e "$work/nginx.log" -c "$work/nginx.conf"

server_settings="
		max_connections = 1100
		shared_buffers = 2GB
		max_wal_size = 8GB"
start_server "$work"
psql=("$bindir/psql" -X -q -At -v ON_ERROR_STOP=1)
sql() { "${psql[@]}" -c "$1"; }
sql "CREATE EXTENSION agno_bg"
for name in fast slow slower; do
	sql "CREATE SERVER $name FOREIGN DATA WRAPPER agno_bg
		OPTIONS (base_url 'http://127.0.0.1:8099/$name')"
done
sql "CREATE SERVER probe FOREIGN DATA WRAPPER agno_bg
	OPTIONS (base_url 'http://127.0.0.1:8098')"

# name, measured, aim, and in what way
row() { printf '%-3s %-58s %14s   %s\n' "$1" "$2" "$3" "$4"; }
ratio() { awk "BEGIN { printf \"%.2f\", $1 / $2 }"; }
wanted() { [ -z "$figures" ] || [[ " $figures " == *" $1 "* ]]; }
figures=$*

configure() {
	sql "ALTER SYSTEM SET $1"
	sql "SELECT pg_reload_conf()" >/dev/null
	sleep 0.3
}
empty() {
	sql "TRUNCATE agno.runs, agno.sessions, agno.run_queue, agno.run_requests"
	sql "CHECKPOINT"
}
runner() {
	sql "SELECT pid FROM pg_stat_activity WHERE backend_type = 'agno_bg runner'
		AND datname = 'postgres'"
}
restart() {
	as_user "$bindir/pg_ctl" -D "$work/data" -l "$work/server.log" -w restart \
		</dev/null >/dev/null 2>&1
}
# CPU time of all runners so far, in microseconds.
cpu() {
	for pid in $(sql "SELECT pid FROM pg_stat_activity
		WHERE backend_type = 'agno_bg runner' AND datname = 'postgres'"); do
		cat "/proc/$pid/schedstat"
	done | awk '{ n += $1 } END { printf "%d", n / 1000 }'
}
bytes_of_wal() { sql "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '$1')"; }
# CPU time of the runner so far, in ticks.
ticks() { awk '{ print $14 + $15 }' "/proc/$(runner)/stat"; }
private_kb() { awk '/^RssAnon/ { print $2 }' "/proc/$1/status"; }

finished() {
	sql "SELECT n_tup_del FROM pg_stat_user_tables WHERE relname = 'run_queue'"
}

# Enqueue $1 runs of server $2 in one statement; prints runs per second from
# its commit to the last end.
burn_down() {
	"${psql[@]}" <<-SQL
		SELECT count(*) FROM generate_series(1, $1) i,
			agno_arun('Hello ' || i, model => '$2:m') \\g /dev/null
		SELECT clock_timestamp() AS start \\gset
		DO \$\$ BEGIN LOOP
			PERFORM pg_sleep(0.05); COMMIT;
			EXIT WHEN NOT EXISTS (SELECT FROM agno.run_queue);
		END LOOP; END \$\$;
		SELECT round($1 / extract(epoch FROM max(finished_at) - :'start'))
		FROM agno.runs WHERE finished_at > :'start';
	SQL
}

row "#" "what" "measured" "aim"
ceiling=$("$work/ceiling" http://127.0.0.1:8099/fast/responses 50000 50)
row "" "bare libcurl, 50 at once: requests/s" "$ceiling" ""

if wanted 5; then
	empty
	"$work/probe" 8098 start >"$work/probe.out"
	read -r _ median last < <(grep to_server "$work/probe.out")
	row 5 "commit of agno_arun to the request: ms, and p99" "$median $last" "0.5 5"
	read -r _ median last < <(grep to_answer "$work/probe.out")
	row "" "    to the answer" "$median $last" "1.5 5"
fi
if wanted 6; then
	read -r _ median last < <("$work/probe" 8098 sequence)
	row 6 "one CALL agno_run after the other: ms, and p99" "$median $last" "2"
fi
if wanted 7; then
	configure "agno_bg.max_concurrent_runs = 2000"
	"$work/probe" 8098 busy >"$work/busy.out"
	configure "agno_bg.max_concurrent_runs = 1000"
	read -r _ median last < <(grep to_server "$work/busy.out")
	row 7 "as 5, with 1,000 in flight: to the request" "$median $last" "2 x 5"
	read -r _ median last < <(grep to_answer "$work/busy.out")
	row "" "    to the answer" "$median $last" "2 x 5"
fi
if wanted 8; then
	"$work/probe" 8098 cancel >"$work/cancel.out"
	read -r _ median last < <(grep to_close "$work/cancel.out")
	row 8 "commit of agno_cancel_run to the connection's end: ms" "$median $last" "2 20"
	read -r _ median last < <(grep to_status "$work/cancel.out")
	row "" "    to CANCELLED" "$median $last" "2 20"
fi

if wanted 1; then
	burn_down 20000 fast >/dev/null
	before=$(cpu)
	lsn=$(sql "SELECT pg_current_wal_insert_lsn()")
	rate=$(burn_down 50000 fast)
	used=$(($(cpu) - before))
	wal=$(bytes_of_wal "$lsn")
	ceiling=$("$work/ceiling" http://127.0.0.1:8099/fast/responses 50000 50)
	row 1 "burn-down of 50,000 runs: runs/s" "$rate" ""
	row "" "    to bare libcurl, now $ceiling" "$(ratio "$rate" "$ceiling")" "0.40"
	row "" "    the runner's CPU for a run, us" "$(ratio "$used" 50000)" "90"
	row "" "    WAL of a run, its enqueueing included, bytes" "$(ratio "$wal" 50000)" "1,600"
	(while [ ! -e "$work/counted" ] && sleep 0.1; do
		echo "SELECT count(*) FROM agno.runs GROUP BY status;"
	done | "${psql[@]}" >/dev/null) &
	rate=$(burn_down 50000 fast)
	touch "$work/counted"
	wait $!
	row "" "    with a client that counts by status 10 times a second" \
		"$(ratio "$rate" "$ceiling")" "0.30"
	size() { sql "SELECT round(sum(pg_total_relation_size(oid)) / (SELECT count(*) FROM agno.runs))
		FROM pg_class WHERE oid IN ('agno.runs'::regclass, 'agno.sessions'::regclass)"; }
	sql "VACUUM agno.runs, agno.sessions"
	after_vacuum=$(size)
	sql "VACUUM FULL agno.runs"
	sql "VACUUM FULL agno.sessions"
	row "" "    disk of a run with its session: vacuumed; VACUUM FULL" \
		"$after_vacuum $(size)" "1,700"
fi

if wanted 2; then
	empty
	configure "agno_bg.paused = on"
	rate=$("${psql[@]}" <<-'SQL'
		CREATE TABLE enqueued (id int, run_id text);
		SELECT clock_timestamp() AS start \gset
		INSERT INTO enqueued SELECT i, (r).run_id FROM generate_series(1, 50000) i,
			agno_arun('Hello ' || i, model => 'fast:m') r;
		SELECT round(50000 / extract(epoch FROM clock_timestamp() - :'start'));
	SQL
	)
	row 2 "enqueue 50,000 in one statement: runs/s" "$rate" "25,000"
	sql "CREATE TABLE plain (LIKE agno.runs INCLUDING ALL)"
	echo "SELECT agno_arun('Hello', model => E'fast\\x3am')" >"$work/arun.sql"
	cat >"$work/insert.sql" <<-'SQL'
		INSERT INTO plain (run_id, session_id, status, input, model, model_provider, owner, priority, created_at) VALUES (gen_random_uuid(), gen_random_uuid(), 'PENDING', 'Hello', 'm', 'fast', 10, 0, now())
	SQL
	single() {
		"$bindir/pgbench" -n -M prepared -c 8 -j 2 -T 8 -f "$1" |
			sed -n 's/^tps = \([0-9]*\).*/\1/p'
	}
	calls=$(single "$work/arun.sql")
	inserts=$(single "$work/insert.sql")
	row "" "    single calls, 8 clients: to plain INSERTs ($calls : $inserts)" \
		"$(ratio "$calls" "$inserts")" "0.7"
	empty
	configure "agno_bg.paused = off"
fi

if wanted 3 || wanted 4; then
	empty
	# One role may have all slots.
	configure "agno_bg.max_runs_per_role = 10000"
	rate=$(burn_down 10000 slow)
	row 3 "1 s a request, 1,000 in flight: runs/s of 1,000" "$rate" "950"
	before=$(private_kb "$(runner)")
	configure "agno_bg.max_concurrent_runs = 10000"
	(
		for _ in $(seq 200); do
			private_kb "$(runner)"
			sleep 0.1
		done | sort -n | tail -1 >"$work/memory"
	) &
	watcher=$!
	rate=$(burn_down 30000 slower)
	wait $watcher
	row "" "10 s a request, 10,000 in flight: runs/s of 1,000" "$rate" "950"
	row 4 "memory for each of 10,000 in flight: kB" \
		"$(ratio $(($(cat "$work/memory") - before)) 10000)" "25"
	sleep 1
	row "" "    and afterwards, above what it was: kB" \
		"$(($(private_kb "$(runner)") - before))" "near 0"
	configure "agno_bg.max_concurrent_runs = 1000"
	configure "agno_bg.max_runs_per_role = 0"
fi

if wanted 9; then
	empty
	sql "INSERT INTO agno.runs (run_id, session_id, status, input, content,
			model, model_provider, messages, metrics, attempt, owner, priority,
			created_at, started_at, finished_at)
		SELECT 'run-' || i, 'session-' || i / 5000, 'COMPLETED', 'Hello', 'World',
			'm', 'fast', '[{\"role\": \"user\", \"content\": \"Hello\"}]',
			'{\"total_tokens\": 18}', 1, 10, 0, now(), now(), now()
		FROM generate_series(1, 1000000) i"
	sql "VACUUM ANALYZE agno.runs"
	echo '\set i random(1, 1000000)' | tee "$work/poll.sql" >"$work/select.sql"
	echo "SELECT * FROM agno_get_run_output('run-' || :i)" >>"$work/poll.sql"
	echo "SELECT * FROM agno.runs WHERE run_id = 'run-' || :i" >>"$work/select.sql"
	polls() {
		"$bindir/pgbench" -n -c 1 -T 8 -f "$1" |
			sed -n 's/^latency average = \([0-9.]*\).*/\1/p'
	}
	polls "$work/select.sql" >/dev/null
	select=$(polls "$work/select.sql")
	poll=$(polls "$work/poll.sql")
	row 9 "poll one of 1,000,000 runs ($poll ms) to a SELECT ($select ms)" \
		"$(ratio "$poll" "$select")" "1.5"
fi

if wanted 10; then
	empty
	few=$(burn_down 10000 fast)
	before=$(ticks)
	few=$(burn_down 10000 fast)
	few_cpu=$(ratio $((($(ticks) - before) * 1000)) 10000)
	"${psql[@]}" >"$work/many.out" <<-'SQL'
		SELECT count(*) FROM generate_series(1, 500000) i,
			agno_arun('Hello ' || i, model => 'fast:m') \g /dev/null
		SELECT pg_sleep(1) \g /dev/null
	SQL
	# what it costs, and how fast it goes: the disk is busy with the rows above
	read -r before runs < <(echo "$(ticks)" "$(finished)")
	sleep 15
	many=$((($(finished) - runs) / 15))
	many_cpu=$(ratio $((($(ticks) - before) * 1000)) $((many * 15)))
	row 10 "burn-down with 500,000 pending ($many) to 10,000 ($few)" \
		"$(ratio "$many" "$few")" "0.9"
	row "" "    the runner's CPU for 1,000 runs, ticks ($many_cpu) to ($few_cpu)" \
		"$(ratio "$many_cpu" "$few_cpu")" "near 1"
	configure "agno_bg.paused = on"
	sleep 1
	empty
	configure "agno_bg.paused = off"
	(echo "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1;"; sleep 60) |
		"${psql[@]}" >/dev/null &
	holder=$!
	sleep 0.5
	old=$(burn_down 50000 fast)
	old2=$(burn_down 50000 fast)
	kill $holder 2>/dev/null || true
	row "" "    with a transaction open since before ($old, then $old2)" \
		"$(ratio "$old2" "$few")" "0.6"
fi

if wanted 11; then
	empty
	configure "autovacuum = off"
	sleep 12
	pid=$(runner)
	launcher=$(sql "SELECT pid FROM pg_stat_activity WHERE backend_type = 'agno_bg launcher'")
	switches() { cat "/proc/$pid/status" "/proc/$launcher/status" | awk '/ctxt/ { n += $2 } END { print n }'; }
	sql "CHECKPOINT"
	sleep 1
	before=$(switches)
	wal=$(sql "SELECT pg_current_wal_insert_lsn()")
	sleep 60
	row 11 "idle for 60 s: context switches, bytes of WAL" \
		"$(($(switches) - before)) $(sql "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '$wal')")" "0 0"
fi

if wanted 12; then
	empty
	configure "agno_bg.max_concurrent_runs = 2000"
	"$work/probe" 8098 waiters >"$work/waiters.out"
	read -r _ cpu1 switches1 < <(grep before "$work/waiters.out")
	read -r _ cpu2 switches2 < <(grep after "$work/waiters.out")
	row 12 "1,000 wait while 1,000 others end: wake-ups, CPU ticks" \
		"$((switches2 - switches1)) $((cpu2 - cpu1))" "0 0"
fi

# Milliseconds from the first token at the server to its being visible to SQL,
# the median of 15 streams, asked for every 2 ms.
first_token() {
	"${psql[@]}" <<-'SQL'
		CREATE TEMP TABLE seen (ms float8);
		DO $$
		DECLARE
			id text;
			said text;
		BEGIN
			FOR i IN 1..15 LOOP
				id := (agno_arun('probe', model => 'tokens:m', stream => true)).run_id;
				COMMIT;
				LOOP
					SELECT split_part(content, ' ', 1) INTO said
					FROM agno.runs WHERE run_id = id AND content LIKE '% %';
					EXIT WHEN FOUND;
					PERFORM pg_sleep(0.002);
					COMMIT;
				END LOOP;
				INSERT INTO seen SELECT
					extract(epoch FROM clock_timestamp()) * 1000 - said::float8 * 1000;
				PERFORM agno_cancel_run(id);
				COMMIT;
			END LOOP;
		END $$;
		SELECT round(percentile_cont(0.5) WITHIN GROUP (ORDER BY ms)) FROM seen;
	SQL
}

if wanted 13; then
	empty
	sql "CREATE SERVER tokens FOREIGN DATA WRAPPER agno_bg OPTIONS
		(api 'openai-chat', base_url 'http://127.0.0.1:8099/tokens')"
	configure "agno_bg.max_concurrent_runs = 2000"
	idle=$(first_token)
	sql "SELECT count(*) FROM generate_series(1, 1000) i,
		agno_arun('Hello ' || i, model => 'tokens:m', stream => true)" >/dev/null
	sleep 2
	commits() { sql "SELECT pg_stat_get_db_xact_commit(oid) FROM pg_database
		WHERE datname = 'postgres'"; }
	before=$(ticks) before_commits=$(commits)
	sleep 6
	used=$(($(ticks) - before))
	made=$(($(commits) - before_commits))
	busy=$(first_token)
	row 13 "1,000 streams of 50 tokens/s: share of a core" \
		"$(ratio "$used" $((6 * $(getconf CLK_TCK))))" "0.5"
	row "" "    transactions/s" "$(ratio "$made" 6)" "20"
	row "" "    first token to SQL, ms: idle, and with those streams" \
		"$idle $busy" "100 100"
	configure "agno_bg.max_concurrent_runs = 1000"
fi

if wanted 14; then
	sql "ALTER SYSTEM SET agno_bg.paused = off"
	for runners in 1 2; do
		sql "ALTER SYSTEM SET agno_bg.runners = $runners"
		restart
		empty
		burn_down 20000 fast >/dev/null
		before=$(cpu)
		rate=$(burn_down 50000 fast)
		used=$(($(cpu) - before))
		[ $runners = 1 ] && one=$used && one_rate=$rate
	done
	row 14 "figure 1 with agno_bg.runners = 1 and 2: runs/s" "$one_rate $rate" ""
	row "" "    CPU for a run, to that of one runner" "$(ratio "$used" "$one")" "1.1"
	sql "ALTER SYSTEM RESET agno_bg.runners"
	restart
fi

if wanted 15; then
	start_mock "$work"
	trap 'kill "$mock_pid" 2>/dev/null || true; cleanup' EXIT
	sql "ALTER SYSTEM RESET agno_bg.runners"
	restart
	sql "TRUNCATE agno.runs, agno.sessions, agno.run_queue, agno.run_requests"
	"${psql[@]}" <<-SQL
		CREATE SERVER tools FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url '$mock_url');
		CREATE FUNCTION look(i integer) RETURNS integer LANGUAGE sql STABLE AS 'SELECT i + 1';
		CREATE TABLE counted (n bigint);
		CREATE FUNCTION count_up(i integer) RETURNS integer LANGUAGE sql AS 'INSERT INTO counted VALUES (i) RETURNING 1';
		INSERT INTO agno.agents (agent_id, model, tools, tool_call_limit)
			VALUES ('caller', 'tools:tools', '{look,count_up}', 100000);
		-- what the mock is to say: so many answers with so many calls each
		CREATE FUNCTION script(tool text, turns integer, calls integer, id text) RETURNS text LANGUAGE sql AS \$\$
			SELECT json_build_object('id', id, 'calls', json_agg((SELECT json_agg(json_build_object('name', tool,
				'arguments', json_build_object('i', c))) FROM generate_series(1, calls) c)))::text
			FROM generate_series(1, turns) t \$\$;
		CREATE PROCEDURE count_plain(n integer) LANGUAGE plpgsql AS \$\$ BEGIN
			FOR i IN 1..n LOOP PERFORM count_up(i); COMMIT; END LOOP; END \$\$;
	SQL
	ask() { sql "SELECT run_id FROM agno_arun(script('$1', $2, $3, '$4'), 'caller', run_id => '$4')" >/dev/null
		sql "SELECT status FROM agno_wait_run('$4')" >/dev/null; }
	ask look 20 1 warm
	ask look 50 1 fifty
	"$work/ceiling" "$mock_url/responses" 50 1 >/dev/null
	row 15 "a warm read-only tool: ms from the answer to the next request; of bare libcurl; added" \
		"$(python3 - "$work/mock.log" <<-'PY'
			import json, statistics, sys
			answered, waits = None, {"tools": [], "m": []}
			for line in open(sys.argv[1]):
			    event = json.loads(line)
			    if event["event"] == "answered":
			        answered = event["time"]
			    elif event["event"] == "request":
			        waits[event["body"]["model"]].append(event["time"] - (answered or 0))
			# the last ones, without the first, which follows nothing
			tool, bare = (1000 * statistics.median(waits[model][-49:]) for model in waits)
			print("%.2f %.2f %.2f" % (tool, bare, tool - bare))
		PY
		)" "- - 1"
	# The same calls, in turn, by a client, as applications do it, and by a procedure, which
	# saves it the way to and fro.
	echo 'SELECT count_up(1)' >"$work/call.sql"
	for round in 1 2 3; do
		ask count_up 1 1000 "many$round"
		sql "SELECT extract(epoch FROM max(finished_at) - min(started_at))
			FROM agno.tool_calls WHERE run_id = 'many$round'"
		"$bindir/pgbench" -n -M prepared -t 1000 -f "$work/call.sql" 2>/dev/null |
			sed -n 's/^tps = \([0-9.]*\).*/\1/p' | awk '{ print 1000 / $1 }'
		"${psql[@]}" <<-'SQL'
			SELECT clock_timestamp() AS start \gset
			CALL count_plain(1000);
			SELECT extract(epoch FROM clock_timestamp() - :'start');
		SQL
	done >"$work/calls.out"
	read -r calls client procedure <<<"$(paste - - - <"$work/calls.out" |
		awk '{ t += $1; c += $2; p += $3 } END { print int(3000 / t), int(3000 / c), int(3000 / p) }')"
	row "" "    calls/s of one worker, one commit each; of a client; ratio" \
		"$calls $client $(ratio "$calls" "$client")" "- - 0.5"
	row "" "    of a procedure that commits; ratio" "$procedure $(ratio "$calls" "$procedure")" ""
	for turns in 10 100; do
		before=$(sql "SELECT pg_current_wal_insert_lsn()")
		ask look $turns 1 "wal$turns"
		sql "SELECT round((pg_current_wal_insert_lsn() - '$before') / $turns)"
	done >"$work/wal.out"
	row "" "    WAL of a step, bytes: of 10 steps, of 100" \
		"$(tr '\n' ' ' <"$work/wal.out")" "the same"
	start=$(date +%s.%N)
	sql "SELECT count(*) FROM generate_series(1, 1000) i,
		agno_arun(script('count_up', 3, 1, 'r' || i), 'caller')" >/dev/null
	until [ "$(sql "SELECT count(*) FROM agno.run_queue")" = 0 ]; do sleep 0.1; done
	row "" "    1,000 runs with 3 calls each, 4 workers: calls/s, not COMPLETED" \
		"$(awk "BEGIN { print int(3000 / ($(date +%s.%N) - $start)) }") $(sql "SELECT count(*)
			FROM agno.runs WHERE status <> 'COMPLETED'")" "- 0"
fi

# A model in the write path: a trigger enqueues a run for each document, and its
# on_complete writes the answer back.
if wanted 16; then
	configure "agno_bg.max_tool_workers = 2"
	"${psql[@]}" <<-SQL
		CREATE TABLE documents (id integer PRIMARY KEY, body text, answer text) WITH (fillfactor = 50);
		CREATE FUNCTION write_back(r agno.runs) RETURNS void LANGUAGE sql AS
			'UPDATE public.documents SET answer = r.content WHERE id = (r.metadata ->> ''document'')::integer';
		CREATE FUNCTION ask() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN
			PERFORM agno_arun(NEW.body, model => 'fast:m', metadata => jsonb_build_object('document', NEW.id),
				on_complete => nullif(TG_ARGV[0], ''));
			RETURN NULL; END \$\$;
	SQL
	# documents per second, from the commit to the last end, with this on_complete
	write_path() {
		empty
		sql "TRUNCATE documents, agno.callbacks"
		sql "DROP TRIGGER IF EXISTS ask ON documents"
		sql "CREATE TRIGGER ask AFTER INSERT ON documents FOR EACH ROW EXECUTE FUNCTION ask('$1')"
		"${psql[@]}" <<-SQL
			INSERT INTO documents SELECT i, 'Hello ' || i FROM generate_series(1, $2) i;
			SELECT clock_timestamp() AS start \\gset
			DO \$\$ BEGIN LOOP
				PERFORM pg_sleep(0.05); COMMIT;
				EXIT WHEN NOT EXISTS (SELECT FROM agno.run_queue);
			END LOOP; END \$\$;
			SELECT round($2 / extract(epoch FROM max(finished_at) - :'start')) FROM agno.runs;
		SQL
	}
	write_path write_back 10000 >/dev/null
	plain=$(write_path "" 100000)
	back=$(write_path write_back 100000)
	row 16 "100,000 documents answered: without on_complete, with it; ratio" \
		"$plain $back $(ratio "$back" "$plain")" "- - 0.5"
	row "" "    documents without their answer, runs with an error" \
		"$(sql "SELECT count(*) FROM documents WHERE answer IS NULL") $(sql "SELECT count(*) FROM agno.runs WHERE error IS NOT NULL")" "0 0"
fi

# A caller that waits for each of its runs, beside another role's burst and beside a
# session that commits plain INSERTs in the same seconds.
if wanted 17; then
	empty
	"${psql[@]}" <<-SQL
		CREATE ROLE other LOGIN;
		SELECT agno_grant_usage('other');
		GRANT USAGE ON FOREIGN SERVER fast TO other;
		CREATE TABLE committed (LIKE agno.runs);
	SQL
	echo "CALL agno_run('Hello', model => E'fast\\x3am')" >"$work/call.sql"
	echo "INSERT INTO committed (run_id, session_id, status, input, model, model_provider, owner, priority, attempt, created_at) VALUES (gen_random_uuid(), 's', 'PENDING', 'Hello', 'm', 'fast', 10, 0, 0, now())" >"$work/commit.sql"
	# the median and the 99th percentile of a script's latencies, in ms
	latencies() {
		(cd "$work" && PGUSER=${3:-postgres} "$bindir/pgbench" -n -c 1 -T 12 -f "$1.sql" -l \
			--log-prefix="$work/$1.$2" postgres >/dev/null 2>&1)
		awk '{ print $3 / 1000 }' "$work/$1.$2".* | sort -n | awk '{ v[NR] = $1 } END {
			printf "%.1f %.1f", v[int(NR / 2) + 1], v[int(NR * 0.99) + 1] }'
	}
	for what in quiet burst; do
		[ $what = quiet ] || "${psql[@]}" -c "SELECT count(*) FROM generate_series(1, 50000) i,
			agno_arun('Hello ' || i, model => 'fast:m')" >/dev/null &
		burst=$!
		latencies commit $what >"$work/commit.$what.out" &
		plain=$!
		caller=$(latencies call $what other)
		wait $plain
		row "$([ $what = quiet ] && echo 17)" "$what: CALL agno_run; a plain commit: ms, median and p99" \
			"$caller; $(cat "$work/commit.$what.out")" "+ 10"
		wait $burst
	done
fi

# What figure 1 is with the memory of a small server.
if wanted 18; then
	sql "ALTER SYSTEM SET shared_buffers = '512MB'"
	restart
	empty
	burn_down 20000 fast >/dev/null
	rate=$(burn_down 50000 fast)
	ceiling=$("$work/ceiling" http://127.0.0.1:8099/fast/responses 50000 50)
	row 18 "figure 1 with shared_buffers = 512MB: to bare libcurl" \
		"$(ratio "$rate" "$ceiling")" "0.35"
	sql "ALTER SYSTEM RESET shared_buffers"
	restart
fi

# Several servers
if wanted 19 || wanted 20; then
	. test/bench/cluster.sh
fi
