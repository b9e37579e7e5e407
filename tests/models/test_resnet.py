"""The ResNet against timm's with copied weights, the published sizes too, its equivariance and its receptive field."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import models
from models.resnet import Bottleneck, ResNet, group_count, stage_strides, wrap


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(**options: Any) -> ResNet:
    network = models.create_model("resnet", image_size=32, in_channels=3, num_classes=10, **options)
    assert isinstance(network, ResNet)
    return network.double()


@pytest.mark.parametrize(("stem", "layers", "stride"), [("cifar", "2-1-1-1", 8), ("imagenet", "2-2-2-2", 32)])
def test_logits_are_timms(stem: str, layers: str, stride: int, randomise: Any) -> None:
    """timm's ResNet of basic blocks with its ImageNet stem, and with a 3x3 stem without pooling; any image size."""
    from timm.models.resnet import BasicBlock
    from timm.models.resnet import ResNet as Reference

    theirs = Reference(BasicBlock, tuple(map(int, layers.split("-"))), num_classes=10)
    if stem == "cifar":
        theirs.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
        theirs.maxpool = torch.nn.Identity()  # type: ignore[assignment]
    randomise(theirs.double())
    ours = make(stem=stem, stages=layers, width=64, total_stride=stride)
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    for training in (True, False):
        ours.train(training)
        theirs.train(training)
        for side in (32, 20):
            x = images(2, 3, side, side)
            torch.testing.assert_close(ours(x), theirs(x), atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("scale", [32, 224])
@pytest.mark.parametrize("size", ["resnet18", "resnet34", "resnet50"])
def test_published_sizes_are_timms(size: str, scale: int, randomise: Any) -> None:
    """timm's network of that name, at scale 32 with the 3x3 stem without pooling that everybody gives it on CIFAR.

    Weights copied: float64 to 1e-8 in training and, at the native and another resolution, in evaluation; as many
    parameters.
    """
    import timm

    theirs: Any = timm.create_model(size, pretrained=False, num_classes=1000)
    if scale == 32:
        theirs.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
        theirs.maxpool = torch.nn.Identity()
    randomise(theirs.double())
    ours = models.create_model("resnet", image_size=scale, in_channels=3, num_classes=1000, size=size, scale=scale)
    ours.double().load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    with torch.no_grad():
        x = images(2, 3, 64, 64)  # one step, after which the running statistics suit the weights
        torch.testing.assert_close(ours.train()(x), theirs.train()(x), atol=1e-8, rtol=1e-8)
        for side in (scale, scale * 5 // 8):
            x = images(1, 3, side, side)
            torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), atol=1e-8, rtol=1e-8)
    assert ours.details(scale, scale)["total_stride"] == {32: 8, 224: 32}[scale]


def test_published_parameters_and_macs() -> None:
    """torchvision's documentation: parameters, and 10^9 multiply-accumulates at 224; these sizes are resnet's alone."""
    for size, parameters, macs in (
        ("resnet18", 11_689_512, 1.81),
        ("resnet34", 21_797_672, 3.66),
        ("resnet50", 25_557_032, 4.09),
    ):
        with torch.device("meta"):
            network = models.create_model(
                "resnet", image_size=224, in_channels=3, num_classes=1000, size=size, scale=224
            )
        said = network.describe(224, 224)
        assert (sum(said.parameters.values()), round(said.macs / 1e9, 2)) == (parameters, macs)
    with pytest.raises(models.ModelError, match="convnext: no size 'resnet18'; allowed: pico"):
        models.resolve_options("convnext", size="resnet18", options={})
    with pytest.raises(models.ModelError, match="did you mean `resnet50`"):
        models.resolve_options("resnet", size="resnet5", options={})


@pytest.mark.parametrize("reach", [1, 3, 5, 8])
def test_wrapping_is_numpys(reach: int) -> None:
    """numpy.pad(mode="wrap"), also where a map is smaller than what is added to it."""
    for rows, columns in ((8, 8), (2, 5), (1, 3)):
        x = images(2, 3, rows, columns)
        around = ((0, 0), (0, 0), (reach, reach), (reach, reach))
        assert np.array_equal(wrap(x, reach).numpy(), np.pad(x.numpy(), around, mode="wrap"))


