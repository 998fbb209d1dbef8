"""Which of several machines this process is, and how they find one another before TensorFlow starts. Knows no TensorFlow.

TensorFlow's own start waits for an absent machine for an hour, deaf to signals and without naming it, and machines that were given
different flags hang or fail deep inside their first collective. So they meet here first: the chief listens at its own address of TF_CONFIG,
hears what everybody was started with, and lets all go on together, or nobody.
"""

import contextlib
import dataclasses
import json
import os
import select
import socket
import sys
import time
from typing import Any, Iterator, Mapping

JOBS = ("chief", "worker")  # in the order in which their tasks are counted
PATIENCE = 600.0  # seconds until all must have come
PORT_PATIENCE = 30.0  # seconds until a port must be free: a predecessor that lost a peer needs some ten to end
LONGEST = 1 << 20  # bytes of a message
EXAMPLE = 'such as {"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'


class ConfigError(ValueError):
  """TF_CONFIG, or what the workers were started with, cannot be used; told in one line."""


class PeerLost(RuntimeError):
  """Another worker did not come, or is gone."""


@dataclasses.dataclass(frozen=True)
class Task:
  """One process of several that train together."""
  name: str  # "chief", "worker 0"
  index: int  # place among all: the chief is 0, or worker 0 where no task is called chief
  addresses: tuple[str, ...]  # host:port of all, by place
  names: tuple[str, ...]  # of all, by place

  @property
  def chief(self) -> bool:
    """The one that writes the run's folder and looks at validation data."""
    return self.index == 0

  @property
  def port(self) -> int:
    return int(self.addresses[self.index].rpartition(":")[2])


ALONE = Task("", 0, ("",), ("",))


def alone(environment: Mapping[str, str] = os.environ) -> Task:
  """The task of a process that trains by itself.

  Raises:
    ConfigError: TF_CONFIG names several, each of which would write the whole run; or is nothing that TensorFlow, which reads it under every
      strategy, could read.
  """
  if not environment.get("TF_CONFIG", "").strip():
    return ALONE
  _parsed(environment["TF_CONFIG"])
  try:
    others = task(environment).names
  except ConfigError:
    return ALONE
  if len(others) > 1:
    raise ConfigError(f"TF_CONFIG names {len(others)} workers ({', '.join(others)}), but --strategy=mirrored trains on this machine alone; "
                      "give --strategy=multi_worker, or unset TF_CONFIG")
  return ALONE


def task(environment: Mapping[str, str] = os.environ) -> Task:
  """The task that TF_CONFIG gives this process.

  Raises:
    ConfigError: no TF_CONFIG, no JSON, no or a bad cluster, a task that is not in it; names what is wrong.
  """
  text = environment.get("TF_CONFIG", "")
  if not text.strip():
    raise ConfigError(f"--strategy=multi_worker needs the environment variable TF_CONFIG, {EXAMPLE}")
  config = _parsed(text)
  cluster, chosen = config.get("cluster"), config.get("task")
  if not isinstance(cluster, dict) or not cluster:
    raise ConfigError(f"TF_CONFIG names no cluster: {_short(text)}; it must be {EXAMPLE}")
  if unknown := sorted(set(cluster) - set(JOBS)):
    raise ConfigError(f"TF_CONFIG: job {unknown[0]!r} is not one of {', '.join(JOBS)}")
  found = {(job, index): address for job in JOBS for index, address in enumerate(_addresses(job, cluster.get(job, ())))}
  if len(set(found.values())) < len(found):
    raise ConfigError(f"TF_CONFIG: an address stands there twice: {', '.join(found.values())}")
  names = tuple(job if job == "chief" else f"{job} {index}" for job, index in found)
  place = _place(chosen, list(found), names)
  return Task(names[place], place, tuple(found.values()), names)


def _parsed(text: str) -> dict[str, Any]:
  try:
    config = json.loads(text)
  except json.JSONDecodeError as error:
    raise ConfigError(f"TF_CONFIG is no JSON ({error}): {_short(text)}; it must be {EXAMPLE}") from None
  if not isinstance(config, dict):
    raise ConfigError(f"TF_CONFIG is no JSON object: {_short(text)}; it must be {EXAMPLE}")
  return config


def _addresses(job: str, listed: Any) -> list[str]:
  if not isinstance(listed, (list, tuple)):
    raise ConfigError(f"TF_CONFIG: {job} is {listed!r}, no list of host:port")
  for address in listed:
    host, _, port = str(address).rpartition(":")
    if not isinstance(address, str) or not host or not port.isdecimal() or not 0 < int(port) < 65536:
      raise ConfigError(f"TF_CONFIG: {address!r} of {job} is no host:port")
  if job == "chief" and len(listed) > 1:
    raise ConfigError(f"TF_CONFIG: {len(listed)} chiefs; there is one at most")
  return list(listed)


def _place(chosen: Any, tasks: list[tuple[str, int]], names: tuple[str, ...]) -> int:
  if not isinstance(chosen, dict) or not {"type", "index"} <= set(chosen):
    raise ConfigError(f"TF_CONFIG names no task of this process, a type and an index, one of {', '.join(names)}")
  kind, index = chosen["type"], chosen["index"]
  wanted = (kind, int(index) if str(index).isdecimal() else index)  # shells write numbers as words
  if wanted not in tasks:
    raise ConfigError(f"TF_CONFIG: task {kind} {index} is not one of {', '.join(names)}")
  return tasks.index(wanted)


def _short(text: str) -> str:
  return repr(text if len(text) <= 80 else f"{text[:80]}...")


# ---- the meeting ----


