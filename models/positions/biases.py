"""Relative biases: a number per head and offset is added to the logits, whatever the query is.

Shapes, offsets and hooks: `models.positions.base`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from models.grids import Grid
from models.initial import Draw, constant, normal, uniform
from models.network import Choices
from models.positions.base import (
    Position,
    at_least_single,
    join_class,
    offsets,
    reaching,
    resize_image,
    without_autocast,
)
from models.positions.encodings import check_lookhere


def by_pair(image: Tensor, grid: Grid) -> Tensor:
    """From an entry for every offset to one for every pair: an offset image h 2H0-1 2W0-1 -> h N N on a grid H W.

    Offset 0 lies in the middle; offsets beyond the image have its border. Unfolding, since its gradient adds up in one
    order on every device, without the sorting that the gradient of an index needs on CUDA.
    """
    image = reaching(reaching(image, grid[0] - 1, axis=1), grid[1] - 1, axis=2)  # h 2H-1 2W-1
    pairs = nn.functional.unfold(image[None], grid)[0]  # hN N, keys from the last to the first
    return pairs.unflatten(0, (len(image), -1)).flip(-1)


def resize_offsets(table: Tensor, grid: Grid) -> Tensor:
    """Resize an offset image to another grid, bicubic: h 2H0-1 2W0-1 -> h 2H-1 2W-1."""
    size = 2 * grid[0] - 1, 2 * grid[1] - 1
    return resize_image(table.permute(1, 2, 0), size, "bicubic").permute(2, 0, 1)


class Bias2d(Position):
    """`bias_2d`: logits += T[h, dr, dc], a learned (2 H0 - 1) x (2 W0 - 1) image per head and block, initially 0.

    Swin (Liu et al., 2021, eq. 4) and BEiT (Bao et al., 2022). Class-to-token, token-to-class and class-class have
    entries of their own. At another grid: `interpolate` the offset image (bicubic), or `clip` the offsets to it.
    """

    ways = ("interpolate", "clip")

    def __init__(self, **geometry: Any) -> None:
        super().__init__(**geometry)
        rows, columns = self.trained
        self.table = nn.Parameter(torch.empty(self.depth, self.heads, 2 * rows - 1, 2 * columns - 1))
        self.class_entries = nn.Parameter(torch.empty(self.depth, self.heads, 3)) if self.prefix else None

    def initial(self) -> Mapping[str, Draw]:
        """`table`, depth h 2H0-1 2W0-1, and `class_entries`, depth h 3: 0."""
        return {"table": constant(0.0), "class_entries": constant(0.0)}

    def bias(self, queries: Tensor, grid: Grid, block: int) -> Tensor:
        """What is added to the logits, h prefix+N prefix+N; of the queries, B h prefix+N d, nothing is read."""
        table = self.table[block]  # h 2H0-1 2W0-1
        if grid != self.trained and self.way == "interpolate":
            table = resize_offsets(table, grid)
        patches = by_pair(table, grid)  # h N N
        if self.class_entries is None:
            return patches
        from_class, to_class, own = self.class_entries[block][:, :, None, None].unbind(1)  # h 1 1 each
        count, prefix = patches.shape[-1], self.prefix
        to_class, from_class = to_class.expand(-1, count, prefix), from_class.expand(-1, prefix, count)
        return join_class(patches, to_class, from_class, own.expand(-1, prefix, prefix))

    def carried(self, name: str, table: Tensor) -> Tensor | None:
        """Offset images of another training grid, depth h 2H-1 2W-1, resized. None for the class entries."""
        return torch.stack([resize_offsets(block, self.trained) for block in table]) if name == "table" else None


class Measured(Position):
    """What encodings share whose parameters take offsets in units of a grid, `unit`: the training grid.

    A network for another grid that starts from weights has their `unit` (`start_from`), so that an offset of so many
    patches stays what it was. It is then a buffer `measured` of the state dict, 2 integers, and no buffer otherwise.
    """

    measured: Tensor

    def __init__(self, **geometry: Any) -> None:
        super().__init__(**geometry)
        self.unit = self.trained

    def start_from(self, unit: Grid) -> None:
        """Take offsets in units of this grid, of which the weights are."""
        if unit == self.unit and "measured" in self._buffers:
            return  # recorded training steps (CUDA graphs) go on reading the constants that are there
        self.unit = unit
        self._constants.clear()
        self.register_buffer("measured", torch.tensor(unit, device=next(self.parameters()).device))

    def _load_from_state_dict(self, state_dict: Mapping[str, Tensor], prefix: str, *others: Any) -> None:
        if (measured := state_dict.get(f"{prefix}measured")) is not None:
            rows, columns = measured.tolist()
            self.start_from((rows, columns))
        elif "measured" in self._buffers:  # weights of this grid, into a network that had started from another
            del self.measured
            self.unit = self.trained
            self._constants.clear()
        super()._load_from_state_dict(state_dict, prefix, *others)


class ContinuousBias(Measured):
    """`cpb`: logits += 16 sigmoid(MLP(s(dr), s(dc))), an MLP 2-hidden-heads per block.

    The log-spaced continuous position bias of Swin V2 (Liu et al., 2022, section 3.3), with the factors of the authors'
    code. s(x) = sign(x) log2(1 + 8 |x| / (M-1)) / log2(8), M the length of the axis (1 gives 0). The attention stays
    the ordinary scaled dot product, so that position alone changes; Swin V2 pairs it with cosines. Pairs with a class
    token get 8, the sigmoid's middle. At another grid: `recompute` with the training M (coordinates exceed 1:
    extrapolates) or `normalise` by the new M (interpolates). Weights that come from another grid keep its M, as Swin
    V2's `pretrained_window_sizes` has it. Its MACs do not grow with the batch, but are counted for
    one image. Args: hidden: units of the MLP, 512 as in Swin V2.
    """

    ways = ("recompute", "normalise")

    def __init__(self, *, hidden: int = 512, **geometry: Any) -> None:
        super().__init__(**geometry)
        self.first = nn.Parameter(torch.empty(self.depth, hidden, 2))
        self.first_bias = nn.Parameter(torch.empty(self.depth, hidden))
        self.second = nn.Parameter(torch.empty(self.depth, self.heads, hidden))

    def initial(self) -> Mapping[str, Draw]:
        """`first`, depth x hidden x 2, and `second`, depth x h x hidden: normal with std 0.02; `first_bias`: 0."""
        return {"first": normal(0.02), "first_bias": constant(0.0), "second": normal(0.02)}

    def offset_coordinates(self, grid: Grid) -> Tensor:
        """(s(dr), s(dc)) of every offset of the grid, in raster order: a table of shape ((2H-1)(2W-1), 2)."""
        axes = []
        for length, trained, unit in zip(grid, self.trained, self.unit, strict=True):
            x = torch.arange(1 - length, length, dtype=torch.float64)
            longest: float = unit - 1
            if self.way == "normalise":  # the longest offset is what the training grid's is
                longest = longest * (length - 1) / (trained - 1) if trained > 1 else length - 1
            x = 8 * x / longest if longest else x * 0.0
            axes.append(x.sign() * torch.log2(1 + x.abs()) / math.log2(8))
        return torch.cartesian_prod(*axes)

    def bias(self, queries: Tensor, grid: Grid, block: int) -> Tensor:
        """What is added to the logits, h prefix+N prefix+N; of the queries, B h prefix+N d, only the device is read."""
        place = self.first.device, self.first.dtype
        points = self.constant(self.offset_coordinates, grid, *place)
        with without_autocast(queries.device):  # around 8, half precision has steps of 1/32
            hidden = torch.relu(nn.functional.linear(points, self.first[block], self.first_bias[block]))
            values = 16 * torch.sigmoid(hidden @ self.second[block].T)  # (2H-1)(2W-1) h
        patches = by_pair(values.T.unflatten(1, (2 * grid[0] - 1, -1)), grid)  # h N N
        return nn.functional.pad(patches, (self.prefix, 0, self.prefix, 0), value=8.0) if self.prefix else patches


class Fire(Measured):
    """`fire`: logits += MLP(x(dr), x(dc)), an MLP 2-hidden-heads per block, x(d) = sign(d) psi(|d|) / psi(max(L, R)).

    FIRE (Li et al., 2024, "Functional interpolation for relative positions"): psi(x) = log(|c| x + 1), with c and the
    threshold L learned by each block; 1e-6 is added to the denominator. Theirs is for text: one distance to a key that
    lies before the query, and R the query's index, which no such distance exceeds. Ours for images: both offsets with
    their signs enter one MLP, and R is the longest offset of the grid along the axis, H - 1 or W - 1, so that the bias
    is a function of the offset alone. c starts at 0.1 and the MLP as torch's layers do, as theirs. L is 1 + |t| times
    the training grid's longest offset, t from 0.01: a shorter L would change nothing in training, so nothing would
    teach it. (Weights that come from a smaller grid keep its longest offset, and their t learns no more.) While t is
    small, offsets on larger grids lie in the -1..1 of training: it interpolates by itself. The MLP has no bias behind
    its hidden units, which would be one number for all pairs of patches. Pairs with a class token have 0. Its MACs do
    not grow with the batch, but are counted for one image. Args: hidden: units of the MLP, 32 as theirs.
    """

    ways = ("recompute",)

    def __init__(self, *, hidden: int = 32, **geometry: Any) -> None:
        super().__init__(**geometry)
        self.first = nn.Parameter(torch.empty(self.depth, hidden, 2))
        self.first_bias = nn.Parameter(torch.empty(self.depth, hidden))
        self.second = nn.Parameter(torch.empty(self.depth, self.heads, hidden))
        self.spacing = nn.Parameter(torch.empty(self.depth))  # c
        self.threshold = nn.Parameter(torch.empty(self.depth))  # t

    def initial(self) -> Mapping[str, Draw]:
        """`first`, depth x hidden x 2, and `first_bias`: uniform within 1/sqrt(2); `second`, depth x h x hidden: within
        1/sqrt(hidden). `spacing` (c of the formula): 0.1; `threshold` (t): 0.01."""
        first, second = uniform(2**-0.5), uniform(self.first.shape[1] ** -0.5)
        learned = {"spacing": constant(0.1), "threshold": constant(0.01)}
        return {"first": first, "first_bias": first, "second": second, **learned}

    def offset_table(self, grid: Grid) -> Tensor:
        """(dr, dc) of every offset of the grid, in raster order: a table of shape ((2H-1)(2W-1), 2)."""
        return torch.cartesian_prod(*(torch.arange(1 - length, length, dtype=torch.float64) for length in grid))

    def longest(self, grid: Grid) -> Tensor:
        """The longest offset along each axis: H - 1, W - 1."""
        return torch.tensor([length - 1 for length in grid], dtype=torch.float64)

    def bias(self, queries: Tensor, grid: Grid, block: int) -> Tensor:
        """What is added to the logits, h prefix+N prefix+N; of the queries, B h prefix+N d, only the device is read."""
        dtype = at_least_single(self.first.dtype)
        place = self.first.device, dtype
        points, reach = self.constant(self.offset_table, grid, *place), self.constant(self.longest, grid, *place)
        spacing = self.spacing[block].to(dtype).abs()
        threshold = (1 + self.threshold[block].to(dtype).abs()) * (max(self.unit) - 1)
        whole = torch.maximum(threshold, reach)  # max(L, R), by axis
        x = points.sign() * torch.log1p(spacing * points.abs()) / (torch.log1p(spacing * whole) + 1e-6)
        first, first_bias, second = (each[block].to(dtype) for each in (self.first, self.first_bias, self.second))
        with without_autocast(queries.device):
            values = torch.relu(nn.functional.linear(x, first, first_bias)) @ second.T  # (2H-1)(2W-1) h
        patches = by_pair(values.T.unflatten(1, (2 * grid[0] - 1, -1)), grid)  # h N N
        return nn.functional.pad(patches, (self.prefix, 0, self.prefix, 0)) if self.prefix else patches


def _geometric(count: int) -> Tensor:
    """2^(-8 h / count), h = 1..count."""
    return 2.0 ** (-8 * torch.arange(1, count + 1, dtype=torch.float64) / count)


class Alibi2d(Position):
    """`alibi_2d`: logits -= m_h sqrt(dr^2 + dc^2), m_h = 2^(-8 h / heads), h = 1..heads, fixed (Press et al., 2022).

    Where heads are no power of two (3, 6, 12), as in the paper's released code: the slopes of the next lower power,
    then every second one of twice that power.

    Invariant to flips, transposition and rotation of the grid; the class token gets 0. At another grid:
    `recompute`, or `rescale` the slopes by `factor`, by default H0/H (by axis), which keeps distances in
    units of the training grid.
    """

    ways = ("recompute", "rescale")
    choices: ClassVar[Choices] = {"rescale": {"factor": ()}}

    def slopes(self) -> Tensor:
        """m_h of every head: a vector of length h."""
        power = 2 ** (self.heads.bit_length() - 1)
        between = _geometric(2 * power)[::2][: self.heads - power]
        return torch.cat([_geometric(power), between])

    def table(self, grid: Grid) -> Tensor:
        """The biases of a grid, h prefix+N prefix+N; 0 for pairs with the class token."""
        dr, dc = offsets(grid)
        if self.way == "rescale":
            factor = self.chosen.get("factor")
            dr = dr * (self.trained[0] / grid[0] if factor is None else float(factor))
            dc = dc * (self.trained[1] / grid[1] if factor is None else float(factor))
        biases = -self.slopes()[:, None, None] * torch.hypot(dr, dc)  # h N N
        return nn.functional.pad(biases, (self.prefix, 0, self.prefix, 0))

    def bias(self, queries: Tensor, grid: Grid, block: int) -> Tensor:
        """What is added to the logits, h prefix+N prefix+N; of the queries only device and type are read."""
        return self.constant(self.table, grid, queries.device, at_least_single(queries.dtype))


class LookHere(Position):
    """`lookhere`: heads that look one way (Fuller et al., 2024).

    logits -= s_l m_h sqrt(dr^2 + dc^2), and minus infinity outside the field of view of the head. Heads come in groups
    of four that look up, down, left and right: half planes (`fov` 180, up: r_key <= r_query) or quadrants (90, up: |dc|
    <= dr). With 45, two groups of equal slope share each quadrant, cut along its axis into octants; 12 heads at least.
    Borders belong to both sides, so a token always sees itself. Directed group g has slope 2^-(g+1); from 8 heads on
    the last four are undirected, with slopes 2^-2, 2^-4, 2^-6, 2^-8. s_l falls linearly from 1.5 to 0.5 over the
    blocks. Pairs with a class token have 0 and are never masked.

    Raises ModelError for numbers of heads that the field of view does not allow.
    """

    ways = ("recompute",)

    def __init__(self, *, fov: int = 180, **geometry: Any) -> None:
        super().__init__(**geometry)
        check_lookhere(self.heads, fov)
        self.fov = fov

    def views(self, grid: Grid) -> tuple[Tensor, Tensor]:
        """Visible pairs h N N (bool) and slopes h."""
        dr, dc = offsets(grid)
        compass = [dr, -dr, dc, -dc]  # how far the key lies up, down, left, right of the query
        across = [dc, dc, dr, dr]
        undirected = 4 if self.heads >= 8 else 0
        visible, slopes = [], []
        for head in range(self.heads - undirected):
            group, side = divmod(head, 4)
            view = compass[side] >= (0 if self.fov == 180 else across[side].abs())
            if self.fov == 45:
                view = view & (across[side] >= 0 if group % 2 == 0 else across[side] <= 0)
            visible.append(view)
            slopes.append(2.0 ** -((group // 2 if self.fov == 45 else group) + 1))
        for head in range(undirected):
            visible.append(torch.ones_like(dr, dtype=torch.bool))
            slopes.append(4.0 ** -(head + 1))
        return torch.stack(visible), torch.tensor(slopes, dtype=torch.float64)

    def table(self, grid: Grid) -> Tensor:
        """The biases of a grid before s_l, h prefix+N prefix+N."""
        visible, slopes = self.views(grid)
        biases = -slopes[:, None, None] * torch.hypot(*offsets(grid))
        biases = biases.masked_fill(~visible, -math.inf)  # h N N
        return nn.functional.pad(biases, (self.prefix, 0, self.prefix, 0))

    def bias(self, queries: Tensor, grid: Grid, block: int) -> Tensor:
        """What is added to the logits, h prefix+N prefix+N; of the queries only device and type are read."""
        strength = 1.5 - block / max(self.depth - 1, 1)
        return strength * self.constant(self.table, grid, queries.device, at_least_single(queries.dtype))
