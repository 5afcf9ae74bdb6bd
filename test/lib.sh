# shellcheck shell=bash
# What the scripts of make demo and make test share. To be sourced.

# Run a command as root: as we are, or with sudo.
as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Run a command as an ordinary user, since PostgreSQL refuses to run as root.
ordinary=()
if [ "$(id -u)" = 0 ]; then
	# what root has installed for itself is not for others to execute
	PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
	ordinary_user=nobody
	if id postgres >/dev/null 2>&1; then ordinary_user=postgres; fi
	ordinary=(setpriv --reuid "$ordinary_user"
		--regid "$(id -g "$ordinary_user")" --clear-groups --)
fi
as_user() { ${ordinary[@]+"${ordinary[@]}"} "$@"; }

# Install PL/Proxy for that version of Debian's PostgreSQL, which the tests of
# agno_router need; without it they say that they are skipped.
install_plproxy() {
	local package=postgresql-$1-plproxy
	[ -n "$1" ] && command -v apt-get >/dev/null || return 0
	! (dpkg -s "$package" 2>/dev/null || true) | grep -q '^Status: install ok' ||
		return 0
	echo "installing $package"
	apt-cache show "$package" >/dev/null 2>&1 || as_root apt-get update -qq || true
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
		--no-install-recommends "$package" >/dev/null 2>&1 ||
		echo "$package cannot be had"
}

# Install what is missing, on Debian; elsewhere, say what is missing.
install_packages() {
	local missing="" version package
	if [ -n "${PG_CONFIG:-}" ]; then
		version=""
	elif command -v apt-cache >/dev/null; then
		version=$( (ls -d /usr/lib/postgresql/*/bin/postgres 2>/dev/null || true) |
			sed 's|/usr/lib/postgresql/||; s|/.*||' | sort -n | tail -1)
		if [ -z "$version" ]; then
			as_root apt-get update -qq
			version=$(apt-cache depends postgresql |
				sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p' | head -1)
		fi
	fi
	if command -v dpkg >/dev/null; then
		for package in make gcc pkg-config libcurl4-openssl-dev libcjson-dev \
			libipc-run-perl python3 python3-venv openssl nginx-light pgbouncer \
			${extra_packages:-} \
			${version:+postgresql-$version postgresql-server-dev-$version}; do
			(dpkg -s "$package" 2>/dev/null || true) |
				grep -q '^Status: install ok' || missing="$missing $package"
		done
	fi
	if [ -n "$missing" ]; then
		echo "installing$missing"
		# nothing is to be started by being installed
		local policy=/usr/sbin/policy-rc.d
		[ ! -e $policy ] || policy=
		[ -z "$policy" ] || printf '#!/bin/sh\nexit 101\n' |
			as_root install -m 755 /dev/stdin "$policy"
		as_root apt-get update -qq
		# no cluster of Debian's own, if the server comes in with this
		as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
			--no-install-recommends postgresql-common >/dev/null
		local conf=/etc/postgresql-common/createcluster.conf
		as_root cp "$conf" "$conf.agno_bg"
		echo 'create_main_cluster = false' | as_root tee -a "$conf" >/dev/null
		as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
			--no-install-recommends $missing >/dev/null || version=failed
		as_root mv "$conf.agno_bg" "$conf"
		[ -z "$policy" ] || as_root rm -f "$policy"
		[ "$version" != failed ] || return 1
	fi
	install_plproxy "$version"
	if [ -z "${PG_CONFIG:-}" ] && [ -n "${version:-}" ]; then
		PG_CONFIG=/usr/lib/postgresql/$version/bin/pg_config
	fi
	PG_CONFIG=${PG_CONFIG:-pg_config}
	export PG_CONFIG
	bindir=$("$PG_CONFIG" --bindir)
}

# Copy the sources to $1/src, so that nothing is left in the checkout.
copy_sources() {
	mkdir -p "$1/src"
	tar -cf - --exclude=.git --exclude='*.o' --exclude='*.so' --exclude='*.bc' . |
		tar -xf - -C "$1/src"
}

# Build with warnings as errors in $1/src, and install.
build_and_install() {
	make -s -C "$1/src" -j2 COPT="-Werror ${sanitize:-} ${coverage:-}" >"$1/build.log" 2>&1 ||
		{ cat "$1/build.log"; return 1; }
	as_root make -s -C "$1/src" install >"$1/install.log" 2>&1 ||
		{ cat "$1/install.log"; return 1; }
}

# Start a throw-away server in $1/data, with the socket in $1 and no TCP port.
start_server() {
	as_user "$bindir/initdb" -D "$1/data" -U postgres -A trust \
		--no-sync >"$1/initdb.log" 2>&1 || { cat "$1/initdb.log"; return 1; }
	cat >>"$1/data/postgresql.conf" <<-CONF
		shared_preload_libraries = 'agno_bg'
		port = 5432
		listen_addresses = ''
		unix_socket_directories = '$1'
		max_prepared_transactions = 5
		log_line_prefix = '%m [%p] %b '
		${server_settings:-}
	CONF
	as_user "${pg_ctl:-$bindir/pg_ctl}" -D "$1/data" -l "$1/server.log" -w start \
		</dev/null >/dev/null 2>&1 || { cat "$1/server.log"; return 1; }
	export PGHOST=$1 PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
}

stop_server() {
	[ -f "$1/data/postmaster.pid" ] || return 0
	as_user "$bindir/pg_ctl" -D "$1/data" -m immediate -w stop >/dev/null 2>&1 ||
		true
}

# Start the mock model server; sets mock_url.
start_mock() {
	${ordinary[@]+"${ordinary[@]}"} python3 "$1/src/test/mock/model_server.py" \
		--port-file "$1/mock.port" --log "$1/mock.log" \
		</dev/null >"$1/mock.out" 2>&1 &
	# shellcheck disable=SC2034 # for who sources this
	mock_pid=$!
	for _ in $(seq 100); do
		[ -s "$1/mock.port" ] && break
		sleep 0.1
	done
	mock_url="http://127.0.0.1:$(cat "$1/mock.port")/v1"
	export mock_url
}
