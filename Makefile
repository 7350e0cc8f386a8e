# make demo    the whole path on a throwaway host of this machine; make demo ENGINE=build: with a compiled llama-server
# make demo-vast  rented machines, from an offer to the bill, against a stand-in for the provider; needs root, no account
# make demo-ui  the page while a canary is judged and taken back, on a throwaway host of this machine; Ctrl-C ends it
# make test    every test but the slow ones; make test-slow: those
# make cluster  compile a real Kubernetes from pinned modules: once, 10 to 20 minutes; then make test deploys to it, too
# make golden  write the reviewed files of tests/manifests, and docs' tables of platforms, anew; then look at git diff
# make pictures  docs/pictures anew: the pages, of the real thing, by Chromium
# make lint    style, types, import rules, scripts
# make bench   measurements against the tools that people use instead
# make lock    pin every package anew after a change in pyproject.toml; make lock UPGRADE=--upgrade: at their newest
# make ci-image   the image workflow's steps on this machine: build, push, try, sign, promote
# make ci-minimal-image   an application's image, booted with a real Temporal server and S3 store; BASE=ROOT.tar
# make venv    the environment of all of these, .venv, at once
# make clean   remove what was built here (the cache in ~/.cache/bitnet-provision stays)

PYTHON ?=
# Not from the shell's environment, where such names may mean anything; `make demo ENGINE=build` wins all the same.
ENGINE := wheel
BASE :=
UPGRADE :=
ifneq ($(words $(ENGINE)) $(filter-out wheel build,$(ENGINE)),1 )
$(error ENGINE is wheel or build, not "$(ENGINE)"; next: make demo ENGINE=wheel)
endif
PYTEST := .venv/bin/python -m pytest
# Two at a time: more would measure the machine instead of the code. A file's tests share their hosts.
PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder

BENCHMARKS := startup render supervisor deploy promote

export PYTHON
# It is for scripts/make-venv alone: what is run here is in .venv.
unexport VENV

.DEFAULT_GOAL := help
# Two goals would fill one environment at once.
.NOTPARALLEL:
.PHONY: help venv binaries more-binaries cluster demo demo-vast demo-ui pictures test test-slow golden lint bench lock ci-image ci-minimal-image clean

help:
	@sed -n '/^$$/q; s/^# //p' Makefile

# Everything; each command below asks only for what it needs.
venv:
	@scripts/make-venv run test lint

venv-%:
	@scripts/make-venv $(subst +, ,$*)

demo: venv-run
	@scripts/install-packages demo $(if $(filter build,$(ENGINE)),build)
	@.venv/bin/deploy demo --engine $(ENGINE)
	@du -sm .venv | awk '{ print "The environment .venv stays, too (" $$1 " MB): make clean removes it." }'
	@cache=$$(UV_NO_CONFIG=1 .venv/bin/uv cache dir 2>/dev/null) && [ -d "$$cache" ] || exit 0; \
		echo "So does uv's cache, $$cache ($$(du -sm "$$cache" | cut -f1) MB, shared by all projects): .venv/bin/uv cache clean empties it."

demo-vast: venv-run+test
	@scripts/install-packages test
	@.venv/bin/python -m tests.providers.story

demo-ui: venv-run+test
	@scripts/install-packages demo
	@.venv/bin/python -m tests.page.story

pictures: venv-run+test
	@scripts/install-packages demo browser
	@.venv/bin/python -m tests.page.pictures

test: binaries
	@$(PYTEST) $(PARALLEL)

test-slow: more-binaries
	@scripts/install-packages browser
	@$(PYTEST) -m slow --timeout=3600

golden: venv-run+test
	@REWRITE_GOLDEN=1 $(PYTEST) $(PARALLEL) -q -k as_reviewed tests/manifests tests/platforms

# Minutes the first time, with its progress shown; then under a second, from the cache.
# One profile for all of `make test`: what the smallest image holds runs anywhere (tests/binaries.py).
binaries: venv-run+test
	@scripts/install-packages build test
	@.venv/bin/deploy native build --profile min --only llama-server --only llama-cli

# The other profiles, for `make test-slow`. Most of their objects are the same but for those of `dynamic`.
more-binaries: binaries
	@for profile in native portable dynamic; do \
		.venv/bin/deploy native build --profile $$profile --only llama-server --only llama-cli \
			--out build/profiles/$$profile || exit 1; \
	done

# Tests that need it are left out, and say so, until this has run; `make test` compiles none of it.
cluster: venv-run+test
	@scripts/install-packages test
	@scripts/cluster build

lint: venv-run+lint
	@scripts/install-packages lint
	@scripts/lint

bench: binaries
	@for name in $(BENCHMARKS); do echo "== benchmarks.$$name"; .venv/bin/python -m benchmarks.$$name || exit 1; done

# What .venv has does: installing a lock that a merge left broken would fail, and this is what mends it.
lock:
	@[ -x .venv/bin/uv ] || scripts/make-venv run
	@.venv/bin/python scripts/lock.py $(UPGRADE)

ci-image: venv-run+test
	@scripts/install-packages build test
	@scripts/ci-image

ci-minimal-image: venv-run+test
	@scripts/install-packages build test
	@scripts/ci-minimal-image $(BASE)

clean:
	rm -rf .venv .venv.lock build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
