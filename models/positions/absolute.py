"""Absolute encodings: something is added to the tokens. Shapes and hooks: `models.positions.base`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from models.grids import Grid
from models.initial import Draw, constant, normal, uniform, xavier
from models.network import Choices, as_map, as_tokens
from models.positions.base import Position, coordinates, resize_image
from models.resizing import resized


class NoPosition(Position):
    """`none`: x. With mean pooling the network is a bag of patches: any permutation of them gives the same logits."""


class Learned1d(Position):
    """`learned_1d`: x + P[p], P of N x D learned, normal with std 0.02 (Dosovitskiy et al., 2021).

    The class token has a row of its own, which is never interpolated and which registers share. At another grid P is
    resized as an H0 x W0 image, with `interpolation`: `bicubic_antialias` (timm's, the default), `bicubic` (DeiT) or
    `bilinear` (CCT; shrinks the norm of the rows).
    """

    ways = ("interpolate",)
    choices: ClassVar[Choices] = {"interpolate": {"interpolation": ("bicubic_antialias", "bicubic", "bilinear")}}

    def __init__(self, **geometry: Any) -> None:
        super().__init__(**geometry)
        rows, columns = self.trained
        self.table = nn.Parameter(torch.empty(rows * columns, self.width))
        self.class_row = nn.Parameter(torch.empty(1, self.width)) if self.prefix else None

    def initial(self) -> Mapping[str, Draw]:
        """`table`, N D, and `class_row`, 1 D: normal with std 0.02."""
        return {"table": normal(0.02), "class_row": normal(0.02)}

    def add(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Tokens B prefix+N D -> the same shape, the table added."""
        table: Tensor = self.table
        if grid != self.trained:
            image = table.view(*self.trained, self.width)
            interpolation = str(self.chosen.get("interpolation", "bicubic_antialias"))
            table = resize_image(image, grid, interpolation).reshape(-1, self.width)  # N D
        if self.class_row is None:
            return tokens + table
        return tokens + torch.cat([self.class_row.expand(self.prefix, -1), table])

    def carried(self, name: str, table: Tensor) -> Tensor | None:
        """A table of a square grid, N0 D, resized as an image: N D. None for other tables and the class row."""
        side = math.isqrt(table.shape[0])
        if name != "table" or side**2 != table.shape[0]:
            return None
        return resize_image(table.view(side, side, -1), self.trained, "bicubic_antialias").flatten(0, 1)


class Learned2d(Position):
    """`learned_2d`: x + concat(X[c], Y[r]), two learned tables of D/2, std 0.02 (Dosovitskiy et al., 2021, D.4).

    The class token has a vector of its own, which registers share. At another grid each axis is interpolated linearly
    (half-pixel centres).
    """

    ways = ("interpolate",)

    def __init__(self, **geometry: Any) -> None:
        super().__init__(**geometry)
        rows, columns = self.trained
        self.columns = nn.Parameter(torch.empty(columns, self.width // 2))
        self.rows = nn.Parameter(torch.empty(rows, self.width // 2))
        self.class_row = nn.Parameter(torch.empty(1, self.width)) if self.prefix else None

    def initial(self) -> Mapping[str, Draw]:
        """`columns`, W D/2, `rows`, H D/2, and `class_row`, 1 D: normal with std 0.02."""
        return {name: normal(0.02) for name in ("columns", "rows", "class_row")}

    def add(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Tokens B prefix+N D -> the same shape; columns in the first D/2 channels, rows in the others."""
        y, x = resize_axis(self.rows, grid[0]), resize_axis(self.columns, grid[1])
        x, y = x.expand(grid[0], -1, -1), y[:, None].expand(-1, grid[1], -1)  # H W D/2 each
        table = torch.cat([x, y], dim=-1).flatten(0, 1)  # N D
        if self.class_row is None:
            return tokens + table
        return tokens + torch.cat([self.class_row.expand(self.prefix, -1), table])

    def carried(self, name: str, table: Tensor) -> Tensor | None:
        """A table of rows or columns, L0 D/2, at this training grid, L D/2; None for the class row."""
        lengths = {"rows": self.trained[0], "columns": self.trained[1]}
        return resize_axis(table, lengths[name]) if name in lengths else None


def resize_axis(table: Tensor, length: int) -> Tensor:
    """Resize a table along its first axis, linearly: L0 D -> L D."""
    if table.shape[0] == length:
        return table
    return resized(table.T, (length,), "linear").T


def sinusoid(positions: Tensor, width: int) -> Tensor:
    """Positions of length N -> N D: PE[p, 2j] = sin(p / 10000^(2j/D)), PE[p, 2j+1] = cos of the same.

    Vaswani et al. (2017), section 3.5; for an even width D, in double precision.
    """
    rates = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = positions[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


class FixedTable(Position):
    """An encoding that adds a fixed table; the class token gets 0. Subclasses define it in `table(grid)`."""

    def table(self, grid: Grid) -> Tensor:
        """The table of a grid, N D in double precision. Raises TypeError in a subclass that defines none."""
        raise TypeError(f"{type(self).__name__} states no table")

    def framed(self, grid: Grid) -> Tensor:
        """The table with 0 for the class token: prefix+N D."""
        return nn.functional.pad(self.table(grid), (0, 0, self.prefix, 0))

    def add(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Tokens B prefix+N D -> the same shape, the table added."""
        return tokens + self.constant(self.framed, grid, tokens.device, tokens.dtype)

    def scaled_coordinates(self, grid: Grid) -> tuple[Tensor, Tensor]:
        """Rows and columns of the tokens, two vectors of length N.

        Carried by `interpolate` they are scaled into the training grid, by H0/H and W0/W.
        """
        row, column = coordinates(grid)
        if self.way == "interpolate":
            row, column = row * (self.trained[0] / grid[0]), column * (self.trained[1] / grid[1])
        return row, column


class Sincos1d(FixedTable):
    """`sincos_1d`: the sinusoid of the raster index (Vaswani et al., 2017, section 3.5).

    At another grid: `recompute` it on the new raster (a row's meaning changes with W: expected to break), or
    `interpolate` the training grid's table as an image (bicubic, antialiased).
    """

    ways = ("recompute", "interpolate")

    def table(self, grid: Grid) -> Tensor:
        """The sinusoid of the raster index, N D in double precision."""
        rows, columns = self.trained if self.way == "interpolate" else grid
        table = sinusoid(torch.arange(rows * columns, dtype=torch.float64), self.width)
        if (rows, columns) == grid:
            return table
        image = table.view(rows, columns, self.width)
        return resize_image(image, grid, "bicubic_antialias").reshape(-1, self.width)


class Sincos2d(FixedTable):
    """`sincos_2d`: concat(sin(r w), sin(c w), cos(r w), cos(c w)), w_k = 10000^(-k/(D/4)), k = 0..D/4-1.

    Equals timm's `build_sincos2d_pos_embed` with its defaults; big_vision divides by D/4 - 1 instead. At another grid:
    `recompute` on the larger integer grid (extrapolates) or `interpolate` (positions times H0/H, W0/W).
    """

    ways = ("recompute", "interpolate")

    def table(self, grid: Grid) -> Tensor:
        """The sinusoids of row and column, four quarters of D/4 channels: N D in double precision."""
        row, column = self.scaled_coordinates(grid)
        rates = 10000.0 ** (-torch.arange(self.width // 4, dtype=torch.float64) / (self.width // 4))
        r, c = row[:, None] * rates, column[:, None] * rates  # N D/4
        return torch.cat([r.sin(), c.sin(), r.cos(), c.cos()], dim=1)


class Sincos2dSum(FixedTable):
    """`sincos_2d_sum`: x + phi(c) + phi(r), phi the 1-D sinusoid over all D (as taught in courses).

    A sum forgets its order: tokens (r, c) and (c, r) get the same vector by construction. Carried as `sincos_2d`.
    """

    ways = ("recompute", "interpolate")

    def table(self, grid: Grid) -> Tensor:
        """The sinusoids of row and column, added: N D in double precision."""
        row, column = self.scaled_coordinates(grid)
        return sinusoid(column, self.width) + sinusoid(row, self.width)


class Fourier(Position):
    """`fourier`: x + L concat(sin, cos of 2 pi B (r/H, c/W)), B fixed, D/2 x 2, normal with std `std`, L
    learned, D x D.

    Random Fourier features (Tancik et al., 2020). B is drawn with the seed and saved with the weights. The class token
    gets 0. Positions are fractions of the grid, so at another grid `recompute` interpolates by itself. B stays in
    single precision in a network cast to a half one, whose eight bits turn angles of many periods by a quarter radian.
    """

    ways = ("recompute",)

    def __init__(self, *, std: float = 10.0, **geometry: Any) -> None:
        super().__init__(**geometry)
        self.std = std
        self.frequencies: Tensor
        self.register_buffer("frequencies", torch.empty(self.width // 2, 2))
        self.mix = nn.Parameter(torch.empty(self.width, self.width))

    def initial(self) -> Mapping[str, Draw]:
        """`frequencies` (B of the formula), D/2 x 2: normal with std `std`; `mix` (L), D x D: Glorot's uniform rule."""
        return {"frequencies": normal(self.std), "mix": xavier(self.width, self.width)}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Fourier:
        exact = self.frequencies
        super()._apply(fn, recurse)
        if self.frequencies.dtype.itemsize < exact.dtype.itemsize <= 4:
            self.frequencies = exact.to(self.frequencies.device)
        return self

    def fractions(self, grid: Grid) -> Tensor:
        """The place of every token as fractions of the grid, (r/H, c/W): N 2."""
        row, column = coordinates(grid)
        return torch.stack([row / grid[0], column / grid[1]], dim=-1)  # N 2

    def add(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Tokens B prefix+N D -> the same shape, the mixed features added to the patch tokens."""
        dtype = self.frequencies.dtype
        points = self.constant(self.fractions, grid, tokens.device, dtype)
        angles = (2 * math.pi) * (points[:, None] * self.frequencies).sum(
            -1
        )  # N D/2; a sum of two, exact under autocast
        table = torch.cat([angles.sin(), angles.cos()], dim=-1).to(self.mix.dtype) @ self.mix.T  # N D
        return tokens + nn.functional.pad(table, (0, 0, self.prefix, 0))


class Conditional(Position):
    """`conditional`: x + DWConv3x3(x on the grid), zero padding, after the first block (Chu et al., 2021:
    CPVT's PEG).

    The padding is what tells a token where the border is. The class token passes untouched. Works at any grid.
    """

    widens = 2

    def __init__(self, **geometry: Any) -> None:
        super().__init__(**geometry)
        self.kernel = nn.Parameter(torch.empty(self.width, 1, 3, 3))
        self.shift = nn.Parameter(torch.empty(self.width))

    def initial(self) -> Mapping[str, Draw]:
        """`kernel`, D 1 3 3, and `shift`, D: as torch starts such a convolution, uniform within 1/3, but shifts 0."""
        return {"kernel": uniform(1 / 3), "shift": constant(0.0)}

    def after_block(self, tokens: Tensor, grid: Grid, block: int) -> Tensor:
        """Tokens B prefix+N D -> the same shape; after the first block the convolution is added."""
        if block != 0:
            return tokens
        patches = tokens[:, self.prefix :]  # B N D
        local = nn.functional.conv2d(as_map(patches, grid), self.kernel, self.shift, padding=1, groups=self.width)
        patches = patches + as_tokens(local)
        return torch.cat([tokens[:, : self.prefix], patches], dim=1) if self.prefix else patches
