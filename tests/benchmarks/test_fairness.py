"""Each family beside its reference: initial weights as the library draws them, CCT as its authors wrote it, tables."""

from __future__ import annotations

import functools
import itertools
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import models
from benchmarks.data.catalogue import dataset
from benchmarks.errors import InductiveError
from benchmarks.fairness import references
from benchmarks.fairness.__main__ import fairness
from benchmarks.fairness.cells import Setting
from benchmarks.fairness.tables import difference, tables
from models.cct import CCT
from models.checks import contract
from models.network import Network

POSITIONAL = ("position", "pos_embed", "bias_table", "rel_pos", "directions", "pos_proj", "gat", "cpb")
SMALL = {"image_size": 32, "in_channels": 3, "num_classes": 10}


def flax_mixer(dims: Mapping[str, Any]) -> nn.Module:
    from timm.models._manipulate import named_apply
    from timm.models.mlp_mixer import _init_weights

    return named_apply(functools.partial(_init_weights, flax=True), module=references.timm_mixer(dims))


def timm_swin_v2(dims: Mapping[str, Any]) -> nn.Module:
    from timm.models.swin_transformer_v2 import SwinTransformerV2

    return SwinTransformerV2(
        img_size=32,
        patch_size=dims["patch_size"],
        num_classes=10,
        embed_dim=dims["width"],
        depths=(2, 6, 2),
        num_heads=(2, 4, 8),
        window_size=dims["window"],
        drop_path_rate=0.0,
    )


def fb_resnet(dims: Mapping[str, Any]) -> nn.Module:
    """torchvision's rule is that of fb.resnet.torch, which sets the classifier's biases to 0."""
    network: Any = references.torchvision_resnet(dims)
    nn.init.zeros_(network[-1].bias)
    return network


def timm_class_token(dims: Mapping[str, Any]) -> nn.Module:
    return references.timm_vit(dims, class_token=True, global_pool="token")


def plain_convit(dims: Mapping[str, Any]) -> nn.Module:
    return references.timm_convit(dims, use_pos_embed=False, qkv_bias=True)


def redrawn(family: str, **options: Any) -> Callable[[Mapping[str, Any]], nn.Module]:
    """Our network, its linear maps and convolutions drawn by torch."""

    def build(dims: Mapping[str, Any]) -> nn.Module:
        network = ours(family, "library", **options)
        for module in network.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.reset_parameters()
        return network

    return build


def pycls_conv_stem(dims: Mapping[str, Any]) -> nn.Module:
    """Our network, drawn by torch as `init_weights_vit` of facebookresearch/pycls (models/vit.py) has it."""
    network = ours("conv_stem_vit", "literature")
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()
        if isinstance(module, nn.Conv2d) and module.bias is not None:  # the last of the stem
            nn.init.normal_(module.weight, std=math.sqrt(2 / module.out_channels))
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
            if name.endswith("out"):
                nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            elif name == "head":
                nn.init.zeros_(module.weight)
            else:
                nn.init.xavier_uniform_(module.weight)
            if "mlp" in name:
                nn.init.normal_(module.bias, std=1e-6)
    return network


def ours(family: str, initial: str, **options: Any) -> Network:
    return models.create_model(family, size="micro", seed=1, initial=initial, **SMALL, **options)  # type: ignore[arg-type]


CASES: list[tuple[str, str, Callable[[Mapping[str, Any]], nn.Module], dict[str, Any]]] = [
    ("resnet", "library", references.torchvision_resnet, {"stages": "2-2-2", "total_stride": 4}),
    ("resnet", "literature", fb_resnet, {"stages": "2-2-2", "total_stride": 4}),
    ("vit", "library", references.timm_vit, {"position": "learned_1d"}),
    ("vit", "library", timm_class_token, {"position": "learned_1d", "class_token": True}),
    ("vit", "literature", references.jax_vit, {"position": "learned_1d"}),
    ("swin", "library", references.timm_swin, {}),
    ("swin_v2", "library", timm_swin_v2, {}),
    ("convnext", "library", references.timm_convnext, {"stages": "2-2-2-2", "patch_size": 1}),
    ("convit", "library", plain_convit, {"class_token": True}),
    ("coatnet", "library", references.timm_coatnet, {"strides": "2-2-2-2-2"}),
    ("mixer", "library", references.timm_mixer, {}),
    ("mixer", "literature", flax_mixer, {}),
    ("cct", "library", references.DescribedCCT, {"position": "learned_1d"}),
    ("conv_stem_vit", "literature", pycls_conv_stem, {}),
    ("simple_cnn", "library", redrawn("simple_cnn"), {}),
    ("mlp", "library", redrawn("mlp"), {}),
    ("attention_mlp", "library", redrawn("attention_mlp"), {}),
]


