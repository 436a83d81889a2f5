# Everything a newcomer or a developer runs. Needs Python 3.11 to 3.13 and make, but no git: a tarball will do.
PYTHON ?= python3
BIN := .venv/bin
# An environment is out of date when the content of its lock file, not its date, differs from what was installed.
checksum = $(shell cksum < $(1) | tr -s ' \t' '-')
INSTALLED := .venv/installed-$(call checksum,envs/workflow.lock)
INSTALLED_K80 := .venv-k80/installed-$(call checksum,envs/tensorflow-k80.lock)

# Snakemake ends where it cannot write its cache, and matplotlib complains in every log. Where a home folder cannot be
# written, as on the nodes of some clusters, their caches lie here.
CACHE := $(CURDIR)/.snakemake/cache
ifneq ($(shell home="$${XDG_CACHE_HOME:-$${HOME:-/dev/null}/.cache}"; mkdir -p "$$home" 2> /dev/null && test -w "$$home" && echo yes),yes)
export XDG_CACHE_HOME := $(CACHE)
export MPLCONFIGDIR ?= $(CACHE)/matplotlib
endif

.DEFAULT_GOAL := help
.PHONY: help install demo paper_check plan status install-profile lint test test-full test-slurm test-long format lock no-python

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z_-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# An environment whose own Python is gone, by an update of the system say, is built again.
$(INSTALLED): $(if $(realpath $(BIN)/python),,no-python)
$(INSTALLED_K80): $(if $(realpath .venv-k80/bin/python),,no-python)
no-python:

# The lock files stand behind a bar: they must be there, but a newer date makes nothing out of date. The last Python is the
# last that TensorFlow 2.21 is published for.
$(INSTALLED): | envs/workflow.lock
	@"$(PYTHON)" -c 'import sys; (3, 11) <= sys.version_info < (3, 14) or sys.exit("histobench needs Python 3.11, 3.12 or 3.13, found " + sys.version.split()[0] + "; name another with make PYTHON=...")'
	@"$(PYTHON)" envs/build.py $@ envs/workflow.lock

# Training must run under Keras 2.14, too, in an environment of its own. TensorFlow 2.14 knows no Python after 3.11.
$(INSTALLED_K80): | envs/tensorflow-k80.lock
	@for python in "$(PYTHON)" python3.11 ""; do \
		"$$python" -c 'import ensurepip, sys; sys.exit(sys.version_info[:2] != (3, 11))' 2> /dev/null && break; \
	done; \
	if [ -z "$$python" ]; then \
		echo "No Python 3.11 found, which TensorFlow 2.14 needs: its tests will be skipped."; exit; \
	fi; \
	"$$python" envs/build.py $@ envs/tensorflow-k80.lock

# What only looks uses the environment that is there, and builds none.
define look
@if [ ! -x $(BIN)/python ]; then \
	echo "No environment to look with: run make install" >&2; exit 1; \
elif [ ! -e $(INSTALLED) ]; then \
	echo "Warning: .venv is not what envs/workflow.lock asks for; make install builds that." >&2; \
fi
endef

# `env`, not plain `snakemake`: jobs find the same environment's python first on the path.
SNAKEMAKE = env PATH="$(CURDIR)/$(BIN):$$PATH" snakemake

DEMO = all apply

install: $(INSTALLED) ## build .venv from envs/workflow.lock, unless it is up to date

demo: $(INSTALLED) ## the whole workflow on simulated patches: two cores, no network, five minutes
	$(SNAKEMAKE) --profile profiles/demo $(DEMO)
	@echo
	@cat results/demo/tables/best.md
	@echo
	@echo "Everything on one page, for a browser: $(CURDIR)/results/demo/report.html"
	@echo "A simulated slide, scored by the best model: $(CURDIR)/results/demo/apply/slide/index.html"

# --nolock: it reads and writes nothing that a study in progress does.
paper_check: $(INSTALLED) ## tables, tests, claims and figures from what the paper printed alone: no training, no download
	$(SNAKEMAKE) --profile profiles/local --configfile config/paper_check.yaml --nolock --quiet host progress reason
	@echo
	@cat results/paper_check/tables/tests.md
	@echo
	@cat results/paper_check/tables/claims.md
	@echo
	@echo "Everything on one page, for a browser: $(CURDIR)/results/paper_check/report.html"

# Plain Python, not a target of Snakemake: a second Snakemake would take the lock of a study at work with it when it ends.
# ARGS are Snakemake's own, those of the call that is to follow: make plan ARGS="--configfile mine.yaml"
plan: ## what a study will cost: jobs by device and stage, hours; with ARGS as for snakemake
	$(look)
	@env PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONPATH=workflow/scripts \
		$(BIN)/python -m histobench.core.plan $(ARGS)

status: ## how far the studies of this folder are, also while they run; ARGS="--all" for long lists
	$(look)
	@PYTHONPATH=workflow/scripts $(BIN)/python -m histobench.core.status $(ARGS)

# A link, so that a profile is edited in one place, and still is this project's after a `git pull`.
PROFILES = $(or $(XDG_CONFIG_HOME),$(HOME)/.config)/snakemake
install-profile: ## let `snakemake --profile slurm` (or slurm-gres) find its profile by name
	@mkdir -p "$(PROFILES)" || { echo "Without it: snakemake --profile profiles/slurm" >&2; exit 1; }
	@for name in slurm slurm-gres; do \
		from="$(CURDIR)/profiles/$$name" to="$(PROFILES)/$$name"; \
		if [ "$$(readlink "$$to")" != "$$from" ]; then \
			if [ -e "$$to" ] || [ -L "$$to" ]; then \
				echo "$$to is there already, and not from here: move it away, or use --profile profiles/$$name" >&2; exit 1; \
			fi; \
			ln -s "$$from" "$$to" || exit; \
		fi; \
		echo "snakemake --profile $$name: $$to -> $$from"; \
	done
	@echo "Now edit profiles/slurm: your account in config.yaml, your partitions in partitions.yaml."

lint: $(INSTALLED) ## snakemake --lint, snakefmt, ruff and mypy
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy
	$(SNAKEMAKE) --lint

# A file stays in one process, which makes its fixtures once: pytest-xdist 3.8 loses its groups under pytest 9.2.
TWO_PROCESSES := --numprocesses 2 --dist loadfile --no-loadscope-reorder
test: lint $(INSTALLED_K80) ## lint and tests, ten minutes on two cores
	$(BIN)/python -m pytest -m "not slow and not long and not slurm" $(TWO_PROCESSES)

test-full: lint $(INSTALLED_K80) ## the same with the slow ones, as CI does, eighteen minutes
	$(BIN)/python -m pytest -m "not long and not slurm" $(TWO_PROCESSES)

# Not beside other tests: its jobs are as many as the machine has cores.
test-slurm: $(INSTALLED) ## the workflow on a SLURM that is started for it: as root, ten minutes on two cores
	$(BIN)/python -m pytest -m "slurm and not long"

test-long: $(INSTALLED) $(INSTALLED_K80) ## the same for more models, kills and patches, on a SLURM, too
	$(BIN)/python -m pytest -m long

format: $(INSTALLED) ## format Python and Snakemake code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/snakefmt Snakefile workflow

lock: $(INSTALLED) ## pin envs/workflow.in and envs/tensorflow-k80.in anew
	for name in workflow tensorflow-k80; do \
		$(BIN)/uv pip compile --quiet --universal --upgrade --python-version 3.11 --generate-hashes --no-header \
			--no-annotate --no-emit-index-url "envs/$$name.in" --output-file "envs/$$name.lock" || exit; \
	done
