"""Swin V2 (Liu et al., 2022), at any image size: cosine attention, norms after the branches, a continuous bias.

Shapes as in `models.swin`, whose windows, shifts and masks it has: B H W D maps, windows of m x n tokens, h heads of
width d. Three things differ from Swin. Logits are cosines of queries and keys times a learned scale per head, at most
100. A branch is normalised last, with a factor that starts at 0 (`res-post-norm`), and merging likewise. The bias is
that of `cpb` (`models.positions.biases`): 16 sigmoid(MLP) of log-spaced offsets, so that it exists for any window.
At the training resolution it equals timm's `SwinTransformerV2`, weight for weight, wherever no filling is needed; on a
larger grid, timm's that is built for it with the window and the `pretrained_window_sizes` that the way stands for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.grids import Grid
from models.initial import Draw, constant
from models.network import Choices, Parts
from models.positions.biases import ContinuousBias
from models.swin import Swin, SwinBlock, Windows, neighbours


class CosineWindowAttention(Windows):
    """cos(q, k) exp(min(s_h, log 100)) + bias: B H W D -> B H W D.

    Scaled cosine attention (Liu et al., 2022, section 3.2). s_h starts at log 10; queries and values have a bias, keys
    none. The bias of the logits is normalised by the trained window, or by the one in use: see `SwinV2`. Arguments are
    those of `models.swin.Windows`.
    """

    qkv_bias = False

    def __init__(self, width: int, heads: int, window: Grid, shifted: bool) -> None:
        super().__init__(width, heads, window, shifted)
        self.query_bias = nn.Parameter(torch.empty(width))
        self.value_bias = nn.Parameter(torch.empty(width))
        self.logit_scale = nn.Parameter(torch.empty(heads))
        self.position = ContinuousBias(grid=window, width=width, depth=1, heads=heads, prefix=0)

    def initial(self) -> Mapping[str, Draw]:
        """`query_bias` and `value_bias`, D: 0; `logit_scale`, h: log 10."""
        return {
            "query_bias": constant(0.0),
            "value_bias": constant(0.0),
            "logit_scale": constant(math.log(10)),
        }

    def project(self, windows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised and scaled queries, normalised keys, and values of B windows n D, each B windows h n d."""
        biases = torch.cat([self.query_bias, torch.zeros_like(self.query_bias), self.value_bias])
        queries, keys, values = self.split(nn.functional.linear(windows, self.qkv.weight, biases))
        scale = self.logit_scale.clamp(max=math.log(100)).exp()[:, None, None]  # h 1 1
        queries = nn.functional.normalize(queries, dim=-1) * scale
        return queries.to(values.dtype), nn.functional.normalize(keys, dim=-1).to(values.dtype), values

    def bias(self, target: Grid, window: Grid) -> Tensor:
        """The continuous bias of the window in use: h n n."""
        return self.position.bias(self.query_bias, window, 0)  # of queries it reads nothing but the device


class LastNorm(nn.LayerNorm):
    """Layer norm at the end of a branch, ... D -> ... D, initially 0: a block starts as the identity."""

    def initial(self) -> Mapping[str, Draw]:
        """`weight` and `bias`, D: 0."""
        return {"weight": constant(0.0), "bias": constant(0.0)}


class PostNormBlock(SwinBlock):
    """x + norm(attention(x)), then x + norm(mlp(x)): B H W D -> B H W D.

    "Res-post-norm" (Liu et al., 2022, section 3.2).
    """

    attention_type = CosineWindowAttention
    norm_type = LastNorm

    def forward(self, x: Tensor, target: Grid, layer: int, parts: Parts | None) -> Tensor:
        """A map B H W D -> B H W D; the arguments are those of `models.swin.Windows.forward`."""
        x = x + self.drop(self.norm1(self.attention(x, target, layer, parts)))
        return x + self.drop(self.norm2(self.mlp(x)))


class PostNormMerging(nn.Module):
    """2 x 2 neighbours, linear map 4 D -> 2 D, norm: B H W D -> B H/2 W/2 2D, rounded up. Args: width: D."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(2 * width)

    def forward(self, x: Tensor) -> Tensor:
        """A map B H W D -> B H/2 W/2 2D, rounded up."""
        return self.norm(self.reduce(neighbours(x)))


class SwinV2(Swin):
    """Swin transformer, second version (Liu et al., 2022): images B C H W -> logits B K.

    Arguments and errors are those of `Swin`.

    `carry("keep_window")`, the default, keeps windows at their trained size on any grid, where the bias needs no
    change. `carry("grow_window")` scales them with the grid; the bias of an offset then stays what it was, and that of
    offsets never seen is extrapolated (`bias = "recompute"`, the default: coordinates in units of the trained window),
    or the bias is stretched with the window (`bias = "normalise"`: in units of the grown one).
    """

    undecayed = ("position.first", "position.first_bias", "position.second")
    choices: ClassVar[Choices] = {"grow_window": {"bias": ContinuousBias.ways}}
    block_type = PostNormBlock
    merging_type = PostNormMerging

    def part_of(self, name: str) -> str:
        """The networks of the continuous biases count as position."""
        return "position" if ".position." in name else super().part_of(name)

    def carry(self, way: str, **choices: float | str) -> None:
        """Choose how windows and biases meet another grid.

        Raises ModelError for a way or a choice that the network does not have.
        """
        super().carry(way, **choices)
        for layer in self.modules():
            if isinstance(layer, ContinuousBias):
                layer.carry(str(choices.get("bias", ContinuousBias.ways[0])))
