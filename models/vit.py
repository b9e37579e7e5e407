"""The vision transformer (Dosovitskiy et al., 2021): one backbone in which position is one argument.

Shapes: B images, C channels, H x W pixels, N = rows x columns patch tokens, D width, h heads of width d, K classes.

Pre-norm, mean pooling over the normalised tokens (a class token is an option), GELU, biases everywhere. P tokens
without a place may come before the N patch tokens: the class token, then registers. The encoding acts through
four hooks (`models.positions.base`): on the tokens, after a block, on queries and keys, on the logits. Nothing else
differs between two encodings, and with the same seed neither do the initial weights.

Initial weights: in the literature those of the authors' JAX code (Glorot, LeCun for the patches, classifier and class
token 0); in the library timm's (std 0.02, patches as torch makes them). Registers start with std 0.02 in both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.grids import Grid, patch_grid
from models.initial import JAX_VIT, TIMM_VIT, Draw, Scheme, constant, fans, normal
from models.network import AttentionLayer, DropPath, Head, Network, Parts, as_tokens, attend, drop_path_rates
from models.positions.base import Position, PositionFactory, at_least_single, offsets


class PatchEmbedding(nn.Conv2d):
    """Cut the image into patches and map each linearly (Dosovitskiy et al., 2021, eq. 1): B C H W -> B D rows columns.

    A convolution whose kernel and stride are the patch. Args: width: D. patch: pixels along the side of a patch.
    """

    def __init__(self, in_channels: int, width: int, patch: int) -> None:
        super().__init__(in_channels, width, kernel_size=patch, stride=patch)
        self.patch = patch

    def initial_by(self, scheme: Scheme) -> Mapping[str, Draw]:
        """How its kernel, D C p p, and its bias start: by the scheme's rule for patches."""
        return scheme.patches(*fans(self))

    def grid(self, height: int, width: int) -> Grid:
        """Rows and columns of patches. Raises ModelError where the patch does not divide the image."""
        return patch_grid(height, width, self.patch)


class LastConv(nn.Conv2d):
    """The 1x1 convolution from a stem's channels to the width, a patch embedding of maps: B C H W -> B D H W."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(channels, width, 1)

    def initial_by(self, scheme: Scheme) -> Mapping[str, Draw]:
        """How its kernel, D C 1 1, and its bias start: by the scheme's rule for patches."""
        return scheme.patches(*fans(self))


