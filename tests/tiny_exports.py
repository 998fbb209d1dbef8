"""Small anonymizers and exports for the tests of exporting and of the camera."""

import os
import pathlib

import keras
import numpy as np
import tensorflow as tf

from mppar_tf import conversion
from mppar_tf.on_camera import judge, manifest

HEIGHT, WIDTH = 16, 24


def anonymizer(seed: int = 0) -> keras.Model:
  """A strided convolution, a norm by image and a convolution back: smears every picture, depends on it, spans most of [0, 1]."""
  start = [keras.initializers.RandomNormal(stddev=0.6, seed=seed + i) for i in range(2)]
  frames = keras.Input((None, None, 3), name="frames")  # [B, H, W, 3]
  x = keras.layers.Conv2D(6, 5, strides=4, padding="same", activation="tanh", kernel_initializer=start[0])(frames)  # [B, H/4, W/4, 6]
  x = keras.layers.UpSampling2D(4)(x)  # [B, H, W, 6]
  x = keras.layers.Conv2D(3, 5, padding="same", activation="sigmoid", kernel_initializer=start[1])(x)  # [B, H, W, 3]
  return keras.Model(frames, x)


def convert_here(graph, height, width, folder, variants, calibration) -> conversion.Converted:
  """`conversion.convert_apart` without the child's start, for tests that are not about the child."""
  done = conversion.Converted({}, {})
  for variant in variants:
    done.files[variant] = folder / conversion.file_name(variant)
    done.files[variant].write_bytes(conversion.convert(graph, height, width, variant, calibration))
  return done


def elementwise(function) -> keras.Model:
  """A model that maps frames by one TensorFlow function."""
  frames = keras.Input((None, None, 3), name="frames")
  return keras.Model(frames, keras.layers.Lambda(function, output_shape=lambda shape: shape)(frames))


def not_anonymizing() -> dict[str, keras.Model]:
  """Models that no export may let through, by the word that its refusal must contain."""
  return {
      "identity-like": elementwise(lambda x: x * 0.999),
      "colours gives back": elementwise(lambda x: 0.9 - 0.8 * x[..., ::-1]),
      "constant": elementwise(lambda x: 0.0 * x + 0.5),
      "does not depend": elementwise(lambda x: 0.0 * x + tf.constant(judge.built_in_pictures(HEIGHT, WIDTH)[:1])),
      "NaN": elementwise(lambda x: tf.math.log(x - 2.0)),
      "leave [0, 1]": elementwise(lambda x: 3.0 * x[:, :, ::-1] + 0.5),
  }


def pictures(count: int, height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> np.ndarray:
  """Unlike pictures with structure: random coarse colours, upsampled, and some noise. uint8 [count, height, width, 3]."""
  random = np.random.default_rng(seed)
  coarse = random.uniform(0, 255, (count, -(-height // 8), -(-width // 8), 3)).repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]
  return np.clip(coarse + random.normal(0, 12, coarse.shape), 0, 255).astype(np.uint8)


def pictures01(count: int, seed: int = 0) -> np.ndarray:
  return pictures(count, seed=seed).astype(np.float32) / 255


def write(folder: pathlib.Path, model: keras.Model) -> pathlib.Path:
  """An export folder with one TFLite file and a right manifest, whatever the model does: what the camera must judge by itself."""
  folder.mkdir(parents=True)
  content = conversion.convert(conversion.freeze(model, HEIGHT, WIDTH), HEIGHT, WIDTH, "float32")
  (folder / conversion.file_name("float32")).write_bytes(content)
  describe(folder)
  return folder


def describe(folder: pathlib.Path) -> None:
  """Writes the manifest that fits the files of `folder`."""
  side = {"shape": [1, HEIGHT, WIDTH, 3], "dtype": "float32", "range": [0.0, 1.0]}
  manifest.write(folder, {
      "format_version": manifest.FORMAT_VERSION, "input": side, "output": side,
      "models": {"float32": {"file": conversion.file_name("float32")}}, "files": manifest.list_files(folder)})


def real_frames(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray | None:
  """Frames of a real clip [8, height, width, 3] float32 in [0, 1], or None where the shared data is absent."""
  import av

  from mppar_tf.on_camera import framing
  shared = os.environ.get("MPPAR_SHARED_DATA") or pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
  clips = sorted(pathlib.Path(shared).glob("ixmas/clips/*.avi"))[:8]
  found = []
  for clip in clips:
    with av.open(str(clip)) as container:
      found.append(framing.resize(next(container.decode(video=0)).to_ndarray(format="rgb24"), height, width, "AREA"))
  return np.stack(found).astype(np.float32) / 255 if found else None
