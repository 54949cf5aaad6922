# `make help` lists what there is. Everything installs itself first, and works from a fresh clone.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
VENV := .venv/bin
export PATH := $(CURDIR)/bin:$(PATH)
# Tests and tasks that may not keep bytecode compile what they import at each start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1 \2/' | while read -r name text; do printf '  make %-15s %s\n' "$$name" "$$text"; done

.PHONY: install install-dev
install: ## Install what runs the pipeline into .venv and .tools
	@requirements/install.sh runtime
install-dev: ## Install that and what tests and checks need
	@requirements/install.sh dev

# Its own launch folder, because -resume goes on from the last run of a folder, whatever that was.
.PHONY: demo
demo: install ## From simulated raw CT to a trained denoiser, denoised DICOM and a report in results/demo
	@mkdir -p work/demo && cd work/demo && ../../bin/nextflow run ../../main.nf -profile demo,cpu --outdir ../../results/demo -resume

.PHONY: test unit pipeline test-slurm
test: lint unit pipeline ## All that CI checks: lint, unit tests, the pipeline for real, the wheel
unit: install-dev ## The unit tests only
	@OMP_NUM_THREADS=1 $(VENV)/python -m pytest -m 'not pipeline and not containers and not slurm' -n auto --dist loadfile -q --durations=10
pipeline: install-dev ## The tests that run Nextflow or build something
	@$(VENV)/python -m pytest -m pipeline -n auto --dist loadfile -q --durations=10
test-slurm: install-dev ## The pipeline on a Slurm that is started for it and stopped after it (needs root and ../shared/tools)
	@OMP_NUM_THREADS=1 $(VENV)/python -m pytest -m slurm -q --durations=0

.PHONY: lint format
lint: install-dev ## Format, style, types, shell and Nextflow syntax
	@$(VENV)/ruff format --check .
	@$(VENV)/ruff check .
	@$(VENV)/mypy
	@if [[ -d .tools/nextflow-lint ]]; then \
	    "$$(bin/nextflow --find-java)" -cp '.tools/nextflow-lint/*' groovy.ui.GroovyMain requirements/nextflow-lint.groovy \
	        main.nf nextflow.config workflows/*.nf modules/*.nf conf/*.config; \
	else echo 'Maven is not here to fetch the strict Nextflow parser: Nextflow files were not checked'; fi
	@if command -v shellcheck >/dev/null; then shellcheck bin/* conf/*.sh requirements/*.sh containers/*.sh .ci/run; else echo 'shellcheck is not here: shell scripts were not checked'; fi
format: install-dev ## Put the Python files into their format
	@$(VENV)/ruff format . && $(VENV)/ruff check --fix .

.PHONY: listing
listing: install ## Count the networks of all recipes anew, for `ldctpipe recipes` (after a recipe or its network changed)
	@$(VENV)/python -c 'from ldctpipe.recipes.listing import write_listing; write_listing()'

.PHONY: bench
bench: install-dev ## Speed beside named peers (benchmarks/)
	@for script in benchmarks/{ingest,simulation,inference}.py; do echo "== $$script"; $(VENV)/python "$$script"; done

.PHONY: test-learning
test-learning: install-dev ## Train every recipe at reduced size until it beats its input by 1 dB (hours; a rerun continues)
	@OMP_NUM_THREADS=2 $(VENV)/python benchmarks/learning.py

.PHONY: image image-cpu audit test-containers
BUILDER ?= $(wildcard ../shared/tools/local-base.sh)
export BASE_IMAGE BUILDER
image: ## The container image ldctpipe:latest, with CUDA (BASE_IMAGE=IMAGE for another base)
	@containers/build.sh containers/Containerfile ldctpipe:latest
	-@requirements/audit.sh
image-cpu: ## The smaller image ldctpipe:cpu, for machines without a GPU
	@containers/build.sh containers/Containerfile.cpu ldctpipe:cpu
	-@requirements/audit.sh
audit: ## Ask which pinned packages are known to be vulnerable
	@requirements/audit.sh
test-containers: install-dev ## Build both images and run the pipeline in one, where Podman and a base image are to be had
	@$(VENV)/python -m pytest -m containers -q

.PHONY: requirements
PINS := --quiet --universal --python-version 3.10 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links
requirements: install ## Compile requirements/*.txt anew from pyproject.toml and requirements/*.in (UPGRADE=--upgrade)
	@cd requirements && uv=../$(VENV)/uv && \
	$$uv pip compile ../pyproject.toml bootstrap.in dev.in $(PINS) $(UPGRADE) -o dev.txt && \
	$$uv pip compile ../pyproject.toml -c dev.txt $(PINS) -o runtime.txt && \
	$$uv pip compile bootstrap.in -c dev.txt $(PINS) -o bootstrap.txt && \
	$$uv pip compile java.in $(PINS) $(UPGRADE) -o java.txt && \
	$$uv pip compile supply-chain.in $(PINS) $(UPGRADE) -o supply-chain.txt

# The other values of the first lines: no CUDA beside torch's, no compiler, and less of torch (docs/containers.md).
WITHOUT_CUDA := triton* nvidia_cusolver* nvidia_nvjitlink* nvidia/cudnn/lib/libcudnn_* \
    nvidia/cu13/include nvidia/cu13/lib/libcusolver* nvidia/cu13/lib/libnvJitLink* nvidia/cu13/lib/libnvperf*
containers/Containerfile.cpu: containers/Containerfile
	@sed -E 's|^(ARG BASE_IMAGE)=.*|\1=docker.io/library/debian:bookworm-slim|; s|^(ARG SYSTEM_PACKAGES)=.*|\1=""|; s|^(ARG WITHOUT)=.*|\1="$(WITHOUT_CUDA)"|' $< >$@
