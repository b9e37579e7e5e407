"""One look for each model, the same in every figure: colour, marker and line style.

Colours are those of Okabe and Ito (2008, "Color Universal Design") without yellow, which is too light for a line, and
two more of similar lightness; all keep apart for the common colour blindnesses and stand on white and on black. Solid
lines are models whose assumptions differ; dashed lines are ViTs, which differ in their positions alone. Markers
differ too, so that the figures can be read in grey.
"""

from typing import Any, NamedTuple

import pandas as pd

from analysis.tables import each_row

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


KNOWN = {  # by model and positional encoding
    ("vit", "none"): Look(GREY, "X", DASHED),
    ("vit", "learned_1d"): Look(INK, "v", DASHED),
    ("vit", "learned_2d"): Look(ORANGE, "<", DASHED),
    ("vit", "relative_1d"): Look(SKY, "P", DASHED),
    ("vit", "sincos_2d"): Look(PURPLE, ">", DASHED),
    ("vit", "rope_axial"): Look(VERMILLION, "^", DASHED),
    ("resnet", "-"): Look(BLUE, "o", SOLID),
    ("conv_stem_vit", "-"): Look(GREEN, "D", SOLID),
    ("swin", "-"): Look(OLIVE, "s", SOLID),
}

SPARE = [
    Look(colour, marker, line)
    for line, markers in ((SOLID, "h*dpH8"), (DOTTED, "osD^vP"), (DASHED, "*hdpH8"))
    for colour, marker in zip((VIOLET, VERMILLION, SKY, ORANGE, GREEN, BLUE), markers, strict=True)
]


def looks(table: pd.DataFrame) -> dict[str, Look]:
    """The look of each label in `table` (columns label, model, position), to be made once a study.

    A known model always looks the same. Others take the spare looks in alphabetical order; with more than there are,
    looks repeat."""
    kinds = table[["label", "model", "position"]].drop_duplicates("label").sort_values("label")
    taken: dict[str, Look] = {}
    for label, model, position in each_row(kinds):
        look = KNOWN.get((model, position)) or KNOWN.get((model, "-"))
        if look is not None and look not in taken.values():
            taken[label] = look
    waiting = [label for label in kinds["label"] if label not in taken]
    free = [look for look in SPARE if look not in taken.values()]
    return taken | {label: free[i % len(free)] for i, label in enumerate(waiting)}
