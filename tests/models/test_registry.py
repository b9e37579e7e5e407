"""Names, options, sizes and refusals, all without torch."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

import models
from models.grids import halvings, nearest_multiples, patch_grid
from models.libraries import adapter
from models.options import Option, numbers, parse_way
from models.positions.encodings import CARRYING, ENCODINGS


def test_importing_models_loads_no_torch() -> None:
    """In a fresh interpreter: planning an id, checking and refusing load neither torch nor timm nor numpy."""
    program = """
import sys, models
models.resolve_options("vit", size="tiny", options={"position": "rope_axial", "scale": 224})
models.check_resolution("swin", size="nano", options={}, resolution=48, train_resolution=32)
models.carry_ways("vit", options={"position": "cpb"}), models.sources("resnet", options={})
print(sorted({"torch", "timm", "numpy", "torchvision"} & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def refusal(**options: Any) -> str:
    with pytest.raises(models.ModelError) as caught:
        models.resolve_options("vit", size=options.pop("size", "nano"), options=options)
    return str(caught.value)


def test_refusals_name_what_is_allowed_and_the_nearest() -> None:
    """Unknown names, options, values, types and contradictions."""
    with pytest.raises(models.ModelError, match=r"no model 'resnett'; allowed: vit, .*; did you mean `resnet`"):
        models.family("resnett")
    assert "no option `positon`; allowed: attention_window, class_token" in refusal(positon="none")
    assert refusal(positon="none").endswith("; did you mean `position`?")
    assert refusal(position="rope_axal").endswith("lookhere; did you mean `rope_axial`?")
    assert "belongs to position rope_axial and rope_mixed, and position is none" in refusal(
        position="none", rope_base=3.0
    )
    assert "no size 'nanoo'" in refusal(size="nanoo") and "did you mean `nano`" in refusal(size="nanoo")
    assert "option `depth` is True, not of type int" in refusal(depth=True)
    assert "option `drop_path` is 1.5; allowed: 0.0 to 0.9" in refusal(drop_path=1.5)
    assert "option `drop_path` is '0.1', not of type float" in refusal(drop_path="0.1")
    assert "option `drop_path` is nan, not a finite number" in refusal(drop_path=float("nan"))
    assert "option `mlp_ratio` is inf, not a finite number" in refusal(mlp_ratio=float("inf"))
    assert "option `depth` is 0; allowed: at least 1" in refusal(depth=0)
    assert "option `scale` is 33; allowed: 8, 32, 64, 224" in refusal(scale=33)
    assert "width 64 is not divisible by 5 heads" in refusal(heads=5)
    assert "head width divisible by 4, not 64 / 32 = 2" in refusal(position="rope_mixed", heads=32)
    assert "lookhere needs heads divisible by 4, not 2" in refusal(position="lookhere", heads=2)
    assert "12, 20" in refusal(position="lookhere", lookhere_fov=45)
    assert "even width" in refusal(position="learned_2d", width=63, heads=3)
    assert "no size 'pico' at scale 224" in refusal(size="pico", scale=224)
    with pytest.raises(models.ModelError, match="expected something like '2-2-2'"):
        models.resolve_options("swin", size="nano", options={"stages": "2,2"})
    with pytest.raises(models.ModelError, match="differ in length"):
        models.resolve_options("conv_stem_vit", size="nano", options={"stem_strides": "2-2-1"})
    with pytest.raises(models.ModelError, match="num_classes 0"):
        models.create_model("vit", image_size=32, in_channels=3, num_classes=0)
    with pytest.raises(models.ModelError, match="resolution 0 is no positive"):
        models.check_resolution("resnet", size="nano", options={}, resolution=0, train_resolution=32)
    with pytest.raises(models.ModelError, match="model swin: image 31 is not divisible by patch 2: nearest 30, 32"):
        models.check_resolution("swin", size="nano", options={}, resolution=31, train_resolution=32)


def test_options_are_resolved_completely() -> None:
    """Every option is there, sorted, in its own type; an explicit default equals an omitted one."""
    resolved = models.resolve_options("vit", size="nano", options={"position": "rope_axial", "mlp_ratio": 4})
    assert list(resolved) == sorted(resolved)
    assert resolved == models.resolve_options("vit", size="nano", options={**resolved})
    assert type(resolved["mlp_ratio"]) is float
    assert (resolved["patch_size"], resolved["width"], resolved["rope_base"]) == (4, 64, 100.0)
    assert "relative_clip" not in resolved
    for name in models.model_names():
        declared = {option.name for option in models.family(name).options}
        assert declared <= set(models.resolve_options(name, size=models.default_size(name), options={}))


def test_patches_follow_the_scale() -> None:
    """2 px at scale 8, 4 at 32, 8 at 64, 16 at 224, whatever the training resolution."""
    for scale, patch in ((8, 2), (32, 4), (64, 8), (224, 16)):
        assert models.resolve_options("vit", size="nano", options={"scale": scale})["patch_size"] == patch


def test_ways_and_sources() -> None:
    """What can be carried, by family and encoding; what code a model is made of."""
    assert models.carry_ways("resnet", options={}) == ()
    assert models.carry_ways("vit", options={"position": "none"}) == ()
    assert models.carry_ways("vit", options={"position": "bias_2d"}) == ("interpolate", "clip")
    assert models.carry_ways("vit", options={"position": "rope_axial", "rope_coordinates": "unit"}) == ("recompute",)
    assert models.carry_ways("swin", options={}) == ("keep_window", "grow_window")
    assert models.sources("vit", options={"position": "cpb"}) == (
        "models.vit:ViT",
        "models.positions.biases:ContinuousBias",
        "models.initial:initialise",
    )


TIERED = [name for name in models.model_names() if not models.family(name).tiers]


def test_what_has_sizes_of_its_own() -> None:
    """What was published in one size has that alone, and refuses the tiers by name."""
    assert set(models.model_names()) - set(TIERED) == {"course_vit", "airbench"}
    assert models.default_size("course_vit") == "course"
    with pytest.raises(models.ModelError, match="model course_vit: no size 'nano'; allowed: course"):
        models.resolve_options("course_vit", size="nano", options={})


def backbone(name: str, size: str, scale: int) -> int:
    import torch

    with torch.device("meta"):
        network = models.create_model(name, image_size=scale, in_channels=3, num_classes=10, size=size, scale=scale)
    return network.parameters_by_part()["backbone"]


def has(name: str, size: str, scale: int) -> bool:
    """Whether a family has a tier at a scale; `pico` is for small images, and some grow with the image."""
    grows = name in ("mlp", "locally_connected", "attention_mlp")
    if size == "pico" and (scale > 32 or (grows and scale > 8)):
        return False
    return not grows or scale <= 32 or (scale == 64 and size in ("tiny", "small", "base"))


@pytest.mark.parametrize("scale", models.SCALES)
@pytest.mark.parametrize("name", TIERED)
def test_a_family_refuses_the_tiers_it_cannot_have(name: str, scale: int) -> None:
    """At scales 8 and 32 every family has `nano`; what is missing is refused by name."""
    assert has(name, "nano", 8) and has(name, "nano", 32)
    for size in models.TIERS:
        if has(name, size, scale):
            models.resolve_options(name, size=size, options={"scale": scale})
        else:
            with pytest.raises(models.ModelError, match=f"{name}: no size '{size}' at scale {scale}"):
                models.resolve_options(name, size=size, options={"scale": scale})


@pytest.mark.parametrize("scale", models.SCALES)
def test_every_family_matches_the_tiers_vit(scale: int) -> None:
    """Within 10 % of the tier's ViT at the same reference scale, counted on the meta device."""
    for size in (size for size in models.TIERS if has("vit", size, scale)):
        reference = backbone("vit", size, scale)
        for name in TIERED:
            if has(name, size, scale):
                assert backbone(name, size, scale) == pytest.approx(reference, rel=0.10), (name, size, scale)


def test_tiers_are_what_they_are_called() -> None:
    """0.25 M, 0.8 M, 5 M, 22 M and 86 M at scale 32, within 7 %."""
    for size, millions in (("nano", 0.25), ("micro", 0.8), ("tiny", 5), ("small", 22), ("base", 86)):
        assert backbone("vit", size, 32) / 1e6 == pytest.approx(millions, rel=0.07)


def test_grids() -> None:
    """Arithmetic of patches and strides."""
    assert patch_grid(32, 24, 4) == (8, 6)
    assert nearest_multiples(30, 4) == "28, 32" and nearest_multiples(3, 4) == "4"
    assert [halvings(n, 2) for n in (4, 6, 8, 12, 15)] == [1, 2, 2, 3, 4]
    assert numbers("3-4-6-3") == (3, 4, 6, 3)


def test_hints() -> None:
    assert models.did_you_mean("positon", ["patch", "position"]) == "; did you mean `position`?"
    assert models.did_you_mean("colour", ["patch", "position"]) == ""


def test_bounds_in_words() -> None:
    assert Option("x", int, 0, "", maximum=3).bounds() == "at most 3"


@pytest.mark.parametrize("name", [name for name in models.model_names() if models.family(name).resizes_input])
def test_a_fixed_grid_keeps_its_tier(name: str) -> None:
    """Weights that grow with the training image may not outgrow the tier: at twice the scale it is refused."""
    with pytest.raises(
        models.ModelError, match=rf"model {name}: weights grow .* 64 px outgrow scale 32; nearest scale 64"
    ):
        models.check_resolution(name, size="tiny", options={"scale": 32}, resolution=64, train_resolution=64)
    models.check_resolution(name, size="tiny", options={"scale": 32}, resolution=64, train_resolution=32)


def test_mlp_has_no_nano_at_224() -> None:
    """By scale and by training resolution alike."""
    for options in ({}, {"scale": 224}):
        with pytest.raises(models.ModelError, match=r"outgrow scale 32; nearest scale 224|no size 'nano' at scale 224"):
            models.create_model("mlp", image_size=224, in_channels=3, num_classes=10, size="nano", **options)


def test_odd_maps_that_are_filled_are_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference: of ConvNeXt whether it calls torch's `pad`, of Swin the grids of its stages; a ViT fills nothing."""
    options = {"patch_size": 2, "stages": "1-1-1"}
    filled, pad = [], torch.nn.functional.pad
    monkeypatch.setattr(torch.nn.functional, "pad", lambda x, *rest: filled.append(x) or pad(x, *rest))
    shape = {"image_size": 16, "in_channels": 1, "num_classes": 10, "size": "pico"}
    convnext, swin = (models.create_model(name, **shape, **options) for name in ("convnext", "swin"))
    for side in (8, 12, 14, 16, 20, 24, 32):
        filled.clear()
        convnext(torch.zeros(1, 1, side, side))
        assert models.fills_maps("convnext", size="pico", options=options, resolution=side) == bool(filled), side
        odd = any(rows % 2 for rows, _ in swin.stage_grids(side, side, 3)[:-1])
        assert models.fills_maps("swin", size="pico", options=options, resolution=side) == odd, side
        assert not models.fills_maps("vit", size="pico", options={}, resolution=side)


@pytest.mark.parametrize("seed", [True, 1.5, "a", -1, 2**64])
def test_seeds_are_whole_numbers(seed: Any) -> None:
    """A seed of another kind would silently give other weights than the number it looks like."""
    with pytest.raises(models.ModelError, match="no whole number from 0"):
        models.create_model("vit", image_size=8, in_channels=1, num_classes=10, size="pico", scale=8, seed=seed)


def test_refusals_between_options_name_the_model() -> None:
    """Options that contradict each other, or have no effect beside another."""
    with pytest.raises(models.ModelError, match=r"^model vit: width 63 is not divisible by 4 heads"):
        models.resolve_options("vit", size="pico", options={"width": 63})
    with pytest.raises(models.ModelError, match=r"^model cct: stem_width 15 has no effect: the only convolution"):
        models.resolve_options("cct", size="pico", options={"scale": 8, "stem_width": 15})


@pytest.mark.parametrize(
    ("name", "way", "choices", "said"),
    [
        ("swin", "grow_window", {"bias": "normalise"}, "Swin carried by 'grow_window' takes no `bias`; allowed: none"),
        ("convit", "recompute", {"x": 1.0}, "convit carried by 'recompute' takes no `x`; allowed: none"),
        ("swin_v2", "grow", {"bias": "normalise"}, r"cannot be carried by 'grow'; .*did you mean `grow_window`"),
        ("swin_v2", "grow_window", {"bias": "normalize"}, "allowed: recompute, normalise; did you mean `normalise`"),
    ],
)
def test_ways_are_refused_for_what_is_wrong_with_them(name: str, way: str, choices: Any, said: str) -> None:
    """The way, the name of the choice, or its value."""
    network = models.create_model(name, image_size=8, in_channels=1, num_classes=10, size="pico", scale=8)
    with pytest.raises(models.ModelError, match=said):
        network.carry(way, **choices)


@pytest.mark.parametrize("factor", [float("inf"), float("nan"), True, 0.0, -1.0, "two"])
def test_numbers_of_ways_are_finite(factor: Any) -> None:
    """An infinite slope would give NaN."""
    network = models.create_model(
        "vit", image_size=8, in_channels=1, num_classes=10, size="pico", scale=8, position="alibi_2d"
    )  # fmt: skip
    with pytest.raises(models.ModelError, match="allowed: a finite number above 0"):
        network.carry("rescale", factor=factor)


def test_images_that_are_none() -> None:
    """Integers, and no pixel at all."""
    network = models.create_model("resnet", image_size=8, in_channels=3, num_classes=10, size="pico", scale=8)
    for images in (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2, 3, 0, 0)):
        with pytest.raises(models.ModelError, match="are not floats, or none at all"):
            network(images)


def test_every_way_of_carrying_positions_is_explained() -> None:
    """Reference: the ways that encodings, families and the adapters of libraries declare."""
    declared = [way for one in ENCODINGS.values() for way in one.ways]
    declared += [way for name in models.model_names() for way in models.family(name).ways]
    assert {parse_way(way)[0] for way in declared} | {*adapter.CARRYING} == set(CARRYING)
