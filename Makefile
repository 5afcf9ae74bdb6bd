# agno_bg: background runs of LLM agents inside PostgreSQL
#
#   make, make install, make installcheck   as for every PGXS extension;
#                make prove_installcheck runs the TAP tests alone
#   make demo    builds, starts a throw-away cluster, shows the main job
#   make test    builds with warnings as errors, runs every test, or with
#                T=029 only the TAP tests with that in their names
#   make cluster-demo  a router, two nodes and standbys; kills a primary
#   make bench   measures how fast it is on this machine
#   make chaos   kills what can be killed and looks whether a run was lost;
#                CHAOS_SECONDS (300) and CHAOS_SEED are for choice
#   make assertions  runs the tests on a server that checks itself
#   make sanitize  runs the tests with AddressSanitizer and UBSan
#   make lint    static analysis of C and of the scripts
#   make coverage  which lines the tests execute
#   make indent  lays all C files out as pgindent does
#   make fuzz    throws random bytes at every parser, FUZZ_SECONDS (600) each
#   make dist    the zip for PGXN, of what is committed, in dist/
#   make deb     Debian packages from it, for the versions of PostgreSQL here
#   make check-deb  installs one, has a cluster execute a run, purges it again

MODULE_big = agno_bg
EXTENSION = agno_bg agno_router
DATA = sql/agno_bg--1.0.sql sql/agno_bg--1.0--1.1.sql sql/agno_bg--1.1.sql \
	sql/agno_router--1.1.sql
DOCS = $(wildcard doc/*.md doc/*.json)
PGFILEDESC = "agno_bg - background runs of LLM agents"

OBJS = $(patsubst %.c,%.o,$(wildcard src/*.c src/*/*.c))

# The answers are in expected/, their inputs in test/sql. Needs a server with
# shared_preload_libraries = 'agno_bg'.
REGRESS = $(sort $(notdir $(basename $(wildcard test/sql/*.sql))))
REGRESS_OPTS = --inputdir=test

# Make their own clusters, with the library that is installed.
TAP_TESTS = 1
PROVE_TESTS ?= $(wildcard test/t/*.pl)

EXTRA_CLEAN = test/unit/build

# Goals that install what they need first, so they run before PGXS and the
# libraries can be asked for.
ifneq ($(filter assertions bench chaos check-deb cluster-demo coverage deb demo dist fuzz indent lint sanitize test,$(MAKECMDGOALS)),)
.PHONY: assertions bench chaos check-deb cluster-demo coverage deb demo dist fuzz indent lint sanitize test
assertions:
	@test/assertions.sh
bench:
	@test/bench/run.sh
chaos:
	@CHAOS_SECONDS=$${CHAOS_SECONDS:-300} VERBOSE=1 \
		test/run.sh test/t/036_chaos.pl
check-deb:
	@packaging/check_deb.sh
cluster-demo:
	@test/cluster_demo.sh
coverage:
	@test/coverage.sh $(T)
deb:
	@packaging/deb.sh
demo:
	@test/demo.sh
dist:
	@packaging/dist.sh
fuzz:
	@test/fuzz/run.sh
indent:
	@test/indent.sh
lint:
	@test/lint.sh
sanitize:
	@SANITIZE=1 test/run.sh
test:
	@test/run.sh $(T)
else

PG_CONFIG ?= pg_config
PKG_CONFIG ?= pkg-config
PG_CPPFLAGS = -Isrc $(shell $(PKG_CONFIG) --cflags libcurl libcjson openssl)
SHLIB_LINK = $(shell $(PKG_CONFIG) --libs libcurl libcjson openssl)
PG_CFLAGS = -std=gnu11 -Wextra -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers

# The server links libraries into one name space: show it no more than it calls.
# (PostgreSQL 15 leaves PGDLLEXPORT empty.)
PG_CFLAGS += -fvisibility=hidden \
	-DPGDLLEXPORT='__attribute__((visibility("default")))'

# Nothing in here is worth inlining into a query.
override with_llvm = no

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# A folder of its own, not that of all extensions, which goes as a whole: PGXS would look
# for doc/ in it.
docmoduledir := agno_bg
uninstall: uninstall_docs
.PHONY: uninstall_docs
uninstall_docs:
	rm -rf '$(DESTDIR)$(docdir)/$(docmoduledir)'

# Headers are few: whichever changes, build anew.
$(OBJS): $(wildcard src/*/*.h)

# The TAP tests alone; PROVE_TESTS=test/t/029_streaming.pl chooses one.
.PHONY: prove_installcheck
prove_installcheck:
	$(prove_installcheck)

# The pure modules, tested without a server.
.PHONY: unit
unit:
	$(MAKE) -f test/unit/Makefile PG_CONFIG=$(PG_CONFIG) PKG_CONFIG=$(PKG_CONFIG)

endif
