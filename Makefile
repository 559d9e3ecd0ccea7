PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help demo test lint bench clean

help:
	@echo "make demo   compare probes of new tasks, print a table, draw demo.png"
	@echo "make test   run the tests (slow ones: $(BIN)/pytest -m slow)"
	@echo "make lint   ruff check, ruff format --check, mypy"
	@echo "make bench  speed and memory against plain torch and the machine, to speed.json"
	@echo "make clean  remove $(VENV), caches and pictures of examples"

demo: $(INSTALLED)
	$(BIN)/python examples/plot_01_new_task_from_16_labels.py

test: $(INSTALLED)
	$(BIN)/python -m pytest

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED)
	$(BIN)/python benchmarks/speed.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist *.png
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The constraint must be in force when torch comes in: without it pip takes the newest
# release, with gigabytes of CUDA libraries, even where a CPU build of the pinned one is
# at hand.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --disable-pip-version-check \
		--constraint constraints.txt --editable ".[all]"
	@touch $@
