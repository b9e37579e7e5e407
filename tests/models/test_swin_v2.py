"""Swin V2 against timm's with copied weights, on its own grid and on larger ones; cosines, norms and the bias.

Its windows, shifts and masks are Swin's, and are tested with Swin's.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import models
from models.swin_v2 import CosineWindowAttention, SwinV2


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def small(image_size: int = 32, **options: Any) -> SwinV2:
    network = models.create_model(
        "swin_v2", image_size=image_size, in_channels=3, num_classes=10, stages="2-2-2", width=24, heads=2, **options
    )
    assert isinstance(network, SwinV2)
    return network.double().eval()


@pytest.fixture
def trained(randomise: Any) -> SwinV2:
    """Random weights, with biases that differ between offsets and one logit scale beyond its clamp."""
    network: SwinV2 = randomise(small(patch_size=2, window=4))
    with torch.no_grad():
        for layer in layers(network):
            layer.position.first.mul_(20)
            layer.position.second.mul_(10)
        layers(network)[0].logit_scale[1] = 6.0  # above log 100; in a block without masks, where timm's are finite
    return network


def layers(network: SwinV2) -> list[CosineWindowAttention]:
    return [module for module in network.modules() if isinstance(module, CosineWindowAttention)]


def timms(ours: SwinV2, image_size: int, window: int, unit: int) -> nn.Module:
    """timm's SwinTransformerV2 with the weights of ours, in float64.

    timm computes its log-spaced offsets in float32, so that they are written again here, from equation 4 of the paper
    with offsets in units of `unit` - 1 (0: the window's own).
    """
    from timm.models.swin_transformer_v2 import SwinTransformerV2

    theirs = SwinTransformerV2(
        img_size=image_size,
        patch_size=2,
        embed_dim=24,
        depths=(2, 2, 2),
        num_heads=(2, 4, 8),
        window_size=window,
        pretrained_window_sizes=(unit, unit, unit),
        num_classes=10,
        drop_path_rate=0.0,
    )
    theirs.double().eval()
    pairs: list[tuple[Any, Any]] = [
        (theirs.patch_embed.proj, ours.embed),
        (theirs.patch_embed.norm, ours.embed_norm),
        (theirs.norm, ours.norm),
        (theirs.head.fc, ours.head),
    ]
    for stage, (mine, other) in enumerate(zip(ours.stages, theirs.layers, strict=True)):
        if stage:
            merge: Any = ours.merges[stage]
            pairs += [(other.downsample.norm, merge.norm), (other.downsample.reduction, merge.reduce)]
        for a, b in zip(mine, other.blocks, strict=True):  # type: ignore[call-overload]
            pairs += [(b.norm1, a.norm1), (b.norm2, a.norm2), (b.mlp.fc1, a.mlp.up), (b.mlp.fc2, a.mlp.down)]
            pairs += [(b.attn.qkv, a.attention.qkv), (b.attn.proj, a.attention.out)]
            with torch.no_grad():
                b.attn.q_bias.copy_(a.attention.query_bias)
                b.attn.v_bias.copy_(a.attention.value_bias)
                b.attn.logit_scale.copy_(a.attention.logit_scale[:, None, None])
                b.attn.cpb_mlp[0].weight.copy_(a.attention.position.first[0])
                b.attn.cpb_mlp[0].bias.copy_(a.attention.position.first_bias[0])
                b.attn.cpb_mlp[2].weight.copy_(a.attention.position.second[0])
            side = b.attn.window_size[0]
            table = b.attn.relative_coords_table
            for row in range(1 - side, side):
                for column in range(1 - side, side):
                    x = [8 * offset / ((unit or side) - 1) for offset in (row, column)]
                    values = [math.copysign(math.log(1 + abs(v)) / math.log(8), v) for v in x]
                    entry = table[0, row + side - 1, column + side - 1]
                    torch.testing.assert_close(entry, torch.tensor(values).double(), atol=1e-6, rtol=1e-6)
                    entry.copy_(torch.tensor(values).double())
    for a, b in pairs:
        a.load_state_dict(b.state_dict())
    return theirs


def test_logits_are_timms(trained: SwinV2) -> None:
    """timm's SwinTransformerV2 at the training resolution, stages of 16, 8 and 4 tokens: 1e-8, float32 1e-5."""
    theirs, x = timms(trained, 32, window=4, unit=0), images(2, 3, 32, 32)
    logits = theirs(x)
    torch.testing.assert_close(trained(x), logits, atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(trained.float()(x.float()), theirs.float()(x.float()), atol=1e-5, rtol=1e-5)
    assert logits.std() > 0.1


@pytest.mark.parametrize(
    ("way", "window", "unit"), [("keep_window", 4, 4), ("grow_window", 8, 4), ("grow_window:bias=normalise", 8, 0)]
)
def test_larger_grids_are_timms(way: str, window: int, unit: int, trained: SwinV2) -> None:
    """timm's SwinTransformerV2 built for twice the resolution with the window and the pretrained window meant: 1e-8."""
    x = images(2, 3, 64, 64)
    name, choices = models.parse_way(way)
    trained.carry(name, **choices)
    theirs = timms(trained, 64, window, unit)
    torch.testing.assert_close(trained(x), theirs(x), atol=1e-8, rtol=1e-8)


def test_ways_differ(trained: SwinV2) -> None:
    """The same weights by another way give other logits on a larger grid, and the same on the training grid."""
    x, larger = images(1, 3, 32, 32), images(1, 3, 64, 64)
    logits, found = trained(x), []
    for way in models.carry_ways("swin_v2", options={}):
        name, choices = models.parse_way(way)
        trained.carry(name, **choices)
        assert torch.equal(trained(x), logits)
        found.append(trained(larger))
    assert len(found) == 3
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert (found[first] - found[second]).abs().max() > 1e-3
    trained.carry("grow_window")  # after the alternative, the default is the default again
    assert torch.equal(trained(larger), found[1])


def test_bias_of_a_grown_window(trained: SwinV2) -> None:
    """`recompute`: an offset keeps its bias. `normalise`: the corners' is kept. Reference: the trained window's."""
    attention = layers(trained)[0]
    before = attention.bias((4, 4), (4, 4)).view(2, 4, 4, 4, 4)  # h, query row and column, key row and column
    assert before.flatten(1).std(dim=1).min() > 0.5
    trained.carry("grow_window")
    kept = attention.bias((8, 8), (8, 8)).view(2, 8, 8, 8, 8)
    torch.testing.assert_close(kept[:, :4, :4, :4, :4], before, atol=1e-12, rtol=1e-12)
    trained.carry("grow_window", bias="normalise")
    stretched = attention.bias((8, 8), (8, 8)).view(2, 8, 8, 8, 8)
    torch.testing.assert_close(stretched[:, 0, 7, 7, 0], before[:, 0, 3, 3, 0], atol=1e-12, rtol=1e-12)
    assert not torch.allclose(stretched[:, :4, :4, :4, :4], before)


def test_logits_are_cosines(trained: SwinV2) -> None:
    """Longer queries and keys change nothing, and a scale beyond log 100 is log 100: from the paper's definition."""
    x = images(1, 3, 32, 32)
    logits = trained(x)
    with torch.no_grad():
        for layer in layers(trained):
            width = len(layer.query_bias)
            layer.query_bias.mul_(3.0)
            layer.qkv.weight[:width].mul_(3.0)
            layer.qkv.weight[width : 2 * width].mul_(0.2)
        layers(trained)[0].logit_scale[1] = math.log(100)
    torch.testing.assert_close(trained(x), logits, atol=1e-10, rtol=1e-10)
    with torch.no_grad():
        layers(trained)[0].logit_scale[1] = math.log(50)
    assert not torch.allclose(trained(x), logits)


def test_untrained_blocks_are_the_identity() -> None:
    """Norms at the end of a branch start with factor 0, as the paper starts them; logit scales start at log 10."""
    network = small(patch_size=2, window=4)
    _, parts = network.forward_parts(images(2, 3, 32, 32))
    assert torch.equal(parts["block.0"], parts["embedding"]) and torch.equal(parts["block.1"], parts["embedding"])
    for layer in layers(network):
        torch.testing.assert_close(layer.logit_scale.detach(), torch.full_like(layer.logit_scale, math.log(10)))


def test_positions_are_counted_and_spared() -> None:
    """The MLP of the bias (2-512-heads) is position and keeps its size without decay; so do the logit scales."""
    network = small(patch_size=2, window=4)
    expected = sum(2 * (3 * 512 + 512 * heads) for heads in (2, 4, 8))
    assert network.parameters_by_part()["position"] == expected
    spared = network.no_decay()
    for name, _ in network.named_parameters():
        assert (".position." not in name and not name.endswith("logit_scale")) or name in spared


def test_refusals_change_nothing() -> None:
    """Unknown ways and choices are refused with what is allowed, and leave the network as it was."""
    network = small(16, patch_size=2, window=4)
    for way, choices, message in (
        ("grow", {}, "SwinV2 cannot be carried by 'grow'; allowed: keep_window, grow_window; did you mean"),
        ("keep_window", {"bias": "normalise"}, "carried by 'keep_window' takes no `bias`; allowed: none"),
        ("grow_window", {"bais": "normalise"}, "takes no `bais`; allowed: bias; did you mean `bias`"),
        ("grow_window", {"bias": "normalize"}, "`bias` is 'normalize'; allowed: recompute, normalise; did you mean"),
    ):
        with pytest.raises(models.ModelError, match=message):
            network.carry(way, **choices)
        assert network.way == "keep_window" and {layer.position.way for layer in layers(network)} == {"recompute"}
