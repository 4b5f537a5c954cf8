# One command each; both set up what they need. PYTHON chooses the interpreter of the virtual environment.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: repro baseline test check setup soak clean

repro: setup ## run the whole pipeline on the data sets of params.yaml and print the results
	dvc repro
	@sed -n '/^| data set/,/^$$/p' report/report.md

baseline: repro ## commit what the pipeline gives now: `zsl gate` holds later runs against it
	git add dvc.lock results
	git commit -m "Baseline of the default pipeline" -- dvc.lock results

test: setup ## the test suite
	python -m pytest

check: setup ## lint, format and types
	ruff check .
	ruff format --check .
	mypy

setup: $(BIN)/.installed

$(BIN)/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@

soak: setup ## hours: fifty kills, 10,000 images of which 37 are damaged, peak memory up to a million images
	python -m pytest -m soak
	python bench/extract_memory.py 10000 100000 1000000

clean: ## forget the virtual environment; caches and results stay
	rm -rf .venv
