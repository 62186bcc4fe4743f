# Each target installs what it needs; start with `make demo` and `make test`.
PYTHON ?= python3
PROCESSES ?= 2
VENV := .venv
BIN := $(VENV)/bin
FLOOR := $(shell sed -nE 's/^    "(torch|torchvision)>=([0-9.]+)",/\1==\2.*/p' pyproject.toml)
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: help setup demo test test-long test-multinode test-gpu test-floor faults soak goodput limitations test-fast lint format docs lock audit release clean
help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/' | column -t -s:

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

setup: $(VENV)/.installed ## install everything into .venv

demo: setup ## train on two synthetic domains and translate, in about a minute
	rm -rf demo_run
	$(BIN)/python -m pipelines.demo

test: setup ## all tests that need no GPU and no second machine; PROCESSES=1 runs them one after another
	OMP_NUM_THREADS=1 $(BIN)/python -m tests --processes $(PROCESSES) -m 'not gpu and not multinode and not long'

test-long: setup ## tests that take minutes: a sweep that is killed, interrupted and resumed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m long

test-multinode: setup ## a Ray cluster of several simulated machines (needs root, iproute2)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m multinode

test-gpu: ## tests on a GPU; uses .venv if there is one, else python3 as it is, with torch and pytest
	$(or $(wildcard $(BIN)/python),$(PYTHON)) -m pytest -m gpu tests/gpu

# The interpreter of that torch's Triton converts arrays to numbers, which numpy 2.4 refuses and 2.3 warns of.
test-floor: ## tests of the core with the oldest torch that pyproject.toml allows and little else
	test -x .floor/bin/python || $(PYTHON) -m venv .floor
	.floor/bin/python -m pip install --quiet '$(subst $() ,' ',$(FLOOR))' 'numpy<2.4' pillow pyarrow safetensors pyyaml pytest
	OMP_NUM_THREADS=1 .floor/bin/python -m pytest -m 'not gpu and not long' \
		-W 'ignore:Conversion of an array:DeprecationWarning' tests/networks tests/methods \
		tests/step tests/gpu tests/checkpoint tests/training --ignore tests/training/test_observing.py

faults: setup ## inject all faults and write docs/faults.md; takes an hour
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults

soak: setup ## train 100 times with 8 ranks and 20 times with 16, and write docs/soak.md; takes half an hour
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.soak

goodput: setup ## kill ranks and machines every five minutes, restart 2 to 16 ranks, and write docs/goodput.md; takes an hour (needs root, iproute2)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.goodput

limitations: setup ## train on drawn shapes, riders and labels, and write docs/limitations.md; takes a quarter of an hour
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.limitations

test-fast: setup ## tests without Ray and other slow ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not gpu and not multinode and not long and not ray and not slow'

lint: setup ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: setup ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup ## build the documentation site in build/site; broken links are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lock: setup ## write .ci/hashes.txt: every pinned package with its SHA-256
	mkdir -p build && $(BIN)/python -m pip lock --no-deps -r constraints.txt -o build/pylock.toml
	$(BIN)/python .ci/lock.py build/pylock.toml > .ci/hashes.txt

audit: setup ## list known vulnerabilities of pinned packages, from a database, and write build/sbom.json
	test -x .audit/bin/pip-audit || ($(PYTHON) -m venv .audit && .audit/bin/pip install --quiet pip-audit cyclonedx-bom)
	mkdir -p build && .audit/bin/cyclonedx-py environment $(BIN)/python --output-format JSON --output-file build/sbom.json
	.audit/bin/pip-audit -r constraints.txt --no-deps --disable-pip --strict

# The tools are pinned: other versions may write other bytes.
release: ## build wheel, source distribution, bill of materials, checksums and image in build/release; SIGN=KEY, UNTAGGED=1
	test -x .release/bin/python || $(PYTHON) -m venv .release
	.release/bin/python -m pip install --quiet --no-deps --requirement .ci/release.txt
	.release/bin/python .ci/release.py $(if $(SIGN),--sign $(SIGN)) $(if $(UNTAGGED),--untagged)

clean: ## remove files of demo, tests and builds, but not .venv
	rm -rf demo_run build *.egg-info .pytest_cache .ruff_cache .hypothesis
