#!/bin/bash
# The tests on other versions of PostgreSQL than the one that is installed:
#
#	test/versions.sh [16] [17] [18]
#
# Each in a Debian of its own, made with debootstrap in VERSIONS_ROOT
# (/var/tmp/agno_bg_versions) and kept there for the next time: 17 in trixie, 18
# in sid, which carry them. No release of Debian carries 16: it comes from the
# package pgserver of PyPI, in trixie; and is what 17 and 18 are upgraded from in
# the test of pg_upgrade. Needs root; mounts are private to this script and gone
# with it. TESTS names the tests to run instead of all.
set -euo pipefail
cd "$(dirname "$0")/.."

root=${VERSIONS_ROOT:-/var/tmp/agno_bg_versions}
mirror=http://deb.debian.org/debian
failed=""

if [ -z "${VERSIONS_UNSHARED:-}" ]; then
	[ "$(id -u)" = 0 ] || { echo "$0 must be run as root"; exit 1; }
	command -v debootstrap >/dev/null ||
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq debootstrap >/dev/null
	VERSIONS_UNSHARED=1 exec unshare -m "$0" "$@"
fi

suite_of() {
	case $1 in
		16 | 17) echo trixie ;;
		18) echo sid ;;
		*) echo "no Debian release is known to carry PostgreSQL $1" >&2; exit 1 ;;
	esac
}

# Make the system of this suite, with this version.
make_system() {
	local suite=$1 system=$2 version=$3
	[ -e "$system/made" ] && return
	echo "making $system"
	rm -rf --one-file-system "$system"
	mkdir -p "$root"
	debootstrap --variant=minbase "$suite" "$system" "$mirror" \
		>"$root/$suite.log" 2>&1
	enter "$system"
	# no program of Debian's is to be started there
	printf '#!/bin/sh\nexit 101\n' >"$system/usr/sbin/policy-rc.d"
	chmod 755 "$system/usr/sbin/policy-rc.d"
	# a mirror may stand still for longer than sid wants it to
	echo 'Acquire::Check-Valid-Until "false";' \
		>"$system/etc/apt/apt.conf.d/99standing"
	in_system "$system" "apt-get update -qq &&
		apt-get install -y -qq --no-install-recommends postgresql-common &&
		echo 'create_main_cluster = false' >>/etc/postgresql-common/createcluster.conf &&
		apt-get install -y -qq --no-install-recommends make gcc pkg-config procps \
			libcurl4-openssl-dev libcjson-dev libipc-run-perl python3 python3-venv \
			openssl nginx-light pgbouncer util-linux postgresql-$version \
			postgresql-server-dev-$version" \
		>>"$root/$suite.log" 2>&1
	leave "$system"
	touch "$system/made"
}

in_system() {
	chroot "$1" /usr/bin/env -i HOME=/root TERM=dumb LC_ALL=C.UTF-8 \
		DEBIAN_FRONTEND=noninteractive \
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		PG_TEST_TIMEOUT_DEFAULT="${PG_TEST_TIMEOUT_DEFAULT:-120}" \
		bash -c "$2"
}

enter() {
	mount -t proc proc "$1/proc"
	mount --rbind /dev "$1/dev"
	mount -t tmpfs tmpfs "$1/tmp"
}

leave() {
	umount -l "$1/tmp" "$1/dev" "$1/proc"
}

# PostgreSQL 16 of PyPI, with the TAP modules of the version that is there.
install_16() {
	[ -e "$1/opt/pgserver" ] && return
	python3 -m venv "$root/venv"
	"$root/venv/bin/pip" download --quiet --no-deps --only-binary :all: \
		--python-version 3.11 --dest "$1/opt" pgserver==0.1.4
	in_system "$1" "cd /opt && python3 -m zipfile -e pgserver-*.whl /opt/new &&
		chmod -R a+rX new && chmod a+x new/pgserver/pginstall/bin/* \
			new/pgserver/pginstall/lib/postgresql/pgxs/src/test/regress/pg_regress &&
		cp -r /usr/lib/postgresql/*/lib/pgxs/src/test/perl \
			new/pgserver/pginstall/lib/postgresql/pgxs/src/test/ &&
		mv new/pgserver.libs new/pgserver ."
}

for version in "${@:-17}"; do
	suite=$(suite_of "$version")
	system=$root/$suite
	make_system "$suite" "$system" "${version/16/17}"
	enter "$system"
	rm -rf "$system/src"
	mkdir "$system/src"
	tar -cf - --exclude=.git --exclude='*.o' --exclude='*.so' \
		--exclude=build . | tar -xf - -C "$system/src"
	install_16 "$system"
	old=/opt/pgserver/pginstall/bin/pg_config
	config=/usr/lib/postgresql/$version/bin/pg_config
	if [ "$version" = 16 ]; then
		config=$old
		old=""
	else
		in_system "$system" "cp -r /src /tmp/old && cd /tmp/old &&
			make -s install PG_CONFIG=$old" >>"$root/$suite.log" 2>&1
	fi
	in_system "$system" "cd /src &&
		PG_CONFIG=$config \
		OLD_PG_CONFIG=$old \
		test/run.sh ${TESTS:-}" || failed="$failed $version"
	leave "$system"
done
[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }
