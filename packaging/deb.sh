#!/bin/bash
# make deb: Debian packages postgresql-<version>-agno-bg in dist/, one for each version of
# PostgreSQL that this system has, from the distribution that "make dist" makes.
set -euo pipefail
cd "$(dirname "$0")/.."
. test/lib.sh

command -v dpkg >/dev/null || { echo "this takes Debian"; exit 1; }
extra_packages="build-essential debhelper fakeroot postgresql-server-dev-all"
install_packages
zip=$(packaging/dist.sh | tail -1)
work=$(mktemp -d /tmp/agno_bg_deb.XXXXXX)
trap 'rm -rf "$work"' EXIT
unzip -q "$zip" -d "$work"
cd "$work"/agno_bg-*
cp -r packaging/debian debian
pg_buildext updatecontrol
dpkg-buildpackage --build=binary --no-sign >"$work/build.log" 2>&1 ||
	{ tail -40 "$work/build.log"; exit 1; }
cp ../*.deb ../*.changes ../*.buildinfo "$OLDPWD/dist/"
cd "$OLDPWD"
ls dist/*.deb