class Projection(nn.Linear):
    """Queries, keys and values in one linear map: B N D -> B N 3D.

    It starts as three maps unless the scheme joins them.
    """

    def initial_by(self, scheme: Scheme) -> Mapping[str, Draw]:
        """How its weight, 3D x D, and its bias start: by the scheme's rule for linear maps, as one map or as three."""
        return scheme.linear(self.in_features, self.out_features // (1 if scheme.joint else 3))


class BehindAttention(nn.Linear):
    """The map of what attention has mixed: B N D -> B N D."""

    def initial_by(self, scheme: Scheme) -> Mapping[str, Draw]:
        """How its weight, D x D, and its bias start: by the scheme's rule for this map, else for linear maps."""
        return (scheme.behind or scheme.linear)(*fans(self))


class Attention(AttentionLayer):
    """Multi-head self-attention with the encoding's hooks: B N D -> B N D (Vaswani et al., 2017, section 3.2).

    Args: width: D. heads: h, which must divide D. qkv_bias: whether the map to queries, keys and values has biases.
    dropout: share of the probabilities set to zero in training.
    """

    def __init__(self, width: int, heads: int, qkv_bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.head_width, self.dropout = heads, width // heads, dropout
        self.qkv = Projection(width, 3 * width, bias=qkv_bias)
        self.out = BehindAttention(width, width)

    def project(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Queries, keys and values of tokens, next to each other: B N D -> B N 3D."""
        return self.qkv(tokens)

    def forward(
        self, tokens: Tensor, position: Position, grid: Grid, block: int, parts: Parts | None, mask: Tensor | None
    ) -> Tensor:
        """Tokens B P+N D -> B P+N D.

        Args: position: the encoding, whose hooks are called. grid: rows and columns of the patch tokens. block: the
        block's number. parts: gets `attention.block`, B h P+N P+N, when it is a dictionary. mask: added to the logits,
        P+N P+N of 0 and minus infinity, or None.
        """
        batch, count, width = tokens.shape
        qkv = self.project(tokens, grid).view(batch, count, 3, self.heads, self.head_width)
        queries, keys, values = (x.transpose(1, 2) for x in qkv.unbind(2))  # B h N d each
        queries, keys = position.rotate(queries, keys, grid, block)
        queries = queries * self.head_width**-0.5
        bias = position.logit_bias(tokens, queries, grid, block)
        fused = self.fused and parts is None and not position.mixes_values
        dropout = self.dropout if self.training else 0.0
        mixed, probabilities = attend(queries, keys, values, bias, fused, dropout, mask)  # B h N d, B h N N
        if probabilities is not None:
            if position.mixes_values:
                mixed = mixed + position.mix_values(probabilities, grid, block)
            if parts is not None:
                parts[f"attention.{block}"] = probabilities
        return self.out(mixed.transpose(1, 2).reshape(batch, count, width))


class HiddenLinear(nn.Linear):
    """One of an MLP's two linear maps."""

    def initial_by(self, scheme: Scheme) -> Mapping[str, Draw]:
        """How its weight and its bias start: by the scheme's rule for the MLPs of blocks."""
        return scheme.hidden(*fans(self))


class MLP(nn.Module):
    """Two linear maps with a GELU between: ... D -> ... D. Args: width: D. hidden: units between the maps."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up = HiddenLinear(width, hidden)
        self.down = HiddenLinear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens or pixels ... D -> ... D, each by itself."""
        return self.down(nn.functional.gelu(self.up(x)))


class LayerScale(nn.Module):
    """A learned factor per channel on a residual branch, B N D -> B N D (Touvron et al., 2021: CaiT).

    Args: width: D. start: of every factor.
    """

    def __init__(self, width: int, start: float) -> None:
        super().__init__()
        self.start = start
        self.factor = nn.Parameter(torch.empty(width))

    def initial(self) -> Mapping[str, Draw]:
        """The D factors start at `start`."""
        return {"factor": constant(self.start)}

    def forward(self, branch: Tensor) -> Tensor:
        """A branch B N D -> B N D."""
        return branch * self.factor


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)): B N D -> B N D (Dosovitskiy et al., 2021, eqs. 2 and 3).

    Args: width: D. heads: h. mlp_ratio: hidden units of the MLP per channel. layer_scale: start of the branches'
    factors, 0 for none. drop_path: rate at which a branch is dropped in training.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float, layer_scale: float, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width, round(mlp_ratio * width))
        self.scale1 = LayerScale(width, layer_scale) if layer_scale else nn.Identity()
        self.scale2 = LayerScale(width, layer_scale) if layer_scale else nn.Identity()
        self.drop = DropPath(drop_path)

    def forward(
        self, tokens: Tensor, position: Position, grid: Grid, block: int, parts: Parts | None, mask: Tensor | None
    ) -> Tensor:
        """Tokens B N D -> B N D; the arguments are those of `Attention.forward`."""
        attended = self.attention(self.norm1(tokens), position, grid, block, parts, mask)
        tokens = tokens + self.drop(self.scale1(attended))
        return tokens + self.drop(self.scale2(self.mlp(self.norm2(tokens))))


