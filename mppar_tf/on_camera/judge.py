"""Is a picture anonymized at all? A tripwire against the wrong file, not a measure of privacy (that is what `evaluate` is for).

All pictures are float in [0, 1].
"""

from typing import Iterator

import numpy as np

IDENTITY_PSNR_DB = 30.0        # an output this close to its input shows the person: rms error of 8 grey levels
IDENTITY_RECOVERY = 0.995      # R^2 of the input's best-recovered colour mixture from a linear map of the output's colours
# R^2 of the built-in pictures' detail, however turned or shifted, by parts a side. Of the whole, disguises have 0.75 and more, anonymizers
# 0.05, a random smear 0.5. Of the quarter that shows most, what lets a part of the frame through has 1, downsampling 0.4, that smear 0.73.
IDENTITY_DETAIL = {1: 0.65, 2: 0.85}
FURTHEST_SHIFT = 2             # pixels, along each side
VISIBLE_VARIANCE = 0.05        # a colour direction with less than this share of a picture's variance does not count there
FLAT = 1 / 255                 # a picture whose values span less than one grey level shows nothing
LIVELY = 0.25                  # an input that spans more than this has something to show
EDGE = 0.1                     # values of neighbouring pixels that differ by more show detail; no blur leaves both as they were
FEWEST_EDGES = 8               # fewer tell nothing
UNCHANGED_SHARE = 0.25         # of a picture's edges may come back as they were; of real clips' 0.02 do at most
RANGE_SLACK = 0.05             # outputs may leave [0, 1] by rounding, not by more
PSNR_CAP_DB = 200.0            # equal pictures have no finite PSNR, and JSON no infinity
PICTURES = 2                   # built-in ones


def psnr_db(first: np.ndarray, second: np.ndarray) -> float:
  """Peak signal-to-noise ratio of two arrays of one shape with peak 1, in dB, within +-PSNR_CAP_DB; not finite: the least."""
  error = np.mean(np.square(np.asarray(first, np.float64) - np.asarray(second, np.float64)))
  if not np.isfinite(error):
    return -PSNR_CAP_DB
  return float(min(PSNR_CAP_DB, -10 * np.log10(max(error, 1e-20))))


def colour_recovery(inputs: np.ndarray, outputs: np.ndarray) -> float:
  """R^2, in [0, 1], of the best-recovered mixture of the input's colours from a linear map of the output's colours, over all pixels.

  It is the largest squared canonical correlation (Hotelling 1936) of the two sets of three channels. 1 means that a picture of the
  input can be read off the output whatever was done to its colours: negative, grey, dimmed, swapped channels.
  """
  first, second = (_whitened(pictures) for pictures in (inputs, outputs))
  if not first.size or not second.size:
    return 0.0
  correlations = np.linalg.svd(first.T @ second / len(first), compute_uv=False)
  return float(np.clip(correlations[0] ** 2, 0, 1))


def _whitened(pictures: np.ndarray) -> np.ndarray:
  """[N, H, W, 3] -> [N * H * W, k] uncorrelated, of variance 1; colour directions too faint to be seen (noise, JPEG's chroma) left out."""
  colours = np.asarray(pictures, np.float64).reshape(-1, 3)
  colours = colours - colours.mean(axis=0)
  variances, directions = np.linalg.eigh(colours.T @ colours / len(colours))
  kept = variances > max(VISIBLE_VARIANCE * variances.sum(), 1e-8)
  return colours @ (directions[:, kept] / np.sqrt(variances[kept]))


def detail_recovery(inputs: np.ndarray, outputs: np.ndarray, parts: int = 1) -> float:
  """R^2, in [0, 1], of the inputs' detail in that of the outputs, [N, H, W, 3] both, through the best of all disguises that it undoes.

  Detail is what neighbouring pixels do not tell of each other: a blur, which leaves the colours of areas, takes it away, and noise, which
  has as much as a picture, does not add to it. Undone are the turns and mirrorings that keep the size, shifts of up to FURTHEST_SHIFT
  pixels, mixtures of colours, and any increasing tone curves (ranks in place of values).
  With `parts` a side, the R^2 of the part that shows most: noise in the others does not drown it.
  """
  best = 0.0
  for first, second in ((inputs, outputs), (_ranks(inputs), _ranks(outputs))):
    first = _parts(_detail(first), parts)
    for turned in _turns(_detail(second)):
      best = max(best, *map(_shifted_recovery, first, _parts(turned, parts)))
  return min(1.0, best)


