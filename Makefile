# `make run` and `make test` are all that a user needs; the other targets are for developers.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCH_PYTHON ?= $(PYTHON)
BENCH_VENV := benchmarks/build/venv$(subst /,-,$(BENCH_PYTHON))

.PHONY: run test lint format bench clean packages

# The proxy between you and a small real SMTP server, both on this machine.
run: $(VENV)/.runnable
	@$(BIN)/smtpproxy init --demo
	@printf '%s\n' '' \
	  'Send a message over STARTTLS, then one over implicit TLS (swaks is a Debian package):' \
	  '  swaks --server 127.0.0.1:2525 -tls  --from me@example.com --to you@example.org' \
	  '  swaks --server 127.0.0.1:4650 -tlsc --from me@example.com --to you@example.org' \
	  'and look at what arrived:' \
	  '  ls var/maildir/new' \
	  'Ctrl-C ends it.' ''
	@exec $(BIN)/twistd --nodaemon --pidfile= smtpproxy --config config/demo.yaml

# Every test, those against real servers too.
test: packages $(VENV)/.testable
	@$(BIN)/python -m pytest

lint: $(VENV)/.testable
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.testable
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

# CPU time of a session beside other proxies; as root in a network namespace of its own. BENCH_PYTHON=/usr/bin/python3
# runs it, and so the proxy, by another interpreter than that of the tests.
bench: $(BENCH_VENV)/.measurable
	@$(if $(filter-out $(PYTHON),$(BENCH_PYTHON)),BENCH_PYTHON=$(BENCH_PYTHON)) $(BENCH_VENV)/bin/python -m benchmarks.compare $(ARGS)

clean:
	rm -rf $(VENV) build dist benchmarks/build .debian_cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find smtpproxy tests docs benchmarks twistd_plugins -name __pycache__ -exec rm -rf {} +

packages:
	@tests/debian-packages

# pip comes last into a new environment, so it stands for a whole one.
$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runnable: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.testable: pyproject.toml requirements-ci.txt | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements-ci.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.runnable

# Only what the proxy itself needs, in the versions that CI tests with.
$(BENCH_VENV)/.measurable: pyproject.toml requirements-ci.txt
	@mkdir -p benchmarks/build
	@echo "an environment for the benchmark: $(BENCH_VENV)" >&2
	@$(BENCH_PYTHON) -m venv $(BENCH_VENV)
	@$(BENCH_VENV)/bin/pip install --quiet --disable-pip-version-check --constraint requirements-ci.txt --editable .
	@touch $@
