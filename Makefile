# What one does with this repository. `make` alone lists it.
PYTHON := .venv/bin/python
WORKERS := $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -lt 2 ] && n=2; [ $$n -gt 4 ] && n=4; echo $$n)
export PYTHONPATH := $(CURDIR):$(CURDIR)/gen

.DEFAULT_GOAL := help
.PHONY: help setup demo dev test soak lint gen bench lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install everything for development into .venv
	@tools/setup dev

demo: ## the whole of Muster at work on this machine, in half a minute (KEEP=1 leaves it running)
	@tools/setup
	@./muster demo $(if $(KEEP),--keep)

dev: ## run all services here until Ctrl-C
	@tools/setup
	@./muster dev

test: ## all tests (ARGS="-k webhook" for some)
	@tools/setup dev
	@$(PYTHON) -m pytest tests --ignore=tests/bench -n $(WORKERS) --dist loadfile $(ARGS)

soak: ## the engine under long random histories (EXAMPLES=1000), the readers under random bodies (BODIES=1000000), ingest killed amid 100,000 requests; SEED=
	@tools/setup dev
	@MUSTER_EXACTNESS_SEED=$(SEED) MUSTER_EXACTNESS_EXAMPLES=$(or $(EXAMPLES),1000) \
	 $(PYTHON) -m pytest tests/evaluator/engine/test_exactness.py $(ARGS)
	@MUSTER_FUZZ_SEED=$(SEED) MUSTER_FUZZ_BODIES=$(or $(BODIES),1000000) $(PYTHON) -m pytest tests/ingest/test_fuzz.py $(ARGS)
	@MUSTER_KILL_REQUESTS=100000 $(PYTHON) -m pytest tests/ingest/test_recovery.py -k amid_requests --timeout=3600 $(ARGS)

lint: ## style, types, layers and contracts
	@tools/setup dev
	@tools/lint

gen: ## make gen/ and docs/platform-api.openapi.yaml from protos/
	@tools/setup dev
	@tools/gen
	@tools/openapi

bench: ## measure, and write build/bench.json (ONLY=engine for a part)
	@tools/setup dev
	@$(PYTHON) -m tests.bench $(if $(ONLY),--only $(ONLY))

lock: ## choose the newest versions that fit and pin them by their hashes
	@tools/setup dev
	@tools/lock

clean: ## remove what was built; keeps .venv and data/
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
