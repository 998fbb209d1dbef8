"""PA-HMDB51: 515 videos of HMDB51 whose every frame tells skin colour, face, gender, nudity and relationship. A test set.

Source: HMDB51's class folders or archive. Labels: --annotations, the authors' repository or its folder `PrivacyAttributes`
(`pa_annotations` tells how they are read). Actions are the classes of HMDB51, in the same order. A record has the label of each frame
(-1 where it is not annotated) and, as the video's, the largest value of any frame.
"""

import pathlib
from typing import Any

from mppar_tf.data.vocabularies import PA_HMDB51
from tfrecord_tools.plan import Item, Plan, PlanError, Problem
from tfrecord_tools.readers import hmdb51, official, pa_annotations, still, video
from tfrecord_tools.source import digest_of, mixed

LICENCE = ("PA-HMDB51 (H. Wang, Z. Wu, Z. Wang, Z. Wang, H. Jin, arXiv:1906.05675): non-commercial research only. These records are a "
           "derivative, NOT the original Licensed Material. The videos are HMDB51's, CC BY 4.0.")
SHARD_RECORDS = 64


def settings(options: Any) -> dict[str, dict[str, Any]]:
  """Everything that decides the records but the source itself, for each dataset folder."""
  return {"pa_hmdb51": official.settings("pa_hmdb51", options, SHARD_RECORDS)}


def plan(options: Any) -> list[Plan]:
  """Reads the labels; opens no video. Raises PlanError where the source or the labels are not there."""
  files, annotations = official.trees("pa_hmdb51", options)
  labels = pa_annotations.read_files("pa_hmdb51", annotations)
  videos, problems = pa_annotations.read_videos(labels)
  classes, storage, paths, items = tuple(path.stem for path in labels), still.Storage.of(options), {}, []
  for one in videos:
    try:
      group = hmdb51.recording(pathlib.PurePosixPath(one.name).name, one.action)
      paths[one.name] = official.located(files, one.name)
    except PlanError:
      raise
    except ValueError as error:
      problems.append(Problem(one.name, str(error)))
    else:
      items.append(Item(one.name, (str(paths[one.name]), one, classes.index(one.action), group, storage)))
  chosen, licence = settings(options)["pa_hmdb51"], _licence(next(iter(labels)).parent)
  return [Plan("pa_hmdb51", "video", {"test": mixed(items)}, make, classes, tuple(PA_HMDB51), (), False, licence,
               digest_of(paths, [path.read_bytes() for path in labels]), chosen, chosen["shard_records"], tuple(problems))]


def _licence(labels: pathlib.Path) -> str:
  """The authors ask that their notice is kept in all copies and derivatives; it lies beside the labels or beside their folder."""
  places = [labels, labels.parent] if labels.name == pa_annotations.FOLDER else [labels]
  notice = next((place / "LICENSE" for place in places if (place / "LICENSE").is_file()), None)
  return LICENCE if notice is None else f"{LICENCE} Their notice: {' '.join(notice.read_text('utf-8', 'replace').split())}"


def make(work: tuple) -> dict[str, Any]:
  """One video's record; runs in a worker. Raises Undecodable, also where labels speak of far more frames than there are."""
  path, one, action, group, storage = work
  footage = video.decode(path, storage.jpeg)
  frames = len(footage.frames)
  declared = 1 + max((end for segments in one.segments.values() for _, end, _ in segments), default=-1)
  if video.is_broken_off(frames, declared):
    raise video.Undecodable(f"labels reach to frame {declared - 1}, the video has {frames} frames")
  frame_labels = {attribute: pa_annotations.per_frame(segments, frames) for attribute, segments in one.segments.items()}
  labels = {attribute: pa_annotations.of_video(of_frames) for attribute, of_frames in frame_labels.items()}
  return {"id": one.name, "frames": footage.frames, "fps": footage.frames_per_second, "action": action, "labels": labels, "subject": "",
          "group": group, "frame_labels": {attribute: of_frames.tolist() for attribute, of_frames in frame_labels.items()}}
