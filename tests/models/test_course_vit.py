"""The small transformer of teaching material against torch's own encoder."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import models


def make(**options: Any) -> Any:
    options = {"image_size": 32, "in_channels": 3, "num_classes": 10, **options}
    return models.create_model("course_vit", **options).double().eval()


def images(count: int = 2, side: int = 32) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def torchs(network: Any, dropout: float = 0.1, fast: bool = False) -> nn.TransformerEncoder:
    """torch's encoder with the weights of ours."""
    layer = nn.TransformerEncoderLayer(64, 2, 128, dropout, batch_first=fast)
    encoder = nn.TransformerEncoder(layer, len(network.blocks), enable_nested_tensor=False).double()
    for theirs, ours in zip(encoder.layers, network.blocks, strict=True):
        theirs.load_state_dict(ours.state_dict())
    return encoder


@pytest.mark.parametrize("attention", ["explicit", "fused"])
def test_logits_are_those_of_torchs_encoder(attention: str, randomise: Any) -> None:
    """nn.TransformerEncoder on the embedded tokens with copied weights, then the class token's row: float64 to 1e-10.

    The sinusoid by its formula: sin and cos of column and of row, added; the class token gets none.
    """
    network = make()
    randomise(network)
    network.set_attention(attention)
    tokens = network.embed(images()).flatten(2).transpose(1, 2)
    rates = 10000.0 ** (-torch.arange(0, 64, 2, dtype=torch.float64) / 64)
    for place in range(16):
        for at in divmod(place, 4):
            tokens[:, place, 0::2] += torch.sin(at * rates)
            tokens[:, place, 1::2] += torch.cos(at * rates)
    tokens = torch.cat([network.class_token.expand(2, -1, -1), tokens], dim=1)
    for fast in (False, True):
        encoder = torchs(network, fast=fast).eval()
        with torch.inference_mode():
            encoded = encoder(tokens) if fast else encoder(tokens.transpose(0, 1)).transpose(0, 1)
            expected = network.head(encoded[:, 0])
            torch.testing.assert_close(network(images()), expected, atol=1e-10, rtol=1e-10)


def test_dropout_is_torchs() -> None:
    """nn.TransformerEncoder in training mode, from the same generator state, to the bit in the explicit form."""
    network, kept = make().train(), {}
    network.set_attention("explicit")
    network.blocks[0].register_forward_pre_hook(lambda _, inputs: kept.update(tokens=inputs[0].detach()))
    encoder = torchs(network).train()
    for layer in encoder.layers:  # torch's layer asks for no weights: without them attention drops by another kernel
        layer.self_attn.register_forward_pre_hook(
            lambda _, args, kwargs: (args, {**kwargs, "need_weights": True}), with_kwargs=True
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        logits = network(images(8))
        torch.manual_seed(5)
        expected = network.head(encoder(kept["tokens"])[0])
        torch.manual_seed(6)
        other = network(images(8))
    assert torch.equal(logits, expected)
    assert not torch.equal(logits, other)
    assert torch.equal(make(dropout=0.0).train()(images()), make(dropout=0.0)(images()))


def test_weights_start_as_torchs() -> None:
    """torch's own initialisation of its layers: bounds and deviations of uniform draws, within 10 %; biases alike."""
    ours, theirs = make(width=256, heads=4), nn.TransformerEncoderLayer(256, 4, 512)
    reference = dict(theirs.named_parameters())
    for name, parameter in ours.blocks[0].named_parameters():
        mine, torchs_own = parameter.detach().float(), reference[name].detach()
        assert mine.std().item() == pytest.approx(torchs_own.std().item(), rel=0.1, abs=1e-9), name
        assert mine.abs().max().item() == pytest.approx(torchs_own.abs().max().item(), rel=0.1, abs=1e-9), name


def test_its_size_is_the_course_networks() -> None:
    """Arithmetic: patches 8x8x3 -> 64, two layers of width 64 and 128 hidden units, a class token, ten classes."""
    layer = 4 * 64 * 64 + 4 * 64 + 2 * 64 * 128 + 128 + 64 + 4 * 64
    found = make().describe(32, 32)
    assert found.parameters == {"backbone": 192 * 64 + 64 + 64 + 2 * layer, "position": 0, "head": 650}
    attention = 2 * (4 * 17 * 64 * 64 + 2 * 17 * 17 * 64 + 2 * 17 * 64 * 128)
    assert found.macs == 16 * 192 * 64 + attention + 640