class ViT(Network):
    """Vision transformer (Dosovitskiy et al., 2021, section 3.1): images B C H W -> logits B K.

    Args:
        image_size: training resolution in pixels; it sets only the grid for which positions are made.
        in_channels: C. num_classes: K. width: D. depth: blocks. heads: h.
        position: an encoding's class, or a partial of it with the encoding's own options.
        patch_size: pixels along the side of a patch. mlp_ratio: hidden units of an MLP per channel.
        class_token: read the logits from a class token instead of the mean of the patch tokens.
        registers: learned tokens that are added after the class token and that the head does not read (Darcet et al.,
        2024: "Vision Transformers Need Registers", which takes 4): room for what belongs to no place.
        stem: replaces the patch embedding; maps B C H W to B D rows columns and has a `grid(height, width)`.
        layer_scale: start of the learned residual factors, 0 for none. drop_path: rate of the last block.
        attention_window: r > 0: a token attends only to tokens within r rows and r columns, on any grid, and to the
        class token and registers, which attend to all. Then the network is local like a (2r+1) x (2r+1) convolution,
        with weights shared over places and equivariant to shifts (position and borders excepted), and still depends on
        content.

    Raises ModelError for images that the patches do not divide, at construction and at every call.
    """

    undecayed: ClassVar[tuple[str, ...]] = ("class_token", "registers")
    schemes: ClassVar[Mapping[str, Scheme]] = {"library": TIMM_VIT, "literature": JAX_VIT}

    def __init__(
        self,
        *,
        image_size: int,
        in_channels: int,
        num_classes: int,
        width: int,
        depth: int,
        heads: int,
        position: PositionFactory,
        patch_size: int = 4,
        mlp_ratio: float = 4.0,
        class_token: bool = False,
        registers: int = 0,
        layer_scale: float = 0.0,
        drop_path: float = 0.0,
        attention_window: int = 0,
        stem: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.attention_window = attention_window
        self.in_channels = in_channels
        self.embed = PatchEmbedding(in_channels, width, patch_size) if stem is None else stem
        self.class_token = nn.Parameter(torch.empty(1, 1, width)) if class_token else None
        self.registers = nn.Parameter(torch.empty(1, registers, width)) if registers else None
        self.position = position(
            grid=self.grid(image_size, image_size),
            width=width,
            depth=depth,
            heads=heads,
            prefix=int(class_token) + registers,
        )
        self.blocks = nn.ModuleList(
            Block(width, heads, mlp_ratio, layer_scale, rate) for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = Head(width, num_classes)

    def initial_by(self, scheme: Scheme) -> Mapping[str, Draw]:
        """How the class token, 1 1 D, starts: by the scheme; registers, 1 R D, apart, or they would stay equal."""
        return {"class_token": scheme.class_token, "registers": normal(0.02)}

    def grid(self, height: int, width: int) -> Grid:
        """Rows and columns of the patch tokens. Raises ModelError where the patch does not divide the image."""
        return self.embed.grid(height, width)  # type: ignore[operator]

    def run(self, images: Tensor, parts: Parts | None) -> Tensor:
        """Images B C H W -> logits B K.

        `parts` gets `embedding` and `block.i`, B P+N D; `attention.i`, B h P+N P+N; `pooled`, B D. The first P tokens
        are the class token and the registers, in this order, where there are any; `position.prefix` is P.
        """
        grid = self.grid(*images.shape[-2:])
        tokens = as_tokens(self.embed(images))  # B N D
        tokens = tokens.to(self.norm.weight.dtype)  # under autocast the residual stream stays exact for every encoding
        first = [extra for extra in (self.class_token, self.registers) if extra is not None]
        if first:
            tokens = torch.cat([*(extra.expand(len(tokens), -1, -1) for extra in first), tokens], dim=1)  # B P+N D
        tokens = self.position.add(tokens, grid)
        if parts is not None:
            parts["embedding"] = tokens
        mask = None
        if self.attention_window:
            mask = self.position.constant(self.window_mask, grid, tokens.device, at_least_single(tokens.dtype))
        for index, block in enumerate(self.blocks):
            tokens = block(tokens, self.position, grid, index, parts, mask)
            tokens = self.position.after_block(tokens, grid, index)
            if parts is not None:
                parts[f"block.{index}"] = tokens
        pooled = self.pool(self.norm(tokens))  # B D
        if parts is not None:
            parts["pooled"] = pooled
        return self.head(pooled)  # B K

    def window_mask(self, grid: Grid) -> Tensor:
        """0 where two tokens may meet, minus infinity where they are further apart than the window: P+N P+N."""
        dr, dc = offsets(grid)
        far = torch.maximum(dr.abs(), dc.abs()) > self.attention_window
        mask = torch.zeros(far.shape, dtype=torch.float64).masked_fill(far, -math.inf)
        return nn.functional.pad(mask, (self.position.prefix, 0, self.position.prefix, 0))

    def pool(self, tokens: Tensor) -> Tensor:
        """What the head reads: the mean of the patch tokens, or the class token; B P+N D -> B D."""
        if self.class_token is not None:
            return tokens[:, 0]
        return (tokens[:, self.position.prefix :] if self.registers is not None else tokens).mean(dim=1)

    def carry(self, way: str, **choices: float | str) -> None:
        """Choose how the encoding meets another grid.

        Raises ModelError for a way or a choice that the encoding does not have.
        """
        self.position.carry(way, **choices)

    def details(self, height: int, width: int) -> dict[str, int | str]:
        """How far a token attends: `global`, or the sides of the window in tokens."""
        side = 2 * self.attention_window + 1
        return {"window": f"{side}x{side}" if self.attention_window else "global"}
