"""Batches as a pure function of the step: resident uint8 images, order and augmentation from `randomness`.

On a GPU those of several steps, a block, are made at once: what a step draws depends on its number alone, and to ask a
GPU for an operation takes longer than to do it for one batch. Blocks begin at the same steps wherever a run resumes.

Shapes: B batch, N images of a block, C channels, H W native pixels, R pixels of the resolution asked for.
"""

from collections.abc import Iterator
from functools import lru_cache, partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

import models
from benchmarks import randomness
from benchmarks.plan.recipes import augmentations
from benchmarks.plan.run import Run
from benchmarks.training import augment
from benchmarks.training.pixels import CHUNK, Pixels, moments, resident, to_device

MOVES = ("crop", "flip")  # augmentations that only move pixels: of bytes, too, which is a quarter of the work
BLOCK_BYTES = 64 * 2**20  # of a block's images, as float32; operations take a few times as much for a moment
BLOCK_STEPS = 32  # at most


def resize(x: Tensor, resolution: int, interpolation: str = "bilinear") -> Tensor:
    """Images (float32, B C H W) at another resolution: one antialiased step, bilinear wherever nothing else is asked
    for. Bicubic overshoots at edges: what leaves 0..1 is cut off, as where bytes are resized."""
    if x.shape[-2:] == (resolution, resolution):
        return x
    resized = F.interpolate(x, size=(resolution, resolution), mode=interpolation, antialias=True, align_corners=False)
    return resized.clamp(0, 1) if interpolation == "bicubic" else resized


def fractions(x: Tensor) -> Tensor:
    """Bytes as numbers 0..1; what is no longer bytes stays as it is."""
    return x.float() / 255 if x.dtype == torch.uint8 else x


