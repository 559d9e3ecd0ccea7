PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
OLDEST := .venv-oldest
IN_PARALLEL := -n logical --dist worksteal

# What another version of a package can break: its interface, where it is called.
OF_VERSIONS := $(addprefix tests/test_,$(addsuffix .py,common requirements integration \
	conv_integration relu_training conv_training relu_inputs array_likes tasks \
	metrics_scores persistence onnx dask plotting probing_new_tasks \
	probing_linear_probe rank_choice threads net lazy_adamw array_files private_api))

.PHONY: help demo test test-oldest lint bench clean

help:
	@echo "make demo         compare probes of new tasks, print a table, draw demo.png"
	@echo "make test         run the tests (slow ones: $(BIN)/pytest -m slow)"
	@echo "make test-oldest  run those that call other packages, with the oldest versions"
	@echo "make lint         ruff check, ruff format --check, mypy"
	@echo "make bench        speed and memory against plain torch and the machine"
	@echo "make clean        remove environments, caches and pictures of examples"

demo: $(INSTALLED)
	$(BIN)/python examples/plot_01_new_task_from_16_labels.py

test: $(INSTALLED)
	$(BIN)/python -m pytest $(IN_PARALLEL)

test-oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python -m pytest $(IN_PARALLEL) $(OF_VERSIONS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED)
	$(BIN)/python benchmarks/speed.py

clean:
	rm -rf $(VENV) $(OLDEST) .pytest_cache .mypy_cache .ruff_cache build dist *.png
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): constraints.txt
$(OLDEST)/.installed: constraints-oldest.txt

# The constraint must be in force when torch comes in: without it pip takes the newest
# release, with gigabytes of CUDA libraries, even where a CPU build of the pinned one is
# at hand.
%/.installed: pyproject.toml
	$(PYTHON) -m venv $*
	$*/bin/python -m pip install -qq --disable-pip-version-check \
		--constraint $(filter constraints%,$^) --editable ".[all]"
	@touch $@
