"""Published ViT sizes against the figures printed for them, and the commands that count models."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

import models
from benchmarks.cli.main import cli
from models.catalogue.published import SIDES, VIT_SIZES
from models.checks.published_sizes import compute

# The published figures a second time, so that the table cannot be changed to suit: parameters (M), GFLOPs at 224, 384.
PRINTED = """
s/28 5.4 0.7 2.0
s/16 5.0 2.2 7.8
S/32 22 2.3 6.9
Ti/16 5.5 2.5 9.5
B/32 87 8.7 26.0
S/16 22 9.2 31.2
B/28 87 11.3 30.5
B/16 86 35.1 111.3
L/16 303 122.9 382.8
g/14 1011 533.1 1596.4
G/14 1843 965.3 2859.9
"""


@pytest.mark.parametrize("line", PRINTED.split("\n")[1:-1], ids=lambda line: line.split()[0])
def test_parameters_and_flops_are_the_published_ones(line: str) -> None:
    """Zhai et al. (2022), table 2: parameters to the printed digits, FLOPs to 3 %."""
    name, parameters, *gflops = line.split()
    found = compute(name)
    decimals = len(parameters.partition(".")[2])
    assert round(found.parameters / 1e6, decimals) == float(parameters)
    assert [flops / 1e9 for flops in found.flops] == pytest.approx([float(g) for g in gflops], rel=0.03)
    assert VIT_SIZES[name].parameters == parameters
    assert VIT_SIZES[name].gflops == tuple(map(float, gflops))


def test_base_16_is_torchvisions() -> None:
    """torchvision's vit_b_16, whose class token we leave out: the same number of parameters without it and its head."""
    import torch
    import torchvision

    with torch.device("meta"):
        theirs = torchvision.models.vit_b_16()
    others = sum(p.numel() for p in theirs.parameters()) - sum(p.numel() for p in theirs.heads.parameters())
    assert compute("B/16").parameters == others - 2 * 768  # the class token and its position


def test_published_sizes_are_sizes_of_vit_alone() -> None:
    """Own heads and patch at every scale; another family refuses them by name."""
    for scale in models.SCALES:
        options = models.resolve_options("vit", size="S/16", options={"scale": scale})
        assert (options["width"], options["heads"], options["patch_size"]) == (384, 6, 16)
    with pytest.raises(models.ModelError, match="conv_stem_vit: no size 'S/16'; allowed: pico"):
        models.resolve_options("conv_stem_vit", size="S/16", options={})
    with pytest.raises(models.ModelError, match="did you mean `L/16`"):
        models.resolve_options("vit", size="L/18", options={})


def listed(*arguments: str) -> Any:
    done = CliRunner().invoke(cli, ["list", *arguments])
    assert done.exit_code == 0, done.output
    return json.loads(done.output) if "--json" in arguments else done.output


def test_list_vit_sizes() -> None:
    """The eleven rows, once as values and once as a table."""
    rows = listed("vit-sizes", "--json")
    assert [row["name"] for row in rows] == list(VIT_SIZES)
    assert {f"flops_{side}" for side in SIDES} <= rows[0].keys()
    table = listed("vit-sizes")
    assert all(any(line.split()[:1] == [row["name"]] for line in table.splitlines()) for row in rows)


def test_list_models_by_size() -> None:
    """Every family at nano, counted as `describe` counts; what a family cannot have is left out with the reason."""
    rows = {row["name"]: row for row in listed("models", "--size", "nano", "--image-size", "32", "--json")}
    assert set(rows) == {name for name in models.model_names() if "nano" in models.family(name).sizes}
    assert set(models.model_names()) - set(rows) <= {"course_vit", "airbench"}  # one size, their own
    for name in ("vit", "resnet"):
        network = models.create_model(name, image_size=32, in_channels=3, num_classes=10, size="nano", scale=32)
        said = network.describe(32, 32)
        assert rows[name]["backbone"] == said.parameters["backbone"]
        assert (rows[name]["macs"], rows[name]["flops"]) == (said.macs, 2 * said.macs)
    assert "left out: model mlp: no size 'nano' at scale 224" in listed(
        "models", "--size", "nano", "--image-size", "224"
    ).replace("\n", " ")


def test_counting_is_refused_where_it_makes_no_sense() -> None:
    """A size that no family has, and options that belong to `list models`."""
    for arguments, message in (
        (["positions", "--size", "nano"], "belong to `list models`"),
        (["models", "--image-size", "32"], "needs --size"),
    ):
        done = CliRunner().invoke(cli, ["list", *arguments])
        assert done.exit_code == 2 and message in done.output
    done = CliRunner().invoke(cli, ["list", "models", "--size", "huge"])
    assert "no size 'huge'" in str(done.exception)
