# agno_bg: background runs of LLM agents inside PostgreSQL
#
#   make, make install, make installcheck   as for every PGXS extension
#   make demo    builds, starts a throw-away cluster, shows the main job
#   make test    builds with warnings as errors, runs every test, or with
#                T=029 only the TAP tests with that in their names
#   make bench   measures how fast it is on this machine
#   make chaos   kills what can be killed and looks whether a run was lost;
#                CHAOS_SECONDS (300) and CHAOS_SEED are for choice
#   make assertions  runs the tests on a server that checks itself
#   make sanitize  runs the tests with AddressSanitizer and UBSan
#   make fuzz    throws random bytes at every parser, FUZZ_SECONDS (600) each

MODULE_big = agno_bg
EXTENSION = agno_bg
DATA = sql/agno_bg--1.0.sql sql/agno_bg--1.1.sql
PGFILEDESC = "agno_bg - background runs of LLM agents"

OBJS = \
	src/agent.o \
	src/agno_bg.o \
	src/api.o \
	src/arguments.o \
	src/blame.o \
	src/cancel.o \
	src/ddl.o \
	src/dispatch.o \
	src/encoding.o \
	src/enqueue.o \
	src/fleet.o \
	src/flight.o \
	src/grounded.o \
	src/http.o \
	src/json.o \
	src/json_index.o \
	src/json_merge.o \
	src/shares.o \
	src/known_servers.o \
	src/launcher.o \
	src/log_filter.o \
	src/message.o \
	src/model_server.o \
	src/model_stream.o \
	src/pace_home.o \
	src/pacing.o \
	src/patrol.o \
	src/pick.o \
	src/poller.o \
	src/prompt.o \
	src/provider.o \
	src/provider_anthropic.o \
	src/provider_openai_chat.o \
	src/provider_openai_responses.o \
	src/python.o \
	src/retry_after.o \
	src/rewrite.o \
	src/run.o \
	src/run_event.o \
	src/runner.o \
	src/schema.o \
	src/settings.o \
	src/shared.o \
	src/sse.o \
	src/store.o \
	src/store_queue.o \
	src/store_results.o \
	src/store_retention.o \
	src/store_runs.o \
	src/turn.o \
	src/usage.o \
	src/uuid.o \
	src/wait_event.o \
	src/waiters.o

# The answers are in expected/, their inputs in test/sql. Needs a server with
# shared_preload_libraries = 'agno_bg'.
REGRESS = $(sort $(notdir $(basename $(wildcard test/sql/*.sql))))
REGRESS_OPTS = --inputdir=test

EXTRA_CLEAN = test/unit/build

# Goals that install what they need first, so they run before PGXS and the
# libraries can be asked for.
ifneq ($(filter assertions bench chaos demo fuzz sanitize test,$(MAKECMDGOALS)),)
.PHONY: assertions bench chaos demo fuzz sanitize test
assertions:
	@test/assertions.sh
bench:
	@test/bench/run.sh
chaos:
	@CHAOS_SECONDS=$${CHAOS_SECONDS:-300} VERBOSE=1 \
		test/run.sh test/t/036_chaos.pl
demo:
	@test/demo.sh
fuzz:
	@test/fuzz/run.sh
sanitize:
	@SANITIZE=1 test/run.sh
test:
	@test/run.sh $(T)
else

PG_CONFIG ?= pg_config
PKG_CONFIG ?= pkg-config
PG_CPPFLAGS = $(shell $(PKG_CONFIG) --cflags libcurl libcjson)
SHLIB_LINK = $(shell $(PKG_CONFIG) --libs libcurl libcjson)
PG_CFLAGS = -std=gnu11 -Wextra -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers

# Nothing in here is worth inlining into a query.
override with_llvm = no

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# Headers are few: whichever changes, build anew.
$(OBJS): $(wildcard src/*.h)

# The pure modules, tested without a server.
.PHONY: unit
unit:
	$(MAKE) -f test/unit/Makefile PG_CONFIG=$(PG_CONFIG) PKG_CONFIG=$(PKG_CONFIG)

endif
