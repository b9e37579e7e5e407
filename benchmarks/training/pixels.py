"""Images where they lie: a part of a data set costs a run no memory of its own, and what goes to a device waits not.

Shapes: N images of the whole, C channels, H W native pixels.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CHUNK = 1024  # images looked at together
CHUNK_BYTES = 64 * 2**20  # copied to a device together
ALIGNED = 16  # bytes: where an array may begin among others


class Selected:
    """Some images of an array that all processes share (N C H W, uint8): only what is asked for is copied.

    Two are equal when they are the same images of one array; what it holds is not looked at.
    """

    def __init__(self, whole: NDArray[np.uint8], indices: NDArray[np.int64]):
        self.whole, self.indices = whole, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, which: slice | NDArray[np.integer]) -> NDArray[np.uint8]:
        return self.whole[self.indices[which]]

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.indices), *self.whole.shape[1:]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Selected) and self.whole is other.whole and np.array_equal(self.indices, other.indices)

    def __hash__(self) -> int:
        return hash((id(self.whole), self.indices.tobytes()))


class OnDemand(Protocol):
    """Images (uint8, N C H W) that are there once they are asked for: some of an array, decoded ones, changed ones."""

    def __len__(self) -> int: ...

    def __hash__(self) -> int: ...

    def __getitem__(self, which: slice | NDArray[np.integer]) -> NDArray[np.uint8]: ...

    @property
    def shape(self) -> tuple[int, ...]: ...


Pixels = NDArray[np.uint8] | OnDemand
Moments = tuple[NDArray[np.float64], NDArray[np.float64]]


def moments(images: Pixels) -> Moments:
    """Mean and standard deviation of each channel, pixels counted as 0..1; from whole numbers, so exact to the last
    rounding and the same whatever is looked at together.

    A process remembers those of the last parts of a data set: training and each measuring ask for the same.
    """
    return _moments(images) if isinstance(images, np.ndarray) else _moments_of_part(images)


@lru_cache(maxsize=4)
def _moments_of_part(images: OnDemand) -> Moments:
    return _moments(images)


def _moments(images: Pixels) -> Moments:
    channels = images.shape[1]
    counts = torch.zeros(channels, 256, dtype=torch.int64)
    for start in range(0, len(images), CHUNK):
        chunk = torch.from_numpy(images[start : start + CHUNK])
        for channel in range(channels):
            counts[channel] += torch.bincount(chunk[:, channel].reshape(-1), minlength=256)
    level = np.arange(256)
    means, deviations = [], []
    for row in counts.numpy():
        pixels, total, squares = (int(value) for value in (row.sum(), row @ level, row @ level**2))
        means.append(total / pixels / 255)
        deviations.append((pixels * squares - total * total) ** 0.5 / pixels / 255)
    return np.array(means), np.array(deviations)


def to_device(arrays: Sequence[NDArray[Any]], device: torch.device) -> list[Tensor]:
    """NumPy arrays as tensors on a device, by one copy for all. On a GPU it is put in its queue, from pinned memory: a
    copy as torch makes it by default waits until the GPU has done all that it was asked before. On a CPU nothing is
    copied that lies in order.
    """
    if device.type == "cpu":
        return [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]
    whole = torch.from_numpy(packed(arrays))
    if device.type == "cuda":
        whole = whole.pin_memory()
    queued = device.type != "mps"  # where nothing holds what a copy that is not waited for still reads
    return unpacked(whole.to(device, non_blocking=queued), arrays)


def packed(arrays: Sequence[NDArray[Any]]) -> NDArray[np.uint8]:
    """The bytes of some arrays, one after the other."""
    whole = np.empty(sum(map(_room, arrays)), dtype=np.uint8)
    start = 0
    for array in arrays:
        whole[start : start + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        start += _room(array)
    return whole


def unpacked(whole: Tensor, arrays: Sequence[NDArray[Any]]) -> list[Tensor]:
    """The arrays of which `whole` has the bytes, as views of it."""
    parts = zip(whole.split([_room(array) for array in arrays]), arrays, strict=True)
    return [part[: array.nbytes].view(_type(array)).view(array.shape) for part, array in parts]


def _room(array: NDArray[Any]) -> int:
    """Bytes that an array takes up among others."""
    return -(-array.nbytes // ALIGNED) * ALIGNED


def _type(array: NDArray[Any]) -> torch.dtype:
    return torch.from_numpy(np.empty(0, dtype=array.dtype)).dtype


def resident(images: Pixels, device: torch.device) -> Tensor:
    """All images on a device (uint8, N C H W), copied in parts: of pinned memory there is never more than a part's, as
    torch rounds what it takes up to a power of two and keeps it.
    """
    there = torch.empty(images.shape, dtype=torch.uint8, device=device)
    count = max(1, CHUNK_BYTES // int(np.prod(images.shape[1:])))
    for start in range(0, len(images), count):
        (part,) = to_device([images[start : start + count]], device)
        there[start : start + count] = part
    return there
