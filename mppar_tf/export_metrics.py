"""Figures of evaluations in an export's manifest: of the checkpoint that was exported, and of the very file that was judged."""

import pathlib
from typing import Any, Mapping

from mppar_tf import exporting_card
from mppar_tf.evaluation import report

CROP = "--crop="
HEADLINE = ("action_top1", "action_top1_before_polish", "privacy_cmap_known", "privacy_cmap_novel", "identity_accuracy")


def of_checkpoint(run_dir: pathlib.Path, described: Mapping[str, Any]) -> dict[str, Any] | None:
  """The figures of the run's evaluation; None where it was not the checkpoint of this manifest that was evaluated.

  They say of which size they are, and `exporting_card.write` puts them where they belong.
  """
  results = _own(run_dir)
  return figures(results) if results and _another(results, described) is None else None


def where_they_are(run_dir: pathlib.Path, described: Mapping[str, Any]) -> str:
  """In the manifest, or why not: the figures of another checkpoint, or of another size, would be a false promise."""
  checkpoint, results = described.get("checkpoint") or {}, _own(run_dir)
  if results is None:
    return "none, mppar_tf.evaluate has not judged this run"
  another = _another(results, described)
  if another:
    return f"left out, mppar_tf.evaluate judged {another} (--checkpoint={checkpoint.get('which')})"
  if other := exporting_card.elsewhere(described):
    told = exporting_card.told_pixels(exporting_card.judged_pixels(other, described))
    return f"{exporting_card.not_judged(described)}: mppar_tf.evaluate judged {told}; in the manifest as {exporting_card.OTHER_SIZE}"
  return "in the manifest"


def _own(run_dir: pathlib.Path) -> dict[str, Any] | None:
  path = run_dir / "results.json"
  return report.read(path) if path.exists() else None


def _another(results: Mapping[str, Any], described: Mapping[str, Any]) -> str | None:
  """What was judged and is not the network of this manifest, in words; None where it was this one.

  The weights' SHA-256 is looked at where both sides tell it: a run that was trained anew has the same steps. Methods without weights,
  downsampling by 2 and by 8 say, have one and the same, so that the method counts, too.
  """
  step, sha256 = (described.get("checkpoint") or {}).get("step"), (described.get("anonymizer") or {}).get("sha256")
  ours = described.get("method"), (described.get("seeds") or [None])[0], described.get("protocol")
  judged = results.get("method"), results.get("seed"), results.get("trained_protocol", results.get("protocol"))
  for name, own, other in zip(("method", "seed", "training under protocol"), ours, judged):
    if None not in (own, other) and own != other:
      return f"{name} {other} and this is {own}"
  if results.get("checkpoint_step") != step:
    return f"step {results.get('checkpoint_step')} (--checkpoint={results.get('checkpoint')}) and this is step {step}"
  if sha256 and results.get("anonymizer_sha256", sha256) != sha256:
    return f"other weights of step {step}, a training of its own"
  return None


def _judged_pixels(results: Mapping[str, Any]) -> dict[str, list[int]]:
  """{"pixels": [height, width]} of the frames that were judged; {} where the flags do not tell."""
  crops = [int(flag.removeprefix(CROP)) for flag in results.get("flags") or () if flag.startswith(CROP)]
  return {"pixels": [crops[-1], crops[-1]]} if crops else {}


def figures(results: Mapping[str, Any]) -> dict[str, Any]:
  """What a manifest keeps of a results file: headline figures beside raw frames and chance, attackers, attributes, how it was judged."""
  sides = {"anonymized": results, "raw": results["raw"], "chance": results["chance"]}
  kept = {side: {key: found[key] for key in HEADLINE if found.get(key) is not None} for side, found in sides.items()}
  privacy = results.get("privacy") or {}
  precision = {side: (found.get("average_precision") or {}) for side, found in
               (("anonymized", privacy), ("raw", results["raw"].get("privacy") or {}), ("chance", results["chance"]))}
  return kept | {
      "budget": results["budget"],
      "judged": {name: results[key] for name, key in (("split", "judged_split"), ("protocol", "protocol"), ("seed", "seed"),
                                                      ("videos", "judged_videos"), ("items", "judged_items"))
                 if key in results} | _judged_pixels(results),
      "attackers": {name: {key: value for key, value in own.items() if isinstance(value, float)}
                    for name, own in (privacy.get("attackers") or {}).items()},
      "average_precision": {name: {side: found[name] for side, found in precision.items()} | {"known": name in results.get("known", ())}
                            for name in precision["anonymized"]}}


def add(folder: pathlib.Path, described: Mapping[str, Any], run_dir: pathlib.Path) -> tuple[dict[str, Any], dict[str, str]]:
  """Writes manifest and card anew with the figures of the run that fit this export. Returns the manifest, and a word on each variant.

  A file's figures are those of results_VARIANT.json whose judged file has the SHA-256 of this one. The network's own are renewed where
  the run's evaluation judged the exported checkpoint; those of another size than the export's are named so. Figures that no longer have a
  source stay.
  """
  models, told = dict(described["models"]), {}
  for variant, entry in models.items():
    path, here = run_dir / f"results_{variant}.json", described["files"].get(entry["file"], {}).get("sha256")
    if not path.exists():
      told[variant] = f"not judged: mppar_tf.evaluate --run_dir={run_dir} --judged_export={folder} --judged_variant={variant}"
      continue
    results = report.read(path)
    judged = (results.get("judged_file") or {}).get("sha256")
    if not here or judged != here:
      told[variant] = f"left out: {path} judged a file of SHA-256 {judged}, this one has {here}"
      continue
    models[variant], told[variant] = {**entry, "metrics": figures(results)}, "in the manifest"
  own = of_checkpoint(run_dir, described)
  return exporting_card.write(folder, {**described, "models": models} | ({"metrics": own} if own else {})), told
