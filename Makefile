# The front door. `make help` lists the targets; everything is built by meson, in build/ and build-KIND/.
PREFIX = /usr/local
ROOT := $(CURDIR)
SETUP = tools/setup

.PHONY: all help deps check test demo inject lint format tidy debug asan tsan valgrind fuzz cover bench bench-slurm bench-pace torture test-rootfs test-vm install clean

all: ## build with optimisation: build/berth and its parts beside it
	@$(SETUP) build && ninja -C build

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | expand -t 14

deps: ## install the Debian packages that building and testing need
	@tools/deps build test demo

check: all ## unit tests and lint, before every commit
	@tools/run-tests build:unit build:contract build:lint

test: ## everything, from a bare machine: packages, build, all tests, sanitizers, a short torture
	@tools/deps build test demo vm && $(MAKE) --no-print-directory all asan && tools/run-tests build:unit build:contract build:lint build:flow build:inject build-asan:unit build-asan:contract build-asan:flow build:torture build:vm

demo: ## install, build, and show the program at work; leaves nothing running
	@tools/deps build demo && $(MAKE) --no-print-directory all && tools/demo

lint: all ## layers, purity, names, tables, exports, format, spelling
	@tools/lint build

format: ## rewrite the C files as .clang-format says
	@tools/check-format --fix

tidy: all ## clang-tidy over everything
	@tools/deps tidy && run-clang-tidy -quiet -p build '^$(ROOT)/(src|fake)/'

debug: ## a build without optimisation, in which warnings are errors: build-debug/
	@$(SETUP) build-debug -Dbuildtype=debug && ninja -C build-debug

asan: ## a build with address and undefined-behaviour sanitizers, warnings are errors: build-asan/
	@$(SETUP) build-asan -Dbuildtype=debug -Db_sanitize=address,undefined -Db_lundef=false -Dc_args=-O1 && ninja -C build-asan

tsan: ## build with the thread sanitizer in build-tsan/, and run the contract suites in it
	@$(SETUP) build-tsan -Dbuildtype=debug -Db_sanitize=thread -Db_lundef=false -Dc_args=-O1 && ninja -C build-tsan && tools/run-tests build-tsan:contract

valgrind: debug ## the unit tests under valgrind
	@tools/deps valgrind && tools/run-tests --valgrind build-debug:unit build-debug:contract

fuzz: ## every parser and the core under libFuzzer, FUZZ_SECONDS (600) each, one table: build-fuzz/
	@tools/deps fuzz && CC=clang $(SETUP) build-fuzz -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false && ninja -C build-fuzz fuzzers && tests/fuzz/run build-fuzz

cover: ## line coverage by the unit tests; at least 90 % in the pure layers
	@tools/deps cover && $(SETUP) build-cover -Dbuildtype=debug -Db_coverage=true && ninja -C build-cover && tools/cover build-cover

bench: all ## measure, each figure beside its peer or its baseline
	@tests/bench/run

bench-slurm: all ## jobs per second beside a Slurm that this installs
	@tools/deps slurm && tests/bench/run --slurm

bench-pace: all ## turns on a device: shares, losses and waiting in virtual time, and what a launch costs
	@build/tests/bench/pace_bench

torture: all ## kill everything at random moments until it breaks; SEED=N repeats a round
	@tests/torture/run

inject: all ## the n-th system call fails, in the store, the keeper and the helper
	@tests/inject/run

test-rootfs: ## the README's two commands in clean Debian 12 and 13 root file systems (as root)
	@tests/rootfs/run

test-vm: all ## control groups v2, device filter, reboots and power cuts in small guests; SEED=N, CUTS=N (20)
	@tools/deps vm && tests/vm/run

install: all ## PREFIX/bin/berth and PREFIX/lib/berth/
	@meson configure build --prefix=$(PREFIX) && meson install -C build --strip

clean:
	rm -rf build build-debug build-asan build-tsan build-fuzz build-cover
