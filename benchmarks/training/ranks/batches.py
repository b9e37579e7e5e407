"""The rows of a rank of every step's batch, made from as few images as they need.

An image is augmented by the numbers of its place in the stream, so each rank draws for its own. Where images are mixed,
a partner may be a row of another rank: who is mixed with whom is drawn for the whole batch, and a partner's image is
made again here, up to the mixing, instead of being sent.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import randomness
from benchmarks.training import augment
from benchmarks.training.batches import Batches
from benchmarks.training.ranks.rows import Rows
from benchmarks.training.streamed import StreamedBatches


class OfRows(Batches):
    """The stream of a rank's rows of the training batches of a run."""

    def __init__(self, rows: Rows, *what: Any):
        """`what`: as for the batches."""
        self.rows = rows
        self._made = lru_cache(maxsize=2)(self._made_of)
        super().__init__(*what)

    @property
    def size(self) -> int:
        return len(self.rows)

    def _numbered(self, step: int, steps: int, count: int = 1) -> NDArray[np.int64]:
        """As in `Batches`, of the images that are made here."""
        return (self._made(step, steps)[:, None] * count + np.arange(count)).reshape(-1)

    def _made_of(self, step: int, steps: int) -> NDArray[np.int64]:
        """The places in the stream of the images that some steps need here: our rows, then partners of other ranks."""
        batch = self.rows.of
        own = np.concatenate(
            [np.arange(self.rows.start, self.rows.stop) + batch * s for s in range(step, step + steps)]
        )
        if "mix" not in self.augmentations:
            return own
        shape = (self.run.data.channels, 1, 1)  # of an image, which decides nothing about partners
        partners = self._mixing(step, steps, shape).numbers[0] + batch * step
        return np.concatenate((own, np.setdiff1d(partners[own - batch * step], own)))

    def _mixing(self, step: int, steps: int, shape: augment.Shape) -> augment.Change:
        """How the whole batches of some steps are mixed."""
        stream, numbered = randomness.key(self.run.seed, "mix"), super()._numbered

        def draw(count: int) -> augment.Uniforms:
            return randomness.uniforms(stream, numbered(step, steps, count)).reshape(-1, count)

        return augment.mix(draw, shape, self.run.recipe)

    def _change(self, name: str, step: int, shape: augment.Shape, **to_size: int) -> augment.Change:
        """As in `Batches`; mixing leaves our rows alone."""
        if name != "mix":
            return super()._change(name, step, shape, **to_size)
        steps, batch = self.block_steps, self.rows.of
        places = self._made(step, steps) - batch * step  # in the block
        own = steps * len(self.rows)
        whole = self._mixing(step, steps, shape)
        where = np.zeros(steps * batch, np.int64)
        where[places] = np.arange(len(places))
        partner, *numbers = (array[..., places] for array in whole.numbers)
        partner = where[partner]
        partner[own:] = 0  # nobody looks at what partners are mixed with

        def make(x: Tensor, weights: Tensor, *numbers: Any) -> tuple[Tensor, Tensor]:
            x, weights = whole.make(x, weights, *numbers)
            return x[:own], weights[:own]

        return augment.Change(make, _arrays(partner, numbers))


def _arrays(first: NDArray[Any], others: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], ...]:
    return tuple(map(np.ascontiguousarray, (first, *others)))


class ResidentRows(OfRows, Batches):
    """Of images in memory."""


class StreamedRows(OfRows, StreamedBatches):
    """Of photographs."""
