"""The convolutional stem and CCT: geometry, and the parts that `models.vit` does not have."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import models
from models.cct import CCT
from models.conv_stem_vit import ConvStemViT
from models.vit import LastConv


@pytest.mark.parametrize(("scale", "side"), [(8, 8), (32, 32), (64, 64), (224, 64)])
@pytest.mark.parametrize("name", ["conv_stem_vit", "cct"])
def test_as_many_tokens_as_the_vit(name: str, scale: int, side: int) -> None:
    """At every reference scale the stem's total stride is the ViT's patch, so both see the same token grid."""
    make = dict(image_size=side, in_channels=3, num_classes=10, size="nano", scale=scale)
    vit, hybrid = (models.create_model(n, **make) for n in ("vit", name))  # type: ignore[arg-type]
    assert hybrid.grid(side, side) == vit.grid(side, side)
    _, parts = hybrid.eval().forward_parts(torch.zeros(1, 3, side, side))
    assert parts["block.0"].shape == (1, vit.token_count(side, side), 64)


def test_sequence_pooling(randomise: Any) -> None:
    """Hassani et al. (2021), section 3.2: x' = softmax(g(x)^T) x, written out token by token."""
    network = models.create_model("cct", image_size=8, in_channels=1, num_classes=10, size="pico", scale=8)
    network = randomise(network.double())
    assert isinstance(network, CCT)
    tokens = torch.randn(2, 5, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    pooled = network.pool(tokens)
    for image in range(2):
        scores = [torch.exp(network.weigh.weight[0] @ token) for token in tokens[image]]
        expected = sum(score * token for score, token in zip(scores, tokens[image], strict=True)) / sum(scores)
        torch.testing.assert_close(pooled[image], expected)


def test_stem_by_torch_layers(randomise: Any) -> None:
    """Xiao et al. (2021): 3x3 convolutions, norm, ReLU, then 1x1, assembled here from torch's layers."""
    network = models.create_model("conv_stem_vit", image_size=32, in_channels=3, num_classes=10, size="nano")
    assert isinstance(network, ConvStemViT)
    kinds = [type(layer) for layer in network.embed.children()]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 2 + [LastConv]
    layers: Any = list(network.embed.children())
    assert [(c.kernel_size[0], c.stride[0]) for c in (layers[0], layers[3], layers[6])] == [(3, 2), (3, 2), (1, 1)]
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = x
    for layer in layers:
        expected = layer(expected)
    torch.testing.assert_close(network.embed(x), expected)
