"""One look for each model, the same in every figure of every study: colour, marker and line style.

Colours are those of Okabe and Ito (2008, "Color Universal Design") without yellow, which is too light for a line, and
two more; where two come close for a colour-blind eye, the marker or the line tells them apart
(tests/analysis/test_palette.py simulates it), so figures can be read in grey, too.

Solid lines are models whose assumptions differ; dotted lines are the ladder, which differs in the mixer alone; dashed
lines are ViTs, which differ in their positions alone. Markers go by kind: circles are convolutions, diamonds hybrids,
squares windows, pentagons MLPs; of positions > is sinusoids, + relative offsets, ^ rotation.
"""

import hashlib
from typing import Any, NamedTuple

import pandas as pd

from analysis.frame.rows import each_row

INK = "#1b1b1f"  # text, axes and one model; the page replaces it by the colour of its own text
GREY = "#8a8a8a"

BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
OLIVE, VIOLET = "#999933", "#8a63d2"

SOLID, DASHED, DOTTED = "-", (0, (4, 1.5)), (0, (1, 1.5))


class Look(NamedTuple):
    """How matplotlib draws a model."""

    colour: str
    marker: str
    line: Any  # as matplotlib takes it: a name, or (offset, on-off lengths)
    weight: float = 1.0  # of the line, against the usual one


KNOWN = {  # by model, of the ladder with its mixer, and positional encoding
    **{
        ("vit", position): Look(colour, marker, DASHED)
        for position, colour, marker in (
            ("none", GREY, "X"),
            ("learned_1d", INK, "v"),
            ("learned_2d", ORANGE, "<"),
            ("sincos_1d", VIOLET, ">"),
            ("sincos_2d", PURPLE, ">"),
            ("sincos_2d_sum", OLIVE, ">"),
            ("fourier", GREEN, ">"),
            ("relative_1d", SKY, "P"),
            ("relative_2d", BLUE, "P"),
            ("bias_2d", GREEN, "P"),
            ("cpb", OLIVE, "P"),
            ("fire", VERMILLION, "P"),
            ("pape", PURPLE, "*"),
            ("alibi_2d", VIOLET, "*"),
            ("rope_axial", VERMILLION, "^"),
            ("rope_mixed", ORANGE, "^"),
            ("conditional", BLUE, "H"),
            ("lookhere", SKY, "d"),
        )
    },
    **{
        (model, "-"): Look(colour, marker, SOLID)
        for model, colour, marker in (
            ("resnet", BLUE, "o"),
            ("convnext", SKY, "o"),
            ("simple_cnn", GREY, "o"),
            ("airbench", ORANGE, "o"),
            ("locally_connected", VERMILLION, "o"),
            ("conv_stem_vit", GREEN, "D"),
            ("cct", ORANGE, "D"),
            ("convit", VERMILLION, "D"),
            ("conv_attention", PURPLE, "D"),
            ("resnet_vit", BLUE, "D"),
            ("coatnet", SKY, "D"),
            ("swin", OLIVE, "s"),
            ("swin_v2", VIOLET, "s"),
            ("mixer", ORANGE, "p"),
            ("mlp", GREY, "p"),
            ("attention_mlp", BLUE, "p"),
            ("course_vit", INK, "d"),
        )
    },
    **{
        (f"ladder {mixer}", "-"): Look(colour, marker, DOTTED)
        for mixer, colour, marker in (
            ("identity", GREY, "X"),
            ("pool", GREEN, "h"),
            ("depthwise_conv", BLUE, "h"),
            ("gated_conv", VIOLET, "H"),
            ("local_attention", INK, "s"),
            ("window_attention", OLIVE, "s"),
            ("attention", INK, "d"),
            ("locally_connected", SKY, "h"),
            ("token_mlp", ORANGE, "p"),
            ("ssd", VERMILLION, "P"),
        )
    },
}

MARKERS = "*h8Xd^v<>oDsPpH"
SPARE = [
    Look(colour, marker, line)
    for line in (SOLID, DOTTED, DASHED)
    for marker in MARKERS
    for colour in (VIOLET, VERMILLION, SKY, ORANGE, GREEN, BLUE)
]
HIGHLIGHT = 2.0


def looks(table: pd.DataFrame, highlight: frozenset[str] = frozenset()) -> dict[str, Look]:
    """The look of each label in `table` (columns label, model, position), to be made once a study.

    A known model always looks the same. Others of its name (with other options, or another position) have its colour
    and line and another marker; models that the suite does not know take a spare look, picked by their name. Labels in
    `highlight` have thicker lines."""
    kinds = table[["label", "model", "position"]].drop_duplicates("label").sort_values("label")
    taken: dict[str, Look] = {}
    for label, model, position in each_row(kinds):
        look = KNOWN.get((model, position)) or KNOWN.get((model, "-"))
        if look is not None and look not in taken.values():
            taken[label] = look
    for label, model, position in each_row(kinds):
        if label not in taken:
            look = KNOWN.get((model, position)) or KNOWN.get((model, "-"))
            wanted = [look._replace(marker=marker) for marker in MARKERS] if look else _turned(label)
            taken[label] = next((one for one in [*wanted, *SPARE] if one not in taken.values()), wanted[0])
    return {label: taken[label]._replace(weight=HIGHLIGHT if label in highlight else 1.0) for label in kinds["label"]}


def _turned(label: str) -> list[Look]:
    """The spare looks, from a place that is a function of the name: others in a study seldom move it."""
    start = int(hashlib.sha256(label.encode()).hexdigest(), 16) % len(SPARE)
    return SPARE[start:] + SPARE[:start]
