# `make demo` and `make test` set up what they need: Python 3.11 or newer, git and a package index are enough.
#
#   make PYTHON=python3.13 …   another interpreter        make VENV=/elsewhere …   another environment
#   make WORKERS=4 tests       more tests at a time       make ARGS="-k gate" tests

VENV ?= .venv
WORKERS ?= 3
ARGS ?=
COVERAGE ?= 90

BIN := $(VENV)/bin
READY := $(VENV)/.anabranch-ready

# The first of these that runs, is new enough and can make an environment.
CANDIDATES := python3 python3.13 python3.12 python3.11 python
PROBE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))

.DEFAULT_GOAL := help
.PHONY: help setup compile demo test lint types floors docs tests thorough coverage bench format clean

help: ## Tell the targets.
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(READY) ## Make the environment; done by whatever needs it.

$(READY): pyproject.toml
	@set -eu; \
	python='$(PYTHON)'; \
	for each in $${python:-$(CANDIDATES)}; do \
	    if $$each -c '$(PROBE)' >/dev/null 2>&1; then found=$$each; break; fi; \
	done; \
	if [ -z "$${found:-}" ]; then \
	    echo "no Python 3.11 or newer with venv was found (tried: $${python:-$(CANDIDATES)}); name one: make PYTHON=…" >&2; \
	    exit 1; \
	fi; \
	if ! $(BIN)/python -c '$(PROBE)' >/dev/null 2>&1; then \
	    echo "making $(VENV) with $$($$found --version)"; \
	    $$found -m venv --clear $(VENV); \
	fi; \
	echo "installing into $(VENV); the first time takes a minute or two"; \
	$(BIN)/python -m pip install -qq --disable-pip-version-check --upgrade pip; \
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile --editable '.[dev]'; \
	$(BIN)/python -m compileall -qq -j 0 -x '/tests/|/snowflake/core/|/pip/|/hive_metastore/' $(VENV)/lib || true; \
	touch $(READY)

compile: $(READY) ## Bytecode, as an installed package has it: where Python may not write it, each start pays for it.
	@$(BIN)/python -m compileall -q src

demo: compile ## Play the whole story, from a branch to production and back.
	@$(BIN)/python scripts/demo.py $(ARGS)

test: lint floors docs ## Everything that has to hold; types are checked beside the tests.
	@$(MAKE) --no-print-directory -j 2 types tests

lint: $(READY) ## Style of the code.
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { echo "run: make format" >&2; exit 1; }

types: $(READY) ## Types, strictly.
	@$(BIN)/mypy --no-error-summary

floors: $(READY) ## No module imports from a floor above its own.
	@$(BIN)/lint-imports > $(VENV)/floors.log || { cat $(VENV)/floors.log >&2; exit 1; }

docs: $(READY) ## The generated pages are those of the code at hand.
	@if [ -f scripts/docs.py ]; then $(BIN)/python scripts/docs.py --check --pages; fi

tests: compile ## The tests.
	@$(BIN)/pytest -n $(WORKERS) $(ARGS)

thorough: compile ## The tests, with ten times the random histories, texts and kills.
	@THOROUGH=10 $(BIN)/pytest -n $(WORKERS) $(ARGS)

coverage: compile ## The tests, and that they reach 90 % of the lines; tracing doubles their time.
	@$(BIN)/pytest -n $(WORKERS) --cov --cov-report=term --cov-fail-under=$(COVERAGE) $(ARGS)

bench: compile ## What things cost on this machine.
	@for each in bench/bench_*.py; do echo "== $$each"; $(BIN)/python $$each; done

format: $(READY) ## Put the code into the one style.
	@$(BIN)/ruff check --quiet --fix . || true
	@$(BIN)/ruff format --quiet .

clean: ## Remove what was made here, the environment too.
	@rm -rf $(VENV) build dist htmlcov .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
