"""The other ranks of a run, as processes of its own: started with it, told what to do, watched, and ended with it.

The process of the run is rank 0, the leader: it alone claims, writes and measures. The others are its members. Those of
its node are forked from it before it has touched a GPU or started a thread; those of other nodes are started there
(`nodes`) and come to it by a link. A member holds nothing that is not elsewhere, so it may end at any moment: it does
so when its pipe or link says or ends, which it does with the leader, whatever kills that.

What goes wrong in a member is sent as it happens, with its traceback. The leader raises it where it next exchanges
something, or, where it waits for ranks that will not come, once the exchange is broken off.
"""

from __future__ import annotations

import multiprocessing
import os
import secrets
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.errors import InductiveError
from benchmarks.plan.run import Run
from benchmarks.running import gpus
from benchmarks.running.task import Settings
from benchmarks.running.together import links
from benchmarks.running.together.links import Door, LostNodeError

if TYPE_CHECKING:
    from benchmarks.training.ranks.world import World

HOST = "127.0.0.1"
INTERFACES = {"linux": "lo", "darwin": "lo0"}  # of this machine with itself
SAID = 4  # exit code of a member that has said why
NODES_SECONDS = 120.0  # for the other nodes, which have come once, and their ranks
NOTICED_SECONDS = 5.0  # for the leader to raise by itself what has gone wrong elsewhere
BROKEN_SECONDS = 15.0  # likewise, once the exchange is broken off
EXPLAINED_SECONDS = 10.0  # for a member that is gone to have said why
GOING_SECONDS = 2.0  # in which a node that dies may lose its ranks first
ENDED_SECONDS = 10.0  # for members to end


class RankError(Exception):
    """A rank of a run failed; the message has its own traceback."""


@dataclass(frozen=True)
class Order:
    """What a member is to do: the training of a run up to a step, from the state of rank 0."""

    run: Run
    settings: Settings
    execution: Mapping[str, Any]
    last: int
    host: str  # where rank 0's store is
    port: int
    rank: int


@dataclass(frozen=True)
class Wanted:
    """The ranks that a node is to start: `count` from the `first`-th on. `token` is of this attempt's alone."""

    first: int
    count: int
    device: str
    token: str


@dataclass(frozen=True)
class Failure:
    """What has become of a member: `kind` is raised, memory, operation (without a deterministic kernel), lost (others
    were gone), killed, or gone (with its node)."""

    rank: int
    kind: str
    text: str


@dataclass(frozen=True)
class _Other:
    """Who is at the other end of a pipe or link: a rank, with its process where that is ours, or the first process of a
    node, `name`."""

    rank: int  # of a node its first
    process: BaseProcess | None = None
    name: str = ""


