"""The CNN of cifar10-airbench94 against its definition, layer by layer in torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import models
from models.airbench import Airbench, Norm, Whitening
from models.initial import TORCH, keyed_generator


def make(**options: Any) -> Airbench:
    network = models.create_model("airbench", image_size=32, in_channels=3, num_classes=10, **options)
    assert isinstance(network, Airbench)
    return network


def natural(count: int = 200, side: int = 12) -> Tensor:
    """Images whose neighbouring pixels and colours are alike, B 3 S S."""
    noise = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))
    return nn.functional.avg_pool2d(noise, 3, 1, 1) + noise.mean(1, keepdim=True)


def test_parameters_are_the_published() -> None:
    """Reference: counted by hand from the paper's table: 24 biases, six 3x3 convolutions, their biases, the head; the
    288 frozen weights are no parameters."""
    convolutions = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 256 * 256 + 256 * 256 + 256 * 256)
    biases = 24 + 2 * 64 + 4 * 256
    assert sum(parameter.numel() for parameter in make().parameters()) == convolutions + biases + 256 * 10
    assert make().grid(32, 32) == (3, 3)


@pytest.mark.parametrize("training", [True, False])
def test_logits_by_torch_layers(training: bool, randomise: Any) -> None:
    """Reference: torch's layers in a row, the last pooling of 3 over all of the last map."""
    ours = randomise(make(widths="4-6-8").double())
    ours.first.weight.normal_(generator=torch.Generator().manual_seed(0))
    first = nn.Conv2d(3, 24, 2)
    first.load_state_dict(ours.first.state_dict())
    layers: list[nn.Module] = [first, nn.GELU()]
    for group in ours.groups:
        for conv, norm, pooled in ((group.conv1, group.norm1, True), (group.conv2, group.norm2, False)):
            theirs = nn.BatchNorm2d(len(norm.shift), eps=1e-12, momentum=0.4)
            theirs.bias.data.copy_(norm.shift * 8)
            layers += [conv, *([nn.MaxPool2d(2)] if pooled else []), theirs, nn.GELU()]
    reference = nn.Sequential(*layers, nn.MaxPool2d(3), nn.Flatten(), ours.head).double().train(training)
    x = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(ours.train(training)(x), reference(x) / 9)
    statistics = [norm.running_var for norm in ours.modules() if isinstance(norm, Norm)]
    theirs_kept = [norm.running_var for norm in reference.modules() if isinstance(norm, nn.BatchNorm2d)]
    assert all(torch.allclose(mine, their) for mine, their in zip(statistics, theirs_kept, strict=True))  # type: ignore[arg-type]


def test_whitened_patches_are_uncorrelated() -> None:
    """Reference: numpy's covariance, without a mean, of what the layer makes of the images it was fitted to."""
    network, images = make(), natural()
    network.fit_input(iter(images.split(64)))
    assert isinstance(network.first, Whitening)
    out = network.first(images).double().transpose(0, 1).flatten(1).detach()  # 24 x patches
    positive, negative = out.split(12)
    torch.testing.assert_close(positive, -negative)
    moments = positive @ positive.T / positive.shape[1]
    assert (moments - torch.diag(moments.diag())).abs().max() < 1e-4
    assert moments.diag().min() > 0.5 and moments.diag().max() < 1.001  # below 1 where 5e-4 is much
    assert not [name for name, _ in network.named_parameters() if name == "first.weight"]


def test_the_fit_is_a_function_of_the_first_images() -> None:
    """Whatever batches they come in, and however many come after 5,000."""
    images = natural(5200, 4)
    one, other, fewer = make(), make(seed=1), make()
    one.fit_input([images])
    other.fit_input(iter(images[:5000].split(77)))
    fewer.fit_input([images[:4000]])
    torch.testing.assert_close(one.first.weight, other.first.weight, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(one.first.weight, fewer.first.weight)  # type: ignore[arg-type]
    trained = make(whitening=False)
    before = trained.first.weight.clone()
    trained.fit_input([images])
    assert torch.equal(trained.first.weight, before)


def test_convolutions_begin_as_the_identity() -> None:
    """Reference: the definition, on the layer alone; the other channels are as torch draws them."""
    conv = make().groups[0].conv1
    x = torch.randn(2, 24, 7, 7)
    assert torch.equal(conv(x)[:, :24], x)
    drawn = TORCH.conv(24 * 9, 64 * 9)["weight"]((64, 24, 3, 3), keyed_generator(0, "groups.0.conv1.weight"))
    assert torch.equal(conv.weight[24:], drawn[24:].float())
    assert torch.equal(make(identity=False).groups[0].conv1.weight, drawn.float())


def test_biases_learn_as_many_times_faster_under_sgd() -> None:
    """Reference: SGD with Nesterov momentum on a BatchNorm of torch, its bias at 64 times the rate."""
    ours, theirs = Norm(4, 8.0), nn.BatchNorm2d(4, eps=1e-12, momentum=0.4)
    nn.init.zeros_(ours.shift)
    mine = torch.optim.SGD(ours.parameters(), lr=0.01, momentum=0.85, nesterov=True)
    reference = torch.optim.SGD([theirs.bias], lr=0.64, momentum=0.85, nesterov=True)
    x = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    for _ in range(5):
        for norm, optimizer in ((ours, mine), (theirs, reference)):
            optimizer.zero_grad()
            nn.functional.gelu(norm(x)).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours.shift * 8, theirs.bias)


def test_what_no_kernel_fits_into_is_refused() -> None:
    """An image of one pixel; two are enough, and then nothing is pooled."""
    with pytest.raises(models.ModelError, match="model airbench: image 1 is smaller than the first kernel: nearest 2"):
        models.check_resolution("airbench", size="airbench94", options={}, resolution=1, train_resolution=32)
    assert make().eval()(torch.zeros(1, 3, 2, 2)).shape == (1, 10)
    assert make().grid(2, 9) == (1, 1)
