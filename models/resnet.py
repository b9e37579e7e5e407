"""The residual network (He et al., 2016) with a stem and strides that suit the images, small ones too.

Shapes: B images, C channels, H x W pixels, K classes. Locality, weight sharing and translation equivariance are built
in (with zero padding, borders excepted). Blocks per stage and width give the CIFAR ResNets (3-3-3 of width 16 is
ResNet-20) and the ImageNet ones (2-2-2-2 of width 64 is ResNet-18, 3-4-6-3 is ResNet-34, and of bottleneck blocks
ResNet-50); a stage doubles the width of the one before.

Initial weights: in the literature those of fb.resnet.torch, the training code that the paper's authors refer to and
build on (they published none for it): convolutions by He's rule (2015) and the fan out, the classifier uniform within
1 / sqrt(fan in), its biases 0; in the library torchvision's, the same but for the biases. He's rule by the fan in, the
classifier too, came out lower (docs/fairness.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from models.grids import Grid, halvings
from models.initial import TORCH7_RESNET, TORCHVISION_RESNET, Scheme
from models.network import DropPath, Head, Network, Parts, drop_path_rates

Padding = Literal["zeros", "circular"]
Norm = Callable[[int], nn.Module]  # channels
Conv = Callable[[int, int, int, int, int], nn.Module]  # inputs, outputs, kernel, stride, pitch (pixels a step) before


@dataclass(frozen=True)
class Layers:
    """What blocks are made of: norms, and convolutions without bias that keep the size but for their stride."""

    norm: Norm
    conv: Conv


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of every pixel: B C H W -> B C H W (as in ConvNeXt)."""

    def forward(self, x: Tensor) -> Tensor:
        """A map B C H W -> B C H W."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def norm_layer(kind: str) -> Norm:
    """What makes a norm for a number of channels: `batch`, `group` (see `group_count`) or `layer` (over channels)."""
    if kind == "batch":
        return nn.BatchNorm2d
    if kind == "layer":
        return lambda channels: ChannelNorm(channels, eps=1e-6)
    return lambda channels: nn.GroupNorm(group_count(channels), channels)


def group_count(channels: int) -> int:
    """The most of 32, 16, 8, 4, 2 equal groups that leave at least 4 channels in each; 1 where none does."""
    return next((groups for groups in (32, 16, 8, 4, 2) if channels % groups == 0 and channels >= 4 * groups), 1)


def wrap(x: Tensor, reach: int) -> Tensor:
    """Continue a map periodically beyond its borders: B C H W -> B C H+2r W+2r, for any reach r."""
    rows, columns = x.shape[2:]
    if reach <= min(rows, columns):
        return nn.functional.pad(x, (reach,) * 4, mode="circular")
    down, right = -(-reach // rows), -(-reach // columns)  # whole copies on each side: torch wraps around only once
    top, left = down * rows - reach, right * columns - reach
    copies = x.repeat(1, 1, 2 * down + 1, 2 * right + 1)
    return copies[:, :, top : top + rows + 2 * reach, left : left + columns + 2 * reach]


def shared_conv(padding: Padding) -> Conv:
    """What makes ordinary convolutions: one kernel for all places; `padding` is zeros or circular."""

    def conv(inputs: int, outputs: int, kernel: int, stride: int, pitch: int) -> nn.Module:
        return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False, padding_mode=padding)

    return conv


def projection(inputs: int, outputs: int, stride: int, layers: Layers, pitch: int) -> nn.Module:
    """The shortcut around a block: x itself, or a 1x1 convolution and norm of it where its shape changes.

    B C H W -> B outputs H/stride W/stride; option B of He et al. (2016, section 4.1).
    """
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(layers.conv(inputs, outputs, 1, stride, pitch), layers.norm(outputs))


class BasicBlock(nn.Module):
    """relu(x + norm(conv(relu(norm(conv(x)))))): two 3x3 convolutions, B C H W -> B width H/stride W/stride.

    He et al. (2016), section 3.2. Args: inputs: C. width: channels. layers: makes convolutions and norms. drop_path:
    rate at which the branch is dropped in training. pitch: pixels a step of the input.
    """

    expansion: ClassVar[int] = 1  # output channels per `width`
    wide: ClassVar[int] = 2  # 3x3 convolutions in a row

    def __init__(
        self, inputs: int, width: int, stride: int, layers: Layers, drop_path: float = 0.0, pitch: int = 1
    ) -> None:
        super().__init__()
        self.conv1, self.norm1 = layers.conv(inputs, width, 3, stride, pitch), layers.norm(width)
        self.conv2, self.norm2 = layers.conv(width, width, 3, 1, pitch * stride), layers.norm(width)
        self.shortcut = projection(inputs, width, stride, layers, pitch)
        self.drop = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """A map B C H W -> B width H/stride W/stride, rounded up."""
        y = torch.relu_(self.norm1(self.conv1(x)))
        y = self.drop(self.norm2(self.conv2(y)))
        y += self.shortcut(x)
        return torch.relu_(y)


class Bottleneck(nn.Module):
    """As `BasicBlock` with 1x1, 3x3, 1x1 convolutions: B C H W -> B 4*width H/stride W/stride.

    The stride is the 3x3 convolution's ("v1.5", as in torchvision and timm), not the first one's as in the paper.
    Arguments are those of `BasicBlock`.
    """

    expansion: ClassVar[int] = 4
    wide: ClassVar[int] = 1

    def __init__(
        self, inputs: int, width: int, stride: int, layers: Layers, drop_path: float = 0.0, pitch: int = 1
    ) -> None:
        super().__init__()
        self.conv1, self.norm1 = layers.conv(inputs, width, 1, 1, pitch), layers.norm(width)
        self.conv2, self.norm2 = layers.conv(width, width, 3, stride, pitch), layers.norm(width)
        self.conv3, self.norm3 = layers.conv(width, 4 * width, 1, 1, pitch * stride), layers.norm(4 * width)
        self.shortcut = projection(inputs, 4 * width, stride, layers, pitch)
        self.drop = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """A map B C H W -> B 4*width H/stride W/stride, rounded up."""
        y = torch.relu_(self.norm1(self.conv1(x)))
        y = torch.relu_(self.norm2(self.conv2(y)))
        y = self.drop(self.norm3(self.conv3(y)))
        y += self.shortcut(x)
        return torch.relu_(y)


BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {"basic": BasicBlock, "bottleneck": Bottleneck}


class MaxPool(nn.Module):
    """3x3 max pooling of stride 2: B C H W -> B C H/2 W/2, rounded up.

    Args: padding: zeros or circular, as of convolutions.
    """

    def __init__(self, padding: Padding) -> None:
        super().__init__()
        self.circular = padding == "circular"

    def forward(self, x: Tensor) -> Tensor:
        """A map B C H W -> B C H/2 W/2, rounded up."""
        if self.circular:
            return nn.functional.max_pool2d(wrap(x, 1), 3, 2)
        return nn.functional.max_pool2d(x, 3, 2, padding=1)


def stem_layers(stem: str, in_channels: int, width: int, layers: Layers, padding: Padding) -> list[nn.Module]:
    """The layers of a stem, B C H W -> B width H/s W/s.

    `cifar`: 3x3, stride 1. `half`: 3x3, stride 2. `imagenet`: 7x7, stride 2, then pooling of stride 2.
    """
    kernel, stride = {"cifar": (3, 1), "half": (3, 2), "imagenet": (7, 2)}[stem]
    found: list[nn.Module] = [layers.conv(in_channels, width, kernel, stride, 1), layers.norm(width)]
    found.append(nn.ReLU(inplace=True))
    return [*found, MaxPool(padding)] if stem == "imagenet" else found


STEM_STRIDES = {"cifar": 1, "half": 2, "imagenet": 4}


def stage_strides(stages: int, stem: str, total_stride: int) -> list[int]:
    """Strides of the stages: the first has 1, the next ones 2 until the total stride is reached, the rest 1."""
    strides, reached = [1], STEM_STRIDES[stem]
    for _ in range(stages - 1):
        strides.append(2 if reached < total_stride else 1)
        reached *= strides[-1]
    return strides


class ResNet(Network):
    """ResNet (He et al., 2016) with global average pooling: images B C H W of any size -> logits B K.

    Args:
        width: channels of the stem and of the first stage's blocks. stages: blocks per stage. stem: see `stem_layers`.
        total_stride: pixels per step of the last feature map. block: basic or bottleneck. norm: batch, group or layer.
        padding: zeros or circular; with circular padding the logits are invariant to cyclic shifts of the image by
        multiples of the total stride, where that divides the image. drop_path: rate at which the last block's branch
        is dropped in training.
    """

    schemes: ClassVar[Mapping[str, Scheme]] = {"library": TORCHVISION_RESNET, "literature": TORCH7_RESNET}

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
        block: str = "basic",
        norm: str = "batch",
        padding: Padding = "zeros",
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.kernel, self.stem_stride = (7 if stem == "imagenet" else 3), STEM_STRIDES[stem]
        self.strides = stage_strides(len(stages), stem, total_stride)
        self.block = BLOCKS[block]
        layers = Layers(norm_layer(norm), self.convolutions(image_size, padding))
        self.stem = nn.Sequential(*stem_layers(stem, in_channels, width, layers, padding))
        self.stages = nn.ModuleList()
        inputs, pitch, rates = width, self.stem_stride, iter(drop_path_rates(drop_path, sum(stages)))
        for stage, (count, first) in enumerate(zip(stages, self.strides, strict=True)):
            blocks = nn.Sequential()
            for stride in [first] + [1] * (count - 1):
                blocks.append(self.block(inputs, width * 2**stage, stride, layers, next(rates), pitch))
                inputs, pitch = width * 2**stage * self.block.expansion, pitch * stride
            self.stages.append(blocks)
        self.head = Head(inputs, num_classes)

    @staticmethod
    def convolutions(image_size: int, padding: Padding) -> Conv:
        """What makes the convolutions of the network; a subclass may make others."""
        return shared_conv(padding)

    def grid(self, height: int, width: int) -> Grid:
        """Rows and columns of the last map: every stride of 2 halves them, rounding up."""
        times = {1: 0, 2: 1, 4: 2}[self.stem_stride] + self.strides.count(2)
        return halvings(height, times), halvings(width, times)

    def run(self, images: Tensor, parts: Parts | None) -> Tensor:
        """Images B C H W -> logits B K; `parts` gets `embedding` and `stage.i`, B C H W, and `pooled`, B C."""
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
        """Receptive field and total stride of the last map, in pixels."""
        field, step = self.kernel, self.stem_stride
        if self.kernel == 7:
            field, step = self.kernel + 2 * 2, 4  # the pooling sees 3 steps of 2 pixels
        for stage, stride in zip(self.stages, self.strides, strict=True):
            wide = self.block.wide * len(stage)  # type: ignore[arg-type]  # a Sequential
            field += 2 * step  # the first 3x3 convolution looks at the pitch before its stride
            step *= stride
            field += 2 * step * (wide - 1)
        return {"receptive_field": field, "total_stride": step}
