# Everything runs in a virtual environment that `make` builds from a lock; nothing is installed outside this folder.
#
#   make train RUN_DIR=runs/mine FLAGFILE=mine.flags     another run
#   make test TESTS=tests/flagfiles_test.py              some tests
#   make venv BASE_PYTHON=python3.12                     another Python (3.11 and 3.12 are what the locks are for)
#   make venv EXTRAS=gpu,camera,dev                      with the CUDA libraries that TensorFlow 2.17 wants (12.3), from wheels

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV ?= .venv
VENV_LATEST ?= .venv-latest
PYTHON := $(VENV)/bin/python
PIPFLAGS ?=
# The first Python that is new enough, not too new, and can make an environment.
BASE_PYTHON ?= $(shell for python in python3.11 python3.12 python3 python; do \
  "$$python" -c 'import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo "$$python" && break; done)

TESTS ?= tests
# Most tests keep one core busy, and a quarter of the time wait: for streams, disks, children. So three processes for two cores (a part of the
# tests: 322 s, 389 s with two), each with whole files, for fixtures are shared within one.
PYTEST_ARGS ?= -q --durations=15 -n 3 --dist loadfile

# What `make train` runs: protocol A on the embedded benchmark, judged with a small budget (the full one is evaluate's default).
FLAGFILE ?= protocol_a.flags
RUN_DIR ?= runs/protocol_a
EXPORT_DIR ?= $(RUN_DIR)/export
DATA_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mppar_tf/records
EVALUATION_ARGS ?= --flagfile=evaluation_small.flags
# The checkpoint that evaluation_small.flags judges, so that the export's manifest carries its figures.
CHECKPOINT ?= last
SAMPLE_RECORDS ?= $(DATA_DIR)/twin_clips
SAMPLE_ARGS ?= --split=test --index=0 --enlarge=8

# TensorFlow's start-up notes hide the one line that matters.
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: help venv venv-latest train test test-latest bench lint clean distclean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

venv: $(VENV)/.installed  ## the environment in .venv (TensorFlow 2.17); made afresh when its lock changes

venv-latest: $(VENV_LATEST)/.installed  ## the same in .venv-latest on TensorFlow 2.21 and numpy 2

$(VENV)/.installed: EXTRAS := train,camera,dev
$(VENV)/.installed: constraints.txt
$(VENV_LATEST)/.installed: EXTRAS := latest,camera,dev
$(VENV_LATEST)/.installed: constraints-latest.txt

# `detectors` brings in another OpenCV, which writes over the headless one's files and wants libGL: the headless one has the last word.
$(VENV)/.installed $(VENV_LATEST)/.installed: pyproject.toml
	@[ -n "$(BASE_PYTHON)" ] || { echo "make: no Python 3.11 or 3.12 with the module venv found (Debian: apt-get install python3 python3-venv); \
	or name one: make venv BASE_PYTHON=..." >&2; exit 1; }
	$(BASE_PYTHON) -m venv $(if $(filter constraints%,$?),--clear) $(@D)
	$(@D)/bin/python -m pip install $(PIPFLAGS) --disable-pip-version-check --constraint $(firstword $(filter constraints%,$^)) --editable '.[$(EXTRAS)]'
	$(if $(findstring detectors,$(EXTRAS)),$(@D)/bin/python -m pip install $(PIPFLAGS) --disable-pip-version-check --no-deps --force-reinstall \
	  --constraint $(firstword $(filter constraints%,$^)) opencv-python-headless)
	$(@D)/bin/python -m pip check
	@touch $@

train: venv  ## records, training, evaluation with a small budget, export, and a sample clip through the camera
	$(PYTHON) -m mppar_tf.train --flagfile=$(FLAGFILE) --run_dir=$(RUN_DIR) --data_dir=$(DATA_DIR)
	$(PYTHON) -m mppar_tf.evaluate --run_dir=$(RUN_DIR) --data_dir=$(DATA_DIR) --checkpoint=$(CHECKPOINT) $(EVALUATION_ARGS)
	$(PYTHON) -m mppar_tf.export --run_dir=$(RUN_DIR) --data_dir=$(DATA_DIR) --export_dir=$(EXPORT_DIR) --checkpoint=$(CHECKPOINT) --overwrite
	$(PYTHON) -m tfrecord_tools.extract $(SAMPLE_RECORDS) --video=$(RUN_DIR)/sample.mp4 --overwrite $(SAMPLE_ARGS)
	$(PYTHON) -m mppar_tf.camera --model=$(EXPORT_DIR) --source=$(RUN_DIR)/sample.mp4 --sink=$(RUN_DIR)/sample_anonymized.mp4 --overwrite
	@echo
	@cat $(RUN_DIR)/results.md
	@echo
	@printf '%-12s %s\n' \
	  TensorBoard "$(VENV)/bin/tensorboard --logdir $(RUN_DIR)" \
	  results "$(RUN_DIR)/results.md, results.json (a small budget; the full one: $(PYTHON) -m mppar_tf.evaluate --run_dir=$(RUN_DIR))" \
	  pictures "$(RUN_DIR)/trade_off.png, before_after.png" \
	  exported "$(EXPORT_DIR)" \
	  'sample clip' "$(RUN_DIR)/sample.mp4, anonymized: $(RUN_DIR)/sample_anonymized.mp4"

test: venv  ## the tests on TensorFlow 2.17
	$(PYTHON) -m pytest $(PYTEST_ARGS) $(TESTS)

test-latest: venv-latest  ## the tests on TensorFlow 2.21 and numpy 2
	$(VENV_LATEST)/bin/python -m pytest $(PYTEST_ARGS) $(TESTS)

bench: venv  ## performance, as ratios measured side by side
	$(PYTHON) -m mppar_tf.bench $(BENCH_ARGS)

lint: venv  ## style and unused names; the tests do it too
	$(PYTHON) -m ruff check .

clean:  ## removes caches and build products; keeps environments and runs
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
	find mppar_tf tfrecord_tools tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## removes the environments too; keeps runs
	rm -rf $(VENV) $(VENV_LATEST)