class Members:
    """Ranks 1 and up of a run, waiting for their order. `devices`: what each of this node sees of its GPUs, by rank; ()
    for all."""

    def __init__(
        self,
        ranks: int,
        devices: Sequence[str] = (),
        others: Sequence[Connection] = (),
        door: Door | None = None,
    ):
        """`others` are connections of this process that no member must keep open; `door` leads to other nodes."""
        self.ranks, self.door = ranks, door
        self.here = ranks if door is None else ranks // door.nodes
        self.open: dict[Connection, _Other] = {}
        self.links: list[Connection] = []
        self.processes: list[BaseProcess] = []
        self.failures: list[Failure] = []
        self.news = threading.Condition()
        self.noticed = self.over = False
        self.watch: threading.Thread | None = None
        self.world: World | None = None
        self.give_up: Callable[[Exception], None] = lambda error: None
        self.last_word: Callable[[str, str], None] = lambda state, line: None
        context = multiprocessing.get_context("fork")
        for rank in range(1, self.here):
            ours, theirs = context.Pipe()
            not_its = (*others, *self.links, ours)
            device = devices[rank] if devices else ""
            process = context.Process(target=serve, args=(theirs, device, not_its), daemon=False)
            process.start()
            theirs.close()
            self.processes.append(process)
            self._know(ours, _Other(rank, process))

    def gather(self, run: Run, settings: Settings, execution: Mapping[str, Any], last: int) -> World:
        """The world of this run, once its members have come. Raises RankError where one does not, and LostNodeError
        where a node does not."""
        import torch

        from benchmarks.training.ranks.world import World, open_store

        self.watch = threading.Thread(target=self._watch, daemon=True)
        self.watch.start()
        host = HOST if self.door is None else self._come(self.door, execution["device"])
        talk_over(host)
        store = open_store(host, self.ranks)
        for link, other in list(self.open.items()):
            if not other.name:
                with suppress(OSError):  # it is gone: the watch says so
                    link.send(Order(run, settings, execution, last, host, store.port, other.rank))
        device = torch.device(execution["device"])
        self.world = World(0, self.ranks, store, device, self.check, lambda error: self.explanation())
        return self.world

    def _come(self, door: Door, device: str) -> str:
        """Has the other nodes start their ranks, and waits for these. Returns our address as they know it."""
        token, address = secrets.token_hex(8), HOST
        nodes, ranks = set(range(1, door.nodes)), set(range(self.here, self.ranks))
        with door.arrivals() as arrivals:
            for left in links.until(NODES_SECONDS):
                self.check()
                if not ranks:
                    return address
                if (one := arrivals.next(min(left, 0.5))) is None:
                    continue
                (kind, number, what), link = one
                if kind == "node" and number in nodes:
                    nodes.remove(number)
                    first = number * self.here
                    self._know(link, _Other(first, name=f"node {number} of {door.nodes} ({what})"))
                    with suppress(OSError):  # it is gone: the watch says so
                        link.send(Wanted(first, self.here, device, token))
                elif kind == "rank" and number in ranks and what == token:
                    ranks.remove(number)
                    address = links.our_address(link)
                    self._know(link, _Other(number))
                else:  # of an earlier attempt
                    link.close()
        absent = [f"node {number} of {door.nodes}" for number in sorted(nodes)]
        absent = absent or [f"rank {rank} of {self.ranks}" for rank in sorted(ranks)]
        raise LostNodeError(f"{', '.join(absent)}: not there within {NODES_SECONDS:.0f} s")

    def _know(self, link: Connection, other: _Other) -> None:
        self.links.append(link)
        self.open[link] = other

    def check(self) -> None:
        """Raises what is known to have gone wrong in a member."""
        with self.news:
            known = bool(self.failures)
        if known:
            raise self.explanation() from None

    def explanation(self) -> Exception:
        """What went wrong: a node that is gone, else the first thing that is no mere consequence; a few seconds are
        waited for it."""
        import torch

        with self.news:
            self.noticed = True
            self.news.wait_for(lambda: any(one.kind != "lost" for one in self.failures), EXPLAINED_SECONDS)
            if self.door is not None and any(one.kind == "killed" for one in self.failures):
                self.news.wait_for(lambda: any(one.kind == "gone" for one in self.failures), GOING_SECONDS)
            found = sorted(self.failures, key=lambda one: {"gone": 0, "lost": 2}.get(one.kind, 1))
        if not found:
            return RankError("the ranks of this run lost each other, and none of them failed")
        first = found[0]
        if first.kind == "gone":
            return LostNodeError(first.text)
        text = f"rank {first.rank} of {self.ranks}: {first.text}"
        return {"memory": torch.OutOfMemoryError, "operation": RuntimeError}.get(first.kind, RankError)(text)

    def end(self) -> None:
        """Ends all members, whatever they do."""
        with self.news:
            self.over = True
        for link in self.links:
            with suppress(OSError):
                link.send("end")
        if self.watch is not None:
            self.watch.join()
        for link in self.links:
            link.close()
        end_processes(self.processes)

    def _watch(self) -> None:
        """Notes what members say and how they end, and sees to it that the leader notices."""
        while not self.over:
            there = list(self.open)
            if not there:
                time.sleep(0.1)
            for link in wait(there, timeout=0.5):
                assert isinstance(link, Connection)
                self._hear(link, self.open[link])

    def _hear(self, link: Connection, other: _Other) -> None:
        try:
            said = link.recv()
        except (EOFError, OSError):
            del self.open[link]
            if other.name:
                self._note(Failure(other.rank, "gone", f"{other.name} is gone"))
            elif other.process is None:  # why, its node says
                self._note(Failure(other.rank, "lost", "its process has ended"))
            elif not any(one.rank == other.rank for one in self.failures):
                other.process.join(1.0)
                self._note(Failure(other.rank, "killed", ending(other.process.exitcode)))
        else:
            if said is not None:
                self._note(said)

    def _note(self, failure: Failure) -> None:
        with self.news:
            if self.over:
                return
            self.failures.append(failure)
            first = len(self.failures) == 1
            self.news.notify_all()
        if first:
            threading.Thread(target=self._insist, daemon=True).start()

    def _insist(self) -> None:
        """Gets the leader out of an exchange that will never end."""
        for seconds in (NOTICED_SECONDS, BROKEN_SECONDS):
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                if self.noticed or self.over:
                    return
                time.sleep(0.1)
            if self.world is not None:
                with suppress(RuntimeError):
                    self.world.abort()
        self.give_up(self.explanation())


