"""Shards on Apache Beam: one element, one shard, so that a whole build is a pipeline of one step that any of its runners can run.

A worker writes its shard and that shard's journal into the dataset's folder, and hands nothing back: what a killed or failed pipeline
finished is found there again. Apache Beam is an extra, imported inside functions.
"""

import importlib
import logging
import shlex
from typing import Any, Callable, Sequence

from tfrecord_tools.plan import PlanError

LOCAL = "local"  # no Beam: the processes of tfrecord_tools.pool
# Flag -> Beam's own name. Its DirectRunner would first try to fetch a Go program from the net; what it falls back to is this one.
RUNNERS = {
    LOCAL: "",
    "DirectRunner": "FnApiRunner",
    "FlinkRunner": "FlinkRunner",
    "SparkRunner": "SparkRunner",
    "DataflowRunner": "DataflowRunner",
}


class BeamFailed(RuntimeError):
  """A pipeline that did not come to its end; the same command resumes with the shards that it finished."""


def check(runner: str) -> None:
  """Raises PlanError, which tells what to install, where `runner` needs Apache Beam and it is not there."""
  if runner == LOCAL:
    return
  try:
    importlib.import_module("apache_beam.runners.dataflow.internal.apiclient" if runner == "DataflowRunner" else "apache_beam")
  except ImportError as error:
    wanted = "apache-beam[gcp]" if runner == "DataflowRunner" else "apache-beam"
    raise PlanError(f"--runner={runner} needs Apache Beam: pip install -c constraints.txt '{wanted}' ({error})") from None


def for_each(function: Callable[[Any], None], elements: Sequence[Any], runner: str, options: str = "") -> None:
  """Calls `function` on each element on a runner of Beam; returns when all are done.

  Args:
    function: of a module, for it is pickled; it may run twice on one element, also at once.
    elements: can be pickled.
    runner: a key of RUNNERS other than LOCAL.
    options: flags of Beam and of that runner, as on a command line.
  Raises:
    PlanError: Apache Beam is not there.
    BeamFailed: the pipeline failed or was cancelled.
  """
  check(runner)
  if not elements:
    return
  import apache_beam
  from apache_beam.options.pipeline_options import PipelineOptions
  # Beam logs an error's whole trace, as often as it tries again; what it was is told below, once.
  logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
  try:
    pipeline = apache_beam.Pipeline(runner=RUNNERS[runner], options=PipelineOptions(shlex.split(options)))
    # Without the shuffle between them a runner would fuse the two steps and give one worker everything.
    _ = pipeline | apache_beam.Create(elements) | apache_beam.Reshuffle() | apache_beam.Map(function)
    state = pipeline.run().wait_until_finish()
  except Exception as error:  # each runner has its own kinds
    raise BeamFailed(f"{runner}: {_reason(error)}; the same command resumes with what is finished") from error
  if state != apache_beam.runners.runner.PipelineState.DONE:
    raise BeamFailed(f"{runner}: the pipeline ended as {state}; the same command resumes with what is finished")


def _reason(error: Exception) -> str:
  """One line; an error of a worker comes as the text of its trace, of which the last line tells most."""
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  return f"{type(error).__name__}: {lines[-1][:300] if lines else 'no reason given'}"
