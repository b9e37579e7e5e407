"""Resizing of learned tables: torch's own interpolation and its own gradient are the reference."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.resizing import resized

CASES: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((5, 7), (11,), {"mode": "linear"}),
    ((5, 7), (3,), {"mode": "linear", "align_corners": True}),
    ((5, 4, 6), (7, 3), {"mode": "bilinear"}),
    ((5, 4, 6), (8, 12), {"mode": "bicubic"}),
    ((5, 4, 6), (2, 9), {"mode": "bicubic", "antialias": True}),
]


def table(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("shape", "size", "how"), CASES)
def test_values_and_gradient_are_torchs(shape: tuple[int, ...], size: tuple[int, ...], how: dict[str, Any]) -> None:
    """The values are `interpolate`'s to the bit, in single precision too; the gradient is its own up to rounding."""
    ours, theirs = table(shape).requires_grad_(), table(shape).requires_grad_()
    found, expected = resized(ours, size, **how), nn.functional.interpolate(theirs[None], size, **how)[0]
    assert torch.equal(found, expected)
    for one in (found, expected):
        one.backward(table(tuple(found.shape), seed=1))
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-13, rtol=1e-13)
    single = table(shape).float()
    assert torch.equal(resized(single, size, **how), nn.functional.interpolate(single[None], size, **how)[0])


def test_the_gradient_needs_no_gradient_of_interpolation() -> None:
    """Reference: torch's own account of the operations of a backward pass, by its profiler."""
    one = table((5, 4, 6)).requires_grad_()
    found = resized(one, (8, 12), "bicubic").sum()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        found.backward()
    names = {event.name for event in seen.events()}
    assert "aten::mm" in names and not any("upsample" in name and "backward" in name for name in names)
