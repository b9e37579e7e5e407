"""The baselines: the mixer against timm's, the others against networks assembled here from torch's layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import models
from models.baselines import Mixer, PlainMLP, SimpleCNN


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def make(name: str, **options: Any) -> Any:
    return models.create_model(name, image_size=16, in_channels=3, num_classes=10, **options).double().eval()


def test_mixer_logits_are_timms(randomise: Any) -> None:
    """timm's MlpMixer with copied weights: float64 to 1e-8."""
    from timm.models.mlp_mixer import MlpMixer

    theirs = MlpMixer(num_classes=10, img_size=16, patch_size=4, num_blocks=2, embed_dim=32, mlp_ratio=(0.5, 4.0))
    randomise(theirs.double()).eval()
    ours = make("mixer", width=32, depth=2, patch_size=4, token_hidden=16)
    assert isinstance(ours, Mixer)
    pairs: list[tuple[Any, Any]] = [(ours.embed, theirs.stem.proj), (ours.norm, theirs.norm), (ours.head, theirs.head)]
    for a, b in zip(ours.blocks, theirs.blocks, strict=True):
        pairs += [(a.norm1, b.norm1), (a.norm2, b.norm2), (a.tokens.up, b.mlp_tokens.fc1)]
        pairs += [(a.tokens.down, b.mlp_tokens.fc2), (a.channels.up, b.mlp_channels.fc1)]
        pairs += [(a.channels.down, b.mlp_channels.fc2)]
    for a, b in pairs:
        a.load_state_dict(b.state_dict())
    x = images(2, 3, 16, 16)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-8, rtol=1e-8)


def test_mlp_by_torch_layers(randomise: Any) -> None:
    """Flatten, linear, ReLU, linear, ReLU, linear; a permutation of pixels can be undone in the weights."""
    ours = randomise(make("mlp", width=20, depth=2))
    assert isinstance(ours, PlainMLP)
    theirs = nn.Sequential(nn.Flatten(), ours.layers[0], nn.ReLU(), ours.layers[1], nn.ReLU(), ours.head)
    x = images(2, 3, 16, 16)
    logits = ours(x)
    torch.testing.assert_close(logits, theirs(x))
    order = torch.randperm(768, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours.layers[0].weight.copy_(ours.layers[0].weight[:, order])
    torch.testing.assert_close(ours(x.flatten(1)[:, order].view_as(x)), logits)


@pytest.mark.parametrize("name", ["mlp", "mixer"])
def test_fixed_networks_resize_their_input(name: str, randomise: Any) -> None:
    """Another resolution gives the logits of the image resized by torch (bilinear, antialiased) to the training one."""
    network, x = randomise(make(name)), images(2, 3, 24, 20)
    resized = nn.functional.interpolate(x, size=(16, 16), mode="bilinear", antialias=True)
    torch.testing.assert_close(network(x), network(resized))
    assert network.resizes_input and models.family(name).resizes_input
    models.check_resolution(name, size="nano", options={}, resolution=30, train_resolution=32)
    with pytest.raises(models.ModelError, match="image 30 is not divisible by patch 4"):
        models.check_resolution("mixer", size="nano", options={}, resolution=32, train_resolution=30)


def test_simple_cnn_on_a_torus(randomise: Any) -> None:
    """With circular padding a cyclic shift by the total stride leaves the logits; a smaller one, or zeros, do not."""
    x = images(1, 3, 16, 16)
    for padding, shift, invariant in (("circular", 4, True), ("circular", 1, False), ("zeros", 4, False)):
        network = randomise(make("simple_cnn", width=4, stages="1-1-1", padding=padding))
        assert ((network(x) - network(x.roll((shift, shift), (2, 3)))).abs().max() < 1e-10) == invariant


def test_simple_cnn_by_torch_layers(randomise: Any) -> None:
    """Convolution, ReLU and pooling in a row; the stated receptive field is the gradient's."""
    ours = randomise(make("simple_cnn", width=4, stages="2-1-1"))
    assert isinstance(ours, SimpleCNN)
    layers: Any = ours.stages
    pool = nn.MaxPool2d(2)
    theirs = nn.Sequential(
        *layers[0], pool, *layers[1], pool, *layers[2], nn.AdaptiveAvgPool2d(1), nn.Flatten(), ours.head
    )
    x = images(2, 3, 16, 16)
    torch.testing.assert_close(ours(x), theirs(x))
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.abs_()  # no ReLU is ever closed, and the positive ramp below makes every pooling pick its corner
    ramp = (torch.arange(64.0)[:, None] + torch.arange(64.0)).double().expand(1, 3, 64, 64).clone().requires_grad_()
    ours.forward_parts(ramp)[1]["stage.2"][0, :, 8, 8].sum().backward()
    assert ramp.grad is not None
    touched = ramp.grad[0].abs().sum((0, 1)).nonzero()
    extent = int(touched.max() - touched.min()) + 1
    stated = ours.details(64, 64)["receptive_field"]
    assert stated == 1 + 2 * 2 + 1 + 2 * 2 + 2 + 2 * 4 and stated - 3 <= extent <= stated
