"""ConViT against timm's, convolutional attention against torch's layers, case 8's network, the ViT on a ResNet."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import models
from models.attention_mlp import AttentionMLP
from models.conv_attention import ConvAttentionViT
from models.convit import ConViT, GatedAttention
from models.resnet_vit import ResNetViT


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(name: str, **options: Any) -> Any:
    options = {"image_size": 16, "in_channels": 3, "num_classes": 10, **options}
    return models.create_model(name, **options).double().eval()


@pytest.mark.parametrize("class_token", [False, True])
def test_convit_logits_are_timms(class_token: bool, randomise: Any) -> None:
    """timm's ConVit without its absolute positions, copied weights, at the training grid: float64 to 1e-8.

    timm always has a class token; without one, its patch tokens before the token joins are compared.
    """
    from timm.models.convit import ConVit

    theirs = ConVit(
        img_size=16, patch_size=4, num_classes=10, embed_dim=6, num_heads=4, depth=3, qkv_bias=True,
        local_up_to_layer=2, use_pos_embed=False, norm_layer=lambda width, **_: nn.LayerNorm(width, eps=1e-6),
    )  # fmt: skip
    randomise(theirs.double()).eval()
    ours = make("convit", width=24, depth=3, heads=4, local_blocks=2, class_token=class_token)
    assert isinstance(ours, ConViT)
    pairs: list[tuple[Any, Any]] = [(ours.embed, theirs.patch_embed.proj), (ours.norm, theirs.norm)]
    pairs += [(ours.head, theirs.head)]
    for a, b in zip(ours.blocks, theirs.blocks, strict=True):
        pairs += [(a.norm1, b.norm1), (a.norm2, b.norm2), (a.mlp.up, b.mlp.fc1), (a.mlp.down, b.mlp.fc2)]
        pairs += [(a.attention.out, b.attn.proj)]
        if isinstance(a.attention, GatedAttention):
            pairs += [(a.attention.qk, b.attn.qk), (a.attention.values, b.attn.v)]
            with torch.no_grad():
                a.attention.directions.copy_(b.attn.pos_proj.weight)  # its bias moves no softmax
                a.attention.gates.copy_(b.attn.gating_param)
        else:
            pairs += [(a.attention.qkv, b.attn.qkv)]
    for a, b in pairs:
        a.load_state_dict(b.state_dict())
    x = images(2, 3, 16, 16)
    if class_token:
        with torch.no_grad():
            ours.class_token.copy_(theirs.cls_token)
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-8, rtol=1e-8)
        return
    expected = theirs.patch_embed(x)
    for block in list(theirs.blocks)[:2]:
        expected = block(expected)
    torch.testing.assert_close(ours.forward_parts(x)[1]["block.1"], expected, atol=1e-8, rtol=1e-8)


def test_convit_starts_as_timms_and_as_a_convolution() -> None:
    """timm's `local_init` for 4 and 9 heads; with a strong start every head looks at the one offset it is given."""
    from timm.models.convit import GPSA

    for heads in (4, 9):
        theirs = GPSA(4 * heads, num_heads=heads, locality_strength=1.5)
        theirs.local_init()
        network = make("convit", width=4 * heads, heads=heads, depth=2, local_blocks=2, locality=1.5)
        mine = network.blocks[0].attention
        torch.testing.assert_close(mine.directions.float(), theirs.pos_proj.weight)
        assert torch.equal(mine.gates, torch.ones_like(mine.gates))
        assert torch.equal(mine.values.weight, torch.eye(4 * heads).double())
    network = make("convit", width=36, heads=9, depth=2, local_blocks=1, locality=50.0, image_size=20)
    with torch.no_grad():
        network.blocks[0].attention.gates.fill_(50.0)  # positions alone
    attention = network.forward_parts(images(1, 3, 20, 20))[1]["attention.0"][0]
    for head, (column, row) in enumerate(itertools.product((-1, 0, 1), repeat=2)):
        looked_at = int(attention[head, 12].argmax())  # from the middle of 5 x 5
        assert divmod(looked_at, 5) == (2 + row, 2 + column) and attention[head, 12, looked_at] > 0.999


def test_convit_knows_offsets_only(randomise: Any) -> None:
    """Positional probabilities by loops over pairs, at a grid that is neither square nor the training one."""
    network = randomise(make("convit", width=16, heads=4, depth=2, local_blocks=1))
    with torch.no_grad():
        network.blocks[0].attention.gates.fill_(50.0)
    seen = network.forward_parts(images(1, 3, 12, 20))[1]["attention.0"][0]
    places = list(itertools.product(range(3), range(5)))
    logits = torch.empty(4, 15, 15, dtype=torch.float64)
    for (i, (r, c)), (j, (s, d)) in itertools.product(enumerate(places), enumerate(places)):
        offset = torch.tensor([d - c, s - r, (d - c) ** 2 + (s - r) ** 2], dtype=torch.float64)
        logits[:, i, j] = network.blocks[0].attention.directions.detach() @ offset
    torch.testing.assert_close(seen, logits.softmax(-1))
    with pytest.raises(models.ModelError, match="local_blocks 3 is more than depth - 1"):
        make("convit", depth=3, local_blocks=3, class_token=True)
    assert network.describe(16, 16).parameters["position"] == 4 * 3


def test_convolutional_attention_by_torch_layers(randomise: Any) -> None:
    """One block written out: three 3x3 convolutions, softmax over all positions, values times attention, heads of d."""
    network = randomise(make("conv_attention", width=16, heads=4, depth=1, position="none")).requires_grad_(False)
    assert isinstance(network, ConvAttentionViT)
    attention: Any = network.blocks[0].attention
    tokens, grid = images(2, 20, 16), (4, 5)
    maps = tokens.transpose(1, 2).reshape(2, 16, 4, 5)
    triple = []
    for part in range(3):
        conv = nn.Conv2d(16, 16, 3, padding=1).double().requires_grad_(False)
        conv.weight.copy_(attention.qkv.weight[16 * part : 16 * (part + 1)])
        conv.bias.copy_(attention.qkv.bias[16 * part : 16 * (part + 1)])  # type: ignore[union-attr]
        triple.append(conv(maps).reshape(2, 4, 4, 20))  # B heads d N
    queries, keys, values = triple
    weights = (queries.transpose(2, 3) @ keys / 2).softmax(-1)  # sqrt(d) = 2
    mixed = (values @ weights.transpose(2, 3)).reshape(2, 16, 20).transpose(1, 2)
    expected = nn.functional.linear(mixed, attention.out.weight, attention.out.bias)
    torch.testing.assert_close(attention(tokens, network.position, grid, 0, None, None), expected)


def test_the_course_network() -> None:
    """784-128-64-10 on 28 px digits; the parameters by hand."""
    network = make("attention_mlp", size="course", image_size=28, in_channels=1)
    assert isinstance(network, AttentionMLP)
    linear = [(784, 128), *[(128, 128)] * 3, (128, 64), *[(64, 64)] * 3, (64, 10)]
    assert sum(p.numel() for p in network.parameters()) == sum(a * b + b for a, b in linear)
    assert network.describe(28, 28).details == {"window": "global"} and network.resizes_input


@pytest.mark.parametrize("form", ["explicit", "fused"])
def test_attention_over_one_token_is_a_linear_map(form: str, randomise: Any) -> None:
    """The logits are those of plain layers without query and key; the attention has f(x + y) = f(x) + f(y) - f(0)."""
    network = randomise(make("attention_mlp", size="course", image_size=8, in_channels=1))
    network.set_attention(form)
    x = images(3, 1, 8, 8)
    y = x.flatten(1)
    for layer, attention in zip(network.layers, network.attentions, strict=True):
        y = attention.value(torch.relu(layer(y)))
    torch.testing.assert_close(network(x), network.head(y))
    a, b = images(2, 1, 128), images(2, 1, 128, seed=1)
    attention = network.attentions[0]
    one, two, both, none = (attention(t, 0, None) for t in (a, b, a + b, torch.zeros_like(a)))
    torch.testing.assert_close(both, one + two - none)
    network(x).square().sum().backward()
    for attention in network.attentions:
        for silent in (attention.query, attention.key):
            assert silent.weight.grad.abs().max() < 1e-12  # the fused kernel's rounding; exactly 0 in the explicit form
            assert form == "fused" or not silent.weight.grad.any()
        assert attention.value.weight.grad.any()


def test_the_vit_on_a_resnet(randomise: Any) -> None:
    """As many tokens as the ViT at every scale; the stem is torch's layers in a row, its blocks those of `resnet`."""
    for scale, side in ((8, 8), (32, 32), (64, 64), (224, 64)):
        shape = {"image_size": side, "size": "nano", "scale": scale}
        assert make("resnet_vit", **shape).grid(side, side) == make("vit", **shape).grid(side, side)
    network = randomise(make("resnet_vit", stem_width=4, stem_stages=2, depth=1, position="none"))
    assert isinstance(network, ResNetViT)
    resnet = make("resnet", width=4, stages="1-1", total_stride=2)
    layers: Any = list(network.embed.children())
    resnet.stem.load_state_dict(nn.Sequential(*layers[:3]).state_dict())
    for stage, block in zip(resnet.stages, layers[3:5], strict=True):
        stage[0].load_state_dict(block.state_dict())
    x = images(2, 3, 16, 12)
    features = resnet.forward_parts(x)[1]["stage.1"]
    torch.testing.assert_close(network.embed(x), layers[5](features))
