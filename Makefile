# Two commands for a newcomer: `make demo` and `make test`. Everything happens in the project's own .venv.
PYTHON ?= python3
VENV = .venv/bin

.PHONY: demo test check format mutants slow clean

demo:            ## text becomes a model that answers, before your eyes
	@$(PYTHON) scripts/environment.py
	@$(VENV)/danlu demo $(ARGS)

test:            ## the tests (under 15 minutes on two cores)
	@$(PYTHON) scripts/environment.py --dev
	@$(VENV)/python -m pytest -n 2 --dist worksteal $(ARGS)

check:           ## formatting, lint, types
	@$(PYTHON) scripts/environment.py --dev
	@$(VENV)/ruff format --check .
	@$(VENV)/ruff check .
	@$(VENV)/mypy

format:          ## put the source in its form
	@$(VENV)/ruff format .
	@$(VENV)/ruff check --fix .

slow:            ## the long tests: hundreds of kills, twenty seeds
	@$(PYTHON) scripts/environment.py --dev
	@$(VENV)/python -m pytest -m slow $(ARGS)

mutants:         ## put each proof's own bug into the code and see the proof go red
	@$(PYTHON) scripts/environment.py --dev
	@$(VENV)/python -m tests.proofs.mutants $(ARGS)

clean:           ## remove what the commands above made, but not runs/
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
