# Everything a developer runs. Each target makes the environment it needs, in .venv.
PYTHON ?= python3
BIN := .venv/bin
TESTERS ?= 3

.PHONY: test lint check demo bench soak clean

test: lint check        ## what CI runs: style, types, layers, then every test

lint: .venv/ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: .venv/ready-dev
	$(BIN)/python -m pytest -n $(TESTERS) --dist loadgroup

demo: .venv/ready-demo  ## a sweep on real handwritten digits, in about a minute
	$(BIN)/python examples/demo.py

bench: .venv/ready-bench  ## caviar beside Ray Tune and Optuna, and one run beside many, on this machine
	$(BIN)/python benchmarks/bench_overhead.py
	$(BIN)/python benchmarks/bench_report.py
	$(BIN)/python benchmarks/bench_reading.py
	$(BIN)/python benchmarks/bench_efficiency.py
	$(BIN)/python benchmarks/bench_controller.py
	$(BIN)/python benchmarks/bench_recovery.py
	$(BIN)/python benchmarks/bench_workers.py
	$(BIN)/python benchmarks/bench_panda_vs_caviar.py
	$(BIN)/python benchmarks/bench_audit.py
	$(BIN)/python benchmarks/bench_early_stopping.py
	$(BIN)/python benchmarks/bench_zoom.py
	$(BIN)/python benchmarks/bench_coarse_to_fine.py

soak: .venv/ready-dev   ## 1,000 kills of drivers and more on Ray, then 50,000 trials with faults at random
	CAVIAR_KILLS=1000 CAVIAR_RAY_KILLS=50 $(BIN)/python -m pytest -s tests/faults/test_kills.py
	$(BIN)/python benchmarks/soak.py

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/bin/pip:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"

.venv/ready-demo: pyproject.toml | .venv/bin/pip
	$(BIN)/pip install --quiet --editable '.[report,examples]'
	touch $@

.venv/ready-dev: pyproject.toml | .venv/bin/pip
	$(BIN)/pip install --quiet --editable . --group dev
	touch $@

.venv/ready-bench: pyproject.toml | .venv/bin/pip
	$(BIN)/pip install --quiet --editable '.[report,examples]' --group bench
	touch $@
