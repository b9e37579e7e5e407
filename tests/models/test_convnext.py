"""ConvNeXt against timm's with copied weights, and its geometry."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import models
from models.convnext import ConvNeXt


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def make(**options: Any) -> ConvNeXt:
    network = models.create_model("convnext", image_size=32, in_channels=3, num_classes=10, **options)
    assert isinstance(network, ConvNeXt)
    return network.double().eval()


@pytest.mark.parametrize(("kernel", "norm"), [(3, "layer"), (7, "layer"), (7, "batch"), (7, "group")])
def test_logits_are_timms(kernel: int, norm: str, randomise: Any) -> None:
    """timm's ConvNeXt of four stages at two image sizes: float64 to 1e-8; group norm put in place of its batch norm."""
    from timm.models.convnext import ConvNeXt as Reference

    other_norm: dict[str, Any] = {} if norm == "layer" else {"conv_mlp": True, "norm_layer": "batchnorm2d"}
    theirs = Reference(
        num_classes=10,
        depths=(1, 1, 2, 1),
        dims=(8, 16, 32, 64),
        patch_size=4,
        kernel_sizes=kernel,
        head_norm_first=False,
        **other_norm,
    )
    if norm == "group":  # four channels a group
        for name, module in list(theirs.named_modules()):
            if isinstance(module, torch.nn.BatchNorm2d):
                theirs.set_submodule(name, torch.nn.GroupNorm(module.num_features // 4, module.num_features))
    randomise(theirs.double()).eval()
    ours = make(width=8, stages="1-1-2-1", patch_size=4, kernel=kernel, norm=norm)
    pairs: list[tuple[Any, Any]] = [(ours.stem, theirs.stem[0]), (ours.stem_norm, theirs.stem[1])]
    pairs += [(ours.norm, theirs.head.norm), (ours.head, theirs.head.fc)]
    for index, (mine, other) in enumerate(zip(ours.stages, theirs.stages, strict=True)):
        if index:
            merge: Any = ours.downsamples[index]
            pairs += [(merge.norm, other.downsample[0]), (merge.conv, other.downsample[1])]
        for a, b in zip(mine, other.blocks, strict=True):  # type: ignore[call-overload]
            pairs += [(a.depthwise, b.conv_dw), (a.norm, b.norm), (a.mlp.up, b.mlp.fc1), (a.mlp.down, b.mlp.fc2)]
            with torch.no_grad():
                a.factor.copy_(b.gamma)
    for a, b in pairs:
        state = b.state_dict()
        if isinstance(b, torch.nn.Conv2d) and isinstance(a, torch.nn.Linear):  # theirs as a 1x1 convolution
            state["weight"] = state["weight"].flatten(1)
        a.load_state_dict(state)
    for training in (True, False):
        ours.train(training)
        theirs.train(training)
        for side in (64, 96):
            x = images(2, 3, side, side)
            torch.testing.assert_close(ours(x), theirs(x), atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_receptive_field_is_the_gradients(kernel: int, randomise: Any) -> None:
    """The stated field is the extent of the input that moves one value of the last map."""
    network = randomise(make(width=4, stages="1-1-1", patch_size=2, kernel=kernel))
    x = images(1, 3, 128, 128).requires_grad_()
    last = network.forward_parts(x)[1]["stage.2"]
    last[0, :, 8, 8].sum().backward()
    assert x.grad is not None
    touched = x.grad[0].abs().sum((0, 1)).nonzero()
    assert int(touched.max() - touched.min()) + 1 == network.details(128, 128)["receptive_field"]


@pytest.mark.parametrize("norm", ["batch", "group", "layer"])
@pytest.mark.parametrize("side", [32, 16])
def test_circular_padding_makes_shifts_invisible(side: int, norm: str, randomise: Any) -> None:
    """With circular padding a cyclic shift by the total stride leaves the logits; with zeros it does not.

    At 16 px the last map is 2 x 2, smaller than half of its 7 x 7 kernels.
    """
    x = images(1, 3, side, side)
    for padding, invariant in (("circular", True), ("zeros", False)):
        network = randomise(make(padding=padding, norm=norm))
        assert ((network(x) - network(x.roll((8, 8), (2, 3)))).abs().max() < 1e-10) == invariant


def test_total_stride_is_small_at_32_pixels() -> None:
    """At most 8 at 32 px and 4 at 8 px, whatever the tier below `tiny`."""
    for size in ("pico", "nano", "micro"):
        assert make(size=size).details(32, 32)["total_stride"] == 8
        assert make(size=size, scale=8).details(8, 8)["total_stride"] == 4
    with torch.device("meta"):
        assert make(size="base").details(32, 32)["total_stride"] == 8
