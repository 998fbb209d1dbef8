"""model_card.md of an export: what it protects against, what it does not, and how to check it, for who builds a camera with it.

A function of the manifest alone: no figure stands here that does not stand there.
"""

import pathlib
from typing import Any, Iterator, Mapping, Sequence

from mppar_tf import whole_files
from mppar_tf.on_camera import manifest

NAME = "model_card.md"
LEAKS = 0.5  # an attribute of which more than this share of what raw frames tell is left is named first
LEAST = 0.01  # average precision above chance; less tells nothing
KINDS = {"privacy_cmap_known": ("known attributes", "cMAP"), "privacy_cmap_novel": ("novel attributes", "cMAP"),
         "identity_accuracy": ("identity", "accuracy")}  # figure -> what is read, by which measure
NO_MEASURE = "NOT JUDGED"
OTHER_SIZE = "metrics_of_another_size"  # field of a manifest


def write(folder: pathlib.Path, described: Mapping[str, Any]) -> dict[str, Any]:
  """Writes the card, then the manifest that lists it, each whole or not at all. Returns the manifest, with metrics as `placed`.

  `described["files"]` is taken as it is: hashes of other files are not made anew, which would bless a damaged one.
  """
  metrics = placed(described.get("metrics") or described.get(OTHER_SIZE), described)
  described = {key: value for key, value in described.items() if key != OTHER_SIZE} | metrics
  text = card(described)
  content = text.encode()
  whole_files.write_text(folder / NAME, text)
  written = {**described, "files": {**described["files"], NAME: {"bytes": len(content), "sha256": manifest.sha256(content)}}}
  manifest.write(folder, written)
  return written


def judged(described: Mapping[str, Any]) -> Mapping[str, Any] | None:
  """The figures of the network at the size that the export takes; None where nobody judged that."""
  return _figures(placed(described.get("metrics"), described)["metrics"])


def elsewhere(described: Mapping[str, Any]) -> Mapping[str, Any] | None:
  """The figures of the same network at another size; None where there are none."""
  return placed(described.get("metrics"), described).get(OTHER_SIZE) or _figures(described.get(OTHER_SIZE))


def placed(metrics: Any, described: Mapping[str, Any]) -> dict[str, Any]:
  """{"metrics"} of a network's figures; where they are of another size, {"metrics": None, OTHER_SIZE}.

  A network that is fed another size hides other things: figures of one size promise nothing at another.
  """
  found = _figures(metrics)
  away = found is not None and judged_pixels(found, described) != described["input"]["shape"][1:3]
  return {"metrics": None, OTHER_SIZE: metrics} if away else {"metrics": metrics}


def not_judged(described: Mapping[str, Any]) -> str:
  """NO_MEASURE, and of which size that is said where another one was judged."""
  return NO_MEASURE + (f" at {told_pixels(described['input']['shape'][1:3])}" if elsewhere(described) else "")


def judged_pixels(metrics: Mapping[str, Any], described: Mapping[str, Any]) -> list[int] | None:
  """[height, width] of the frames that were judged; None where neither the figures nor the flags of the export's run tell.

  Older figures do not, and evaluation judges at the crop of the run.
  """
  judgement, flags = (one if isinstance(one, Mapping) else {} for one in (metrics.get("judged"), described.get("flags")))
  return judgement.get("pixels") or ([flags["crop"]] * 2 if "crop" in flags else None)


def told_pixels(pixels: Sequence[int] | None) -> str:
  """"HEIGHTxWIDTH pixels" """
  return f"{pixels[0]}x{pixels[1]} pixels" if pixels else "an unknown size"


def card(described: Mapping[str, Any]) -> str:
  """Markdown of a manifest."""
  metrics = judged(described)
  parts = [f"# Model card: {described.get('method', 'unknown')} anonymizer, protocol {described.get('protocol', 'unknown')}, "
           f"{described.get('benchmark', 'unknown data')}", *_verdict(described, metrics),
           "## What it is", *_what_it_is(described), "## What it protects against, and how that was tested", *_tested(described, metrics),
           "## What it does not protect", *_leaks(described, metrics), "## What remains of actions", *_actions(described, metrics),
           "## Files", *_files(described), "## Training data and licence", *_data(described), "## Check it", *_commands(described),
           "## Intended use, and misuse", *_use()]
  return "\n\n".join(parts) + "\n"


def _figures(metrics: Any) -> Mapping[str, Any] | None:
  return metrics if isinstance(metrics, Mapping) and "anonymized" in metrics else None


