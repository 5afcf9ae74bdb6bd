#!/bin/bash
# make test: builds with warnings as errors, with gcc and where it is there
# with clang, installs, and runs the unit tests, pg_regress and the TAP tests
# against throw-away servers. Works on a copy in a temporary folder and leaves
# nothing running. Arguments: TAP tests to run instead of everything, as paths or
# as parts of their names. TAP tests run side by side, TEST_JOBS of them (one more
# than there are processors), but for those whose head has a line "# Alone: why"; those
# with a line "# Waits: for what" take next to no processor.
# With VERBOSE=1 all output is shown. With SANITIZE=1 the server executes a build
# with AddressSanitizer and UndefinedBehaviorSanitizer, which takes a server built
# without --enable-nls; tests that measure are left out.
set -euo pipefail
cd "$(dirname "$0")/.."
. test/lib.sh

work=$(mktemp -d /tmp/agno_bg_test.XXXXXX)
passed=0
failed=0
skipped=0

cleanup() {
	stop_server "$work"
	[ -z "$coverage" ] || cp -r "$work/src" "$COVERAGE/src"
	if [ -n "$sanitize$coverage" ]; then
		sanitize=
		coverage=
		make -s -C "$work/src" clean >/dev/null 2>&1
		build_and_install "$work"
	fi
	if [ "$failed" = 0 ] && [ -z "${KEEP:-}" ]; then
		as_root rm -rf "$work"
	else
		echo "kept: $work"
	fi
}
trap cleanup EXIT

# With COVERAGE, the folder that coverage.sh evaluates.
coverage=${COVERAGE:+--coverage -fprofile-update=atomic}

# Only the server is to be executed with the sanitizer's library, so pg_ctl is
# replaced by one that sees to it.
sanitize=
prepare_sanitizers() {
	sanitize="-fsanitize=address,undefined -fno-sanitize-recover=undefined"
	pg_ctl=$work/bin/pg_ctl
	cat >"$work/bin/postgres" <<-END
		#!/bin/sh
		export LD_PRELOAD=$(gcc -print-file-name=libasan.so)\${LD_PRELOAD:+:\$LD_PRELOAD}
		export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:log_path=$work/asan
		export UBSAN_OPTIONS=print_stacktrace=1
		exec $bindir/postgres "\$@"
	END
	cat >"$pg_ctl" <<-END
		#!/bin/sh
		case " \$* " in
			*" start "*) exec $bindir/pg_ctl -p $work/bin/postgres "\$@" ;;
			*" restart "*) exec $bindir/pg_ctl -p $work/bin/postgres "\$@" ;;
		esac
		exec $bindir/pg_ctl "\$@"
	END
	chmod +x "$pg_ctl" "$work/bin/postgres"
	# with gettext, libasan 12 hangs before main() of postgres gets anywhere
	timeout 10 "$work/bin/postgres" --version || {
		echo "this server cannot be executed with libasan: take PG_CONFIG of one built without --enable-nls"
		exit 1
	}
}

# Nearly all tests create the same cluster: it is created once, and copied, as the tests of
# PostgreSQL's own do from 17 on.
prepare_initdb() {
	as_user "$bindir/initdb" -D "$work/template" -A trust -N -E UTF8 --no-locale >/dev/null
	cat >"$work/bin/initdb" <<-END
		#!/bin/sh
		if [ "\$*" = "-D \$2 -A trust -N -E UTF8 --no-locale" ]; then
			exec cp -a $work/template/. "\$2"
		fi
		exec $bindir/initdb "\$@"
	END
	chmod +x "$work/bin/initdb"
}

# The clusters of tests that run side by side take up to 2.5 GB. Where there is less room,
# say so, instead of having tests fail one after the other for all kinds of reasons.
least_room_mb=3072
demand_room() {
	local free
	free=$(df -Pm "$work" | awk 'NR == 2 { print $4 }')
	[ "$free" -lt $least_room_mb ] || return 0
	echo "the tests need $least_room_mb MB in /tmp, of which $free are free"
	du -sm /tmp/agno_bg_* 2>/dev/null | sort -rn | sed 's/^/MB there: /' | head
	return 1
}

pass() { passed=$((passed + 1)); echo "ok      $1 ($2 s)"; }
fail() { failed=$((failed + 1)); echo "FAILED  $1 ($2 s)"; }

skip() { skipped=$((skipped + 1)); echo "SKIPPED $1: $2"; }

# Count a test that has ended, with its status, its log and its seconds. The log is
# shown only if it failed.
count() {
	local name=$1 status=$2 log=$3 seconds=$4
	if [ "$status" != 0 ]; then
		tail -60 "$log"
		fail "$name" "$seconds"
	elif grep -Eq '^SKIPPED: |[.] skipped: ' "$log"; then
		# our own word, and that of prove for a file that skips itself
		skip "$name" "$(sed -nE 's/^(SKIPPED|.*[.] skipped): //p' "$log")"
	else
		[ -z "${VERBOSE:-}" ] || cat "$log"
		pass "$name" "$seconds"
	fi
}

# Run a command as one test.
check() {
	local name=$1 start=$SECONDS status=0
	shift
	"$@" >"$work/check.log" 2>&1 || status=$?
	count "$name" "$status" "$work/check.log" $((SECONDS - start))
}

