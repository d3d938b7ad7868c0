# Two commands do all the set-up: `make demo` runs the main job, `make test` the tests. Everything lives in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := runs/ethanol
TEACHERS := fennol mace torchani sevennet chgnet orb aimnet2
# One thread a process: small molecules run slower on more, and the tests use one process a core.
export OMP_NUM_THREADS := 1
PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal

.PHONY: demo test test-all test-teachers coverage lint format docs bench bench-data wheel constraints clean

demo: $(VENV)/package
	$(BIN)/mlffd run examples/ethanol.yaml --out $(RUN)

test: $(VENV)/dev
	$(PYTEST) -m "not slow and not gpu and not teacher"

# What `make test` leaves out: slow tests, those of a GPU where there is one, and new random examples of properties.
test-all: $(VENV)/dev
	HYPOTHESIS_PROFILE=explore $(PYTEST)

# Every teacher in an environment of its own: some ten gigabytes, and half an hour the first time.
test-teachers: export MLFFD_ENVIRONMENTS := $(CURDIR)/$(VENV)-teachers
test-teachers: $(VENV)/dev
	for kind in $(TEACHERS); do $(BIN)/mlffd teacher install $$kind || exit 1; done
	$(PYTEST) --dist loadfile -m teacher

coverage: $(VENV)/dev
	$(PYTEST) -m "not slow and not gpu and not teacher" --cov --cov-report=term
	$(BIN)/coverage report --include="*/atoms/*,*/potentials/*,*/students/*,*/data/*" --fail-under=90

lint: $(VENV)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/docs
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

bench: $(VENV)/package
	$(BIN)/python benchmarks/inference.py --quick

# The data store beside other formats; three minutes.
bench-data: $(VENV)/dev
	$(BIN)/python benchmarks/data.py

wheel: $(VENV)/dev
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	rm -rf $(VENV)-wheel
	$(PYTHON) -m venv $(VENV)-wheel
	$(VENV)-wheel/bin/python -m pip install -q -c constraints.txt torch
	$(VENV)-wheel/bin/python -m pip install -q -c constraints.txt dist/*.whl
	cd $(VENV)-wheel && bin/python ../.ci/wheel.py
	rm -rf $(VENV)-wheel

constraints: $(VENV)/docs
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu//' > $(VENV)/frozen
	(head -n 2 constraints.txt; grep '^torch==' $(VENV)/frozen; grep -v '^torch==' $(VENV)/frozen) > $(VENV)/constraints
	mv $(VENV)/constraints constraints.txt

clean:
	rm -rf $(VENV) $(VENV)-wheel $(VENV)-teachers dist docs/_build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# Torch goes first and alone: left to the resolver it brings gigabytes of CUDA that a laptop has no use for.
$(VENV)/torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt torch
	touch $@

$(VENV)/package: $(VENV)/torch pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/dev: $(VENV)/package
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

$(VENV)/docs: $(VENV)/dev
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev,docs]"
	touch $@
