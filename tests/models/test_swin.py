"""Swin against timm's with copied weights, and what timm's does not do at another grid (Swin V2's windows as well)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import models
from models.swin import Swin, region_mask

BOTH = ("swin", "swin_v2")


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def small(image_size: int = 32, name: str = "swin", **options: Any) -> Swin:
    network = models.create_model(
        name, image_size=image_size, in_channels=3, num_classes=10, stages="2-2-2", width=24, heads=2, **options
    )
    assert isinstance(network, Swin)
    return network.double().eval()


def test_logits_are_timms(randomise: Any) -> None:
    """timm's SwinTransformer at the training resolution, three stages of 16, 8 and 4 tokens: float64 to 1e-8."""
    from timm.models.swin_transformer import SwinTransformer

    theirs = SwinTransformer(
        img_size=32,
        patch_size=2,
        embed_dim=24,
        depths=(2, 2, 2),
        num_heads=(2, 4, 8),
        window_size=4,
        num_classes=10,
        drop_path_rate=0.0,
    )
    randomise(theirs.double()).eval()
    ours = small()
    pairs: list[tuple[Any, Any]] = [
        (ours.embed, theirs.patch_embed.proj),
        (ours.embed_norm, theirs.patch_embed.norm),
        (ours.norm, theirs.norm),
        (ours.head, theirs.head.fc),
    ]
    for stage, (mine, other) in enumerate(zip(ours.stages, theirs.layers, strict=True)):
        if stage:
            merge: Any = ours.merges[stage]
            pairs += [(merge.norm, other.downsample.norm), (merge.reduce, other.downsample.reduction)]
        for a, b in zip(mine, other.blocks, strict=True):  # type: ignore[call-overload]
            pairs += [(a.norm1, b.norm1), (a.norm2, b.norm2), (a.mlp.up, b.mlp.fc1), (a.mlp.down, b.mlp.fc2)]
            pairs += [(a.attention.qkv, b.attn.qkv), (a.attention.out, b.attn.proj)]
            with torch.no_grad():
                table = b.attn.relative_position_bias_table.T.reshape(a.attention.bias_table.shape)
                a.attention.bias_table.copy_(table)
    for a, b in pairs:
        a.load_state_dict(b.state_dict())
    x = images(2, 3, 32, 32)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("name", BOTH)
def test_shift_is_decided_at_the_call(name: str, randomise: Any) -> None:
    """A stage of one window at the training resolution shifts on a larger grid, so its windows communicate.

    Reference: the gradient. Pixels of the first window reach the tokens beside it in the second only through a shift.
    """
    network = randomise(small(8, name, patch_size=2, window=4))
    assert network.windows == [(4, 4), (2, 2), (1, 1)]
    x = images(1, 3, 16, 16).requires_grad_()
    _, parts = network.forward_parts(x)
    parts["block.1"][0, 4].sum().backward()  # 8x8 grid: the first token of the second window
    assert x.grad is not None and x.grad[0, :, :8, :8].abs().max() > 0
    x.grad = None
    _, parts = network.forward_parts(x)
    parts["block.0"][0, 4].sum().backward()
    assert not x.grad[0, :, :, :8].any()


def test_windows_of_two_shift_by_one(randomise: Any) -> None:
    """The smallest windows communicate in every stage that holds more than one of them.

    Reference: which tokens share a window, plain and shifted by one, by their row and column; the gradient of every
    token of two stages reaches those patches that chains of such windows lead to, and no other.
    """
    network = randomise(small(32, patch_size=2, window=2))
    assert network.windows == [(2, 2), (2, 2), (2, 2)]

    def together(side: int, shift: int) -> Tensor:
        place = (torch.arange(side) + shift) // 2
        window = (side * place[:, None] + place).flatten()
        return window[:, None] == window

    def reached(block: int, side: int) -> Tensor:
        x = images(1, 3, 32, 32).requires_grad_()
        tokens = network.forward_parts(x)[1][f"block.{block}"][0].sum(-1)
        assert len(tokens) == side**2
        patches = []
        for token in tokens:
            (gradient,) = torch.autograd.grad(token, x, retain_graph=True)
            patches.append(gradient[0].abs().sum(0).unflatten(0, (16, 2)).unflatten(2, (16, 2)).sum((1, 3)).flatten())
        return torch.stack(patches) > 0

    plain, shifted = (together(16, shift).float() for shift in (0, 1))
    assert torch.equal(reached(0, 16), plain > 0)
    assert torch.equal(reached(1, 16), shifted @ plain > 0)
    merged = torch.eye(8).repeat_interleave(2, 1)
    entered = torch.kron(merged, merged) @ shifted @ plain  # 2 x 2 tokens are one in the second stage
    plain, shifted = (together(8, shift).float() for shift in (0, 1))
    assert torch.equal(reached(2, 8), plain @ entered > 0)
    assert torch.equal(reached(3, 8), shifted @ plain @ entered > 0)


@pytest.mark.parametrize("way", ["keep_window", "grow_window"])
@pytest.mark.parametrize("side", [9, 10])
@pytest.mark.parametrize("name", BOTH)
def test_filling_is_masked(name: str, way: str, side: int, randomise: Any) -> None:
    """On a grid that windows do not fill, real tokens attend to real tokens of their own surroundings only.

    Reference: the layout of the windows, recomputed here by rolling and cutting an index image.
    """
    network = randomise(small(16, name, patch_size=2, window=4))
    network.carry(way)
    _, parts = network.forward_parts(images(1, 3, 2 * side, 2 * side))
    window = network.target_window(0, (side, side))[0]
    full = -(-side // window) * window
    for layer, shift in ((0, 0), (1, window // 2)):
        index = torch.full((full, full), -1)
        index[:side, :side] = torch.arange(side**2).view(side, side)
        rolled = index.roll((-shift, -shift), (0, 1)).view(full // window, window, full // window, window)
        keys = rolled.transpose(1, 2).reshape(-1, window * window)
        for members, attention in zip(keys, parts[f"attention.{layer}"][0], strict=True):  # n, h n n
            real = members >= 0
            weights = attention[:, real]
            assert not weights[:, :, ~real].any()
            rows, columns = members[real] // side, members[real] % side
            apart = ((rows[:, None] - rows).abs() >= window) | ((columns[:, None] - columns).abs() >= window)
            assert not weights[:, :, real][:, apart].any()  # the roll's wrap-around is masked as well
            assert weights[:, :, real][:, ~apart].all()


def test_mask_of_an_unfilled_unshifted_grid_is_empty() -> None:
    """Nothing to mask: zeros, and with a shift the classic three-by-three regions."""
    assert not region_mask((8, 8), (8, 8), (4, 4), (0, 0)).any()
    mask = region_mask((8, 8), (8, 8), (4, 4), (2, 2))
    assert mask.shape == (4, 16, 16) and not mask[0].any()
    assert [int(torch.isinf(window).sum()) for window in mask] == [0, 128, 128, 192]


@pytest.mark.parametrize("name", BOTH)
def test_growing_windows_meet_the_training_bias(name: str, randomise: Any) -> None:
    """At the training resolution both ways are the same; on a grid twice as large a grown window is twice as large."""
    network = randomise(small(16, name, patch_size=2, window=4))
    x, larger = images(1, 3, 16, 16), images(1, 3, 32, 32)
    kept, kept_larger = network(x), network(larger)
    assert network.describe(32, 32).details["windows"] == "4x4 4x4 2x2"
    network.carry("grow_window")
    assert torch.equal(network(x), kept) and not torch.allclose(network(larger), kept_larger)
    assert network.describe(32, 32).details["windows"] == "8x8 8x8 4x4"
