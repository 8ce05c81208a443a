# Each target sets up what it needs by itself. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := figures
.PHONY: figures test campaign lab bench card lock clean help

# The first Python that is new enough; or name one: make PYTHON=python3.12
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	"$$p" -c "$(NEW_ENOUGH)" 2>/dev/null && echo "$$p" && break; done)
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.installed
PIP := PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1 $(PY) -m pip
PIP_LOG := $(VENV)/install.log
# of pip's many lines keep the errors and what takes long
BRIEF := sed -n -e '/^ *ERROR/p' -e '/^error/p' -e '/^ *Downloading .* MB)/p' -e 's/^Installing.*/  Unpacking .../p'
PYTHON_FILES := lib tests .ci $(wildcard benchmarks) $(wildcard notebooks)

# What the figures are made with; empty = the embedded model and world. PARAMETERS takes any other
# parameter of a notebook: PARAMETERS="n_pairs=200 'caption=a red star'". Values reach the program by
# the environment and as they stand: neither make nor a shell expands what is in them.
GIVEN := MODEL PRETRAINED DATASET DATA PARAMETERS CORES
$(foreach name,$(GIVEN),$(eval override $(name) := $$(value $(name))))
export $(GIVEN)

figures: $(READY)  ## make every figure that is out of date: [MODEL=ViT-B-32 PRETRAINED=openai] [DATASET=pairs DATA=file]
	@$(PY) -m clip_attribution.figures --cores="$$CORES" --parameters="$$PARAMETERS" -- \
		"$${MODEL:+model=$$MODEL}" "$${PRETRAINED:+pretrained=$$PRETRAINED}" \
		"$${DATASET:+dataset=$$DATASET}" "$${DATA:+data=$$DATA}"

test: $(READY)  ## lint, check types and the form of code and notebooks, run the tests
	@$(PY) -m ruff check $(PYTHON_FILES)
	@$(PY) -m ruff format --check --quiet $(PYTHON_FILES) \
		|| { echo "error: format the code: $(PY) -m ruff format $(PYTHON_FILES)" >&2; exit 1; }
	@$(PY) -m mypy --no-error-summary
	@notebooks=(notebooks/*.ipynb); if [ -e "$${notebooks[0]}" ]; then \
		$(PY) -m nbstripout --verify "$${notebooks[@]}" \
		|| { echo "error: strip the notebooks: $(PY) -m nbstripout notebooks/*.ipynb" >&2; exit 1; }; fi
	@$(PY) -m pytest

campaign: $(READY)  ## stop, crowd and starve every long command, twenty times and more (an hour)
	@CAMPAIGN=long $(PY) -m pytest tests/campaigns -s

lab: $(READY)  ## open the notebooks in JupyterLab
	@$(PY) -m jupyterlab --notebook-dir=notebooks

bench: $(READY)  ## measure speed and memory
	@$(PY) -m benchmarks.run

card: $(READY)  ## measure the embedded model anew and write its model card
	@$(PY) -m clip_attribution.training.model_card

lock: $(READY)  ## resolve the newest versions that pyproject.toml allows into requirements.lock
	@echo "Resolving (about two minutes) ..."
	@$(PIP) install -qq --dry-run --ignore-installed --report - ".[test]" \
		| $(PY) .ci/lock.py > requirements.lock.tmp
	@mv requirements.lock.tmp requirements.lock
	@echo "Wrote requirements.lock. Next: make test, which installs it."

clean:  ## remove the environment and all caches; figures and runs/ stay
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .snakemake lib/*.egg-info
	find $(PYTHON_FILES) \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /make \1	/p' Makefile | expand -t 16

# The stamp is written last, so an interrupted installation is taken up again by the next make.
$(READY): requirements.lock requirements-tagger.txt pyproject.toml
	@"$(or $(strip $(PYTHON)),false)" -c "$(NEW_ENOUGH)" || { echo "error: this needs Python 3.11 or newer;" \
		"install one, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PY) -c "$(NEW_ENOUGH)" 2>/dev/null && $(PY) -m pip --version >/dev/null 2>&1 \
		|| { echo "[1/4] creating $(VENV) with $(PYTHON)"; $(PYTHON) -m venv --clear $(VENV); }
	@echo "[2/4] installing the pinned packages (several GB on Linux: some minutes)"
	@$(PIP) install --log $(PIP_LOG) --progress-bar off -r requirements.lock 2>&1 | $(BRIEF) \
		|| { echo "error: the installation failed; details in $(PIP_LOG)" \
		"(Python 3.11 to 3.13 need no compiler: make clean, then make PYTHON=python3.13)" >&2; exit 1; }
	@echo "[3/4] installing the part-of-speech tagger"
	@$(PIP) install -qq --no-deps --require-hashes -r requirements-tagger.txt
	@echo "[4/4] installing clip-attribution itself"
	@$(PIP) install -qq --no-deps --no-build-isolation -e .
	@touch $@
