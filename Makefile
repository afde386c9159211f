# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Needs Python >= 3.10 with venv, the OpenSSH client, git and a package registry; everything else is installed in .work.

PYTHON ?= python3
VENV := .work/venv
# nox looks for uv on the path. For these commands only: the virtual environment itself is made with the Python outside.
IN_VENV := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"
NOX := $(IN_VENV) python -m nox
RUN := $(IN_VENV) python tools/run_sessions.py
# For pytest or ansible-test, with one of the sessions: make unit ARGS="tests/unit/plugins -k name"
ARGS ?=
# The ansible-core versions to test with: "2.16 2.21", or all; by default the newest that the Python supports.
CORE ?=
export CORE

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: test
test: $(VENV)/ready ## Run all checks and tests
	$(RUN)

.PHONY: test-all
test-all: $(VENV)/ready ## The same with every ansible-core, as far as their Pythons are on the machine (hours)
	CORE=all $(RUN)

.PHONY: demo
demo: $(VENV)/ready ## Watch the collection save simulated machines that break
	$(NOX) --session demo

.PHONY: recording
recording: $(VENV)/ready ## Make docs/demo.svg anew from a run of the demonstration
	$(NOX) --session recording

.PHONY: unit
unit: $(VENV)/ready ## Run the unit tests
	$(NOX) --session unit -- $(ARGS)

.PHONY: integration
integration: $(VENV)/ready ## Run real playbooks against the simulator
	$(NOX) --session integration -- $(ARGS)

.PHONY: e2e
e2e: $(VENV)/ready ## Let guarded maintenances break in every way, on simulated machines
	$(NOX) --session e2e -- $(ARGS)

.PHONY: browser
browser: $(VENV)/ready ## Look at the page of a run's report in a headless Chromium (SCREENSHOTS=folder keeps what is seen)
	$(NOX) --session browser -- $(ARGS)

.PHONY: eda
eda: $(VENV)/ready ## Run the event source in a real ansible-rulebook (needs Java)
	$(NOX) --session eda -- $(ARGS)

.PHONY: bench
bench: $(VENV)/ready ## Measure the collection against uri and against the API's own limit (an hour or two; ARGS=--quick: minutes)
	$(NOX) --session bench -- $(ARGS)

.PHONY: sanity
sanity: $(VENV)/ready ## Run ansible-test sanity
	$(NOX) --session sanity -- $(ARGS)

.PHONY: lint
lint: $(VENV)/ready ## Run ruff, mypy, yamllint, ansible-lint and the checks of licences and files
	$(NOX) --session lint ansible-lint license-check extra-checks

.PHONY: format
format: $(VENV)/ready ## Let ruff put the Python files in order
	$(NOX) --session format

.PHONY: docs
docs: $(VENV)/ready ## Build the documentation site, in .work/docs
	$(NOX) --session docs-site

.PHONY: guides
guides: $(VENV)/ready ## Do what the documentation tells its readers to do, against the simulator
	$(NOX) --session guides -- $(ARGS)

.PHONY: docs-lint
docs-lint: $(VENV)/ready ## Check documentation and changelog fragments
	$(NOX) --session docs changelog

.PHONY: package
package: $(VENV)/ready ## Build the collection and check what is in it
	$(NOX) --session package

.PHONY: audit
audit: $(VENV)/ready ## Ask the advisory service OSV for known vulnerabilities of the dependencies
	$(NOX) --session audit

.PHONY: pins
pins: $(VENV)/ready ## Bring tests/requirements/constraints.txt up to date (needs uv)
	$(NOX) --session pins

.PHONY: clean
clean: ## Remove everything that these commands made
	rm -rf .work

$(VENV)/ready: tools/bootstrap.sh tests/requirements/runner.txt tests/requirements/uv.txt tests/requirements/constraints.txt
	tools/bootstrap.sh $(VENV) $(PYTHON)
