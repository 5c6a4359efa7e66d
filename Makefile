# Every command is one short recipe; `make demo` and `make test` do all set-up by themselves.
PYTHON ?= python3
DATA ?= data
PORT ?= 8000
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
# Takes less than half of pip's time; pip follows where only pip is configured for the index of a company.
UV := $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python
COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --generate-hashes --no-header --quiet
NPM := PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix frontend

.PHONY: demo run dashboard test check check-python check-dashboard format types lock bench clean browser proxy compose-test chaos

demo: .venv/installed frontend/dist/index.html ## start everything, train the demo experiment, show it
	$(BIN)/cctboard demo --data "$(DATA)" --port "$(PORT)"

run: .venv/installed frontend/dist/index.html ## start everything
	$(BIN)/cctboard up --data "$(DATA)" --port "$(PORT)"

dashboard: frontend/dist/index.html ## build the pages

test: ## all checks and tests
	$(MAKE) --jobs=2 check browser proxy frontend/dist/index.html
	$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(TESTS)

check: check-python check-dashboard ## linters, type checkers, the dashboard's unit tests, generated files are current

check-python: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

check-dashboard: .venv/installed frontend/node_modules
	$(BIN)/cctboard openapi | diff -q - frontend/openapi.json >/dev/null || { echo "frontend/openapi.json is out of date; run: make types"; exit 1; }
	$(NPM) run check

format: .venv/installed frontend/node_modules
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(NPM) run format

types: .venv/installed frontend/node_modules ## regenerate the dashboard's API types and limits
	$(BIN)/cctboard openapi > frontend/openapi.json
	$(NPM) run types

lock: .venv/installed ## resolve dependencies anew; constraints.txt pins what GPU drivers in use support
	$(COMPILE) --python-version 3.11 --extra train --group dev --constraint constraints.txt --upgrade \
	  --output-file requirements.lock
	$(COMPILE) --python-version 3.13 --constraint requirements.lock --no-annotate --output-file requirements-api.lock
	$(COMPILE) --python-version 3.13 --constraint requirements.lock --no-annotate --extra train \
	  --output-file requirements-worker.lock

compose-test: .venv/installed ## builds the images, starts the board of docker-compose.yml and breaks it; needs Docker
	$(BIN)/python -m tests.compose

chaos: .venv/installed frontend/dist/index.html ## 100 random faults; the tests have a short form of it
	CHAOS_FAULTS=100 $(BIN)/pytest -s tests/worker/test_chaos.py

bench: export no_proxy := localhost,127.0.0.1
bench: .venv/installed frontend/dist/index.html ## speed of the board and of training; installs other boards to compare with
	$(BIN)/python benchmarks/compare_chart.py
	$(BIN)/python benchmarks/event_latency.py
	$(BIN)/python benchmarks/event_latency.py --streams 1000 --runs 15
	$(BIN)/python benchmarks/board_page.py
	$(BIN)/python benchmarks/training_throughput.py

browser: .venv/installed ## a Chromium for the tests: one that is here, Debian's, or Playwright's
	@command -v chromium chromium-browser google-chrome >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -q && apt-get install -yq --no-install-recommends chromium; } \
	  || $(BIN)/playwright install chromium

proxy: | browser ## an nginx for the tests: one that is here, or Debian's; apt-get installs one thing at a time
	@PATH="$$PATH:/usr/sbin" command -v nginx >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -q && apt-get install -yq --no-install-recommends nginx-light; } \
	  || { echo "the tests need nginx; install it, on Debian: apt-get install nginx-light"; exit 1; }

clean: ## removes what was built, keeps data
	rm -rf .venv frontend/node_modules frontend/dist

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with make PYTHON=...")'
	$(PYTHON) -m venv .venv
	awk '/^[^ #]/ {of_uv = /^uv==/} of_uv' requirements.lock > .venv/uv.lock
	$(PIP) --require-hashes -r .venv/uv.lock
	$(UV) --require-hashes -r requirements.lock || $(PIP) --require-hashes -r requirements.lock
	$(PIP) --no-deps --editable .
	touch $@

frontend/node_modules: .venv/installed frontend/package-lock.json
	$(NPM) ci --no-audit --no-fund
	touch $@

frontend/dist/index.html: frontend/node_modules $(shell find frontend/src frontend/index.html frontend/vite.config.ts -type f 2>/dev/null)
	$(NPM) run build
	touch $@
