"""Attention on a flattened image, as courses teach it: linear layers with self-attention between them.

Shapes: B images of C x H x W pixels in one vector, widths D1, D2, ..., K classes.

The image is one token, and attention over one token is a plain linear map: its softmax over a single entry is 1, so the
output is the value, whatever query and key are, and these two learn nothing (they get no gradient). So the network is
an MLP with a further linear map after each layer. It knows nothing of images and takes one size: images are resized.
Initial weights are torch's own, as in courses.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from models.grids import Grid
from models.network import AttentionLayer, FixedSize, Head, Parts, attend


class OneTokenAttention(AttentionLayer):
    """softmax(q k' / sqrt(D)) v with one head: B 1 D -> B 1 D. Args: width: D."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, token: Tensor, layer: int, parts: Parts | None) -> Tensor:
        """The token B 1 D -> B 1 D; `parts` gets `attention.layer`, the probabilities B 1 1 1, which are all 1."""
        queries = self.query(token)[:, None] * token.shape[-1] ** -0.5  # B 1 1 D
        fused = self.fused and parts is None
        mixed, probabilities = attend(queries, self.key(token)[:, None], self.value(token)[:, None], None, fused)
        if parts is not None and probabilities is not None:
            parts[f"attention.{layer}"] = probabilities
        return mixed[:, 0]


class AttentionMLP(FixedSize):
    """For every width a linear layer, ReLU and attention over the one token; then the head.

    Images B C H W -> logits B K.

    Args: image_size: training resolution in pixels, to which every image is resized. widths: D1, D2, ... of the layers.
    """

    def __init__(self, *, image_size: int, in_channels: int, num_classes: int, widths: tuple[int, ...]) -> None:
        super().__init__(image_size)
        self.in_channels = in_channels
        sizes = [in_channels * image_size**2, *widths]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.attentions = nn.ModuleList(OneTokenAttention(width) for width in widths)
        self.head = Head(widths[-1], num_classes)

    def details(self, height: int, width: int) -> dict[str, int | str]:
        """Every unit sees the whole image."""
        return {"window": "global"}

    def grid(self, height: int, width: int) -> Grid:
        """One token, whatever the image."""
        return 1, 1

    def run(self, images: Tensor, parts: Parts | None) -> Tensor:
        """Images B C H W -> logits B K; `parts` gets `embedding`, B 1 CHW, `block.i`, B 1 D, and `pooled`, B D."""
        x = images.flatten(1)[:, None]  # B 1 CHW
        if parts is not None:
            parts["embedding"] = x
        for index, (layer, attention) in enumerate(zip(self.layers, self.attentions, strict=True)):
            x = attention(torch.relu(layer(x)), index, parts)  # B 1 D
            if parts is not None:
                parts[f"block.{index}"] = x
        pooled = x[:, 0]  # B D
        if parts is not None:
            parts["pooled"] = pooled
        return self.head(pooled)  # B K
