"""The compact convolutional transformer (Hassani et al., 2021): a convolutional tokeniser and a pooling that attends.

The tokeniser is a stack of convolution, ReLU and overlapping max pooling; the logits are read from a weighted mean
of the tokens, the weights by a softmax over one linear map (sequence pooling). Between them lies `models.vit` with any
encoding; the published models use `learned_1d` or `sincos_1d`. Any image size will do: a stride of 2 rounds up.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from models.grids import Grid, halvings
from models.vit import ViT


class Tokeniser(nn.Sequential):
    """B C H W -> B D rows columns: for each of the channels a k x k convolution without bias, ReLU, 3x3 pooling of 2.

    Args: channels of the convolutions, the last of which must be the transformer's width. stride: of the convolutions.
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
        return halvings(height, self.times), halvings(width, self.times)


class CCT(ViT):
    """Compact convolutional transformer.

    Args: the tokeniser has `stem_convolutions` convolutions of `stem_width` channels, the last one of `width`, each
    with `stem_kernel` and `stem_stride`; the others are `ViT`'s (but for patch and class token).
    """

    def __init__(
        self,
        *,
        in_channels: int,
        width: int,
        stem_convolutions: int,
        stem_width: int,
        stem_kernel: int,
        stem_stride: int,
        **rest: Any,
    ) -> None:
        channels = (*[stem_width] * (stem_convolutions - 1), width)
        stem = Tokeniser(in_channels, channels, stem_kernel, stem_stride)
        super().__init__(in_channels=in_channels, width=width, stem=stem, **rest)
        self.weigh = nn.Linear(width, 1, bias=False)  # a bias would add the same to every logit

    def pool(self, tokens: Tensor) -> Tensor:
        weights = self.weigh(tokens).softmax(dim=1)  # B N 1
        return (weights.transpose(1, 2) @ tokens)[:, 0]  # B D