def test_groups() -> None:
    """By hand: at least four channels each where there are as many, and never a channel left over."""
    counts = {1: 1, 3: 1, 4: 1, 6: 1, 8: 2, 12: 2, 16: 4, 24: 4, 44: 4, 64: 16, 128: 32, 256: 32}
    assert {channels: group_count(channels) for channels in counts} == counts


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("norm", ["batch", "group", "layer"])
@pytest.mark.parametrize("stem", ["cifar", "half", "imagenet"])
def test_circular_padding_makes_shifts_invisible(norm: str, stem: str, block: str, randomise: Any) -> None:
    """With circular padding a cyclic shift by the total stride leaves the logits; a smaller shift, or zeros, do not."""
    stride = {"cifar": 4, "half": 8, "imagenet": 16}[stem]
    shapes = dict(stages="1-1-1", width=8, stem=stem, total_stride=stride, norm=norm, block=block)
    x = images(1, 3, 32, 32)
    for padding, shift, invariant in (("circular", stride, True), ("circular", 1, False), ("zeros", stride, False)):
        network = randomise(make(padding=padding, **shapes)).eval()
        difference = (network(x) - network(x.roll((shift, shift), (2, 3)))).abs().max()
        assert (difference < 1e-10) == invariant


@pytest.mark.parametrize(
    "options",
    [
        {"stages": "1-1-1"},
        {"stages": "2-1"},
        {"stages": "1-1", "stem": "imagenet"},
        {"stages": "2-1", "block": "bottleneck"},
    ],
)
def test_receptive_field_is_the_gradients(options: dict[str, Any], randomise: Any) -> None:
    """The stated field is the extent of the input that moves one value of the last map."""
    options = {"total_stride": {"1-1-1": 4, "2-1": 2, "1-1": 8}[options["stages"]], "width": 4, **options}
    network = randomise(make(**options)).eval()
    x = images(1, 3, 96, 96).requires_grad_()
    _, parts = network.forward_parts(x)
    last = parts[f"stage.{len(network.stages) - 1}"]
    middle = last.shape[-1] // 2
    last[0, :, middle, middle].sum().backward()
    assert x.grad is not None
    touched = x.grad[0].abs().sum((0, 1)).nonzero()
    assert int(touched.max() - touched.min()) + 1 == network.details(96, 96)["receptive_field"]


def test_strides() -> None:
    """The total stride is reached as early as possible; what a stem and stages cannot make is refused."""
    assert stage_strides(3, "cifar", 4) == [1, 2, 2]
    assert stage_strides(4, "cifar", 4) == [1, 2, 2, 1]
    assert stage_strides(4, "imagenet", 32) == [1, 2, 2, 2]
    with pytest.raises(models.ModelError, match=r"total_stride 16 cannot be made .* allowed: 1 to 4"):
        make(total_stride=16)


def test_it_is_resnet_20() -> None:
    """He et al. (2016), table 6: 0.27 M for ResNet-20, 0.85 M for ResNet-56 (0.01 more with projections)."""
    for size, millions in (("nano", 0.27), ("micro", 0.86)):
        network = make(size=size)
        assert round(sum(network.describe(32, 32).parameters.values()) / 1e6, 2) == millions
        _, parts = network.eval().forward_parts(images(1, 3, 32, 32))
        assert [parts[f"stage.{i}"].shape[-1] for i in range(3)] == [32, 16, 8]


def test_the_stride_is_in_the_3x3() -> None:
    """ "ResNet v1.5": a bottleneck's first convolution sees the whole map, its second one halves it."""
    network = make(stages="1-1", width=4, total_stride=2, block="bottleneck")
    block: Any = network.stages[1][0]  # type: ignore[index]
    assert isinstance(block, Bottleneck)
    assert [block.conv1.stride, block.conv2.stride, block.conv3.stride] == [(1, 1), (2, 2), (1, 1)]
