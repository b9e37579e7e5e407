"""Parts of a data set that are read where they lie, and their moments."""

from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.training import pixels
from benchmarks.training.pixels import CHUNK, Selected, moments, packed, resident, to_device, unpacked

WHOLE = np.random.default_rng(0).integers(0, 256, (50, 3, 4, 4), dtype=np.uint8)


def test_a_part_is_numpys_selection() -> None:
    """Reference: the copy that indexing makes."""
    indices = np.array([7, 3, 3, 49, 0])
    part, copy = Selected(WHOLE, indices), WHOLE[indices]
    assert (len(part), part.shape) == (5, copy.shape)
    for which in (slice(None), slice(1, 3), slice(4, 90), np.array([4, 0, 0]), np.array([], dtype=np.int64)):
        np.testing.assert_array_equal(part[which], copy[which])


def test_a_part_holds_no_copy() -> None:
    """What breaks otherwise: every run of a sweep holds its own copy of the images."""
    part = Selected(WHOLE, np.arange(40))
    assert part.whole is WHOLE
    assert not np.shares_memory(part[:], WHOLE)  # what is handed out may be written to


@pytest.mark.parametrize("count", [1, 50, CHUNK, CHUNK + 1, 3 * CHUNK - 1])
@pytest.mark.parametrize("channels", [1, 3])
def test_moments_are_numpys(count: int, channels: int) -> None:
    """Reference: numpy in double precision, on all images at once; also where they fill no whole chunk."""
    images = np.random.default_rng(count).integers(0, 256, (count, channels, 3, 5), dtype=np.uint8)
    mean, deviation = moments(images)
    np.testing.assert_allclose(mean, (images / 255).mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(deviation, (images / 255).std((0, 2, 3)), rtol=1e-9)
    chosen = Selected(np.concatenate([images, images]), np.arange(count) + count)
    assert all((one == other).all() for one, other in zip(moments(chosen), (mean, deviation), strict=True))


def test_moments_of_one_colour() -> None:
    """No rounding leaves a deviation: 0 exactly, for every byte."""
    for level in (0, 1, 77, 255):
        mean, deviation = moments(np.full((9, 1, 5, 7), level, dtype=np.uint8))
        assert (mean[0], deviation[0]) == (pytest.approx(level / 255), 0.0)


def test_moments_of_a_part_are_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training and each measuring name the same images by objects of their own; others, and another array, are taken
    anew."""
    taken: list[int] = []
    monkeypatch.setattr(pixels, "_moments", lambda images: taken.append(len(images)))
    for indices in (np.arange(40), np.arange(40), np.arange(1, 41)):
        moments(Selected(WHOLE, indices))
    moments(Selected(WHOLE.copy(), np.arange(40)))
    assert taken == [40, 40, 40]
    assert Selected(WHOLE, np.arange(3)) != Selected(WHOLE, np.arange(4))


ARRAYS = (
    np.arange(12, dtype=np.float64).reshape(3, 4)[:, 1],  # not contiguous, as a column of draws is
    np.arange(30, dtype=np.int64).reshape(2, 3, 5),
    np.array([True, False, True]),
    np.empty((0, 4), dtype=np.float32),
    np.arange(7, dtype=np.float32),
    np.arange(5, dtype=np.uint8),
)


@pytest.mark.parametrize("way", ["lying there", "packed"])
def test_arrays_keep_values_types_and_shapes(way: str) -> None:
    """Reference: NumPy. Packed is how they go to a GPU: all bytes in one copy, and views of it there."""
    whole = torch.from_numpy(packed(ARRAYS))
    found = to_device(ARRAYS, torch.device("cpu")) if way == "lying there" else unpacked(whole, ARRAYS)
    for tensor, array in zip(found, ARRAYS, strict=True):
        assert tensor.numpy().dtype == array.dtype
        np.testing.assert_array_equal(tensor.numpy(), array)
    there = to_device(ARRAYS, torch.device("meta"))
    assert [(one.shape, one.dtype) for one in there] == [(one.shape, one.dtype) for one in found]


@pytest.mark.parametrize("images", [WHOLE, Selected(WHOLE, np.arange(40)[::-1])])
def test_images_become_resident_by_parts(images: pixels.Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference: NumPy's selection. 48 bytes an image: seven images a part, never more at once."""
    parts: list[int] = []

    def noted(arrays: Any, device: torch.device) -> list[torch.Tensor]:
        parts.append(sum(array.nbytes for array in arrays))
        return to_device(arrays, device)

    monkeypatch.setattr(pixels, "CHUNK_BYTES", 7 * 48 + 1)
    monkeypatch.setattr(pixels, "to_device", noted)
    there = resident(images, torch.device("cpu"))
    np.testing.assert_array_equal(there.numpy(), images[:])
    assert sum(parts) == len(images) * 48
    assert max(parts) == 7 * 48
