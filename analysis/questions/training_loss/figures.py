"""The figure of loss against training time, a panel a train size."""

from collections.abc import Mapping

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from analysis.elements.axes import STYLE, decades, handle, legend
from analysis.elements.layout import WIDTH, is_narrow, panels, settle
from analysis.elements.palette import INK, Look, looks
from analysis.elements.sections import n_images
from analysis.frame.rows import each_group

MARKERS = 6  # along a line, which has a hundred points
X = {"step": "optimiser step", "epoch": "passes over the training images"}


def loss_curves(
    curves: pd.DataFrame, styles: Mapping[str, Look] | None = None, x: str = "step", width: float = WIDTH
) -> Figure:
    """Mean loss (nats, logarithmic axis) against `x` (step or epoch), with a band from the lowest to the highest run.

    `curves`: `numbers.mean_curves` of one arm and one measure; `width` in inches."""
    [measure] = curves["measure"].unique()
    styles = styles or looks(curves)
    sizes = sorted(curves["train_size"].unique().tolist())
    ylabel = {"batch": "training loss, nats", "validation": "validation loss, nats"}[measure]
    with matplotlib.rc_context(STYLE):
        figure, grid = panels(len(sizes), width, 3.2, ylabel)
        for axes, size in zip(grid, sizes, strict=True):
            for label, line in each_group(curves[curves["train_size"] == size], "label"):
                look = styles[label]
                axes.fill_between(line[x], line["low"], line["high"], color=look.colour, alpha=0.15, linewidth=0)
                mean = handle(look, line[x].tolist(), line["mean"].tolist())
                mean.set_markevery(max(1, len(line) // MARKERS))
                axes.add_line(mean)
            axes.set_yscale("log")
            axes.autoscale_view()
            axes.set_title(n_images(size))
        decades(grid[0], "{:g}", (1,))  # the panels share their axes
        figure.supxlabel(X[x], fontsize=9, color=INK)
        names = dict.fromkeys(curves["label"])
        legend(figure, names, styles, above=is_narrow(figure))  # below is what the panels' axes have in common
        return settle(figure)
