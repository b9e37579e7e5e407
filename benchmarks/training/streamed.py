"""Batches of photographs: decoded by other processes while the network learns from the batches before.

What a step shows is drawn here, by image and epoch, as for images in memory; those who decode are told window by window
what to make. A recipe with random-resized crops gets its windows from the photographs as they are; without, a
photograph is resized to the resolution by its shorter side, and of that the middle is what is augmented.

Shapes: N images of a block, C channels, R pixels a side.
"""

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.data.decoding import Squares
from benchmarks.data.photographs import Photographs, Views, squares
from benchmarks.plan.run import Run
from benchmarks.training import augment
from benchmarks.training.batches import Batches
from benchmarks.training.pixels import to_device

SAMPLE = 2048  # training images, the first of the subset, that give mean and deviation


def sample(photographs: Photographs, resolution: int) -> Squares:
    """The photographs that images are normalised by: to look at all of them takes longer than many a training."""
    return Squares(photographs.select(np.arange(min(SAMPLE, len(photographs)))), resolution, resolution)


class StreamedBatches(Batches):
    """As `Batches`, of photographs."""

    def __init__(self, run: Run, photographs: Photographs, labels: NDArray[np.int64], device: torch.device):
        """`photographs` (n_train) and `labels` (n_train,) are the training part of the subset."""
        self.photographs = photographs
        super().__init__(run, sample(photographs, run.resolution), labels, device)
        self.crops = "resized_crop" in self.augmentations
        self.augmentations = tuple(name for name in self.augmentations if name != "resized_crop")
        blocks = -(-run.steps // self.block_steps)
        largest = max(run.resolution, *run.recipe.train_resolutions, 0)
        most = (run.recipe.batch_size * self.block_steps, largest)
        self.stream = photographs.decoding.stream(lambda block: self.views(block * self.block_steps), blocks, most)

    def _held(self, images: object) -> Squares:
        return Squares(self.photographs, self.run.resolution, self.run.resolution)

    def _shape(self, side: int) -> augment.Shape:
        return self.run.data.channels, side, side

    def _pixels(self, step: int, indices: NDArray[np.int64], chosen: Tensor) -> Tensor:
        pixels = self.stream.take(step // self.block_steps)
        (there,) = to_device([pixels], self.device)
        return there.permute(0, 3, 1, 2).contiguous()

    def views(self, step: int) -> Views:
        """What is to be decoded for the block that begins at a step."""
        steps, side, indices = self.block_steps, self.resolution(step), self.indices(step, self.block_steps)
        sizes = self.photographs.sizes[indices]
        if self.crops:
            draw = partial(self._uniforms, "resized_crop", step, steps)
            found = augment.windows(draw(augment.WINDOW_DRAWS), sizes[:, 0], sizes[:, 1], self.run.recipe)
            top, left, rows, columns = (values.astype(np.int32) for values in found)
            same, zero = np.full_like(top, side), np.zeros_like(top)
            windows = np.stack((left, top, columns, rows, same, same, zero, zero), axis=1)
        else:
            windows = squares(sizes, side, side)
        return Views(self.photographs.rows[indices], windows, side)

    @property
    def waited(self) -> float:
        return self.stream.waited

    def close(self) -> None:
        self.stream.close()
