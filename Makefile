# Two commands: `make up` installs Parley and starts it, `make test` checks it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TEST_ASSETS := whisper-base speech-samples speech-readers

.PHONY: up install test chaos chaos-short lock clean

up: $(VENV)/installed-cpu
	@$(BIN)/parley up

install: $(VENV)/installed-cpu

test: $(VENV)/installed-test
	$(BIN)/parley models fetch
	$(BIN)/parley models fetch $(TEST_ASSETS)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest

# Everything is killed, stopped and cut while people talk: at least 500 faults over 2,000 turns.
chaos: $(VENV)/installed-cpu
	$(BIN)/python -m bench.chaos --turns 2000 --faults 500

# The same for about three minutes.
chaos-short: $(VENV)/installed-cpu
	$(BIN)/python -m bench.chaos --turns 0 --faults 0 --minutes 2.5 --sessions 24 --turns-each 4 \
		--pause-s 4

# Pins every package that an extra can bring in to one exact version.
lock: $(VENV)/bin/python
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --upgrade \
		--no-annotate --no-header --quiet --output-file $(VENV)/lock.txt
	{ echo '# Every package Parley installs, at one exact version. Written by `make lock`.'; \
		sed "s/ ; python_full_version < '3.14' and sys_platform == 'linux'$$//" \
			$(VENV)/lock.txt; } > constraints.txt

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/installed-cpu: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install -c constraints.txt -e '.[cpu]'
	@touch $@

$(VENV)/installed-test: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install -c constraints.txt -e '.[cpu,test]'
	@touch $@ $(VENV)/installed-cpu

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
