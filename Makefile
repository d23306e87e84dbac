# Everything a person types. `make` alone shows the list.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?=
SESSION ?=
BRAIN ?=
AGENT ?=
FILE ?=
YES ?=

.DEFAULT_GOAL := help
.PHONY: help run test faults check format docs lock upgrade backup restore stop clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

run: $(VENV)/.ready ## Play a trading day; DATA=file.csv.gz plays recorded bars, SESSION=date one of them, BRAIN=claude asks Claude
	@$(BIN)/python -m rehearsal.day $(if $(DATA),--data "$(DATA)") $(if $(SESSION),--session "$(SESSION)") $(if $(BRAIN),--brain "$(BRAIN)")

test: check ## Check and run all tests
	$(BIN)/python -m pytest -n 2 --dist loadscope

faults: $(VENV)/.ready-dev ## Inject every fault of the matrix and print it: case, orders at the broker, naked seconds
	$(BIN)/python -m pytest -n 2 --dist loadscope --matrix tests/faults

check: $(VENV)/.ready-dev ## Format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/python -m pytest -q tests/test_docs.py

format: $(VENV)/.ready-dev ## Put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.ready-dev ## Renew the generated parts of the README and the crontabs in cron/
	@$(BIN)/python -m tests.documentation

lock: $(VENV)/.ready-dev ## Pin what requirements*.in name, with hashes
	$(BIN)/uv pip compile -q --generate-hashes --universal --python-version 3.11 --no-header requirements.in -o requirements.txt
	$(BIN)/uv pip compile -q --generate-hashes --universal --python-version 3.11 --no-header requirements-dev.in -o requirements-dev.txt
	$(BIN)/uv pip compile -q --no-deps --generate-hashes --universal --python-version 3.11 --no-header requirements-specification.in -o requirements-specification.txt

CARE = $(BIN)/python -m shared.care $(if $(AGENT),--agent "$(AGENT)")

upgrade: $(VENV)/.ready ## Bring the databases to this code's schema, with a backup before; AGENT=name
	@$(CARE) upgrade

backup: $(VENV)/.ready ## Copy both databases and what lies beside them into one file; AGENT=name
	@$(CARE) backup

restore: $(VENV)/.ready ## Fill empty databases from a backup, the latest or FILE=path; AGENT=name, does it with YES=1
	@$(CARE) restore $(if $(FILE),"$(FILE)") $(if $(YES),--yes)

stop: $(VENV)/.ready ## Stop the embedded PostgreSQL
	@$(BIN)/python -m shared.embedded_postgres stop

clean: ## Remove the virtual environment and caches; data and logs stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Bytecode is compiled once here: a user who may not write the environment would pay for it on every run.
$(VENV)/.ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Catalyst needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing pinned dependencies into $(VENV) (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib || true
	@$(BIN)/python -m compileall -q *.py brokers market shared rehearsal
	@touch $@

# The specification is a server's package of which only two files are read: none of its dependencies come along.
$(VENV)/.ready-dev: requirements-dev.txt requirements-specification.txt $(VENV)/.ready
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-specification.txt
	@touch $@