def _trained(described) -> Mapping[str, Any]:
  """What the method declares of its training; {} of an export of a time when none did: then the card claims nothing of it."""
  found = described.get("trained")
  return found if isinstance(found, Mapping) else {}


def _learned(described) -> bool:
  return _trained(described).get("anonymizer", True)


def _verdict(described, metrics) -> Iterator[str]:
  other = elsewhere(described)
  if metrics is not None:
    yield (f"**Judged**, as {'the network that was trained' if _learned(described) else 'Keras runs it'}: {_headline(metrics)}. "
           f"One run, seed {_seeds(described)}.")
  elif other:
    yield (f"**{not_judged(described)}.** Nobody has measured what this anonymizer hides and what it leaves on frames of the size that it "
           f"takes. Treat its output as raw video. On frames of {told_pixels(judged_pixels(other, described))} it was judged: "
           f"{_headline(other)} (one run, seed {_seeds(described)}). At another size it hides other things. `mppar_tf.evaluate` judges "
           "at the --crop of the run: train at this size, or export at that one.")
  else:
    yield (f"**{NO_MEASURE}.** Nobody has measured what this anonymizer hides and what it leaves. Treat its output as raw video. "
           "`python -m mppar_tf.evaluate --run_dir=RUN` judges the run, `python -m mppar_tf.export --run_dir=RUN --export_dir=THIS "
           "--add_metrics` brings the figures here.")
  unjudged = [name for name, entry in _models(described) if _figures(entry.get("metrics")) is None]
  if unjudged:
    yield f"**{NO_MEASURE} as files:** {', '.join(unjudged)}. How close each is to the network stands below; what it hides does not."
  yield f"{described.get('statement', 'Training data: not stated.')} On other people and places these figures do not hold."
  for name, entry in _models(described):
    if entry.get("forced"):
      yield f"**{name} was written against its parity:** {entry['forced']}."


def _headline(metrics) -> str:
  told = [f"actions are recognized at {_beside('action_top1', metrics)}"]
  return "; ".join(told + [f"{_worst(kind, metrics)} reads {what} at {_beside(kind, metrics)} {measure}"
                           for kind, (what, measure) in KINDS.items() if kind in metrics["anonymized"]])


def _what_it_is(described) -> Iterator[str]:
  made, parameters = described.get("anonymizer") or {}, f"{described.get('parameters', 'unknown')} parameters"
  what = (f"A network ({made.get('name', 'unknown')}, {made.get('size', 'unknown')}, {parameters})" if _learned(described) else
          f"A fixed transform ({made.get('name', 'unknown')}, {parameters}, none of them learned)")
  yield (f"{what} that turns every frame, scaled to {told_pixels(described['input']['shape'][1:3])}, into another picture before it leaves "
         f"the camera. {_taught(described)} Nothing is encrypted and no key brings the frame back.")


def _taught(described) -> str:
  facts = _trained(described)
  if not facts:
    return "What training taught it is not told."
  if not facts.get("anonymizer"):
    return "No training taught it what to keep and what to remove."
  if not facts.get("private_labels"):
    return "Training taught it to keep what tells actions. No private label was read: nothing was aimed at any attribute."
  return "Training taught it to keep what tells actions and to remove what tells private attributes."


def _met(described) -> str:
  facts = _trained(described)
  if not facts:
    return "Which attackers training had met is not told."
  return f"Training had met {', '.join(facts.get('attackers') or ()) or 'no attacker'}."


def _aim(described) -> str:
  """What training did about known attributes, behind their name."""
  facts = _trained(described)
  if not facts:
    return ""
  return " (training worked against them)" if facts.get("private_labels") else " (nothing was trained against them)"


def _tested(described, metrics) -> Iterator[str]:
  if metrics is None:
    yield f"{not_judged(described)}: against nothing, as far as anybody knows."
    return
  judgement, budget = metrics.get("judged") or {}, metrics["budget"]
  attackers = metrics.get("attackers", {})
  known, novel = (_judged_attributes(described, metrics, side) for side in ("known", "novel"))
  yield "\n".join([
      f"- Data: {judgement.get('split', 'test')} split of {described.get('benchmark')}, {judgement.get('items', 'unknown')} private items, "
      f"{judgement.get('videos', 'unknown')} videos, frames of {told_pixels(judged_pixels(metrics, described))}; protocol "
      f"{judgement.get('protocol', described.get('protocol'))}; seed {judgement.get('seed', _seeds(described))}.",
      f"- Attackers: networks trained afresh on anonymized training data with labels, {budget.get('attack_steps')} updates each, kept at "
      f"their best on validation data: {', '.join(attackers) or 'not told'}. {_met(described)}",
      f"- Known attributes{_aim(described)}: {', '.join(known) or 'none'}. Novel ones (training never saw their labels): "
      f"{', '.join(novel) or 'none'}.",
      "- Beside every figure: the same networks on raw frames with equal budgets, and chance. The leak is the largest over attackers."])
  kinds = [kind for kind in KINDS if kind in metrics["anonymized"]]
  if attackers:
    fields = [kind.removeprefix("privacy_") for kind in kinds]
    yield _table(["attacker", *(f"{KINDS[kind][0]}, {KINDS[kind][1]} %" for kind in kinds), "accuracy in training %"],
                 [[name, *(_percent(own.get(field)) for field in fields), _percent(own.get("training_accuracy"))]
                  for name, own in attackers.items()])


