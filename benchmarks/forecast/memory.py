"""The memory that runs take on a CPU, forecast before they are started; and what a machine has.

A training holds its weights, gradients and the optimiser's state; of a batch what the backward pass needs, which is
counted on the meta device (with `recompute`, `--checkpoint-activations`: what blocks are given, and what it needs of
one of them); and, when a checkpoint is written, its bytes twice. An evaluation holds the largest intermediate of a
batch a few times. docs/performance.md has what was measured beside it. Of GPUs nothing is forecast: a batch that is too
large for one is halved.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import models
from benchmarks.data.dataset import Dataset
from benchmarks.data.decoding import AHEAD
from benchmarks.data.photographs import ROW
from benchmarks.errors import InductiveError, RecordError
from benchmarks.files import read_json_or
from benchmarks.forecast.cost import TOGETHER, Built, built_of, network_without_memory
from benchmarks.plan.run import Evaluation, Run

PROCESS_BYTES = 850 * 10**6  # of a process that has loaded torch and all networks, and computes
OWN_BYTES = 100 * 10**6  # of them, what a process forked from such a one has to itself
FLOAT = 4
STEP_COPIES = 1.6  # of what a backward pass needs, as measured: what oneDNN lays out anew, and gaps between tensors
IMAGE_COPIES = 4  # of a batch of images in float32: bytes as numbers, augmented, resized, normalised
FORWARD_COPIES = 3  # of the largest intermediate: what an operation reads, what it makes, what is just given back
STATES = {"adamw": 2, "adam": 2, "sgd": 1}  # numbers that an optimiser keeps of each weight


@dataclass(frozen=True)
class Memory:
    """Bytes of one run in a process of its own: the process with torch, images of the data set, weights with gradients
    and what is kept of them, and the most that is held for a moment: in a step, at a checkpoint, in an evaluation."""

    process: int
    images: int
    weights: int
    step: int
    checkpoint: int
    evaluation: int

    @property
    def alone(self) -> int:
        """What each of several runs has to itself."""
        return self.weights + max(self.step, self.checkpoint, self.evaluation)

    def side_by_side(self, runs: int = 1) -> int:
        """The most of it at once, of so many runs forked from one process: they share what it loaded and the images."""
        return self.process + self.images + runs * self.alone + (runs - 1) * OWN_BYTES

    def fitting(self, available: int) -> int:
        """How many runs side by side take no more than `available` bytes."""
        return max(0, (available - self.process - self.images + OWN_BYTES) // (self.alone + OWN_BYTES))


def memory_of(run: Run, evaluations: Iterable[Evaluation] = (), recompute: bool = False) -> Memory:
    """What a run with its evaluations takes on a CPU, in bytes; one of no steps has neither gradients nor a step.
    `recompute`: activations are computed again instead of kept."""
    data, recipe, built = run.data, run.recipe, built_of(run)
    side, shown, seen = _side(run), 0, 0  # of an evaluation's images, and as the network sees them: the largest
    for one in evaluations:
        shown = max(shown, one.resolution)
        seen = max(seen, run.resolution if one.images == "patch" else _seen(run, one.resolution))
    weights = FLOAT * sum(parameter.numel() for parameter in network_without_memory(*built).parameters())
    kept = 2 + STATES[recipe.optimizer] + (recipe.ema > 0) if run.steps else 1
    of_one = _step_bytes(built, _seen(run, side), recompute) + image_bytes(run, side) if run.steps else 0
    return Memory(
        process=PROCESS_BYTES,
        images=(sum(data.train_counts) + data.test_count) * _kept_bytes(data),
        weights=kept * weights,
        step=recipe.batch_size * of_one,
        checkpoint=2 * max(1, kept - 1) * weights,  # at least the final weights
        evaluation=TOGETHER * (_forward_bytes(built, seen) + image_bytes(run, shown)) if seen else 0,
    )


def _kept_bytes(data: Dataset) -> int:
    """What an image takes of the memory that all runs share: its pixels, or of a photograph its row of the index."""
    return ROW.itemsize if data.photographs else data.channels * data.native_resolution**2


class Wanted(NamedTuple):
    """A run, its evaluations, and whether its activations are computed again; `begun`: as its execution.json has it."""

    run: Run
    evaluations: Iterable[Evaluation] = ()
    recompute: bool = False
    begun: bool = False


def wanted(run: Run, evaluations: Iterable[Evaluation], root: Path, recompute: bool) -> Wanted:
    """What is left of a run under `root`: one that has begun goes on as it began, whatever is asked now."""
    try:
        execution = read_json_or(f"{root}/{run.id}/execution.json")
    except RecordError:  # a torn record is refused elsewhere
        execution = None
    if execution is None:
        return Wanted(run, evaluations, recompute)
    return Wanted(run, evaluations, bool(execution.get("checkpoint_activations", False)), begun=True)


def kinds(several: Iterable[Wanted]) -> list[Wanted]:
    """Of each kind of run that for which most pixels go through a network at once, with all evaluations that any run of
    its kind has: runs of a kind have the same network, but for the resolution, and keep as much of each weight
    (those of no steps keep less) and of each block."""
    first: dict[object, Wanted] = {}
    evaluations: dict[object, dict[Evaluation, None]] = {}
    for one in several:
        recipe = one.run.recipe
        network = (one.run.model, one.run.size, tuple(one.run.options.items()))
        kept = (recipe.optimizer, recipe.ema > 0, one.run.steps > 0, one.recompute, one.begun)
        key = (*network, one.run.dataset, *kept)
        first[key] = max(first.get(key, one), one, key=lambda it: it.run.recipe.batch_size * _side(it.run) ** 2)
        evaluations.setdefault(key, {}).update(dict.fromkeys(one.evaluations))
    return [one._replace(evaluations=tuple(evaluations[key])) for key, one in first.items()]


def largest(
    several: Iterable[Wanted],
    available: int | None,
    where: str,
    runs: int = 1,
    helps: Sequence[str] = (),
    again: str = "",
) -> Memory | None:
    """The memory of the one of some runs that takes the most; None of none. Raises InductiveError as `checked` does,
    where it is known what is `available`."""
    found = [
        memory_of(one.run, one.evaluations, one.recompute)
        if available is None
        else checked(one, available, where, runs, helps, again)
        for one in kinds(several)
    ]
    return max(found, key=lambda one: one.alone + one.images, default=None)


def _side(run: Run) -> int:
    """The largest training images in pixels."""
    return max((run.resolution, *run.recipe.train_resolutions))


def image_bytes(run: Run, side: int) -> int:
    """What one image takes on its way to a network at `side` pixels; a photograph also in the ring of those that are
    decoded ahead."""
    if run.data.photographs:
        return (IMAGE_COPIES * FLOAT + AHEAD) * run.data.channels * side**2
    return IMAGE_COPIES * FLOAT * run.data.channels * max(side, run.data.native_resolution) ** 2


def _seen(run: Run, side: int) -> int:
    """The pixels that the network sees of images of `side` pixels."""
    return run.resolution if models.resizes_input(run.model, run.options) else side


@lru_cache(maxsize=1024)
def _step_bytes(built: Built, side: int, recompute: bool) -> int:
    """What the backward pass needs of one image, and the two largest tensors that are there for a moment. With
    `recompute` a block keeps what it is given, and of one block at a time all is there."""
    import torch

    from models.blocks import blocks_of

    network, hooks = network_without_memory(*built).train(), ExitStack()
    own = {tensor.untyped_storage()._cdata for tensor in (*network.parameters(), *network.buffers())}
    saved: dict[int, Any] = {}  # by storage, held, so that no other can have its place
    given: dict[int, Any] = {}
    within: list[list[int]] = []  # of each block, what is saved first in it

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            saved.setdefault(storage._cdata, storage)
        return tensor

    def begin(block: Any, inputs: tuple[Any, ...]) -> None:
        storages = [one.untyped_storage() for one in inputs if isinstance(one, torch.Tensor)]
        given.update({storage._cdata: storage for storage in storages})
        within.append([len(saved)])

    def end(block: Any, inputs: Any, made: Any) -> None:
        within[-1] = list(saved)[within[-1][0] :]

    for block in blocks_of(network) if recompute else ():
        hooks.callback(block.register_forward_pre_hook(begin).remove)
        hooks.callback(block.register_forward_hook(end).remove)
    with hooks, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(torch.empty(2, network.in_channels, side, side, device="meta"))
    size = {place: int(storage.nbytes()) for place, storage in (given | saved).items()}
    again = [sum(size[place] for place in block if place not in given) for block in within]
    outside = (saved.keys() | given.keys()) - ({place for block in within for place in block} - given.keys())
    most = sum(size[place] for place in outside) + max(again, default=0)
    return round(STEP_COPIES * (most + 2 * max(size.values(), default=0)) / 2)


@lru_cache(maxsize=1024)
def _forward_bytes(built: Built, side: int) -> int:
    """What is held of one image in a pass forward without gradients: the largest intermediate, a few times."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        bytes = 0

        def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = operation(*args, **(kwargs or {}))
            if isinstance(made, torch.Tensor):
                self.bytes = max(self.bytes, made.numel() * made.element_size())
            return made

    network = network_without_memory(*built).eval()
    with torch.no_grad(), Largest() as largest:
        network(torch.empty(2, network.in_channels, side, side, device="meta"))
    return FORWARD_COPIES * largest.bytes // 2


