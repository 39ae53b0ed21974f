# Two commands do everything: `make demo` and `make test`. Both set up .venv by themselves.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
EXTRAS := all

# Two processes on two cores: a torch thread that spins while it waits slows everything else down.
export OMP_WAIT_POLICY ?= PASSIVE
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo test conformance check lint types layers docs site format clean

demo: $(VENV)/.demo-ready
	$(BIN)/tutelage demo --out runs/demo

test: $(VENV)/.dev-ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not conformance" -n 2 --dist worksteal $(PYTEST_ARGS)

# All chat templates and all model families; the suite runs a part of them. Writes the last results.
conformance: $(VENV)/.dev-ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m conformance -n 2 --dist worksteal $(PYTEST_ARGS)
	PYTHONPATH=. $(BIN)/python -m tests.student.conformance.test_conformance

check: lint types layers docs site

lint: $(VENV)/.dev-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Scripts are not annotated; what breaks them silently is a name or an argument that is gone.
SCRIPT_ERRORS := attr-defined|call-arg|import-not-found|name-defined

types: $(VENV)/.dev-ready
	$(BIN)/mypy
	$(BIN)/mypy benchmarks > $(VENV)/.script-types || test $$? -eq 1
	! grep -E '\[($(SCRIPT_ERRORS))\]$$' $(VENV)/.script-types

layers: $(VENV)/.dev-ready
	$(BIN)/lint-imports

docs: $(VENV)/.dev-ready
	$(BIN)/python -m pytest -q -p no:xdist tests/test_house.py tests/test_docs.py

site: $(VENV)/.dev-ready
	$(BIN)/zensical build --clean --strict

format: $(VENV)/.dev-ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) runs/demo

$(VENV)/.python:
	$(PYTHON) -c 'import sys; sys.exit("tutelage needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": run make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints.txt pip
	touch $@

$(VENV)/.demo-ready: $(VENV)/.python pyproject.toml constraints.txt
	$(PIP) install -q -c constraints.txt -e '.[demo,report,maths,ui]'
	touch $@

$(VENV)/.dev-ready: $(VENV)/.python pyproject.toml constraints.txt
	$(PIP) install -q -c constraints.txt -e '.[$(EXTRAS)]' --group test --group check --group docs
	touch $@ $(VENV)/.demo-ready
