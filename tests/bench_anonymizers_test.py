"""The benchmark's part on anonymizers, and what it rests on: compact networks become few operations, and survive 8 bits."""

import collections
import functools
import json

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from bench_runs import run_bench

from mppar_tf import bench, bench_anonymizers, bench_tables, conversion, options
from mppar_tf.models import macs
from mppar_tf.models.anonymizers import ANONYMIZERS
from mppar_tf.on_camera import judge
from mppar_tf.on_camera.engine import Engine

# Processes that import TensorFlow, one after the other, while other programs may use the machine.
pytestmark = pytest.mark.timeout(600)


def described(content):
  """Operations with how often they stand there, and tensors of a TFLite file, before any delegate takes operations over."""
  interpreter = Interpreter(model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
  interpreter.allocate_tensors()
  return collections.Counter(op["op_name"] for op in interpreter._get_ops_details()), interpreter.get_tensor_details()


# The small one: a convolution, two blocks of two separable ones, a convolution; all but the last have their mean taken away.
COMPACT_OPS = {"CONV_2D": 6, "DEPTHWISE_CONV_2D": 4, "MEAN": 5, "SUB": 5, "ADD": 1 + 2, "DEPTH_TO_SPACE": 1, "LOGISTIC": 1}


@pytest.fixture(scope="module")
def compact():
  """A compact network that has learned a little, its frozen graph, and frames [N, 32, 32, 3] that it has not seen."""
  model = ANONYMIZERS["compact"](size="small", seed=2)
  judged, calibration, training = bench_anonymizers._frames(0, 32)
  bench_anonymizers._reconstruct(model, training, 40, seed=0)
  return model, conversion.freeze(model, 32, 32), judged, calibration


def test_weight_norm_folds_into_the_kernels_of_an_export(compact):
  _, graph, *_ = compact
  operations, tensors = described(conversion.convert(graph, 32, 32, "float32"))
  assert operations == COMPACT_OPS, "no norm is left, and relu6 is a convolution's own"
  assert max(len(tensor["shape"]) for tensor in tensors) == 4


def test_full_integers_are_integers_and_give_the_pictures_that_keras_gives(compact):
  model, graph, judged, calibration = compact
  content = conversion.convert(graph, 32, 32, "int8", calibration)
  operations, tensors = described(content)
  assert {name: count for name, count in operations.items() if name != "QUANTIZE"} == COMPACT_OPS
  assert not [tensor["name"] for tensor in tensors if tensor["dtype"] == np.float32]
  expected = model(judged).numpy()
  assert judge.psnr_db(expected, Engine(content).run_all(judged)) > 40
  assert np.ptp(expected) > 0.3, "pictures that are all grey are easy"


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
  path = tmp_path_factory.mktemp("bench") / "bench.json"
  code, out = run_bench("--bench_parts=anonymizers", "--bench_anonymizers=compact:2,unet/small,johnson", "--bench_anonymizer_size=tiny",
                        "--crop=18", "--bench_anonymizer_steps=3", "--bench_rounds=2", f"--bench_json={path}")
  assert code == bench.FAILED
  return json.loads(path.read_text())["parts"]["anonymizers"], out


def test_every_anonymizer_has_every_figure(measured):
  part, out = measured
  assert part["variants"] == ["compact:2", "unet/small", "johnson"] and list(part["failures"]) == ["unet/small"]
  assert len(part["rounds"]) == 2
  for name, width in (("compact:2", 2.0), ("johnson", 1.0)):
    model, facts = ANONYMIZERS[name.partition(":")[0]](size="tiny", width=width), part["facts"][name]
    assert facts["multiply_adds"] == macs.count(model, 18, 18) and facts["parameters"] == model.count_params()
    assert facts["psnr_db"]["float32"] > 80 > facts["psnr_db"]["int8"] > 12
    for one in part["rounds"]:
      assert all(0 < one[name][f"{kind}_{threads}_ms"] < 1000 for kind in ("float32", "int8") for threads in (1, 2))
    assert f"\n| {name} | {facts['multiply_adds'] / 1e6:.1f} | {facts['parameters']:,} | " in out
    assert f" | {facts['psnr_db']['int8']:.1f} | {facts['l1']:.3f} |" in out


def test_the_table_has_medians_over_rounds():
  facts = {"multiply_adds": 2_500_000, "parameters": 1234, "kilobytes": {"float32": 5.2, "int8": 1.9}, "l1": None,
           "psnr_db": {"float32": 140.0, "int8": 41.26}}
  rounds = [{"a": {"float32_1_ms": 2.0 * i, "float32_2_ms": 1.0 * i, "int8_1_ms": 0.5 * i, "int8_2_ms": 0.25 * i}} for i in (1, 9, 2)]
  found = {"facts": {"a": facts}, "rounds": rounds, "variants": ["a", "b"], "failures": {"b": "died"},
           "sizes": {"pixels": 16, "size": "tiny", "steps": 0}}
  text = bench_tables.table("anonymizers", found)
  assert "| a | 2.5 | 1,234 | 5 / 2 | 4 / 2 | 1 / 0.5 | 41.3 |  |" in text and "| b | died |" in text


def test_an_anonymizer_that_does_not_take_the_crop_is_told_and_the_others_are_measured(measured):
  _, out = measured
  assert "| unet/small | failed preparing: ValueError: " in out and "height is 18 pixels; this anonymizer needs a multiple of 8" in out


@pytest.mark.parametrize("names, words", [
    ("resnet", ["--bench_anonymizers=resnet", "'resnet'", "compact", "johnson"]), ("compact:wide", ["compact:wide", "'wide'"]),
    ("johnson/large", ["'large'", "tiny, small, paper"]),
    ("compact:nan", ["'nan'"]), ("compact:0", ["0.05 to 16", "'0'"]), ("compact:-1", ["'-1'"]), ("", ["names no anonymizer"]),
    ("compact,unet:1e9", ["unet:1e9"])])
def test_wrong_names_are_told_in_one_line_before_anything_runs(names, words, capsys):
  assert bench.main(["--bench_parts=anonymizers", f"--bench_anonymizers={names}"]) == 2
  [line] = capsys.readouterr().err.splitlines()
  assert [word for word in words if word not in line] == []


def test_the_defaults_are_anonymizers():
  parsed = functools.partial(bench_anonymizers.parsed, sizes=options.SIZES)
  assert {parsed(name)[0] for name in options.BenchOptions().bench_anonymizers} == {"johnson", "unet", "compact"}
  assert parsed("johnson/small:2") == ("johnson", "small", 2.0)
  assert parsed("unet/tiny") == ("unet", "tiny", 1.0) and parsed("unet:3") == ("unet", None, 3.0)
