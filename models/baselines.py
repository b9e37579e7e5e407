"""Baselines with few assumptions or none: a plain network on pixels, the MLP-Mixer, and the convnet of courses.

Shapes: B images, C channels, H x W pixels, N patch tokens of width D, K classes.

| network      | locality | shared weights                     | any image size |
|--------------|----------|------------------------------------|----------------|
| `mlp`        | none     | none                               | no: resized    |
| `mixer`      | patches  | patches; channels by place         | no: resized    |
| `simple_cnn` | 3x3      | all places (translation)           | yes            |

Initial weights: of `mixer` in the literature those of the authors' JAX code (LeCun, a classifier of 0), in the library
timm's (Glorot, patches LeCun, a classifier of 0); of the others torch's own, as the courses that teach them have it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.grids import Grid
from models.initial import JAX_MIXER, TIMM_MIXER, Scheme
from models.network import DropPath, FixedSize, Head, Network, Parts, as_tokens, drop_path_rates
from models.resnet import Padding
from models.vit import MLP, PatchEmbedding


class PlainMLP(FixedSize):
    """`mlp`: all pixels in one vector, `depth` linear layers of `width` units with ReLU, then the head.

    It knows nothing of images: a fixed permutation of the pixels, the same in training and test, changes nothing.
    Images B C H W -> logits B K; every image is resized to the training resolution, `image_size` pixels.
    """

    def __init__(self, *, image_size: int, in_channels: int, num_classes: int, width: int, depth: int) -> None:
        super().__init__(image_size)
        self.in_channels = in_channels
        inputs = in_channels * image_size**2
        sizes = [inputs, *[width] * depth]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.head = Head(width, num_classes)

    def details(self, height: int, width: int) -> dict[str, int | str]:
        """Every unit sees the whole image."""
        return {"window": "global"}

    def grid(self, height: int, width: int) -> Grid:
        """One place, whatever the image."""
        return 1, 1

    def run(self, images: Tensor, parts: Parts | None) -> Tensor:
        """Images B C H W -> logits B K; `parts` gets `embedding`, B CHW, and `block.i` and `pooled`, B D."""
        x = images.flatten(1)  # B CHW
        if parts is not None:
            parts["embedding"] = x
        for index, layer in enumerate(self.layers):
            x = torch.relu(layer(x))
            if parts is not None:
                parts[f"block.{index}"] = x
        if parts is not None:
            parts["pooled"] = x
        return self.head(x)  # B K


class MixerBlock(nn.Module):
    """x + tokens_mlp(norm(x)) across tokens, then x + channels_mlp(norm(x)) across channels: B N D -> B N D.

    Tolstikhin et al. (2021), eq. 1. Args: tokens: N. width: D. token_hidden: units of the MLP across tokens. mlp_ratio:
    units of the MLP across channels, per channel. drop_path: rate at which a branch is dropped in training.
    """

    def __init__(self, tokens: int, width: int, token_hidden: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.tokens = MLP(tokens, token_hidden)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.channels = MLP(width, round(mlp_ratio * width))
        self.drop = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens B N D -> B N D."""
        x = x + self.drop(self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2))
        return x + self.drop(self.channels(self.norm2(x)))


class Mixer(FixedSize):
    """`mixer`: the MLP-Mixer (Tolstikhin et al., 2021), a ViT whose attention is a fixed map across tokens.

    Images B C H W -> logits B K; every image is resized to the training resolution. Args: token_hidden: units of the
    MLP across tokens. The others are those of `models.vit.ViT`. Raises ModelError where the patch does not divide the
    training image.
    """

    schemes: ClassVar[Mapping[str, Scheme]] = {"library": TIMM_MIXER, "literature": JAX_MIXER}

    def __init__(
        self,
        *,
        image_size: int,
        in_channels: int,
        num_classes: int,
        width: int,
        depth: int,
        patch_size: int,
        token_hidden: int,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__(image_size)
        self.in_channels = in_channels
        self.embed = PatchEmbedding(in_channels, width, patch_size)
        rows, columns = self.embed.grid(image_size, image_size)
        self.blocks = nn.ModuleList(
            MixerBlock(rows * columns, width, token_hidden, mlp_ratio, rate)
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = Head(width, num_classes)

    def details(self, height: int, width: int) -> dict[str, int | str]:
        """Every token sees the whole image."""
        return {"window": "global"}

    def grid(self, height: int, width: int) -> Grid:
        """Rows and columns of patches in a training image, to which every image is resized."""
        return self.embed.grid(self.image_size, self.image_size)

    def run(self, images: Tensor, parts: Parts | None) -> Tensor:
        """Images B C H W -> logits B K; `parts` gets `embedding` and `block.i`, B N D, and `pooled`, B D."""
        tokens = as_tokens(self.embed(images))  # B N D
        if parts is not None:
            parts["embedding"] = tokens
        for index, block in enumerate(self.blocks):
            tokens = block(tokens)
            if parts is not None:
                parts[f"block.{index}"] = tokens
        pooled = self.norm(tokens).mean(dim=1)  # B D
        if parts is not None:
            parts["pooled"] = pooled
        return self.head(pooled)  # B K


class SimpleCNN(Network):
    """`simple_cnn`: stages of 3x3 convolutions with ReLU, max pooling between them, then the mean: B C H W -> B K.

    No norm and no shortcut, by definition: with them it is a ResNet, where the norm is an option.

    Args: width: channels of the first stage, doubled at each further one. stages: convolutions per stage. padding:
    zeros or circular, of the convolutions; with circular padding the logits are invariant to cyclic shifts by multiples
    of the total stride, where it divides the image.
    """

    def __init__(
        self,
        *,
        image_size: int,
        in_channels: int,
        num_classes: int,
        width: int,
        stages: tuple[int, ...],
        padding: Padding = "zeros",
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.stages = nn.ModuleList()
        inputs = in_channels
        for stage, convolutions in enumerate(stages):
            layers: list[nn.Module] = []
            for _ in range(convolutions):
                layers += [nn.Conv2d(inputs, width * 2**stage, 3, padding=1, padding_mode=padding), nn.ReLU()]
                inputs = width * 2**stage
            self.stages.append(nn.Sequential(*layers))
        self.head = Head(inputs, num_classes)

    def grid(self, height: int, width: int) -> Grid:
        """Rows and columns of the last map: every pooling between stages halves them, rounding up."""
        times = len(self.stages) - 1
        return -(-height // 2**times), -(-width // 2**times)

    def run(self, images: Tensor, parts: Parts | None) -> Tensor:
        """Images B C H W -> logits B K.

        `parts` gets `stage.i`, B C H W, of which the first is `embedding`, too; and `pooled`, B C.
        """
        x = images
        for index, stage in enumerate(self.stages):
            if index:
                x = nn.functional.max_pool2d(x, 2, ceil_mode=True)
            x = stage(x)  # B C H W
            if parts is not None:
                parts[f"stage.{index}"] = x
                parts.setdefault("embedding", x)
        pooled = x.mean(dim=(2, 3))  # B C
        if parts is not None:
            parts["pooled"] = pooled
        return self.head(pooled)  # B K

    def details(self, height: int, width: int) -> dict[str, int | str]:
        """Receptive field and total stride of the last map, in pixels."""
        field = step = 1
        for index, stage in enumerate(self.stages):
            if index:
                field, step = field + step, 2 * step
            field += 2 * step * (len(stage) // 2)  # type: ignore[arg-type]  # a Sequential of convolutions and ReLUs
        return {"receptive_field": field, "total_stride": step}
