"""The network of cifar10-airbench94, made to reach 94 % on CIFAR-10 within seconds (Jordan, 2024, arXiv:2404.00498).

Shapes: B images, C channels, H x W pixels, K classes. A 2x2 convolution, which whitens; groups of two 3x3 convolutions
with BatchNorm and GELU, pooled by 2 behind the first of each; the largest value of every channel; a classifier without
bias, whose logits are divided by 9. What makes it quick to train can be switched off: whitening, convolutions that
begin as the identity, and biases that learn faster than weights.

Not as published: the bias of the whitening layer learns to the end, not for three epochs. Initial weights: torch's own,
but for the identity; biases 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.grids import Grid
from models.initial import ZERO, Draw, Scheme, fans, torch_weights
from models.network import Head, Network, Parts

KERNEL = 2  # of the first convolution
PATCH_IMAGES = 5000  # whose patches it whitens
EPSILON = 5e-4  # added to the variances: of normalised images


def widened(channels: int) -> int:
    """Channels of the first convolution's output: two, of opposite sign, for each number of a patch."""
    return 2 * channels * KERNEL**2


class Whitening(nn.Module):
    """A convolution whose outputs, over the training images, are uncorrelated and have variance 1, with either sign.

    B C H W -> B 8C H-1 W-1. Its weights are no parameters: they are set once, from the images, and stay. Args:
    channels: C.
    """

    weight: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(widened(channels), channels, KERNEL, KERNEL))
        self.bias = nn.Parameter(torch.empty(widened(channels)))

    def initial(self) -> Mapping[str, Draw]:
        """Until images are seen, `weight` is as torch draws it."""
        return torch_weights(self.weight[0].numel(), 0)

    def forward(self, x: Tensor) -> Tensor:
        """Images B C H W -> a map B 8C H-1 W-1."""
        return F.conv2d(x, self.weight, self.bias)

    @torch.no_grad()
    def fit(self, batches: Iterable[Tensor]) -> None:
        """Sets the weights: the eigenvectors of the second moments of all patches, divided by the roots of their
        eigenvalues. `batches` are images B C H W, of which the first 5,000 are looked at.

        Of each eigenvector, computed on the CPU, the largest number is positive, which LAPACK leaves open.
        """
        numbers = self.weight[0].numel()
        moments, patches, images = torch.zeros(numbers, numbers, dtype=torch.float64), 0, 0
        for batch in batches:
            columns = F.unfold(batch[: PATCH_IMAGES - images].contiguous(), KERNEL)  # B 4C patches
            moments += (columns @ columns.transpose(1, 2)).cpu().double().sum(0)
            patches, images = patches + len(columns) * columns.shape[2], images + len(columns)
            if images >= PATCH_IMAGES:
                break
        variances, vectors = torch.linalg.eigh(moments / patches)
        largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
        whitened = (vectors * largest.sign() / (variances + EPSILON).sqrt()).T
        self.weight.copy_(torch.cat([whitened, -whitened]).view_as(self.weight))