def _judged_attributes(described, metrics, side: str) -> list[str]:
  """Those that were judged; an export's own flags may name others than the evaluation's."""
  precision = metrics.get("average_precision")
  if not precision:
    return described.get(f"{side}_attributes", [])
  return [name for name, one in precision.items() if bool(one.get("known")) == (side == "known")]


def _leaks(described, metrics) -> Iterator[str]:
  if metrics is None:
    yield f"{not_judged(described)}: assume that it protects nothing."
  elif metrics.get("average_precision"):
    rows = sorted(((name, one, _share(one)) for name, one in metrics["average_precision"].items()),
                  key=lambda row: (row[2] is None, -(row[2] or 0)))
    open_ones = [name for name, _, share in rows if share is not None and share > LEAKS]
    # An attacker that learned nothing of raw frames was a weak one; what it reads behind the anonymizer is there all the same.
    unlike = [name for name, one, share in rows if share is None and one["anonymized"] - one["chance"] > LEAST]
    if open_ones:
      yield f"More than half of what raw frames tell is left of: **{', '.join(open_ones)}**."
    if unlike:
      yield f"Read behind the anonymizer, though not on raw frames: **{', '.join(unlike)}**."
    if not open_ones and not unlike:
      yield ("The test shows nothing: raw frames, too, tell no more than chance." if all(share is None for *_, share in rows) else
             "Of no attribute more than half of what raw frames tell is left.")
    yield ("Average precision in percent, the largest over attackers. What is left: 0 is chance, 100 is raw frames; a dash: raw frames "
           "tell no more than chance, so the test shows nothing.")
    yield _table(["attribute", "known or novel", "anonymized", "raw frames", "chance", "left"],
                 [[name, "known" if one.get("known") else "novel", *(_percent(one.get(side)) for side in ("anonymized", "raw", "chance")),
                   "-" if share is None else f"{100 * share:.0f}"] for name, one, share in rows])
  elif "identity_accuracy" in metrics["anonymized"]:
    yield f"Identity, read by {_worst('identity_accuracy', metrics)}: {_beside('identity_accuracy', metrics)} accuracy."
  yield ("Not tested at all, and to be expected to leak: what stands in no table above (gait, body shape, text, number "
         "plates); attackers with more data, larger networks, more time or several frames at once; attackers who hold raw frames "
         "beside anonymized ones; reconstruction of the frame; people and places unlike the training data. Whoever has the files of this "
         "folder can train an attacker against them.")


def _actions(described, metrics) -> Iterator[str]:
  if metrics is None:
    yield f"{not_judged(described)}."
    return
  before = metrics["anonymized"].get("action_top1_before_polish")
  yield (f"Top-1 {_beside('action_top1', metrics)}, by a recognizer that was trained on for {metrics['budget'].get('polish_steps')} steps "
         "on frames of the finished anonymizer" + (f"; {_percent(before)} % before that." if before is not None else "."))


