"""Trainings by several ranks, each in a process that stays for the next: what the tests of ranks compare."""

import contextlib
import hashlib
import multiprocessing
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from benchmarks.data.store import load_images
from benchmarks.data.subsets import draw_subset
from benchmarks.plan.run import make_run
from benchmarks.running import local
from benchmarks.training import training
from benchmarks.training.batches import Batches
from benchmarks.training.ranks.world import World, open_store, store_at
from benchmarks.training.training import Training

EXECUTION = {"attention": "explicit", "linear": "torch", "layout": "contiguous", "device": "cpu", "threads": 1}
MOST = 4


@dataclass(frozen=True)
class Case:
    """A run's settings and how it is computed, in float64."""

    settings: Mapping[str, Any]
    steps: int = 10
    micro_batch: int | None = None
    more: Mapping[str, Any] = field(default_factory=dict)  # of the execution
    start: int = 0  # the step at which all take over the state of rank 0, which alone has made the steps before


@dataclass(frozen=True)
class Outcome:
    """What one rank saw: loss and accuracy of each step, the SHA-256 of its final state, the state itself."""

    losses: list[float]
    accuracies: list[float]
    digest: str
    state: dict[str, torch.Tensor]


class Ranks:
    """Processes that are forked with everything imported."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([local.PRELOAD])
        self.pipes: list[Connection] = []
        self.processes = []
        for rank in range(MOST):
            ours, theirs = context.Pipe()
            self.processes.append(context.Process(target=serve, args=(theirs, rank), daemon=True))
            self.processes[-1].start()
            theirs.close()
            self.pipes.append(ours)

    def train(self, case: Case, ranks: int) -> list[Outcome]:
        """What each rank saw. Raises RuntimeError with the traceback of the first that failed."""
        store = open_store("127.0.0.1", ranks) if ranks > 1 else None
        for pipe in self.pipes[:ranks]:
            pipe.send((case, ranks, store.port if store else 0))
        found = [pipe.recv() for pipe in self.pipes[:ranks]]
        for one in found:
            if isinstance(one, str):
                raise RuntimeError(one)
        return found

    def end(self) -> None:
        for pipe in self.pipes:
            pipe.close()
        for process in self.processes:
            process.join(10)


def serve(pipe: Connection, rank: int) -> None:
    """Makes a rank's part of one training after the other."""
    torch.set_num_threads(1)
    in_float64()
    with contextlib.suppress(EOFError):
        while True:
            case, ranks, port = pipe.recv()
            try:
                answer: Any = outcome(case, rank, ranks, port)
            except Exception:  # noqa: BLE001  (told to the test)
                answer = traceback.format_exc()
            pipe.send(answer)


def in_float64() -> None:
    """From here on networks of this process are in double precision."""
    build, batch = training.build_model, Batches.batch
    training.build_model = lambda *how: build(*how).double()

    def doubles(self: Batches, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        x, weights = batch(self, step)
        return x.double(), weights.double()

    Batches.batch = doubles  # type: ignore[method-assign]
    single, gradients = torch.Tensor.float, Training._gradients

    def exact(self: Training, x: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign,assignment]
        try:
            return gradients(self, x, weights)
        finally:
            torch.Tensor.float = single  # type: ignore[method-assign]

    Training._gradients = exact  # type: ignore[method-assign]


def outcome(case: Case, rank: int, ranks: int, port: int) -> Outcome:
    run = make_run(case.settings)
    images = load_images(run.dataset, Path("data"))
    subset = draw_subset(images.train_labels, run.data.classes, run.draw, run.train_size, run.validation)
    world = None
    if ranks > 1:
        world = World(rank, ranks, store_at("127.0.0.1", port, ranks), torch.device("cpu"))
    rows = run.recipe.batch_size if world is None else len(world.rows(run.recipe.batch_size))
    execution = {**EXECUTION, "micro_batch": case.micro_batch or rows, **case.more}
    try:
        one = Training(run, execution, images, subset, world=world)
        if rank == 0 and case.start:
            alone = Training(run, execution | {"micro_batch": run.recipe.batch_size}, images, subset)
            for _ in range(case.start):
                alone.update()
            one.restore(alone.state())
        one.agree()
        rows_seen = [one.update() for _ in range(one.step, case.steps)]
    finally:
        if world is not None:
            world.end()
    losses = [row["loss"] for row in rows_seen if row]
    state = {name: value.clone() for name, value in one.model.state_dict().items()}
    data = b"".join(value.numpy().tobytes() for value in state.values())
    return Outcome(losses, [row["accuracy"] for row in rows_seen if row], hashlib.sha256(data).hexdigest(), state)