def _parts(detail: np.ndarray, parts: int) -> list[np.ndarray]:
  """The whitened parts [N, h, w, k], row by row, of detail [N, H, W, 3]."""
  found = [part for band in np.array_split(detail, parts, axis=1) for part in np.array_split(band, parts, axis=2) if part.size]
  return [_whitened(part).reshape(*part.shape[:3], -1).astype(np.float32) for part in found]


def _detail(pictures: np.ndarray) -> np.ndarray:
  """Each pixel less the mean of its four neighbours: [N, H, W, 3] -> the same."""
  around = np.pad(np.asarray(pictures, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="symmetric")  # [N, H + 2, W + 2, 3]
  return pictures - (around[:, :-2, 1:-1] + around[:, 2:, 1:-1] + around[:, 1:-1, :-2] + around[:, 1:-1, 2:]) / 4


def _ranks(pictures: np.ndarray) -> np.ndarray:
  """Each channel's values [N, H, W, 3] by their mean rank among all of them, in [0, 1]."""
  found = np.empty(pictures.shape)
  for channel in range(3):
    _, which, counts = np.unique(pictures[..., channel], return_inverse=True, return_counts=True)
    found[..., channel] = ((np.cumsum(counts) - counts / 2) / counts.sum())[which].reshape(pictures.shape[:3])
  return found


def _turns(pictures: np.ndarray) -> Iterator[np.ndarray]:
  """The pictures [N, H, W, k], mirrored both ways, and transposed too where that keeps their size."""
  for turned in [pictures] + [pictures.swapaxes(1, 2)] * (pictures.shape[1] == pictures.shape[2]):
    for down in (1, -1):
      for across in (1, -1):
        yield turned[:, ::down, ::across]


def _shifted_recovery(first: np.ndarray, second: np.ndarray) -> float:
  """`colour_recovery` of whitened pictures [N, H, W, k] at the best shift, 0 of flat ones (k = 0). Not whitened again for each overlap."""
  if not first.size or not second.size:
    return 0.0
  furthest = min(FURTHEST_SHIFT, *(side // 2 for side in first.shape[1:3]))
  best, steps = 0.0, range(-furthest, furthest + 1)
  for down in steps:
    for across in steps:
      one, other = first[:, _overlap(down), _overlap(across)], second[:, _overlap(-down), _overlap(-across)]
      products = one.reshape(-1, one.shape[-1]).T @ other.reshape(-1, other.shape[-1])  # [k, k]
      best = max(best, float(np.linalg.svd(products, compute_uv=False)[0] / (one.size / one.shape[-1])) ** 2)
  return best


def _overlap(shift: int) -> slice:
  return slice(max(0, shift), min(0, shift) or None)


def distance_from_identity(inputs: np.ndarray, outputs: np.ndarray) -> dict[str, float]:
  """{"psnr_db", "colour_recovery"} of inputs and outputs [N, H, W, 3]: both low for an anonymizer."""
  return {"psnr_db": round(psnr_db(inputs, outputs), 3), "colour_recovery": round(colour_recovery(inputs, outputs), 5)}


def built_in_pictures(height: int, width: int) -> np.ndarray:
  """Two unlike pictures [2, H, W, 3] float32: a ramp, a chequerboard, a disc and a fine texture; and their mirrored negative.

  Made of numbers alone, so that every camera judges a model by the same pixels.
  """
  y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")  # [H, W]
  ramp = 0.15 + 0.6 * (x + y) / 2
  board = 0.5 + 0.45 * np.sign(np.sin(10 * np.pi * x) * np.sin(10 * np.pi * y))
  disc = (np.hypot(y - 0.45, x - 0.5) < 0.28).astype(float)
  texture = 0.5 + 0.5 * np.sin(1e4 * (np.sin(12.9898 * np.arange(height)[:, None] + 78.233 * np.arange(width)[None])))
  picture = np.stack([0.75 * ramp + 0.25 * texture, 0.55 * board + 0.45 * ramp, 0.6 * (1 - y) + 0.2 * texture], axis=-1)
  picture = np.clip(picture * (1 - 0.55 * disc[..., None]) + 0.4 * disc[..., None] * [1.0, 0.75, 0.6], 0, 1)
  return np.stack([picture, 1 - picture[:, ::-1]]).astype(np.float32)  # [2, H, W, 3]


def fault(inputs: np.ndarray, outputs: np.ndarray) -> str | None:
  """Why `outputs` are no anonymized `inputs` (both [N, H, W, 3]), or None.

  Looks at shape, NaN, range, constant pictures, an output that does not depend on its input, and outputs that show their input. Of the
  built-in pictures, whose detail is known, it also looks behind disguises (`detail_recovery`).
  """
  basic = _shape_or_numbers(inputs, outputs)
  if basic:
    return basic
  spans = np.ptp(outputs.reshape(len(outputs), -1), axis=1)  # [N]
  lively = np.ptp(inputs.reshape(len(inputs), -1), axis=1) > LIVELY  # [N]
  if np.any(lively & (spans < FLAT)):
    return f"constant output (picture {int(np.argmax(lively & (spans < FLAT)))} spans {spans[lively].min():.5f})"
  if len(inputs) > 1 and np.ptp(inputs, axis=0).max() > LIVELY and np.ptp(outputs, axis=0).max() < FLAT:
    return "the output does not depend on the input"
  distance = distance_from_identity(inputs, outputs)
  if distance["psnr_db"] > IDENTITY_PSNR_DB:
    return f"identity-like: output and input differ by {distance['psnr_db']:.1f} dB PSNR only, at most {IDENTITY_PSNR_DB:g} dB is allowed"
  if distance["colour_recovery"] > IDENTITY_RECOVERY:
    return (f"identity-like: a linear map of the output's colours gives back {distance['colour_recovery']:.1%} of a picture of the input, "
            f"at most {IDENTITY_RECOVERY:.1%} is allowed")
  return _unchanged_in_part(inputs, outputs) or _disguised(inputs, outputs)


def frame_fault(pixels01: np.ndarray, output: np.ndarray) -> str | None:
  """`fault` for one running frame [H, W, 3], in microseconds: dark or empty frames pass, they have nothing to show."""
  basic = _shape_or_numbers(pixels01, output)
  if basic or np.ptp(pixels01) <= LIVELY:
    return basic
  if np.ptp(output) < FLAT:
    return "constant output for a frame that is not"
  if np.sqrt(np.mean(np.square(output - pixels01))) <= 2 * FLAT:
    return "the frame came back unchanged"
  return _unchanged_in_part(pixels01[None], output[None])


def unchanged_share(inputs: np.ndarray, outputs: np.ndarray) -> float:
  """Share of the inputs' edges whose both sides the outputs, [N, H, W, 3] too, show within two grey levels; 0 where there are hardly any.

  A model, or a fault, that lets a part of the picture through escapes every mean over the whole of it.
  """
  same = np.abs(np.asarray(outputs) - inputs) <= 2 * FLAT  # [N, H, W, 3]
  edges = kept = 0
  for axis in (1, 2):
    first, second = (np.s_[:, :-1], np.s_[:, 1:]) if axis == 1 else (np.s_[:, :, :-1], np.s_[:, :, 1:])
    edge = np.abs(inputs[first] - inputs[second]) > EDGE  # [N, H-1, W, 3] or [N, H, W-1, 3]
    edges += int(np.sum(edge))
    kept += int(np.sum(edge & same[first] & same[second]))
  return kept / edges if edges >= FEWEST_EDGES else 0.0


def _unchanged_in_part(inputs: np.ndarray, outputs: np.ndarray) -> str | None:
  share = unchanged_share(inputs, outputs)
  return f"identity-like in part: {share:.0%} of the edges came back unchanged" if share > UNCHANGED_SHARE else None


def _disguised(inputs: np.ndarray, outputs: np.ndarray) -> str | None:
  if not np.array_equal(inputs, built_in_pictures(*inputs.shape[1:3])):
    return None
  for parts, most in IDENTITY_DETAIL.items():
    share = detail_recovery(inputs, outputs, parts)
    if share > most:
      return (f"identity-like{' in part' * (parts > 1)}: the output, turned, shifted or with other tones, gives back {share:.0%} of the "
              f"input's detail{f' in a 1/{parts ** 2} of the picture' * (parts > 1)}, at most {most:.0%} is allowed")
  return None


def _shape_or_numbers(inputs: np.ndarray, outputs: np.ndarray) -> str | None:
  if outputs.shape != inputs.shape:
    return f"output shape {tuple(outputs.shape)} is not the input's {tuple(inputs.shape)}"
  if not np.all(np.isfinite(outputs)):
    return f"{int(np.sum(~np.isfinite(outputs)))} of {outputs.size} output values are NaN or infinite"
  if outputs.min() < -RANGE_SLACK or outputs.max() > 1 + RANGE_SLACK:
    return f"output values from {outputs.min():.3f} to {outputs.max():.3f} leave [0, 1]"
  return None
