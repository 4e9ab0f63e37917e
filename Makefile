# Everything runs in .venv, which the first target makes. Another interpreter: make test PYTHON=python3.12
PYTHON ?= python3
ARGS ?=
# Tests that run side by side: many of them wait for processes.
JOBS ?= 4

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

# Tests start hundreds of processes; without bytecode each would compile what it imports.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
INSTALLED := .venv/.installed
BENCH_INSTALLED := .venv/.installed-bench

.PHONY: help demo test check bench clean

help:
	@echo "make demo    make a small experiment in ./demo, register and fuse it, and draw a picture of the result"
	@echo "make test    run the tests             (make test ARGS='-k omezarr' JOBS=0)"
	@echo "make check   ruff, mypy and the import rules"
	@echo "make bench   measure speed and memory, beside multiview-stitcher and elastix; results in benchmarks/out"
	@echo "make clean   remove what these targets made, except .venv"

demo: $(INSTALLED)
	@$(BIN)/luxdask demo

test: $(INSTALLED)
	@$(BIN)/pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(INSTALLED)
	@echo "== ruff check";  $(BIN)/ruff check .
	@echo "== ruff format"; $(BIN)/ruff format --check .
	@echo "== mypy";        $(BIN)/mypy
	@echo "== imports";     $(BIN)/lint-imports

bench: $(BENCH_INSTALLED)
	@mkdir -p benchmarks/out
	@$(BIN)/pytest -q benchmarks -W default --benchmark-enable \
		--benchmark-json=benchmarks/out/benchmarks.json $(ARGS)
	@echo "== fusion of 2 x 2 tiles from disk to disk, beside multiview-stitcher (about 4 minutes)"
	@$(BIN)/python benchmarks/fusion.py
	@echo "== registration of tiles and rigid pairs, beside multiview-stitcher and elastix (10 minutes)"
	@$(BIN)/python benchmarks/registration.py
	@echo "== deconvolution beside scikit-image and RedLionfish, and how close it comes to the truth"
	@$(BIN)/python benchmarks/deconvolution.py
	@$(BIN)/python benchmarks/deconvolution_truth.py
	@echo "== compiling plans of up to 10,000 tiles"
	@$(BIN)/python benchmarks/scale.py

clean:
	@rm -rf demo dist benchmarks/out .benchmarks .pytest_cache .mypy_cache .ruff_cache \
		.import_linter_cache .hypothesis
	@find luxdask tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# The marker is written last, so an installation that was interrupted is taken up again.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and \
		f"luxdask needs Python 3.11 or later, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing luxdask and its tools into .venv; this takes a few minutes the first time"
	@$(PIP) install -qq -c constraints.txt -e ".[dev]"
	@# Its dependency python-javabridge needs a JDK to build; only the metadata classes are used.
	@$(PIP) install -qq --no-deps -c constraints.txt python-bioformats \
		|| echo "python-bioformats could not be installed: the tests that need it are skipped"
	@touch $@

$(BENCH_INSTALLED): $(INSTALLED)
	@echo "Installing multiview-stitcher into .venv, for comparison"
	@$(PIP) install -qq -c constraints.txt -e ".[bench]"
	@touch $@
