# Everything sets itself up in .venv: `make demo` and `make test` work on a bare clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := cpu,rtx,gpu,torch,vision,draw,dev

.PHONY: help setup demo test lint format bench clean

help:
	@echo "make demo    train LeNet, rebuild HRNet, prove both layer by layer, find a planted error (CKPT=file for your own weights)"
	@echo "make test    every check and test"
	@echo "make bench   the benchmarks"
	@echo "make clean   remove what these made"

setup: $(VENV)/.ready

$(VENV)/.ready: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

demo: setup
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python examples/demo.py $(if $(CKPT),--checkpoint "$(CKPT)")

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint
	OMP_NUM_THREADS=1 PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n 2 --dist worksteal

bench: setup
	for name in wts build run export diff quant decode detect; do PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python benchmarks/$$name.py || exit 1; done

clean:
	rm -rf $(VENV) demo_output build *.egg-info .mypy_cache .ruff_cache
