# Two commands from a fresh clone: `make demo` and `make test`. See `make help`.
PYTHON ?= python3
VENV := .venv
TOX := .tox/.runner
SHELL := /bin/bash
.DEFAULT_GOAL := help

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONUNBUFFERED := 1

.PHONY: help demo test install clean

help: ## Show what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20

demo: install ## Install into .venv, run the analysis on the built-in sample and on real data, open napari where there is a display
	@scripts/setup.sh display-libraries
	$(VENV)/bin/aptdefect demo --out runs/demo

install: $(VENV)/.installed ## Install everything into .venv, with the pinned versions

$(VENV)/.installed: pyproject.toml constraints.txt
	@scripts/setup.sh venv $(VENV) "$(PYTHON)"
	@echo "==> Installing napari-aptdefect and what it needs into $(VENV) (some hundred MB, a few minutes)"
	$(VENV)/bin/python -m pip install -c constraints.txt --build-constraint constraints.txt -e ".[all]"
	@touch $@

test: $(TOX)/.installed ## Run lint, types, the import contract and all tests, with a real napari window under Xvfb
	@scripts/setup.sh test-libraries
	$(TOX)/bin/tox run

$(TOX)/.installed: constraints.txt
	@scripts/setup.sh venv $(TOX) "$(PYTHON)"
	@echo "==> Installing tox"
	$(TOX)/bin/python -m pip install -q -c constraints.txt tox
	@touch $@

clean: ## Remove environments, caches and what tests and demo wrote
	rm -rf .venv .tox .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist artifacts runs/demo
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
