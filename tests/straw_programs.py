"""Programs of straw for train, export and evaluate: real processes that leave behind what a comparison looks for, within milliseconds.

`python straw_programs.py train|export|evaluate --flag=value ...`. STRAW in the environment names a folder: a file there called `fail` lists
methods whose training fails, `elsewhere` makes evaluations go by another name, `otherwise` lists methods whose evaluation says that it took
the best checkpoint, `long` makes trainings last until they are told to stop (`stubborn`: though they are told), and `started` gets a line
for each program.
"""

import dataclasses
import json
import os
import pathlib
import signal
import sys
import time


def results(method: str, seed: int, action: float = 0.8, leak: float = 0.6) -> dict:
  """What an evaluation writes, as far as a comparison reads it."""
  raw = {"action_top1": 0.9, "privacy_cmap_known": 0.95, "privacy_cmap_novel": 0.96,
         "privacy": {"cmap_known": 0.95, "cmap_novel": 0.96, "identity_accuracy": None}}
  return {"method": method, "protocol": "a", "benchmark": "twin", "seed": seed, "action_top1": action, "privacy_cmap_known": leak,
          "privacy_cmap_novel": leak + 0.1, "raw": raw,
          "chance": {"action_top1": 0.1, "privacy_cmap_known": 0.4, "privacy_cmap_novel": 0.41},
          "privacy": {"attackers": {}}, "flags": [f"--method={method}", f"--seed={seed}", "--max_steps=300"],
          "judged_videos": 10, "budget": {"clips_per_video": 2}, "wall_seconds": {"actions": 3.0}, "code_commit": "0123456789"}


def recorded(training: list[str], judging: list[str]) -> list[str]:
  """The flags that an evaluation writes down: every one with its value."""
  from mppar_tf import flagfiles  # late: most programs of straw need none of it
  declared = flagfiles.option
  flagfiles.option = lambda *about, choices=None, **limits: declared(*about, **limits)  # looking choices up loads TensorFlow: seconds
  from mppar_tf import evaluate, reproduce_plan, train
  own = {field.name for cls in reproduce_plan.JUDGING for field in dataclasses.fields(cls)}
  named = lambda argument: reproduce_plan.name_of(argument).removeprefix("no")
  elsewhere = lambda argument: named(argument) in ("run_dir", "data_dir", "threads", "judged_export")
  chosen = reproduce_plan.parsed([one for one in training if not elsewhere(one)], train.PROGRAM_OPTIONS, "straw")
  judging = [one for one in judging if named(one) in own and not elsewhere(one)]
  judged = reproduce_plan.parsed(judging, evaluate.PROGRAM_OPTIONS[:1], "straw")
  return [*reproduce_plan.deciding(chosen), *reproduce_plan.deciding(judged), f"--seed={chosen[0].seed}", "--data_dir=somewhere"]


def main() -> int:
  program, *arguments = sys.argv[1:]
  flags = dict(argument.lstrip("-").split("=", 1) for argument in arguments if "=" in argument)
  straw, run_dir = pathlib.Path(os.environ["STRAW"]), pathlib.Path(flags["run_dir"])
  told = (run_dir / "method.txt")
  if program == "train":
    told.write_text(f"{flags['method']} {flags['seed']}")
    (run_dir / "given").write_text("\n".join(arguments))
  method, seed = told.read_text().split()
  with open(straw / "started", "a") as file:
    file.write(json.dumps([program, method, int(seed), flags, os.nice(0)]) + "\n")
  autogroup = pathlib.Path("/proc/self/autogroup")  # "/autogroup-123 nice 19"
  if os.access(autogroup, os.W_OK) and (words := autogroup.read_text().split()):
    with open(straw / "autogroups", "a") as file:
      file.write(words[-1] + "\n")
  if program == "export":
    (pathlib.Path(flags["export_dir"]) / "files").mkdir(parents=True, exist_ok=True)
    return 0
  if program == "evaluate":
    suffix = "_validation" if flags.get("judged_split") == "validation" else ""
    exported = (pathlib.Path(flags.get("judged_export", "none")) / "files").exists()
    file = {"judged_file": {"variant": flags["judged_variant"]}} if exported else {}
    suffix += f"_{flags['judged_variant']}" if file else ""
    judged = flags.get("protocol", "a")
    other = "_protocol_c" if (straw / "elsewhere").exists() or judged != "a" else ""
    otherwise = (straw / "otherwise").exists() and method in (straw / "otherwise").read_text().split()
    arguments += ["--checkpoint=best"] * otherwise
    told = {"protocol": judged, "flags": recorded((run_dir / "given").read_text().splitlines(), arguments)}
    (run_dir / f"results{other}{suffix}.json").write_text(json.dumps(results(method, int(seed)) | told | file))
    return 0
  if (straw / "long").exists():
    def leave(*_):
      (run_dir / "saved").write_text("")
      sys.exit(75)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if (straw / "stubborn").exists() else leave)
    (run_dir / "begun").write_text("")
    time.sleep(60)
  if (straw / "fail").exists() and method in (straw / "fail").read_text().split():
    print("straw: a reason")
    return 70
  (run_dir / "flags.txt").write_text("\n".join(arguments) + "\n")
  for name in ("initialised", "step-000000001"):
    (run_dir / "checkpoints" / name).mkdir(parents=True, exist_ok=True)
    (run_dir / "checkpoints" / name / "state.json").write_text("{}")
  return 0


if __name__ == "__main__":
  sys.exit(main())
