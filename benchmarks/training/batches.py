"""Batches as a pure function of the step: resident uint8 images, order and augmentation from `randomness`.

Shapes: B batch, C channels, H W native pixels, R pixels of the resolution asked for.
"""

from functools import lru_cache, partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import randomness
from benchmarks.plan.recipes import augmentations
from benchmarks.plan.run import Run
from benchmarks.training import augment
from benchmarks.training.pixels import Pixels, moments, to_device

MOVES = ("crop", "flip")  # augmentations that only move pixels: of bytes, too, which is a quarter of the work


def resize(x: Tensor, resolution: int) -> Tensor:
    """Images (float32, B C H W) at another resolution: one antialiased bilinear step, the same everywhere."""
    if x.shape[-2:] == (resolution, resolution):
        return x
    return F.interpolate(x, size=(resolution, resolution), mode="bilinear", antialias=True, align_corners=False)


def fractions(x: Tensor) -> Tensor:
    """Bytes as numbers 0..1; what is no longer bytes stays as it is."""
    return x.float() / 255 if x.dtype == torch.uint8 else x


class Normaliser:
    """Subtracts the mean and divides by the deviation of each channel over the training images of the subset."""

    def __init__(self, images: Pixels, device: torch.device):
        mean, deviation = moments(images)
        shape = (1, images.shape[1], 1, 1)
        self.mean = torch.tensor(mean, dtype=torch.float32, device=device).view(shape)
        self.deviation = torch.tensor(np.maximum(deviation, 1e-3), dtype=torch.float32, device=device).view(shape)

    def __call__(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.deviation


class Batches:
    """The stream of training batches of a run. Every batch is full: the stream runs across epochs."""

    def __init__(self, run: Run, images: Pixels, labels: NDArray[np.int64], device: torch.device):
        """`images` (n_train, C, H, W) and `labels` (n_train,) are the training images of the subset.

        They are copied to a GPU whole; on a CPU they are read where they lie.
        """
        self.run, self.device = run, device
        self.images = images if device.type == "cpu" else to_device(images[:], device)
        self.labels = to_device(labels, device)
        self.normalise = Normaliser(images, device)
        self.augmentations = augmentations(run.recipe, run.data.flips)
        self._order = lru_cache(maxsize=4)(self._order_of)

    def _order_of(self, epoch: int) -> NDArray[np.int64]:
        return randomness.permutation(randomness.key(self.run.seed, "order", epoch), len(self.labels))

    def indices(self, step: int) -> NDArray[np.int64]:
        """Which training images are in the batch of a step (B,)."""
        places = step * self.run.recipe.batch_size + np.arange(self.run.recipe.batch_size)
        epochs, within = np.divmod(places, len(self.labels))
        return np.concatenate([self._order(int(epoch))[within[epochs == epoch]] for epoch in np.unique(epochs)])

    def resolution(self, step: int) -> int:
        """Pixels of the images of a step: the run's, or one of the recipe's `train_resolutions`."""
        several = self.run.recipe.train_resolutions
        if not several:
            return self.run.resolution
        drawn = randomness.uniforms(randomness.key(self.run.seed, "resolution"), np.array([step]))
        return several[int(drawn[0] * len(several))]

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Images (float32, B C R R) and label weights (float32, B x classes) of a step.

        A random-resized crop brings native pixels to the step's resolution in one interpolation, and what comes after
        it works there; without one, images are augmented at native size and resized last.
        """
        recipe, classes, side = self.run.recipe, self.run.data.classes, self.resolution(step)
        indices = self.indices(step)
        chosen = to_device(indices, self.device)
        pixels = self.images[chosen] if isinstance(self.images, Tensor) else torch.from_numpy(self.images[indices])
        x, weights = pixels, F.one_hot(self.labels[chosen], classes).float()
        for name in self.augmentations:
            if name not in MOVES:
                x = fractions(x)
            to_size = {"side": side} if name == "resized_crop" else {}
            x, weights = getattr(augment, name)(x, weights, partial(self._uniforms, name, step), recipe, **to_size)
        weights = weights * (1 - recipe.label_smoothing) + recipe.label_smoothing / classes
        return self.normalise(resize(fractions(x), side)), weights

    def _uniforms(self, name: str, step: int, count: int) -> NDArray[np.float64]:
        """Independent numbers for each image of the stream, B x count."""
        size = self.run.recipe.batch_size
        places = step * size + np.arange(size)
        stream = randomness.key(self.run.seed, name)
        return randomness.uniforms(stream, places[:, None] * count + np.arange(count))
