"""Rotary encodings: queries and keys are turned by an angle that depends on their token's place.

So a product of a query and a key depends on their offset only. Channels are turned in neighbouring pairs (2i, 2i+1);
class tokens are not turned. Source: Heo et al. (2024), "Rotary position embedding for vision transformer". Shapes and
hooks: `models.positions.base`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from models.grids import Grid
from models.initial import Draw, uniform_numbers
from models.network import Choices
from models.positions.base import Position, coordinates


def turn(x: Tensor, cosine: Tensor, signed_sine: Tensor) -> Tensor:
    """Turn neighbouring channels (a, b) to (a cos - b sin, b cos + a sin): ... N d -> ... N d.

    Args: cosine: N d, each value twice. signed_sine: N d, (-sin, sin) in pairs.
    """
    swapped = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return torch.addcmul(x * cosine, swapped, signed_sine)


def turn_both(queries: Tensor, keys: Tensor, cosine: Tensor, signed_sine: Tensor) -> tuple[Tensor, Tensor]:
    """`turn` for queries and keys, B h N d each, stacked first: pairs are slow to swap in slices of a wider tensor."""
    turned = turn(torch.stack([queries, keys]), cosine, signed_sine)
    return turned[0], turned[1]


def pair_tables(angles: Tensor, prefix: int) -> tuple[Tensor, Tensor]:
    """Angles (..., N, d/2) -> the cosine and the signed sine for `turn`, (..., prefix+N, d); class tokens get 0."""
    angles = nn.functional.pad(angles, (0, 0, prefix, 0))
    cosine, sine = angles.cos(), angles.sin()
    return torch.stack([cosine, cosine], dim=-1).flatten(-2), torch.stack([-sine, sine], dim=-1).flatten(-2)


class Rotary(Position):
    """What both rotary encodings share: coordinates, and rescaling of the base.

    At another grid: `recompute` (positions go on, extrapolates), `normalise` (positions times H0/H, W0/W), or
    `rescale_base` (a larger base turns the slow pairs more slowly). The new base is `base` when given, else base *
    (H/H0)^(d/(d-4)), for which the slowest pair turns over the new grid as it did over the training grid.
    """

    choices: ClassVar[Choices] = {"rescale_base": {"base": ()}}
    ways: tuple[str, ...] = ("recompute", "normalise", "rescale_base")
    base: float

    def scaled_coordinates(self, grid: Grid) -> tuple[Tensor, Tensor]:
        """Rows and columns of the tokens, two vectors of length N.

        Carried by `normalise` they are scaled by H0/H and W0/W.
        """
        row, column = coordinates(grid)
        if self.way == "normalise":
            row, column = row * (self.trained[0] / grid[0]), column * (self.trained[1] / grid[1])
        return row, column

    def bases(self, grid: Grid) -> tuple[float, float]:
        """The base by row and by column."""
        if self.way != "rescale_base" or self.head_width <= 4:  # four channels: a single rate, 1, whatever the base
            return self.base, self.base
        if "base" in self.chosen:
            return float(self.chosen["base"]), float(self.chosen["base"])
        power = self.head_width / (self.head_width - 4)
        by_row, by_column = ((grid[axis] / self.trained[axis]) ** power for axis in (0, 1))
        return self.base * by_row, self.base * by_column

    def rates(self, base: float) -> Tensor:
        """base^(-4t/d), t = 0..d/4-1: a vector of length d/4."""
        return base ** (-4 * torch.arange(self.head_width // 4, dtype=torch.float64) / self.head_width)


class RopeAxial(Rotary):
    """`rope_axial`: the first half of the pairs turns by theta_t c, the second by theta_t r, theta_t = base^(-4t/d).

    base = 100 and t = 0..d/4-1. `coordinates = "unit"` puts the centres of the tokens into [-1, 1] and turns by 2 pi
    theta_t times that (DINOv3): fractions of the image, so the only way to another grid is `recompute`.
    """

    def __init__(self, *, base: float = 100.0, coordinates: str = "grid", **geometry: Any) -> None:
        super().__init__(**geometry)
        self.base = base
        self.unit = coordinates == "unit"
        if self.unit:
            self.ways = ("recompute",)

    def angles(self, grid: Grid) -> Tensor:
        """The angle of every pair of channels at every token: N d/2."""
        row, column = self.scaled_coordinates(grid)
        if self.unit:
            row, column = (2 * math.pi * (2 * (x + 0.5) / n - 1) for x, n in zip((row, column), grid, strict=True))
        by_row, by_column = self.bases(grid)
        return torch.cat([column[:, None] * self.rates(by_column), row[:, None] * self.rates(by_row)], dim=1)  # N d/2

    def tables(self, grid: Grid) -> Tensor:
        """The cosines and signed sines for `turn`, stacked: 2 prefix+N d."""
        return torch.stack(pair_tables(self.angles(grid), self.prefix))  # 2 prefix+N d

    def rotate(self, queries: Tensor, keys: Tensor, grid: Grid, block: int) -> tuple[Tensor, Tensor]:
        """Queries and keys, B h prefix+N d each -> the same shapes, turned."""
        tables = self.constant(self.tables, grid, queries.device, queries.dtype)
        return turn_both(queries, keys, tables[0], tables[1])


class RopeMixed(Rotary):
    """`rope_mixed`: the angle of pair t is fx[l, h, t] c + fy[l, h, t] r, with learned frequencies (no weight decay).

    Initially the magnitudes base^(-4t/d), t = 0..d/4-1, base 10, lie along two orthogonal directions of one random
    angle per head and block. When carried by `rescale_base`, each learned frequency is multiplied by the ratio of the
    rates.
    """

    def __init__(self, *, base: float = 10.0, **geometry: Any) -> None:
        super().__init__(**geometry)
        self.base = base
        self.frequencies = nn.Parameter(torch.empty(2, self.depth, self.heads, self.head_width // 2))  # (fx, fy) l h t

    def initial(self) -> Mapping[str, Draw]:
        """`frequencies`, 2 x depth x h x d/2: magnitudes along two orthogonal directions, turned at random."""

        def draw(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
            angle = 2 * math.pi * uniform_numbers((self.depth, self.heads, 1), generator)
            directions = torch.cat([angle, angle + math.pi / 2], dim=-1).repeat_interleave(shape[-1] // 2, dim=-1)
            magnitudes = self.rates(self.base).repeat(2)  # d/2
            return torch.stack([magnitudes * directions.cos(), magnitudes * directions.sin()])

        return {"frequencies": draw}

    def points(self, grid: Grid) -> Tensor:
        """Columns and rows of the tokens, stacked: 2 N."""
        return torch.stack(self.scaled_coordinates(grid)[::-1])  # (c, r) N

    def ratios(self, grid: Grid) -> Tensor:
        """What `rescale_base` multiplies the frequencies by, for columns and rows: 2 d/2."""
        by_row, by_column = self.bases(grid)
        native = self.rates(self.base)
        return torch.stack([(self.rates(base) / native).repeat(2) for base in (by_column, by_row)])

    def rotate(self, queries: Tensor, keys: Tensor, grid: Grid, block: int) -> tuple[Tensor, Tensor]:
        """Queries and keys, B h prefix+N d each -> the same shapes, turned."""
        frequencies = self.frequencies[:, block]  # 2 h d/2
        place = frequencies.device, frequencies.dtype
        if self.way == "rescale_base":
            frequencies = frequencies * self.constant(self.ratios, grid, *place)[:, None]
        x, y = self.constant(self.points, grid, *place)
        angles = x[:, None] * frequencies[0, :, None] + y[:, None] * frequencies[1, :, None]  # h N d/2
        cosine, sine = pair_tables(angles, self.prefix)
        return turn_both(queries, keys, cosine.to(queries.dtype), sine.to(queries.dtype))
