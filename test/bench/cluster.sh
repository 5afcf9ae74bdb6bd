# shellcheck shell=bash disable=SC2154
# Figures 19 and 20 of make bench: what a router costs, and what more nodes bring. To be
# sourced by run.sh. All servers are on this machine, so figure 20 tells how much of
# the machine each run takes rather than what more machines bring.

. test/cluster_lib.sh
need_plproxy
trap 'cluster_stop; cleanup' EXIT

# The memory of the servers of the other figures is not needed any more.
stop_server "$work"
node_conf="$node_conf
		max_wal_size = 2GB
		agno_bg.max_concurrent_runs = 200
		agno_bg.max_runs_per_role = 200"
for node in n1 n2 n3 n4; do
	cluster_node $node http://127.0.0.1:8099/slow
	on $node "CREATE SERVER fast FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url 'http://127.0.0.1:8099/fast')"
done
cluster_router
cluster_add n1 n1

# Milliseconds of the statement in a file, by one client, on a server.
latency() {
	"$bindir/pgbench" -n -c 1 -T 4 -h "$work" -p "${cluster_port[$1]}" -U postgres -f "$2" postgres |
		sed -n 's/^latency average = \([0-9.]*\).*/\1/p'
}
# How many of them 8 clients execute per second.
throughput() {
	"$bindir/pgbench" -n -c 8 -j 2 -T 4 -h "$work" -p "${cluster_port[$1]}" -U postgres -f "$2" postgres |
		sed -n 's/^tps = \([0-9]*\).*/\1/p'
}
# Rows per second of a statement on a server, which does so many.
per_second() {
	on "$1" "\\set QUIET on
		SELECT clock_timestamp() AS start \\gset
		$2;
		SELECT round($3 / extract(epoch FROM clock_timestamp() - :'start'));" postgres
}

if wanted 19; then
	id=$(on router "SELECT run_id FROM agno_arun('Hello', model => 'fast:m')")
	on router "SELECT status FROM agno_wait_run('$id')" >/dev/null
	echo "SELECT * FROM agno_get_run_output('$id')" >"$work/poll.sql"
	echo "SELECT * FROM agno_arun('Hello', model => 'fast:m', run_at => '2100-01-01')" >"$work/arun.sql"
	for what in poll arun; do
		latency router "$work/$what.sql" >/dev/null
		direct=$(latency n1 "$work/$what.sql")
		routed=$(latency router "$work/$what.sql")
		row "$([ $what != poll ] || echo 19)" "$([ $what = poll ] || echo '    ')$what through a router ($routed ms) to direct ($direct ms)" \
			"$(ratio "$routed" "$direct")" ""
		direct=$(throughput n1 "$work/$what.sql")
		routed=$(throughput router "$work/$what.sql")
		row "" "    8 clients, per second: $direct direct, $routed routed" \
			"$(ratio "$routed" "$direct")" ""
	done
	cat >"$work/direct.sql" <<-'SQL'
		SELECT clock_timestamp() AS start \gset
		SELECT count(r) FROM generate_series(1, 20000) i, agno_arun('Hello ' || i, model => 'fast:m', run_at => '2100-01-01') r \g /dev/null
		SELECT round(20000 / extract(epoch FROM clock_timestamp() - :'start'));
	SQL
	sed 's/^SELECT count(r).*/INSERT INTO agno.enqueue (input, model, run_at) SELECT '"'Hello ' || i, 'fast:m', '2100-01-01'"' FROM generate_series(1, 20000) i;/' \
		"$work/direct.sql" >"$work/routed.sql"
	set_of() { "${psql[@]}" -h "$work" -p "${cluster_port[$1]}" -f "$2"; }
	set_of router "$work/routed.sql" >/dev/null
	direct=$(set_of n1 "$work/direct.sql")
	routed=$(set_of router "$work/routed.sql")
	row "" "    20,000 in one statement, per second: $direct, $routed" \
		"$(ratio "$routed" "$direct")" "0.25"
fi

# Runs per second of so many nodes with 200 in flight each, of 1 s each, from the
# commit that enqueues 1,000 for each to the last end; and the share of the
# processors that was in use.
busy_ticks() { awk '/^cpu / { printf "%d", $2 + $3 + $4 + $7 + $8 }' /proc/stat; }
empty_nodes() {
	local node
	for node in n1 n2 n3 n4; do
		on $node "TRUNCATE agno.runs, agno.sessions, agno.run_queue, agno.run_requests"
		on $node "CHECKPOINT"
	done
}
nodes_rate() {
	local ticks start rate seconds committed
	empty_nodes
	ticks=$(busy_ticks)
	start=$(date +%s.%N)
	on router "INSERT INTO agno.enqueue (input, model, session_id) SELECT 'Hello ' || i, 'mock:m',
		agno.new_id((i * 65536.0 / ($1 * 1000))::integer % 65536) FROM generate_series(1, $1 * 1000) i"
	committed=$(on router "SELECT clock_timestamp()")
	until_true router "NOT EXISTS (SELECT FROM agno.runs WHERE status IN ('PENDING', 'RUNNING'))"
	rate=$(on router "SELECT round($1 * 1000 / extract(epoch FROM max(finished_at) - '$committed'), 1) FROM agno.runs")
	seconds=$(awk "BEGIN { print $(date +%s.%N) - $start }")
	echo "$rate $(ratio "($(busy_ticks) - $ticks)" \
		"($seconds * $(getconf CLK_TCK) * $(getconf _NPROCESSORS_ONLN))")"
}

if wanted 20; then
	nodes_rate 1 >/dev/null
	read -r one cpu < <(nodes_rate 1)
	row 20 "1 s a run, 200 in flight per node, 1 node: runs/s, CPU" "$one $cpu" "200"
	empty_nodes
	cluster_add n2 n2
	read -r two cpu < <(nodes_rate 2)
	row "" "    2 nodes ($two): to one, CPU" "$(ratio "$two" "$one") $cpu" "2"
	empty_nodes
	cluster_add n3 n3
	cluster_add n4 n4
	read -r four cpu < <(nodes_rate 4)
	row "" "    4 nodes ($four): to one, CPU" "$(ratio "$four" "$one") $cpu" "4"
fi
