"""The other ranks of a run, as processes of its own: started with it, told what to do, watched, and ended with it.

The process of the run is rank 0, the leader: it alone claims, writes and measures. The others, its members, are forked
from it before it has touched a GPU or started a thread. A member holds nothing that is not elsewhere, so it may end at
any moment: it does so when its pipe says or ends, which it does with the leader, whatever kills that.

What goes wrong in a member is sent as it happens, with its traceback. The leader raises it where it next exchanges
something, or, where it waits for ranks that will not come, once the exchange is broken off.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.errors import InductiveError
from benchmarks.plan.run import Run
from benchmarks.running import gpus
from benchmarks.running.task import Settings

if TYPE_CHECKING:
    from benchmarks.training.ranks.world import World

HOST = "127.0.0.1"
INTERFACES = {"linux": "lo", "darwin": "lo0"}  # of this machine with itself
NOTICED_SECONDS = 5.0  # for the leader to raise by itself what has gone wrong elsewhere
BROKEN_SECONDS = 15.0  # likewise, once the exchange is broken off
EXPLAINED_SECONDS = 10.0  # for a member that is gone to have said why
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
    port: int
    rank: int


@dataclass(frozen=True)
class Failure:
    """What has become of a member: `kind` is raised, memory, operation (without a deterministic kernel), lost (others
    were gone), or killed."""

    rank: int
    kind: str
    text: str


class Members:
    """Ranks 1 and up of a run, waiting for their order. `devices`: what each sees of the GPUs, by rank; () for all."""

    def __init__(self, ranks: int, devices: Sequence[str] = (), others: Sequence[Connection] = ()):
        """`others` are connections of this process that no member must keep open."""
        self.ranks = ranks
        self.pipes: list[Connection] = []
        self.processes = []
        self.failures: list[Failure] = []
        self.news = threading.Condition()
        self.noticed = self.over = False
        self.watch: threading.Thread | None = None
        self.give_up: Callable[[str], None] = lambda text: None
        context = multiprocessing.get_context("fork")
        for rank in range(1, ranks):
            ours, theirs = context.Pipe()
            self.pipes.append(ours)
            device = devices[rank] if devices else ""
            process = context.Process(target=_serve, args=(theirs, device, (*others, *self.pipes)), daemon=False)
            process.start()
            theirs.close()
            self.processes.append(process)

    def gather(self, run: Run, settings: Settings, execution: Mapping[str, Any], last: int) -> World:
        """The world of this run, once its members have come. Raises RankError where one does not."""
        import torch

        from benchmarks.training.ranks.world import World, open_store

        on_this_machine()
        store = open_store(HOST, self.ranks)
        for rank, pipe in enumerate(self.pipes, start=1):
            with suppress(OSError):  # it is gone: the watch says so
                pipe.send(Order(run, settings, execution, last, store.port, rank))
        self.watch = threading.Thread(target=self._watch, daemon=True)
        self.watch.start()
        self.world: World | None = None
        device = torch.device(execution["device"])
        self.world = World(0, self.ranks, store, device, self.check, lambda error: self.explanation())
        return self.world

    def check(self) -> None:
        """Raises what is known to have gone wrong in a member."""
        with self.news:
            known = bool(self.failures)
        if known:
            raise self.explanation() from None

    def explanation(self) -> Exception:
        """What went wrong: the first thing that is no mere consequence, for which a few seconds are waited."""
        import torch

        with self.news:
            self.noticed = True
            self.news.wait_for(lambda: any(one.kind != "lost" for one in self.failures), EXPLAINED_SECONDS)
            found = sorted(self.failures, key=lambda one: one.kind == "lost")
        if not found:
            return RankError("the ranks of this run lost each other, and none of them failed")
        first = found[0]
        text = f"rank {first.rank} of {self.ranks}: {first.text}"
        return {"memory": torch.OutOfMemoryError, "operation": RuntimeError}.get(first.kind, RankError)(text)

    def end(self) -> None:
        """Ends all members, whatever they do."""
        with self.news:
            self.over = True
        for pipe in self.pipes:
            with suppress(OSError):
                pipe.send("end")
        if self.watch is not None:
            self.watch.join()
        for pipe in self.pipes:
            pipe.close()
        deadline = time.monotonic() + ENDED_SECONDS
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()

    def _watch(self) -> None:
        """Notes what members say and how they end, and sees to it that the leader notices."""
        open_pipes = dict(zip(self.pipes, enumerate(self.processes, start=1), strict=True))
        while open_pipes and not self.over:
            for pipe in wait(list(open_pipes), timeout=0.5):
                assert isinstance(pipe, Connection)
                rank, process = open_pipes[pipe]
                try:
                    said = pipe.recv()
                except (EOFError, OSError):
                    del open_pipes[pipe]
                    process.join(1.0)
                    if not any(one.rank == rank for one in self.failures):
                        self._note(Failure(rank, "killed", _ending(process.exitcode)))
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
        self.give_up(str(self.explanation()))


def on_this_machine() -> None:
    """Lets the ranks of one machine talk over its own loopback, which needs no name and lets nobody else in."""
    for library in ("GLOO", "NCCL"):
        if sys.platform in INTERFACES:
            os.environ.setdefault(f"{library}_SOCKET_IFNAME", INTERFACES[sys.platform])


def _ending(code: int | None) -> str:
    name = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
    return f"its process ended without a word ({name})"


def _serve(pipe: Connection, device: str, others: Sequence[Connection]) -> None:
    """The body of a member's process; the leader has made it ignore all signals."""
    for one in others:
        one.close()
    if device:
        os.environ[gpus.VISIBLE] = device
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        order = pipe.recv()
    except (EOFError, OSError):
        os._exit(0)
    threading.Thread(target=_end_with, args=(pipe,), daemon=True).start()
    failure = _followed(order)
    with suppress(OSError):
        pipe.send(failure)
    if failure is not None:
        os._exit(1)
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
    on_this_machine()
    ranks = int(execution["ranks"])
    world = World(order.rank, ranks, store_at(HOST, order.port, ranks), torch.device(execution["device"]))
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