def machine_bytes() -> int:
    """The memory that this process may use: the machine's, or less where a control group says so."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min((physical, *group_limits()))


def group_limits() -> Iterator[int]:
    """The limits, in bytes, of this process's control groups (version 1 or 2, outer ones too); none off Linux."""
    groups = Path("/proc/self/cgroup")
    for line in groups.read_text().splitlines() if groups.exists() else ():
        _, controllers, name = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = Path("/sys/fs/cgroup/memory" if controllers else "/sys/fs/cgroup")
        file = "memory.limit_in_bytes" if controllers else "memory.max"
        folder = top / name.strip("/")
        for one in (folder, *folder.parents):
            if one.is_relative_to(top) and (one / file).exists():
                text = (one / file).read_text().strip()
                yield from [int(text)] if text.isdigit() else []  # else "max"


def checked(
    wanted: Wanted, available: int, where: str, runs: int = 1, helps: Sequence[str] = (), again: str = ""
) -> Memory:
    """The memory of a run. Raises InductiveError, with both numbers, where `runs` such runs side by side need more than
    `available` bytes (of `where`: 'this machine'); `helps` is what helps there, beside another run, and `again` what
    has activations computed again, named where that takes less and the run has not begun without."""
    run, evaluations, recompute, begun = wanted
    batch = run.recipe.batch_size if run.steps else 0
    needed = runs * batch * image_bytes(run, _side(run))  # before such a network is even described
    if needed <= available:
        memory = memory_of(run, evaluations, recompute)
        needed = memory.side_by_side(runs)
        if needed <= available:
            return memory
        if again and not (recompute or begun) and memory_of(run, evaluations, True).alone < memory.alone:
            helps = (*helps, again)
    several = f" with {runs} side by side" if runs > 1 else ""
    raise InductiveError(
        f"{run.id}: needs about {gigabytes(needed)} of memory{several}, and {where} has {gigabytes(available)}; "
        f"what helps: {', '.join((*helps, 'a smaller resolution, network or recipe.batch_size'))} "
        f"({run.recipe.batch_size})"
    )


def gigabytes(count: float) -> str:
    """Bytes as people read them: '0.6 GB', '48 GB'."""
    amount = count / 1e9
    return f"{amount:.1f} GB" if amount < 10 else f"{amount:,.0f} GB"
