"""What a positional encoding can do to a vision transformer: four hooks, and how it meets another grid.

Shapes: B images, N patch tokens in raster order p = r W + c on a grid of H rows and W columns, D width, h heads of
width d = D / h. Tokens without a place, `prefix` of them, come first: a class token, then registers. So attention sees
prefix + N tokens, and all of the first have the one treatment that an encoding states for the class token.
Offsets are query minus key: dr = r_query - r_key, dc = c_query - c_key. H0, W0 is the training grid.

The hooks get the grid of every forward pass, so nothing is rebuilt for another resolution. Constants are computed in
double precision, once per grid, device and type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from models.grids import Grid
from models.initial import Draw
from models.network import Choices, check_way
from models.resizing import resized


class Position(nn.Module):
    """An encoding that does nothing; the others override the hooks they need.

    Args:
        grid: training grid, rows and columns. width: D. depth: blocks. heads: h. prefix: tokens without a place, as a
        class token and registers.
    """

    ways: tuple[str, ...] = ()  # how it can be carried to another grid; the first is the default
    choices: ClassVar[Choices] = {}  # what a way can be told
    widens: ClassVar[int] = 0  # patches by which it makes what a token sees wider, both sides together
    mixes_values: bool = False  # True: needs the probabilities, so attention is always explicit

    def __init__(self, *, grid: Grid, width: int, depth: int, heads: int, prefix: int) -> None:
        super().__init__()
        self.trained = grid
        self.width, self.depth, self.heads, self.prefix = width, depth, heads, prefix
        self.head_width = width // heads
        self.way = self.ways[0] if self.ways else ""
        self.chosen = self._chosen(self.way, {})
        self._constants: dict[tuple[object, ...], Tensor] = {}

    def add(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Called after the embedding: tokens B prefix+N D -> the same shape."""
        return tokens

    def after_block(self, tokens: Tensor, grid: Grid, block: int) -> Tensor:
        """Called after block number `block`: tokens B prefix+N D -> the same shape."""
        return tokens

    def rotate(self, queries: Tensor, keys: Tensor, grid: Grid, block: int) -> tuple[Tensor, Tensor]:
        """Called on the queries and keys of block number `block`, B h prefix+N d each -> the same shapes."""
        return queries, keys

    def bias(self, queries: Tensor, grid: Grid, block: int) -> Tensor | None:
        """What is added to the logits, broadcastable to B h prefix+N prefix+N; `queries` are scaled by 1/sqrt(d)."""
        return None

    def logit_bias(self, tokens: Tensor, queries: Tensor, grid: Grid, block: int) -> Tensor | None:
        """What attention adds to its logits: `bias`, unless an encoding reads the normed tokens, B prefix+N D."""
        return self.bias(queries, grid, block)

    def mix_values(self, probabilities: Tensor, grid: Grid, block: int) -> Tensor:
        """What is added to the mixed values, B h prefix+N d; called only where `mixes_values`.

        Args: probabilities: B h prefix+N prefix+N. Raises TypeError for an encoding that adds nothing to the values.
        """
        raise TypeError(f"{type(self).__name__} adds nothing to the values")

    def initial(self) -> Mapping[str, Draw]:
        """Initial values of the encoding's own parameters and random buffers, by name."""
        return {}

    def carry(self, way: str, **choices: float | str) -> None:
        """Choose how this encoding meets a grid it was not trained on; a property of an evaluation, not of training.

        Raises ModelError for a way or a choice that the encoding does not have.
        """
        check_way(f"position {type(self).__name__}", self.ways, self.choices, way, choices)
        chosen = self._chosen(way, choices)
        if (way, chosen) == (self.way, self.chosen):
            return  # recorded training steps (CUDA graphs) go on reading the constants that are there
        self.way, self.chosen = way, chosen
        self._constants.clear()

    def _chosen(self, way: str, choices: Mapping[str, float | str]) -> dict[str, float | str]:
        """The choices of a way, with the defaults of those that are words."""
        return {name: words[0] for name, words in self.choices.get(way, {}).items() if words} | dict(choices)

    def carried(self, name: str, table: Tensor) -> Tensor | None:
        """The parameter `name` of a network trained on another grid, in the shape that it has here.

        It is what the encoding's default way makes of the table here. None where the encoding cannot say.
        """
        return None

    def constant(self, make: Callable[[Grid], Tensor], grid: Grid, device: torch.device, dtype: torch.dtype) -> Tensor:
        """What `make(grid)` returns, in its shape, on a device and in a type.

        It is computed once and kept, outside the state dict. While torch.compile traces, what is not kept yet becomes
        part of the graph: run once eagerly before to avoid it.
        """
        key = (getattr(make, "__func__", make), grid, device, dtype)  # torch 2.11 cannot trace a method's name
        kept = self._constants.get(key)
        if kept is None and torch.compiler.is_compiling():
            return make(grid).to(device=device, dtype=dtype)
        if kept is None:
            with torch.inference_mode(False), torch.no_grad(), torch.device("cpu"):
                kept = make(grid).to(device=device, dtype=dtype)
            self._constants[key] = kept
        return kept


