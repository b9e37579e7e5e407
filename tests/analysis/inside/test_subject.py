"""What a network is shown: images of one's own, prepared as a ready-made network's library says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import models
from analysis.inside.preparation import preparation_of
from analysis.inside.subject import opened
from benchmarks.cli.look import look
from benchmarks.errors import ConfigError
from models.libraries.adapter import Adapted


def ready_made(name: str) -> Adapted:
    with torch.device("meta"):
        network = models.create_model(name, image_size=224, in_channels=3, num_classes=10)
    assert isinstance(network, Adapted)
    return network


def test_images_are_prepared_as_the_library_says(tmp_path: Path) -> None:
    """Reference: timm's own transform of the network's configuration (0.5 and 0.5, the middle 95 %), on a smooth image:
    within what one more resizing changes. The page says so."""
    from timm.data import create_transform, resolve_data_config

    ramp = np.linspace(0, 255, 400)[:, None] * np.ones(600)
    pixels = np.stack([ramp, ramp[::-1], 255 - ramp / 2], axis=2).round().astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "ramp.png")
    subject = opened("timm:test_vit", str(tmp_path), 1, Path("runs"), None)
    theirs = create_transform(**resolve_data_config({}, model=subject.network.net))  # type: ignore[arg-type]
    expected = theirs(Image.fromarray(pixels))
    assert isinstance(expected, torch.Tensor)
    assert (subject.images[0] - expected).abs().max() < 0.02
    assert subject.where.endswith(
        "the middle 95 % of their largest square, bicubic, less mean 0.5, 0.5, 0.5, by deviation 0.5, 0.5, 0.5"
    )


def test_torchvision_has_its_own_transforms() -> None:
    """Reference: torchvision's documentation of its second weights of ResNet-50: 224 of 232 pixels, bilinear."""
    found = preparation_of(ready_made("torchvision:resnet50"))
    assert found.mean == (0.485, 0.456, 0.406) and found.deviation == (0.229, 0.224, 0.225)
    assert (found.interpolation, found.share) == ("bilinear", 224 / 232)


def test_an_image_that_is_too_large_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's limit, lowered."""
    Image.new("L", (40, 40)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ConfigError, match=r"large\.png: cannot be read as an image") as raised:
        opened("timm:test_vit", str(tmp_path), 1, Path("runs"), None)
    assert "\n" not in str(raised.value)


def test_tables_are_looked_at_without_images(tmp_path: Path) -> None:
    """Reference: the figures of a table; a view that needs images still asks for them."""
    given = ["timm:test_vit", "-o", str(tmp_path / "out"), "--at"]
    found = CliRunner().invoke(look, [*given, "positions"])
    assert found.exit_code == 0, found.output
    first, second, third, *_ = found.output.splitlines()
    assert (first, second) == ("reading timm:test_vit ...", "measuring positions ...")
    assert third == f"drawing {len(list((tmp_path / 'out').glob('*.npz')))} figures ..."
    assert {path.stem for path in (tmp_path / "out").glob("*.npz")} >= {"similarity", "norm-and-spectrum"}
    assert "no images, 160 px" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    refused = CliRunner().invoke(look, [*given, "attention"])
    assert isinstance(refused.exception, ConfigError) and "needs a file or folder of images" in str(refused.exception)
