#!/bin/bash
# make check-deb: builds the Debian package of the newest PostgreSQL here, has lintian look
# at it, installs it, lets a cluster of pg_createcluster execute a run with it, and purges
# it again. What "make install" has put in its place before is put back.
set -euo pipefail
cd "$(dirname "$0")/.."
. test/lib.sh

extra_packages="lintian"
install_packages
packaging/deb.sh
version=$("$PG_CONFIG" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
package=postgresql-$version-agno-bg
deb=$(ls -t dist/"$package"_*.deb | head -1)
cluster=agno_bg_check
work=$(mktemp -d /tmp/agno_bg_check.XXXXXX)
files="$("$PG_CONFIG" --pkglibdir)/agno_bg.so $(ls "$("$PG_CONFIG" --sharedir)"/extension/agno_* 2>/dev/null || true)"

if dpkg -s "$package" >/dev/null 2>&1; then
	echo "$package is installed already"
	exit 1
fi

cleanup() {
	local status=$?
	[ -z "${mock_pid:-}" ] || kill "$mock_pid" 2>/dev/null || true
	as_root pg_dropcluster --stop "$version" $cluster 2>/dev/null || true
	as_root dpkg --purge "$package" >/dev/null 2>&1 || true
	[ ! -f "$work/before.tar" ] || as_root tar -xPf "$work/before.tar"
	as_root rm -rf "$work"
	exit $status
}
trap cleanup EXIT

[ ! -f "${files%% *}" ] || tar -cPf "$work/before.tar" $files

# it is not in Debian
lintian --allow-root --suppress-tags initial-upload-closes-no-bugs \
	--fail-on error,warning "$deb"
as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
	--no-install-recommends "$(realpath "$deb")" >"$work/apt.log" 2>&1 ||
	{ cat "$work/apt.log"; exit 1; }

mkdir -p "$work/src/test"
cp -r test/mock "$work/src/test/"
chmod -R a+rX "$work"
[ "$(id -u)" != 0 ] || chown "$ordinary_user" "$work"
start_mock "$work"
as_root pg_createcluster "$version" $cluster -d "$work/data" -- -A trust >/dev/null
as_root pg_conftool "$version" $cluster set shared_preload_libraries agno_bg
as_root pg_conftool "$version" $cluster set listen_addresses ''
as_root pg_ctlcluster --skip-systemctl-redirect "$version" $cluster start

answer=$(psql -XAtq --cluster "$version/$cluster" -U postgres -v ON_ERROR_STOP=1 postgres <<-END
	CREATE EXTENSION agno_bg VERSION '1.0';
	ALTER EXTENSION agno_bg UPDATE;
	CREATE SERVER mock FOREIGN DATA WRAPPER agno_bg OPTIONS (base_url '$mock_url');
	CALL agno_run('What is the capital of France?', model => 'mock:gpt-5-mini', run_id => 'r');
	SELECT default_version FROM pg_available_extensions WHERE name = 'agno_bg';
END
)
[ "$answer" = "r|COMPLETED|The capital of France is Paris.
$(sed -n "s/^default_version = '\(.*\)'/\1/p" agno_bg.control)" ] || { echo "$answer"; exit 1; }

dpkg -L "$package" >"$work/installed"
as_root pg_dropcluster --stop "$version" $cluster
as_root dpkg --purge "$package" >/dev/null
while read -r file; do
	[ ! -f "$file" ] || { echo "left behind: $file"; exit 1; }
done <"$work/installed"
echo "$deb: ok"
