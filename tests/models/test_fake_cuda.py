"""Every network, encoding and way of carrying on a CUDA device that is not there: nothing is left on the CPU.

Reference: torch's fake tensors, which hold no numbers and refuse operations between two devices as CUDA does.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

import models
from models.catalogue.ladder import MIXERS
from models.checks import contract
from models.checks.fake_cuda import backward, fake_cuda, on_fake_cuda
from models.network import AttentionLayer
from models.positions.absolute import Sincos2d

SCALE = SIDE = 8
OTHER = 12  # pixels of images that no network here is trained on and all can take
FORMS = tuple(itertools.product((False, True), ("explicit", "fused")))
MORE: list[tuple[str, dict[str, Any]]] = [
    *(("vit", {"position": position, "class_token": True}) for position in models.position_names()),
    ("vit", {"position": "relative_2d", "relative_values": True, "relative_clip": 1, "class_token": True}),
    ("vit", {"position": "rope_axial", "attention_window": 1, "drop_path": 0.2, "layer_scale": 0.1}),
    ("convit", {"class_token": True}),
    ("resnet", {"stem": "imagenet", "norm": "group", "padding": "circular"}),
    ("convnext", {"padding": "circular"}),
    *(("ladder", {"mixer": mixer}) for mixer in MIXERS if mixer != "attention"),
    ("ladder", {"mixer": "locally_connected", "padding": "circular"}),
]


def cases() -> list[Any]:
    found = [(name, {}) for name in models.model_names()]
    return [
        pytest.param(name, options, id="-".join([name, *(f"{key}={value}" for key, value in options.items())]))
        for name, options in found + MORE
    ]


OWN: dict[str, dict[str, Any]] = {"course_vit": {"patch_size": 2}, "airbench": {}}  # of sizes of their own


def shallow(name: str, options: dict[str, Any]) -> Any:
    """A network of few layers, for images of 8 x 8 pixels."""
    own = OWN.get(name, {"scale": SCALE})
    size, options = models.default_size(name) if name in OWN else "pico", {**own, **options}
    known = models.resolve_options(name, size=size, options=options)
    depth = 2 if name in ("swin", "swin_v2", "convit") or "window" in known else 1  # as few as show every path
    options |= {"depth": depth} if "depth" in known else {}
    options |= {"local_blocks": 1} if name == "convit" else {}
    options |= {"stages": str(depth) + "-1" * str(known["stages"]).count("-")} if "stages" in known else {}
    return models.create_model(name, image_size=SIDE, in_channels=3, num_classes=10, size=size, **options)


@pytest.mark.parametrize(("name", "options"), cases())
def test_forward_and_backward(name: str, options: dict[str, Any]) -> None:
    """Logits and gradients of all that learns lie on the device: in float32 and under autocast in bfloat16, attention
    explicit and fused, on the training grid and on others, carried in every way."""
    network = shallow(name, options)
    if name == "resnet":
        network = network.to(memory_format=torch.channels_last)
    ways = models.carry_ways(name, options=options)
    forms = FORMS if any(isinstance(module, AttentionLayer) for module in network.modules()) else FORMS[::2]
    with fake_cuda():
        for side, way in [(SIDE, None), *((OTHER, way) for way in ways or (None,))]:
            there = on_fake_cuda(network).train()
            if way is not None:
                name_of_way, choices = models.parse_way(way)
                there.carry(name_of_way, **choices)
            for half, form in forms if side == SIDE else forms[-1:]:
                there.set_attention(form)
                with torch.autocast("cuda", torch.bfloat16, enabled=half):
                    logits = there(torch.empty(2, 3, side, side, device="cuda"))
                assert logits.device.type == "cuda" and logits.shape == (2, 10)
                logits.float().sum().backward()
                for parameter, value in there.named_parameters():
                    assert value.grad is None or value.grad.device == value.device, parameter
            assert any(value.grad is not None for value in there.parameters())


def test_a_constant_left_on_the_cpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the test above says nothing."""

    def add(self: Sincos2d, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        return tokens + self.framed(grid).to(tokens.dtype)

    monkeypatch.setattr(Sincos2d, "add", add)
    with fake_cuda(), pytest.raises(RuntimeError, match=r"cuda:0.*cpu"):
        on_fake_cuda(shallow("vit", {"position": "sincos_2d"}))(torch.empty(2, 3, SIDE, SIDE, device="cuda"))


@pytest.mark.parametrize("options", [{"position": "cpb", "class_token": True}, {"position": "learned_1d"}])
def test_gradients_without_the_engine(options: dict[str, Any]) -> None:
    """`backward` gives the bits of torch's own engine, resized tables included; twice over, they add up."""
    networks = [contract.randomise(shallow("vit", options)) for _ in range(2)]
    images = torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        networks[0](images).square().sum().backward()
        backward(networks[1](images).square().sum())
    for one, other in zip(*(network.parameters() for network in networks), strict=True):
        assert (one.grad is None) == (other.grad is None)
        assert one.grad is None or torch.equal(one.grad, other.grad)
