"""Contextual relative encodings: a query's content meets a learned embedding of the offset, added to the logits.

Tables belong to a block and are shared by its heads. Shapes, offsets and hooks: `models.positions.base`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.grids import Grid
from models.initial import Draw, normal
from models.positions.base import Position, join_class, offsets, reaching
from models.resizing import resized


def frame_class(patches: Tensor, queries: Tensor, embedding: Tensor) -> Tensor:
    """Add the pairs of P tokens without a place, all with one embedding: B h N N and queries B h P+N d -> B h P+N P+N.

    Args: embedding: d.
    """
    shared = (queries @ embedding)[..., None]  # B h P+N 1
    count = patches.shape[-1]
    prefix = queries.shape[-2] - count
    own, to_class = shared[:, :, :prefix], shared[:, :, prefix:]
    from_class = own.expand(-1, -1, -1, count)
    return join_class(patches, to_class.expand(-1, -1, -1, prefix), from_class, own.expand(-1, -1, -1, prefix))


def by_key(entries: Tensor) -> Tensor:
    """From an entry for every offset to one for every key: ... L 2L-1 -> ... L L, for queries and keys on one line.

    Offset 0 is entry L - 1, so key k of query q has entry q - k + L - 1. That is a view of the entries, read backwards;
    the gradient of an index would be sorted first on CUDA.
    """
    length = entries.shape[-2]
    return entries.flatten(-2).unfold(-1, length, 2 * length).flip(-1)


class Relative1d(Position):
    """`relative_1d`: logits += (q . R[p_q - p_k]) / sqrt(d), R of (2N-1) x d per block (Dosovitskiy et al., 2021, D.4).

    A class token has one further embedding for every pair it is in. At another grid: `training_raster` uses
    the offset that the pair would have in the training raster, dr W0 + dc, clipped to the table;
    `interpolate` uses the new raster's own offsets with the table resized linearly, ends on ends.
    """

    ways = ("training_raster", "interpolate")

    def __init__(self, **geometry: Any) -> None:
        super().__init__(**geometry)
        rows, columns = self.trained
        self.table = nn.Parameter(torch.empty(self.depth, 2 * rows * columns - 1, self.head_width))
        self.class_embedding = nn.Parameter(torch.empty(self.depth, self.head_width)) if self.prefix else None

    def initial(self) -> Mapping[str, Draw]:
        """`table`, depth 2N-1 d, and `class_embedding`, depth d: normal with std 0.02."""
        return {"table": normal(0.02), "class_embedding": normal(0.02)}

    def index(self, grid: Grid) -> Tensor:
        """Row of the table for each pair, carried by `training_raster`: N N."""
        dr, dc = offsets(grid)
        longest = self.trained[0] * self.trained[1] - 1
        return (dr * self.trained[1] + dc).clamp(-longest, longest) + longest

    def bias(self, queries: Tensor, grid: Grid, block: int) -> Tensor:
        """Queries B h prefix+N d -> what is added to the logits, B h prefix+N prefix+N."""
        table = self.table[block]  # 2N0-1 d
        if grid != self.trained and self.way == "interpolate":
            length = 2 * grid[0] * grid[1] - 1
            table = resized(table.T, (length,), "linear", align_corners=True).T
        products = queries[:, :, self.prefix :] @ table.T  # B h N 2N-1: every query with every offset
        if grid != self.trained and self.way == "training_raster":  # offsets repeat, and lie beyond the table
            index = self.constant(self.index, grid, queries.device, torch.long)
            patches = products.gather(-1, index.expand(*products.shape[:2], -1, -1))  # B h N N
        else:
            patches = by_key(products)  # B h N N
        if self.class_embedding is None:
            return patches
        return frame_class(patches, queries, self.class_embedding[block])


def lines(table: Tensor, length: int) -> Tensor:
    """Rows of a table of offsets, 2k+1 d, for queries and keys on a line of L places: L L d, clipped to the ends."""
    windows = reaching(table, length - 1, axis=0).unfold(0, length, 1)  # L d L: query q's from entry q on
    return windows.flip(-1).transpose(1, 2)


class Relative2d(Position):
    """`relative_2d`: logits += (q . (A[clip(dr, k)] + B[clip(dc, k)])) / sqrt(d).

    The relative keys of Shaw et al. (2018, eq. 4), on two axes. A and B have 2k+1 rows of d per block. `clip` k = 0
    stands for the training grid - 1 by axis, so nothing is clipped in training; a small k (2) is the strong setting of
    small-data experiments. With `values`, the mixed values gain sum_j a_ij (A'[clip(dr, k)] + B'[clip(dc, k)]) (their
    eq. 3). A class token has one further embedding for every pair it is in. At another grid offsets beyond the tables
    are clipped: it is defined everywhere, and there is one way.
    """

    ways = ("clip",)

    def __init__(self, *, clip: int = 0, values: bool = False, **geometry: Any) -> None:
        super().__init__(**geometry)
        self.reach = tuple(clip or length - 1 for length in self.trained)
        self.mixes_values = values
        sizes = [2 * reach + 1 for reach in self.reach]
        self.rows = nn.Parameter(torch.empty(self.depth, sizes[0], self.head_width))
        self.columns = nn.Parameter(torch.empty(self.depth, sizes[1], self.head_width))
        self.class_embedding = nn.Parameter(torch.empty(self.depth, self.head_width)) if self.prefix else None
        self.value_rows = nn.Parameter(torch.empty(self.depth, sizes[0], self.head_width)) if values else None
        self.value_columns = nn.Parameter(torch.empty(self.depth, sizes[1], self.head_width)) if values else None

    def initial(self) -> Mapping[str, Draw]:
        """The tables of rows and columns, depth 2k+1 d, and `class_embedding`, depth d: normal with std 0.02."""
        names = ("rows", "columns", "class_embedding", "value_rows", "value_columns")
        return {name: normal(0.02) for name in names}

    def carried(self, name: str, table: Tensor) -> Tensor | None:
        """A table of another reach, depth 2k0+1 d, at this one, depth 2k+1 d: clipped, or continued by its ends."""
        reaches = {"rows": 0, "columns": 1, "value_rows": 0, "value_columns": 1}
        if name not in reaches:
            return None
        return reaching(table, self.reach[reaches[name]], axis=1)

    def bias(self, queries: Tensor, grid: Grid, block: int) -> Tensor:
        """Queries B h prefix+N d -> what is added to the logits, B h prefix+N prefix+N."""
        patch_queries = queries[:, :, self.prefix :]
        rows = reaching(patch_queries @ self.rows[block].T, grid[0] - 1, axis=-1).unflatten(2, grid)  # B h H W 2H-1
        columns = reaching(patch_queries @ self.columns[block].T, grid[1] - 1, axis=-1).unflatten(2, grid)
        rows = by_key(rows.transpose(2, 3)).transpose(2, 3).flatten(2, 3)  # B h N H
        columns = by_key(columns).flatten(2, 3)  # B h N W
        patches = (rows[..., :, None] + columns[..., None, :]).flatten(-2)  # B h N H W -> B h N N
        if self.class_embedding is None:
            return patches
        return frame_class(patches, queries, self.class_embedding[block])

    def mix_values(self, probabilities: Tensor, grid: Grid, block: int) -> Tensor:
        """Probabilities B h prefix+N prefix+N -> what is added to the mixed values, B h prefix+N d.

        It is 0 for the class token.
        """
        assert self.value_rows is not None and self.value_columns is not None
        patches = probabilities[:, :, self.prefix :, self.prefix :].unflatten(-1, grid)  # B h N H W
        rows, columns = lines(self.value_rows[block], grid[0]), lines(self.value_columns[block], grid[1])
        rows = rows[:, None].expand(-1, grid[1], -1, -1).flatten(0, 1)  # H H d -> N H d
        columns = columns.expand(grid[0], -1, -1, -1).flatten(0, 1)  # W W d -> N W d
        mixed = torch.einsum("bhnr,nrd->bhnd", patches.sum(-1), rows)
        mixed = mixed + torch.einsum("bhnc,ncd->bhnd", patches.sum(-2), columns)
        return nn.functional.pad(mixed, (0, 0, self.prefix, 0))  # the class token's pairs add nothing to the values
