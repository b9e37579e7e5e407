"""Models can be told apart in every figure, by colour-blind eyes as well."""

import itertools
from typing import Any

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from analysis.elements.axes import CELLS, colour_numbers
from analysis.elements.palette import KNOWN, SPARE, Look
from models import model_names
from models.catalogue.ladder import MIXERS
from models.positions.encodings import ENCODINGS

# Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB.
EYES = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
RGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def lab(colour: str, eye: Any) -> Any:
    """CIELAB of a colour as an eye sees it (IEC 61966-2-1 and CIE 1976, white D65)."""
    srgb = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = RGB_TO_XYZ @ np.clip(eye @ linear, 0, 1) / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eye", EYES)
def test_looks_of_one_marker_and_line_are_apart(eye: str) -> None:
    """Reference: a difference of 12 in CIELAB, five times the smallest that is noticed (2.3, Mahy et al., 1994), by
    the simulated eye, between any two models that colour alone tells apart."""
    groups: dict[Any, list[Look]] = {}
    for look in KNOWN.values():
        groups.setdefault((look.marker, look.line), []).append(look)
    for looks in groups.values():
        for a, b in itertools.combinations(looks, 2):
            distance = np.linalg.norm(lab(a.colour, EYES[eye]) - lab(b.colour, EYES[eye]))
            assert distance > 12, (a, b)


def test_every_model_and_position_has_a_look() -> None:
    """Reference: the registries. So a model looks the same in every study, not only in one."""
    every = {name for name in model_names() if name != "ladder"} | {f"ladder {mixer}" for mixer in MIXERS}
    assert {model for model, _ in KNOWN} == every
    assert {position for model, position in KNOWN if model == "vit"} == set(ENCODINGS)
    assert len(set(KNOWN.values())) == len(KNOWN)
    assert len(set(SPARE)) == len(SPARE)


def test_numbers_on_a_heat_map_can_be_read() -> None:
    """Reference: WCAG 2's contrast for text, 4.5 to 1, of each number's colour with that of its cell; all levels."""
    values = np.linspace(20, 80, 256)
    axes = Figure().add_subplot()
    for value in values:
        axes.text(0, 0, repr(float(value)))
    colour_numbers(axes, 20, 80)
    cells = colormaps[CELLS["cmap"]](np.linspace(0, 1, 256))[:, :3]
    for text, cell in zip(axes.texts, cells, strict=True):
        light, dark = sorted((luminance(cell), luminance(to_rgb(text.get_color()))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, text.get_text()


def luminance(srgb: Any) -> float:
    """Relative luminance of WCAG 2."""
    colours = np.asarray(srgb)
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
