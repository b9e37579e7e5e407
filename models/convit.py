"""ConViT (d'Ascoli et al., 2021): a ViT whose heads start as a convolution and may unlearn it, at any image size.

Shapes: B images, N tokens on a grid, D width, h heads of width d.

Gated positional self-attention mixes by A = (1 - s(g)) softmax(q k') + s(g) softmax(v . (dc, dr, dc^2 + dr^2)), with a
gate g and a vector v for each head, offsets key minus query, and s the sigmoid. At the start v = strength (2 Dc, 2 Dr,
-1) makes a head look at the offset (Dc, Dr), one head for each offset of a square kernel, g is 1, and values pass
unchanged: soft locality, shared over places. Nothing depends on the grid's size: another one is only more offsets.
All else starts as the authors and timm have it: std 0.02, patches as torch makes them. Theirs learn absolute positions
as well, and have no bias of queries, keys and values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from models.grids import Grid
from models.initial import CONVIT, Draw, Scheme, constant, normal
from models.network import AttentionLayer, Parts, as_tokens, attend, check_way
from models.positions.absolute import NoPosition
from models.positions.base import Position, at_least_single, offsets
from models.vit import ViT

WAYS = ("recompute",)


def identity(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """A square matrix that changes nothing: D x D of the given shape."""
    return torch.eye(shape[0], dtype=torch.float64, device="cpu")


class Values(nn.Linear):
    """The map of the values, B N D -> B N D, at first the identity."""

    def initial(self) -> Mapping[str, Draw]:
        """`weight`: the identity; `bias`: 0."""
        return {"weight": identity, "bias": constant(0.0)}


class GatedAttention(AttentionLayer):
    """Gated positional self-attention (d'Ascoli et al., 2021): B N D -> B N D.

    Args: width: D. heads: h, which must divide D. strength: how sharply heads start to look at their offset.
    """

    def __init__(self, width: int, heads: int, strength: float) -> None:
        super().__init__()
        self.heads, self.head_width, self.strength = heads, width // heads, strength
        self.qk = nn.Linear(width, 2 * width)
        self.values = Values(width, width)
        self.out = nn.Linear(width, width)
        self.directions = nn.Parameter(torch.empty(heads, 3))  # v of (dc, dr, dc^2 + dr^2)
        self.gates = nn.Parameter(torch.empty(heads))

    def initial(self) -> Mapping[str, Draw]:
        """`directions`, h 3: `kernel_offsets`; `gates`, h: 1."""
        return {"directions": self.kernel_offsets, "gates": constant(1.0)}

    def kernel_offsets(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """v of every head, h x 3, the given shape: the first floor(sqrt(h))^2 look at the offsets of a square kernel.

        The heads left over start near 0 and look everywhere.
        """
        vectors = normal(0.02)(shape, generator)
        side = math.isqrt(shape[0])
        for head in range(side**2):
            dc, dr = head // side - (side - 1) / 2, head % side - (side - 1) / 2
            vectors[head] = self.strength * torch.tensor([2 * dc, 2 * dr, -1.0], dtype=torch.float64, device="cpu")
        return vectors

    def relative(self, grid: Grid) -> Tensor:
        """(dc, dr, dc^2 + dr^2) of every pair, key minus query: N N 3."""
        dr, dc = offsets(grid)
        return torch.stack([-dc, -dr, dc**2 + dr**2], dim=-1)

    def forward(
        self, tokens: Tensor, position: Position, grid: Grid, block: int, parts: Parts | None, mask: Tensor | None
    ) -> Tensor:
        """Tokens B N D -> B N D; arguments as those of `models.vit.Attention.forward`, but `mask` is not used."""
        batch, count, width = tokens.shape
        queries, keys = self.qk(tokens).view(batch, count, 2, self.heads, self.head_width).permute(2, 0, 3, 1, 4)
        values = self.values(tokens).view(batch, count, self.heads, self.head_width).transpose(1, 2)  # B h N d
        pairs = position.constant(self.relative, grid, tokens.device, at_least_single(tokens.dtype))
        places = torch.einsum("qkp,hp->hqk", pairs, self.directions.to(pairs.dtype)).softmax(dim=-1)  # h N N
        gates = torch.sigmoid(self.gates)[:, None, None]
        mixed, seen = attend(queries * self.head_width**-0.5, keys, values, None, self.fused and parts is None)
        mixed = (1 - gates) * mixed + gates * (places.to(values.dtype) @ values)
        if parts is not None and seen is not None:
            parts[f"attention.{block}"] = (1 - gates) * seen + gates * places
        return self.out(mixed.transpose(1, 2).reshape(batch, count, width).to(tokens.dtype))


class ConViT(ViT):
    """ConViT (d'Ascoli et al., 2021): images B C H W -> logits B K.

    The first `local_blocks` blocks have gated attention, the others the ViT's; a class token joins between them.
    Args: locality: the strength in the module's docstring. The others are those of `models.vit.ViT`, without an
    encoding.
    Raises ModelError for images that the patches do not divide.
    """

    undecayed: ClassVar[tuple[str, ...]] = ("class_token", "directions")
    schemes: ClassVar[Mapping[str, Scheme]] = {"library": CONVIT, "literature": CONVIT}

    def __init__(self, *, width: int, heads: int, local_blocks: int, locality: float, **rest: Any) -> None:
        super().__init__(width=width, heads=heads, position=NoPosition, **rest)
        self.local_blocks = local_blocks
        for block in list(self.blocks)[:local_blocks]:
            block.attention = GatedAttention(width, heads, locality)

    def part_of(self, name: str) -> str:
        """The vectors that heads look along count as position."""
        return "position" if name.endswith("directions") else super().part_of(name)

    def run(self, images: Tensor, parts: Parts | None) -> Tensor:
        """Images B C H W -> logits B K; `parts` as in `ViT.run`, with one token more after the class token joined."""
        grid = self.grid(*images.shape[-2:])
        tokens = as_tokens(self.embed(images)).to(self.norm.weight.dtype)  # B N D
        if parts is not None:
            parts["embedding"] = tokens
        for index, block in enumerate(self.blocks):
            if index == self.local_blocks and self.class_token is not None:
                tokens = torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1)  # B 1+N D
            tokens = block(tokens, self.position, grid, index, parts, None)
            if parts is not None:
                parts[f"block.{index}"] = tokens
        pooled = self.pool(self.norm(tokens))  # B D
        if parts is not None:
            parts["pooled"] = pooled
        return self.head(pooled)  # B K

    def carry(self, way: str, **choices: float | str) -> None:
        """There is one way, `recompute`. Raises ModelError for any other."""
        check_way("convit", WAYS, {}, way, choices)
