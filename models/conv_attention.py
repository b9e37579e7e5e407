"""Convolutional attention: queries, keys and values by 3x3 convolutions, then the ViT's attention over all positions.

Shapes: B images, N tokens on a grid, D width. The question behind it: does combining the two beat either alone? It has
the convolution's locality and sharing in what is compared, and attention's global reach and dependence on content in
what is mixed; equivariant to shifts but for position and borders. Everything else is `models.vit`.
So are the initial weights; the convolutions start by LeCun's rule, or in the library as torch makes them.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from models.grids import Grid
from models.network import as_map, as_tokens
from models.vit import Attention, ViT


class ConvProjection(nn.Conv2d):
    """Queries, keys and values by one 3x3 convolution with zero padding: B D H W -> B 3D H W. Args: width: D."""

    def __init__(self, width: int) -> None:
        super().__init__(width, 3 * width, 3, padding=1)


class ConvAttention(Attention):
    """The ViT's attention with convolutional projections: B N D -> B N D.

    Args: width: D. heads: h, which must divide D.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.qkv = ConvProjection(width)  # type: ignore[assignment]

    def project(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Queries, keys and values of tokens, by the convolution on their map: B N D -> B N 3D."""
        return as_tokens(self.qkv(as_map(tokens, grid)))


class ConvAttentionViT(ViT):
    """ViT with `ConvAttention` in every block: images B C H W -> logits B K.

    Arguments and errors are those of `models.vit.ViT`; there is no class token, which has no place on the map.
    """

    def __init__(self, *, width: int, heads: int, **rest: Any) -> None:
        super().__init__(width=width, heads=heads, **rest)
        for block in self.blocks:
            block.attention = ConvAttention(width, heads)
