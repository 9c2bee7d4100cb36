PYTHON ?= python3
BIN := .venv/bin
PARTS := photos native pristine biq2021 clive
stage = $(BIN)/papermill nbs/$(1).ipynb runs/mini/notebooks/$(2).ipynb -f nbs/presets/mini/$(2).yaml
RUN := runs/embedded
JOBS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null | awk '{print $$1 < 4 ? $$1 : 4}')

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help install dev reproduce mini clip enhancer test outputs lock sbom release-check lint browser in-step prepare readme docs clean

# The kernel and every import come from .venv, whatever else is on the machine.
export JUPYTER_PREFER_ENV_PATH := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONPATH PYTHONHOME JUPYTER_PATH MPLBACKEND

help:
	@echo "make reproduce  install into .venv, run every stage on the embedded default into $(RUN), score two images"
	@echo "make test       install, then check: notebooks clean, package and README in step, notebooks run, tests pass"
	@echo "make lint       ruff, with the rules of ruff.toml"
	@echo "make browser    install Chromium, with which make test looks at the report"
	@echo "make mini       train the two shipped scorers again from DATA=folder (about 2 hours on two cores)"
	@echo "make clip       train the shipped vision-language model again from PHOTOS=folder (about an hour on two cores)"
	@echo "make enhancer   train the shipped enhancer again from PHOTOS=folder (about an hour on two cores)"
	@echo "make prepare    after editing a notebook: clean notebooks, export the package, make README.md"
	@echo "make outputs    run the notebooks whose outputs are not of this tree"
	@echo "make readme     README.md from nbs/index.ipynb"
	@echo "make docs       the notebooks and the API as pages in _docs/"
	@echo "make lock       requirements.lock and constraints.txt, by uv"
	@echo "make sbom       runs/attiqa.cdx.json: what is installed in .venv, with versions and licences, in CycloneDX's format"
	@echo "make release-check  everything of a release that needs no network"
	@echo "make clean      remove caches and builds; .venv and runs/ stay"
	@echo "JOBS=...        processes of make test; now $(JOBS)"
	@echo "PYTHON=...      the Python (3.11 or newer) that .venv is made with; now $(PYTHON)"

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("attiqa needs Python 3.11 or newer, this is %d.%d; name one: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

# uv installs where it is on the path, pip otherwise.
UV := $(shell command -v uv 2>/dev/null)
installer = $(if $(UV),$(UV) pip install --python $(BIN)/python --quiet,$(BIN)/python -m pip install --quiet --progress-bar off)

.venv/.installed: constraints.txt settings.ini setup.py | $(BIN)/pip
	@echo "installing into .venv with $(if $(UV),uv,pip)"
	$(installer) -c constraints.txt -e .
	@touch $@

.venv/.installed-dev: constraints.txt settings.ini setup.py | $(BIN)/pip
	@echo "installing into .venv with $(if $(UV),uv,pip)"
	$(installer) -c constraints.txt -e '.[dev]'
	@touch .venv/.installed $@

install: .venv/.installed
dev: .venv/.installed-dev

reproduce: .venv/.installed
	$(BIN)/attiqa reproduce $(RUN)
	@echo "== a good image and a poor copy of it, scored by the shipped scorer"
	@$(BIN)/python tools/pair.py $(RUN)/pair
	@$(BIN)/attiqa score $(RUN)/pair/good.png $(RUN)/pair/poor.png

# The shipped scorers again, from folders of photographs and of human scores (about 2 hours on two cores): make mini DATA=folder
mini: export OMP_NUM_THREADS := 1
mini: .venv/.installed
	@for part in $(PARTS); do test -d "$(DATA)/$$part" || { echo "$(DATA)/$$part: no such folder; make mini DATA=folder wants $(PARTS) in it"; exit 2; }; done
	@mkdir -p runs/mini/notebooks
	$(BIN)/python -m pip install --quiet --progress-bar off -c constraints.txt -e '.[mini]'
	test -f runs/mini/efficientnet_lite0.safetensors || $(BIN)/python tools/lite0.py runs/mini/efficientnet_lite0.safetensors
	$(BIN)/python tools/pool.py runs/mini "$(DATA)/native" "$(DATA)/pristine" "$(DATA)/photos"
	$(call stage,02_prompts,02_prompts)
	$(call stage,03_pseudolabels,03_pseudolabels)
	$(call stage,04_pretrain,04_backbone)
	$(call stage,04_pretrain,04_pretrain)
	$(call stage,05b_order,05b_order)
	$(call stage,05_finetune,05_finetune) -p data "$(DATA)/biq2021;$(DATA)/clive"
	$(BIN)/python tools/ship.py runs/mini
	$(BIN)/python tools/measured.py scorers runs/mini "$(DATA)"

# The shipped vision-language model again, from a folder of photographs (about 1 hour on two cores): make clip PHOTOS=folder
clip: .venv/.installed
	@test -d "$(PHOTOS)" || { echo "give a folder of photographs: make clip PHOTOS=folder"; exit 2; }
	@mkdir -p runs/clip/notebooks
	$(BIN)/papermill nbs/10_clip.ipynb runs/clip/notebooks/10_clip_first.ipynb -f nbs/presets/clip/10_clip_first.yaml -p source "$(PHOTOS)"
	$(BIN)/papermill nbs/10_clip.ipynb runs/clip/notebooks/10_clip.ipynb -f nbs/presets/clip/10_clip.yaml -p source "$(PHOTOS)"
	cp runs/clip/attiqa-mini-clip/* attiqa/weights/attiqa-mini-clip/
	$(BIN)/python tools/measured.py clip runs/clip

# The shipped enhancer again, and what it was measured by: make enhancer PHOTOS=folder
enhancer: .venv/.installed
	@test -d "$(PHOTOS)" || { echo "give a folder of photographs: make enhancer PHOTOS=folder"; exit 2; }
	@mkdir -p runs/enhancer/notebooks
	OMP_NUM_THREADS=1 $(BIN)/papermill nbs/09_enhance.ipynb runs/enhancer/notebooks/09_enhance.ipynb -f nbs/presets/enhancer/09_enhance.yaml -p source "$(PHOTOS)"
	cp runs/enhancer/enhance/attiqa-enhancer.* attiqa/weights/
	cp runs/enhancer/enhance/table.csv attiqa/data/measured/enhance.csv

# Each process computes on one thread: two at work on their own finish sooner than two that share every sum.
test: export ATTIQA_SMOKE := 1
test: export OMP_NUM_THREADS := 1
test: .venv/.installed-dev lint in-step
	MPLBACKEND=Agg timeout --kill-after=30 1500 $(BIN)/nbdev_test --n_workers $(JOBS)
	timeout --kill-after=30 3600 $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder --timeout 900 tests

# Chromium by playwright, with the system libraries it needs; or apt's, where playwright's cannot be had.
browser: .venv/.installed-dev
	$(BIN)/playwright install --with-deps chromium || apt-get install --yes --no-install-recommends chromium

lint: .venv/.installed-dev
	$(BIN)/ruff check

in-step: .venv/.installed-dev
	tools/in_step.sh

prepare: .venv/.installed-dev
	$(BIN)/nbdev_clean
	$(BIN)/nbdev_export
	$(BIN)/python tools/readme.py

# What the notebooks show, made again where their code or a file they read has changed
outputs: export MPLBACKEND := module://matplotlib_inline.backend_inline
outputs: .venv/.installed-dev
	$(BIN)/python tools/outputs.py --run

readme: .venv/.installed-dev
	$(BIN)/python tools/readme.py

# The lock with hashes and constraints.txt, by uv, and what a release needs besides a network
lock:
	$(PYTHON) tools/lock.py

# The bill of materials, by a tool in an environment of its own
sbom: .venv/.installed
	$(PYTHON) -m venv runs/sbom
	runs/sbom/bin/pip install --quiet --progress-bar off cyclonedx-bom
	runs/sbom/bin/cyclonedx-py environment --output-file runs/attiqa.cdx.json $(BIN)/python

release-check: .venv/.installed-dev
	$(BIN)/python tools/release.py

docs: .venv/.installed-dev
	rm -rf _docs
	$(BIN)/python -W ignore tools/docs.py _docs

clean:
	rm -rf build dist .pytest_cache _proc _docs
	find attiqa nbs tests tools data_scripts \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +
