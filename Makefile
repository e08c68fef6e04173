# `make` shows what there is. Needed: Python 3.11 or newer, git and make; all else goes into .venv, once.

PYTHON ?= python3
FILE ?=
FILES ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
# Named by the content of what it stands for, so a changed lock or pyproject.toml sets up anew.
READY := $(VENV)/ready-$(shell cat .ci/lock.txt pyproject.toml | cksum | tr ' ' '-')

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-openapi chain test lint format bench bench-compile bench-runtime figures openapi-table lock clean

help:
	@echo 'make demo                    compile the demo source, serve it, sign in as three people, call tools'
	@echo 'make demo-openapi FILE=...   the same with any OpenAPI 3.x file'
	@echo 'make chain                   from a commit to a tool in a cluster: Argo CD, Keycloak, the runtime; each step timed'
	@echo 'make test                    every test; PYTEST_ARGS="-k name" narrows it'
	@echo 'make lint                    format, lint, types, direction of imports, .gitlab-ci.yml'
	@echo 'make format                  put the code into its form'
	@echo 'make bench                   figures, with ratios'
	@echo 'make bench-compile           the compiler beside other tools; BENCH_ARGS="--sizes 100,1000,10000"'
	@echo 'make bench-runtime           the runtime beside other servers'
	@echo 'make figures                 how many mistakes are found, and the fuzzer: docs/figures.md'
	@echo 'make openapi-table FILES=... what becomes of OpenAPI files: docs/openapi.md'
	@echo 'make lock                    resolve .ci/lock.txt anew (needs uv)'
	@echo 'make setup                   only .venv, which every target above sets up when it has to'
	@echo 'make clean                   remove .venv and caches'
	@echo
	@echo 'PYTHON=python3.13 make ...   another Python than python3'

setup: $(READY)

$(READY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo 'STOA needs Python 3.11 or newer, and $(PYTHON) is' \
			"$$($(PYTHON) --version 2>&1 || true). Name another one: make PYTHON=python3.13 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo '$(PYTHON) lacks the module venv, or the pip that it brings.' \
			'On Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	@echo 'Setting up $(VENV), once: a virtual environment, the packages of .ci/lock.txt by their hashes, STOA itself.'
	@$(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement .ci/lock.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q schemas compiler runtime
	@rm -f $(VENV)/ready-*
	@touch $@
	@echo 'Done.'

demo: $(READY)
	@$(BIN)/python tests/demo/main_job.py

demo-openapi: $(READY)
	@test -n '$(FILE)' || { echo 'Which file? make demo-openapi FILE=path/to/openapi.json' >&2; exit 2; }
	@$(BIN)/python tests/demo/any_openapi.py '$(FILE)'

# Builds Argo CD, a Kubernetes API server and helm with go where they are not there yet: 20 minutes, once.
chain: $(READY)
	@STOA_BUILD_ENGINES=1 $(BIN)/python -m tests.chain

test: $(READY)
	$(BIN)/python -m tests $(PYTEST_ARGS)

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.gitlab-ci --data-transform gitlab-ci .gitlab-ci.yml

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	@$(BIN)/python tests/bench/run.py

bench-compile: $(READY)
	@$(BIN)/python tests/bench/compile.py $(BENCH_ARGS)

bench-runtime: $(READY)
	@$(BIN)/python tests/bench/runtime.py

figures: $(READY)
	@$(BIN)/python tests/fuzz/figures.py

openapi-table: $(READY)
	@test -n '$(FILES)' || { echo 'Which files? make openapi-table FILES="one.yaml two.json"' >&2; exit 2; }
	@$(BIN)/python -m tests.engines.openapi_table $(FILES)

lock:
	@command -v uv >/dev/null || { echo 'uv is not on PATH; it is on PyPI: pip install uv' >&2; exit 1; }
	uv pip compile --generate-hashes --no-emit-index-url --universal --python-version 3.11 --all-extras \
		-o .ci/lock.txt pyproject.toml

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
