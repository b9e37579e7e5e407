"""The ViT with a convolutional stem: "Early convolutions help transformers see better" (Xiao et al., 2021).

A stack of 3x3 convolutions with batch norm and ReLU, then a 1x1 convolution to the width, replaces the patch
embedding; the rest, positions included, is `models.vit`. The stem adds locality and shared weights below the
first attention. Any image size will do: a stride of 2 rounds up.
Initial weights: in the literature those of the authors' code (pycls: as `models.vit`, but queries, keys and values
drawn as one map, the weights behind attention and the stem as torch makes them, the stem's last convolution He's by the
fan out); in the library timm's, as for its ViT.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from models.grids import Grid, halvings
from models.initial import PYCLS_VIT, TIMM_VIT, Scheme
from models.vit import LastConv, ViT


class ConvStem(nn.Sequential):
    """B C H W -> B D rows columns by 3x3 convolutions of the given channels and strides, and a 1x1 convolution.

    Batch norm and ReLU follow each 3x3 convolution. Args: width: D. channels, strides: one entry for each convolution.
    """

    def __init__(self, in_channels: int, width: int, channels: tuple[int, ...], strides: tuple[int, ...]) -> None:
        layers: list[nn.Module] = []
        for outputs, stride in zip(channels, strides, strict=True):
            layers += [
                nn.Conv2d(in_channels, outputs, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
            in_channels = outputs
        super().__init__(*layers, LastConv(in_channels, width))
        self.times = strides.count(2)

    def grid(self, height: int, width: int) -> Grid:
        """Rows and columns of tokens: every stride of 2 halves them, rounding up."""
        return halvings(height, self.times), halvings(width, self.times)


class ConvStemViT(ViT):
    """ViT whose patch embedding is a `ConvStem` (Xiao et al., 2021): images B C H W of any size -> logits B K.

    Args: stem_channels and stem_strides: one entry a convolution. The others are those of `models.vit.ViT` (but for the
    patch).
    """

    schemes: ClassVar[Mapping[str, Scheme]] = {"library": TIMM_VIT, "literature": PYCLS_VIT}

    def __init__(
        self,
        *,
        in_channels: int,
        width: int,
        stem_channels: tuple[int, ...],
        stem_strides: tuple[int, ...],
        **rest: Any,
    ) -> None:
        stem = ConvStem(in_channels, width, stem_channels, stem_strides)
        super().__init__(in_channels=in_channels, width=width, stem=stem, **rest)
