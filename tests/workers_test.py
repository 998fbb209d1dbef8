"""TF_CONFIG read and refused, and the meeting of workers: all start alike and go on together, or nobody does."""

import concurrent.futures
import contextlib
import json
import os
import re
import socket
import subprocess
import time

import pytest
import tiny_runs
import yaml

from mppar_tf import flagfiles, options, train, workers

TWO = {"worker": ["127.0.0.1:2001", "127.0.0.1:2002"]}


def config(cluster=TWO, kind="worker", index=0):
  return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


@pytest.mark.parametrize("text, expected", [
    (config(), ("worker 0", 0, True)), (config(index=1), ("worker 1", 1, False)), (config(index="1"), ("worker 1", 1, False)),
    (config({"worker": ["b:1"], "chief": ["a:1"]}), ("worker 0", 1, False)),
    (config({"worker": ["b:1"], "chief": ["a:1"]}, "chief"), ("chief", 0, True))])
def test_a_task_has_its_place(text, expected):
  task = workers.task({"TF_CONFIG": text})
  assert (task.name, task.index, task.chief) == expected


def test_the_chief_stands_before_the_workers():
  assert workers.task({"TF_CONFIG": config({"worker": ["b:1", "c:7"], "chief": ["a:1"]}, index=1)}).addresses == ("a:1", "b:1", "c:7")


@pytest.mark.parametrize("text, words", [
    (None, ["needs the environment variable TF_CONFIG", '"cluster"']),
    ("{'cluster'", ["TF_CONFIG is no JSON", "{'cluster'"]),
    ("[]", ["no JSON object", "[]"]),
    ("{}", ["names no cluster", "{}"]),
    ('{"task": {"type": "worker", "index": 0}}', ["names no cluster"]),
    (json.dumps({"cluster": TWO}), ["names no task", "worker 0, worker 1"]),
    (config(index=2), ["task worker 2 is not one of worker 0, worker 1"]),
    (config(kind="chief"), ["task chief 0 is not one of worker 0, worker 1"]),
    (config(index=None), ["task worker None"]),
    (config({"ps": ["a:1"], "worker": ["b:1"]}), ["'ps'", "chief, worker"]),
    (config({"worker": "a:1"}), ["'a:1'", "no list"]),
    (config({"worker": ["a"]}), ["'a' of worker is no host:port"]),
    (config({"worker": ["a:99999"]}), ["'a:99999'"]),
    (config({"worker": ["a:1", "a:1"]}), ["twice", "a:1, a:1"]),
    (config({"chief": ["a:1", "b:1"]}, "chief"), ["2 chiefs"])])
def test_a_bad_tf_config_is_one_line_and_exit_code_2(capsys, monkeypatch, tmp_path, text, words):
  monkeypatch.delenv("TF_CONFIG", raising=False)
  if text is not None:
    monkeypatch.setenv("TF_CONFIG", text)
  assert started(tmp_path, "--strategy=multi_worker") == 2
  [line] = capsys.readouterr().err.splitlines()
  assert [word for word in words if word not in line] == [] and not (tmp_path / "run").exists(), line


def started(folder, *flags):
  arguments = [*tiny_runs.WORLD, f"--data_dir={folder}", f"--run_dir={folder / 'run'}", *flags]
  program = lambda: train.run(*(flagfiles.read(cls) for cls in train.PROGRAM_OPTIONS))
  return flagfiles.main(program, train.PROGRAM_OPTIONS, "", arguments=arguments)


def test_several_workers_without_their_strategy_are_refused(capsys, monkeypatch, tmp_path):
  """Each of them would train by itself, into one folder."""
  monkeypatch.setenv("TF_CONFIG", config())
  assert started(tmp_path) == 2
  assert "TF_CONFIG names 2 workers (worker 0, worker 1), but --strategy=mirrored" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", config({"worker": ["a:1"]}), '{"cluster": {}}', '{"task": {}}'])
def test_another_tf_config_is_nothing_to_one_machine(text):
  assert workers.alone({"TF_CONFIG": text}) is workers.ALONE


@pytest.mark.parametrize("text", ["{", "[]"])
def test_what_tensorflow_could_not_read_is_told_under_either_strategy(text):
  with pytest.raises(workers.ConfigError, match="TF_CONFIG is no JSON"):
    workers.alone({"TF_CONFIG": text})


def test_workers_have_no_virtual_devices(capsys, tmp_path):
  assert started(tmp_path, "--strategy=multi_worker", "--virtual_devices=2") == 2
  assert "--virtual_devices=2" in capsys.readouterr().err


# ---- the meeting ----


def free_ports(count):
  with contextlib.ExitStack() as held:
    sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
    return [s.getsockname()[1] for s in sockets]


def tasks(count=3):
  cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(count)]}
  return [workers.task({"TF_CONFIG": config(cluster, index=i)}) for i in range(count)]


def outcomes(*calls):
  """What `workers.meet` returns or raises to each, all at once."""
  def one(arguments):
    try:
      return workers.meet(*arguments)
    except (workers.ConfigError, workers.PeerLost) as error:
      return f"{type(error).__name__}: {error}"
  with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
    return list(pool.map(one, calls))


