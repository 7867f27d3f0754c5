# `make demo` and `make test` set everything up from nothing: python3 (3.11 or later), make and pip are enough.
PYTHON ?= python3
BIN := .venv/bin
# Tiny networks are faster on one thread than on two.
export OMP_NUM_THREADS ?= 1

.PHONY: help demo test test-slow test-all test-arviz check format docs notebooks install constraints clean

help:
	@echo "make demo      set up, then run the main job on real data (bayesnn compare digits)"
	@echo "make test      set up, then lint, types and the quick tests"
	@echo "make test-all  the same and the slow statistical checks"
	@echo "make test-arviz the export on ArviZ 1.x (needs Python 3.12 or later)"
	@echo "make docs      set up, then build the site into docs/_build/html"
	@echo "make notebooks set up, then run every notebook in full and keep what it said (half an hour)"
	@echo "make check     lint and types only"
	@echo "make format    let ruff format and mend the code"

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]" -c constraints.txt
	touch $@

demo: install
	$(BIN)/bayesnn compare digits --fresh --out results/digits

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check
	$(BIN)/pytest -n 2 -m "not slow"

test-slow: install
	$(BIN)/pytest -n 2 -m slow

test-all: test test-slow

# ArviZ on its line of 1.x, which needs Python 3.12 or later; exports are written here and opened there, without torch.
ARVIZ_PYTHON ?= python3.12
test-arviz: install
	$(BIN)/python tests/exported.py results/exports
	test -x .venv-arviz/bin/python || $(ARVIZ_PYTHON) -m venv .venv-arviz
	.venv-arviz/bin/python -m pip install --quiet --disable-pip-version-check "arviz>=1.2" "h5netcdf[h5py]" matplotlib pytest zarr
	BAYESNN_EXPORTS=$(CURDIR)/results/exports PYTHONPATH=. .venv-arviz/bin/python -m pytest --noconftest -p no:cacheprovider -q -c /dev/null --rootdir tests tests/test_arviz_data.py

.venv/docs: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev,docs]" -c constraints.txt
	touch $@

docs: .venv/docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	$(BIN)/python docs/check_links.py docs/_build/html

notebooks: install
	$(BIN)/python docs/run_notebooks.py

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The pinned versions, made anew. The file holds no addresses.
constraints:
	uv pip compile --universal --python-version 3.11 --no-header --no-annotate --extra dev --extra docs pyproject.toml -o constraints.txt

clean:
	rm -rf .venv .venv-arviz .pytest_cache .mypy_cache .ruff_cache results
