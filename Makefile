# make demo                      set up .venv, classify a few real clips, show what was found
# make demo ARCHIVE=/my/videos   the same on your own folder
# make test                      set up .venv with what the tests need, and run them
# make bench BENCH="--repeats 2" the whole job beside its peers, in an environment of its own; takes half an hour
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARCHIVE ?= $(shell $(BIN)/python -m pipelines.demo_archive 2>/dev/null)
DEMO_CATALOG ?= demo-catalog
TESTS ?= tests

.PHONY: demo test lint bench clean

$(VENV)/.ready: setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "reelbeam needs Python 3.11 or newer: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip 'setuptools>=75' wheel
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

demo: $(VENV)/.ready
	$(BIN)/reelbeam classify --archive "$(ARCHIVE)" --catalog $(DEMO_CATALOG)
	$(BIN)/reelbeam status --catalog $(DEMO_CATALOG)
	$(BIN)/reelbeam index --catalog $(DEMO_CATALOG)
	$(BIN)/reelbeam search --catalog $(DEMO_CATALOG) "people riding bicycles in a city"

test: $(VENV)/.ready
	$(BIN)/python -m pytest -n 2 --dist loadfile $(TESTS)

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The peers' libraries stay out of .venv.
.bench/venv/.ready: setup.py
	$(PYTHON) -m venv .bench/venv
	.bench/venv/bin/python -m pip install --quiet --upgrade pip 'setuptools>=75' wheel
	.bench/venv/bin/python -m pip install --quiet -e '.[bench,test]'
	@touch $@

bench: .bench/venv/.ready
	.bench/venv/bin/python -m tests.benchmarks.whole_job $(BENCH)

clean:
	rm -rf $(VENV) build dist *.egg-info demo-catalog .pytest_cache .mypy_cache .ruff_cache
