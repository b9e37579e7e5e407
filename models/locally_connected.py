"""The small ResNet without weight sharing: every place of a feature map has kernels of its own.

Shapes: B images, C channels, H x W pixels, P = h x w places of a layer's output, k x k kernels, K classes.

The same blocks, strides, norm and pooling as `models.resnet`; with the kernels of all places equal it is that network,
to the digit. It keeps locality and gives up sharing, and with it equivariance to shifts: what an eye learns to see
upper left it does not see lower right. It mixes neighbours the same way whatever they hold, and reaches no further than
its receptive field. Bound to one image size, so images are resized. Batch norm's scale and shift per channel, and the
head behind the mean over places, are all that places share.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.grids import Grid
from models.initial import Draw, normal
from models.network import DropPath, FixedSize, Head, Parts, drop_path_rates
from models.resnet import STEM_STRIDES, stage_strides


class LocalConv(nn.Module):
    """A k x k convolution whose kernels differ from place to place, no bias, zero padding: B C H W -> B O h w.

    Args: inputs, outputs: channels. grid: rows and columns of the input.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, grid: Grid) -> None:
        super().__init__()
        self.side, self.stride = kernel, stride
        self.grid = (grid[0] - 1) // stride + 1, (grid[1] - 1) // stride + 1  # of the output
        self.kernels = nn.Parameter(torch.empty(self.grid[0] * self.grid[1], inputs * kernel**2, outputs))

    def initial(self) -> Mapping[str, Draw]:
        fan_out = self.side**2 * self.kernels.shape[2]
        return {"kernels": normal(math.sqrt(2 / fan_out))}  # He's, as in the ResNet

    def forward(self, x: Tensor) -> Tensor:
        around = nn.functional.unfold(x, self.side, padding=self.side // 2, stride=self.stride)  # B C*k*k P
        return (around.permute(2, 0, 1) @ self.kernels).permute(1, 2, 0).unflatten(2, self.grid)  # P B O -> B O h w


class LocalBlock(nn.Module):
    """relu(x + norm(conv(relu(norm(conv(x)))))), with a projection of x where shape changes: a basic block."""

    def __init__(self, inputs: int, outputs: int, stride: int, grid: Grid, drop_path: float) -> None:
        super().__init__()
        self.conv1 = LocalConv(inputs, outputs, 3, stride, grid)
        self.grid = self.conv1.grid
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = LocalConv(outputs, outputs, 3, 1, self.grid), nn.BatchNorm2d(outputs)
        self.shortcut = (
            nn.Sequential(LocalConv(inputs, outputs, 1, stride, grid), nn.BatchNorm2d(outputs))
            if stride != 1 or inputs != outputs
            else nn.Identity()
        )
        self.drop = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.shortcut(x) + self.drop(self.norm2(self.conv2(y))))


class LocallyConnected(FixedSize):
    """Locally connected network in the ResNet's shape.

    Args: width, channels of the stem and the first stage, doubled at each further one. stages: blocks per stage. stem:
    `cifar` (3x3) or `half` (3x3, stride 2). total_stride: pixels per step of the last map.
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
        drop_path: float = 0.0,
    ) -> None:
        super().__init__(image_size)
        self.in_channels = in_channels
        self.stem_stride = STEM_STRIDES[stem]
        self.strides = stage_strides(len(stages), stem, total_stride)
        first = LocalConv(in_channels, width, 3, self.stem_stride, (image_size, image_size))
        self.stem = nn.Sequential(first, nn.BatchNorm2d(width), nn.ReLU())
        self.stages = nn.ModuleList()
        inputs, grid, rates = width, first.grid, iter(drop_path_rates(drop_path, sum(stages)))
        for stage, (blocks, stride) in enumerate(zip(stages, self.strides, strict=True)):
            layers = []
            for block in range(blocks):
                layers.append(LocalBlock(inputs, width * 2**stage, 1 if block else stride, grid, next(rates)))
                inputs, grid = width * 2**stage, layers[-1].grid
            self.stages.append(nn.Sequential(*layers))
        self.last_grid = grid
        self.head = Head(inputs, num_classes)

    def grid(self, height: int, width: int) -> Grid:
        return self.last_grid

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
        field, step = 3, self.stem_stride
        for stage, stride in zip(self.stages, self.strides, strict=True):
            field += 2 * step + 2 * step * stride * (2 * len(stage) - 1)  # type: ignore[arg-type]  # a Sequential
            step *= stride
        return {"receptive_field": field, "total_stride": step}
