# make demo                      set up .venv, classify a few real clips, show what was found and write a report
# make demo ARCHIVE=/my/videos   the same on your own folder
# make check                     the linters and the fast tests: under two minutes on two cores
# make test                      set up .venv with what the tests need, and run them all; measures branch coverage
# make docs                      draw the pictures and build the documentation into site/; broken links fail
# make mutate                    mutation tests of the seven modules that pyproject.toml names; takes half an hour
# make bench BENCH="--repeats 2" the whole job beside its peers, in an environment of its own; takes half an hour
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARCHIVE ?= $(shell $(BIN)/python -m pipelines.commands.demo_archive 2>/dev/null)
DEMO_CATALOG ?= demo-catalog
TESTS ?= tests
# Two workers take files in the order of tests/conftest.py, those that take long first, and not those with most tests.
TWO = -n 2 --dist loadfile --no-loadscope-reorder
FAST = not slow and not cluster

.PHONY: demo test check lint docs mutate bench clean

$(VENV)/.ready: setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { echo "reelbeam needs Python 3.11, 3.12 or 3.13: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip 'setuptools>=75' wheel
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

demo: $(VENV)/.ready
	$(BIN)/reelbeam classify --archive "$(ARCHIVE)" --catalog $(DEMO_CATALOG)
	$(BIN)/reelbeam status --catalog $(DEMO_CATALOG)
	$(BIN)/reelbeam index --catalog $(DEMO_CATALOG)
	$(BIN)/reelbeam search --catalog $(DEMO_CATALOG) "people riding bicycles in a city"
	$(BIN)/reelbeam report --catalog $(DEMO_CATALOG) --output demo-report.html
	@echo "Open demo-report.html in a browser: it shows what the job did."
	@echo "To search and to look at the videos, run: $(BIN)/reelbeam serve --catalog $(DEMO_CATALOG)"

# Coverage is that of the fast tests: slow ones run mostly in processes of their own, and measuring them takes minutes.
test: $(VENV)/.ready
ifeq ($(TESTS),tests)
	$(BIN)/python -m pytest $(TWO) -m "$(FAST)" tests --cov
	$(BIN)/python -m pytest $(TWO) -m "not ($(FAST))" tests
else
	$(BIN)/python -m pytest $(TWO) $(TESTS)
endif

check: lint
	$(BIN)/python -m pytest $(TWO) -m "$(FAST)" $(TESTS)

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# MkDocs 2 is announced on every run; the version is bound below 2.
docs: $(VENV)/.ready
	$(BIN)/python docs/draw_architecture.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

mutate: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet -e '.[mutate]'
	$(BIN)/mutmut run --max-children 2
	$(BIN)/mutmut results

# The peers' libraries stay out of .venv.
.bench/venv/.ready: setup.py
	$(PYTHON) -m venv .bench/venv
	.bench/venv/bin/python -m pip install --quiet --upgrade pip 'setuptools>=75' wheel
	.bench/venv/bin/python -m pip install --quiet -e '.[bench,test]'
	@touch $@

bench: .bench/venv/.ready
	.bench/venv/bin/python -m tests.benchmarks.whole_job $(BENCH)

clean:
	rm -rf $(VENV) .venv-* mutants build dist site *.egg-info demo-catalog demo-report.html .pytest_cache .mypy_cache .ruff_cache
