# Each target sets up what it needs in .venv and leaves the rest of the machine alone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := constraints.txt
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo install uninstall test test-lowest test-jetson check soak bench docs sbom lock clean

help:
	@echo 'make demo   a broker, the agent, a subscriber and the page; ends by itself. FRAMES=DIR UM_PER_PIXEL=X for real images; KEEP=1 goes on'
	@echo 'make install    the agent as a service of this machine, or its upgrade; as root (make uninstall removes it)'
	@echo 'make test   every test; MICROSCOPE_DATA=DIR adds those on real images'
	@echo 'make test-lowest  the tests with the oldest libraries that are allowed; ARGS=tests/agent for some of them'
	@echo 'make check  format, lint, types, import rules, generated documents'
	@echo 'make bench  speed and memory, as ratios in one run, into bench/results.json'
	@echo 'make test-jetson  the tests that need TensorRT, on a board'
	@echo 'make soak   the long tests'
	@echo 'make docs   write the generated documents again'
	@echo 'make sbom   the bill of materials of what a board installs, sbom.cdx.json'
	@echo 'make lock   resolve constraints.txt again'

# The found cells, by suspicion; demo says where they are when it ends.
MONTAGE := build/demo-cells.png
demo: $(VENV)/.agent
	@$(BIN)/microscope-agent --log WARNING demo $(if $(FRAMES),--frames '$(FRAMES)') $(if $(UM_PER_PIXEL),--um-per-pixel $(UM_PER_PIXEL)) $(if $(KEEP),--keep) --montage '$(MONTAGE)'

install:
	@systemd/install.sh

uninstall:
	@PURGE='$(PURGE)' systemd/uninstall.sh

# So many files at a time, one more than two cores: tests wait a third of their time. Those of one file share costly parts.
# Each computes with one thread, for the threads of two would wait for each other by spinning.
WORKERS := 3
test: export OMP_NUM_THREADS = 1
test: export OPENBLAS_NUM_THREADS = 1
test: $(VENV)/.dev
	$(BIN)/python -m pytest -m 'not soak' -n $(WORKERS) --dist loadfile $(ARGS)

# The oldest versions that pyproject.toml allows, in an environment of their own; only uv can choose them.
LOWEST := build/lowest
test-lowest:
	@$(PYTHON) -m venv $(LOWEST)
	@$(LOWEST)/bin/python -m pip --disable-pip-version-check --quiet install uv
	@$(LOWEST)/bin/uv pip install --python $(LOWEST)/bin/python --quiet --resolution lowest-direct -e '.[dev]'
	$(LOWEST)/bin/python -m pytest -m 'not soak and not requires_registry and not requires_root' $(ARGS)

test-jetson: $(VENV)/.dev
	$(BIN)/python -m pytest -m requires_tensorrt $(ARGS)

soak: $(VENV)/.dev
	$(BIN)/python -m pytest -m soak --timeout 3600 $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

bench: $(VENV)/.dev
	$(BIN)/python -m bench

docs: $(VENV)/.dev
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/picture.py

# From a fresh install of the lock, so that it holds what a board gets and nothing of the workshop. The tool validates it.
SBOM := sbom.cdx.json
sbom:
	@rm -rf build/sbom
	@$(PYTHON) -m venv build/sbom/tool
	@build/sbom/tool/bin/python -m pip --disable-pip-version-check --quiet install 'cyclonedx-bom==7.5.0'
	@$(PYTHON) -m venv --without-pip build/sbom/base
	@build/sbom/tool/bin/python -m pip --disable-pip-version-check --quiet --python build/sbom/base/bin/python install -c $(LOCK) .
	@build/sbom/tool/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --validate \
		--output-format JSON --output-file '$(SBOM)' build/sbom/base/bin/python
	@rm -rf build/sbom
	@echo 'wrote $(SBOM)'

lock: $(VENV)/.dev
	$(PIP) install uv
	@{ sed -n '/^#/p' $(LOCK); echo 'torch==2.13.0' | $(BIN)/uv pip compile --universal --python-version 3.10 --extra dev \
		--constraint - --no-header --no-annotate --quiet pyproject.toml | grep -v -E '^(nvidia-|cuda-|triton)' \
		| sed 's/^torch==\([^ ]*\).*/torch==\1/' | sed 's/+cpu//' | awk '!seen[$$0]++'; } > $(LOCK).new && mv $(LOCK).new $(LOCK)

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@echo 'making $(VENV)'
	@$(PYTHON) -m venv $(VENV) || { echo 'python3-venv is missing: apt install python3-venv'; rm -rf $(VENV); exit 1; }

$(VENV)/.agent: pyproject.toml $(LOCK) | $(VENV)/bin/python
	@echo 'installing the agent and the dashboard'
	@$(PIP) install -c $(LOCK) -e '.[dashboard]'
	@touch $@

$(VENV)/.dev: $(VENV)/.agent
	@echo 'installing the tools for training, export and tests'
	@$(PIP) install -c $(LOCK) -e '.[dev]'
	@$(BIN)/python -m devbroker.broker --fetch
	@touch $@
