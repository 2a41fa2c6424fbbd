# Two commands: `make up` installs Parley and starts it, `make test` checks it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLIENTS := .clients
CLIENT_PINS := tests/clients/environments
ENGINES := .engines
MELO := deploy/melo
TEST_ASSETS := whisper-base speech-samples speech-readers

.PHONY: up install test clients engines images-test chaos chaos-short micro performance lock clean

up: $(VENV)/installed-cpu
	@$(BIN)/parley up

install: $(VENV)/installed-cpu

test: $(VENV)/installed-test $(CLIENTS)/installed-light
	$(BIN)/parley models fetch
	$(BIN)/parley models fetch $(TEST_ASSETS)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n 3 --dist loadfile

# Every client that Parley is tested with, the ones with large packages too.
clients: $(VENV)/installed-test $(CLIENTS)/installed-light $(CLIENTS)/installed-heavy
	$(BIN)/pytest tests/clients -m "heavy_client or not heavy_client"

# The engines whose packages are too large for every run or need an environment of their own.
engines: $(VENV)/installed-test $(ENGINES)/installed-torch $(ENGINES)/installed-melo
	$(ENGINES)/torch/bin/parley models fetch
	$(ENGINES)/torch/bin/parley models fetch $(TEST_ASSETS) silero-vad-jit kokoro-82m-ja
	$(ENGINES)/torch/bin/pytest -m torch_engine
	$(ENGINES)/melo/bin/pytest tests/engines/test_tts.py tests/engines/test_melo*.py -m melo_engine
	$(BIN)/pytest tests/system/test_melo.py -m melo_engine

# The images, built for the CPU and talked to, with docker, podman or buildah. Arguments that a build
# needs on this machine go into PARLEY_IMAGES_BUILD_ARGS.
images-test: $(VENV)/installed-test
	$(BIN)/parley models fetch whisper-base
	$(BIN)/pytest -s tests/images -m "images or not images"

# Everything is killed, stopped and cut while people talk: at least 500 faults over 2,000 turns.
chaos: $(VENV)/installed-cpu
	$(BIN)/python -m bench.chaos --turns 2000 --faults 500

# The same for about three minutes.
chaos-short: $(VENV)/installed-cpu
	$(BIN)/python -m bench.chaos --turns 0 --faults 0 --minutes 2.5 --sessions 24 --turns-each 4 \
		--pause-s 4

# What the hot paths cost, one by one.
micro: $(VENV)/installed-test
	$(BIN)/parley models fetch
	@mkdir -p build
	$(BIN)/pytest bench/micro --benchmark-json build/micro.json

# Measures everything that docs/performance.md says, and writes it: half an hour, on a quiet machine.
performance: $(VENV)/installed-test
	$(BIN)/pip install -c constraints.txt -e '.[bench]'
	$(BIN)/parley models fetch
	$(BIN)/parley models fetch $(TEST_ASSETS)
	$(BIN)/python -m bench.performance

# What `uv` says of the machines in pyproject.toml, which the pins need not repeat.
NARROW := s/ and platform_machine == 'x86_64' and platform_python_implementation == 'CPython' and \
sys_platform == 'linux'$$//; s/ ; python_full_version < '3.14'$$//

# The libraries that torch's build for CUDA needs beside it.
CUDA := '^(cuda|nvidia-c|nvidia-n[cv]|triton)'

# Pins every package that an extra can bring in to one exact version.
lock: $(CLIENTS)/installed-light
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --upgrade \
		--no-annotate --no-header --quiet --output-file $(VENV)/lock.txt
	{ echo '# Every package Parley installs, at one exact version. Written by `make lock`.'; \
		sed "$(NARROW)" $(VENV)/lock.txt; } > constraints.txt
	for kind in light heavy; do \
		$(BIN)/uv pip compile $(CLIENT_PINS)/$$kind.in --universal --upgrade \
			--no-annotate --no-header --quiet --output-file $(VENV)/lock.txt && \
		{ echo '# Written by `make lock`.'; \
			sed "$(NARROW)" $(VENV)/lock.txt; } > $(CLIENT_PINS)/$$kind.txt || exit 1; done
	cd tests/clients/js && ../../../$(CLIENTS)/light/bin/npm install --package-lock-only
	$(BIN)/uv pip compile $(MELO)/requirements.in --override $(MELO)/left_out.txt \
		--python-version 3.11 --upgrade --no-annotate --no-header --quiet \
		--output-file $(VENV)/lock.txt
	{ echo '# Written by `make lock`.'; grep -Ev $(CUDA) $(VENV)/lock.txt; } \
		> $(MELO)/requirements.txt
	{ echo '# Written by `make lock`.'; grep -E $(CUDA) $(VENV)/lock.txt; } > $(MELO)/cuda.txt
	$(BIN)/uv pip compile $(MELO)/test.in --constraint $(MELO)/requirements.txt \
		--python-version 3.11 --upgrade --no-annotate --no-header --quiet \
		--output-file $(VENV)/lock.txt
	{ echo '# Written by `make lock`.'; cat $(VENV)/lock.txt; } > $(MELO)/test.txt

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf .import_linter_cache $(CLIENTS) $(ENGINES) tests/clients/js/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/installed-cpu: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install -c constraints.txt -e '.[cpu]'
	@touch $@

$(VENV)/installed-test: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install -c constraints.txt -e '.[cpu,test]'
	@touch $@ $(VENV)/installed-cpu

$(CLIENTS)/installed-light: $(CLIENT_PINS)/light.txt tests/clients/js/package-lock.json \
		| $(VENV)/bin/python
	$(BIN)/python -m venv $(CLIENTS)/light
	$(CLIENTS)/light/bin/pip install -r $(CLIENT_PINS)/light.txt
	cd tests/clients/js && PATH=$(CURDIR)/$(CLIENTS)/light/bin:$$PATH npm ci
	@touch $@

$(CLIENTS)/installed-heavy: $(CLIENT_PINS)/heavy.txt | $(VENV)/bin/python
	$(BIN)/python -m venv $(CLIENTS)/heavy
	$(CLIENTS)/heavy/bin/pip install -r $(CLIENT_PINS)/heavy.txt
	@touch $@

$(ENGINES)/installed-torch: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m venv $(ENGINES)/torch
	$(ENGINES)/torch/bin/pip install -c constraints.txt -e '.[cpu,gpu,kokoro,test]'
	@touch $@

# The pins are complete, but for what speaking does not import: see deploy/melo/README.md.
$(ENGINES)/installed-melo: $(MELO)/requirements.txt $(MELO)/test.txt | $(VENV)/bin/python
	$(BIN)/python -m venv $(ENGINES)/melo
	$(ENGINES)/melo/bin/pip install --no-deps -r $(MELO)/requirements.txt -r $(MELO)/test.txt
	$(ENGINES)/melo/bin/pip install --no-deps -e .
	@touch $@

$(VENV)/bin/python:
	@command -v $(PYTHON) > /dev/null || { \
		echo "Parley needs Python 3.11 or newer, and there is no '$(PYTHON)' here:" \
			"install one, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Parley needs Python 3.11 or newer and '$(PYTHON)' is $$($(PYTHON) -V 2>&1):" \
			"name a newer one: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { \
		echo "$(PYTHON) cannot create virtual environments:" \
			"install its venv module (Debian, Ubuntu: apt-get install python3-venv)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