class Normaliser:
    """Subtracts the mean and divides by the deviation of each channel: those of the training images of the subset, or
    those that the weights of a run were published with."""

    def __init__(self, images: Pixels, device: torch.device, run: Run | None = None):
        published = models.shown_as_published(run.model, run.options) if run else None
        mean, deviation = (published.mean, published.deviation) if published else moments(images)
        shape = (1, images.shape[1], 1, 1)
        self.mean = torch.tensor(mean, dtype=torch.float32, device=device).view(shape)
        self.deviation = torch.tensor(np.maximum(deviation, 1e-3), dtype=torch.float32, device=device).view(shape)

    def __call__(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.deviation


def block_steps(run: Run, device: torch.device) -> int:
    """How many steps' batches are made at once on a device.

    One where the resolution is drawn for each step; and on a CPU, whose convolutions round a grey image by itself
    otherwise than among others, so that the bits would depend on it.
    """
    if device.type == "cpu" or run.recipe.train_resolutions:
        return 1
    side = max(run.resolution, run.data.native_resolution)
    batch = run.recipe.batch_size * run.data.channels * side**2 * 4
    return max(1, min(BLOCK_STEPS, BLOCK_BYTES // batch))


class Batches:
    """The stream of training batches of a run. Every batch is full: the stream runs across epochs."""

    def __init__(self, run: Run, images: Pixels, labels: NDArray[np.int64], device: torch.device):
        """`images` (n_train, C, H, W) and `labels` (n_train,) are the training images of the subset.

        They are copied to a GPU whole; on a CPU they are read where they lie.
        """
        self.run, self.device = run, device
        self.images = self._held(images)
        (self.labels,) = to_device([labels], device)
        self.normalise = Normaliser(images, device, run)
        self.augmentations = augmentations(run.recipe, run.data.flips)
        self.block_steps = block_steps(run, device)
        self._order = lru_cache(maxsize=4)(self._order_of)
        self._block: dict[int, tuple[Tensor, Tensor]] = {}  # batches by step

    @property
    def waited(self) -> float:
        """Seconds that training has waited for images."""
        return 0.0

    @property
    def size(self) -> int:
        """How many images of each step are made here."""
        return self.run.recipe.batch_size

    def close(self) -> None:
        """Gives back what is held for the batches that are not asked for any more."""

    def _held(self, images: Pixels) -> Pixels | Tensor:
        return images if self.device.type == "cpu" else resident(images, self.device)

    def _order_of(self, epoch: int) -> NDArray[np.int64]:
        return randomness.permutation(randomness.key(self.run.seed, "order", epoch), len(self.labels))

    def indices(self, step: int, steps: int = 1) -> NDArray[np.int64]:
        """Which training images are in the batch of a step, or of several, one after the other (N,)."""
        epochs, found = np.divmod(self._numbered(step, steps), len(self.labels))
        for epoch in np.unique(epochs):
            found[epochs == epoch] = self._order(int(epoch))[found[epochs == epoch]]
        return found

    def _numbered(self, step: int, steps: int, count: int = 1) -> NDArray[np.int64]:
        """The numbers in the stream of `count` draws for each image of some steps (N x count, all in one row)."""
        each = self.run.recipe.batch_size * count
        return np.arange(step * each, (step + steps) * each)

    def resolution(self, step: int) -> int:
        """Pixels of the images of a step: the run's, or one of the recipe's `train_resolutions`."""
        several = self.run.recipe.train_resolutions
        if not several:
            return self.run.resolution
        drawn = randomness.uniforms(randomness.key(self.run.seed, "resolution"), np.array([step]))
        return several[int(drawn[0] * len(several))]

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Images (float32, B C R R) and label weights (float32, B x classes) of a step."""
        if step not in self._block:
            self._block = {}  # its memory is needed for the next
            self._block = self._block_from(step - step % self.block_steps)
        return self._block[step]

    def unaugmented(self) -> Iterator[Tensor]:
        """All training images as the network is given them, without augmentation, some at a time (float32, B C R R)."""
        for start in range(0, len(self.images), CHUNK):
            part = self.images[start : start + CHUNK]
            pixels = part if isinstance(part, Tensor) else to_device([part], self.device)[0]
            yield self.normalise(resize(fractions(pixels), self.run.resolution))

    def _block_from(self, step: int) -> dict[int, tuple[Tensor, Tensor]]:
        """The batches of a block's steps, made together.

        A random-resized crop brings native pixels to the step's resolution in one interpolation, and what comes after
        it works there; without one, images are augmented at native size and resized last.
        """
        recipe, classes, side = self.run.recipe, self.run.data.classes, self.resolution(step)
        indices, changes = self.drawn(step)
        arrays = [indices, *(array for change in changes for array in change.numbers)]
        chosen, *numbers = to_device(arrays, self.device)
        x, weights = self._pixels(step, indices, chosen), F.one_hot(self.labels[chosen], classes).float()
        for name, change in zip(self.augmentations, changes, strict=True):
            if name not in MOVES:
                x = fractions(x)
            own, numbers = numbers[: len(change.numbers)], numbers[len(change.numbers) :]
            x, weights = change.make(x, weights, *own)
        weights = weights * (1 - recipe.label_smoothing) + recipe.label_smoothing / classes
        x = self.normalise(resize(fractions(x), side))
        batches = zip(x.split(self.size), weights.split(self.size), strict=True)
        return dict(enumerate(batches, step))

    def _pixels(self, step: int, indices: NDArray[np.int64], chosen: Tensor) -> Tensor:
        """The images of the block that begins at a step, as they are augmented (uint8, N C H W), on the device."""
        return self.images[chosen] if isinstance(self.images, Tensor) else torch.from_numpy(self.images[indices])

    def _shape(self, side: int) -> augment.Shape:
        """Of these images (C H W), where the network is given `side` pixels."""
        return self.run.data.channels, *self.images.shape[2:]

    def drawn(self, step: int) -> tuple[NDArray[np.int64], list[augment.Change]]:
        """All that is decided on the host for the block that begins at a step: which images (N,), and their changes."""
        side = self.resolution(step)
        shape, changes = self._shape(side), []
        for name in self.augmentations:
            to_size = {"side": side} if name == "resized_crop" else {}
            changes.append(self._change(name, step, shape, **to_size))
            shape = (shape[0], side, side) if to_size else shape
        return self.indices(step, self.block_steps), changes

    def _change(self, name: str, step: int, shape: augment.Shape, **to_size: int) -> augment.Change:
        """What an augmentation does to the images of the block that begins at a step."""
        in_turn = name == "flip" and self.run.recipe.flip_order == "alternating"
        draw = partial(self._by_turns if in_turn else self._uniforms, name, step, self.block_steps)
        change: augment.Change = getattr(augment, name)(draw, shape, self.run.recipe, **to_size)
        return change

    def _uniforms(self, name: str, step: int, steps: int, count: int) -> NDArray[np.float64]:
        """Independent numbers for each image of the stream, N x count."""
        stream = randomness.key(self.run.seed, name)
        return randomness.uniforms(stream, self._numbered(step, steps, count)).reshape(-1, count)

    def _by_turns(self, name: str, step: int, steps: int, count: int) -> NDArray[np.float64]:
        """Likewise (N x 1), but drawn once for each training image, and moved by a half in every second epoch: what is
        done below a half is done to each image in the one epoch or in the next (Jordan, 2024)."""
        own = randomness.uniforms(randomness.key(self.run.seed, name), self.indices(step, steps))
        odd = self._numbered(step, steps) // len(self.labels) % 2
        return ((own + 0.5 * odd) % 1).reshape(-1, count)
