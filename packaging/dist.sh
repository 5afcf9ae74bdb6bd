#!/bin/bash
# make dist: dist/agno_bg-<version>.zip for PGXN, of what is committed, if META.json is as
# it should be.
set -euo pipefail
cd "$(dirname "$0")/.."
. test/lib.sh

extra_packages="python3-jsonschema python3-regex zip unzip"
install_packages

# Debian's Python, which has the modules that were installed
/usr/bin/python3 packaging/check_meta.py
version=$(sed -n 's/^   "version": "\(.*\)",$/\1/p' META.json)
mkdir -p dist
git archive --format=zip --prefix="agno_bg-$version/" -o "dist/agno_bg-$version.zip" HEAD
unzip -tq "dist/agno_bg-$version.zip" >/dev/null
echo "dist/agno_bg-$version.zip"
