"""The residual network (He et al., 2016) in the fair shape for small images: basic blocks and a stem that suits them.

Shapes: B images, C channels, H x W pixels, K classes. Locality, weight sharing and translation equivariance are built
in (with zero padding, borders excepted). Blocks per stage and width give the CIFAR ResNets (3-3-3 of width 16 is
ResNet-20) and the ImageNet ones (2-2-2-2 of width 64 is ResNet-18); a stage doubles the width of the one before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from models.grids import Grid, halvings
from models.network import DropPath, Head, Network, Parts, drop_path_rates

Norm = Callable[[int], nn.Module]
Padding = Literal["zeros", "circular"]


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of every pixel: B C H W -> B C H W (as in ConvNeXt)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def norm_layer(kind: str) -> Norm:
    """`batch`; `group`: the largest of 32, 16, 8, 4, 2, 1 groups that divides the channels by at least 4; `layer`."""
    if kind == "batch":
        return nn.BatchNorm2d
    if kind == "layer":
        return lambda channels: ChannelNorm(channels, eps=1e-6)
    return lambda channels: nn.GroupNorm(group_count(channels), channels)


def group_count(channels: int) -> int:
    return next(groups for groups in (32, 16, 8, 4, 2, 1) if channels % groups == 0 and channels >= 4 * groups)


def conv(inputs: int, outputs: int, kernel: int, stride: int, padding: Padding) -> nn.Conv2d:
    """A convolution without bias that keeps the size but for its stride; `padding` is zeros or circular."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False, padding_mode=padding)


class BasicBlock(nn.Module):
    """relu(x + norm(conv(relu(norm(conv(x)))))), with a 1x1 projection of x where shape changes (He's option B)."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm, padding: Padding, drop_path: float) -> None:
        super().__init__()
        self.conv1, self.norm1 = conv(inputs, outputs, 3, stride, padding), norm(outputs)
        self.conv2, self.norm2 = conv(outputs, outputs, 3, 1, padding), norm(outputs)
        self.shortcut = (
            nn.Sequential(conv(inputs, outputs, 1, stride, padding), norm(outputs))
            if stride != 1 or inputs != outputs
            else nn.Identity()
        )
        self.drop = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.shortcut(x) + self.drop(self.norm2(self.conv2(y))))


class MaxPool(nn.Module):
    """3x3 max pooling of stride 2 that pads as the convolutions do."""

    def __init__(self, padding: Padding) -> None:
        super().__init__()
        self.circular = padding == "circular"

    def forward(self, x: Tensor) -> Tensor:
        if self.circular:
            return nn.functional.max_pool2d(nn.functional.pad(x, (1, 1, 1, 1), mode="circular"), 3, 2)
        return nn.functional.max_pool2d(x, 3, 2, padding=1)


def stem_layers(stem: str, in_channels: int, width: int, norm: Norm, padding: Padding) -> list[nn.Module]:
    """`cifar`: 3x3, stride 1. `half`: 3x3, stride 2. `imagenet`: 7x7, stride 2, then pooling of stride 2."""
    kernel, stride = {"cifar": (3, 1), "half": (3, 2), "imagenet": (7, 2)}[stem]
    layers: list[nn.Module] = [conv(in_channels, width, kernel, stride, padding), norm(width), nn.ReLU()]
    return [*layers, MaxPool(padding)] if stem == "imagenet" else layers


STEM_STRIDES = {"cifar": 1, "half": 2, "imagenet": 4}


def stage_strides(stages: int, stem: str, total_stride: int) -> list[int]:
    """Strides of the stages: the first has 1, the next ones 2 until the total stride is reached, the rest 1."""
    strides, reached = [1], STEM_STRIDES[stem]
    for _ in range(stages - 1):
        strides.append(2 if reached < total_stride else 1)
        reached *= strides[-1]
    return strides


class ResNet(Network):
    """ResNet of basic blocks, global average pooling; takes images of any size.

    Args:
        width: channels of the stem and the first stage. stages: blocks per stage. stem: see `stem_layers`.
        total_stride: pixels per step of the last feature map. norm: batch, group or layer. padding: zeros or circular;
        with circular padding the logits are invariant to cyclic shifts of the image by multiples of the total stride.
    """

    def __init__(
        self,
        *,
        image_size: int,
        in_channels: int,
        num_classes: int,
        width: int,
        stages: tuple[int, ...],
        stem: str = "cifar",
        total_stride: int = 4,
        norm: str = "batch",
        padding: Padding = "zeros",
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        make_norm = norm_layer(norm)
        self.kernel, self.stem_stride = (7 if stem == "imagenet" else 3), STEM_STRIDES[stem]
        self.strides = stage_strides(len(stages), stem, total_stride)
        self.stem = nn.Sequential(*stem_layers(stem, in_channels, width, make_norm, padding))
        self.stages = nn.ModuleList()
        inputs, rates = width, iter(drop_path_rates(drop_path, sum(stages)))
        for stage, (blocks, stride) in enumerate(zip(stages, self.strides, strict=True)):
            outputs = width * 2**stage
            layers = []
            for block in range(blocks):
                first = stride if block == 0 else 1
                layers.append(BasicBlock(inputs, outputs, first, make_norm, padding, next(rates)))
                inputs = outputs
            self.stages.append(nn.Sequential(*layers))
        self.head = Head(inputs, num_classes)

    def grid(self, height: int, width: int) -> Grid:
        times = {1: 0, 2: 1, 4: 2}[self.stem_stride] + self.strides.count(2)
        return halvings(height, times), halvings(width, times)

    def run(self, images: Tensor, parts: Parts | None) -> Tensor:
        x = self.stem(images)  # B C H W
        if parts is not None:
            parts["embedding"] = x
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if parts is not None:
                parts[f"stage.{index}"] = x
        pooled = x.mean(dim=(2, 3))  # B C
        if parts is not None:
            parts["pooled"] = pooled
        return self.head(pooled)  # B K

    def details(self, height: int, width: int) -> dict[str, int | str]:
        field, step = self.kernel, self.stem_stride
        if self.kernel == 7:
            field, step = self.kernel + 2 * 2, 4  # the pooling sees 3 steps of 2 pixels
        for stage, stride in zip(self.stages, self.strides, strict=True):
            blocks = len(stage)  # type: ignore[arg-type]  # a Sequential
            field += 2 * step  # the first convolution looks at the pitch before its stride
            step *= stride
            field += 2 * step * (2 * blocks - 1)
        return {"receptive_field": field, "total_stride": step}
