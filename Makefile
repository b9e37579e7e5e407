# `make quickstart` and `make test` do all the set-up on a fresh machine; the others assume nothing either.
PYTHON ?= python3
BIN := .venv/bin
SIDE_BY_SIDE = --numprocesses auto --maxprocesses 8  # a process imports torch: half a gigabyte
RUNS_OPTION = $(if $(RUNS),--runs $(RUNS))

.PHONY: help .venv quickstart test test-browser test-cluster bench gpu fairness check format clean

help:
	@echo "make quickstart   install, run the main job on bundled images (6 to 17 minutes), write the page"
	@echo "make test         install with the test dependencies, pass the tests (some 30 minutes on two cores)"
	@echo "make test-browser pass the tests of the page in Debian's chromium (root, where it is not installed)"
	@echo "make test-cluster pass the tests on a real SLURM cluster on this machine (root; installs Debian's packages)"
	@echo "make bench        measure the speed on this machine (BENCH='models --rounds 5': which tables, how)"
	@echo "make gpu          on a machine with a CUDA GPU: the doctor, the GPU's tests, its speed (half an hour at most)"
	@echo "make fairness     train every family beside its reference (FAIRNESS='--dataset cifar10': on what; hours)"
	@echo "make check        ruff and mypy"
	@echo "make .venv        install only"

.venv: .venv/installed

.venv/python-found:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "this Python has no venv; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/installed: .venv/python-found pyproject.toml
	@echo "installing into .venv (about three minutes and 6 GB, mostly torch)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/installed-dev: .venv/python-found pyproject.toml  # all at once: pip looks at 6 GB each time
	@test -e .venv/installed || echo "installing into .venv (about three minutes and 6 GB, mostly torch)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch .venv/installed $@

quickstart: .venv/installed
	$(BIN)/inductive run quickstart $(RUNS_OPTION)
	$(BIN)/inductive report quickstart $(RUNS_OPTION)

test: .venv/installed-dev
	$(BIN)/pytest $(SIDE_BY_SIDE) --dist loadfile --no-loadscope-reorder  # tests/conftest.py has the order

test-browser: .venv/installed-dev
	tests/analysis/browser/packages
	INDUCTIVE_TEST_BROWSER=1 $(BIN)/pytest tests/analysis/browser

test-cluster: .venv/installed-dev
	tests/cluster/packages
	INDUCTIVE_TEST_CLUSTER=1 $(BIN)/pytest tests/cluster

bench: .venv/installed
	$(BIN)/python -m benchmarks.speed --json reports/speed.json $(BENCH)

GPU_TABLES = $(BIN)/python -m benchmarks.speed --device cuda --patience 60 --write docs/performance.md
gpu: .venv/installed-dev  # what fails stops nothing that comes after it
	@code=0; \
	$(BIN)/inductive doctor --device cuda --write docs/performance.md || code=$$?; \
	$(BIN)/pytest -m gpu tests/gpu || code=$$?; \
	$(GPU_TABLES) models encodings start --rounds 3 --most 6 --json reports/speed-gpu.json || code=$$?; \
	$(GPU_TABLES) sharing sweep compile --rounds 1 --most 2 --json reports/speed-gpu-long.json || code=$$?; \
	exit $$code

fairness: .venv/installed
	$(BIN)/python -m benchmarks.fairness --json reports/fairness.json $(FAIRNESS)

check: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache
