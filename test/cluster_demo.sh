#!/bin/bash
# make cluster-demo: a router, two nodes and a standby of one on this machine. Clients
# enqueue through the router while the primary is killed with -9 and its standby
# promoted: what was acknowledged, what of it is lost, and how long it takes is
# shown; first with a synchronous standby, then with an asynchronous one that is behind, then
# with Patroni, where that is installed (on Debian: patroni python3-pysyncobj).
# Leaves nothing running.
set -euo pipefail
cd "$(dirname "$0")/.."
. test/lib.sh
. test/cluster_lib.sh

work=$(mktemp -d /tmp/agno_bg_cluster.XXXXXX)
mock_pid=
patroni_pids=
cleanup() {
	# shellcheck disable=SC2086 # one argument each
	[ -z "$patroni_pids" ] || as_root kill -9 $patroni_pids 2>/dev/null || true
	cluster_stop
	[ -z "$mock_pid" ] || kill "$mock_pid" 2>/dev/null || true
	as_root rm -rf "$work"
}
trap cleanup EXIT

install_packages
need_plproxy
echo "building agno_bg with $("$PG_CONFIG" --version)"
copy_sources "$work"
[ "$(id -u)" != 0 ] || chown -R "$ordinary_user" "$work"
build_and_install "$work"
[ "$(id -u)" != 0 ] || chown -R "$ordinary_user" "$work"
start_mock "$work"

say() { printf '\n=== %s\n\n' "$1"; }
now() { date +%s.%N; }
since() { awk "BEGIN { printf \"%.1f\", $(now) - $1 }"; }

# Two ids whose sessions are of a node, as are all that go on with a slash.
sessions_of() {
	on router "SELECT id FROM (SELECT 'session-' || i AS id FROM generate_series(1, 1000) i) s
		WHERE agno.node_of(id) = '$1' LIMIT 2"
}

# Two clients of the node $2, for so many seconds; each run has its own session. Each run that
# is acknowledged is a line, with the time, in $work/$1.$2.acknowledged.
clients=
start_clients() {
	local session i=0
	for session in $(sessions_of "$2"); do
		i=$((i + 1))
		on router "SELECT string_agg(format('SELECT run_id || '' '' || extract(epoch FROM clock_timestamp())
				FROM agno_arun(''Hello'', session_id => %L, run_id => %L, model => ''mock:slow-1000'');
				SELECT FROM pg_sleep(0.01);', '$session/' || n, '$1-$2-$i-' || n), E'\n' ORDER BY n)
			FROM generate_series(1, 5000) n" >"$work/$1.$2.$i.sql"
		{
			timeout "$3" "$bindir/psql" -XAtq -h "$work" -p "${cluster_port[router]}" -U postgres \
				-d postgres -f "$work/$1.$2.$i.sql" 2>"$work/$1.$2.$i.errors" |
				grep ' ' >"$work/$1.$2.$i.acknowledged" || true
			echo "ended $(now)" >"$work/$1.$2.$i.ended"
		} &
		clients="$clients $!"
	done
}

# What has become of the runs of a round, on these nodes.
report() {
	local round=$1 node pause
	shift
	# shellcheck disable=SC2086 # one argument each
	wait $clients || true
	clients=
	for node; do
		until_true router "count(*) = 0 FROM agno.runs WHERE run_id LIKE '$round-$node-%'
			AND status IN ('PENDING', 'RUNNING')"
		cat "$work/$round.$node".*.acknowledged >"$work/acknowledged"
		# the longest time without a run in one of the sessions, to the client's end
		pause=$(for file in "$work/$round.$node".*.acknowledged; do
			awk 'NR > 1 && $2 - last > most { most = $2 - last } { last = $2 } END { printf "%.2f\n", most }' \
				"$file" "${file%.acknowledged}.ended"
		done | sort -n | tail -1)
		on router "CREATE TEMPORARY TABLE acknowledged (run_id text, at numeric);
			COPY acknowledged FROM '$work/acknowledged' (DELIMITER ' ');
			SELECT format('%s: %s runs acknowledged, %s lost; %s COMPLETED in the first attempt, %s in the second; '
				'%s of them were not acknowledged; %s s without service', '$node',
				(SELECT count(*) FROM acknowledged),
				(SELECT count(*) FROM acknowledged a WHERE NOT EXISTS (SELECT FROM agno.runs r WHERE r.run_id = a.run_id)),
				count(*) FILTER (WHERE status = 'COMPLETED' AND attempt = 1),
				count(*) FILTER (WHERE status = 'COMPLETED' AND attempt > 1),
				count(*) FILTER (WHERE NOT EXISTS (SELECT FROM acknowledged a WHERE a.run_id = r.run_id)),
				'$pause')
			FROM agno.runs r WHERE run_id LIKE '$round-$node-%'"
	done
}

requests() { grep -c '"event": "request"' "$work/mock.log"; }

say "A router, two nodes, and a synchronous standby of the first"