def test_all_go_on_from_the_chiefs_state():
  assert outcomes(*((task, {"flags": ["--seed=1"]}, state, 30) for task, state in zip(tasks(), (12, None, 9)))) == [12] * 3


def test_one_worker_meets_itself():
  [task] = tasks(1)
  assert workers.meet(task, {}, 5, 1) == 5


def test_who_was_started_otherwise_is_named_to_all():
  chief, first, second = tasks()
  told = outcomes((chief, {"flags": ["--seed=1", "--crop=12"]}, None, 30), (first, {"flags": ["--seed=1", "--crop=12"]}, None, 30),
                  (second, {"flags": ["--seed=2", "--crop=12"]}, None, 30))
  assert told == ["ConfigError: worker 2 was started with other flags: --seed=2 there, --seed=1 at the chief"] * 3


def test_who_does_not_come_is_named():
  chief, first, _ = tasks()
  at_the_chief, at_the_first = outcomes((chief, {}, None, 2), (first, {}, None, 3))
  assert at_the_chief == f"PeerLost: waited in vain for worker 2 to call at {chief.addresses[0]}"
  assert at_the_first.startswith("PeerLost: waited in vain for")


def test_strangers_and_who_hangs_up_are_not_counted():
  chief, first, second = tasks()
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    met = pool.submit(workers.meet, chief, {}, 7, 60)
    for greeting in (b"GET / HTTP/1.1\r\n\r\n", b"", json.dumps({"place": 9}).encode() + b"\n",
                     json.dumps({"place": 1, "started": {"cluster": ["elsewhere"]}}).encode() + b"\n"):
      with _patiently_connected(chief.port) as stranger:
        stranger.sendall(greeting)
    assert outcomes((first, {}, None, 60), (second, {}, None, 60)) == [7, 7] and met.result() == 7


def test_a_server_that_speaks_otherwise_is_called_again():
  """The chief's predecessor, about to end, has TensorFlow's server at the same address."""
  chief, first = tasks(2)
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    with socket.create_server(("127.0.0.1", chief.port)) as other:
      met = pool.submit(workers.meet, first, {}, None, 60)
      connection, _ = other.accept()
      with connection:
        connection.sendall(b"\x00\x00\x06\x04settings")
    assert workers.meet(chief, {}, 3, 60) == 3 and met.result() == 3


def test_a_port_in_use_is_named(monkeypatch):
  monkeypatch.setattr(workers, "PORT_PATIENCE", 0.1)
  [task] = tasks(1)
  with socket.create_server(("", task.port)):
    with pytest.raises(workers.ConfigError, match=f"port {task.port}, which TF_CONFIG gives worker 0, cannot be listened at"):
      workers.meet(task, {}, None, 5)


def _patiently_connected(port):
  end = time.monotonic() + 30
  while True:
    try:
      return socket.create_connection(("127.0.0.1", port))
    except OSError:
      assert time.monotonic() < end
      time.sleep(0.01)


# ---- the builder's guide ----


@pytest.fixture(scope="module")
def manifest():
  """The Kubernetes objects of BUILD.md."""
  [text] = re.findall(r"```yaml\n(.*?)```", (tiny_runs.ROOT / "BUILD.md").read_text(encoding="utf-8"), re.DOTALL)
  return {each["kind"]: each for each in yaml.safe_load_all(text)}


def test_the_manifest_of_kubernetes_hangs_together(manifest):
  service, job = manifest["Service"], manifest["Job"]
  pod, [container] = job["spec"]["template"]["spec"], job["spec"]["template"]["spec"]["containers"]
  assert pod["subdomain"] == service["metadata"]["name"] and service["spec"]["clusterIP"] == "None"
  assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
  assert job["spec"]["completions"] == job["spec"]["parallelism"] == int(container["env"][0]["value"])
  assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
  assert set(job["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"]) == {train.BAD_INPUT, train.NOT_FINITE}


@pytest.mark.parametrize("index", [0, 1])
def test_a_pod_of_the_manifest_knows_its_place(manifest, index):
  job = manifest["Job"]
  [container] = job["spec"]["template"]["spec"]["containers"]
  *script, command = container["args"][0].splitlines()
  environment = {each["name"]: each["value"] for each in container["env"]}
  environment |= {"JOB_COMPLETION_INDEX": str(index), "PATH": os.environ["PATH"]}
  text = subprocess.run([*container["command"], "\n".join([*script, 'echo "$TF_CONFIG"'])], env=environment, capture_output=True,
                        text=True, check=True).stdout
  task = workers.task({"TF_CONFIG": text})
  name, port = job["metadata"]["name"], container["ports"][0]["containerPort"]
  assert task.index == index and task.addresses == tuple(f"{name}-{i}.{name}:{port}" for i in range(2))
  values = flagfiles.define(*train.PROGRAM_OPTIONS)
  values(["train", *flagfiles.expand(command.split("mppar_tf.train ")[1].split())])
  assert flagfiles.read(options.RunOptions, values).strategy == "multi_worker"
