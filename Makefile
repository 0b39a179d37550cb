# Every target makes the environment it needs; a fresh clone needs Python 3.11+, venv and make.

# The first interpreter on the path that is new enough.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BENCH_VENV := .venv-bench
BIN := $(VENV)/bin
TORCH := torch==2.13.0
# `make bench WORK=W1` runs one work; ROUNDS is the number of alternations, THREADS has a row each.
WORK ?= all
ROUNDS ?= 7
THREADS ?= 1,2
WORKERS ?= 2
# `make compare BASE=f72097c WORK=W3,loop-W3` holds this tree against that commit.
BASE ?= HEAD
# `make fuzz MINUTES=60 SEED=100000` runs longer, and other seeds.
MINUTES ?= 10
SEED ?= 0
# `make test-arm SEEDS=1000` runs so many random graphs of each kind.
SEEDS ?= 100

# Modules are compiled once, and tests, which are rewritten first: a third of the time that it takes
# to look for all tests.
export PYTHONDONTWRITEBYTECODE :=

# What calls functions, layers and optimisers line by line.
EAGER := $(addprefix tests/,tape tensor functional nn optim transform trace jit train report data \
	examples test_debug.py test_errors.py test_random.py test_thread_safety.py)

.PHONY: help reproduce test test-wide test-all test-eager test-arm fuzz check format bench compare sweep processes memory mnist mnist-data lenet moby-dick clean
.DEFAULT_GOAL := help

help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

reproduce: $(VENV)/.report ## train everything in the report, write reproduction/
	$(BIN)/mynn reproduce

test: $(VENV)/.test ## run the tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test-wide: $(VENV)/.test ## twice as many cases as `make test` runs, as CI does
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --wide

test-all: $(VENV)/.test ## all cases, of which `make test` runs a part (tests/subset.py)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --whole

test-eager: $(VENV)/.test ## the tests of eager calls, run at once, and as programs from the first
	MYNN_EAGER="at once" $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(EAGER)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --first-calls $(EAGER)

test-arm: $(VENV)/.test ## run AArch64 code in an emulator (qemu-user, gcc-aarch64-linux-gnu)
	$(BIN)/python -m pytest -n $(WORKERS) --whole tests/target/test_arm.py
	$(BIN)/python -m tests.target.arm --seeds $(SEEDS)

fuzz: $(VENV)/.test ## random graphs, trainings, eager programs for MINUTES, from SEED on
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES) --seed $(SEED)
	$(BIN)/python -m tests.fuzz.signals --moments $$((100 * $(MINUTES))) --seed $(SEED)
	$(BIN)/python -m tests.fuzz.signals --tape --moments $$((100 * $(MINUTES))) --seed $(SEED)

check: $(VENV)/.dev ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.dev ## format the code, mend what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(BENCH_VENV)/.peers ## time us beside the peers, write build/bench.json (WORK=, THREADS=)
	$(BENCH_VENV)/bin/python -m benchmarks --work $(WORK) --threads $(THREADS) \
		--rounds $(ROUNDS) --verify
	$(BENCH_VENV)/bin/python -m benchmarks.operations
	$(BENCH_VENV)/bin/python -m benchmarks.embeddings

compare: $(BENCH_VENV)/.peers ## time this tree and another commit in turn, write build/compare.json (BASE=, WORK=, THREADS=)
	$(BENCH_VENV)/bin/python -m benchmarks.compare --base $(BASE) --work $(WORK) \
		--threads $(THREADS) --rounds $(ROUNDS)

sweep: $(VENV)/.report ## time steps of many widths and batches, write docs/figures/sweep.png
	$(BIN)/python -m benchmarks.sweep

processes: $(VENV)/.core ## two trainings at once on two cores, beside one after the other
	$(BIN)/python -m benchmarks.processes

memory: $(VENV)/.core $(VENV)/.torch ## whether memory stays level over steps and networks, beside PyTorch
	$(BIN)/python -m benchmarks.memory

mnist: mnist-data $(VENV)/.torch ## train on MNIST, beside PyTorch where it is installed
	$(BIN)/python -m examples.mnist.compare

lenet: mnist-data $(VENV)/.torch ## LeNet on MNIST from a cold start, beside PyTorch
	$(BIN)/python -m examples.mnist.lenet_compare --threads $(THREADS)

mnist-data: $(VENV)/.core ## fetch MNIST into build/data/mnist
	$(BIN)/python -m examples.mnist.fetch

moby-dick: $(VENV)/.core ## fetch Moby Dick, and learn to write like it
	$(BIN)/python -m examples.moby_dick.data
	$(BIN)/python -m examples.moby_dick

clean: ## remove environments, caches and outputs
	rm -rf $(VENV) $(BENCH_VENV) build dist reproduction *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- environments: one stamp for each set of packages, remade when pyproject.toml changes

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "mynn needs Python 3.11 or newer on the path" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# A call of pip takes some seconds to look at what is there, so each target has one.
INSTALL := -m pip install -q

$(VENV)/.core: pyproject.toml | $(BIN)/python
	$(BIN)/python $(INSTALL) -e .
	@touch $@

$(VENV)/.report: pyproject.toml | $(BIN)/python
	$(BIN)/python $(INSTALL) -e '.[report]'
	@touch $(VENV)/.core $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python $(INSTALL) -e '.[report,dev]'
	@touch $(VENV)/.core $(VENV)/.report $@

# The tests and the example compare with PyTorch where it can be had, and skip that otherwise.
NO_TORCH := echo "PyTorch cannot be installed here: comparisons with it are skipped" >&2

# Of some thousand modules the tests import a part, which is compiled then: to compile all took
# longer than to install them.
FOR_TESTS := $(INSTALL) --no-compile -e '.[report,test,environments]'

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python $(FOR_TESTS) '$(TORCH)' || { $(NO_TORCH); $(BIN)/python $(FOR_TESTS); }
	@touch $(VENV)/.core $(VENV)/.report $(VENV)/.torch $@

$(VENV)/.torch: | $(VENV)/.core
	$(BIN)/python $(INSTALL) '$(TORCH)' || $(NO_TORCH)
	@touch $@

$(BENCH_VENV)/.peers: pyproject.toml
	@test -n "$(PYTHON)" || { echo "mynn needs Python 3.11 or newer on the path" >&2; exit 1; }
	$(PYTHON) -m venv $(BENCH_VENV)
	@echo '*' > $(BENCH_VENV)/.gitignore
	$(BENCH_VENV)/bin/python $(INSTALL) -e .
	for peer in '$(TORCH)' 'jax jaxlib' scikit-learn 'onnxruntime onnx'; do \
		$(BENCH_VENV)/bin/python $(INSTALL) $$peer \
			|| echo "$$peer cannot be installed here: its cells stay empty" >&2; \
	done
	@touch $@
