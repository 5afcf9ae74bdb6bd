#!/bin/bash
# Checks that the folders of src/ know only those below them, that SQL is executed
# in src/store/ and src/tools/ alone, that nobody but src/http/ knows libcurl, and that
# no subtransaction is left open by an error: whoever catches that would end it in place
# of his own, and be the user that was current when it began.
# Part of make test. Prints what breaks the rules.
set -euo pipefail
cd "${1:-$(dirname "$0")/..}"

# What a folder may include: itself, and these.
declare -A below=(
	[core]=""
	[http]="core"
	[server]="http core"
	[store]="server core"
	[sql]="tools store server core"
	[tools]="store server core"
	[runner]="store server http core"
)
broken=0
complain() { echo "$1"; broken=1; }

for folder in src/*/; do
	folder=$(basename "$folder")
	if [ -z "${below[$folder]+there}" ]; then
		complain "src/$folder: no rule says what it may include"
		continue
	fi
	while IFS=: read -r file line text; do
		included=$(sed -E 's|.*#include "([a-z_]+)/.*|\1|' <<<"$text")
		case " $folder ${below[$folder]} " in
			*" $included "*) ;;
			*) complain "$file:$line: src/$folder/ may not include \"$included/\"" ;;
		esac
	done < <(grep -HnE "^#include \"($(ls src | grep -v '[.]' | paste -sd'|'))/" \
		"src/$folder"/*.[ch] || true)
done

while IFS= read -r place; do
	complain "$place: SQL is executed in src/store/ and src/tools/ alone"
done < <(grep -rnE 'executor/spi[.]h|\bSPI_[a-z]+ *\(' src --include='*.[ch]' |
	grep -Ev '^src/(store|tools)/' | cut -d: -f1,2)
while IFS= read -r place; do
	complain "$place: libcurl is known to src/http/ alone"
done < <(grep -rnE 'curl/curl[.]h|\bcurl_[a-z_]+ *\(' src --include='*.[ch]' |
	grep -v '^src/http/' | cut -d: -f1,2)
while IFS= read -r place; do
	complain "$place: src/core/ includes core/portable.h instead"
done < <(grep -nE '"postgres(_fe)?[.]h"' src/core/*.[ch] |
	grep -v '^src/core/portable.h:' | cut -d: -f1,2)
while IFS= read -r place; do
	complain "$place: subtransactions are begun by server/subtransaction.c"
done < <(grep -nE 'BeginInternalSubTransaction\(' src/*/*.c |
	grep -v '^src/server/subtransaction[.]c:' | cut -d: -f1,2)
while IFS= read -r place; do
	complain "$place: no PG_TRY() after the begin of a subtransaction"
done < <(awk 'FNR == 1 { at = 0 }
	/[^*] ?subtransaction_begin\(\)/ { at = FNR; where = FILENAME ":" FNR }
	at && /PG_TRY\(\)/ { at = 0 }
	at && FNR > at + 2 { print where; at = 0 }' src/*/*.c)

exit $broken
