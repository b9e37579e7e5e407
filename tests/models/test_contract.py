"""The contract of `models.network`, held by every registered model and encoding; a new one is tested by being there.

The checks themselves are `models.checks.contract`, which `inductive check` puts a user's own models to.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import models
from models.catalogue.ladder import MIXERS
from models.checks import contract
from models.checks.contract import CHECKS, Subject
from models.positions.absolute import Learned1d

SCALE = 8
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "vit": [
        {"position": "relative_2d", "relative_values": True, "relative_clip": 2, "class_token": True},
        {"position": "rope_axial", "rope_coordinates": "unit"},
        {"position": "lookhere", "lookhere_fov": 90},
        {"position": "learned_1d", "layer_scale": 0.1, "drop_path": 0.2},
        {"position": "relative_1d", "attention_window": 1, "class_token": True},
        {"position": "learned_1d", "registers": 4},
        {"position": "pape", "registers": 4, "attention_window": 1, "class_token": True},
    ],
    "conv_attention": [{"position": "rope_axial"}, {"position": "bias_2d", "drop_path": 0.2}],
    "conv_stem_vit": [{"position": "bias_2d", "registers": 4}],
    "resnet_vit": [{"position": "relative_2d", "class_token": True, "norm": "group", "registers": 4}],
    "convit": [{"class_token": True}, {"heads": 6, "local_blocks": 1, "drop_path": 0.2, "layer_scale": 0.1}],
    "attention_mlp": [{"widths": "12-8-6"}],
    "course_vit": [{"dropout": 0.0}],
    "ladder": [
        {"mixer": "identity"},
        {"mixer": "pool", "kernel": 5, "padding": "circular"},
        {"mixer": "depthwise_conv", "kernels": 4, "kernel": 5, "drop_path": 0.2},
        {"mixer": "depthwise_conv", "kernel": 7, "padding": "circular"},
        {"mixer": "gated_conv"},
        {"mixer": "gated_conv", "kernel": 7, "padding": "circular"},
        {"mixer": "local_attention", "attention_window": 2},
        {"mixer": "window_attention", "window": 3},
        {"mixer": "locally_connected", "padding": "circular"},
        {"mixer": "token_mlp"},
        {"mixer": "ssd"},
        {"mixer": "ssd", "scan": "reversed", "position": "none"},
    ],
    "locally_connected": [{"norm": "group", "padding": "circular"}],
    "simple_cnn": [{"padding": "circular"}],
    "airbench": [{"whitening": False, "identity": False, "bias_rate": 1.0}],
    "resnet": [
        {"norm": "group", "drop_path": 0.2},
        {"norm": "layer", "padding": "circular"},
        {"stem": "imagenet", "total_stride": 16},
        {"stem": "half"},
        {"block": "bottleneck", "width": 8, "padding": "circular"},
    ],
    "convnext": [
        {"kernel": 3, "padding": "circular", "layer_scale": 0.0, "drop_path": 0.2},
        {"norm": "batch", "padding": "circular"},
        {"norm": "group"},
    ],
    "swin": [{"patch_size": 1, "window": 4, "drop_path": 0.2}],
    "swin_v2": [{"patch_size": 1, "window": 4, "drop_path": 0.2}],
    "coatnet": [
        {"stages": "1-2-1", "strides": "1-1-2-1", "conv_stages": 1, "norm": "group", "drop_path": 0.2},
        {"stages": "1-1", "strides": "2-1-1", "conv_stages": 1, "norm": "layer"},
    ],
}


# Layers that learn nothing, and why.
SILENT = {
    "attention_mlp": tuple(f"{layer}.{kind}" for layer in ("query", "key") for kind in ("weight", "bias")),
}  # a softmax over one token is 1, whatever they say
POSITIONS_OF_ALL = ("learned_1d", "none")
OWN: dict[str, dict[str, Any]] = {  # families with sizes of their own, made small
    "course_vit": {"patch_size": 2},
    "airbench": {"widths": "8-16"},
}


def positions_of(name: str) -> tuple[Any, ...]:
    """The encodings that a family can have."""
    return next((option.allowed or () for option in models.family(name).options if option.name == "position"), ())


def cases() -> list[Any]:
    found = []
    for name in models.model_names():
        options: list[dict[str, Any]] = [{}]
        if positions_of(name):
            few = name in ("ladder", "conv_attention", "resnet_vit")  # by the ViT's own code
            options = [{"position": position} for position in (POSITIONS_OF_ALL if few else positions_of(name))]
            if name == "vit":
                options += [{"position": position, "class_token": True} for position in models.position_names()]
        for chosen in options + VARIANTS.get(name, []):
            label = "-".join([name, *(f"{k}={v}" if k != "position" else str(v) for k, v in chosen.items() if v)])
            found.append(pytest.param(subject(name, chosen), id=label))
    return found


def subject(name: str, options: dict[str, Any]) -> Subject:
    if name in OWN:
        return Subject(name, {**OWN[name], **options}, size=models.default_size(name))
    return Subject(name, {"scale": SCALE, **options}, silent=SILENT.get(name, ()))


@pytest.mark.parametrize("subject", cases())
@pytest.mark.parametrize("check", CHECKS)
def test_contract(check: str, subject: Subject) -> None:
    """Every shipped model passes every check; references are in the checks' docstrings."""
    CHECKS[check](subject)


