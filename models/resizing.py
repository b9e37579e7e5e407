"""Resizing of tables along one axis or two: torch's interpolation, and a gradient that is the same at every call.

torch's own gradient of interpolation adds up in whatever order threads arrive on CUDA
(`torch.use_deterministic_algorithms` refuses it). Interpolation is linear, so the gradient is also a product with the
matrix of each axis.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

WITHOUT_DOUBLES = ("mps",)  # Apple's GPUs


def device_of_doubles(device: torch.device) -> torch.device:
    """Where double precision for a device is computed: on itself, or on the CPU where it has none."""
    return torch.device("cpu") if device.type in WITHOUT_DOUBLES else device


def interpolation_matrix(
    old: int, new: int, mode: str, antialias: bool, align_corners: bool, device: torch.device
) -> Tensor:
    """The map that resizes a line of `old` numbers to `new`, of shape new x old, in double precision: on the device, or
    on the CPU where it has none.

    The other arguments are those of `torch.nn.functional.interpolate` for images.
    """
    ones = torch.eye(old, dtype=torch.float64, device=device_of_doubles(device))
    lines = ones[None, None]  # in each row one number: 1 1 old old
    other = nn.functional.interpolate(lines, (old, new), mode=mode, antialias=antialias, align_corners=align_corners)
    return other[0, 0].T


class Resize(torch.autograd.Function):
    """`torch.nn.functional.interpolate` of a table C L or C H W; the gradient is a product with each axis's matrix."""

    @staticmethod
    def forward(
        ctx: Any, table: Tensor, size: tuple[int, ...], mode: str, antialias: bool, align_corners: bool
    ) -> Tensor:
        """A table C L0 or C H0 W0 -> C L or C H W, the `size`; the other arguments are those of `interpolate`."""
        ctx.axes = tuple(zip(table.shape[1:], size, strict=True))
        ctx.how = ("bilinear" if mode == "linear" else mode, antialias, align_corners)
        return nn.functional.interpolate(
            table[None], size, mode=mode, antialias=antialias, align_corners=align_corners
        )[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of the resized table, C L or C H W -> that of the table, C L0 or C H0 W0."""
        (gradient,), (mode, antialias, corners) = gradients, ctx.how
        for old, new in ctx.axes:  # the first axis after C is contracted, and its old length comes last
            matrix = interpolation_matrix(old, new, mode, antialias, corners, gradient.device)  # new old
            gradient = torch.tensordot(gradient, matrix.to(gradient), dims=([1], [0]))
        return gradient, None, None, None, None


def resized(
    table: Tensor, size: tuple[int, ...], mode: str, antialias: bool = False, align_corners: bool = False
) -> Tensor:
    """A table C L0 or C H0 W0 resized to C L or C H W, the `size`, by torch's interpolation of that `mode`."""
    return Resize.apply(table, size, mode, antialias, align_corners)
