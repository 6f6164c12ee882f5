# Every target sets up .venv by itself; Python 3.11 or later is all it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup design test lint lab serve bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[all,dev]"
	touch $(STAMP)

design: $(STAMP)
	@$(BIN)/protein-lab design protein_lab/assets/requests/three_helix_bundle.json --workers 2; code=$$?; test $$code -eq 0 -o $$code -eq 3

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	find protein_lab service extensions benchmarks -name node_modules -prune -o -name '*.py' -print | xargs $(BIN)/numpydoc lint

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term:skip-covered --cov-fail-under=90

lab: $(STAMP)
	$(BIN)/jupyter lab notebooks

serve: $(STAMP)
	$(BIN)/protein-lab serve

bench: $(STAMP)
	$(BIN)/protein-lab benchmark quality --quick

clean:
	rm -rf $(VENV) out
