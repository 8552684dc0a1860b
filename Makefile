# outtray. `make help` lists the targets.
#
# Two builds share these rules: the program (build/) and the sanitized test build (build-asan/, `make asan`), which
# takes the time from a control file (see agent/base/clock.h).
BUILD   ?= build
CC      ?= gcc
VERSION := 0.1.0
PKGS    := libcurl openssl yaml-0.1 jansson libidn2 libmicrohttpd ncursesw

WARN   := -Wall -Wextra -Werror -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wwrite-strings -Wconversion
HARDEN := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
OPT    ?= -O2 -g
CPPFLAGS += -D_GNU_SOURCE -DOUTTRAY_VERSION='"$(VERSION)"' -I. $(DEFS)
CFLAGS   += -std=gnu17 $(OPT) $(WARN) $(HARDEN) $(SANITIZE) $(shell pkg-config --cflags $(PKGS)) -pthread
LDFLAGS  += -pie -Wl,-z,relro,-z,now $(SANITIZE) -pthread
LDLIBS   += $(shell pkg-config --libs $(PKGS))

ROOMS   := spool-format config agent/base agent/http agent/auth agent/smtp agent/compose agent/delivery agent/observe agent/cli
SOURCES := $(foreach r,$(ROOMS),$(wildcard $(r)/*.c))
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o)
LIBRARY := $(BUILD)/libouttray.a
UNITS   := $(patsubst tests/unit/test_%.c,$(BUILD)/unit/test_%,$(wildcard tests/unit/test_*.c))
FUZZERS := $(patsubst tests/fuzz/fuzz_%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
BENCHES := $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(wildcard tests/bench/*.c))

.PHONY: all help asan demo test units unit check bench bench-tools bench-plots fuzzers fuzz fuzz-build fuzz-campaign fault fault-build fault-program clean crash crash-build crash-tools soak
.PHONY: install uninstall deb deb-test
all: $(BUILD)/outtray ## build the program

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(BUILD)/outtray: $(BUILD)/agent/main.o $(LIBRARY)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(LIBRARY): $(OBJECTS)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/unit/test_%: $(BUILD)/tests/unit/test_%.o $(LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcmocka

# What tries to leave the sandbox, and what asks the helper for too much.
SANDBOX := $(BUILD)/sandbox/leave $(BUILD)/sandbox/ask
all: $(SANDBOX)
$(BUILD)/sandbox/%: $(BUILD)/tests/sandbox/%.o $(LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/bench/%: tests/bench/%.c $(wildcard tests/bench/*.h)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.c,$^) -lssl -lcrypto
$(BUILD)/bench/sink: tests/bench/sink/dialogue.c tests/bench/sink/ledger.c $(wildcard tests/bench/sink/*.h)
$(BUILD)/bench/trickle: tests/bench/sink/dialogue.h

asan: ## the program and its unit tests with ASan, UBSan and the settable clock, in build-asan/
	$(MAKE) BUILD=build-asan OPT='-O1 -g -fno-omit-frame-pointer' HARDEN='-fstack-protector-strong -fPIE' DEFS=-DOUTTRAY_TEST_CLOCK \
	    SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=undefined' build-asan/outtray build-asan/sandbox/leave build-asan/sandbox/ask units

units: $(UNITS)

# The program with calls that can be made to fail: tests/fault/shim.c in place of libc's, and its plan.
FAULT_SHIM := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/fault/*.c))
$(BUILD)/fault/outtray: $(BUILD)/agent/main.o $(FAULT_SHIM) $(LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -rdynamic -o $@ $^ $(LDLIBS) -ldl
$(FAULT_SHIM): override SANITIZE :=

fault-program: $(BUILD)/fault/outtray

fault: fault-build ## let every call and every allocation fail in turn (an hour; FAULT_FLAGS=--help)
	tests/fault/sweep --jobs 2 $(FAULT_FLAGS)

fault-build:
	$(MAKE) BUILD=build-asan OPT='-O1 -g -fno-omit-frame-pointer' HARDEN='-fstack-protector-strong -fPIE' DEFS=-DOUTTRAY_TEST_CLOCK \
	    SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=undefined' fault-program

unit: asan ## run the unit tests under the sanitizers
	@for t in build-asan/unit/test_*; do [ -x $$t ] || continue; $$t || exit 1; done

demo: ## see it work on a local server: two tenants, four messages
	@./scripts/demo

test: ## everything that this machine can test, and what it skipped and why
	@./scripts/test

check: ## hold the tree to the rules: floors, lengths, formatting, manuals, cppcheck, clang-tidy
	@./scripts/check

bench-tools: $(BENCHES)

# What `make bench` writes; a full run is kept in the repository as the record that docs/PERFORMANCE.md speaks of.
BENCH       ?= quick
BENCH_JSON  ?= $(if $(filter full,$(BENCH)),tests/bench/results/full.json,$(BUILD)/bench/quick.json)
bench: $(BUILD)/outtray bench-tools ## measure for two to three minutes and print a table (BENCH=full: everything; BENCH_FLAGS=--help)
	/usr/bin/python3 tests/bench/suite.py --build $(BUILD) $(if $(filter full,$(BENCH)),--full) --json $(BENCH_JSON) $(BENCH_FLAGS)

bench-plots: ## draw docs/performance/*.svg, and the tables of docs/PERFORMANCE.md, from the last full run
	/usr/bin/python3 tests/bench/plots.py tests/bench/results/full.json
	/usr/bin/python3 tests/bench/tables.py tests/bench/results/full.json

# libFuzzer comes with clang only.
FUZZ_CC      ?= clang
FUZZ_BUILD   ?= build-fuzz
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))

$(BUILD)/fuzz/%: $(BUILD)/tests/fuzz/fuzz_%.o $(LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LDLIBS)

fuzzers: $(FUZZERS)

fuzz-build:
	$(MAKE) BUILD=$(FUZZ_BUILD) CC=$(FUZZ_CC) OPT='-O1 -g -fno-omit-frame-pointer' HARDEN= \
	    SANITIZE='-fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined' \
	    ROOMS='spool-format config agent/base agent/http agent/auth agent/smtp agent/compose' fuzzers

fuzz: fuzz-build ## look for inputs that break a promise (FUZZ_SECONDS=60 for each of FUZZ_TARGETS)
	FUZZ_BUILD=$(FUZZ_BUILD) FUZZ_SECONDS=$(FUZZ_SECONDS) tests/fuzz/run $(FUZZ_TARGETS)

fuzz-campaign: fuzz-build ## 20 minutes of CPU time for each target, in the background's background (hours)
	FUZZ_BUILD=$(FUZZ_BUILD) tests/fuzz/campaign $(FUZZ_TARGETS)

# The agent that tests/crash kills: optimized, with the settable clock. Two more lack what the promises stand on, to show
# that the tests notice; these switches exist nowhere else.
CRASH_BUILD   := build-crash
CRASH_LACKING := $(addprefix $(CRASH_BUILD)/outtray-no-,directory-sync recovery-rank)
crash-build: ## what tests/crash and tests/soak run, in build-crash/
	$(MAKE) BUILD=$(CRASH_BUILD) DEFS=-DOUTTRAY_TEST_CLOCK $(CRASH_BUILD)/outtray $(CRASH_LACKING) crash-tools
crash-tools: $(patsubst tests/crash/%.c,$(BUILD)/crash/%,$(wildcard tests/crash/*.c)) $(BUILD)/bench/sink

CRASH_SWITCHED := spool-format/spool.c spool-format/spool_recover.c agent/cli/submit_file.c agent/auth/store.c
$(CRASH_BUILD)/outtray-no-directory-sync: private LACKING := -DOUTTRAY_TEST_NO_DIRECTORY_SYNC
$(CRASH_BUILD)/outtray-no-recovery-rank: private LACKING := -DOUTTRAY_TEST_NO_RECOVERY_RANK
$(CRASH_LACKING): $(CRASH_BUILD)/agent/main.o $(LIBRARY) $(CRASH_SWITCHED)
	$(CC) $(CPPFLAGS) $(LACKING) $(CFLAGS) $(LDFLAGS) -o $@ $< $(CRASH_SWITCHED) $(LIBRARY) $(LDLIBS)
$(BUILD)/crash/%: tests/crash/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(FUSE) $(LDFLAGS) -o $@ $< $(FUSE)
$(BUILD)/crash/disk: FUSE = $(shell pkg-config --cflags --libs fuse3)

# Each part leaves its figures in $(CRASH_BUILD). Without what the promises stand on, something has to be found.
crash: crash-build ## kill at every call that changes the disk, cut the power, replay disks (root; an hour)
	/usr/bin/python3 tests/crash/run.py sweep --record $(CRASH_BUILD)/sweep.json $(CRASH_FLAGS)
	/usr/bin/python3 tests/crash/run.py replay --record $(CRASH_BUILD)/replay.json $(CRASH_FLAGS)
	/usr/bin/python3 tests/crash/run.py sweep --without directory-sync --record $(CRASH_BUILD)/sweep-no-directory-sync.json
	/usr/bin/python3 tests/crash/run.py replay --without directory-sync --record $(CRASH_BUILD)/replay-no-directory-sync.json
	/usr/bin/python3 tests/crash/run.py replay --fs btrfs --without recovery-rank --record $(CRASH_BUILD)/replay-no-recovery-rank.json

soak: crash-build ## kill the agent 1,000 times under 4,000,000 messages, then a simulated day (an hour; SOAK_FLAGS)
	/usr/bin/python3 tests/soak/run.py --messages 4000000 --record $(CRASH_BUILD)/soak.json $(SOAK_FLAGS)

# Where things go. DESTDIR is put in front of everything, for packages; SYSCONFDIR is compiled into nothing but the
# default of --config, which is /etc/outtray.
PREFIX      ?= /usr/local
DESTDIR     ?=
BINDIR      ?= $(PREFIX)/bin
MANDIR      ?= $(PREFIX)/share/man
DOCDIR      ?= $(PREFIX)/share/doc/outtray
UNITDIR     ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
SYSCONFDIR  ?= /etc
PLACES := $(foreach v,BUILD DESTDIR PREFIX BINDIR MANDIR DOCDIR UNITDIR SYSUSERSDIR TMPFILESDIR SYSCONFDIR,$(v)='$($(v))')

install: $(BUILD)/outtray ## install below DESTDIR and PREFIX (/usr/local): program, manuals, unit, configuration, documentation
	@$(PLACES) ./scripts/packaging/files install

uninstall: ## remove what `make install` put there; a changed configuration and the spool stay
	@$(PLACES) ./scripts/packaging/files uninstall

deb: ## build the Debian packages into build/deb (wants debhelper)
	@./scripts/packaging/build-deb

deb-test: ## build them, then install, upgrade, purge and reinstall them in a clean Debian root (as root)
	@./scripts/packaging/build-deb
	@./scripts/packaging/test-deb

clean: ## remove what was built
	rm -rf build build-asan build-clang build-fuzz build-crash

-include $(OBJECTS:.o=.d) $(BUILD)/agent/main.d $(wildcard $(BUILD)/tests/unit/*.d $(BUILD)/tests/fuzz/*.d $(BUILD)/tests/fault/*.d)
