"""The small ResNet without weight sharing: every place of a feature map has kernels of its own.

Shapes: B images, C channels, H x W pixels, P = h x w places of a layer's output, k x k kernels, K classes.

It is `models.resnet` with other convolutions and nothing else: with the kernels of all places equal it computes the
same logits. It keeps locality and gives up sharing, and with it equivariance to shifts: what it has learned to see at
the upper left it does not see at the lower right. It mixes neighbours the same way whatever they hold, and reaches no
further than its receptive field. Bound to one image size, so images are resized. The norm (its scale and shift per
channel, and its statistics), and the head behind the mean over places, are all that places share. Padding decides only
what kernels at the border see, nothing or the opposite border: circular makes nothing equivariant here, and is there so
that a ResNet with circular padding has a partner that differs in sharing alone.
Initial weights are by the ResNet's rules, drawn for every place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.grids import Grid
from models.initial import Draw, Scheme
from models.network import resize_square
from models.resnet import Conv, Padding, ResNet, wrap


class LocalConv(nn.Module):
    """A k x k convolution whose kernels differ from place to place, no bias: B C H W -> B O h w.

    Args: inputs: C. outputs: O. kernel: k. stride: of the k x k windows. grid: H and W. padding: zeros or circular.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, grid: Grid, padding: Padding) -> None:
        super().__init__()
        self.side, self.stride, self.circular = kernel, stride, padding == "circular"
        self.grid = (grid[0] - 1) // stride + 1, (grid[1] - 1) // stride + 1  # of the output
        self.kernels = nn.Parameter(torch.empty(self.grid[0] * self.grid[1], inputs * kernel**2, outputs))

    def initial_by(self, scheme: Scheme) -> Mapping[str, Draw]:
        """How the kernels, P C*k*k O, start: by the scheme's rule for convolutions."""
        fan_in, outputs = self.kernels.shape[1:]
        return {"kernels": scheme.conv(fan_in, self.side**2 * outputs)["weight"]}

    def forward(self, x: Tensor) -> Tensor:
        """A map B C H W -> B O h w."""
        reach = self.side // 2
        x, zeros = (wrap(x, reach), 0) if self.circular else (x, reach)
        around = nn.functional.unfold(x, self.side, padding=zeros, stride=self.stride)  # B C*k*k P
        return (around.permute(2, 0, 1) @ self.kernels).permute(1, 2, 0).unflatten(2, self.grid)  # P B O -> B O h w


class LocallyConnected(ResNet):
    """`models.resnet.ResNet` with `LocalConv` for every convolution: images B C H W -> logits B K.

    Every image is resized to the training resolution.

    Args: stem: cifar or half. The others are those of `models.resnet.ResNet`.
    """

    resizes_input: bool = True

    def __init__(self, *, image_size: int, **rest: Any) -> None:
        super().__init__(image_size=image_size, **rest)
        self.image_size = image_size

    @staticmethod
    def convolutions(image_size: int, padding: Padding) -> Conv:
        """`LocalConv` for every convolution, at the size that its input has for training images."""

        def conv(inputs: int, outputs: int, kernel: int, stride: int, pitch: int) -> nn.Module:
            side = -(-image_size // pitch)  # every stride rounds up
            return LocalConv(inputs, outputs, kernel, stride, (side, side), padding)

        return conv

    def checked(self, images: Tensor) -> Tensor:
        """Images B C H W -> B C S S, S the training resolution.

        Raises ModelError as `models.network.Network.checked` does.
        """
        return resize_square(super().checked(images), self.image_size)

    def grid(self, height: int, width: int) -> Grid:
        """Rows and columns of the last map of a training image, to which every image is resized."""
        return super().grid(self.image_size, self.image_size)