def talk_over(host: str) -> None:
    """Lets ranks talk over the network interface that has this machine's address `host`: of one machine over its own
    loopback, which needs no name and lets nobody else in; of several over the way on which they have met."""
    name = INTERFACES.get(sys.platform) if host == HOST else links.interface(host)
    if name is not None:
        for library in ("GLOO", "NCCL"):
            os.environ.setdefault(f"{library}_SOCKET_IFNAME", name)


def end_processes(processes: Sequence[BaseProcess]) -> None:
    """Waits for processes to end, and kills those that do not."""
    deadline = time.monotonic() + ENDED_SECONDS
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def ending(code: int | None) -> str:
    """How a process ended that has said nothing, in words."""
    name = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
    return f"its process ended without a word ({name})"


def serve(
    pipe: Connection, device: str, others: Sequence[Connection] = (), address: str = "", scratch: Path | None = None
) -> None:
    """The body of a member's process, which ignores all signals. `address` is that of another node than the leader's,
    `scratch` a disk there."""
    for one in others:
        one.close()
    if device:
        os.environ[gpus.VISIBLE] = device
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        order = pipe.recv()
    except (EOFError, OSError):
        os._exit(0)
    if not isinstance(order, Order):  # the run has ended before it began
        os._exit(0)
    if scratch is not None:
        order = replace(order, settings=replace(order.settings, scratch=scratch))
    threading.Thread(target=_end_with, args=(pipe,), daemon=True).start()
    talk_over(address or order.host)
    failure = _followed(order)
    with suppress(OSError):
        pipe.send(failure)
    if failure is not None:
        os._exit(SAID)
    threading.Event().wait()  # until the leader has no more need of us


def _end_with(pipe: Connection) -> None:
    """Ends this process as soon as the leader says so, or is no more."""
    with suppress(EOFError, OSError):
        pipe.recv()
    os._exit(0)


def _followed(order: Order) -> Failure | None:
    """Makes a member's part of a training; None once that is done."""
    import torch

    from benchmarks.training.kernels import nondeterministic_operation
    from benchmarks.training.ranks.world import LostRankError

    try:
        follow(order)
    except LostRankError as error:
        return Failure(order.rank, "lost", str(error))
    except torch.OutOfMemoryError as error:
        return Failure(order.rank, "memory", " ".join(str(error).split()))
    except InductiveError as error:
        return Failure(order.rank, "raised", str(error))
    except Exception as error:  # noqa: BLE001  (the boundary of a rank: its leader raises it)
        if isinstance(error, RuntimeError) and nondeterministic_operation(error):
            return Failure(order.rank, "operation", str(error))
        words = f"{type(error).__name__}: {error}".splitlines()[0]
        return Failure(order.rank, "raised", f"{words}\n{traceback.format_exc()}".rstrip())
    return None


def follow(order: Order) -> None:
    """Trains as one of the ranks that rank 0 leads, up to the last step, or to the one at which all stop."""
    with ExitStack() as opened:
        _follow(order, opened)


def _follow(order: Order, opened: ExitStack) -> None:
    import torch

    import models
    from benchmarks.data.decoding import Decoding, decoded_by
    from benchmarks.data.photographs import Photographs
    from benchmarks.data.staging import staged
    from benchmarks.data.store import load_images
    from benchmarks.data.subsets import draw_subset
    from benchmarks.training.kernels import apply_execution
    from benchmarks.training.memory import take_share
    from benchmarks.training.ranks.world import World, store_at
    from benchmarks.training.training import Training

    run, settings, execution = order.run, order.settings, order.execution
    for plugin in settings.plugins:
        models.load_plugin(plugin)
    apply_execution(execution)
    if execution["device"] == "cuda" and settings.runs_per_gpu > 1:
        take_share(settings.runs_per_gpu)
    images = load_images(run.data.name, settings.data)
    if isinstance(images.train, Photographs):
        store = images.train.store
        if settings.scratch is not None:
            store = opened.enter_context(staged(store, settings.scratch, lambda: None))
        decoding = opened.enter_context(Decoding(store, execution["decoder"]["name"], settings.workers or 0))
        images = decoded_by(images, decoding)
    subset = draw_subset(images.train_labels, run.data.classes, run.draw, run.train_size, run.validation)
    ranks = int(execution["ranks"])
    world = World(order.rank, ranks, store_at(order.host, order.port, ranks), torch.device(execution["device"]))
    training = Training(run, execution, images, subset, world=world)
    opened.callback(training.batches.close)
    training.agree()
    while training.step < order.last:
        if training.update(read=False) is None or training.step == order.last or training.stops(False):
            return


def ranks_of(folder: Path, new: int = 1) -> int:
    """By how many ranks a run is computed: as its record says, by `new` where it has none yet."""
    from benchmarks.files import read_json

    path = folder / "execution.json"
    return int(read_json(path).get("ranks", 1)) if path.exists() else new
