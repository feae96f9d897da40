PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
# Chapters and tests run side by side, one process to a core; more threads would only fight over the cores.
ONE_THREAD := OMP_NUM_THREADS=1
# Published data that lie in a folder `data` beside the checkout need not be fetched.
DATA := $(abspath $(patsubst %/mnist,%,$(firstword $(wildcard ../*/data/mnist))))
ifneq ($(DATA),)
export THERMOLIB_DATA ?= $(DATA)
endif

# Kernels may import torchvision whatever build of torch its wheel was made for.
export PYTHONPATH := $(CURDIR)/book/tools/site$(if $(PYTHONPATH),:$(PYTHONPATH))

# The parts of `make test`: chapters and pages, what is killed and what runs on a cluster, and everything else.
PARTS := units book faults
book := notebooks $(addprefix tests/test_,$(addsuffix .py,book browser snippets))
faults := $(addprefix tests/test_,$(addsuffix .py,batch checkpoint imagenet pool record_runs rerun slurm))
units := $(filter-out $(book) $(faults),$(sort $(wildcard tests/test_*.py)))

.DEFAULT_GOAL := help
.PHONY: help book pdf archive test test-units test-book test-faults audit reproduce chapters paper-1 bench serve clean
.NOTPARALLEL:

help:
	@echo "make book        build the book from the stored outputs of its chapters and print the page to open"
	@echo "make pdf         the same book as one PDF, printed by Chromium"
	@echo "make archive     book, notebooks, records and where they come from in one file, for a repository of data"
	@echo "make test        everything that CI checks, in three parts with their times: style, types and units; every"
	@echo "                 chapter and the book in a browser; runs that are killed and clusters (PARTS=units for one;"
	@echo "                 RECORD=1 keeps the times and outcomes of the chapters for the record of reproduction)"
	@echo "make audit       recompute a random slice of every record (AUDIT_SHARE=0.01 of its runs, AUDIT_SEED=N)"
	@echo "make reproduce   execute every chapter afresh into runs/ and build the book that shows those runs"
	@echo "make chapters    execute the chapters and rewrite their stored outputs (NAME=stem for one of them)"
	@echo "make paper-1     the records of the first paper: every figure at its own scale"
	@echo "make bench       the benchmarks, side by side, with their ratios"
	@echo "make serve       serve the built book at http://localhost:8000, or another port where that is taken"
	@echo "make clean       remove what was built (the environment in .venv and runs/campaign stay)"

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "This project needs Python 3.11 or newer, and $(PYTHON) is not: say which one, as in make PYTHON=python3.12"; \
	  exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { \
	  echo "$(PYTHON) could not make a virtual environment: install its venv module (python3-venv on Debian)"; exit 1; }
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[book,test,cluster]'
	@touch $@

book: $(STAMP)
	@$(BIN)/python -m book.tools.build

pdf: $(STAMP)
	@$(BIN)/python -m book.tools.pdf

archive: $(STAMP)
	@$(BIN)/python -m book.tools.archive

# All parts run, whether or not one fails; the time of each stands at the end.
test: $(STAMP)
	@failed=; took=; for part in $(PARTS); do \
	  began=$$(date +%s); $(MAKE) --no-print-directory test-$$part || failed="$$failed $$part"; \
	  spent=$$(($$(date +%s) - began)); took="$$took  $$part $$((spent / 60)) min $$((spent % 60)) s\n"; \
	done; printf "\n$$took"; test -z "$$failed" || { echo "failed:$$failed"; exit 1; }
	@$(if $(RECORD),cp runs/compared.json results/compared.json)

test-units test-book test-faults: test-%: $(STAMP)
	@$(ONE_THREAD) $(BIN)/python -m pytest -n $(CORES) --durations=10 $($*)

# 3: records were left out whose data are not here, which is said.
audit: $(STAMP)
	@$(BIN)/companion audit $(if $(AUDIT_SHARE),--share $(AUDIT_SHARE)) $(if $(AUDIT_SEED),--seed $(AUDIT_SEED)) || test $$? -eq 3

# 3: chapters were left out whose data are not here; the book shows what is stored of them.
reproduce: $(STAMP)
	@$(BIN)/companion run batches/default.yaml || test $$? -eq 3
	@$(BIN)/python -m book.tools.build --runs

chapters: $(STAMP)
	@$(ONE_THREAD) $(BIN)/python -m book.tools.execute $(NAME)

paper-1: $(STAMP)
	@$(BIN)/companion run batches/paper-1.yaml

bench: $(STAMP)
	@$(BIN)/python -m benchmarks

serve: $(STAMP)
	@test -f _build/html/index.html || $(MAKE) --no-print-directory book
	@$(BIN)/python -m book.tools.serve

clean:
	rm -rf _build $(filter-out runs/campaign,$(wildcard runs/*)) .pytest_cache .mypy_cache .ruff_cache
