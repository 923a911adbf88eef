# `make test` and `make demo` need only Python 3.11+ and make; both build .venv first if it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Processes that share the tests; each needs up to 3 GB.
JOBS ?= 2
STAMP := $(VENV)/.installed

.PHONY: test tests test-fast test-long demo docs lint install benchmark clean

install: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "proda needs Python 3.11 or newer, but $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	         "Call: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The checks of `lint` take one core for a minute, beside the tests.
test: $(STAMP)
	$(MAKE) --jobs 2 lint tests

tests: $(STAMP)
	$(BIN)/pytest -n $(JOBS) -m "not long and not optimised"
	PRODA_TESTS_OPTIMISED=1 $(BIN)/pytest -n $(JOBS) -m "not long" $$($(BIN)/python -m tests.scheduling)

test-fast: $(STAMP)
	$(BIN)/pytest -n $(JOBS) -m "not slow and not long"

test-long: $(STAMP)
	PRODA_TESTS_OPTIMISED=1 $(BIN)/pytest -n $(JOBS) -m long

demo: $(STAMP)
	$(BIN)/proda demo

docs: $(STAMP)
	$(BIN)/mkdocs build --strict --quiet
	@echo "Open site/index.html"

benchmark: $(STAMP)
	$(BIN)/python -m benchmarks.columns

clean:
	rm -rf $(VENV) site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
