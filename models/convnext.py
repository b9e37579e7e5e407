"""ConvNeXt (Liu et al., 2022): a convolutional network with the design of a transformer.

Shapes: B images, C channels, H x W positions. Depthwise convolution mixes space, an inverted bottleneck mixes channels,
layer norm and GELU as in a transformer. Weight for weight it equals timm's `ConvNeXt` where that exists; ours has any
number of stages, so that the total stride suits small images, and sides that a stride does not divide are filled. With
another norm than layer norm, all of its norms are that one, the last too, which acts on the pooled features (so batch
norm cannot train on batches of one image).
Initial weights are the authors' and timm's: std 0.02 throughout.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.grids import Grid, halvings
from models.initial import CONVNEXT, Draw, Scheme, constant
from models.network import DropPath, Head, Network, Parts, drop_path_rates
from models.resnet import Norm, Padding, norm_layer, wrap
from models.vit import MLP, PatchEmbedding


class DepthwiseConv(nn.Conv2d):
    """One k x k kernel per channel, with bias: B C H W -> B C H W, on any small map.

    Args: channels: C. kernel: k. padding: zeros or circular.
    """

    def __init__(self, channels: int, kernel: int, padding: Padding) -> None:
        circular = padding == "circular"
        super().__init__(channels, channels, kernel, padding=0 if circular else kernel // 2, groups=channels)
        self.reach = kernel // 2 if circular else 0

    def forward(self, x: Tensor) -> Tensor:
        """A map B C H W -> B C H W."""
        return super().forward(wrap(x, self.reach) if self.reach else x)


class ConvNeXtBlock(nn.Module):
    """x + factor * mlp(norm(depthwise(x))), the mlp over channels: B C H W -> B C H W.

    Args: channels: C. kernel: side of the depthwise kernel. padding: zeros or circular. norm: makes a norm. mlp_ratio:
    hidden units per channel. layer_scale: start of the factors, 0 for none. drop_path: rate at which the branch is
    dropped in training.
    """

    def __init__(
        self,
        channels: int,
        kernel: int,
        padding: Padding,
        norm: Norm,
        mlp_ratio: float,
        layer_scale: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.depthwise = DepthwiseConv(channels, kernel, padding)
        self.norm = norm(channels)
        self.mlp = MLP(channels, round(mlp_ratio * channels))
        self.start = layer_scale
        self.factor = nn.Parameter(torch.empty(channels)) if layer_scale else None
        self.drop = DropPath(drop_path)

    def initial(self) -> Mapping[str, Draw]:
        """`factor`, C: `layer_scale`."""
        return {"factor": constant(self.start)}

    def forward(self, x: Tensor) -> Tensor:
        """A map B C H W -> B C H W."""
        branch = self.mlp(self.norm(self.depthwise(x)).permute(0, 2, 3, 1))  # B H W C
        if self.factor is not None:
            branch = branch * self.factor
        return x + self.drop(branch.permute(0, 3, 1, 2))


class Downsample(nn.Module):
    """Norm, then a 2x2 convolution of stride 2: B C H W -> B 2C H/2 W/2 (odd sides filled with 0).

    Args: channels: C. norm: makes a norm.
    """

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.conv = nn.Conv2d(channels, 2 * channels, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        """A map B C H W -> B 2C H/2 W/2, rounded up."""
        x = self.norm(x)
        bottom, right = x.shape[2] % 2, x.shape[3] % 2
        if bottom or right:
            x = nn.functional.pad(x, (0, right, 0, bottom))
        return self.conv(x)


class ConvNeXt(Network):
    """ConvNeXt (Liu et al., 2022): images B C H W -> logits B K.

    Args:
        width: channels of the first stage, doubled at each further one. stages: blocks each. patch_size: the stem's, in
        pixels. kernel: side of the depthwise kernels, 3, 5 or 7. norm: batch, group or layer. padding: zeros or
        circular; with circular padding the logits are invariant to cyclic shifts by multiples of the total stride,
        where it divides the image. mlp_ratio: hidden units per channel. layer_scale: start of the learned factors of
        the branches, 0 for none. drop_path: rate at which the last block's branch is dropped in training.

    Raises ModelError for images that the patch does not divide.
    """

    schemes: ClassVar[Mapping[str, Scheme]] = {"library": CONVNEXT, "literature": CONVNEXT}

    def __init__(
        self,
        *,
        image_size: int,
        in_channels: int,
        num_classes: int,
        width: int,
        stages: tuple[int, ...],
        patch_size: int,
        kernel: int = 7,
        norm: str = "layer",
        padding: Padding = "zeros",
        mlp_ratio: float = 4.0,
        layer_scale: float = 1e-6,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.kernel = kernel
        make_norm = norm_layer(norm)
        self.stem = PatchEmbedding(in_channels, width, patch_size)
        self.stem_norm = make_norm(width)
        rates = iter(drop_path_rates(drop_path, sum(stages)))
        self.downsamples, self.stages = nn.ModuleList(), nn.ModuleList()
        for stage, blocks in enumerate(stages):
            channels = width * 2**stage
            self.downsamples.append(Downsample(channels // 2, make_norm) if stage else nn.Identity())
            self.stages.append(
                nn.Sequential(
                    *(
                        ConvNeXtBlock(channels, kernel, padding, make_norm, mlp_ratio, layer_scale, next(rates))
                        for _ in range(blocks)
                    )
                )
            )
        self.norm = make_norm(channels)
        self.head = Head(channels, num_classes)

    def grid(self, height: int, width: int) -> Grid:
        """Rows and columns of the last map: the patches, halved before each further stage, rounding up.

        Raises ModelError where the patch does not divide the image.
        """
        rows, columns = self.stem.grid(height, width)
        times = len(self.stages) - 1
        return halvings(rows, times), halvings(columns, times)

    def run(self, images: Tensor, parts: Parts | None) -> Tensor:
        """Images B C H W -> logits B K; `parts` gets `embedding` and `stage.i`, B C H W, and `pooled`, B C."""
        self.stem.grid(*images.shape[2:])  # refuses what the patch does not divide
        x = self.stem_norm(self.stem(images))  # B C H W
        if parts is not None:
            parts["embedding"] = x
        for index, (downsample, stage) in enumerate(zip(self.downsamples, self.stages, strict=True)):
            x = stage(downsample(x))
            if parts is not None:
                parts[f"stage.{index}"] = x
        pooled = self.norm(x.mean(dim=(2, 3), keepdim=True)).flatten(1)  # B C
        if parts is not None:
            parts["pooled"] = pooled
        return self.head(pooled)  # B K

    def details(self, height: int, width: int) -> dict[str, int | str]:
        """Receptive field and total stride of the last map, in pixels."""
        field = step = self.stem.patch
        for index, stage in enumerate(self.stages):
            if index:
                field, step = field + step, 2 * step
            field += (self.kernel - 1) * step * len(stage)  # type: ignore[arg-type]  # a Sequential
        return {"receptive_field": field, "total_stride": step}
