# `make demo` and `make test` do all their own set-up in .venv.
BIN := .venv/bin
DOCS := docs
SITE := build/site
.DEFAULT_GOAL := help
.PHONY: help setup inference demo test test-all formal lint benchmark synth docs site clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 12

setup: .venv/.installed ## .venv with microzone and its tools

.venv/.installed: pyproject.toml package/__init__.py tools/setup.sh
	tools/setup.sh

inference: .venv/.inference ## what `microzone infer --method dsn` and `npe` need besides: torch, sbi, zuko

# torch first and at this version: what sbi would choose by itself need not be one that it was tried with.
.venv/.inference: .venv/.installed
	$(BIN)/python -m pip install -qq --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[dev,inference]'
	touch $@

demo: setup ## an experiment on float, fixed and RTL: verdict and figure in demo-output/
	$(BIN)/microzone demo

test: lint ## lint, types and all tests but the slow ones, in minutes
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test-all: lint ## the slow tests too: more synthesis, every core broken on purpose
	$(BIN)/python -m pytest -n 2 --dist worksteal

formal: setup ## all proofs: interlocks, microcircuit, link and its queue
	$(BIN)/python -m pytest -n 2 --dist worksteal -m formal

# The folders as the one package that they are when installed: what reads files, not imports, finds them there.
TREE := .venv/typing
lint: setup ## ruff, mypy, and which package may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@rm -rf $(TREE) && mkdir -p $(TREE)/microzone
	@ln -s $(addprefix ../../../,$(wildcard package/*) golden_model gateware sim boards tools) $(TREE)/microzone
	MYPYPATH=$(TREE):docs $(BIN)/mypy -p microzone -p generate
	PYTHONPATH=$(TREE) $(BIN)/lint-imports --no-cache --no-logo

benchmark: setup ## CPU time of a start, steps a second of each model, in one run
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/thresholds.py
	$(BIN)/python benchmarks/engine.py
	$(BIN)/python benchmarks/cfpc.py

synth: setup ## logic cells, DSPs and Fmax on the iCE40 UP5K: the core, or BLOCKS="link detection"
	$(BIN)/python -m microzone.boards.synthesis $(BLOCKS)

docs: setup ## the generated parts of docs/
	PYTHONPATH=$(DOCS) $(BIN)/python -m generate

site: setup ## docs/ as HTML in build/site; warnings are errors
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --fresh-env --write-all \
	    -b html -d $(SITE).doctrees $(DOCS) $(SITE)

clean: ## remove .venv, the cache and all that is generated
	if [ -x $(BIN)/microzone ]; then $(BIN)/microzone doctor --prune; fi
	rm -rf .venv build dist *.egg-info demo-output cfpc-output reproduce-output waves .mypy_cache .pytest_cache .ruff_cache .hypothesis
