"""The figures of accuracy: against train size, and by model where there is one size.

Every run is a small point; lines go through the means and have their names at their ends; bars are t-intervals over
seeds; chance is dotted.
"""

from collections.abc import Collection, Mapping

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from analysis import wording
from analysis.elements.axes import STYLE, chance_line, lines, log_ticks, name_ends, percent_axis
from analysis.elements.forest import Entry, forest
from analysis.elements.layout import WIDTH, canvas, settle
from analysis.elements.palette import Look, looks
from analysis.frame.arms import one_arm
from analysis.frame.cells import at_home
from analysis.frame.rows import each_group
from analysis.statistics import intervals


def accuracy_by_train_size(
    rows: pd.DataFrame, styles: Mapping[str, Look] | None = None, width: float = WIDTH
) -> Figure:
    """Test accuracy at the training resolution against train size, on a logarithmic axis.

    `rows`: evaluations of one arm (MixedArmsError otherwise); `width` in inches."""
    arm = one_arm(rows)
    home = at_home(rows)
    with matplotlib.rc_context(STYLE):
        figure = canvas(width, 4.6)
        axes = figure.add_subplot()
        ends = lines(axes, home, "label", "train_size", "accuracy", styles or looks(rows))
        chance_line(axes, arm.chance)
        log_ticks(axes, home["train_size"], "training images n, validation included (log scale)")
        if arm.validation >= 1 or arm.validation == 0:
            axes.set_xlabel("training images n (log scale)")
        percent_axis(axes)
        axes.set_ylabel("test accuracy")
        name_ends(figure, axes, ends, styles or looks(rows))
        return settle(figure)


def accuracy_by_model(
    rows: pd.DataFrame, tied: Collection[str], styles: Mapping[str, Look] | None = None, width: float = WIDTH
) -> Figure:
    """Test accuracy at the training resolution as a forest plot, highest first, hollow where it is not separable from
    the highest (`tied`: labels). `rows`: evaluations of one arm, of one train size."""
    one_arm(rows)
    styles = styles or looks(rows)
    found = [
        (label, intervals.over_seeds(group, "accuracy", bounds=(0.0, 1.0)))
        for label, group in each_group(at_home(rows), "label")
    ]
    entries = [
        Entry(label, styles[label], one.mean, one.low, one.high, wording.value(one), hollow=label in tied)
        for label, one in sorted(found, key=lambda pair: -pair[1].mean)
        if one.n
    ]
    return forest(entries, "test accuracy", width, 3.6)
