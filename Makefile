# Every target is listed by `make help`. State lives under IDEDUP_HOME, the environment in .venv.
SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# One variable moves all state: lake, warehouse, Airflow's home, the sample collection.
IDEDUP_HOME ?= $(CURDIR)/.idedup
export IDEDUP_HOME
# `make run SOURCE=~/Pictures` looks through a folder; `ONCE=1` exits after the result.
export SOURCE ONCE

BIN := .venv/bin
# The version that everything is tested with comes first; all of these have wheels.
PYTHON ?=
PYTHONS := python3.11 python3.12 python3.13 python3.14 python3 python
DISK_GB := 12

.PHONY: help setup setup-dev run test lint format docs env up down logs psql clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  Variables: SOURCE=folder ONCE=1 (make run), IDEDUP_HOME=folder (state), PYTHON=path"

setup: ## make .venv from requirements.txt (once; again when the file changes)
	@$(call install,requirements.txt,installed)

setup-dev: setup ## the same for requirements-dev.txt
	@$(call install,requirements-dev.txt,installed-dev)

run: setup ## find the duplicates of a sample, or of SOURCE=folder, in a real Airflow
	@$(BIN)/python -m idedup_tasks.quickstart $${SOURCE:+--source "$$SOURCE"} $${ONCE:+--once}

test: setup-dev ## run every test (ARGS="-k name" chooses)
	@$(if $(ARGS),$(BIN)/python -m pytest $(ARGS),$(call all_tests))

lint: setup-dev ## ruff and mypy
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: setup-dev ## let ruff rewrite the files
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

docs: setup-dev ## write the references in docs/ from the settings and the database's comments
	@$(BIN)/python docs/reference.py > docs/collections.md
	@$(BIN)/python docs/dictionary.py > docs/dictionary.md

env: ## write .env, the stack's settings, with secrets drawn at random
	@python3 config/stack/environment.py write .env.example .env && echo "Wrote .env: keep a copy where others cannot read it."

up: ## start the stack of docker-compose.yaml (GPU=1: GPU workers too)
	@python3 config/stack/environment.py check .env
	@docker compose $(if $(GPU),--profile gpu) up --build --detach
	@docker compose ps --format 'table {{.Service}}\t{{.Status}}\t{{.Ports}}'

down: ## stop the stack; its volumes, with all data, stay
	@docker compose --profile gpu down

logs: ## follow the stack's logs (SERVICE=name chooses)
	@docker compose logs --follow --tail 100 $(SERVICE)

psql: ## open the stack's warehouse in psql
	@docker compose exec postgres psql --username postgres --dbname idedup

clean: ## remove .venv and caches (state under IDEDUP_HOME stays)
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info

# Training has a process of its own: after it, worker processes started from the same interpreter
# have crashed it (PyTorch's and OpenVINO's native code together; not understood yet).
define all_tests
	$(BIN)/python -m pytest -m "not training" && \
	$(BIN)/python -m pytest -m training
endef

# $(1): requirements file; $(2): stamp, a copy of the files that were installed.
define install
	set -euo pipefail; \
	stamp=.venv/$(2); \
	wanted="$$(cat requirements.txt $(1) pyproject.toml)"; \
	[ -x $(BIN)/python ] && [ "$$wanted" = "$$(cat $$stamp 2>/dev/null)" ] && exit 0; \
	if ! [ -x $(BIN)/python ]; then \
		supported='import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))'; \
		for python in $${PYTHON:-$(PYTHONS)}; do \
			if "$$python" -c "$$supported" >/dev/null 2>&1; then found=$$python; break; fi; \
		done; \
		if [ -z "$${found:-}" ]; then \
			echo "idedup needs Python 3.11 to 3.14, and $${PYTHON:-PATH} has none: install one, or name it with make PYTHON=/path/to/python3." >&2; \
			exit 1; \
		fi; \
		free=$$(($$(df -Pk . | awk 'NR==2 {print $$4}') / 1048576)); \
		if [ $$free -lt $(DISK_GB) ]; then \
			echo "Setting up needs $(DISK_GB) GB of disk, and $$PWD has $$free GB free: make room, or clone to a larger disk." >&2; \
			exit 1; \
		fi; \
		if ! said=$$("$$found" -m venv .venv 2>&1); then \
			rm -rf .venv; \
			echo "$$found cannot make .venv (on Debian and Ubuntu, install python3-venv): $$(tail -n 1 <<<"$$said")" >&2; \
			exit 1; \
		fi; \
	fi; \
	echo "Setting up .venv from $(1), once: this takes some minutes."; \
	if ! said=$$($(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(1) 2>&1 && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e . 2>&1); then \
		echo "Installing $(1) failed: $$(grep -m 1 '^ERROR' <<<"$$said" || tail -n 1 <<<"$$said")" >&2; \
		exit 1; \
	fi; \
	printf '%s\n' "$$wanted" > $$stamp
endef