@pytest.mark.parametrize("name", [name for name in models.model_names() if positions_of(name)])
def test_encodings_share_all_other_weights(name: str) -> None:
    """At the same seed, every parameter outside the encoding is the same bit for bit, whatever the encoding."""
    networks = [subject(name, {"position": position}).build() for position in positions_of(name)]
    assert len({contract.weights_outside_position(network) for network in networks}) == 1


# What norms tokens B N D (Swin's are B H W D, `course_vit` has N B D as published).
TOKENS = ("vit", "conv_stem_vit", "cct", "mixer", "convit", "conv_attention", "resnet_vit", "coatnet", "ladder")


@pytest.mark.parametrize("subject", [case for case in cases() if case.values[0].name in TOKENS])
def test_norms_copy_no_tokens(subject: Subject) -> None:
    """Every layer norm is given tokens one after the other in memory: torch's copies others, forwards and backwards."""
    network, lying = subject.build(), []
    if models.family(subject.name).layout == "channels_last":
        network = network.to(memory_format=torch.channels_last)
    for module in network.modules():
        if type(module) is nn.LayerNorm:
            module.register_forward_pre_hook(lambda _, inputs: lying.append(inputs[0].is_contiguous()))
    network(torch.zeros(2, network.in_channels, subject.image_size, subject.image_size))
    assert lying and all(lying)


SHALLOW: dict[str, dict[str, Any]] = {  # as few layers as show every path, for they are compiled one by one
    "vit": {"depth": 1, "attention_window": 1, "class_token": True},
    "swin": {"stages": "2-1"},
    "swin_v2": {"stages": "2-1"},
    "coatnet": {"stages": "1-1-1-1"},
    "resnet": {"stages": "1-1-1"},
    "convnext": {"stages": "1-1-1"},
    **{name: {"depth": 2} for name in ("convit", "cct", "conv_stem_vit")},
    **{name: {"depth": 1} for name in ("ladder", "mixer", "conv_attention")},
}
OTHER_MIXERS = [mixer for mixer in MIXERS if mixer not in ("attention", "identity")]
COMPILED = [
    *((name, SHALLOW.get(name, {})) for name in models.model_names()),
    *(("vit", {"position": position, "depth": 1}) for position in models.position_names()),
    *(("ladder", {"mixer": mixer, "depth": 1 + (mixer == "window_attention")}) for mixer in OTHER_MIXERS),
]


@pytest.mark.parametrize(("name", "options"), COMPILED)
def test_compiled(name: str, options: dict[str, Any]) -> None:
    """`torch.compile` (ahead-of-time autograd, eager kernels) gives the same logits, also at a second resolution."""
    contract.compiled(subject(name, options))


def test_what_cannot_be_compiled_whole_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoding that branches on a number, which `--compile network` refuses. Reference: torch, with `fullgraph`."""
    real = Learned1d.add

    def branching(self: Learned1d, tokens: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        return real(self, tokens, grid) if float(self.table.detach().sum()) > -1e9 else tokens

    monkeypatch.setattr(Learned1d, "add", branching)
    with pytest.raises(torch._dynamo.exc.TorchDynamoException):
        contract.compiled(subject("vit", {"position": "learned_1d", "depth": 1}))
