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
from models.positions.base import Position, join_class, offsets


def frame_class(patches: Tensor, queries: Tensor, embedding: Tensor) -> Tensor:
    """Add the class token's pairs, all with one embedding: patches B h N N, queries B h 1+N d -> B h 1+N 1+N.

    Args: embedding: d.
    """
    shared = (queries @ embedding)[..., None]  # B h 1+N 1
    own, to_class = shared[:, :, :1], shared[:, :, 1:]
    return join_class(patches, to_class, own.expand(-1, -1, -1, patches.shape[-1]), own)


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
        """Row of the table for each pair, N N."""
        dr, dc = offsets(grid)
        if self.way == "training_raster":
            longest = self.trained[0] * self.trained[1] - 1
            return (dr * self.trained[1] + dc).clamp(-longest, longest) + longest
        return dr * grid[1] + dc + (grid[0] * grid[1] - 1)

    def bias(self, queries: Tensor, grid: Grid, block: int) -> Tensor:
        """Queries B h prefix+N d -> what is added to the logits, B h prefix+N prefix+N."""
        table = self.table[block]  # 2N0-1 d
        if grid != self.trained and self.way == "interpolate":
            length = 2 * grid[0] * grid[1] - 1
            table = nn.functional.interpolate(table.T[None], size=length, mode="linear", align_corners=True)[0].T
        products = queries[:, :, self.prefix :] @ table.T  # B h N 2N-1: every query with every offset
        index = self.constant(self.index, grid, queries.device, torch.long)
        patches = products.gather(-1, index.expand(*products.shape[:2], -1, -1))  # B h N N
        if self.class_embedding is None:
            return patches
        return frame_class(patches, queries, self.class_embedding[block])


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
        reach, known = self.reach[reaches[name]], table.shape[1] // 2
        return table[:, torch.arange(-reach, reach + 1).clamp(-known, known) + known]

    def row_index(self, grid: Grid) -> Tensor:
        """For each query token and each row of keys, the entry of A: N H."""
        return self.axis_index(grid, 0)

    def column_index(self, grid: Grid) -> Tensor:
        """For each query token and each column of keys, the entry of B: N W."""
        return self.axis_index(grid, 1)

    def axis_index(self, grid: Grid, axis: int) -> Tensor:
        """For each query token and each row (axis 0) or column (axis 1) of keys, the entry of its table: N H or N W."""
        one = torch.arange(grid[axis])
        reach = self.reach[axis]
        index = (one[:, None] - one).clamp(-reach, reach) + reach  # query's line x key's line
        return index.repeat_interleave(grid[1], dim=0) if axis == 0 else index.repeat(grid[0], 1)

    def indices(self, grid: Grid, device: torch.device) -> tuple[Tensor, Tensor]:
        """`row_index` and `column_index` on a device: N H and N W."""
        return (
            self.constant(self.row_index, grid, device, torch.long),
            self.constant(self.column_index, grid, device, torch.long),
        )

    def bias(self, queries: Tensor, grid: Grid, block: int) -> Tensor:
        """Queries B h prefix+N d -> what is added to the logits, B h prefix+N prefix+N."""
        patch_queries = queries[:, :, self.prefix :]
        lead = patch_queries.shape[:2]
        by_row, by_column = self.indices(grid, queries.device)
        rows = (patch_queries @ self.rows[block].T).gather(-1, by_row.expand(*lead, -1, -1))  # B h N H
        columns = (patch_queries @ self.columns[block].T).gather(-1, by_column.expand(*lead, -1, -1))  # B h N W
        patches = (rows[..., :, None] + columns[..., None, :]).flatten(-2)  # B h N H W -> B h N N
        if self.class_embedding is None:
            return patches
        return frame_class(patches, queries, self.class_embedding[block])

    def mix_values(self, probabilities: Tensor, grid: Grid, block: int) -> Tensor:
        """Probabilities B h prefix+N prefix+N -> what is added to the mixed values, B h prefix+N d.

        It is 0 for the class token.
        """
        assert self.value_rows is not None and self.value_columns is not None
        by_row, by_column = self.indices(grid, probabilities.device)
        patches = probabilities[:, :, self.prefix :, self.prefix :].unflatten(-1, grid)  # B h N H W
        rows, columns = self.value_rows[block][by_row], self.value_columns[block][by_column]  # N H d, N W d
        mixed = torch.einsum("bhnr,nrd->bhnd", patches.sum(-1), rows)
        mixed = mixed + torch.einsum("bhnc,ncd->bhnd", patches.sum(-2), columns)
        return nn.functional.pad(mixed, (0, 0, self.prefix, 0))  # the class token's pairs add nothing to the values
