"""What one process has of a run's steps, and how the parts become the step of the whole batch.

After the backward pass one sum over all ranks holds everything: gradients, loss, hits, running statistics of groups of
BatchNorm, and who has been asked to stop. So ranks make the same update, skip the same, and stop at the same step.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from benchmarks.training.batchnorm import batch_norms
from benchmarks.training.ranks.draws import Axes, ByPlace, axes_of_draws
from benchmarks.training.ranks.normalisation import Groups, check_groups
from benchmarks.training.ranks.recomputing import recomputable, recomputed
from benchmarks.training.ranks.rows import Rows
from benchmarks.training.ranks.world import World
from models.network import Network


class Restorable(Protocol):
    """A training, as far as its state goes."""

    def state(self) -> dict[str, Any]: ...
    def restore(self, state: Mapping[str, Any]) -> None: ...


class Share:
    """This process's rows of every batch of a run."""

    def __init__(
        self,
        model: Network,
        shape: Sequence[int],
        batch: int,
        micro_batch: int,
        group: int,
        world: World | None,
        recompute: bool = False,
    ):
        """`shape` is that of an image (C, H, W); `world` is None for the only process; activations of blocks are
        kept, or computed again where `recompute` says so. Raises ConfigError where
        BatchNorm cannot be in groups of `group`, and InductiveError as `axes_of_draws` does."""
        self.model, self.world, self.batch = model, world, batch
        self.axes: Axes = () if world is None else axes_of_draws(model, shape)
        self.rows = Rows(0, batch, batch) if world is None else world.rows(batch)
        self.groups: Groups | None = None
        self.blocks = recomputable(model) if recompute else []
        if batch_norms(model) and (group or world is not None):
            check_groups(group, batch, 1 if world is None else world.ranks, micro_batch)
            self.groups = Groups(group, batch, world)
        device = next(model.parameters()).device
        self.accuracy, self.asked = torch.zeros((), device=device), torch.zeros((), device=device)
        self.agreed = _Later(device)

    @contextmanager
    def forward(self, first: int, count: int) -> Iterator[None]:
        """Within it a network can be given `count` of our rows, the first-th and those after it."""
        with ExitStack() as stack:
            draws = ByPlace(self.rows.part(first, count), self.axes) if self.axes else None
            if draws is not None:
                stack.enter_context(draws)
            if self.groups is not None:
                stack.enter_context(self.groups)
            if self.blocks:
                stack.enter_context(recomputed(self.blocks, draws, self.groups))
            yield

    def add_up(self, loss: Tensor, logits: Tensor, weights: Tensor) -> Tensor:
        """Makes our gradients those of the whole batch, and returns its loss. `loss` is our rows' share of it; their
        `logits` and label `weights` are B x classes."""
        sums = [] if self.groups is None else self.groups.sums()
        if self.world is not None:
            gradients = [one.grad for one in self.model.parameters() if one.grad is not None]
            hits = (logits.argmax(1) == weights.argmax(1)).sum()
            numbers = torch.stack([value.to(gradients[0].dtype) for value in (loss, hits, self.asked)])
            parts = [*gradients, numbers, *sums]
            flat = torch.cat([part.reshape(-1).to(numbers.dtype) for part in parts])
            self.world.add_up(flat)
            summed = [
                part.view(one.shape) for part, one in zip(flat.split([p.numel() for p in parts]), parts, strict=True)
            ]
            torch._foreach_copy_(gradients, summed[: len(gradients)])
            numbers, *sums = summed[len(gradients) :]
            loss, self.accuracy = numbers[0].to(loss.dtype), numbers[1] / self.batch
            self.agreed.note(numbers[2])
        if self.groups is not None:
            self.groups.move(sums)
        return loss

    def stops(self, asked: bool) -> bool:
        """Whether all ranks stop here: once one of them has been asked to, a step before this one at least."""
        if self.world is None:
            return asked
        self.asked.fill_(float(asked))
        return self.agreed.read()

    def agree(self, training: Restorable) -> None:
        """Gives every rank the state of rank 0: a new network's, or what that has read from a checkpoint."""
        if self.world is None:
            return
        buffer = io.BytesIO()
        if self.world.rank == 0:
            torch.save(training.state(), buffer)
        data = self.world.hand_round(buffer.getvalue())
        if self.world.rank:
            training.restore(torch.load(io.BytesIO(data), weights_only=True, map_location="cpu"))


class _Later:
    """A number of each step that is read without waiting for a GPU: the one of the step before, on every rank."""

    def __init__(self, device: torch.device):
        self.waits = device.type == "cuda"
        self.noted: list[tuple[Tensor, Any]] = []  # of the last two steps, on the host, and when they are there

    def note(self, number: Tensor) -> None:
        if not self.waits:
            self.noted = [(number, None)]
            return
        here = torch.empty((), pin_memory=True, dtype=number.dtype)
        here.copy_(number, non_blocking=True)
        there = torch.cuda.Event()
        there.record()
        self.noted = [*self.noted[-1:], (here, there)]

    def read(self) -> bool:
        """Whether the number was above 0."""
        if self.waits and len(self.noted) < 2:
            return False
        number, there = self.noted[0]
        if there is not None:
            there.synchronize()
        return bool(number > 0)
