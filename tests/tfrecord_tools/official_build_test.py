"""Public datasets through the build program: from a folder and from archives the same bytes, sound records, and every loss told."""

import shutil
import zipfile

import pytest
import tiny_files
import tiny_official
import tiny_rar

from mppar_tf.data import records
from tfrecord_tools import build, verify

SMALL = ["--frame_height=16", "--frame_width=16", "--workers=1"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
  """Each dataset's tiny copy."""
  place = tmp_path_factory.mktemp("sources")
  return {name: getattr(tiny_official, name)(place / name) for name in ("ucf101", "hmdb51", "pa_hmdb51", "vispr")}


@pytest.fixture(scope="module")
def zips(folders, tmp_path_factory):
  place = tmp_path_factory.mktemp("zips")
  return {name: tiny_official.zipped(folder, place / f"{name}.zip") for name, folder in folders.items()}


COMMANDS = {  # dataset folder -> word and flags, {NAME} for the source of that name
    "ucf101": ["ucf101", "--source={ucf101}"],
    "hmdb51": ["hmdb51", "--source={hmdb51}", "--official_split=3"],
    "hmdb51_without_pa_hmdb51": ["hmdb51", "--source={hmdb51}", "--annotations={hmdb51}", "--without_pa_hmdb51={pa_hmdb51}"],
    "pa_hmdb51": ["pa_hmdb51", "--source={hmdb51}", "--annotations={pa_hmdb51}"],
    "vispr": ["vispr", "--source={vispr}"],
}


def run(command, sources, data_dir, *more):
  return build.main([word.format(**sources) for word in command] + SMALL + [f"--data_dir={data_dir}", *more])


def content(folder):
  return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_and_its_archive_give_the_same_bytes(tmp_path, folders, zips, name, capsys):
  for place, sources in (("folder", folders), ("archive", zips)):
    assert run(COMMANDS[name], sources, tmp_path / place) == 0, capsys.readouterr().err
  assert content(tmp_path / "folder" / name) == content(tmp_path / "archive" / name)
  assert verify.verify([str(tmp_path / "folder" / name)]) == 0
  assert "0 left out" in capsys.readouterr().out
  assert not list((tmp_path / "archive" / build.UNPACKED).iterdir())


def test_what_an_archive_lacks_is_told_and_what_was_unpacked_serves_the_next_try(tmp_path, folders, capsys):
  source = shutil.copytree(folders["ucf101"], tmp_path / "source")
  videos = source / "UCF-101" / "Typing"
  (videos / "v_Typing_g01_c01.avi").unlink()
  (videos / "v_Typing_g07_c01.avi").write_bytes(b"no video" * 99)
  whole = tiny_files.noisy_video(videos / "v_Typing_g07_c02.avi").read_bytes()
  (videos / "v_Typing_g07_c02.avi").write_bytes(whole[:len(whole) // 2])
  sources = {"ucf101": str(tiny_official.zipped(source, tmp_path / "ucf101.zip"))}
  assert run(COMMANDS["ucf101"], sources, tmp_path, "--allow_errors=2") == 1
  error = capsys.readouterr().err
  assert "left out: Typing/v_Typing_g01_c01.avi: no such file" in error
  assert "left out: Typing/v_Typing_g07_c01.avi: not a video that FFmpeg can open" in error
  assert "left out: Typing/v_Typing_g07_c02.avi: " in error and error.count("unpacking") == 1
  assert "ucf101: 3 of 48 items cannot become records, --allow_errors=2" in error
  assert not (tmp_path / "ucf101" / "manifest.json").exists()
  assert run(COMMANDS["ucf101"], sources, tmp_path, "--allow_errors=3") == 0
  assert "unpacking" not in capsys.readouterr().err and not list((tmp_path / build.UNPACKED).iterdir())
  manifest = records.read_manifest(str(tmp_path / "ucf101"))
  assert sum(shard.records for shards in manifest.splits.values() for shard in shards) == 45


def test_an_archive_that_leads_out_builds_nothing(tmp_path, capsys):
  with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
    archive.writestr("../../evil.txt", "1")
  assert build.main(["ucf101", f"--source={tmp_path / 'evil.zip'}", f"--data_dir={tmp_path / 'a' / 'b'}"]) == 2
  error = capsys.readouterr().err
  assert error.splitlines()[-1].endswith("evil.zip: entry '../../evil.txt': '..' leads out of the root") and error.count("\n") == 2
  assert not list(tmp_path.rglob("*.txt"))


def test_a_rar_of_rars_is_built_with_a_program_that_reads_it(tmp_path, folders, monkeypatch, capsys):
  """HMDB51 as it is distributed: an archive of an archive for each class."""
  entries = {f"{path.name}.rar": [(f"{path.name}/{file.name}", "File", file.stat().st_size, file.read_bytes()) for file in path.iterdir()]
             for path in (folders["hmdb51"] / "hmdb51_org").iterdir()}
  entries["hmdb51_org.rar"] = [(name, "File", len(tiny_rar.SIGNATURE), tiny_rar.SIGNATURE) for name in entries]
  tiny_rar.stand_in(tmp_path / "bin", "unrar", entries)
  outer = tiny_rar.write(tmp_path / "hmdb51_org.rar", {})
  monkeypatch.setenv("PATH", str(tmp_path / "bin"))
  command = ["hmdb51", f"--source={outer}", f"--annotations={folders['hmdb51']}", *SMALL]
  assert build.main([*command, f"--data_dir={tmp_path / 'rar'}"]) == 0, capsys.readouterr().err
  assert build.main(["hmdb51", f"--source={folders['hmdb51']}", *SMALL, f"--data_dir={tmp_path / 'plain'}"]) == 0
  assert content(tmp_path / "rar" / "hmdb51") == content(tmp_path / "plain" / "hmdb51")