cluster_node n1 "$mock_url"
cluster_node n2 "$mock_url"
cluster_standby s1 n1
on n1 "ALTER SYSTEM SET synchronous_standby_names = 's1'"
on n1 "SELECT pg_reload_conf()" >/dev/null
until_true n1 "count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'"
cluster_router
cluster_add n1 n1 s1
cluster_add n2 n2
"$bindir/psql" -X -h "$work" -p "${cluster_port[router]}" -U postgres -d postgres \
	-c "SELECT node, reachable, first_slot, last_slot, agents FROM agno_router_status()" \
	-c "SELECT run_id, status FROM agno_arun('Hello', model => 'mock:echo')"

say "kill -9 of the primary under load, and promotion of its standby"

start_clients sync n1 8
start_clients sync n2 8
sleep 3
killed=$(now)
cluster_kill n1
as_user "$bindir/pg_ctl" -D "$work/s1" -w promote >/dev/null
echo "killed n1; promoted s1 after $(since "$killed") s"
report sync n1 n2
echo "$(requests) requests for $(on router "SELECT count(*) FROM agno.runs") runs: what was in flight was sent again"

say "The same with an asynchronous standby, which is cut off for 2 s before"

cluster_standby s2 s1
on router "ALTER SERVER n1 OPTIONS (SET port '${cluster_port[s1]},${cluster_port[s2]}')"
start_clients async n1 8
start_clients async n2 8
sleep 2
on s2 "ALTER SYSTEM SET primary_conninfo = ''"
on s2 "SELECT pg_reload_conf()" >/dev/null
sleep 2
cluster_kill s1
as_user "$bindir/pg_ctl" -D "$work/s2" -w promote >/dev/null
report async n1 n2

if ! command -v patroni >/dev/null || ! command -v patroni_raft_controller >/dev/null; then
	say "Patroni is not installed: its part is left out"
	exit
fi

say "Patroni: two members and a witness, synchronous; kill -9 of the leader and of its Patroni"

# A member of Patroni's, or the witness, which has only its raft.
patroni_member() {
	local name=$1 raft=$2 rest=$3
	as_user mkdir -p "$work/raft.$name"
	cat >"$work/$name.yml" <<-YML
		scope: agno
		name: $name
		raft:
		  data_dir: $work/raft.$name
		  self_addr: 127.0.0.1:$raft
		  partner_addrs: [$(printf '127.0.0.1:%s\n' 17401 17402 17403 | grep -v "$raft" | paste -sd,)]
	YML
	if [ "$name" = witness ]; then
		${ordinary[@]+"${ordinary[@]}"} patroni_raft_controller "$work/$name.yml" >"$work/$name.patroni" 2>&1 &
		patroni_pids="$patroni_pids $!"
		return
	fi
	cluster_port[$name]=$((rest + 10))
	cat >>"$work/$name.yml" <<-YML
		restapi: { listen: "127.0.0.1:$rest", connect_address: "127.0.0.1:$rest" }
		bootstrap:
		  dcs:
		    ttl: 20
		    loop_wait: 2
		    retry_timeout: 5
		    synchronous_mode: true
		    postgresql:
		      parameters:
		        shared_preload_libraries: agno_bg
		        wal_level: logical
		        max_connections: 200
		        agno_bg.cluster: "on"
		  initdb: [ { encoding: UTF8 }, no-locale, { auth-local: trust }, { auth-host: trust } ]
		postgresql:
		  # within the machine, by the sockets alone
		  listen: 127.0.0.1:${cluster_port[$name]}
		  connect_address: 127.0.0.1:${cluster_port[$name]}
		  use_unix_socket: true
		  use_unix_socket_repl: true
		  data_dir: $work/$name
		  bin_dir: $bindir
		  pgpass: $work/pgpass.$name
		  authentication:
		    superuser: { username: postgres }
		    replication: { username: postgres }
		  parameters: { unix_socket_directories: $work }
		  pg_hba: [ local all all trust, local replication all trust, host all all 127.0.0.1/32 trust, host replication all 127.0.0.1/32 trust ]
	YML
	${ordinary[@]+"${ordinary[@]}"} patroni "$work/$name.yml" >"$work/$name.patroni" 2>&1 &
	patroni_pids="$patroni_pids $!"
	eval "patroni_of_$name=$!"
	disown
}

patroni_member witness 17403 ""
patroni_member p1 17401 17411
until_true p1 "NOT pg_is_in_recovery()" || { tail -20 "$work/p1.patroni"; exit 1; }
patroni_member p2 17402 17412
until_true p1 "count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'"
on p1 "CREATE EXTENSION agno_bg"
on p1 "CREATE SERVER mock FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url '$mock_url')"
on router "ALTER SERVER n1 OPTIONS (SET port '${cluster_port[p1]},${cluster_port[p2]}')"
echo "the router has n1 there now"
start_clients patroni n1 45
start_clients patroni n2 45
sleep 4
# shellcheck disable=SC2154 # set by patroni_member
as_root kill -9 "$patroni_of_p1"
cluster_kill p1
killed=$(now)
until_true p2 "NOT pg_is_in_recovery()"
echo "killed p1 and its Patroni; p2 is the leader after $(since "$killed") s"
report patroni n1 n2
