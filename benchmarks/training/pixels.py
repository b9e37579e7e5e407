"""Images where they lie: a part of a data set costs a run no memory of its own, and what goes to a device waits not.

Shapes: N images of the whole, C channels, H W native pixels.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CHUNK = 1024  # images looked at together


class Selected:
    """Some images of an array that all processes share (N C H W, uint8): only what is asked for is copied."""

    def __init__(self, whole: NDArray[np.uint8], indices: NDArray[np.int64]):
        self.whole, self.indices = whole, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, which: slice | NDArray[np.integer]) -> NDArray[np.uint8]:
        return self.whole[self.indices[which]]

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.indices), *self.whole.shape[1:]


Pixels = NDArray[np.uint8] | Selected


def moments(images: Pixels) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each channel, pixels counted as 0..1; from whole numbers, so exact to the last
    rounding and the same whatever is looked at together."""
    channels = images.shape[1]
    counts = np.zeros((channels, 256), dtype=np.int64)
    for start in range(0, len(images), CHUNK):
        chunk = images[start : start + CHUNK]
        for channel in range(channels):
            counts[channel] += np.bincount(chunk[:, channel].reshape(-1), minlength=256)
    level = np.arange(256)
    means, deviations = [], []
    for row in counts:
        pixels, total, squares = (int(value) for value in (row.sum(), row @ level, row @ level**2))
        means.append(total / pixels / 255)
        deviations.append((pixels * squares - total * total) ** 0.5 / pixels / 255)
    return np.array(means), np.array(deviations)


def to_device(values: NDArray[Any], device: torch.device) -> Tensor:
    """A NumPy array as a tensor on a device. On a GPU the copy is put in its queue, from pinned memory: a copy as
    torch makes it by default waits until the GPU has done all that it was asked before."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device, non_blocking=True)
