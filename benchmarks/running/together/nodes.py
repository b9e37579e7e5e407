"""Several nodes that compute each run together: how they find each other, and what all but the first one do.

The first node leads: it claims, measures and writes, and tells the others by a small file in the runs folder where its
door is. Of every run a process of its own leads, which looks at that same door: the first process of each other node
waits there, starts the ranks of its node when it is told to, says how they end, and comes again for the next run.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from benchmarks.errors import InductiveError
from benchmarks.running import gpus, local
from benchmarks.running.together import links, members
from benchmarks.running.together.launched import Start
from benchmarks.running.together.links import Door
from benchmarks.running.together.members import Failure, Wanted

MEETING_SECONDS = 300.0  # for all nodes to come
FOLDER = ".nodes"  # under the runs folder


@contextmanager
def leading(start: Start, root: Path) -> Iterator[Door | None]:
    """The door to the other nodes, once all have come; None where there are none. They end with this.

    Raises InductiveError where one does not come.
    """
    if start.nodes == 1:
        yield None
        return
    door, came = links.opened(start.nodes), dict[int, Connection]()
    path = root / FOLDER / f"{start.name}.json"
    try:
        _publish(path, start.address or socket.gethostname(), door)
        with door.arrivals() as arrivals:
            for left in links.until(MEETING_SECONDS):
                if (one := arrivals.next(min(left, 1.0))) is not None and one[0][0] == "here":
                    came[one[0][1]] = one[1]
                if len(came) == start.nodes - 1:
                    break
        if absent := sorted(set(range(1, start.nodes)) - set(came)):
            raise InductiveError(
                f"{start.by} has started this on {start.nodes} nodes, and of those {', '.join(map(str, absent))} did "
                f"not come within {MEETING_SECONDS / 60:g} minutes to {start.address or socket.gethostname()}, port "
                f"{door.port} (MASTER_ADDR names another address of the first node)"
            )
        for link in came.values():
            link.send("all are here")
        path.unlink()
        yield door
    finally:
        path.unlink(missing_ok=True)
        for link in came.values():
            link.close()
        door.server.close()


def follow(start: Start, root: Path, scratch: Path | None = None) -> None:
    """Starts this node's ranks of every run that the first node leads, until that ends. `scratch`: a disk of this node,
    see `Settings`. Raises InductiveError where the first node is not to be found."""
    place, present = _found(start, root)
    context: Any = None
    with present:
        while (leader := _let_in(place, ("node", start.node, socket.gethostname()), present.poll)) is not None:
            with leader:
                try:
                    wanted: Wanted = leader.recv()
                except (EOFError, OSError):
                    continue  # that run has ended before it has begun
                context = context or local.warm_context()
                _serve(leader, place, context, wanted, scratch)


@dataclass(frozen=True)
class _Place:
    """Where the first node's door is, and the key."""

    address: str
    port: int
    key: bytes


def _found(start: Start, root: Path) -> tuple[_Place, Connection]:
    """The first node's door, and a link that lasts as long as its command does, once all nodes have come."""
    path, why = root / FOLDER / f"{start.name}.json", "there is no such file"
    for _ in links.until(MEETING_SECONDS):
        with suppress(FileNotFoundError):
            text = path.read_text(encoding="utf-8")
            found = json.loads(text)
            place = _Place(found["address"], found["port"], bytes.fromhex(found["key"]))
            try:
                link = _let_in(place, ("here", start.node), partial(_says_other, path, text))
                if link is not None:
                    link.recv()
                    return place, link
            except (AuthenticationError, EOFError, OSError) as error:
                why = f"{place.address}, port {place.port}: {error or type(error).__name__}"
        time.sleep(0.5)
    raise InductiveError(
        f"node {start.node} of {start.nodes}, which {start.by} has started: the first node did not answer within "
        f"{MEETING_SECONDS / 60:g} minutes; {path} is to say where it is: {why}"
    )


def _says_other(path: Path, text: str) -> bool:
    """Whether a file says something else by now: the first was of an earlier command."""
    try:
        return path.read_text(encoding="utf-8") != text
    except FileNotFoundError:
        return False  # all have come


def _let_in(place: _Place, said: Any, over: Callable[[], bool]) -> Connection | None:
    """A link to the first node, once somebody there looks at its door; None where that will not be. Raises OSError,
    EOFError and AuthenticationError where a stranger is there, or nobody."""
    try:
        link = links.connect(place.address, place.port)
        try:
            while not link.poll(0.5):
                if over():
                    raise EOFError("it has ended")
            links.come_in(link, place.key, said)
        except BaseException:
            link.close()
            raise
    except (AuthenticationError, EOFError, OSError):
        if over():
            return None
        raise
    return link


def _serve(leader: Connection, place: _Place, context: Any, wanted: Wanted, scratch: Path | None) -> None:
    """Starts ranks, tells how they end where they do not tell it themselves, and ends them with their leader."""
    devices = gpus.given() if wanted.device == "cuda" else ()
    if wanted.device == "cuda" and len(devices) < wanted.count:
        text = (
            f"{socket.gethostname()} has {len(devices)} GPUs for this job, and {wanted.count} are wanted of each node"
        )
        _tell(leader, Failure(wanted.first, "raised", text))
        return
    ranks = {}
    for number in range(wanted.count):
        rank = wanted.first + number
        device = devices[number] if devices else ""
        process = context.Process(target=_rank, args=(place, wanted.token, rank, device, scratch), daemon=False)
        process.start()
        ranks[process.sentinel] = (rank, process)
    try:
        while leader not in (ready := wait([leader, *ranks])):
            for sentinel in ready:
                rank, process = ranks.pop(sentinel)
                process.join()
                if process.exitcode not in (0, members.SAID):
                    _tell(leader, Failure(rank, "killed", members.ending(process.exitcode)))
    finally:
        members.end_processes([process for _, process in ranks.values()])


def _tell(leader: Connection, failure: Failure) -> None:
    with suppress(OSError):  # it is gone, which is seen next
        leader.send(failure)


def _rank(place: _Place, token: str, rank: int, device: str, scratch: Path | None) -> None:
    """The body of the process of a rank."""
    local.become_child()
    link = links.connect(place.address, place.port)
    links.come_in(link, place.key, ("rank", rank, token))
    members.serve(link, device, address=links.our_address(link), scratch=scratch)


def _publish(path: Path, address: str, door: Door) -> None:
    """Writes where the door is, for nobody but us to read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(f".{os.getpid()}")
    new.touch(mode=0o600)
    new.write_text(json.dumps({"address": address, "port": door.port, "key": door.key.hex()}), encoding="utf-8")
    new.replace(path)
