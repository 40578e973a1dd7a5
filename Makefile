# On a machine with only Python ≥ 3.11, make and git, two commands do everything:
#   make rebalance   the plan of the sample book (BOOK=folder for another one)
#   make test        linters, types, tests and the wheel in an empty environment; pytest's summary is the last line
# Also: make thorough (every random case, every processor's kernels, a busy machine, the lowest versions, later Pythons),
# make lowest, make lint, make schemas, make picture, make bench (BENCH=--large), make claims, make constraints, make clean. PYTHON=… names the interpreter to use.

BOOK ?= data/listed
VENV := .venv
RUN  := $(VENV)/bin/python

# A path from outside could shadow what the environment holds; a prompt could wait for ever where nobody answers.
unexport PYTHONPATH PYTHONHOME
PIP_INSTALL := -m pip install --quiet --quiet --no-input --disable-pip-version-check
PINNED      := $(RUN) $(PIP_INSTALL) --constraint constraints.txt

# Prints the first interpreter that is new enough and can make environments. A version is tried by running it: a name on
# the PATH may be a shim of nothing, and Debian ships python3 without ensurepip until python3-venv is installed.
FIND_PYTHON = for candidate in $(or $(PYTHON),python3.11 python3.12 python3.13 python3 python); do \
	  if "$$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	  then echo "$$candidate"; exit 0; fi; \
	done; \
	echo "make: no Python 3.11 or later with its venv module was found" \
	  "($(or $(PYTHON),python3) here: $$($(or $(PYTHON),python3) --version 2>&1 | head -n 1));" \
	  "install python3.11 and python3.11-venv, or name one: make PYTHON=/path/to/python3.11" >&2; exit 1

# An environment in folder $(1) of the tests and what they need, in the versions of $(2), without the tools of lint.
define MAKE_ENVIRONMENT
	@python=$$($(FIND_PYTHON)) && echo "making $(1) with $$("$$python" --version)" >&2 && "$$python" -m venv --clear $(1)
	@$(1)/bin/python $(PIP_INSTALL) --constraint $(2) hatchling
	@$(1)/bin/python $(PIP_INSTALL) --constraint $(2) --no-build-isolation --editable '.[all,integrations,test]'
	@touch $(1)/.made
endef

.PHONY: rebalance test thorough lowest lint schemas picture bench claims constraints clean python

rebalance: $(VENV)/.installed
	@$(RUN) cli.py rebalance $(BOOK)

# The tests of the wheel share one build and one environment, so loadgroup keeps them on one worker.
test: lint
	$(RUN) -m pytest -n auto --dist loadgroup

# Everything that is random in full, then the numbers under each kernel that this processor has, then all of it with
# every core kept busy, on the lowest versions, and on each later Python that is installed: two hours and more.
thorough: lint
	$(RUN) tests/anywhere.py

# The quick tests on the lowest versions that pyproject.toml promises, of what is installed with the hosts.
lowest: build/lowest/.made
	build/lowest/bin/python -m pytest -n auto --dist loadgroup

build/lowest/.made: pyproject.toml tests/lowest.py
	@python=$$($(FIND_PYTHON)) && mkdir -p build && "$$python" tests/lowest.py > build/lowest.txt
	$(call MAKE_ENVIRONMENT,build/lowest,build/lowest.txt)

# What constraints.txt pins, on the interpreter that PYTHON names: make build/python3.13/.made PYTHON=python3.13
build/python3.%/.made: pyproject.toml constraints.txt
	$(call MAKE_ENVIRONMENT,$(@D),constraints.txt)

lint: $(VENV)/.dev
	$(RUN) -m ruff check .
	$(RUN) -m mypy

# schemas/*.schema.json from the classes that they describe: after a document or a setting has changed.
schemas: $(VENV)/.dev
	@$(RUN) -m tests.make_schemas

# The README's picture; a test draws it again and compares.
picture: $(VENV)/.dev
	@$(RUN) cli.py beliefs data/note --plot docs/beliefs.svg

# Our calls, the bare solvers and the peers on the same data, and docs/performance.md of what came out.
bench: build/peers/.made
	@build/peers/bin/python benchmarks/bench.py $(BENCH)
	@build/peers/bin/python benchmarks/page.py

# The peers live apart from the project, each in the version that is named here: one that cannot be installed is left
# out, and its rows say so.
PEERS := skfolio==1.12.2 PyPortfolioOpt==1.6.0 cvxportfolio==1.5.1 Riskfolio-Lib==7.4.0 osqp==1.1.3
build/peers/.made: pyproject.toml constraints.txt
	@python=$$($(FIND_PYTHON)) && mkdir -p build && "$$python" -m venv --clear build/peers
	@build/peers/bin/python $(PIP_INSTALL) --constraint constraints.txt hatchling
	@build/peers/bin/python $(PIP_INSTALL) --constraint constraints.txt --no-build-isolation --editable .
	@for peer in $(PEERS); do build/peers/bin/python $(PIP_INSTALL) --constraint constraints.txt "$$peer" \
	  || echo "make: $$peer could not be installed; its rows will say so" >&2; done
	@touch $@

# What else is claimed about time, a script each: `python benchmarks/axes.py`, and so on.
CLAIMS := axes conflicts few_names frontier outlook reasons reporting settled stress stress_model
claims: $(VENV)/.dev
	@set -e; for script in $(CLAIMS); do echo "== $$script"; $(RUN) "benchmarks/$$script.py"; done

python:
	@$(FIND_PYTHON)

# The stamps are written last: what was cut short is made again, what is there takes no time.
$(VENV)/.made:
	@python=$$($(FIND_PYTHON)) && echo "making $(VENV) with $$("$$python" --version)" >&2 && "$$python" -m venv --clear $(VENV)
	@touch $@

# hatchling comes first and builds without isolation: the pinned one, not whichever is newest today.
$(VENV)/.installed: $(VENV)/.made pyproject.toml constraints.txt
	@echo "installing what constraints.txt pins (a minute or two, once)" >&2
	@$(PINNED) hatchling
	@$(PINNED) --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	@echo "installing the tools of the test suite (once)" >&2
	@$(PINNED) --no-build-isolation --editable '.[dev]'
	@touch $@

# Always made on the oldest Python that we support: what resolves there resolves on the later ones.
# A line with an address would tie the pins to one registry or one machine, so it is refused.
constraints:
	@python3.11 --version >/dev/null 2>&1 || { echo "make: constraints are made on Python 3.11; install it" >&2; exit 1; }
	rm -rf build/constraints && python3.11 -m venv build/constraints
	build/constraints/bin/python $(PIP_INSTALL) --editable '.[dev]'
	{ echo "# What was tested, made on Python 3.11 by 'make constraints'. Edit pyproject.toml, not this file."; \
	  build/constraints/bin/python -m pip freeze --exclude-editable --exclude portfolio-allocator \
	    --exclude pip --exclude setuptools | LC_ALL=C sort -f; } > build/constraints.txt
	@if grep -nE '@|://' build/constraints.txt; then echo "make: an address may not stand in constraints.txt" >&2; exit 1; fi
	mv build/constraints.txt constraints.txt

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
