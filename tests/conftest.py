"""One TensorFlow for the whole pytest process: quiet, on the Keras backend, with TWO logical CPUs for the tests of data parallelism.

Logical devices can be set only before TensorFlow touches a device, hence here and at import.
"""

import os
import signal

# A shell starts its background jobs with these ignored, and children inherit that: tests of them would then fail for the shell's reason.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"
if "PYTEST_XDIST_WORKER" in os.environ:
  # Workers side by side have a core each: with a thread for every core in each of them, networks this small wait for one another's threads
  # (six updates of two replicas, two workers on two cores: 39 s, and 31 s with one thread). Programs that tests start inherit it.
  os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

import keras  # noqa: E402
import pytest  # noqa: E402
import tensorflow as tf  # noqa: E402

tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)


@pytest.fixture(scope="session")
def two_replicas():
  """THE MirroredStrategy over both CPUs: every test that runs replicas takes this one.

  Each new strategy numbers its collectives from the start again, and the runtime remembers the shapes of those numbers: a second
  strategy over the same devices in one process aborts with "Shape mismatch in the collective instance".
  """
  return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@pytest.fixture(autouse=True)
def float32_after_each_test():
  yield
  keras.config.set_floatx("float32")
  # The first layer built freezes floatx into the default policy; a later set_floatx alone is not heard by layers.
  keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
  """The folder of a tiny export, for tests of the camera."""
  import tiny_exports
  return tiny_exports.write(tmp_path_factory.mktemp("models") / "good", tiny_exports.anonymizer())


@pytest.fixture
def place(tmp_path, monkeypatch):
  """source/ and out/ for a run of the camera, see `footage.place`."""
  import footage
  return footage.place(tmp_path, monkeypatch)
