"""The ResNet against timm's with copied weights, its equivariance and its receptive field."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import models
from models.resnet import ResNet, stage_strides


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


@pytest.mark.parametrize("norm", ["batch", "group", "layer"])
@pytest.mark.parametrize("stem", ["cifar", "half", "imagenet"])
def test_circular_padding_makes_shifts_invisible(norm: str, stem: str, randomise: Any) -> None:
    """With circular padding a cyclic shift by the total stride leaves the logits; a smaller shift, or zeros, do not."""
    stride = {"cifar": 4, "half": 8, "imagenet": 16}[stem]
    shapes = dict(stages="1-1-1", width=8, stem=stem, total_stride=stride, norm=norm)
    x = images(1, 3, 32, 32)
    for padding, shift, invariant in (("circular", stride, True), ("circular", 1, False), ("zeros", stride, False)):
        network = randomise(make(padding=padding, **shapes)).eval()
        difference = (network(x) - network(x.roll((shift, shift), (2, 3)))).abs().max()
        assert (difference < 1e-10) == invariant


@pytest.mark.parametrize("options", [{"stages": "1-1-1"}, {"stages": "2-1"}, {"stages": "1-1", "stem": "imagenet"}])
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
