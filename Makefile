# SPDX-License-Identifier: Apache-2.0
# make run and make test need nothing but a fresh clone: what is missing is installed and built
# first, each step once (stamps in .venv/.stamps), again when what it depends on changed.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test test-long test-numa kills soak fuzz inject coverage bench dist lint setup emulators clean distclean

N    ?= 2
ARGS ?=
COLLECTIVE ?= allreduce
BIN    := .venv/bin
STAMPS := .venv/.stamps
SOURCES := $(shell find CMakeLists.txt pyproject.toml cmake runtime launcher bench torchops configs \
             -type f -not -path '*/__pycache__/*' 2>/dev/null)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: setup ## the main job: a real model on N ranks (N=2), compiled; ARGS="--dtype bf16 ..."
	$(BIN)/shm-launch -n $(N) $(BIN)/python examples/infer.py $(ARGS)

test: setup emulators ## all that a change must pass: lint, C tests (also sanitized), Python tests
	@scripts/test.sh

test-long: setup emulators ## the slow rest: huge tensors, every rank count, compiled
	@scripts/test.sh long

test-numa: $(STAMPS)/python emulators ## only the tests of placement, in QEMU guests with several NUMA nodes
	@scripts/test.sh numa

fuzz: $(STAMPS)/python ## each fuzzer for SECONDS (900), MAX at once (all CPUs); see tests/fuzz/fuzz.sh
	@tests/fuzz/fuzz.sh all $(or $(SECONDS),900)

kills: setup ## ranks and whole jobs killed at random: KILLS (2000) and WHOLE_JOBS (500) of them
	@scripts/kills.sh $(or $(KILLS),2000) $(or $(WHOLE_JOBS),500)

soak: setup ## everything at random for SECONDS (1800), contents and memory watched
	@scripts/soak.sh $(or $(SECONDS),1800)

bench: setup ## shmrt beside every other library that can be had; ARGS="--sizes 64:64M ..." for one run
	@scripts/bench.sh $(if $(strip $(ARGS)),$(COLLECTIVE) -n $(N) $(ARGS))

dist: $(STAMPS)/python ## wheel and sdist to hand out, in dist/
	@scripts/dist.sh

coverage: setup ## which lines of runtime and launcher the tests run, in build/coverage/lines.txt
	@scripts/coverage.sh

inject: $(STAMPS)/python ## each system call and allocation of library and launcher fails once (about half an hour)
	@scripts/inject.sh

lint: $(STAMPS)/python ## clang-format, ruff, mypy, shellcheck
	@scripts/lint.sh

setup: $(STAMPS)/shmrt ## install and build only

clean: ## remove what was built (.venv stays)
	rm -rf build dist $(STAMPS)/shmrt

distclean: clean ## also remove .venv
	rm -rf .venv

$(STAMPS)/debian: scripts/setup-debian.sh requirements/debian.txt
	@scripts/setup-debian.sh
	@mkdir -p $(@D) && touch $@

# What only tests need and what they can do without: a failure here makes them skip, no more.
emulators: $(STAMPS)/debian
	@scripts/setup-debian.sh requirements/debian-emulators.txt || \
	  echo "==> Without these packages, tests on other CPUs and in guests are skipped."

$(STAMPS)/python: scripts/setup-python.sh $(wildcard requirements/*.txt) $(STAMPS)/debian
	@scripts/setup-python.sh
	@touch $@

$(STAMPS)/shmrt: scripts/install-shmrt.sh $(SOURCES) $(STAMPS)/python
	@scripts/install-shmrt.sh
	@touch $@
