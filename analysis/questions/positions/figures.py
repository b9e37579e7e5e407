"""The figure of the position ablation."""

from collections.abc import Mapping

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from analysis.elements.axes import STYLE, bars, dodged, legend, log_ticks
from analysis.elements.layout import WIDTH, canvas, settle
from analysis.elements.palette import INK, Look, looks
from analysis.frame.cells import estimate_of
from analysis.frame.rows import each_group, each_row


def differences_by_train_size(
    table: pd.DataFrame, styles: Mapping[str, Look] | None = None, width: float = WIDTH
) -> Figure:
    """Position ablation: difference of accuracy to the reference against train size, with t-intervals.

    `table`: `numbers.differences` of one arm, with one reference; `width` in inches."""
    [reference] = table["reference"].unique()
    known = table.dropna(subset=["mean"])
    styles = styles or looks(table)
    with matplotlib.rc_context(STYLE):
        figure = canvas(width, 3.6)
        axes = figure.add_subplot()
        names = list(dict.fromkeys(known["label"]))
        places = dodged(known["train_size"].unique().tolist(), names)
        for label, group in each_group(known, "label"):
            xs = group["train_size"].tolist()
            estimates, beside = [estimate_of(row) for row in each_row(group)], [places(size, label) for size in xs]
            bars(axes, xs, estimates, styles[label], beside)
        axes.axhline(0, color=INK, linewidth=0.8, zorder=0)
        log_ticks(axes, known["train_size"], "training images n (log scale)")
        axes.set_ylabel(f"points above {reference}")
        legend(figure, names, styles)
        return settle(figure)
