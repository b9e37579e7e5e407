"""Parts of a data set that are read where they lie, and their moments."""

import numpy as np
import pytest
import torch

from benchmarks.training.pixels import CHUNK, Selected, moments, to_device

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


def test_to_device_keeps_values_and_types() -> None:
    """Also of a view that is not contiguous, as a column of draws is."""
    values = np.arange(12, dtype=np.float64).reshape(3, 4)
    found = to_device(values[:, 1], torch.device("cpu"))
    assert found.dtype == torch.float64
    assert found.tolist() == [1.0, 5.0, 9.0]
