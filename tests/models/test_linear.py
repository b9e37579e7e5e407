"""Linear maps by oneDNN: the numbers of torch's own in float32, for every model, and exact in what bits promise."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import models
from models.checks.contract import Subject, random_network
from models.linear import set_linear
from models.positions.encodings import ENCODINGS

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


def subjects() -> list[Subject]:
    found = []
    for name in models.model_names():
        family = models.family(name)
        options = {"scale": 8} if "scale" in {option.name for option in family.options} else {}
        size = "pico" if "pico" in family.sizes else family.sizes[0]
        found.append(Subject(name, options, size=size))
    return found + [Subject("vit", {"scale": 8, "position": position}) for position in ENCODINGS]


def answers(network: nn.Module, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits, and the gradient of their weighted sum by every parameter."""
    network.zero_grad()
    logits = network(images)
    (logits * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum().backward()
    return logits.detach(), [p.grad.clone() for p in network.parameters() if p.grad is not None]


@pytest.mark.parametrize("subject", subjects(), ids=str)
def test_every_model_gives_what_torch_gives(subject: Subject) -> None:
    """Reference: torch's own linear maps in float64; oneDNN's are as near to them as float32 allows."""
    network = random_network(subject).eval()
    images = subject.batch(3)
    logits, gradients = answers(network, images)
    network.float().set_linear("onednn")
    found, found_gradients = answers(network, images.float())
    torch.testing.assert_close(found.double(), logits, rtol=1e-3, atol=1e-3 * logits.abs().max().item())
    assert len(found_gradients) == len(gradients)
    for one, other in zip(found_gradients, gradients, strict=True):
        scale = other.abs().max().item()
        torch.testing.assert_close(one.double(), other, rtol=2e-3, atol=2e-3 * scale + 1e-7)


def test_an_image_alone_is_what_it_is_among_others() -> None:
    """To the bit: rows one by one, and in parts of every length, also for a map of vectors (B D) and of one vector."""
    layer = nn.Linear(17, 33)
    set_linear(layer, "onednn")
    with torch.inference_mode():
        for shape in ((40, 17), (40, 3, 17)):
            x = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
            whole = layer(x)
            for count in (1, 2, 7, 32):
                assert torch.equal(torch.cat([layer(part) for part in x.split(count)]), whole)
        vector = torch.randn(17, generator=torch.Generator().manual_seed(0))
        assert torch.equal(layer(vector), layer(vector.expand(5, -1))[0])


def test_only_float32_on_a_cpu() -> None:
    """In every other type, and under autocast, torch's own map computes."""
    layer = nn.Linear(8, 4)
    plain = copy.deepcopy(layer)
    set_linear(layer, "onednn")
    x = torch.randn(3, 5, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x), plain(x))
        assert layer(x).dtype == torch.bfloat16
    assert torch.equal(layer.double()(x.double()), plain.double()(x.double()))
    assert layer.to("meta")(x.to("meta").double()).shape == (3, 5, 4)


def test_a_copy_has_weights_of_its_own_and_the_way_back() -> None:
    """What breaks otherwise: a copy for another size, or without memory, computes with the original's weights."""
    network = random_network(Subject("vit", {"scale": 8})).float()
    images = torch.randn(2, 1, 8, 8)
    before = network(images)
    network.set_linear("onednn")
    other = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert (other(images) == 0).all()
    assert list(network.state_dict()) == list(other.state_dict())
    assert network.describe(8, 8).macs == other.describe(8, 8).macs > 0
    network.set_linear("torch")
    assert torch.equal(network(images), before)


def test_a_form_that_is_not_there() -> None:
    """Named, with what is allowed."""
    network = random_network(Subject("vit", {"scale": 8}))
    with pytest.raises(models.ModelError, match="linear is 'mkl'; allowed: torch, onednn"):
        network.set_linear("mkl")  # type: ignore[arg-type]
