# What can be done here; `make help` lists it. Needs Python >= 3.11 and nothing else: every
# target first makes the virtual environment that it uses, and again when pyproject.toml changes.

PYTHON ?= python3
# The oldest numpy and scipy have wheels up to Python 3.11 only.
PYTHON_OLDEST ?= $(shell python3.11 -c "" 2>/dev/null && echo python3.11 || echo $(PYTHON))
PYTEST_ARGS ?=

# The lower bounds of pyproject.toml; on a newer Python the oldest releases that have wheels.
OLDEST = \
	"threadpoolctl==3.5.0" \
	"scikit-learn==1.6.0; python_version < '3.14'" "scikit-learn==1.7.2; python_version >= '3.14'" \
	"numpy==1.24.4; python_version < '3.12'" "numpy==1.26.4; python_version == '3.12'" \
	"numpy==2.1.3; python_version == '3.13'" "numpy==2.3.3; python_version >= '3.14'" \
	"scipy==1.10.1; python_version < '3.12'" "scipy==1.11.4; python_version == '3.12'" \
	"scipy==1.14.1; python_version == '3.13'" "scipy==1.16.2; python_version >= '3.14'"

# $(call install,ENVIRONMENT,PYTHON,REQUIREMENTS)
define install
	@$(2) -c "import sys; sys.exit(sys.version_info < (3, 11))" \
		|| { echo "Python >= 3.11 is needed; name one with PYTHON=..." >&2; exit 1; }
	test -x $(1)/bin/python || $(2) -m venv $(1)
	$(1)/bin/python -m pip install --quiet --upgrade pip
	$(1)/bin/python -m pip install --quiet $(3)
	@touch $@
endef

.DEFAULT_GOAL := help
.PHONY: help setup test test-newest test-oldest lint docs demo clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.test-ready ## Make .venv with the package, everything optional, and the tests' needs

.venv/.demo-ready: pyproject.toml
	$(call install,.venv,$(PYTHON),-e ".[all]")

.venv/.test-ready: .venv/.demo-ready
	$(call install,.venv,$(PYTHON),-e ".[test]")

.venv-oldest/.ready: pyproject.toml Makefile
	$(call install,.venv-oldest,$(PYTHON_OLDEST),$(OLDEST) "pytest>=9" -e .)

.venv/.docs-ready: .venv/.demo-ready
	$(call install,.venv,$(PYTHON),-e ".[docs]")

.venv-dev/.ready: pyproject.toml
	$(call install,.venv-dev,$(PYTHON),-e ".[lint]")

test: test-newest test-oldest ## Run the whole suite, newest packages and then oldest

test-newest: .venv/.test-ready ## Run the suite and all examples with the newest packages
	.venv/bin/python -m pytest $(PYTEST_ARGS)

test-oldest: .venv-oldest/.ready ## Run what needs no torch with the oldest scikit-learn
	.venv-oldest/bin/python -m pytest $(PYTEST_ARGS)

lint: .venv-dev/.ready ## Check style, format and spelling
	.venv-dev/bin/ruff check .
	.venv-dev/bin/ruff format --check .
	.venv-dev/bin/codespell

docs: .venv/.docs-ready ## Build the documentation into docs/_build/html, running the gallery
	.venv/bin/sphinx-build -W --keep-going docs docs/_build/html

demo: .venv/.demo-ready ## Rank the small bundled models; table here, figure in build/demo
	.venv/bin/sklearn-ncti demo --output build/demo --force

clean: ## Remove what builds and tests leave; the .venv* folders stay
	rm -rf build dist docs/_build docs/generated .pytest_cache .ruff_cache
	find sklearn_ncti tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +
