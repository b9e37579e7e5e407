"""What a network's positions do on a grid, read through the hooks of its encoding (`models.positions.base`).

Shapes: images B C S S of S pixels; a grid of H rows and W columns, N = H W patch tokens after `prefix` class and
register tokens; D width, h heads of width d.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from analysis.inside.positions.numbers import Array, by_offset, decay_bound, unit_products
from models.grids import Grid
from models.libraries.adapter import Adapted
from models.network import Network
from models.options import ModelError
from models.positions.base import Position
from models.positions.rotary import Rotary
from models.swin import Windows

HOOKS = ("logit_bias", "bias")  # what is added to logits; the first, where there is one, may read the tokens


@dataclass(frozen=True, eq=False)
class OffsetBias:
    """What a layer adds to its logits: `mean` over pairs of one offset, h 2H-1 2W-1 on the `grid` of its window; the
    standard deviation over queries and images in `deviation`, 0 where the bias is the same for every query."""

    grid: Grid
    mean: Array
    deviation: Array


@dataclass(frozen=True, eq=False)
class Rotation:
    """What a layer's rotation leaves of products of a query with a key like it: the mean over unit vectors by offset,
    h 2H-1 2W-1, and the `bound` of the RoFormer paper, None for what is no plain rotation."""

    grid: Grid
    mean: Array
    bound: Array | None


@dataclass(frozen=True, eq=False)
class Reading:
    """Positions on one grid: the table that is added to the patch tokens, N D, and to class and register tokens, prefix
    D; biases and rotations of the layers that have them. `way`: how they were carried there, empty at home."""

    way: str
    side: int
    grid: Grid
    table: Array | None
    prefix: Array | None
    biases: Sequence[OffsetBias]
    rotations: Sequence[Rotation]

    @property
    def has_any(self) -> bool:
        """Whether there is anything to look at."""
        return self.table is not None or bool(self.biases) or bool(self.rotations)


def read(network: Network, images: Tensor, way: str = "") -> Reading:
    """The positions of a network in eval mode as it sees images B C S S."""
    side = int(images.shape[-1])
    grid = network.grid(side, side)
    with torch.no_grad():
        whole = added(network, side)
        prefix, table = (None, None) if whole is None else (whole[: -grid[0] * grid[1]], whole[-grid[0] * grid[1] :])
        return Reading(way, side, grid, table, prefix, heard(network, images), rotations(network, grid))


def added(network: Network, side: int) -> Array | None:
    """The table that a network adds to its tokens for images of `side` pixels, prefix+N D; None without one."""
    position = getattr(network, "position", None)
    if isinstance(position, Position):
        if type(position).add is Position.add:
            return None
        rows, columns = grid = network.grid(side, side)
        zeros = torch.zeros(1, position.prefix + rows * columns, position.width)
        return _array(position.add(zeros, grid)[0])
    return _of_library(network, side) if isinstance(network, Adapted) else None


def _of_library(network: Adapted, side: int) -> Array | None:
    """The table of timm's or torchvision's ViTs, in the shape that the network has it in for these images."""
    from timm.layers.pos_embed import resample_abs_pos_embed

    net: Any = network.at(side, side)
    table = getattr(net, "pos_embed", None)
    if table is None and hasattr(net, "encoder"):
        table = getattr(net.encoder, "pos_embedding", None)
    rows, columns = network.grid(side, side)
    if not isinstance(table, Tensor) or table.ndim != 3:
        return None
    prefix = 0 if getattr(net, "no_embed_class", False) else int(getattr(net, "num_prefix_tokens", 1))
    if table.shape[1] != prefix + rows * columns and network.mechanism == "dynamic":
        table = resample_abs_pos_embed(table, new_size=[rows, columns], num_prefix_tokens=prefix)
    return _array(table[0]) if table.shape[1] in (rows * columns, prefix + rows * columns) else None


def heard(network: Network, images: Tensor) -> list[OffsetBias]:
    """What the hook `bias` of each attention layer returned while the network saw the images B C S S, in order."""
    if isinstance(network, Adapted):
        return []
    found: list[OffsetBias] = []
    with listening(network, found):
        network(images)
    return found


@contextmanager
def listening(network: Network, found: list[OffsetBias]) -> Iterator[None]:
    """Within the context what encodings and windows add to logits is kept in `found`, call by call; what one of these
    hooks asks of another is not kept again."""
    owners = [module for module in network.modules() if isinstance(module, Windows | Position)]
    hooked = [(owner, name) for owner in owners for name in HOOKS if hasattr(owner, name)]
    asked: list[str] = []

    def keep(owner: nn.Module, name: str) -> None:
        hook: Any = getattr(owner, name)

        def listened(*given: Any) -> Tensor | None:  # ..., grid, block; of windows: target, window
            asked.append(name)
            try:
                made: Tensor | None = hook(*given)
            finally:
                asked.pop()
            if made is not None and not asked:
                found.append(offset_bias(made, given[-1] if isinstance(owner, Windows) else given[-2]))
            return made

        setattr(owner, name, listened)

    for owner, name in hooked:
        keep(owner, name)
    try:
        yield
    finally:
        for owner, name in hooked:
            delattr(owner, name)


def offset_bias(bias: Tensor, grid: Grid) -> OffsetBias:
    """A bias h prefix+N prefix+N, or B h prefix+N prefix+N where it depends on the queries, by offset."""
    count = grid[0] * grid[1]
    pairs = _array(bias[..., -count:, -count:])
    if pairs.ndim == 3:
        mean = by_offset(pairs, grid)
        return OffsetBias(grid, mean, np.zeros_like(mean))
    mean = by_offset(pairs.mean(axis=0), grid)
    squares = by_offset((pairs**2).mean(axis=0), grid)
    return OffsetBias(grid, mean, np.sqrt(np.maximum(squares - mean**2, 0)))


def rotations(network: Network, grid: Grid) -> list[Rotation]:
    """What the hook `rotate` of a network's encoding does on a grid, layer by layer; empty where it does nothing."""
    position = getattr(network, "position", None)
    if not isinstance(position, Position) or type(position).rotate is Position.rotate:
        return []
    return [_rotation(position, grid, block) for block in range(position.depth)]


def _rotation(position: Position, grid: Grid, block: int) -> Rotation:
    count, width = grid[0] * grid[1], position.head_width
    shape = (width, position.heads, position.prefix + count, width)
    basis = torch.eye(width)[:, None, None].expand(shape).contiguous()  # d h prefix+N d
    turned = _array(position.rotate(basis, basis, grid, block)[0][:, :, position.prefix :])
    bound = None
    if isinstance(position, Rotary):  # (1, 0) of every pair of channels becomes (cos, sin)
        pairs = turned[::2].sum(axis=0)  # h N d
        bound = by_offset(decay_bound(pairs[..., ::2] + 1j * pairs[..., 1::2]), grid)
    return Rotation(grid, by_offset(unit_products(turned), grid), bound)


def other_side(network: Network, side: int) -> int | None:
    """The side nearest to one and a half times `side` that a network takes and that gives it another grid."""
    home = network.grid(side, side)
    for one in sorted(range(side + 1, 2 * side + 1), key=lambda other: abs(other - 1.5 * side)):
        try:
            if network.grid(one, one) != home:
                return one
        except ModelError:  # the patch does not divide it, say
            continue
    return None


def _array(tensor: Tensor) -> Array:
    return tensor.detach().cpu().to(torch.float64).numpy()
