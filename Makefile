# What a person types. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

STACK ?= lab
BASE ?= main
FILE ?= haproxy.cfg
ARGS ?=
PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

.PHONY: machine machine-for-tests
machine:
	@python3 tools/machine.py $(STACK)
machine-for-tests:
	@python3 tools/machine.py test

.PHONY: tools
tools: ## the tool chain: Pulumi, its plugins, the Python environment
	@python3 tools/toolchain.py

.PHONY: up
up: machine tools ## the lab and a real `pulumi up` of the stack in it (STACK=lab)
	@$(PYTHON) -m tools.deploy up $(STACK)

.PHONY: down
down: tools ## destroy the lab's stack and stop the lab
	@$(PYTHON) -m tools.deploy down $(STACK)

.PHONY: recover repair
recover: tools ## after an interrupted update, so that the next one finishes (STACK=name)
	@$(PYTHON) -m tools.recover $(STACK) $(ARGS)
repair: tools ## replace a host that died or hangs (STACK=name NODE=edge-1)
	@$(PYTHON) -m tools.repair $(STACK) "$(NODE)" $(ARGS)

.PHONY: ssh
ssh: tools ## a shell on a host, through the load balancer (STACK=name NODE=origin-1)
	@$(PYTHON) -m tools.ssh $(STACK) "$(NODE)" $(ARGS)

.PHONY: status doctor
status: tools ## what a deployment does right now, until Ctrl-C (STACK=name)
	@$(PYTHON) -m tools.status $(STACK) $(ARGS)
doctor: tools ## whether it serves, seen from here, and whether AWS is ready for it (STACK=name)
	@$(PYTHON) -m tools.doctor $(STACK) $(ARGS)

.PHONY: drift
drift: tools ## what on the hosts differs from what the stack file says (STACK=name)
	@$(PYTHON) -m tools.drift $(STACK) $(ARGS)

.PHONY: new-stack
new-stack: tools ## a stack file of your own with new keys and passwords (STACK=name)
	@$(PYTHON) -m tools.new_stack $(STACK) $(ARGS)

.PHONY: render
render: ## a host's file as the stack file makes it (STACK=prod FILE=haproxy.cfg)
	@$(PYTHON) -m tools.render $(STACK) $(FILE)

.PHONY: preview
preview: tools ## what an update would change, and what the policies find in it (STACK=prod)
	@tools/pulumi preview --stack $(STACK) --policy-pack policy $(ARGS)

.PHONY: review
review: tools ## what the working tree would change, and whom that interrupts (STACK=prod BASE=main)
	@$(PYTHON) -m tools.review $(STACK) --base "$(BASE)" $(ARGS)

.PHONY: test test-unit test-config test-graph test-engine test-lab
test: machine-for-tests tools ## every test
	@python3 tools/toolchain.py test
	@$(PYTEST) tests -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)
test-unit: tools ## pure functions
	@$(PYTEST) tests/unit $(ARGS)
test-config: machine tools ## rendered files before the programs that read them
	@$(PYTEST) tests/config $(ARGS)
test-graph: tools ## the resource graph under a recording mock
	@$(PYTEST) tests/graph $(ARGS)
test-engine: machine tools ## the real engine before the emulated EC2 API
	@$(PYTEST) tests/engine $(ARGS)
test-lab: machine-for-tests tools ## real hosts
	@$(PYTEST) tests/lab $(ARGS)

.PHONY: docs
docs: tools ## docs/settings.md and stacks/schema.json, made from cluster/settings.py
	@$(PYTHON) -m tools.docs

.PHONY: check
check: tools ## ruff, mypy, shellcheck, stale generated docs
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy .
	@$(PYTHON) -m tools.docs --check
	@grep -lIE '^#!.*\b(ba)?sh$$' $$(git ls-files -- ':!*.j2' ':!*.py') | xargs --no-run-if-empty .venv/bin/shellcheck -x

.PHONY: bench-lb bench-deploy
bench-lb: machine tools ## our HAProxy configuration against the how-to's, a bare one and none
	@$(PYTHON) -m tools.bench_lb $(ARGS)
bench-deploy: machine tools ## how long deployments take, against terraform's, and how much memory the lab
	@$(PYTHON) -m tools.bench_deploy $(ARGS)
