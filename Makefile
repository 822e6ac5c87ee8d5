# `make demo` and `make test` do all the set-up themselves: a virtual environment in .venv.
VENV ?= .venv
PYTHON ?= $(shell for p in python3.12 python3.11 python3.13 python3; do \
  $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null \
  && command -v $$p && break; done)
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

DATA_DIR ?=

.PHONY: demo test quick docs verify-models bench soak lint format clean

demo: $(INSTALLED)  ## train on embedded noisy photos, denoise held-out ones (about 5 minutes)
	$(BIN)/python -m n2n_tf.cli.demo

test: lint  ## lint and the whole test suite
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

quick: lint  ## lint and the tests that take less than about ten seconds each
	$(BIN)/python -m pytest -m "not slow" --numprocesses auto --dist loadfile --no-loadscope-reorder

docs: $(INSTALLED)  ## the API reference, from the docstrings, in docs/api/
	$(BIN)/python docs/api_reference.py

verify-models: $(INSTALLED)  ## every figure of the shipped models; DATA_DIR="path/Kodak path/Set14"
	$(BIN)/python -m n2n_tf.cli.models verify $(addprefix --data_dir=,$(DATA_DIR))

bench: $(INSTALLED)  ## what a user waits for, side by side
	$(BIN)/python benchmarks/bench.py --output bench.json

soak: $(INSTALLED)  ## a training run killed again and again; thousands of damaged files
	$(BIN)/python benchmarks/soak_training.py && $(BIN)/python benchmarks/soak_inputs.py

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The stamp is written last, so an interrupted installation is repeated.
$(INSTALLED): requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 to 3.13 is needed: install one, or make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) demo_output docs/api docs/tutorial_output build *.egg-info
