# `make` alone lists what there is. Needs Python 3.11 or newer and make; uv is used if present.
# Variables given on the command line (PHONE=… ZJJ_DATA=…) reach the commands as environment.
.DEFAULT_GOAL := help
.SUFFIXES:
SHELL := /bin/sh
BIN := .venv/bin
CLIENT := $(patsubst %/pyproject.toml,-e %,$(wildcard clients/python/pyproject.toml))
LOCKS := requirements/build.txt requirements/run.txt requirements/dev.txt
ARGS ?=
TEST_PROCESSES ?= 2
CLI_PAGE := docs/cli.md

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Source distributions without a pyproject.toml are built by the locked setuptools as well.
export PIP_USE_PEP517 := 1

# $(call install,arguments): nothing is built or resolved outside of the locks. uv does not read
# pip's settings (mirror, certificates), so where uv fails pip has a try.
define install
{ command -v uv >/dev/null 2>&1 && uv pip install -q --compile-bytecode --python $(BIN)/python --no-build-isolation $(1); } \
|| $(BIN)/python -m pip install -qq --no-build-isolation $(1)
endef

.PHONY: help
help: ## list the targets
	@echo "Targets:"
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) \
	  | while IFS='|' read -r name text; do printf '  %-8s %s\n' "$$name" "$$text"; done

.PHONY: run
run: .venv/.run ## run the product: gateway, workers, sandbox; Ctrl-C stops it (PHONE=, ZJJ_DATA=)
	@exec $(BIN)/zjj run $(ARGS)

.PHONY: demo
demo: .venv/.run ## send one SMS code through the whole path and exit (PHONE=, ZJJ_DATA=)
	@exec $(BIN)/zjj run --demo $(ARGS)

.PHONY: test
test: .venv/.dev ## run every test on real servers (ARGS="-k gate", TEST_PROCESSES=4)
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile $(ARGS) --cov

.PHONY: check
check: lint types ## all checks that run no code

.PHONY: lint
lint: .venv/.dev ## ruff, its formatter, and the import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-logo

.PHONY: types
types: .venv/.dev ## mypy, strict
	@$(BIN)/mypy

.PHONY: bench
bench: .venv/.dev ## measure us and our peers side by side (ARGS="--help")
	@exec $(BIN)/python -m benchmarks $(ARGS)

.PHONY: mutate
mutate: .venv/.dev ## weaken the gate in a thousand ways and see the tests notice (ARGS="--help")
	@exec $(BIN)/python -m tests.privacy.mutate $(ARGS)

.PHONY: chaos
chaos: .venv/.dev ## kill, cut and fill up everything, in full size, and print the figures (ARGS="-k redis")
	@$(BIN)/python -m pytest tests/chaos --full -p no:randomly $(ARGS)

.PHONY: till
till: .venv/.dev ## live a day at the till, in full size: 2,000 orders, every mishap (ARGS="--orders 500")
	@$(BIN)/python -m pytest tests/journeys/test_day_at_the_till.py --orders 2000 -p no:randomly $(ARGS)

.PHONY: docs
docs: .venv/.dev ## rewrite the generated pages in docs/
	@ZJJ_LANG=en $(BIN)/typer workers.cli.app utils docs --name zjj --title "The zjj command" --output $(CLI_PAGE)

.PHONY: pictures
pictures: .venv/.dev ## draw docs/images/ anew from a real demo
	@$(BIN)/python docs/images/draw_demo.py

.PHONY: venv
venv: .venv/.dev ## install everything into .venv, by hash

.PHONY: lock
lock: ## resolve pyproject.toml anew into requirements/ (needs uv)
	@command -v uv >/dev/null 2>&1 || { echo "make lock needs uv on PATH." >&2; exit 1; }
	@lock() { uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-strip-extras --custom-compile-command "make lock" "$$@"; } \
	  && echo 'setuptools>=80' | lock - -o requirements/build.txt \
	  && lock pyproject.toml --group dev -o requirements/dev.txt \
	  && lock pyproject.toml -c requirements/dev.txt -o requirements/run.txt

.PHONY: clean
clean: ## remove .venv and every cache; the data folder stays
	@rm -rf .venv build htmlcov .coverage .coverage.* .hypothesis .schemathesis
	@find . -type d \( -name __pycache__ -o -name '.*_cache' -o -name '*.egg-info' \) \
	  -prune -exec rm -rf {} +

# A changed lock gives a new environment, so that nothing lingers that no lock names.
.venv/.base: $(LOCKS)
	@for python in $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3 python none; do \
	  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && break; \
	done; \
	if [ $$python = none ]; then \
	  echo "No Python 3.11 or newer is on PATH. Install one, or name it: make PYTHON=/path/to/python3" >&2; \
	  exit 1; \
	fi; \
	echo "Creating .venv with $$($$python --version) ..."; \
	rm -rf .venv; \
	if $$python -c 'import ensurepip, venv' 2>/dev/null; then $$python -m venv .venv; \
	elif command -v uv >/dev/null 2>&1; then uv venv -q --python "$$(command -v $$python)" .venv; \
	else echo "This Python has no venv module. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; fi
	@$(call install,--require-hashes -r requirements/build.txt)
	@touch $@

.venv/.run: .venv/.base pyproject.toml
	@echo "Installing into .venv, once (half a minute) ..."
	@$(call install,--require-hashes -r requirements/run.txt)
	@$(call install,--no-deps -e .)
	@touch $@

.venv/.dev: .venv/.base pyproject.toml $(wildcard clients/python/pyproject.toml)
	@echo "Installing into .venv with the development tools, once (a minute) ..."
	@$(call install,--require-hashes -r requirements/dev.txt)
	@$(call install,--no-deps $(CLIENT) -e .)
	@touch .venv/.run $@

.DEFAULT:
	@echo "There is no target '$@'; 'make help' lists them." >&2; exit 2