def at_least_single(dtype: torch.dtype) -> torch.dtype:
    """The type for biases on the logits: half precisions would round them before the softmax does."""
    return torch.promote_types(dtype, torch.float32)


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Compute as the parameters are typed, also inside an autocast region (which the meta device does not know)."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


class PositionFactory(Protocol):
    """Makes an encoding for a network's geometry: an encoding's class, or a partial of it with its options."""

    def __call__(self, *, grid: Grid, width: int, depth: int, heads: int, prefix: int) -> Position: ...


def coordinates(grid: Grid) -> tuple[Tensor, Tensor]:
    """Row and column of every token in raster order: two vectors of length N, in double precision."""
    rows, columns = grid
    tokens = torch.arange(rows * columns, dtype=torch.float64)
    return tokens.div(columns, rounding_mode="floor"), tokens.remainder(columns)


def offsets(grid: Grid) -> tuple[Tensor, Tensor]:
    """dr and dc of every pair, query minus key: two matrices N x N, a row for each query, in double precision."""
    row, column = coordinates(grid)
    return row[:, None] - row, column[:, None] - column


def resize_image(image: Tensor, size: Grid, interpolation: str) -> Tensor:
    """Resize a table that lies on a grid: H0 W0 D -> H W D, half-pixel centres.

    Args: size: H, W. interpolation: `bicubic_antialias`, `bicubic` or `bilinear`; in single precision at least.
    """
    mode = "bilinear" if interpolation == "bilinear" else "bicubic"
    exact = image if image.dtype == torch.float64 else image.float()
    other = resized(exact.permute(2, 0, 1), size, mode, antialias=interpolation == "bicubic_antialias")
    return other.permute(1, 2, 0).to(image.dtype)


def reaching(table: Tensor, reach: int, axis: int) -> Tensor:
    """A table that holds the offsets -k..k along an axis, cut or continued by its ends to -reach..reach.

    ... 2k+1 ... -> ... 2 reach + 1 ...
    """
    known = table.shape[axis] // 2
    if reach == known:
        return table
    if reach < known:
        return table.narrow(axis, known - reach, 2 * reach + 1)
    first, last = table.narrow(axis, 0, 1), table.narrow(axis, 2 * known, 1)
    repeats = [reach - known if each == axis % table.ndim else -1 for each in range(table.ndim)]
    return torch.cat([first.expand(repeats), table, last.expand(repeats)], dim=axis)


def join_class(patches: Tensor, to_class: Tensor, from_class: Tensor, own: Tensor) -> Tensor:
    """Frame the logits of patch pairs with those of the P tokens without a place, as the class token.

    Args: patches (..., N, N); to_class (..., N, P), patch queries on the class key; from_class (..., P, N),
    the class query on patch keys; own (..., P, P). Returns (..., P+N, P+N).
    """
    lower = torch.cat([to_class, patches], dim=-1)  # ... N P+N
    upper = torch.cat([own, from_class], dim=-1)  # ... P P+N
    return torch.cat([upper, lower], dim=-2)
