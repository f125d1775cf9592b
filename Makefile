# One folder holds everything that is set up: .venv. Every target sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo docs test fast portable-test flink-test dataflow-test check format lint types fix bench lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## virtual environment, locked dependencies, gobelin itself (editable)

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gobelin needs Python 3.11 or later; name it with PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c 'import uv' 2>/dev/null || $(BIN)/python -m pip install --quiet uv==0.13.9
	$(BIN)/python -m uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $(READY)

demo: $(READY) ## the whole way on a crawl that gobelin draws itself: 5 to 10 minutes on 2 cores
	$(BIN)/python -m examples.demo --output out/demo

docs: $(READY) ## the documentation as a site, out/documentation/index.html; a dead link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

test: $(READY) ## the tests
	$(BIN)/python -m pytest

portable-test: $(READY) ## extract to tokenize on Prism with two worker pools and an S3 server (needs Go)
	$(BIN)/python -m tests.cluster
	$(BIN)/python -m pytest -m cluster tests/test_prism.py

flink-test: $(READY) ## a standalone Flink; with FLINK_JOB_SERVER_JAR=FILE also extract to select on it (needs Java)
	$(BIN)/python -m tests.flink_cluster
	FLINK_JOB_SERVER_JAR=$(FLINK_JOB_SERVER_JAR) $(BIN)/python -m pytest -m cluster tests/test_flink.py

dataflow-test: $(VENV)/gcp ## every graph as Dataflow gets it, without a network (needs Beam's extra gcp, which goes to .venv/gcp)
	PYTHONPATH=$(CURDIR)/$(VENV)/gcp $(BIN)/python -m pytest tests/test_dataflow.py

$(VENV)/gcp: $(READY)
	$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --target $@ --constraint requirements.lock 'apache-beam[gcp]'
	touch $@

# Test files that start no process, graph, server or network, by the words in them.
NOT_FAST := subprocess|gobelin\.pipeline|torch|object_store|s3_door|extract_archives|score_documents|select_from|apache_beam|plan_here|make_crawl|multiprocessing|threading|image_sandbox|check_image|asyncio|hostile
fast: $(READY) ## the pure tests, in under a minute
	$(BIN)/python -m pytest -q -m 'not slow and not corpus' $$(grep -LE '$(NOT_FAST)' tests/test_*.py)

check: format lint types test ## what CI runs: format, lint, types, tests

format: $(READY) ## is everything formatted? (`make fix` mends it)
	$(BIN)/ruff format --check .

lint: $(READY) ## ruff
	$(BIN)/ruff check .

types: $(READY) ## mypy
	$(BIN)/mypy
	$(BIN)/mypy examples/demo/*.py examples/sample_crawl/*.py
	$(BIN)/mypy examples/plugin/*.py
	$(BIN)/mypy docs/site/hooks.py
	$(BIN)/mypy examples/elsewhere/torchtitan_dataset.py examples/elsewhere/plain_ddp.py

fix: $(READY) ## format, and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## what each stage costs, on the demo's crawl (make demo first)
	$(BIN)/python bench/stages.py --input 'out/demo/crawl/*.warc.gz' --recipe obelics

lock: $(READY) ## resolve requirements.lock anew from pyproject.toml
	$(BIN)/python -m uv pip compile pyproject.toml --extra models --extra dev --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-annotate --no-header --upgrade --quiet -o requirements.lock

clean: ## remove the demo's output and caches
	rm -rf out/demo .mypy_cache .ruff_cache .pytest_cache
