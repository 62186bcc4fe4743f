# Each target does its own set-up; `make demo` and `make test` are the two to know.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: help setup demo test test-long test-multinode faults test-fast lint format docs lock audit clean
help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/' | column -t -s:

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

setup: $(VENV)/.installed ## install everything into .venv

demo: setup ## learn to translate two drawn domains, in three minutes
	rm -rf demo_run
	$(BIN)/python -m pipelines.demo

test: setup ## all tests that need no GPU and no second machine
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not gpu and not multinode and not long'

test-long: setup ## what takes minutes: a sweep that is killed, interrupted and gone on with
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m long

test-multinode: setup ## a Ray cluster of several machines on this one (root, iproute2)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m multinode

faults: setup ## break everything for real and write docs/faults.md; an hour
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults

test-fast: setup ## without Ray and whatever else takes long
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not gpu and not multinode and not long and not ray and not slow'

lint: setup ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: setup ## put code into the project's form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup ## the documentation site in build/site; broken links are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lock: setup ## .ci/hashes.txt: every pinned package with its SHA-256
	mkdir -p build && $(BIN)/python -m pip lock --no-deps -r constraints.txt -o build/pylock.toml
	$(BIN)/python .ci/lock.py build/pylock.toml > .ci/hashes.txt

audit: setup ## known holes of what is pinned, and build/sbom.json; asks a database
	test -x .audit/bin/pip-audit || ($(PYTHON) -m venv .audit && .audit/bin/pip install --quiet pip-audit cyclonedx-bom)
	mkdir -p build && .audit/bin/cyclonedx-py environment $(BIN)/python --output-format JSON --output-file build/sbom.json
	.audit/bin/pip-audit -r constraints.txt --no-deps --disable-pip --strict

clean: ## remove what demo, tests and builds leave; not .venv
	rm -rf demo_run build *.egg-info .pytest_cache .ruff_cache .hypothesis
