"""Which records and which attributes a benchmark consists of."""

import dataclasses
from typing import Mapping

from mppar_tf.data import vocabularies

SUBJECT = ("subject",)  # in place of attributes: the private label is who it is


@dataclasses.dataclass(frozen=True)
class Benchmark:
  """A cross-dataset benchmark: action clips from one dataset, privacy labels from another (or the same).

  `known` attributes may be used in training, `novel` ones at test time only; `SUBJECT` for identity.
  """
  clips: str  # dataset folder of the action clips, below --data_dir
  private: str  # dataset folder of the privacy labels
  known: tuple[str, ...]
  novel: tuple[str, ...]
  build: Mapping[str, str]  # dataset folder -> the command that makes its records, all but --data_dir
  note: str
  private_frames: int = 1  # frames of a private sample: 1 for images
  test: str = ""  # dataset folder of videos whose test split stands in for both: actions, and frame-wise labels, frame by frame

  @property
  def identity(self) -> bool:
    return self.known == SUBJECT

  def builder(self, dataset: str) -> str:
    """The command that makes the records of a folder; one that the benchmark does not know is of somebody's own."""
    return self.build.get(dataset, f"python -m tfrecord_tools.build folder --csv=TABLE --root=FOLDER --name={dataset}")


def _twin(*settings: str) -> dict[str, str]:
  return dict.fromkeys(("twin_clips", "twin_images"), " ".join(["python -m tfrecord_tools.build twin", *settings]))


# A source is named as its authors name it; FOLDER where they give it no name.
IXMAS = {"ixmas": "python -m tfrecord_tools.build ixmas --source=FOLDER"}
VISPR = {"vispr": "python -m tfrecord_tools.build vispr --source=FOLDER"}

TWIN = Benchmark(
    clips="twin_clips", private="twin_images",
    known=("color", "gender", "complete_face", "partial_face", "semi_nudity", "personal_relationship", "social_relationship"),
    novel=("hair_color", "race", "sports", "age", "weight", "landmark", "tattoo"),
    build=_twin(),
    note="Procedural twin of UCF101-VISPR, synthetic. Its novel attribute landmark shares no mechanism with any known one.")

BENCHMARKS = {
    "twin": TWIN,
    "twin_as_built": dataclasses.replace(
        TWIN, build=_twin("--twin_size=48"),
        note="A twin of another seed, size, length or share, by a name of its own: its figures are not those of the benchmark twin."),
    "twin_hmdb51": Benchmark(
        clips="twin_clips", private="twin_images", known=("skin_color", "nudity", "relationship"), novel=("gender", "face"),
        build=_twin("--twin_grouping=hmdb51"),
        note="The twin with the attributes of HMDB51-VISPR: 3 known, 2 novel. Its own --data_dir, for its folders bear the twin's names."),
    "ixmas_utkface": Benchmark(
        clips="ixmas", private="utkface",
        known=("gender_female", "race_white", "race_black", "age_adult"),
        novel=("race_asian", "race_indian", "age_child", "age_senior"),
        build=IXMAS | {"utkface": "python -m tfrecord_tools.build utkface --source=FOLDER"},
        note="Real clips and real faces. UTKFace's races exclude one another, and so do its ages: a novel attribute shares its mechanism "
             "with a known one."),
    "ixmas_identity": Benchmark(
        clips="ixmas", private="ixmas", known=SUBJECT, novel=(), private_frames=4, build=IXMAS,
        note="Closed-set identity: the same ten subjects stand in train and test."),
    "sbu": Benchmark(
        clips="sbu", private="sbu", known=SUBJECT, novel=(), private_frames=16,
        build={"sbu": "python -m tfrecord_tools.build sbu --sbu_split=pairs --source=FOLDER"},
        note="VITA's and BDQ's: eight actions of two people, against which of 13 pairs they are, a closed set."),
    "kth": Benchmark(
        clips="kth_identity", private="kth_identity", known=SUBJECT, novel=(), private_frames=16,
        build={"kth_identity": "python -m tfrecord_tools.build kth --kth_split=recordings --source=FOLDER"},
        note="BDQ's: six actions, against which of 25 people it is, a closed set. Recordings are divided, not people."),
    "ipn": Benchmark(
        clips="ipn", private="ipn", known=("gender_female",), novel=(), private_frames=16,
        build={"ipn": "python -m tfrecord_tools.build ipn --source=FOLDER"},
        note="BDQ's: 13 gestures, against whether a woman makes them; other people in test. One attribute alone: no protocol with novel "
             "ones, and no attribute-wise updates."),
    "ucf101_vispr": Benchmark(
        clips="ucf101", private="vispr", known=vocabularies.UCF101_KNOWN, novel=vocabularies.UCF101_NOVEL,
        build=VISPR | {"ucf101": "python -m tfrecord_tools.build ucf101 --source=UCF101.rar "
                                 "--annotations=UCF101TrainTestSplits-RecognitionTask.zip"},
        note="The papers' own: actions of UCF101's split 1, attributes of VISPR's photographs."),
    "hmdb51_vispr": Benchmark(
        clips="hmdb51_without_pa_hmdb51", private="vispr", test="pa_hmdb51",
        known=vocabularies.HMDB51_KNOWN, novel=vocabularies.HMDB51_NOVEL,
        build=VISPR | {
            "hmdb51_without_pa_hmdb51": "python -m tfrecord_tools.build hmdb51 --source=hmdb51_org.rar "
                                        "--annotations=test_train_splits.rar --without_pa_hmdb51=PA-HMDB51",
            "pa_hmdb51": "python -m tfrecord_tools.build pa_hmdb51 --source=hmdb51_org.rar --annotations=PA-HMDB51"},
        note="The papers' own: trained on HMDB51 without PA-HMDB51's videos and on VISPR, judged on PA-HMDB51 without adaptation. "
             "Clips of films that the test videos come from stay in training."),
    "custom": Benchmark(
        clips="", private="", known=(), novel=(), build={},
        note="Your own records: --clips_records, --private_records, --known_attributes, --novel_attributes."),
}


def chosen(name: str, *, clips: str | None = None, private: str | None = None, known: tuple[str, ...] = (),
           novel: tuple[str, ...] = ()) -> Benchmark:
  """The benchmark `name` with what a user puts in its place. Of its own novel attributes those go that the user trains against.

  Raises:
    ValueError: something is still missing, or an attribute stands on both sides.
  """
  found = BENCHMARKS[name]
  if known and not novel:
    novel = tuple(attribute for attribute in found.novel if attribute not in known)
    found = dataclasses.replace(found, novel=())
  found = dataclasses.replace(found, clips=clips or found.clips, private=private or found.private, known=known or found.known,
                              novel=novel or found.novel, test="" if clips or private else found.test)
  for flag, value in (("clips_records", found.clips), ("private_records", found.private), ("known_attributes", found.known)):
    if not value:
      raise ValueError(f"--benchmark={name} needs --{flag}")
  both = sorted(set(found.known) & set(found.novel))
  if both:
    raise ValueError(f"attributes {', '.join(both)} are both known and novel")
  return found
