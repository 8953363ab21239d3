# One command for each thing people do here; CI uses the same ones.
# PYTHON= chooses the interpreter (3.11 or newer); changing it makes .venv again.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PORT ?= 8000
DB ?= awaken-demo.db
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
TAG := $(shell '$(PYTHON)' -c 'import sys; v = sys.version_info; print("%d.%d.%d" % v[:3] if v >= (3, 11) else "old")')
MADE := $(VENV)/.made-$(TAG)
WANTED := pyproject.toml constraints.txt

# The constraints hold for what builds the package too. pip says nothing unless it fails.
PIP := PIP_CONSTRAINT='$(CURDIR)/constraints.txt' PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -qq
# pyright brings its own Node.js (through the test extra); it need not ask whether a newer pyright exists.
PYRIGHT := PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run demo demo-cluster test luck check fmt bench siege clean

help:
	@echo 'make run     start the server with the demo agents on 127.0.0.1:$(PORT) (PORT=, DB=)'
	@echo 'make demo    kill a server in the middle of an answer, and watch the answer finish'
	@echo 'make demo-cluster   the same across processes: a worker is killed, another one goes on'
	@echo 'make test    run every test, two at a time (ARGS= is passed to pytest)'
	@echo 'make luck    run the random tests with thousands of new examples each (ARGS= is passed to pytest)'
	@echo 'make check   formatting, lint and types, changing nothing'
	@echo 'make fmt     format, and mend what lint can mend'
	@echo 'make bench   measure; writes benchmarks/results.json (ARGS= is passed on)'
	@echo 'make siege   kill a busy process 60 times, and others at each of their commits on Postgres, and judge their runs'
	@echo 'make clean   remove .venv, caches and build output; databases stay'

run: $(VENV)/.base
	@exec $(BIN)/awaken serve --bind '127.0.0.1:$(PORT)' --store 'sqlite:///$(DB)' $(ARGS)

demo: $(VENV)/.base
	@exec $(BIN)/awaken demo $(ARGS)

demo-cluster: $(VENV)/.test
	@exec $(BIN)/awaken demo --cluster $(ARGS)

# What is compiled need not be compiled again in each process that a test starts.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal

test: $(VENV)/.test
	@$(PYTEST) $(ARGS)

luck: $(VENV)/.test
	@$(PYTEST) -m hypothesis --hypothesis-profile=hard -o hangs_after_s=0 -o faulthandler_timeout=0 $(ARGS)

check: $(VENV)/.test
	@$(BIN)/ruff format --check --quiet . || { echo 'make fmt would change files:'; $(BIN)/ruff format --check .; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(PYRIGHT)

fmt: $(VENV)/.test
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/.bench
	@$(BIN)/python -m benchmarks $(ARGS)

siege: $(VENV)/.test
	@$(BIN)/python -m tests.crash.siege $(ARGS)
	@AWAKEN_SIEGE=1 $(PYTEST) -o hangs_after_s=0 -o faulthandler_timeout=0 tests/crash/test_kill_at_every_commit.py

clean:
	@rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .schemathesis build dist
	@find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(MADE):
	@case '$(TAG)' in [0-9]*) ;; *) echo 'Python 3.11 or newer is needed; name one with PYTHON=/path/to/python3'; exit 1;; esac
	@rm -rf $(VENV)
	@'$(PYTHON)' -m venv $(VENV) || { rm -rf $(VENV); echo 'This Python cannot make a virtual environment (on Debian: apt install python3-venv).'; exit 1; }
	@touch $@

$(VENV)/.base: $(MADE) $(WANTED)
	@echo 'installing awaken into $(VENV) …'
	@$(PIP) -e .
	@touch $@

$(VENV)/.test: $(MADE) $(WANTED)
	@echo 'installing awaken and what its tests need into $(VENV) …'
	@$(PIP) -e '.[test]'
	@touch $(VENV)/.base $@

# A system to compare with that cannot be installed here is left out of the table.
$(VENV)/.bench: $(VENV)/.test
	@for peer in bench-dbos bench-pgqueuer; do \
	  echo "installing what $$peer needs into $(VENV) …"; \
	  $(PIP) -e ".[$$peer]" || echo "$$peer could not be installed: its rows will be missing"; \
	done
	@touch $@
