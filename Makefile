# One command each; both set up what they need. PYTHON chooses the interpreter of the virtual environment.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: repro baseline test check docs fuzz mutants setup soak clean

repro: setup ## run the whole pipeline on the data sets of params.yaml and print the results
	dvc repro
	@sed -n '/^| data set/,/^$$/p' report/report.md

baseline: repro ## commit what the pipeline gives now: `zsl gate` holds later runs against it
	git add dvc.lock results models
	git commit -m "Baseline of the default pipeline" -- dvc.lock results models

test: setup ## the test suite, one worker more than processors
	python -m pytest -n auto --dist loadgroup --no-loadscope-reorder

check: setup ## lint, format, types, spelling
	ruff check .
	ruff format --check .
	mypy
	codespell

docs: setup ## the site in site/; a warning or a dead link is an error
	NO_MKDOCS_2_WARNING=1 python -m mkdocs build

FUZZ_SECONDS ?= 60
fuzz: setup ## coverage-guided fuzzing of the importers of .mat and CSV, a minute each
	python fuzz/importers.py mat -max_total_time=$(FUZZ_SECONDS) -verbosity=0
	python fuzz/importers.py csv -max_total_time=$(FUZZ_SECONDS) -verbosity=0

mutants: setup ## mutation testing, up to an hour on two cores: which one-line faults the tests notice (MUTANTS="--module losses")
	python bench/mutants.py $(MUTANTS)

setup: $(BIN)/.installed

$(BIN)/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@

soak: setup ## hours: 200 faults, 20 minutes of fuzzing, 10,000 images of which 37 are damaged, 100,000 named, a million images' memory
	python -m pytest -m soak
	$(MAKE) fuzz FUZZ_SECONDS=600
	python bench/extract_memory.py 10000 100000 1000000

clean: ## forget the virtual environment; caches and results stay
	rm -rf .venv
