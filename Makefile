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
# What `make run` needs, and what `make test` adds: everything of requirements.txt, PyTorch with
# CUDA's libraries among it, and what tests and lint need.
TO_RUN := --constraint requirements.txt --editable '.[airflow,sample]'
TO_TEST := --requirement requirements-dev.txt
# An installer some ten times quicker than pip; where there is none, pip does.
UV := uv==0.13.9

.PHONY: help setup setup-dev run test lint format docs env up down logs psql clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  Variables: SOURCE=folder ONCE=1 (make run), IDEDUP_HOME=folder (state), PYTHON=path"

setup: ## make .venv with what `make run` needs (once; again when the pins change)
	@$(call install,installed,requirements.txt,3,$(with_uv) || $(call with_pip,$(TO_RUN)))

setup-dev: setup ## add what `make test` and `make lint` need
	@$(call install,installed-dev,requirements.txt requirements-dev.txt,9,$(call with_pip,$(TO_TEST)))

run: setup ## find the duplicates of a sample, or of SOURCE=folder, in a real Airflow
	@$(BIN)/python -m idedup_tasks.quickstart $${SOURCE:+--source "$$SOURCE"} $${ONCE:+--once}

ifdef ARGS
test: setup-dev
	@$(BIN)/python -m pytest $(ARGS)
else
test: setup-dev ## run every test, in two halves side by side (ARGS="-k name" chooses)
	@said=$$(mktemp); $(BIN)/python -m pytest tests/integration > $$said 2>&1 & half=$$!; \
	trap 'kill $$half 2> /dev/null' INT TERM; \
	$(BIN)/python -m pytest tests/dags tests/e2e tests/unit; rest=$$?; \
	wait $$half; half=$$?; cat $$said; rm -f $$said; exit $$((rest > half ? rest : half))
endif

lint: setup-dev ## ruff, mypy, and who may import whom
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports --no-cache

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

# What both installers say is kept in .venv/said, for what is shown when they fail; what they download,
# and how large it is, is shown as it comes.
SHOW := tee .venv/said | awk '{ sub(/^ +/, "") } \
	/^(Downloading|Using cached).*M(i?)B\)/ || /^(Resolved|Prepared|Installed) / { print "  " $$0; fflush() } \
	/^Installing collected/ { print "  Installing " NF - 3 " packages"; fflush() }'
define with_uv
	{ $(BIN)/python -m pip install --quiet --disable-pip-version-check $(UV) 2>/dev/null && \
	$(BIN)/uv pip install --python $(BIN)/python $(TO_RUN) 2>&1 | $(SHOW); }
endef
define with_pip
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off $(1) 2>&1 | $(SHOW)
endef

# $(1): stamp, a copy of the files that were installed; $(2): the files; $(3): GB of disk; $(4): how.
define install
	set -euo pipefail; \
	stamp=.venv/$(1); \
	wanted="$$(cat $(2) pyproject.toml)"; \
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
	fi; \
	if ! [ -e $$stamp ]; then \
		free=$$(($$(df -Pk . | awk 'NR==2 {print $$4}') / 1048576)); \
		if [ $$free -lt $(3) ]; then \
			echo "Setting up needs $(3) GB of disk, and $$PWD has $$free GB free: make room, or clone to a larger disk." >&2; \
			exit 1; \
		fi; \
	fi; \
	if ! [ -x $(BIN)/python ]; then \
		if ! said=$$("$$found" -m venv .venv 2>&1); then \
			rm -rf .venv; \
			echo "$$found cannot make .venv (on Debian and Ubuntu, install python3-venv): $$(tail -n 1 <<<"$$said")" >&2; \
			exit 1; \
		fi; \
	fi; \
	echo "Setting up .venv from $(lastword $(2)), once:"; \
	began=$$SECONDS; \
	if ! { $(4); }; then \
		echo "Installing $(lastword $(2)) failed: $$(grep -m 1 -E '^(ERROR|error)' .venv/said || tail -n 1 .venv/said)" >&2; \
		exit 1; \
	fi; \
	printf '%s\n' "$$wanted" > $$stamp; \
	echo "Set up in $$((SECONDS - began)) s: .venv holds $$(du -sm .venv | cut -f1) MB."
endef