def pools(network: nn.Module) -> dict[tuple[int, ...], np.ndarray]:
    """All values of parameters outside the positions, by shape, sorted. A 1x1 convolution counts as the linear map
    that it is; biases of a single number, which shift all scores alike, are left out."""
    found: dict[tuple[int, ...], list[np.ndarray]] = {}
    for name, parameter in network.named_parameters():
        shape = tuple(parameter.shape)
        shape = shape[:2] if shape[2:] == (1, 1) else shape
        if not any(word in name for word in POSITIONAL) and math.prod(shape) > 1:
            shape = tuple(side for side in shape if side != 1)
            found.setdefault(shape, []).append(parameter.detach().double().numpy().ravel())
    return {shape: np.sort(np.concatenate(values)) for shape, values in found.items()}


def misfit(network: nn.Module, reference: nn.Module) -> float:
    """The largest distance of two distribution functions over all shapes, in units of what chance explains in 1 of
    1,000 comparisons (Kolmogorov and Smirnov)."""
    mine, theirs = pools(network), pools(reference)
    assert mine.keys() == theirs.keys(), sorted(mine.keys() ^ theirs.keys())
    worst = 0.0
    for shape, values in mine.items():
        others = theirs[shape]
        points = np.concatenate([values, others])
        apart = np.abs(
            np.searchsorted(values, points, "right") / len(values)
            - np.searchsorted(others, points, "right") / len(others)
        ).max()
        worst = max(worst, apart / (1.95 * math.sqrt((len(values) + len(others)) / (len(values) * len(others)))))
    return worst


@pytest.mark.parametrize(("family", "initial", "reference", "options"), CASES)
def test_initial_weights_are_drawn_as_the_reference_draws_them(
    family: str, initial: str, reference: Callable[[Mapping[str, Any]], nn.Module], options: dict[str, Any]
) -> None:
    """Reference: freshly built networks of timm, of torchvision's rule, of torch's layers and of what CCT's authors
    describe, of the same widths: parameters of every shape have the same distribution, zeros and ones included."""
    network = ours(family, initial, **options)
    dims = models.resolve_options(family, size="micro", options=options)
    torch.manual_seed(0)
    assert misfit(network, reference({**dims, **SMALL})) < 1


def test_another_convention_is_noticed() -> None:
    """The comparison above fails for a ViT that starts by another source, and for a ResNet by the fan in."""
    dims = models.resolve_options("vit", size="micro", options={})
    torch.manual_seed(0)
    assert misfit(ours("vit", "literature"), references.timm_vit({**dims, **SMALL})) > 2
    options = {"stages": "2-2-2", "total_stride": 4}
    dims = models.resolve_options("resnet", size="micro", options=options)
    assert misfit(ours("resnet", "literature", **options), references.he_resnet({**dims, **SMALL})) > 2


