"""Drawing: scenes in units that no resolution changes, made of integers alone, so that every platform draws the same.

An image is a square of UNITS by UNITS. It is looked at in SAMPLES x SAMPLES places of each pixel, and a pixel is their
mean: edges are smooth at every resolution, without anything being resized.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks import randomness
from benchmarks.data.dataset import Dataset, Images

UNITS = 1 << 16
SAMPLES = 4  # a side of a pixel
CHUNK_SAMPLES = 1 << 23  # looked at together, which bounds the memory

Numbers = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Scenes:
    """Some images of a part: `numbers` (N,) are their places in it, `labels` (N,) their classes.

    What is random in them is a pure function of the probe, the part, the purpose and the number.
    """

    probe: str
    part: str  # train or test
    numbers: Numbers
    labels: Numbers

    def between(self, purpose: str, low: int, high: int) -> Numbers:
        """An integer in low ... high for each image, both included (N,)."""
        return low + (self._hashes(purpose) % np.uint64(high - low + 1)).astype(np.int64)

    def orders(self, purpose: str, count: int) -> Numbers:
        """A random order of 0 ... count - 1 for each image (N, count)."""
        ranks = np.stack([self._hashes(f"{purpose} {place}") for place in range(count)], axis=1)
        return np.argsort(ranks, axis=1, kind="stable").astype(np.int64)

    def _hashes(self, purpose: str) -> NDArray[np.uint64]:
        stream = randomness.key(0, f"drawn {self.probe} {self.part} {purpose}")
        return randomness.hashes(stream, self.numbers) >> np.uint64(11)


class Canvas:
    """N images in the making, each sample of them a value for each channel.

    `x` (1, 1, S) and `y` (1, S, 1) are where the samples are, in units; shapes take coordinates (N,) and give the
    samples that they cover (N, S, S).
    """

    def __init__(self, count: int, channels: int, pixels: int) -> None:
        side = pixels * SAMPLES
        places = ((2 * np.arange(side, dtype=np.int64) + 1) * UNITS) // (2 * side)
        self.x, self.y = places[None, None, :], places[None, :, None]
        self.samples = np.zeros((count, channels, side, side), dtype=np.uint8)

    def paint(self, where: Mask, *values: Numbers) -> None:
        """Gives the covered samples a value (N,) for each channel."""
        for channel, value in enumerate(values):
            np.copyto(self.samples[:, channel], value[:, None, None].astype(np.uint8), where=where)

    def ellipse(self, x: Numbers, y: Numbers, width: Numbers, height: Numbers) -> Mask:
        """All within an ellipse about (x, y), by its half axes, in units below 2^15 (in 64 bits that is exact)."""
        across, down = self.x - _wide(x), self.y - _wide(y)
        outer: Mask = (across * _wide(height)) ** 2 + (down * _wide(width)) ** 2 <= _wide(width * height) ** 2
        return outer

    def disc(self, x: Numbers, y: Numbers, radius: Numbers) -> Mask:
        within: Mask = (self.x - _wide(x)) ** 2 + (self.y - _wide(y)) ** 2 <= _wide(radius) ** 2
        return within

    def box(self, x: Numbers, y: Numbers, width: Numbers, height: Numbers) -> Mask:
        """All within half a width and half a height of (x, y)."""
        return (abs(self.x - _wide(x)) <= _wide(width)) & (abs(self.y - _wide(y)) <= _wide(height))

    def triangle(self, x: Numbers, y: Numbers, radius: Numbers) -> Mask:
        """With its tip up, as wide and as high as a disc of this radius."""
        below = self.y - _wide(y) + _wide(radius)  # the tip
        return (2 * abs(self.x - _wide(x)) <= below) & (below <= 2 * _wide(radius))

    def cross(self, x: Numbers, y: Numbers, radius: Numbers) -> Mask:
        """Two bars, upright and lying, a third as wide as long."""
        return self.box(x, y, radius, radius // 3) | self.box(x, y, radius // 3, radius)

    def pixels(self) -> NDArray[np.uint8]:
        """(N, C, H, W): the mean of the samples of each pixel, rounded."""
        count, channels, side, _ = self.samples.shape
        pixels = side // SAMPLES
        sums = self.samples.reshape(count, channels, pixels, SAMPLES, pixels, SAMPLES).sum((3, 5), dtype=np.int64)
        return ((sums + SAMPLES**2 // 2) // SAMPLES**2).astype(np.uint8)


def _wide(values: Numbers) -> Numbers:
    """(N,) beside samples (N, S, S)."""
    return values[:, None, None]


def images(spec: Dataset, probe: str, draw: Callable[[Canvas, Scenes], None]) -> Images:
    """Both parts of a drawn data set; classes take turns. `draw` paints some scenes onto an empty (black) canvas."""
    parts = {}
    for part, count in (("train", sum(spec.train_counts)), ("test", spec.test_count)):
        pixels = np.empty((count, spec.channels, spec.native_resolution, spec.native_resolution), dtype=np.uint8)
        labels = np.arange(count, dtype=np.int64) % spec.classes
        step = max(1, CHUNK_SAMPLES // (spec.native_resolution * SAMPLES) ** 2)
        for start in range(0, count, step):
            numbers = np.arange(start, min(start + step, count), dtype=np.int64)
            canvas = Canvas(len(numbers), spec.channels, spec.native_resolution)
            draw(canvas, Scenes(probe, part, numbers, labels[numbers]))
            pixels[numbers] = canvas.pixels()
        parts[part] = (pixels, labels)
    return Images(*parts["train"], *parts["test"])
