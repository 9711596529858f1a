# Each target sets up what it needs; only `gpu` installs nothing. Another interpreter: make setup PYTHON=/path/to/python
PYTHON := $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup demo test check slow gpu bench peers docs

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "decant needs Python 3.11 or newer, and none of python3.11, python3.12, python3.13, \
	python3 is one: install it, or name it with make setup PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup
	$(BIN)/decant demo

test: setup
	$(BIN)/pytest -m 'not slow and not gpu'

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

slow: setup
	$(BIN)/pytest -m slow

# Other versions than the pinned ones warn of other things: there warnings are no errors.
gpu:
	PYTHONPATH=src python3 -m pytest -m gpu -W default

bench: setup
	for file in benchmarks/[a-z]*.py; do $(BIN)/python $$file || exit 1; done

# Each on its own: an engine that cannot be installed here keeps none of the others away.
peers: setup
	@failed=; for peer in $$($(BIN)/python -c 'import tomllib; \
	print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["peers"])'); do \
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt $$peer || failed="$$failed $$peer"; done; \
	if [ -n "$$failed" ]; then echo "not installed:$$failed"; else echo "all peers are installed"; fi

docs: setup
	$(BIN)/python docs/methods.py > docs/methods.md
	$(BIN)/python docs/matrix.py > docs/matrix.md
	$(BIN)/python docs/scale.py > docs/scale.md
