# The few verbs people need. Each makes or mends .venv first; the same steps without make stand in README.md.
PYTHON ?= python3
VENV := $(if $(filter Windows_NT,$(OS)),.venv/Scripts,.venv/bin)
export PYTHONUTF8 = 1

.PHONY: help demo lab test book pdf notebooks classroom bench clean
help:
	@echo "make demo       fine-tune a real model and see before and after (about a minute once installed)"
	@echo "make lab        open JupyterLab on the chapter list"
	@echo "make test       style, unit, property, notebook, book and browser tests"
	@echo "make book       build the book into book/_build/html"
	@echo "make pdf        build the book and print it into book/_build/sftlab.pdf (needs a Chromium)"
	@echo "make notebooks  execute the chapters again and bring their text form in line"
	@echo "make classroom  build the releases for students and instructors into build/classroom"
	@echo "make bench      measure the engine on this machine"
	@echo "make clean      remove what was built; make clean-all removes .venv too"

demo:
	@$(PYTHON) -m sftlab.install minilm
	@$(VENV)/sftlab demo

lab:
	@$(PYTHON) -m sftlab.install minilm lab peft vision text
	@$(VENV)/python -m sftlab.lab

test:
	@$(PYTHON) -m sftlab.install minilm lab peft vision text full test book
	@$(VENV)/python tests/run.py

book:
	@$(PYTHON) -m sftlab.install book
	@$(VENV)/python book/build.py

pdf:
	@$(PYTHON) -m sftlab.install test book
	@$(VENV)/python book/build.py --pdf

notebooks:
	@$(PYTHON) -m sftlab.install minilm lab peft vision text test
	@$(VENV)/sftlab notebooks

classroom:
	@$(PYTHON) -m sftlab.install minilm lab peft test
	@$(VENV)/sftlab classroom

bench:
	@$(PYTHON) -m sftlab.install minilm
	@$(VENV)/sftlab bench loop
	@$(VENV)/sftlab bench headlines

.PHONY: clean-all
clean:
	rm -rf book/_build book/_generated book/node_modules book/_static/vendor .pytest_cache .ruff_cache .hypothesis
clean-all: clean
	rm -rf .venv
