"""The hybrid of the ViT paper (Dosovitskiy et al., 2021): a small ResNet, then a transformer on its feature map.

Shapes: B images, C channels, H x W pixels, D width. The stages of `models.resnet` halve the image down to the token
grid, a 1x1 convolution maps their channels to D, and the rest, positions included, is `models.vit`. Locality, sharing
and equivariance below; global reach and dependence on content above. Any image size will do: a stride of 2 rounds up.
Initial weights: in the literature those of the authors' JAX code (as `models.vit`, the stem LeCun's); in the library
timm's (as its ViT, the stem He's by the fan out).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from models.grids import Grid, halvings
from models.initial import JAX_VIT, TIMM_HYBRID, Scheme
from models.resnet import BasicBlock, Layers, norm_layer, shared_conv, stem_layers
from models.vit import LastConv, ViT


class ResNetStem(nn.Sequential):
    """B C H W -> B D rows columns: a 3x3 convolution, one basic block a stage (the first at full size), 1x1 to D.

    Args: width: D. channels: of the first stage, doubled at each further one. stages: how many. norm: batch, group or
    layer.
    """

    def __init__(self, in_channels: int, width: int, channels: int, stages: int, norm: str) -> None:
        made_of = Layers(norm_layer(norm), shared_conv("zeros"))
        layers = stem_layers("cifar", in_channels, channels, made_of, "zeros")
        inputs = channels
        for stage in range(stages):
            outputs = channels * 2**stage
            layers.append(BasicBlock(inputs, outputs, 2 if stage else 1, made_of))
            inputs = outputs
        super().__init__(*layers, LastConv(inputs, width))
        self.times = stages - 1

    def grid(self, height: int, width: int) -> Grid:
        """Rows and columns of tokens: every stage but the first halves them, rounding up."""
        return halvings(height, self.times), halvings(width, self.times)


class ResNetViT(ViT):
    """ViT on a ResNet (Dosovitskiy et al., 2021, section 3.1, "Hybrid architecture"): images B C H W -> logits B K.

    Args: stem_width: channels of the first stage, doubled at each further one; stem_stages: how many, each but the
    first halves the image; norm: of the ResNet. The others are those of `models.vit.ViT` (but for the patch).
    """

    schemes: ClassVar[Mapping[str, Scheme]] = {"library": TIMM_HYBRID, "literature": JAX_VIT}

    def __init__(
        self, *, in_channels: int, width: int, stem_width: int, stem_stages: int, norm: str = "batch", **rest: Any
    ) -> None:
        stem = ResNetStem(in_channels, width, stem_width, stem_stages, norm)
        super().__init__(in_channels=in_channels, width=width, stem=stem, **rest)
