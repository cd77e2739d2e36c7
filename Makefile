# Two commands matter: `make lab` opens the course, `make test` runs everything CI runs. `make` alone lists all.
# Every target makes .venv itself when it is missing or when the lock changed.
#
#   PYTHON        the Python to build .venv with (default: the first of python3.11, python3, python that runs)
#   TORCH_ARGS    further arguments of `pip install torch==...`, for example the index of PyTorch's CPU builds
#   JUPYTER_ARGS  further arguments of JupyterLab, for example JUPYTER_ARGS="--port 9999"
#   PYTEST_ARGS   further arguments of pytest
#   BENCH_ARGS    further arguments of benchmarks.updates, for example BENCH_ARGS=--quick
#   RELEASE_ARGS  further arguments of scripts.release, for example RELEASE_ARGS="--only core"

PYTHON ?= $(shell for p in python3.11 python3 python; do $$p -c "" 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
TORCH := $(shell grep '^torch==' requirements.txt)
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
MUJOCO := $(VENV)/.mujoco
PEER := d3rlpy==2.8.1
BENCH := .venv-bench
BENCH_STAMP := $(BENCH)/.$(subst ==,-,$(TORCH)_$(PEER))
export JUPYTER_ARGS

# The stamp holds the folder .venv was made for: it does not work after the checkout has been moved or renamed.
ifneq ($(wildcard $(STAMP)),)
ifneq ($(shell cat $(STAMP)),$(CURDIR))
MOVED := moved
endif
endif

.DEFAULT_GOAL := help
.PHONY: help lab test data results bench chapter reset setup mujoco lint coverage doctor book release clean $(MOVED)

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

lab: $(STAMP) ## open the course: copies of the notebooks in my_work/, in JupyterLab
	@$(BIN)/python scripts/workspace.py lab

# One pytest run for units and notebooks, so that its last line counts everything; -m "" undoes the choice that
# pyproject.toml makes for pytest alone. One thread per worker: two workers share the cores. loadfile keeps the cells of
# a notebook on one worker and in order.
test: lint ## run all that CI runs: style, types, layers, unit tests, every notebook (and, where there is chromium, a browser)
	@OMP_NUM_THREADS=1 CQL_TUTORIAL_STATIC=1 $(BIN)/python -m pytest -m "" -n 2 --dist loadfile --no-loadscope-reorder \
	    --nbval --nbval-current-env tests notebooks $(PYTEST_ARGS)

data: $(STAMP) ## make the data sets again from scratch
	@$(BIN)/python -m experiments make_datasets

results: $(STAMP) $(MUJOCO) ## measure the result tables again (hours on two cores, resumes where it stopped)
	@$(BIN)/python -m experiments results

bench: $(BENCH_STAMP) ## time an update and the drawing of batches beside d3rlpy's (a quarter of an hour)
	@$(BENCH)/bin/python -m benchmarks.updates $(BENCH_ARGS)
ifeq ($(findstring --quick,$(BENCH_ARGS)),)
	@$(BENCH)/bin/python -m benchmarks.population
	@$(BENCH)/bin/python -m benchmarks.tables
endif

chapter: $(STAMP) ## run a chapter again as it is committed, and renew the README's table: make chapter CHAPTER=04
	@$(BIN)/python -m scripts.author run $(CHAPTER)
	@$(BIN)/python -m scripts.author table

reset: $(STAMP) ## renew one chapter in my_work/, keeping yours as a backup: make reset CHAPTER=04
	@$(BIN)/python scripts/workspace.py reset "$(CHAPTER)"

setup: $(STAMP) ## make .venv and stop

mujoco: $(MUJOCO) ## add MuJoCo to .venv: an extra, of which the course needs nothing

lint: $(STAMP) ## style, spelling, types and layers only
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/codespell
	@$(BIN)/python -m mypy
	@$(BIN)/lint-imports --no-logo --no-cache

coverage: $(STAMP) ## the share of the package's lines that the unit tests run; the last line has it (not part of test)
	@rm -f .coverage .coverage.*
	@$(BIN)/python -m coverage run -m pytest -q $(PYTEST_ARGS)
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage report

doctor: $(STAMP) ## say whether this machine is ready, and how to mend what is not
	@$(BIN)/python -m cql_tutorial.cli.doctor

book: $(STAMP) ## build the course as a web site, build/book/html (a quarter of an hour the first time: sliders are drawn)
	@$(BIN)/python -m pip install --quiet -r requirements-book.txt -c requirements.txt
	@$(BIN)/python -m scripts.book

release: $(STAMP) ## build wheel and source archive, and try them in empty environments, the core and each extra alone
	@$(BIN)/python -m scripts.release $(RELEASE_ARGS)

clean: ## remove .venv, .venv-bench and caches; my_work/ stays
	rm -rf $(VENV) $(BENCH) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './my_work/*' -prune -exec rm -rf {} +

# A .venv that was moved, or whose Python is gone, is made anew. torch goes first and alone: see requirements.txt.
$(STAMP): requirements.txt requirements-no-deps.txt pyproject.toml $(MOVED)
	@test -n "$(PYTHON)" || { echo "No Python found. Install 3.11, or name one: make lab PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) scripts/workspace.py check-python
	@echo "Setting up $(VENV); the first time this takes some minutes and some gigabytes, most of it for torch"
	@test -z "$(MOVED)" && $(BIN)/python -c "" 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@echo "  1/3 $(TORCH)"
	@$(BIN)/python -m pip install --quiet $(TORCH) $(TORCH_ARGS)
	@echo "  2/3 everything else, as locked in requirements.txt"
	@$(BIN)/python -m pip install --quiet -r requirements.txt
	@$(BIN)/python -m pip install --quiet --no-deps -r requirements-no-deps.txt
	@echo "  3/3 this project"
	@rm -rf cql_tutorial.egg-info # an old one here would hide what is installed
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@! $(BIN)/python -m pip check | grep -v -e '^icu-sepsis ' -e '^No broken' || { echo "The packages do not fit together (above): make clean, then again"; exit 1; }
	@$(BIN)/python -m jupyter labextension disable --level=sys_prefix "@jupyterlab/apputils-extension:announcements" \
	    >$(VENV)/labextension.log 2>&1 || echo "  (JupyterLab may ask once whether to fetch its news: see $(VENV)/labextension.log)"
	@echo "$(CURDIR)" > $@

$(MUJOCO): $(STAMP) requirements-mujoco.txt
	@$(BIN)/python -m pip install --quiet -r requirements-mujoco.txt
	@touch $@

# d3rlpy wants an older gymnasium than ours, hence a .venv of its own. The package is not installed there but found.
$(BENCH_STAMP):
	@test -n "$(PYTHON)" || { echo "No Python found. Install 3.11, or name one: make bench PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Setting up $(BENCH) with $(TORCH) and $(PEER)"
	@$(PYTHON) -m venv --clear $(BENCH)
	@$(BENCH)/bin/python -m pip install --quiet $(TORCH) $(TORCH_ARGS)
	@$(BENCH)/bin/python -m pip install --quiet $(PEER) $(shell grep '^matplotlib==' requirements.txt)
	@touch $@
