# `make demo` and `make test` do all their own set-up in .venv.
BIN := .venv/bin
DOCS := docs
SITE := build/site
.DEFAULT_GOAL := help
.PHONY: help setup inference demo test test-all formal lint benchmark synth docs site lock licences sbom clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 12

setup: .venv/.installed ## .venv with microzone and its tools

.venv/.installed: pyproject.toml package/__init__.py tools/setup.sh requirements/build.txt requirements/dev.txt
	tools/setup.sh

inference: .venv/.inference ## what `microzone infer --method dsn` and `npe` need besides: torch, sbi, zuko

# torch last: what it needs besides is then there already, at the locked versions.
.venv/.inference: .venv/.installed requirements/inference.txt requirements/torch.txt
	$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes --no-deps \
	    --no-build-isolation --use-pep517 -r requirements/inference.txt
	$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements/torch.txt
	touch $@

demo: setup ## an experiment on float, fixed and RTL: verdict and figure in demo-output/
	$(BIN)/microzone demo

# Tests run on two processes, which must not both be the first to call a tool.
.venv/.compiled: .venv/.installed tools/first_calls.sh
	tools/first_calls.sh nextpnr-ice40 icepack nextpnr-ecp5 ecppack
	touch $@

test: lint .venv/.compiled ## lint, types and all tests but the slow ones, in minutes
	$(BIN)/python -m pytest -n 2 --dist worksteal --durations=10 -m "not slow"

test-all: lint .venv/.compiled ## the slow tests too: more synthesis, every core broken on purpose
	$(BIN)/python -m pytest -n 2 --dist worksteal --durations=10

formal: setup ## proofs of interlocks, link and its queue; a bounded search of the microcircuit
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

docs: setup ## the generated parts of docs/ and its pictures; PICTURES="sweep.png ..." or PICTURES=all: the long ones too
	PYTHONPATH=$(DOCS) $(BIN)/python -m generate $(PICTURES)

site: setup ## docs/ as HTML in build/site; warnings are errors
	"$(BIN)/python" -m sphinx --fail-on-warning --keep-going --quiet --fresh-env --write-all \
	    -b html -d "$(SITE).doctrees" "$(DOCS)" "$(SITE)"

lock: setup ## the lock files of requirements/, after a bound of pyproject.toml has changed; UPGRADE=1: the newest
	tools/lock.sh

# In a folder of their own, so that these tools do not stand among what they list.
RELEASE := build/release
$(RELEASE)/.installed: .venv/.installed requirements/release.txt
	rm -rf $(RELEASE)
	$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes --no-deps \
	    --target $(RELEASE) -r requirements/release.txt
	touch $@

licences: $(RELEASE)/.installed ## the licence of everything that is installed in .venv
	PYTHONPATH=$(RELEASE) $(BIN)/python -m piplicenses --python $(BIN)/python --order license

VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' package/__init__.py)
SBOM = dist/microzone-$(VERSION).cdx.json
sbom: $(RELEASE)/.installed ## bill of materials of microzone (CycloneDX) from its lock file, in dist/
	mkdir -p dist
	sed 's/^dynamic = .*/version = "$(VERSION)"/' pyproject.toml >$(RELEASE)/pyproject.toml
	PYTHONPATH=$(RELEASE) $(BIN)/python -W ignore -m cyclonedx_py requirements --pyproject $(RELEASE)/pyproject.toml \
	    --mc-type library --output-reproducible --output-file $(SBOM) requirements/microzone.txt
	@echo $(SBOM)

clean: ## remove .venv, the cache and all that is generated
	if [ -x $(BIN)/microzone ]; then $(BIN)/microzone doctor --prune; fi
	rm -rf .venv build dist *.egg-info demo-output cfpc-output reproduce-output waves .mypy_cache .pytest_cache .ruff_cache .hypothesis