def _files(described) -> Iterator[str]:
  kinds = list(dict.fromkeys(kind for _, entry in _models(described) if (found := _figures(entry.get("metrics")))
                             for kind in KINDS if kind in found["anonymized"]))
  threads = list(dict.fromkeys(count for _, entry in _models(described) for count in entry.get("latency_ms", {})))
  rows = []
  for name, entry in _models(described):
    found, parity, ends = _figures(entry.get("metrics")), entry.get("parity", {}), entry.get("interface", {})
    rows.append([entry["file"], str(entry.get("bytes", "")), ends.get("input", {}).get("dtype", ""),
                 f"{parity['psnr_db']:.1f}" if "psnr_db" in parity else "", f"{parity.get('max_abs_error', '')}",
                 *(f"{entry.get('latency_ms', {}).get(count, '')}" for count in threads),
                 *(_percent((found or {}).get("anonymized", {}).get(kind)) if found else NO_MEASURE.lower()
                   for kind in ("action_top1", *kinds))])
  machine = described.get("machine") or {}
  yield _table(["file", "bytes", "pixels", "dB to Keras", "largest error", *(f"ms a frame, {count} thread(s)" for count in threads),
                "action top-1 %", *(f"{KINDS[kind][0]}, {KINDS[kind][1]} %" for kind in kinds)], rows)
  yield (f"Compared with Keras on training frames; timed with LiteRT on {machine.get('cpu', 'an unknown machine')}, "
         f"{machine.get('cores', '?')} cores. The last columns are of the file itself: attackers and recognizer were trained on its "
         "frames.")
  if "saved_model" in described:
    yield ("saved_model/, for servers: frames [B, H, W, 3] and clips [B, T, H, W, 3] of that size, B and T free; "
           f"{described['saved_model']['parity']['psnr_db']:.1f} dB to Keras.")
  if described.get("left_out"):
    yield "\n".join(["Left out:", "", *(f"- {name}: {reason}" for name, reason in described["left_out"].items())])


def _data(described) -> Iterator[str]:
  sets = [f"- {one.get('dataset')}: {one.get('licence')}" for one in described.get("training_data", [])]
  yield "\n".join([described.get("statement", "Training data: not stated."), *([""] + sets if sets else [])])
  if begun := described.get("initial_weights"):
    given = [f"f^A, from weights of SHA-256 `{begun['recognizer'].get('sha256')}`"] if "recognizer" in begun else []
    if "training_attackers" in begun:
      given.append(f"attackers of training, from ImageNet weights: {', '.join(begun['training_attackers'])}")
    yield f"Training began with pretrained networks, whose data and licences count, too: {'; '.join(given)}."
  yield ("The network inherits what its training data's licences ask; read them before the network is sold or deployed."
         if _learned(described) else
         "No weight comes from these data; on frames of them it was compared, and ranges of 8-bit files were measured.")


def _commands(described) -> Iterator[str]:
  variant = next((name for name, _ in _models(described)), "float32")
  yield "\n".join([
      "```", "python -m mppar_tf.export --check=THIS_FOLDER      # hashes, shapes, every file against what Keras gave; without TensorFlow",
      f"python -m mppar_tf.camera --model=THIS_FOLDER --variant={variant} --source=VIDEO --sink=safe.mp4",
      "sha256sum THIS_FOLDER/manifest.json                   # pin it: --manifest_sha256 of the camera", "```"])
  yield "\n".join(f"- {entry['file']}: SHA-256 `{described['files'].get(entry['file'], {}).get('sha256', 'unknown')}`"
                  for _, entry in _models(described))


def _use() -> Iterator[str]:
  yield ("Meant for: a camera that sends only anonymized frames to a service which recognizes actions, on people and places like those of "
         "the training data, after its leaks have been judged on data of that place.")
  yield ("Not meant for: a promise of anonymity to people or to the law (what is left over can identify); safety decisions; storing raw "
         "frames beside anonymized ones; filming where filming is not allowed.")


def _models(described) -> list[tuple[str, Mapping[str, Any]]]:
  """Variants and their entries, from the most precise on; JSON has sorted them by name."""
  order = {name: i for i, name in enumerate(manifest.VARIANTS)}
  return sorted(described["models"].items(), key=lambda one: (order.get(one[0], len(order)), one[0]))


def _share(one: Mapping[str, Any]) -> float | None:
  """Which share of what raw frames tell beyond chance is left."""
  gain = one["raw"] - one["chance"]
  return (one["anonymized"] - one["chance"]) / gain if gain > LEAST else None


def _worst(kind: str, metrics: Mapping[str, Any]) -> str:
  """The attacker that reads most, by name."""
  own = {name: found[field] for name, found in metrics.get("attackers", {}).items() if (field := kind.removeprefix("privacy_")) in found}
  return f"the worst attacker ({max(own, key=own.get)})" if own else "the worst attacker"


def _beside(kind: str, metrics: Mapping[str, Any]) -> str:
  raw, chance = (metrics[side].get(kind) for side in ("raw", "chance"))
  return f"{_percent(metrics['anonymized'].get(kind))} % (raw frames {_percent(raw)} %, chance {_percent(chance)} %)"


def _percent(value: float | None) -> str:
  return "-" if value is None else f"{100 * value:.1f}"


def _seeds(described) -> str:
  return ", ".join(map(str, described.get("seeds", []))) or "unknown"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))
