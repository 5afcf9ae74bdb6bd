#!/bin/bash
# make fuzz: installs what is missing on Debian, and fuzzes every parser for
# FUZZ_SECONDS (600) each. Stops at the first finding.
set -euo pipefail
cd "$(dirname "$0")/../.."
. test/lib.sh

extra_packages="clang libclang-rt-dev"
install_packages
exec make -s -f test/fuzz/Makefile PG_CONFIG="$PG_CONFIG" PKG_CONFIG=pkg-config