class Convolution(nn.Conv2d):
    """3x3 without bias, B C H W -> B outputs H W; with `identity` its first C outputs begin as its inputs.

    Args: inputs: C. outputs: channels. identity: see above.
    """

    def __init__(self, inputs: int, outputs: int, identity: bool) -> None:
        super().__init__(inputs, outputs, 3, padding=1, bias=False)
        self.identity = identity

    def initial_by(self, scheme: Scheme) -> Mapping[str, Draw]:
        """`weight`, outputs x C x 3 x 3, by the scheme's rule, and of the first C outputs the identity."""
        drawn = scheme.conv(*fans(self))["weight"]

        def draw(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
            weight = drawn(shape, generator)
            nn.init.dirac_(weight[: shape[1]])
            return weight

        return {"weight": draw if self.identity else drawn}


class Norm(nn.BatchNorm2d):
    """BatchNorm with a bias and no factor, B C H W -> B C H W; its statistics follow quickly (momentum 0.4).

    Args: channels: C. pace: the bias is so many times a parameter, and under SGD learns pace² times as fast.
    """

    def __init__(self, channels: int, pace: float) -> None:
        super().__init__(channels, eps=1e-12, momentum=0.4, affine=False)
        self.pace = pace
        self.shift = nn.Parameter(torch.empty(channels))

    def initial(self) -> Mapping[str, Draw]:
        """`shift` is 0."""
        return {"shift": ZERO}

    def forward(self, x: Tensor) -> Tensor:
        """A map B C H W -> B C H W."""
        bias = self.shift * self.pace
        factor = torch.ones_like(bias)  # without one cuDNN's kernel is not used
        statistics = self.running_mean, self.running_var
        return F.batch_norm(x, *statistics, factor, bias, self.training, self.momentum or 0.0, self.eps)


class Group(nn.Module):
    """gelu(norm(conv(gelu(norm(pool(conv(x))))))): B C H W -> B width H/2 W/2, rounded down, and 1 at least.

    Args: inputs: C. width: channels. identity: see `Convolution`. pace: see `Norm`.
    """

    def __init__(self, inputs: int, width: int, identity: bool, pace: float) -> None:
        super().__init__()
        self.conv1, self.norm1 = Convolution(inputs, width, identity), Norm(width, pace)
        self.conv2, self.norm2 = Convolution(width, width, identity), Norm(width, pace)

    def forward(self, x: Tensor) -> Tensor:
        """A map B C H W -> B width H/2 W/2."""
        x = self.conv1(x)
        rows, columns = x.shape[2:]
        x = F.gelu(self.norm1(F.max_pool2d(x, (min(2, rows), min(2, columns)))))
        return F.gelu(self.norm2(self.conv2(x)))


class Airbench(Network):
    """Images B C H W of any size from 2 pixels on -> logits B K.

    Args:
        widths: channels of each group. whitening: the first convolution is set from the training images; otherwise it
        is drawn, and learns. identity: 3x3 convolutions begin as the identity. bias_rate: how many times faster than
        weights the biases of norms learn under SGD.
    """

    def __init__(
        self,
        *,
        image_size: int,
        in_channels: int,
        num_classes: int,
        widths: tuple[int, ...],
        whitening: bool = True,
        identity: bool = True,
        bias_rate: float = 64.0,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        inputs = widened(in_channels)
        self.first = Whitening(in_channels) if whitening else nn.Conv2d(in_channels, inputs, KERNEL)
        self.groups = nn.ModuleList()
        for width in widths:
            self.groups.append(Group(inputs, width, identity, math.sqrt(bias_rate)))
            inputs = width
        self.head = Head(inputs, num_classes, bias=False)

    def fit_input(self, batches: Iterable[Tensor]) -> None:
        """Sets the weights of the whitening layer, where there is one, from images B C H W."""
        if isinstance(self.first, Whitening):
            self.first.fit(batches)

    def grid(self, height: int, width: int) -> Grid:
        """Rows and columns of the last map: every pooling halves them, rounding down, as long as there are two."""
        times = len(self.groups)
        return max(1, (height - 1) >> times), max(1, (width - 1) >> times)

    def run(self, images: Tensor, parts: Parts | None) -> Tensor:
        """Images B C H W -> logits B K; `parts` gets `embedding` and `stage.i`, B C H W, and `pooled`, B C."""
        x = F.gelu(self.first(images))  # B 8C H-1 W-1
        if parts is not None:
            parts["embedding"] = x
        for index, group in enumerate(self.groups):
            x = group(x)
            if parts is not None:
                parts[f"stage.{index}"] = x
        pooled = x.amax(dim=(2, 3))  # B C
        if parts is not None:
            parts["pooled"] = pooled
        return self.head(pooled) / 9  # B K

    def details(self, height: int, width: int) -> dict[str, int | str]:
        """Receptive field and total stride of the last map, in pixels."""
        field, step = KERNEL, 1
        for _ in self.groups:
            field += 2 * step + step  # the first convolution, and its pooling
            step *= 2
            field += 2 * step
        return {"receptive_field": field, "total_stride": step}
