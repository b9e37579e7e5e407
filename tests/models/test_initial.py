"""Initial weights: golden digests, distributions, and rules that every layer states."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import pytest
import torch
from torch import nn

import models
from models.initial import initialise, keyed_generator, normal, uniform, xavier

GOLDEN = {
    "vit": "fe7a1ffd681e2557",
    "conv_stem_vit": "b34d54f5325a3f43",
    "cct": "1745a5f56a70bb52",
    "resnet": "6eca0a420628534f",
    "convnext": "f8041f504ff6a047",
    "simple_cnn": "75db914a24f02a64",
    "swin": "9011799edde70429",
    "swin_v2": "e6aae472a810e1b6",
    "mixer": "4f4de40fa940fa92",
    "mlp": "841379bff62cff0e",
    "iso_attention": "fe7a1ffd681e2557",
    "iso_window": "35360154800742bc",
    "iso_conv": "7fac0d0d358a67bc",
    "iso_local": "94f65872880e7876",
    "iso_pool": "022ea43259c6bc06",
    "iso_mlp": "e1f27dbbf3ee16c1",
    "locally_connected": "4bcf9e42d581d811",
    "convit": "46b3169b1fd46d3e",
    "conv_attention": "f90283ad8199dee8",
    "resnet_vit": "45c1b7ad85c3861b",
    "coatnet": "4181dce556370f6a",
    "attention_mlp": "fba61557bda2003a",
    "course_vit": "e27dad9c8744714c",
}
GOLDEN_POSITIONS = {
    "none": "e3b0c44298fc1c14",
    "learned_1d": "4c58178f6c9d0b36",
    "learned_2d": "3dd0eb3c0fc0f68f",
    "sincos_1d": "e3b0c44298fc1c14",
    "sincos_2d": "e3b0c44298fc1c14",
    "sincos_2d_sum": "e3b0c44298fc1c14",
    "fourier": "592f4a759fa0cd1b",
    "relative_1d": "192eaf2c46d7ca0a",
    "relative_2d": "859111ffe7a05042",
    "bias_2d": "1f1dfdedbbe7065d",
    "cpb": "1e15382305451c47",
    "alibi_2d": "e3b0c44298fc1c14",
    "rope_axial": "e3b0c44298fc1c14",
    "rope_mixed": "a94491ed48a80bef",
    "conditional": "14aaa59af2bf6eba",
    "lookhere": "e3b0c44298fc1c14",
}


def digest(name: str, prefix: str = "", **options: Any) -> str:
    """SHA-256 over names and values of initial weights, rounded to 5 digits (beyond any platform's last bit)."""
    family = models.family(name)
    usual = {"scale": 8} if "pico" in family.sizes else {"patch_size": 2}  # of a size of its own
    size = "pico" if "pico" in family.sizes else models.default_size(name)
    network = models.create_model(
        name, image_size=8, in_channels=1, num_classes=10, size=size, seed=3, **{**usual, **options}
    )
    total = hashlib.sha256()
    for key, value in network.state_dict().items():
        if key.startswith(prefix) and value.is_floating_point():
            rounded = (value.double() * 1e5).round().to(torch.int64)
            total.update(key.encode() + rounded.numpy().astype("<i8").tobytes())
    return total.hexdigest()[:16]


@pytest.mark.parametrize("name", models.model_names())
def test_golden_weights(name: str) -> None:
    """The weights of seed 3 are those on record: a change here changes every result, and is made on purpose only."""
    assert digest(name) == GOLDEN[name]


@pytest.mark.parametrize("position", models.position_names())
def test_golden_positions(position: str) -> None:
    """The same for the encodings' own parameters (those without any share the digest of nothing)."""
    assert digest("vit", "position.", position=position, class_token=True) == GOLDEN_POSITIONS[position]


def test_distributions() -> None:
    """Moments of 100,000 draws against the textbook's."""
    shape = (100_000,)
    gaussian = normal(0.02)(shape, keyed_generator(0, "a"))
    assert gaussian.mean().abs().item() < 3 * 0.02 / math.sqrt(1e5)
    assert gaussian.std().item() == pytest.approx(0.02, rel=0.01)
    assert (gaussian.abs() < 0.02).double().mean().item() == pytest.approx(0.6827, abs=0.005)
    flat = uniform(0.5)(shape, keyed_generator(0, "a"))
    assert flat.abs().max().item() <= 0.5 and flat.std().item() == pytest.approx(1 / math.sqrt(12), rel=0.01)
    assert xavier(48, 96)(shape, keyed_generator(0, "a")).var().item() == pytest.approx(2 / 144, rel=0.02)


def test_keys_separate_streams() -> None:
    """Seed and name both matter; the same pair repeats."""
    draws = {(s, n): torch.rand(1, generator=keyed_generator(s, n)).item() for s in range(3) for n in ("a", "b")}
    assert len(set(draws.values())) == 6
    assert torch.rand(1, generator=keyed_generator(1, "b")).item() == draws[1, "b"]


def test_a_parameter_without_a_rule_is_refused() -> None:
    """No parameter keeps a value that the seed does not decide."""
    network = nn.Sequential(nn.Linear(2, 2), nn.PReLU())
    with pytest.raises(TypeError, match=r"PReLU at `1` states no initial value for \['weight'\]"):
        initialise(network, 0)


def test_more_depth_moves_no_other_weight() -> None:
    """The first blocks of a deeper network are those of the shallower one."""
    shallow, deep = (
        models.create_model("vit", image_size=8, in_channels=1, num_classes=10, size="pico", scale=8, depth=depth)
        for depth in (2, 5)
    )
    others = dict(deep.named_parameters())
    assert all(torch.equal(parameter, others[key]) for key, parameter in shallow.named_parameters())
