"""`attend`: what the fused kernel may compute, and that it never rounds an encoding. Reference: the formula, in loops
over images and heads, in double precision. And the maps that networks give: what their fused layers mix by."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import models
from models.network import attend
from models.swin import WindowAttention, Windows, from_windows, to_windows
from models.vit import Attention


def random(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def formula(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    """softmax(q k' + bias) v, one image and head after the other: (..., h, N, d)."""
    shape = (*queries.shape[:-1], keys.shape[-2])
    parts = [x.double().reshape(-1, *x.shape[-2:]) for x in (queries, keys, values, bias.double().expand(shape))]
    mixed = [(q @ k.T + b).softmax(-1) @ v for q, k, v, b in zip(*parts, strict=True)]
    return torch.stack(mixed).view(values.shape)


def window_mask() -> Tensor:
    far = (torch.arange(6)[:, None] - torch.arange(6)).abs() > 1
    return torch.zeros(6, 6).masked_fill(far, -math.inf)


@pytest.mark.parametrize("half", [False, True])
def test_a_bias_is_not_rounded(half: bool) -> None:
    """Biases between 8 and 16 that bfloat16 cannot tell apart: both forms give the formula with the exact biases, and
    equal bits beside queries in bfloat16, where the explicit form is taken whatever is asked for."""
    dtype = torch.bfloat16 if half else torch.float32
    queries = torch.zeros(2, 3, 6, 4, dtype=dtype)  # so that the biases alone decide
    keys, values = (random(2, 3, 6, 4, seed=seed, dtype=dtype) for seed in (1, 2))
    bias = 12 + 0.03 * random(3, 6, 6, seed=3, dtype=torch.float32).clamp(-1, 1)
    assert (bias.to(torch.bfloat16) == 12).all()
    (fused, probabilities), (explicit, _) = (attend(queries, keys, values, bias, form) for form in (True, False))
    assert (probabilities is not None) == half
    exact = (bias.double().softmax(-1) @ values.double()).to(dtype)
    torch.testing.assert_close(explicit, exact, atol=2**-8 if half else 1e-6, rtol=2**-7 if half else 1e-6)
    if half:
        assert torch.equal(fused, explicit) and probabilities is not None
        assert probabilities.dtype == torch.float32 and (probabilities - 1 / 6).abs().max() > 1e-3  # not uniform
    else:
        torch.testing.assert_close(fused, exact, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_what_loses_nothing_is_fused(dtype: torch.dtype) -> None:
    """No bias, a bias of the queries' own type, and a mask of 0 and minus infinity in any type."""
    queries, keys, values = (random(2, 3, 6, 4, seed=seed, dtype=dtype) for seed in range(3))
    own, mask = random(2, 3, 6, 6, seed=3, dtype=dtype), window_mask()
    for bias, cut in ((None, None), (own, None), (None, mask), (own, mask)):
        mixed, probabilities = attend(queries, keys, values, bias, True, mask=cut)
        assert probabilities is None and mixed.dtype == dtype
        total = sum((each.double() for each in (bias, cut) if each is not None), torch.zeros(1, 1).double())
        bounds = {"atol": 3e-2, "rtol": 3e-2} if dtype == torch.bfloat16 else {"atol": 1e-5, "rtol": 1e-5}
        torch.testing.assert_close(mixed.double(), formula(queries, keys, values, total), **bounds)


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_windows_go_to_the_kernel_as_heads(shared: bool, cut: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In four dimensions, of which torch has fast kernels, with one mask for all images; values and gradients as in the
    formula. `shared`: one bias of 1 1 1 for all heads."""
    asked: list[tuple[int, ...]] = []
    kernel = nn.functional.scaled_dot_product_attention

    def seen(*inputs: Tensor, attn_mask: Tensor, **others: Any) -> Tensor:
        asked.extend([*(tuple(each.shape) for each in inputs), tuple(attn_mask.shape)])
        return kernel(*inputs, attn_mask=attn_mask, **others)

    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", seen)
    inputs = [random(2, 5, 3, 6, 4, seed=seed).requires_grad_() for seed in range(3)]  # B windows h N d
    bias = random(*((1, 1, 1) if shared else (3, 6, 6)), seed=3).requires_grad_()
    mask = (window_mask().double() if cut else torch.zeros(6, 6).double()).expand(5, 1, 6, 6)
    mixed, probabilities = attend(inputs[0], inputs[1], inputs[2], bias, True, mask=mask)
    assert probabilities is None and asked == [(2, 15, 6, 4)] * 3 + [(15, 6, 6)]
    expected = formula(inputs[0], inputs[1], inputs[2], bias + mask)
    torch.testing.assert_close(mixed, expected)
    weights = random(*mixed.shape, seed=4)
    found = torch.autograd.grad(mixed, [*inputs, bias], weights, retain_graph=True)
    for one, other in zip(found, torch.autograd.grad(expected, [*inputs, bias], weights), strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-9)


def test_windows_are_the_same_in_both_forms() -> None:
    """Swin's attention, shifted, on a map that windows do not fill: the explicit form, whose tests are timm's."""
    layer = WindowAttention(12, 3, (4, 4), shifted=True).double()
    with torch.no_grad():
        for number, parameter in enumerate(layer.parameters()):
            parameter.copy_(random(*parameter.shape, seed=number))
    images = random(2, 7, 9, 12, seed=9)
    explicit = layer(images, (4, 4), 0, None)
    layer.fused = True
    torch.testing.assert_close(layer(images, (4, 4), 0, None), explicit)


def seen_by(network: nn.Module, kind: type[nn.Module], images: Tensor) -> list[tuple[Tensor, Tensor]]:
    """What goes into each attention layer of a forward pass, and what comes out."""
    found: list[tuple[Tensor, Tensor]] = []
    layers = [layer for layer in network.modules() if isinstance(layer, kind)]
    hooks = [layer.register_forward_hook(lambda _, given, made: found.append((given[0], made))) for layer in layers]
    network(images)
    for hook in hooks:
        hook.remove()
    return found


def maps_of(network: Any, images: Tensor) -> list[Tensor]:
    """The attention maps of both forms, which must be the same and sum to 1 in every row."""
    both = []
    for form in ("explicit", "fused"):
        network.set_attention(form)
        _, parts = network.forward_parts(images)
        both.append([part for name, part in parts.items() if name.startswith("attention.")])
    for explicit, fused in zip(*both, strict=True):
        assert torch.equal(explicit, fused)
        torch.testing.assert_close(fused.sum(-1), torch.ones_like(fused[..., 0]), atol=1e-6, rtol=0)
    return both[1]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", [(8, 8), (8, 12), (14, 6)])
@pytest.mark.parametrize(
    ("position", "class_token", "registers"),
    [("bias_2d", False, 0), ("rope_mixed", True, 0), ("learned_1d", False, 4), ("pape", True, 3), ("fire", False, 4)],
)
def test_the_maps_of_a_vit_are_what_its_fused_layers_mix_by(
    position: str, class_token: bool, registers: int, shape: tuple[int, int], training: bool, randomise: Any
) -> None:
    """Reference: map times values times the last weights, with the values of each layer's own input, in single
    precision; square grids and others, with 0, 1 and 4 tokens beside the patches, in training and in evaluation."""
    made: dict[str, Any] = {"position": position, "class_token": class_token, "registers": registers}
    network = models.create_model("vit", image_size=8, in_channels=1, num_classes=5, size="pico", scale=8, **made)
    randomise(network).train(training)
    images = random(2, 1, *shape, seed=1, dtype=torch.float32)
    maps = maps_of(network, images)
    count = shape[0] * shape[1] // 4 + int(class_token) + registers
    layers = [layer for layer in network.modules() if isinstance(layer, Attention)]
    inside = seen_by(network, Attention, images)  # fused
    for layer, found, (tokens, made_of_them) in zip(layers, maps, inside, strict=True):
        assert layer.fused and found.shape == (2, layer.heads, count, count)
        values = layer.qkv(tokens)[..., -tokens.shape[-1] :].unflatten(-1, (layer.heads, -1))  # B N h d
        mixed = torch.einsum("bhqk,bkhd->bqhd", found, values).flatten(2)
        torch.testing.assert_close(layer.out(mixed), made_of_them, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", [(16, 16), (16, 24), (14, 22)])
@pytest.mark.parametrize("name", ["swin", "swin_v2"])
def test_the_maps_of_a_swin_are_what_its_fused_layers_mix_by(
    name: str, shape: tuple[int, int], training: bool, randomise: Any
) -> None:
    """Reference: map times values in every window, put back in place by a loop over windows; maps that windows fill and
    others, shifted and not, in training and in evaluation."""
    network: Any = models.create_model(
        name, image_size=16, in_channels=1, num_classes=5, size="pico", scale=8, patch_size=1, window=4, stages="2-1"
    )
    randomise(network).train(training)
    images = random(2, 1, *shape, seed=1, dtype=torch.float32)
    maps = maps_of(network, images)
    layers = [layer for layer in network.modules() if isinstance(layer, Windows)]
    for layer, found, (x, made_of_it) in zip(layers, maps, seen_by(network, Windows, images), strict=True):
        height, width = x.shape[1:3]
        down, right = (2 if layer.shifted and side > 4 else 0 for side in (height, width))
        padded = nn.functional.pad(x, (0, 0, 0, -width % 4, 0, -height % 4)).roll((-down, -right), (1, 2))
        values = layer.project(to_windows(padded, (4, 4)))[2]  # B windows h n d
        mixed = torch.stack([found[:, window] @ values[:, window] for window in range(values.shape[1])], dim=1)
        back = from_windows(layer.out(mixed.transpose(2, 3).flatten(3)), (4, 4), *padded.shape[1:3])
        expected = back.roll((down, right), (1, 2))[:, :height, :width]
        assert layer.fused and found.shape[1] == (padded.shape[1] // 4) * (padded.shape[2] // 4)
        torch.testing.assert_close(made_of_it, expected, atol=2e-5, rtol=2e-5)
