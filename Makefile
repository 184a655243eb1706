# Every target sets up what it needs by itself; the second run of the set-up costs well under a second.
# Nothing here asks a question, starts a service, or writes outside this directory, but for Debian packages when run as root.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:

VENV := .venv
PYTHON_IN_VENV := $(VENV)/bin/python
REPORTS := build/junit
# What the machine has beside the tests must not change what they find.
ODD_MACHINE := .ci/odd-machine.sh
COLLECTION := collections/ansible_collections/egress/gateway
# nft, ip, sshd and keepalived live in sbin, which a user's PATH often lacks.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin
export PYTHONNOUSERSITE := 1

.PHONY: help
help: ## this list
	@echo "make TARGET, where TARGET is one of"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: venv
venv: ## system packages (as root, on Debian) and .venv with the locked dependencies
	@.ci/bootstrap.sh

.PHONY: demo
demo: venv ## a cluster of network namespaces: compile, apply, probe, fail over, take away (root; else a dry run)
	@$(PYTHON_IN_VENV) -m egress_compiler.demo

.PHONY: test
test: venv ## everything: lint, unit, ansible, lab, systemd; the last line counts all tests
	@.ci/test.sh

.PHONY: lint
lint: venv ## ruff, mypy, import contracts, shellcheck, ansible-lint
	@.ci/lint.sh

.PHONY: test-unit
test-unit: venv ## primitives, goldens, properties: no root, all cores
	@mkdir -p $(REPORTS)
	$(ODD_MACHINE) $(PYTHON_IN_VENV) -m pytest -q -n 2 -m "not lab and not systemd" --junitxml=$(REPORTS)/unit.xml $(PYTEST_ARGS)

.PHONY: test-ansible
test-ansible: venv ## ansible-test sanity and units of the collection
	@.ci/ansible-test.sh

.PHONY: test-lab
test-lab: venv ## packets through network namespaces, the collection over SSH (root; else skipped with the reason)
	@mkdir -p $(REPORTS)
	$(ODD_MACHINE) $(PYTHON_IN_VENV) -m pytest -q -n 2 --dist loadfile -m lab --junitxml=$(REPORTS)/lab.xml $(PYTEST_ARGS)

.PHONY: test-systemd
test-systemd: venv ## the playbooks on Debian releases that systemd-nspawn boots (root and a mirror; else skipped with the reason)
	@mkdir -p $(REPORTS)
	$(PYTHON_IN_VENV) -m pytest -q -n 2 -m systemd --junitxml=$(REPORTS)/systemd.xml $(PYTEST_ARGS) tests/systemd

.PHONY: golden
golden: venv ## regenerate the golden files; read the diff before you commit it
	$(PYTHON_IN_VENV) -m pytest -q -m "not lab and not systemd" --update-golden $(PYTEST_ARGS)

.PHONY: bench
bench: venv ## measurements: tests/bench/bench_*.py
	$(PYTHON_IN_VENV) -m pytest -q -s -o "python_files=bench_*.py" $(PYTEST_ARGS) tests/bench

.PHONY: dist
dist: venv ## the wheel and the collection, in dist/
	@rm -rf dist
	$(VENV)/bin/hatchling build -t wheel -d dist
	cd $(COLLECTION) && ../../../../$(VENV)/bin/ansible-galaxy collection build --output-path ../../../../dist

.PHONY: lock
lock: ## requirements.lock from pyproject.toml; UPGRADE=1 takes the newest of everything
	@.ci/lock.sh $(if $(UPGRADE),--upgrade)

.PHONY: clean
clean: ## removes what make made, .venv too
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .ansible
	rm -rf $(COLLECTION)/tests/output
	find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
