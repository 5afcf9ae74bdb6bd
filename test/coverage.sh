#!/bin/bash
# make coverage: which lines of src/ the tests execute. Builds with --coverage into
# a copy, runs the tests, and prints the lines covered for each file and in all.
# A process that is killed writes nothing down, so what only happens before a
# crash is missing. TAP tests can be chosen as for make test.
set -euo pipefail
cd "$(dirname "$0")/.."

export COVERAGE=${COVERAGE:-/var/tmp/agno_bg_coverage.$(id -un)}
rm -rf "$COVERAGE"
mkdir -p "$COVERAGE"
chmod 777 "$COVERAGE"
test/run.sh "$@" || echo "some tests failed; the figures are of what was executed"

# gcov reads what the processes have left, for each object.
cd "$COVERAGE/src"
find . -name '*.gcda' -print0 | xargs -0 gcov -n >"$COVERAGE/gcov.log" 2>&1
awk '
	/^File .src\// { file = $2; gsub("\047", "", file) }
	/^Lines executed:/ && file != "" {
		split($0, part, /[:% ]+/)
		lines[file] = part[5]; covered[file] = part[3] * part[5] / 100; file = ""
	}
	END {
		for (f in lines)
			if (f ~ /[.]c$/) {
				printf "%6.1f %%  %5d lines  %s\n", 100 * covered[f] / lines[f], lines[f], f
				all += lines[f]; done += covered[f]
			}
		printf "%6.1f %%  %5d lines  in all\n", 100 * done / all, all
	}' "$COVERAGE/gcov.log" | sort -k4
