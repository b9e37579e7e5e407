"""Parabolic position encoding: a token decides how steeply its attention falls, and to which side it leans.

Shapes, offsets and hooks: `models.positions.base`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.grids import Grid
from models.initial import Draw, uniform
from models.positions.base import Position, at_least_single, offsets, without_autocast


class Parabolic(Position):
    """`pape`: logits += sum_m (b_m z_m - a_m z_m^2) / sqrt(d), z_m = w_m . (dr, dc), over the parabolas m of a head.

    PaPE (Ohrstrom et al., 2026, arXiv 2602.01418, and the authors' code). The directions w_m are learned by each head
    of each block. Steepness a = softplus(A x) and slope b = B x are linear in the query's normed token x, of width D,
    without biases: so a logit falls with distance along every direction, at a rate and towards a side that depend on
    the content. Equal to theirs, parabolas summed up first: a quadratic form and a vector for each query. Ours: the
    class token, which they put at row and column 0 beside the patches from 1 on, has no place, and its pairs have 0.
    At another grid: `recompute` (offsets go on: extrapolates, as theirs) or `normalise` (offsets times H0/H, W0/W).
    Args: parabolas: of a head, 50 as theirs.
    """

    ways = ("recompute", "normalise")

    def __init__(self, *, parabolas: int = 50, **geometry: Any) -> None:
        super().__init__(**geometry)
        count = self.heads * parabolas
        self.directions = nn.Parameter(torch.empty(self.depth, count, 2))
        self.coefficients = nn.Parameter(torch.empty(self.depth, 2 * count, self.width))  # A, then B

    def initial(self) -> Mapping[str, Draw]:
        """`directions`, depth hM 2: uniform within 1/sqrt(2); `coefficients`, depth 2hM D: within 1/sqrt(D)."""
        return {"directions": uniform(2**-0.5), "coefficients": uniform(self.width**-0.5)}

    def products(self, grid: Grid) -> Tensor:
        """dr^2, 2 dr dc, dc^2, dr and dc of every pair: N 5 N, a query first and a key last."""
        dr, dc = offsets(grid)
        if self.way == "normalise":
            dr, dc = dr * (self.trained[0] / grid[0]), dc * (self.trained[1] / grid[1])
        return torch.stack([dr**2, 2 * dr * dc, dc**2, dr, dc], dim=1)

    def logit_bias(self, tokens: Tensor, queries: Tensor, grid: Grid, block: int) -> Tensor:
        """Tokens B prefix+N D -> what is added to the logits, B h prefix+N prefix+N; queries are not read."""
        dtype = at_least_single(self.directions.dtype)
        products = self.constant(self.products, grid, self.directions.device, dtype)
        directions = self.directions[block].to(dtype).unflatten(0, (self.heads, -1))  # h M 2
        by_row, by_column = directions.unbind(-1)
        squares = torch.stack([by_row**2, by_row * by_column, by_column**2], dim=-1)  # h M 3
        steep, slope = self.coefficients[block].to(dtype).chunk(2)  # hM D each
        with without_autocast(tokens.device):  # squares of offsets would be rounded
            lean = directions.transpose(1, 2) @ slope.unflatten(0, (self.heads, -1))  # h 2 D: slopes, summed up
            patches = tokens[:, self.prefix :].to(dtype)  # B N D
            steepness = nn.functional.softplus(patches @ steep.T).unflatten(-1, (self.heads, -1))  # B N h M
            falling = -(steepness.transpose(1, 2) @ squares)  # B h N 3
            leaning = (patches @ lean.flatten(0, 1).T).unflatten(-1, (self.heads, 2)).transpose(1, 2)  # B h N 2
            per_query = torch.cat([falling, leaning], dim=-1) * self.head_width**-0.5  # B h N 5
            pairs = torch.einsum("bhqp,qpk->bhqk", per_query, products)
        return nn.functional.pad(pairs, (self.prefix, 0, self.prefix, 0)) if self.prefix else pairs
