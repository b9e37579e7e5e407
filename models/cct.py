"""The compact convolutional transformer (Hassani et al., 2021): a convolutional tokeniser and a pooling that attends.

Shapes: B images, C channels, H x W pixels, N tokens of width D.

The tokeniser is a stack of convolution, ReLU and overlapping max pooling; the logits are read from a weighted mean
of the tokens, the weights by a softmax over one linear map (sequence pooling). The blocks between them are the
authors' (SHI-Labs/Compact-Transformers), not the ViT's: the residual stream itself is normalised before the MLP, a
tenth of the attention's probabilities is dropped in training, and queries, keys and values have no bias. The ViT's own
blocks on convolutions are `models.conv_stem_vit`. Any encoding fits; the published models use `learned_1d`, there
drawn ten times as wide (std 0.2), or `sincos_1d`. Any image size will do: a stride of 2 rounds up.
Initial weights are the authors': std 0.02, the tokeniser's by He's rule and the fan in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from models.grids import Grid, halvings
from models.initial import CCT as SCHEME
from models.initial import Scheme
from models.network import Parts, drop_path_rates
from models.positions.base import Position
from models.vit import Attention, Block, ViT


class Tokeniser(nn.Sequential):
    """B C H W -> B D rows columns by convolutions k x k without bias, each with ReLU and 3x3 pooling of stride 2.

    Args: channels of the convolutions, the last of which must be the transformer's width. kernel: k. stride: of the
    convolutions.
    """

    def __init__(self, in_channels: int, channels: tuple[int, ...], kernel: int, stride: int) -> None:
        layers: list[nn.Module] = []
        for outputs in channels:
            layers += [
                nn.Conv2d(in_channels, outputs, kernel, stride, padding=kernel // 2, bias=False),
                nn.ReLU(),
                nn.MaxPool2d(3, 2, padding=1),
            ]
            in_channels = outputs
        super().__init__(*layers)
        self.times = len(channels) * (1 if stride == 1 else 2)

    def grid(self, height: int, width: int) -> Grid:
        """Rows and columns of tokens: every pooling, and every convolution of stride 2, halves them, rounding up."""
        return halvings(height, self.times), halvings(width, self.times)


class CCTBlock(Block):
    """x = norm2(x + attention(norm1(x))), then x + mlp(x): B N D -> B N D.

    Args: attention_dropout: share of the probabilities set to zero in training. The others are those of
    `models.vit.Block`.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_ratio: float,
        layer_scale: float,
        drop_path: float,
        attention_dropout: float,
    ) -> None:
        super().__init__(width, heads, mlp_ratio, layer_scale, drop_path)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, qkv_bias=False, dropout=attention_dropout)

    def forward(
        self, tokens: Tensor, position: Position, grid: Grid, block: int, parts: Parts | None, mask: Tensor | None
    ) -> Tensor:
        """Tokens B N D -> B N D; the arguments are those of `models.vit.Attention.forward`."""
        attended = self.attention(self.norm1(tokens), position, grid, block, parts, mask)
        tokens = self.norm2(tokens + self.drop(self.scale1(attended)))
        return tokens + self.drop(self.scale2(self.mlp(tokens)))


class CCT(ViT):
    """Compact convolutional transformer (Hassani et al., 2021): images B C H W -> logits B K, of any size.

    Args: the tokeniser has `stem_convolutions` convolutions of `stem_width` channels, the last one of `width`, each
    with `stem_kernel` and `stem_stride`. attention_dropout: share of the attention's probabilities set to zero in
    training. The others are those of `models.vit.ViT` (but for patch and class token).
    """

    schemes: ClassVar[Mapping[str, Scheme]] = {"library": SCHEME, "literature": SCHEME}

    def __init__(
        self,
        *,
        in_channels: int,
        width: int,
        stem_convolutions: int,
        stem_width: int,
        stem_kernel: int,
        stem_stride: int,
        depth: int,
        heads: int,
        mlp_ratio: float = 4.0,
        layer_scale: float = 0.0,
        drop_path: float = 0.0,
        attention_dropout: float = 0.1,
        **rest: Any,
    ) -> None:
        channels = (*[stem_width] * (stem_convolutions - 1), width)
        stem = Tokeniser(in_channels, channels, stem_kernel, stem_stride)
        super().__init__(in_channels=in_channels, width=width, depth=depth, heads=heads, stem=stem, **rest)
        self.blocks = nn.ModuleList(
            CCTBlock(width, heads, mlp_ratio, layer_scale, rate, attention_dropout)
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(width)
        self.weigh = nn.Linear(width, 1, bias=False)  # a bias would add the same to every logit

    def pool(self, tokens: Tensor) -> Tensor:
        """Sequence pooling: the mean of the tokens, weighted by a softmax over N of one linear map; B N D -> B D."""
        weights = self.weigh(tokens).softmax(dim=1)  # B N 1
        return (weights.transpose(1, 2) @ tokens)[:, 0]  # B D
