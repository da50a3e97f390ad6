# `make run` and `make test` are the main commands. They install locked versions of all dependencies into .venv.
.DEFAULT_GOAL := help
SHELL := bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check
COMPILED := pipelines/radiograft_pipelines/compiled
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadgroup --no-loadscope-reorder
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: help run test test-fast test-cluster coverage lint compile docs readmes diagrams notebooks screenshot image manifests \
	lock tensorboard bench faults soak fuzz audit clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

run: .venv/installed ## Run the pipeline on a generated dataset and an embedded object store (SETTINGS=demo)
	$(BIN)/radiograft run --settings $(or $(SETTINGS),demo)

test: .venv/installed-dev ## Run the tests; those on real data need RADIOGRAFT_TEST_DATA
	$(PYTEST)

test-fast: .venv/installed-dev ## Run the fast tests, in less than three minutes on two cores
	$(PYTEST) -m "not slow"

test-cluster: .venv/installed-dev ## Run the tests on the cluster at KFP_ENDPOINT and KUBECONFIG
	$(BIN)/python -m pytest tests/cluster

coverage: .venv/installed-dev ## Run the tests and write their coverage to build/coverage
	$(PYTEST) --cov --cov-report=term --cov-report=html:build/coverage

lint: .venv/installed-dev ## Check style, types, imports between layers and Dockerfiles
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint images/*/Dockerfile

compile: .venv/installed ## Compile the packages for the KFP UI to pipelines/radiograft_pipelines/compiled (CLUSTER=file, COMPILED=folder)
	$(BIN)/python -m radiograft_pipelines.compile $(COMPILED) $(if $(CLUSTER),--cluster $(CLUSTER))

docs: .venv/installed-dev ## Build the documentation in build/docs, with every link checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	$(BIN)/python -m docs.tools.links build/docs

readmes: .venv/installed ## Write the README of each component from its signature and settings
	$(BIN)/python -m docs.tools.reference

diagrams: .venv/installed ## Draw the diagrams of the documentation
	$(BIN)/python -m docs.tools.diagrams

notebooks: .venv/installed ## Run the notebooks of the documentation and store their outputs
	$(BIN)/python -m docs.tools.notebook docs/tutorials/*.ipynb

screenshot: .venv/installed ## Capture the latest run's report for the README (needs chromium)
	$(BIN)/python -m docs.tools.screenshot

image: ## Build an image with docker, podman or buildah (NAME=trainer|tensorboard, TARGET=gpu|cpu, IMAGE=reference)
	images/build

manifests: .venv/installed-dev ## Render all overlays to build/manifests and check them (needs kubectl)
	mkdir -p build/manifests
	for folder in manifests/base manifests/overlays/*; do \
		kubectl kustomize $$folder > build/manifests/$${folder##*/}.yaml || exit 1; \
	done
	$(BIN)/python -m pytest tests/manifests

tensorboard: .venv/installed ## Open the latest run's training curves on http://localhost:6006
	$(BIN)/tensorboard --logdir runs/latest/tensorboard

bench: .venv/installed-dev ## Run the benchmarks against plain implementations (BENCH=million|backbones)
	$(BIN)/python -m tests.benchmarks $(BENCH)

faults: .venv/installed-dev ## Inject faults and compare with an undisturbed run (KILLS=50)
	$(BIN)/python -m tests.chaos $(if $(KILLS),--kills $(KILLS))

soak: .venv/installed-dev ## Simulate years of schedules, promotions and concurrent publishers in minutes (SEED=0)
	$(BIN)/python -m tests.soak $(if $(SEED),--seed $(SEED))

lock: .venv/installed-dev ## Update the locked versions in requirements/
	$(INSTALL) uv
	$(BIN)/python requirements/lock.py

fuzz: .venv/installed-dev ## Fuzz all parsers and write the counts to runs/fuzz/latest.json (MINUTES=30, SEED)
	$(BIN)/python -m tests.fuzz $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

audit: .venv/installed-dev ## Check the locked versions for known vulnerabilities, offline (ADVISORIES=file or folder in OSV format)
	$(BIN)/python requirements/audit.py $(ADVISORIES)

clean: ## Remove the environment, all runs and caches
	rm -rf .venv runs build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*

.venv/installed: requirements/cpu.txt pyproject.toml
	test -d .venv || $(PYTHON) -m venv .venv
	$(INSTALL) --require-hashes -r $<
	$(INSTALL) --no-deps --no-build-isolation --editable .
	touch $@

.venv/installed-dev: requirements/dev.txt .venv/installed
	$(INSTALL) --no-deps --require-hashes -r $<
	touch $@
