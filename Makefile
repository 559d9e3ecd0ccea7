PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
OLDEST := .venv-oldest
SITE := .venv-docs
IN_PARALLEL := -n logical --dist worksteal

# What another version of a package can break: its interface, where it is called.
OF_VERSIONS := $(addprefix tests/,$(addsuffix .py,test_common test_requirements \
	test_integration test_metrics_scores test_dask test_private_api \
	_conv/test_integration _conv/test_estimator_training _relu/test_estimator_training \
	_relu/test_estimator_inputs _relu/test_rank_choice _arrays/test_conversion \
	_arrays/test_products _arrays/test_threads _labels/test_encoding \
	_files/test_arrays _training/test_net _training/test_adamw \
	persistence/test_save_load persistence/test_onnx plotting/test_displays \
	probing/test_table probing/test_linear_probe))

.PHONY: help demo test test-oldest lint bench docs dist clean

help:
	@echo "make demo         compare probes of new tasks, print a table, draw demo.png"
	@echo "make test         run the tests (slow ones: $(BIN)/pytest -m slow)"
	@echo "make test-oldest  run those that call other packages, with the oldest versions"
	@echo "make lint         ruff check, ruff format --check, mypy"
	@echo "make bench        speed and memory against plain torch and the machine"
	@echo "make docs         the site, in docs/_build/html; runs the examples"
	@echo "make dist         wheel and sdist, each tried in a bare environment"
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

# Examples run once: a second build runs those that changed. EXAMPLES=0 runs none.
EXAMPLES ?= 1
docs: $(SITE)/.installed
	OMP_NUM_THREADS=1 $(SITE)/bin/sphinx-build -W --keep-going -q -b html \
		-D plot_gallery=$(EXAMPLES) docs docs/_build/html
	$(SITE)/bin/sphinx-build -W --keep-going -q -b markdown -D plot_gallery=0 \
		-d docs/_build/markdown docs docs/_build/html
	$(SITE)/bin/python docs/_ext/check_links.py docs/_build/html

dist: $(INSTALLED)
	rm -rf dist .venv-build
	$(PYTHON) -m venv .venv-build
	.venv-build/bin/python -m pip install -qq --disable-pip-version-check build
	.venv-build/bin/python -m build --outdir dist .
	$(BIN)/python tests/try_distribution.py dist/*

clean:
	rm -rf .venv-build $(VENV) $(OLDEST) $(SITE) docs/_build docs/gallery docs/generated .pytest_cache .mypy_cache .ruff_cache build dist *.png
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): constraints.txt
$(OLDEST)/.installed: constraints-oldest.txt
$(SITE)/.installed: constraints.txt
$(SITE)/.installed: EXTRA := docs
EXTRA := all

# The constraint must be in force when torch comes in: without it pip takes the newest
# release, with gigabytes of CUDA libraries, even where a CPU build of the pinned one is
# at hand. What is imported is compiled then, and kept for all processes of the tests: to
# compile everything takes pip twice as long as to install it.
unexport PYTHONDONTWRITEBYTECODE
%/.installed: pyproject.toml
	$(PYTHON) -m venv $*
	$*/bin/python -m pip install -qq --disable-pip-version-check --no-compile \
		--constraint $(filter constraints%,$^) --editable ".[$(EXTRA)]"
	@touch $@
