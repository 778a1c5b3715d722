# What can be done here; `make help` lists it. Needs Python >= 3.11 and nothing else: every
# target first makes the virtual environment that it uses, and again when pyproject.toml changes.

PYTHON ?= python3
# The oldest numpy and scipy have wheels up to Python 3.11 only.
PYTHON_OLDEST ?= $(shell python3.11 -c "" 2>/dev/null && echo python3.11 || echo $(PYTHON))
# Two processes: each loads torch, which takes a gigabyte, and most machines have two cores.
PYTEST_ARGS ?= -n 2

# Kernels of other processors: their arithmetic rounds in another order. `make test KERNEL=haswell`
# runs the suite under one of them, unless this processor lacks its instructions. The settings
# are read by OpenBLAS (numpy and scipy have one each), by oneDNN and by torch itself.
KERNEL ?=
KERNELS = haswell skylakex sandybridge
SETTINGS_haswell = OPENBLAS_CORETYPE=Haswell ONEDNN_MAX_CPU_ISA=AVX2
SETTINGS_skylakex = OPENBLAS_CORETYPE=SkylakeX ONEDNN_MAX_CPU_ISA=AVX512_CORE
SETTINGS_sandybridge = OPENBLAS_CORETYPE=Sandybridge ONEDNN_MAX_CPU_ISA=SSE41 \
	ATEN_CPU_CAPABILITY=default
NEEDED_haswell = avx2
NEEDED_skylakex = avx512vl
NEEDED_sandybridge = avx

# The lower bounds of pyproject.toml; on a newer Python the oldest releases that have wheels.
OLDEST = \
	"threadpoolctl==3.5.0" "joblib==1.4.2" \
	"scikit-learn==1.6.0; python_version < '3.14'" "scikit-learn==1.7.2; python_version >= '3.14'" \
	"numpy==1.24.4; python_version < '3.12'" "numpy==1.26.4; python_version == '3.12'" \
	"numpy==2.1.3; python_version == '3.13'" "numpy==2.3.3; python_version >= '3.14'" \
	"scipy==1.10.1; python_version < '3.12'" "scipy==1.11.4; python_version == '3.12'" \
	"scipy==1.14.1; python_version == '3.13'" "scipy==1.16.2; python_version >= '3.14'"

# Those of the optional packages. Later releases of pyparsing warn of what matplotlib 3.7 calls.
OLDEST_TORCH = \
	"torch==2.6.0; python_version < '3.14'" "torchvision==0.21.0; python_version < '3.14'" \
	"timm==1.0.26" "transformers==5.18.0" "tqdm==4.64.0" "pillow==10.1.0; python_version < '3.12'" \
	"matplotlib==3.7.0; python_version < '3.12'" "pandas==2.0.0; python_version < '3.12'" \
	"rich==13.8.0" "pyparsing<3.1; python_version < '3.12'"

# Its comma would end an argument of a call.
OF_DEV = ".[lint,release]"

# $(call install,ENVIRONMENT,PYTHON,REQUIREMENTS)
define install
	@$(2) -c "import sys; sys.exit(sys.version_info < (3, 11))" \
		|| { echo "Python >= 3.11 is needed; name one with PYTHON=..." >&2; exit 1; }
	test -x $(1)/bin/python || $(2) -m venv $(1)
	$(1)/bin/python -m pip install --quiet --upgrade pip
	$(1)/bin/python -m pip install --quiet $(3)
	@touch $@
endef

# $(call pytest,ENVIRONMENT)
define pytest
	@if [ -n "$(KERNEL)" ] && ! grep -qw "$(NEEDED_$(KERNEL))" /proc/cpuinfo 2>/dev/null; then \
		echo "skipped: KERNEL=$(KERNEL), this processor has no $(NEEDED_$(KERNEL))"; \
	else \
		set -x; env $(SETTINGS_$(KERNEL)) $(1)/bin/python -m pytest $(PYTEST_ARGS); \
	fi
endef

ifneq ($(filter-out $(KERNELS),$(KERNEL)),)
$(error KERNEL=$(KERNEL) is none of: $(KERNELS))
endif

.DEFAULT_GOAL := help
.PHONY: help setup environments test test-newest test-oldest test-oldest-scoring test-oldest-torch
.PHONY: test-kernels lint docs release-check demo clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.test-ready ## Make .venv with the package, everything optional, and the tests' needs

# With `make -j2 environments`, the two longest at a time: pip works on one core.
environments: .venv-oldest-torch/.ready .venv/.test-ready .venv-oldest/.ready .venv-dev/.ready

.venv/.demo-ready: pyproject.toml
	$(call install,.venv,$(PYTHON),-e ".[all]")

.venv/.test-ready: .venv/.demo-ready
	$(call install,.venv,$(PYTHON),-e ".[test]")

.venv-oldest/.ready: pyproject.toml Makefile
	$(call install,.venv-oldest,$(PYTHON_OLDEST),$(OLDEST) "pytest>=9" "pytest-xdist>=3.5" -e .)

.venv-oldest-torch/.ready: pyproject.toml Makefile
	$(call install,.venv-oldest-torch,$(PYTHON_OLDEST),\
		$(OLDEST) $(OLDEST_TORCH) "pytest>=9" "pytest-xdist>=3.5" -e ".[all]")

.venv/.docs-ready: .venv/.demo-ready
	$(call install,.venv,$(PYTHON),-e ".[docs]")

.venv-dev/.ready: pyproject.toml
	$(call install,.venv-dev,$(PYTHON),-e $(OF_DEV))

test: test-newest test-oldest ## Run the whole suite, newest packages and then oldest

test-newest: .venv/.test-ready ## Run the suite and all examples with the newest packages
	$(call pytest,.venv)

test-oldest: test-oldest-scoring test-oldest-torch ## Run it with the oldest, without torch and with it

test-oldest-scoring: .venv-oldest/.ready ## Run what needs no torch with the oldest scikit-learn
	$(call pytest,.venv-oldest)

test-oldest-torch: .venv-oldest-torch/.ready ## Run the suite with the oldest torch, timm and the rest
	$(call pytest,.venv-oldest-torch)

test-kernels: ## Run the whole suite with the kernels of other processors
	@for kernel in $(KERNELS); do $(MAKE) test KERNEL=$$kernel || exit 1; done

lint: .venv-dev/.ready ## Check style, format, spelling and types
	.venv-dev/bin/ruff check .
	.venv-dev/bin/ruff format --check .
	.venv-dev/bin/codespell
	.venv-dev/bin/mypy

docs: .venv/.docs-ready ## Build the documentation into docs/_build/html, running the gallery
	.venv/bin/sphinx-build -W --keep-going docs docs/_build/html

release-check: .venv-dev/.ready .venv/.demo-ready ## Build sdist and wheel, and try them as a user gets them
	.venv-dev/bin/python .ci/check_release.py --optional .venv

demo: .venv/.demo-ready ## Rank the small bundled models; table here, figure in build/demo
	.venv/bin/sklearn-ncti demo --output build/demo --force

clean: ## Remove what builds and tests leave; the .venv* folders stay
	rm -rf build dist docs/_build docs/generated .pytest_cache .ruff_cache .mypy_cache
	find sklearn_ncti tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +
