"""CoAtNet against timm's with copied weights, on its own grid and on larger ones; pooling of odd sides; refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import models
from models.coatnet import AttentionBlock, CoAtNet, MBConv, pool
from models.positions.biases import Bias2d


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def small(image_size: int, **options: Any) -> CoAtNet:
    """Strides as timm has them, 2 in the stem and in every stage."""
    chosen = {"width": 8, "stages": "2-2-2-1", "strides": "2-2-2-2-2", "head_width": 16, **options}
    network = models.create_model("coatnet", image_size=image_size, in_channels=3, num_classes=10, **chosen)
    assert isinstance(network, CoAtNet)
    return network.double().eval()


@pytest.fixture
def trained(randomise: Any) -> CoAtNet:
    """Random weights and statistics of the batch norms, for images of 64 pixels: attention on 4 x 4 and 2 x 2."""
    network: CoAtNet = randomise(small(64))
    for index, (name, buffer) in enumerate(network.named_buffers()):
        if name.endswith(("running_mean", "running_var")):
            buffer.copy_(images(*buffer.shape, seed=index).abs() + 0.5)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, Bias2d):
                module.table.mul_(10)  # about 1, so that biases move the logits
    return network


def timms(ours: CoAtNet, image_size: int) -> Any:
    """timm's CoAtNet (`coatnet_0`: MBConv, squeeze and excitation, pre-norm, offsets' bias), with the weights of ours.

    Its linear map to queries, keys and values has the heads outermost. A linear map reads the logits. Tables of biases
    are copied where they have timm's size.
    """
    from timm.models.maxxvit import MaxxVit, MaxxVitCfg, MaxxVitTransformerCfg

    transformer = MaxxVitTransformerCfg(dim_head=16)
    cfg = MaxxVitCfg(embed_dim=(8, 16, 32, 64), depths=(2, 2, 2, 1), stem_width=8, transformer_cfg=transformer)
    theirs = MaxxVit(cfg, img_size=image_size, num_classes=10).double().eval()
    pairs: list[tuple[Any, Any]] = [
        (theirs.stem.conv1, ours.stem[0]),
        (theirs.stem.norm1, ours.stem[1]),
        (theirs.stem.conv2, ours.stem[3]),
        (theirs.norm, ours.norm),
        (theirs.head.fc, ours.head),
    ]
    for mine, other in zip(ours.stages, theirs.stages, strict=True):
        for a, b in zip(mine, other.blocks, strict=True):  # type: ignore[call-overload]
            if isinstance(a.shortcut.expand, nn.Conv2d):
                pairs += [(b.shortcut.expand, a.shortcut.expand)]
            if isinstance(a, MBConv):
                pairs += [(b.pre_norm, a.norm), (b.norm1, a.norm1), (b.norm2, a.norm2)]
                pairs += [(b.conv1_1x1, a.expand), (b.conv2_kxk, a.depthwise), (b.conv3_1x1, a.project)]
                pairs += [(b.se.fc1, a.excite.down), (b.se.fc2, a.excite.up)]
                continue
            pairs += [(getattr(b.norm1, "norm", b.norm1), a.norm1), (b.norm2, a.norm2)]
            heads_first = [
                value.unflatten(0, (3, a.attention.heads, 16)).transpose(0, 1).flatten(0, 2)
                for value in (a.attention.qkv.weight, a.attention.qkv.bias)
            ]
            b.attn.qkv.load_state_dict({"weight": heads_first[0][:, :, None, None], "bias": heads_first[1]})
            pairs += [(b.attn.proj, a.attention.out)]
            pairs += [(b.mlp.fc1, a.mlp.up), (b.mlp.fc2, a.mlp.down)]
            table = a.attention.position.table[0].flatten(1).T
            if table.shape == b.attn.rel_pos.relative_position_bias_table.shape:
                with torch.no_grad():
                    b.attn.rel_pos.relative_position_bias_table.copy_(table)
    for a, b in pairs:
        state = b.state_dict()
        if isinstance(a, nn.Conv2d):
            state["weight"] = state["weight"].view(a.weight.shape)  # timm's linear maps of tokens are 1x1 convolutions
        a.load_state_dict(state)
    return theirs


def attention_blocks(ours: CoAtNet, theirs: Any) -> list[tuple[Any, Any]]:
    pairs = zip(ours.stages, theirs.stages, strict=True)
    blocks = [pair for a, b in pairs for pair in zip(a, b.blocks, strict=True)]  # type: ignore[call-overload]
    return [(a.attention.position, b.attn.rel_pos) for a, b in blocks if isinstance(a, AttentionBlock)]


def test_logits_are_timms(trained: CoAtNet) -> None:
    """timm's `coatnet_0` blocks at the training resolution, two stages of MBConv and two of attention: 1e-8."""
    theirs, x = timms(trained, 64), images(2, 3, 64, 64)
    logits = theirs(x)
    torch.testing.assert_close(trained(x), logits, atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(trained.float()(x.float()), theirs.float()(x.float()), atol=1e-5, rtol=1e-5)
    assert logits.std() > 0.1


def test_interpolated_on_a_larger_grid_is_timms(trained: CoAtNet) -> None:
    """timm's built for 128 pixels, with the tables resized by timm's `resize_rel_pos_bias_table_simple`: 1e-8."""
    from timm.layers.pos_embed_rel import resize_rel_pos_bias_table_simple

    theirs, x = timms(trained, 128), images(2, 3, 128, 128)
    for mine, other in attention_blocks(trained, theirs):
        target = other.relative_position_bias_table
        table = mine.table[0].flatten(1).T.detach()
        with torch.no_grad():
            target.copy_(resize_rel_pos_bias_table_simple(table, other.window_size, target.shape))
    torch.testing.assert_close(trained(x), theirs(x), atol=1e-8, rtol=1e-8)


def test_clipped_on_a_larger_grid_is_timms(trained: CoAtNet) -> None:
    """timm's built for 128 pixels, an offset beyond the trained ones taking the outermost's entry (a loop): 1e-8."""
    trained.carry("clip")
    theirs, x = timms(trained, 128), images(2, 3, 128, 128)
    for mine, other in attention_blocks(trained, theirs):
        reach, side = mine.trained[0] - 1, other.window_size[0]
        with torch.no_grad():
            for row in range(1 - side, side):
                for column in range(1 - side, side):
                    near = [max(-reach, min(reach, offset)) + reach for offset in (row, column)]
                    entry = (row + side - 1) * (2 * side - 1) + column + side - 1
                    other.relative_position_bias_table[entry] = mine.table[0, :, near[0], near[1]]
    logits = trained(x)
    torch.testing.assert_close(logits, theirs(x), atol=1e-8, rtol=1e-8)
    trained.carry("interpolate")
    assert (trained(x) - logits).abs().max() > 1e-3


def test_pooling_of_odd_sides() -> None:
    """Means over the places that are there, from a loop; the size is that of a 3x3 convolution of stride 2."""
    x = images(2, 3, 5, 4)
    found = pool(x, 2)
    convolved = nn.functional.conv2d(x, torch.zeros(3, 3, 3, 3).double(), stride=2, padding=1)
    assert found.shape == convolved.shape == (2, 3, 3, 2)
    for row in range(3):
        for column in range(2):
            mean = x[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].mean(dim=(2, 3))
            torch.testing.assert_close(found[:, :, row, column], mean)
    assert pool(x, 1) is x


def test_dropped_branches(randomise: Any) -> None:
    """In training an MBConv gives an image its shortcut alone, or the branch that evaluation adds, divided by what is
    kept; rates rise linearly over all blocks."""
    network = randomise(small(64, norm="layer", drop_path=0.6))
    rates = [block.drop.rate for blocks in network.stages for block in blocks]
    assert rates == pytest.approx([0.1 * block for block in range(7)])
    block, x = network.stages[1][1], images(32, 16, 4, 4)
    shortcut, evaluated = block.shortcut(x), block(x)
    torch.manual_seed(0)
    change = block.train()(x) - shortcut
    dropped = (change == 0).flatten(1).all(dim=1)
    assert 0 < dropped.sum() < 32
    torch.testing.assert_close(change[~dropped], ((evaluated - shortcut) / 0.7)[~dropped])


def test_oblong_and_odd_images(trained: CoAtNet) -> None:
    """Any size: the grid that is described is the one that comes out, as are the tokens of the first attention."""
    for height, width in ((50, 33), (64, 96), (31, 64)):
        logits, parts = trained.forward_parts(images(1, 3, height, width))
        assert logits.shape == (1, 10) and parts["stage.3"].shape[2:] == trained.grid(height, width)
        assert parts["attention.0"].shape[-1] == trained.describe(height, width).tokens
        torch.testing.assert_close(trained(images(1, 3, height, width)), logits, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("size", models.TIERS)
def test_strides_suit_small_images(size: str) -> None:
    """At 32 pixels the total stride is 8 and the first attention sees 8 x 8 places, as the ViT does."""
    with torch.device("meta"):
        network = models.create_model("coatnet", image_size=32, in_channels=3, num_classes=10, size=size)
    described = network.describe(32, 32)
    assert described.details == {"window": "global", "attention_grids": "8x8 4x4", "total_stride": 8}
    assert described.tokens == 64 and described.grid == (4, 4)


@pytest.mark.parametrize("convolve", [0, 1, 3])
def test_any_split_of_the_stages(convolve: int) -> None:
    """Blocks of attention by the number of stages that convolve (the paper compares the splits), and their biases."""
    network = small(64, conv_stages=convolve, head_width=8)
    attention = [block for block in network.modules() if isinstance(block, AttentionBlock)]
    assert len(attention) == sum((2, 2, 2, 1)[convolve:])
    _, parts = network.forward_parts(images(1, 3, 64, 64))
    assert all(f"attention.{index}" in parts and f"block.{index}" in parts for index in range(len(attention)))
    tables = sum(block.attention.position.table.numel() for block in attention)
    assert network.parameters_by_part()["position"] == tables
    assert {name for name, _ in network.named_parameters() if ".position." in name} <= network.no_decay()


def test_refusals() -> None:
    """Strides, stages and heads that do not go together, and ways that it does not have."""
    for options, message in (
        ({"strides": "1-2-2"}, "strides 1-2-2 are not one for the stem and each stage of 2-2-2-1: 5 numbers"),
        ({"strides": "1-1-2-2-4"}, "strides 1-1-2-2-4 holds other strides than 1 and 2"),
        ({"conv_stages": 4}, "conv_stages 4 leaves no stage of 2-2-2-1 that attends"),
        ({"head_width": 12}, "the 32 channels of the first stage that attends are no multiple of 12"),
    ):
        with pytest.raises(models.ModelError, match=message):
            small(32, **options)
    with pytest.raises(models.ModelError, match="cannot be carried by 'clipp'; allowed: interpolate, clip; did you"):
        small(32).carry("clipp")
