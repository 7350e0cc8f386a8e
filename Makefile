# make demo    the whole path on a throwaway host of this machine
# make test    every test but the slow ones; make test-slow: those
# make lint    style, types, import rules, scripts
# make bench   measurements against the tools that people use instead
# make lock    pin every package anew after a change in pyproject.toml; make lock UPGRADE=--upgrade: at their newest
# make clean   remove what was built here (the cache in ~/.cache/bitnet-provision stays)

PYTHON ?=
UPGRADE ?=
PYTEST := .venv/bin/python -m pytest
# Two at a time: more would measure the machine instead of the code. A file's tests share their hosts.
PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder

export PYTHON

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-slow lint bench lock clean

help:
	@sed -n 's/^# //p' Makefile | sed '/^Two at a time/,$$d'

venv:
	@scripts/make-venv

demo: venv
	@scripts/install-packages build demo
	@.venv/bin/deploy demo

test: venv
	@scripts/install-packages build test
	@$(PYTEST) $(PARALLEL)

test-slow: venv
	@scripts/install-packages build test
	@$(PYTEST) -m slow --timeout=3600

lint: venv
	@scripts/install-packages lint
	@scripts/lint

bench: venv
	@scripts/install-packages build test
	@for file in benchmarks/[a-z]*.py; do echo "== $$file"; .venv/bin/python "$$file" || exit 1; done

lock: venv
	CUSTOM_COMPILE_COMMAND="make lock" .venv/bin/python -m piptools compile --quiet --generate-hashes --strip-extras \
		--extra dev --no-emit-options --unsafe-package bitnet-provision $(UPGRADE) --output-file requirements.lock \
		pyproject.toml
	@# The project itself is no package to pin; pip-tools warns about that in the file.
	@sed -i '/^# WARNING: The following packages were not pinned/,$$d' requirements.lock

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