# Run TAP tests side by side, TEST_JOBS at a time, and beside them, one after the other,
# those that mostly wait.
tap_tests_side_by_side() {
	local -A file_of=() start_of=()
	local waiting=() others=() waiter='' file pid status
	for file; do
		if grep -q '^# Waits: ' "$file"; then waiting+=("$file"); else others+=("$file"); fi
	done
	while [ $((${#waiting[@]} + ${#others[@]} + ${#file_of[@]})) -gt 0 ]; do
		file=
		if [ -z "$waiter" ] && [ ${#waiting[@]} -gt 0 ]; then
			file=${waiting[0]}
			waiting=("${waiting[@]:1}")
		elif [ ${#others[@]} -gt 0 ] &&
			[ ${#file_of[@]} -lt $((jobs + (${#waiter} > 0))) ]; then
			file=${others[0]}
			others=("${others[@]:1}")
		fi
		if [ -n "$file" ]; then
			tap_test "$file" >"$work/$(basename "$file").log" 2>&1 &
			file_of[$!]=$file
			start_of[$!]=$SECONDS
			! grep -q '^# Waits: ' "$file" || waiter=$!
			continue
		fi
		status=0
		wait -n -p pid "${!file_of[@]}" || status=$?
		file=${file_of[$pid]}
		count "$file" "$status" "$work/$(basename "$file").log" \
			$((SECONDS - start_of[$pid]))
		unset "file_of[$pid]"
		[ "$pid" != "$waiter" ] || waiter=
	done
}

# Every file on its own with clang, which knows not all of gcc's options.
compile_with_clang() {
	local file
	for file in src/*.c src/*/*.c; do
		"$clang" -std=gnu11 -fsyntax-only -Wall -Wextra -Werror \
			-Wno-unused-parameter -Wno-sign-compare \
			-Wno-missing-field-initializers -Wno-ignored-attributes \
			-Isrc -I"$("$PG_CONFIG" --includedir-server)" \
			$(pkg-config --cflags libcurl libcjson) "$file" || return 1
	done
}

# pg_regress against a server of our own.
regress() {
	start_server "$work" &&
		(cd "$work/src" && as_user make -s installcheck TAP_TESTS=) ||
		{ cat "$work/src/regression.diffs" 2>/dev/null; return 1; }
	stop_server "$work"
}

tap_test() {
	local name
	name=$(basename "$1" .pl)
	as_user mkdir -p "$work/tap/$name"
	(cd "$work/src" && as_user env \
		PERL5LIB="$pgxs/src/test/perl" \
		PG_REGRESS="$pgxs/src/test/regress/pg_regress" \
		PATH="$work/bin:$bindir:$PATH" \
		TESTDIR="$work/tap/$name" TESTDATADIR="$work/tap/$name/data" \
		TESTLOGDIR="$work/tap/$name/log" \
		PG_TEST_TIMEOUT_DEFAULT="${PG_TEST_TIMEOUT_DEFAULT:-120}" \
		prove --timer ${VERBOSE:+--verbose} "$1") || return
	# nobody looks at what has passed
	[ -n "${KEEP:-}" ] || as_user rm -rf "$work/tap/$name"
}

# Read to its end before anything is executed, so that it may be edited meanwhile.
main() {
	# The TAP tests that the arguments name.
	files=()
	for name; do
		if [ -e "$name" ]; then files+=("$name"); else
			compgen -G "test/t/*$name*.pl" >"$work/found" ||
				{ echo "no TAP test is called $name"; exit 1; }
			while read -r found; do files+=("$found"); done <"$work/found"
		fi
	done
	set -- ${files[@]+"${files[@]}"}

	demand_room || { echo "0 passed, 1 failed"; exit 1; }
	install_packages
	pgxs=$("$PG_CONFIG" --pgxs)
	pgxs=${pgxs%/src/makefiles/pgxs.mk}
	"$PG_CONFIG" --version

	mkdir -p "$work/bin" "$work/tap"
	[ -z "${SANITIZE:-}" ] || prepare_sanitizers
	copy_sources "$work"
	[ "$(id -u)" != 0 ] || chown -R "$ordinary_user" "$work"
	check "build with gcc, install" build_and_install "$work"
	[ "$failed" = 0 ] || { echo "0 passed, 1 failed"; exit 1; }
	[ "$(id -u)" != 0 ] || chown -R "$ordinary_user" "$work"

	if [ $# = 0 ]; then
		clang=$(command -v clang || ls /usr/bin/clang-[0-9]* 2>/dev/null | head -1 || true)
		if [ -z "$sanitize" ]; then
			check "layers of the sources" test/layers.sh
			check "sources are as pgindent leaves them" test/indent.sh --check
			check "upgrade script is up to date" test/upgrade_script.pl --check
			[ -z "$clang" ] || check "compile with clang" compile_with_clang
			check "unit tests" as_user make -s -C "$work/src" unit
		fi
		check "pg_regress" regress
		set -- test/t/*.pl
	fi
	if [ -n "$sanitize" ]; then
		set -- $(printf '%s\n' "$@" | grep -Ev '01[37]_|02[78]_|03[79]_|038_|052_|096_|172_|178_|188_|196_|208_|22[2378]_')
	fi
	prepare_initdb
	jobs=${TEST_JOBS:-$(($(getconf _NPROCESSORS_ONLN) + 1))}
	if [ $# -gt 0 ]; then
		tap_tests_side_by_side $(grep -L '^# Alone: ' "$@")
		jobs=1 tap_tests_side_by_side $(grep -l '^# Alone: ' "$@")
	fi

	if ls "$work"/asan.* >/dev/null 2>&1; then
		head -60 "$work"/asan.*
		fail "sanitizers" 0
	fi
	echo "$passed passed, $failed failed$([ "$skipped" = 0 ] || echo ", $skipped skipped")"
	[ "$failed" = 0 ]
}

main "$@"
exit
