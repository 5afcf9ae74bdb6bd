#!/bin/bash
# make indent: lays all C files out as PostgreSQL's pgindent does.
#
#	test/indent.sh             formats them
#	test/indent.sh --check     shows what it would change, and fails if it would
#	test/indent.sh --typedefs  writes test/typedefs.list anew: PostgreSQL's own
#	                           list, and the types that our files declare or use
#
# pgindent and the pg_bsd_indent that it calls are in no package of Debian's: they
# are taken from the source package of PostgreSQL 17 or later, built, and kept in
# INDENT_DIR for the next time. Put your own there if you have them. Where they
# cannot be had, --check says SKIPPED and does not fail.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C

# By user, for what is in there is executed.
dir=${INDENT_DIR:-/var/tmp/agno_bg_pgindent.$(id -un)}
typedefs=$PWD/test/typedefs.list

# Types of PostgreSQL's that are only names of variables here.
not_types='text'

work=$(mktemp -d /tmp/agno_bg_indent.XXXXXX)
trap 'rm -rf "$work"' EXIT

# Fetch what of PostgreSQL's source is needed, from the first release of Debian's
# that lets it be had.
fetch_source() {
	local key=/usr/share/keyrings/debian-archive-keyring.gpg
	local mirror=http://deb.debian.org suite options version release
	command -v apt-get >/dev/null && [ -e $key ] || return 1
	mkdir -p "$work"/apt/{lists/partial,cache/archives/partial,parts} \
		"$work/source"
	options=(-o "Dir::Etc::SourceList=$work/apt/sources.list"
		-o "Dir::Etc::SourceParts=$work/apt/parts"
		-o "Dir::State::Lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache"
		-o "APT::Sandbox::User=$(id -un)" -o Acquire::http::Timeout=20
		-o Acquire::Check-Valid-Until=false)
	for suite in debian/trixie debian-security/trixie-security debian/sid; do
		echo "deb-src [signed-by=$key] $mirror/${suite%/*} ${suite#*/} main" \
			>"$work/apt/sources.list"
		apt-get "${options[@]}" -qq update || continue
		for version in 17 18 19; do
			for release in $(apt-cache "${options[@]}" madison \
				"postgresql-$version" 2>/dev/null |
				awk '$NF == "Sources" { print $3 }' | sort -rVu); do
				(cd "$work/source" &&
					apt-get "${options[@]}" -qq source --download-only \
						"postgresql-$version=$release" &&
					tar -xf postgresql-*.orig.tar.* --strip-components=3 \
						--wildcards '*/src/tools/pg*indent') && return 0
			done
		done
	done
	return 1
}

# The macro is of PostgreSQL 18: older headers have it not.
build() {
	echo '#define pg_noreturn __attribute__((noreturn))' >"$work/noreturn.h"
	local include
	for include in "" "-include $work/noreturn.h"; do
		if gcc -O2 -w -DFRONTEND $include -I"$work/source/pg_bsd_indent" \
			-I"$("$PG_CONFIG" --includedir-server)" \
			-o "$work/pg_bsd_indent" "$work"/source/pg_bsd_indent/*.c \
			-L"$("$PG_CONFIG" --pkglibdir)" -L"$("$PG_CONFIG" --libdir)" \
			-L"$("$PG_CONFIG" --pkglibdir)/.." -lpgcommon -lpgport -lm; then
			mkdir -p "$dir"
			cp "$work/source/pgindent/pgindent" \
				"$work/source/pgindent/typedefs.list" "$dir/"
			cp "$work/pg_bsd_indent" "$dir/"
			return 0
		fi
	done
	return 1
}

# What has been fetched is kept even if it was left half done, so the program that
# is copied last is what we look for.
get_pgindent() {
	if [ ! -x "$dir/pg_bsd_indent" ] &&
		! { fetch_source && build; } >"$work/log" 2>&1; then
		tail -5 "$work/log"
		echo "SKIPPED: pgindent cannot be had"
		[ "$mode" = check ] && exit 0
		exit 1
	fi
}

# In a folder of its own, where pgindent writes its temporary files.
pgindent() {
	find "$PWD/src" "$PWD/test" -name '*.[ch]' -not -path '*/build/*' | sort |
		(cd "$work" && xargs perl "$dir/pgindent" \
			--indent="$dir/pg_bsd_indent" --typedefs="$typedefs" "$@")
}

# The types that are in the debug information, as PostgreSQL finds them, and
# those that are declared but not used for a variable.
our_types() {
	local file object=0
	find src -name '*.c' | sort | while read -r file; do
		object=$((object + 1))
		gcc -g -O0 -std=gnu11 -Isrc -c -o "$work/$object.o" "$file" \
			$(find src -type d -printf '-I%p ') \
			-I"$("$PG_CONFIG" --includedir-server)" \
			$(pkg-config --cflags libcurl libcjson)
	done
	objdump -W "$work"/*.o | grep -EA3 '\(DW_TAG_typedef\)' |
		awk '$2 == "DW_AT_name" { print $NF }' | grep -v '^_'
	find src test -name '*.[ch]' -not -path '*/build/*' -exec cat {} + |
		perl -0777 -ne '
			print "$1\n" while /^typedef\b[^;{]*?(?:\{.*?^\})?\s*(\w+);/gms;
			print "$1\n" while /^typedef\b[^;{(]*\(\*(\w+)\)/gm;'
}

[ -n "${PG_CONFIG:-}" ] || PG_CONFIG=$(command -v pg_config ||
	ls /usr/lib/postgresql/*/bin/pg_config 2>/dev/null | tail -1)
mode=${1:-format}
mode=${mode#--}
get_pgindent
case $mode in
	format)
		pgindent
		;;
	check)
		pgindent --diff >"$work/diff"
		sed "s|^--- $PWD/|--- |; s|^+++ .*|+++ as pgindent leaves it|" "$work/diff"
		[ ! -s "$work/diff" ] || {
			echo "$(grep -c '^--- ' "$work/diff") files are not as pgindent leaves them"
			exit 1
		}
		;;
	typedefs)
		our_types >"$work/ours"
		sort -u "$dir/typedefs.list" "$work/ours" | grep -vxE "$not_types" \
			>"$work/typedefs.list"
		cp "$work/typedefs.list" "$typedefs"
		;;
	*)
		sed -n '2,/^set/{/^#/p}' "$0"
		exit 1
		;;
esac
