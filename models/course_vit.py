"""The small vision transformer of teaching material: torch's own encoder layers, post-norm and with ReLU.

Shapes: B images, C channels, H x W pixels, N = rows x columns patch tokens, D width, h heads, K classes.

Patches are embedded, a class token joins, a 2-D sinusoid is added, and `torch.nn.TransformerEncoderLayer` is applied
`depth` times as `torch.nn.TransformerEncoder` does: each branch is added and then normalised, with dropout in the
attention, after each branch and inside the MLP. The head reads the class token. Beside `vit` it shows what pre-norm,
GELU and mean pooling are worth; its dropout regularises whatever the recipe's augmentation is.
Initial weights are torch's own; a class token starts with std 0.02.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from models.grids import Grid
from models.initial import Draw, Scheme, constant, torch_own, xavier
from models.network import AttentionLayer, Head, Network, Parts, as_tokens
from models.positions.base import PositionFactory
from models.vit import PatchEmbedding


class Output(nn.Linear):
    """The map behind attention, ... D -> ... D, whose biases torch starts at 0."""

    def initial(self) -> Mapping[str, Draw]:
        """`weight`, D x D, as torch draws it; `bias`: 0."""
        return {**torch_own(self.in_features, self.out_features), "bias": constant(0.0)}


class Attention(nn.MultiheadAttention, AttentionLayer):
    """torch's multi-head attention, N B D -> N B D, drawn as torch draws it.

    `need_weights` decides torch's form: explicit with weights, the fused kernel without. Tokens come first because
    torch has a third form, for evaluation only, which it takes for `batch_first` alone.
    Args: width: D. heads: h. dropout: share of the probabilities set to zero in training.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__(width, heads, dropout=dropout)
        self.out_proj = Output(width, width)  # type: ignore[assignment]  # torch's, whose initial value is stated

    def initial(self) -> Mapping[str, Draw]:
        """`in_proj_weight`, 3D x D: Glorot's uniform rule; `in_proj_bias`: 0."""
        return {"in_proj_weight": xavier(self.embed_dim, 3 * self.embed_dim), "in_proj_bias": constant(0.0)}

    def forward(  # type: ignore[override]  # positional as torch's layer passes them, the rest as it names it
        self, query: Tensor, key: Tensor, value: Tensor, **asked: Any
    ) -> tuple[Tensor, Tensor | None]:
        """What `TransformerEncoderLayer` asks for, N B D each, in the form that is set: N B D, and B h N N or None."""
        asked["need_weights"] = asked.get("need_weights", False) or not self.fused
        return super().forward(query, key, value, **asked, average_attn_weights=False)


class EncoderLayer(nn.TransformerEncoderLayer):
    """torch's layer with the attention above: norm(x + attention(x)), then norm(x + mlp(x)); N B D -> N B D.

    Args: width: D. heads: h. hidden: units of the MLP. dropout: share of numbers set to zero in training.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__(width, heads, hidden, dropout)
        self.self_attn = Attention(width, heads, dropout)
        self.linear1, self.linear2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward_parts(self, tokens: Tensor, block: int, parts: Parts) -> Tensor:
        """The same pass, N B D -> N B D; `parts` gets `attention.block`, B h N N."""
        mixed, probabilities = self.self_attn(tokens, tokens, tokens, need_weights=True)
        parts[f"attention.{block}"] = probabilities
        tokens = self.norm1(tokens + self.dropout1(mixed))
        return self.norm2(tokens + self._ff_block(tokens))


class CourseViT(Network):
    """Vision transformer of torch's encoder layers, with a class token: images B C H W -> logits B K.

    Args:
        position: an encoding's class that acts on the tokens alone, or a partial of it with the encoding's own options.
        dropout: share of numbers set to zero in training, in the attention, after each branch and inside the MLP.
        The others are those of `models.vit.ViT`.

    Raises ModelError for images that the patches do not divide, at construction and at every call.
    """

    undecayed: ClassVar[tuple[str, ...]] = ("class_token",)

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
        patch_size: int,
        mlp_ratio: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.embed = PatchEmbedding(in_channels, width, patch_size)
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        grid = self.grid(image_size, image_size)
        self.position = position(grid=grid, width=width, depth=depth, heads=heads, prefix=1)
        self.blocks = nn.ModuleList(EncoderLayer(width, heads, round(mlp_ratio * width), dropout) for _ in range(depth))
        self.head = Head(width, num_classes)

    def initial_by(self, scheme: Scheme) -> Mapping[str, Draw]:
        """How the class token, 1 1 D, starts: by the scheme."""
        return {"class_token": scheme.class_token}

    def details(self, height: int, width: int) -> dict[str, int | str]:
        """Every token attends to all."""
        return {"window": "global"}

    def grid(self, height: int, width: int) -> Grid:
        """Rows and columns of the patch tokens. Raises ModelError where the patch does not divide the image."""
        return self.embed.grid(height, width)

    def run(self, images: Tensor, parts: Parts | None) -> Tensor:
        """Images B C H W -> logits B K.

        `parts` gets `embedding` and `block.i`, B 1+N D; `attention.i`, B h 1+N 1+N; `pooled`, B D.
        """
        grid = self.grid(*images.shape[-2:])
        tokens = as_tokens(self.embed(images))  # B N D
        tokens = tokens.to(self.class_token.dtype)  # under autocast the residual stream stays exact
        tokens = torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1)  # B 1+N D
        tokens = self.position.add(tokens, grid)
        if parts is not None:
            parts["embedding"] = tokens
        for index, block in enumerate(self.blocks):
            first = tokens.transpose(0, 1)  # 1+N B D
            first = block(first) if parts is None else block.forward_parts(first, index, parts)  # type: ignore[operator]
            tokens = self.position.after_block(first.transpose(0, 1), grid, index)
            if parts is not None:
                parts[f"block.{index}"] = tokens
        pooled = tokens[:, 0]  # B D
        if parts is not None:
            parts["pooled"] = pooled
        return self.head(pooled)  # B K

    def carry(self, way: str, **choices: float | str) -> None:
        """Choose how the encoding meets another grid.

        Raises ModelError for a way or a choice that the encoding does not have.
        """
        self.position.carry(way, **choices)
