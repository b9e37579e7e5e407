"""What each model takes for what, as small maps side by side."""

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator

from analysis.elements.axes import STYLE
from analysis.elements.layout import WIDTH, panels, settle
from analysis.elements.palette import INK, VERMILLION
from analysis.frame.rows import each_group, each_row

NAMED = 30  # classes: of more, names would run into each other
COUNTED = 12  # classes: of more, numbers would


def confusion_maps(confusion: pd.DataFrame, classes: Sequence[str], width: float = WIDTH) -> Figure:
    """A panel a model: the share of each class's images (rows) that was taken for another class (columns), from no
    colour for none to full colour for `largest_share`; what was right is left out. A panel of few classes that is alone
    also has numbers of images, of what was right as well.

    `confusion`: `numbers.named_confusion` with a column label; `width` in inches."""
    labels = list(dict.fromkeys(confusion["label"]))
    place = {name: number for number, name in enumerate(classes)}
    full = largest_share(confusion) or 1.0
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure, grid = panels(len(labels), width, 2.9, "true class")
        for axes, (label, of_model) in zip(grid, each_group(confusion, "label"), strict=True):
            shares = np.zeros((len(classes), len(classes)))
            wrong = of_model[of_model["true"] != of_model["predicted"]]
            shares[wrong["true"].map(place), wrong["predicted"].map(place)] = wrong["share"]
            colour = np.broadcast_to(to_rgb(VERMILLION), (*shares.shape, 3))
            pixels = np.dstack([colour, shares / full])  # its opacity is the share: so it can lie on any page
            axes.imshow(pixels, interpolation="none", aspect="auto")
            if len(labels) == 1 and len(classes) <= COUNTED:
                for row in each_row(of_model):
                    at = (place[row.predicted], place[row.true])
                    axes.annotate(f"{row.images:,}", at, ha="center", va="center", color=INK, fontsize=8)
            else:
                axes.plot([-0.5, len(classes) - 0.5], [-0.5, len(classes) - 0.5], color=INK, linewidth=0.4, alpha=0.4)
            axes.set(xlim=(-0.5, len(classes) - 0.5), ylim=(len(classes) - 0.5, -0.5))
            axes.set_title(label)
            axes.tick_params(length=0)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(FixedLocator(range(len(classes)) if len(classes) <= NAMED else []))
                axis.set_major_formatter(FixedFormatter(list(classes)))
            axes.tick_params(axis="x", rotation=90 if max(map(len, classes)) > 2 else 0)
        figure.supxlabel("class that it was taken for", fontsize=9, color=INK)
        return settle(figure)


def largest_share(confusion: pd.DataFrame) -> float:
    """The largest share of a class that any model took for one other class; 0 where all were right."""
    wrong = confusion[confusion["true"] != confusion["predicted"]]
    return float(wrong["share"].max()) if len(wrong) else 0.0
