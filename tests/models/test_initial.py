"""Initial weights: golden digests, distributions, and rules that every layer states."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import pytest
import torch
from scipy import stats
from torch import nn

import models
from models.checks.contract import weights_outside_position
from models.initial import TORCH, initialise, keyed_generator, normal, truncated_normal, uniform, xavier
from models.network import Network

GOLDEN = {
    "vit": "7ebad92257b671ac",
    "conv_stem_vit": "76d0f81f41234a2b",
    "cct": "f342afb0c8c40fcf",
    "resnet": "51b72967bc12f572",
    "convnext": "47a091f8670c5eac",
    "simple_cnn": "21706b832c98acb4",
    "swin": "0e9bdc44c8024aba",
    "swin_v2": "c0062cba36dc9f0c",
    "mixer": "3b6cd5f2e819d79b",
    "mlp": "0deafd50e20dd2aa",
    "ladder": "a1140b512054702c",
    "locally_connected": "b5bb0cf0ccb5bbc2",
    "convit": "d8cdda88645c4bf1",
    "conv_attention": "c43c7156e4e13012",
    "resnet_vit": "f8f5e265f0516f91",
    "coatnet": "6c433f6ff124fe6d",
    "attention_mlp": "803fc2b12637db09",
    "course_vit": "5ee7d5fb1220cd8e",
    "airbench": "5d512d3ba8220c0e",
}
GOLDEN_LIBRARY = {  # where it is another one
    "vit": "8d8d0488ae3ba5f2",
    "conv_stem_vit": "022ef80e6e3bbc99",
    "resnet": "c8ef669674376251",
    "mixer": "21a6eb4104e6abd4",
    "ladder": "f97c4bcad8cbe53c",
    "locally_connected": "05245ad176ae8942",
    "conv_attention": "323891d27a38cc16",
    "resnet_vit": "367a74768b8fa41c",
}
GOLDEN_MIXERS = {
    "depthwise_conv": "67cee5380425383c",
    "gated_conv": "a20a362bc5373c75",
    "locally_connected": "f0de7fa76c700004",
    "token_mlp": "7470067b7b17e0ea",
    "ssd": "c96e379acebf351c",
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
    "fire": "445b09ffc20878f1",
    "pape": "00cff89501f890de",
    "alibi_2d": "e3b0c44298fc1c14",
    "rope_axial": "e3b0c44298fc1c14",
    "rope_mixed": "a94491ed48a80bef",
    "conditional": "14aaa59af2bf6eba",
    "lookhere": "e3b0c44298fc1c14",
}


def digest(name: str, prefix: str = "", **options: Any) -> str:
    """SHA-256 over names and values of initial weights, rounded to 5 digits (beyond any platform's last bit)."""
    family = models.family(name)
    own: dict[str, dict[str, Any]] = {"course_vit": {"patch_size": 2}, "airbench": {}}  # of sizes of their own
    usual = own.get(name, {"scale": 8})
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
    assert digest(name, initial="literature") == GOLDEN[name]


@pytest.mark.parametrize("name", models.model_names())
def test_golden_weights_of_the_library(name: str) -> None:
    """The same for weights that start as in the family's library, which is the default."""
    assert digest(name, initial="library") == digest(name) == GOLDEN_LIBRARY.get(name, GOLDEN[name])


@pytest.mark.parametrize(("mixer", "golden"), GOLDEN_MIXERS.items())
def test_golden_weights_of_mixers(mixer: str, golden: str) -> None:
    """The same for mixers that have weights which no other family has."""
    assert digest("ladder", mixer=mixer) == golden


@pytest.mark.parametrize("initial", models.INITIAL)
def test_weights_outside_the_encoding_are_the_same_for_all(initial: str) -> None:
    """However weights start, an encoding moves none but its own, bit for bit; another way to start gives others."""
    found = set()
    for position in models.position_names():
        network = models.create_model(
            "vit", image_size=8, in_channels=1, num_classes=10, size="pico", scale=8, initial=initial, position=position
        )
        found.add(weights_outside_position(network))
    assert len(found) == 1
    other = models.create_model(
        "vit", image_size=8, in_channels=1, num_classes=10, size="pico", scale=8, initial="torch"
    )
    assert (weights_outside_position(other) in found) == (initial == "torch")


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
    cut = truncated_normal(0.02)(shape, keyed_generator(0, "a"))
    whole = 0.02 / 0.8796  # scipy.stats.truncnorm(-2, 2).std() = 0.8796
    assert stats.kstest(cut.numpy(), stats.truncnorm(-2, 2, scale=whole).cdf).pvalue > 0.01
    assert cut.std().item() == pytest.approx(0.02, rel=0.01) and cut.abs().max().item() <= 2 * whole * 1.0001
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


def test_a_scheme_that_a_class_lacks_is_named() -> None:
    """A plugin's network may declare one of the two."""
    lacking = type("Lacking", (Network,), {"schemes": {"literature": TORCH}})
    assert lacking.scheme("torch") is lacking.scheme("literature") is TORCH
    with pytest.raises(models.ModelError, match=r"Lacking\.schemes has no 'library'; it has literature"):
        lacking.scheme("library")


def test_more_depth_moves_no_other_weight() -> None:
    """The first blocks of a deeper network are those of the shallower one."""
    shallow, deep = (
        models.create_model("vit", image_size=8, in_channels=1, num_classes=10, size="pico", scale=8, depth=depth)
        for depth in (2, 5)
    )
    others = dict(deep.named_parameters())
    assert all(torch.equal(parameter, others[key]) for key, parameter in shallow.named_parameters())
