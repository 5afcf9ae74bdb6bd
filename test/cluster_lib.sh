# shellcheck shell=bash disable=SC2154
# Servers of a cluster on this machine, each in a folder of $work, for make
# cluster-demo and make bench. To be sourced after lib.sh. Sockets are in $work; there
# are no TCP ports.

declare -A cluster_port=()

# Say what is missing if agno_router cannot be had, and leave with success.
need_plproxy() {
	[ -e "$("$PG_CONFIG" --sharedir)/extension/plproxy.control" ] && return
	echo "SKIPPED: there is no PL/Proxy for this server (on Debian, postgresql-NN-plproxy)"
	exit 0
}

# The connection string of a server, or of several of which one takes writes.
cluster_conninfo() {
	local hosts="" ports="" name
	for name; do
		hosts=${hosts:+$hosts,}$work
		ports=${ports:+$ports,}${cluster_port[$name]}
	done
	echo "host=$hosts port=$ports dbname=postgres connect_timeout=2" \
		"$([ $# = 1 ] || echo target_session_attrs=read-write)"
}

# Start the server $1, which is there.
cluster_start() {
	as_user "$bindir/pg_ctl" -D "$work/$1" -l "$work/$1.log" -w start \
		</dev/null >/dev/null 2>&1 || { tail -5 "$work/$1.log"; return 1; }
}

# Make and start the server $1, with these lines of configuration.
cluster_server() {
	local name=$1
	cluster_port[$name]=$((5500 + ${#cluster_port[@]}))
	as_user "$bindir/initdb" -D "$work/$name" -U postgres -A trust -E UTF8 \
		--no-locale --no-sync >"$work/initdb.log" 2>&1
	cat >>"$work/$name/postgresql.conf" <<-CONF
		port = ${cluster_port[$name]}
		listen_addresses = ''
		unix_socket_directories = '$work'
		$2
	CONF
	cluster_start "$name"
}

# Make the server $1 a standby of $2, and start it.
cluster_standby() {
	local name=$1
	cluster_port[$name]=$((5500 + ${#cluster_port[@]}))
	as_user "$bindir/pg_basebackup" -D "$work/$name" -R -X stream -c fast \
		-d "host=$work port=${cluster_port[$2]} user=postgres application_name=$name"
	echo "port = ${cluster_port[$name]}" >>"$work/$name/postgresql.conf"
	cluster_start "$name"
}

# What a statement gives on a server.
on() {
	"$bindir/psql" -X -q -At -v ON_ERROR_STOP=1 -h "$work" \
		-p "${cluster_port[$1]}" -U "${3:-postgres}" -d postgres -c "$2"
}

# Wait until a query says t on a server.
until_true() {
	local _
	for _ in $(seq 600); do
		[ "$(on "$1" "SELECT $2" 2>/dev/null || true)" != t ] || return 0
		sleep 0.1
	done
	echo "$1 does not come to: $2"
	return 1
}

# kill -9 of the server $1 with all its processes: nothing is written any more.
cluster_kill() {
	local pid
	pid=$(head -1 "$work/$1/postmaster.pid")
	# shellcheck disable=SC2046 # one argument each
	as_root kill -9 "$pid" $(ps -o pid= --ppid "$pid") 2>/dev/null || true
	rm -f "$work/$1/postmaster.pid"
}

cluster_stop() {
	local name
	for name in "${!cluster_port[@]}"; do
		[ -f "$work/$name/postmaster.pid" ] || continue
		as_user "$bindir/pg_ctl" -D "$work/$name" -m immediate stop >/dev/null 2>&1 || true
	done
}

# What a node has in its configuration, beside what is said.
node_conf="shared_preload_libraries = 'agno_bg'
		wal_level = logical
		agno_bg.cluster = on
		max_connections = 200"

# Make a node: a server with agno_bg, and with the model server "mock" at $2.
cluster_node() {
	cluster_server "$1" "$node_conf
		${3:-}"
	on "$1" "CREATE EXTENSION agno_bg"
	on "$1" "CREATE SERVER mock FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url '$2')"
}

# Make the router.
cluster_router() {
	cluster_server router "max_connections = 200
		client_connection_check_interval = 1s"
	on router "SET client_min_messages = warning; CREATE EXTENSION agno_router CASCADE"
}

# Have the router know the node $1, at the connection string of these servers.
cluster_add() {
	local name=$1
	shift
	on router "SELECT agno_router_add_node('$name', '$(cluster_conninfo "$@")')" >/dev/null
}
