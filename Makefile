# tagscale: `make run` and `make test` set everything up by themselves.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV_VERSION := 0.13.9
PYTHON ?= python3
PORT ?= 5000

# The container image: `make image IMAGE=ghcr.io/us/tagscale`. BASE, TORCH_INDEX, PIP_INDEX_URL and the other build
# arguments below may also come from the environment. The Dockerfile explains them.
IMAGE ?= tagscale
DOCKER ?= docker
BUILD_FLAGS ?=
PACKAGES ?= requirements-image.lock
BUILD_ARGUMENTS := BASE TORCH_INDEX PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_CERT \
	HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy

# The tag of the image: the git commit, with "-dirty" behind it where what the image holds differs from that commit.
CONTENT := Dockerfile pyproject.toml requirements-image.lock requirements-serve.lock src components pipelines presets params.yaml dvc.yaml
COMMIT = $(or $(shell git rev-parse HEAD 2>/dev/null),unknown)
DIRTY = $(shell git status --porcelain -- $(CONTENT) 2>/dev/null | sed -n '1s/.*/-dirty/p')
TAG = $(if $(filter unknown,$(COMMIT)),latest,$(shell echo $(COMMIT) | cut -c 1-7)$(DIRTY))

export PATH := $(abspath $(BIN)):$(PATH)
# Every stage is a process of its own. Without bytecode files each would compile its imports again, for many seconds.
unexport PYTHONDONTWRITEBYTECODE
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION := false
export GX_ANALYTICS_ENABLED := false

# Each worker process runs whole files of tests, in the order of tests/conftest.py. There are two more of them than cores,
# because tests wait for servers and for the processes that they start.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 2)
PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: help setup run results ui test test-fast test-containers fuzz wheel image image-serve image-tag style lint k8s-check format lock clean
.DEFAULT_GOAL := help

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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
	@$(BIN)/tagscale fetch-encoders || echo "Set-up goes on without the published encoders."
	@touch $(READY)

run: setup ## Run every stage on the default corpus, or say that all is up to date
	@dvc repro
	@tagscale results

results: setup ## Print the result table again, and where to look
	@tagscale results

ui: setup ## Start MLflow on the local store: compare experiments, see the registered model
	@tagscale ui --port $(PORT)

test: setup style ## Check style, run all tests, of which one checks the types
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL)

test-fast: setup ## Run all tests except the slow ones
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) -m "not slow"

test-containers: setup ## Run the tests that need a docker engine: build the image, run tasks in it (as root, start an engine)
	@$(BIN)/python -m pytest -s tests/containers

fuzz: setup ## Feed thousands of damaged files and kills to every stage (half an hour and more; FUZZ="--only KIND:NUMBER" runs one case)
	@PYTHONPATH=.:tests $(BIN)/python -m fuzz $(FUZZ)

wheel: setup ## Build dist/tagscale-VERSION-py3-none-any.whl, which pip installs where this repository is not
	@rm -rf build && pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist . && \
		rm -rf build && ls dist/*.whl

image: ## Build the container image, tagged by git commit; also latest, where IMAGE names no registry
	@source=$$(git remote get-url origin 2>/dev/null | sed -n -E 's#^https://([^/@]*@)?#https://#p'); \
	version=$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml); \
	$(DOCKER) build $(BUILD_FLAGS) \
		$(foreach name,$(BUILD_ARGUMENTS),$(if $($(name)),--build-arg $(name))) \
		--build-arg LOCK=$(PACKAGES) --build-arg GIT_COMMIT=$(COMMIT)$(DIRTY) --build-arg VERSION="$$version" --build-arg SOURCE="$$source" \
		--tag $(IMAGE):$(TAG) $(if $(findstring /,$(IMAGE)),,--tag $(IMAGE):latest) . && \
	$(DOCKER) image inspect --format '$(IMAGE):$(TAG), {{.Size}} bytes' $(IMAGE):$(TAG)

image-serve: ## Build IMAGE-serve, which serves and tags; with TORCH_INDEX the small one, for CPUs
	@$(MAKE) --no-print-directory image IMAGE=$(IMAGE)-serve PACKAGES=requirements-serve.lock

image-tag: ## Print the tag that `make image` gives the image
	@echo $(TAG)

style: setup
	@ruff check .
	@ruff format --check .

lint: style ## Run ruff and mypy
	@mypy

k8s-check: setup ## Render the overlays of k8s/ and validate every resource strictly (needs kubectl, no cluster)
	@$(BIN)/python -m k8s.check

format: setup ## Format the code and apply ruff's automatic fixes
	@ruff check --fix .
	@ruff format .

LOCK := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock" --quiet

lock: setup ## Write requirements.lock from pyproject.toml, and requirements-image.lock and -serve.lock for the images
	@$(LOCK) --extra dev -o requirements.lock
	@$(LOCK) $(foreach extra,main pipelines s3 server serve,--extra $(extra)) -c requirements.lock -o requirements-image.lock
	@$(LOCK) --extra serve -c requirements.lock -o requirements-serve.lock

clean: ## Remove data, runs and reports (not the DVC cache, not MLflow's store)
	@rm -rf data runs results ensembles reports registration timings pipeline-run compiled
