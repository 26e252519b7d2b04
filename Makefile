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

clean:
	rm -rf $(VENV) build dist
