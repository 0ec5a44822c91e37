# tagscale: `make run` and `make test` set everything up by themselves.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV_VERSION := 0.13.9
PYTHON ?= python3
PORT ?= 5000

export PATH := $(abspath $(BIN)):$(PATH)
# Every stage is a process of its own: without bytecode files each would compile its imports anew, for many seconds.
unexport PYTHONDONTWRITEBYTECODE
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION := false
export GX_ANALYTICS_ENABLED := false

.PHONY: help setup run results ui test test-fast lint k8s-check format lock clean
.DEFAULT_GOAL := help

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Create .venv with the locked packages

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
		{ echo "tagscale needs Python 3.11, 3.12 or 3.13; found: $$($(PYTHON) --version). Try make PYTHON=python3.12 setup"; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || { echo "could not create $(VENV): on Debian and Ubuntu install python3-venv"; exit 1; }
	@echo "Installing the locked packages into $(VENV) (about 6 GB, one to five minutes) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION) && \
		$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock || \
		$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

run: setup ## Run every stage on the default corpus, or say that all is up to date
	@dvc repro
	@tagscale results

results: setup ## Print the result table again, and where to look
	@tagscale results

ui: setup ## MLflow on the local store: experiments compared, the registered model
	@echo "MLflow: http://127.0.0.1:$(PORT)/#/experiments?workflowType=machine_learning  (Ctrl-C ends it)"
	@mlflow server --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1 --port $(PORT)

test: setup lint ## Check style and types, run all tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

test-fast: setup ## All tests but the slow ones
	@$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow"

lint: setup ## ruff and mypy
	@ruff check .
	@ruff format --check .
	@mypy

k8s-check: setup ## Render the overlays of k8s/ and validate every resource strictly (needs kubectl, no cluster)
	@$(BIN)/python -m k8s.check

format: setup ## Let ruff format and mend what it can
	@ruff check --fix .
	@ruff format .

lock: setup ## Write requirements.lock anew from pyproject.toml
	@uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --custom-compile-command "make lock" --quiet -o requirements.lock

clean: ## Remove data, runs and reports (not the DVC cache, not MLflow's store)
	@rm -rf data runs results reports registration timings pipeline-run compiled