def meet(ours: Task, started: Mapping[str, list[str]], state: Any, patience: float = PATIENCE) -> Any:
  """Returns when all workers have come and were started alike.

  Args:
    ours: this process's task.
    started: what must be the same everywhere, by what it is called: lists of lines.
    state: anything that JSON holds; the chief's is returned on all workers.
    patience: seconds.
  Raises:
    ConfigError: somebody was started with something else; all workers raise it.
    PeerLost: somebody did not come in time; names who.
  """
  deadline = time.monotonic() + patience
  with _own_port(ours) as server:
    if len(ours.addresses) == 1:
      return state
    hello = {"place": ours.index, "started": {**started, "cluster": list(ours.addresses)}}
    return _receive(ours, server, hello, state, deadline) if ours.index == 0 else _call(ours, hello, deadline)


@contextlib.contextmanager
def _own_port(ours: Task) -> Iterator[socket.socket]:
  """Listens at this process's port, as TensorFlow will: where it cannot, the others would wait in vain."""
  deadline = time.monotonic() + PORT_PATIENCE
  while True:
    try:
      six = socket.has_dualstack_ipv6()
      server = socket.create_server(("", ours.port), family=socket.AF_INET6 if six else socket.AF_INET, dualstack_ipv6=six)
      break
    except OSError as error:
      if time.monotonic() > deadline:
        raise ConfigError(f"port {ours.port}, which TF_CONFIG gives {ours.name}, cannot be listened at: {error.strerror}") from None
      time.sleep(0.5)
  with server:
    yield server


def _receive(ours: Task, server: socket.socket, hello: Mapping[str, Any], state: Any, deadline: float) -> Any:
  guests: dict[int, tuple[socket.socket, Mapping[str, Any]]] = {}
  waiting = _Notice(ours, deadline)
  with contextlib.ExitStack() as open_sockets:
    while len(guests) < len(ours.addresses) - 1:
      missing = [ours.names[place] for place in range(1, len(ours.addresses)) if place not in guests]
      waiting.tell(f"{', '.join(missing)} to call at {ours.addresses[0]}")
      if select.select([server], [], [], 0.5)[0]:
        connection = open_sockets.enter_context(server.accept()[0])
        told = _read(connection, time.monotonic() + 5.0)
        if isinstance(told, dict) and told.get("place") in range(1, len(ours.addresses)):
          guests[told["place"]] = connection, told
      # Who hung up was stopped while it waited, and may come again.
      guests = {place: guest for place, guest in guests.items() if not select.select([guest[0]], [], [], 0)[0]}
    refusal = next(filter(None, (_difference(ours.names[place], told["started"], hello["started"])
                                 for place, (_, told) in sorted(guests.items()))), "")
    for connection, _ in guests.values():
      _write(connection, {"refused": refusal} if refusal else {"go": state})
  if refusal:
    raise ConfigError(refusal)
  return state


def _call(ours: Task, hello: Mapping[str, Any], deadline: float) -> Any:
  host, _, port = ours.addresses[0].rpartition(":")
  waiting = _Notice(ours, deadline)
  while True:
    waiting.tell(f"{ours.names[0]} at {ours.addresses[0]}")
    with contextlib.suppress(OSError), socket.create_connection((host.strip("[]"), int(port)), timeout=5.0) as connection:
      _write(connection, hello)
      # A predecessor of the chief that is about to end has TensorFlow's server there, which speaks otherwise.
      answer = _read(connection, deadline, waiting)
      if isinstance(answer, dict) and "refused" in answer:
        raise ConfigError(answer["refused"])
      if isinstance(answer, dict) and "go" in answer:
        return answer["go"]
    time.sleep(0.5)


class _Notice:
  """Says once on stderr for what is waited, after some seconds; ends the wait at the deadline."""

  def __init__(self, ours: Task, deadline: float):
    self._ours, self._deadline, self._speak = ours, deadline, time.monotonic() + 5.0

  def tell(self, what: str) -> None:
    now = time.monotonic()
    if now > self._deadline:
      raise PeerLost(f"waited in vain for {what}")
    if now > self._speak:
      print(f"train: {self._ours.name}: waiting for {what}, {self._deadline - now:.0f} seconds at most", file=sys.stderr, flush=True)
      self._speak = float("inf")


def _difference(name: str, theirs: Mapping[str, list[str]], ours: Mapping[str, list[str]]) -> str:
  for what in ours:
    there, here = theirs.get(what, []), ours[what]
    if there != here:
      only_there, only_here = ([line for line in a if line not in b] for a, b in ((there, here), (here, there)))
      return (f"{name} was started with other {what}: {' '.join(only_there) or 'nothing'} there, "
              f"{' '.join(only_here) or 'nothing'} at the chief")
  return ""


def _write(connection: socket.socket, message: Any) -> None:
  with contextlib.suppress(OSError):  # who hung up is missed by TensorFlow's start
    connection.sendall(json.dumps(message).encode() + b"\n")


def _read(connection: socket.socket, deadline: float, waiting: "_Notice | None" = None) -> Any:
  """One JSON line; None where something else comes, or nothing until the deadline."""
  content = b""
  while not content.endswith(b"\n") and len(content) < LONGEST and time.monotonic() < deadline:
    if waiting:
      waiting.tell("the others, whom the chief waits for")
    if select.select([connection], [], [], 0.5)[0]:
      more = b""
      with contextlib.suppress(OSError):
        more = connection.recv(1 << 16)
      if not more:
        break
      content += more
      if not content.startswith(b"{"):
        break
  try:
    return json.loads(content)
  except ValueError:
    return None
