# Everything sets itself up: Python 3.11 or newer, and nothing else, is enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

PYTEST := -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

.PHONY: demo test test-long test-all lint docs chaos fuzz audit clean

demo: $(VENV)/installed
	$(BIN)/posecast demo --out posecast-demo

# The core, some minutes on two cores; `make test-all` has the long ones too.
test: $(VENV)/installed
	$(BIN)/python $(PYTEST) -m "not long" --durations 10

test-long: $(VENV)/installed
	$(BIN)/python $(PYTEST) -m long --durations 10

test-all: test test-long

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell benchmarks docs src tests *.md
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

# The site, into docs/_build; a broken link, a wrong reference or a badly formed docstring is an error.
docs: $(VENV)/installed
	$(BIN)/sphinx-build -W --keep-going -n -q docs docs/_build

# Killed at random, and on disks that are full, fail or vanish: twenty minutes on two busy cores.
chaos: $(VENV)/installed
	$(BIN)/python -m tests.chaos --kills 60
	$(BIN)/python -m tests.faults

# Well-formed files that say anything, drawn anew each time: some minutes.
fuzz: $(VENV)/installed
	POSECAST_FUZZ_EXAMPLES=2000 $(BIN)/python -m pytest tests/test_fuzz.py --timeout 1800

# Known vulnerabilities of what is installed; asks the internet, so it is no test.
audit:
	$(PYTHON) -m venv --clear $(VENV)-audit
	$(VENV)-audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	$(VENV)-audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip

# The mark of a finished installation: made last, so an interrupted one is done again.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev,docs]"
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-audit docs/_build posecast-demo