def test_cct_is_its_authors() -> None:
    """Reference: `DescribedCCT`, written from the authors' code, with the weights of ours: float64 to 1e-10, without
    dropout; with it, the same share of probabilities is zero (0.1 by default)."""
    network = models.create_model("cct", size="nano", position="learned_1d", seed=1, **SMALL)  # type: ignore[arg-type]
    assert isinstance(network, CCT)
    contract.randomise(network.double()).eval()
    dims = models.resolve_options("cct", size="nano", options={})
    assert dims["attention_dropout"] == 0.1
    theirs = references.DescribedCCT({**dims, **SMALL}).double().eval()
    state = {name: parameter for name, parameter in network.named_parameters()}
    renamed = {"position.table": "positions", "weigh.weight": "importance.weight"}
    renamed |= {
        f"{part}.{kind}": f"{other}.{kind}"
        for part, other in (("norm", "norm"), ("head", "classifier"))
        for kind in ("weight", "bias")
    }
    for layer in (0, 3):
        renamed[f"embed.{layer}.weight"] = f"tokeniser.{layer}.weight"
    for block in range(int(dims["depth"])):
        pairs = (
            ("norm1", "before"),
            ("norm2", "between"),
            ("attention.out", "out"),
            ("mlp.up", "mlp.0"),
            ("mlp.down", "mlp.2"),
        )
        for part, other in pairs:
            renamed |= {
                f"blocks.{block}.{part}.{kind}": f"blocks.{block}.{other}.{kind}" for kind in ("weight", "bias")
            }
        renamed[f"blocks.{block}.attention.qkv.weight"] = f"blocks.{block}.queries_keys_values.weight"
    assert renamed.keys() == state.keys()
    left = theirs.load_state_dict({renamed[name]: value for name, value in state.items()}, strict=False)
    assert left.missing_keys == ["importance.bias"] and not left.unexpected_keys
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(network(x), theirs(x), atol=1e-10, rtol=1e-10)
    network.train()
    _, parts = network.forward_parts(x)
    assert (parts["attention.0"] == 0).double().mean().item() == pytest.approx(0.1, abs=0.02)


def test_differences_are_students() -> None:
    """Reference: 1, 2 and 6 points by hand: mean 3, half width 4.303 x 2.6458 / sqrt(3) = 6.57."""
    ours = {seed: {"test_accuracy": 0.5 + points / 100} for seed, points in enumerate((1, 2, 6))}
    theirs = {seed: {"test_accuracy": 0.5} for seed in range(4)}
    assert difference(ours, theirs) == "+3.0 [-3.6, +9.6]"
    assert difference({0: ours[0]}, theirs) == "+1.0 (one seed)" and difference(ours, {9: theirs[0]}) == "-"


def test_tables_of_what_is_there() -> None:
    """A family whose reference is missing has no line; others have theirs."""
    rows = [
        {
            "family": family,
            "network": name,
            "steps": steps,
            "rate": 1e-3,
            "seed": seed,
            "test_accuracy": 0.4 + seed / 100,
            "train_accuracy": 0.6,
        }
        for family, name, steps in (
            ("resnet", "ours library", 400),
            ("resnet", "torchvision", 400),
            ("swin", "timm", 200),
        )
        for seed in (0, 1)
    ]
    found = tables(rows, Setting(dataset("digits"), "pico", 8, 100, 50, 16, quick=False))
    lines = [line for line in found["references"].splitlines() if line.startswith("| `")]
    assert lines == ["| `resnet` | torchvision | 400 | 40.5 (60.0) | 40.5 (60.0) | +0.0 [+0.0, +0.0] |  |"]
    assert found["ways"].splitlines()[2:] == ["| `resnet` | 400 | 0.001 | 40.5 (60.0) | - | - | - |"]


def test_the_command_trains_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digits, two steps a training: a stop keeps what is done, the next call does the rest, none is done twice, the
    tables go into the document, and another setting is refused."""
    kept, document = tmp_path / "fairness.json", tmp_path / "fairness.md"
    document.write_text(
        "".join(f"<!-- fairness:{name} -->\n<!-- /fairness:{name} -->\n" for name in ("references", "ways"))
    )
    call = ["--quick", "--size", "pico", "--train-size", "64", "--test-images", "50", "--seeds", "2", "--only", "mixer"]
    call += ["--json", str(kept), "--data", str(tmp_path)]

    def rows(*more: str) -> int:
        done = CliRunner().invoke(fairness, [*call, *more], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return len(json.loads(kept.read_text())["rows"])

    seconds = SimpleNamespace(monotonic=itertools.count().__next__, perf_counter=time.perf_counter)  # a look takes one
    monkeypatch.setattr("benchmarks.fairness.__main__.time", seconds)
    assert rows("--minutes", "0.05") == 3
    assert rows() == 6
    before = kept.read_bytes()
    assert rows("--write", str(document)) == 6 and kept.read_bytes() == before
    assert "| `mixer` | timm | 400 |" in document.read_text()
    with pytest.raises(InductiveError, match="holds trainings of another setting"):
        rows("--batch", "7")
