#!/bin/bash
# make assertions: runs the tests on a server that checks itself: built from
# Debian's source with assertions, and with memory that is overwritten when it is
# freed and filled with rubbish when it is allocated, so that a pointer that is
# used too long is seen. The server is kept in ASSERTIONS_DIR for the next time.
# Arguments: TAP tests to run instead of everything.
set -euo pipefail
cd "$(dirname "$0")/.."
. test/lib.sh

version=${ASSERTIONS_VERSION:-15}
dir=${ASSERTIONS_DIR:-/var/tmp/agno_bg_assertions_$version}

# Fetch the source package, without adding to the system's own sources.
fetch_source() {
	local lists=$1/apt
	mkdir -p "$lists/lists/partial" "$1/source"
	cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
		sed -n 's/^deb /deb-src /p' >"$lists/sources.list" || true
	cat /etc/apt/sources.list.d/*.sources 2>/dev/null |
		sed 's/^Types:.*/Types: deb-src/' >"$lists/more.sources" || true
	mkdir -p "$lists/parts"
	cp "$lists/more.sources" "$lists/parts/"
	local options=(-o "Dir::Etc::SourceList=$lists/sources.list"
		-o "Dir::Etc::SourceParts=$lists/parts" -o "Dir::State::Lists=$lists/lists"
		-o "APT::Sandbox::User=root")
	as_root apt-get "${options[@]}" update -qq
	# the newest that the mirror still has
	local release
	for release in $(apt-cache "${options[@]}" madison "postgresql-$version" |
		awk '$NF == "Sources" { print $3 }' | sort -rVu); do
		(cd "$1/source" && as_root apt-get "${options[@]}" source -qq \
			--download-only "postgresql-$version=$release" >/dev/null &&
			tar -xf postgresql-*.orig.tar.*) && return 0
	done
	return 1
}

build_server() {
	local work
	work=$(mktemp -d /tmp/agno_bg_build.XXXXXX)
	as_root apt-get update -qq
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
		--no-install-recommends gcc make bison flex perl libssl-dev \
		zlib1g-dev dpkg-dev >/dev/null
	fetch_source "$work"
	# a make below another takes the generated headers to be there
	unset MAKELEVEL MAKEFLAGS
	(cd "$work"/source/postgresql-*/ &&
		./configure -q --prefix="$dir" --enable-cassert --enable-debug \
			--enable-tap-tests --with-openssl --without-readline $(
			./configure --help | grep -o -- --without-icu | head -1) \
			CFLAGS="-O1 -DRANDOMIZE_ALLOCATED_MEMORY" &&
		make -s -j2 && as_root make -s install &&
		as_root make -s -C src/test/perl install &&
		as_root make -s -C src/test/regress install &&
		as_root make -s -C contrib/pg_stat_statements install &&
		as_root make -s -C contrib/auto_explain install) \
		>"$work/build.log" 2>&1 || { tail -40 "$work/build.log"; return 1; }
	as_root rm -rf "$work"
}

[ -x "$dir/bin/postgres" ] || build_server
PG_CONFIG=$dir/bin/pg_config exec test/run.sh "$@"
